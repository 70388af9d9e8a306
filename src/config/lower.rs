//! The document becomes a topology: defaults are filled in, ranges expanded, names looked up. What cannot be lowered is
//! reported and left out, so that all the rest is judged in the same run; a topology is only handed out where nothing
//! was reported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::model::topology::{Endpoint, Moved, PairSpec, RegionSpec, ResourceSpec, Topology};
use crate::model::{Address, Digest, PairId, RegionId, ResourceKey};

use super::document::{PairDoc, TopologyDoc};
use super::endpoint;
use super::loaded::Origin;
use super::problem::{Label, Problem};
use super::reader::At;
use super::report::Report;
use super::source::Place;
use super::{moves, policy, protect};

/// What lowering has found out about regions and pairs, for the checks that need both.
pub(super) struct Ground<'d> {
    pub(super) topology: Topology,
    /// The documents of pairs by their ends.
    pub(super) pairs: BTreeMap<PairId, &'d PairDoc>,
    /// Ends of pairs that could not be read, none where not even an end could be.
    pub(super) doubtful: Vec<(Option<&'d RegionId>, Option<&'d RegionId>)>,
    /// Where resources are born that name no region.
    pub(super) primary: Option<RegionId>,
    pub(super) origins: BTreeMap<Address, Origin>,
}

/// Lowers the document of a topology whose files lie in `base`.
pub(super) fn lower(report: &mut Report, doc: &TopologyDoc, base: &Path) -> (Topology, BTreeMap<Address, Origin>) {
    let endpoints = endpoints(report, doc, base);
    let primary = primary(report, doc);
    let declared: BTreeSet<&RegionId> = doc.regions.iter().map(|(id, _)| &id.value).collect();
    let policy = policy::lower(report, doc, &declared, &endpoints);
    let mut origins = BTreeMap::new();
    let mut regions = BTreeMap::new();
    for (id, region) in &doc.regions {
        let text = |found: &Option<At<String>>| found.as_ref().map(|text| text.value.clone());
        let spec = RegionSpec {
            name: text(&region.name).unwrap_or_else(|| id.value.to_string()),
            location: text(&region.location).unwrap_or_else(|| id.value.to_string()),
            api_endpoint: text(&region.api_endpoint).unwrap_or_default(),
            primary: region.primary.as_ref().is_some_and(|primary| primary.value),
            capacity_vms: region
                .capacity_vms
                .as_ref()
                .map_or(RegionSpec::DEFAULT_CAPACITY_VMS, |capacity| capacity.value),
            labels: region.labels.clone(),
            policy: policy.clone(),
        };
        regions.insert(id.value.clone(), spec);
        origins.insert(Address::Region(id.value.clone()), origin(report, &id.place));
    }
    let topology = Topology {
        regions,
        endpoints,
        pairs: BTreeMap::new(),
        resources: BTreeMap::new(),
        policy,
        moved: Vec::new(),
        digest: Digest::of(b""),
    };
    let mut ground = Ground { topology, pairs: BTreeMap::new(), doubtful: Vec::new(), primary, origins };
    pairs(report, doc, &mut ground);
    protect::lower(report, doc, &mut ground);
    ground.topology.moved = moves::lower(report, doc, &ground.topology);
    ground.topology.digest = digest(&ground.topology);
    (ground.topology, ground.origins)
}

/// Where an object is declared.
pub(super) fn origin(report: &Report, place: &Place) -> Origin {
    let source = report.source(place.file);
    let Label { span, line, column, .. } = Label::new(source, place.span(), "");
    Origin { source: Arc::clone(source), span, line, column }
}

/// Whether the region is declared; if not, that is reported.
pub(super) fn known_region(report: &mut Report, declared: &BTreeSet<&RegionId>, id: &At<RegionId>) -> bool {
    if declared.contains(&id.value) {
        return true;
    }
    let name = id.value.as_str();
    if !report.may_hide(name) {
        let help = match report.nearest(name, declared.iter().map(|id| id.as_str())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it: `[regions.{name}]` with an `api_endpoint`"),
        };
        let problem = Problem::new("config::unknown-region", format!("region `{name}` is not declared")).help(help);
        report.add(problem, &[(&id.place, "no such region".to_owned())]);
    }
    false
}

fn endpoints(report: &mut Report, doc: &TopologyDoc, base: &Path) -> BTreeMap<RegionId, Endpoint> {
    let mut endpoints = BTreeMap::new();
    let mut seen: BTreeMap<String, (&RegionId, &Place)> = BTreeMap::new();
    for (id, region) in &doc.regions {
        let Some(text) = &region.api_endpoint else { continue };
        match endpoint::parse(&text.value, base) {
            Err(error) => {
                let problem = Problem::new(
                    "config::bad-endpoint",
                    format!("the `api_endpoint` of region `{}` is no endpoint", id.value),
                )
                .reason(error.to_string())
                .help(error.help);
                report.add(problem, &[(&text.place, "no endpoint".to_owned())]);
            }
            Ok(endpoint) => {
                let identity = endpoint::identity(&endpoint);
                if let Some((other, before)) = seen.get(&identity) {
                    let problem = Problem::new(
                        "config::same-endpoint",
                        format!("regions `{other}` and `{}` have one endpoint", id.value),
                    )
                    .reason("a region kept in the same place as another protects nothing")
                    .help("give each region an endpoint of its own");
                    report.add(problem, &[(&text.place, "again".to_owned()), (before, "first here".to_owned())]);
                } else {
                    seen.insert(identity, (&id.value, &text.place));
                }
                endpoints.insert(id.value.clone(), endpoint);
            }
        }
    }
    nested(report, &endpoints, &seen);
    endpoints
}

/// A region's directory is its own: another region inside it would be among its resources, or be removed with them.
fn nested(report: &mut Report, endpoints: &BTreeMap<RegionId, Endpoint>, seen: &BTreeMap<String, (&RegionId, &Place)>) {
    for (inner, (id, place)) in seen {
        if !matches!(endpoints.get(*id), Some(Endpoint::Directory(_))) {
            continue;
        }
        let outer = Path::new(inner).ancestors().skip(1).find_map(|above| seen.get(above.to_str()?));
        if let Some((other, around)) = outer {
            let problem = Problem::new(
                "config::nested-endpoint",
                format!("region `{id}` lies inside region `{other}`"),
            )
            .reason("a region's directory is its own: what lies in it is taken for its resources, and is lost with it")
            .help("give each region a directory beside the others'");
            report.add(problem, &[(place, "inside".to_owned()), (around, "this directory".to_owned())]);
        }
    }
}

/// The region where resources are born that name none; more than one is reported.
fn primary(report: &mut Report, doc: &TopologyDoc) -> Option<RegionId> {
    let found: Vec<(&RegionId, &Place)> = doc
        .regions
        .iter()
        .filter_map(|(id, region)| {
            let primary = region.primary.as_ref().filter(|primary| primary.value)?;
            Some((&id.value, &primary.place))
        })
        .collect();
    if let [first, second, ..] = found.as_slice() {
        let problem = Problem::new("config::several-primaries", "more than one region is the primary one")
            .reason("resources that name no region would have several places of birth")
            .help("keep `primary = true` in one region only");
        let rest = found.iter().filter(|other| other.0 != second.0);
        let labels: Vec<_> = std::iter::once(second)
            .chain(rest)
            .map(|(id, place)| {
                (*place, if *id == first.0 { "first here".to_owned() } else { format!("and `{id}` too") })
            })
            .collect();
        report.add(problem, &labels);
    }
    found.first().map(|(id, _)| (*id).clone())
}

fn pairs<'d>(report: &mut Report, doc: &'d TopologyDoc, ground: &mut Ground<'d>) {
    let declared: BTreeSet<&RegionId> = doc.regions.iter().map(|(id, _)| &id.value).collect();
    for pair in &doc.replication {
        let ends = [&pair.source, &pair.target];
        let known = ends.map(|end| end.as_ref().is_none_or(|end| known_region(report, &declared, end)));
        let [source, target] = ends.map(Option::as_ref);
        if pair.broken || known != [true, true] {
            let known_end = |end: Option<&'d At<RegionId>>, known: bool| end.filter(|_| known).map(|end| &end.value);
            ground.doubtful.push((known_end(source, known[0]), known_end(target, known[1])));
        }
        let (Some(source), Some(target)) = (source, target) else { continue };
        if source.value == target.value {
            let problem = Problem::new("config::self-pair", format!("`{}` is to be copied to itself", source.value))
                .help("name another region as `target`");
            report
                .add(problem, &[(&target.place, "the same region".to_owned()), (&source.place, "as here".to_owned())]);
            continue;
        }
        let id = PairId { source: source.value.clone(), target: target.value.clone() };
        if let Some(before) = ground.pairs.get(&id) {
            let problem = Problem::new("config::duplicate-pair", format!("the pair {id} is declared twice"))
                .reason("each direction between two regions has one pair")
                .help("join them: one pair may carry several `resource_types`");
            report.add(problem, &[(&pair.header, "again here".to_owned()), (&before.header, "first here".to_owned())]);
            continue;
        }
        ground.origins.insert(Address::Replication(id.clone()), origin(report, &pair.header));
        ground.topology.pairs.insert(id.clone(), pair_spec(pair));
        ground.pairs.insert(id, pair);
    }
}

fn pair_spec(pair: &PairDoc) -> PairSpec {
    let PairDoc {
        source: _,
        target: _,
        resource_types,
        sync_interval,
        batch_size,
        priority,
        enabled,
        bidirectional,
        compression,
        bandwidth_limit,
        paused,
        header: _,
        broken: _,
    } = pair;
    let types = resource_types.iter().flat_map(|list| &list.value);
    let default = PairSpec::default();
    PairSpec {
        resource_types: types.map(|kind| kind.value).collect(),
        sync_interval: sync_interval.as_ref().map_or(default.sync_interval, |interval| interval.value),
        batch_size: batch_size.as_ref().map_or(default.batch_size, |size| size.value),
        priority: priority.as_ref().map_or(default.priority, |priority| priority.value),
        enabled: enabled.as_ref().map_or(default.enabled, |enabled| enabled.value),
        bidirectional: bidirectional.as_ref().map_or(default.bidirectional, |both| both.value),
        compression: compression.as_ref().map_or(default.compression, |compression| compression.value),
        bandwidth_limit: bandwidth_limit.as_ref().map(|limit| limit.value),
        paused: paused.as_ref().map_or(default.paused, |paused| paused.value),
    }
}

/// The digest of all that is declared, in its canonical form: expanded, sorted, with every default, endpoints as they
/// are written (resolved ones would depend on where the files lie).
///
/// Written out directly, since sorting the fields of each of many objects takes longer than all the rest of loading.
/// So the order of a spec's fields in `model` is part of the form; the digests of the fixtures hold it.
fn digest(topology: &Topology) -> Digest {
    #[derive(Serialize)]
    struct Canonical<'t> {
        regions: &'t BTreeMap<RegionId, RegionSpec>,
        replication: Vec<(&'t PairId, &'t PairSpec)>,
        resources: &'t BTreeMap<ResourceKey, ResourceSpec>,
        policy: &'t crate::model::policy::Policy,
        moved: &'t [Moved],
    }
    let Topology { regions, endpoints: _, pairs, resources, policy, moved, digest: _ } = topology;
    let canonical = Canonical { regions, replication: pairs.iter().collect(), resources, policy, moved };
    Digest::of(&serde_json::to_vec(&canonical).expect("plain data with text keys converts to JSON"))
}
