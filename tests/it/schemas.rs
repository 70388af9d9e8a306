//! What the program prints and writes for programs, held against the committed schemas: each result of every test that
//! asks for JSON or YAML, and here one of every command.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::failover::{Fleet, kill_at};
use crate::support::{Answer, World, repository};

/// Commands without a result for programs: scripts, manuals, schemas, and a server, whose log is a document of its own.
const WITHOUT: [&str; 6] = ["completions", "man", "schema", "serve", "thaw-guard", "exec-guard"];

/// A document of `schema --list`.
struct Document {
    name: String,
    file: String,
    printed_by: Vec<String>,
}

static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let listed = World::new().command(["schema", "--list", "--format", "json"]).output().unwrap();
    let listed: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&listed.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let document = |it: &BTreeMap<String, Value>| Document {
        name: text(&it["name"]),
        file: text(&it["file"]),
        printed_by: it["printed_by"].as_array().unwrap().iter().map(text).collect(),
    };
    listed.iter().map(document).collect()
});

thread_local! {
    /// The commands of this test whose results were held against their schemas.
    static HELD: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// The validator of a committed schema, its forms closed: a document that says more than is described is a mistake.
fn validator(name: &str) -> Arc<Validator> {
    static MADE: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    if let Some(made) = MADE.lock().unwrap().get(name) {
        return Arc::clone(made);
    }
    let document = DOCUMENTS.iter().find(|document| document.name == name).unwrap_or_else(|| panic!("no {name}"));
    let committed = fs::read_to_string(repository().join("schemas").join(&document.file)).unwrap();
    let mut schema: Value = serde_json::from_str(&committed).unwrap();
    let close = |form: &mut Value| {
        let form = form.as_object_mut().unwrap();
        if ["properties", "oneOf", "anyOf"].iter().any(|key| form.contains_key(*key)) {
            form.entry("unevaluatedProperties").or_insert(json!(false));
        }
    };
    if let Some(parts) = schema.get_mut("$defs") {
        parts.as_object_mut().unwrap().values_mut().for_each(close);
    }
    if schema.get("additionalProperties").is_none() {
        close(&mut schema);
    }
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    let made = Arc::new(options.build(&schema).unwrap());
    MADE.lock().unwrap().insert(name.to_owned(), Arc::clone(&made));
    made
}

/// Holds a document against the schema of this name.
#[track_caller]
pub(crate) fn assert_fits(name: &str, value: &Value) {
    let validator = validator(name);
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "no {name}:\n{}\n{value:#}", errors.join("\n"));
}

/// The document that a command line asks for and the command that stands for it in the list.
fn asked(args: &[String]) -> Option<(&'static Document, &'static str)> {
    let fits = |command: &str| {
        let (words, options): (Vec<&str>, Vec<&str>) = command.split(' ').partition(|word| !word.starts_with("--"));
        let words_at = args.windows(words.len()).position(|window| window == words)?;
        // An option with a value, such as `--format yaml`, is split by the partition above.
        options.iter().all(|option| args.iter().any(|arg| arg == option)).then_some(words_at)
    };
    let all = DOCUMENTS.iter().flat_map(|it| it.printed_by.iter().map(move |by| (it, by.as_str())));
    let found = all.filter_map(|(document, by)| {
        let (command, yaml) = by.strip_suffix(" --format yaml").map_or((by, false), |command| (command, true));
        let at = fits(command)?;
        (!yaml || is_yaml(args)).then_some(((usize::MAX - at, by.split(' ').count()), (document, by)))
    });
    found.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
}

fn is_yaml(args: &[String]) -> bool {
    args.windows(2).any(|pair| pair == ["--format", "yaml"])
}

/// Holds what the program answered to these arguments against the schemas, where it was asked to answer programs.
#[track_caller]
pub(crate) fn hold(args: &[String], answer: &Answer) {
    let is_json = args.windows(2).any(|pair| pair == ["--format", "json"]);
    if !is_json && !is_yaml(args) {
        return;
    }
    let talks = args.iter().any(|arg| arg == "-v" || arg == "--verbose");
    if is_json && !talks && !answer.stderr.is_empty() {
        let error =
            serde_json::from_str(&answer.stderr).unwrap_or_else(|error| panic!("{error}: {args:?}\n{}", answer.stderr));
        assert_fits("error", &error);
    }
    if answer.stdout.is_empty() {
        assert_ne!(answer.code, 0, "{args:?} answers nothing");
        return;
    }
    let mut words = args.to_vec();
    let known = asked(&words).or_else(|| {
        words.insert(0, "status".to_owned());
        args[0].starts_with("--").then(|| asked(&words)).flatten()
    });
    let Some((document, by)) = known else {
        assert!(WITHOUT.contains(&args[0].as_str()), "{args:?} has no schema");
        return;
    };
    if is_yaml(args) {
        assert_fits(&document.name, &serde_yaml::from_str(&answer.stdout).unwrap());
    } else if document.name == "event" {
        answer.json_lines().iter().for_each(|line| assert_fits(&document.name, line));
    } else {
        assert_fits(&document.name, &answer.json());
    }
    HELD.with_borrow_mut(|held| held.insert(by.to_owned()));
}

/// Every command, found by asking for help as a person would.
fn commands() -> BTreeSet<String> {
    let world = World::new();
    let mut found = BTreeSet::new();
    let mut open = vec![String::new()];
    while let Some(group) = open.pop() {
        let help = world.run(group.split_whitespace().chain(["--help"])).exits(0).stdout;
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names: Vec<&str> = listed
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        if names.is_empty() {
            found.insert(group.trim().to_owned());
        }
        open.extend(names.iter().map(|name| format!("{group} {name}")));
    }
    found
}

/// `SNAPSHOTS=overwrite` writes the files anew.
#[test]
fn each_schema_is_committed_as_the_program_prints_it_and_none_is_left_over() {
    let world = World::new();
    let committed = repository().join("schemas");
    for document in DOCUMENTS.iter() {
        let printed = world.run(["schema", &document.name]).exits(0).stdout;
        let expected =
            snapbox::Data::read_from(&committed.join(&document.file), Some(snapbox::data::DataFormat::Text)).raw();
        snapbox::Assert::new().action_env("SNAPSHOTS").eq(printed, expected);
        if document.file.ends_with(".schema.json") {
            let schema: Value = world.run(["schema", &document.name]).exits(0).json();
            jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{}: {error}", document.name));
        }
    }
    let files: BTreeSet<String> =
        fs::read_dir(committed).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, DOCUMENTS.iter().map(|document| document.file.clone()).collect());
}

#[test]
fn a_document_that_says_too_much_or_too_little_does_not_fit() {
    let global = World::two_regions("").run(["global", "--format", "json"]).exits(0).json();
    let without = |key: &str| {
        let mut global = global.clone();
        global.as_object_mut().unwrap().remove(key).unwrap();
        global
    };
    let mut more = global.clone();
    more["more"] = json!(1);
    for wrong in [more, without("total_regions"), without("latency_ms"), json!([])] {
        assert!(!validator("global").is_valid(&wrong), "{wrong:#}");
    }
}

/// Runs a command for programs. Its result is held against its schema by [`World::run`].
fn tell(world: &World, command: &str) -> Answer {
    let answer = world.run(command.split(' ').chain(["--format", "json"]));
    assert!(!answer.stdout.is_empty(), "{command}: {}", answer.stderr);
    answer
}

/// What is told where regions are directories.
fn of_directories() {
    let empty = World::new();
    for command in ["init", "schema --list"] {
        tell(&empty, command).exits(0);
    }
    let world = World::two_regions(
        "[[replication]]\nsource = \"b\"\ntarget = \"a\"\nresource_types = [\"vm\"]\n[vms.web]\nreplicas = [\"b\"]\n",
    );
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", "the disk\n".repeat(9000));
    for command in [
        "validate",
        "fmt",
        "graph",
        "plan --out plan.json",
        "show plan.json",
        "apply --auto-approve",
        "reconcile",
        "replication sync web a b",
        "region list",
        "region show a",
        "region health-check a",
        "region stats a",
        "region add c C file:c --dry-run",
        "region remove b --cascade --dry-run",
        "region readmit b",
        "replication setup a b vm --interval 60 --dry-run",
        "replication status web",
        "replication list",
        "replication points web",
        "replication verify web",
        "replication export web out",
        "replication pause a b --dry-run",
        "replication resume a b --dry-run",
        "replication remove b a --dry-run",
        "vm replicate more a b --dry-run",
        "vm list",
        "vm where",
        "vm remove web --dry-run",
        "vm restore web --auto-approve",
        "failover runbook a b",
        "failover history",
        "global",
        "history --verbose",
        "state show",
        "state backup copy.db",
        "state rebuild --state anew.db",
        "status",
    ] {
        tell(&world, command).exits(0);
    }
    let bare = world.run(["--format", "json"]).exits(0).json();
    assert!(bare["troubles"].is_array(), "{bare:#}");
    let points = tell(&world, "replication points web --region a").exits(0).json();
    let name = points[0]["name"].as_str().unwrap();
    tell(&world, &format!("replication discard web a {name}")).exits(0);
    for command in ["apply --auto-approve", "reconcile", "replication sync web a b"] {
        world.run(command.split(' ').chain(["--format", "yaml"])).exits(0);
    }
    // What stands in files.
    let file = |name: &str| serde_json::from_slice::<Value>(&world.read(name)).unwrap();
    assert_fits("identity", &file("a/.debvisor/region.json"));
    assert_fits("plan", &file("plan.json"));
    fs::rename(world.path("topology.toml"), world.path("lost.toml")).unwrap();
    tell(&world, "import file:b").exits(0);
}

/// What is told of failovers, of regions that are served and machines that run.
fn of_failovers() {
    let fleet = Fleet::new(1, "");
    fleet.hook_that_stops();
    let world = &fleet.world;
    for command in [
        "failover status",
        "failover drill a",
        "failover pause --reason because",
        "failover status",
        "failover unpause",
        "failover execute a b --dry-run --explain",
        "failover execute a b --force",
        "failover accept --dry-run",
        "failover back --dry-run",
        "failover back --force",
        "failover take-over",
        "failover unfence c",
        "failover history",
        "apply --auto-approve",
    ] {
        tell(world, command).exits(0);
    }
    let mut ended = 0;
    for (way, step) in [("abort", 1), ("resume", 3)] {
        for step in step.. {
            assert!(kill_at(world, ("a", "b"), step), "no operation was open at any step");
            let open = tell(world, "failover status").exits(0).json();
            if !open["operations"].as_array().unwrap().is_empty() {
                tell(world, &format!("failover {way}")).exits(0);
                ended += 1;
                break;
            }
        }
        world.apply();
    }
    assert_eq!(ended, 2);
    tell(world, "failover back --force").exits(0);
    world.apply();
    tell(world, "failover fence a --force --accept-collateral").exits(0);
    assert_fits("lock", &serde_json::from_slice(&world.read("b/.debvisor/lock")).unwrap());
    for line in fs::read_to_string(world.path("a.log")).unwrap().lines() {
        assert_fits("log", &serde_json::from_str(line).unwrap());
    }
}

#[test]
fn every_command_has_a_schema_and_its_result_fits() {
    let described: BTreeSet<&str> = DOCUMENTS.iter().flat_map(|it| &it.printed_by).map(String::as_str).collect();
    let first = |command: &str| command.split(" --").next().unwrap().to_owned();
    let known: BTreeSet<String> =
        described.iter().map(|command| first(command)).chain(WITHOUT.map(str::to_owned)).collect();
    // Those that programs start are in no help.
    let commands: BTreeSet<String> =
        commands().into_iter().chain(["thaw-guard", "exec-guard"].map(str::to_owned)).collect();
    assert_eq!(commands, known);

    of_directories();
    of_failovers();
    let held = HELD.take();
    let missing: Vec<&&str> = described.iter().filter(|command| !held.contains(**command)).collect();
    assert!(missing.is_empty(), "never held against their schemas: {missing:?}");
}
