//! Which machines run where, asked of every region now, against who holds them. What cannot be told is never taken for
//! not running.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::FleetError;
use super::manager::MultiRegionManager;
use crate::execute::records;
use crate::live::port::PortError;
use crate::model::observed::{Observation, Observed, RegionStatus};
use crate::model::region::{Epoch, Role};
use crate::model::running::{RunState, Running};
use crate::model::{RegionId, ResourceId, ResourceKey, ResourceType, Timestamp};

/// What follows from all answers about one machine; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whereabout {
    /// It runs at two regions or more.
    RunningTwice,
    /// It runs at a region that does not hold it.
    ForeignStart,
    /// It is not known to run, and may.
    Unknown,
    /// It runs nowhere.
    Stopped,
    /// It runs at its holder. Elsewhere it may run too, where that is not known.
    Running,
}

/// What one region says of a machine's running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum Told {
    /// It runs.
    Running,
    /// It doesn't.
    Stopped,
    /// The region has neither records nor files of it.
    Absent,
    /// It may run: its runner does not know.
    Unknown(String),
    /// It may run: the region has no runner that could tell.
    NoRunner,
    /// It may run: the region does not answer.
    Silent(String),
}

impl Told {
    /// Whether it may run there and is not known to.
    pub const fn is_unclear(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::NoRunner | Self::Silent(_) => true,
            Self::Running | Self::Stopped | Self::Absent => false,
        }
    }
}

/// One machine at one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineAt {
    /// The region's role; none: it records none, or says nothing.
    pub role: Option<Role>,
    /// Since which epoch.
    pub epoch: Option<Epoch>,
    /// Whether it runs there.
    #[serde(flatten)]
    pub told: Told,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineWhere {
    /// The machine.
    pub resource_id: ResourceId,
    /// What follows from all answers.
    pub verdict: Whereabout,
    /// Who holds it; none where no region that answers knows it.
    pub holder: Option<RegionId>,
    /// Since which epoch.
    pub epoch: Option<Epoch>,
    /// Where it runs.
    pub running_at: BTreeSet<RegionId>,
    /// Where it may run and is not known to.
    pub unknown_at: BTreeSet<RegionId>,
    /// By region.
    pub regions: BTreeMap<RegionId, MachineAt>,
}

/// How far a region could tell what it is running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunnerAt {
    /// The region.
    pub region_id: RegionId,
    /// Whether it has a runner; none where it does not answer.
    pub runner: Option<bool>,
    /// Why it does not answer.
    pub reason: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// Which machines run where.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Whereabouts {
    /// When it was asked.
    pub at: Timestamp,
    /// The machines, those first with which something is wrong.
    pub machines: Vec<MachineWhere>,
    /// The regions.
    pub regions: Vec<RunnerAt>,
}

impl Whereabouts {
    /// Whether something runs at two regions.
    pub fn runs_twice(&self) -> bool {
        self.machines.iter().any(|machine| machine.verdict == Whereabout::RunningTwice)
    }
}

/// Why a region said nothing, and what to do about it.
type Silence = (String, Option<String>);

impl MultiRegionManager {
    /// Which machines run where: one, or all that are declared, recorded or found running. Asks every region now.
    ///
    /// # Errors
    /// An id that nobody knows; where no region answers, the first one's error.
    pub async fn whereabouts(&self, machine: Option<&ResourceId>) -> Result<Whereabouts, FleetError> {
        let sight = self.look().await?;
        let asked = sight.ports.iter().map(|(region, port)| {
            let dead = match sight.observed.regions.get(region) {
                // It was asked for long enough.
                Some(Observation::Silent(silence)) if silence.status == RegionStatus::Unreachable => {
                    Some((silence.reason.clone(), silence.help.clone()))
                }
                Some(Observation::Silent(_) | Observation::Answered { .. }) | None => None,
            };
            async move {
                let told = match dead {
                    Some(dead) => Err(dead),
                    None => port.running().await.map_err(|error: PortError| (error.to_string(), error.help())),
                };
                (region.clone(), told)
            }
        });
        let told: BTreeMap<RegionId, Result<Running, Silence>> = join_all(asked).await.into_iter().collect();
        if told.values().all(Result::is_err)
            && let Some((region, Err((reason, help)))) = told.iter().next()
        {
            return Err(FleetError::Unfit {
                reason: format!("no region answers; {region}: {reason}"),
                help: help.clone(),
            });
        }
        let mut keys = self.machines(&sight.observed, &told);
        if let Some(wanted) = machine {
            keys.retain(|key| key.id == *wanted);
            if keys.is_empty() {
                return Err(self.declared_resource(wanted).err().unwrap_or_else(|| FleetError::Unfit {
                    reason: format!("{wanted} is no VM, and does not run"),
                    help: None,
                }));
            }
        }
        let mut machines: Vec<MachineWhere> = keys.iter().map(|key| whereabout(key, &sight.observed, &told)).collect();
        machines.sort_by_key(|machine| machine.verdict);
        let regions = told.into_iter().map(|(region_id, told)| match told {
            Ok(Running { runner, .. }) => RunnerAt { region_id, runner: Some(runner), reason: None, help: None },
            Err((reason, help)) => RunnerAt { region_id, runner: None, reason: Some(reason), help },
        });
        Ok(Whereabouts { at: sight.looked_at, machines, regions: regions.collect() })
    }

    /// All machines that are declared, recorded, or told of by a runner that does not say that they are stopped.
    fn machines(
        &self,
        observed: &Observed,
        told: &BTreeMap<RegionId, Result<Running, Silence>>,
    ) -> BTreeSet<ResourceKey> {
        let declared = self.desired.topology.resources.keys();
        let recorded = observed.answering().flat_map(|(_, snapshot)| snapshot.resources.keys());
        let running = told.values().filter_map(|told| told.as_ref().ok()).flat_map(|told| &told.machines);
        let running = running.filter(|(_, state)| **state != RunState::Stopped).map(|(key, _)| key);
        let all = declared.chain(recorded).chain(running);
        all.filter(|key| key.kind == ResourceType::Vm).cloned().collect()
    }
}

/// Holds what the regions say of one machine against who holds it.
fn whereabout(
    key: &ResourceKey,
    observed: &Observed,
    told: &BTreeMap<RegionId, Result<Running, Silence>>,
) -> MachineWhere {
    let holder = records::holder(observed, key);
    let regions: BTreeMap<RegionId, MachineAt> = told
        .iter()
        .map(|(region, told)| {
            let record = observed.snapshot(region).and_then(|snapshot| snapshot.resources.get(key));
            let told = match told {
                Err((reason, _)) => Told::Silent(reason.clone()),
                Ok(Running { runner: false, .. }) => Told::NoRunner,
                Ok(Running { runner: true, machines }) => match machines.get(key) {
                    Some(RunState::Running) => Told::Running,
                    Some(RunState::Stopped) => Told::Stopped,
                    Some(RunState::Unknown(why)) => Told::Unknown(why.clone()),
                    Some(RunState::NoRunner) => Told::NoRunner,
                    None => Told::Absent,
                },
            };
            let (role, epoch) = (record.map(|record| record.role), record.map(|record| record.epoch));
            (region.clone(), MachineAt { role, epoch, told })
        })
        .collect();
    let at = |wanted: fn(&Told) -> bool| -> BTreeSet<RegionId> {
        regions.iter().filter(|(_, at)| wanted(&at.told)).map(|(region, _)| region.clone()).collect()
    };
    let (running_at, unknown_at) = (at(|told| *told == Told::Running), at(Told::is_unclear));
    let foreign = |region: &RegionId| holder.as_ref().is_some_and(|holder| holder.region != *region);
    let verdict = if running_at.len() > 1 {
        Whereabout::RunningTwice
    } else if running_at.iter().any(foreign) {
        Whereabout::ForeignStart
    } else if !running_at.is_empty() {
        Whereabout::Running
    } else if unknown_at.is_empty() {
        Whereabout::Stopped
    } else {
        Whereabout::Unknown
    };
    MachineWhere {
        resource_id: key.id.clone(),
        verdict,
        epoch: holder.as_ref().map(|holder| holder.epoch),
        holder: holder.map(|holder| holder.region),
        running_at,
        unknown_at,
        regions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ByteCount;
    use crate::model::region::{RegionSnapshot, ResourceRecord};
    use crate::model::topology::ResourceSpec;

    fn told(states: &[(&str, Option<RunState>)]) -> BTreeMap<RegionId, Result<Running, Silence>> {
        let told = states.iter().map(|(region, state)| {
            let told = match state {
                None => Err(("no route".to_owned(), None)),
                Some(RunState::NoRunner) => Ok(Running::default()),
                Some(state) => Ok(Running { runner: true, machines: [(web(), state.clone())].into() }),
            };
            (region.parse().unwrap(), told)
        });
        told.collect()
    }

    /// East holds it, and west keeps a copy.
    fn held() -> Observed {
        let [east, west]: [RegionId; 2] = ["east", "west"].map(|id| id.parse().unwrap());
        let record = |role| ResourceRecord {
            spec: ResourceSpec {
                primary: east.clone(),
                replicas: [west.clone()].into(),
                depends_on: BTreeSet::new(),
                max_lag: None,
                allowed_regions: BTreeMap::new(),
                labels: BTreeMap::new(),
                max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
            },
            managed_by: None,
            role,
            holder: east.clone(),
            epoch: Epoch(3),
            attempt: 0,
            operation: None,
        };
        let region = |role| {
            let vacant = RegionSnapshot::vacant(BTreeMap::new(), ByteCount(0));
            let snapshot = Box::new(RegionSnapshot { resources: [(web(), record(role))].into(), ..vacant });
            Observation::Answered { snapshot, latency: std::time::Duration::ZERO }
        };
        Observed { regions: [(east.clone(), region(Role::Holder)), (west.clone(), region(Role::Replica))].into() }
    }

    fn web() -> ResourceKey {
        "vm.web".parse().unwrap()
    }

    #[test]
    fn what_is_not_known_is_never_taken_for_stopped() {
        use RunState::{NoRunner, Running as Runs, Stopped};
        let unknown = || RunState::Unknown("off".to_owned());
        let observed = held();
        for (east, west, verdict) in [
            (Some(Runs), Some(Runs), Whereabout::RunningTwice),
            (Some(Stopped), Some(Runs), Whereabout::ForeignStart),
            (None, Some(Runs), Whereabout::ForeignStart),
            (Some(NoRunner), Some(Runs), Whereabout::ForeignStart),
            (Some(Runs), Some(Stopped), Whereabout::Running),
            (Some(Runs), None, Whereabout::Running),
            (Some(Stopped), Some(Stopped), Whereabout::Stopped),
            (Some(Stopped), None, Whereabout::Unknown),
            (Some(Stopped), Some(NoRunner), Whereabout::Unknown),
            (Some(unknown()), Some(Stopped), Whereabout::Unknown),
            (None, None, Whereabout::Unknown),
        ] {
            let found = whereabout(&web(), &observed, &told(&[("east", east.clone()), ("west", west.clone())]));
            assert_eq!(found.verdict, verdict, "east {east:?}, west {west:?}");
            assert_eq!(found.holder, Some("east".parse().unwrap()));
        }
    }
}
