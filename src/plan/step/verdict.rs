//! Whether one replica needs a copy, and whether safety lets it have one. Pure over what the two regions said.

use std::time::Duration;

use crate::model::point::{BlockReason, Content, NewestPoint, Outline, Refusal, Replica};
use crate::model::units::Percent;
use crate::model::{ByteCount, RegionId, ResourceKey, Timestamp};
use crate::plan::document::Action;
use crate::plan::remedy::{self, put_back};
use crate::replica::suspicion;

/// All that the verdict rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    /// The resource.
    pub(crate) key: &'a ResourceKey,
    /// Who holds it.
    pub(crate) source: &'a RegionId,
    /// Who keeps the replica.
    pub(crate) target: &'a RegionId,
    /// The source's files; none: there are none.
    pub(crate) content: Option<&'a Content>,
    /// What the target holds.
    pub(crate) replica: Option<&'a Replica>,
    /// Room left at the target.
    pub(crate) free: ByteCount,
    /// The share that may change at once, as it is declared.
    pub(crate) max_change: Percent,
    /// A person has accepted whatever changed.
    pub(crate) accepted: bool,
    /// Only what is due by this interval; none: whatever changed.
    pub(crate) due: Option<(Timestamp, Duration)>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to copy, or nothing yet.
    Settled,
    /// A copy.
    Needed(Action, String),
    /// A copy that safety stops.
    Blocked(BlockReason, String),
}

/// Judges one replica.
pub(crate) fn judge(case: &Case<'_>) -> Verdict {
    let newest = case.replica.and_then(|replica| replica.newest.as_ref());
    // What cannot be copied is no part of the stamp: the rest may look as it did, and the whole cannot be a point.
    if let Some(refused) = case.content.and_then(|content| content.refused.as_ref()) {
        return Verdict::Blocked(BlockReason::Unsupported, format!("{}: {}", refused.path, refused.reason));
    }
    let Some((action, reason)) = need(case, newest) else {
        return Verdict::Settled;
    };
    match obstacle(case, newest) {
        Some((reason, detail)) => Verdict::Blocked(reason, detail),
        None => Verdict::Needed(action, reason),
    }
}

fn need(case: &Case<'_>, newest: Option<&NewestPoint>) -> Option<(Action, String)> {
    let Some(newest) = newest else {
        let resumed = case.replica.map(|replica| replica.received).filter(|received| *received > ByteCount(0));
        let received = resumed.map_or_else(String::new, |bytes| format!(", {bytes} of it received before"));
        let bytes = case.content.map_or(ByteCount(0), |content| content.outline.bytes);
        return Some((Action::Sync, format!("no point there yet: {bytes}{received}")));
    };
    // Damage is mended at once, whatever the interval: until then there is one good copy less.
    if let Some(damage) = case.replica.and_then(|replica| replica.damage.as_ref()) {
        return Some((Action::Repair, damage.clone()));
    }
    let verified_at = newest.point.verified_at;
    if let Some((now, interval)) = case.due
        && now.since(verified_at) < interval
    {
        return None;
    }
    let stamp = case.content.map(|content| content.stamp);
    let sequence = newest.point.sequence;
    if newest.source_stamp.is_none() {
        let reason = format!("files were being written when point {sequence} was read, so they may have changed since");
        return Some((Action::Sync, reason));
    }
    if newest.source_stamp != stamp {
        return Some((
            Action::Sync,
            format!("changed since point {sequence} of {}", newest.point.read_at.for_people()),
        ));
    }
    case.due.map(|_| (Action::Sync, format!("due: last verified at {}", verified_at.for_people())))
}

fn obstacle(case: &Case<'_>, newest: Option<&NewestPoint>) -> Option<(BlockReason, String)> {
    let Some(content) = case.content else {
        // Without a point there is nothing that could have been lost; the resource waits for its files.
        let lost = newest.and_then(|newest| suspicion::judge(case.key.kind, &newest.outline, &Outline::default()));
        return lost.map(|(reason, detail)| (reason, format!("{detail}; {}", put_back(case.key))));
    };
    if !case.accepted {
        let lost = newest.and_then(|newest| suspicion::judge(case.key.kind, &newest.outline, &content.outline));
        if let Some((reason, detail)) = lost {
            return Some((
                reason,
                format!("{detail}; {}; if that is meant, {}", put_back(case.key), copy_anyway(case)),
            ));
        }
        if let Some((reason, detail)) = refused_before(case, content) {
            return Some((reason, format!("{detail}; if that is meant, {}", copy_anyway(case))));
        }
    }
    let refusal = last_refusal(case)?;
    let needed = refusal.needed.filter(|needed| refusal.reason == BlockReason::NoSpace && case.free < *needed)?;
    Some((BlockReason::NoSpace, format!("{needed} are needed and {} are free", case.free)))
}

/// How the replica gets what the source has now.
fn copy_anyway(case: &Case<'_>) -> String {
    remedy::copy_anyway(case.key, case.source, case.target)
}

fn last_refusal<'a>(case: &Case<'a>) -> Option<&'a Refusal> {
    case.replica.and_then(|replica| replica.refusal.as_ref())
}

/// What the target refused of these same files, having compared their blocks.
fn refused_before(case: &Case<'_>, content: &Content) -> Option<(BlockReason, String)> {
    let refusal = last_refusal(case).filter(|refusal| refusal.source_stamp == Some(content.stamp))?;
    // More may change by now: the target judges the same files by that.
    if refusal.max_change.is_some_and(|refused| refused < case.max_change) {
        return None;
    }
    match refusal.reason {
        BlockReason::Suspicious | BlockReason::Shrunk => Some((refusal.reason, refusal.detail.clone())),
        // Asked again: these pass by themselves, or the target judges them anew.
        BlockReason::SourceBusy
        | BlockReason::NoSpace
        | BlockReason::Unsupported
        | BlockReason::NoCommonBase
        | BlockReason::Diverged
        | BlockReason::NotDeclared
        | BlockReason::Dependency
        | BlockReason::NotController
        | BlockReason::OpenOperation => None,
    }
}
