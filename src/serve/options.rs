//! What a server is told: the command line over the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::error::ServeError;
use crate::config::RegionConfig;
use crate::model::RegionId;

/// Where a server listens when nobody says.
const LISTEN: &str = "127.0.0.1:5000";

/// What was given on the command line; it wins over the configuration.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The region's id.
    pub region: Option<RegionId>,
    /// Its directory.
    pub data_dir: Option<PathBuf>,
    /// The address to listen on.
    pub listen: Option<String>,
    /// The accepted tokens.
    pub token_file: Option<PathBuf>,
    /// Credentials for other regions.
    pub peer_tokens: Option<PathBuf>,
    /// The certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// The authority of client certificates.
    pub client_ca: Option<PathBuf>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether to listen unprotected beyond this machine.
    pub insecure: bool,
}

/// The files that TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, as PEM.
    pub cert: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// The authority that client certificates must come from; none: none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// All that a server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// The region's id.
    pub region: RegionId,
    /// Its directory.
    pub data_dir: PathBuf,
    /// The address to listen on.
    pub listen: String,
    /// The accepted tokens; none: nobody needs one.
    pub token_file: Option<PathBuf>,
    /// Credentials for other regions.
    pub peer_tokens: Option<PathBuf>,
    /// TLS; none: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The region's own configuration, where it is not in its directory.
    pub config: Option<PathBuf>,
    /// Whether to listen unprotected beyond this machine.
    pub insecure: bool,
}

impl ServeOptions {
    /// Joins the command line with the configuration.
    ///
    /// # Errors
    /// [`ServeError::Missing`] and [`ServeError::Half`].
    pub fn new(given: Given, config: RegionConfig) -> Result<Self, ServeError> {
        let Given {
            region,
            data_dir,
            listen,
            token_file,
            peer_tokens,
            tls_cert,
            tls_key,
            client_ca,
            config: own,
            insecure,
        } = given;
        // The region's own business stays the region's.
        let RegionConfig { runner: _, quiesce: _, hints: _, files: _, allowed_hooks: _, .. } = config;
        let client_ca = client_ca.or(config.client_ca);
        let tls = match (tls_cert.or(config.tls_cert), tls_key.or(config.tls_key)) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key, client_ca }),
            (Some(_), None) => return Err(ServeError::Half { given: "--tls-cert", missing: "--tls-key" }),
            (None, Some(_)) => return Err(ServeError::Half { given: "--tls-key", missing: "--tls-cert" }),
            (None, None) if client_ca.is_some() => {
                return Err(ServeError::Half { given: "--client-ca", missing: "--tls-cert and --tls-key" });
            }
            (None, None) => None,
        };
        Ok(Self {
            region: region.or(config.region).ok_or(ServeError::Missing("region"))?,
            data_dir: data_dir.or(config.data_dir).ok_or(ServeError::Missing("data_dir"))?,
            listen: listen.or(config.listen).unwrap_or_else(|| LISTEN.to_owned()),
            token_file: token_file.or(config.token_file),
            peer_tokens: peer_tokens.or(config.peer_tokens),
            tls,
            config: own,
            insecure: insecure || config.insecure,
        })
    }

    /// What is missing for others to be kept out, where one of `addresses` can be reached from other machines; none
    /// where nothing is.
    pub(super) fn exposure(&self, addresses: &[SocketAddr]) -> Option<ServeError> {
        if addresses.iter().all(|address| address.ip().to_canonical().is_loopback()) {
            return None;
        }
        let lacks = match (self.token_file.is_some(), self.tls.is_some()) {
            (true, true) => return None,
            (true, false) => "without TLS tokens and data could be read on the way",
            (false, true) => "without a token anybody there could change everything",
            (false, false) => "without token and TLS anybody there could read and change everything",
        };
        Some(ServeError::Exposed { listen: self.listen.clone(), lacks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RegionConfig {
        RegionConfig {
            region: Some("east".parse().unwrap()),
            data_dir: Some("/srv/east".into()),
            listen: Some("127.0.0.1:1".to_owned()),
            token_file: Some("/etc/tokens".into()),
            ..RegionConfig::default()
        }
    }

    #[test]
    fn the_command_line_wins() {
        let given = Given { listen: Some("127.0.0.1:2".to_owned()), data_dir: Some("/mnt".into()), ..Given::default() };
        let options = ServeOptions::new(given, config()).unwrap();
        assert_eq!((options.listen.as_str(), options.data_dir), ("127.0.0.1:2", PathBuf::from("/mnt")));
        assert_eq!((options.region.as_str(), options.token_file), ("east", Some("/etc/tokens".into())));
        let bare = Given { region: Some("a".parse().unwrap()), data_dir: Some("d".into()), ..Given::default() };
        let bare = ServeOptions::new(bare, RegionConfig::default()).unwrap();
        assert_eq!((bare.listen.as_str(), bare.tls, bare.token_file, bare.insecure), (LISTEN, None, None, false));
    }

    #[test]
    fn halves_and_gaps_are_named() {
        let told = |given: Given| ServeOptions::new(given, RegionConfig::default()).unwrap_err().to_string();
        assert!(told(Given::default()).contains("`region`"));
        let cert = Given { tls_cert: Some("c".into()), ..Given::default() };
        assert_eq!(told(cert), "--tls-cert does not go without --tls-key");
        let ca = Given { client_ca: Some("c".into()), ..Given::default() };
        assert!(told(ca).contains("--client-ca does not go without --tls-cert"));
    }

    #[test]
    fn only_this_machine_may_be_served_without_protection() {
        let mut options = ServeOptions::new(Given::default(), config()).unwrap();
        let here = ["127.0.0.1:1", "[::1]:1", "127.8.8.8:1", "[::ffff:127.0.0.1]:1"].map(|text| text.parse().unwrap());
        let beyond = ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"].map(|text| text.parse().unwrap());
        options.token_file = None;
        assert!(options.exposure(&here).is_none());
        for address in beyond {
            assert!(options.exposure(&[here[0], address]).unwrap().to_string().contains("without token and TLS"));
        }
        options.token_file = Some("t".into());
        assert!(options.exposure(&beyond).unwrap().to_string().contains("without TLS"));
        options.tls = Some(TlsFiles { cert: "c".into(), key: "k".into(), client_ca: None });
        assert!(options.exposure(&beyond).is_none());
        options.token_file = None;
        assert!(options.exposure(&beyond).unwrap().to_string().contains("without a token"));
    }
}
