//! The region's own file: what a region runs, how it holds still for a reading, which files lie elsewhere. It belongs
//! to the region's machine and is never part of a topology, which comes in pull requests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{RegionId, ResourceId};

/// One command: the program and its arguments. `{id}`, `{dir}`, `{region}` and `{epoch}` are filled in.
pub type Argv = Vec<String>;

/// What starts and stops resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// Starts one.
    pub start: Argv,
    /// Stops one.
    pub stop: Argv,
    /// Prints `running` or `stopped` and exits 0; anything else is unknown, and unknown is not stopped.
    pub status: Argv,
    /// Starts a drill's clone; without it there are no drills here.
    pub drill_start: Option<Argv>,
}

/// Pauses a resource's writers while its files are read or cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Pauses them.
    pub freeze: Argv,
    /// Lets them go on.
    pub thaw: Argv,
}

/// Makes a copy that holds still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Prints one directory with the resource's files under the same relative names.
    pub snapshot: Argv,
    /// Gives it back.
    pub release: Argv,
}

/// How resources hold still for a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiesce {
    /// By pausing.
    pub freeze: Option<Freeze>,
    /// By a copy; tried first.
    pub snapshot: Option<Snapshot>,
    /// How long a freeze may last.
    pub timeout: Duration,
}

impl Quiesce {
    /// The longest freeze when none is declared.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
}

/// A region's own configuration. Relative paths are resolved against the directory of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionConfig {
    /// `serve --region`.
    pub region: Option<RegionId>,
    /// `serve --data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `serve --listen`.
    pub listen: Option<String>,
    /// `serve --token-file`.
    pub token_file: Option<PathBuf>,
    /// `serve --peer-tokens`.
    pub peer_tokens: Option<PathBuf>,
    /// `serve --tls-cert`.
    pub tls_cert: Option<PathBuf>,
    /// `serve --tls-key`.
    pub tls_key: Option<PathBuf>,
    /// `serve --client-ca`.
    pub client_ca: Option<PathBuf>,
    /// `serve --insecure`.
    pub insecure: bool,
    /// What starts and stops resources here; none: this region starts and stops nothing.
    pub runner: Option<Runner>,
    /// How resources hold still for a reading.
    pub quiesce: Option<Quiesce>,
    /// Files that stay where they are, by resource.
    pub files: BTreeMap<ResourceId, Vec<PathBuf>>,
    /// The programs that this region may run as a policy's hooks.
    pub allowed_hooks: Vec<PathBuf>,
}
