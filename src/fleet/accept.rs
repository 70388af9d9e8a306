//! What the files would have to say so that they say who holds what: after a failover the holder is live truth, and
//! `primary` in the files is what somebody once wrote.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::error::FleetError;
use super::manager::MultiRegionManager;
use crate::config::edit::{Edit, PairEdit, ResourceEdit};
use crate::failover::Claim;
use crate::model::observed::Observed;
use crate::model::region::{Epoch, Role};
use crate::model::topology::{RegionSpec, ResourceSpec, Topology};
use crate::model::{PairId, RegionId, ResourceKey};

/// A resource that another region holds than the files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeldElsewhere {
    /// Which.
    pub resource: ResourceKey,
    /// What the files say.
    pub declared: RegionId,
    /// Who holds it.
    pub holder: RegionId,
    /// Since when.
    pub epoch: Epoch,
}

/// One that is left as the files have it, because nobody knows for sure who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeftOut {
    /// Which.
    pub resource: ResourceKey,
    /// Why.
    pub reason: String,
}

/// What differs from the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Elsewhere {
    /// What can be written down.
    pub moved: Vec<HeldElsewhere>,
    /// What cannot.
    pub left_out: Vec<LeftOut>,
}

impl MultiRegionManager {
    /// The resources that another region holds than the files say, by what the regions answer now; all, or those of
    /// these names: ids, addresses, or regions that hold them or should. Writes nothing.
    ///
    /// # Errors
    /// Names of nothing that is declared; no region answering.
    pub async fn held_elsewhere(&self, names: &[String]) -> Result<Elsewhere, FleetError> {
        let topology = &self.desired.topology;
        for name in names {
            let region = topology.regions.keys().any(|region| region.as_str() == name);
            if !region && !topology.resources.keys().any(|key| is_named(key, name)) {
                let known = topology.resources.keys().map(|key| key.id.to_string());
                let known = known.chain(topology.regions.keys().map(ToString::to_string)).collect();
                return Err(FleetError::UnknownResource { id: name.clone(), known });
            }
        }
        let sight = self.look().await?;
        if sight.observed.regions.keys().all(|region| sight.observed.snapshot(region).is_none()) {
            // Says so, region by region.
            self.plan_of(&sight, &crate::plan::PlanOptions::default())?;
        }
        let asked = |key: &ResourceKey, spec: &ResourceSpec, holder: &RegionId| {
            let is = |name: &String| {
                is_named(key, name) || spec.primary.as_str() == name.as_str() || holder.as_str() == name.as_str()
            };
            names.is_empty() || names.iter().any(is)
        };
        Ok(held(topology, &sight.observed, asked))
    }
}

fn is_named(key: &ResourceKey, name: &str) -> bool {
    key.id.as_str() == name || key.to_string() == name
}

pub(super) fn held(
    topology: &Topology,
    observed: &Observed,
    asked: impl Fn(&ResourceKey, &ResourceSpec, &RegionId) -> bool,
) -> Elsewhere {
    let mut found = Elsewhere::default();
    for (key, spec) in &topology.resources {
        let records = || {
            let seen = observed.answering();
            seen.filter_map(|(region, snapshot)| Some((region, snapshot.resources.get(key)?)))
        };
        let Some(claim) = Claim::of(records(), |region| observed.regions.contains_key(region)) else { continue };
        let Claim { region: holder, epoch, attempt: _, dispute } = claim;
        if holder == spec.primary || !asked(key, spec, &holder) {
            continue;
        }
        let open = records().find_map(|(region, record)| Some((region, record.operation?)));
        let confirmed = records().any(|(region, record)| *region == holder && record.role == Role::Holder);
        let doubt = match (dispute, open) {
            (Some(dispute), _) => Some(dispute),
            (None, Some((region, operation))) => Some(format!("operation {operation} is open on it at {region}")),
            (None, None) if !topology.regions.contains_key(&holder) => {
                Some(format!("{holder}, which holds it, is not declared"))
            }
            (None, None) if !confirmed => {
                Some(format!("{holder}, which holds it as the others say, does not say so itself"))
            }
            (None, None) => None,
        };
        match doubt {
            Some(reason) => found.left_out.push(LeftOut { resource: key.clone(), reason }),
            None => {
                let declared = spec.primary.clone();
                found.moved.push(HeldElsewhere { resource: key.clone(), declared, holder, epoch });
            }
        }
    }
    found
}

/// The edits after which the files say what is.
///
/// The holder becomes the `primary`, and the former one takes its place among the replicas, where it is allowed to
/// keep a copy. What the new holder feeds needs a pair: the way back is the same pair made `bidirectional`; any other
/// that lacks is added, with the settings of the pair that fed that region before.
pub fn accepting(topology: &Topology, moved: &[HeldElsewhere]) -> Vec<Edit> {
    let mut pairs: BTreeMap<PairId, PairEdit> = BTreeMap::new();
    let mut edits = Vec::new();
    for HeldElsewhere { resource: key, declared, holder, epoch: _ } in moved {
        let Some(spec) = topology.resources.get(key) else { continue };
        let returns = topology.regions.get(declared).is_some_and(|region| may_keep(spec, region));
        let replicas: BTreeSet<&RegionId> =
            spec.replicas.iter().chain([declared]).filter(|region| *region != holder).collect();
        let replicas: Vec<RegionId> =
            replicas.into_iter().filter(|region| *region != declared || returns).cloned().collect();
        for target in &replicas {
            if topology.feeding_pair(holder, target, key.kind).is_none() {
                feed(topology, &mut pairs, (key, declared, holder, target));
            }
        }
        edits.push(Edit::Resource(ResourceEdit {
            key: key.clone(),
            primary: Some(holder.clone()),
            replicas: Some(replicas),
        }));
    }
    pairs.into_values().map(Edit::Pair).chain(edits).collect()
}

/// Whether the region has the labels that the resource asks of whoever keeps it.
fn may_keep(spec: &ResourceSpec, region: &RegionSpec) -> bool {
    spec.allowed_regions
        .iter()
        .all(|(label, values)| region.labels.get(label).is_some_and(|value| values.contains(value)))
}

fn feed(
    topology: &Topology,
    pairs: &mut BTreeMap<PairId, PairEdit>,
    (key, declared, holder, target): (&ResourceKey, &RegionId, &RegionId, &RegionId),
) {
    let forward = PairId { source: holder.clone(), target: target.clone() };
    let backward = PairId { source: target.clone(), target: holder.clone() };
    let known = topology.pairs.get(&forward);
    let carries = |id: &PairId| {
        topology.pairs.get(id).is_some_and(|pair| pair.enabled && pair.resource_types.contains(&key.kind))
    };
    if known.is_none() && carries(&backward) {
        let edit = pairs.entry(backward.clone()).or_insert_with(|| PairEdit::of(backward));
        edit.bidirectional = Some(true);
        return;
    }
    let settings =
        known.or_else(|| topology.settings_between(declared, holder, target, key.kind).map(|(_, settings)| settings));
    let edit = pairs.entry(forward.clone()).or_insert_with(|| match (known, settings) {
        (None, Some(settings)) => PairEdit {
            sync_interval: Some(settings.sync_interval),
            batch_size: Some(settings.batch_size),
            priority: Some(settings.priority),
            compression: Some(settings.compression),
            bandwidth_limit: settings.bandwidth_limit,
            ..PairEdit::of(forward)
        },
        (Some(_) | None, _) => PairEdit::of(forward),
    });
    let had = known.into_iter().flat_map(|pair| &pair.resource_types).copied();
    edit.resource_types.get_or_insert_with(|| had.collect()).insert(key.kind);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edit::{begun, edit};

    const TOPOLOGY: &str = "\
schema_version = 1

[regions.a]
api_endpoint = \"file:a\"
primary = true
labels = { jurisdiction = \"us\" }

[regions.b]
api_endpoint = \"file:b\"
labels = { jurisdiction = \"eu\" }

[regions.c]
api_endpoint = \"file:c\"
labels = { jurisdiction = \"eu\" }

[[replication]]
source = \"a\"
target = \"b\"
resource_types = [\"vm\", \"config\"]

[[replication]]
source = \"a\"
target = \"c\"
resource_types = [\"vm\", \"config\"]
sync_interval = \"10m\"
priority = 2
bandwidth_limit = \"200 Mbit/s\"

[vms.\"web-{1..3}\"]
replicas = [\"b\", \"c\"] # both
";

    fn moved(name: &str, declared: &str, holder: &str) -> HeldElsewhere {
        HeldElsewhere {
            resource: name.parse().unwrap(),
            declared: declared.parse().unwrap(),
            holder: holder.parse().unwrap(),
            epoch: Epoch(2),
        }
    }

    fn accepted(text: &str, moved: &[HeldElsewhere]) -> String {
        let before = begun(std::path::Path::new("t.toml"), text).unwrap();
        let after = edit(&before, &accepting(&before.topology, moved)).unwrap();
        for it in moved {
            assert_eq!(after.loaded.topology.resources[&it.resource].primary, it.holder);
        }
        after.loaded.sources[0].text().to_owned()
    }

    #[test]
    fn the_new_holder_feeds_the_others_with_the_settings_that_they_were_fed_with() {
        let all: Vec<HeldElsewhere> = (1..=3).map(|n| moved(&format!("vm.web-{n}"), "a", "b")).collect();
        let expected =
            TOPOLOGY.replace("[\"vm\", \"config\"]\n\n", "[\"vm\", \"config\"]\nbidirectional = true\n\n").replace(
                "[vms.\"web-{1..3}\"]\nreplicas = [\"b\", \"c\"] # both\n",
                "[[replication]]\nsource = \"b\"\ntarget = \"c\"\nresource_types = [\"vm\"]\nsync_interval = \"10m\"\n\
                 priority = 2\nbandwidth_limit = \"200 Mbit/s\"\n\n\
                 [vms.\"web-{1..3}\"]\nprimary = \"b\"\nreplicas = [\"a\", \"c\"] # both\n",
            );
        assert_eq!(accepted(TOPOLOGY, &all), expected);
        // Back home, nothing is added any more.
        let home: Vec<HeldElsewhere> = (1..=3).map(|n| moved(&format!("vm.web-{n}"), "b", "a")).collect();
        let home = accepted(&expected, &home);
        assert!(home.contains("primary = \"a\"\nreplicas = [\"b\", \"c\"] # both\n"), "{home}");
        assert_eq!(home.matches("[[replication]]").count(), 3);
    }

    #[test]
    fn a_pair_that_is_there_carries_one_type_more() {
        let text =
            format!("{TOPOLOGY}\n[[replication]]\nsource = \"b\"\ntarget = \"c\"\nresource_types = [\"config\"]\n");
        let after = accepted(&text, &[moved("vm.web-2", "a", "b")]);
        assert!(after.contains("target = \"c\"\nresource_types = [\"vm\", \"config\"]\n"), "{after}");
        assert!(after.contains("\n[vms.web-2]\nprimary = \"b\"\nreplicas = [\"a\", \"c\"] # both\n"), "{after}");
    }

    #[test]
    fn where_it_may_not_be_kept_any_more_it_leaves_no_replica() {
        let text = TOPOLOGY.replace("# both", "# both\nallowed_regions = { jurisdiction = [\"eu\", \"us\"] }");
        let one = [moved("vm.web-1", "a", "b")];
        assert!(accepted(&text, &one).contains("replicas = [\"a\", \"c\"]"));
        // As files would have it that were edited after the failover.
        let mut topology = begun(std::path::Path::new("t.toml"), &text).unwrap().topology;
        for spec in topology.resources.values_mut() {
            spec.allowed_regions.insert("jurisdiction".to_owned(), ["eu".to_owned()].into());
        }
        let edits = accepting(&topology, &one);
        let Some(Edit::Resource(ResourceEdit { replicas: Some(replicas), .. })) = edits.last() else {
            panic!("{edits:?}")
        };
        assert_eq!(replicas.iter().map(RegionId::as_str).collect::<Vec<_>>(), ["c"]);
    }
}
