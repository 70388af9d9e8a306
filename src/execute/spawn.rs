//! Begins the effects of a run: each is a task of its own that has all it needs and only reports.

use std::sync::Arc;

use super::batch::{Batch, Caller};
use super::copy::Copy;
use super::event::Outcome;
use super::journal::{JournalError, Memory};
use super::outcome::ChangeOutcome;
use super::records;
use super::run::{End, Runner};
use crate::model::region::SyncOrder;
use crate::model::{Address, OperationId, RegionId};
use crate::plan::document::{Action, Change};
use crate::plan::{deadline, feeding};
use crate::replica::transfer::{SyncOptions, Urgency};

impl Runner<'_> {
    pub(super) fn caller(&self) -> Caller {
        Caller {
            ports: Arc::clone(&self.job.ports),
            authority: self.job.authority.clone(),
            world: self.job.world.clone(),
        }
    }

    pub(super) fn spawn_batch(&mut self, members: Vec<usize>) {
        let changes: Vec<Change> = members.iter().map(|at| self.changes[*at].clone()).collect();
        let batch = Batch {
            prior: changes.iter().map(|change| self.objects.get(&change.address).cloned()).collect(),
            changes,
            observed: Arc::clone(&self.job.observed),
            stores: self.stores.clone(),
            caller: self.caller(),
        };
        let given = members.clone();
        let handle = self.tasks.spawn(async move { End::Batch(given, batch.carry_out().await) });
        self.given.insert(handle.id(), members);
    }

    pub(super) fn spawn_copy(&mut self, at: usize) -> Result<(), JournalError> {
        let change = self.changes[at];
        match self.prepare_copy(at, change) {
            Ok(copy) => {
                let handle = self.tasks.spawn(async move { End::Copies(vec![(at, copy.carry_out().await)]) });
                self.given.insert(handle.id(), vec![at]);
                Ok(())
            }
            Err(words) => {
                let ended = ChangeOutcome::new(change, Outcome::Failed).saying(words);
                self.conclude_started(vec![(at, (ended, Memory::Kept))])
            }
        }
    }

    pub(super) fn prepare_copy(&self, at: usize, change: &Change) -> Result<Copy, String> {
        let malformed = |what: &str| format!("the plan's change {} {what}", change.id);
        match change.action {
            Action::Sync | Action::Repair => {}
            Action::Create | Action::Update | Action::Delete | Action::Failover | Action::Fence => {
                return Err(malformed("is no copy"));
            }
        }
        let Address::Resource(resource) = &change.address else { return Err(malformed("is about no resource")) };
        let target = change.regions.first().ok_or_else(|| malformed("names no target"))?;
        let source = change.source.as_ref().ok_or_else(|| malformed("names no source"))?;
        let port = |region: &RegionId| {
            self.job.ports.get(region).cloned().ok_or_else(|| format!("region {region} has no endpoint"))
        };
        let topology = self.job.topology;
        let spec = topology.resources.get(resource);
        let pair = match spec {
            Some(spec) => feeding(topology, resource, spec, source, target),
            None => topology.feeding_pair(source, target, resource.kind),
        };
        let pair = pair.map(|(_, pair)| pair);
        let order = SyncOrder {
            lineage: self.job.authority.lineage,
            term: self.job.authority.term,
            resource: resource.clone(),
            source: source.clone(),
            target: target.clone(),
            epoch: records::epoch(change, &self.job.observed, resource),
            operation: OperationId(self.job.world.ids.ordered()),
            compress: pair.is_none_or(|pair| pair.compression),
        };
        let replica = self.job.observed.snapshot(target).and_then(|snapshot| snapshot.replicas.get(resource));
        let urgency = match (spec, pair) {
            (Some(spec), Some(pair)) => {
                Urgency { priority: pair.priority, deadline: deadline(spec.max_lag, pair, replica) }
            }
            (None, _) | (_, None) => Urgency::default(),
        };
        let bandwidth_limit = pair.and_then(|pair| pair.bandwidth_limit);
        Ok(Copy {
            at,
            source: port(source)?,
            target: port(target)?,
            pace: self.paces.of(&order, bandwidth_limit),
            order,
            options: SyncOptions { full: false, accept_change: self.job.accept_change, bandwidth_limit, urgency },
            ticks: self.ticks.clone(),
            cancel: self.cancel.clone(),
            world: self.job.world.clone(),
        })
    }
}
