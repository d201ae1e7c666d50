//! Java's own key stores (`sun.security.provider.JavaKeyStore`, `KeyProtector`).
//!
//! ```text
//!  magic 0xfeedfeed  u32      version 1 or 2  u32      number of entries  u32
//!  entry: kind u32 (1 key, 2 trusted certificate), alias text, made u64
//!         key: length u32, EncryptedPrivateKeyInfo, number of certificates u32, certificates
//!  certificate: type text (version 2 only), length u32, DER
//!  SHA-1 over the password, "Mighty Aphrodite" and all before
//! ```
//!
//! A text is a length u16 and its bytes; passwords count as UTF-16. A key is protected with a stream of SHA-1s: each of the
//! password and the one before, the first of the password and a salt. What protects the file is the password's strength and the
//! file's mode, not this.

use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};

use super::{Purpose, Store, StoreError};
use crate::tls::der::{Der, tag};

const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

/// 1.3.6.1.4.1.42.2.17.1.1
const KEY_PROTECTOR: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];

/// Bytes of a SHA-1, and of a salt.
const HASH_LEN: usize = 20;

/// Whether these bytes begin as such a store does.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

pub(super) fn decode(bytes: &[u8], password: &str, purpose: Purpose) -> Result<Store, StoreError> {
    let secret: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (content, hash) = bytes.split_last_chunk::<HASH_LEN>().ok_or(StoreError::Malformed("it is too short"))?;
    let expected = Sha1::new().chain_update(&secret).chain_update("Mighty Aphrodite").chain_update(content).finalize();
    if expected[..] != hash[..] {
        return Err(StoreError::Password);
    }
    let mut reader = Reader(content);
    reader.take(MAGIC.len())?;
    let version = reader.number()?;
    if !(1..=2).contains(&version) {
        return Err(StoreError::Malformed("a version that is not known"));
    }
    let mut store = Store::default();
    for _ in 0..reader.number()? {
        let kind = reader.number()?;
        reader.text()?;
        reader.take(8)?;
        match kind {
            1 => {
                let protected = reader.bytes()?;
                let key = match purpose {
                    Purpose::Keys => Some(unprotect(protected, &secret)?),
                    Purpose::Trust => None,
                };
                let mut chain = Vec::new();
                for _ in 0..reader.number()? {
                    chain.push(reader.certificate(version)?);
                }
                store.add_key(key, chain);
            }
            2 => store.trusted.push(reader.certificate(version)?),
            _ => return Err(StoreError::Malformed("an entry of an unknown kind")),
        }
    }
    if reader.0.is_empty() { Ok(store) } else { Err(StoreError::Malformed("something behind the last entry")) }
}

/// A key as PKCS#8.
fn unprotect(protected: &[u8], secret: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut parts = Der(protected).sequence()?;
    let algorithm = parts.sequence()?.expect(tag::OID)?.body;
    if algorithm != KEY_PROTECTOR {
        return Err(StoreError::Cipher(crate::tls::der::oid_text(algorithm)));
    }
    let body = parts.expect(tag::OCTET_STRING)?.body;
    let split = body
        .split_first_chunk::<HASH_LEN>()
        .and_then(|(salt, rest)| rest.split_last_chunk::<HASH_LEN>().map(|(key, hash)| (salt, key, hash)));
    let Some((salt, hidden, hash)) = split else {
        return Err(StoreError::Malformed("a key that is too short"));
    };
    let mut pad = *salt;
    let mut key = Vec::with_capacity(hidden.len());
    for chunk in hidden.chunks(HASH_LEN) {
        pad = Sha1::new().chain_update(secret).chain_update(pad).finalize().into();
        key.extend(chunk.iter().zip(pad).map(|(byte, pad)| byte ^ pad));
    }
    if Sha1::new().chain_update(secret).chain_update(&key).finalize()[..] == hash[..] {
        Ok(key)
    } else {
        // The store's own password was right: this key has another.
        Err(StoreError::Password)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(StoreError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, StoreError> {
        let (digits, rest) = self.0.split_first_chunk::<4>().ok_or(StoreError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*digits))
    }

    fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let len = self.number()?;
        self.take(len as usize)
    }

    fn text(&mut self) -> Result<&'a [u8], StoreError> {
        let (digits, rest) = self.0.split_first_chunk::<2>().ok_or(StoreError::Malformed("it ends too early"))?;
        self.0 = rest;
        self.take(usize::from(u16::from_be_bytes(*digits)))
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, StoreError> {
        if version == 2 && self.text()? != b"X.509" {
            return Err(StoreError::Malformed("a certificate of an unknown type"));
        }
        Ok(CertificateDer::from(self.bytes()?.to_vec()))
    }
}
