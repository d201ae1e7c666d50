//! TLS and SASL for clients: what they are offered, by whose keys and passwords, and what their identities are worth.
//!
//! Sources: `X509Util`, `ClientX509Util`, `NettyServerCnxnFactory`, `X509AuthenticationProvider`; `ServerCnxnFactory`,
//! `SaslServerCallbackHandler`, `SASLAuthenticationProvider`, `ProviderRegistry`, `ZooKeeperServer.isSaslSuperUser`.
//!
//! What asks for protection that is not there (revocation lists, Kerberos, classes of Java) is an error: to go on would let in
//! whom the operator wants to keep out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::jaas;
use super::settings::{Setting, Settings};
use super::stores::{self, Purpose, Store, StoreType};
use super::{ConfigError, ErrorKind, Listen, NoticeKind, Place, Secret};
use crate::pipeline::auth::digest_md5::Users;
use crate::tls::acceptor::cipher_suites;
use crate::tls::{Acceptor, ClientAuth, Protocol, TlsError};

/// TLS and SASL.
#[derive(Clone, Debug, Default)]
pub struct SecurityConfig {
    /// TLS for clients, if any port offers it.
    pub tls: Option<TlsConfig>,
    /// The users of SASL (DIGEST-MD5), from the section of `java.security.auth.login.config`; `None`: SASL is not offered.
    pub sasl_users: Option<Users>,
    /// `allowSaslFailedClients`: who fails to prove who he is may stay, as nobody.
    pub sasl_failed_allowed: bool,
    /// Whether lists may name `sasl` (`authProvider.N`).
    pub sasl_scheme: bool,
    /// Whether lists may name `x509`.
    pub x509_scheme: bool,
    /// `superUser`, `superUser.N`.
    pub sasl_super_users: BTreeSet<String>,
    /// `letAnySaslUserDoX`.
    pub any_sasl_user: Option<String>,
    /// `X509AuthenticationProvider.superUser`.
    pub x509_super_user: Option<String>,
}

/// TLS for clients.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// `secureClientPort` and `secureClientPortAddress`.
    pub listen: Option<Listen>,
    /// `client.portUnification`: `clientPort` takes both.
    pub port_unification: bool,
    /// Keys, trust and versions.
    pub acceptor: Acceptor,
    /// `netty.server.outstandingHandshake.limit`; `None`: not set.
    pub handshakes_max: Option<u32>,
}

/// The section of the login configuration that is the server's, unless `sasl.serverconfig` names another.
const SECTION_DEFAULT: &str = "Server";

/// Options of the digest module that are users.
const USER_PREFIX: &str = "user_";

/// Apache's providers by the last part of their classes' names, with what they are here.
const PROVIDERS: &[(&str, Provider)] = &[
    ("SASLAuthenticationProvider", Provider::Sasl),
    ("X509AuthenticationProvider", Provider::X509),
    ("DigestAuthenticationProvider", Provider::Always),
    ("IPAuthenticationProvider", Provider::Always),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Provider {
    Sasl,
    X509,
    /// There without being asked for.
    Always,
}

pub(super) fn load(settings: &mut Settings, secure_listen: Option<Listen>) -> Result<SecurityConfig, ConfigError> {
    let providers = providers(settings);
    let tls = tls(settings, secure_listen)?;
    let sasl_users = sasl_users(settings)?;
    Ok(SecurityConfig {
        sasl_failed_allowed: settings.flag("allowSaslFailedClients", false),
        sasl_scheme: providers.contains(&Provider::Sasl),
        // Apache adds it by itself where there is TLS (`QuorumPeerConfig.configureSSLAuth`).
        x509_scheme: tls.is_some() || providers.contains(&Provider::X509),
        sasl_super_users: settings
            .iter()
            .filter(|(key, _)| *key == "superUser" || key.starts_with("superUser."))
            .map(|(_, setting)| setting.value.clone())
            .filter(|user| !user.is_empty())
            .collect(),
        any_sasl_user: settings.text("letAnySaslUserDoX").map(|setting| setting.value),
        x509_super_user: settings.text("X509AuthenticationProvider.superUser").map(|setting| setting.value),
        tls,
        sasl_users,
    })
}

fn unprotected(setting: &Setting, problem: impl Into<String>, advice: impl Into<String>) -> ConfigError {
    ConfigError::new(ErrorKind::Unprotected, problem, advice).key(&setting.key).at(Some(setting.place.clone()))
}

fn providers(settings: &mut Settings) -> Vec<Provider> {
    let mut found = Vec::new();
    let mut strangers = Vec::new();
    for (_, setting) in settings.iter().filter(|(key, _)| key.starts_with("authProvider.")) {
        let name = setting.value.strip_prefix("org.apache.zookeeper.server.auth.");
        match PROVIDERS.iter().find(|(known, _)| name == Some(*known)) {
            Some((_, provider)) => found.push(*provider),
            None => strangers.push(setting.clone()),
        }
    }
    for setting in strangers {
        let text = format!(
            "\"{}\" is a class that cannot be loaded here: nobody has an identity of its scheme",
            setting.value
        );
        settings.notice(NoticeKind::Unprotected, &setting, text);
    }
    found
}

/// The users of the digest module of the server's section.
fn sasl_users(settings: &mut Settings) -> Result<Option<Users>, ConfigError> {
    let section = settings.text("sasl.serverconfig");
    let super_password = settings.text("SASLAuthenticationProvider.superPassword").map(|setting| Secret(setting.value));
    let Some(file) = settings.text("java.security.auth.login.config") else {
        return match section {
            None => Ok(None),
            Some(section) => Err(section.refuse(
                "is set but java.security.auth.login.config is not",
                "set that too: it names the file that has the section",
            )),
        };
    };
    let name = section.as_ref().map_or(SECTION_DEFAULT, |section| &section.value);
    // Java takes a URL, and a second = for "this file alone".
    let path = file.value.trim_start_matches('=');
    let path = PathBuf::from(path.strip_prefix("file://").or_else(|| path.strip_prefix("file:")).unwrap_or(path));
    let bytes = fs::read(&path).map_err(|error| {
        file.refuse(
            format!("{} cannot be read: {error}", path.display()),
            "name a file that the server's user may read",
        )
    })?;
    let mut sections = jaas::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        let place = Place::Line { file: path.clone(), line: error.line };
        ConfigError::new(ErrorKind::Syntax, error.to_string(), "write it as Java's login configurations are written")
            .at(Some(place))
    })?;
    let Some(modules) = sections.remove(name) else {
        let text = format!("{} has no section {name}: SASL is not offered to clients", path.display());
        settings.notice(NoticeKind::Different, &file, text);
        return Ok(None);
    };
    let mut passwords = BTreeMap::new();
    for module in modules {
        if !module.class.ends_with("DigestLoginModule") {
            let problem = format!("section {name} of {} asks for {}", path.display(), module.class);
            let advice = "only DIGEST-MD5 (org.apache.zookeeper.server.auth.DigestLoginModule) is offered here: GSSAPI \
                          (Kerberos) and other mechanisms are not built";
            return Err(unprotected(&file, problem, advice));
        }
        for (option, password) in module.options {
            if let Some(user) = option.strip_prefix(USER_PREFIX) {
                passwords.insert(user.to_owned(), password);
            }
        }
    }
    if let (Some(own), Some(password)) = (passwords.get_mut("super"), super_password) {
        *own = password.0;
    }
    if passwords.is_empty() {
        let text = format!("section {name} of {} has no {USER_PREFIX}...: nobody can prove who he is", path.display());
        settings.notice(NoticeKind::Different, &file, text);
    }
    Ok(Some(Users::new(passwords)))
}

/// What is said of one store.
struct StoreSettings {
    location: Option<Setting>,
    password: Option<Setting>,
    password_path: Option<Setting>,
    kind: Option<Setting>,
}

impl StoreSettings {
    fn read(settings: &mut Settings, [location, password, password_path, kind]: [&'static str; 4]) -> Self {
        let mut given = |key| settings.text(key).filter(|setting| !setting.value.is_empty());
        Self {
            location: given(location),
            password: given(password),
            password_path: given(password_path),
            kind: given(kind),
        }
    }

    fn load(&self, location: &Setting, purpose: Purpose) -> Result<Store, ConfigError> {
        let kind =
            StoreType::of(self.kind.as_ref().map(|kind| kind.value.as_str()), &location.value).map_err(|problem| {
                self.kind.as_ref().unwrap_or(location).refuse(problem, "name its type: JKS, PEM or PKCS12")
            })?;
        let password = self.password()?;
        stores::read(Path::new(&location.value), kind, &password.0, purpose)
            .map_err(|error| location.refuse(format!("{}: {error}", location.value), "mend it, or name another"))
    }

    /// The file counts more than the value (`X509Util.getPasswordFromConfigPropertyOrFile`).
    fn password(&self) -> Result<Secret, ConfigError> {
        let Some(path) = &self.password_path else {
            return Ok(Secret(self.password.as_ref().map(|setting| setting.value.clone()).unwrap_or_default()));
        };
        let text = fs::read_to_string(&path.value).map_err(|error| {
            path.refuse(format!("{} cannot be read: {error}", path.value), "name a file that holds the password alone")
        })?;
        Ok(Secret(text.strip_suffix('\n').map_or(text.as_str(), |text| text).to_owned()))
    }
}

fn tls(settings: &mut Settings, listen: Option<Listen>) -> Result<Option<TlsConfig>, ConfigError> {
    let keys = StoreSettings::read(
        settings,
        ["ssl.keyStore.location", "ssl.keyStore.password", "ssl.keyStore.passwordPath", "ssl.keyStore.type"],
    );
    let trust = StoreSettings::read(
        settings,
        ["ssl.trustStore.location", "ssl.trustStore.password", "ssl.trustStore.passwordPath", "ssl.trustStore.type"],
    );
    let port_unification = settings.flag("client.portUnification", false);
    let client_auth = client_auth(settings)?;
    let protocols = protocols(settings)?;
    let suites = suites(settings)?;
    let limit = settings.lenient_int("netty.server.outstandingHandshake.limit", -1);
    let refused = refused_checks(settings);
    let Some(by) = settings
        .text("secureClientPort")
        .filter(|_| listen.is_some())
        .or_else(|| settings.text("client.portUnification").filter(|_| port_unification))
    else {
        if let Some(location) = keys.location {
            let text = "acts only with secureClientPort or client.portUnification";
            settings.notice(NoticeKind::Different, &location, text);
        }
        return Ok(None);
    };
    refused?;
    let Some(location) = keys.location.clone() else {
        return Err(by.refuse("TLS needs a private key, and ssl.keyStore.location is not set", "name a key store"));
    };
    let identities = keys.load(&location, Purpose::Keys)?.keys;
    let (trusted, trust_setting) = match (client_auth, &trust.location) {
        (ClientAuth::None, _) => (Vec::new(), None),
        (_, Some(location)) => (trust.load(location, Purpose::Trust)?.trusted, Some(location)),
        (_, None) => {
            let problem = "clients are asked for a certificate, and ssl.trustStore.location is not set";
            return Err(by.refuse(problem, "name a trust store, or set ssl.clientAuth=none"));
        }
    };
    let acceptor = Acceptor::new(identities, trusted, client_auth, &protocols, suites.as_deref()).map_err(|error| {
        let setting = match &error {
            TlsError::Trusted(..) | TlsError::NobodyTrusted => trust_setting.unwrap_or(&by),
            TlsError::NoProtocol | TlsError::NoCipherSuite => &by,
            TlsError::NoKey | TlsError::Key(_) | TlsError::Certificate(_) => &location,
        };
        setting.refuse(format!("{}: {error}", setting.value), "mend the store, or name another")
    })?;
    let handshakes_max = u32::try_from(limit).ok().filter(|limit| *limit > 0);
    Ok(Some(TlsConfig { listen, port_unification, acceptor, handshakes_max }))
}

/// Checks of clients' certificates that are asked for and not made.
fn refused_checks(settings: &mut Settings) -> Result<(), ConfigError> {
    let verifies_names = settings.flag("ssl.hostnameVerification", true);
    for (key, what) in [("ssl.crl", "revocation lists are"), ("ssl.ocsp", "OCSP is")] {
        if settings.flag(key, false) {
            let setting = settings.text(key).expect("it was just read as true");
            let problem = format!("{what} not looked at here, and revoked certificates would be believed");
            return Err(unprotected(&setting, problem, "remove it only if no certificate is ever revoked"));
        }
    }
    if settings.flag("ssl.clientHostnameVerification", false) && verifies_names {
        let setting = settings.text("ssl.clientHostnameVerification").expect("it was just read as true");
        let problem = "the names of clients' hosts are not compared with their certificates here";
        return Err(unprotected(&setting, problem, "remove it if the certificate alone is proof enough"));
    }
    for (key, default) in [("ssl.context.supplier.class", ""), ("ssl.authProvider", "x509")] {
        if let Some(setting) = settings.text(key).filter(|setting| setting.value != default) {
            let problem = format!("\"{}\" is a class of Java", setting.value);
            return Err(unprotected(
                &setting,
                problem,
                "remove the line: certificates are verified by the trust store",
            ));
        }
    }
    Ok(())
}

fn client_auth(settings: &mut Settings) -> Result<ClientAuth, ConfigError> {
    match settings.text("ssl.clientAuth").filter(|setting| !setting.value.is_empty()) {
        None => Ok(ClientAuth::default()),
        Some(setting) => match setting.value.to_ascii_lowercase().as_str() {
            "none" => Ok(ClientAuth::None),
            "want" => Ok(ClientAuth::Want),
            "need" => Ok(ClientAuth::Need),
            _ => Err(setting.refuse(format!("\"{}\" is not known", setting.value), "write none, want or need")),
        },
    }
}

/// `ssl.enabledProtocols`; without it those up to `ssl.protocol`.
fn protocols(settings: &mut Settings) -> Result<Vec<Protocol>, ConfigError> {
    let one = settings.text("ssl.protocol");
    let Some(setting) = settings.text("ssl.enabledProtocols").or_else(|| one.filter(|one| one.value == "TLSv1.2"))
    else {
        return Ok(vec![Protocol::Tls13, Protocol::Tls12]);
    };
    let mut protocols = Vec::new();
    let mut strangers = Vec::new();
    for name in setting.value.split(',').map(str::trim) {
        match name {
            "TLSv1.3" => protocols.push(Protocol::Tls13),
            "TLSv1.2" => protocols.push(Protocol::Tls12),
            _ => strangers.push(name.to_owned()),
        }
    }
    if protocols.is_empty() {
        let problem = format!("none of \"{}\" is spoken here", setting.value);
        return Err(setting.refuse(problem, "name TLSv1.2, TLSv1.3 or both"));
    }
    if !strangers.is_empty() {
        settings.adjusted(&setting, format!("{} is not spoken here and does not count", strangers.join(", ")));
    }
    Ok(protocols)
}

fn suites(settings: &mut Settings) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(setting) = settings.text("ssl.ciphersuites") else { return Ok(None) };
    let known = cipher_suites();
    let (suites, strangers): (Vec<String>, Vec<String>) =
        setting.value.split(',').map(|name| name.trim().to_owned()).partition(|name| known.contains(name));
    if suites.is_empty() {
        let problem = format!("none of \"{}\" is known here", setting.value);
        return Err(setting.refuse(problem, format!("name some of {}", known.join(","))));
    }
    if !strangers.is_empty() {
        settings.adjusted(&setting, format!("{} is not known here and does not count", strangers.join(", ")));
    }
    Ok(Some(suites))
}

#[cfg(test)]
mod tests;
