//! What is promoted after what: names are resolved and circles found. All members of a range share their
//! dependencies, so circles are looked for among declarations: there is one among members exactly where there is one
//! here.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ResourceId;
use crate::model::topology::ResourceSpec;

use super::problem::Problem;
use super::protect::{Declaration, MEMBERS_TOTAL};
use super::range::Pattern;
use super::reader::At;
use super::report::Report;

/// From one declaration to another: the entry that asks for it, and one member that it names there.
struct Edge<'d> {
    to: usize,
    member: ResourceId,
    entry: &'d At<Pattern>,
}

/// Fills in `depends_on` of every spec.
pub(super) fn resolve(
    report: &mut Report,
    declarations: &[Declaration<'_>],
    owners: &BTreeMap<ResourceId, usize>,
    specs: &mut [Option<ResourceSpec>],
) {
    let mut total = 0;
    let mut edges: Vec<Vec<Edge<'_>>> = Vec::with_capacity(declarations.len());
    for (declaration, spec) in declarations.iter().zip(specs) {
        let mut found: BTreeMap<usize, Edge<'_>> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for entry in &declaration.doc.protection.depends_on {
            total += entry.value.count() * declaration.doc.key.value.count();
            if total > MEMBERS_TOTAL {
                let problem = Problem::new("config::too-many", "there are more than a million dependencies")
                    .reason("each member of a range depends on each member that its entry names")
                    .help("let the range depend on one resource that stands for the others");
                report.add(problem, &[(&entry.place, "from here on".to_owned())]);
                return;
            }
            let mut unknown = Vec::new();
            for member in entry.value.members() {
                let Ok(id) = ResourceId::new(member) else { continue };
                match owners.get(&id) {
                    Some(to) => {
                        found.entry(*to).or_insert_with(|| Edge { to: *to, member: id.clone(), entry });
                        names.insert(id);
                    }
                    None => unknown.push(id),
                }
            }
            self::unknown(report, declaration, entry, &unknown, owners);
        }
        if let Some(spec) = spec {
            spec.depends_on = names;
        }
        edges.push(found.into_values().collect());
    }
    circles(report, declarations, &edges);
}

fn unknown(
    report: &mut Report,
    declaration: &Declaration<'_>,
    entry: &At<Pattern>,
    unknown: &[ResourceId],
    owners: &BTreeMap<ResourceId, usize>,
) {
    let [first, rest @ ..] = unknown else { return };
    let name = first.as_str();
    if report.may_hide_member(name) {
        return;
    }
    let others = if rest.is_empty() { String::new() } else { format!(", nor are {} others of the range", rest.len()) };
    let near = report.nearest(name, owners.keys().map(ResourceId::as_str));
    let help = match near.filter(|_| !entry.value.is_range()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "declare it, or leave it out of `depends_on`".to_owned(),
    };
    let problem = Problem::new("config::unknown-dependency", format!("`{name}` is not declared{others}"))
        .reason(format!("`{}` depends on it", declaration.name))
        .help(help);
    report.add(problem, &[(&entry.place, "no such resource".to_owned())]);
}

/// Reports circles, one for each entry that closes one: with all those entries left out there is none.
fn circles(report: &mut Report, declarations: &[Declaration<'_>], edges: &[Vec<Edge<'_>>]) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    for start in 0..edges.len() {
        if marks[start] != Mark::New {
            continue;
        }
        // The way down from `start`: each declaration with the number of its edges that were followed.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        marks[start] = Mark::Open;
        while let Some((at, followed)) = way.last_mut() {
            let Some(edge) = edges[*at].get(*followed) else {
                marks[*at] = Mark::Done;
                way.pop();
                continue;
            };
            *followed += 1;
            match marks[edge.to] {
                Mark::Done => {}
                Mark::New => {
                    marks[edge.to] = Mark::Open;
                    way.push((edge.to, 0));
                }
                Mark::Open => {
                    let from = way.iter().position(|(at, _)| *at == edge.to).unwrap_or(0);
                    let steps: Vec<&Edge<'_>> =
                        way[from..].iter().map(|(at, followed)| &edges[*at][*followed - 1]).collect();
                    circle(report, declarations, &steps);
                }
            }
        }
    }
}

/// The steps of a circle: each leads to the declaration that the next one starts from.
fn circle(report: &mut Report, declarations: &[Declaration<'_>], steps: &[&Edge<'_>]) {
    let Some(last) = steps.last() else { return };
    let name = |edge: &Edge<'_>| {
        let kind = declarations[edge.to].doc.kind.map_or("resource", |kind| kind.as_str());
        format!("{kind}.{}", edge.member)
    };
    let names: Vec<String> = std::iter::once(last).chain(steps).map(|edge| name(edge)).collect();
    let problem =
        Problem::new("config::dependency-cycle", format!("dependencies go in a circle: {}", names.join(" → ")))
            .reason("each is promoted after what it depends on, so none of them could be the first")
            .help("leave one of these entries out");
    let labels: Vec<_> = names
        .iter()
        .zip(steps)
        .map(|(from, edge)| (&edge.entry.place, format!("`{from}` waits for `{}`", name(edge))))
        .collect();
    report.add(problem, &labels);
}
