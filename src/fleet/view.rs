//! What the regions answered, as the reading commands show it. Pure: topology, answers, plan and the present moment
//! in, tables and troubles out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::remedy::Case;
use super::status::{
    RegionState, RegionWork, ReplicaHealth, ReplicaState, ReplicationStatus, SyncStatus, Trouble, TroubleKind,
};
use crate::execute::records;
use crate::model::failover::CutOff;
use crate::model::observed::{Observation, Observed, RegionStatus};
use crate::model::point::{BlockReason, Loss, Replica};
use crate::model::region::{Pause, Role, StillHeld};
use crate::model::running::ForeignStart;
use crate::model::sighting::{Evidence, Met, status};
use crate::model::topology::{PairSpec, ResourceSpec, Topology};
use crate::model::{Address, OperationId, RegionId, ResourceKey, ResourceType, Timestamp, units};
use crate::plan::document::{Action, Plan};
use crate::replica::suspicion;
use crate::state::{ActionOutcome, ActionRecord};

/// Why safety stops a copy, what the source has lost, and the words for it.
type Stop = (BlockReason, Option<Loss>, String);

/// What the reading commands look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) topology: &'a Topology,
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn mbps(rate: units::BitRate) -> f64 {
    rate.0 as f64 / 1e6
}

impl View<'_> {
    /// One declared region; none where it is not declared.
    pub(super) fn region(&self, id: &RegionId) -> Option<RegionState> {
        let spec = self.topology.regions.get(id)?;
        let mut state = RegionState {
            region_id: id.clone(),
            name: spec.name.clone(),
            location: spec.location.clone(),
            api_endpoint: spec.api_endpoint.clone(),
            is_primary: spec.primary,
            status: RegionStatus::Unknown,
            reason: None,
            help: None,
            latency_ms: None,
            last_heartbeat: None,
            bandwidth_mbps: self.links_from(id).max_by(f64::total_cmp),
            capacity_vms: spec.capacity_vms,
            current_vms: None,
            resources_primary: None,
            resources_replica: None,
            free_bytes: None,
            replication_lag_seconds: None,
            resources_synced_per_minute: None,
            controller: None,
            labels: spec.labels.clone(),
            seen_by: self.sightings_of(id),
        };
        match self.observed.regions.get(id) {
            Some(Observation::Answered { snapshot, latency }) => {
                let held = || snapshot.resources.iter().filter(|(_, record)| record.role == Role::Holder);
                let kept = snapshot.resources.values().filter(|record| record.role == Role::Replica).count();
                let verified = snapshot.replicas.values().filter_map(|replica| replica.newest.as_ref());
                let oldest = verified.map(|newest| newest.point.verified_at).min();
                let returning = state.seen_by.values().any(|seen| seen.status == RegionStatus::Recovering);
                state.status = status(Met::Answered, Some(*latency), returning, &self.topology.policy.health);
                state.last_heartbeat = Some(self.now);
                state.latency_ms = Some(latency.as_secs_f64() * 1000.0);
                state.current_vms = Some(count(held().filter(|(key, _)| key.kind == ResourceType::Vm).count()));
                state.resources_primary = Some(count(held().count()));
                state.resources_replica = Some(count(kept));
                state.free_bytes = Some(snapshot.free);
                state.replication_lag_seconds = oldest.map(|at| self.now.since(at).as_secs_f64());
                state.resources_synced_per_minute = snapshot.copies_lately.map(|copies| copies as f64 / 60.0);
                state.controller = snapshot.controller.clone();
                let taken = snapshot.links.values().map(|rate| mbps(*rate));
                state.bandwidth_mbps = state.bandwidth_mbps.or_else(|| taken.max_by(f64::total_cmp));
            }
            Some(Observation::Silent(silence)) => {
                state.status = silence.status;
                state.reason = Some(silence.reason.clone());
                state.help.clone_from(&silence.help);
                let seen = state.seen_by.values().filter_map(|seen| seen.last_seen).min();
                state.last_heartbeat = seen.map(|age| self.now.before(age));
            }
            None => {}
        }
        Some(state)
    }

    /// How the region looks to the others.
    fn sightings_of(&self, id: &RegionId) -> BTreeMap<RegionId, Evidence> {
        let others = self.observed.answering();
        others.filter_map(|(other, told)| Some((other.clone(), told.sightings.get(id)?.clone()))).collect()
    }

    /// How fast blocks came from the region to each of the others, in Mbit/s.
    fn links_from(&self, id: &RegionId) -> impl Iterator<Item = f64> {
        self.observed.answering().filter_map(|(_, told)| told.links.get(id)).map(|rate| mbps(*rate))
    }

    /// What is under way at the regions that answer.
    pub(super) fn work(&self) -> Vec<RegionWork> {
        let told = self.topology.regions.keys().filter_map(|id| Some((id, self.observed.snapshot(id)?)));
        told.flat_map(|(id, told)| {
            told.work.iter().map(|work| RegionWork { region_id: id.clone(), work: work.clone() })
        })
        .collect()
    }

    /// All declared regions, the primary one first.
    pub(super) fn regions(&self) -> Vec<RegionState> {
        let mut states: Vec<_> = self.topology.regions.keys().filter_map(|id| self.region(id)).collect();
        states.sort_by_key(|state| !state.is_primary);
        states
    }

    /// One declared resource with its replicas.
    pub(super) fn resource(&self, key: &ResourceKey, spec: &ResourceSpec) -> ReplicationStatus {
        let holder = records::holder(self.observed, key);
        let at = holder.as_ref().map_or(&spec.primary, |holder| &holder.region);
        // After a failover the region of birth is a replica like the others.
        let replicas = spec.regions().filter(|region| *region != at);
        let replicas: BTreeMap<RegionId, ReplicaState> =
            replicas.map(|region| (region.clone(), self.replica(key, spec, at, region))).collect();
        let newest = replicas.values().max_by_key(|replica| (replica.verified_at, replica.sequence));
        let last_sync = newest.and_then(|newest| newest.verified_at);
        let primary = holder.as_ref().map(|holder| &holder.region);
        ReplicationStatus {
            primary_region_id: primary.cloned(),
            last_sync,
            last_sync_time: last_sync,
            data_hash: newest.and_then(|newest| newest.data_hash),
            replica_regions: replicas.iter().map(|(at, replica)| (at.clone(), replica.replica_id.clone())).collect(),
            replication_status: replicas.iter().map(|(at, replica)| (at.clone(), replica.status)).collect(),
            resource_id: key.id.clone(),
            resource_type: key.kind,
            version: replicas.values().filter_map(|replica| replica.sequence).max(),
            epoch: holder.as_ref().map(|holder| holder.epoch),
            set_aside: self.observed.snapshot(at).and_then(|seen| seen.replaced.get(key)).copied().unwrap_or(0),
            primary_region: holder.map(|holder| holder.region),
            replicas,
        }
    }

    /// The lag that the replica is promised: the resource's own, else three intervals of the pair that feeds it or, after
    /// a failover, whose settings it is fed with.
    pub(super) fn promise(&self, key: &ResourceKey, spec: &ResourceSpec, holder: &RegionId, at: &RegionId) -> Duration {
        let settings = self.topology.settings_between(&spec.primary, holder, at, key.kind);
        let interval = settings.map(|(_, pair)| pair.sync_interval);
        spec.max_lag.unwrap_or_else(|| interval.unwrap_or(PairSpec::DEFAULT_INTERVAL) * 3)
    }

    fn replica(&self, key: &ResourceKey, spec: &ResourceSpec, holder: &RegionId, at: &RegionId) -> ReplicaState {
        let promise = self.promise(key, spec, holder, at);
        let pair = self.topology.settings_between(&spec.primary, holder, at, key.kind);
        let case = Case {
            key,
            holder,
            at,
            observed: self.observed,
            pair: pair.as_ref().map(|(id, pair)| (id, *pair)),
            blocked: None,
            failed: None,
            link: None,
        };
        let Some(snapshot) = self.observed.snapshot(at) else {
            return ReplicaState {
                status: SyncStatus::Unknown,
                health: ReplicaHealth::Unknown,
                detail: Some(case.unheard(at)),
                help: case.help(ReplicaHealth::Unknown),
                replica_id: key.id.clone(),
                sequence: None,
                data_hash: None,
                verified_at: None,
                lag: None,
                promise,
                points: None,
                set_aside: 0,
            };
        };
        let none = Replica::default();
        let replica = snapshot.replicas.get(key).unwrap_or(&none);
        let newest = replica.newest.as_ref();
        let lag = newest.map(|newest| self.now.since(newest.point.verified_at));
        let failed = snapshot.failed_copies.get(key).filter(|failed| lag.is_none_or(|lag| failed.age < lag));
        let obstacle = self.obstacle(key, holder, replica);
        let case = Case {
            blocked: obstacle.as_ref().map(|(reason, lost, _)| (*reason, *lost)),
            failed: failed.map(|failed| failed.lack),
            link: snapshot.links.get(holder).copied(),
            ..case
        };
        let (health, detail) = match self.judge(&case, replica, obstacle, lag, promise) {
            (ReplicaHealth::Damaged, detail) => (ReplicaHealth::Damaged, detail),
            (_, detail) if case.pair.is_some_and(|(_, pair)| pair.paused) => {
                let paused = case.pair.map(|(id, _)| format!("the pair {id} is paused"));
                (ReplicaHealth::Paused, detail.or(paused))
            }
            judged => judged,
        };
        let failure = failed.map(|failed| format!("the last copy failed: {}", failed.reason));
        let detail = match (detail, failure) {
            (Some(damage), Some(failure)) if health == ReplicaHealth::Damaged => Some(format!("{damage}; {failure}")),
            (detail, failure) => detail.or(failure),
        };
        let detail = detail.or_else(|| if health == ReplicaHealth::Late { case.slowness() } else { None });
        let syncing = snapshot.work.iter().any(|work| work.kind == "sync" && work.resource.as_ref() == Some(key));
        ReplicaState {
            status: SyncStatus::of(health, syncing, failed.is_some()),
            health,
            detail,
            help: case.help(health),
            replica_id: snapshot.former_ids.get(key).unwrap_or(&key.id).clone(),
            sequence: newest.map(|newest| newest.point.sequence),
            data_hash: newest.map(|newest| newest.point.data_hash),
            verified_at: newest.map(|newest| newest.point.verified_at),
            lag,
            promise,
            points: Some(replica.points),
            set_aside: replica.set_aside + snapshot.replaced.get(key).copied().unwrap_or(0),
        }
    }

    /// What stops the next copy for safety: what the target refused, or what can be seen of the source by now.
    fn obstacle(&self, key: &ResourceKey, holder: &RegionId, replica: &Replica) -> Option<Stop> {
        if let Some(refusal) = &replica.refusal {
            return Some((refusal.reason, refusal.lost, refusal.detail.clone()));
        }
        // A region that has it under its former name yet has its files there, too.
        let source = self.observed.snapshot(holder).filter(|source| source.resources.contains_key(key))?;
        let content = source.contents.get(key);
        if let Some(refused) = content.and_then(|content| content.refused.as_ref()) {
            return Some((BlockReason::Unsupported, None, format!("{}: {}", refused.path, refused.reason)));
        }
        let newest = replica.newest.as_ref()?;
        let now = content.map(|content| content.outline.clone()).unwrap_or_default();
        let (reason, detail) = suspicion::judge(key.kind, &newest.outline, &now)?;
        Some((reason, Some(if now.files == 0 { Loss::Everything } else { Loss::Part }), detail))
    }

    /// How well a replica does, the worst that is true of it.
    fn judge(
        &self,
        case: &Case<'_>,
        replica: &Replica,
        obstacle: Option<Stop>,
        lag: Option<Duration>,
        promise: Duration,
    ) -> (ReplicaHealth, Option<String>) {
        let Case { key, holder, .. } = *case;
        let source = self.observed.snapshot(holder);
        let content = source.and_then(|snapshot| snapshot.contents.get(key));
        if let Some(damage) = &replica.damage {
            return (ReplicaHealth::Damaged, Some(damage.clone()));
        }
        if let Some((reason, _, detail)) = obstacle {
            return (ReplicaHealth::Blocked, Some(format!("{}: {detail}", reason.words())));
        }
        if lag.is_some_and(|lag| lag > promise) {
            let silent = source.is_none().then(|| case.unheard(holder));
            return (ReplicaHealth::Late, silent);
        }
        if source.is_none() {
            return (ReplicaHealth::Unknown, Some(case.unheard(holder)));
        }
        let Some(newest) = &replica.newest else {
            let waiting = content.is_none_or(|content| content.outline.files == 0);
            return if waiting {
                (ReplicaHealth::Waiting, Some(format!("no files at {holder} yet")))
            } else {
                (ReplicaHealth::Pending, Some("no complete point yet".to_owned()))
            };
        };
        if content.map(|content| content.stamp) == newest.source_stamp && newest.source_stamp.is_some() {
            (ReplicaHealth::InSync, None)
        } else {
            (ReplicaHealth::Behind, None)
        }
    }

    /// What earlier runs may have left held, and where.
    pub(super) fn still_held(&self) -> impl Iterator<Item = (&RegionId, (&ResourceKey, &StillHeld))> {
        self.observed.answering().flat_map(|(region, told)| told.still_held.iter().map(move |held| (region, held)))
    }

    /// Resources that an operation is open on.
    pub(super) fn open(&self) -> BTreeMap<&ResourceKey, OperationId> {
        let told = self.observed.answering();
        told.flat_map(|(_, told)| &told.resources).filter_map(|(key, record)| Some((key, record.operation?))).collect()
    }

    /// Regions that keep a pause of failovers.
    pub(super) fn pauses(&self) -> impl Iterator<Item = (&RegionId, &Pause)> {
        self.observed.answering().filter_map(|(id, told)| Some((id, told.paused.as_ref()?)))
    }

    /// Resources that more than one region says it holds.
    pub(super) fn held_twice(&self) -> impl Iterator<Item = &ResourceKey> {
        let told = self.observed.answering();
        let mut holders: BTreeMap<&ResourceKey, u32> = BTreeMap::new();
        for (key, _) in told.flat_map(|(_, told)| &told.resources).filter(|(_, record)| record.role == Role::Holder) {
            *holders.entry(key).or_default() += 1;
        }
        holders.into_iter().filter(|(_, holders)| *holders > 1).map(|(key, _)| key)
    }

    /// Machines that run where they are not held, and where.
    pub(super) fn foreign_starts(&self) -> impl Iterator<Item = (&RegionId, (&ResourceKey, &ForeignStart))> {
        self.observed
            .answering()
            .flat_map(|(region, told)| told.foreign_starts.iter().map(move |foreign| (region, foreign)))
    }

    /// The regions that were cut off by hand, by the latest word of each.
    fn cut_off(&self) -> impl Iterator<Item = Trouble> {
        let mut latest: BTreeMap<&RegionId, &CutOff> = BTreeMap::new();
        for (region, cut_off) in self.observed.answering().flat_map(|(_, told)| &told.cut_off) {
            let known = latest.entry(region).or_insert(cut_off);
            if (known.epoch, known.stopped) < (cut_off.epoch, cut_off.stopped) {
                *known = cut_off;
            }
        }
        latest.into_iter().map(|(region, cut_off)| {
            let CutOff { epoch: _, at, by, reason, stopped } = cut_off;
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let (what, help) = match stopped {
                true => ("was cut off by hand", "lets it in again"),
                false => (
                    "was to be cut off by hand, and nothing proves that it is",
                    "lets it in again, `failover fence` cuts it off",
                ),
            };
            Trouble {
                kind: TroubleKind::CutOff,
                address: Address::Region(region.clone()),
                region_id: Some(region.clone()),
                reason: format!("{what} by {by}, at {}{reason}; it starts nothing by itself", at.for_people()),
                help: Some(format!("`failover unfence {region}` {help}")),
            }
        })
    }

    /// What is wrong, the worst first, and within one kind by object.
    /// `tries` are the last ones of what the plan would do now.
    pub(super) fn troubles(
        &self,
        resources: &[ReplicationStatus],
        plan: Option<&Plan>,
        tries: &[ActionRecord],
    ) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for (key, operation) in self.open() {
            troubles.push(Trouble {
                kind: TroubleKind::Open,
                address: Address::Resource(key.clone()),
                region_id: None,
                reason: format!("operation {operation} is open on it: `failover status` shows it"),
                help: Some("`failover resume` goes on with it, `failover abort` leads it back".to_owned()),
            });
        }
        for (region, pause) in self.pauses() {
            troubles.push(Trouble {
                kind: TroubleKind::Paused,
                address: Address::Region(region.clone()),
                region_id: Some(region.clone()),
                reason: format!("nothing fails over without a person: paused {}", pause.words()),
                help: Some("`failover unpause` lets it".to_owned()),
            });
        }
        for (region, (key, foreign)) in self.foreign_starts() {
            troubles.push(Trouble {
                kind: TroubleKind::ForeignStart,
                address: Address::Resource(key.clone()),
                region_id: Some(region.clone()),
                reason: format!(
                    "runs there since {} at the latest, though that region does not hold it: {}",
                    foreign.since.for_people(),
                    foreign.reason
                ),
                help: Some("stop it there by hand; `vm where` tells whether it runs elsewhere too".to_owned()),
            });
        }
        for (region, (key, held)) in self.still_held() {
            let by_hand = held.release.as_ref().map_or_else(
                || format!("look at {} there, and remove it when the writers go on", held.remembered),
                |release| format!("the next copy tries again; by hand: `{release}`, then remove {}", held.remembered),
            );
            troubles.push(Trouble {
                kind: TroubleKind::StillHeld,
                address: Address::Resource(key.clone()),
                region_id: Some(region.clone()),
                reason: format!(
                    "may still be frozen or snapshotted, since {}: its writers may stand still",
                    held.since.for_people()
                ),
                help: Some(by_hand),
            });
        }
        troubles.extend(self.cut_off());
        for state in self.regions() {
            let RegionState { region_id, reason, help, seen_by, .. } = state;
            let address = Address::Region(region_id.clone());
            if self.observed.snapshot(&region_id).is_none() {
                let reason = reason.unwrap_or_else(|| "was not asked".to_owned());
                let told = seen_by.iter().map(|(observer, seen)| says(observer, seen, Some(&reason)));
                let reason = std::iter::once(reason.clone()).chain(told).collect::<Vec<_>>().join("; ");
                troubles.push(Trouble {
                    kind: TroubleKind::Unobserved,
                    address,
                    region_id: Some(region_id),
                    reason,
                    help,
                });
                continue;
            }
            // It answers here, so what lies between the two is to be looked at.
            for (observer, seen) in seen_by.iter().filter(|(_, seen)| seen.lost) {
                troubles.push(Trouble {
                    kind: TroubleKind::Unseen,
                    address: address.clone(),
                    region_id: Some(observer.clone()),
                    reason: says(observer, seen, None),
                    help: Some(format!("it answers from here: look at the way from {observer} to {region_id}")),
                });
            }
        }
        for resource in resources {
            let address = || Address::Resource(ResourceKey::new(resource.resource_type, resource.resource_id.clone()));
            for (region, replica) in &resource.replicas {
                let (kind, words, help) = match replica.health {
                    ReplicaHealth::Damaged => {
                        (TroubleKind::Damaged, "its files are damaged", Some("the next `apply` repairs it"))
                    }
                    ReplicaHealth::Late => (
                        TroubleKind::Late,
                        "older than promised",
                        Some(
                            "`reconcile` copies what is due, as a service or from a timer; `replication status ID` says \
                             why one is late",
                        ),
                    ),
                    ReplicaHealth::Paused if replica.lag.is_some_and(|lag| lag > replica.promise) => (
                        TroubleKind::Late,
                        "older than promised, its pair is paused",
                        Some("`replication resume` lets it go on"),
                    ),
                    ReplicaHealth::Pending => {
                        (TroubleKind::Pending, "has no point", Some("`apply` makes the first one"))
                    }
                    // Blocked is told by the plan, which knows more; unknown by the region that is silent.
                    ReplicaHealth::Blocked
                    | ReplicaHealth::Paused
                    | ReplicaHealth::Unknown
                    | ReplicaHealth::InSync
                    | ReplicaHealth::Behind
                    | ReplicaHealth::Waiting => continue,
                };
                let detail = replica.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
                troubles.push(Trouble {
                    kind,
                    address: address(),
                    region_id: Some(region.clone()),
                    reason: format!("{words}{detail}"),
                    help: help.map(str::to_owned),
                });
            }
        }
        for blocked in plan.iter().flat_map(|plan| &plan.blocked) {
            let help = match blocked.reason {
                BlockReason::NotDeclared => Some("`apply --prune` removes its protection, never its data"),
                BlockReason::OpenOperation => Some("bring it to its end first: `failover resume` or `failover abort`"),
                BlockReason::NotController => Some("apply from the controller, or take its place: `apply --take-over`"),
                // What the plan says of these has the way on in it.
                BlockReason::Suspicious
                | BlockReason::Shrunk
                | BlockReason::SourceBusy
                | BlockReason::NoSpace
                | BlockReason::Unsupported
                | BlockReason::NoCommonBase
                | BlockReason::Diverged
                | BlockReason::Dependency => None,
            };
            troubles.push(Trouble {
                kind: TroubleKind::Blocked,
                address: blocked.address.clone(),
                region_id: blocked.region_id.clone(),
                reason: format!("{}: {}", blocked.reason.words(), blocked.detail),
                help: help.map(str::to_owned),
            });
        }
        for tried in tries {
            let word = match tried.outcome {
                ActionOutcome::Failed => "failed",
                ActionOutcome::Blocked => "was blocked",
                ActionOutcome::Running
                | ActionOutcome::Done
                | ActionOutcome::Unchanged
                | ActionOutcome::Skipped
                | ActionOutcome::Interrupted
                | ActionOutcome::Unknown => continue,
            };
            let ActionRecord { address, action, regions, message, .. } = tried;
            let region_id = regions.first().filter(|_| regions.len() == 1).cloned();
            let detail = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            let reason = format!("its last {} {word}{detail}", action.as_str());
            let known = troubles.iter_mut().find(|known| (&known.address, &known.region_id) == (address, &region_id));
            match known {
                Some(known) => known.reason = format!("{}; {reason}", known.reason),
                None => troubles.push(Trouble {
                    kind: TroubleKind::Run,
                    address: address.clone(),
                    region_id,
                    reason,
                    help: Some("`apply` tries it again; `history --verbose` shows every try".to_owned()),
                }),
            }
        }
        troubles.sort_by(|a, b| (a.kind, &a.address, &a.region_id).cmp(&(b.kind, &b.address, &b.region_id)));
        troubles
    }
}

/// What one region says of another, in words; why it fails is left out where that is `told` already.
fn says(observer: &RegionId, seen: &Evidence, told: Option<&str>) -> String {
    let failure = seen.failure.as_deref().filter(|why| told != Some(*why));
    let ago = |age: Duration| text_of(age);
    let last = seen.last_seen.map_or_else(|| "never seen".to_owned(), |age| format!("last seen {} ago", ago(age)));
    match (seen.silent_for, seen.status) {
        (Some(silent), _) => {
            let why = failure.map(|why| format!(": {why}")).unwrap_or_default();
            let probes = if seen.failures == 1 { "1 probe".to_owned() } else { format!("{} probes", seen.failures) };
            format!("{observer} meets silence for {} over {probes}, {last}{why}", ago(silent))
        }
        (None, RegionStatus::Unknown) => {
            let why = failure.map(|why| format!(": {why}")).unwrap_or_default();
            format!("{observer} cannot say, {last}{why}")
        }
        (
            None,
            RegionStatus::Healthy | RegionStatus::Degraded | RegionStatus::Unreachable | RegionStatus::Recovering,
        ) => format!("{observer} saw it {} ago", seen.last_seen.map_or_else(|| "long".to_owned(), ago)),
    }
}

/// An age to the second: more says nothing here.
fn text_of(age: Duration) -> String {
    units::brief(Duration::from_secs(age.as_secs()))
}

/// How many changes a plan has that are no copies.
pub(super) fn record_changes(plan: &Plan) -> usize {
    let copies = |action: Action| matches!(action, Action::Sync | Action::Repair);
    plan.changes.iter().filter(|change| !copies(change.action)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::Unobserved;
    use crate::model::region::RegionSnapshot;
    use crate::model::topology::RegionSpec;
    use crate::model::{ByteCount, Digest};

    fn id(text: &str) -> RegionId {
        text.parse().unwrap()
    }

    fn seen(silent: Option<u64>) -> Evidence {
        let age = |seconds| Duration::from_secs(seconds);
        Evidence {
            status: if silent.is_some() { RegionStatus::Unreachable } else { RegionStatus::Recovering },
            last_seen: Some(age(silent.map_or(2, |silent| silent + 2))),
            silent_for: silent.map(age),
            failures: silent.map_or(0, |silent| u32::try_from(silent / 5).unwrap()),
            lost: silent.is_some_and(|silent| silent >= 15),
            latency: Some(Duration::from_millis(1)),
            last_probe: Some(age(1)),
            failure: silent.map(|_| "refused".to_owned()),
        }
    }

    /// Three regions; `west` says of the others what is given, and `gone` does not answer here.
    fn troubles(of_east: Evidence, of_gone: Evidence) -> (Vec<RegionState>, Vec<Trouble>) {
        let spec = |name: &str| RegionSpec {
            name: name.to_owned(),
            location: name.to_owned(),
            api_endpoint: format!("http://{name}"),
            primary: false,
            capacity_vms: 1,
            labels: BTreeMap::new(),
            policy: Default::default(),
        };
        let topology = Topology {
            regions: ["east", "gone", "west"].into_iter().map(|name| (id(name), spec(name))).collect(),
            endpoints: BTreeMap::new(),
            pairs: BTreeMap::new(),
            resources: BTreeMap::new(),
            policy: Default::default(),
            moved: Vec::new(),
            digest: Digest::of(b""),
        };
        let answer = |sightings: BTreeMap<RegionId, Evidence>| {
            let vacant = RegionSnapshot::vacant(BTreeMap::new(), ByteCount(0));
            let snapshot = Box::new(RegionSnapshot { sightings, ..vacant });
            Observation::Answered { snapshot, latency: Duration::from_millis(1) }
        };
        let silent = Unobserved { status: RegionStatus::Unreachable, reason: "no answer".to_owned(), help: None };
        let observed = Observed {
            regions: BTreeMap::from([
                (id("east"), answer(BTreeMap::new())),
                (id("gone"), Observation::Silent(silent)),
                (id("west"), answer(BTreeMap::from([(id("east"), of_east), (id("gone"), of_gone)]))),
            ]),
        };
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let view = View { topology: &topology, observed: &observed, now };
        (view.regions(), view.troubles(&[], None, &[]))
    }

    #[test]
    fn what_is_down_is_said_with_who_says_so() {
        let (states, told) = troubles(seen(Some(20)), seen(Some(190)));
        assert_eq!(
            told.iter().map(|trouble| trouble.kind).collect::<Vec<_>>(),
            [TroubleKind::Unobserved, TroubleKind::Unseen]
        );
        let words = "no answer; west meets silence for 3m10s over 38 probes, last seen 3m12s ago: refused";
        assert_eq!((told[0].address.to_string().as_str(), told[0].reason.as_str()), ("region.gone", words));
        assert_eq!(told[0].region_id, Some(id("gone")));
        assert_eq!((told[1].address.to_string().as_str(), &told[1].region_id), ("region.east", &Some(id("west"))));
        assert!(told[1].help.as_deref().unwrap().contains("the way from west to east"), "{told:?}");
        // What it meets is told once.
        let same = Evidence { failure: Some("no answer".to_owned()), ..seen(Some(190)) };
        let words = "no answer; west meets silence for 3m10s over 38 probes, last seen 3m12s ago";
        assert_eq!(troubles(seen(None), same).1[0].reason, words);
        let gone = states.iter().find(|state| state.region_id == id("gone")).unwrap();
        assert_eq!(gone.last_heartbeat.unwrap().as_micros(), 1_700_000_000_000_000 - 192_000_000);
    }

    #[test]
    fn silence_that_is_no_loss_yet_is_no_trouble_and_a_return_shows() {
        let (states, told) = troubles(seen(Some(5)), seen(None));
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].reason, "no answer; west saw it 2s ago");
        assert!(states.iter().all(|state| state.status != RegionStatus::Recovering));
        let (states, told) = troubles(seen(None), seen(None));
        assert_eq!(told.len(), 1);
        let east = states.iter().find(|state| state.region_id == id("east")).unwrap();
        assert_eq!(east.status, RegionStatus::Recovering, "it answers, and west knows of copies that are older");
    }
}
