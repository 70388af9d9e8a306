//! Who may ask, and what they meet who may not.

use std::os::unix::fs::PermissionsExt;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::super::error::ServeError;
use super::super::options::TlsFiles;
use super::super::tls::Tls;
use super::*;

fn secret(lab: &Lab, name: &str, text: &str) -> PathBuf {
    lab.write(name, text.as_bytes());
    let path = lab.path(name);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// An authority of a test's own.
struct Authorities(CertifiedIssuer<'static, KeyPair>);

impl Authorities {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `name` and its key, as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    fn client(&self, identity: Option<(String, String)>) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.0.pem().as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().tls_certs_only([root]);
        if let Some((cert, key)) = identity {
            builder = builder.identity(reqwest::Identity::from_pem((cert + &key).as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }
}

#[tokio::test]
async fn without_a_token_only_health_and_metrics_answer() {
    let lab = Lab::new();
    let tokens = secret(&lab, "tokens", "of-the-controller\nof-a-peer\n");
    let east = lab.serve_as(Given { token_file: Some(tokens), ..lab.given("east") }, None).await;
    assert_eq!(east.get("health").await.status, 200);
    assert_eq!(east.send(east.client.get(format!("{}/metrics", east.origin))).await.status, 200);
    let ordered = Ordered { authority: lab.authority() };
    let all = [
        (Method::GET, "snapshot"),
        (Method::POST, "region"),
        (Method::POST, "syncs"),
        (Method::GET, "operations/x"),
        (Method::DELETE, "operations/x"),
        (Method::GET, "nothing/at/all"),
        (Method::PUT, "snapshot"),
    ];
    for (method, path) in all {
        for token in [None, Some("of-somebody-else"), Some("of-a-pee"), Some("")] {
            let request = east.client.request(method.clone(), east.url(path)).json(&ordered);
            let request = token.map_or(request.try_clone().unwrap(), |token| request.bearer_auth(token));
            let answer = east.send(request).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"), "{method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert!(!String::from_utf8_lossy(&answer.body).contains("of-"), "{answer:?}");
        }
    }
    let description = format!("{}/openapi.json", east.origin);
    assert_eq!(east.send(east.client.get(&description)).await.code(), "unauthorized");
    assert_eq!(east.send(east.client.get(&description).bearer_auth("of-a-peer")).await.status, 200);
    assert!(!lab.path("east/.debvisor/region.json").exists(), "nothing was written");
    for token in ["of-the-controller", "of-a-peer"] {
        assert_eq!(east.send(east.client.get(east.url("snapshot")).bearer_auth(token)).await.status, 200);
    }
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused() {
    let lab = Lab::new();
    let (ours, theirs) = (Authorities::new(), Authorities::new());
    let (cert, key) = ours.issue("127.0.0.1");
    lab.write("cert.pem", cert.as_bytes());
    lab.write("ca.pem", ours.0.pem().as_bytes());
    let given = Given {
        tls_cert: Some(lab.path("cert.pem")),
        tls_key: Some(secret(&lab, "key.pem", &key)),
        client_ca: Some(lab.path("ca.pem")),
        ..lab.given("east")
    };
    let east = lab.serve_as(given, Some(ours.client(None))).await;
    assert!(east.origin.starts_with("https://"));
    assert_eq!(east.get("health").await.status, 200);
    let none = east.get("snapshot").await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (403, "certificate_required"));
    let good = ours.client(Some(ours.issue("client")));
    assert_eq!(good.get(east.url("snapshot")).send().await.unwrap().status(), 200);
    let bad = ours.client(Some(theirs.issue("client")));
    assert!(bad.get(east.url("snapshot")).send().await.is_err());
    assert!(bad.get(east.url("health")).send().await.is_err());
    // Nor is a server of another authority believed, nor plain HTTP understood.
    assert!(theirs.client(None).get(east.url("health")).send().await.is_err());
    assert!(reqwest::get(east.url("health").replace("https", "http")).await.is_err());
    assert_eq!(east.get("health").await.status, 200, "it goes on");
}

#[tokio::test]
async fn an_unprotected_region_is_not_shown_to_others() {
    let lab = Lab::new();
    let bind = async |given: Given| {
        let options = ServeOptions::new(given, RegionConfig::default()).unwrap();
        let region = lab.region("east");
        Server::bind(&options, region, lab.world.clone(), CancellationToken::new()).await
    };
    let beyond = Given { listen: Some("0.0.0.0:0".to_owned()), ..lab.given("east") };
    let error = bind(beyond.clone()).await.unwrap_err();
    assert!(matches!(error, ServeError::Exposed { .. }) && error.help().unwrap().contains("--insecure"), "{error}");
    assert!(!lab.path("east").exists());
    let server = bind(Given { insecure: true, ..beyond }).await.unwrap();
    assert!(server.exposure().is_some(), "it is told nevertheless");
    drop(server);

    let held = lab.serve("east").await;
    let error = bind(lab.given("east")).await.unwrap_err();
    assert!(error.to_string().contains("ops@host"), "{error}");
    let taken = held.origin.strip_prefix("http://").unwrap().to_owned();
    let error = bind(Given {
        listen: Some(taken),
        region: Some(id("west")),
        data_dir: Some(lab.path("west")),
        ..lab.given("east")
    });
    assert!(matches!(error.await.unwrap_err(), ServeError::Region(_) | ServeError::Listen { .. }));
}

#[tokio::test]
async fn renewed_certificates_and_authorities_need_no_restart() {
    let lab = Lab::new();
    let (first, second) = (Authorities::new(), Authorities::new());
    let replace = |name: &str, text: &str| {
        secret(&lab, &format!("{name}.new"), text);
        fs::rename(lab.path(&format!("{name}.new")), lab.path(name)).unwrap();
    };
    let (cert, key) = first.issue("127.0.0.1");
    replace("cert.pem", &cert);
    replace("key.pem", &key);
    replace("ca.pem", &first.0.pem());
    let given = Given {
        tls_cert: Some(lab.path("cert.pem")),
        tls_key: Some(lab.path("key.pem")),
        client_ca: Some(lab.path("ca.pem")),
        ..lab.given("east")
    };
    let east = lab.serve_as(given, Some(first.client(None))).await;
    // Each with a connection of its own.
    let asks = async |server: &Authorities, client: &Authorities| {
        let client = server.client(Some(client.issue("client")));
        client.get(east.url("snapshot")).send().await.ok().map(|answer| answer.status().as_u16())
    };
    assert_eq!(asks(&first, &first).await, Some(200));
    assert_eq!(asks(&first, &second).await, None);

    // Half of a renewal changes nothing; nor does what is no certificate.
    let (cert, key) = second.issue("127.0.0.1");
    replace("cert.pem", &cert);
    assert_eq!((asks(&first, &first).await, asks(&second, &first).await), (Some(200), None));
    replace("ca.pem", "nonsense");
    assert_eq!((asks(&first, &first).await, asks(&second, &first).await), (Some(200), None));
    fs::remove_file(lab.path("ca.pem")).unwrap();
    assert_eq!(asks(&first, &first).await, Some(200));
    replace("ca.pem", &first.0.pem());
    replace("key.pem", &key);
    assert_eq!((asks(&first, &first).await, asks(&second, &first).await), (None, Some(200)));

    // Whoever the former authority signed is not let in by the new one.
    replace("ca.pem", &second.0.pem());
    assert_eq!((asks(&second, &first).await, asks(&second, &second).await), (None, Some(200)));
}

#[test]
fn a_renewal_that_could_not_be_read_is_read_at_the_next_connection() {
    let lab = Lab::new();
    let authorities = Authorities::new();
    let issue = || {
        let (cert, key) = authorities.issue("127.0.0.1");
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            let _ = fs::remove_file(lab.path(name));
            secret(&lab, name, &text);
        }
    };
    issue();
    let files = TlsFiles { cert: lab.path("cert.pem"), key: lab.path("key.pem"), client_ca: None };
    let tls = Tls::new(files, Arc::clone(&lab.world.clock)).unwrap();
    let first = tls.current();
    assert!(Arc::ptr_eq(&first, &tls.current()));
    issue();
    let busy = |_: &TlsFiles| Err(ServeError::Tls("too many open files".to_owned()));
    assert!(Arc::ptr_eq(&first, &tls.current_by(busy)));
    assert!(Arc::ptr_eq(&first, &tls.current_by(busy)));
    let renewed = tls.current();
    assert!(!Arc::ptr_eq(&first, &renewed), "the files are as they were when they could not be read");
    assert!(Arc::ptr_eq(&renewed, &tls.current()));
}
