//! One resource of a failover: from which point, at which loss, and what speaks against it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::claim::Claim;
use super::facts::{Asker, Facts, Request, Wish};
use super::gate::{Gate, GateKind, age, at_least};
use super::proposal::{ChosenPoint, ExpectedLoss};
use crate::model::point::{Point, PointSelector, PointState};
use crate::model::topology::{PairSpec, ResourceSpec};
use crate::model::{RegionId, ResourceKey, Timestamp};

/// What is promoted of one resource, and its gates.
#[derive(Debug)]
pub(super) struct Promotion {
    pub(super) point: Option<ChosenPoint>,
    pub(super) loss: Option<ExpectedLoss>,
    pub(super) gates: Vec<Gate>,
}

/// One resource's case.
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) request: &'a Request,
    pub(super) to: &'a RegionId,
    pub(super) key: &'a ResourceKey,
    pub(super) claim: &'a Claim,
    pub(super) spec: &'a ResourceSpec,
    /// Whether the stopped source is copied once more.
    pub(super) final_sync: bool,
}

impl Case<'_> {
    pub(super) fn judge(&self) -> Promotion {
        let mut gates = Vec::new();
        gates.extend(self.holder());
        gates.extend(self.open());
        gates.extend(self.compliance());
        let (point, loss) = if self.facts.silence(self.to).is_some() {
            (None, None)
        } else if self.final_sync {
            self.copied_once_more(&mut gates)
        } else {
            self.as_kept(&mut gates)
        };
        let gates = gates.into_iter().map(|gate| gate.about(self.key)).collect();
        Promotion { point, loss, gates }
    }

    fn from(&self) -> &RegionId {
        &self.request.from
    }

    fn holder(&self) -> Option<Gate> {
        let dispute = self.claim.dispute.as_ref()?;
        // The operation that is judged again has demoted it there.
        let record = self.facts.snapshot(self.from()).and_then(|snapshot| snapshot.resources.get(self.key));
        if self.request.operation.is_some() && record.is_some_and(|own| own.operation == self.request.operation) {
            return None;
        }
        let (from, to) = (self.from(), self.to);
        let safer =
            format!("find out which one is right before anything moves: `failover runbook {from} {to}`, chapter 4");
        Some(Gate::unmet(GateKind::Holder, dispute.clone(), safer))
    }

    fn open(&self) -> Option<Gate> {
        let mut open = self.facts.answering().filter_map(|(region, snapshot)| {
            let operation = snapshot.resources.get(self.key)?.operation?;
            (Some(operation) != self.request.operation).then_some((region, operation))
        });
        let (region, operation) = open.next()?;
        let safer = format!("end that one first: `failover resume {operation}` or `failover abort {operation}`");
        Some(Gate::unmet(GateKind::Open, format!("operation {operation} is open on it at {region}"), safer))
    }

    fn compliance(&self) -> Option<Gate> {
        if self.spec.allowed_regions.is_empty() {
            return None;
        }
        let allows = |region: &RegionId| {
            let labels = self.facts.topology.regions.get(region).map(|spec| &spec.labels);
            self.spec.allowed_regions.iter().find_map(|(label, values)| {
                let own = labels.and_then(|labels| labels.get(label));
                (!own.is_some_and(|own| values.contains(own))).then(|| (label, own.cloned(), values))
            })
        };
        let Some((label, own, values)) = allows(self.to) else {
            return Some(Gate::met(GateKind::Compliance, format!("{} is among its allowed regions", self.to)));
        };
        let own = own.map_or_else(|| "none".to_owned(), |own| format!("`{own}`"));
        let wanted = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
        let figure = format!("the {label} of {} is {own}, and must be {wanted}", self.to);
        let others: Vec<String> = (self.spec.regions())
            .filter(|region| *region != self.to && *region != self.from() && allows(region).is_none())
            .map(ToString::to_string)
            .collect();
        let safer = if others.is_empty() {
            "no other region that keeps a replica may hold it either; nothing overrides this".to_owned()
        } else {
            format!("move it to {}; nothing overrides this", others.join(" or "))
        };
        Some(Gate::unmet(GateKind::Compliance, figure, safer))
    }

    /// Where the stopped source is copied once more, the newest point is only what that copy starts from.
    fn copied_once_more(&self, gates: &mut Vec<Gate>) -> (Option<ChosenPoint>, Option<ExpectedLoss>) {
        let newest = self.facts.replica(self.to, self.key).and_then(|replica| replica.newest.as_ref());
        let point = newest.map(|newest| self.chosen(self.to, &newest.point));
        let recorded = self.facts.snapshot(self.to).is_some_and(|to| to.resources.contains_key(self.key));
        let (from, to) = (self.from(), self.to);
        gates.push(if self.pair().is_none() {
            let figure = format!("no enabled pair carries it from {from} to {to}");
            Gate::unmet(GateKind::Point, figure, "declare such a pair, then apply")
        } else if !recorded {
            let figure = format!("{to} keeps no replica of it");
            Gate::unmet(GateKind::Point, figure, format!("name {to} in its `replicas`, then apply"))
        } else if let Some(gate) = self.out_of_sync(point.as_ref()) {
            gate
        } else {
            Gate::met(
                GateKind::Point,
                match &point {
                    Some(point) => format!("the last sync goes on from the point of {} ago", age(point.age)),
                    None => "no point yet: the first sync copies all of it".to_owned(),
                },
            )
        });
        let loss = ExpectedLoss { at_most: Duration::ZERO, allowed: self.allowed(), counted_to_now: false };
        (point, Some(loss))
    }

    /// What goes home by itself was in sync there before: what lags needs a person, or the next rounds.
    fn out_of_sync(&self, point: Option<&ChosenPoint>) -> Option<Gate> {
        if self.request.asker != Asker::Failback {
            return None;
        }
        let (allowed, since) = (self.allowed(), point.map(|point| self.facts.now.since(point.verified_at)));
        let figure = match since {
            None => format!("{} has no point of it yet", self.to),
            Some(since) if since > allowed => {
                format!(
                    "{} is not in sync: its newest point was verified {} ago, of {}",
                    self.to,
                    age(since),
                    age(allowed)
                )
            }
            Some(_) => return None,
        };
        Some(Gate::unmet(GateKind::Point, figure, "the next syncs bring it there"))
    }

    fn as_kept(&self, gates: &mut Vec<Gate>) -> (Option<ChosenPoint>, Option<ExpectedLoss>) {
        let found = match &self.request.point {
            Wish::Newest => self.freshest(gates),
            Wish::One(asked) => self.asked_for(asked),
            Wish::AsOf(moment) => self.as_of(*moment),
        };
        match found {
            Ok(point) => {
                let loss = self.loss(&point, gates);
                (Some(point), Some(loss))
            }
            Err((figure, safer)) => {
                gates.push(Gate::unmet(GateKind::Point, figure, safer));
                (None, None)
            }
        }
    }

    /// The freshest whole point at any region that answers; where two have the same bytes, the target's own.
    fn freshest(&self, gates: &mut Vec<Gate>) -> Result<ChosenPoint, (String, String)> {
        let whole = |region: &RegionId| {
            let replica = self.facts.replica(region, self.key)?;
            replica.newest.as_ref().filter(|_| replica.damage.is_none()).map(|newest| newest.point.clone())
        };
        let freshness = |point: &Point| (point.epoch, point.verified_at, point.read_at);
        let others = self.facts.answering().map(|(region, _)| region).filter(|r| *r != self.from() && *r != self.to);
        let elsewhere = others.filter_map(|region| Some((region, whole(region)?)));
        let best = elsewhere.max_by(|(_, a), (_, b)| freshness(a).cmp(&freshness(b)));
        let own = whole(self.to);
        match (own, best) {
            (Some(own), Some((_, best))) if own.data_hash == best.data_hash => {
                // The source was seen unchanged there: that counts for the same bytes here.
                let verified_at = own.verified_at.max(best.verified_at);
                Ok(self.chosen(self.to, &Point { verified_at, ..own }))
            }
            (own, Some((region, best))) if own.as_ref().is_none_or(|own| freshness(own) < freshness(&best)) => {
                let point = self.chosen(region, &best);
                let own = own.map_or_else(
                    || format!("{} has none", self.to),
                    |own| format!("that of {} is {} old", self.to, age(self.facts.now.since(own.verified_at))),
                );
                let figure = format!("{region} has a point {} old, {own}: it is pulled first", age(point.age));
                gates.push(Gate::met(GateKind::Fresher, figure));
                Ok(point)
            }
            (Some(own), _) => Ok(self.chosen(self.to, &own)),
            (None, _) => Err(self.no_point()),
        }
    }

    fn no_point(&self) -> (String, String) {
        let (id, to) = (&self.key.id, self.to);
        let replica = self.facts.replica(to, self.key);
        match replica.and_then(|replica| replica.damage.as_ref()) {
            Some(damage) => {
                let figure =
                    format!("the newest point at {to} is not what was copied ({damage}), and no other region has one");
                let safer = format!("`replication points {id}` lists older ones: take one with --vm {id} --point N");
                (figure, safer)
            }
            None => {
                let figure = format!("no region that answers has a complete point of it, {to} neither");
                let safer = format!("bring {} back; it holds the only copy", self.from());
                (figure, safer)
            }
        }
    }

    fn asked_for(&self, asked: &PointSelector) -> Result<ChosenPoint, (String, String)> {
        let named = |point: &Point| match asked {
            PointSelector::Newest => false,
            PointSelector::Sequence(sequence) => point.sequence == *sequence && point.name.is_none(),
            PointSelector::Name(name) => point.name.as_ref() == Some(name),
        };
        let points = self.facts.points.get(self.key);
        let safer = || format!("`replication points {}` lists what there is", self.key.id);
        let label = match asked {
            PointSelector::Newest => "newest".to_owned(),
            PointSelector::Sequence(sequence) => sequence.to_string(),
            PointSelector::Name(name) => name.clone(),
        };
        let point = points.into_iter().flatten().find(|point| named(point));
        let Some(point) = point else { return Err((format!("{} has no point {label} of it", self.to), safer())) };
        match point.state {
            PointState::Complete | PointState::SetAside => Ok(self.chosen(self.to, point)),
            PointState::Damaged | PointState::SetAsideDamaged => {
                Err((format!("point {label} of {} has lost bytes", self.to), safer()))
            }
        }
    }

    /// The newest copy of a moment or before, by the source's clock: all of it was written until then.
    fn as_of(&self, moment: Timestamp) -> Result<ChosenPoint, (String, String)> {
        let points = self.facts.points.get(self.key);
        let copies = points.into_iter().flatten().filter(|point| point.state == PointState::Complete);
        let found = copies.filter(|point| point.read_at <= moment).max_by_key(|point| (point.read_at, point.sequence));
        found.map(|point| self.chosen(self.to, point)).ok_or_else(|| {
            let safer = format!("`replication points {}` lists what there is, at other regions too", self.key.id);
            (format!("{} has no complete point of it that was read at {moment} or before", self.to), safer)
        })
    }

    fn chosen(&self, region: &RegionId, point: &Point) -> ChosenPoint {
        let selector = match &point.name {
            Some(name) => PointSelector::Name(name.clone()),
            None => PointSelector::Sequence(point.sequence),
        };
        ChosenPoint {
            region: region.clone(),
            sequence: point.sequence,
            name: point.name.clone(),
            data_hash: point.data_hash,
            read_at: point.read_at,
            verified_at: point.verified_at,
            kind: point.kind,
            age: self.facts.now.since(point.verified_at),
            selector,
        }
    }

    fn pair(&self) -> Option<&PairSpec> {
        let topology = self.facts.topology;
        topology.settings_between(&self.spec.primary, self.from(), self.to, self.key.kind).map(|(_, pair)| pair)
    }

    /// What the resource is promised.
    fn allowed(&self) -> Duration {
        let interval = || self.pair().map_or(PairSpec::DEFAULT_INTERVAL, |pair| pair.sync_interval);
        self.spec.max_lag.unwrap_or_else(|| interval() * 3)
    }

    /// What was written at the source after the point and before it was last seen is lost.
    ///
    /// Assumes that the clocks of source, target and whoever saw it last differ by little; a point from the future
    /// loses nothing.
    fn loss(&self, point: &ChosenPoint, gates: &mut Vec<Gate>) -> ExpectedLoss {
        let from = self.from();
        let seen = self.facts.last_seen(from);
        let until = seen.as_ref().map_or(self.facts.now, |seen| seen.at);
        let (at_most, allowed) = (until.since(point.verified_at), self.allowed());
        let answers = self.facts.silence(from).is_none();
        let counted = match &seen {
            _ if answers => format!("{from} answers, and goes on writing"),
            Some(seen) => {
                let by = seen.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                format!("{from} was last seen {} ago{by}", age(self.facts.now.since(seen.at)))
            }
            None => format!("nobody knows when {from} was last seen, so it is counted up to now"),
        };
        let figure = format!("at most {} is lost, {} may be; {counted}", age(at_most), age(allowed));
        let accepted = self.request.overrides.accept_data_loss;
        let gate = if at_most <= allowed {
            Gate::met(GateKind::Loss, figure)
        } else {
            let (to, option) = (self.to, format!("--accept-data-loss {}", at_least(at_most)));
            let price = format!("what was written at {from} after {} is not at {to}", point.verified_at);
            let safer = if answers {
                "--strategy graceful loses nothing".to_owned()
            } else {
                format!("bring {from} back: its own writes are there")
            };
            let given = accepted.is_some_and(|accepted| at_most <= accepted);
            Gate::unmet(GateKind::Loss, figure, safer).unless(given, option, price)
        };
        let counted_to_now = seen.is_none();
        let aged = seen.map(|seen| self.facts.now.since(seen.at)).filter(|_| !answers);
        gates.push(match aged {
            Some(aged) => gate.of_age(aged),
            None => gate,
        });
        ExpectedLoss { at_most, allowed, counted_to_now }
    }
}

/// Every region that has to do with a resource, but for the one that is to hold it.
pub(super) fn others(spec: &ResourceSpec, from: &RegionId, to: &RegionId) -> BTreeSet<RegionId> {
    spec.regions().chain(std::iter::once(from)).filter(|region| *region != to).cloned().collect()
}
