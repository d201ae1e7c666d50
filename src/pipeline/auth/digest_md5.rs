//! The server's side of SASL DIGEST-MD5 (RFC 2831), as Java's `DigestMD5Server` plays it for ZooKeeper: quality of protection
//! `auth`, one realm, one authentication a connection.
//!
//! ```text
//!  Begun ──anything──▶ challenge ──response──▶ Done (with rspauth) or Over
//! ```
//!
//! A state machine of pure bytes: the nonce comes in as an argument. Who has answered once, rightly or wrongly, is asked no
//! more: what comes behind is refused. The identity is always the user whose password was proved; an `authzid`, by which a
//! client may ask to act as somebody else, goes into the digest and has no other effect.

use std::collections::BTreeMap;
use std::fmt;

use md5::{Digest, Md5};
use thiserror::Error;

/// A client's longest message (`DigestMD5Base.MAX_RESPONSE_LENGTH`).
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Bytes of randomness in a nonce.
pub const NONCE_BYTES: usize = 32;

/// The protocol's name in a digest-uri.
const SERVICE: &str = "zookeeper";

/// The host's name in a digest-uri, and the realm (`ZooKeeperSaslServer`): a fixed word, because clients reach a server by
/// many names.
const HOST: &str = "zk-sasl-md5";

/// The only count that a client which proves itself once can have.
const NONCE_COUNT: &str = "00000001";

/// Users and their passwords, which no log line may show.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Users(BTreeMap<String, String>);

impl Users {
    /// These.
    pub const fn new(passwords: BTreeMap<String, String>) -> Self {
        Self(passwords)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a client was not believed. For the operator's log: the client hears AUTHFAILED whatever it was.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes")]
    TooLong(usize),
    /// Not a list of directives.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A directive that has to be there, once.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A directive that says something else than what was agreed.
    #[error("{0} is not what it has to be")]
    Mismatch(&'static str),
    /// No such user, or the wrong password: which of the two stays unsaid.
    #[error("unknown user or wrong password")]
    WrongPassword,
    /// It has had its turn.
    #[error("the exchange is over already")]
    Over,
}

/// What to tell the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A challenge; its response is awaited.
    Challenge(Vec<u8>),
    /// It has proved to be `user`; the token proves that the server knows the password, too.
    Proved {
        /// Who it is.
        user: String,
        /// `rspauth`.
        token: Vec<u8>,
    },
}

/// One exchange. See the module's page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum DigestMd5 {
    /// Nothing has come yet.
    #[default]
    Begun,
    /// The challenge with this nonce is out.
    Challenged(String),
    /// It has ended, well or badly.
    Over,
}

impl DigestMd5 {
    /// What a client's message brings. `nonce` is called for the randomness of a challenge.
    ///
    /// # Errors
    /// If the client is not believed.
    pub fn take(
        &mut self,
        message: &[u8],
        users: &Users,
        nonce: impl FnOnce() -> [u8; NONCE_BYTES],
    ) -> Result<Step, Refused> {
        match std::mem::replace(self, Self::Over) {
            _ if message.len() > MESSAGE_BYTES_MAX => Err(Refused::TooLong(message.len())),
            Self::Begun => {
                // Hexadecimal: nothing in it has to be quoted.
                let nonce = hex(&nonce());
                let challenge = format!("realm=\"{HOST}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess");
                *self = Self::Challenged(nonce);
                Ok(Step::Challenge(challenge.into_bytes()))
            }
            Self::Challenged(nonce) => check(message, &nonce, SERVICE, HOST, users),
            Self::Over => Err(Refused::Over),
        }
    }
}

/// Checks a response to the challenge with `nonce`.
fn check(message: &[u8], nonce: &str, service: &str, host: &str, users: &Users) -> Result<Step, Refused> {
    let directives = parse(message)?;
    let text = |name: &'static str| -> Result<Option<String>, Refused> {
        let Some(value) = directives.get(name) else { return Ok(None) };
        String::from_utf8(value.clone()).map(Some).map_err(|_| Refused::Malformed("not UTF-8"))
    };
    let is = |name: &'static str, wanted: &str| -> Result<(), Refused> {
        match directives.get(name) {
            Some(value) if value != wanted.as_bytes() => Err(Refused::Mismatch(name)),
            _ => Ok(()),
        }
    };
    let needed = |name: &'static str| text(name)?.ok_or(Refused::Missing(name));
    is("charset", "utf-8")?;
    is("qop", "auth")?;
    is("nc", NONCE_COUNT)?;
    let user = needed("username")?;
    if needed("realm")? != host {
        return Err(Refused::Mismatch("realm"));
    }
    if needed("nonce")? != nonce {
        return Err(Refused::Mismatch("nonce"));
    }
    let client_nonce = directives.get("cnonce").ok_or(Refused::Missing("cnonce"))?;
    let uri = needed("digest-uri")?;
    if !uri.eq_ignore_ascii_case(&format!("{service}/{host}")) {
        return Err(Refused::Mismatch("digest-uri"));
    }
    let response = directives.get("response").ok_or(Refused::Missing("response"))?;
    let authzid = directives.get("authzid");
    // A password is tried for an unknown user, too, so that the time taken does not tell who is known.
    let password = users.0.get(&user);
    let of = |a2: &str| {
        let password = password.map_or("", String::as_str);
        digest(&user, host, password, nonce, client_nonce, authzid.map(Vec::as_slice), &format!("{a2}:{uri}"))
    };
    let is_right = is_equal(response, of("AUTHENTICATE").as_bytes());
    if password.is_none() || !is_right {
        return Err(Refused::WrongPassword);
    }
    let token = format!("rspauth={}", of("")).into_bytes();
    Ok(Step::Proved { user, token })
}

/// The `response-value` of RFC 2831, 2.1.2.1, with `a2` behind its colon.
fn digest(
    user: &str,
    realm: &str,
    password: &str,
    nonce: &str,
    client_nonce: &[u8],
    authzid: Option<&[u8]>,
    a2: &str,
) -> String {
    let secret = Md5::new()
        .chain_update(charset(user))
        .chain_update(b":")
        .chain_update(charset(realm))
        .chain_update(b":")
        .chain_update(charset(password))
        .finalize();
    let mut a1 = Md5::new()
        .chain_update(secret)
        .chain_update(b":")
        .chain_update(nonce)
        .chain_update(b":")
        .chain_update(client_nonce);
    if let Some(authzid) = authzid {
        a1 = a1.chain_update(b":").chain_update(authzid);
    }
    let value = Md5::new()
        .chain_update(hex(&a1.finalize()))
        .chain_update(b":")
        .chain_update(nonce)
        .chain_update(b":")
        .chain_update(NONCE_COUNT)
        .chain_update(b":")
        .chain_update(client_nonce)
        .chain_update(b":auth:")
        .chain_update(hex(&Md5::digest(a2)))
        .finalize();
    hex(&value)
}

/// A text is hashed as ISO 8859-1 if that has all its letters, else as UTF-8 (RFC 2831, 2.1.2.1).
fn charset(text: &str) -> Vec<u8> {
    let latin: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    latin.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether they are equal, in a time that does not depend on where they differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// The directives whose meaning is known; each may stand once. Others are passed over.
const KNOWN: &[&str] =
    &["authzid", "charset", "cnonce", "digest-uri", "maxbuf", "nc", "nonce", "qop", "realm", "response", "username"];

/// `key=value` with commas between them; a value may be quoted, with backslashes (RFC 2831, 7.1).
fn parse(message: &[u8]) -> Result<BTreeMap<&'static str, Vec<u8>>, Refused> {
    let mut found = BTreeMap::new();
    let mut rest = message;
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Ok(found),
            [b',', after @ ..] => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let len = rest.iter().position(|byte| *byte == b'=').ok_or(Refused::Malformed("a key without a value"))?;
        let key = rest[..len].trim_ascii_end();
        if key.is_empty() || key.iter().any(|byte| matches!(byte, b',' | b'"') || byte.is_ascii_whitespace()) {
            return Err(Refused::Malformed("a key"));
        }
        let (value, after) = value(rest[len + 1..].trim_ascii_start())?;
        rest = after.trim_ascii_start();
        if !matches!(rest, [] | [b',', ..]) {
            return Err(Refused::Malformed("something behind a value"));
        }
        if let Some(known) = KNOWN.iter().find(|known| key.eq_ignore_ascii_case(known.as_bytes()))
            && found.insert(*known, value).is_some()
        {
            return Err(Refused::Malformed("a directive that stands twice"));
        }
    }
}

/// The value at the beginning of `text`, and what stands behind it.
fn value(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Refused> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let len = text.iter().position(|byte| *byte == b',' || byte.is_ascii_whitespace()).unwrap_or(text.len());
        return Ok((text[..len].to_vec(), &text[len..]));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'"') => return Ok((value, bytes.as_slice())),
            Some(b'\\') => value.push(*bytes.next().ok_or(Refused::Malformed("an open quote"))?),
            Some(byte) => value.push(*byte),
            None => return Err(Refused::Malformed("an open quote")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let users = [("chris", "secret"), ("jack", "pw"), ("bj\u{f6}rn", "\u{20ac}"), ("q\"uo\\te", "x")];
        Users::new(users.map(|(user, password)| (user.to_owned(), password.to_owned())).into())
    }

    #[test]
    fn rfc_2831_section_4() {
        let response = b"charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"OA6MG9tEQGm2hh\",\
            nc=00000001,cnonce=\"OA6MHXh6VqTrRk\",digest-uri=\"imap/elwood.innosoft.com\",\
            response=d388dad90d4bbd760a152321f2143af7,qop=auth";
        let step = check(response, "OA6MG9tEQGm2hh", "imap", "elwood.innosoft.com", &users());
        let token = b"rspauth=ea40f60335c427b5527b84dbabcdfffd".to_vec();
        assert_eq!(step, Ok(Step::Proved { user: "chris".to_owned(), token }));
    }

    /// As Java's client answers its server (JDK 17).
    const JAVA_NONCE: &str = "eIOq+wGAvoRBgvcvbZDaFzhNFEDkLGjS3za9FhZh";
    const JAVA: &str = "charset=utf-8,username=\"jack\",realm=\"zk-sasl-md5\",\
        nonce=\"eIOq+wGAvoRBgvcvbZDaFzhNFEDkLGjS3za9FhZh\",nc=00000001,cnonce=\"x8UvXgDBhlDA5RI7Vh1n16eEkgiK5Z4qqC6uCrlB\",\
        digest-uri=\"zookeeper/zk-sasl-md5\",maxbuf=65536,response=52d8f804d33bede3ca226a008592758f,qop=auth";

    fn java(message: &str) -> Result<Step, Refused> {
        DigestMd5::Challenged(JAVA_NONCE.to_owned()).take(message.as_bytes(), &users(), || unreachable!("no challenge"))
    }

    #[test]
    fn javas_client_is_believed_and_answered_as_by_java() {
        let token = b"rspauth=3a0c75b3f8111f7402cdfcf14197750e".to_vec();
        let proved = Ok(Step::Proved { user: "jack".to_owned(), token });
        assert_eq!(java(JAVA), proved);
        // What Java's server takes as well, tried with it.
        for (from, to) in [
            ("charset=utf-8,", ""),
            ("nc=00000001,", ""),
            ("qop=auth", "qop=\"auth\""),
            ("charset=utf-8", "charset=\"utf-8\""),
            ("charset=utf-8", "charset=utf-8,foo=bar,foo=bar"),
            ("charset=utf-8", "charset=utf-8 , ,foo = \"b\\\"c\" "),
            (",nonce=", ",NONCE="),
            (",nonce=", ", nonce = "),
            ("charset=utf-8", "charset=utf-8,"),
        ] {
            assert!(JAVA.contains(from), "{from}");
            assert_eq!(java(&JAVA.replacen(from, to, 1)), proved, "{from} to {to}");
        }
    }

    #[test]
    fn what_is_not_as_agreed_is_refused() {
        use Refused::{Malformed, Mismatch, Missing, WrongPassword};
        for (from, to, refused) in [
            ("\"jack\"", "\"jill\"", WrongPassword),
            ("\"jack\"", "\"chris\"", WrongPassword),
            ("52d8f8", "52d8f9", WrongPassword),
            ("52d8f8", "", WrongPassword),
            ("cnonce=\"x", "cnonce=\"y", WrongPassword),
            ("qop=auth", "qop=auth,authzid=\"super\"", WrongPassword),
            ("digest-uri=\"zookeeper", "digest-uri=\"ZOOKEEPER", WrongPassword),
            ("zk-sasl-md5\",maxbuf", "zk-sasl-md5/foo\",maxbuf", Mismatch("digest-uri")),
            ("nc=00000001", "nc=00000002", Mismatch("nc")),
            ("qop=auth", "qop=auth-int", Mismatch("qop")),
            ("charset=utf-8", "charset=UTF-8", Mismatch("charset")),
            ("realm=\"zk-sasl-md5\"", "realm=\"x\"", Mismatch("realm")),
            ("realm=\"zk-sasl-md5\",", "", Missing("realm")),
            ("nonce=\"eI", "nonce=\"eJ", Mismatch("nonce")),
            ("username=", "user=", Missing("username")),
            ("response=", "respons=", Missing("response")),
            ("charset=utf-8", "charset=utf-8,charset=utf-8", Malformed("a directive that stands twice")),
            ("charset=utf-8", "charset=utf-8,foo", Malformed("a key")),
            ("qop=auth", "qop=\"auth", Malformed("an open quote")),
            ("qop=auth", "qop=\"auth\\", Malformed("an open quote")),
            ("qop=auth", "qop", Malformed("a key without a value")),
            ("qop=auth", "qop=\"auth\"x", Malformed("something behind a value")),
            ("\"jack\"", "\"\u{0}\"", WrongPassword),
        ] {
            assert!(JAVA.contains(from), "{from}");
            assert_eq!(java(&JAVA.replacen(from, to, 1)), Err(refused), "{from} to {to}");
        }
        assert_eq!(java(""), Err(Missing("username")));
    }

    /// A response as a client makes it.
    fn answer(challenge: &[u8], user: &str, password: &str, authzid: Option<&str>) -> Vec<u8> {
        let challenge = String::from_utf8(challenge.to_vec()).expect("text");
        let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce");
        let uri = "AUTHENTICATE:zookeeper/zk-sasl-md5";
        let response = digest(user, HOST, password, nonce, b"c,\"n", authzid.map(str::as_bytes), uri);
        let quoted = user.replace('\\', "\\\\").replace('"', "\\\"");
        let authzid = authzid.map(|authzid| format!(",authzid=\"{authzid}\"")).unwrap_or_default();
        format!(
            "username=\"{quoted}\",realm=\"{HOST}\",nonce=\"{nonce}\",cnonce=\"c,\\\"n\",nc={NONCE_COUNT},\
             digest-uri=\"zookeeper/zk-sasl-md5\",response={response},charset=utf-8{authzid}"
        )
        .into_bytes()
    }

    fn challenge(exchange: &mut DigestMd5) -> Vec<u8> {
        match exchange.take(b"", &users(), || [7; NONCE_BYTES]) {
            Ok(Step::Challenge(challenge)) => challenge,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_exchange_is_had_once() {
        let mut exchange = DigestMd5::default();
        let first = challenge(&mut exchange);
        assert!(first.starts_with(b"realm=\"zk-sasl-md5\",nonce=\"0707"), "{first:?}");
        let right = answer(&first, "jack", "pw", None);
        let proved = exchange.take(&right, &users(), || unreachable!("no second challenge"));
        assert!(matches!(proved, Ok(Step::Proved { user, .. }) if user == "jack"));
        assert_eq!(exchange.take(b"", &users(), || [0; NONCE_BYTES]), Err(Refused::Over), "not even from the start");
        assert_eq!(exchange.take(&right, &users(), || [0; NONCE_BYTES]), Err(Refused::Over));
        // Whoever was wrong may not try again with the same nonce.
        let mut exchange = DigestMd5::default();
        let first = challenge(&mut exchange);
        let wrong = answer(&first, "jack", "no", None);
        assert_eq!(exchange.take(&wrong, &users(), || [0; NONCE_BYTES]), Err(Refused::WrongPassword));
        let right = answer(&first, "jack", "pw", None);
        assert_eq!(exchange.take(&right, &users(), || [0; NONCE_BYTES]), Err(Refused::Over));
        let long = vec![b' '; MESSAGE_BYTES_MAX + 1];
        assert_eq!(DigestMd5::Begun.take(&long, &users(), || [0; NONCE_BYTES]), Err(Refused::TooLong(4097)));
    }

    #[test]
    fn names_and_passwords_of_any_letters() {
        for (user, password) in [("bj\u{f6}rn", "\u{20ac}"), ("q\"uo\\te", "x")] {
            let mut exchange = DigestMd5::default();
            let first = challenge(&mut exchange);
            let response = answer(&first, user, password, None);
            let proved = exchange.take(&response, &users(), || unreachable!("no second challenge"));
            assert!(matches!(proved, Ok(Step::Proved { user: proved, .. }) if proved == user), "{user}");
        }
        assert_eq!(charset("bj\u{f6}rn"), b"bj\xf6rn");
        assert_eq!(charset("\u{20ac}"), "\u{20ac}".as_bytes());
    }

    #[test]
    fn an_authzid_makes_nobody_else() {
        let mut exchange = DigestMd5::default();
        let first = challenge(&mut exchange);
        let response = answer(&first, "jack", "pw", Some("super"));
        let proved = exchange.take(&response, &users(), || unreachable!("no second challenge"));
        assert!(matches!(proved, Ok(Step::Proved { user, .. }) if user == "jack"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", users());
        assert!(shown.contains("jack") && !shown.contains("secret") && !shown.contains("pw"), "{shown}");
    }
}
