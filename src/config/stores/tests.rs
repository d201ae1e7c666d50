//! Against the stores of `tests/stores`, which keytool and openssl have made.

use super::*;

const PASSWORD: &str = "apassword";

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kind(name: &str) -> StoreType {
    StoreType::of(None, name).unwrap()
}

fn pem(name: &str) -> Store {
    decode(&file(name), StoreType::Pem, PASSWORD, Purpose::Keys).unwrap()
}

#[test]
fn a_key_and_its_chain_out_of_every_kind_of_store() {
    let wanted = &pem("server.pem").keys[0];
    assert_eq!(wanted.chain.len(), 2);
    for name in [
        "server.p12",
        "server_rc2.p12",
        "server_3des.p12",
        "server_keytool.p12",
        "server_keytool.jks",
        "server_misnamed.jks",
        "server_encrypted.pem",
        "server_sha1.pem",
    ] {
        let store =
            decode(&file(name), kind(name), PASSWORD, Purpose::Keys).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(store.keys.len(), 1, "{name}");
        let key = &store.keys[0];
        assert_eq!(key.key.secret_der(), wanted.key.secret_der(), "{name}");
        assert_eq!(key.chain[..2], wanted.chain[..], "{name}");
        // Those of stores have the authority, too.
        assert_eq!(key.chain.len(), if name.ends_with(".pem") { 2 } else { 3 }, "{name}");
    }
}

#[test]
fn what_is_trusted() {
    let wanted = decode(&file("trust.pem"), StoreType::Pem, "", Purpose::Trust).unwrap().trusted;
    assert_eq!(wanted.len(), 3);
    for name in ["trust.jks", "trust.p12"] {
        let store = decode(&file(name), kind(name), PASSWORD, Purpose::Trust).unwrap();
        assert!(store.keys.is_empty());
        assert_eq!(store.trusted.len(), 3, "{name}");
        assert!(wanted.iter().all(|certificate| store.trusted.contains(certificate)), "{name}");
    }
    // Of a key only the first certificate is trusted, as in Java: not the authorities that lie beside it.
    let own = &pem("server.pem").keys[0].chain[0];
    for name in ["server.p12", "server_keytool.jks"] {
        let store = decode(&file(name), kind(name), PASSWORD, Purpose::Trust).unwrap();
        assert_eq!(store.trusted, std::slice::from_ref(own), "{name}");
        assert!(store.keys.is_empty(), "{name}");
    }
}

#[test]
fn a_wrong_password_is_told_as_such() {
    for name in ["server.p12", "server_rc2.p12", "server_keytool.jks", "server_encrypted.pem", "trust.jks", "trust.p12"]
    {
        for wrong in ["", "bpassword"] {
            let refused = decode(&file(name), kind(name), wrong, Purpose::Keys);
            assert!(matches!(refused, Err(StoreError::Password)), "{name} with \"{wrong}\": {refused:?}");
        }
    }
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    for name in ["server.p12", "server_keytool.jks", "trust.jks", "trust.p12", "server_encrypted.pem"] {
        let whole = file(name);
        for len in (0..whole.len()).step_by(7) {
            let cut = decode(&whole[..len], kind(name), PASSWORD, Purpose::Trust);
            let is_refused = cut.as_ref().is_err() || cut.as_ref().is_ok_and(|store| store.trusted.len() < 3);
            assert!(is_refused, "{name} cut at {len}");
        }
    }
    // A PKCS#12 file has its password's proof at the end, which costs time: only what stands before it is changed here.
    for name in ["server_keytool.jks", "trust.jks"] {
        let whole = file(name);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(decode(&changed, kind(name), PASSWORD, Purpose::Keys).is_err(), "{name} changed at {at}");
        }
    }
    assert!(matches!(decode(b"text", StoreType::Jks, "", Purpose::Keys), Err(StoreError::Magic)));
    assert!(decode(b"no sections", StoreType::Pem, "", Purpose::Keys).unwrap().keys.is_empty());
    let open = b"-----BEGIN CERTIFICATE-----\nAAAA";
    assert!(matches!(decode(open, StoreType::Pem, "", Purpose::Trust), Err(StoreError::Malformed(_))));
}

#[test]
fn types_by_name() {
    assert_eq!(StoreType::of(Some("pkcs12"), "a.jks"), Ok(StoreType::Pkcs12));
    assert_eq!(StoreType::of(Some(""), "/x.y/a.jks"), Ok(StoreType::Jks));
    assert_eq!(StoreType::of(None, "a.pem"), Ok(StoreType::Pem));
    assert_eq!(StoreType::of(None, "a.p12"), Ok(StoreType::Pkcs12));
    for (name, path) in [(None, "a.pfx"), (None, "jks"), (Some("BCFKS"), "a.jks"), (Some("nope"), "a.jks")] {
        assert!(StoreType::of(name, path).is_err(), "{name:?} {path}");
    }
}
