//! Whether a resource runs, as the region's runner says.

use std::path::Path;
use std::time::Duration;

use crate::config::region::Runner;
use crate::model::region::Epoch;
use crate::model::{RegionId, ResourceKey};
use crate::process::{self, Command, Placeholders};

/// How long the runner may take to answer; one that takes longer doesn't know.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is known of a resource's running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// It runs.
    Running,
    /// It doesn't.
    Stopped,
    /// It may run: why nothing is known.
    Unknown(String),
}

/// Asks the runner. Only `stopped` on standard output and exit code 0 mean stopped.
pub async fn run_state(
    runner: Option<&Runner>,
    resource: &ResourceKey,
    dir: &Path,
    region: &RegionId,
    epoch: Epoch,
) -> RunState {
    let Some(runner) = runner else {
        return RunState::Unknown("the region has no runner that could tell".to_owned());
    };
    let places = placeholders(resource, dir, region, epoch);
    let finished = process::run(&Command::new(&runner.status, DEADLINE).expanded(&places)).await;
    if !finished.success() {
        return RunState::Unknown(format!("the runner's status {}", finished.describe()));
    }
    match finished.stdout.text.trim() {
        "running" => RunState::Running,
        "stopped" => RunState::Stopped,
        other => {
            let line: String = other.lines().next().unwrap_or_default().chars().take(80).collect();
            RunState::Unknown(format!("the runner's status printed `{line}`, neither `running` nor `stopped`"))
        }
    }
}

/// What the region's commands may ask for.
pub(super) fn placeholders(resource: &ResourceKey, dir: &Path, region: &RegionId, epoch: Epoch) -> Placeholders {
    Placeholders::new().id(resource.id.as_str()).dir(dir).region(region.as_str()).epoch(epoch.0)
}
