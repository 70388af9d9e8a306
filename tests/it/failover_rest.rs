//! Failovers over REST: real regions, machines that are processes, and the command line beside them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::described::assert_described;
use crate::failover::Fleet;
use crate::served::Served;

/// What a region answered.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Told {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body["data"].clone()
    }
}

fn begin(served: &Served, method: &str, path: &str, more: &str, body: &Value) -> TcpStream {
    begin_at(&served.origin, method, path, more, body)
}

fn begin_at(origin: &str, method: &str, path: &str, more: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(origin.strip_prefix("http://").unwrap()).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    write!(
        stream,
        "{method} /api/v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {more}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

/// Asks, and holds the answer against the description.
fn ask(origin: &str, method: &str, path: &str, body: &Value) -> Told {
    let told = told(begin_at(origin, method, path, "", body));
    assert_described(method, path, told.status, &told.body);
    told
}

fn told(mut stream: TcpStream) -> Told {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Told { status, body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")) }
}

pub(crate) fn get(served: &Served, path: &str) -> Told {
    ask(&served.origin, "GET", path, &Value::Null)
}

/// Asks whoever is served there.
pub(crate) fn get_from(origin: &str, path: &str) -> Told {
    ask(origin, "GET", path, &Value::Null)
}

/// Sends a request; without a body where that is null.
pub(crate) fn send(served: &Served, method: &str, path: &str, body: &Value) -> Told {
    ask(&served.origin, method, path, body)
}

/// Has a region fail over.
pub(crate) fn execute(served: &Served, from: &str, to: &str, more: &Value) -> Told {
    ask(&served.origin, "POST", "failover/execute", &request(from, to, more))
}

fn request(from: &str, to: &str, more: &Value) -> Value {
    let mut body = json!({ "from_region_id": from, "to_region_id": to });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_region_fails_over_and_the_command_line_sees_it_and_takes_it_back() {
    let fleet = Fleet::new(2, "");
    let (world, c) = (&fleet.world, &fleet.regions[2]);
    let refused = execute(c, "a", "b", &json!({}));
    let data = refused.is(409);
    assert_eq!(data["code"], "not_controller", "{data:#}");
    assert!(data["controller"]["place"].as_str().unwrap().ends_with("debvisor-region.state.db"), "{data:#}");
    fleet.assert_all_run_at("a");

    // What is written last arrives as well.
    world.write("a/resources/vm/web-2/disk.raw", "the disk of WEB-2\n".repeat(9000));
    let done = execute(c, "a", "b", &json!({ "take_over": true, "reason": "over REST" })).is(201);
    assert_eq!((&done["success"], &done["affected_resources"]), (&json!(true), &json!(2)), "{done:#}");
    fleet.assert_all_run_at("b");
    assert_eq!(world.read("b/resources/vm/web-2/disk.raw"), "the disk of WEB-2\n".repeat(9000).as_bytes());
    world.run(["plan"]).exits(0).says(&["eld"]);
    world.run(["failover", "status"]).exits(0).says(&["no operation is open"]);
    for region in &fleet.regions {
        let history = get(region, "failover/history?region_id=a&limit=50").is(200);
        let [event] = history.as_array().unwrap().as_slice() else { panic!("{history:#}") };
        assert_eq!(event["event_id"], done["event_id"], "{event:#}");
        assert_eq!((&event["success"], &event["reason"]), (&json!(true), &json!("over REST")), "{event:#}");
        assert_eq!(event["affected_resources"], 2, "{event:#}");
        let global = get(region, "stats").is(200);
        assert_eq!((&global["failover_events_total"], &global["failover_events_failed"]), (&json!(1), &json!(0)));
        for (other, took_part) in [("a", 1), ("b", 1), ("c", 0)] {
            let numbers = get(region, &format!("regions/{other}/stats")).is(200);
            assert_eq!(numbers["failover_events"], took_part, "{numbers:#}");
        }
    }

    // Whoever had the controller's place is told who has it now, and may take it back.
    world.run(["failover", "execute", "b", "a", "--force"]).exits(5).says(&["region c", "--take-over"]);
    fleet.assert_all_run_at("b");
    world.run(["failover", "execute", "b", "a", "--force", "--take-over"]).exits(0);
    fleet.assert_all_run_at("a");
    let data = execute(c, "a", "b", &json!({})).is(409);
    assert_eq!(data["code"], "not_controller", "{data:#}");
    assert!(data["controller"]["place"].as_str().unwrap().ends_with("debvisor-region.state.db"), "{data:#}");
    let history = get(c, "failover/history").is(200);
    let ways: Vec<&str> =
        history.as_array().unwrap().iter().map(|event| event["to_region_id"].as_str().unwrap()).collect();
    assert_eq!(ways, ["a", "b"], "the newest first: {history:#}");
}

#[test]
fn a_failover_outlives_the_connection_that_ordered_it() {
    let fleet = Fleet::new(2, "");
    let b = &fleet.regions[1];
    let key = "01900000-0000-7000-8000-000000000001";
    let more = format!("idempotency-key: {key}\r\n");
    let order = || begin(b, "POST", "failover/execute", &more, &request("a", "b", &json!({ "take_over": true })));
    let ordering = order();
    // Once it is known, nobody waits for it any more.
    while get(b, &format!("operations/{key}")).status != 200 {
        thread::sleep(Duration::from_millis(1));
    }
    drop(ordering);
    loop {
        let now = get(b, &format!("operations/{key}?wait=20")).is(200);
        if now["state"] != "running" {
            assert_eq!(now["result"]["success"], true, "{now:#}");
            break;
        }
    }
    fleet.assert_all_run_at("b");
    let again = told(order()).is(200);
    assert_eq!(again["event_id"], format!("evt-{key}"), "it is told again, and not done again: {again:#}");
    assert_eq!(get(b, "failover/history").is(200).as_array().unwrap().len(), 1);
}

#[test]
fn a_region_runs_only_the_hooks_that_its_own_configuration_allows() {
    let fleet = Fleet::new(1, "");
    let world = &fleet.world;
    world.write("before", format!("#!/bin/sh\necho ran >> {}\n", world.path("ran").display()));
    fs::set_permissions(world.path("before"), fs::Permissions::from_mode(0o755)).unwrap();
    let (before, topology) = (world.path("before"), String::from_utf8(world.read("topology.toml")).unwrap());
    world.write("topology.toml", format!("{topology}hooks = {{ before = [{before:?}] }}\n"));
    world.apply();
    let c = &fleet.regions[2];
    let data = execute(c, "a", "b", &json!({ "take_over": true })).is(409);
    assert_eq!((&data["code"], &data["gates"][0]["gate"]), (&json!("gates"), &json!("hook")), "{data:#}");
    assert!(data["detail"].as_str().unwrap().contains("not among the hooks that this region allows"), "{data:#}");
    assert!(!world.path("ran").exists());
    fleet.assert_all_run_at("a");
    let own = format!("{}[hooks]\nallow = [{before:?}]\n", fleet.machines.config());
    world.write("c/.debvisor/config.toml", own);
    execute(c, "a", "b", &json!({ "take_over": true })).is(201);
    assert_eq!(world.read("ran"), b"ran\n");
    fleet.assert_all_run_at("b");
}
