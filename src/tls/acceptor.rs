//! The operator's wishes into what every handshake needs: keys, trust, versions and cipher suites.
//!
//! No session is resumed: ZooKeeper's connections live long, and a client's certificate is then looked at each time.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use thiserror::Error;

use super::certificate::Certificate;
use super::trust::Trust;

/// Whether clients are asked for a certificate (`ssl.clientAuth`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientAuth {
    /// They are not.
    None,
    /// They are, and may have none.
    Want,
    /// They are, and must have one.
    #[default]
    Need,
}

/// The versions that are spoken here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Protocol {
    const fn version(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &version::TLS12,
            Self::Tls13 => &version::TLS13,
        }
    }
}

/// A private key with the certificates that show whose it is, its own first.
pub struct Identity {
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PrivateKeyDer<'static>,
    /// Not empty.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Shows no key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(with {} certificates)", self.chain.len())
    }
}

/// Why TLS cannot be offered like this.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TlsError {
    /// There is no key.
    #[error("it holds no private key")]
    NoKey,
    /// A key of a kind that is not supported.
    #[error("its private key cannot be used: {0}")]
    Key(String),
    /// A key without a certificate, or with somebody else's.
    #[error("its certificate cannot be used: {0}")]
    Certificate(String),
    /// Not a certificate.
    #[error("certificate {0} of the trust store cannot be used: {1}")]
    Trusted(usize, String),
    /// Nobody could be let in.
    #[error("clients are asked for a certificate, and none is trusted")]
    NobodyTrusted,
    /// No version is left.
    #[error("none of the protocol versions is spoken here")]
    NoProtocol,
    /// No cipher suite is left.
    #[error("none of the cipher suites is known here")]
    NoCipherSuite,
}

/// What every handshake needs. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor(Arc<ServerConfig>);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor(..)")
    }
}

/// The cipher suites by the names that Java gives them; the strongest first.
pub fn cipher_suites() -> Vec<String> {
    ring::DEFAULT_CIPHER_SUITES.iter().map(suite_name).collect()
}

fn suite_name(suite: &rustls::SupportedCipherSuite) -> String {
    // Those of TLS 1.3 are TLS13_... here and TLS_... to everybody else.
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

impl Acceptor {
    /// Offers `identities` (the first that a client can use), to those whom `trusted` vouches for. `suites`: only these, by
    /// [their names](cipher_suites), if any are named.
    ///
    /// # Errors
    /// Says what is missing or cannot be used.
    pub fn new(
        identities: Vec<Identity>,
        trusted: Vec<CertificateDer<'static>>,
        client_auth: ClientAuth,
        protocols: &[Protocol],
        suites: Option<&[String]>,
    ) -> Result<Self, TlsError> {
        let mut provider = ring::default_provider();
        if let Some(suites) = suites {
            provider.cipher_suites.retain(|suite| suites.contains(&suite_name(suite)));
            if provider.cipher_suites.is_empty() {
                return Err(TlsError::NoCipherSuite);
            }
        }
        let provider = Arc::new(provider);
        let keys =
            identities.into_iter().map(|identity| certified(identity, &provider)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(TlsError::NoKey);
        }
        let versions: Vec<_> = protocols.iter().map(|protocol| protocol.version()).collect();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|_| TlsError::NoProtocol)?;
        let builder = if client_auth == ClientAuth::None {
            builder.with_no_client_auth()
        } else {
            if trusted.is_empty() {
                return Err(TlsError::NobodyTrusted);
            }
            let trust = Trust::new(trusted, client_auth == ClientAuth::Need, provider)
                .map_err(|(at, problem)| TlsError::Trusted(at + 1, problem))?;
            builder.with_client_cert_verifier(Arc::new(trust))
        };
        let mut config = builder.with_cert_resolver(Arc::new(Keys(keys)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.clone()
    }
}

fn certified(identity: Identity, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let own = identity.chain.first().ok_or_else(|| TlsError::Certificate("there is none".to_owned()))?;
    let own = Certificate::parse(own).map_err(|error| TlsError::Certificate(error.to_string()))?;
    let key = provider.key_provider.load_private_key(identity.key).map_err(|error| TlsError::Key(error.to_string()))?;
    if key.public_key().is_some_and(|public| public.as_ref() != own.key_info) {
        return Err(TlsError::Certificate("it belongs to another key".to_owned()));
    }
    Ok(Arc::new(CertifiedKey::new(identity.chain, key)))
}

/// The first key with which the client can do something.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(usable).cloned()
    }
}
