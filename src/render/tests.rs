//! Golden renderings of what the reading commands show; `SNAPSHOTS=overwrite cargo test golden` writes them anew.

use serde_json::{Value, json};

use super::{Look, golden, history, memory, points, region as regions, status, whereabouts};
use crate::fleet::{
    GlobalStatistics, PointsAt, RegionState, RegionStatistics, StatusReport, Verification, Whereabouts,
};
use crate::live::port::PortError;
use crate::model::event::FailoverEvent;
use crate::model::observed::RegionStatus;
use crate::model::point::Point;
use crate::model::{RegionId, Timestamp};
use crate::state::HistoryEntry;

const LOOK: Look = Look { color: false, unicode: true, width: Some(80) };
const UUID: &str = "01a20586-baa5-75ee-ae4b-2ad09ae5e3ea";

fn hash() -> String {
    format!("blake3:{}", "0123456789abcdef".repeat(4))
}

fn widths(name: &str, draw: impl Fn(&Look) -> String) {
    for width in [40, 80, 120] {
        golden::check(&format!("{name}-{width}.txt"), &draw(&Look { width: Some(width), ..LOOK }));
    }
    golden::check(&format!("{name}-color.txt"), &draw(&Look { color: true, ..LOOK }));
    let plain = draw(&LOOK);
    assert_eq!(anstream::adapter::strip_str(&draw(&Look { color: true, ..LOOK })).to_string(), plain);
    let ascii = draw(&Look { unicode: false, ..LOOK });
    assert!(ascii.is_ascii(), "{ascii}");
}

fn region(id: &str, health: &str, primary: bool) -> Value {
    let known = health == "healthy";
    json!({
        "region_id": id, "name": id, "location": id, "api_endpoint": format!("file:regions/{id}"),
        "is_primary": primary, "status": health, "reason": null, "help": null,
        "latency_ms": known.then_some(1.25), "capacity_vms": 2000, "current_vms": known.then_some(if primary { 7 } else { 0 }),
        "resources_primary": known.then_some(if primary { 7 } else { 0 }),
        "resources_replica": known.then_some(if primary { 0 } else { 7 }),
        "free_bytes": known.then_some(64_424_509_440_u64),
        "replication_lag_seconds": (known && !primary).then_some(754.2), "controller": null, "labels": {}, "seen_by": {}
    })
}

fn replica(health: &str, lag: Option<&str>, detail: Option<&str>) -> Value {
    json!({
        "status": "unknown", "health": health, "detail": detail, "replica_id": "x", "data_hash": null, "sequence": lag.map(|_| 12),
        "verified_at": lag.map(|_| "2026-11-22T11:58:00Z"), "lag": lag, "promise": "15m",
        "points": (health != "unknown").then_some(u32::from(lag.is_some()) * 12), "set_aside": u32::from(health == "damaged")
    })
}

fn report() -> StatusReport {
    let resource = |id: &str, kind: &str, replicas: Value| {
        json!({
            "resource_id": id, "resource_type": kind, "primary_region": "us-east-1", "primary_region_id": "us-east-1",
            "epoch": 1, "version": 12, "last_sync": "2026-11-22T11:58:00Z", "last_sync_time": null, "data_hash": null,
            "replica_regions": {}, "replication_status": {}, "set_aside": 0, "replicas": replicas
        })
    };
    let suspicious = "suspicious: its source lost disk.raw, 40 GiB at point 12";
    let trouble = |kind: &str, address: &str, region: &str, reason: &str, help: Option<&str>| json!({ "kind": kind, "address": address, "region_id": region, "reason": reason, "help": help });
    let mut troubles = vec![trouble(
        "unobserved",
        "region.eu-west-1",
        "eu-west-1",
        "no answer from https://eu-west-1:5000 within 2s; us-west-1 meets silence for 3m10s over 38 probes, last seen 3m12s ago: no answer from https://eu-west-1:5000 within 2s",
        None,
    )];
    troubles
        .extend((1..=8).map(|n| trouble("late", &format!("vm.web-vm-{n}"), "us-west-1", "older than promised", None)));
    troubles.push(trouble("blocked", "vm.db-vm-1", "us-west-1", suspicious, Some("look at the source")));
    serde_json::from_value(json!({
        "at": "2026-11-22T12:00:00Z",
        "troubles": troubles,
        "regions": [region("us-east-1", "healthy", true), region("eu-west-1", "unreachable", false), region("us-west-1", "healthy", false)],
        "resources": [
            resource("db-vm-1", "vm", json!({ "us-west-1": replica("blocked", Some("2h10m"), Some(suspicious)) })),
            resource("app", "config", json!({ "us-west-1": replica("damaged", Some("3m"), Some("app.toml is missing")) })),
            resource("web-vm-1", "vm", json!({
                "eu-west-1": replica("unknown", None, Some("eu-west-1 does not answer")),
                "us-west-1": replica("in_sync", Some("90s"), None)
            })),
            resource("web-vm-9", "vm", json!({ "us-west-1": replica("pending", None, Some("no complete point yet")) }))
        ],
        "work": [{ "region_id": "us-west-1", "id": UUID, "kind": "sync", "resource": "vm.web-vm-9", "source": "us-east-1",
                   "age": "75s", "bytes_done": 1 << 30, "bytes_total": 4_u64 << 30 }],
        "held": [],
        "blocked": [], "waiting": [{ "address": "vm.web-vm-7", "region_id": "us-east-1", "reason": "no_source" }],
        "unmanaged": [],
        "pending": { "create": 0, "update": 0, "delete": 0, "sync": 2, "repair": 1, "failover": 0, "fence": 0 },
        "state": { "path": "debvisor-region.state.db", "exists": true, "lineage": UUID, "serial": 7, "objects": 12 },
        "last_run": { "command": "debvisor-region reconcile", "who": "ops@gate", "at": "2026-11-22T11:55:00Z",
                      "outcome": "partly done" }
    }))
    .unwrap()
}

#[test]
fn golden_status() {
    let report = report();
    widths("status", |look| status::status(&report, look, false));
    widths("replication-list", |look| status::replicas(&report.resources, look));
    widths("replication-status", |look| status::replication(&report.resources[2], look));
    let mut well = report;
    well.troubles.clear();
    well.work.clear();
    well.waiting.clear();
    well.regions.remove(1);
    golden::check("status-well-80.txt", &status::status(&well, &LOOK, false));
}

#[test]
fn golden_region() {
    let mut state: RegionState = serde_json::from_value(region("us-east-1", "healthy", true)).unwrap();
    let seen = |status: &str, silent: Option<&str>, failure: Option<&str>| {
        json!({
            "status": status, "last_seen": if silent.is_some() { "3m12s" } else { "2s" }, "silent_for": silent,
            "failures": if silent.is_some() { 38 } else { 0 }, "lost": silent.is_some(), "latency": "4ms250us",
            "last_probe": "2s", "failure": failure
        })
    };
    let refused = Some("http://us-east-1:5000: connection refused");
    state.seen_by = serde_json::from_value(json!({
        "eu-west-1": seen("healthy", None, refused),
        "us-west-1": seen("unreachable", Some("3m10s"), refused)
    }))
    .unwrap();
    state.bandwidth_mbps = Some(812.5);
    state.labels.insert("jurisdiction".to_owned(), "us".to_owned());
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    state.last_heartbeat = Some(now);
    widths("region-show", |look| regions::region(&state, now, look));
    widths("region-health", |look| regions::health(&state, look));
    let event = |outcome: &str, took: f64| {
        json!({
            "event_id": "evt-1", "operation": "00000000-0000-0000-0000-000000000001",
            "timestamp": "2026-11-22T11:00:00Z", "from_region_id": "us-east-1", "to_region_id": "us-west-1",
            "strategy": "manual", "reason": null, "by": "ana@desk", "automatic": false, "epoch": 2, "attempt": 1,
            "success": outcome == "completed", "outcome": outcome, "affected_resources": 7, "resources": [],
            "failed": {}, "loss": null, "duration_seconds": took, "notes": []
        })
    };
    let events = [event("completed", 41.0), event("completed", 45.3), event("aborted", 3.0), event("refused", 0.0)];
    let events: Vec<FailoverEvent> = serde_json::from_value(events.into_iter().collect()).unwrap();
    state.resources_synced_per_minute = Some(11.5);
    let stats = RegionStatistics::of(&state, &events);
    widths("region-stats", |look| regions::statistics(&stats, now, look));
    let gone: RegionState = serde_json::from_value(region("eu-west-1", "unreachable", false)).unwrap();
    let all = GlobalStatistics::of(&[state, gone], &events);
    assert_eq!((all.total_regions, all.healthy_regions, all.unreachable_regions), (2, 1, 1));
    assert_eq!((all.total_vms, all.capacity_vms, all.utilization_percent), (7, 2000, Some(0.35)));
    widths("global", |look| regions::global(&all, look));
}

#[test]
fn a_large_fleet_that_is_in_sync_is_a_short_page() {
    let mut report = report();
    let one = report.resources[2].clone();
    report.resources.extend((0..5000).map(|_| one.clone()));
    for resource in &mut report.resources {
        for replica in resource.replicas.values_mut() {
            replica.health = crate::fleet::ReplicaHealth::InSync;
        }
    }
    assert!(status::status(&report, &LOOK, false).lines().count() < 50);
    assert!(status::status(&report, &LOOK, true).lines().count() > 5000);
}

#[test]
fn a_large_fleet_that_is_late_is_a_page_too() {
    let mut report = report();
    let one = report.resources[0].clone();
    report.resources.extend((0..5000).map(|_| one.clone()));
    let page = status::status(&report, &LOOK, false);
    assert!(page.lines().count() < 150, "{page}");
    // One of the five that are there anyhow is in sync.
    assert!(page.contains("4,964 more are not in sync"), "{page}");
    assert!(status::status(&report, &LOOK, true).lines().count() > 5000);
}

fn entries() -> Vec<HistoryEntry> {
    let run = |outcome: &str, command: &str, message: Option<&str>, finished: Option<&str>, actions: Value| {
        json!({
            "run": UUID, "command": format!("debvisor-region {command}"), "who": "ops@gate", "host": "gate", "pid": 4711,
            "started_at": "2026-11-22T11:55:00.123456Z", "finished_at": finished, "topology": hash(), "outcome": outcome,
            "exit_code": 0, "message": message, "action_count": actions.as_array().unwrap().len(), "bytes": 1_503_238_553,
            "actions": actions
        })
    };
    let action = |action: &str, address: &str, outcome: &str, bytes: u64, message: Option<&str>| {
        json!({
            "id": address, "address": address, "kind": if action == "sync" { "sync" } else { "resource" }, "action": action,
            "regions": ["us-east-1", "us-west-1"], "started_at": "2026-11-22T11:55:00Z",
            "finished_at": "2026-11-22T11:55:12Z", "duration": "12s", "outcome": outcome, "bytes": bytes, "message": message
        })
    };
    let actions = json!([
        action("create", "vm.web-vm-1", "done", 0, None),
        action("sync", "vm.web-vm-1", "failed", 5 << 20, Some("cannot read disk.raw: Input/output error (os error 5)")),
        action("sync", "vm.web-vm-2", "unknown", 0, None)
    ]);
    serde_json::from_value(json!([
        run("abandoned", "apply --auto-approve --topology /srv/gitops/topology", None, None, actions),
        run(
            "refused",
            "apply plan.json",
            Some("the plan is stale: vm.web-vm-1"),
            Some("2026-11-22T11:55:01Z"),
            json!([])
        )
    ]))
    .unwrap()
}

#[test]
fn golden_history() {
    widths("history", |look| history::history(&entries(), false, look));
    widths("history-actions", |look| history::history(&entries(), true, look));
    assert!(history::history(&[], false, &LOOK).contains("nothing"));
}

#[test]
fn golden_points() {
    let point = |sequence: u64, name: Option<&str>, state: &str| {
        json!({
            "sequence": sequence, "name": name, "data_hash": hash(), "read_at": "2026-11-22T11:55:00.5Z",
            "verified_at": "2026-11-22T11:59:00Z", "source": "us-east-1", "epoch": 1, "kind": "frozen", "state": state,
            "bytes": 42_949_672_960_u64, "files": 3
        })
    };
    let told: Vec<(RegionId, Vec<Point>)> = serde_json::from_value(json!([
        [
            "us-west-1",
            [point(13, None, "complete"), point(12, None, "damaged"), point(11, Some("modified-11"), "set_aside")]
        ],
        ["us-east-1", []]
    ]))
    .unwrap();
    let mut listed: Vec<PointsAt> =
        told.into_iter().map(|(region_id, points)| PointsAt { region_id, points: Ok(points) }).collect();
    let reason = "https://eu-west-1:5000: connection refused (GET resources/vm/web-vm-1/points)".to_owned();
    let silent = PortError::Unreachable { status: RegionStatus::Unreachable, reason, help: None };
    listed.push(PointsAt { region_id: "eu-west-1".parse().unwrap(), points: Err(silent) });
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    widths("points", |look| points::points(&listed, now, look));
}

#[test]
fn golden_whereabouts() {
    let machine = |id: &str, verdict: &str, running: &[&str], unknown: &[&str], west: Value| {
        json!({
            "resource_id": id, "verdict": verdict, "holder": "us-east-1", "epoch": 3, "running_at": running,
            "unknown_at": unknown, "regions": { "us-west-1": west }
        })
    };
    let at = |state: &str| json!({ "role": "replica", "epoch": 3, "state": state });
    let unclear = json!({
        "role": "replica", "epoch": 3, "state": "unknown",
        "reason": "the runner's status printed `paused`, neither `running` nor `stopped`"
    });
    let silent = json!({ "role": null, "epoch": null, "state": "silent", "reason": "no route" });
    let runner = |region: &str, runner: Option<bool>, reason: Option<&str>| json!({ "region_id": region, "runner": runner, "reason": reason, "help": null });
    let found: Whereabouts = serde_json::from_value(json!({
        "at": "2026-11-22T12:00:00Z",
        "machines": [
            machine("web-vm-1", "running_twice", &["us-east-1", "us-west-1"], &["eu-west-1"], at("running")),
            machine("web-vm-2", "foreign_start", &["us-west-1"], &["eu-west-1"], at("running")),
            machine("db-vm-1", "unknown", &[], &["eu-west-1", "us-west-1"], unclear.clone()),
            machine("db-vm-2", "unknown", &[], &["eu-west-1", "us-west-1"], unclear),
            machine("old-vm-1", "stopped", &[], &[], at("stopped")),
            machine("web-vm-3", "running", &["us-east-1"], &["eu-west-1"], silent)
        ],
        "regions": [
            runner("ap-south-1", Some(false), None),
            runner("eu-west-1", None, Some("no answer from https://eu-west-1:5000 within 2s")),
            runner("us-east-1", Some(true), None)
        ]
    }))
    .unwrap();
    widths("where", |look| whereabouts::whereabouts(&found, look, false));
}

#[test]
fn golden_verification() {
    let side = |verdict: &str, blocks: u64| json!({ "verdict": verdict, "blocks": blocks });
    let file = |path: &str, equal: bool, source: Value, target: Value| json!({ "path": path, "equal": equal, "source": source, "target": target });
    let check = json!({ "path": "disk.raw", "verdict": "identical", "blocks": 0, "read": 1 << 30, "root": hash() });
    let found: Verification = serde_json::from_value(json!({
        "resource": "vm.web-vm-1", "holder": "us-east-1",
        "source": { "region": "us-east-1", "data_hash": hash(), "files": [check] },
        "replicas": [
            { "region_id": "ap-south-1", "equal": true, "intact": true, "error": null,
              "files": [file("disk.raw", true, side("identical", 0), side("identical", 0))] },
            { "region_id": "eu-west-1", "equal": false, "intact": false, "error": null,
              "files": [file("disk.raw", false, side("identical", 0), side("mismatch", 1)),
                        file("domain.xml", false, side("identical", 0), side("missing", 0))] },
            { "region_id": "sa-east-1", "equal": false, "intact": true, "error": null,
              "files": [file("disk.raw", false, side("changed", 12), side("identical", 0)),
                        file("domain.xml", false, side("identical", 0), side("identical", 0)),
                        file("new.raw", false, side("identical", 0), side("missing", 0)),
                        file("old.raw", false, side("missing", 0), side("identical", 0))] },
            { "region_id": "sa-west-1", "equal": false, "intact": true, "error": null,
              "files": [file("disk.raw", false, side("mismatch", 1), side("identical", 0))] },
            { "region_id": "us-west-1", "equal": false, "intact": false, "error": "its directory is not there", "files": [] }
        ]
    }))
    .unwrap();
    widths("verification", |look| points::verification(&found, look));
}

#[test]
fn golden_memory() {
    let held = memory::Memory {
        path: "debvisor-region.state.db".to_owned(),
        lineage: UUID.parse().unwrap(),
        serial: 7,
        created_at: "2026-11-22T12:00:00Z".parse().unwrap(),
        objects: serde_json::from_value(json!([{
            "address": "replication.us-east-1.us-west-1", "regions": ["us-east-1", "us-west-1"],
            "applied_at": "2026-11-22T12:00:00Z", "run": UUID, "attributes": {}
        }]))
        .unwrap(),
        stores: serde_json::from_value(json!([{
            "region_id": "us-east-1", "store": UUID, "origin": "/srv/regions/us-east-1", "met_at": "2026-11-22T12:00:00Z"
        }]))
        .unwrap(),
        topologies: serde_json::from_value(json!([{
            "digest": hash(), "applied_at": "2026-11-22T12:00:00Z", "run": null
        }]))
        .unwrap(),
    };
    widths("state-show", |look| memory::memory(&held, look));
}
