//! Copies of which nothing has to be copied: where the source is as it was when the newest point was read, the target
//! only writes down that it was seen so, for many resources with one request.
//!
//! Guarantee: what is written is no later than the look at the source, and is written of no other point than the one
//! that was compared with it. Assumption: files with the same names, inodes, sizes and times are the same, and the
//! machines' clocks agree, as everywhere. A crash leaves some dates moved and others not; these are still due.

use std::collections::BTreeMap;
use std::time::Duration;

use super::copy::Copy;
use super::event::Outcome;
use super::journal::{JournalError, Memory};
use super::outcome::ChangeOutcome;
use super::run::{End, Job, Runner};
use super::schedule::Batch;
use crate::model::{Address, ByteCount, RegionId};
use crate::plan::document::{Action, Change};
use crate::plan::{feeding, in_step};
use crate::replica::port::{Confirmation, Confirmed, Published};
use crate::replica::transfer::{SyncFailure, SyncReport};

/// More than this is never asked for at once, whatever the files say: it has to be answered before deadlines pass.
const MOST: usize = 1000;

/// The copies that are nothing more than a date, each with those of its pair.
pub(super) fn batches(job: &Job<'_>, changes: &[&Change]) -> BTreeMap<usize, Batch> {
    let mut groups = BTreeMap::new();
    let mut batches = BTreeMap::new();
    for (at, change) in changes.iter().enumerate() {
        let Some((source, target, _)) = unchanged(job, change) else { continue };
        let Address::Resource(key) = &change.address else { continue };
        let spec = job.topology.resources.get(key);
        let Some((_, pair)) = spec.and_then(|spec| feeding(job.topology, key, spec, source, target)) else { continue };
        let next = groups.len();
        let group = *groups.entry((source, target, pair.batch_size)).or_insert(next);
        batches.insert(at, Batch { group, most: usize::try_from(pair.batch_size).map_or(MOST, |size| size.min(MOST)) });
    }
    batches
}

/// Both ends and the newest point's sequence, where the source still is as it was then and nothing else waits to be done
/// at the target.
fn unchanged<'a>(job: &Job<'_>, change: &'a Change) -> Option<(&'a RegionId, &'a RegionId, u64)> {
    let is_sync = match change.action {
        Action::Sync => true,
        Action::Create | Action::Update | Action::Delete | Action::Repair | Action::Failover | Action::Fence => false,
    };
    let Address::Resource(key) = &change.address else { return None };
    let (source, target) = (change.source.as_ref()?, change.regions.first()?);
    let content = job.observed.snapshot(source)?.contents.get(key)?;
    let replica = job.observed.snapshot(target)?.replicas.get(key)?;
    let is_idle = replica.received == ByteCount(0) && replica.refusal.is_none() && content.refused.is_none();
    let is_date = is_sync && is_idle && !job.accept_change && in_step(Some(content), Some(replica));
    replica.newest.as_ref().filter(|_| is_date).map(|newest| (source, target, newest.point.sequence))
}

impl Runner<'_> {
    /// Begins one request for all of them; they are of one group.
    pub(super) fn spawn_confirmation(&mut self, members: Vec<usize>) -> Result<(), JournalError> {
        let (mut copies, mut confirmed, mut failed) = (Vec::<Copy>::new(), Vec::new(), Vec::new());
        for at in members {
            let change = self.changes[at];
            let sequence = unchanged(self.job, change).map(|(_, _, sequence)| sequence);
            let sequence = sequence.ok_or_else(|| format!("the plan's change {} is no date", change.id));
            match sequence.and_then(|sequence| Ok((self.prepare_copy(at, change)?, sequence))) {
                Ok((copy, sequence)) => {
                    let (order, verified_at) = (copy.order.clone(), self.job.looked_at);
                    confirmed.push(Confirmed { order, sequence, verified_at });
                    copies.push(copy);
                }
                Err(words) => {
                    let ended = ChangeOutcome::new(change, Outcome::Failed).saying(words);
                    failed.push((at, (ended, Memory::Kept)));
                }
            }
        }
        if let Some(first) = copies.first() {
            let target = std::sync::Arc::clone(&first.target);
            let given: Vec<usize> = copies.iter().map(|copy| copy.at).collect();
            let members = given.clone();
            let handle = self.tasks.spawn(async move {
                let ends = match target.confirm_unchanged(&confirmed).await {
                    Ok(answers) => answers.into_iter().map(end).collect(),
                    Err(error) => vec![end(Confirmation::Error(error)); members.len()],
                };
                End::Copies(members.into_iter().zip(ends).collect())
            });
            self.given.insert(handle.id(), given);
        }
        self.conclude_started(failed)
    }
}

/// What a sync would have reported.
fn end(answer: Confirmation) -> Result<SyncReport, SyncFailure> {
    let none = ByteCount(0);
    match answer {
        Confirmation::Point(point) => {
            let published = Published { point: *point, new: false, changed: none, set_aside: Vec::new() };
            Ok(SyncReport {
                published,
                bytes: none,
                wire: None,
                travelled_for: Duration::ZERO,
                resumed: none,
                passes: 0,
                notes: Vec::new(),
            })
        }
        Confirmation::Error(error) => Err(SyncFailure { error, bytes: none, notes: Vec::new() }),
    }
}
