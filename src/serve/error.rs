//! Why a server does not begin.

use std::io;
use std::path::PathBuf;

use crate::config::Problems;
use crate::live::PortError;

/// Why a server does not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration file is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// An option that is needed, by its name in the configuration.
    #[error("`{0}` is given neither on the command line nor in the configuration")]
    Missing(&'static str),
    /// One option without the other.
    #[error("{given} does not go without {missing}")]
    Half {
        /// What is there.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// Others could reach the region without proving who they are, or listen to what is said.
    #[error("{listen} can be reached from other machines, and {lacks}")]
    Exposed {
        /// Where it would listen.
        listen: String,
        /// What is not there.
        lacks: &'static str,
    },
    /// A file could not be read, or does not hold what it should.
    #[error("{what} {}: {detail}", .path.display())]
    File {
        /// What it is, such as `the token file`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        detail: String,
        /// What to do about it.
        help: String,
    },
    /// TLS cannot be set up with these files.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: String,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The region's directory cannot be used.
    #[error(transparent)]
    Region(PortError),
}

impl ServeError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Config(_) => return None,
            Self::Missing(option) => format!("give it as --{} or in the file of --config", option.replace('_', "-")),
            Self::Half { missing, .. } => format!("give {missing} too"),
            Self::Exposed { .. } => {
                "give --token-file, --tls-cert and --tls-key; or listen on 127.0.0.1; --insecure overrides, where the \
                 network is trusted with everything"
                    .to_owned()
            }
            Self::File { help, .. } => help.clone(),
            Self::Tls(_) => "check that the certificate is the key's, and that both are PEM".to_owned(),
            Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => "another program listens there; name another port, or 0 for a free one",
                io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; name a higher one",
                io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
                _ => "write it as ADDRESS:PORT, such as 127.0.0.1:5000 or [::1]:5000",
            }
            .to_owned(),
            Self::Region(PortError::Busy(_)) => {
                "one program at a time has a region's directory; end the other".to_owned()
            }
            Self::Region(PortError::Refused { help, .. } | PortError::Unreachable { help, .. }) => return help.clone(),
            Self::Region(
                PortError::Conflict { .. }
                | PortError::NotController { .. }
                | PortError::NotFound(_)
                | PortError::Role(_)
                | PortError::Failed(_),
            ) => "look at the region's directory and its disk".to_owned(),
        };
        Some(text)
    }
}
