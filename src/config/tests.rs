//! Fixtures, good and bad, through the room's front door. `SNAPSHOTS=overwrite` rewrites the expected reports.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use miette::{GraphicalReportHandler, GraphicalTheme};
use snapbox::Data;
use snapbox::data::DataFormat;

use super::{Loaded, Problems, load};

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
