//! Regions that were declared gone, or left out of a take-over, and come back; and what goes on without them meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::automatic::{AUTOMATIC, Fleet as Automatic};
use crate::failover::{Fleet, term};
use crate::failover_rest::get;
use crate::machines::{Machines, running};
use crate::support::{World, assert_same_tree, kill_once};

/// Three regions in directories, and machines that are held at `a` with copies at `b` and `c`.
fn directories(vms: usize) -> (World, Machines) {
    let world = World::new();
    let machines = Machines::of(&world);
    for n in 1..=vms {
        world.write(format!("a/resources/vm/web-{n}/domain.xml"), format!("<domain>{n}</domain>\n"));
        world.write(format!("a/resources/vm/web-{n}/disk.raw"), format!("the disk of web-{n}\n").repeat(9000));
    }
    let mut topology = "schema_version = 1\n".to_owned();
    for region in ["a", "b", "c"] {
        world.write(format!("{region}/.debvisor/config.toml"), machines.config());
        topology += &format!("[regions.{region}]\napi_endpoint = \"file:{region}\"\nprimary = {}\n", region == "a");
    }
    for (source, target) in [("a", "b"), ("a", "c"), ("b", "c")] {
        topology += &format!("[[replication]]\nsource = {source:?}\ntarget = {target:?}\nresource_types = [\"vm\"]\n");
    }
    topology += &format!("[vms.\"web-{{1..{vms}}}\"]\nreplicas = [\"b\", \"c\"]\n");
    world.write("topology.toml", topology);
    world.apply();
    for n in 1..=vms {
        machines.start(&format!("web-{n}"), "a", 1);
    }
    (world, machines)
}

#[track_caller]
fn assert_all_run_at(world: &World, machines: &Machines, region: &str) {
    machines.assert_all_run_at(region, running(&world.run(["vm", "where", "--format", "json"]).exits(0).json()));
}

#[track_caller]
fn assert_copies(world: &World, holder: &str, copies: &[&str]) {
    for region in copies {
        let files = |region: &str| world.path(format!("{region}/resources/vm/web-1"));
        assert_same_tree(&files(holder), &files(region));
    }
}

/// Its disk is taken out, and what ran there is down.
fn unmount(world: &World, machines: &Machines) {
    fs::rename(world.path("a"), world.path("a-away")).unwrap();
    for n in 1..=2 {
        machines.stop(&format!("web-{n}"), "a");
    }
}

fn mount(world: &World) {
    let _ = fs::remove_dir_all(world.path("a"));
    fs::rename(world.path("a-away"), world.path("a")).unwrap();
}

#[test]
fn a_directory_that_was_declared_gone_takes_part_again() {
    let (world, machines) = directories(2);
    unmount(&world, &machines);
    world.run(["failover", "execute", "a", "b", "--force", "--gone", "a=its disk is lost"]).exits(0);
    assert_all_run_at(&world, &machines, "b");
    mount(&world);
    world.write("a/resources/vm/web-1/disk.raw", "the disk of WEB-1\n".repeat(9000));
    // Nothing is relied on that it says, before it has heard of all that.
    world.run(["plan"]).exits(0).says(&["declared gone", "region readmit a"]);
    world.run(["status"]).says(&["region readmit a"]);
    world.run(["failover", "back", "--force"]).exits(5).says(&["declared gone"]);
    let done = world.run(["region", "readmit", "a", "--format", "json"]).exits(0).json();
    assert!(done["was"].as_str().unwrap().contains("declared"), "{done:#}");
    assert_eq!(done["keeps"].as_array().unwrap().len(), 2, "{done:#}");
    world.apply();
    assert_copies(&world, "b", &["a", "c"]);
    let points = world.run(["replication", "points", "web-1", "--region", "a", "--format", "json"]).exits(0).stdout;
    assert!(points.contains("diverged") || points.contains("set_aside"), "{points}");
    world.run(["region", "readmit", "a"]).exits(0).says(&["takes part already"]);
    world.run(["failover", "back", "--force"]).exits(0);
    assert_all_run_at(&world, &machines, "a");
    world.apply();
    world.assert_settled();
}

/// How many actions the state's journal has.
fn actions(world: &World) -> i64 {
    let read_only = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let state = rusqlite::Connection::open_with_flags(world.path("debvisor-region.state.db"), read_only).unwrap();
    // Where it is being written, it is asked again.
    state.query_row("SELECT count(*) FROM actions", [], |row| row.get(0)).unwrap_or(0)
}

#[test]
fn a_readmission_that_is_killed_at_any_step_is_done_again() {
    let (world, machines) = directories(2);
    let mut killed = 0;
    for step in 1.. {
        unmount(&world, &machines);
        world.run(["failover", "execute", "a", "b", "--force", "--gone", "a=its disk is lost"]).exits(0);
        mount(&world);
        let before = actions(&world);
        let mut command = world.command(["region", "readmit", "a"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if !kill_once(&mut child, || actions(&world) >= before + step) {
            break;
        }
        killed += 1;
        world.run(["region", "readmit", "a"]).exits(0);
        world.apply();
        assert_copies(&world, "b", &["a", "c"]);
        world.run(["failover", "back", "--force"]).exits(0);
        assert_all_run_at(&world, &machines, "a");
        world.apply();
    }
    assert!(killed >= 3, "{killed}");
}

#[test]
fn a_directory_that_missed_the_end_of_a_failover_hears_of_it_from_whoever_comes_next() {
    let (world, machines) = directories(2);
    let (waits, go) = (world.path("waits"), world.path("go"));
    let wait = format!("touch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n", waits.display(), go.display());
    world.write("after", format!("#!/bin/sh\n{wait}"));
    fs::set_permissions(world.path("after"), fs::Permissions::from_mode(0o755)).unwrap();
    let topology = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", format!("{topology}[failover]\nhooks = {{ after = [{:?}] }}\n", world.path("after")));
    world.apply();
    for by in ["apply", "reconcile", "back"] {
        let _ = fs::remove_file(&go);
        let _ = fs::remove_file(&waits);
        let mut command = world.command(["failover", "execute", "a", "b", "--force"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        while !waits.exists() {
            assert!(child.try_wait().unwrap().is_none());
            thread::sleep(Duration::from_millis(5));
        }
        // Everything has arrived, and `a` writes nothing.
        let memory = rusqlite::Connection::open(world.path("a/region.db")).unwrap();
        memory.execute_batch("BEGIN IMMEDIATE").unwrap();
        fs::write(&go, "").unwrap();
        let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(told.contains("a has not heard of the end"), "{told}");
        memory.execute_batch("ROLLBACK").unwrap();
        drop(memory);
        assert_all_run_at(&world, &machines, "b");
        match by {
            "apply" => drop(world.apply()),
            "reconcile" => drop(world.run(["reconcile"]).exits(0)),
            _ => {}
        }
        if by != "back" {
            world.apply();
            assert_copies(&world, "b", &["a", "c"]);
            world.run(["failover", "status"]).exits(0).says(&["no operation is open"]);
        }
        world.run(["failover", "back", "--force"]).exits(0);
        assert_all_run_at(&world, &machines, "a");
        world.apply();
    }
    world.assert_settled();
}

#[test]
fn a_region_that_did_not_hear_yet_that_it_was_declared_gone_is_readmitted_whole() {
    let mut fleet = Fleet::new(1, "");
    fleet.hook("echo \"fenced c $DEBVISOR_EPOCH\"");
    fleet.world.run(["failover", "fence", "c", "--force", "--accept-collateral"]).exits(0);
    assert!(get(&fleet.regions[0], "snapshot").is(200)["cut_off"]["c"].is_object());
    let process = Pid::from_child(&fleet.regions[0].child);
    kill_process(process, Signal::STOP).unwrap();
    fleet.machines.stop("web-1", "a");
    let world = &fleet.world;
    world.run(["failover", "execute", "a", "b", "--force", "--gone", "a=it burnt"]).exits(0);
    // Whoever was declared gone is not waited for.
    world.run(["failover", "unfence", "c"]).exits(0);
    kill_process(process, Signal::CONT).unwrap();
    world.run(["region", "readmit", "a"]).exits(0).says(&["declared gone"]);
    // What it remembers of others' fences is of before.
    assert_eq!(get(&fleet.regions[0], "snapshot").is(200)["cut_off"], serde_json::json!({}));
    world.apply();
    fleet.assert_all_run_at("b");
    assert_copies(world, "b", &["a", "c"]);
    world.run(["failover", "execute", "b", "a", "--force"]).exits(0);
    fleet.assert_all_run_at("a");
    fleet.regions[0].again(&fleet.world);
    fleet.assert_all_run_at("a");
}

/// `a` dies, and rounds go on until the policy has moved what it held: right after an `apply` the others may not have
/// asked after each other yet.
fn fails_over(fleet: &mut Automatic) {
    fleet.regions[0].kill();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let round = fleet.round();
        if round.stdout.contains("completed") || round.stderr.contains("completed") {
            break;
        }
        assert!(Instant::now() < until, "nothing was moved: {}", round.stderr);
    }
}

#[test]
fn regions_that_were_declared_gone_hold_nothing_back() {
    let failback = format!("failback = \"automatic\"\ncooldown = \"1s\"\n{AUTOMATIC}");
    let mut fleet = Automatic::new(2, &failback);
    fails_over(&mut fleet);
    fleet.assert_all_run_at("b");
    fleet.run(&["failover", "pause"]);
    fs::remove_file(fleet.world.path("machines/a/.fenced")).unwrap();
    fleet.again(0);
    fleet.settle();
    fleet.regions[2].kill();
    let one = ["failover", "execute", "b", "a", "--vm", "web-2", "--force"];
    fleet.run(&one).exits(5).says(&["c must agree", "--gone"]);
    fleet.run(&[&one[..], &["--gone", "c=it burnt"]].concat()).exits(0);
    // It is known from then on: nobody says it twice, and the policy goes on.
    fleet.run(&["failover", "unpause"]);
    let back = ["failover", "execute", "a", "b", "--vm", "web-2", "--force"];
    fleet.run(&back).exits(0);
    fleet.run(&one).exits(0);
    thread::sleep(Duration::from_millis(1100));
    let round = fleet.round();
    round.says(&["completed", "b → a"]);
    fleet.assert_all_run_at("a");
    fleet.run(&["state", "rebuild", "--state", "second.db"]).exits(3);
    fleet.run(&["failover", "take-over", "--state", "second.db"]).exits(0);
    fleet.run(&["failover", "take-over"]).exits(0);
    // It comes back: nothing it says counts before it was readmitted.
    fleet.again(2);
    fleet.run(&["plan"]).exits(0).says(&["region readmit c"]);
    fleet.run(&["region", "readmit", "c"]).exits(0).says(&["declared gone"]);
    fleet.settle();
    fleet.run(&["failover", "execute", "a", "c", "--force"]).exits(0);
    fleet.assert_all_run_at("c");
}

#[test]
fn a_region_that_a_take_over_went_without_is_bound_when_it_comes_back() {
    let mut fleet = Fleet::new(2, "");
    let fence = fleet.machines.fence();
    fleet.hook(fence.lines().last().unwrap());
    let second = ["--state", "second.db"];
    let run = |fleet: &Fleet, args: &[&str]| fleet.world.run(args.iter().chain(&second));
    run(&fleet, &["state", "rebuild"]).exits(0);
    fleet.regions[0].kill();
    run(&fleet, &["failover", "take-over", "--fence", "a", "--force"]).exits(0).says(&["with term 2"]);
    fs::remove_file(fleet.world.path("machines/a/.fenced")).unwrap();
    fleet.regions[0].again(&fleet.world);
    assert_eq!(term(&fleet.world, "a"), 1);
    run(&fleet, &["failover", "execute", "a", "b", "--force"]).exits(5).says(&["a still obeys", "`apply`"]);
    run(&fleet, &["plan"]).says(&["a still obeys"]);
    let round = run(&fleet, &["reconcile"]);
    assert_eq!((round.code, term(&fleet.world, "a")), (0, 2), "{}\n{}", round.stdout, round.stderr);
    run(&fleet, &["failover", "execute", "a", "b", "--force"]).exits(0);
    fleet.assert_all_run_at("b");
    // The former controller does not bind it again.
    fleet.world.run(["failover", "execute", "b", "a", "--force"]).exits(5).says(&["second.db"]);
    assert_eq!(term(&fleet.world, "a"), 2);
}

#[test]
fn what_answers_is_not_gone_for_a_region_that_is_readmitted() {
    let fleet = Fleet::new(1, "");
    let world = &fleet.world;
    world.run(["region", "readmit", "a", "--gone", "c=it burnt"]).exits(5).says(&["c was declared gone, and answers"]);
    assert_eq!(get(&fleet.regions[2], "snapshot").is(200)["inert"], serde_json::Value::Null);
    world.run(["failover", "execute", "a", "c", "--force"]).exits(0);
    fleet.assert_all_run_at("c");
}

#[test]
fn regions_that_lost_their_memory_together_are_readmitted_one_after_the_other() {
    let mut fleet = Fleet::new(1, "");
    let memories = [(1, "b"), (2, "c")];
    let kept = memories.map(|(n, region)| {
        fleet.regions[n].kill();
        let kept = fleet.world.read(format!("{region}/region.db"));
        fleet.regions[n].again(&fleet.world);
        kept
    });
    fleet.world.run(["failover", "execute", "a", "b", "--force"]).exits(0);
    fleet.world.run(["failover", "execute", "b", "a", "--force"]).exits(0);
    for ((n, region), kept) in memories.into_iter().zip(kept) {
        fleet.regions[n].kill();
        for more in ["region.db-wal", "region.db-shm"] {
            let _ = fs::remove_file(fleet.world.path(format!("{region}/{more}")));
        }
        fleet.world.write(format!("{region}/region.db"), kept);
    }
    memories.into_iter().for_each(|(n, _)| fleet.regions[n].again(&fleet.world));
    for (n, _) in memories {
        while get(&fleet.regions[n], "snapshot").is(200)["inert"].is_null() {
            thread::sleep(Duration::from_millis(50));
        }
    }
    let world = &fleet.world;
    world.run(["region", "readmit", "b"]).exits(0);
    world.run(["region", "readmit", "c"]).exits(0);
    world.apply();
    assert_copies(world, "a", &["b", "c"]);
    world.run(["failover", "execute", "a", "b", "--force"]).exits(0);
    fleet.assert_all_run_at("b");
}

#[test]
fn letting_in_waits_for_no_lock_and_says_the_same_when_it_is_repeated() {
    let mut fleet = Fleet::new(1, "");
    fleet.hook("echo \"fenced a $DEBVISOR_EPOCH\"");
    fleet.regions[0].kill();
    fleet.machines.stop("web-1", "a");
    fleet.world.run(["failover", "fence", "a", "--force", "--accept-collateral"]).exits(0);
    fleet.regions[2].kill();
    let lock = fs::File::open(fleet.world.path("debvisor-region.state.db.lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    for _ in 0..2 {
        let again = fleet.world.run(["failover", "unfence", "a", "--format", "json"]).exits(3).json();
        assert!(again["unheard"]["c"].is_string(), "{again:#}");
    }
    fleet.world.run(["failover", "unfence", "a"]).exits(3).says(&["not let in yet", "c may still know"]);
    fleet.regions[2].again(&fleet.world);
    let done = fleet.world.run(["failover", "unfence", "a", "--format", "json"]).exits(0).json();
    assert_eq!(done["forgotten_by"], serde_json::json!(["c"]), "{done:#}");
    fleet.world.run(["failover", "unfence", "a"]).exits(0).says(&["nobody keeps a out"]);
    let history = fleet.world.run(["failover", "history", "--format", "json"]).exits(0).json();
    assert!(history[0]["notes"].to_string().contains("let in again"), "{history:#}");
}

#[test]
fn what_a_person_moved_through_another_state_does_not_go_home_by_itself() {
    let failback = format!("failback = \"automatic\"\ncooldown = \"1s\"\n{AUTOMATIC}");
    let mut fleet = Automatic::new(1, &failback);
    fails_over(&mut fleet);
    fs::remove_file(fleet.world.path("machines/a/.fenced")).unwrap();
    fleet.run(&["failover", "pause"]);
    fleet.again(0);
    fleet.settle();
    // Somebody else controls for a while, brings it home, and there again.
    fleet.run(&["state", "rebuild", "--state", "second.db"]).exits(0);
    fleet.run(&["failover", "take-over", "--state", "second.db"]).exits(0);
    fleet.run(&["failover", "back", "--force", "--state", "second.db"]).exits(0);
    fleet.run(&["failover", "execute", "a", "b", "--force", "--state", "second.db"]).exits(0);
    fleet.run(&["failover", "take-over"]).exits(0);
    fleet.run(&["failover", "unpause"]).exits(0);
    thread::sleep(Duration::from_millis(1100));
    fleet.settle();
    fleet.assert_all_run_at("b");
}

#[test]
fn the_cooldown_outlives_the_state_file() {
    let policy = format!("failback = \"automatic\"\ncooldown = \"1h\"\n{AUTOMATIC}");
    let mut fleet = Automatic::new(1, &policy);
    fails_over(&mut fleet);
    fleet.assert_all_run_at("b");
    fs::remove_file(fleet.world.path("machines/a/.fenced")).unwrap();
    fleet.again(0);
    fleet.settle();
    for more in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(fleet.world.path(format!("debvisor-region.state.db{more}")));
    }
    fleet.run(&["state", "rebuild"]).exits(0);
    fleet.run(&["failover", "take-over"]).exits(0);
    fleet.settle();
    // What the policy moved an hour ago is still what the policy moved.
    fleet.regions[1].kill();
    fleet.round().says(&["no failover of b", "cooldown"]);
    fleet.assert_nothing_moved();
}
