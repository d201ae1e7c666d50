//! PEM files (RFC 7468): certificates, and for a key store the private key, encrypted or not (Apache's `PemReader`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::{Purpose, Store, StoreError, pbe};
use crate::tls::Identity;

pub(super) fn decode(bytes: &[u8], password: &str, purpose: Purpose) -> Result<Store, StoreError> {
    let text = String::from_utf8_lossy(bytes);
    let mut key = None;
    let mut certificates = Vec::new();
    for section in sections(&text) {
        let (label, bytes) = section?;
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                certificates.push(CertificateDer::from(bytes))
            }
            // The first one counts.
            _ if purpose == Purpose::Trust || key.is_some() => {}
            "PRIVATE KEY" => key = Some(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes))),
            "ENCRYPTED PRIVATE KEY" => {
                let plain = pbe::decrypt_key(&bytes, password)?;
                key = Some(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(plain)));
            }
            "RSA PRIVATE KEY" => key = Some(PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(bytes))),
            "EC PRIVATE KEY" => key = Some(PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(bytes))),
            _ => {}
        }
    }
    Ok(match (purpose, key) {
        (Purpose::Trust, _) => Store { keys: Vec::new(), trusted: certificates },
        (Purpose::Keys, Some(key)) => Store { trusted: Vec::new(), keys: vec![Identity { key, chain: certificates }] },
        (Purpose::Keys, None) => Store::default(),
    })
}

/// Label and bytes of each section.
fn sections(text: &str) -> impl Iterator<Item = Result<(&str, Vec<u8>), StoreError>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let end = format!("-----END {label}-----");
        let Some((body, after)) = after.split_once(end.as_str()) else {
            rest = "";
            return Some(Err(StoreError::Malformed("a section without its end")));
        };
        rest = after;
        // A key that is encrypted in the manner before PKCS#8 has header lines, with a colon.
        if body.contains(':') {
            return Some(Err(StoreError::Cipher(
                "openssl's own format (make it PKCS#8: openssl pkcs8 -topk8)".to_owned(),
            )));
        }
        let digits: String = body.split_whitespace().collect();
        Some(match STANDARD.decode(digits) {
            Ok(bytes) => Ok((label, bytes)),
            Err(_) => Err(StoreError::Malformed("a section that is not base64")),
        })
    })
}
