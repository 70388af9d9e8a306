//! The examples of services and pipelines: valid, and each command in them carried out as it stands, with the places of
//! a test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Answer, World, assert_same_tree, copy_tree, program, repository};

fn example(name: &str) -> String {
    fs::read_to_string(repository().join("examples").join(name)).unwrap()
}

/// A key of a unit.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let found = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{key} in {unit}"))
}

/// The places of the text as they are in this world.
fn here(world: &World, text: &str) -> String {
    let at = |name: &str| world.path(name).display().to_string();
    text.replace("/usr/bin/debvisor-region", program())
        .replace("/etc/debvisor/region/config.toml", &at("config.toml"))
        .replace("/etc/debvisor/topology", &at("topology"))
        .replace("/var/lib/debvisor-region", &at("state"))
}

/// The example's regions and machines, declared in a directory `topology`.
fn world() -> World {
    let world = World::new();
    let from = repository().join("examples/three-regions");
    let topology = fs::read_to_string(from.join("topology.toml")).unwrap();
    world.write("topology/topology.toml", topology.replace("file:regions/", "file:../regions/"));
    copy_tree(&from.join("regions/us-east-1/resources"), &world.path("regions/us-east-1/resources"));
    fs::create_dir(world.path("state")).unwrap();
    world
}

/// The tests that run or check an example's file, each by a piece of its name.
const TRIED: [(&str, &str); 10] = [
    ("cron/debvisor-region", "the_reconciling_service_and_the_cron_table_do_a_round"),
    ("monitoring/debvisor-region.rules.yml", "rules_and_dashboard_ask_for_what_is_exported"),
    ("monitoring/debvisor-region.rules.test.yml", "tests_of_the_rules_are_of_rules_that_are_there"),
    ("monitoring/grafana-dashboard.json", "rules_and_dashboard_ask_for_what_is_exported"),
    ("monitoring/prometheus.yml", "prometheus_is_led_to_rules_and_regions_that_are_there"),
    ("pipelines/github-actions.yml", "github_comments_the_plan_and_carries_it_out_after_the_merge"),
    ("pipelines/gitlab-ci.yml", "gitlab_comments_the_plan_and_carries_it_out_after_the_merge"),
    ("systemd/debvisor-region-reconcile.", "systemd_takes_the_units"),
    ("systemd/debvisor-region.service", "the_endpoints_service_says_when_it_answers_and_ends_when_it_is_told_to"),
    ("three-regions/", "the_example_is_written_anew_from_its_regions"),
];

/// Every file below a directory, by its name there.
fn files_below(root: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found
}

#[test]
fn every_example_is_tried_by_a_test() {
    let names = files_below(&repository().join("examples"));
    let untried: Vec<&String> =
        names.iter().filter(|name| !TRIED.iter().any(|(tried, _)| name.starts_with(tried))).collect();
    assert!(untried.is_empty(), "no test tries {untried:?}");
    let tests: String = files_below(&repository().join("tests/it"))
        .iter()
        .map(|name| fs::read_to_string(repository().join("tests/it").join(name)).unwrap())
        .collect();
    for (example, test) in TRIED {
        assert!(names.iter().any(|name| name.starts_with(example)), "there is no {example}");
        assert!(tests.contains(&format!("#[test]\nfn {test}()")), "{example}: there is no test {test}");
    }
}

fn assert_replicated(world: &World) {
    let files = |region: &str| world.path(format!("regions/{region}/resources/vm/web-vm-1"));
    assert_same_tree(&files("us-east-1"), &files("eu-west-1"));
}

fn shell(world: &World, script: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = [world.path("bin"), Path::new(program()).parent().map(Path::to_owned).unwrap_or_default()];
    let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", script]).current_dir(world.dir.path()).env("PATH", path).stdin(Stdio::null());
    command.env_remove("DEBVISOR_REGION_TOPOLOGY");
    command
}

const UNITS: [&str; 3] =
    ["debvisor-region.service", "debvisor-region-reconcile.service", "debvisor-region-reconcile.timer"];

/// Has systemd judge units, and what it judges by.
#[track_caller]
fn assert_verified(world: &World, units: [String; 3]) {
    let verify = || {
        let paths = UNITS.map(|unit| world.path(unit));
        Answer::from_output(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(paths).output().unwrap())
    };
    for (name, unit) in UNITS.iter().zip(&units) {
        world.write(name, unit);
    }
    let told = verify().exits(0);
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""));
    // It does look.
    world.write(UNITS[0], units[0].replace("Type=notify", "Typo=notify"));
    assert!(verify().stderr.contains("Typo"));
}

/// Starts the endpoint as its unit does, for a region of this world; it says that it answers, and ends on SIGTERM.
#[track_caller]
fn assert_serves(world: &World, unit: &str) {
    assert_eq!((value(unit, "Type"), value(unit, "User")), ("notify", "root"));
    let data = world.path("data");
    world.write("config.toml", format!("region = \"us-east-1\"\ndata_dir = {data:?}\nlisten = \"127.0.0.1:0\"\n"));
    let socket = UnixDatagram::bind(world.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut start = shell(world, &format!("exec {}", value(unit, "ExecStart")));
    let quiet = start.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.env("NOTIFY_SOCKET", world.path("notify")).spawn().unwrap();
    let mut told = [0; 200];
    let length = socket.recv(&mut told);
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let ended = child.wait().unwrap();
    let told = &told[..length.unwrap()];
    assert!(told.starts_with(b"READY=1"), "{}", String::from_utf8_lossy(told));
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn systemd_takes_the_units() {
    let units = UNITS.map(|unit| example(&format!("systemd/{unit}")).replace("/usr/bin/debvisor-region", program()));
    assert_verified(&World::new(), units);
}

#[test]
fn the_endpoints_service_says_when_it_answers_and_ends_when_it_is_told_to() {
    let world = World::new();
    assert_serves(&world, &here(&world, &example("systemd/debvisor-region.service")));
}

/// The only file of a directory.
fn only(directory: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    file.clone()
}

#[test]
#[ignore = "needs cargo-deb and root, and packs the program"]
fn the_package_installs_a_program_that_its_units_run() {
    let world = World::new();
    let built = Path::new(program()).parent().unwrap();
    let profile = if built.ends_with("debug") { "dev" } else { "release" };
    fs::create_dir(world.path("made")).unwrap();
    let mut make = Command::new(repository().join(".ci/package"));
    make.args([profile, &format!("{}/", world.path("made").display()), "--fast"]);
    Answer::from_output(make.env("CARGO_TARGET_DIR", built.parent().unwrap()).output().unwrap()).exits(0);

    // Into a root of its own, which has nothing that it depends on.
    let root = world.path("root");
    for directory in ["info", "updates"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(directory)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let mut install = Command::new("dpkg");
    install.arg(format!("--root={}", root.display())).args(["--force-depends", "-i"]).arg(only(&world.path("made")));
    Answer::from_output(install.output().unwrap()).exits(0);

    let installed = root.join("usr/bin/debvisor-region").display().to_string();
    let unit = |name: &str| {
        let text = fs::read_to_string(root.join("usr/lib/systemd/system").join(name)).unwrap();
        here(&world, &text).replace(program(), &installed)
    };
    assert_verified(&world, UNITS.map(unit));
    assert_serves(&world, &unit(UNITS[0]));

    fs::create_dir(world.path("man")).unwrap();
    world.run(["man", "man"]).exits(0);
    let pages = |at: &Path| {
        let names = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| name.trim_end_matches(".gz").to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(pages(&root.join("usr/share/man/man1")), pages(&world.path("man")));
    let script = root.join("usr/share/bash-completion/completions/debvisor-region");
    let words = format!(". {} && complete -p debvisor-region", script.display());
    Answer::from_output(Command::new("bash").args(["-c", &words]).output().unwrap()).exits(0);
    for more in ["zsh/vendor-completions/_debvisor-region", "fish/vendor_completions.d/debvisor-region.fish"] {
        assert!(fs::read_to_string(root.join("usr/share").join(more)).unwrap().contains("failover"), "{more}");
    }
}

#[test]
fn the_reconciling_service_and_the_cron_table_do_a_round() {
    let world = world();
    let unit = here(&world, &example("systemd/debvisor-region-reconcile.service"));
    let environment = value(&unit, "Environment");
    let round = format!("{environment} {}", value(&unit, "ExecStart"));
    let apply = "debvisor-region apply --auto-approve --topology topology --state state/state.db";
    Answer::from_output(shell(&world, apply).output().unwrap()).exits(0);
    assert_replicated(&world);
    Answer::from_output(shell(&world, &round).output().unwrap()).exits(0);
    let metrics = String::from_utf8(world.read("state/metrics.prom")).unwrap();
    assert!(metrics.contains("debvisor_region"), "{metrics}");
    fs::remove_file(world.path("state/metrics.prom")).unwrap();

    let table = here(&world, &example("cron/debvisor-region"));
    let lines: Vec<&str> =
        table.lines().filter(|line| line.starts_with(|it: char| it == '*' || it.is_ascii_digit())).collect();
    assert_eq!(lines.len(), 2, "{table}");
    for line in lines {
        let mut fields = line.split_ascii_whitespace();
        assert!(fields.by_ref().take(5).all(|field| field == "*" || field.parse::<u8>().is_ok()), "{line}");
        assert_eq!(fields.next(), Some("root"));
        // cron takes a bare % for the end of the line.
        let command = fields.collect::<Vec<_>>().join(" ").replace("\\%", "\u{1}");
        assert!(!command.contains('%'), "{line}");
        let command = format!("{environment} {}", command.replace('\u{1}', "%"));
        Answer::from_output(shell(&world, &command).output().unwrap()).exits(0);
    }
    assert!(world.path("state/metrics.prom").exists());
    let kept =
        fs::read_dir(world.path("state")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(kept.filter(|name| name.starts_with("weekly-")).count(), 1);
}

/// A program of this world that stands for one which speaks to a forge.
fn stands_in(world: &World, name: &str, script: &str) {
    world.write(
        format!("bin/{name}"),
        format!("#!/bin/sh -e\necho \"$@\" >> {}\n{script}\n", world.path("asked").display()),
    );
    fs::set_permissions(world.path(format!("bin/{name}")), fs::Permissions::from_mode(0o755)).unwrap();
}

fn repository_of(world: &World) {
    let script = "git init -q -b main && git add topology && \
                  git -c user.name=t -c user.email=t@example.org commit -q -m first";
    Answer::from_output(shell(world, script).output().unwrap()).exits(0);
}

/// Runs the scripts of a job, each with the variables that those before it handed on.
fn job(world: &World, scripts: &[String], environment: &[(&str, String)]) {
    for script in scripts {
        let mut command = shell(world, script);
        let handed = fs::read_to_string(world.path("handed")).unwrap_or_default();
        command.envs(handed.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Answer::from_output(command.output().unwrap()).exits(0);
    }
}

fn texts(of: &Value) -> Vec<String> {
    of.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The comment that a plan became, and what the merge did.
fn assert_planned_then_applied(world: &World, plan: impl FnOnce(), apply: impl FnOnce()) {
    plan();
    let comment = String::from_utf8(world.read("comment.md")).unwrap();
    assert!(comment.contains("vm.web-vm-1") && comment.contains('|'), "{comment}");
    let copies = world.path("regions/eu-west-1/resources");
    assert!(!copies.exists(), "a plan changes nothing");
    apply();
    assert_replicated(world);
    let settled = "debvisor-region plan --detailed-exitcode --topology topology --state state/state.db";
    Answer::from_output(shell(world, settled).output().unwrap()).exits(0);
}

#[test]
fn gitlab_comments_the_plan_and_carries_it_out_after_the_merge() {
    let world = world();
    repository_of(&world);
    stands_in(&world, "curl", "");
    let text = here(&world, &example("pipelines/gitlab-ci.yml"));
    let pipeline: Value = serde_yaml::from_str(&text).unwrap();
    let mut environment: Vec<(&str, String)> = vec![
        ("NOTES_TOKEN", "glpat".to_owned()),
        ("CI_API_V4_URL", "https://gitlab.example/api/v4".to_owned()),
        ("CI_PROJECT_ID", "7".to_owned()),
        ("CI_MERGE_REQUEST_IID", "3".to_owned()),
    ];
    for (name, value) in pipeline["variables"].as_object().unwrap() {
        environment.push((name, value.as_str().unwrap().to_owned()));
    }
    let run = |name: &str| job(&world, &texts(&pipeline[name]["script"]), &environment);
    assert_planned_then_applied(&world, || run("plan"), || run("apply"));
    let asked = String::from_utf8(world.read("asked")).unwrap();
    assert!(asked.contains("https://gitlab.example/api/v4/projects/7/merge_requests/3/notes"), "{asked}");
    for name in ["plan", "apply"] {
        assert!(pipeline["stages"].as_array().unwrap().contains(&pipeline[name]["stage"]), "{name}");
    }
}

#[test]
fn github_comments_the_plan_and_carries_it_out_after_the_merge() {
    let world = world();
    repository_of(&world);
    let text = here(&world, &example("pipelines/github-actions.yml"));
    let pipeline: Value = serde_yaml::from_str(&text).unwrap();
    let mut environment = vec![
        ("GITHUB_ENV", world.path("handed").display().to_string()),
        ("GH_TOKEN", "token".to_owned()),
        ("PULL_REQUEST", "3".to_owned()),
    ];
    for (name, value) in pipeline["env"].as_object().unwrap() {
        environment.push((name, value.as_str().unwrap().to_owned()));
    }
    let steps = |name: &str| pipeline["jobs"][name]["steps"].as_array().unwrap().clone();
    let run = |name: &str| {
        let scripts = steps(name).iter().filter_map(|step| Some(step["run"].as_str()?.to_owned())).collect::<Vec<_>>();
        job(&world, &scripts, &environment);
    };
    let kept = world.path("kept");
    // What the upload kept under the name of the tree comes back under that name.
    stands_in(
        &world,
        "gh",
        &format!("[ \"$1\" != run ] || [ \"$4\" != \"$(cat {0}.name)\" ] || cp {0} plan.json", kept.display()),
    );
    let plan = || {
        run("plan");
        let tree = String::from_utf8(world.read("handed")).unwrap();
        let tree = tree.trim().strip_prefix("TREE=").unwrap().to_owned();
        let upload = steps("plan").into_iter().find(|step| step["with"]["path"] == "plan.json").unwrap();
        assert_eq!(upload["with"]["name"], "plan-${{ env.TREE }}");
        fs::rename(world.path("plan.json"), &kept).unwrap();
        fs::write(PathBuf::from(format!("{}.name", kept.display())), format!("plan-{tree}")).unwrap();
    };
    assert_planned_then_applied(&world, plan, || run("apply"));
    let asked = String::from_utf8(world.read("asked")).unwrap();
    assert!(asked.contains("pr comment 3 --edit-last --create-if-none --body-file comment.md"), "{asked}");
}
