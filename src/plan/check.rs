//! The plan's own linter: what must hold of every plan, whatever it was made from. Run on every plan in tests, and on
//! every saved plan that is read back.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Action, Change, Kind, Mode, Plan, Summary};
use super::saved;
use crate::model::{Address, RegionId};

/// One thing that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: a change's id, an address, or `plan`.
    pub at: String,
    /// What.
    pub message: String,
}

/// Everything that does not hold; a sound plan has none.
pub fn check(plan: &Plan) -> Vec<Finding> {
    let mut findings = Findings::default();
    ids_and_order(plan, &mut findings);
    for change in plan.effects() {
        match change.kind {
            Kind::Sync => copies(change, &mut findings),
            Kind::Region | Kind::Replication | Kind::Resource => records(plan, change, &mut findings),
            Kind::Failover | Kind::Fence => {}
        }
    }
    one_entry_each(plan, &mut findings);
    nothing_unseen(plan, &mut findings);
    lists_apart(plan, &mut findings);
    totals(plan, &mut findings);
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, at: impl ToString, message: impl Into<String>) {
        self.0.push(Finding { at: at.to_string(), message: message.into() });
    }
}

fn ids_and_order(plan: &Plan, findings: &mut Findings) {
    let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (list, changes) in [&plan.changes, &plan.drift].into_iter().enumerate() {
        for (at, change) in changes.iter().enumerate() {
            if places.insert(&change.id, (list, at)).is_some() {
                findings.add(&change.id, "the id is not unique");
            }
        }
    }
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut followers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for change in plan.effects() {
        waits.entry(&change.id).or_insert(0);
        for first in &change.depends_on {
            match (places.get(first.as_str()), places.get(change.id.as_str())) {
                (Some((list, at)), Some((own_list, own))) => {
                    *waits.entry(&change.id).or_insert(0) += 1;
                    followers.entry(first).or_default().push(&change.id);
                    if list == own_list && at >= own {
                        findings.add(&change.id, format!("stands before {first}, which it depends on"));
                    }
                }
                (None, _) | (_, None) => findings.add(&change.id, format!("depends on {first}, which is not there")),
            }
        }
    }
    let mut free: Vec<&str> = waits.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut done = 0;
    while let Some(id) = free.pop() {
        done += 1;
        for follower in followers.get(id).into_iter().flatten() {
            if let Some(count) = waits.get_mut(follower) {
                *count -= 1;
                if *count == 0 {
                    free.push(follower);
                }
            }
        }
    }
    if done < waits.len() {
        findings.add("plan", "changes depend on each other in a circle");
    }
}

fn copies(change: &Change, findings: &mut Findings) {
    match (&change.source, &change.regions[..]) {
        (Some(source), [target]) if source == target => findings.add(&change.id, "copies a region to itself"),
        (Some(_), [_]) => {}
        (None, _) | (Some(_), _) => findings.add(&change.id, "a copy has one source and one target"),
    }
    if change.precondition.base.is_none() {
        findings.add(&change.id, "a copy says what point it goes from");
    }
    if change.precondition.holder.as_ref().map(|holder| &holder.region) != change.source.as_ref() {
        findings.add(&change.id, "a copy reads from the holder");
    }
    if !matches!(change.address, Address::Resource(_)) {
        findings.add(&change.id, "only resources are copied");
    }
    match change.action {
        Action::Sync | Action::Repair => {}
        Action::Create | Action::Update | Action::Delete | Action::Failover | Action::Fence => {
            findings.add(&change.id, "no action of a copy");
        }
    }
}

fn records(plan: &Plan, change: &Change, findings: &mut Findings) {
    let regions: BTreeSet<&RegionId> = change.regions.iter().collect();
    if regions.len() != change.regions.len() {
        findings.add(&change.id, "names a region twice");
    }
    if change.precondition.records.keys().collect::<BTreeSet<_>>() != regions {
        findings.add(&change.id, "relies on other records than it touches");
    }
    if change.drops.iter().any(|region| !regions.contains(region)) {
        findings.add(&change.id, "drops a record that it does not touch");
    }
    let (before, after) = (change.before.is_some(), change.after.is_some());
    let sound = match change.action {
        Action::Create => !before && after && !regions.is_empty(),
        Action::Update => before && after && !regions.is_empty(),
        Action::Delete => !after && change.drops.is_empty(),
        Action::Sync | Action::Repair | Action::Failover | Action::Fence => false,
    };
    if !sound {
        findings.add(&change.id, "its attributes or regions do not fit its action");
    }
    // A living resource keeps its record where it is held, or its files lose their keeper.
    if let Some(holder) = &change.precondition.holder
        && change.drops.contains(&holder.region)
    {
        findings.add(&change.id, "drops the record of the holder");
    }
    if plan.mode == Mode::RefreshOnly && plan.changes.iter().any(|own| own.id == change.id) {
        findings.add(&change.id, "refreshing changes nothing but the record");
    }
}

fn one_entry_each(plan: &Plan, findings: &mut Findings) {
    let mut records = BTreeSet::new();
    let mut copies = BTreeSet::new();
    for change in plan.effects() {
        let fresh = match change.kind {
            Kind::Region | Kind::Replication | Kind::Resource => records.insert(&change.address),
            Kind::Sync => copies.insert((&change.address, &change.regions)),
            Kind::Failover | Kind::Fence => true,
        };
        if !fresh {
            findings.add(&change.id, "the object has another entry already");
        }
    }
}

fn nothing_unseen(plan: &Plan, findings: &mut Findings) {
    let unseen: BTreeSet<&RegionId> = plan.unobserved.iter().map(|region| &region.region_id).collect();
    for change in plan.effects() {
        if let Some(region) = change.regions.iter().chain(&change.source).find(|region| unseen.contains(region)) {
            findings.add(&change.id, format!("touches {region}, of which nothing is known"));
        }
    }
}

fn lists_apart(plan: &Plan, findings: &mut Findings) {
    let held: BTreeSet<&Address> = plan.held.iter().map(|held| &held.address).collect();
    for change in plan.effects().filter(|change| held.contains(&change.address)) {
        match change.action {
            // What an emergency decided is not undone; copies and attributes go on.
            Action::Create | Action::Update | Action::Sync | Action::Repair => {}
            Action::Delete | Action::Failover | Action::Fence => findings.add(&change.id, "acts on what is held"),
        }
    }
    let blocked: BTreeSet<_> = plan.blocked.iter().map(|blocked| (&blocked.address, &blocked.region_id)).collect();
    let waiting: BTreeSet<&Address> = plan.waiting.iter().map(|waiting| &waiting.address).collect();
    for change in plan.effects().filter(|change| change.kind == Kind::Sync) {
        let target = change.regions.first().cloned();
        if blocked.contains(&(&change.address, &target)) {
            findings.add(&change.id, "copies what is blocked");
        }
        if waiting.contains(&change.address) {
            findings.add(&change.id, "copies what has no files");
        }
    }
    let unmanaged: BTreeSet<&Address> = plan.unmanaged.iter().map(|unmanaged| &unmanaged.address).collect();
    for change in plan.effects().filter(|change| change.action != Action::Delete) {
        if unmanaged.contains(&change.address) {
            findings.add(&change.id, "touches what others manage");
        }
    }
    for moved in &plan.moved {
        if plan.effects().any(|change| change.address == moved.from) {
            findings.add(&moved.from, "is renamed and changed under its former name");
        }
    }
}

fn totals(plan: &Plan, findings: &mut Findings) {
    let mut summary = Summary::default();
    for change in plan.effects() {
        summary.count(change.action);
    }
    if summary != plan.summary {
        findings.add("plan", "the summary does not count its entries");
    }
    if saved::digest(plan) != plan.digest {
        findings.add("plan", "the digest is not that of its content");
    }
}
