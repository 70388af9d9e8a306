//! The README's first command on the example: the plan, the result, equal replicas, and nothing to do afterwards.

use crate::support::{World, assert_same_tree, repository};

#[test]
fn the_first_command_plans_applies_and_replicates_the_example() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let command = readme.lines().find(|line| line.starts_with("cargo run") && line.contains(" apply ")).unwrap();
    assert!(command.contains("--topology examples/three-regions"), "{command}");
    let args: Vec<&str> = command.split(" -- ").nth(1).unwrap().split_whitespace().collect();

    let world = World::new();
    let example = World::example();
    crate::support::copy_tree(example.dir.path(), &world.path("examples/three-regions"));
    let topology = ["--topology", "examples/three-regions"];

    let plan = world.run(["plan", "--format", "json"].iter().chain(&topology)).exits(0).json();
    assert_eq!(plan["summary"]["create"], 12);
    assert_eq!(plan["summary"]["sync"], 12);
    assert_eq!(plan["changes"].as_array().unwrap().len(), 24);

    world.run(&args).exits(0).says(&["12", "web-vm-1", "eu-west-1"]);
    let vms = |region: &str| world.path(format!("examples/three-regions/regions/{region}/resources/vm"));
    assert_same_tree(&vms("us-east-1"), &vms("us-west-1"));
    for n in 1..=5 {
        let vm = format!("web-vm-{n}");
        assert_same_tree(&vms("us-east-1").join(&vm), &vms("eu-west-1").join(&vm));
    }
    assert!(!vms("eu-west-1").join("db-vm-1").exists());

    world.run(&args).exits(0);
    world.run(["plan", "--detailed-exitcode"].iter().chain(&topology)).exits(0);
}

#[test]
fn every_command_of_the_readme_is_one() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let world = World::new();
    let mut seen = 0;
    let mut fenced = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced && line.trim_start().starts_with("debvisor-region ") {
            let line = line.split('#').next().unwrap();
            let words: Vec<&str> =
                line.split_whitespace().skip(1).take_while(|w| !w.starts_with(['-', '|', '>'])).collect();
            // The longest run of words that is a command: the rest are its arguments.
            let known = (1..=words.len()).rev().any(|n| {
                let mut args: Vec<&str> = words[..n].to_vec();
                args.push("--help");
                world.run(&args).code == 0
            });
            assert!(known || words.is_empty(), "`{line}` is no command");
            seen += 1;
        }
    }
    assert!(seen > 5, "the README shows {seen} commands");
}
