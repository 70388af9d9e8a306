//! Regions that are cut off by hand, and let in again: three served regions, machines that are processes, a fence that
//! kills them and the region's agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::failover::{Fleet, steps};
use crate::support::{Answer, kill_once};

impl Fleet {
    /// Names a fence hook in the policy: `script` is a shell's, after what tells of the call.
    pub(crate) fn hook(&self, script: &str) {
        let told = "env | grep ^DEBVISOR_ | sort > \"$(dirname \"$0\")/told\"";
        self.world.write("fence", format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{told}\n{script}\n"));
        fs::set_permissions(self.world.path("fence"), fs::Permissions::from_mode(0o755)).unwrap();
        let fence = self.world.path("fence");
        let topology = String::from_utf8(self.world.read("topology.toml")).unwrap();
        if !topology.contains("hooks = ") {
            self.world.write("topology.toml", format!("{topology}hooks = {{ fence = [{fence:?}] }}\n"));
            self.world.apply();
        }
    }

    /// One that stops the machines, and the agent.
    pub(crate) fn hook_that_stops(&self) {
        fs::write(self.world.path("machines/a/.agent"), self.regions[0].child.id().to_string()).unwrap();
        let fence = self.machines.fence();
        self.hook(fence.lines().last().unwrap());
    }

    /// The power is back, and the agent with it.
    pub(crate) fn returns(&mut self) {
        self.regions[0].child.wait().unwrap();
        let _ = fs::remove_file(self.world.path("machines/a/.fenced"));
        let _ = fs::remove_file(self.world.path("machines/a/.agent"));
        self.regions[0].again(&self.world);
    }

    fn fence(&self, more: &[&str]) -> Answer {
        self.world.run(["failover", "fence", "a", "--force", "--format", "json"].iter().chain(more))
    }

    fn nothing_runs(&self) -> bool {
        self.running().iter().all(|(_, at)| at.is_empty())
    }

    /// In which boot of the host the machines of `a` ran last: another one than this.
    fn boots_anew(&self) {
        let memory = rusqlite::Connection::open(self.world.path("a/region.db")).unwrap();
        memory.execute_batch("UPDATE resources SET started = 'an earlier boot'").unwrap();
    }
}

#[test]
fn a_region_that_is_cut_off_by_hand_starts_nothing_before_it_is_let_in() {
    let mut fleet = Fleet::new(2, "");
    fleet.fence(&[]).exits(5).says(&["no fence hook is declared", "--fenced"]);
    fleet.hook_that_stops();
    fleet.fence(&[]).exits(5).says(&["vm.web-1, vm.web-2", "--accept-collateral"]);
    let ask = ["failover", "fence", "a", "--accept-collateral"];
    fleet.world.run(ask).exits(5).says(&["nobody can be asked", "--force"]);
    fleet.assert_all_run_at("a");
    assert!(!fleet.world.path("told").exists(), "no hook ran");

    let done = fleet.fence(&["--accept-collateral", "--reason", "it misbehaves"]).exits(0).json();
    assert_eq!(done["region_id"], "a", "{done:#}");
    assert_eq!(done["kept_by"], serde_json::json!(["b", "c"]), "{done:#}");
    assert_eq!(done["stopped"], serde_json::json!(["vm.web-1", "vm.web-2"]), "{done:#}");
    let told = String::from_utf8(fleet.world.read("told")).unwrap();
    for line in [
        "DEBVISOR_FROM=a".to_owned(),
        "DEBVISOR_TO=a".to_owned(),
        "DEBVISOR_ATTEMPT=1".to_owned(),
        format!("DEBVISOR_EPOCH={}", done["epoch"]),
        format!("DEBVISOR_OPERATION={}", done["operation"].as_str().unwrap()),
        "DEBVISOR_RESOURCES=vm.web-1 vm.web-2".to_owned(),
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is missing:\n{told}");
    }
    assert!(told.contains("DEBVISOR_DEADLINE="), "{told}");
    assert!(fleet.nothing_runs());
    fleet.world.run(["failover", "history"]).exits(0).says(&["cut off", "it misbehaves"]);
    fleet.world.run(["status"]).says(&["was cut off by hand", "failover unfence a"]);
    fleet.world.run(["plan"]).says(&["failover unfence a"]);

    // Its host boots: it holds everything, and starts nothing.
    fleet.boots_anew();
    fleet.returns();
    let log = || String::from_utf8(fleet.world.read("a.log")).unwrap();
    while !log().contains("this region was cut off by hand") {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(fleet.nothing_runs());
    let done = fleet.world.run(["failover", "unfence", "a", "--format", "json"]).exits(0).json();
    assert_eq!(done["was"]["reason"], "it misbehaves", "{done:#}");
    assert_eq!(done["forgotten_by"], serde_json::json!(["b", "c"]), "{done:#}");
    while fleet.nothing_runs() || fleet.running().iter().any(|(_, at)| at.is_empty()) {
        thread::sleep(Duration::from_millis(50));
    }
    fleet.assert_all_run_at("a");
    fleet.world.run(["failover", "unfence", "a"]).exits(0).says(&["nobody keeps a out"]);
    fleet.world.assert_settled();
}

#[test]
fn a_failover_goes_by_a_fence_that_was_made_by_hand() {
    let mut fleet = Fleet::new(2, "");
    fleet.hook_that_stops();
    fleet.fence(&["--accept-collateral"]).exits(0);
    // From a machine that has no hook.
    fs::remove_file(fleet.world.path("fence")).unwrap();
    fs::remove_file(fleet.world.path("told")).unwrap();
    let dry = fleet.world.run(["failover", "execute", "a", "b", "--dry-run", "--format", "json"]).exits(0).json();
    assert_eq!(dry["source"]["stopped"]["by"], "cut_off", "{dry:#}");
    fleet.world.run(["failover", "execute", "a", "b", "--force"]).exits(0);
    fleet.assert_all_run_at("b");
    assert!(!fleet.world.path("told").exists(), "no hook ran");
    // The old side returns as a replica; nothing goes there before it is let in.
    fleet.returns();
    fleet.world.apply();
    fleet.assert_all_run_at("b");
    fleet.world.run(["failover", "execute", "b", "a", "--force"]).exits(5).says(&["failover unfence a"]);
    fleet.world.run(["failover", "unfence", "a"]).exits(0);
    fleet.world.run(["failover", "execute", "b", "a", "--force"]).exits(0);
    fleet.assert_all_run_at("a");
}

#[test]
fn a_fence_that_does_not_say_so_proves_nothing() {
    let mut fleet = Fleet::new(1, "");
    fleet.hook("true");
    fleet.regions[0].kill();
    fleet.machines.stop("web-1", "a");
    for script in ["echo fenced a 1", "echo \"fenced a $DEBVISOR_EPOCH\"; exit 3", "true"] {
        fleet.hook(script);
        fleet
            .fence(&["--accept-collateral"])
            .exits(1)
            .says(&["nothing proves that a is stopped", "failover unfence a"]);
        fs::remove_file(fleet.world.path("fence")).unwrap();
        fleet.world.run(["failover", "execute", "a", "b", "--force"]).exits(5).says(&["--fenced"]);
    }
    let history = fleet.world.run(["failover", "history", "--format", "json"]).exits(0).json();
    let outcomes: Vec<&str> = (history.as_array().unwrap().iter())
        .filter(|event| event["from_region_id"] == event["to_region_id"])
        .map(|event| event["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["aborted"; 3]);
    fleet.hook("echo \"fenced a $DEBVISOR_EPOCH\"");
    fleet.fence(&["--accept-collateral"]).exits(0);
    // Every other region must keep it.
    fleet.regions[2].kill();
    fleet.fence(&["--accept-collateral"]).exits(5).says(&["c (", "--gone"]);
    fleet.fence(&["--accept-collateral", "--gone", "c=it burnt"]).exits(0);
    // One that cannot be told yet keeps it out.
    fleet.world.run(["failover", "unfence", "a"]).exits(3).says(&["not let in yet", "c may still know"]);
    fleet.regions[2].again(&fleet.world);
    fleet.world.run(["failover", "unfence", "a"]).exits(0).says(&["is let in again"]);
}

/// Kills the program at every step of its journal, and right after its hook has run.
#[test]
fn a_fence_whose_program_is_killed_holds_or_is_made_again() {
    let mut fleet = Fleet::new(1, "");
    fleet.hook_that_stops();
    let mut killed = 0;
    for step in 1.. {
        let before = steps(&fleet.world);
        let mut command = fleet.world.command(["failover", "fence", "a", "--force", "--accept-collateral"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if !kill_once(&mut child, || steps(&fleet.world) >= before + step) {
            break;
        }
        killed += 1;
        // Whatever is left: it can be made again, and let in again.
        fleet.fence(&["--accept-collateral"]).exits(0);
        assert!(fleet.nothing_runs());
        fleet.returns();
        fleet.world.run(["failover", "unfence", "a"]).exits(0);
        fleet.machines.start("web-1", "a", 1);
        fs::write(fleet.world.path("machines/a/.agent"), fleet.regions[0].child.id().to_string()).unwrap();
    }
    assert!(killed > 3, "{killed}");
    // What was left without an end is given one.
    fleet.returns();
    fleet.world.run(["failover", "unfence", "a"]).exits(0);
    fleet.world.run(["failover", "execute", "a", "b", "--force"]).exits(0);
    let events = fleet.world.run(["failover", "history", "--limit", "50", "--format", "json"]).exits(0).json();
    assert!(events.as_array().unwrap().iter().all(|event| !event["outcome"].is_null()), "{events:#}");
}
