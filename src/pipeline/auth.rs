//! Who a client is: the schemes `digest`, `ip`, `sasl`, `x509` and `super` (Apache's `DigestAuthenticationProvider`,
//! `IPAuthenticationProvider`, `SASLAuthenticationProvider`, `X509AuthenticationProvider`, `ProviderRegistry`, `AuthUtil`).
//!
//! A connection has a set of identities: its `ip` from the start, that of its certificate from the end of the TLS handshake, more
//! by `auth` requests and by SASL ([`digest_md5`]). Clients see the order of that set
//! (`whoAmI`, and what an `auth` entry of a list becomes), so [`add_identity`] keeps it in the order in which Java's hash set
//! shows it.

pub mod digest_md5;
mod names;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::net::IpAddr;
use sha1::Digest;
use std::collections::BTreeSet;

use crate::wire::acl::Id;

/// The hash of digest identities (`zookeeper.DigestAuthenticationProvider.digestAlg`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DigestAlgorithm {
    /// The default, which all clients and tools assume.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-512/224.
    Sha512_224,
    /// SHA-512/256.
    Sha512_256,
}

impl DigestAlgorithm {
    /// By its name in Java, of any case. None for what we do not have.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "SHA1" | "SHA-1" | "SHA" => Self::Sha1,
            "SHA-224" | "SHA224" => Self::Sha224,
            "SHA-256" | "SHA256" => Self::Sha256,
            "SHA-384" | "SHA384" => Self::Sha384,
            "SHA-512" | "SHA512" => Self::Sha512,
            "SHA-512/224" => Self::Sha512_224,
            "SHA-512/256" => Self::Sha512_256,
            _ => return None,
        })
    }

    fn base64(self, text: &str) -> String {
        fn of<D: Digest>(text: &str) -> String {
            STANDARD.encode(D::digest(text))
        }
        match self {
            Self::Sha1 => of::<sha1::Sha1>(text),
            Self::Sha224 => of::<sha2::Sha224>(text),
            Self::Sha256 => of::<sha2::Sha256>(text),
            Self::Sha384 => of::<sha2::Sha384>(text),
            Self::Sha512 => of::<sha2::Sha512>(text),
            Self::Sha512_224 => of::<sha2::Sha512_224>(text),
            Self::Sha512_256 => of::<sha2::Sha512_256>(text),
        }
    }
}

/// How clients prove who they are, and whether it matters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `skipACL`: nobody is refused anything.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled`.
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.superDigest`: the `user:hash` of whom no list binds.
    pub super_digest: Option<String>,
    /// Whether lists may name `sasl` (`authProvider.N` with the SASLAuthenticationProvider).
    pub sasl: bool,
    /// `superUser`, `superUser.N`: users of SASL whom no list binds.
    pub sasl_super_users: BTreeSet<String>,
    /// `letAnySaslUserDoX`: the name in a list that means every user of SASL.
    pub any_sasl_user: Option<String>,
    /// Whether lists may name `x509`: there is TLS for clients, or `authProvider.N` with the X509AuthenticationProvider.
    pub x509: bool,
    /// `X509AuthenticationProvider.superUser`: the subject of a certificate whose holder no list binds.
    pub x509_super_user: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            skip_acl: false,
            digest_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
            sasl: false,
            sasl_super_users: BTreeSet::new(),
            any_sasl_user: None,
            x509: false,
            x509_super_user: None,
        }
    }
}

/// The credentials are not worth anything: answer AUTHFAILED and close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthFailed;

/// The schemes that are always there, or may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    Digest,
    Ip,
    Sasl,
    X509,
}

impl Scheme {
    /// The provider of a scheme (`ProviderRegistry.getServerProvider`); none for what is unknown or switched off.
    pub(super) fn named(name: &str, options: &Options) -> Option<Self> {
        match name {
            "digest" if options.digest_enabled => Some(Self::Digest),
            "ip" => Some(Self::Ip),
            "sasl" if options.sasl => Some(Self::Sasl),
            "x509" if options.x509 => Some(Self::X509),
            _ => None,
        }
    }

    /// Whether an id of an access control list has the form that the scheme asks for.
    pub(super) fn is_valid(self, id: &str) -> bool {
        match self {
            // Java's `split(":")`: empty pieces at the end do not count.
            Self::Digest => id.trim_end_matches(':').split(':').count() == 2,
            Self::Ip => IpRange::parse(id).is_some(),
            Self::Sasl => names::is_principal(id),
            Self::X509 => names::is_distinguished_name(id),
        }
    }

    /// Whether a client of identity `id` is whom the id of an access control list means.
    pub(super) fn matches(self, id: &str, acl_id: &str, options: &Options) -> bool {
        match self {
            Self::Digest => id == acl_id,
            Self::Ip => IpRange::parse(acl_id).is_some_and(|range| range.contains(id)),
            Self::Sasl => id == "super" || id == acl_id || options.any_sasl_user.as_deref() == Some(acl_id),
            Self::X509 => id == acl_id || options.x509_super_user.as_deref() == Some(id),
        }
    }

    /// Whether to have an identity of this scheme is to have authenticated, so that `auth` entries stand for it.
    pub(super) const fn is_authenticated(self) -> bool {
        matches!(self, Self::Digest | Self::Sasl | Self::X509)
    }

    fn user_name(self, id: &str) -> &str {
        match self {
            Self::Digest => id.split(':').next().unwrap_or_default(),
            Self::Ip | Self::Sasl | Self::X509 => id,
        }
    }
}

/// `user:hash` for `user:password` (`DigestAuthenticationProvider.generateDigest`).
pub fn generate_digest(id_password: &str, algorithm: DigestAlgorithm) -> String {
    let user = id_password.split(':').next().unwrap_or_default();
    format!("{user}:{}", algorithm.base64(id_password))
}

/// The identity that every connection has from the start.
pub fn ip_identity(peer: IpAddr) -> Id<'static> {
    let text = match peer.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        // As Java prints it: every group, and no run of zeros left out.
        IpAddr::V6(v6) => {
            let groups: Vec<String> = v6.segments().iter().map(|group| format!("{group:x}")).collect();
            groups.join(":")
        }
    };
    Id::new("ip", text)
}

/// What an `auth` request proves: the identities to [add](add_identity) to the connection's.
///
/// # Errors
/// If the scheme is unknown or switched off.
pub fn authenticate(
    scheme: &str,
    auth: &[u8],
    peer: IpAddr,
    options: &Options,
) -> Result<Vec<Id<'static>>, AuthFailed> {
    match Scheme::named(scheme, options) {
        // Those of the last two are proved by the SASL exchange and by the handshake, not by an `auth` request. (Apache proves a
        // certificate's once more; there is nothing to gain from it.)
        None | Some(Scheme::Sasl | Scheme::X509) => Err(AuthFailed),
        Some(Scheme::Ip) => Ok(vec![ip_identity(peer)]),
        Some(Scheme::Digest) => {
            let digest = generate_digest(&String::from_utf8_lossy(auth), options.digest_algorithm);
            let is_super = options.super_digest.as_ref() == Some(&digest);
            let mut ids = Vec::with_capacity(2);
            if is_super {
                ids.push(Id::new("super", ""));
            }
            ids.push(Id::new("digest", digest));
            Ok(ids)
        }
    }
}

/// What a user of SASL has proved to be.
pub fn sasl_identities(user: &str, options: &Options) -> Vec<Id<'static>> {
    let mut ids = vec![Id::new("sasl", user.to_owned())];
    if !user.is_empty() && options.sasl_super_users.contains(user) {
        ids.push(Id::new("super", ""));
    }
    ids
}

/// What the holder of a certificate with this subject has proved to be.
pub fn x509_identities(subject: &str, options: &Options) -> Vec<Id<'static>> {
    let mut ids = Vec::with_capacity(2);
    if options.x509_super_user.as_deref() == Some(subject) {
        ids.push(Id::new("super", subject.to_owned()));
    }
    ids.push(Id::new("x509", subject.to_owned()));
    ids
}

/// Adds an identity to a connection's, if it is new, where Java's `ConcurrentHashMap` would show it.
pub fn add_identity(identities: &mut Vec<Id<'static>>, id: Id<'static>) {
    if !identities.contains(&id) {
        identities.push(id);
        let buckets = hash_buckets(identities.len());
        identities.sort_by_key(|id| hash_of(id) & (buckets - 1));
    }
}

/// How many buckets Java's table has for so many entries: it doubles at three quarters.
fn hash_buckets(entries: usize) -> u32 {
    let mut buckets = 16;
    while entries >= buckets as usize / 4 * 3 {
        buckets *= 2;
    }
    buckets
}

/// The generated `Id.hashCode`, spread as `ConcurrentHashMap` spreads.
fn hash_of(id: &Id<'_>) -> u32 {
    let of_string =
        |text: &str| text.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    let hash =
        [&id.scheme, &id.id].iter().fold(17_u32, |hash, text| hash.wrapping_mul(37).wrapping_add(of_string(text)));
    (hash ^ (hash >> 16)) & 0x7fff_ffff
}

/// Scheme and user of each identity, as `whoAmI` tells them: without the hash (`AuthUtil.getClientInfos`).
pub(super) fn client_infos<'a>(
    identities: &'a [Id<'_>],
    options: &'a Options,
) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
    identities.iter().map(|id| {
        let user = Scheme::named(&id.scheme, options).map_or("", |scheme| scheme.user_name(&id.id));
        (&*id.scheme, user)
    })
}

/// An address of an access control list, perhaps with a number of bits behind a slash.
struct IpRange {
    address: IpBytes,
    bits: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct IpBytes {
    bytes: [u8; 16],
    len: usize,
}

impl IpRange {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = IpBytes::parse(address)?;
        let all = u32::try_from(address.len * 8).expect("at most 128");
        let bits = match bits {
            // Java's parseInt: a sign is allowed.
            Some(bits) => u32::try_from(bits.parse::<i32>().ok()?).ok().filter(|bits| *bits <= all)?,
            None => all,
        };
        Some(Self { address, bits })
    }

    fn contains(&self, id: &str) -> bool {
        IpBytes::parse(id).is_some_and(|remote| remote.masked(self.bits) == self.address.masked(self.bits))
    }
}

impl IpBytes {
    fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            Some(Self { bytes: parse_v6(text)?, len: 16 })
        } else {
            let mut bytes = [0; 16];
            let mut parts = text.split('.');
            for byte in &mut bytes[..4] {
                *byte = u8::try_from(parts.next()?.parse::<i32>().ok()?).ok()?;
            }
            parts.next().is_none().then_some(Self { bytes, len: 4 })
        }
    }

    fn masked(mut self, bits: u32) -> Self {
        let mut left = bits;
        for byte in &mut self.bytes[..self.len] {
            let kept = left.min(8);
            *byte &= u8::try_from(0xff00_u32 >> kept & 0xff).expect("masked to a byte");
            left -= kept;
        }
        self
    }
}

fn parse_v6(text: &str) -> Option<[u8; 16]> {
    let mut halves = text.split("::");
    let (before, behind) = (halves.next()?, halves.next());
    if halves.next().is_some() {
        return None;
    }
    let groups = |text: &'_ str| -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(16);
        for group in text.split(':').filter(|_| !text.is_empty()) {
            if group.is_empty() || group.encode_utf16().count() > 4 {
                return None;
            }
            let value = i32::from_str_radix(group, 16).ok()?;
            bytes.extend_from_slice(&value.to_be_bytes()[2..]);
        }
        Some(bytes)
    };
    let Some(behind) = behind else {
        // Without a gap all eight groups have to be there.
        return groups(before)?.try_into().ok();
    };
    let (before, behind) = (groups(before)?, groups(behind)?);
    let mut bytes = [0; 16];
    if before.len() + behind.len() >= 16 {
        return None;
    }
    bytes[..before.len()].copy_from_slice(&before);
    bytes[16 - behind.len()..].copy_from_slice(&behind);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::default()
    }

    fn peer() -> IpAddr {
        "10.1.2.3".parse().expect("an address")
    }

    #[test]
    fn digest_authentication_provider_generate_digest() {
        // By the class in Debian's zookeeper.jar, with each algorithm.
        let cases = [
            ("SHA1", "super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("sha-1", "nocolon", "nocolon:Ra+cHr2ZoHvBjtNArFGNGlVie4g="),
            ("SHA", "ü:ß", "ü:vB6Co0vguxtrKN0lKrXliXiGJq4="),
            ("SHA-224", "super:zookeeper", "super:xIIhyv1/Fxa48EHvTpUc25HJmUn8M7TRNxF8rg=="),
            ("SHA-256", "super:zookeeper", "super:Ie58Fw6KA4ucTEDj23imIltKrXNDxQg8Rwtu0biQFcU="),
            ("SHA-384", "super:test", "super:FA/2SgoedA21NnGcUl5C1HBsMwuibAPXlAq/FqXTuUQPExUJgxpf8gWeD4eOupjP"),
            ("SHA-512/224", "super:test", "super:Jbob8j2c9tikAuLuqxcIJr3TG4aS6fcELZsiHw=="),
            ("SHA-512/256", "super:test", "super:GV6U44a5U7SXgFZS9GkWgmwq2+im64wGlYXjCHia3mo="),
        ];
        for (algorithm, text, digest) in cases {
            let algorithm = DigestAlgorithm::from_name(algorithm).expect("known");
            assert_eq!(generate_digest(text, algorithm), digest);
        }
        let sha512 = generate_digest("super:test", DigestAlgorithm::Sha512);
        assert!(sha512.starts_with("super:cMAGk13FCMtJkaVQImGEKhjqoGELCiVjYdIhiD8st"), "{sha512}");
        assert_eq!(DigestAlgorithm::from_name("sha-256"), Some(DigestAlgorithm::Sha256));
        assert_eq!(DigestAlgorithm::from_name("rot13"), None);
    }

    #[test]
    fn authenticate_gives_identities() {
        let digest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
        assert_eq!(authenticate("digest", b"super:test", peer(), &options()), Ok(vec![Id::new("digest", digest)]));
        let with_super = Options { super_digest: Some(digest.into()), ..options() };
        assert_eq!(
            authenticate("digest", b"super:test", peer(), &with_super),
            Ok(vec![Id::new("super", ""), Id::new("digest", digest)])
        );
        assert_eq!(authenticate("ip", b"", peer(), &options()), Ok(vec![Id::new("ip", "10.1.2.3")]));
        for scheme in ["sasl", "x509", "world", "auth", "super", ""] {
            assert_eq!(authenticate(scheme, b"x", peer(), &options()), Err(AuthFailed), "{scheme}");
        }
        let off = Options { digest_enabled: false, ..options() };
        assert_eq!(authenticate("digest", b"a:b", peer(), &off), Err(AuthFailed));
    }

    #[test]
    fn sasl_and_x509_are_there_if_they_are_asked_for() {
        assert_eq!(Scheme::named("sasl", &options()), None);
        assert_eq!(Scheme::named("x509", &options()), None);
        let options = Options {
            sasl: true,
            x509: true,
            sasl_super_users: BTreeSet::from(["root".to_owned()]),
            any_sasl_user: Some("any".to_owned()),
            x509_super_user: Some("CN=root".to_owned()),
            ..options()
        };
        let sasl = Scheme::named("sasl", &options).expect("there");
        assert!(sasl.matches("bob", "bob", &options) && !sasl.matches("bob", "eve", &options));
        assert!(sasl.matches("super", "eve", &options), "super is every user of SASL");
        assert!(sasl.matches("bob", "any", &options), "letAnySaslUserDoX");
        let x509 = Scheme::named("x509", &options).expect("there");
        assert!(x509.matches("CN=a", "CN=a", &options) && !x509.matches("CN=a", "CN=b", &options));
        assert!(x509.matches("CN=root", "CN=b", &options));
        assert_eq!(sasl_identities("bob", &options), [Id::new("sasl", "bob")]);
        assert_eq!(sasl_identities("root", &options), [Id::new("sasl", "root"), Id::new("super", "")]);
        assert_eq!(x509_identities("CN=a", &options), [Id::new("x509", "CN=a")]);
        assert_eq!(x509_identities("CN=root", &options), [Id::new("super", "CN=root"), Id::new("x509", "CN=root")]);
        for scheme in ["sasl", "x509"] {
            assert_eq!(authenticate(scheme, b"x", peer(), &options), Err(AuthFailed), "{scheme}");
        }
    }

    #[test]
    fn digest_is_valid_as_java_splits() {
        for id in ["a:b", ":b", "a:b:", "a:b::", "user:hash="] {
            assert!(Scheme::Digest.is_valid(id), "{id}");
        }
        for id in ["", "a", "a:", ":", "::", "a:b:c", "a::b"] {
            assert!(!Scheme::Digest.is_valid(id), "{id}");
        }
    }

    #[test]
    fn ip_authentication_provider_is_valid() {
        let good = [
            "127.0.0.1",
            "0.0.0.0/0",
            "10.0.0.0/8",
            "1.2.3.4/32",
            "+1.2.3.4",
            "::1",
            "::",
            "1::",
            "2001:db8::/32",
            "1:2:3:4:5:6:7:8",
            "0:0:0:0:0:0:0:1/128",
            "1:2:3:4:5:6:7::",
        ];
        for id in good {
            assert!(Scheme::Ip.is_valid(id), "{id}");
        }
        let bad = [
            "",
            "/8",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.-1",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/x",
            "1.2.3.4/8/8",
            "host",
            "1.2.3.",
            ":",
            ":::",
            "1:2:3:4:5:6:7:8:9",
            "1:2",
            "1::2::3",
            "12345::",
            "g::",
            "::1/129",
            "1:2:3:4:5:6:7:8::",
            "1:2:3:4::5:6:7:8",
        ];
        for id in bad {
            assert!(!Scheme::Ip.is_valid(id), "{id}");
        }
    }

    #[test]
    fn ip_authentication_provider_matches() {
        let matches = |id, acl| Scheme::Ip.matches(id, acl, &options());
        assert!(matches("10.1.2.3", "10.1.2.3"));
        assert!(matches("10.1.2.3", "10.0.0.0/8"));
        assert!(matches("10.1.2.3", "10.1.2.0/23"));
        assert!(!matches("10.1.2.3", "10.1.3.0/24"));
        assert!(matches("10.1.2.3", "0.0.0.0/0"));
        assert!(!matches("0:0:0:0:0:0:0:1", "0.0.0.0/0"), "the families do not mix");
        assert!(matches("0:0:0:0:0:0:0:1", "::1"));
        assert!(matches("2001:db8:0:0:1:2:3:4", "2001:db8::/33"));
        assert!(!matches("2001:db8:8000:0:1:2:3:4", "2001:db8::/33"));
        assert!(!matches("10.1.2.3", "nonsense"));
    }

    #[test]
    fn ip_identity_is_printed_as_java_prints() {
        assert_eq!(ip_identity("::1".parse().expect("an address")).id, "0:0:0:0:0:0:0:1");
        assert_eq!(ip_identity("::ffff:1.2.3.4".parse().expect("an address")).id, "1.2.3.4");
        assert_eq!(ip_identity("2001:db8::A".parse().expect("an address")).id, "2001:db8:0:0:0:0:0:a");
    }

    #[test]
    fn identities_stand_in_the_order_of_javas_hash_set() {
        // Printed by OpenJDK 17 with the classes of Debian's zookeeper.jar.
        let all = [
            ("ip", "127.0.0.1"),
            ("digest", "bob:x0a1b2c3d4"),
            ("super", ""),
            ("digest", "alice:zzz"),
            ("ip", "0:0:0:0:0:0:0:1"),
            ("digest", "u1:h"),
            ("digest", "u2:h"),
            ("digest", "u3:h"),
            ("digest", "u4:h"),
            ("digest", "u5:h"),
            ("digest", "u6:h"),
            ("digest", "u7:h"),
        ];
        let expected = [
            (3, "bob:x0a1b2c3d4 - 127.0.0.1"),
            (5, "bob:x0a1b2c3d4 alice:zzz - 127.0.0.1 0:0:0:0:0:0:0:1"),
            (11, "bob:x0a1b2c3d4 u3:h u2:h u5:h u4:h alice:zzz u6:h - 127.0.0.1 u1:h 0:0:0:0:0:0:0:1"),
            (12, "bob:x0a1b2c3d4 alice:zzz 127.0.0.1 0:0:0:0:0:0:0:1 u3:h u2:h u5:h u4:h u7:h u6:h - u1:h"),
        ];
        for (count, order) in expected {
            let mut identities = Vec::new();
            for (scheme, id) in &all[..count] {
                add_identity(&mut identities, Id::new(*scheme, *id));
                add_identity(&mut identities, Id::new(*scheme, *id));
            }
            let got: Vec<&str> = identities.iter().map(|id| if id.id.is_empty() { "-" } else { &*id.id }).collect();
            assert_eq!(got.join(" "), order);
        }
    }

    #[test]
    fn auth_util_get_client_infos() {
        let ids =
            [Id::new("ip", "1.2.3.4"), Id::new("digest", "bob:hash"), Id::new("super", ""), Id::new("x509", "CN=me")];
        let options = options();
        let infos: Vec<_> = client_infos(&ids, &options).collect();
        assert_eq!(infos, [("ip", "1.2.3.4"), ("digest", "bob"), ("super", ""), ("x509", "")]);
    }
}
