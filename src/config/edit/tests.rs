//! Files before and after edits, byte by byte.

use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::config::load::load_texts;
use crate::config::source::Source;
use crate::config::tests::drawn;
use crate::config::{Loaded, Problems};
use crate::model::{PairId, RegionId, ResourceKey, ResourceType};

const HEAD: &str = "\
#:schema x.json
schema_version = 1

# Where it all begins.

# the old house
[regions.a]
api_endpoint = \"file:a\" # in the cellar
primary = true

[regions.b]
api_endpoint   =   'file:b'

[regions.c]
api_endpoint = \"file:c\"
labels = { jurisdiction = \"eu\" }

# What goes where.

[[replication]] # home
source = \"a\"
target = \"b\"
resource_types = [\"vm\", \"config\"]
# sync_interval = \"1m\"

[[replication]]
source = \"a\"
target = \"c\"
resource_types = [\"vm\"]
";

fn loaded(texts: &[&str]) -> Loaded {
    let sources = texts.iter().enumerate().map(|(at, text)| Source::new(format!("{at}.toml"), *text)).collect();
    load_texts(sources, PathBuf::from("t"), PathBuf::from("t"))
        .unwrap_or_else(|problems| panic!("{}", drawn(&problems)))
}

/// The texts after the edits, which once more change nothing.
fn edited_all(texts: &[&str], edits: &[Edit]) -> Vec<String> {
    let before = loaded(texts);
    let after = edit(&before, edits).unwrap_or_else(|problems| panic!("{}", drawn(&problems)));
    let again = edit(&after.loaded, edits).unwrap_or_else(|problems| panic!("{}", drawn(&problems)));
    assert!(again.files.is_empty(), "a second time changes {:?}", again.files);
    after.loaded.sources.iter().map(|source| source.text().to_owned()).collect()
}

fn edited(text: &str, edits: &[Edit]) -> String {
    edited_all(&[text], edits).remove(0)
}

fn refused(text: &str, edits: &[Edit]) -> Problems {
    edit(&loaded(&[text]), edits).map(|edited| edited.files).unwrap_err()
}

fn id(text: &str) -> RegionId {
    text.parse().unwrap()
}

fn key(text: &str) -> ResourceKey {
    text.parse().unwrap()
}

fn pair_id(source: &str, target: &str) -> PairId {
    PairId { source: id(source), target: id(target) }
}

fn region(name: &str) -> RegionEdit {
    RegionEdit { id: id(name), name: None, location: None, api_endpoint: None, primary: None, capacity_vms: None }
}

fn resource(name: &str, primary: Option<&str>, replicas: Option<&[&str]>) -> Edit {
    Edit::Resource(ResourceEdit {
        key: key(name),
        primary: primary.map(id),
        replicas: replicas.map(|list| list.iter().map(|region| id(region)).collect()),
    })
}

/// The lines that went, with `-`, and those that came, with `+`; each text without what both have.
#[track_caller]
fn assert_changes(before: &str, after: &str, expected: &str) {
    let diff = crate::render::diff::unified("t", before, after, &crate::render::Look::PLAIN);
    let lines: Vec<&str> = diff.lines().skip(2).filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(lines.join("\n"), expected.trim_end(), "{diff}");
}

#[test]
fn a_new_region_stands_behind_the_others() {
    let new = RegionEdit {
        name: Some("New \"house\"".to_owned()),
        location: Some("d".to_owned()),
        api_endpoint: Some("https://d.example".to_owned()),
        primary: Some(false),
        capacity_vms: Some(2000),
        ..region("d")
    };
    let after = edited(HEAD, &[Edit::Region(new)]);
    let expected =
        "+[regions.d]\n+name = 'New \"house\"'\n+api_endpoint = \"https://d.example\"\n+capacity_vms = 2000\n+";
    assert_changes(HEAD, &after, expected);
    assert!(after.contains("\"eu\" }\n\n[regions.d]\n") && after.contains("= 2000\n\n# What goes where.\n"), "{after}");
    assert_eq!(refused(HEAD, &[Edit::Region(region("d"))]).0[0].code, "config::missing-key");
    // Two primaries: the report that the edited file would get.
    let primary = RegionEdit { primary: Some(true), ..region("b") };
    assert_eq!(refused(HEAD, &[Edit::Region(primary)]).0[0].code, "config::several-primaries");
}

#[test]
fn a_region_keeps_what_is_not_spoken_of() {
    let more = RegionEdit {
        name: Some("Bee".to_owned()),
        api_endpoint: Some("file:bee".to_owned()),
        capacity_vms: Some(1000),
        ..region("b")
    };
    let after = edited(HEAD, &[Edit::Region(more)]);
    assert_changes(HEAD, &after, "-api_endpoint   =   'file:b'\n+api_endpoint   =   \"file:bee\"\n+name = \"Bee\"");
}

#[test]
fn pairs_are_added_changed_and_removed() {
    let types = |types: &[ResourceType]| Some(types.iter().copied().collect::<BTreeSet<_>>());
    let new = PairEdit {
        resource_types: types(&[ResourceType::Config, ResourceType::Vm]),
        sync_interval: Some(std::time::Duration::from_secs(600)),
        bidirectional: Some(true),
        batch_size: Some(100),
        ..PairEdit::of(pair_id("b", "c"))
    };
    let after = edited(HEAD, &[Edit::Pair(new)]);
    assert_eq!(
        after,
        format!(
            "{HEAD}\n[[replication]]\nsource = \"b\"\ntarget = \"c\"\nresource_types = [\"vm\", \"config\"]\n\
             sync_interval = \"10m\"\nbidirectional = true\n"
        )
    );
    let more = PairEdit {
        resource_types: types(&[ResourceType::Vm]),
        sync_interval: Some(std::time::Duration::from_secs(60)),
        ..PairEdit::of(pair_id("a", "b"))
    };
    let after = edited(HEAD, &[Edit::Pair(more)]);
    assert_changes(
        HEAD,
        &after,
        "-resource_types = [\"vm\", \"config\"]\n+resource_types = [\"vm\"]\n+sync_interval = \"1m\"",
    );
    // What stands right below a table and above a blank line belongs to it, and goes with it.
    let after = edited(HEAD, &[Edit::NoPair(pair_id("a", "b"))]);
    assert_changes(
        HEAD,
        &after,
        "-[[replication]] # home\n-source = \"a\"\n-target = \"b\"\n-resource_types = [\"vm\", \"config\"]\n\
         -# sync_interval = \"1m\"\n-",
    );
    let after = edited(HEAD, &[Edit::NoPair(pair_id("a", "c"))]);
    assert!(after.ends_with("# sync_interval = \"1m\"\n"), "{after}");
    let gone = edited(HEAD, &[Edit::NoPair(pair_id("a", "b")), Edit::NoPair(pair_id("a", "c"))]);
    assert!(gone.ends_with("\n\n# What goes where.\n"), "{gone}");
}

#[test]
fn a_region_that_is_used_stays_unless_all_of_it_goes() {
    let text = format!(
        "{HEAD}\n[vms.web]\nreplicas = [\n    \"b\", # near\n    \"c\", # far\n]\n\n[vms.\"db-{{1..3}}\"]\n\
         replicas = ['c']\n\n[failover]\ncandidates = [\"c\", \"b\"]\n"
    );
    let no = |cascade| Edit::NoRegion { id: id("c"), cascade };
    let problems = refused(&text, &[no(false)]);
    assert_eq!((problems.0.len(), problems.0[0].code), (1, "config::still-used"));
    let labels: Vec<&str> = problems.0[0].labels.iter().map(|label| label.text.as_str()).collect();
    assert_eq!(labels.len(), 4, "{labels:?}");
    let after = edited(&text, &[no(true)]);
    assert_changes(
        &text,
        &after,
        "-[regions.c]\n-api_endpoint = \"file:c\"\n-labels = { jurisdiction = \"eu\" }\n-\n-[[replication]]\n\
         -source = \"a\"\n-target = \"c\"\n-resource_types = [\"vm\"]\n-\n-    \"c\", # far\n-replicas = ['c']\n\
         +replicas = []\n-candidates = [\"c\", \"b\"]\n+candidates = [\"b\"]",
    );
    let problems = refused(&text, &[Edit::NoRegion { id: id("a"), cascade: true }]);
    assert_eq!(problems.0[0].code, "config::still-used");
    assert!(problems.0[0].help.as_deref().unwrap().contains("failover execute a"));
}

#[test]
fn machines_are_added_changed_and_removed() {
    let after = edited(HEAD, &[resource("vm.web", Some("a"), Some(&["c", "b"]))]);
    assert_eq!(after, format!("{HEAD}\n[vms.web]\nprimary = \"a\"\nreplicas = [\"c\", \"b\"]\n"));
    let after = edited(HEAD, &[resource("config.app", None, Some(&["b"]))]);
    assert_eq!(after, format!("{HEAD}\n[resources.app]\ntype = \"config\"\nreplicas = [\"b\"]\n"));
    let text =
        format!("{HEAD}\n# the shop\n[vms.web] # busy\n# where?\nreplicas = [\"b\"] # and only there\n\n[health]\n");
    let after = edited(&text, &[resource("vm.web", Some("a"), Some(&["b", "c"]))]);
    assert_changes(&text, &after, "-replicas = [\"b\"] # and only there\n+replicas = [\"b\", \"c\"] # and only there");
    let after = edited(&text, &[Edit::NoResource(key("vm.web"))]);
    assert_eq!(after, format!("{HEAD}\n[health]\n"));
    let problems = refused(HEAD, &[resource("vm.web", Some("b"), Some(&["c"]))]);
    assert_eq!(problems.0[0].code, "config::no-pair");
}

const RANGE: &str = "
# all of them
[vms.\"web-{1..5}\"]
replicas = [\"b\"] # near
max_lag = \"9m\"

[vms.web-4]
replicas = [\"c\"]

[vms.\"web-{1..5}\".labels]
tier = \"web\"
";

#[test]
fn a_range_that_changes_as_a_whole_is_changed_where_it_stands() {
    let text = format!("{HEAD}{}", RANGE.replace("\n[vms.\"web-{1..5}\".labels]\ntier = \"web\"\n", ""));
    let edits: Vec<Edit> =
        [1, 2, 3, 5].iter().map(|n| resource(&format!("vm.web-{n}"), None, Some(&["b", "c"]))).collect();
    let after = edited(&text, &edits);
    assert_changes(&text, &after, "-replicas = [\"b\"] # near\n+replicas = [\"b\", \"c\"] # near");
}

#[test]
fn one_member_of_a_range_gets_a_table_of_its_own() {
    let text = format!(
        "{HEAD}\n# all of them\n[vms.\"web-{{01..05}}\"] # five\nreplicas = [\"b\"] # near\nmax_lag = \"9m\"\n\n\
         [vms.\"web-{{01..05}}\".labels]\ntier = \"web\"\n\n# what else\n\n[health]\n"
    );
    let after = edited(&text, &[resource("vm.web-02", None, Some(&["c"]))]);
    assert_changes(
        &text,
        &after,
        "+[vms.web-02] # five\n+replicas = [\"c\"] # near\n+max_lag = \"9m\"\n+\n+[vms.web-02.labels]\n\
         +tier = \"web\"\n+",
    );
    // The same tables, a key each: two at an end are a range again.
    let both = [resource("vm.web-04", None, Some(&["c"])), resource("vm.web-05", None, Some(&["c"]))];
    let after = edited(&text, &both);
    assert!(after.contains("# all of them\n[vms.\"web-{01..03}\"] # five\nreplicas = [\"b\"]"), "{after}");
    assert!(after.contains("\n\n[vms.\"web-{04..05}\"] # five\nreplicas = [\"c\"] # near\nmax_lag"), "{after}");
    assert!(after.contains("[vms.\"web-{04..05}\".labels]\ntier = \"web\"\n\n# what else\n"), "{after}");
    // Who leaves from the middle splits it.
    let after = edited(&text, &[Edit::NoResource(key("vm.web-02"))]);
    assert!(after.contains("[vms.web-01] # five\n") && after.contains("[vms.\"web-{03..05}\".labels]\n"), "{after}");
    let after = edited(&text, &[Edit::NoResource(key("vm.web-05"))]);
    let lines = "-[vms.\"web-{01..05}\"] # five\n+[vms.\"web-{01..04}\"] # five\n-[vms.\"web-{01..05}\".labels]\n\
                 +[vms.\"web-{01..04}\".labels]";
    assert_changes(&text, &after, lines);
}

#[test]
fn a_member_with_a_table_of_its_own_leaves_the_range_too() {
    let text = format!("{HEAD}{}", RANGE.replace("\n[vms.\"web-{1..5}\".labels]\ntier = \"web\"\n", ""));
    let after = edited(&text, &[Edit::NoResource(key("vm.web-4"))]);
    assert!(!after.contains("web-4"), "{after}");
    let resources: Vec<String> = loaded(&[&after]).topology.resources.keys().map(ToString::to_string).collect();
    assert_eq!(resources, ["vm.web-1", "vm.web-2", "vm.web-3", "vm.web-5"]);
}

#[test]
fn what_stands_between_the_tables_of_a_range_is_left_to_people() {
    let text = format!("{HEAD}{RANGE}");
    assert_eq!(refused(&text, &[Edit::NoResource(key("vm.web-2"))]).0[0].code, "config::edit-by-hand");
}

#[test]
fn tables_in_braces_and_dotted_keys_are_kept_as_such() {
    let text = format!(
        "{HEAD}\n[vms]\nweb = {{ replicas = [\"b\"] }} # one\n  \"db-{{1..3}}\" = {{ replicas = [\"b\"] }}\n\
         mail.replicas = [\"b\"]\nmail.max_lag = \"9m\"\nbare = {{}}\n"
    );
    let after = edited(
        &text,
        &[
            resource("vm.web", None, Some(&["c"])),
            resource("vm.db-2", None, Some(&["b", "c"])),
            resource("vm.mail", None, Some(&["c"])),
            resource("vm.bare", None, Some(&["c"])),
        ],
    );
    assert_changes(
        &text,
        &after,
        "-web = { replicas = [\"b\"] } # one\n+web = { replicas = [\"c\"] } # one\n-mail.replicas = [\"b\"]\n\
         +  db-2 = { replicas = [\"b\", \"c\"] }\n+mail.replicas = [\"c\"]\n-bare = {}\n+bare = { replicas = [\"c\"] }",
    );
    let after = edited(&text, &[Edit::NoResource(key("vm.db-1"))]);
    assert_changes(
        &text,
        &after,
        "-  \"db-{1..3}\" = { replicas = [\"b\"] }\n+  \"db-{2..3}\" = { replicas = [\"b\"] }",
    );
}

#[test]
fn each_thing_is_edited_in_the_file_that_it_stands_in() {
    let (regions, pairs) = HEAD.split_once("# What goes where.").unwrap();
    let vms = "[vms.web]\nreplicas = [\"b\"]";
    let new = RegionEdit { api_endpoint: Some("file:d".to_owned()), ..region("d") };
    let edits =
        [Edit::Region(new), resource("vm.more", Some("a"), Some(&["c"])), resource("vm.web", None, Some(&["c"]))];
    let after = edited_all(&[regions, pairs, vms], &edits);
    assert!(after[0].ends_with("\n\n[regions.d]\napi_endpoint = \"file:d\"\n\n"), "{}", after[0]);
    assert_eq!(after[1], pairs);
    assert_eq!(after[2], "[vms.web]\nreplicas = [\"c\"]\n\n[vms.more]\nprimary = \"a\"\nreplicas = [\"c\"]\n");
}

#[test]
fn what_nobody_spoke_of_stays_whatever_the_layout() {
    let text = format!("vms = {{ web = {{ replicas = [\"b\"] }}, db = {{ replicas = [\"b\"] }} }}\n{HEAD}");
    let problems = refused(&text, &[Edit::NoResource(key("vm.web"))]);
    assert_eq!(problems.0[0].code, "config::edit-by-hand", "{}", drawn(&problems));
    assert_eq!(edited(&text, &[resource("vm.web", None, Some(&["c"]))]), text.replacen("\"b\"", "\"c\"", 1));
}

#[test]
fn line_breaks_stay_what_they_are() {
    let text = format!("{HEAD}\n[vms.\"web-{{1..3}}\"]\nreplicas = [\"b\"]\n").replace('\n', "\r\n");
    let after = edited(&text, &[resource("vm.web-2", Some("a"), Some(&["c"]))]);
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    assert!(after.contains("\r\n\r\n[vms.web-2]\r\nreplicas = [\"c\"]\r\n"), "{after:?}");
}

#[test]
fn a_first_topology_begins_with_a_region() {
    let new = RegionEdit { api_endpoint: Some("file:d".to_owned()), primary: Some(true), ..region("d") };
    let begun = begun(std::path::Path::new("topology.toml"), "schema_version = 1\n").unwrap();
    let after = edit(&begun, &[Edit::Region(new)]).unwrap();
    assert_eq!(after.files[0].after, "schema_version = 1\n\n[regions.d]\napi_endpoint = \"file:d\"\nprimary = true\n");
}

#[test]
fn the_entries_of_a_list_keep_their_lines() {
    let list = |entries: &str| format!("{HEAD}\n[vms.web]\nreplicas = [{entries}]\n");
    for (before, wanted, after) in [
        ("", &["b"][..], "\"b\""),
        (" \"b\", \"c\" ", &["c"], "\"c\""),
        ("\n  \"b\", # near\n  \"c\" # far\n", &["c"], "\n  \"c\" # far\n"),
        ("\n  \"b\" # near\n", &["b", "c"], "\n  \"b\", # near\n  \"c\",\n"),
        ("\n  \"b\", # near\n", &["c"], "\n  \"c\", # near\n"),
        ("\n  \"b\", \"c\", # both\n", &[], ""),
    ] {
        let text = list(before);
        let after_text = edited(&text, &[resource("vm.web", None, Some(wanted))]);
        assert_eq!(after_text, list(after), "{before:?}");
    }
}

proptest! {
    #[test]
    fn any_members_become_what_was_asked_and_no_others(
        size in 1usize..9, asked in prop::collection::btree_map(1usize..9, 0usize..3, 0..6), own in 1usize..9,
    ) {
        let own_table = if own <= size { format!("\n[vms.web-{own}]\nreplicas = [\"b\"]\n") } else { String::new() };
        let text = format!(
            "{HEAD}\n[vms.\"web-{{1..{size}}}\"] # all\n# why\nreplicas = [\"b\"] # near\n{own_table}\n[health]\nfailures = 4\n"
        );
        let before = loaded(&[&text]);
        let asked: Vec<(usize, usize)> = asked.into_iter().filter(|(n, _)| *n <= size).collect();
        let wanted = [&["b", "c"][..], &["c"], &[]];
        // Removals one by one, as commands are.
        let edits: Vec<Edit> =
            asked.iter().map(|(n, to)| resource(&format!("vm.web-{n}"), None, Some(wanted[*to]))).collect();
        let after = edit(&before, &edits).map_err(|problems| TestCaseError::fail(drawn(&problems)))?;
        let mut expected = before.topology.resources.clone();
        for (n, to) in &asked {
            let spec = expected.get_mut(&key(&format!("vm.web-{n}"))).unwrap();
            spec.replicas = wanted[*to].iter().map(|region| id(region)).collect();
        }
        prop_assert_eq!(&after.loaded.topology.resources, &expected);
        prop_assert!(edit(&after.loaded, &edits).unwrap().files.is_empty());
        for comment in ["# all", "# why", "# near"] {
            prop_assert!(after.loaded.sources[0].text().contains(comment));
        }
        if let Some((n, _)) = asked.first() {
            let gone = key(&format!("vm.web-{n}"));
            let fewer = edit(&after.loaded, &[Edit::NoResource(gone.clone())]);
            let fewer = fewer.map_err(|problems| TestCaseError::fail(drawn(&problems)))?;
            expected.remove(&gone);
            prop_assert_eq!(fewer.loaded.topology.resources, expected);
        }
    }
}
