//! What all chapters have in common: what there is, and steps that come more than once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::page::Instruction;
use crate::failover::level::levels;
use crate::model::policy::{Hooks, Strategy};
use crate::model::topology::{Endpoint, PairSpec, ResourceSpec, Topology};
use crate::model::{RegionId, ResourceId, ResourceKey, units};

/// What is born at the source: what moves, level by level, and what has no replica at the target.
pub(super) fn moves(
    topology: &Topology,
    from: &RegionId,
    to: &RegionId,
) -> (Vec<BTreeSet<ResourceKey>>, BTreeSet<ResourceKey>) {
    let born: BTreeMap<&ResourceKey, &ResourceSpec> =
        topology.resources.iter().filter(|(_, spec)| spec.primary == *from).collect();
    let (kept, stays): (BTreeMap<_, _>, BTreeMap<_, _>) =
        born.into_iter().partition(|(_, spec)| spec.replicas.contains(to));
    let by_id: BTreeMap<&ResourceId, &ResourceKey> = kept.keys().map(|key| (&key.id, *key)).collect();
    let after: BTreeMap<&ResourceKey, BTreeSet<&ResourceKey>> = (kept.iter())
        .map(|(key, spec)| (*key, spec.depends_on.iter().filter_map(|id| by_id.get(id).copied()).collect()))
        .collect();
    let mut moves: BTreeMap<u32, BTreeSet<ResourceKey>> = BTreeMap::new();
    for (key, level) in levels(&after) {
        moves.entry(level).or_default().insert(key.clone());
    }
    (moves.into_values().collect(), stays.into_keys().cloned().collect())
}

/// Whoever writes the chapters, and what they are about.
pub(super) struct Writer<'a> {
    pub(super) topology: &'a Topology,
    pub(super) from: &'a RegionId,
    pub(super) to: &'a RegionId,
    pub(super) moves: &'a [BTreeSet<ResourceKey>],
    pub(super) stays: &'a BTreeSet<ResourceKey>,
}

/// A command line.
pub(super) fn cli(rest: impl AsRef<str>) -> String {
    format!("debvisor-region {}", rest.as_ref())
}

pub(super) fn step(text: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Instruction {
    Instruction { text: text.into(), commands: commands.into_iter().collect(), expect: None }
}

impl Instruction {
    pub(super) fn expect(self, expect: impl Into<String>) -> Self {
        Self { expect: Some(expect.into()), ..self }
    }
}

impl Writer<'_> {
    pub(super) fn hooks(&self) -> &Hooks {
        &self.topology.policy.failover.hooks
    }

    pub(super) fn has_fence(&self) -> bool {
        !self.hooks().fence.is_empty()
    }

    /// Every other region.
    pub(super) fn others(&self) -> Vec<&RegionId> {
        self.topology.regions.keys().filter(|region| *region != self.from && *region != self.to).collect()
    }

    /// A resource to show a command with: one that moves, if any does.
    pub(super) fn example(&self) -> String {
        let first = self.moves.iter().flatten().chain(self.stays).next();
        first.map_or_else(|| "ID".to_owned(), |key| key.id.to_string())
    }

    pub(super) fn reached(&self, region: &RegionId) -> String {
        match self.topology.endpoints.get(region) {
            Some(Endpoint::Http(origin)) => origin.clone(),
            Some(Endpoint::Directory(path)) => format!("the directory {}", path.display()),
            None => "an unknown place".to_owned(),
        }
    }

    /// The most that anything that moves may lose.
    pub(super) fn promise(&self) -> Option<Duration> {
        let promised = self.moves.iter().flatten().filter_map(|key| {
            let spec = self.topology.resources.get(key)?;
            let settings = self.topology.settings_between(&spec.primary, self.from, self.to, key.kind);
            let interval = settings.map_or(PairSpec::DEFAULT_INTERVAL, |(_, pair)| pair.sync_interval);
            Some(spec.max_lag.unwrap_or(interval * 3))
        });
        promised.max()
    }

    pub(super) fn facts(&self) -> Vec<String> {
        let Self { from, to, .. } = self;
        let policy = &self.topology.policy.failover;
        let mut facts = vec![
            format!("{from} is reached at {}.", self.reached(from)),
            format!(
                "{to} is reached at {}, and may hold {} VMs.",
                self.reached(to),
                units::grouped(self.capacity().into())
            ),
        ];
        facts.extend(self.others().into_iter().map(|other| format!("{other} is reached at {}.", self.reached(other))));
        if let Some(promise) = self.promise() {
            let promise = units::format_duration(promise);
            facts.push(format!("No more than {promise} of writes should be lost; a gate refuses more."));
        }
        facts.push(if self.has_fence() {
            format!("The fence hook, `{}`, cuts {from} off.", self.hooks().fence.join(" "))
        } else {
            format!("No fence hook is declared: somebody must make sure by other means that {from} is off.")
        });
        facts.push(match policy.strategy {
            Strategy::Automatic | Strategy::Cascading => {
                format!(
                    "The policy is {}: `reconcile --allow failover` may have acted already.",
                    policy.strategy.as_str()
                )
            }
            Strategy::Manual | Strategy::Graceful => {
                "Nothing fails over by itself: the policy leaves it to a person.".to_owned()
            }
        });
        facts
    }

    pub(super) fn capacity(&self) -> u32 {
        self.topology.regions.get(self.to).map_or(0, |spec| spec.capacity_vms)
    }

    /// Who sees the source, asked anew.
    pub(super) fn who_sees(&self) -> Instruction {
        let from = self.from;
        step(format!("Ask everybody who sees {from}."), [cli(format!("region health-check {from}"))])
    }

    pub(super) fn preview(&self, options: &str) -> Instruction {
        let Self { from, to, .. } = self;
        step(
            "See what would happen. This changes nothing.",
            [cli(format!("failover execute {from} {to}{options} --dry-run --explain"))],
        )
        .expect("every resource with the point that it would run from, how old that is, what is lost; each gate; who saw what.")
    }

    pub(super) fn look_after(&self) -> Instruction {
        let Self { from, to, .. } = self;
        step(
            format!("See that it is done: nothing open, {to} holds what {from} held, the machines run."),
            [cli("failover status"), cli("vm list"), cli(format!("vm where {}", self.example()))],
        )
        .expect(format!("no open operation; \"held by {to}\"; each machine runs at {to} and nowhere else."))
    }

    /// How a person makes sure that the source is off.
    pub(super) fn make_sure(&self) -> &'static str {
        "its management console, its power meter, or somebody who stands in front of it"
    }
}
