//! Against the certificates of `tests/stores`, and what Java says of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn certificate(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let body = text.split("-----BEGIN CERTIFICATE-----").nth(1).and_then(|rest| rest.split("-----END").next());
    STANDARD.decode(body.expect("a certificate").split_whitespace().collect::<String>()).expect("base64")
}

#[test]
fn subjects_as_java_writes_them() {
    let told = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/subjects.txt")).unwrap();
    assert!(told.lines().count() > 5);
    for line in told.lines() {
        let (name, subject) = line.split_once('\t').expect("a name and a subject");
        let bytes = certificate(name);
        assert_eq!(Certificate::parse(&bytes).unwrap().subject_text().unwrap(), subject, "{name}");
    }
}

#[test]
fn versions_and_authorities() {
    for (name, version, is_authority) in [
        ("ca.pem", 3, Some(true)),
        ("server.pem", 3, None),
        ("client_v1.pem", 1, None),
        ("client_self.pem", 3, Some(true)),
    ] {
        let bytes = certificate(name);
        let parts = Certificate::parse(&bytes).unwrap();
        assert_eq!((parts.version, parts.is_authority), (version, is_authority), "{name}");
        assert!(parts.valid.0 > 1_700_000_000 && parts.valid.1 - parts.valid.0 == 36_500 * 86_400, "{name}");
    }
}

#[test]
fn no_certificate_panics() {
    let bytes = certificate("client.pem");
    for len in 0..bytes.len() {
        assert!(Certificate::parse(&bytes[..len]).is_err());
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(parts) = Certificate::parse(&changed) {
                let _ = parts.subject_text();
            }
        }
    }
}

#[test]
fn dates() {
    let item = |tag, body| seconds(Item { tag, body, whole: body });
    assert_eq!(item(tag::UTC_TIME, b"700101000000Z"), Ok(0));
    assert_eq!(item(tag::UTC_TIME, b"240229235959Z"), Ok(1_709_251_199));
    assert_eq!(item(tag::UTC_TIME, b"491231235959Z"), Ok(2_524_607_999));
    assert_eq!(item(tag::UTC_TIME, b"500101000000Z"), Ok(-631_152_000));
    assert_eq!(item(tag::GENERALIZED_TIME, b"20500101000000Z"), Ok(2_524_608_000));
    assert_eq!(item(tag::GENERALIZED_TIME, b"99991231235959Z"), Ok(FOREVER));
    for wrong in [&b""[..], b"Z", b"7001010000Z", b"700101000000", b"701301000000Z", b"7001010000x0Z"] {
        assert!(item(tag::UTC_TIME, wrong).is_err(), "{wrong:?}");
    }
    assert!(item(tag::INTEGER, b"700101000000Z").is_err());
}

#[test]
fn names_are_escaped_as_in_java() {
    let text = |value: &str| {
        let mut text = String::new();
        escape(value, &mut text);
        text
    };
    assert_eq!(text("a,b=c+d<e>f#g;h\"i\\j"), "a\\,b\\=c\\+d\\<e\\>f\\#g\\;h\\\"i\\\\j");
    assert_eq!(text("  a b "), "\\ \\ a b\\ ");
    assert_eq!(text(" "), "\\ ");
    assert_eq!(text("a\0b"), "a\\00b");
    assert_eq!(text(""), "");
    assert_eq!(text("\u{e9}\n"), "\u{e9}\n");
}
