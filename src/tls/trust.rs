//! Which clients' certificates are believed.
//!
//! webpki decides, with three additions, because Java's trust manager (PKIX) decides so and operators' stores are made for it:
//!
//! - A certificate that lies in the trust store is believed itself, while it holds: the usual way to let in single clients,
//!   whose certificates signed themselves.
//! - A certificate of the first version, which has no extensions and so nothing to forbid, is believed if an authority of the
//!   trust store signed it directly. (webpki takes no certificate below version 3.)
//! - What lies in the trust store and says that it is no authority vouches for itself alone. (To webpki every anchor is an
//!   authority.)

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
};

use super::certificate::Certificate;

/// The verifier of clients' certificates. See the module's page.
#[derive(Debug)]
pub struct Trust {
    certificates: Vec<CertificateDer<'static>>,
    /// For certificates of version 3; none if the store holds no authority.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    is_mandatory: bool,
}

impl Trust {
    /// Trusts what a trust store holds. With `is_mandatory` a client has to have a certificate.
    ///
    /// # Errors
    /// If one of them is not a certificate, with its place in the store.
    pub fn new(
        certificates: Vec<CertificateDer<'static>>,
        is_mandatory: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, (usize, String)> {
        let mut roots = RootCertStore::empty();
        let mut hints = Vec::new();
        for (at, certificate) in certificates.iter().enumerate() {
            let parts = Certificate::parse(certificate).map_err(|error| (at, error.to_string()))?;
            hints.push(DistinguishedName::from(parts.subject.to_vec()));
            if parts.may_sign() {
                roots.add(certificate.clone()).map_err(|error| (at, error.to_string()))?;
            }
        }
        let algorithms = provider.signature_verification_algorithms;
        let chains = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            Some(builder.build().map_err(|error| (0, error.to_string()))?)
        };
        Ok(Self { certificates, chains, hints, algorithms, is_mandatory })
    }

    /// Whether an authority of the store signed this certificate directly.
    fn is_signed_directly(&self, certificate: &Certificate<'_>) -> bool {
        self.certificates.iter().filter_map(|issuer| Certificate::parse(issuer).ok()).any(|issuer| {
            issuer.subject == certificate.issuer
                && issuer.may_sign()
                && self.is_signature(
                    &issuer,
                    certificate.signature_algorithm,
                    certificate.signed,
                    certificate.signature,
                )
        })
    }

    fn is_signature(&self, by: &Certificate<'_>, algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.algorithms.all.iter().any(|candidate| {
            is_same(candidate.signature_alg_id(), algorithm)
                && is_same(candidate.public_key_alg_id(), by.key_algorithm)
                && candidate.verify_signature(by.key, message, signature).is_ok()
        })
    }
}

fn is_same(known: AlgorithmIdentifier, found: &[u8]) -> bool {
    known.as_ref() == found
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<Certificate<'a>, Error> {
    Certificate::parse(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let parts = parse(end_entity)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let is_known = self.certificates.contains(end_entity);
        if is_known || parts.version < 3 {
            if seconds < parts.valid.0 {
                return Err(CertificateError::NotValidYet.into());
            }
            if seconds > parts.valid.1 {
                return Err(CertificateError::Expired.into());
            }
            return if is_known || self.is_signed_directly(&parts) {
                Ok(ClientCertVerified::assertion())
            } else {
                Err(CertificateError::UnknownIssuer.into())
            };
        }
        match &self.chains {
            Some(chains) => chains.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parts = parse(certificate)?;
        if parts.version == 3 {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        }
        let Some((_, candidates)) = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme) else {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        };
        let is_good = candidates.iter().any(|candidate| {
            is_same(candidate.public_key_alg_id(), parts.key_algorithm)
                && candidate.verify_signature(parts.key, message, signed.signature()).is_ok()
        });
        if is_good { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parts = parse(certificate)?;
        if parts.version == 3 {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        }
        let key = SubjectPublicKeyInfoDer::from(parts.key_info);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
