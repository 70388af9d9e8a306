//! What to do about a replica that does not keep its promise: one next step for each cause, by what was measured.

use super::status::ReplicaHealth;
use crate::model::observed::{Observation, Observed};
use crate::model::point::{BlockReason, Loss};
use crate::model::topology::PairSpec;
use crate::model::units::BitRate;
use crate::model::work::Lack;
use crate::model::{PairId, RegionId, ResourceKey};
use crate::plan::remedy::unblock;

/// A link counts as used up by a limit from this share of it on, in percent.
const USED_UP: u64 = 80;

/// A replica, its source and what is known of the way between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) key: &'a ResourceKey,
    pub(super) holder: &'a RegionId,
    pub(super) at: &'a RegionId,
    pub(super) observed: &'a Observed,
    /// The pair that feeds it, with its settings.
    pub(super) pair: Option<(&'a PairId, &'a PairSpec)>,
    /// Why safety stops its copies, and what the source has lost.
    pub(super) blocked: Option<(BlockReason, Option<Loss>)>,
    /// What the last copy lacked, where it failed.
    pub(super) failed: Option<Lack>,
    /// How fast blocks came lately.
    pub(super) link: Option<BitRate>,
}

impl Case<'_> {
    /// Why a region does not answer, in words, and what to do.
    fn silence(&self, region: &RegionId) -> Option<(&str, Option<&str>)> {
        match self.observed.regions.get(region)? {
            Observation::Silent(silence) => Some((&silence.reason, silence.help.as_deref())),
            Observation::Answered { .. } => None,
        }
    }

    /// That a region does not answer, and how.
    pub(super) fn unheard(&self, region: &RegionId) -> String {
        let holds = if region == self.holder { ", which holds it," } else { "" };
        match self.silence(region) {
            Some((reason, _)) => format!("{region}{holds} does not answer: {reason}"),
            None => format!("{region}{holds} does not answer"),
        }
    }

    /// Why it is late though both sides answer.
    pub(super) fn slowness(&self) -> Option<String> {
        let rate = self.link?;
        let limit = self.pair.and_then(|(_, pair)| pair.bandwidth_limit);
        let allowed = limit.map(|limit| format!(", and its pair allows {limit}")).unwrap_or_default();
        let mbps = rate.0 as f64 / 1e6;
        Some(format!("blocks last came from {} at {mbps:.1} Mbit/s{allowed}", self.holder))
    }

    /// What to do next; none where all is well.
    pub(super) fn help(&self, health: ReplicaHealth) -> Option<String> {
        let Self { key, holder, at, .. } = *self;
        let id = &key.id;
        let sync = format!("`replication sync {id} {holder} {at}`");
        let unheard = |region: &RegionId| {
            let own = self.silence(region).and_then(|(_, help)| help).map(|help| format!("{help}; "));
            format!("{}`region health-check {region}` shows how the others see it", own.unwrap_or_default())
        };
        if self.silence(at).is_some() {
            return Some(unheard(at));
        }
        match health {
            ReplicaHealth::Paused => self
                .pair
                .map(|(id, _)| format!("`replication resume {} {} --apply` has it copied again", id.source, id.target)),
            ReplicaHealth::Blocked => {
                let (reason, lost) = self.blocked?;
                let otherwise = || format!("`plan` shows what stops it, `replication points {id}` what each side has");
                Some(unblock(key, holder, at, reason, lost).unwrap_or_else(otherwise))
            }
            _ if self.silence(holder).is_some() => Some(unheard(holder)),
            _ if self.failed.is_some() => self.failed.map(|lack| match lack {
                Lack::Space => format!("make room at {at}, or keep fewer points (`[retention]`); then {sync}"),
                Lack::Permission => {
                    format!("let the server of {at} write below its directory (`ls -ln`, `mount`); then {sync}")
                }
                Lack::Other => format!("look at the logs of {at} and {holder}; then {sync}"),
            }),
            ReplicaHealth::Damaged => {
                Some(format!("`apply` restores it from {holder}; `replication verify {id}` reads both"))
            }
            ReplicaHealth::Late => {
                let limit = self.pair.and_then(|(_, pair)| pair.bandwidth_limit);
                let used_up = limit.zip(self.link).is_some_and(|(limit, link)| link.0 * 100 >= limit.0 * USED_UP);
                Some(match (used_up, self.pair) {
                    (true, Some((pair, _))) => {
                        format!("raise the bandwidth_limit of {pair} in the files, or its sync_interval; then {sync}")
                    }
                    _ => format!("see that `reconcile` runs (`history --command reconcile`); {sync} copies it now"),
                })
            }
            ReplicaHealth::Pending => Some("`apply` makes the first copy".to_owned()),
            ReplicaHealth::Waiting => {
                Some(format!("put its files at {holder}, below DIR/resources/{}/{id}; then `apply`", key.kind))
            }
            ReplicaHealth::InSync | ReplicaHealth::Behind | ReplicaHealth::Unknown => None,
        }
    }
}
