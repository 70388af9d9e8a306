//! Renames. Both sides of a `[[moved]]` pair member by member; a name may be passed on from one rename to the next,
//! and the last one must be declared.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::topology::{Moved, Topology};
use crate::model::{Address, ResourceKey};

use super::document::{MovedDoc, TopologyDoc};
use super::problem::Problem;
use super::protect::MEMBERS_TOTAL;
use super::report::Report;

/// One rename and the entry that asks for it.
struct Step<'d> {
    from: ResourceKey,
    to: ResourceKey,
    doc: &'d MovedDoc,
    entry: usize,
}

pub(super) fn lower(report: &mut Report, doc: &TopologyDoc, topology: &Topology) -> Vec<Moved> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (entry, moved) in doc.moved.iter().enumerate() {
        expand(report, moved, entry, &mut steps);
        if steps.len() as u64 > MEMBERS_TOTAL {
            let problem = Problem::new("config::too-many", "there are too many renames")
                .help("remove those that every region has seen");
            report.add(problem, &[(&moved.header, "from here on".to_owned())]);
            return Vec::new();
        }
    }
    let mut reported = BTreeSet::new();
    once_each(report, &steps, &mut reported);
    let next: BTreeMap<&ResourceKey, usize> = steps.iter().enumerate().map(|(at, step)| (&step.from, at)).collect();
    let circling = circles(report, &steps, &next, &mut reported);
    for step in steps.iter().enumerate().filter(|(at, _)| !circling.contains(at)).map(|(_, step)| step) {
        if topology.resources.contains_key(&step.from) {
            still_declared(report, step, &mut reported);
        }
        if !next.contains_key(&step.to) && !topology.resources.contains_key(&step.to) {
            not_declared(report, step, topology, &mut reported);
        }
    }
    let address = |key: &ResourceKey| Address::Resource(key.clone());
    let mut moved: Vec<Moved> =
        steps.iter().map(|step| Moved { from: address(&step.from), to: address(&step.to) }).collect();
    moved.sort();
    moved
}

fn expand<'d>(report: &mut Report, moved: &'d MovedDoc, entry: usize, steps: &mut Vec<Step<'d>>) {
    let (Some(from), Some(to)) = (&moved.from, &moved.to) else { return };
    if from.value.count() != to.value.count() || from.value.is_range() != to.value.is_range() {
        let count = |count: u64| if count == 1 { "1 name".to_owned() } else { format!("{count} names") };
        let problem = Problem::new("config::uneven-move", "the two sides of this rename don't pair")
            .reason("ranges are renamed member by member")
            .help("give both sides a range of the same length");
        let labels = [(&to.place, count(to.value.count())), (&from.place, count(from.value.count()))];
        report.add(problem, &labels);
        return;
    }
    for (old, new) in from.value.members().zip(to.value.members()) {
        let (Ok(Address::Resource(from_key)), Ok(Address::Resource(to_key))) = (old.parse(), new.parse()) else {
            let problem = Problem::new("config::bad-move", "only resources can be renamed")
                .reason("a region's id is written in its store, and a pair is named by its two regions")
                .help("declare it under the new name, and let `apply --prune` remove the former one");
            report.add(problem, &[(&from.place, "no resource".to_owned())]);
            return;
        };
        if from_key.kind != to_key.kind {
            let problem = Problem::new("config::bad-move", format!("`{old}` cannot become `{new}`"))
                .reason("a rename does not change what a resource is")
                .help("keep the type on both sides");
            report.add(problem, &[(&to.place, format!("another type than {}", from_key.kind))]);
            return;
        }
        steps.push(Step { from: from_key, to: to_key, doc: moved, entry });
    }
}

/// Reports a mistake of an entry once, however many members share it.
fn report_once(report: &mut Report, reported: &mut BTreeSet<usize>, step: &Step<'_>, problem: Problem, from: bool) {
    let side = if from { &step.doc.from } else { &step.doc.to };
    if let Some(at) = side.as_ref().filter(|_| reported.insert(step.entry)) {
        report.add(problem, &[(&at.place, if from { "this name" } else { "becomes this" }.to_owned())]);
    }
}

fn once_each(report: &mut Report, steps: &[Step<'_>], reported: &mut BTreeSet<usize>) {
    let mut from = BTreeMap::new();
    let mut to = BTreeMap::new();
    for step in steps {
        for (side, seen, key) in [(true, &mut from, &step.from), (false, &mut to, &step.to)] {
            if seen.insert(key, step.entry).is_some() {
                let problem = if side {
                    Problem::new("config::duplicate-move", format!("`{key}` is renamed twice"))
                } else {
                    Problem::new("config::duplicate-move", format!("two resources are renamed to `{key}`"))
                };
                let problem = problem.help("leave one of the renames out");
                report_once(report, reported, step, problem, side);
            }
        }
    }
}

fn still_declared(report: &mut Report, step: &Step<'_>, reported: &mut BTreeSet<usize>) {
    let problem = Problem::new("config::bad-move", format!("`{}` is renamed, but still declared", step.from))
        .reason("the name cannot stand for two resources")
        .help(format!("leave its declaration out, or this rename, if `{}` is a new resource", step.to));
    report_once(report, reported, step, problem, true);
}

fn not_declared(report: &mut Report, step: &Step<'_>, topology: &Topology, reported: &mut BTreeSet<usize>) {
    let name = step.to.id.as_str();
    if report.may_hide_member(name) {
        return;
    }
    let same_kind = topology.resources.keys().filter(|key| key.kind == step.to.kind).map(|key| key.id.as_str());
    let help = match report.nearest(name, same_kind) {
        Some(near) => format!("did you mean `{}.{near}`?", step.to.kind),
        None => format!("declare `{}`, or leave this rename out", step.to),
    };
    let problem =
        Problem::new("config::bad-move", format!("`{}` becomes `{}`, which is not declared", step.from, step.to))
            .help(help);
    report_once(report, reported, step, problem, false);
}

/// Reports every circle of renames; gives the steps in them.
fn circles(
    report: &mut Report,
    steps: &[Step<'_>],
    next: &BTreeMap<&ResourceKey, usize>,
    reported: &mut BTreeSet<usize>,
) -> BTreeSet<usize> {
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut circling = BTreeSet::new();
    for at in 0..steps.len() {
        // Follow the name to its end, once for all that pass the same way.
        let mut way = vec![at];
        while let Some(following) = next.get(&steps[way[way.len() - 1]].to).filter(|at| !done.contains(at)) {
            if let Some(start) = way.iter().position(|earlier| earlier == following) {
                circle(report, steps, &way[start..], reported);
                circling.extend(way[start..].iter().copied());
                break;
            }
            way.push(*following);
        }
        done.extend(way);
    }
    circling
}

/// Two names that change places look the same before and after: a plan could not tell a rename that was carried out
/// from one that is still to be, and would carry it out again.
fn circle(report: &mut Report, steps: &[Step<'_>], way: &[usize], reported: &mut BTreeSet<usize>) {
    if way.iter().any(|at| reported.contains(&steps[*at].entry)) {
        return;
    }
    let first = &steps[way[0]];
    let mut names: Vec<String> = way.iter().map(|at| steps[*at].from.to_string()).collect();
    names.extend(names.first().cloned());
    let spare = format!("{}-moving", first.from);
    // Backwards, so that each name is free when its turn comes.
    let mut singly: Vec<String> =
        way[1..].iter().rev().map(|at| format!("`{}` to `{}`", steps[*at].from, steps[*at].to)).collect();
    singly.push(format!("`{spare}` to `{}`", first.to));
    let problem = Problem::new("config::move-cycle", format!("renames go in a circle: {}", names.join(" → ")))
        .reason("afterwards the same names are there as before, so nothing tells whether it was done")
        .help(format!(
            "rename `{}` to a name that nothing has, such as `{spare}`, and apply; then, one rename an apply: {}",
            first.from,
            singly.join(", ")
        ));
    let mut labels = Vec::new();
    for step in way.iter().map(|at| &steps[*at]) {
        if reported.insert(step.entry)
            && let Some(from) = &step.doc.from
        {
            labels.push((&from.place, format!("`{}` becomes `{}`", step.from, step.to)));
        }
    }
    report.add(problem, &labels);
}
