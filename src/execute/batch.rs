//! Carries a batch of record changes to the regions: founds those that are met for the first time, then writes, one
//! call per region for the whole batch.
//!
//! For a call, guarantee: a region takes all of its part or nothing. Assumption: the region judges every change by
//! its expected fingerprint, so that a repeat after a crash changes nothing. A crash between two regions' calls
//! leaves an object at one of them; the state remembers it nowhere yet, and the next plan asks the others.
//!
//! One object that is not as it was must not take its neighbours with it: a refused call is halved until the odd
//! ones stand alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;

use super::journal::Memory;
use super::records::{self, Ground};
use crate::live::port::{PortError, RegionPort};
use crate::model::observed::Observed;
use crate::model::recorded::Applied;
use crate::model::region::{Authority, RecordChange};
use crate::model::{Address, OperationId, RegionId, StoreId, World};
use crate::plan::document::Change;

/// How one member of a batch ended.
#[derive(Debug)]
pub(super) struct Written {
    /// What is remembered of the object.
    pub(super) memory: Memory,
    /// The regions that did not accept, and why.
    pub(super) refused: Vec<(RegionId, PortError)>,
}

/// What a batch did.
#[derive(Debug)]
pub(super) struct BatchEnd {
    /// Stores of regions founded or met, to be remembered.
    pub(super) stores: Vec<(RegionId, StoreId)>,
    /// By member, in order.
    pub(super) written: Vec<Written>,
}

/// Calls regions under this run's authority.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) ports: Arc<BTreeMap<RegionId, Arc<dyn RegionPort>>>,
    pub(super) authority: Authority,
    pub(super) world: World,
}

/// One batch with all that it needs, so that it can run as a task of its own.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    /// What is remembered of each change's object.
    pub(super) prior: Vec<Option<Applied>>,
    pub(super) observed: Arc<Observed>,
    /// The stores of the regions that are known.
    pub(super) stores: BTreeMap<RegionId, StoreId>,
    pub(super) caller: Caller,
}

impl Batch {
    pub(super) async fn carry_out(mut self) -> BatchEnd {
        let (founded, unfounded) = self.found().await;
        let mut asked: BTreeMap<RegionId, Vec<(usize, RecordChange)>> = BTreeMap::new();
        let mut refused: Vec<Vec<(RegionId, PortError)>> = self.changes.iter().map(|_| Vec::new()).collect();
        let ground = Ground { lineage: self.caller.authority.lineage, observed: &self.observed, stores: &self.stores };
        for (at, change) in self.changes.iter().enumerate() {
            match records::requests(change, ground) {
                Ok(requests) => {
                    for (region, request) in requests {
                        match unfounded.get(&region) {
                            Some(error) => refused[at].push((region, error.clone())),
                            None => asked.entry(region).or_default().push((at, request)),
                        }
                    }
                }
                Err(malformed) => {
                    let error = PortError::Refused { reason: malformed.to_string(), help: None };
                    refused[at].extend(change.regions.iter().map(|region| (region.clone(), error.clone())));
                }
            }
        }
        for errors in join_all(asked.into_iter().map(|(region, part)| self.caller.write(region, part))).await {
            for (at, region, error) in errors {
                refused[at].push((region, error));
            }
        }
        let members = self.changes.iter().zip(&self.prior).zip(refused);
        let written = members.map(|((change, prior), refused)| {
            let failed: BTreeSet<&RegionId> = refused.iter().map(|(region, _)| region).collect();
            let accepted = change.regions.iter().filter(|region| !failed.contains(region)).cloned().collect();
            let spec = records::result(change).unwrap_or_default();
            Written { memory: records::memory(change, spec.as_ref(), prior.as_ref(), &accepted), refused }
        });
        BatchEnd { stores: founded, written: written.collect() }
    }

    /// Founds the regions of the batch that have no identity yet. Those that cannot be founded are told apart: what
    /// was to be written there fails with their words.
    ///
    /// Guarantee: a region has an identity before anything is recorded at it, and before others record its store.
    /// A crash leaves a founded region that records nothing; the next run meets it with that identity.
    async fn found(&mut self) -> (Vec<(RegionId, StoreId)>, BTreeMap<RegionId, PortError>) {
        let mut vacant: BTreeSet<RegionId> = self.changes.iter().flat_map(|change| &change.regions).cloned().collect();
        vacant.extend(self.changes.iter().filter_map(|change| match &change.address {
            Address::Region(region) => Some(region.clone()),
            Address::Replication(_) | Address::Resource(_) => None,
        }));
        vacant.retain(|region| self.observed.snapshot(region).is_some_and(|snapshot| snapshot.identity.is_none()));
        vacant.retain(|region| !self.stores.contains_key(region));
        let mut founded = Vec::new();
        let mut failed = BTreeMap::new();
        let answers = join_all(vacant.into_iter().filter_map(|region| {
            let port = Arc::clone(self.caller.ports.get(&region)?);
            let authority = self.caller.authority();
            Some(async move { (region, port.found(&authority).await) })
        }));
        for (region, answer) in answers.await {
            match answer {
                Ok(identity) => {
                    self.stores.insert(region.clone(), identity.store);
                    founded.push((region, identity.store));
                }
                Err(error) => {
                    failed.insert(region, error);
                }
            }
        }
        (founded, failed)
    }
}

impl Caller {
    /// Writes one region's part; answers with those that it did not take.
    pub(super) async fn write(
        &self,
        region: RegionId,
        part: Vec<(usize, RecordChange)>,
    ) -> Vec<(usize, RegionId, PortError)> {
        let Some(port) = self.ports.get(&region) else {
            let error = PortError::NotFound(format!("region {region} has no endpoint"));
            return part.into_iter().map(|(at, _)| (at, region.clone(), error.clone())).collect();
        };
        let (places, changes): (Vec<usize>, Vec<RecordChange>) = part.into_iter().unzip();
        let mut failed = Vec::new();
        // Ranges still to be written, the first on top.
        let mut todo: Vec<(usize, usize)> = Vec::from([(0, changes.len())]);
        while let Some((from, to)) = todo.pop() {
            let Err(error) = port.record(&self.authority(), &changes[from..to]).await else { continue };
            if to - from > 1 && concerns_one_object(&error) {
                let middle = from + (to - from) / 2;
                todo.push((middle, to));
                todo.push((from, middle));
            } else {
                failed.extend(places[from..to].iter().map(|at| (*at, region.clone(), error.clone())));
                if !concerns_one_object(&error) {
                    // The region itself is in trouble: what is left of its part meets the same end.
                    let left = todo.drain(..).flat_map(|(from, to)| places[from..to].iter());
                    failed.extend(left.map(|at| (*at, region.clone(), error.clone())));
                }
            }
        }
        failed
    }

    /// The authority with a new operation's id: one per call, or a region would take the next for a repeat.
    fn authority(&self) -> Authority {
        Authority { operation: OperationId(self.world.ids.ordered()), ..self.authority.clone() }
    }
}

/// Whether the region may well take the neighbours of what it refused.
const fn concerns_one_object(error: &PortError) -> bool {
    match error {
        PortError::Conflict { .. } | PortError::Refused { .. } | PortError::NotFound(_) | PortError::Role(_) => true,
        PortError::Unreachable { .. } | PortError::Busy(_) | PortError::NotController { .. } | PortError::Failed(_) => {
            false
        }
    }
}
