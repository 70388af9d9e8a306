//! Copies: for each resource and each region that keeps a replica, whether one is needed, due, blocked, waiting or
//! a repair; in the order of pair priority, then of the earliest broken promise, then of addresses.

use std::time::Duration;

use crate::model::point::{Content, Replica};
use crate::model::region::Epoch;
use crate::model::topology::{PairSpec, ResourceSpec, Topology};
use crate::model::{Address, PairId, RegionId, ResourceKey, Timestamp};
use crate::plan::document::{
    BasePoint, Blocked, Change, Holder, Kind, Mode, Precondition, Waiting, WaitingOn, Warning,
};
use crate::plan::draft::{Draft, KnownResource};
use crate::plan::live::{Holding, under_either};
use crate::plan::refusal::PlanRefusal;
use crate::plan::step::resources::members;
use crate::plan::step::verdict::{Case, Verdict, judge};

/// What a copy's place in the plan is decided by.
type Rank = (u32, Option<Timestamp>, Address, RegionId);

pub(crate) fn run(draft: &mut Draft<'_>) -> Result<(), PlanRefusal> {
    let view = draft.view;
    match view.input.options.mode {
        Mode::Reconcile if !view.input.options.allow.sync => return Ok(()),
        Mode::Reconcile | Mode::Normal | Mode::RefreshOnly => {}
    }
    let mut found: Vec<(Rank, Change)> = Vec::new();
    for known in &view.resources {
        if draft.untouchable.contains_key(&known.address) {
            continue;
        }
        let born = Holder { region: known.spec.primary.clone(), epoch: Epoch::BIRTH };
        match &known.holding {
            Holding::Held(holder) => of_resource(draft, known, holder, &mut found),
            Holding::Unborn => of_resource(draft, known, &born, &mut found),
            Holding::Disputed(..) => {}
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    draft.changes.extend(found.into_iter().map(|(_, change)| change));
    Ok(())
}

fn of_resource(draft: &mut Draft<'_>, known: &KnownResource<'_>, holder: &Holder, found: &mut Vec<(Rank, Change)>) {
    let view = draft.view;
    let KnownResource { key, spec, address, sightings, .. } = known;
    let targets: Vec<&RegionId> =
        members(spec, Some(&holder.region)).into_iter().filter(|region| **region != holder.region).collect();
    if targets.is_empty() {
        return;
    }
    let Some(source) = view.sight.snapshot(&holder.region) else {
        draft.defer(&holder.region, address);
        return;
    };
    let reconciles = match view.input.options.mode {
        Mode::Reconcile => true,
        Mode::Normal | Mode::RefreshOnly => false,
    };
    // A rename is a change that `apply` records; until then regions know it under its former name.
    if reconciles && sightings.iter().any(|sighting| sighting.former) {
        return;
    }
    let former = match view.moves.former(address) {
        Some(Address::Resource(former)) => Some(former),
        Some(Address::Region(_) | Address::Replication(_)) | None => None,
    };
    // Files under a former name are this resource's only where the region renames its record: one that lost it does not.
    let former_there = former.filter(|former| source.resources.contains_key(*former));
    let content = under_either(source, key, former_there, |snapshot, key| snapshot.contents.get(key));
    let empty = content.is_none_or(|content| content.outline.files == 0 && content.refused.is_none());
    let recorded_at_source = draft.will_record(known, &holder.region);
    let mut protected = false;
    for target in targets {
        let Some(at_target) = view.sight.snapshot(target) else {
            draft.defer(target, address);
            continue;
        };
        let Some((_, pair)) = feeding(view.input.topology, key, spec, &holder.region, target) else {
            let message =
                format!("no enabled pair carries it from {} to {target}: it is not synced there", holder.region);
            draft.warnings.push(Warning { address: Some(address.clone()), message });
            continue;
        };
        let replica = under_either(at_target, key, former, |snapshot, key| snapshot.replicas.get(key));
        let newest = replica.and_then(|replica| replica.newest.as_ref());
        protected |= newest.is_some();
        if pair.paused {
            continue;
        }
        // Nothing to lose and nothing to copy.
        if (empty && newest.is_none()) || !recorded_at_source || !draft.will_record(known, target) {
            continue;
        }
        let case = Case {
            key,
            source: &holder.region,
            target,
            content,
            replica,
            free: at_target.free,
            max_change: spec.max_change,
            accepted: view.input.options.accept_change.contains(*key),
            due: reconciles.then_some((view.input.now, pair.sync_interval)),
        };
        match judge(&case) {
            Verdict::Settled => {}
            Verdict::Blocked(reason, detail) => {
                draft.blocked.push(Blocked {
                    address: address.clone(),
                    region_id: Some(target.clone()),
                    reason,
                    detail,
                });
            }
            Verdict::Needed(action, reason) => {
                let rank = (pair.priority, deadline(spec.max_lag, pair, replica), address.clone(), target.clone());
                found.push((rank, copy(address, holder, target, action, reason, replica)));
            }
        }
    }
    if empty && !protected && view.targeted(address) {
        draft.waiting.push(Waiting {
            address: address.clone(),
            region_id: holder.region.clone(),
            reason: WaitingOn::NoSource,
        });
    }
}

fn copy(
    address: &Address,
    holder: &Holder,
    target: &RegionId,
    action: crate::plan::document::Action,
    reason: String,
    replica: Option<&Replica>,
) -> Change {
    Change {
        id: format!("{}:{address}:{target}", action.as_str()),
        address: address.clone(),
        kind: Kind::Sync,
        action,
        regions: vec![target.clone()],
        drops: Vec::new(),
        source: Some(holder.region.clone()),
        before: None,
        after: None,
        reason,
        depends_on: Vec::new(),
        precondition: Precondition {
            base: Some(base_of(replica)),
            holder: Some(holder.clone()),
            ..Precondition::default()
        },
    }
}

/// The point that a copy starts from.
pub(crate) fn base_of(replica: Option<&Replica>) -> BasePoint {
    let newest = replica.and_then(|replica| replica.newest.as_ref());
    BasePoint {
        sequence: newest.map(|newest| newest.point.sequence),
        data_hash: newest.map(|newest| newest.point.data_hash),
    }
}

/// When the recovery point that was promised will be missed; none: there is no point yet.
pub(crate) fn deadline(max_lag: Option<Duration>, pair: &PairSpec, replica: Option<&Replica>) -> Option<Timestamp> {
    let newest = replica?.newest.as_ref()?;
    Some(newest.point.verified_at.plus(max_lag.unwrap_or(pair.sync_interval * 3)))
}

/// The pair whose settings a copy goes by.
pub(crate) fn feeding<'a>(
    topology: &'a Topology,
    key: &ResourceKey,
    spec: &ResourceSpec,
    holder: &RegionId,
    target: &RegionId,
) -> Option<(PairId, &'a PairSpec)> {
    topology.settings_between(&spec.primary, holder, target, key.kind)
}

/// Whether a replica's newest point is a copy of these files as they are now, and unharmed.
pub(crate) fn in_step(content: Option<&Content>, replica: Option<&Replica>) -> bool {
    let (Some(content), Some(replica)) = (content, replica) else { return false };
    let newest = replica.newest.as_ref().and_then(|newest| newest.source_stamp);
    newest == Some(content.stamp) && replica.damage.is_none()
}
