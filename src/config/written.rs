//! A topology as text: what [`load`](super::load()) reads back as the same. Defaults are left out, and machines alike are
//! a range.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::model::policy::Policy;
use crate::model::topology::{PairSpec, RegionSpec, ResourceSpec, Spec, Topology};
use crate::model::{RegionId, ResourceId, ResourceKey, ResourceType};

use super::range::{MEMBERS_MAX, Pattern};

/// Writes a topology out, laid out as [`fmt`](super::fmt) does; renames are left out.
///
/// Guarantee: loaded again, it declares the same regions, pairs, resources and policy.
pub fn text(topology: &Topology) -> String {
    let Topology { regions, endpoints: _, pairs, resources, policy, moved: _, digest: _ } = topology;
    let mut sections = vec!["schema_version = 1\n".to_owned()];
    for (id, spec) in regions {
        sections.push(section("[regions", Some(id.as_str()), &region(id, spec)));
    }
    for (id, spec) in pairs {
        let ends = [("source", id.source.as_str()), ("target", id.target.as_str())];
        let ends = ends.map(|(key, end)| (key.to_owned(), Value::from(end)));
        let keys: Vec<_> = ends.into_iter().chain(pair(spec)).collect();
        sections.push(section("[[replication]", None, &keys));
    }
    for Alike { kind, name, spec } in alike(resources) {
        let list = if kind == ResourceType::Vm { "[vms" } else { "[resources" };
        let kind = (kind != ResourceType::Vm).then(|| ("type".to_owned(), Value::from(kind.as_str())));
        let keys: Vec<_> = kind.into_iter().chain(resource(spec)).collect();
        sections.push(section(list, Some(&name), &keys));
    }
    sections.extend(self::policy(policy));
    sections.join("\n")
}

/// Resources that one table can declare.
#[derive(Debug, Clone)]
pub struct Alike<'a> {
    /// Of which type.
    pub kind: ResourceType,
    /// The name of one, or a range of names.
    pub name: String,
    /// What is declared of each.
    pub spec: &'a ResourceSpec,
}

impl Alike<'_> {
    /// The names that it stands for.
    pub fn members(&self) -> Vec<String> {
        Pattern::parse(&self.name).map(|pattern| pattern.members().collect()).unwrap_or_default()
    }
}

/// Resources that are declared alike, by type and name; machines as ranges, where they follow each other.
pub fn alike(resources: &BTreeMap<ResourceKey, ResourceSpec>) -> Vec<Alike<'_>> {
    let mut alike: BTreeMap<(ResourceType, String), (&ResourceSpec, BTreeSet<&str>)> = BTreeMap::new();
    for (key, spec) in resources {
        let like = Spec::Resource(spec.clone()).to_json().to_string();
        // Only machines can be a range.
        let like = if key.kind == ResourceType::Vm { like } else { key.id.to_string() };
        alike.entry((key.kind, like)).or_insert_with(|| (spec, BTreeSet::new())).1.insert(key.id.as_str());
    }
    let mut tables: Vec<Alike<'_>> = Vec::new();
    for ((kind, _), (spec, names)) in alike {
        let names =
            if kind == ResourceType::Vm { gathered(&names) } else { names.iter().map(|&it| it.to_owned()).collect() };
        tables.extend(names.into_iter().map(|name| Alike { kind, name, spec }));
    }
    tables.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    tables
}

/// Keys that are not at their defaults, those of `first` before all others.
type Keys = Vec<(String, Value)>;

fn keys(spec: Value, default: Value, first: &[&str]) -> Keys {
    let (Value::Object(mut spec), Value::Object(default)) = (spec, default) else { return Vec::new() };
    spec.retain(|key, value| default.get(key) != Some(value) && !value.is_null());
    let mut keys: Keys = first.iter().filter_map(|key| spec.remove_entry(*key)).collect();
    keys.extend(spec);
    keys
}

fn region(id: &RegionId, spec: &RegionSpec) -> Keys {
    let default = RegionSpec {
        name: id.to_string(),
        location: id.to_string(),
        api_endpoint: String::new(),
        primary: false,
        capacity_vms: RegionSpec::DEFAULT_CAPACITY_VMS,
        labels: BTreeMap::new(),
        policy: spec.policy.clone(),
    };
    let json = |spec: &RegionSpec| Spec::Region(Box::new(spec.clone())).to_json();
    keys(json(spec), json(&default), &["name", "location", "api_endpoint", "primary", "capacity_vms", "labels"])
}

fn pair(spec: &PairSpec) -> Keys {
    let json = |spec: &PairSpec| Spec::Replication(spec.clone()).to_json();
    keys(json(spec), json(&PairSpec::default()), &["resource_types", "sync_interval"])
}

fn resource(spec: &ResourceSpec) -> Keys {
    let default = ResourceSpec {
        primary: spec.primary.clone(),
        replicas: BTreeSet::new(),
        depends_on: BTreeSet::new(),
        max_lag: None,
        allowed_regions: BTreeMap::new(),
        labels: BTreeMap::new(),
        max_change: ResourceSpec::DEFAULT_MAX_CHANGE,
    };
    let json = |spec: &ResourceSpec| Spec::Resource(spec.clone()).to_json();
    let mut keys = keys(json(spec), json(&default), &["replicas", "depends_on"]);
    for (key, value) in &mut keys {
        if key == "depends_on" {
            let names: BTreeSet<&str> = spec.depends_on.iter().map(ResourceId::as_str).collect();
            *value = gathered(&names).into();
        }
    }
    keys.insert(0, ("primary".to_owned(), Value::from(spec.primary.as_str())));
    keys
}

fn policy(policy: &Policy) -> Vec<String> {
    let json = |policy: &Policy| serde_json::to_value(policy).expect("plain data with text keys converts to JSON");
    let (Value::Object(is), Value::Object(mut default)) = (json(policy), json(&Policy::default())) else {
        return Vec::new();
    };
    let order = ["timeout", "degraded_latency", "unreachable_latency", "strategy", "candidates"];
    let sections = is.into_iter().filter_map(|(name, value)| {
        // One that is as by default is left out as a whole, here and there.
        let default = default.remove(&name).unwrap_or_else(|| Value::Object(Map::new()));
        let mut keys = keys(value, default, &order);
        for (_, value) in &mut keys {
            // Of the hooks, those that are none.
            if let Value::Object(inner) = value {
                inner.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
            }
        }
        (!keys.is_empty()).then(|| section(&format!("[{name}"), None, &keys))
    });
    sections.collect()
}

fn section(open: &str, name: Option<&str>, keys: &Keys) -> String {
    let name = name.map(|name| format!(".{}", toml_edit::Key::new(name))).unwrap_or_default();
    let lines: String =
        keys.iter().map(|(key, value)| format!("{} = {}\n", toml_edit::Key::new(key.as_str()), toml(value))).collect();
    format!("{open}{name}]\n{lines}")
}

fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string().trim().to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => inline(entries),
        Value::Bool(_) | Value::Number(_) | Value::Null => value.to_string(),
    }
}

fn inline(entries: &Map<String, Value>) -> String {
    let entries: Vec<String> =
        entries.iter().map(|(key, value)| format!("{} = {}", toml_edit::Key::new(key.as_str()), toml(value))).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// Names as ranges, where two or more follow each other.
fn gathered(names: &BTreeSet<&str>) -> Vec<String> {
    let mut numbered: BTreeMap<(&str, &str), BTreeMap<u64, &str>> = BTreeMap::new();
    let mut found = Vec::new();
    for name in names {
        let end = name.rfind(|c: char| c.is_ascii_digit()).map_or(0, |at| at + 1);
        let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
        match name[start..end].parse() {
            Ok(number) => {
                // Of two that have one number, `1` and `01`, only the first is counted.
                let of = numbered.entry((&name[..start], &name[end..])).or_default();
                match of.get(&number) {
                    Some(_) => found.push((*name).to_owned()),
                    None => drop(of.insert(number, &name[start..end])),
                }
            }
            Err(_) => found.push((*name).to_owned()),
        }
    }
    for ((before, after), numbers) in numbered {
        let mut runs: Vec<(u64, u64, usize)> = Vec::new();
        for (number, text) in numbers {
            match runs.last_mut() {
                Some((first, last, width))
                    if *last + 1 == number && format!("{number:0width$}") == text && number - *first < MEMBERS_MAX =>
                {
                    *last = number;
                }
                Some(_) | None => {
                    let padded = text.len() > 1 && text.starts_with('0');
                    runs.push((number, number, if padded { text.len() } else { 0 }));
                }
            }
        }
        for (first, last, width) in runs {
            found.push(if first == last {
                format!("{before}{first:0width$}{after}")
            } else {
                format!("{before}{{{first:0width$}..{last:0width$}}}{after}")
            });
        }
    }
    found.sort();
    debug_assert!(found.iter().all(|name| Pattern::parse(name).is_ok()));
    found
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::config::load::load_texts;
    use crate::config::source::Source;
    use crate::config::tests::drawn;
    use crate::config::{fmt, load};

    #[test]
    fn every_topology_is_read_back_as_it_was_written() {
        let fixtures = std::fs::read_dir("tests/fixtures/topology/valid").unwrap().map(|entry| entry.unwrap().path());
        let texts = fixtures.filter(|path| path.is_dir() || path.extension().is_some_and(|is| is == "toml"));
        let mut seen = 0;
        for path in texts.chain([PathBuf::from("examples/three-regions")]) {
            let topology = Topology { moved: Vec::new(), ..load(Some(&path)).unwrap().topology };
            let written = text(&topology);
            let again = load_texts(vec![Source::new("t", written.as_str())], path.clone(), PathBuf::from("base"));
            let again = again.unwrap_or_else(|problems| panic!("{written}\n{}", drawn(&problems))).topology;
            assert_eq!(again.objects(), topology.objects(), "{written}");
            assert_eq!(fmt::format("t", &written).unwrap(), written);
            seen += 1;
        }
        assert!(seen >= 3, "{seen}");
    }

    #[test]
    fn machines_alike_are_a_range() {
        let loaded = load(Some(Path::new("examples/three-regions"))).unwrap();
        let written = text(&loaded.topology);
        assert!(written.contains("[vms.\"web-vm-{1..5}\"]\n"), "{written}");
        let ranges = |names: &[&str]| gathered(&names.iter().copied().collect());
        assert_eq!(ranges(&["a-9", "a-10", "a-11", "b"]), ["a-{9..11}", "b"]);
        assert_eq!(ranges(&["a-08", "a-09", "a-10"]), ["a-{08..10}"]);
        assert_eq!(ranges(&["a-1", "a-01", "a-2"]), ["a-01", "a-1", "a-2"]);
        assert_eq!(
            ranges(&["1x", "2x", "3y", "99999999999999999999999"]),
            ["3y", "99999999999999999999999", "{1..2}x"]
        );
    }

    proptest! {
        #[test]
        fn ranges_name_what_they_were_made_of(names in prop::collection::btree_set("[ab]{0,1}-?0?[0-9]{1,2}[cd]?", 1..30)) {
            let made = gathered(&names.iter().map(String::as_str).collect());
            let members: Vec<String> =
                made.iter().flat_map(|text| Pattern::parse(text).unwrap().members().collect::<Vec<_>>()).collect();
            prop_assert_eq!(members.len(), names.len());
            prop_assert_eq!(members.into_iter().collect::<BTreeSet<_>>(), names);
        }
    }
}
