//! Machines that run for real: processes of `tests/fixtures/machine.c`, which write down that they run, and the runner
//! that starts and stops them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{World, repository};

/// The runner, compiled once.
fn runner() -> &'static str {
    static COMPILED: OnceLock<String> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("machine");
        // Another test program may run the one that is there.
        let fresh = program.with_extension(std::process::id().to_string());
        let source = repository().join("tests/fixtures/machine.c");
        let compiled = Command::new("cc").args(["-O1", "-Wall", "-Werror", "-o"]).arg(&fresh).arg(source).status();
        assert!(compiled.unwrap().success(), "a C compiler makes the tests' machines");
        fs::rename(fresh, &program).unwrap();
        program.to_str().unwrap().to_owned()
    })
}

/// What an answer of `vm where` says of each machine, by id: the regions that it runs at.
pub(crate) fn running(answer: &Value) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let at = |machine: &Value| machine["running_at"].as_array().unwrap().iter().map(text).collect();
    let machines = answer["machines"].as_array().unwrap().iter();
    let mut found: Vec<_> = machines.map(|machine| (text(&machine["resource_id"]), at(machine))).collect();
    found.sort();
    found
}

/// The machines of all regions of a world, killed at the end.
pub(crate) struct Machines {
    root: PathBuf,
}

impl Machines {
    pub(crate) fn of(world: &World) -> Self {
        let root = world.path("machines");
        fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    /// The part of a region's own configuration that starts and stops them.
    pub(crate) fn config(&self) -> String {
        let argv = |command: &str, more: &str| self.argv(command, more);
        let machine = r#""{id}", "{region}""#;
        format!(
            "[runner]\nstart = {}\nstop = {}\nstatus = {}\n",
            argv("start", &format!(r#"{machine}, "{{epoch}}""#)),
            argv("stop", machine),
            argv("status", machine)
        )
    }

    /// The same, and what holds them still while they are copied.
    pub(crate) fn config_that_freezes(&self) -> String {
        let machine = r#""{id}", "{region}""#;
        let (freeze, thaw) = (self.argv("freeze", machine), self.argv("thaw", machine));
        format!("{}[quiesce]\nfreeze = {freeze}\nthaw = {thaw}\n", self.config())
    }

    fn argv(&self, command: &str, more: &str) -> String {
        format!("[{:?}, {:?}, {command:?}, {more}]", runner(), self.root)
    }

    /// The same, with one that starts a drill's machines.
    pub(crate) fn drilling(&self) -> String {
        format!("{}drill_start = {}\n", self.config(), self.argv("start", r#""{id}", "{region}", "{epoch}""#))
    }

    /// A command line that starts one, for a script.
    pub(crate) fn starts(&self, id: &str, region: &str, epoch: &str) -> String {
        format!("{} {} start {id} {region} {epoch}", runner(), self.root.display())
    }

    /// Whether one runs, as its runner says.
    pub(crate) fn runs(&self, id: &str, region: &str) -> bool {
        self.run(&["status", id, region]).trim() == "running"
    }

    /// Whether one wrote down that it ran.
    pub(crate) fn ran(&self, id: &str, region: &str) -> bool {
        let log = fs::read_to_string(self.root.join("log")).unwrap_or_default();
        log.lines().any(|line| line.starts_with(&format!("{id} {region} ")))
    }

    /// A program that cuts a region off: its machines are killed, and can be started no more.
    pub(crate) fn fence(&self) -> String {
        format!("#!/bin/sh\nexec {} {} fence \"$DEBVISOR_FROM\" \"$DEBVISOR_EPOCH\"\n", runner(), self.root.display())
    }

    /// Has every start at a region fail from now on.
    pub(crate) fn shut(&self, region: &str) {
        self.run(&["fence", region, "0"]);
    }

    fn run(&self, args: &[&str]) -> String {
        let output = Command::new(runner()).arg(&self.root).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts one behind everybody's back.
    pub(crate) fn start(&self, id: &str, region: &str, epoch: u64) {
        self.run(&["start", id, region, &epoch.to_string()]);
    }

    pub(crate) fn stop(&self, id: &str, region: &str) {
        self.run(&["stop", id, region]);
    }

    /// Has the runner say something else than the truth.
    pub(crate) fn says(&self, id: &str, region: &str, what: &str) {
        fs::create_dir_all(self.root.join(region)).unwrap();
        fs::write(self.root.join(region).join(format!("{id}.says")), what).unwrap();
    }

    /// Each of what runs, as `vm where` says, runs there alone, and never ran at two regions at once.
    #[track_caller]
    pub(crate) fn assert_all_run_at(&self, region: &str, running: Vec<(String, Vec<String>)>) {
        for (machine, at) in running {
            assert_eq!(at, [region], "{machine}");
        }
        assert_eq!(self.overlaps(), Vec::<String>::new());
    }

    /// Every pair of regions that wrote down the same machine's running at the same time.
    pub(crate) fn overlaps(&self) -> Vec<String> {
        let log = fs::read_to_string(self.root.join("log")).unwrap_or_default();
        // By machine: its runs in the order of their first records, each as region, epoch, first and last moment.
        let mut runs: BTreeMap<&str, Vec<(&str, &str, u64, u64)>> = BTreeMap::new();
        for line in log.lines() {
            let [id, region, epoch, at] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (runs, at) = (runs.entry(id).or_default(), at.parse().unwrap());
            match runs.iter_mut().find(|run| (run.0, run.1) == (region, epoch)) {
                Some(run) => run.3 = run.3.max(at),
                None => runs.push((region, epoch, at, at)),
            }
        }
        let mut found = Vec::new();
        for (id, runs) in runs {
            for (n, one) in runs.iter().enumerate() {
                for two in runs[n + 1..].iter().filter(|two| two.0 != one.0 && one.2 <= two.3 && two.2 <= one.3) {
                    found.push(format!("{id} at {} (epoch {}) and {} (epoch {})", one.0, one.1, two.0, two.1));
                }
            }
        }
        found
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        let regions = fs::read_dir(&self.root).unwrap().map(|entry| entry.unwrap());
        for region in regions.filter(|entry| entry.file_type().unwrap().is_dir()) {
            self.run(&["fence", region.file_name().to_str().unwrap(), "0"]);
        }
    }
}
