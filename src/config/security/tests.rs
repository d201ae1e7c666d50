use super::*;
use crate::config::{Config, Machine, Source, load, load_with_flags};

fn store(name: &str) -> String {
    format!("{}/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn config(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let settings: Vec<_> = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load(&Source::Default, &settings, &Machine::with_cores([0]))
}

fn error(settings: &[(&str, &str)]) -> String {
    config(settings).err().unwrap_or_else(|| panic!("{settings:?} is accepted")).to_string()
}

const SASL: (&str, &str) = ("authProvider.1", "org.apache.zookeeper.server.auth.SASLAuthenticationProvider");

fn jaas(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jaas.conf");
    fs::write(&path, text).unwrap();
    (folder, path.display().to_string())
}

const USERS: &str =
    "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_super=\"s\" user_jack=\"j\"; };";

fn users(pairs: &[(&str, &str)]) -> Users {
    Users::new(pairs.iter().map(|(user, password)| ((*user).to_owned(), (*password).to_owned())).collect())
}

#[test]
fn nothing_is_offered_unless_it_is_asked_for() {
    let security = config(&[]).unwrap().security;
    assert!(security.tls.is_none() && security.sasl_users.is_none() && !security.sasl_scheme && !security.x509_scheme);
    // A key store alone opens no port.
    let config = config(&[("ssl.keyStore.location", "/nowhere.jks")]).unwrap();
    assert!(config.security.tls.is_none());
    assert!(config.notices.lines().iter().any(|line| line.contains("acts only with secureClientPort")));
}

#[test]
fn users_of_the_login_configuration() {
    let (_folder, path) = jaas(USERS);
    let key = "java.security.auth.login.config";
    let security = config(&[SASL, (key, &path)]).unwrap().security;
    assert!(security.sasl_scheme);
    assert_eq!(security.sasl_users, Some(users(&[("super", "s"), ("jack", "j")])));
    let with_password = config(&[(key, &path), ("SASLAuthenticationProvider.superPassword", "x")]).unwrap().security;
    assert_eq!(with_password.sasl_users, Some(users(&[("super", "x"), ("jack", "j")])));
    assert!(!with_password.sasl_scheme);
    // The file as a URL, and by a flag of the Java machine.
    let url = format!("=file:{path}");
    assert!(config(&[(key, &url)]).unwrap().security.sasl_users.is_some());
    let flags = format!("-Xmx1g -D{key}={path} -Dzookeeper.{}={}", SASL.0, SASL.1);
    let by_flags = load_with_flags(&Source::Default, &flags, &[], &Machine::with_cores([0])).unwrap().security;
    assert!(by_flags.sasl_users.is_some() && by_flags.sasl_scheme);
    // No section: as without the file.
    let (_folder, empty) = jaas("");
    assert_eq!(config(&[(key, &empty)]).unwrap().security.sasl_users, None);
    let other = config(&[(key, &path), ("zookeeper.sasl.serverconfig", "Other")]).unwrap();
    assert_eq!(other.security.sasl_users, None);
    assert!(other.notices.lines().iter().any(|line| line.contains("has no section Other")));
}

#[test]
fn login_configurations_that_cannot_be_kept() {
    let key = "java.security.auth.login.config";
    assert!(error(&[(key, "/nowhere/jaas.conf")]).contains("/nowhere/jaas.conf cannot be read"));
    assert!(error(&[("sasl.serverconfig", "X")]).contains("java.security.auth.login.config is not"));
    let (_folder, path) = jaas("Server {\n com.sun.security.auth.module.Krb5LoginModule required\n useKeyTab=true; };");
    let refused = config(&[(key, &path)]).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unprotected);
    assert!(refused.to_string().contains("Krb5LoginModule; only DIGEST-MD5") && refused.advice.contains("GSSAPI"));
    let (_folder, path) = jaas("Server {\n M required\n a=; };");
    let place = Some(Place::Line { file: PathBuf::from(&path), line: 3 });
    assert_eq!(config(&[(key, &path)]).unwrap_err().place, place);
}

#[test]
fn enforced_schemes_have_to_be_there() {
    let (_folder, path) = jaas(USERS);
    let file = ("java.security.auth.login.config", path.as_str());
    assert!(error(&[("sessionRequireClientSASLAuth", "true")]).contains("SASL is not set up"));
    assert!(error(&[("sessionRequireClientSASLAuth", "true"), file]).contains("SASL is not set up"));
    let enforced = config(&[("sessionRequireClientSASLAuth", "true"), SASL, file]).unwrap();
    assert_eq!(enforced.access.enforced_schemes, BTreeSet::from(["sasl".to_owned()]));
    let both = [("enforce.auth.enabled", "true"), ("enforce.auth.schemes", "sasl,digest")];
    assert!(error(&both).contains("does not have the authentication scheme \"sasl\""));
    assert!(config(&[both[0], both[1], SASL]).is_ok());
}

#[test]
fn who_is_super_and_which_providers_are_strangers() {
    let config = config(&[
        ("superUser", "a"),
        ("superUser.2", "b"),
        ("letAnySaslUserDoX", "any"),
        ("X509AuthenticationProvider.superUser", "CN=root"),
        ("authProvider.x509", "org.apache.zookeeper.server.auth.X509AuthenticationProvider"),
        ("authProvider.2", "com.example.Own"),
    ])
    .unwrap();
    let security = &config.security;
    assert_eq!(security.sasl_super_users, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    assert_eq!(security.any_sasl_user.as_deref(), Some("any"));
    assert_eq!(security.x509_super_user.as_deref(), Some("CN=root"));
    assert!(security.x509_scheme && !security.sasl_scheme);
    let lines = config.notices.lines();
    assert!(
        lines.iter().any(|line| line.contains("com.example.Own") && line.contains("cannot be loaded")),
        "{lines:?}"
    );
    assert!(config.notices.is_unprotected());
}

#[test]
fn tls_with_stores_of_all_types() {
    for (keys, trust) in [
        ("server_keytool.jks", "trust.jks"),
        ("server_misnamed.jks", "trust.p12"),
        ("server.p12", "trust.pem"),
        ("server.pem", "trust.pem"),
        ("server_encrypted.pem", "trust.jks"),
    ] {
        let (keys, trust) = (store(keys), store(trust));
        let config = config(&[
            ("secureClientPort", "0"),
            ("ssl.keyStore.location", &keys),
            ("ssl.keyStore.password", "apassword"),
            ("ssl.trustStore.location", &trust),
            ("ssl.trustStore.password", "apassword"),
        ])
        .unwrap_or_else(|error| panic!("{keys} {trust}: {error}"));
        let security = config.security;
        assert!(security.x509_scheme);
        let tls = security.tls.unwrap();
        assert_eq!((tls.listen, tls.port_unification), (Some(Listen { host: None, port: 0 }), false));
    }
}

#[test]
fn passwords_from_files_and_types_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "apassword\n").unwrap();
    let path = path.display().to_string();
    let copy = folder.path().join("keys.store");
    fs::copy(store("server_keytool.jks"), &copy).unwrap();
    let copy = copy.display().to_string();
    let base =
        [("client.portUnification", "true"), ("ssl.clientAuth", "none"), ("ssl.keyStore.location", copy.as_str())];
    let with = |more: &[(&str, &str)]| config(&[&base, more].concat());
    let tls =
        with(&[("ssl.keyStore.type", "JKS"), ("ssl.keyStore.passwordPath", &path), ("ssl.keyStore.password", "no")]);
    assert!(tls.unwrap().security.tls.is_some_and(|tls| tls.port_unification && tls.listen.is_none()));
    let refused = |more: &[(&str, &str)]| with(more).unwrap_err().to_string();
    assert!(refused(&[]).contains("does not tell its type"));
    assert!(refused(&[("ssl.keyStore.type", "JKS")]).contains("the password is wrong, or the file was changed"));
    assert!(refused(&[("ssl.keyStore.type", "BCFKS")]).contains("ssl.keyStore.type: stores of the type \"BCFKS\""));
    let nowhere = ("ssl.keyStore.passwordPath", "/nowhere/p");
    assert!(refused(&[("ssl.keyStore.type", "JKS"), nowhere]).contains("/nowhere/p cannot be read"));
}

#[test]
fn tls_that_cannot_be_kept() {
    let (keys, trust) = (store("server.pem"), store("trust.pem"));
    let port = ("secureClientPort", "0");
    let keys = ("ssl.keyStore.location", keys.as_str());
    let trust = ("ssl.trustStore.location", trust.as_str());
    assert!(config(&[port, keys, trust]).is_ok());
    for (more, words) in [
        (&[][..], "secureClientPort: TLS needs a private key, and ssl.keyStore.location is not set"),
        (&[keys], "clients are asked for a certificate, and ssl.trustStore.location is not set"),
        (&[keys, trust, ("ssl.crl", "true")], "ssl.crl: revocation lists are not looked at"),
        (&[keys, trust, ("ssl.ocsp", "true")], "ssl.ocsp: OCSP is not looked at"),
        (&[keys, trust, ("ssl.clientHostnameVerification", "true")], "the names of clients' hosts are not compared"),
        (&[keys, trust, ("ssl.context.supplier.class", "a.B")], "\"a.B\" is a class of Java"),
        (&[keys, trust, ("ssl.authProvider", "own")], "\"own\" is a class of Java"),
        (
            &[keys, trust, ("ssl.clientAuth", "maybe")],
            "ssl.clientAuth: \"maybe\" is not known; write none, want or need",
        ),
        (&[keys, trust, ("ssl.enabledProtocols", "TLSv1,TLSv1.1")], "none of \"TLSv1,TLSv1.1\" is spoken here"),
        (&[keys, trust, ("ssl.ciphersuites", "NULL")], "none of \"NULL\" is known here; name some of TLS_AES_256_GCM"),
    ] {
        let said = error(&[&[port], more].concat());
        assert!(said.contains(words), "{more:?}: {said}");
    }
    // A store without a key, and one without anybody.
    let no_key = store("ca.pem");
    assert!(error(&[port, ("ssl.keyStore.location", &no_key), trust]).contains("it holds no private key"));
    let empty = tempfile::Builder::new().suffix(".pem").tempfile().unwrap();
    let nobody = empty.path().display().to_string();
    assert!(error(&[port, keys, ("ssl.trustStore.location", &nobody)]).contains("none is trusted"));
    assert!(config(&[port, keys, ("ssl.clientAuth", "NONE")]).is_ok());
    assert!(config(&[port, keys, trust, ("ssl.protocol", "TLSv1.2"), ("ssl.clientAuth", "want")]).is_ok());
    let partly = config(&[port, keys, trust, ("ssl.enabledProtocols", "TLSv1.1, TLSv1.3")]).unwrap();
    assert!(partly.notices.lines().iter().any(|line| line.contains("TLSv1.1 is not spoken here")));
    // TLS 1.3 alone and suites of 1.2 alone leave nothing.
    let apart = [("ssl.enabledProtocols", "TLSv1.3"), ("ssl.ciphersuites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")];
    assert!(error(&[port, keys, trust, apart[0], apart[1]]).contains("none of the protocol versions"));
}
