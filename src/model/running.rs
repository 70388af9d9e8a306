//! Whether a resource's machine runs, as the region that it is at says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::ResourceKey;
use super::time::Timestamp;

/// What is known of a machine's running at one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum RunState {
    /// It runs.
    Running,
    /// It doesn't.
    Stopped,
    /// It may run: why nothing is known.
    Unknown(String),
    /// It may run: the region has no runner that could tell.
    NoRunner,
}

impl RunState {
    /// Whether it runs, or may: all but a runner's `stopped`.
    pub const fn may_run(&self) -> bool {
        match self {
            Self::Stopped => false,
            Self::Running | Self::Unknown(_) | Self::NoRunner => true,
        }
    }
}

/// A machine that runs at a region that does not hold it, and that its agent could not stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForeignStart {
    /// When its agent first saw it.
    pub since: Timestamp,
    /// Why it runs on.
    pub reason: String,
}

/// What one region is running, asked now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Running {
    /// Whether it has a runner. One without it starts and stops nothing, and knows of nothing whether it runs.
    pub runner: bool,
    /// What its runner says of each machine that the region has records or files of.
    pub machines: BTreeMap<ResourceKey, RunState>,
}
