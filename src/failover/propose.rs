//! Makes the proposal of a failover from what was asked for and what is known.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use super::facts::{Asker, Facts, Request, Wish};
use super::gate::Gate;
use super::level::levels;
use super::promotion::{Case, others};
use super::proposal::{Feed, HeldBack, Move, OldSide, Outcome, PassedOver, PlannedHook, Proposal, Source, Unprotected};
use super::target::targets;
use super::whole::{Whole, several};
use crate::model::failover::Hook;
use crate::model::policy::Strategy;
use crate::model::topology::ResourceSpec;
use crate::model::{PairId, RegionId, ResourceId, ResourceKey, ResourceType};

/// Why there is no proposal: what was asked for makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nobody knows the region.
    #[error("there is no region {0}")]
    UnknownRegion(RegionId),
    /// Source and target are the same.
    #[error("{0} cannot fail over to itself")]
    SameRegion(RegionId),
    /// Nothing is known of any region.
    #[error("no region answered, so nobody knows what {0} holds")]
    NobodyAnswered(RegionId),
    /// Nobody knows the resource.
    #[error("no region that answers knows {0}")]
    UnknownResource(ResourceId),
    /// Another region holds it.
    #[error("{resource} is held by {holder}, not by {from}")]
    HeldElsewhere {
        /// The resource.
        resource: ResourceKey,
        /// Who holds it.
        holder: RegionId,
        /// Who does not.
        from: RegionId,
    },
    /// A point's number or name is of one resource.
    #[error("a point's number or name is one resource's: name that one alone, or a moment for all of them")]
    PointOfOne,
    /// An earlier point, and nothing to be lost.
    #[error("a graceful failover copies the newest state; it cannot promote an earlier point")]
    GracefulPoint,
    /// The policy leaves it to a person.
    #[error("the policy's strategy is {}, so only a person fails over", .0.as_str())]
    NotByItself(Strategy),
    /// No region comes into question.
    #[error("no region can take over: {}", .0.iter().map(|over| format!("{}: {}", over.region, over.why)).collect::<Vec<_>>().join("; "))]
    NoTarget(Vec<PassedOver>),
}

/// Proposes a failover.
///
/// Where no target was named, by the policy's candidates in their order, else the freshest; a cascading one goes on to
/// the next where one is refused.
///
/// # Errors
/// [`Unfit`]. A failover that a gate refuses is a proposal all the same: it says why.
pub fn propose(request: &Request, facts: &Facts<'_>) -> Result<Proposal, Unfit> {
    let claims = facts.claims();
    let chosen = chosen(request, facts, &claims)?;
    let strategy = strategy(request, facts)?;
    let draft = |to: &RegionId| Draft { request, facts, claims: &claims, chosen: &chosen, strategy, to }.propose();
    // An earlier point was chosen at one region.
    let cascades = strategy == Strategy::Cascading && request.point == Wish::Newest;
    let keys: BTreeSet<&ResourceKey> = chosen.keys().copied().collect();
    let (candidates, mut passed_over) = targets(facts, request.asker, &request.from, &keys);
    if let Some(to) = &request.to {
        let next = candidates.into_iter().filter(|region| region != to);
        return Ok(Proposal { next: next.filter(|_| cascades).collect(), ..draft(to) });
    }
    let mut first: Option<Proposal> = None;
    for (at, to) in candidates.iter().enumerate() {
        let proposal = draft(to);
        let next = if cascades { candidates[at + 1..].to_vec() } else { Vec::new() };
        if !cascades || proposal.outcome != Outcome::Refused {
            return Ok(Proposal { next, passed_over, ..proposal });
        }
        let why = proposal.failed_gates().map(|gate| format!("{}: {}", gate.kind.as_str(), gate.figure));
        passed_over.push(PassedOver { region: to.clone(), why: why.collect::<Vec<_>>().join("; ") });
        first.get_or_insert(proposal);
    }
    match first {
        // Why the first choice is refused says most.
        Some(first) => {
            passed_over.retain(|over| over.region != first.to);
            Ok(Proposal { passed_over, ..first })
        }
        None => Err(Unfit::NoTarget(passed_over)),
    }
}

/// What is to move: what was named, else all that the region holds. What is at the target already is left out.
fn chosen<'a>(
    request: &Request,
    facts: &Facts<'a>,
    claims: &BTreeMap<&'a ResourceKey, Claim>,
) -> Result<BTreeMap<&'a ResourceKey, Claim>, Unfit> {
    let from = &request.from;
    if facts.answering().next().is_none() {
        return Err(Unfit::NobodyAnswered(from.clone()));
    }
    for region in std::iter::once(from).chain(&request.to) {
        if !facts.knows(region) {
            return Err(Unfit::UnknownRegion(region.clone()));
        }
    }
    if request.to.as_ref() == Some(from) {
        return Err(Unfit::SameRegion(from.clone()));
    }
    let from_here = |key: &ResourceKey, claim: &Claim| {
        // Of a dispute, whoever is named first says nothing of who else claims it.
        let own = facts.snapshot(from).and_then(|snapshot| snapshot.resources.get(key));
        claim.region == *from
            || (claim.dispute.is_some() && own.is_some_and(|own| own.role == crate::model::region::Role::Holder))
    };
    if request.only.is_empty() {
        if matches!(request.point, Wish::One(_)) {
            return Err(Unfit::PointOfOne);
        }
        let held = claims.iter().filter(|(key, claim)| from_here(key, claim));
        return Ok(held.map(|(key, claim)| (*key, claim.clone())).collect());
    }
    if matches!(request.point, Wish::One(_)) && request.only.len() > 1 {
        return Err(Unfit::PointOfOne);
    }
    let mut chosen = BTreeMap::new();
    for id in &request.only {
        let known = claims.iter().find(|(key, _)| key.id == *id);
        let (key, claim) = known.ok_or_else(|| Unfit::UnknownResource(id.clone()))?;
        if from_here(key, claim) {
            chosen.insert(*key, claim.clone());
        } else if request.to.as_ref() != Some(&claim.region) {
            let (resource, holder) = ((*key).clone(), claim.region.clone());
            return Err(Unfit::HeldElsewhere { resource, holder, from: from.clone() });
        }
    }
    Ok(chosen)
}

/// How it goes, after all.
fn strategy(request: &Request, facts: &Facts<'_>) -> Result<Strategy, Unfit> {
    let earlier = request.point != Wish::Newest;
    match (request.asker, request.strategy) {
        (Asker::Person, Some(Strategy::Graceful)) if earlier => Err(Unfit::GracefulPoint),
        (Asker::Person, None | Some(Strategy::Automatic)) => {
            let graceful = facts.silence(&request.from).is_none() && !earlier;
            Ok(if graceful { Strategy::Graceful } else { Strategy::Manual })
        }
        (Asker::Person, Some(strategy @ (Strategy::Graceful | Strategy::Manual | Strategy::Cascading))) => Ok(strategy),
        (Asker::Failback, _) => Ok(Strategy::Graceful),
        (Asker::Policy, asked) => match asked.unwrap_or(facts.topology.policy.failover.strategy) {
            strategy @ (Strategy::Automatic | Strategy::Cascading) => Ok(strategy),
            strategy @ (Strategy::Manual | Strategy::Graceful) => Err(Unfit::NotByItself(strategy)),
        },
    }
}

/// A proposal for one target.
struct Draft<'a> {
    request: &'a Request,
    facts: &'a Facts<'a>,
    claims: &'a BTreeMap<&'a ResourceKey, Claim>,
    chosen: &'a BTreeMap<&'a ResourceKey, Claim>,
    strategy: Strategy,
    to: &'a RegionId,
}

impl Draft<'_> {
    fn propose(&self) -> Proposal {
        let Self { request, facts, to, strategy, .. } = *self;
        let from = &request.from;
        let answers = facts.silence(from).is_none();
        let final_sync = match strategy {
            Strategy::Graceful => true,
            Strategy::Manual | Strategy::Automatic => false,
            Strategy::Cascading => answers && request.asker == Asker::Person && request.point == Wish::Newest,
        };
        let whole = Whole { facts, request, to, final_sync };
        let (moves, own_gates) = self.moves(final_sync);
        let held_back = held_back(&moves, &own_gates);
        let held: BTreeSet<&ResourceKey> = held_back.iter().map(|held| &held.resource).collect();
        let going: BTreeSet<&ResourceKey> =
            moves.iter().map(|one| &one.resource).filter(|key| !held.contains(key)).collect();
        let (stopped, fence) = whole.fence();
        let staying: BTreeSet<ResourceKey> = (self.claims.iter())
            .filter(|(key, claim)| key.kind == ResourceType::Vm && claim.region == *from && !going.contains(*key))
            .map(|(key, _)| (*key).clone())
            .collect();
        let coming = going.iter().filter(|key| key.kind == ResourceType::Vm).count();
        let mut gates = Vec::new();
        if !moves.is_empty() {
            gates.extend(whole.automatic());
            gates.extend(whole.ends());
            gates.push(fence);
            gates.extend(whole.collateral(&stopped, &staying));
            gates.extend(whole.capacity(self.claims, coming));
            gates.extend(own_gates);
        }
        let refused = gates.iter().any(|gate| !gate.passes && gate.subject.is_none()) || going.is_empty();
        let outcome = match (moves.is_empty(), refused, held.is_empty()) {
            (true, _, _) => Outcome::Nothing,
            (false, true, _) => Outcome::Refused,
            (false, false, true) => Outcome::Goes,
            (false, false, false) => Outcome::Partly,
        };
        let (feeds, unprotected) = self.afterwards(&going, &stopped);
        let seen = facts.last_seen(from);
        let collateral = if stopped == OldSide::Fence { staying } else { BTreeSet::new() };
        let hooks = if moves.is_empty() { Vec::new() } else { self.hooks(&stopped) };
        Proposal {
            at: facts.now,
            from: from.clone(),
            to: to.clone(),
            strategy,
            loses_nothing: final_sync,
            outcome,
            source: Source {
                answers,
                last_seen: seen.as_ref().map(|seen| facts.now.since(seen.at)),
                seen_by: seen.and_then(|seen| seen.by),
                stopped,
                collateral,
            },
            hooks,
            feeds,
            unprotected,
            next: Vec::new(),
            passed_over: Vec::new(),
            verdict: facts.verdict_towards(from, to),
            held_back,
            gates,
            moves,
        }
    }

    fn moves(&self, final_sync: bool) -> (Vec<Move>, Vec<Gate>) {
        let Self { request, facts, to, .. } = *self;
        let after = self.dependencies();
        let levels = levels(&after);
        let (mut moves, mut gates) = (Vec::new(), Vec::new());
        for (key, claim) in self.chosen {
            let Some(spec) = facts.spec(key) else { continue };
            let promotion = Case { facts, request, to, key, claim, spec, final_sync }.judge();
            gates.extend(promotion.gates);
            moves.push(Move {
                resource: (*key).clone(),
                epoch: claim.epoch,
                point: promotion.point,
                loss: promotion.loss,
                level: levels.get(key).copied().unwrap_or_default(),
                after: after.get(key).into_iter().flatten().map(|first| (*first).clone()).collect(),
                starts: key.kind == ResourceType::Vm,
            });
        }
        moves.sort_by(|a, b| (a.level, &a.resource).cmp(&(b.level, &b.resource)));
        gates.sort_by(|a, b| (a.kind, &a.subject).cmp(&(b.kind, &b.subject)));
        (moves, gates)
    }

    /// Of each resource that moves, those that move too and go before it.
    fn dependencies(&self) -> BTreeMap<&ResourceKey, BTreeSet<&ResourceKey>> {
        let by_id: BTreeMap<&ResourceId, &ResourceKey> = self.chosen.keys().map(|key| (&key.id, *key)).collect();
        let first = |key: &ResourceKey| -> BTreeSet<&ResourceKey> {
            let spec: Option<&ResourceSpec> = self.facts.spec(key);
            spec.into_iter().flat_map(|spec| &spec.depends_on).filter_map(|id| by_id.get(id).copied()).collect()
        };
        self.chosen.keys().map(|key| (*key, first(key))).collect()
    }

    fn hooks(&self, stopped: &OldSide) -> Vec<PlannedHook> {
        let declared = &self.facts.topology.policy.failover.hooks;
        let fence = if *stopped == OldSide::Fence { declared.fence.clone() } else { Vec::new() };
        let hooks = [
            (Hook::Before(0), declared.before.clone()),
            (Hook::Fence(self.request.from.clone()), fence),
            (Hook::After(0), declared.after.clone()),
        ];
        let named = hooks.into_iter().filter(|(_, command)| !command.is_empty());
        named.map(|(hook, command)| PlannedHook { hook, command, timeout: declared.timeout }).collect()
    }

    /// Who is fed by the target, and what nobody keeps a copy of for now.
    fn afterwards(&self, going: &BTreeSet<&ResourceKey>, stopped: &OldSide) -> (Vec<Feed>, Vec<Unprotected>) {
        let Self { request, facts, to, .. } = *self;
        let from = &request.from;
        let mut feeds: BTreeMap<(RegionId, PairId), Feed> = BTreeMap::new();
        let mut unprotected = Vec::new();
        let gone = facts.observed.gone();
        for key in going {
            let Some(spec) = facts.spec(key) else { continue };
            let (mut fed, mut waits_for) = (false, Vec::new());
            for target in others(spec, from, to) {
                if request.overrides.gone.contains_key(&target) || gone.contains_key(&target) {
                    continue;
                }
                let settings = facts.topology.settings_between(&spec.primary, to, &target, key.kind);
                let Some((pair, settings)) = settings else { continue };
                let is_cut_off = target == *from
                    && match stopped {
                        OldSide::Demotion | OldSide::Unwatched => false,
                        OldSide::Fence | OldSide::CutOff | OldSide::Word(_) | OldSide::Gone(_) | OldSide::Unproven => {
                            true
                        }
                    };
                let at_once = facts.silence(&target).is_none() && !is_cut_off;
                fed |= at_once;
                if !at_once {
                    waits_for.push(target.to_string());
                }
                let feed = feeds.entry((target.clone(), pair.clone())).or_insert_with(|| Feed {
                    target,
                    pair,
                    interval: settings.sync_interval,
                    resources: BTreeSet::new(),
                    at_once,
                });
                feed.resources.insert((*key).clone());
            }
            if !fed {
                let until = if waits_for.is_empty() {
                    "a pair carries it to another region".to_owned()
                } else {
                    format!("{} is back", waits_for.join(" or "))
                };
                unprotected.push(Unprotected { resource: (*key).clone(), until });
            }
        }
        (feeds.into_values().collect(), unprotected)
    }
}

/// What stays: what a gate of its own holds back, and what depends on that.
fn held_back(moves: &[Move], gates: &[Gate]) -> Vec<HeldBack> {
    let mut held: BTreeMap<&ResourceKey, String> = BTreeMap::new();
    for gate in gates.iter().filter(|gate| !gate.passes) {
        let Some(subject) = &gate.subject else { continue };
        held.entry(subject).or_insert_with(|| format!("{}: {}", gate.kind.as_str(), gate.figure));
    }
    // In the order of their levels, so that what holds back another one was held back before.
    for one in moves {
        let first: Vec<&ResourceKey> = one.after.iter().filter(|first| held.contains_key(*first)).collect();
        if !first.is_empty() && !held.contains_key(&one.resource) {
            held.insert(&one.resource, format!("it needs {}, which stays", several(first.into_iter())));
        }
    }
    held.into_iter().map(|(key, why)| HeldBack { resource: key.clone(), why }).collect()
}
