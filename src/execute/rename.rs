//! Renames: recorded before anything else of a run, at the regions and then in the state.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::ending::{begun, finished, record_outcome};
use super::journal::{Conclusion, JournalError, Memory};
use super::outcome::ChangeOutcome;
use super::run::Runner;
use crate::model::region::{Record, RecordChange, RecordWrite};
use crate::model::topology::Spec;
use crate::model::{Address, ByteCount, RegionId};
use crate::plan::document::{Action, Change, Kind, PlannedMove, Precondition};

impl Runner<'_> {
    /// Gives renamed resources their new names, at the regions and then in the state.
    ///
    /// Guarantee: a region that has done it answers a repeat with success. A crash in between leaves some regions with
    /// the new name and the state with the former one: the next plan finds the object under either, and the rename
    /// among those that are still to be recorded.
    pub(super) async fn rename(&mut self) -> Result<(), JournalError> {
        let moves = &self.job.plan.moved;
        if moves.is_empty() {
            return Ok(());
        }
        let started = self.job.world.clock.now();
        let began = self.job.world.clock.since_boot();
        let changes: Vec<Change> = moves.iter().map(renaming).collect();
        self.journal.intend(&changes.iter().collect::<Vec<_>>(), started)?;
        let mut asked: BTreeMap<RegionId, Vec<(usize, RecordChange)>> = BTreeMap::new();
        for (at, (planned, change)) in moves.iter().zip(&changes).enumerate() {
            self.events.emit(&begun(change, started));
            for region in &planned.regions {
                if let Some(request) = self.rename_request(&planned.from, &planned.to, region) {
                    asked.entry(region.clone()).or_default().push((at, request));
                }
            }
        }
        let caller = self.caller();
        let refused: Vec<_> = join_all(asked.into_iter().map(|(region, part)| caller.write(region, part)))
            .await
            .into_iter()
            .flatten()
            .collect();
        let pairs: Vec<_> = moves.iter().map(|planned| (planned.from.clone(), planned.to.clone())).collect();
        self.journal.renamed(&pairs)?;
        for (from, to) in &pairs {
            if let Some(applied) = self.objects.remove(from) {
                self.objects.insert(to.clone(), applied);
            }
        }
        let now = self.job.world.clock.now();
        let duration = self.job.world.clock.since_boot().saturating_sub(began);
        let outcomes: Vec<ChangeOutcome> = (moves.iter().zip(&changes).enumerate())
            .map(|(at, (planned, change))| {
                let refused: Vec<_> = (refused.iter().filter(|(of, ..)| *of == at))
                    .map(|(_, region, error)| (region.clone(), error.clone()))
                    .collect();
                let mut outcome = record_outcome(change, &refused);
                outcome.message = Some(match &outcome.message {
                    None => change.reason.clone(),
                    Some(words) => format!("not everywhere {}: {words}", change.reason),
                });
                ChangeOutcome { duration, renamed_from: Some(planned.from.clone()), ..outcome }
            })
            .collect();
        let conclusions: Vec<_> = (changes.iter().zip(&outcomes))
            .map(|(change, ended)| Conclusion {
                change,
                outcome: ended.outcome,
                started: Some(started),
                ended: now,
                duration,
                bytes: ByteCount(0),
                message: ended.message.clone(),
                memory: Memory::Kept,
            })
            .collect();
        let journalled = self.journal.conclude(&conclusions);
        for outcome in outcomes {
            self.events.emit(&finished(&outcome, now));
            self.done.outcomes.push(outcome);
        }
        journalled
    }

    /// What a region is asked for to rename a resource: its record as it is there, under the new name.
    fn rename_request(&self, from: &Address, to: &Address, region: &RegionId) -> Option<RecordChange> {
        let (Address::Resource(former), Address::Resource(_)) = (from, to) else { return None };
        let record = self.job.observed.snapshot(region)?.resources.get(former)?;
        let write = RecordWrite {
            spec: Spec::Resource(record.spec.clone()),
            managed_by: record.managed_by,
            store: None,
            holder: Some((record.holder.clone(), record.epoch)),
            former_id: Some(former.id.clone()),
        };
        let expected = Some(Record::Resource(record.clone()).fingerprint());
        Some(RecordChange { address: to.clone(), expected, record: Some(write) })
    }
}

/// A rename as journal and history know it.
fn renaming(planned: &PlannedMove) -> Change {
    Change {
        id: format!("move:{}", planned.to),
        address: planned.to.clone(),
        kind: match &planned.to {
            Address::Region(_) => Kind::Region,
            Address::Replication(_) => Kind::Replication,
            Address::Resource(_) => Kind::Resource,
        },
        action: Action::Update,
        regions: planned.regions.clone(),
        drops: Vec::new(),
        source: None,
        before: None,
        after: None,
        reason: format!("renamed from {}", planned.from),
        depends_on: Vec::new(),
        precondition: Precondition::default(),
    }
}
