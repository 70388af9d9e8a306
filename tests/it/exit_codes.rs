//! Every exit code of the contract, reached.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::World;

fn small_world() -> World {
    let world = World::two_regions("[vms.web]\nreplicas = [\"b\"]\n");
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", vec![5u8; 100_000]);
    world
}

#[test]
fn code_0_done_and_nothing_to_do() {
    let world = small_world();
    world.run(["plan"]).exits(0);
    world.apply();
    world.apply();
    world.run(["plan", "--detailed-exitcode"]).exits(0);
    world.run(["reconcile"]).exits(0);
}

#[test]
fn code_1_failed() {
    let world = small_world();
    world.run(["plan", "--topology", "none.toml"]).exits(1);
    world.apply();
    world.run(["replication", "points", "nobody"]).exits(1).says(&["nobody"]);
    // No region answers.
    fs::remove_dir_all(world.path("a")).unwrap();
    fs::remove_dir_all(world.path("b")).unwrap();
    world.run(["apply", "--auto-approve"]).exits(1);
}

#[test]
fn code_2_there_are_changes() {
    let world = small_world();
    world.run(["plan", "--detailed-exitcode"]).exits(2);
    world.run(["plan"]).exits(0);
}

#[test]
fn code_3_partly() {
    let world = small_world();
    world.apply();
    fs::rename(world.path("b"), world.path("away")).unwrap();
    let mut topology = String::from_utf8(world.read("topology.toml")).unwrap();
    topology.push_str("\n[regions.c]\napi_endpoint = \"file:c\"\n");
    world.write("topology.toml", topology);
    world.run(["apply", "--auto-approve"]).exits(3);
    assert!(world.path("c/.debvisor/region.json").exists(), "what could be done was done");
}

#[test]
fn what_stops_a_run_is_told() {
    let world = small_world();
    let topology = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", topology.replace("target = \"b\"\n", "target = \"b\"\nsync_interval = \"1s\"\n"));
    world.apply();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::remove_file(world.path("a/resources/vm/web/disk.raw")).unwrap();
    let reason = ["vm.web", "disk.raw", "--accept-change"];
    // Cron's mail says what is blocked and why; whoever applies has seen it in the plan.
    let answer = world.run(["reconcile"]).exits(3).says(&reason).says(&["blocked", "suspicious"]);
    assert!(answer.stderr.contains("suspicious"), "{}", answer.stderr);
    let answer = world.run(["apply", "--auto-approve"]).exits(3).says(&reason);
    assert!(!answer.stderr.contains("suspicious"), "{}", answer.stderr);
    world.run(["replication", "sync", "web", "a", "b"]).exits(1).says(&reason);
    fs::rename(world.path("b"), world.path("away")).unwrap();
    world.write("a/resources/vm/web/disk.raw", vec![6u8; 100_000]);
    world.run(["reconcile"]).exits(3).says(&["deferred", "vm.web", "until b answers"]);
    let lines = world.run(["apply", "--auto-approve", "--format", "json"]).exits(3).json_lines();
    let [.., deferred, summary] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&deferred["type"], &deferred["address"]), (&"deferred".into(), &"vm.web".into()));
    assert_eq!((&summary["type"], &summary["deferred"]), (&"summary".into(), &1.into()));
}

#[test]
fn code_4_locked() {
    let world = small_world();
    world.apply();
    world.write("a/.debvisor/config.toml", hold_config(&world));
    world.write("a/resources/vm/web/domain.xml", "<domain id='2'/>\n");
    let mut slow =
        world.command(["apply", "--auto-approve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| world.path("holding").exists());
    let answer = world.run(["apply", "--auto-approve"]).exits(4).says(&["apply", "process"]);
    assert!(answer.stderr.contains(&slow.id().to_string()), "who holds it is said: {}", answer.stderr);
    world.run(["plan"]).exits(0);
    world.run(["reconcile", "--on-locked", "skip"]).exits(0);
    fs::write(world.path("go"), "").unwrap();
    let code = slow.wait().unwrap().code();
    let mut errors = String::new();
    slow.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(code, Some(0), "{errors}");
    world.assert_settled();
}

/// A region's configuration whose snapshot command waits until the file `go` is there.
fn hold_config(world: &World) -> String {
    let script = world.path("hold.sh");
    fs::write(&script, "#!/bin/sh\ntouch \"$2/holding\"\nwhile [ ! -e \"$2/go\" ]; do sleep 0.05; done\necho \"$1\"\n")
        .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "[quiesce]\nsnapshot = [\"{}\", \"{{dir}}\", \"{}\"]\nrelease = [\"true\"]\ntimeout = \"60s\"\n",
        script.display(),
        world.dir.path().display()
    )
}

fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("waited twenty seconds in vain");
}

#[test]
fn code_5_refused() {
    let world = small_world();
    // No terminal, no approval.
    world.run(["apply"]).exits(5).says(&["--auto-approve"]);
    assert!(!world.path("b").exists());
    world.apply();
    // A stale plan: what it is about was changed since, by somebody else's apply.
    let topology = String::from_utf8(world.read("topology.toml")).unwrap();
    world.write("topology.toml", format!("{topology}max_lag = \"10m\"\n"));
    world.run(["plan", "--out", "plan.json"]).exits(0);
    world.write("topology.toml", format!("{topology}max_lag = \"20m\"\n"));
    world.run(["apply", "plan.json"]).exits(5).says(&["other files"]);
    world.apply();
    world.write("topology.toml", format!("{topology}max_lag = \"10m\"\n"));
    world.run(["apply", "plan.json"]).exits(5).says(&["vm.web"]);
    world.apply();
    // A state that knows nothing of what lives there.
    fs::rename(world.path("debvisor-region.state.db"), world.path("state.saved")).unwrap();
    world.run(["plan"]).exits(5).says(&["state rebuild"]);
    world.run(["apply", "--auto-approve"]).exits(5).says(&["state rebuild"]);
    world.run(["state", "rebuild"]).exits(0);
    world.assert_settled();
}

#[test]
fn code_64_the_command_line_is_wrong() {
    let world = World::new();
    world.run(["--no-such-option"]).exits(64);
    world.run(["nonsense"]).exits(64);
    world.run(["plan", "--target", "not an address"]).exits(64);
    world.run(["--help"]).exits(0);
    world.run(["--version"]).exits(0);
    // What the environment gives need not be written.
    for wrong in [["vm", "restore"], ["plan", "--nope"]] {
        let mut command = world.command(wrong);
        let answer = command.env("DEBVISOR_REGION_CREDENTIALS", "c.toml").env("DEBVISOR_REGION_TOPOLOGY", "t.toml");
        let answer = answer.output().unwrap();
        let said = String::from_utf8(answer.stderr).unwrap();
        assert_eq!(answer.status.code(), Some(64), "{said}");
        assert!(said.contains("Usage: ") && !said.contains("--credentials") && !said.contains("--topology"), "{said}");
    }
}

#[test]
fn code_130_interrupted() {
    let world = small_world();
    world.apply();
    world.write("a/.debvisor/config.toml", hold_config(&world));
    world.write("a/resources/vm/web/domain.xml", "<domain id='2'/>\n");
    let mut child =
        world.command(["apply", "--auto-approve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| world.path("holding").exists());
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let asked = std::time::Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < std::time::Duration::from_secs(8), "out after {:?}", asked.elapsed());
    fs::write(world.path("go"), "").unwrap();
    world.apply();
    world.assert_settled();
}
