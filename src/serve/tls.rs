//! TLS of the server: its certificate, and the authority that client certificates must come from.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::auth::expect_private;
use super::error::ServeError;
use super::options::TlsFiles;

/// What connections are made with.
///
/// A client without a certificate may connect, so that health can be asked; what it may ask more is decided with the
/// request. One with another authority's certificate may not.
pub(super) fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, ServeError> {
    let TlsFiles { cert, key, client_ca } = files;
    let chain = certificates("the certificate", cert)?;
    expect_private("the key", key)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("the key", key, &error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |error: &dyn std::fmt::Display| ServeError::Tls(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = match client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates("the client authority", path)? {
                roots.add(root).map_err(|error| unreadable("the client authority", path, &error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| failed(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| unreadable(what, path, &error.to_string()))?;
    if chain.is_empty() { Err(unreadable(what, path, "it holds no certificate")) } else { Ok(chain) }
}

fn unreadable(what: &'static str, path: &Path, detail: &str) -> ServeError {
    ServeError::File {
        what,
        path: path.to_owned(),
        detail: detail.to_owned(),
        help: "name a file in PEM form that this program may read".to_owned(),
    }
}
