//! Stories of several commands. A script under `tests/scenarios` runs line by line in a directory of its own; what
//! it printed is compared with the golden file beside it, whole. `SNAPSHOTS=overwrite cargo test scenarios` writes
//! the golden files anew.
//!
//! A line `$ COMMAND` is run by `sh`; its output and, where it is not 0, its exit code follow. A line `@ …` is an
//! act of the test itself (see `act`). Other lines are the story's own words.

use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use regex::Regex;

use crate::support::{World, program, repository};

/// What differs from run to run, and what stands for it in a golden file.
const REDACTIONS: [(&str, &str); 8] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UUID]"),
    (r"blake3:[0-9a-f]{64}", "[DIGEST]"),
    (r"\b[0-9a-f]{12}\b", "[HASH]"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?UTC|Z)?", "[TIME]"),
    (r"\b\d+(\.\d+)? ?(ms|µs|us|s)\b", "[DURATION]"),
    (r"\b\d+(\.\d+)? (B|KiB|MiB|GiB)/s\b", "[RATE]"),
    (r"\bprocess \d+", "process [PID]"),
    (r"[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+", "[WHO]"),
];

fn redact(text: &str, dir: &Path) -> String {
    let mut text = text.replace(&dir.display().to_string(), "[DIR]");
    for (pattern, name) in REDACTIONS {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    // Columns are as wide as what was redacted in them.
    let text = Regex::new(r"(\S) {2,}").unwrap().replace_all(&text, "$1  ");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

/// Runs one script and returns its transcript.
fn transcript(script: &str, world: &World) -> String {
    let bin = world.path(".bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(program(), bin.join("debvisor-region")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut out = String::new();
    for line in script.lines() {
        writeln!(out, "{line}").unwrap();
        if let Some(command) = line.strip_prefix("$ ") {
            let done = Command::new("sh")
                .args(["-c", &format!("exec 2>&1; {command}")])
                .current_dir(world.dir.path())
                .env("PATH", &path)
                .env("COLUMNS", "100")
                .env("LC_ALL", "C.UTF-8")
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env_remove("DEBVISOR_REGION_TOPOLOGY")
                .env_remove("NO_COLOR")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            out.push_str(&String::from_utf8(done.stdout).unwrap());
            match done.status.code() {
                Some(0) => {}
                code => writeln!(out, "[exit {}]", code.unwrap_or(-1)).unwrap(),
            }
        } else if let Some(what) = line.strip_prefix("@ ") {
            super::scenario_acts::act(what, world);
        }
    }
    redact(&out, world.dir.path())
}

fn play(name: &str, world: &World) {
    let folder = repository().join("tests/scenarios");
    let script = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
    let golden =
        snapbox::Data::read_from(&folder.join(format!("{name}.golden")), Some(snapbox::data::DataFormat::Text));
    snapbox::Assert::new().action_env("SNAPSHOTS").eq(transcript(&script, world), golden.raw());
}

#[test]
fn a_life_in_git() {
    play("life-in-git", &World::new());
}
