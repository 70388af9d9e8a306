//! Fixtures, good and bad, through the room's front door. `SNAPSHOTS=overwrite` rewrites the expected reports.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use miette::{GraphicalReportHandler, GraphicalTheme};
use snapbox::Data;
use snapbox::data::DataFormat;

use super::{Loaded, Problems, fmt, init, load};
use crate::model::Digest;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    // Relative, as a user would give it: tests run in the package's directory.
    let mut found: Vec<PathBuf> = fs::read_dir(Path::new("tests/fixtures/topology").join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

pub(super) fn drawn(problems: &Problems) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut text = String::new();
    for problem in &problems.0 {
        handler.render_report(&mut text, problem).unwrap();
        text.push('\n');
    }
    text
}

#[test]
fn every_invalid_fixture_gives_its_report() {
    for path in fixtures("invalid") {
        let problems = load(Some(&path)).expect_err(&path.display().to_string());
        for problem in &problems.0 {
            assert!(problem.code.starts_with("config::"), "{problem:?}");
            assert!(problem.help.is_some(), "no way to mend it: {problem:?}");
        }
        let expected = Data::read_from(&path.with_extension("txt"), Some(DataFormat::Text)).raw();
        snapbox::Assert::new().action_env("SNAPSHOTS").eq(drawn(&problems), expected);
    }
}

fn described(loaded: &Loaded) -> String {
    let mut text = String::new();
    for (address, spec) in loaded.topology.objects() {
        let origin = &loaded.origins[&address];
        let file = Path::new(origin.file()).file_name().unwrap().display().to_string();
        let mut json = spec.to_json();
        // Said once, below.
        json.as_object_mut().unwrap().remove("policy");
        writeln!(text, "{address} ({file}:{}:{}) {json}", origin.line, origin.column).unwrap();
    }
    writeln!(text, "{}", serde_json::to_string_pretty(&loaded.topology.policy).unwrap()).unwrap();
    for moved in &loaded.topology.moved {
        writeln!(text, "{} -> {}", moved.from, moved.to).unwrap();
    }
    writeln!(text, "{}", loaded.topology.digest).unwrap();
    text
}

#[test]
fn every_valid_fixture_gives_its_topology() {
    for path in fixtures("valid") {
        let loaded = load(Some(&path)).unwrap_or_else(|problems| panic!("{}", drawn(&problems)));
        let expected = Data::read_from(&path.with_extension("txt"), Some(DataFormat::Text)).raw();
        snapbox::Assert::new().action_env("SNAPSHOTS").eq(described(&loaded), expected);
        for (address, origin) in &loaded.origins {
            let text = &origin.source.text()[origin.span.clone()];
            assert!(!text.is_empty(), "{address}");
            assert_eq!(origin.source.line_and_column(origin.span.start), (origin.line, origin.column));
        }
    }
}

/// Loads files of these names and texts, as a directory where there are several.
fn given(files: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    match files {
        [(name, _)] => load(Some(&dir.path().join(name))),
        _ => load(Some(dir.path())),
    }
}

fn digest(files: &[(&str, &str)]) -> Digest {
    given(files).unwrap_or_else(|problems| panic!("{}", drawn(&problems))).topology.digest
}

#[test]
fn ten_mistakes_in_two_files_are_told_in_one_run() {
    let problems = load(Some(Path::new("tests/fixtures/topology/invalid/ten-mistakes"))).unwrap_err();
    assert!(problems.0.len() >= 10, "{}", problems.0.len());
    for name in ["regions.toml", "vms.toml"] {
        let there = problems.0.iter().filter(|problem| problem.labels[0].file().ends_with(name));
        assert!(there.count() >= 4, "{name}");
    }
    assert!(problems.0.iter().all(|problem| problem.labels[0].line > 1));
}

const SMALL: &str = "schema_version = 1\n[regions.a]\napi_endpoint = \"file:a\"\nprimary = true\n[regions.b]\n\
                     api_endpoint = \"file:b\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\n\
                     resource_types = [\"vm\", \"config\"]\n[vms.\"w-{1..2}\"]\nreplicas = [\"b\"]\n";

#[test]
fn the_digest_is_that_of_the_content() {
    let small = digest(&[("t.toml", SMALL)]);
    let (regions, rest) = SMALL.split_once("[[replication]]").unwrap();
    let same = [
        digest(&[("other.toml", &format!("# a comment\n\n{SMALL}"))]),
        digest(&[("1.toml", &format!("[[replication]]{rest}")), ("2.toml", regions)]),
        digest(&[("t.toml", &SMALL.replace("[vms.\"w-{1..2}\"]", "[vms.w-2]\nreplicas = [\"b\"]\n[vms.w-1]"))]),
        digest(&[("t.toml", &SMALL.replace("\"vm\", \"config\"", "\"config\", \"vm\""))]),
        digest(&[("t.toml", &SMALL.replace("[\"b\"]", "['b']\nmax_change = \"50%\"\nprimary = \"a\""))]),
        digest(&[("t.toml", &format!("{SMALL}[retention]\nlast = 0x3\n[failover]\ncooldown = \"60m\"\n"))]),
    ];
    for (at, other) in same.into_iter().enumerate() {
        assert_eq!(other, small, "{at}");
    }
    let others = [
        SMALL.replace("w-{1..2}", "w-{1..3}"),
        SMALL.replace("file:b", "file:c"),
        SMALL.replace(", \"config\"", ""),
        format!("{SMALL}[retention]\nlast = 4\n"),
        format!("{SMALL}[[moved]]\nfrom = \"vm.x\"\nto = \"vm.w-1\"\n"),
    ];
    for other in others {
        assert_ne!(digest(&[("t.toml", &other)]), small, "{other}");
    }
}

#[test]
fn laying_a_topology_out_keeps_its_digest() {
    let starter = [("starter".to_owned(), init::STARTER.to_owned())];
    let example = fs::read_to_string("examples/three-regions/topology.toml").unwrap();
    let everything = fs::read_to_string("tests/fixtures/topology/valid/everything.toml").unwrap();
    let cramped = everything.replace("\n\n", "\n").replace(" = ", "=").replace(", ", ",");
    for (name, text) in starter.into_iter().chain([("example".to_owned(), example), ("cramped".to_owned(), cramped)]) {
        let laid_out = fmt::format(&name, &text).unwrap();
        assert_eq!(digest(&[("t.toml", &laid_out)]), digest(&[("t.toml", &text)]), "{name}");
    }
}

#[test]
fn what_is_handed_out_is_laid_out() {
    for text in [init::STARTER, &fs::read_to_string("examples/three-regions/topology.toml").unwrap()] {
        snapbox::assert_data_eq!(fmt::format("t.toml", text).unwrap(), Data::text(text).raw());
    }
    let loaded = given(&[("topology.toml", init::STARTER)]).unwrap();
    assert_eq!((loaded.topology.regions.len(), loaded.topology.resources.len()), (3, 2));
    // With every comment that is a setting turned on, it still validates but for the resource that it names.
    let on: String = init::STARTER
        .lines()
        .map(|line| {
            line.strip_prefix("# ").filter(|rest| rest.contains(" = ") || rest.starts_with('[')).unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let problems = given(&[("topology.toml", &on)]).unwrap_err();
    let messages: Vec<&str> = problems.0.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(messages, ["`db-vm-1` is not declared"], "{}", drawn(&problems));
}

#[test]
fn many_resources_from_few_lines() {
    let vms: String = (0..5)
        .map(|at| format!("[vms.\"vm-{at}-{{1..10000}}\"]\nreplicas = [\"b\"]\ndepends_on = [\"w-1\"]\n"))
        .collect();
    let loaded = given(&[("t.toml", &format!("{SMALL}{vms}"))]).unwrap();
    assert_eq!(loaded.topology.resources.len(), 50_002);
    assert_eq!(loaded.origins.len(), 50_002 + 3);

    let endless: String = (0..101).map(|at| format!("[vms.\"vm-{at}-{{1..10000}}\"]\nreplicas = [\"b\"]\n")).collect();
    let problems = given(&[("t.toml", &format!("{SMALL}{endless}"))]).unwrap_err();
    assert_eq!(problems.0.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["config::too-many"]);

    let woven = "[vms.\"x-{1..10000}\"]\ndepends_on = [\"y-{1..10000}\"]\n[vms.\"y-{1..10000}\"]\n";
    let problems = given(&[("t.toml", &format!("{SMALL}{woven}"))]).unwrap_err();
    assert_eq!(problems.0.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["config::too-many"]);
}

#[test]
fn relative_endpoints_start_at_the_declaring_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("topology")).unwrap();
    fs::write(dir.path().join("topology/t.toml"), SMALL).unwrap();
    let loaded = load(Some(&dir.path().join("topology"))).unwrap();
    let expected = crate::model::topology::Endpoint::Directory(dir.path().join("topology/a"));
    assert_eq!(loaded.topology.endpoints.values().next(), Some(&expected));
    assert_eq!(loaded.base, dir.path().join("topology"));
}

#[test]
fn the_first_topology_fits_a_narrow_window() {
    let wide: Vec<&str> = init::STARTER.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(wide, [""; 0]);
}
