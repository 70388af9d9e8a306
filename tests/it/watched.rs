//! `status --watch`, at a terminal and away from one, and what is said while regions are asked.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::pty::AtTerminal;
use crate::support::World;

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
/// Where a page begins.
const HOME: &str = "\u{1b}[H";

/// The program with these arguments, which sees a terminal as its user's shell does.
fn command(world: &World, args: &[&str]) -> Command {
    let mut command = world.command(args);
    command.env_remove("NO_COLOR");
    command
}

fn applied() -> World {
    let world = World::two_regions("[vms.web]\nreplicas = [\"b\"]\n");
    world.write("a/resources/vm/web/disk.raw", "first");
    world.apply();
    world
}

/// The text of a page, without what moves the cursor or colours.
fn page(drawn: &str) -> Vec<String> {
    let page = drawn.rsplit(HOME).next().unwrap();
    anstream::adapter::strip_str(page).to_string().lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn a_watched_status_is_drawn_in_place_until_ctrl_c() {
    let world = applied();
    let state = world.read("debvisor-region.state.db");
    let mut watch = AtTerminal::start(&command(&world, &["status", "--watch", "--interval", "1s"]), 80, 24);
    let first = watch.sees("All is well");
    assert!(watch.drawn().contains(ENTER) && watch.drawn().contains("\u{1b}[32m"), "{:?}", watch.drawn());
    // What happens meanwhile is seen, and nothing keeps it from happening.
    world.write("a/resources/vm/web/disk.raw", "second");
    let behind = watch.sees_after(first, "behind");
    world.apply();
    let state_after = world.read("debvisor-region.state.db");
    let again = watch.sees_after(behind, "in sync");
    // Half a file is told, and looked at again.
    let whole = world.read("topology.toml");
    world.write("topology.toml", "schema_version =");
    let wrong = watch.sees_after(again, "topology.toml:1");
    watch.sees_after(wrong, "All is well");
    world.write("topology.toml", whole);
    // Nothing that is typed is shown; a key that ends it ends it.
    watch.types("no such key\n");
    let typed = watch.drawn().len();
    watch.sees_after(typed, "All is well");
    watch.types("\u{3}");
    assert_eq!(watch.ends().code(), Some(130));
    let drawn = watch.drawn();
    assert!(drawn.trim_end().ends_with(LEAVE) && drawn.contains("\u{1b}[?25h"), "{drawn:?}");
    assert!(!drawn.contains("\u{1b}[2J"), "clearing first flickers");
    assert!(!drawn.contains("no such key") && !drawn.contains("interrupted"), "{drawn}");
    assert_ne!(state, state_after, "the apply was recorded");
    assert_eq!(world.read("debvisor-region.state.db"), state_after, "watching writes nothing");
}

#[test]
fn a_watched_status_follows_its_window() {
    let world = World::two_regions("[vms.\"web-vm-{1..30}\"]\nreplicas = [\"b\"]\n");
    let mut plain = command(&world, &["status", "--watch", "--interval", "1s"]);
    plain.env("NO_COLOR", "1");
    let mut watch = AtTerminal::start(&plain, 120, 24);
    let wide = watch.sees("more lines");
    assert!(page(&watch.drawn()).len() <= 24, "{:?}", page(&watch.drawn()));
    watch.resize(60, 200);
    let narrow = watch.sees_after(wide, "vm.web-vm-30");
    let below = watch.sees_after(narrow, HOME);
    let drawn = watch.drawn();
    let lines = page(&drawn[..below - HOME.len()]);
    assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
    let colours = |part: &str| {
        part.split("\u{1b}[").skip(1).any(|rest| {
            rest.trim_start_matches(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ';']).starts_with('m')
        })
    };
    assert!(!colours(&drawn), "NO_COLOR: {drawn:?}");
    watch.types("\u{3}");
    assert_eq!(watch.ends().code(), Some(130));
}

#[test]
fn a_watched_status_that_is_suspended_gives_the_screen_back() {
    let world = applied();
    let mut watch = AtTerminal::start(&command(&world, &["status", "--watch", "--interval", "1s"]), 80, 24);
    let first = watch.sees("All is well");
    let pid = Pid::from_child(&watch.child);
    kill_process(pid, Signal::TSTP).unwrap();
    let left = watch.sees_after(first, LEAVE);
    kill_process(pid, Signal::CONT).unwrap();
    let back = watch.sees_after(left, ENTER);
    watch.sees_after(back, "All is well");
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(watch.ends().code(), Some(130));
}

#[test]
fn away_from_a_terminal_one_look_follows_the_other() {
    let world = applied();
    let mut child = world
        .command(["status", "--watch", "--interval", "1s", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let look: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(look["regions"].as_array().unwrap().len(), 2, "{look:#}");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let mut child = world.command(["status", "--watch", "--interval", "1s"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let blocks = lines.by_ref().map(Result::unwrap).filter(|line| line == "All is well").take(2).count();
    assert_eq!(blocks, 2);
    // Nobody reads on.
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    world.run(["status", "--interval", "1s"]).exits(64);
    world.run(["status", "--watch", "--interval", "5"]).exits(64).says(&["90s"]);
    World::new().run(["status", "--watch"]).exits(1).says(&["there is no topology here"]);
}

#[test]
fn a_silence_is_explained_at_a_terminal_and_nowhere_else() {
    let world = applied();
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let topology = String::from_utf8(world.read("topology.toml")).unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    world.write("topology.toml", topology.replace("file:b", &endpoint));
    let mut status = AtTerminal::start(&command(&world, &["status"]), 80, 40);
    let asked = status.sees("asking 2 regions");
    status.sees_after(asked, "Needs attention");
    assert_eq!(status.ends().code(), Some(0));
    let drawn = status.drawn();
    let shown = &drawn[drawn.rfind("asking").unwrap()..];
    assert!(shown.contains("\u{1b}[2K") || shown.contains("\u{1b}[K"), "the line is taken back: {shown:?}");
    let answer = world.run(["status"]).exits(0);
    assert_eq!(answer.stderr, "");
}
