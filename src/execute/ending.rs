//! How effects ended, in the words of outcomes and events. Pure.

use super::event::{Event, Outcome};
use super::outcome::ChangeOutcome;
use crate::live::port::{OCCUPIED, PortError};
use crate::model::point::Refusal;
use crate::model::{Address, RegionId, Timestamp};
use crate::plan::document::{Action, Change};
use crate::plan::remedy::unblock;
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
    ChangeOutcome { help: error.help(), region: Some(region.clone()), done_at, ..failed }
}

/// How a copy ended. What safety stops is not a failure.
pub(super) fn copy_outcome(change: &Change, end: &Result<SyncReport, SyncFailure>) -> ChangeOutcome {
    let ended = |outcome| ChangeOutcome::new(change, outcome);
    match end {
        Ok(SyncReport { published, bytes, wire, travelled_for: _, resumed, passes, notes: told }) => {
            let outcome = if published.new { Outcome::Done } else { Outcome::Unchanged };
            let mut notes = told.clone();
            // What nothing was gained by need not be told.
            if let Some(wire) = wire.filter(|wire| wire.0 < bytes.0 / 10 * 9) {
                notes.push(format!("compressed to {wire} on the way"));
            }
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
        Err(SyncFailure { error, bytes, notes }) => {
            let outcome = match error {
                TransferError::Blocked(_) => Outcome::Blocked,
                TransferError::Interrupted => Outcome::Interrupted,
                TransferError::Stale { .. }
                | TransferError::Io { .. }
                | TransferError::Corrupt(_)
                | TransferError::Busy(_)
                | TransferError::Region(_) => Outcome::Failed,
            };
            let help = match error {
                TransferError::Blocked(refusal) => way_on(refusal, change),
                TransferError::Interrupted => None,
                TransferError::Stale { .. } => Some("plan again: another holder was recorded since".to_owned()),
                TransferError::Io { bad_file: true, .. } => Some(
                    "check who may use that file, and the disk that it lies on; then `apply` goes on from here"
                        .to_owned(),
                ),
                TransferError::Io { bad_file: false, .. } => Some(
                    "check the room, the permissions and the disk there; then `apply` goes on from here".to_owned(),
                ),
                TransferError::Corrupt(_) => Some(
                    "`apply` again; if it stays so, check memory and disks of both ends, and `replication verify` it"
                        .to_owned(),
                ),
                TransferError::Busy(_) => Some(OCCUPIED.to_owned()),
                TransferError::Region(_) => Some("`apply` tries it again, and goes on from here".to_owned()),
            };
            let words: Vec<String> = std::iter::once(error.to_string()).chain(notes.iter().cloned()).collect();
            let region = change.regions.first().cloned();
            ChangeOutcome { region, help, bytes: *bytes, ..ended(outcome) }.saying(words.join("; "))
        }
    }
}

/// What an operator can do about a copy that safety stopped.
fn way_on(refusal: &Refusal, change: &Change) -> Option<String> {
    let (Address::Resource(key), Some(source), [target]) = (&change.address, &change.source, change.regions.as_slice())
    else {
        return None;
    };
    unblock(key, source, target, refusal.reason, refusal.lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::point::{BlockReason, Loss};
    use crate::model::{ByteCount, Timestamp};
    use crate::plan::document::{Kind, Precondition};

    fn copy() -> Change {
        Change {
            id: "x".to_owned(),
            address: "vm.x".parse().unwrap(),
            kind: Kind::Sync,
            action: Action::Sync,
            regions: vec!["b".parse().unwrap()],
            drops: Vec::new(),
            source: Some("a".parse().unwrap()),
            before: None,
            after: None,
            reason: String::new(),
            depends_on: Vec::new(),
            precondition: Precondition::default(),
        }
    }

    #[test]
    fn the_way_on_fits_what_was_lost() {
        let change = |address: &str| Change { address: address.parse().unwrap(), ..copy() };
        let help = |address: &str, reason, lost| {
            let at = Timestamp::from_micros(0);
            let detail = "it is".to_owned();
            let refusal = Refusal { reason, detail, source_stamp: None, needed: None, lost, max_change: None, at };
            let end =
                Err(SyncFailure { error: TransferError::Blocked(refusal), bytes: ByteCount(0), notes: Vec::new() });
            let outcome = copy_outcome(&change(address), &end);
            assert_eq!(outcome.outcome, Outcome::Blocked);
            outcome.help.unwrap()
        };
        let restore = "`vm restore web` puts the last point's files back";
        let accept = "if that is meant, `replication sync web a b --accept-change` copies it";
        assert_eq!(help("vm.web", BlockReason::Suspicious, Some(Loss::Everything)), restore);
        assert_eq!(help("vm.web", BlockReason::Suspicious, Some(Loss::Part)), format!("{restore}; {accept}"));
        assert_eq!(help("vm.web", BlockReason::Shrunk, Some(Loss::Part)), format!("{restore}; {accept}"));
        let rewritten = help("vm.web", BlockReason::Suspicious, None);
        assert_eq!(rewritten, format!("look at its files at a; {accept}"));
        assert!(help("config.web", BlockReason::Suspicious, Some(Loss::Everything)).starts_with("put its files back"));
    }

    #[test]
    fn every_failure_of_a_copy_says_what_to_do() {
        let change = Change { address: "vm.web".parse().unwrap(), ..copy() };
        let io = |bad_file| TransferError::Io {
            action: "cannot read".to_owned(),
            path: "disk.raw".to_owned(),
            detail: "Permission denied (os error 13)".to_owned(),
            bad_file,
            no_space: false,
            not_permitted: bad_file,
        };
        let errors = [
            io(true),
            io(false),
            TransferError::Busy("region b is in use by another program".to_owned()),
            TransferError::Region("the reading is not open any more".to_owned()),
            TransferError::Corrupt("bytes are not what their hash says".to_owned()),
        ];
        for error in errors {
            let end = Err(SyncFailure { error, bytes: ByteCount(0), notes: Vec::new() });
            let outcome = copy_outcome(&change, &end);
            assert_eq!(outcome.outcome, Outcome::Failed);
            assert!(outcome.help.is_some(), "{outcome:?}");
        }
    }
}
