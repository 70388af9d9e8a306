//! Which machines run where: served regions, and machines that run for real.

use std::fs;
use std::time::Duration;

use crate::machines::Machines;
use crate::served::Served;
use crate::support::World;

const VMS: &str = "[vms.\"web-{1..3}\"]\nreplicas = [\"b\"]\n";

/// Three small machines that are held at `a`, with copies at `b`.
fn world() -> (World, Machines) {
    let world = World::two_regions(VMS);
    let machines = Machines::of(&world);
    for n in 1..=3 {
        world.write(format!("a/resources/vm/web-{n}/disk.raw"), format!("the disk of web-{n}"));
    }
    world.write("a/.debvisor/config.toml", machines.config());
    // What is started there stays there: its agent cannot stop it.
    world.write("b/.debvisor/config.toml", machines.config().replace("\"stop\"", "\"cannot\""));
    (world, machines)
}

fn served(world: &World) -> (Served, Served) {
    let (a, b) = (Served::start(world, "a", &[]), Served::start(world, "b", &[]));
    let topology = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", topology.replace("file:a", &a.origin).replace("file:b", &b.origin));
    world.apply();
    (a, b)
}

fn verdicts(answer: &serde_json::Value) -> Vec<(&str, &str)> {
    let machines = answer["machines"].as_array().unwrap().iter();
    machines.map(|found| (found["resource_id"].as_str().unwrap(), found["verdict"].as_str().unwrap())).collect()
}

#[test]
fn a_machine_that_runs_twice_stands_first() {
    let (world, machines) = world();
    let (a, b) = served(&world);
    machines.start("web-1", "a", 1);
    machines.start("web-2", "a", 1);
    let answer = world.run(["vm", "where", "--format", "json"]).exits(0).json();
    assert_eq!(verdicts(&answer), [("web-3", "stopped"), ("web-1", "running"), ("web-2", "running")]);
    assert_eq!(answer["machines"][1]["running_at"], serde_json::json!(["a"]));
    assert_eq!(machines.overlaps(), Vec::<String>::new());

    // One starts where only a copy is kept, and another one runs there already.
    machines.start("web-2", "b", 1);
    machines.start("web-3", "b", 1);
    world.run(["vm", "where"]).exits(5).says(&[
        "web-2: RUNNING TWICE, at a, b",
        "web-3: runs at b, which does not hold it",
        "a holds it since epoch 1",
    ]);
    let answer = world.run(["vm", "where", "--format", "json"]).exits(5).json();
    assert_eq!(verdicts(&answer), [("web-2", "running_twice"), ("web-3", "foreign_start"), ("web-1", "running")]);
    let seen = &answer["machines"][0]["regions"];
    assert_eq!(seen["a"], serde_json::json!({"role": "holder", "epoch": 1, "state": "running"}));
    assert_eq!(seen["b"], serde_json::json!({"role": "replica", "epoch": 1, "state": "running"}));
    world.run(["vm", "where", "web-1"]).exits(0);
    world.run(["vm", "where", "web-2"]).exits(5);
    world.run(["vm", "where", "--format", "yaml"]).exits(5).says(&["verdict: running_twice"]);
    world.run(["vm", "where", "web-9"]).exits(1).says(&["web-9"]);
    assert_eq!(machines.overlaps(), ["web-2 at a (epoch 1) and b (epoch 1)"]);

    machines.stop("web-2", "b");
    machines.stop("web-3", "b");
    world.run(["vm", "where"]).exits(0);
    a.end();
    b.end();
}

#[test]
fn a_machine_that_an_agent_leaves_to_a_person_stands_first_in_the_status() {
    let (world, machines) = world();
    let (a, mut b) = served(&world);
    machines.start("web-3", "b", 1);
    b.kill();
    b.again(&world);
    let seen = (0..100).find_map(|_| {
        let status = world.run(["status", "--format", "json"]).exits(0).json();
        let first = status["troubles"].get(0)?.clone();
        std::thread::sleep(Duration::from_millis(100));
        (first["kind"] == "foreign_start").then_some(first)
    });
    let seen = seen.expect("the agent sees it when it starts");
    assert_eq!((&seen["address"], &seen["region_id"]), (&"vm.web-3".into(), &"b".into()));
    assert!(seen["reason"].as_str().unwrap().contains("is left to you"), "{seen}");
    world.run(["plan"]).exits(0).says(&["runs at b, which does not hold it"]);
    a.end();
    b.end();
}

#[test]
fn what_nobody_can_tell_is_not_taken_for_stopped() {
    let (world, machines) = world();
    let (a, mut b) = served(&world);
    machines.start("web-1", "a", 1);
    machines.says("web-2", "a", "paused\n");
    let answer = world.run(["vm", "where", "--format", "json"]).exits(0).json();
    assert_eq!(verdicts(&answer), [("web-2", "unknown"), ("web-3", "stopped"), ("web-1", "running")]);
    let reason = "the runner's status printed `paused`, neither `running` nor `stopped`";
    assert_eq!(answer["machines"][0]["regions"]["a"]["reason"], reason);
    world.run(["vm", "where"]).exits(0).says(&[&format!("web-2 at a: {reason}")]);

    // A region that does not answer may be running all of them.
    b.kill();
    let answer = world.run(["vm", "where", "--format", "json"]).exits(0).json();
    assert_eq!(verdicts(&answer), [("web-2", "unknown"), ("web-3", "unknown"), ("web-1", "running")]);
    assert_eq!(answer["machines"][1]["regions"]["b"]["state"], "silent");
    world.run(["vm", "where"]).exits(0).says(&["b does not answer, and may be running anything"]);

    // So may one that has no runner.
    fs::remove_file(world.path("b/.debvisor/config.toml")).unwrap();
    b.again(&world);
    let answer = world.run(["vm", "where", "--format", "json"]).exits(0).json();
    assert_eq!(verdicts(&answer), [("web-2", "unknown"), ("web-3", "unknown"), ("web-1", "running")]);
    world.run(["vm", "where"]).exits(0).says(&["b has no runner: what runs there is not known"]);
    a.end();
    b.end();
}

#[test]
fn regions_in_directories_are_asked_too() {
    let (world, machines) = world();
    // Before anything was applied, nobody holds anything.
    machines.start("web-1", "a", 1);
    let answer = world.run(["vm", "where", "--format", "json"]).exits(0).json();
    assert_eq!(verdicts(&answer)[2], ("web-1", "running"));
    assert_eq!(answer["machines"][2]["holder"], serde_json::Value::Null);
    machines.stop("web-1", "a");
    world.apply();
    machines.start("web-1", "b", 1);
    let answer = world.run(["vm", "where", "--format", "json"]).exits(0).json();
    assert_eq!(verdicts(&answer)[0], ("web-1", "foreign_start"));
}
