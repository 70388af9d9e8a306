//! The command line from outside, run in this process.

use std::ffi::OsString;
use std::io::Write;
use std::sync::{Arc, Mutex};

use super::args::Cli;
use crate::host;
use crate::render::{Streams, Terminal, golden};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Exit code, standard output and standard error of one command.
fn run(args: &[&str]) -> (String, String, String) {
    let (output, error) = (Buffer::default(), Buffer::default());
    let streams = Streams {
        input: Box::new(std::io::empty()),
        output: Box::new(output.clone()),
        error: Box::new(error.clone()),
        terminal: Terminal { utf8: true, ..Terminal::default() },
    };
    let args = std::iter::once("debvisor-region").chain(args.iter().copied()).map(OsString::from).collect();
    let code = super::run(args, host::world(), streams);
    (format!("{code:?}"), output.text(), error.text())
}

fn code(number: u8) -> String {
    format!("{:?}", std::process::ExitCode::from(number))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::shaped().debug_assert();
}

#[test]
fn golden_help_of_every_command() {
    let mut root = Cli::shaped().term_width(80);
    root.build();
    let mut open = vec![root];
    let mut all = Vec::new();
    while let Some(mut command) = open.pop() {
        let path = command.get_bin_name().unwrap_or_default().to_owned();
        all.push((path, command.render_help().to_string()));
        open.extend(command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned());
    }
    all.sort();
    for (path, help) in &all {
        golden::check(&format!("help/{}.txt", path.replace(' ', "-")), help);
        let is_group = help.contains("<COMMAND>");
        assert!(is_group || help.contains("Examples:"), "{path} shows no example");
        let examples: Vec<&str> = help.split("Examples:").skip(1).flat_map(str::lines).skip(1).collect();
        let wrapped =
            examples.iter().take_while(|line| !line.is_empty()).find(|line| !line.starts_with("  debvisor-region"));
        assert_eq!(wrapped, None, "{path}: an example does not fit 80 columns");
        let first = help.lines().next().unwrap_or_default();
        assert!(!first.ends_with('.'), "{path}: {first}");
    }
    assert!(all.len() > 20);
}

#[test]
fn a_wrong_command_line_ends_with_64() {
    for args in [&["--no-such-option"][..], &["nonsense"], &["plan", "--target", "not an address"], &["-q", "-v"]] {
        let (exit, output, error) = run(args);
        assert_eq!((exit, output), (code(64), String::new()), "{args:?}");
        assert!(error.starts_with("error:"), "{error}");
    }
    let (exit, _, error) = run(&["status", "--format", "markdown"]);
    assert_eq!(exit, code(64));
    assert!(error.contains("`plan` and `show` only"), "{error}");
    let (exit, _, error) = run(&["plan", "--format", "json", "--nonsense"]);
    assert_eq!(exit, code(64));
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["code"], "usage");
}

#[test]
fn help_and_version_are_results() {
    let (exit, output, error) = run(&["--help"]);
    assert_eq!((exit, error), (code(0), String::new()));
    assert!(output.contains("Usage: debvisor-region"), "{output}");
    assert!(!output.contains("thaw-guard"), "{output}");
    let (exit, output, _) = run(&["--version"]);
    assert_eq!((exit, output), (code(0), format!("debvisor-region {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_missing_topology_is_told_in_both_forms() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("none.toml");
    let path = path.to_str().unwrap();
    let (exit, output, error) = run(&["plan", "--topology", path]);
    assert_eq!((exit, output), (code(1), String::new()));
    assert!(error.contains("none.toml"), "{error}");
    let (exit, output, error) = run(&["plan", "--topology", path, "--format", "json"]);
    assert_eq!((exit, output), (code(1), String::new()));
    assert_eq!(error.lines().count(), 1, "nothing else stands there: {error}");
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("none.toml"));
}

#[test]
fn a_first_topology_is_valid_laid_out_and_never_overwritten() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("site/topology.toml");
    let file = file.to_str().unwrap();
    assert_eq!(run(&["init", file]).0, code(0));
    let (exit, output, error) = run(&["validate", "--topology", file, "--format", "json"]);
    assert_eq!((exit, error), (code(0), String::new()));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&output).unwrap()["valid"], true);
    assert_eq!(run(&["fmt", "--check", file]).0, code(0));
    let (exit, _, error) = run(&["init", file]);
    assert_eq!(exit, code(1));
    assert!(error.contains("Nothing is overwritten"), "{error}");

    let untidy = std::fs::read_to_string(file).unwrap().replace("schema_version = 1", "schema_version=1");
    std::fs::write(file, &untidy).unwrap();
    let (exit, output, _) = run(&["fmt", "--check", "--diff", file]);
    assert_eq!(exit, code(1));
    assert!(output.contains("-schema_version=1\n+schema_version = 1\n"), "{output}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), untidy, "--check writes nothing");
    assert_eq!(run(&["fmt", file]).0, code(0));
    assert_eq!(run(&["fmt", "--check", file]).0, code(0));
}

#[test]
fn a_history_needs_no_valid_topology() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("topology.toml");
    std::fs::write(&file, "this is no topology").unwrap();
    let (exit, output, error) = run(&["history", "--topology", file.to_str().unwrap(), "--format", "json"]);
    assert_eq!((exit, output, error), (code(0), "[]\n".to_owned(), String::new()));
    let (exit, _, error) = run(&["state", "show", "--topology", file.to_str().unwrap()]);
    assert_eq!(exit, code(1));
    assert!(error.contains("state rebuild"), "{error}");
}

#[test]
fn scripts_schemas_and_manuals_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let (exit, output, _) = run(&["completions", shell]);
        assert_eq!(exit, code(0));
        assert!(output.contains("debvisor-region"), "{shell}");
    }
    for of in ["topology", "region", "plan", "event", "error"] {
        let (exit, output, _) = run(&["schema", of]);
        assert_eq!(exit, code(0));
        assert!(serde_json::from_str::<serde_json::Value>(&output).unwrap()["$schema"].is_string(), "{of}");
    }
    let (exit, output, _) = run(&["man"]);
    assert_eq!(exit, code(0));
    assert!(output.contains(".TH debvisor-region"), "{output}");
    let dir = tempfile::TempDir::new().unwrap();
    assert_eq!(run(&["man", dir.path().to_str().unwrap()]).0, code(0));
    assert!(dir.path().join("debvisor-region-replication-sync.1").exists());
}
