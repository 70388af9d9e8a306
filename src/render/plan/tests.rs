//! Golden renderings of handmade plans; `SNAPSHOTS=overwrite cargo test golden` writes them anew.

use serde_json::{Value, json};

use super::*;
use crate::plan::document::Plan;
use crate::render::terminal::Look;
use crate::render::{document, golden};

fn change(action: &str, address: &str, regions: &[&str], before: Value, after: Value, reason: &str) -> Value {
    let kind = match (action, address.split_once('.').unwrap().0) {
        ("sync" | "repair", _) => "sync",
        (_, "region") => "region",
        (_, "replication") => "replication",
        _ => "resource",
    };
    json!({
        "id": format!("{action}:{address}:{}", regions.join("+")), "address": address, "kind": kind, "action": action,
        "regions": regions, "source": (kind == "sync").then_some("us-east-1"), "before": before, "after": after,
        "reason": reason, "depends_on": [], "precondition": { "records": {} }
    })
}

fn region_spec(endpoint: &str, last: u32) -> Value {
    json!({
        "name": "US East 1", "location": "us-east-1", "api_endpoint": endpoint, "primary": endpoint.contains("us-east"),
        "capacity_vms": 1000, "labels": {}, "policy": {
            "retention": { "last": last, "hourly": 24, "daily": 7 },
            "health": { "timeout": "2s", "degraded_latency": "100ms", "unreachable_latency": "500ms",
                        "probe_interval": "5s", "failures": 3, "detect_for": "15s" },
            "failover": { "strategy": "manual", "candidates": [], "quorum": null, "cooldown": "1h", "failback": "manual",
                          "hooks": { "fence": [], "before": [], "after": [], "timeout": "1m" } } }
    })
}

fn pair_spec(interval: &str) -> Value {
    json!({ "resource_types": ["vm", "config"], "sync_interval": interval, "batch_size": 100, "priority": 1,
            "enabled": true, "bidirectional": false, "compression": true, "bandwidth_limit": null })
}

fn vm_spec(replicas: &[&str]) -> Value {
    json!({ "primary": "us-east-1", "replicas": replicas, "depends_on": [], "max_lag": null, "allowed_regions": {},
            "labels": {}, "max_change": "50 %" })
}

fn plan(changes: Vec<Value>, drift: Vec<Value>, more: Value) -> Plan {
    let mut summary =
        json!({ "create": 0, "update": 0, "delete": 0, "sync": 0, "repair": 0, "failover": 0, "fence": 0 });
    for entry in changes.iter().chain(&drift) {
        let action = entry["action"].as_str().unwrap();
        summary[action] = json!(summary[action].as_u64().unwrap() + 1);
    }
    let digest = format!("blake3:{}", "0123456789abcdef".repeat(4));
    let mut plan = json!({
        "format_version": "1.0", "tool_version": "0.1.0", "created_at": "2026-11-22T12:00:00Z", "digest": digest,
        "mode": "normal", "topology": { "path": "topology.toml", "digest": digest },
        "state": { "lineage": "6f2c1c52-5f0e-4b8e-9d63-0c2f4c1f7a10", "serial": 7 },
        "regions": [
            { "region_id": "ap-south-1", "status": "healthy", "latency_ms": 3.5 },
            { "region_id": "us-east-1", "status": "healthy", "latency_ms": 1.2 },
            { "region_id": "us-west-1", "status": "healthy", "latency_ms": 2.0 }
        ],
        "changes": changes, "drift": drift, "held": [], "blocked": [], "waiting": [], "unmanaged": [],
        "unobserved": [], "moved": [], "warnings": [], "summary": summary
    });
    for (name, part) in more.as_object().unwrap() {
        plan[name] = part.clone();
    }
    serde_json::from_value(plan).unwrap()
}

/// The quick start's first plan: 12 creates and 12 syncs.
fn first() -> Plan {
    let new = "declared and not recorded yet";
    let mut changes = Vec::new();
    for region in ["eu-west-1", "us-east-1", "us-west-1"] {
        let spec = region_spec(&format!("file:regions/{region}"), 3);
        changes.push(change("create", &format!("region.{region}"), &[region], Value::Null, spec, new));
    }
    for (target, interval) in [("eu-west-1", "10m"), ("us-west-1", "5m")] {
        let address = format!("replication.us-east-1.{target}");
        changes.push(change("create", &address, &["us-east-1", target], Value::Null, pair_spec(interval), new));
    }
    let vms = (1..=2).map(|n| (format!("vm.db-vm-{n}"), vec!["us-west-1"]));
    let vms: Vec<_> = vms.chain((1..=5).map(|n| (format!("vm.web-vm-{n}"), vec!["eu-west-1", "us-west-1"]))).collect();
    for (address, replicas) in &vms {
        changes.push(change("create", address, replicas, Value::Null, vm_spec(replicas), new));
    }
    for (address, replicas) in &vms {
        for target in replicas {
            changes.push(change("sync", address, &[target], Value::Null, Value::Null, "the target has no point yet"));
        }
    }
    plan(changes, Vec::new(), json!({}))
}

/// What `--refresh-only` finds: an attribute, a region that says otherwise, an object that is gone.
fn refresh() -> Plan {
    let mut other = change(
        "update",
        "replication.us-east-1.us-west-1",
        &["us-west-1"],
        pair_spec("5m"),
        pair_spec("5m"),
        "at us-west-1 differs sync_interval from what us-east-1 says, so it is left out",
    );
    other["drops"] = json!(["us-west-1"]);
    let drift = vec![
        other,
        change(
            "update",
            "vm.web-vm-1",
            &["us-east-1", "us-west-1"],
            vm_spec(&["eu-west-1", "us-west-1"]),
            vm_spec(&["us-west-1"]),
            "at us-east-1 differs replicas",
        ),
        change("delete", "vm.gone", &["us-east-1"], vm_spec(&[]), Value::Null, "its record is gone everywhere"),
    ];
    plan(Vec::new(), drift, json!({ "mode": "refresh_only" }))
}

/// One of everything.
fn rich() -> Plan {
    let stricter = "the files say otherwise than what was applied";
    let mut changes = vec![
        change(
            "delete",
            "vm.old-report",
            &["us-east-1", "us-west-1"],
            vm_spec(&["us-west-1"]),
            Value::Null,
            "no longer declared",
        ),
        change(
            "create",
            "vm.web-vm-6",
            &["us-east-1", "us-west-1"],
            Value::Null,
            vm_spec(&["us-west-1"]),
            "declared and not recorded yet",
        ),
        change("sync", "vm.web-vm-1", &["us-west-1"], Value::Null, Value::Null, "the source changed since point 12"),
        change("sync", "vm.web-vm-6", &["us-west-1"], Value::Null, Value::Null, "the target has no point yet"),
        change("repair", "config.app", &["us-west-1"], Value::Null, Value::Null, "1 file is missing at the replica"),
    ];
    for region in ["ap-south-1", "us-east-1", "us-west-1"] {
        let spec = |last| region_spec(&format!("file:regions/{region}"), last);
        changes.push(change("update", &format!("region.{region}"), &[region], spec(3), spec(5), stricter));
    }
    let mut limited = pair_spec("10m");
    limited["bandwidth_limit"] = json!("200 Mbit/s");
    limited["resource_types"] = json!(["storage", "vm"]);
    changes.push(change(
        "update",
        "replication.us-east-1.us-west-1",
        &["us-east-1", "us-west-1"],
        pair_spec("5m"),
        limited,
        stricter,
    ));
    let mut touched = vm_spec(&["us-west-1"]);
    touched["max_lag"] = json!("1h");
    let drift = vec![
        change(
            "update",
            "vm.web-vm-2",
            &["us-west-1"],
            touched,
            vm_spec(&["us-west-1"]),
            "us-west-1 has other attributes than were applied",
        ),
        change(
            "create",
            "vm.web-vm-3",
            &["us-west-1"],
            Value::Null,
            vm_spec(&["us-west-1"]),
            "us-west-1 no longer has its record",
        ),
    ];
    plan(
        changes,
        drift,
        json!({
            "regions": [
                { "region_id": "ap-south-1", "status": "healthy", "latency_ms": 3.5 },
                { "region_id": "eu-west-1", "status": "unreachable", "latency_ms": null },
                { "region_id": "us-east-1", "status": "healthy", "latency_ms": 1.2 },
                { "region_id": "us-west-1", "status": "degraded", "latency_ms": 140.0 }
            ],
            "held": [{ "address": "vm.db-vm-1", "declared": "us-east-1", "holder": { "region": "us-west-1", "epoch": 4 },
                       "reason": "moved by failover 0c2f on 2026-11-20" }],
            "blocked": [
                { "address": "vm.db-vm-2", "region_id": "us-west-1", "reason": "suspicious",
                  "detail": "its source lost `disk.raw`, 40 GiB at point 31; if that is meant: debvisor-region replication sync db-vm-2 us-east-1 us-west-1 --accept-change" },
                { "address": "vm.gone", "region_id": null, "reason": "not_declared",
                  "detail": "managed and no longer declared; --prune removes its record, never its data" }
            ],
            "waiting": [{ "address": "vm.web-vm-9", "region_id": "us-east-1", "reason": "no_source" }],
            "unmanaged": [{ "address": "vm.lab", "regions": ["us-west-1"], "managed_by": null }],
            "unobserved": [{ "region_id": "eu-west-1", "reason": "its directory is not there: regions/eu-west-1",
                             "help": "mount it, then plan again", "deferred": ["vm.web-vm-1", "vm.web-vm-2", "vm.web-vm-3"] }],
            "moved": [{ "from": "vm.mail", "to": "vm.mail-1", "regions": ["us-east-1", "us-west-1"] }],
            "warnings": [{ "address": "vm.web-vm-1", "message": "runs without a freeze method: its points are quiet at best" }]
        }),
    )
}

/// Five thousand machines at once.
fn large() -> Plan {
    let mut changes = Vec::new();
    for n in 1..=2500 {
        let address = format!("vm.web-vm-{n}");
        let spec = vm_spec(&["us-west-1"]);
        changes.push(change(
            "create",
            &address,
            &["us-east-1", "us-west-1"],
            Value::Null,
            spec,
            "declared and not recorded yet",
        ));
    }
    for n in 1..=2500 {
        let address = format!("vm.web-vm-{n}");
        changes.push(change("sync", &address, &["us-west-1"], Value::Null, Value::Null, "the target has no point yet"));
    }
    plan(changes, Vec::new(), json!({}))
}

const LOOK: Look = Look { color: false, unicode: true, width: Some(80) };

#[test]
fn golden_plans_for_people() {
    for (name, plan) in [("first", first()), ("rich", rich()), ("large", large())] {
        for width in [40, 80, 120] {
            let text = people(&plan, &Look { width: Some(width), ..LOOK }, false);
            golden::check(&format!("plan-{name}-{width}.txt"), &text);
        }
    }
    let settled = plan(Vec::new(), Vec::new(), json!({}));
    golden::check("plan-settled-80.txt", &people(&settled, &LOOK, false));
    golden::check("plan-refresh-80.txt", &people(&refresh(), &LOOK, false));
    let settled = plan(Vec::new(), Vec::new(), json!({ "mode": "refresh_only" }));
    golden::check("plan-refresh-settled-80.txt", &people(&settled, &LOOK, false));
    golden::check("plan-rich-80-ascii.txt", &people(&rich(), &Look { unicode: false, ..LOOK }, false));
    golden::check("plan-rich-80-color.txt", &people(&rich(), &Look { color: true, ..LOOK }, false));
    golden::check("plan-rich-plain-every.txt", &people(&rich(), &Look::PLAIN, true));
}

#[test]
fn a_plan_fits_its_terminal_and_loses_no_name() {
    for width in [30, 40, 60, 80, 120] {
        let text = people(&rich(), &Look { width: Some(width), ..LOOK }, false);
        for name in ["replication.us-east-1.us-west-1", "vm.old-report", "vm.lab", "vm.mail-1", "eu-west-1"] {
            assert!(text.contains(name), "{name} at {width}: {text}");
        }
        if width >= 40 {
            let wide = text.lines().filter(|line| crate::render::text::width(line) > width);
            assert_eq!(wide.collect::<Vec<_>>(), Vec::<&str>::new(), "at {width}");
        }
    }
    let ascii = people(&rich(), &Look { unicode: false, ..LOOK }, true);
    assert!(ascii.is_ascii(), "{ascii}");
    let colored = people(&rich(), &Look { color: true, ..LOOK }, false);
    assert_eq!(anstream::adapter::strip_str(&colored).to_string(), people(&rich(), &LOOK, false));
}

#[test]
fn golden_comments() {
    golden::check("plan-rich.md", &markdown(&rich()));
    golden::check("plan-first.md", &markdown(&first()));
    golden::check("plan-refresh.md", &markdown(&refresh()));
    golden::check("plan-settled.md", &markdown(&plan(Vec::new(), Vec::new(), json!({}))));
}

#[test]
fn a_comment_never_exceeds_its_limit_and_counts_what_it_left_out() {
    let long = "x".repeat(5000);
    for (risky, n) in [(0, 5000), (5000, 0), (300, 5000), (5000, 5000)] {
        let mut changes = Vec::new();
        for i in 0..risky {
            changes.push(change("delete", &format!("vm.d{i}"), &["a"], Value::Null, Value::Null, &long));
        }
        for i in 0..n {
            changes.push(change("create", &format!("vm.c{i}"), &["a"], Value::Null, vm_spec(&["b"]), "new"));
        }
        let text = markdown(&plan(changes, Vec::new(), json!({})));
        assert!(text.len() <= MARKDOWN_LIMIT, "{} bytes", text.len());
        let shown = text.lines().filter(|line| line.starts_with("| `vm.")).count();
        let left = risky + n - shown;
        let said = format!("**{} entries left out", crate::render::text::grouped(left as u64));
        assert!(text.contains(&said), "{said} of {shown} shown: {}", &text[text.len() - 300..]);
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
        let (first_table, counts) = (text.find("| object").unwrap(), text.find("to create").or(text.find("to delete")));
        assert!(counts.unwrap() < first_table, "verdict and counts come first");
    }
}

#[test]
fn a_plan_in_yaml_keeps_a_region_called_no() {
    let mut plan = rich();
    plan.regions[0].region_id = "no".parse().unwrap();
    let text = document::yaml(&plan).unwrap();
    assert_eq!(serde_yaml::from_str::<Plan>(&text).unwrap(), plan, "{text}");
    let text = document::json(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

/// Three regions are silent: two objects wait for two of them each, one for one.
#[test]
fn what_waits_for_several_regions_is_one_object() {
    let away = json!([
        { "region_id": "us-west-1", "reason": "no answer", "help": null, "deferred": ["vm.db", "vm.web"] },
        { "region_id": "us-west-2", "reason": "no answer", "help": null, "deferred": ["vm.mail", "vm.web"] },
        { "region_id": "us-west-3", "reason": "no answer", "help": null, "deferred": ["vm.db"] }
    ]);
    let plan = plan(Vec::new(), Vec::new(), json!({ "unobserved": away }));
    assert_eq!(words::asides(&plan), "3 unobserved, 3 deferred");
    let lines = ["deferred: vm.db, vm.web\n", "deferred: vm.mail, and 1 named above\n", "deferred: 1 named above\n"];
    let text = people(&plan, &LOOK, false);
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    let text = markdown(&plan);
    let cells = ["| `vm.db`, `vm.web` |", "| `vm.mail`, and 1 named above |", "| 1 named above |"];
    assert!(cells.iter().all(|cell| text.contains(cell)), "{text}");
}

#[test]
fn renames_are_named_where_something_else_cannot_be_done() {
    let moved = json!([{ "from": "vm.mail", "to": "vm.mail-1", "regions": ["us-east-1"] }]);
    let away = json!([{ "region_id": "us-west-1", "reason": "no answer", "help": null, "deferred": ["vm.mail-1"] }]);
    let plan = plan(Vec::new(), Vec::new(), json!({ "moved": moved, "unobserved": away }));
    assert_eq!(words::verdict(&plan), "1 rename to record");
    assert_eq!(words::asides(&plan), "1 unobserved, 1 deferred");
}
