//! Drills: copies that are read, machines that start from them, and what is left of both: nothing, whoever is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::failover::Fleet;
use crate::machines::Machines;
use crate::support::World;

/// Served regions of which each starts drills; its agents have read that when this is over.
fn drilling(vms: usize) -> Fleet {
    let mut fleet = Fleet::new(vms, "");
    for region in ["a", "b", "c"] {
        fleet.world.write(format!("{region}/.debvisor/config.toml"), fleet.machines.drilling());
    }
    serve_again(&mut fleet, 1);
    fleet
}

/// Kills a region's server, and starts it again.
fn serve_again(fleet: &mut Fleet, region: usize) {
    fleet.regions[region].again(&fleet.world);
}

fn drill(world: &World, args: &[&str]) -> Child {
    let mut command = world.command(["failover", "drill"]);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if there() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not in a minute");
}

/// What drills left below a region's directory.
fn left(world: &World, region: &str) -> Vec<String> {
    let Ok(drills) = fs::read_dir(world.path(format!("{region}/.debvisor/drills"))) else { return Vec::new() };
    drills.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[track_caller]
fn assert_nothing_left(world: &World, machines: &Machines, vms: usize) {
    for region in ["a", "b", "c"] {
        assert_eq!(left(world, region), Vec::<String>::new(), "{region}");
        for n in 1..=vms {
            assert!(!machines.runs(&format!("drill-web-{n}"), region), "drill-web-{n} at {region}");
        }
    }
}

#[test]
fn machines_start_from_the_copies_that_are_kept() {
    let fleet = drilling(2);
    let (world, machines) = (&fleet.world, &fleet.machines);
    let report = world.run(["failover", "drill", "a", "--to", "b", "--for", "1s", "--format", "json"]).exits(0).json();
    let [one, two] = report["resources"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    for (resource, id) in [(one, "web-1"), (two, "web-2")] {
        assert_eq!((&resource["resource_id"], &resource["region_id"]), (&id.into(), &"b".into()), "{resource:#}");
        assert_eq!((&resource["success"], &resource["held_by"]), (&true.into(), &"a".into()), "{resource:#}");
        assert_eq!(resource["drilled"]["started_as"], format!("drill-{id}"), "{resource:#}");
        assert!(resource["drilled"]["ran_for"].is_string(), "{resource:#}");
        assert!(machines.ran(&format!("drill-{id}"), "b"), "{id} was started at b");
    }
    // Nothing is left, nothing moved, and history has it.
    assert_nothing_left(world, machines, 2);
    fleet.assert_all_run_at("a");
    world.assert_settled();
    assert_eq!(world.run(["failover", "history", "--format", "json"]).exits(0).json(), Value::Array(Vec::new()));
    let shown = world.run(["history"]).exits(0).stdout;
    assert!(shown.contains("failover drill a --to b"), "{shown}");
    world.run(["failover", "drill", "--vm", "web-2", "--for", "0s"]).exits(0).says(&[
        "vm.web-2",
        "started",
        "1 of 1 copy",
    ]);
    world.run(["failover", "drill", "--to", "a"]).exits(0).says(&["no region that answers records anything that fits"]);
    world.run(["failover", "drill", "a", "--to", "a"]).exits(1).says(&["a is holder of vm.web-1"]);
    world.run(["failover", "drill", "--vm", "web-9"]).exits(1).says(&["web-9"]);
}

#[test]
fn what_would_not_start_or_cannot_be_read_fails() {
    let mut fleet = drilling(3);
    // A machine that comes up and goes down, one that cannot be started, and one that can.
    let script =
        "#!/bin/sh\ncase $1 in drill-web-1) exit 0;; drill-web-2) echo 'no disk is bootable' >&2; exit 3;; esac\n";
    fleet.world.write("drill-start", format!("{script}exec {}\n", fleet.machines.starts("$1", "b", "$2")));
    fs::set_permissions(fleet.world.path("drill-start"), fs::Permissions::from_mode(0o755)).unwrap();
    let own = format!("drill_start = [{:?}, \"{{id}}\", \"{{epoch}}\"]\n", fleet.world.path("drill-start"));
    fleet.world.write("b/.debvisor/config.toml", format!("{}{own}", fleet.machines.config()));
    serve_again(&mut fleet, 1);
    let world = &fleet.world;
    let answer = world.run(["failover", "drill", "--to", "b", "--for", "1s"]).exits(3);
    let said = answer.says(&["vm.web-1", "no disk is bootable", "1 of 3 copies", "1 machine started"]);
    assert!(said.stdout.contains("stopped"), "{}", said.stdout);
    assert_nothing_left(world, &fleet.machines, 3);

    // Where a region starts no drills, every byte is read where it lies.
    world.write("b/.debvisor/config.toml", fleet.machines.config());
    serve_again(&mut fleet, 1);
    let world = &fleet.world;
    world.run(["failover", "drill", "--to", "b"]).exits(0).says(&["whole", "3 of 3 copies", "0 machines started"]);
    let mut disk = world.read("b/resources/vm/web-3/disk.raw");
    disk[100_000] ^= 1;
    world.write("b/resources/vm/web-3/disk.raw", disk);
    world.run(["failover", "drill", "--to", "b"]).exits(3).says(&["disk.raw", "2 of 3 copies"]);
    world.run(["failover", "drill", "--to", "b", "--vm", "web-3"]).exits(1);
    world.apply();
    world.run(["failover", "drill", "--to", "b"]).exits(0);
}

#[test]
fn a_drill_of_a_server_that_is_killed_leaves_nothing() {
    let mut fleet = drilling(1);
    // While the machine runs, and while it is being started.
    for slow in [false, true] {
        if slow {
            let start = fleet.machines.starts("$1", "b", "$2");
            let starting = fleet.world.path("starting");
            let start = format!("#!/bin/sh\ntouch {}\nsleep 4\nexec {start}\n", starting.display());
            fleet.world.write("slow", start);
            fs::set_permissions(fleet.world.path("slow"), fs::Permissions::from_mode(0o755)).unwrap();
            let own = format!("drill_start = [{:?}, \"{{id}}\", \"{{epoch}}\"]\n", fleet.world.path("slow"));
            fleet.world.write("b/.debvisor/config.toml", format!("{}{own}", fleet.machines.config()));
            serve_again(&mut fleet, 1);
        }
        let mut child = drill(&fleet.world, &["--to", "b", "--for", "1h"]);
        let (world, machines) = (&fleet.world, &fleet.machines);
        match slow {
            false => wait_until("the machine runs", || machines.runs("drill-web-1", "b")),
            true => wait_until("the machine is being started", || world.path("starting").exists()),
        }
        assert_eq!(left(world, "b"), ["drill-web-1"]);
        // Whoever asked for it dies as well: nobody asks for it again.
        child.kill().unwrap();
        child.wait().unwrap();
        serve_again(&mut fleet, 1);
        let (world, machines) = (&fleet.world, &fleet.machines);
        wait_until("what was left is removed", || left(world, "b").is_empty());
        assert_nothing_left(world, machines, 1);
        if slow {
            // A start that outlived its server would show by now.
            thread::sleep(Duration::from_secs(5));
            assert_nothing_left(world, machines, 1);
        }
        world.run(["failover", "drill", "--to", "b", "--for", "1s"]).exits(0);
        assert_nothing_left(world, machines, 1);
        fleet.assert_all_run_at("a");
    }
}

#[test]
fn a_drill_of_a_program_that_is_killed_leaves_nothing() {
    let world = World::two_regions("[vms.web-1]\nreplicas = [\"b\"]\n");
    let machines = Machines::of(&world);
    world.write("a/resources/vm/web-1/disk.raw", "the disk of web-1\n".repeat(9000));
    for region in ["a", "b"] {
        world.write(format!("{region}/.debvisor/config.toml"), machines.drilling());
    }
    world.apply();
    for next in ["apply", "drill"] {
        let mut child = drill(&world, &["--to", "b", "--for", "1h"]);
        wait_until("the machine runs", || machines.runs("drill-web-1", "b"));
        // Who looks on takes nothing away.
        world.run(["plan"]).exits(0);
        assert!(machines.runs("drill-web-1", "b"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(left(&world, "b"), ["drill-web-1"]);
        match next {
            "apply" => {
                world.write("a/resources/vm/web-1/disk.raw", "the disk of WEB-1\n".repeat(9000));
                world.apply();
            }
            _ => drop(world.run(["failover", "drill", "--to", "b", "--for", "1s"]).exits(0)),
        }
        assert_nothing_left(&world, &machines, 1);
    }
}

#[test]
fn a_failover_ends_a_drill() {
    let fleet = drilling(1);
    let (world, machines) = (&fleet.world, &fleet.machines);
    let child = drill(world, &["--to", "b", "--for", "1h", "--format", "json"]);
    wait_until("the machine runs", || machines.runs("drill-web-1", "b"));
    world.run(["failover", "drill", "--to", "b"]).exits(1).says(&["a drill of vm.web-1 is under way"]);
    world.run(["failover", "execute", "a", "b", "--force"]).exits(0);
    fleet.assert_all_run_at("b");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["resources"][0]["failure"], "the drill was ended", "{report:#}");
    assert_nothing_left(world, machines, 1);
}

#[test]
fn a_drill_that_is_interrupted_leaves_nothing() {
    let fleet = drilling(1);
    let (world, machines) = (&fleet.world, &fleet.machines);
    let child = drill(world, &["--to", "b", "--for", "1h"]);
    wait_until("the machine runs", || machines.runs("drill-web-1", "b"));
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    wait_until("its machine is stopped", || left(world, "b").is_empty());
    assert_nothing_left(world, machines, 1);
}
