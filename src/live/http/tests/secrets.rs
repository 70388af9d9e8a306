//! Who sees a credential, and over what.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use super::hostile::{Doing, Hostile, Seen, good, sealed};
use super::*;
use crate::config::credentials::{ClientCertificate, PemFile, Secret};
use crate::live::port::{PortError, RegionPort};
use crate::model::observed::RegionStatus;
use crate::model::point::Point;

const SOON: Duration = Duration::from_secs(5);

fn with_token() -> Credential {
    Credential { token: Some(Secret::token("s3cret").unwrap()), ..Credential::default() }
}

fn region_with(origin: &str, credential: Credential) -> HttpRegion {
    HttpRegion::new(west(), origin, deadlines(), credential, world())
}

#[tokio::test]
async fn a_token_goes_to_its_origin_and_is_not_carried_elsewhere() {
    let elsewhere = Hostile::always(good(Vec::<Point>::new())).await;
    let place = elsewhere.origin.clone();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let away = format!("HTTP/1.1 {status}\r\nlocation: {place}/api/v1/x\r\ncontent-length: 0\r\n\r\n");
        let server = Hostile::always(Doing::Say(away.into_bytes())).await;
        let region = region_with(&server.origin, with_token());
        let error = within(SOON, region.points(&web())).await.unwrap_err();
        assert!(error.to_string().contains("sends elsewhere"), "{error}");
        assert_eq!(server.seen()[0].header("authorization"), Some("Bearer s3cret"));
        assert!(!format!("{region:?}").contains("s3cret") && !format!("{error:?}").contains("s3cret"));
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_region_that_refuses_says_how_to_be_let_in() {
    let server = Hostile::always(super::hostile::angry(
        "401 Unauthorized",
        "a token is needed",
        serde_json::json!({"code": "unauthorized"}),
    ))
    .await;
    for (credential, words) in [
        (with_token(), "is not accepted"),
        (Credential::default(), "credentials file"),
        (Credential { withheld: Some("give --trust-origin".to_owned()), ..Credential::default() }, "--trust-origin"),
    ] {
        let error = region_with(&server.origin, credential).points(&web()).await.unwrap_err();
        let PortError::Unreachable { status, reason, help } = error else { panic!("another error") };
        assert_eq!(status, RegionStatus::Unknown);
        assert!(reason.contains("refused the request (401): a token is needed"), "{reason}");
        assert!(help.unwrap().contains(words));
    }
}

#[tokio::test]
async fn a_name_is_reached_where_the_credentials_say() {
    let server = Hostile::always(good(Vec::<Point>::new())).await;
    let connect: SocketAddr = server.origin.trim_start_matches("http://").parse().unwrap();
    let credential = Credential { connect: Some(connect), ..Credential::default() };
    region_with("http://region.invalid:5000", credential).points(&web()).await.unwrap();
    assert_eq!(server.seen()[0].header("host"), Some("region.invalid:5000"));
}

/// An authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> PemFile {
        PemFile { path: PathBuf::from("ca.pem"), text: self.0.pem() }
    }

    /// A certificate for `name` and its key.
    fn signs(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }
}

/// Accepts connections over TLS as `region.example`, of whom `clients` signed.
fn acceptor(authority: &Authority, clients: Option<&Authority>) -> TlsAcceptor {
    let (certificate, key) = authority.signs("region.example");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
        None => builder.unwrap().with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A server that answers over TLS as `region.example`, and lets in whom `clients` signed.
async fn tls(authority: &Authority, clients: Option<&Authority>) -> SocketAddr {
    let acceptor = acceptor(authority, clients);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = acceptor.accept(connection).await else { return };
                let mut head = [0; 4096];
                let length = connection.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).replace("\r\n", "\n");
                let Some((line, headers)) = head.split_once(" HTTP/1.1\n") else { return };
                let seen = Seen { line: line.to_owned(), headers: headers.to_owned(), body: Vec::new() };
                let body = br#"{"status":"success","timestamp":"2026-01-01T00:00:00Z","data":[]}"#;
                let _ = connection.write_all(&sealed(&seen, "200 OK", "application/json", body)).await;
                let _ = connection.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn only_the_authority_of_the_credentials_is_believed() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let connect = Some(tls(&ours, None).await);
    let with = |ca: Option<&Authority>| Credential { ca: ca.map(Authority::pem), connect, ..with_token() };
    let ask = |origin: &str, credential| {
        let region = region_with(origin, credential);
        async move { within(SOON, region.points(&web())).await }
    };
    ask("https://region.example", with(Some(&ours))).await.unwrap();
    ask("https://region.example:8443", with(Some(&ours))).await.unwrap();
    for (origin, ca) in [
        ("https://region.example", None),
        ("https://region.example", Some(&theirs)),
        // Another name than the certificate's.
        ("https://other.example", Some(&ours)),
    ] {
        let error = ask(origin, with(ca)).await.unwrap_err();
        let PortError::Unreachable { status, reason, .. } = error else { panic!("another error") };
        assert_eq!(status, RegionStatus::Unknown, "{reason}");
        assert!(reason.contains("no TLS connection"), "{reason}");
    }
    let broken = PemFile { path: PathBuf::from("ca.pem"), text: "x".to_owned() };
    let broken = Credential { ca: Some(broken), connect, ..with_token() };
    let error = ask("https://region.example", broken).await.unwrap_err();
    assert!(error.to_string().contains("ca.pem cannot be used"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let connect = Some(tls(&ours, Some(&clients)).await);
    let (certificate, key) = clients.signs("cli");
    let client = ClientCertificate {
        cert: PemFile { path: PathBuf::from("client.pem"), text: certificate.pem() },
        key: Secret::text(key.serialize_pem()),
    };
    let credential = Credential { ca: Some(ours.pem()), connect, ..Credential::default() };
    let shown = Credential { client: Some(client), ..credential.clone() };
    within(SOON, region_with("https://region.example", shown).points(&web())).await.unwrap();
    let error = within(SOON, region_with("https://region.example", credential).points(&web())).await.unwrap_err();
    let PortError::Unreachable { status, reason, .. } = error else { panic!("another error") };
    assert!(reason.contains("refused the TLS connection: received fatal alert"), "{reason}");
    assert_eq!(status, RegionStatus::Unknown);
}

/// A server that says so much over TLS and is killed then.
async fn killed(authority: &Authority, said: &'static [u8]) -> SocketAddr {
    let acceptor = acceptor(authority, None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut connection) = acceptor.accept(connection).await else { continue };
            let _ = connection.read(&mut [0; 4096]).await;
            let _ = connection.write_all(said).await;
            let _ = connection.flush().await;
        }
    });
    address
}

#[tokio::test]
async fn a_peer_that_is_killed_under_tls_is_silent_as_any_other() {
    let ours = Authority::new("ours");
    for said in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"] {
        let connect = Some(killed(&ours, said).await);
        let region =
            region_with("https://region.example", Credential { ca: Some(ours.pem()), connect, ..with_token() });
        let error = within(SOON, region.points(&web())).await.unwrap_err();
        let PortError::Unreachable { status, reason, .. } = error else { panic!("another error") };
        assert!(reason.contains("closed the connection in the middle of its answer"), "{reason}");
        assert!(!reason.contains("docs.rs"), "{reason}");
        assert_eq!(status, RegionStatus::Unreachable, "{reason}");
    }
}

#[tokio::test]
async fn the_deadline_that_fired_is_told() {
    // Takes connections and says nothing: the handshake never ends.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("https://{}", mute.local_addr().unwrap());
    let short = Deadlines { connect: Duration::from_millis(150), call: Duration::from_secs(3), ..deadlines() };
    let region = HttpRegion::new(west(), &origin, short, Credential::default(), world());
    let error = within(SOON, region.points(&web())).await.unwrap_err();
    assert!(error.to_string().contains(&format!("no answer from {origin} within 150ms")), "{error}");
}
