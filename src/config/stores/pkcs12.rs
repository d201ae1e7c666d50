//! PKCS#12 files (RFC 7292), with what Java adds: the attribute that makes a certificate a trusted one.

use rustls::pki_types::CertificateDer;

use super::{Purpose, Store, StoreError, pbe};
use crate::tls::certificate::Certificate;
use crate::tls::der::{Der, oid_text, tag};

const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
const CERTIFICATE_BAG: &str = "1.2.840.113549.1.12.10.1.3";
const X509_CERTIFICATE: &str = "1.2.840.113549.1.9.22.1";
const LOCAL_KEY_ID: &str = "1.2.840.113549.1.9.21";
/// Oracle's: for what a certificate is trusted.
const TRUSTED_KEY_USAGE: &str = "2.16.840.1.113894.746875.1.1";

/// The bags of a file, apart.
#[derive(Default)]
struct Bags {
    keys: Vec<KeyBag>,
    certificates: Vec<CertificateBag>,
}

struct KeyBag {
    /// None if the file is read for trust.
    key: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
}

struct CertificateBag {
    certificate: CertificateDer<'static>,
    id: Option<Vec<u8>>,
    is_trusted: bool,
}

pub(super) fn decode(bytes: &[u8], password: &str, purpose: Purpose) -> Result<Store, StoreError> {
    let mut file = Der(bytes).sequence()?;
    if file.small()? != 3 {
        return Err(StoreError::Malformed("a version that is not known"));
    }
    let safe = data_of(file.sequence()?)?;
    // Java reads a file without it, too, which nothing but its mode protects from being changed.
    if let Some(mac) = file.optional(tag::SEQUENCE)? {
        pbe::check_mac(mac.items(), password, safe)?;
    }
    let mut bags = Bags::default();
    let mut contents = Der(safe).sequence()?;
    while !contents.is_empty() {
        let content = contents.sequence()?;
        let mut kind = content;
        match oid_text(kind.expect(tag::OID)?.body).as_str() {
            DATA => bags.read(data_of(content)?, password, purpose)?,
            ENCRYPTED_DATA => {
                let mut encrypted = kind.expect(tag::context(0))?.items().sequence()?;
                encrypted.small()?;
                let mut info = encrypted.sequence()?;
                info.expect(tag::OID)?;
                let algorithm = info.sequence()?;
                let hidden = info.expect(tag::context_primitive(0))?.body;
                bags.read(&pbe::decrypt(algorithm, password, hidden)?, password, purpose)?;
            }
            other => return Err(StoreError::Cipher(other.to_owned())),
        }
    }
    Ok(bags.into_store())
}

/// What a ContentInfo of plain data holds.
fn data_of(mut content: Der<'_>) -> Result<&[u8], StoreError> {
    if oid_text(content.expect(tag::OID)?.body) != DATA {
        return Err(StoreError::Malformed("it is signed, not protected by a password"));
    }
    Ok(content.expect(tag::context(0))?.items().expect(tag::OCTET_STRING)?.body)
}

impl Bags {
    fn read(&mut self, safe: &[u8], password: &str, purpose: Purpose) -> Result<(), StoreError> {
        let mut bags = Der(safe).sequence()?;
        while !bags.is_empty() {
            let mut bag = bags.sequence()?;
            let kind = oid_text(bag.expect(tag::OID)?.body);
            let mut value = bag.expect(tag::context(0))?.items();
            let (mut id, mut is_trusted) = (None, false);
            let mut attributes = bag.optional(tag::SET)?.map_or(Der(&[]), |attributes| attributes.items());
            while !attributes.is_empty() {
                let mut attribute = attributes.sequence()?;
                let name = oid_text(attribute.expect(tag::OID)?.body);
                let mut values = attribute.expect(tag::SET)?.items();
                match name.as_str() {
                    LOCAL_KEY_ID => id = Some(values.expect(tag::OCTET_STRING)?.body.to_vec()),
                    TRUSTED_KEY_USAGE => is_trusted = true,
                    _ => {}
                }
            }
            match kind.as_str() {
                KEY_BAG | SHROUDED_KEY_BAG if purpose == Purpose::Trust => self.keys.push(KeyBag { key: None, id }),
                KEY_BAG => self.keys.push(KeyBag { key: Some(value.any()?.whole.to_vec()), id }),
                SHROUDED_KEY_BAG => {
                    let key = pbe::decrypt_key(value.any()?.whole, password)?;
                    self.keys.push(KeyBag { key: Some(key), id });
                }
                CERTIFICATE_BAG => {
                    let mut parts = value.sequence()?;
                    if oid_text(parts.expect(tag::OID)?.body) == X509_CERTIFICATE {
                        let bytes = parts.expect(tag::context(0))?.items().expect(tag::OCTET_STRING)?.body;
                        let certificate = CertificateDer::from(bytes.to_vec());
                        self.certificates.push(CertificateBag { certificate, id, is_trusted });
                    }
                }
                // Revocation lists and secrets are of no use here.
                _ => {}
            }
        }
        Ok(())
    }

    /// Each key gets the certificate of its id and those above it, as far as they are there.
    fn into_store(mut self) -> Store {
        let mut store = Store::default();
        for key in std::mem::take(&mut self.keys) {
            let own = self.certificates.iter().find(|bag| bag.id.is_some() && bag.id == key.id);
            let mut chain: Vec<CertificateDer<'static>> = own.map(|bag| bag.certificate.clone()).into_iter().collect();
            // Bounded: each certificate is taken once.
            while let Some(next) =
                chain.last().and_then(|last| self.issuer_of(last)).filter(|next| !chain.contains(next))
            {
                chain.push(next.clone());
            }
            store.add_key(key.key, chain);
        }
        store.trusted.extend(self.certificates.into_iter().filter(|bag| bag.is_trusted).map(|bag| bag.certificate));
        store
    }

    fn issuer_of(&self, certificate: &CertificateDer<'_>) -> Option<&CertificateDer<'static>> {
        let below = Certificate::parse(certificate).ok()?;
        self.certificates
            .iter()
            .map(|bag| &bag.certificate)
            .find(|above| Certificate::parse(above).is_ok_and(|above| above.subject == below.issuer))
    }
}
