//! TLS of the server: its certificate, and the authority that client certificates must come from.
//!
//! The files are looked at with every connection, and read again when one of them changed, so that certificates can be
//! renewed without a restart. Those that do not go together, such as a certificate whose key is not there yet, are
//! told once, and what was read last stays in force until they do: each connection tries again. Connections that stand
//! stay as they were made.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::auth::{Stamp, expect_private, stamp};
use super::error::ServeError;
use super::options::TlsFiles;
use super::validity::validity;
use crate::model::{Clock, Timestamp};

/// What connections are made with, now.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    /// The files as they were when they were read.
    stamps: Stamps,
    /// As they were when it was told that they cannot be used.
    told: Option<Stamps>,
    config: Arc<ServerConfig>,
}

/// Certificate, key and client authority; none: not there.
type Stamps = [Option<Stamp>; 3];

fn stamps(files: &TlsFiles) -> Stamps {
    let TlsFiles { cert, key, client_ca } = files;
    let of = |path: &Path| fs::metadata(path).ok().as_ref().map(stamp);
    [of(cert), of(key), client_ca.as_deref().and_then(of)]
}

impl Tls {
    /// Reads the files.
    pub(super) fn new(files: TlsFiles, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        // Looked at first: what changes meanwhile is read again.
        let stamps = stamps(&files);
        let config = config(&files)?;
        Ok(Self { files, clock, read: Mutex::new(Read { stamps, told: None, config }) })
    }

    /// What those who connect will find amiss with the certificates: that one is not valid now.
    pub(super) fn amiss(&self, now: Timestamp) -> Option<String> {
        amiss(&self.files, now)
    }

    /// For a connection that is made now.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current_by(config)
    }

    /// The same, read in a way of the caller's.
    pub(super) fn current_by(
        &self,
        config: impl FnOnce(&TlsFiles) -> Result<Arc<ServerConfig>, ServeError>,
    ) -> Arc<ServerConfig> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if now != read.stamps {
            // A failure may have had nothing to do with the files, so it is no reason to leave them unread.
            match config(&self.files) {
                Ok(config) => {
                    tracing::info!("certificate, key and client authority were read again");
                    if let Some(amiss) = amiss(&self.files, self.clock.now()) {
                        tracing::warn!("{amiss}");
                    }
                    *read = Read { stamps: now, told: None, config };
                }
                Err(_) if read.told == Some(now) => {}
                Err(error) => {
                    tracing::error!(%error, "the TLS files were changed and cannot be used; those of before are");
                    read.told = Some(now);
                }
            }
        }
        Arc::clone(&read.config)
    }
}

/// The first certificate that is not valid at `now`, in words.
fn amiss(files: &TlsFiles, now: Timestamp) -> Option<String> {
    let TlsFiles { cert, key: _, client_ca } = files;
    let given = [("the certificate", Some(cert.as_path())), ("the client authority", client_ca.as_deref())];
    given.into_iter().find_map(|(what, path)| {
        let path = path?;
        let chain = certificates(what, path).ok()?;
        chain.iter().filter_map(|one| validity(one)).find_map(|(from, until)| {
            let shown = path.display();
            if now > until {
                Some(format!("{what} {shown} is not valid any more since {until}"))
            } else if now < from {
                Some(format!("{what} {shown} is not valid before {from}"))
            } else {
                None
            }
        })
    })
}

/// A client without a certificate may connect, so that health can be asked; what it may ask more is decided with the
/// request. One with another authority's certificate may not.
fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, ServeError> {
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
