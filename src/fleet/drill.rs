//! Drills: the newest copies of resources read where they are kept, and machines started from them, a few at once; and what
//! was found.
//!
//! It touches no role and takes no operation. History has it as one run, written once it is over: a lock that is held
//! for as long as machines start would keep rounds of `reconcile` from copying.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::FleetError;
use super::manager::MultiRegionManager;
use super::options::Watch;
use super::report::ExitClass;
use super::road::Sight;
use crate::live::port::Drilled;
use crate::model::observed::Observed;
use crate::model::region::Role;
use crate::model::{RegionId, ResourceId, ResourceKey, ResourceType, Timestamp};
use crate::state::{RunEnd, RunOutcome, StateFile};

/// Drills at once.
const AT_ONCE: usize = 4;

/// How long what was begun is waited for once it is to stop. Regions end it without anybody's waiting.
const GRACE: Duration = Duration::from_secs(4);

/// What a drill is asked for.
#[derive(Debug, Clone)]
pub struct DrillOptions {
    /// Only what this region holds.
    pub from: Option<RegionId>,
    /// Only these VMs; empty: everything.
    pub only: BTreeSet<ResourceId>,
    /// Where; none: where each one's freshest copy is kept.
    pub to: Option<RegionId>,
    /// How long each machine is to go on running.
    pub watched: Duration,
}

/// One resource's drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceDrill {
    /// The resource.
    pub resource_id: ResourceId,
    /// Its type.
    pub resource_type: ResourceType,
    /// Who holds it.
    pub held_by: RegionId,
    /// Where its copy was looked at; none: nowhere comes into question.
    pub region_id: Option<RegionId>,
    /// Whether every byte was read, and a machine, where one was started, went on running and was removed again.
    pub success: bool,
    /// Why not.
    pub failure: Option<String>,
    /// What was found; none: nothing was.
    pub drilled: Option<Drilled>,
}

/// What drills found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillReport {
    /// When they began.
    pub at: Timestamp,
    /// By resource.
    pub resources: Vec<ResourceDrill>,
    /// Why history has nothing of it, where that is so.
    pub unwritten: Option<String>,
}

impl DrillReport {
    /// The exit code's class.
    pub fn class(&self) -> ExitClass {
        match (self.well(), self.resources.len()) {
            (well, all) if well == all => ExitClass::Done,
            (0, _) => ExitClass::Failed,
            _ => ExitClass::Partial,
        }
    }

    /// How many copies are what they should be.
    pub fn well(&self) -> usize {
        self.resources.iter().filter(|resource| resource.success).count()
    }

    /// Of those, how many machines were seen running.
    pub fn started(&self) -> usize {
        let started = |it: &&ResourceDrill| it.success && it.drilled.as_ref().is_some_and(|it| it.ran_for.is_some());
        self.resources.iter().filter(started).count()
    }
}

/// Whether a region keeps copies of it.
fn keeps(observed: &Observed, region: &RegionId, key: &ResourceKey) -> bool {
    let record = observed.snapshot(region).and_then(|snapshot| snapshot.resources.get(key));
    record.is_some_and(|record| record.role == Role::Replica)
}

/// Where the freshest copy is; of equals, where machines are started.
fn freshest(observed: &Observed, key: &ResourceKey) -> Option<RegionId> {
    let kept = observed.answering().filter_map(|(region, snapshot)| {
        keeps(observed, region, key).then_some(())?;
        let newest = snapshot.replicas.get(key)?.newest.as_ref()?;
        Some((newest.point.verified_at, snapshot.runner, region))
    });
    kept.max().map(|(_, _, region)| region.clone())
}

impl MultiRegionManager {
    /// Reads the newest copies, starts machines from them where regions have a `drill_start`, and says what became of each.
    ///
    /// # Errors
    /// Ids that nobody knows, or that are no VMs; where the state cannot be read; where it is to stop.
    pub async fn drill(&self, options: &DrillOptions, watch: &Watch) -> Result<DrillReport, FleetError> {
        for region in options.from.iter().chain(&options.to) {
            self.declared_region(region)?;
        }
        let at = self.world.clock.now();
        let sight = self.look().await?;
        let latest = sight.observed.latest();
        for id in &options.only {
            if !latest.keys().any(|key| key.id == *id && key.kind == ResourceType::Vm) {
                let (key, _) = self.declared_resource(id)?;
                if key.kind != ResourceType::Vm {
                    let help = Some(format!("leave out `--vm {id}`: a drill looks at everything"));
                    return Err(FleetError::Unfit { reason: format!("{key} is no VM"), help });
                }
                let reason = format!("no region that answers has a record of {id}");
                return Err(FleetError::Unfit { reason, help: Some("`status` says who answers".to_owned()) });
            }
        }
        let asked = latest.into_iter().filter(|(key, record)| {
            (options.only.is_empty() || options.only.contains(&key.id))
                && options.from.as_ref().is_none_or(|from| *from == record.holder)
                // Whoever names a region alone asks for what it keeps.
                && (options.from.is_some()
                    || !options.only.is_empty()
                    || options.to.as_ref().is_none_or(|to| keeps(&sight.observed, to, key)))
        });
        let drills = stream::iter(asked.map(|(key, record)| (key.clone(), record.holder.clone())).collect::<Vec<_>>());
        let drills = drills.map(|(key, holder)| self.drill_one(&sight, key, holder, options, watch));
        let late = async {
            watch.cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let mut resources: Vec<ResourceDrill> = tokio::select! {
            resources = drills.buffer_unordered(AT_ONCE).collect() => resources,
            () = late => Vec::new(),
        };
        if watch.cancel.is_cancelled() {
            return Err(FleetError::Interrupted);
        }
        resources.sort_by(|one, other| one.resource_id.cmp(&other.resource_id));
        let mut report = DrillReport { at, resources, unwritten: None };
        report.unwritten = self.write_down(&report, watch).await.err().map(|error| error.to_string());
        Ok(report)
    }

    async fn drill_one(
        &self,
        sight: &Sight,
        key: ResourceKey,
        held_by: RegionId,
        options: &DrillOptions,
        watch: &Watch,
    ) -> ResourceDrill {
        let region = options.to.clone().or_else(|| freshest(&sight.observed, &key));
        let port = region.as_ref().and_then(|region| sight.ports.get(region));
        let told = match port {
            Some(port) => {
                let told = port.drill(&key, options.watched, &watch.cancel).await;
                told.map_err(|error| match error.help() {
                    Some(help) => format!("{error}; {help}"),
                    None => error.to_string(),
                })
            }
            None => Err("no region that answers keeps a copy".to_owned()),
        };
        let failure = match &told {
            Ok(drilled) => {
                drilled.failure.clone().or_else(|| drilled.left.as_ref().map(|left| format!("left: {left}")))
            }
            Err(why) => Some(why.clone()),
        };
        ResourceDrill {
            resource_type: key.kind,
            resource_id: key.id,
            held_by,
            region_id: region,
            success: failure.is_none(),
            failure,
            drilled: told.ok(),
        }
    }

    /// Has it in the history of a state that is there.
    async fn write_down(&self, report: &DrillReport, watch: &Watch) -> Result<(), FleetError> {
        if StateFile::new(&self.settings.state).read()?.is_none() {
            return Ok(());
        }
        let class = report.class();
        let failed = report.resources.iter().filter(|resource| !resource.success).map(|resource| {
            let why = resource.failure.as_deref().unwrap_or_default();
            format!("; {}: {why}", resource.resource_id)
        });
        let (well, started, all) = (report.well(), report.started(), report.resources.len());
        let failed: String = failed.collect();
        let message = format!("{well} of {all} copies are whole, {started} of them were started{failed}");
        let outcome = match class {
            ExitClass::Done => RunOutcome::Done,
            ExitClass::Partial => RunOutcome::Partial,
            ExitClass::Failed => RunOutcome::Failed,
            ExitClass::Interrupted => RunOutcome::Interrupted,
        };
        let mut road = self.set_out(self.settings.lock_timeout, watch).await?;
        let end = RunEnd { outcome, exit_code: class.code(), message: Some(message) };
        Ok(road.state.finish_run(road.run, &end)?)
    }
}
