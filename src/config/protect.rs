//! Protected resources: who is kept where, range by range. A mistake in a range is judged once, at its key; members
//! only meet where names do: an explicit key stands before a range, any other name may be declared once.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::topology::{ResourceSpec, Topology};
use crate::model::{Address, PairId, RegionId, ResourceId, ResourceKey, ResourceType};

use super::depend;
use super::document::{ProtectionDoc, ResourceDoc, TopologyDoc};
use super::lower::{Ground, known_region, origin};
use super::problem::Problem;
use super::reader::At;
use super::report::Report;
use super::source::Place;

/// The most resources, dependencies or renames of a whole topology: a slip in a range must not exhaust the machine.
pub(super) const MEMBERS_TOTAL: u64 = 1_000_000;

/// One key of `[vms]` or `[resources]`.
pub(super) struct Declaration<'d> {
    pub(super) doc: &'d ResourceDoc,
    /// How messages call it.
    pub(super) name: String,
}

pub(super) fn lower<'d>(report: &mut Report, doc: &'d TopologyDoc, ground: &mut Ground<'d>) {
    let text = |doc: &ResourceDoc| report.source(doc.key.place.file).text()[doc.key.place.span()].to_owned();
    let declarations: Vec<Declaration<'d>> = doc
        .vms
        .iter()
        .chain(&doc.resources)
        .map(|doc| {
            let kind = doc.kind.map_or("resource", ResourceType::as_str);
            Declaration { name: format!("{kind}.{}", text(doc).trim_matches(['"', '\''])), doc }
        })
        .collect();
    if !doc.regions.iter().any(|(_, region)| region.primary_broken) {
        homeless(report, &declarations, ground);
    }
    let declared: BTreeSet<&RegionId> = doc.regions.iter().map(|(id, _)| &id.value).collect();
    let unlabelled: BTreeSet<&RegionId> =
        doc.regions.iter().filter(|(_, region)| region.labels_broken).map(|(id, _)| &id.value).collect();
    let mut specs: Vec<Option<ResourceSpec>> =
        declarations.iter().map(|declaration| spec(report, declaration, &declared, &unlabelled, ground)).collect();
    let Some(owners) = owners(report, &declarations) else { return };
    depend::resolve(report, &declarations, &owners, &mut specs);
    for (id, at) in &owners {
        let declaration = &declarations[*at];
        let Some(kind) = declaration.doc.kind else { continue };
        let key = ResourceKey::new(kind, id.clone());
        // Broken ones stay known by name, so that nothing else is said about them.
        let spec = specs[*at].clone().unwrap_or_else(|| placeholder(&declaration.doc.protection));
        ground.topology.resources.insert(key, spec);
    }
    let origins: Vec<_> = declarations.iter().map(|declaration| origin(report, &declaration.doc.key.place)).collect();
    for (id, at) in owners {
        if let Some(kind) = declarations[at].doc.kind {
            ground.origins.insert(Address::Resource(ResourceKey::new(kind, id)), origins[at].clone());
        }
    }
}

/// Never handed out: where it is needed, something was reported.
fn placeholder(doc: &ProtectionDoc) -> ResourceSpec {
    ResourceSpec {
        primary: RegionId::new("unknown").expect("letters are an id"),
        replicas: BTreeSet::new(),
        depends_on: BTreeSet::new(),
        max_lag: None,
        allowed_regions: BTreeMap::new(),
        labels: doc.labels.clone(),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    }
}

/// Those that name no region while none is the primary one: one mistake, whatever their number.
fn homeless(report: &mut Report, declarations: &[Declaration<'_>], ground: &Ground<'_>) {
    let lost: Vec<_> = declarations
        .iter()
        .filter(|declaration| {
            ground.primary.is_none()
                && declaration.doc.protection.primary.is_none()
                && !declaration.doc.protection.broken
        })
        .collect();
    let [first, rest @ ..] = lost.as_slice() else { return };
    if report.may_hide("primary") {
        return;
    }
    let others = match rest.len() {
        0 => String::new(),
        1 => ", nor does another one".to_owned(),
        more => format!(", nor do {more} others"),
    };
    let problem = Problem::new("config::no-primary", format!("`{}` names no region of birth{others}", first.name))
        .reason("no region is the primary one, where it would be born by default")
        .help("write `primary = true` in one region, or `primary = \"REGION\"` here");
    report.add(problem, &[(&first.doc.key.place, "has no `primary`".to_owned())]);
}

fn spec(
    report: &mut Report,
    declaration: &Declaration<'_>,
    declared: &BTreeSet<&RegionId>,
    unlabelled: &BTreeSet<&RegionId>,
    ground: &Ground<'_>,
) -> Option<ResourceSpec> {
    let doc = declaration.doc;
    let ProtectionDoc { primary, replicas, depends_on: _, max_lag, allowed_regions, labels, max_change, broken } =
        &doc.protection;
    let home = match primary {
        Some(primary) => known_region(report, declared, primary).then(|| primary.clone()),
        None => ground.primary.clone().map(|value| At { value, place: doc.key.place.clone() }),
    };
    let replicas: Vec<&At<RegionId>> =
        replicas.iter().filter(|replica| known_region(report, declared, replica)).collect();
    let home = home.filter(|_| !broken)?;
    let labelled = std::iter::once(&home)
        .chain(replicas.iter().copied().filter(|replica| replica.value != home.value))
        .filter(|region| !unlabelled.contains(&region.value));
    allowed(report, declaration, labelled, &ground.topology);
    for replica in &replicas {
        if replica.value == home.value {
            let problem = Problem::new(
                "config::replica-is-primary",
                format!("`{}` is to be kept in `{}`, where it is born", declaration.name, replica.value),
            )
            .reason("a copy beside the original protects nothing")
            .help("leave it out of `replicas`");
            let born = if primary.is_some() { "born here" } else { "born in the primary region" };
            report.add(problem, &[(&replica.place, "not another region".to_owned()), (&home.place, born.to_owned())]);
        } else if let Some(kind) = doc.kind {
            fed(report, declaration, kind, &home.value, replica, ground);
        }
    }
    Some(ResourceSpec {
        primary: home.value,
        replicas: replicas.into_iter().map(|replica| replica.value.clone()).collect(),
        depends_on: BTreeSet::new(),
        max_lag: max_lag.as_ref().map(|lag| lag.value),
        allowed_regions: allowed_regions
            .iter()
            .map(|(label, values)| (label.clone(), values.value.iter().cloned().collect()))
            .collect(),
        labels: labels.clone(),
        max_change: max_change.as_ref().map_or(ResourceSpec::DEFAULT_MAX_CHANGE, |change| change.value),
    })
}

/// No region may hold it that lacks one of the wanted labels.
fn allowed<'a>(
    report: &mut Report,
    declaration: &Declaration<'_>,
    regions: impl Iterator<Item = &'a At<RegionId>>,
    topology: &Topology,
) {
    for region in regions {
        let Some(labels) = topology.regions.get(&region.value).map(|spec| &spec.labels) else { continue };
        for (label, values) in &declaration.doc.protection.allowed_regions {
            let has = labels.get(label);
            if has.is_some_and(|has| values.value.contains(has)) {
                continue;
            }
            let wanted = values.value.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
            let reason = match has {
                Some(has) => format!("its label `{label}` is `{has}`, not {wanted}"),
                None => format!("it has no label `{label}`, which must be {wanted}"),
            };
            let problem = Problem::new(
                "config::region-not-allowed",
                format!("`{}` may not be held by region `{}`", declaration.name, region.value),
            )
            .reason(reason)
            .help("name another region, allow this one, or mend its labels");
            report.add(
                problem,
                &[(&region.place, format!("`{}`", region.value)), (&values.place, "allowed are only these".to_owned())],
            );
        }
    }
}

/// A replica must be fed by an enabled pair that carries the resource's type.
fn fed(
    report: &mut Report,
    declaration: &Declaration<'_>,
    kind: ResourceType,
    home: &RegionId,
    replica: &At<RegionId>,
    ground: &Ground<'_>,
) {
    if ground.topology.feeding_pair(home, &replica.value, kind).is_some() || report.may_hide("replication") {
        return;
    }
    let may_be = |end: &Option<&RegionId>, region: &RegionId| end.is_none_or(|end| end == region);
    let doubtful = ground.doubtful.iter().any(|(source, target)| {
        (may_be(source, home) && may_be(target, &replica.value))
            || (may_be(source, &replica.value) && may_be(target, home))
    });
    if doubtful {
        return;
    }
    let problem = Problem::new(
        "config::no-pair",
        format!("nothing brings `{}` from `{home}` to `{}`", declaration.name, replica.value),
    )
    .reason(format!("no enabled pair of these regions carries the type {kind} in this direction"));
    let forward = PairId { source: home.clone(), target: replica.value.clone() };
    let backward = PairId { source: replica.value.clone(), target: home.clone() };
    let add = format!(
        "add `[[replication]]` with `source = \"{home}\"`, `target = \"{}\"` and `resource_types = [\"{kind}\"]`",
        replica.value
    );
    let (help, near): (String, Option<(&Place, &str)>) = match (ground.pairs.get(&forward), ground.pairs.get(&backward))
    {
        (Some(pair), _) => match (&pair.enabled, &pair.resource_types) {
            (Some(enabled), _) if !enabled.value => {
                ("enable their pair".to_owned(), Some((&enabled.place, "not enabled")))
            }
            (_, Some(types)) => (
                format!("add \"{kind}\" to the `resource_types` of their pair"),
                Some((&types.place, "carries only these")),
            ),
            (_, None) => (add, None),
        },
        (None, Some(pair)) => (
            format!("{add}, or write `bidirectional = true` in the pair of the other direction"),
            Some((&pair.header, "leads the other way")),
        ),
        (None, None) => (add, None),
    };
    let labels: Vec<_> = [(&replica.place, "not fed".to_owned())]
        .into_iter()
        .chain(near.map(|(place, text)| (place, text.to_owned())))
        .collect();
    report.add(problem.help(help), &labels);
}

/// Which declaration each name belongs to; none where there would be too many.
fn owners(report: &mut Report, declarations: &[Declaration<'_>]) -> Option<BTreeMap<ResourceId, usize>> {
    let mut owners: BTreeMap<ResourceId, usize> = BTreeMap::new();
    let mut clashes = BTreeSet::new();
    let mut total = 0;
    let explicit = |at: &usize| !declarations[*at].doc.key.value.is_range();
    let order = (0..declarations.len()).filter(explicit).chain((0..declarations.len()).filter(|at| !explicit(at)));
    for at in order {
        let Declaration { doc, name } = &declarations[at];
        total += doc.key.value.count();
        if total > MEMBERS_TOTAL {
            let problem = Problem::new("config::too-many", "there are more than a million resources")
                .reason("such a topology is more likely a slip in a range than a wish")
                .help("split it into several topologies");
            report.add(problem, &[(&doc.key.place, "from here on".to_owned())]);
            return None;
        }
        for member in doc.key.value.members() {
            let Ok(id) = ResourceId::new(member) else { continue };
            let Some(other) = owners.get(&id) else {
                owners.insert(id, at);
                continue;
            };
            let overridden = doc.kind == Some(ResourceType::Vm)
                && doc.key.value.is_range()
                && explicit(other)
                && declarations[*other].doc.kind == Some(ResourceType::Vm);
            if !overridden && clashes.insert((*other, at)) {
                let before = &declarations[*other];
                let problem = Problem::new("config::duplicate-id", format!("`{id}` is declared twice"))
                    .reason("a resource's id is its name in every call, whatever its type")
                    .help("rename one of the two");
                let labels = [
                    (&doc.key.place, format!("as `{name}`")),
                    (&before.doc.key.place, format!("and as `{}`", before.name)),
                ];
                report.add(problem, &labels);
            }
        }
    }
    Some(owners)
}
