//! What `examples/monitoring` asks for is what regions and rounds export: names, and the labels that go with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::automatic::{AUTOMATIC, Fleet};

/// By name: the labels that stand with it.
type Exported = BTreeMap<String, BTreeSet<String>>;

/// Words of the language that are no names.
const WORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];

/// What is added to every name when it is collected.
const COLLECTED: [&str; 2] = ["job", "instance"];

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring").join(name)).unwrap()
}

/// Adds what a text of either format tells.
fn read(text: &str, exported: &mut Exported) {
    let sample = Regex::new(r"^([a-z_]+)(?:\{(.*)\})? [^ ]+$").unwrap();
    let label = Regex::new(r#"([a-z]+)="(?:[^"\\]|\\.)*""#).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let found = sample.captures(line).unwrap_or_else(|| panic!("no sample: {line}"));
        let labels = exported.entry(found[1].to_owned()).or_default();
        let pairs = found.get(2).map_or("", |pairs| pairs.as_str());
        labels.extend(label.captures_iter(pairs).map(|pair| pair[1].to_owned()));
    }
}

fn scraped(origin: &str) -> String {
    let mut stream = TcpStream::connect(origin.split_once("://").unwrap().1).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// What an expression asks for that is not exported: names, and labels that none of its names has.
fn missing(expression: &str, exported: &Exported) -> Vec<String> {
    let mut labels: BTreeSet<String> = BTreeSet::new();
    let mut text = expression.to_owned();
    for (pattern, label) in [
        (r#"\{([^}]*)\}"#, r"([A-Za-z_]+)\s*(?:=~|!~|!=|=)"),
        (r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", r"([A-Za-z_]+)"),
    ] {
        let (pattern, label) = (Regex::new(pattern).unwrap(), Regex::new(label).unwrap());
        for found in pattern.captures_iter(&text) {
            labels.extend(label.captures_iter(&found[1]).map(|label| label[1].to_owned()));
        }
        text = pattern.replace_all(&text, " ").into_owned();
    }
    // Ranges, and functions with what opens them.
    for gone in [r"\[[^\]]*\]", r"[A-Za-z_]+\s*\(", r"\b[0-9.]+(?:[a-z]+)?\b"] {
        text = Regex::new(gone).unwrap().replace_all(&text, " ").into_owned();
    }
    let name = Regex::new(r"[A-Za-z_:][A-Za-z0-9_:]*").unwrap();
    let names: BTreeSet<&str> = name.find_iter(&text).map(|name| name.as_str()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !WORDS.contains(name)).collect();
    assert!(!names.is_empty(), "{expression} asks for nothing");
    let known: BTreeSet<&str> =
        names.iter().filter_map(|name| exported.get(*name)).flatten().map(String::as_str).chain(COLLECTED).collect();
    let names = names.iter().filter(|name| !exported.contains_key(**name)).map(|name| (*name).to_owned());
    names.chain(labels.iter().filter(|label| !known.contains(label.as_str())).cloned()).collect()
}

/// Labels that a text for people fills in, or a legend.
fn filled_in(text: &str) -> BTreeSet<String> {
    let label = Regex::new(r"\{\{\s*(?:\$labels\.)?([a-z]+)\s*\}\}").unwrap();
    label.captures_iter(text).map(|label| label[1].to_owned()).collect()
}

/// Labels of what an expression asks for.
fn labels_of<'a>(expression: &str, exported: &'a Exported) -> BTreeSet<&'a str> {
    let asked = exported.iter().filter(|(name, _)| expression.contains(name.as_str()));
    asked.flat_map(|(_, labels)| labels).map(String::as_str).collect()
}

/// What three regions and a round tell after a failover.
fn exported() -> Exported {
    let mut fleet = Fleet::new(1, AUTOMATIC);
    fleet.regions[0].kill();
    fleet.round().says(&["completed", "a → b"]);
    fleet.again(0);
    let mut exported = Exported::new();
    let told = fleet.run(&["reconcile", "--metrics-file", "metrics.prom"]);
    assert!([0, 3].contains(&told.code), "{}", told.stderr);
    let file = String::from_utf8(fleet.world.read("metrics.prom")).unwrap();
    for line in [
        "debvisor_region_failovers_total{outcome=\"succeeded\"} 1.0",
        "debvisor_region_failover_duration_seconds_count 1",
        "debvisor_region_held_twice 0.0",
        "debvisor_region_vms{region=\"b\"} 1.0",
        "debvisor_region_vm_capacity{region=\"b\"} 1000.0",
        "debvisor_region_replication_interval_seconds{resource=\"web-1\",type=\"vm\",target=\"c\"} 300.0",
    ] {
        assert!(file.lines().any(|found| found == line), "{line}\n{file}");
    }
    // The first apply copied it to both.
    let synced = Regex::new(r#"(?m)^debvisor_region_resource_syncs_total\{region="c"\} ([1-9][0-9]*)\.0$"#).unwrap();
    assert!(synced.is_match(&file), "{file}");
    read(&file, &mut exported);
    // For people the same, and for programs.
    let all = fleet.run(&["global", "--format", "json"]).exits(0).json();
    assert_eq!(
        (&all["failover_events_total"], &all["failover_success_percent"]),
        (&1.into(), &100.0.into()),
        "{all:#}"
    );
    let at_b = fleet.run(&["region", "stats", "b", "--format", "json"]).exits(0).json();
    for name in ["last_failover_duration_seconds", "resources_synced_per_minute", "latency_ms"] {
        for told in [&all, &at_b] {
            assert!(told[name].as_f64().is_some_and(|number| number > 0.0), "{name}: {told:#}");
        }
    }
    fleet.run(&["global"]).exits(0).says(&["a minute in the last hour", "succeeded    100.0 %", "on average"]);
    for region in &fleet.regions {
        let text = scraped(&region.origin);
        let name = if region.origin == fleet.regions[1].origin { "b" } else { "" };
        if name == "b" {
            for line in [
                "debvisor_region_server_vms{region=\"b\"} 1.0",
                "debvisor_region_server_failovers_total{region=\"b\",outcome=\"succeeded\"} 1",
                "debvisor_region_server_failover_open{region=\"b\"} 0.0",
            ] {
                assert!(text.lines().any(|found| found == line), "{line}\n{text}");
            }
        }
        read(&text, &mut exported);
    }
    exported
}

#[test]
fn rules_and_dashboard_ask_for_what_is_exported() {
    let exported = exported();
    let mut asked = 0;
    let rules: Value = serde_yaml::from_str(&example("debvisor-region.rules.yml")).unwrap();
    for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let (name, expression) = (&rule["alert"], rule["expr"].as_str().unwrap());
        assert_eq!(missing(expression, &exported), Vec::<String>::new(), "{name}: {expression}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["info", "warning", "critical"].contains(&severity), "{name}");
        for words in ["summary", "description"] {
            let words = rule["annotations"][words].as_str().unwrap();
            let known = labels_of(expression, &exported);
            let unknown: Vec<_> =
                filled_in(words).into_iter().filter(|label| !known.contains(label.as_str())).collect();
            assert_eq!(unknown, Vec::<String>::new(), "{name}: {words}");
        }
        asked += 1;
    }
    let board: Value = serde_json::from_str(&example("grafana-dashboard.json")).unwrap();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let (title, expression) = (&panel["title"], target["expr"].as_str().unwrap());
            assert_eq!(missing(expression, &exported), Vec::<String>::new(), "{title}: {expression}");
            let known = labels_of(expression, &exported);
            let legend = filled_in(target["legendFormat"].as_str().unwrap());
            let unknown: Vec<_> = legend.into_iter().filter(|label| !known.contains(label.as_str())).collect();
            assert_eq!(unknown, Vec::<String>::new(), "{title}");
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked}");

    // Any other name is found.
    for (wrong, found) in [
        ("debvisor_region_replication_lag > 1", "debvisor_region_replication_lag"),
        ("sum(rate(debvisor_region_resource_syncs[5m])) * 60", "debvisor_region_resource_syncs"),
        ("max by (place) (debvisor_region_up) == 1", "place"),
        (r#"debvisor_region_up{regoin="a"} == 0"#, "regoin"),
        ("time() - debvisor_region_up or vector(0) + nothing", "nothing"),
    ] {
        assert_eq!(missing(wrong, &exported), [found], "{wrong}");
    }

    // And so is one in the README.
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let name = Regex::new(r"debvisor_region_[a-z_]*").unwrap();
    let named: BTreeSet<&str> = name.find_iter(&readme).map(|name| name.as_str()).collect();
    let begins = |name: &str| exported.keys().any(|known| name.ends_with('_') && known.starts_with(name));
    // A histogram is named without what its samples end with.
    let histogram = |name: &str| exported.contains_key(&format!("{name}_bucket"));
    let known = |name: &&str| exported.contains_key(*name) || begins(name) || histogram(name);
    assert_eq!(named.into_iter().filter(|name| !known(name)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn prometheus_is_led_to_rules_and_regions_that_are_there() {
    let settings: Value = serde_yaml::from_str(&example("prometheus.yml")).unwrap();
    for rules in settings["rule_files"].as_array().unwrap() {
        assert!(example(rules.as_str().unwrap()).contains("groups:"), "{rules}");
    }
    // Of each job only what Prometheus knows, and places without a scheme or a path, which it would refuse.
    let mut places = Vec::new();
    for job in settings["scrape_configs"].as_array().unwrap() {
        let known = ["job_name", "scheme", "static_configs"];
        assert!(job.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{job:#}");
        for target in job["static_configs"][0]["targets"].as_array().unwrap() {
            let (host, port) = target.as_str().unwrap().rsplit_once(':').unwrap();
            assert!(!host.contains('/') && port.parse::<u16>().is_ok(), "{target}");
            places.push(host.to_owned());
        }
    }
    // The regions are those of the example that people begin with.
    let topology =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/three-regions/topology.toml")).unwrap();
    for region in ["us-east-1", "us-west-1", "eu-west-1"] {
        assert!(topology.contains(&format!("[regions.{region}]")), "{region}");
        assert!(places.contains(&format!("api.{region}.internal")), "{region}: {places:?}");
    }
}

#[test]
fn tests_of_the_rules_are_of_rules_that_are_there() {
    let rules = example("debvisor-region.rules.yml");
    let tests: Value = serde_yaml::from_str(&example("debvisor-region.rules.test.yml")).unwrap();
    let mut tried = 0;
    for case in tests["tests"].as_array().unwrap().iter().flat_map(|one| one["alert_rule_test"].as_array().unwrap()) {
        let name = case["alertname"].as_str().unwrap();
        assert!(rules.contains(&format!("alert: {name}\n")), "{name}");
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}
