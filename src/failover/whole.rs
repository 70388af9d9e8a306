//! The gates of a failover as a whole: each of them holds back all of it.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use super::facts::{Asker, Facts, FenceHook, Request};
use super::gate::{Gate, GateKind, age, gone_option, gone_price};
use super::proposal::OldSide;
use crate::model::units::grouped;
use crate::model::{RegionId, ResourceKey, ResourceType};

/// One failover's case.
pub(super) struct Whole<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) request: &'a Request,
    pub(super) to: &'a RegionId,
    /// Whether the stopped source is copied once more.
    pub(super) final_sync: bool,
}

impl Whole<'_> {
    fn from(&self) -> &RegionId {
        &self.request.from
    }

    /// How it is known that a region is gone, where a person says so now, or did before.
    fn gone(&self, region: &RegionId) -> Option<&str> {
        let now = self.request.overrides.gone.get(region).map(String::as_str);
        now.or_else(|| self.facts.observed.gone().get(region).copied())
    }

    fn by_hand(&self) -> String {
        let command = match self.request.asker {
            Asker::Person | Asker::Policy => format!("execute {} {}", self.from(), self.to),
            Asker::Failback => format!("back {}", self.to),
        };
        format!("a person who knows more may: `failover {command}`")
    }

    /// What a policy must have beyond what a person needs.
    pub(super) fn automatic(&self) -> Vec<Gate> {
        match self.request.asker {
            Asker::Person => Vec::new(),
            Asker::Policy => vec![self.pause(), self.verdict(), self.breaker(), self.cooldown()],
            Asker::Failback => vec![self.pause(), self.breaker(), self.cooldown()],
        }
    }

    fn pause(&self) -> Gate {
        let paused = list(self.facts.paused);
        if paused.is_empty() {
            Gate::met(GateKind::Pause, "nobody paused automatic failovers")
        } else {
            let figure = format!("automatic failovers are paused, as {paused} stored");
            Gate::unmet(GateKind::Pause, figure, format!("`failover unpause`, or {}", self.by_hand()))
        }
    }

    fn verdict(&self) -> Gate {
        match self.facts.verdict_towards(self.from(), self.to) {
            None => {
                let figure = format!("whether {} is down was not judged", self.from());
                Gate::unmet(GateKind::Verdict, figure, self.by_hand())
            }
            Some(verdict) if verdict.is_down() => {
                Gate::met(GateKind::Verdict, format!("{} is down: {}", self.from(), verdict.reason()))
            }
            Some(verdict) => {
                let figure = format!("{} is not certainly down: {}", self.from(), verdict.reason());
                Gate::unmet(GateKind::Verdict, figure, self.by_hand())
            }
        }
    }

    /// More than one region that looks lost, to this program or to anybody: rather the network, or this side of it.
    fn breaker(&self) -> Gate {
        let silent = |region: &&RegionId| self.facts.silence(region).is_some();
        let lost = |region: &&RegionId| {
            let told = self.facts.answering().filter_map(|(_, snapshot)| snapshot.sightings.get(*region));
            told.into_iter().any(|evidence| evidence.lost)
        };
        let registry = self.facts.registry();
        let down: BTreeSet<RegionId> = registry
            .iter()
            .filter(|region| self.gone(region).is_none() && (silent(region) || lost(region)))
            .cloned()
            .collect();
        let others: BTreeSet<RegionId> = down.iter().filter(|region| *region != self.from()).cloned().collect();
        if others.is_empty() {
            return Gate::met(GateKind::Breaker, "no other region looks down");
        }
        let figure = match self.request.asker {
            Asker::Person | Asker::Policy => format!("{} look down besides {}", list(&others), self.from()),
            Asker::Failback => format!("{} look down", list(&others)),
        };
        let safer = format!("find out whether it is this side that is cut off; {}", self.by_hand());
        Gate::unmet(GateKind::Breaker, figure, safer)
    }

    fn cooldown(&self) -> Gate {
        let cooldown = self.facts.topology.policy.failover.cooldown;
        let since = self.facts.last_automatic().map(|at| self.facts.now.since(at));
        match since.filter(|since| *since < cooldown) {
            None => Gate::met(GateKind::Cooldown, format!("no automatic failover in the last {}", age(cooldown))),
            Some(since) => {
                let figure =
                    format!("the last automatic failover was completed {} ago, of {}", age(since), age(cooldown));
                let price = "a fault that the last failover did not mend may drag the machines back and forth";
                let safer = format!("wait {}; {}", age(cooldown.saturating_sub(since)), self.by_hand());
                Gate::unmet(GateKind::Cooldown, figure, safer).unless(
                    self.request.overrides.ignore_cooldown,
                    "--ignore-cooldown",
                    price,
                )
            }
        }
    }

    /// Both ends, and whether all others can agree.
    pub(super) fn ends(&self) -> Vec<Gate> {
        let mut gates = Vec::new();
        let (from, to) = (self.from(), self.to);
        if self.final_sync {
            gates.push(match self.facts.silence(from) {
                None => Gate::met(GateKind::Source, format!("{from} answers")),
                Some(why) => {
                    let figure = format!("{from} does not answer, so its last writes cannot be copied: {why}");
                    Gate::unmet(GateKind::Source, figure, "bring it back; or leave out `--strategy graceful`")
                }
            });
        }
        let registry = self.facts.registry();
        let other = match self.request.operation {
            None => "name another region that keeps replicas".to_owned(),
            Some(_) => format!("lead it elsewhere: `failover resume --gone {to}=\"how you know\" --to REGION`"),
        };
        gates.push(match self.facts.silence(to) {
            _ if self.request.overrides.gone.contains_key(to) => {
                Gate::unmet(GateKind::Target, format!("{to} was declared gone"), other)
            }
            Some(why) => Gate::unmet(GateKind::Target, format!("{to} does not answer: {why}"), other),
            None if self.facts.cut_off(to).is_some() => {
                let figure = format!("{to} was cut off by hand, and not let in since");
                Gate::unmet(GateKind::Target, figure, format!("let it in: `failover unfence {to}`; or {other}"))
            }
            None if !registry.contains(to) => {
                Gate::unmet(GateKind::Target, format!("{to} is not registered"), "apply the topology first")
            }
            None => Gate::met(GateKind::Target, format!("{to} answers")),
        });
        gates.extend(self.agreement(&registry));
        gates
    }

    /// Only the source may be silent, where it is proven stopped, and regions that are gone.
    fn agreement(&self, registry: &BTreeSet<RegionId>) -> Vec<Gate> {
        let gone = &self.request.overrides.gone;
        let mut gates = Vec::new();
        for region in gone.keys().filter(|region| self.facts.silence(region).is_none()) {
            let figure = format!("{region} was declared gone, and answers");
            gates.push(Gate::unmet(GateKind::Agreement, figure, format!("leave out `--gone {region}=…`")));
        }
        let silent = registry.iter().filter(|region| *region != self.from() && *region != self.to);
        let silent: BTreeMap<&RegionId, String> =
            silent.filter_map(|region| Some((region, self.facts.silence(region)?))).collect();
        for (region, why) in &silent {
            let figure = format!("{region} must agree, and does not answer: {why}");
            let gate = match self.gone(region) {
                Some(how) => Gate::met(GateKind::Agreement, format!("{region} is gone: {how}")),
                None => Gate::unmet(GateKind::Agreement, figure, format!("bring {region} back")),
            };
            // What was said before is not said once more.
            let gate = match (gone.contains_key(*region), gate.passes) {
                (false, true) => gate,
                (given, _) => gate.unless(given, gone_option(region), gone_price(region)),
            };
            let seen = self.facts.last_seen(region).map(|seen| self.facts.now.since(seen.at));
            gates.push(match seen {
                Some(seen) => gate.of_age(seen),
                None => gate,
            });
        }
        if gates.is_empty() {
            let besides = registry.iter().filter(|region| *region != self.from()).count();
            let figure = match besides {
                1 => format!("{} can agree, and nobody else is registered", self.to),
                many => format!("the {many} other registered regions can agree"),
            };
            gates.push(Gate::met(GateKind::Agreement, figure));
        }
        gates
    }

    /// How the old side is proven stopped.
    pub(super) fn fence(&self) -> (OldSide, Gate) {
        let (from, to) = (self.from(), self.to);
        let overrides = &self.request.overrides;
        let word = overrides.fenced.as_ref().filter(|_| self.request.asker == Asker::Person);
        let gone = overrides.gone.get(from);
        let option = "--fenced \"how you know\"";
        let price = format!("if {from} still runs one of these, two copies run and one's writes are lost");
        let runs = |region: &RegionId| self.facts.runners.contains(region);
        let answers = self.facts.silence(from).is_none();
        if answers && runs(from) {
            let figure = format!("{from} gives up its role, and its runner must say that the machines are stopped");
            return (OldSide::Demotion, Gate::met(GateKind::Fence, figure));
        }
        if let Some(how) = word {
            let figure = format!("{from} is stopped: {how}");
            return (OldSide::Word(how.clone()), Gate::met(GateKind::Fence, figure).unless(true, option, price));
        }
        if answers && !runs(to) {
            let figure = format!(
                "NOT FENCED BY US: {from} gives up its role, and has no runner, as {to}: stop its machines yourself"
            );
            return (OldSide::Unwatched, Gate::met(GateKind::Fence, figure));
        }
        if let (Some(how), false) = (gone, answers) {
            let gate = Gate::met(GateKind::Fence, format!("{from} is gone: {how}"));
            return (OldSide::Gone(how.clone()), gate.unless(true, gone_option(from), gone_price(from)));
        }
        if let Some(cut_off) = self.facts.cut_off(from).filter(|cut_off| self.facts.proves(from, cut_off) && !answers) {
            let figure = format!("{from} was cut off by hand by {}, and not let in since", cut_off.by);
            let aged = self.facts.now.since(cut_off.at);
            return (OldSide::CutOff, Gate::met(GateKind::Fence, figure).of_age(aged));
        }
        // The hook cuts off what is silent; what answers would have to stop by itself.
        if answers {
            let figure =
                format!("{from} has no runner, so nothing proves that its machines are stopped, and {to} starts them");
            let safer =
                format!("give {from} a [runner] in its .debvisor/config.toml; or stop the machines there by hand");
            return (OldSide::Unproven, Gate::unmet(GateKind::Fence, figure, safer).unless(false, option, price));
        }
        let aged = self.facts.last_seen(from).map(|seen| self.facts.now.since(seen.at));
        let (side, gate) = match self.facts.fence {
            FenceHook::Ready => (
                OldSide::Fence,
                Gate::met(
                    GateKind::Fence,
                    format!("{from} does not answer: the fence hook cuts it off before anything starts"),
                ),
            ),
            FenceHook::Missing(why) => {
                let figure = format!("{from} does not answer, and the fence hook cannot be run: {why}");
                let safer = "run it where the hook is; or cut its power by its own console, and see that it is off";
                (OldSide::Unproven, Gate::unmet(GateKind::Fence, figure, safer).unless(false, option, price))
            }
            FenceHook::Unnamed => {
                let figure = format!("{from} does not answer, and the policy names no fence hook");
                let safer = "cut its power by its own console, and see that it is off; then say so";
                (OldSide::Unproven, Gate::unmet(GateKind::Fence, figure, safer).unless(false, option, price))
            }
        };
        (side, aged.into_iter().fold(gate, Gate::of_age))
    }

    /// What the fence stops beside what moves.
    pub(super) fn collateral(&self, stopped: &OldSide, staying: &BTreeSet<ResourceKey>) -> Option<Gate> {
        if *stopped != OldSide::Fence {
            return None;
        }
        let from = self.from();
        if staying.is_empty() {
            return Some(Gate::met(GateKind::Collateral, format!("every machine that {from} is known to hold moves")));
        }
        let names = several(staying.iter());
        let figure = format!("the fence stops {names} at {from} too, and nothing of it is started elsewhere");
        let price = format!("down until {from} is back: {names}");
        let safer = "move them, too: see what holds them back, and leave out `--vm`";
        let gate = Gate::unmet(GateKind::Collateral, figure, safer);
        Some(gate.unless(self.request.overrides.accept_collateral, "--accept-collateral", price))
    }

    /// Whether the target has room for so many machines more.
    pub(super) fn capacity(&self, claims: &BTreeMap<&ResourceKey, Claim>, coming: usize) -> Option<Gate> {
        let declared = self.facts.topology.regions.get(self.to).map(|spec| spec.capacity_vms).or_else(|| {
            let recorded = self.facts.answering().find_map(|(_, snapshot)| snapshot.regions.get(self.to));
            recorded.map(|record| record.spec.capacity_vms)
        })?;
        if coming == 0 {
            return None;
        }
        let there =
            claims.iter().filter(|(key, claim)| key.kind == ResourceType::Vm && claim.region == *self.to).count();
        let would = there + coming;
        let [vms, room] = [u64::try_from(would).unwrap_or(u64::MAX), declared.into()].map(grouped);
        let noun = if would == 1 { "VM" } else { "VMs" };
        let figure = format!("{} would hold {vms} {noun}, and is declared for {room}", self.to);
        if u64::try_from(would).is_ok_and(|would| would <= u64::from(declared)) {
            return Some(Gate::met(GateKind::Capacity, figure));
        }
        let price = format!("machines may not start at {}, or starve there", self.to);
        let safer =
            "move the most important ones with `--vm`; or raise its capacity_vms, if it is larger than declared";
        let gate = Gate::unmet(GateKind::Capacity, figure, safer);
        Some(gate.unless(self.request.overrides.ignore_capacity, "--ignore-capacity", price))
    }
}

fn list(regions: &BTreeSet<RegionId>) -> String {
    regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `vm.a, vm.b`, or `vm.a, vm.b, vm.c and 4 more`.
pub(super) fn several<'k>(keys: impl Iterator<Item = &'k ResourceKey>) -> String {
    let names: Vec<String> = keys.map(ToString::to_string).collect();
    match names.len() {
        0..=4 => names.join(", "),
        many => format!("{} and {} more", names[..3].join(", "), many - 3),
    }
}
