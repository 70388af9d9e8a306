//! Holds the house in order: rooms import only from rooms above them, outside crates have one home, every file says
//! what it is, nothing half done stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, in the order of `src/lib.rs`: a room imports only from those above it.
const ROOMS: [&str; 16] = [
    "model", "config", "host", "process", "failover", "replica", "wire", "plan", "live", "region", "state", "execute",
    "fleet", "serve", "render", "cli",
];

/// Outside crates with one home (or, for SQL, with the two stores and the room that opens databases).
const HOMES: [(&str, &[&str]); 24] = [
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("toml", &["config"]),
    ("toml_edit", &["config"]),
    ("reqwest", &["live"]),
    ("backon", &["live"]),
    ("zstd", &["wire"]),
    ("crc32fast", &["wire"]),
    ("similar", &["render"]),
    ("indicatif", &["render"]),
    ("comfy_table", &["render"]),
    ("rusqlite", &["host", "state", "region"]),
    ("prometheus_client", &["wire"]),
    ("axum", &["serve"]),
    ("hyper", &["serve"]),
    ("hyper_util", &["serve"]),
    ("rustls", &["serve"]),
    ("tokio_rustls", &["serve"]),
    ("tracing", &["serve"]),
    ("tracing_subscriber", &["serve"]),
    ("sd_notify", &["serve"]),
    ("serde_path_to_error", &["serve"]),
    ("rcgen", &[]),
];

/// Rooms that only compute: no clock, no chance, no files, no network, no threads.
const PURE: [&str; 3] = ["model", "failover", "plan"];
const EFFECTS: [&str; 7] = ["std::fs", "std::net", "std::process", "std::thread", "tokio::", "rustix::", "std::env"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![below.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The source files with their room and their text up to the unit tests, which may reach further.
fn sources() -> Vec<(String, PathBuf, String)> {
    rust_files(&root().join("src"))
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests"))
        .filter_map(|path| {
            let inside = path.strip_prefix(root().join("src")).unwrap().to_owned();
            let room =
                inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let text = before_tests(&text).to_owned();
            (room != "main" && room != "lib").then_some((room, inside, text))
        })
        .collect()
}

/// A source's text up to its module of tests. What is only compiled for tests before that is held to what the rest is.
fn before_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap()
}

#[test]
fn what_stands_after_a_helper_of_tests_is_looked_at_too() {
    let text = "fn a() {}\n    #[cfg(test)]\n    fn b() {}\nfn c() {}\n#[cfg(test)]\nmod tests {\nfn d() {}\n}\n";
    assert!(before_tests(text).ends_with("fn c() {}"));
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The rooms that a line names as `crate::ROOM`, those in `use crate::{a, b}` included.
fn imported_rooms(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for after in line.split("crate::").skip(1) {
        let names = after.strip_prefix('{').map_or(after, |list| list.split('}').next().unwrap_or(list));
        let parts: Vec<&str> = if after.starts_with('{') { names.split(',').collect() } else { vec![names] };
        for part in parts {
            let name: String = part.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if ROOMS.contains(&name.as_str()) {
                rooms.push(name);
            }
        }
    }
    rooms
}

#[test]
fn rooms_import_only_from_rooms_above() {
    let place: BTreeMap<&str, usize> = ROOMS.iter().enumerate().map(|(i, room)| (*room, i)).collect();
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        let own = *place.get(room.as_str()).unwrap_or_else(|| panic!("{room} is not in the list of rooms"));
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for other in imported_rooms(line) {
                if place[other.as_str()] > own {
                    wrong.push(format!("src/{}:{}: {room} imports {other}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_of_rooms_is_that_of_the_crate() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, ROOMS);
}

#[test]
fn outside_crates_have_one_home() {
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for (name, homes) in HOMES {
                let used = line.contains(&format!("{name}::"))
                    && !line.contains(&format!("_{name}::"))
                    && !line.contains(&format!("::{name}::"));
                if used && !homes.contains(&room.as_str()) {
                    wrong.push(format!("src/{}:{}: {name} lives in {homes:?}", path.display(), number + 1));
                }
            }
            if PURE.contains(&room.as_str()) {
                for effect in EFFECTS {
                    if line.contains(effect) {
                        wrong.push(format!("src/{}:{}: {room} is pure, {effect} is not", path.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("tests"))) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: opens without `//!`"));
        }
        if text.lines().count() > 800 {
            wrong.push(format!("{name}: over 800 lines"));
        }
        // Assembled, so that this file does not find itself.
        for left in [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["dbg", "!("].concat()] {
            if text.contains(&left) {
                wrong.push(format!("{name}: {left}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_top_level_has_only_what_is_agreed() {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let names = entries.filter(|path| path.is_dir()).map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let agreed = ["examples", "schemas", "src", "target", "tests"];
    let other: Vec<String> = names.filter(|name| !name.starts_with('.') && !agreed.contains(&name.as_str())).collect();
    assert_eq!(other, Vec::<String>::new());
}

#[test]
fn no_test_file_is_forgotten() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for path in rust_files(&root().join("tests/it")) {
        let inside = path.strip_prefix(root().join("tests/it")).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "tests/it/main.rs lacks `mod {module};`");
    }
}

#[test]
fn each_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut explained = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if in_dependencies && !line.trim().is_empty() {
            assert!(explained, "no reason stands above `{line}`");
        }
    }
}
