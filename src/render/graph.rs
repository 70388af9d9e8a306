//! A topology as a picture: regions with what is born there, pairs between them, what is promoted after what. Drawn as
//! Mermaid or DOT, whose own programs lay it out.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Alike, alike};
use crate::model::RegionId;
use crate::model::topology::Topology;
use crate::model::units::format_duration;

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Graph {
    /// Regions by id.
    pub regions: Vec<Place>,
    /// Pairs, from source to target.
    pub pairs: Vec<Way>,
    /// Resources, those that are declared alike together.
    pub resources: Vec<Thing>,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Place {
    /// Which.
    pub region_id: RegionId,
    /// Its name for people.
    pub name: String,
    /// Whether resources are born there that name no region.
    pub primary: bool,
}

/// A pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Way {
    /// From here.
    pub source: RegionId,
    /// To there.
    pub target: RegionId,
    /// What it carries and how often: `vm, config every 5m`.
    pub label: String,
    /// Whether it also leads back.
    pub bidirectional: bool,
    /// Whether anything is copied now: it is enabled and not paused.
    pub active: bool,
}

/// Resources that are declared alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Thing {
    /// Their address, or a range of them: `vm.web-{1..5}`.
    pub address: String,
    /// Where they are born.
    pub primary: RegionId,
    /// Where copies are kept.
    pub replicas: BTreeSet<RegionId>,
    /// The addresses, as above, of what is promoted before them.
    pub depends_on: BTreeSet<String>,
}

impl Graph {
    /// The picture of a topology.
    pub fn of(topology: &Topology) -> Self {
        let regions = topology.regions.iter().map(|(id, spec)| Place {
            region_id: id.clone(),
            name: spec.name.clone(),
            primary: spec.primary,
        });
        let pairs = topology.pairs.iter().map(|(id, spec)| {
            let types: Vec<&str> = spec.resource_types.iter().map(|kind| kind.as_str()).collect();
            Way {
                source: id.source.clone(),
                target: id.target.clone(),
                label: format!("{} every {}", types.join(", "), format_duration(spec.sync_interval)),
                bidirectional: spec.bidirectional,
                active: spec.enabled && !spec.paused,
            }
        });
        let groups = alike(&topology.resources);
        let address = |group: &Alike<'_>| format!("{}.{}", group.kind, group.name);
        let mut of: BTreeMap<String, String> = BTreeMap::new();
        for group in &groups {
            of.extend(group.members().into_iter().map(|member| (member, address(group))));
        }
        let resources = groups.iter().map(|group| Thing {
            address: address(group),
            primary: group.spec.primary.clone(),
            replicas: group.spec.replicas.clone(),
            depends_on: group.spec.depends_on.iter().filter_map(|id| of.get(id.as_str()).cloned()).collect(),
        });
        Self { regions: regions.collect(), pairs: pairs.collect(), resources: resources.collect() }
    }
}

/// Numbers for what is drawn: ids of either language may not hold every letter of ours.
struct Numbers<'a> {
    regions: BTreeMap<&'a RegionId, usize>,
    resources: BTreeMap<&'a str, usize>,
}

impl<'a> Numbers<'a> {
    fn of(graph: &'a Graph) -> Self {
        let regions = graph.regions.iter().enumerate().map(|(at, place)| (&place.region_id, at));
        let resources = graph.resources.iter().enumerate().map(|(at, thing)| (thing.address.as_str(), at));
        Self { regions: regions.collect(), resources: resources.collect() }
    }
}

/// What stands in a region's frame.
fn title(place: &Place) -> String {
    let name = if place.name == place.region_id.as_str() { String::new() } else { format!(" ({})", place.name) };
    format!("{}{name}{}", place.region_id, if place.primary { ", primary" } else { "" })
}

/// What stands in a resource's box, in lines.
fn lines(thing: &Thing) -> Vec<String> {
    let copies: Vec<&str> = thing.replicas.iter().map(RegionId::as_str).collect();
    let kept = if copies.is_empty() { "no copy".to_owned() } else { format!("copies at {}", copies.join(", ")) };
    vec![thing.address.clone(), kept]
}

fn way(way: &Way) -> String {
    format!("{}{}", way.label, if way.active { "" } else { ", not now" })
}

/// The picture in Mermaid, for Markdown.
pub fn mermaid(graph: &Graph) -> String {
    let numbers = Numbers::of(graph);
    let text = |text: &str| text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('\n', " ");
    let mut out = "flowchart LR\n".to_owned();
    for (at, place) in graph.regions.iter().enumerate() {
        out.push_str(&format!("  subgraph r{at}[\"{}\"]\n", text(&title(place))));
        // An empty frame would not be one.
        out.push_str(&format!("    p{at}((\"{}\"))\n", text(place.region_id.as_str())));
        for (number, thing) in graph.resources.iter().enumerate().filter(|(_, it)| it.primary == place.region_id) {
            let lines: Vec<String> = lines(thing).iter().map(|line| text(line)).collect();
            out.push_str(&format!("    v{number}[\"{}\"]\n", lines.join("<br/>")));
        }
        out.push_str("  end\n");
    }
    for pair in &graph.pairs {
        let (Some(from), Some(to)) = (numbers.regions.get(&pair.source), numbers.regions.get(&pair.target)) else {
            continue;
        };
        let arrow = match (pair.active, pair.bidirectional) {
            (true, false) => "==>",
            (true, true) => "<==>",
            (false, false) => "-.->",
            (false, true) => "<-.->",
        };
        out.push_str(&format!("  p{from} {arrow}|\"{}\"| p{to}\n", text(&way(pair))));
    }
    for (number, thing) in graph.resources.iter().enumerate() {
        for before in thing.depends_on.iter().filter_map(|address| numbers.resources.get(address.as_str())) {
            out.push_str(&format!("  v{number} -->|after| v{before}\n"));
        }
    }
    out
}

/// The picture in DOT, for Graphviz.
pub fn dot(graph: &Graph) -> String {
    let numbers = Numbers::of(graph);
    let text = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
    let mut out = "digraph topology {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (at, place) in graph.regions.iter().enumerate() {
        out.push_str(&format!("  subgraph cluster_{at} {{\n    label=\"{}\";\n", text(&title(place))));
        out.push_str(&format!("    p{at} [shape=ellipse, label=\"{}\"];\n", text(place.region_id.as_str())));
        for (number, thing) in graph.resources.iter().enumerate().filter(|(_, it)| it.primary == place.region_id) {
            let lines: Vec<String> = lines(thing).iter().map(|line| text(line)).collect();
            out.push_str(&format!("    v{number} [label=\"{}\"];\n", lines.join("\\n")));
        }
        out.push_str("  }\n");
    }
    for pair in &graph.pairs {
        let (Some(from), Some(to)) = (numbers.regions.get(&pair.source), numbers.regions.get(&pair.target)) else {
            continue;
        };
        let both = if pair.bidirectional { ", dir=both" } else { "" };
        let style = if pair.active { "bold" } else { "dotted" };
        out.push_str(&format!("  p{from} -> p{to} [label=\"{}\", style={style}{both}];\n", text(&way(pair))));
    }
    for (number, thing) in graph.resources.iter().enumerate() {
        for before in thing.depends_on.iter().filter_map(|address| numbers.resources.get(address.as_str())) {
            out.push_str(&format!("  v{number} -> v{before} [label=\"after\", style=dashed];\n"));
        }
    }
    out + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::golden;

    fn topology() -> Topology {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("topology.toml");
        let text = "schema_version = 1\n[regions.a]\nname = 'The \\old\\ \"house\" #1 <b>'\napi_endpoint = \"file:a\"\n\
                    primary = true\n[regions.b-1]\napi_endpoint = \"file:b\"\n[regions.c]\napi_endpoint = \"file:c\"\n\
                    [[replication]]\nsource = \"a\"\ntarget = \"b-1\"\nresource_types = [\"vm\", \"config\"]\n\
                    bidirectional = true\n[[replication]]\nsource = \"a\"\ntarget = \"c\"\nresource_types = [\"vm\"]\n\
                    paused = true\n[vms.\"web-{1..3}\"]\nreplicas = [\"b-1\", \"c\"]\n\
                    depends_on = [\"db-{1..2}\", \"app\"]\n[vms.\"db-{1..2}\"]\nreplicas = [\"b-1\"]\n\
                    [vms.lone]\nprimary = \"b-1\"\n[resources.app]\ntype = \"config\"\nreplicas = [\"b-1\"]\n";
        std::fs::write(&path, text).unwrap();
        crate::config::load(Some(&path)).unwrap().topology
    }

    #[test]
    fn golden_pictures_of_a_topology() {
        let graph = Graph::of(&topology());
        golden::check("graph.mmd", &mermaid(&graph));
        golden::check("graph.dot", &dot(&graph));
        let web = graph.resources.iter().find(|thing| thing.address == "vm.web-{1..3}").unwrap();
        let before: Vec<&str> = web.depends_on.iter().map(String::as_str).collect();
        assert_eq!(before, ["config.app", "vm.db-{1..2}"]);
    }

    /// Words, quoted texts (without their quotes and escapes) and signs of DOT.
    fn tokens(text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(first) = rest.next() {
            match first {
                '"' => {
                    let mut quoted = "\"".to_owned();
                    loop {
                        match rest.next().expect("a quoted text ends") {
                            '"' => break,
                            '\\' => match rest.next().expect("an escape is two characters") {
                                'n' => quoted.push('\n'),
                                it @ ('"' | '\\') => quoted.push(it),
                                other => panic!("\\{other}"),
                            },
                            '\n' => panic!("a text of several lines"),
                            other => quoted.push(other),
                        }
                    }
                    tokens.push(quoted);
                }
                '-' if rest.next_if_eq(&'>').is_some() => tokens.push("->".to_owned()),
                '{' | '}' | '[' | ']' | ';' | '=' | ',' => tokens.push(first.to_string()),
                it if it.is_whitespace() => {}
                it if it.is_ascii_alphanumeric() || it == '_' => {
                    let mut word = it.to_string();
                    while let Some(next) = rest.next_if(|it| it.is_ascii_alphanumeric() || *it == '_') {
                        word.push(next);
                    }
                    tokens.push(word);
                }
                other => panic!("`{other}` in {text}"),
            }
        }
        tokens
    }

    /// A picture as a reader of DOT has it.
    #[derive(Default)]
    struct Read {
        clusters: Vec<String>,
        nodes: BTreeMap<String, BTreeMap<String, String>>,
        edges: Vec<(String, String, BTreeMap<String, String>)>,
    }

    impl Read {
        fn statements(&mut self, tokens: &mut std::vec::IntoIter<String>) {
            loop {
                let id = tokens.next().expect("a list of statements ends");
                match (id.as_str(), tokens.as_slice().first().map(String::as_str)) {
                    ("}", _) => return,
                    ("subgraph", Some(name)) => {
                        assert!(name.starts_with("cluster_"));
                        tokens.next();
                        assert_eq!(tokens.next().as_deref(), Some("{"));
                        self.statements(tokens);
                        continue;
                    }
                    (_, Some("=")) => {
                        tokens.next();
                        let value = tokens.next().unwrap();
                        self.clusters.extend((id == "label").then_some(value));
                    }
                    (_, Some("->")) => {
                        tokens.next();
                        let to = tokens.next().unwrap();
                        self.edges.push((id, to, attributes(tokens)));
                    }
                    ("node", _) => assert_eq!(attributes(tokens)["shape"], "box"),
                    _ => assert!(self.nodes.insert(id, attributes(tokens)).is_none()),
                }
                assert_eq!(tokens.next().as_deref(), Some(";"));
            }
        }
    }

    fn attributes(tokens: &mut std::vec::IntoIter<String>) -> BTreeMap<String, String> {
        assert_eq!(tokens.next().as_deref(), Some("["));
        let mut all = BTreeMap::new();
        loop {
            let key = tokens.next().unwrap();
            assert_eq!(tokens.next().as_deref(), Some("="));
            all.insert(key, tokens.next().unwrap());
            match tokens.next().as_deref() {
                Some(",") => {}
                Some("]") => return all,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn dot_reads_back_as_what_was_drawn() {
        let graph = Graph::of(&topology());
        let mut tokens = tokens(&dot(&graph)).into_iter();
        assert_eq!(tokens.by_ref().take(3).collect::<Vec<_>>(), ["digraph", "topology", "{"]);
        let mut read = Read::default();
        read.statements(&mut tokens);
        assert_eq!(tokens.next(), None);
        let titles: Vec<String> = graph.regions.iter().map(|place| format!("\"{}", title(place))).collect();
        assert_eq!(read.clusters, titles);
        assert!(titles[0].contains("The \\old\\ \"house\" #1 <b>"), "{titles:?}");
        assert_eq!(read.nodes.len(), graph.regions.len() + graph.resources.len());
        for thing in &graph.resources {
            let label = format!("\"{}", lines(thing).join("\n"));
            assert!(read.nodes.values().any(|node| node["label"] == label), "{label}");
        }
        let afters: usize = graph.resources.iter().map(|thing| thing.depends_on.len()).sum();
        assert_eq!(read.edges.len(), graph.pairs.len() + afters);
        for (from, to, _) in &read.edges {
            assert!(read.nodes.contains_key(from) && read.nodes.contains_key(to), "{from} -> {to}");
        }
        let both: Vec<&str> = read.edges.iter().filter_map(|(.., it)| it.get("dir").map(String::as_str)).collect();
        assert_eq!(both, ["both"]);
    }
}
