//! How effects ended, in the words of outcomes and events. Pure.

use super::event::{Event, Outcome};
use super::outcome::ChangeOutcome;
use crate::live::port::PortError;
use crate::model::point::BlockReason;
use crate::model::{Address, RegionId, Timestamp};
use crate::plan::document::{Action, Change};
use crate::replica::port::TransferError;
use crate::replica::transfer::{SyncFailure, SyncReport};

/// The event that a change begins with.
pub(super) fn begun(change: &Change, at: Timestamp) -> Event {
    Event::ActionStarted {
        at,
        id: change.id.clone(),
        address: change.address.clone(),
        kind: change.kind,
        action: change.action,
        regions: change.regions.clone(),
    }
}

/// The event that an outcome is told by.
pub(super) fn finished(outcome: &ChangeOutcome, at: Timestamp) -> Event {
    Event::ActionFinished {
        at,
        id: outcome.id.clone(),
        address: outcome.address.clone(),
        kind: outcome.kind,
        action: outcome.action,
        regions: outcome.regions.clone(),
        outcome: outcome.outcome,
        bytes: outcome.bytes,
        duration: outcome.duration,
        message: outcome.message.clone(),
    }
}

/// What a region says to do next.
fn help_of(error: &PortError) -> Option<String> {
    match error {
        PortError::Unreachable { help, .. } | PortError::Refused { help, .. } => help.clone(),
        PortError::Busy(_)
        | PortError::Conflict { .. }
        | PortError::NotController { .. }
        | PortError::NotFound(_)
        | PortError::Failed(_) => None,
    }
}

/// How a change of records ended: done where every region took it. One that only some took says which.
pub(super) fn record_outcome(change: &Change, refused: &[(RegionId, PortError)]) -> ChangeOutcome {
    let Some((region, error)) = refused.first() else { return ChangeOutcome::new(change, Outcome::Done) };
    let mut words: Vec<String> = refused.iter().map(|(region, error)| format!("{region}: {error}")).collect();
    let took = |region: &&RegionId| !refused.iter().any(|(refusing, _)| refusing == *region);
    let done_at: Vec<RegionId> = change.regions.iter().filter(took).cloned().collect();
    if !done_at.is_empty() {
        let places = done_at.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", ");
        words.push(match change.action {
            Action::Delete => format!("removed at {places}"),
            Action::Create | Action::Update => format!("it stands at {places}"),
            Action::Sync | Action::Repair | Action::Failover | Action::Fence => format!("done at {places}"),
        });
    }
    let failed = ChangeOutcome::new(change, Outcome::Failed).saying(words.join("; "));
    ChangeOutcome { help: help_of(error), region: Some(region.clone()), done_at, ..failed }
}

/// How a copy ended. What safety stops is not a failure.
pub(super) fn copy_outcome(change: &Change, end: &Result<SyncReport, SyncFailure>) -> ChangeOutcome {
    let ended = |outcome| ChangeOutcome::new(change, outcome);
    match end {
        Ok(SyncReport { published, bytes, resumed, passes }) => {
            let outcome = if published.new { Outcome::Done } else { Outcome::Unchanged };
            let mut notes = Vec::new();
            if resumed.0 > 0 {
                notes.push(format!("{resumed} had arrived before"));
            }
            if *passes > 1 {
                notes.push(format!("read {passes} times, because it was written meanwhile"));
            }
            if !published.set_aside.is_empty() {
                let names = published.set_aside.join(", ");
                notes.push(format!("what was found modified at the replica is kept as {names}"));
            }
            let message = (!notes.is_empty()).then(|| notes.join("; "));
            ChangeOutcome { bytes: *bytes, message, ..ended(outcome) }
        }
        Err(SyncFailure { error, bytes }) => {
            let outcome = match error {
                TransferError::Blocked(_) => Outcome::Blocked,
                TransferError::Interrupted => Outcome::Interrupted,
                TransferError::Stale { .. }
                | TransferError::Io { .. }
                | TransferError::Corrupt(_)
                | TransferError::Region(_) => Outcome::Failed,
            };
            let help = match error {
                TransferError::Blocked(refusal) => way_on(refusal.reason, change),
                TransferError::Interrupted
                | TransferError::Stale { .. }
                | TransferError::Io { .. }
                | TransferError::Corrupt(_)
                | TransferError::Region(_) => None,
            };
            let region = change.regions.first().cloned();
            ChangeOutcome { region, help, bytes: *bytes, ..ended(outcome) }.saying(error.to_string())
        }
    }
}

/// What an operator can do about a copy that safety stopped.
fn way_on(reason: BlockReason, change: &Change) -> Option<String> {
    match reason {
        BlockReason::Suspicious | BlockReason::Shrunk => {
            let (Address::Resource(key), Some(source), [target]) =
                (&change.address, &change.source, change.regions.as_slice())
            else {
                return None;
            };
            let command = format!("replication sync {} {source} {target} --accept-change", key.id);
            Some(format!("look at its files at {source}; if the change is meant, `{command}` copies it"))
        }
        BlockReason::SourceBusy => Some(
            "name a `snapshot` or a `freeze` and a `thaw` command in its region's configuration, or sync it when it rests"
                .to_owned(),
        ),
        BlockReason::NoSpace => Some("make room at the target, or let `[retention]` keep fewer points".to_owned()),
        BlockReason::Unsupported => Some("move it out of the resource's directory".to_owned()),
        BlockReason::NoCommonBase
        | BlockReason::Diverged
        | BlockReason::NotDeclared
        | BlockReason::Dependency
        | BlockReason::NotController => None,
    }
}
