//! What the program prints, and where: pure standard output, no colour where none is wanted, narrow terminals, a
//! closed pipe.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::World;

fn example() -> World {
    World::example()
}

#[test]
fn no_colour_without_a_terminal_or_with_no_color() {
    let world = example();
    for (name, value) in [("LC_ALL", "C.UTF-8"), ("NO_COLOR", "1")] {
        let out = world.command(["plan"]).env(name, value).output().unwrap();
        assert!(!out.stdout.contains(&0x1b) && !out.stderr.contains(&0x1b), "{name}: colour");
    }
    let out = world.command(["plan", "--color", "always"]).output().unwrap();
    assert!(out.stdout.contains(&0x1b), "--color always");
}

#[test]
fn forty_columns_hold() {
    let world = example();
    let out = world.command(["plan"]).env("COLUMNS", "40").env("LC_ALL", "C.UTF-8").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= 40, "{} columns: {line}", line.chars().count());
    }
    assert!(text.contains("web-vm-1"));
}

#[test]
fn ascii_where_the_locale_is_not_utf8() {
    let out = example().command(["plan"]).env("LC_ALL", "C").env_remove("LANG").output().unwrap();
    assert!(out.stdout.is_ascii(), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let world = example();
    world.run(["apply", "--auto-approve"]).exits(0);
    for args in [&["plan", "--format", "json"][..], &["history", "--format", "json"], &["schema", "plan"]] {
        let mut child = world.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut errors).unwrap();
        child.wait().unwrap();
        assert!(!errors.contains("panicked"), "{args:?}: {errors}");
        assert_eq!(errors, "", "{args:?}");
    }
    // Read one line, then leave, while an apply goes on.
    world.write("regions/us-east-1/resources/vm/web-vm-1/domain.xml", "<domain/>\n");
    let mut child = world
        .command(["apply", "--auto-approve", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&out.stderr).contains("panicked"));
    // The work was done whoever read about it.
    world.run(["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn json_and_yaml_are_pure() {
    let world = example();
    let plan = world.run(["plan", "--format", "json"]).exits(0);
    plan.json();
    assert_eq!(plan.stderr, "");
    world.run(["plan", "--format", "yaml"]).exits(0);
    let lines = world.run(["apply", "--auto-approve", "--format", "json"]).exits(0).json_lines();
    assert_eq!(lines.last().unwrap()["type"], "summary");
    assert_eq!(lines.iter().filter(|line| line["type"] == "action_started").count(), 24);
    assert_eq!(lines.iter().filter(|line| line["type"] == "action_finished").count(), 24);
    for command in
        [&["status", "--format", "json"][..], &["history", "--format", "json"], &["state", "show", "--format", "json"]]
    {
        world.run(command).exits(0).json();
    }
}

#[test]
fn errors_are_objects_with_format_json() {
    let world = World::new();
    let answer = world.run(["plan", "--format", "json"]).exits(1);
    assert_eq!(answer.stdout, "");
    let error: serde_json::Value = serde_json::from_str(&answer.stderr).unwrap();
    for key in ["code", "message", "help", "labels"] {
        assert!(error["error"].get(key).is_some(), "{key}: {error}");
    }
}
