//! Cutting a region off by hand, and letting it in again.
//!
//! It takes no lock of the state: on the worst day of the year somebody else may have that for hours.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | judge | nothing is changed | nothing |
//! | every other region keeps that the fence is about to run | durable before the fence runs | a region that goes on as it is, and starts nothing by itself after its next start, until it is cut off or let in |
//! | the fence runs | on the word of every other region, at most five seconds old; one that did not say `fenced REGION EPOCH` proves nothing | the same; whether it is stopped nobody knows |
//! | every other region keeps that it has run | one of them is enough for a failover to go by | some that keep it, some that keep the first word alone |
//! | let in: every other region forgets it | refused while an operation leads away from there, not while it leads back; the region hears everybody before it starts anything | some that forgot: it starts nothing before the last one has |
//!
//! Assumption: that of the fence itself, that machines and agent are stopped; and that nobody starts the machines by
//! other means than the region's agent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::{FleetError, Gate};
use super::manager::MultiRegionManager;
use super::options::Watch;
use super::report::ExitClass;
use super::road::{Ports, Sight, standings};
use crate::execute::event::{Event, Outcome};
use crate::execute::hook::HookOrder;
use crate::execute::journal::JournalError;
use crate::failover::{Control, Refusal};
use crate::live::port::{PeerRecords, PortError};
use crate::model::event::{FailoverEvent, FailoverOutcome, Seconds};
use crate::model::failover::CutOff;
use crate::model::listed::listed;
use crate::model::observed::Observation;
use crate::model::policy::Strategy;
use crate::model::region::{Authority, Epoch};
use crate::model::{Address, ByteCount, OperationId, RegionId, ResourceKey, ResourceType};
use crate::plan::document::{Action, Kind};
use crate::process::Occasion;
use crate::state::{FailoverLog, StateFile};

/// What cutting a region off is asked for.
#[derive(Debug, Clone)]
pub struct FenceOptions {
    /// The region.
    pub region: RegionId,
    /// Why, in the words of whoever asks.
    pub reason: Option<String>,
    /// Whether what it holds may be stopped, though nothing starts it elsewhere.
    pub accept_collateral: bool,
    /// Other regions that never come back as they were, in the words of whoever says so.
    pub gone: BTreeMap<RegionId, String>,
}

/// What cutting a region off would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fencing {
    /// Whether the region answers.
    pub answers: bool,
    /// The machines that it holds, as far as anybody knows: they stop.
    pub machines: BTreeSet<ResourceKey>,
    /// Who keeps word of it.
    pub witnesses: BTreeSet<RegionId>,
}

/// A region that was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fenced {
    /// The region.
    pub region_id: RegionId,
    /// What history calls it.
    pub operation: OperationId,
    /// The epoch that the fence was told.
    pub epoch: Epoch,
    /// The machines that the region holds, as far as anybody knows.
    pub stopped: BTreeSet<ResourceKey>,
    /// The regions that keep word of it.
    pub kept_by: BTreeSet<RegionId>,
    /// Those that do not, and why.
    pub unheard: BTreeMap<RegionId, String>,
}

/// A region that was let in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LetIn {
    /// The region.
    pub region_id: RegionId,
    /// What was kept of its being cut off; none: no region that answers knew of it.
    pub was: Option<CutOff>,
    /// The regions that have forgotten it now.
    pub forgotten_by: BTreeSet<RegionId>,
    /// Regions that may know it still, and why.
    pub unheard: BTreeMap<RegionId, String>,
}

impl Fenced {
    /// How much of what was asked for was done.
    pub fn class(&self) -> ExitClass {
        if self.unheard.is_empty() { ExitClass::Done } else { ExitClass::Partial }
    }
}

impl LetIn {
    /// How much of what was asked for was done.
    pub fn class(&self) -> ExitClass {
        if self.unheard.is_empty() { ExitClass::Done } else { ExitClass::Partial }
    }
}

impl MultiRegionManager {
    /// What cutting a region off would do. Changes nothing.
    ///
    /// # Errors
    /// [`FleetError::Refused`] with the gate that does not hold.
    pub async fn propose_fence(&self, options: &FenceOptions) -> Result<Fencing, FleetError> {
        self.declared_region(&options.region)?;
        let sight = self.look().await?;
        self.speaker(&sight)?;
        self.judge_fence(&sight, options)
    }

    /// Cuts a region off by the policy's hook. See the module.
    ///
    /// # Errors
    /// [`FleetError::Refused`] with the gate that does not hold, before the first change; [`FleetError::Unfit`] where the
    /// hook does not prove the region stopped, or nobody keeps that it did.
    pub async fn fence(&self, options: &FenceOptions, watch: &Watch) -> Result<Fenced, FleetError> {
        self.declared_region(&options.region)?;
        let sight = self.look().await?;
        let authority = self.speaker(&sight)?;
        let mut log = StateFile::new(&self.settings.state).failover_log()?;
        let mut event = self.fence_event(options, authority.operation);
        let fencing = match self.judge_fence(&sight, options) {
            Ok(fencing) => fencing,
            Err(error) => {
                if let FleetError::Refused(gates) = &error {
                    event.outcome = Some(FailoverOutcome::Refused);
                    event.notes = gates.iter().map(|gate| format!("{}: {}", gate.code, gate.detail)).collect();
                    log.keep(&event)?;
                }
                return Err(error);
            }
        };
        let under_way = log.under_way()?;
        let epoch =
            Epoch(sight.observed.answering().map(|(_, seen)| seen.highest_epoch.0).max().unwrap_or_default() + 1);
        (event.epoch, event.attempt) = (Some(epoch), 1);
        if options.accept_collateral && !fencing.machines.is_empty() {
            event.notes.push(format!("overridden: collateral: {}", listed(&fencing.machines, 4)));
        }
        log.keep(&event)?;
        let began = self.world.clock.since_boot();
        let mut hand = Hand { manager: self, ports: &sight.ports, authority, log, watch, event, epoch };
        let ended = hand.cut_off(options, &fencing).await;
        hand.event.outcome = Some(if ended.is_ok() { FailoverOutcome::Completed } else { FailoverOutcome::Aborted });
        hand.event.success = ended.is_ok();
        hand.event.duration_seconds = Seconds(self.world.clock.since_boot().saturating_sub(began));
        match &ended {
            Ok(unheard) => {
                let notes = unheard.iter().map(|(region, why)| format!("{region} does not keep that: {why}"));
                hand.event.notes.extend(notes);
            }
            Err(error) => hand.event.notes.push(error.to_string()),
        }
        let Hand { mut log, event, .. } = hand;
        log.keep(&event)?;
        drop(under_way);
        let unheard = ended?;
        let Fencing { answers: _, machines: stopped, witnesses } = fencing;
        let kept_by = witnesses.into_iter().filter(|region| !unheard.contains_key(region)).collect();
        let (region_id, operation) = (options.region.clone(), event.operation);
        Ok(Fenced { region_id, operation, epoch, stopped, kept_by, unheard })
    }

    /// Lets a region in again that was cut off by hand. See the module.
    ///
    /// # Errors
    /// [`FleetError::Refused`] where this state is not the controller, or an operation leads away from the region;
    /// [`FleetError::Region`].
    pub async fn unfence(&self, region: &RegionId) -> Result<LetIn, FleetError> {
        self.declared_region(region)?;
        let sight = self.look().await?;
        let authority = self.speaker(&sight)?;
        let gone = sight.observed.gone();
        let mut done =
            LetIn { region_id: region.clone(), was: None, forgotten_by: BTreeSet::new(), unheard: BTreeMap::new() };
        let registered: BTreeSet<&RegionId> =
            sight.observed.answering().flat_map(|(_, seen)| seen.regions.keys()).collect();
        for other in registered.into_iter().filter(|other| *other != region && !gone.contains_key(other)) {
            match sight.observed.regions.get(other) {
                Some(Observation::Answered { .. }) => {}
                Some(Observation::Silent(silence)) => drop(done.unheard.insert(other.clone(), silence.reason.clone())),
                None => drop(done.unheard.insert(other.clone(), "it is registered, but not declared here".to_owned())),
            }
        }
        for (other, port) in sight.ports.iter().filter(|(other, _)| *other != region) {
            let kept = sight.observed.snapshot(other).and_then(|seen| seen.cut_off.get(region));
            let Some(kept) = kept else { continue };
            let operation = OperationId(self.world.ids.ordered());
            let authority = Authority { operation, ..authority.clone() };
            let control = Control::LetIn { authority, region: region.clone() };
            match port.control(&control, &PeerRecords::default()).await {
                Ok(()) => drop(done.forgotten_by.insert(other.clone())),
                Err(PortError::Unreachable { reason, .. }) => drop(done.unheard.insert(other.clone(), reason)),
                Err(PortError::Role(refusal)) if matches!(*refusal, Refusal::Open(_)) => {
                    let detail = format!("{other} does not let {region} in: {refusal}");
                    let help = "bring it to its end first: `failover resume` or `failover abort`";
                    return Err(FleetError::refused("open_operation", detail, help));
                }
                Err(source) => {
                    let (region, address) = (other.clone(), Address::Region(other.clone()));
                    return Err(FleetError::Region { region, address, source: Box::new(source) });
                }
            }
            done.was = done.was.into_iter().chain([kept.clone()]).max_by_key(|kept| kept.epoch);
        }
        if !done.forgotten_by.is_empty() {
            self.note_let_in(region)?;
        }
        Ok(done)
    }

    /// History has it with the fence, where this state knows of that.
    fn note_let_in(&self, region: &RegionId) -> Result<(), FleetError> {
        let mut log = StateFile::new(&self.settings.state).failover_log()?;
        let past = log.reader().failovers(Some(region), None)?;
        let fence = past.into_iter().find(|event| event.is_fence() && event.from_region_id == *region);
        let Some(mut event) = fence else { return Ok(()) };
        event.notes.push(format!("let in again by {}, at {}", self.settings.host.who(), self.world.clock.now()));
        Ok(log.keep(&event)?)
    }

    fn judge_fence(&self, sight: &Sight, options: &FenceOptions) -> Result<Fencing, FleetError> {
        let FenceOptions { region, reason: _, accept_collateral, gone } = options;
        self.expect_fence_hook(
            "or cut its power by its own console, and tell `failover execute` with --fenced how you know",
        )?;
        sight.expect_gone(gone)?;
        let registry: BTreeSet<&RegionId> =
            sight.observed.answering().flat_map(|(_, seen)| seen.regions.keys()).collect();
        let gone = sight.gone_but(region, gone);
        let registry: BTreeSet<&RegionId> =
            registry.into_iter().filter(|other| *other != region && !gone.contains_key(*other)).collect();
        let silent: Vec<String> = (registry.iter().copied())
            .filter_map(|other| match sight.observed.regions.get(other) {
                Some(Observation::Answered { .. }) => None,
                Some(Observation::Silent(silence)) => Some(format!("{other} ({})", silence.reason)),
                None => Some(format!("{other} (registered, but not declared here)")),
            })
            .collect();
        if !silent.is_empty() || registry.is_empty() {
            let detail = match silent.is_empty() {
                true => format!("no other region that answers knows {region}"),
                false => format!(
                    "every other region must keep that {region} is cut off; {} did not answer",
                    silent.join(", ")
                ),
            };
            let way = "bring them back first, or say with --gone REGION=\"how you know\" that one never comes back";
            return Err(FleetError::refused("agreement", detail, way));
        }
        let machines = held_by(sight, region);
        if !machines.is_empty() && !accept_collateral {
            return Err(FleetError::Refused(vec![Gate {
                code: "collateral".to_owned(),
                detail: format!(
                    "{} are held by {region}: the fence stops them, and nothing starts them elsewhere",
                    listed(&machines, 4)
                ),
                help: Some(format!(
                    "`failover execute {region} TO` moves them, and cuts {region} off where that is needed; --accept-collateral \
                     lets it pass: they are down until then, or until {region} is let in"
                )),
                address: None,
            }]));
        }
        let answers = sight.observed.snapshot(region).is_some();
        Ok(Fencing { answers, machines, witnesses: registry.into_iter().cloned().collect() })
    }

    fn fence_event(&self, options: &FenceOptions, operation: OperationId) -> FailoverEvent {
        let ends = (options.region.clone(), options.region.clone());
        let (at, by) = (self.world.clock.now(), self.settings.host.who());
        FailoverEvent {
            reason: options.reason.clone(),
            ..FailoverEvent::new(operation, ends, Strategy::Manual, at, by)
        }
    }
}

/// The machines that a region holds, by the latest word on each.
fn held_by(sight: &Sight, region: &RegionId) -> BTreeSet<ResourceKey> {
    let latest = sight.observed.latest().into_iter();
    let held = latest.filter(|(key, record)| key.kind == ResourceType::Vm && record.holder == *region);
    held.map(|(key, _)| key.clone()).collect()
}

/// Whoever cuts a region off.
struct Hand<'a> {
    manager: &'a MultiRegionManager,
    ports: &'a Ports,
    authority: Authority,
    log: FailoverLog,
    watch: &'a Watch,
    event: FailoverEvent,
    epoch: Epoch,
}

impl Hand<'_> {
    /// Carries it out. The regions that do not keep that it was done, and why.
    async fn cut_off(
        &mut self,
        options: &FenceOptions,
        fencing: &Fencing,
    ) -> Result<BTreeMap<RegionId, String>, FleetError> {
        let region = &options.region;
        let mut cut_off = CutOff {
            epoch: self.epoch,
            at: self.event.timestamp,
            by: self.event.by.clone(),
            reason: options.reason.clone(),
            stopped: false,
        };
        let unproven = |why: String| FleetError::Unfit {
            reason: format!("nothing proves that {region} is stopped: {why}"),
            help: Some(format!(
                "run it again; or, where {region} is to go on as it is, `failover unfence {region}`. Before one of both it starts \
                 nothing by itself after its next start"
            )),
        };
        let silent = self.keep(fencing, region, &cut_off, "is about to be cut off").await?;
        if let Some((other, why)) = silent.into_iter().next() {
            return Err(unproven(format!("{other} does not keep that it is about to be cut off: {why}")));
        }
        if self.watch.cancel.is_cancelled() {
            return Err(FleetError::Interrupted);
        }
        let confirmed = self.manager.world.clock.since_boot();
        if let Some(other) = self.unconfirmed(fencing, region, &cut_off).await {
            return Err(unproven(format!("{other} does not confirm that it keeps that")));
        }
        let occasion = Occasion {
            operation: self.event.operation,
            epoch: self.epoch,
            attempt: 1,
            from: region.clone(),
            to: region.clone(),
            resources: fencing.machines.iter().cloned().collect(),
        };
        let place = self.intend(&[format!("run the fence of {region}")])?;
        self.tell(region, None);
        let policy = &self.manager.desired.topology.policy.failover.hooks;
        let order = HookOrder { argv: &policy.fence, timeout: policy.timeout, occasion: &occasion, confirmed };
        let ran = self.manager.hooks().fence(order, &self.watch.cancel).await.map_err(|why| why.to_string());
        self.conclude(&place, std::slice::from_ref(&ran))?;
        self.tell(region, Some(&ran));
        ran.map_err(unproven)?;
        cut_off.stopped = true;
        let unheard = self.keep(fencing, region, &cut_off, "is cut off").await?;
        if unheard.len() == fencing.witnesses.len() {
            let why: Vec<String> = unheard.iter().map(|(other, why)| format!("{other}: {why}")).collect();
            return Err(FleetError::Unfit {
                reason: format!("{region} was cut off, and no other region keeps that: {}", why.join("; ")),
                help: Some("run it again".to_owned()),
            });
        }
        Ok(unheard)
    }

    /// Has every witness keep a word; those that do not, and why.
    async fn keep(
        &mut self,
        fencing: &Fencing,
        region: &RegionId,
        cut_off: &CutOff,
        what: &str,
    ) -> Result<BTreeMap<RegionId, String>, FleetError> {
        let steps: Vec<String> =
            fencing.witnesses.iter().map(|other| format!("{other} keeps word: {region} {what}")).collect();
        let places = self.intend(&steps)?;
        let asked = fencing.witnesses.iter().map(|other| {
            let operation = OperationId(self.manager.world.ids.ordered());
            let authority = Authority { operation, ..self.authority.clone() };
            let control = Control::CutOff { authority, region: region.clone(), cut_off: cut_off.clone() };
            let port = self.ports.get(other);
            async move {
                let Some(port) = port else { return Err(format!("{other} has no endpoint here")) };
                port.control(&control, &PeerRecords::default()).await.map_err(|error| refused(&error))
            }
        });
        let told = join_all(asked.collect::<Vec<_>>()).await;
        self.conclude(&places, &told)?;
        let failed = fencing.witnesses.iter().zip(told);
        Ok(failed.filter_map(|(other, told)| Some((other.clone(), told.err()?))).collect())
    }

    /// The first witness that does not say that this state controls it, and that it keeps this.
    async fn unconfirmed(&mut self, fencing: &Fencing, region: &RegionId, cut_off: &CutOff) -> Option<RegionId> {
        let told = standings(self.ports.iter().filter(|(other, _)| fencing.witnesses.contains(*other))).await;
        let mut doubts = fencing.witnesses.iter().filter(|other| {
            let told = told.get(*other).and_then(|told| told.as_ref().ok());
            let controls = told.and_then(|told| told.controller.as_ref()).is_some_and(|it| it.gave(&self.authority));
            !(controls && told.and_then(|told| told.cut_off.get(region)) == Some(cut_off))
        });
        doubts.next().cloned()
    }

    fn intend(&mut self, steps: &[String]) -> Result<Vec<i64>, FleetError> {
        let at = self.manager.world.clock.now();
        let written = self.log.intend(self.event.operation, 1, steps, at);
        Ok(written.map_err(|error| JournalError(Box::new(error)))?)
    }

    fn conclude(&mut self, places: &[i64], ended: &[Result<(), String>]) -> Result<(), FleetError> {
        let words = |ended: &Result<(), String>| ended.clone().err().unwrap_or_else(|| "done".to_owned());
        let ended: Vec<(i64, String)> = places.iter().copied().zip(ended.iter().map(words)).collect();
        let written = self.log.conclude(&ended, self.manager.world.clock.now());
        Ok(written.map_err(|error| JournalError(Box::new(error)))?)
    }

    /// Tells that the fence begins, or how it ended.
    fn tell(&self, region: &RegionId, ended: Option<&Result<(), String>>) {
        let (at, id, address) =
            (self.manager.world.clock.now(), format!("fence:{region}"), Address::Region(region.clone()));
        let (kind, action, regions) = (Kind::Fence, Action::Fence, vec![region.clone()]);
        let duration =
            Duration::from_micros(u64::try_from(at.as_micros() - self.event.timestamp.as_micros()).unwrap_or(0));
        self.watch.events.emit(&match ended {
            None => Event::ActionStarted { at, id, address, kind, action, regions },
            Some(ended) => Event::ActionFinished {
                at,
                id,
                address,
                kind,
                action,
                regions,
                outcome: if ended.is_ok() { Outcome::Done } else { Outcome::Failed },
                bytes: ByteCount(0),
                duration,
                message: ended.clone().err(),
            },
        });
    }
}

/// Why a region does not keep it, in words.
fn refused(error: &PortError) -> String {
    match error {
        PortError::Role(refusal) => match &**refusal {
            Refusal::Over(_) => "another one came between, with this epoch or a higher one".to_owned(),
            Refusal::Misfit => "it was let in meanwhile, or somebody else cuts it off".to_owned(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}
