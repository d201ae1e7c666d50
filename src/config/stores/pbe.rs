//! Encryption by a password: PBES2 (RFC 8018) and the schemes of PKCS#12 (RFC 7292, appendix B and C), as far as keytool and
//! openssl write them, the old ones included.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::StoreError;
use crate::tls::der::{Der, DerError, oid_text, tag};

/// More rounds than this would take a start's patience: a hundred times what keytool does.
const ROUNDS_MAX: u32 = 10_000_000;

const PBES2: &str = "1.2.840.113549.1.5.13";
const PBKDF2: &str = "1.2.840.113549.1.5.12";

/// Decrypts `data` with the algorithm of this AlgorithmIdentifier (its items).
pub(super) fn decrypt(mut algorithm: Der<'_>, password: &str, data: &[u8]) -> Result<Vec<u8>, StoreError> {
    let name = oid_text(algorithm.expect(tag::OID)?.body);
    let mut parameters = algorithm.sequence()?;
    if name == PBES2 {
        return pbes2(parameters, password, data);
    }
    let salt = parameters.expect(tag::OCTET_STRING)?.body;
    let rounds = rounds(&mut parameters)?;
    let derive = |purpose, len| derive::<Sha1>(&bmp(password), salt, rounds, purpose, len, 64);
    let cipher = match name.as_str() {
        "1.2.840.113549.1.12.1.3" => Cipher::TripleDes,
        "1.2.840.113549.1.12.1.4" => {
            // Two keys: the first comes again as the third.
            let mut key = derive(KEY, 16);
            key.extend_from_within(..8);
            return Cipher::TripleDes.decrypt(&key, &derive(IV, 8), data);
        }
        "1.2.840.113549.1.12.1.5" => Cipher::Rc2(128),
        "1.2.840.113549.1.12.1.6" => Cipher::Rc2(40),
        _ => return Err(StoreError::Cipher(name)),
    };
    cipher.decrypt(&derive(KEY, cipher.key_len()), &derive(IV, 8), data)
}

fn rounds(parameters: &mut Der<'_>) -> Result<u32, StoreError> {
    match parameters.small()? {
        rounds @ 1..=ROUNDS_MAX => Ok(rounds),
        _ => Err(StoreError::Malformed("a number of rounds that is out of bounds")),
    }
}

fn pbes2(mut parameters: Der<'_>, password: &str, data: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut derivation = parameters.sequence()?;
    let name = oid_text(derivation.expect(tag::OID)?.body);
    if name != PBKDF2 {
        return Err(StoreError::Cipher(name));
    }
    let mut pbkdf2 = derivation.sequence()?;
    let salt = pbkdf2.expect(tag::OCTET_STRING)?.body;
    let rounds = rounds(&mut pbkdf2)?;
    if pbkdf2.peek() == Some(tag::INTEGER) {
        // The length of the key, which the cipher gives as well.
        pbkdf2.small()?;
    }
    let prf = match pbkdf2.optional(tag::SEQUENCE)? {
        None => "1.2.840.113549.2.7".to_owned(),
        Some(prf) => oid_text(prf.items().expect(tag::OID)?.body),
    };

    let mut scheme = parameters.sequence()?;
    let name = oid_text(scheme.expect(tag::OID)?.body);
    let cipher = match name.as_str() {
        "2.16.840.1.101.3.4.1.2" => Cipher::Aes(128),
        "2.16.840.1.101.3.4.1.22" => Cipher::Aes(192),
        "2.16.840.1.101.3.4.1.42" => Cipher::Aes(256),
        "1.2.840.113549.3.7" => Cipher::TripleDes,
        _ => return Err(StoreError::Cipher(name)),
    };
    let iv = scheme.expect(tag::OCTET_STRING)?.body;

    let mut key = vec![0; cipher.key_len()];
    let password = password.as_bytes();
    match prf.as_str() {
        "1.2.840.113549.2.7" => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, rounds, &mut key),
        "1.2.840.113549.2.8" => pbkdf2::pbkdf2_hmac::<Sha224>(password, salt, rounds, &mut key),
        "1.2.840.113549.2.9" => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut key),
        "1.2.840.113549.2.10" => pbkdf2::pbkdf2_hmac::<Sha384>(password, salt, rounds, &mut key),
        "1.2.840.113549.2.11" => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut key),
        _ => return Err(StoreError::Cipher(prf)),
    }
    cipher.decrypt(&key, iv, data)
}

#[derive(Clone, Copy)]
enum Cipher {
    /// Bits of the key.
    Aes(usize),
    TripleDes,
    /// Bits of the key.
    Rc2(usize),
}

impl Cipher {
    const fn key_len(self) -> usize {
        match self {
            Self::Aes(bits) | Self::Rc2(bits) => bits / 8,
            Self::TripleDes => 24,
        }
    }

    /// A wrong password shows in the padding, nearly always: what comes out is not trusted to be right.
    fn decrypt(self, key: &[u8], iv: &[u8], data: &[u8]) -> Result<Vec<u8>, StoreError> {
        fn cbc<C: KeyIvInit + BlockDecryptMut>(key: &[u8], iv: &[u8], data: &[u8]) -> Result<Vec<u8>, StoreError> {
            let cipher = C::new_from_slices(key, iv).map_err(|_| StoreError::Malformed("an IV of another length"))?;
            cipher.decrypt_padded_vec_mut::<Pkcs7>(data).map_err(|_| StoreError::Password)
        }
        match self {
            Self::Aes(128) => cbc::<cbc::Decryptor<aes::Aes128>>(key, iv, data),
            Self::Aes(192) => cbc::<cbc::Decryptor<aes::Aes192>>(key, iv, data),
            Self::Aes(_) => cbc::<cbc::Decryptor<aes::Aes256>>(key, iv, data),
            Self::TripleDes => cbc::<cbc::Decryptor<des::TdesEde3>>(key, iv, data),
            Self::Rc2(bits) => {
                use aes::cipher::InnerIvInit;
                let cipher = rc2::Rc2::new_with_eff_key_len(key, bits);
                let cipher = cbc::Decryptor::inner_iv_slice_init(cipher, iv)
                    .map_err(|_| StoreError::Malformed("an IV of another length"))?;
                cipher.decrypt_padded_vec_mut::<Pkcs7>(data).map_err(|_| StoreError::Password)
            }
        }
    }
}

/// What a derived secret is for (RFC 7292, B.3).
const KEY: u8 = 1;
const IV: u8 = 2;
const MAC: u8 = 3;

/// A password as PKCS#12 counts it: UTF-16 with a zero behind it.
fn bmp(password: &str) -> Vec<u8> {
    password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect()
}

/// RFC 7292, B.2, with a hash of blocks of `block` bytes.
fn derive<D: Digest>(password: &[u8], salt: &[u8], rounds: u32, purpose: u8, len: usize, block: usize) -> Vec<u8> {
    let fill =
        |text: &[u8]| -> Vec<u8> { text.iter().copied().cycle().take(text.len().div_ceil(block) * block).collect() };
    let mut input = fill(salt);
    input.extend(fill(password));
    let mut derived = Vec::new();
    loop {
        let mut hash = D::new().chain_update(vec![purpose; block]).chain_update(&input).finalize();
        for _ in 1..rounds {
            hash = D::digest(&hash);
        }
        derived.extend_from_slice(&hash);
        if derived.len() >= len {
            derived.truncate(len);
            return derived;
        }
        // Each block of the input grows by the hash, repeated to a block, and one.
        for chunk in input.chunks_mut(block) {
            let mut carry = 1;
            for (at, byte) in chunk.iter_mut().enumerate().rev() {
                let sum = u16::from(*byte) + u16::from(hash[at % hash.len()]) + carry;
                *byte = (sum & 0xff) as u8;
                carry = sum >> 8;
            }
        }
    }
}

/// Whether `mac` protects `content` (a PKCS#12 file's MacData, its items).
pub(super) fn check_mac(mut mac: Der<'_>, password: &str, content: &[u8]) -> Result<(), StoreError> {
    let mut digest = mac.sequence()?;
    let algorithm = oid_text(digest.sequence()?.expect(tag::OID)?.body);
    let expected = digest.expect(tag::OCTET_STRING)?.body;
    let salt = mac.expect(tag::OCTET_STRING)?.body;
    let rounds = if mac.is_empty() { 1 } else { rounds(&mut mac)? };
    let mut passwords = vec![bmp(password)];
    if password.is_empty() {
        // Some write "no password" as no bytes at all.
        passwords.push(Vec::new());
    }
    for password in passwords {
        macro_rules! verified {
            ($hash:ty, $len:literal, $block:literal) => {{
                let key = derive::<$hash>(&password, salt, rounds, MAC, $len, $block);
                let mac = Hmac::<$hash>::new_from_slice(&key).expect("HMAC takes keys of any length");
                mac.chain_update(content).verify_slice(expected).is_ok()
            }};
        }
        let is_right = match algorithm.as_str() {
            "1.3.14.3.2.26" => verified!(Sha1, 20, 64),
            "2.16.840.1.101.3.4.2.4" => verified!(Sha224, 28, 64),
            "2.16.840.1.101.3.4.2.1" => verified!(Sha256, 32, 64),
            "2.16.840.1.101.3.4.2.2" => verified!(Sha384, 48, 128),
            "2.16.840.1.101.3.4.2.3" => verified!(Sha512, 64, 128),
            _ => return Err(StoreError::Cipher(algorithm)),
        };
        if is_right {
            return Ok(());
        }
    }
    Err(StoreError::Password)
}

/// An EncryptedPrivateKeyInfo as PKCS#8.
pub(super) fn decrypt_key(encrypted: &[u8], password: &str) -> Result<Vec<u8>, StoreError> {
    let mut parts = Der(encrypted).sequence()?;
    let algorithm = parts.sequence()?;
    let data = parts.expect(tag::OCTET_STRING)?.body;
    let key = decrypt(algorithm, password, data)?;
    // A wrong password may leave a padding that looks right.
    let is_one = Der(&key).sequence().and_then(|mut key| key.small());
    is_one.map(|_| key).map_err(|DerError(_)| StoreError::Password)
}
