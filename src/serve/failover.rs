//! Failovers that a person or a program orders of this region.
//!
//! The machine is the one of the command line: [`MultiRegionManager`]. What the regions have recorded stands for the
//! files, this one's copy first, and a state of the region's own below its directory for the state file, with a
//! lineage and a seat of its own: to change roles it has to be the controller, or to take the controller's place.
//!
//! # Once
//! The key of a request is the operation's name, which regions take once, for ever. A repeat finds the work while the
//! server remembers it, and the state for ever: what has ended is told again, what is open is gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::answer::Failure;
use super::operation::Running;
use super::router::App;
use crate::execute::event::{Event, EventSink};
use crate::failover::{Gate as Judged, Outcome, Overrides, Proposal, Request};
use crate::fleet::{
    FailoverOptions, FailoverReport, FailoverReview, FleetError, Gate, MultiRegionManager, ResumeOptions, Verdict,
    Watch, known_failovers,
};
use crate::live::{PortError, RegionPort};
use crate::model::event::FailoverEvent;
use crate::model::region::{Controller, RegionSnapshot};
use crate::model::{OperationId, RegionId};
use crate::region::layout::Layout;
use crate::state::StateFile;
use crate::wire::failover::{ExecuteFailover, FailedGate, FailedOver, FailoverFault, FailoverRefused, FieldOverride};

/// Whoever asks for a failover here is asked nothing, and shown nothing before its end.
struct Unasked {
    refused: Option<Proposal>,
}

#[async_trait]
impl FailoverReview for Unasked {
    async fn review(&mut self, _: &Proposal) -> Verdict {
        Verdict::Proceed
    }

    fn refused(&mut self, proposal: &Proposal) {
        self.refused = Some(proposal.clone());
    }
}

/// What happens goes to the server's log.
struct Logged(OperationId);

impl EventSink for Logged {
    fn emit(&self, event: &Event) {
        match event {
            Event::ActionFinished { address, action, outcome, message, .. } => {
                let (action, message) = (action.as_str(), message.as_deref().unwrap_or_default());
                tracing::info!(operation = %self.0, %address, action, ?outcome, message, "an action of a failover ended");
            }
            _ => tracing::debug!(operation = %self.0, ?event, "a failover goes on"),
        }
    }
}

/// The fleet as this region reaches it, and what it has recorded itself.
struct Fleet {
    manager: MultiRegionManager,
    own: RegionSnapshot,
    /// Whether any region that answers has a controller. Where none has, whoever is asked first becomes it, once every
    /// region has accepted that.
    is_controlled: bool,
}

impl App {
    /// The registered regions, and what those have recorded that answer.
    async fn fleet(&self) -> Result<Fleet, Failure> {
        let own = self.region.recorded().await?;
        if own.identity.is_none() {
            let help = Some("register it first, or apply a topology that declares it".to_owned());
            let reason = format!("{} knows no region yet, not even itself", self.region.region());
            return Err(PortError::Refused { reason, help }.into());
        }
        let ports = self.ports(&own);
        let others = ports.iter().filter(|(region, _)| *region != self.region.region());
        let asked = others.map(|(_, port)| async move { port.snapshot_of_records().await.ok() });
        let others: Vec<RegionSnapshot> = join_all(asked).await.into_iter().flatten().collect();
        let is_controlled = others.iter().chain([&own]).any(|told| told.controller.is_some());
        let manager = self.manager("failover/execute", own.clone(), others, ports).await?;
        Ok(Fleet { manager, own, is_controlled })
    }

    /// Fails over, or says what would be done.
    pub(super) async fn fail_over(&self, body: ExecuteFailover, running: &Running) -> Result<FailedOver, Failure> {
        let fleet = self.fleet().await?;
        for (field, region) in [("from_region_id", &body.from_region_id), ("to_region_id", &body.to_region_id)] {
            if !fleet.own.regions.contains_key(region) {
                let message = format!("{} has no record of region {region}", self.region.region());
                return Err(Failure::not_found(field, message));
            }
        }
        let controller = fleet.own.controller.clone();
        let ExecuteFailover {
            from_region_id: from,
            to_region_id: to,
            strategy,
            reason,
            resources,
            fenced,
            gone,
            accept_data_loss,
            accept_collateral,
            ignore_capacity,
            ignore_cooldown,
            take_over,
            dry_run,
            wait: _,
        } = body;
        let take_over = take_over || !fleet.is_controlled;
        let overrides =
            Overrides { accept_data_loss, fenced, gone, accept_collateral, ignore_capacity, ignore_cooldown };
        let only: BTreeSet<_> = resources;
        let request =
            Request { only, strategy, overrides: overrides.clone(), ..Request::new(from.clone(), to.clone()) };
        let manager = &fleet.manager;
        let refused = |error, proposal| refusal(error, proposal, controller.clone());
        let watch = Watch { events: Arc::new(Logged(running.id)), cancel: running.cancel.clone() };
        if dry_run {
            let proposal =
                manager.propose_failover(&request, false, &watch).await.map_err(|error| refused(error, None))?;
            if proposal.outcome == Outcome::Refused {
                return Err(refused(FleetError::Refused(Vec::new()), Some(proposal)));
            }
            return Ok(FailedOver::without_event(proposal, reason, true));
        }
        if let Some(event) = manager.known_failover(running.id).map_err(|error| refused(error, None))? {
            let options = ResumeOptions { operation: Some(running.id), abort: false, to: None, overrides, take_over };
            return self.go_on(&fleet, event, (&from, &options), &watch).await;
        }
        let options = FailoverOptions { request, reason: reason.clone(), take_over, explain: false };
        let mut review = Unasked { refused: None };
        let FailoverReport { event, proposal, unheard, class: _ } =
            match manager.perform_failover_as(running.id, &options, &mut review, &watch).await {
                Ok(report) => report,
                Err(error) => return Err(refused(error, review.refused)),
            };
        match (event, proposal) {
            (Some(event), proposal) => Ok(FailedOver::told(event, unheard, proposal)),
            (None, Some(proposal)) => Ok(FailedOver::without_event(proposal, reason, false)),
            (None, None) => Err(Failure::bug()),
        }
    }

    /// Tells of an operation that was begun before; one that is open is brought to its end.
    async fn go_on(
        &self,
        fleet: &Fleet,
        event: FailoverEvent,
        (from, options): (&RegionId, &ResumeOptions),
        watch: &Watch,
    ) -> Result<FailedOver, Failure> {
        if event.from_region_id != *from {
            return Err(Failure::conflict(format!("the idempotency key {} is another failover's", event.operation)));
        }
        if event.outcome.is_some() {
            return Ok(FailedOver::told(event, BTreeMap::new(), None));
        }
        match fleet.manager.resume_failover(options, watch).await {
            Ok(FailoverReport { event: resumed, proposal, unheard, class: _ }) => {
                Ok(FailedOver::told(resumed.unwrap_or(event), unheard, proposal))
            }
            Err(error) => match fleet.manager.known_failover(event.operation) {
                // It is open nowhere any more.
                Ok(Some(event)) if event.outcome.is_some() => Ok(FailedOver::told(event, BTreeMap::new(), None)),
                Ok(_) | Err(_) => Err(refusal(error, None, fleet.own.controller.clone())),
            },
        }
    }

    /// The failovers that this region knows, the newest first.
    pub(super) async fn failover_history(
        &self,
        region: Option<&RegionId>,
        limit: usize,
    ) -> Result<Vec<FailoverEvent>, Failure> {
        let state = StateFile::new(Layout::new(self.region.directory()).state());
        let carried_out =
            state.read().and_then(|reader| reader.map(|reader| reader.failovers(region, None)).transpose());
        let carried_out = carried_out.map_err(|error| Failure::from(FleetError::from(error)))?.unwrap_or_default();
        Ok(known_failovers(self.region.failovers().await?, carried_out, region, limit))
    }
}

/// Why a failover was not begun, as the client is told.
fn refusal(error: FleetError, proposal: Option<Proposal>, controller: Option<Controller>) -> Failure {
    let message = error.to_string();
    let refused = |code, detail: String, gates| {
        Failure::of_failover(FailoverRefused { code, detail, gates, controller: controller.clone(), proposal: None })
    };
    match error {
        FleetError::Refused(gates) => {
            if let Some(proposal) = proposal {
                let gates: Vec<FailedGate> = proposal.failed_gates().map(judged).collect();
                let figures: Vec<&str> = gates.iter().map(|gate| gate.figure.as_str()).collect();
                let (code, detail) = (FailoverFault::Gates, format!("refused: {}", figures.join("; ")));
                let (controller, proposal) = (controller.clone(), Some(proposal));
                return Failure::of_failover(FailoverRefused { code, detail, gates, controller, proposal });
            }
            let named = |name: &str| gates.iter().any(|gate| gate.code == name);
            let withdrawn = named("withdrawn") || named("superseded");
            let code = match (named("not_controller"), withdrawn) {
                (true, _) => FailoverFault::NotController,
                (false, true) => FailoverFault::Withdrawn,
                (false, false) => FailoverFault::Gates,
            };
            refused(code, message, gates.into_iter().map(told).collect())
        }
        FleetError::Unfit { reason, help } => {
            let detail = help.map_or_else(|| reason.clone(), |help| format!("{reason}; {help}"));
            refused(FailoverFault::Unfit, detail, Vec::new())
        }
        error @ (FleetError::UnknownRegion { .. }
        | FleetError::UnknownResource { .. }
        | FleetError::UnknownPair { .. }
        | FleetError::Argument { .. }
        | FleetError::Conflict { .. }
        | FleetError::Interrupted
        | FleetError::Region { .. }
        | FleetError::TakeOver { .. }
        | FleetError::State(_)
        | FleetError::Journal(_)
        | FleetError::Topology(_)
        | FleetError::Request(_)
        | FleetError::Io { .. }) => error.into(),
    }
}

/// A gate as it was judged, with the request's own fields.
fn judged(gate: &Judged) -> FailedGate {
    let Judged { kind, subject, passes: _, figure, evidence_age, way_past, safer } = gate;
    let way_past = way_past.as_ref().map(|way| FieldOverride {
        field: way.option.split(' ').next().unwrap_or_default().trim_start_matches('-').replace('-', "_"),
        option: way.option.clone(),
        price: way.price.clone(),
    });
    FailedGate {
        gate: kind.as_str().to_owned(),
        figure: figure.clone(),
        address: subject.as_ref().map(ToString::to_string),
        evidence_age: *evidence_age,
        way_past,
        safer: safer.clone(),
    }
}

/// One that was found before anything was judged.
fn told(gate: Gate) -> FailedGate {
    let Gate { code, detail, help, address } = gate;
    let is_controller = code == "not_controller";
    let way_past = is_controller.then(|| FieldOverride {
        field: "take_over".to_owned(),
        option: "--take-over".to_owned(),
        price: "the other changes roles and the registry no more, until it takes its place back".to_owned(),
    });
    FailedGate {
        gate: code,
        figure: detail,
        address: address.map(|address| address.to_string()),
        evidence_age: None,
        way_past,
        safer: if is_controller { Some("ask its controller".to_owned()) } else { help },
    }
}
