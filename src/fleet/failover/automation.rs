//! Whether failovers happen without a person, and what holds them back: what [`reconcile`] would do, found out by asking
//! all that it would ask, and changing nothing.
//!
//! [`reconcile`]: MultiRegionManager::reconcile

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pending::{PendingOperation, pending_at};
use crate::failover::{self, Asker, GateKind, Outcome, Request, Wish};
use crate::fleet::error::{FleetError, Gate};
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::options::Watch;
use crate::fleet::road::Sight;
use crate::model::observed::Observation;
use crate::model::policy::Strategy;
use crate::model::region::Pause;
use crate::model::topology::Endpoint;
use crate::model::{RegionId, Timestamp, units};
use crate::plan::PlanRefusal;
use crate::state::{HistoryFilter, RunRecord, StateFile, StateReader};

/// Rounds that are further apart are told: nothing looks in between.
const ROUNDS_APART: Duration = Duration::from_secs(600);
/// How many past rounds are looked through for one that may fail over.
const ROUNDS: usize = 200;

/// One thing that holds automatic failovers back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    /// Its name, such as `strategy`, `pause`, `fence`, `rounds`, or that of a gate.
    pub code: String,
    /// What was found, with its figure.
    pub detail: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A region that holds something and does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suspect {
    /// The region.
    pub region_id: RegionId,
    /// How it does not answer.
    pub reason: String,
    /// What to do about that.
    pub help: Option<String>,
    /// Where the policy would lead what it holds; none: that was not judged, or there is no such place.
    pub to: Option<RegionId>,
    /// What holds that back; empty: the next round moves it.
    pub obstacles: Vec<Obstacle>,
}

/// Whether failovers happen without a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Automation {
    /// The policy's strategy.
    pub strategy: Strategy,
    /// What holds all of them back; empty: a region that is found to be down is failed over from.
    pub obstacles: Vec<Obstacle>,
    /// The regions that hold something and do not answer now.
    pub suspects: Vec<Suspect>,
}

/// What is open, and what keeps failovers from happening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailoverStatus {
    /// The operations that are open at any region that answers.
    pub operations: Vec<PendingOperation>,
    /// The pauses, by the regions that keep them.
    pub pauses: BTreeMap<RegionId, Pause>,
    /// Whether failovers happen without a person.
    pub automation: Automation,
}

impl Obstacle {
    fn new(code: &str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into(), help: Some(help.into()) }
    }
}

impl From<Gate> for Obstacle {
    fn from(gate: Gate) -> Self {
        let Gate { code, detail, help, address } = gate;
        let about = address.map(|address| format!("{address}: ")).unwrap_or_default();
        Self { code, detail: format!("{about}{detail}"), help }
    }
}

impl MultiRegionManager {
    /// What is open, what is paused, and what keeps a failover from happening without a person. Of a region that holds
    /// something and does not answer it is found out whether it counts as down, where the policy is to act on that, which
    /// may take as long as the policy takes to find that. Changes nothing.
    ///
    /// # Errors
    /// Where the state cannot be read, or no region answers; [`FleetError::Interrupted`].
    pub async fn failover_status(&self, watch: &Watch) -> Result<FailoverStatus, FleetError> {
        let sight = self.look().await?;
        let silent = |(region, seen): (&RegionId, &Observation)| match seen {
            Observation::Silent(silence) => Some((region.clone(), silence.reason.clone())),
            Observation::Answered { .. } => None,
        };
        let regions: Vec<_> = sight.observed.regions.iter().filter_map(silent).collect();
        if sight.observed.answering().next().is_none() {
            return Err(FleetError::Request(Box::new(PlanRefusal::NoRegionAnswered { regions })));
        }
        // Those that were silent had their time to answer a moment ago.
        let answering = sight.ports.iter().filter(|(region, _)| !sight.silent.contains(*region));
        let (pending, _) = pending_at(answering).await;
        let operations = pending.into_values().collect();
        let pauses = sight.pauses().into_iter().map(|(region, pause)| (region.clone(), pause.clone())).collect();
        let automation = self.automation(&sight, &pauses, watch).await?;
        Ok(FailoverStatus { operations, pauses, automation })
    }

    async fn automation(
        &self,
        sight: &Sight,
        pauses: &BTreeMap<RegionId, Pause>,
        watch: &Watch,
    ) -> Result<Automation, FleetError> {
        let policy = &self.desired.topology.policy.failover;
        let automatic = match policy.strategy {
            Strategy::Automatic | Strategy::Cascading => true,
            Strategy::Manual | Strategy::Graceful => false,
        };
        let mut obstacles = Vec::new();
        if !automatic {
            obstacles.push(Obstacle::new(
                "strategy",
                format!("[failover] has the strategy `{}`: a person asks for each failover", policy.strategy.as_str()),
                "`strategy = \"automatic\"` there, with a fence hook and three served regions, lets `reconcile --allow \
                 failover` do it; by hand: `failover execute FROM TO`",
            ));
        }
        obstacles.extend(pauses.iter().map(|(region, pause)| {
            Obstacle::new(
                "pause",
                format!("paused, as {region} keeps: {}", pause.words()),
                "`failover unpause` ends it",
            )
        }));
        obstacles.extend(sight.nobody_controls().map(Obstacle::from));
        if automatic {
            obstacles.extend(self.standing(sight)?);
        }
        let mut suspects = Vec::new();
        for (region, observation) in &sight.observed.regions {
            let Observation::Silent(silence) = observation else { continue };
            if sight.holders().contains(region) {
                let (to, mut held_back) = if automatic {
                    self.held_back_from(region, watch).await?
                } else {
                    (None, vec![self.by_hand_from(sight, region)])
                };
                let (reason, help) = (silence.reason.clone(), silence.help.clone());
                // What holds all of them back is told once.
                held_back.retain(|held| obstacles.iter().all(|of_all: &Obstacle| of_all.code != held.code));
                suspects.push(Suspect { region_id: region.clone(), reason, help, to, obstacles: held_back });
            }
        }
        Ok(Automation { strategy: policy.strategy, obstacles, suspects })
    }

    /// What holds an automatic policy back, whichever region is down.
    fn standing(&self, sight: &Sight) -> Result<Vec<Obstacle>, FleetError> {
        let topology = &self.desired.topology;
        let policy = &topology.policy.failover;
        let mut found = Vec::new();
        if sight.superseded.contains(&topology.digest) {
            let detail = "these files are older than those that were applied last: a round refuses them";
            found.push(Obstacle::new("superseded", detail, "run `reconcile` over the newest ones"));
        }
        for judged in [self.speaker(sight).map(|_| ()), self.expect_applied(sight)] {
            match judged {
                Err(FleetError::Refused(gates)) => {
                    // Nobody's control was told.
                    found.extend(gates.into_iter().filter(|_| sight.nobody_controls().is_none()).map(Obstacle::from));
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        }
        let hook = &policy.hooks.fence;
        if let (false, Err(why)) = (hook.is_empty(), self.hooks().expect_runnable(hook)) {
            let detail = format!("the fence hook cannot be run on this machine: {why}");
            found.push(Obstacle::new("fence", detail, "put it there, executable, wherever `reconcile` runs"));
        }
        let holders = sight.holders();
        for region in holders {
            if matches!(topology.endpoints.get(region), Some(Endpoint::Directory(_))) {
                let detail = format!("{region} is a directory, which nobody watches: it is never found to be down");
                found.push(Obstacle::new(
                    "served",
                    detail,
                    format!("serve it: `debvisor-region serve --region {region}`"),
                ));
            }
        }
        let reader = StateFile::new(&self.settings.state).read()?;
        let last = match &reader {
            Some(reader) => self.last_round(reader)?,
            None => None,
        };
        found.extend(self.rounds(last.as_ref()));
        let kept = sight.observed.answering().filter_map(|(_, seen)| seen.last_automatic);
        let own = reader.as_ref().map(StateReader::last_automatic_failover).transpose()?.flatten();
        found.extend(kept.chain(own).max().and_then(|last| self.cooldown(last)));
        Ok(found)
    }

    /// The last round that may fail over.
    fn last_round(&self, reader: &StateReader) -> Result<Option<RunRecord>, FleetError> {
        let filter =
            HistoryFilter { limit: Some(ROUNDS), command: Some("reconcile".to_owned()), ..HistoryFilter::default() };
        let rounds = reader.history(&filter)?.into_iter().map(|entry| entry.run);
        Ok(rounds.into_iter().find(|run| may_fail_over(&run.command)))
    }

    /// What is amiss with how often anybody looks.
    fn rounds(&self, last: Option<&RunRecord>) -> Option<Obstacle> {
        let help = "run `debvisor-region reconcile --watch --allow sync,failover` as a service, or from a timer every \
                    minute, with this state";
        let Some(last) = last else {
            let detail = "no round that may fail over was ever run with this state: `reconcile --allow failover`";
            return Some(Obstacle::new("rounds", detail, help));
        };
        // One that watches tells of rounds with news only.
        let watches = last.command.split_whitespace().any(|word| word == "--watch");
        if watches && last.host == self.settings.host.name && runs(last.pid) {
            return None;
        }
        let age = self.world.clock.now().since(last.finished_at.unwrap_or(last.started_at));
        let whole = units::format_duration(Duration::from_secs(age.as_secs()));
        let detail = match watches && last.host == self.settings.host.name {
            true => format!("the one that watched, process {}, runs no more; it was heard of {whole} ago", last.pid),
            false if age > ROUNDS_APART && !watches => format!("the last round that may fail over ended {whole} ago"),
            false => return None,
        };
        Some(Obstacle::new("rounds", detail, help))
    }

    /// The pause after the last automatic failover, which was completed at `last`.
    fn cooldown(&self, last: Timestamp) -> Option<Obstacle> {
        let cooldown = self.desired.topology.policy.failover.cooldown;
        let since = Some(self.world.clock.now().since(last)).filter(|since| *since < cooldown);
        let text = |age: Duration| units::format_duration(Duration::from_secs(age.as_secs()));
        since.map(|since| {
            let detail =
                format!("the last automatic failover was completed {} ago, of {}", text(since), text(cooldown));
            let help =
                format!("it ends in {}; by hand: `failover execute FROM TO`", text(cooldown.saturating_sub(since)));
            Obstacle::new("cooldown", detail, help)
        })
    }

    /// What the gates say of a failover from a region that does not answer.
    async fn held_back_from(
        &self,
        region: &RegionId,
        watch: &Watch,
    ) -> Result<(Option<RegionId>, Vec<Obstacle>), FleetError> {
        let request = Request {
            asker: Asker::Policy,
            to: None,
            point: Wish::Newest,
            ..Request::new(region.clone(), region.clone())
        };
        match self.propose_failover(&request, false, watch).await {
            Ok(proposal) => {
                let by_name = proposal.failed_gates().any(|gate| gate.subject.is_some());
                // What is held back one by one stays behind as what a fence would stop: that is told already.
                let told = |gate: &&failover::Gate| by_name && gate.kind == GateKind::Collateral;
                let gates = proposal.failed_gates().filter(|gate| !told(gate)).map(|gate| {
                    let about = gate.subject.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
                    Obstacle {
                        code: gate.kind.as_str().to_owned(),
                        detail: format!("{about}{}", gate.figure),
                        help: gate.safer.clone(),
                    }
                });
                let mut gates: Vec<Obstacle> = gates.collect();
                if proposal.outcome == Outcome::Nothing {
                    let detail = "it holds nothing that could be moved";
                    gates.push(Obstacle { code: "nothing".to_owned(), detail: detail.to_owned(), help: None });
                }
                Ok((Some(proposal.to), gates))
            }
            Err(FleetError::Unfit { reason, help }) => {
                let help = help.unwrap_or_else(|| "bring a region back that keeps copies of what it holds".to_owned());
                Ok((None, vec![Obstacle::new("target", reason, help)]))
            }
            Err(error) => Err(error),
        }
    }

    /// That a person is waited for, and where that person may turn to: the policy's first candidate, else a region that
    /// keeps copies of what is held there.
    fn by_hand_from(&self, sight: &Sight, region: &RegionId) -> Obstacle {
        let topology = &self.desired.topology;
        let held = sight.observed.latest().into_values().filter(|record| record.holder == *region);
        let keepers = held.flat_map(|record| record.spec.replicas.iter().chain([&record.spec.primary]));
        let keepers = keepers.filter(|other| sight.observed.snapshot(other).is_some());
        let mut targets = topology.policy.failover.candidates.iter().chain(keepers).filter(|other| *other != region);
        let to = targets.next().map_or("TO", RegionId::as_str);
        let help = format!("`failover execute {region} {to} --dry-run` shows what would be done");
        Obstacle::new("by_hand", "what it holds stays there until a person asks", help)
    }
}

/// Whether a command line of `reconcile` has it fail over.
fn may_fail_over(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    let parted = words.windows(2).filter(|pair| pair[0] == "--allow").map(|pair| pair[1]);
    let joined = words.iter().filter_map(|word| word.strip_prefix("--allow="));
    parted.chain(joined).flat_map(|allowed| allowed.split(',')).any(|allowed| allowed == "failover")
}

/// Whether a process of this machine is a `reconcile` that runs.
fn runs(pid: u32) -> bool {
    let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"reconcile")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_may_fail_over_is_known_by_its_command_line() {
        for (command, may) in [
            ("debvisor-region reconcile", false),
            ("debvisor-region reconcile --allow sync,drift", false),
            ("debvisor-region reconcile --allow sync,failover", true),
            ("debvisor-region reconcile --allow=failover --watch", true),
            ("debvisor-region reconcile --allow drift --allow failover", true),
            ("debvisor-region reconcile --metrics-file failover", false),
        ] {
            assert_eq!(may_fail_over(command), may, "{command}");
        }
    }
}
