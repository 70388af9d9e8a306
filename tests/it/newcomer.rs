//! What somebody meets who is new to it: names that there are not, things done twice, screens of 80 columns.

use std::process::Stdio;

use crate::failover::Fleet;
use crate::support::{Answer, World};

/// Two directories, a machine with files, all applied.
fn applied() -> World {
    let world = World::two_regions("[vms.web-vm-1]\nreplicas = [\"b\"]\n\n[vms.web-vm-2]\nreplicas = [\"b\"]\n");
    for vm in ["web-vm-1", "web-vm-2"] {
        world.write(format!("a/resources/vm/{vm}/disk.raw"), format!("the disk of {vm}\n").repeat(500));
    }
    world.apply();
    world
}

/// What a person sees in a window of 80 columns.
fn at_80(world: &World, args: &[&str]) -> Answer {
    Answer::from_output(world.command(args).env("COLUMNS", "80").env("LC_ALL", "C.UTF-8").output().unwrap())
}

#[test]
fn what_there_is_not_is_said_with_what_there_is() {
    let world = applied();
    for (args, code, says) in [
        (&["init"][..], 1, &["topology.toml is there already", "debvisor-region validate"][..]),
        (&["apply", "plan.jsn"], 1, &["there is no saved plan plan.jsn", "plan --out plan.jsn"]),
        (&["failover", "execute", "a", "bb"], 1, &["no region `bb`", "Did you mean `b`?"]),
        (&["failover", "execute", "a", "b", "--vm", "web-vm-3"], 1, &["web-vm-3", "Did you mean `web-vm-"]),
        (&["failover", "execute", "a", "a"], 1, &["cannot fail over to itself", "then the one that takes over"]),
        (&["failover", "abort", "nosuch"], 64, &["no operation's id", "`failover status`"]),
        (&["failover", "resume", "00000000-0000-7000-8000-000000000001"], 1, &["failover status"]),
        (&["import", "file:nosuch"], 1, &["topology.toml is there already", "--dry-run"]),
        (&["import", "file:nosuch", "--dry-run"], 1, &["file:nosuch", "no region is there", "file:DIR"]),
        (&["history", "--run", "00000000-0000-7000-8000-000000000001"], 1, &["history"]),
    ] {
        let answer = world.run(args);
        assert_eq!(answer.code, code, "{args:?}: {}", answer.stderr);
        answer.says(says);
    }
    assert!(!world.path("nosuch").exists(), "asking makes nothing");
    let text = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", format!("{text}\n[failover]\nstrategy = \"auto\"\n"));
    world.run(["validate"]).exits(1).says(&[
        "topology.toml:",
        "`auto` is not a strategy",
        "did you mean",
        "`automatic`?",
    ]);
}

#[test]
fn a_name_that_never_was_is_no_success_of_removing_it() {
    let world = applied();
    world.run(["vm", "remove", "web-vm-3"]).exits(1).says(&["vm.web-vm-3 is not declared", "did you mean"]);
    world.run(["region", "remove", "c"]).exits(1).says(&["region c is not declared"]);
    // What was there once is gone already.
    world.run(["vm", "remove", "web-vm-2"]).exits(0);
    world.run(["vm", "remove", "web-vm-2"]).exits(0).says(&["not declared", "nothing is changed"]);
    world.run(["apply", "--prune", "--auto-approve"]).exits(0);
    world.run(["vm", "remove", "web-vm-2"]).exits(0).says(&["not declared", "nothing is changed"]);
}

#[test]
fn where_nothing_was_applied_all_is_not_well() {
    let world = World::new();
    world.run(["init"]).exits(0);
    let status = world.run(["status"]).exits(0).says(&["Nothing was applied from here yet", "debvisor-region plan"]);
    assert!(!status.stdout.contains("All is well"), "{}", status.stdout);
}

#[test]
fn a_failover_is_history() {
    let world = applied();
    world.run(["failover", "execute", "a", "b", "--force", "--reason", "a new kernel"]).exits(0);
    let history = at_80(&world, &["history"]).exits(0);
    let newest = history.stdout.lines().nth(1).unwrap().to_owned();
    assert!(newest.contains("done") && newest.contains("failover execute a b"), "{}", history.stdout);
    let verbose = world.run(["history", "--resource", "vm.web-vm-1", "--limit", "1"]).exits(0);
    verbose.says(&["a new kernel", "failover", "vm.web-vm-1"]);
    let entry = &world.run(["history", "--limit", "1", "--format", "json"]).exits(0).json()[0];
    assert_eq!((&entry["outcome"], &entry["action_count"]), (&"done".into(), &2.into()), "{entry:#}");
    world.run(["history", "--run", entry["run"].as_str().unwrap()]).exits(0).says(&["a new kernel"]);
    assert_eq!(world.run(["history", "--region", "c", "--format", "json"]).exits(0).json(), serde_json::json!([]));
    world.run(["status"]).exits(0).says(&["last run", "failover execute a b: done"]);
    // What is held alike is told once, and what to do about it.
    let status = at_80(&world, &["status"]).exits(0);
    let held = "  vm.web-vm-1  held  held by b since epoch 2; the files say a";
    assert!(status.stdout.contains(held) && status.stdout.contains("`failover accept`"), "{}", status.stdout);
}

#[test]
fn many_that_are_held_alike_stand_on_one_line() {
    let fleet = Fleet::new(5, "");
    let world = &fleet.world;
    world.run(["failover", "execute", "a", "b", "--force"]).exits(0);
    for command in ["plan", "status"] {
        let shown = at_80(world, &[command]).exits(0).stdout;
        let held = &shown[shown.rfind("Held").unwrap()..];
        assert!(held.contains("vm.web-{1..5}") && !held.contains("vm.web-3"), "{shown}");
        assert!(shown.contains("held by b since epoch 2; the files say a"), "{shown}");
    }
    let drill = world.run(["failover", "drill"]).exits(0);
    drill.says(&["one copy was read, the freshest", "`--to REGION`", "has no `drill_start`"]);
    world.run(["failover", "drill", "--to", "c"]).exits(0).says(&["the copy at c was read"]);
}

#[test]
fn a_refusal_shows_what_every_gate_found() {
    let mut fleet = Fleet::new(1, "");
    fleet.regions[0].kill();
    let world = &fleet.world;
    let refused = at_80(world, &["failover", "execute", "a", "b", "--force"]).exits(5);
    let table: Vec<&str> = refused.stdout.lines().skip_while(|line| *line != "Gates").collect();
    assert!(table.iter().any(|line| line.trim_start().starts_with("✓ target")), "{}", refused.stdout);
    assert!(table.iter().any(|line| line.trim_start().starts_with("✗ fence")), "{}", refused.stdout);
    assert!(refused.stderr.contains("--fenced"), "{}", refused.stderr);
    let quiet = world.run(["failover", "execute", "a", "b", "--force", "--format", "json"]).exits(5);
    assert_eq!(quiet.stdout, "");
    // What waits is not said to go where it comes from.
    let waits = world.run(["reconcile", "--on-locked", "wait"]);
    let line =
        waits.stderr.lines().find(|line| line.contains("deferred")).unwrap_or_else(|| panic!("{}", waits.stderr));
    assert!(line.contains("until a answers") && !line.contains("→ a"), "{line}");
    world.run(["failover", "execute", "a", "b", "--dry-run", "--fenced", "it burns"]).exits(0);
}

#[test]
fn a_dry_run_ends_as_the_failover_would() {
    let world = applied();
    // Of the second machine there is no copy.
    let text = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", format!("{text}\n[vms.web-vm-3]\nreplicas = [\"b\"]\n"));
    world.apply();
    let dry = world.run(["failover", "execute", "a", "b", "--strategy", "manual", "--dry-run", "--fenced", "off"]);
    dry.exits(3).says(&["2 of 3 resources would move"]);
    world.run(["failover", "execute", "a", "b", "--strategy", "manual", "--force", "--fenced", "off"]).exits(3);
}

#[test]
fn what_is_done_by_hand_has_its_own_word() {
    let world = applied();
    world.write("a/resources/vm/web-vm-1/disk.raw", "worse\n".repeat(900));
    let restored = world.run(["vm", "restore", "web-vm-1", "--auto-approve"]).exits(0);
    assert!(restored.stderr.contains("✓ restore vm.web-vm-1"), "{}", restored.stderr);
    assert!(!restored.stderr.contains("repair"), "{}", restored.stderr);
    let name = restored.stdout.split(" as ").nth(1).unwrap().split('.').next().unwrap().to_owned();
    let discarded = world.run(["replication", "discard", "web-vm-1", "a", &name]).exits(0);
    assert!(discarded.stderr.contains("✓ discard vm.web-vm-1"), "{}", discarded.stderr);
    assert!(!discarded.stderr.contains("delete"), "{}", discarded.stderr);
}

#[test]
fn codes_are_words_on_the_screen() {
    let world = applied();
    let text = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", text.replace("[vms.web-vm-2]\nreplicas = [\"b\"]\n", ""));
    for command in [&["plan"][..], &["status"], &["apply", "--auto-approve"]] {
        let answer = at_80(&world, command);
        let shown = format!("{}{}", answer.stdout, answer.stderr);
        assert!(shown.contains("not declared") && !shown.contains("not_declared"), "{shown}");
    }
    let plan = world.run(["plan", "--format", "json"]).exits(0).json();
    assert_eq!(plan["blocked"][0]["reason"], "not_declared", "programs have the code");
}

#[test]
fn a_region_that_begins_says_so() {
    let world = World::new();
    for (dir, begins) in [("tpyo", true), ("tpyo", false)] {
        let mut child = world
            .command(["serve", "--region", "a", "--data-dir", dir, "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        child.kill().unwrap();
        let told = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        assert_eq!(told.contains("tpyo was not there: region a begins in it now"), begins, "{told}");
    }
}
