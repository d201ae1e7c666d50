//! Key stores and trust stores: JKS, PKCS#12 and PEM files into keys and certificates (Apache's `FileKeyStoreLoader`s).
//!
//! The type is the one that is named, or that of the file's name, as in Apache's server. As in Java's own loaders, a file of the
//! type JKS may be a PKCS#12 file and the other way round: keytool has written PKCS#12 under any name since Java 9.

mod jks;
mod pbe;
mod pem;
mod pkcs12;

use std::fs;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::tls::Identity;
use crate::tls::der::DerError;

/// The longest store that is read.
const BYTES_MAX: u64 = 16 << 20;

/// How a store is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StoreType {
    Jks,
    Pem,
    Pkcs12,
}

impl StoreType {
    /// By the name of the type, if one is named, else by the end of the file's name (`KeyStoreFileType`).
    pub(super) fn of(name: Option<&str>, path: &str) -> Result<Self, String> {
        match name.filter(|name| !name.is_empty()) {
            Some(name) => match name.to_ascii_uppercase().as_str() {
                "JKS" => Ok(Self::Jks),
                "PEM" => Ok(Self::Pem),
                "PKCS12" => Ok(Self::Pkcs12),
                _ => Err(format!("stores of the type \"{name}\" are not read: JKS, PEM and PKCS12 are")),
            },
            None => match path.rsplit_once('.').map(|(_, end)| end) {
                Some("jks") => Ok(Self::Jks),
                Some("pem") => Ok(Self::Pem),
                Some("p12") => Ok(Self::Pkcs12),
                _ => Err(format!("the name \"{path}\" does not tell its type by .jks, .pem or .p12")),
            },
        }
    }
}

/// Why a store could not be read.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("it is larger than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("the password is wrong, or the file was changed")]
    Password,
    #[error("it is neither a JKS nor a PKCS#12 store")]
    Magic,
    #[error("it is damaged: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Der(#[from] DerError),
    #[error("it is encrypted with {0}, which is not supported")]
    Cipher(String),
}

/// What a store is read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Private keys, with their certificates.
    Keys,
    /// Certificates that are trusted. Private keys are not decrypted: their password need not be the store's.
    Trust,
}

/// What a store holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Empty if it was read for trust.
    pub(super) keys: Vec<Identity>,
    /// Those that are trusted: certificates that stand alone, and the first of each key's (Java's `TrustStoreUtil`).
    pub(super) trusted: Vec<CertificateDer<'static>>,
}

impl Store {
    /// A key and its certificates; `key` is PKCS#8, decrypted, or none if the store was read for trust.
    fn add_key(&mut self, key: Option<Vec<u8>>, chain: Vec<CertificateDer<'static>>) {
        self.trusted.extend(chain.first().cloned());
        if let Some(key) = key {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
            self.keys.push(Identity { key, chain });
        }
    }
}

/// Reads a store.
pub(super) fn read(path: &Path, kind: StoreType, password: &str, purpose: Purpose) -> Result<Store, StoreError> {
    if fs::metadata(path)?.len() > BYTES_MAX {
        return Err(StoreError::TooLarge);
    }
    decode(&fs::read(path)?, kind, password, purpose)
}

fn decode(bytes: &[u8], kind: StoreType, password: &str, purpose: Purpose) -> Result<Store, StoreError> {
    match kind {
        StoreType::Pem => pem::decode(bytes, password, purpose),
        StoreType::Jks | StoreType::Pkcs12 if jks::is_one(bytes) => jks::decode(bytes, password, purpose),
        StoreType::Jks | StoreType::Pkcs12 if bytes.first() == Some(&0x30) => pkcs12::decode(bytes, password, purpose),
        StoreType::Jks | StoreType::Pkcs12 => Err(StoreError::Magic),
    }
}

#[cfg(test)]
mod tests;
