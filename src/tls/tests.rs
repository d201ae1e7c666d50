//! Whole handshakes in memory, with rustls as the client and the certificates of `tests/stores`.

use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::acceptor::cipher_suites;
use super::session::Taken;
use super::*;

fn sections(name: &str, label: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.split(&format!("-----BEGIN {label}-----"))
        .skip(1)
        .map(|rest| rest.split("-----END").next().expect("text"))
        .map(|body| STANDARD.decode(body.split_whitespace().collect::<String>()).expect("base64"))
        .collect()
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    sections(name, "CERTIFICATE").into_iter().map(CertificateDer::from).collect()
}

fn key(name: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(sections(name, "PRIVATE KEY").remove(0)))
}

fn acceptor(client_auth: ClientAuth, protocols: &[Protocol]) -> Acceptor {
    let identity = Identity { key: key("server.pem"), chain: certificates("server.pem") };
    Acceptor::new(vec![identity], certificates("trust.pem"), client_auth, protocols, None).expect("good stores")
}

/// Believes every server, and shows whatever certificate it has, as rustls itself would not.
#[derive(Debug)]
struct Anybody(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Anybody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client(shown: Option<(&str, &str)>, protocol: Protocol) -> ClientConnection {
    let versions: &[_] = match protocol {
        Protocol::Tls12 => &[&rustls::version::TLS12],
        Protocol::Tls13 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(ring::default_provider());
    let shown = shown.map(|(certificate, own_key)| {
        let key = provider.key_provider.load_private_key(key(own_key)).expect("a key");
        Arc::new(CertifiedKey::new(certificates(certificate), key))
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(None)))
        .with_client_cert_resolver(Arc::new(Anybody(shown)));
    ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("a client")
}

/// Carries the handshake to and fro, `step` bytes at a time; the server's session if it ends well.
fn shake_hands(acceptor: &Acceptor, client: &mut ClientConnection, step: usize) -> Result<Session, String> {
    let mut server = Session::new(acceptor);
    let mut opened = Vec::new();
    loop {
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).expect("a vector takes everything");
        }
        let is_over = records.is_empty();
        for piece in records.chunks(step) {
            server.take(piece, &mut opened)?;
        }
        let mut answer = Vec::new();
        server.unsent(&mut answer);
        if is_over && answer.is_empty() {
            assert!(opened.is_empty() && !server.is_handshaking() && !client.is_handshaking());
            return Ok(server);
        }
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("room");
            client.process_new_packets().map_err(|error| format!("client: {error}"))?;
        }
    }
}

const BOTH: [Protocol; 2] = [Protocol::Tls12, Protocol::Tls13];

#[test]
fn clients_that_are_believed_and_what_they_are_called() {
    let acceptor = acceptor(ClientAuth::Need, &BOTH);
    for protocol in BOTH {
        for (name, subject) in [
            (
                "client.pem",
                "CN=caf\u{e9} \\#1,1.2.840.113549.1.9.1=#16056140622e63,OU=keepers+UID=7,O=Zoo\\, Inc.,C=DE",
            ),
            ("client_v1.pem", "CN=client"),
            ("client_middle.pem", "CN=below the middle"),
            ("client_self.pem", "CN=self made"),
        ] {
            let mut client = client(Some((name, name)), protocol);
            let session = shake_hands(&acceptor, &mut client, usize::MAX)
                .unwrap_or_else(|error| panic!("{name} {protocol:?}: {error}"));
            assert_eq!(session.client().as_deref(), Some(subject), "{name} {protocol:?}");
        }
    }
}

#[test]
fn clients_that_are_not_believed() {
    let acceptor = acceptor(ClientAuth::Need, &BOTH);
    for protocol in BOTH {
        for (shown, key, words) in [
            ("stranger.pem", "stranger.pem", "CaUsedAsEndEntity"),
            ("client_expired.pem", "client_expired.pem", "xpired"),
            ("client_leaf.pem", "client_leaf.pem", "UnknownIssuer"),
            // Somebody else's certificate.
            ("client.pem", "stranger.pem", "BadSignature"),
            ("client_v1.pem", "stranger.pem", "BadSignature"),
            ("client_self.pem", "stranger.pem", "BadSignature"),
        ] {
            let refused = shake_hands(&acceptor, &mut client(Some((shown, key)), protocol), usize::MAX);
            let problem = refused.err().unwrap_or_else(|| panic!("{shown} with the key of {key} is let in"));
            assert!(problem.contains(words), "{shown} {protocol:?}: {problem}");
        }
        let nobody = shake_hands(&acceptor, &mut client(None, protocol), usize::MAX);
        assert!(nobody.is_err_and(|problem| problem.contains("certificate")), "{protocol:?}");
    }
}

#[test]
fn certificates_are_wanted_or_not_asked_for() {
    for client_auth in [ClientAuth::Want, ClientAuth::None] {
        let acceptor = acceptor(client_auth, &BOTH);
        let session = shake_hands(&acceptor, &mut client(None, Protocol::Tls13), usize::MAX).unwrap();
        assert_eq!(session.client(), None);
        let mut known = client(Some(("client_v1.pem", "client_v1.pem")), Protocol::Tls12);
        let session = shake_hands(&acceptor, &mut known, usize::MAX).unwrap();
        assert_eq!(session.client().is_some(), client_auth == ClientAuth::Want);
    }
    let wanted = acceptor(ClientAuth::Want, &BOTH);
    let mut stranger = client(Some(("stranger.pem", "stranger.pem")), Protocol::Tls13);
    assert!(shake_hands(&wanted, &mut stranger, usize::MAX).is_err(), "who shows one has to show a good one");
}

#[test]
fn bytes_may_come_in_any_pieces() {
    let acceptor = acceptor(ClientAuth::Need, &BOTH);
    for (protocol, step) in [(Protocol::Tls12, 1), (Protocol::Tls13, 3)] {
        let mut client = client(Some(("client.pem", "client.pem")), protocol);
        let mut server = shake_hands(&acceptor, &mut client, step).unwrap();
        // Longer than a record, both ways.
        let text: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
        client.set_buffer_limit(None);
        client.writer().write_all(&text).unwrap();
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).unwrap();
        }
        let mut opened = Vec::new();
        for piece in records.chunks(1000) {
            assert_eq!(server.take(piece, &mut opened), Ok(Taken::Open));
        }
        assert!(opened == text);

        let mut sealed = Vec::new();
        server.seal(&text, &mut sealed);
        server.end(&mut sealed);
        let (mut heard, mut rest) = (Vec::new(), sealed.as_slice());
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            let state = client.process_new_packets().unwrap();
            let before = heard.len();
            heard.resize(before + state.plaintext_bytes_to_read(), 0);
            client.reader().read_exact(&mut heard[before..]).unwrap();
        }
        assert!(heard == text);
        assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "the end is told");

        client.send_close_notify();
        let mut records = Vec::new();
        client.write_tls(&mut records).unwrap();
        assert_eq!(server.take(&records, &mut opened), Ok(Taken::Ended));
    }
}

#[test]
fn changed_records_are_refused() {
    let acceptor = acceptor(ClientAuth::None, &BOTH);
    let mut client = client(None, Protocol::Tls13);
    let mut server = shake_hands(&acceptor, &mut client, usize::MAX).unwrap();
    client.writer().write_all(b"ruok").unwrap();
    let mut records = Vec::new();
    client.write_tls(&mut records).unwrap();
    *records.last_mut().unwrap() ^= 1;
    let mut opened = Vec::new();
    assert!(server.take(&records, &mut opened).is_err() && opened.is_empty());
    assert!(server.wants_to_say(), "an alert");
    for bytes in [&b"ruok"[..], &[0, 0, 0, 45, 0, 0], &[TLS_HANDSHAKE, 3, 1, 0xff, 0xff], &[TLS_HANDSHAKE; 600]] {
        assert!(Session::new(&acceptor).take(bytes, &mut opened).is_err(), "{bytes:?}");
    }
}

#[test]
fn versions_and_suites_are_as_asked_for() {
    let only = acceptor(ClientAuth::None, &[Protocol::Tls13]);
    assert!(shake_hands(&only, &mut client(None, Protocol::Tls12), usize::MAX).is_err());
    assert!(shake_hands(&only, &mut client(None, Protocol::Tls13), usize::MAX).is_ok());

    let suite = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned();
    assert!(cipher_suites().contains(&suite) && cipher_suites().contains(&"TLS_AES_128_GCM_SHA256".to_owned()));
    let identity = || Identity { key: key("server.pem"), chain: certificates("server.pem") };
    let with = |identities, suites: Option<&[String]>| {
        Acceptor::new(identities, Vec::new(), ClientAuth::None, &BOTH, suites).map(drop)
    };
    assert_eq!(with(vec![identity()], Some(&[suite])), Ok(()));
    assert_eq!(with(vec![identity()], Some(&["x".to_owned()])), Err(TlsError::NoCipherSuite));
    assert_eq!(with(Vec::new(), None), Err(TlsError::NoKey));
    let mixed = Identity { key: key("client.pem"), chain: certificates("server.pem") };
    assert_eq!(with(vec![mixed], None), Err(TlsError::Certificate("it belongs to another key".to_owned())));
    let bare = Identity { key: key("server.pem"), chain: Vec::new() };
    assert!(matches!(with(vec![bare], None), Err(TlsError::Certificate(_))));
}
