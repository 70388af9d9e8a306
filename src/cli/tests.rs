//! The command line from outside, run in this process.

use std::ffi::OsString;
use std::io::Write;
use std::sync::{Arc, Mutex};

use super::args::Cli;
use crate::host;
use crate::render::terminal::Device;
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

/// Exit code, standard output and standard error of one command, away from any terminal.
fn run(args: &[&str]) -> (String, String, String) {
    run_at(args, "", Terminal { utf8: true, ..Terminal::default() })
}

fn run_at(args: &[&str], answer: &str, terminal: Terminal) -> (String, String, String) {
    let (output, error) = (Buffer::default(), Buffer::default());
    let streams = Streams {
        input: Box::new(std::io::Cursor::new(answer.to_owned().into_bytes())),
        output: Box::new(output.clone()),
        error: Box::new(error.clone()),
        terminal,
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
        assert!(help.contains("Examples:\n  debvisor-region"), "{path} shows no example");
        assert!(help.matches("\nOptions:\n").count() <= 1, "{path} has its options in two places");
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
    assert!(!output.contains("-guard"), "{output}");
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
    assert!(error.contains("nothing is overwritten"), "{error}");

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
    let scripts = ["bash", "zsh", "fish"].map(|shell| run(&["completions", shell]).1);
    let mut root = Cli::shaped();
    root.build();
    let mut open = vec![root];
    let mut pages = 0;
    while let Some(command) = open.pop() {
        let path = command.get_bin_name().unwrap_or_default().to_owned();
        let page = std::fs::read_to_string(dir.path().join(format!("{}.1", path.replace(' ', "-")))).unwrap();
        assert!(page.contains("Examples:"), "{path}: its page has no example");
        for script in &scripts {
            assert!(script.contains(command.get_name()), "{path} is not completed");
            assert!(!script.contains("-guard"), "what nobody types is not offered");
        }
        pages += 1;
        open.extend(command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), pages);
}

/// The words of an example as a shell would hand them over: up to a comment, a pipe or a redirection, and what is
/// quoted as one.
fn words(example: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in example.chars().chain([' ']) {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty()));
            }
            c => word.push(c),
        }
    }
    words.into_iter().take_while(|word| !matches!(word.as_str(), "#" | "|" | ">")).collect()
}

#[test]
fn every_example_is_a_command_line_of_this_version() {
    let mut root = Cli::shaped();
    root.build();
    let mut open = vec![root];
    let mut seen = 0;
    while let Some(mut command) = open.pop() {
        let help = command.render_help().to_string();
        for example in help.lines().filter(|line| line.starts_with("  debvisor-region")) {
            seen += 1;
            if let Err(error) = Cli::shaped().try_get_matches_from(words(example)) {
                panic!("{example}\n{error}");
            }
        }
        open.extend(command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned());
    }
    assert!(seen > 30, "{seen}");
}

/// What stands between backticks in the texts of a source file that people get to read.
fn quoted(source: &str, help: bool) -> Vec<String> {
    let shown = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let spoken = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("//") || (help && line.starts_with("///"))
    };
    let lines: Vec<&str> = shown.lines().filter(spoken).map(|line| line.trim_start_matches([' ', '/'])).collect();
    // A text goes on in the next line after a backslash, a doc comment without one.
    let text = lines.join("\n").replace("\\\n", "");
    let parts = text.split('`').collect::<Vec<_>>();
    parts.iter().skip(1).step_by(2).map(|part| part.replace('\n', " ")).collect()
}

/// Why a text that looks like a command is none of this version.
fn unknown_command(root: &clap::Command, text: &str) -> Option<String> {
    // All that there is to be, some of it in later versions.
    const FIRST: &str = "init validate fmt schema plan show apply reconcile import graph region replication vm failover \
                         global history status state serve completions man";
    let text = text.strip_prefix("debvisor-region ").unwrap_or(text);
    let mut words = text.split_whitespace().peekable();
    let first = words.next()?;
    if !FIRST.split_whitespace().any(|known| known == first) || words.peek().is_none() {
        return None;
    }
    let plain = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !word.starts_with("--");
    let Some(found) = root.find_subcommand(first) else {
        // Such as `failover = …` of a topology.
        return words.peek().filter(|next| plain(next)).map(|_| format!("`{text}`: there is no `{first}`"));
    };
    let mut command = Some(found);
    while let Some(group) = command.filter(|found| found.has_subcommands()) {
        let Some(next) = words.next() else { break };
        let Some(inner) = group.find_subcommand(next) else {
            // Words that only begin like a command.
            return plain(next).then(|| format!("`{text}`: there is no `{next}`"));
        };
        command = Some(inner);
    }
    let known = |option: &str| {
        let args = command.into_iter().flat_map(clap::Command::get_arguments).chain(root.get_arguments());
        args.filter_map(|arg| arg.get_long()).any(|long| long == option)
    };
    let option = words.filter_map(|word| word.strip_prefix("--")).find(|option| !known(option))?;
    Some(format!("`{text}`: there is no `--{option}`"))
}

#[test]
fn a_runbook_names_commands_of_this_version() {
    let mut root = Cli::shaped();
    root.build();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/three-regions");
    let (exit, output, error) =
        run(&["failover", "runbook", "us-east-1", "us-west-1", "--topology", example.to_str().unwrap()]);
    assert_eq!((exit, error), (code(0), String::new()));
    let commands: Vec<&str> =
        output.lines().map(str::trim).filter(|line| line.starts_with("debvisor-region ")).collect();
    assert!(commands.len() > 40, "{output}");
    let unknown = |line: &&str| unknown_command(&root, line);
    assert_eq!(commands.iter().filter_map(unknown).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_runbook_is_of_declared_regions() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/three-regions");
    let write = |from, to| run(&["failover", "runbook", from, to, "--topology", example.to_str().unwrap()]);
    let (exit, _, error) = write("us-east-1", "us-west-2");
    assert_eq!(exit, code(1));
    assert!(error.contains("us-west-2") && error.contains("us-west-1"), "{error}");
    assert_eq!(write("us-east-1", "us-east-1").0, code(1));
}

#[test]
fn advice_names_commands_of_this_version() {
    let mut root = Cli::shaped();
    root.build();
    assert_eq!(unknown_command(&root, "region readmit a"), None);
    assert_eq!(unknown_command(&root, "failover back"), None);
    assert!(unknown_command(&root, "vm nonsense").is_some());
    assert!(unknown_command(&root, "plan --nonsense").is_some());
    assert_eq!(unknown_command(&root, "replication sync web a b --accept-change"), None);
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![source.clone()];
    let mut wrong = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        // Below the sources: the repository itself may lie in a directory of any name.
        let inside = path.strip_prefix(&source).unwrap();
        let tests = inside.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        if tests || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let help = inside.starts_with("cli");
        for text in quoted(&std::fs::read_to_string(&path).unwrap(), help) {
            let unknown = unknown_command(&root, &text);
            wrong.extend(unknown.map(|why| format!("{}: {why}", path.display())));
        }
    }
    let monitoring = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring");
    for file in ["debvisor-region.rules.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(monitoring.join(file)).unwrap();
        let advice: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
        assert!(advice.len() > 2, "{file}");
        wrong.extend(advice.into_iter().filter_map(|advice| unknown_command(&root, advice)));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Two regions in directories and a machine with one file.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::TempDir::new().unwrap());
        site.write(
            "topology.toml",
            "schema_version = 1\n\n[regions.a]\napi_endpoint = \"file:a\"\nprimary = true\n\n\
             [regions.b]\napi_endpoint = \"file:b\"\n\n\
             [[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\n\
             [vms.web]\nreplicas = [\"b\"]\n",
        );
        site.write("a/resources/vm/web/web.xml", "<domain/>");
        site
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn run(&self, args: &[&str]) -> (String, String, String) {
        let topology = self.path("topology.toml");
        run(&[args, &["--topology", &topology]].concat())
    }

    #[track_caller]
    fn does(&self, args: &[&str]) -> String {
        let (exit, output, error) = self.run(args);
        assert_eq!(exit, code(0), "{output}\n{error}");
        output
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.does(&[args, &["--format", "json"]].concat())).unwrap()
    }
}

#[test]
fn only_a_saved_plan_is_overwritten() {
    let site = Site::new();
    let topology = site.path("topology.toml");
    let before = std::fs::read_to_string(&topology).unwrap();
    let (exit, output, error) = site.run(&["plan", "--out", &topology]);
    assert_eq!((exit, output), (code(1), String::new()));
    assert!(error.contains("is no saved plan") && error.contains("Name another file"), "{error}");
    assert_eq!(std::fs::read_to_string(&topology).unwrap(), before);
    site.write("other.json", "{\"format_version\": \"1.0\"}");
    assert_eq!(site.run(&["plan", "--out", &site.path("other.json")]).0, code(1));
    let plan = site.path("plan.json");
    site.does(&["plan", "--out", &plan]);
    site.does(&["plan", "--out", &plan]);
    site.does(&["show", &plan]);
}

#[test]
fn quiet_runs_print_their_result_and_no_plan() {
    let site = Site::new();
    let (exit, output, error) = site.run(&["plan", "-q"]);
    assert_eq!((exit, error), (code(0), String::new()));
    assert!(output.contains("vm.web"), "the plan is the result: {output}");
    let (exit, output, error) = site.run(&["apply", "-q", "--auto-approve"]);
    assert_eq!((exit, error), (code(0), String::new()));
    assert!(output.contains("Done") && !output.contains("vm.web"), "{output}");
    let (exit, output, error) = site.run(&["apply", "-q", "--auto-approve"]);
    assert_eq!((exit, error), (code(0), String::new()));
    assert!(output.contains("Nothing to do") && output.lines().count() == 1, "{output}");
}

#[test]
fn printed_errors_are_valid_by_their_schema() {
    let schema: serde_json::Value = serde_json::from_str(&run(&["schema", "error"]).1).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let site = Site::new();
    let one = site.run(&["vm", "restore", "nobody", "--auto-approve", "--format", "json"]).2;
    site.write("topology.toml", "schema_version = 1\nfirst = 1\nsecond = 2\n");
    let several = site.run(&["validate", "--format", "json"]).2;
    for (text, field) in [(one, "error"), (several, "errors")] {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value[field].is_object() || value[field].is_array(), "{value}");
        assert!(validator.is_valid(&value), "{value}");
        let inner = if field == "error" { &value[field] } else { &value[field][0] };
        assert!(!validator.is_valid(inner), "the inner object is not what is printed");
    }
}

#[test]
fn a_round_every_moment_is_no_command_line() {
    let (exit, output, error) = run(&["reconcile", "--watch", "--interval", "999ms"]);
    assert_eq!((exit, output), (code(64), String::new()));
    assert!(error.contains("1s"), "{error}");
}

#[test]
fn what_a_restore_replaced_is_named_counted_and_discarded() {
    let site = Site::new();
    site.does(&["apply", "--auto-approve"]);
    site.write("a/resources/vm/web/web.xml", "<broken/>");
    let said = site.does(&["vm", "restore", "web", "--auto-approve"]);
    let points = site.json(&["replication", "points", "web", "--region", "a"]);
    assert_eq!((points.as_array().unwrap().len(), &points[0]["state"]), (1, &"set_aside".into()), "{points}");
    let name = points[0]["name"].as_str().unwrap();
    assert!(said.contains(&format!("`replication discard web a {name}`")), "{said}");
    assert_eq!(site.json(&["replication", "status", "web"])["set_aside"], 1);
    assert!(site.does(&["status"]).contains("1 copy of former files set aside"));
    let into = site.path("former");
    site.does(&["replication", "export", "web", "--point", name, &into]);
    assert_eq!(std::fs::read_to_string(site.path("former/web.xml")).unwrap(), "<broken/>");

    let wrong: &[&[&str]] = &[
        &["replication", "export", "web", "--point", name, &into],
        &["replication", "export", "web", "--point", "99", "--region", "b", &site.path("none")],
        &["replication", "discard", "web", "a", "replaced-nothing"],
        &["vm", "restore", "web", "--from", "a", "--auto-approve"],
    ];
    for args in wrong {
        let (exit, _, error) = site.run(&[*args, &["--format", "json"]].concat());
        assert_eq!(exit, code(1), "{args:?}: {error}");
        let error: serde_json::Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["error"]["labels"], serde_json::json!([]), "{args:?}");
        let help = error["error"]["help"].as_str().unwrap();
        assert!(help.contains(name) || help.contains("empty"), "{args:?}: {help}");
    }
    site.does(&["replication", "discard", "web", "a", name]);
    assert_eq!(site.json(&["replication", "points", "web", "--region", "a"]), serde_json::json!([]));
}

#[test]
fn a_lost_machine_is_restored_not_accepted() {
    let site = Site::new();
    site.does(&["apply", "--auto-approve"]);
    std::fs::remove_dir_all(site.path("a/resources/vm/web")).unwrap();
    for command in ["plan", "status"] {
        let shown = site.does(&[command, "--format", "json"]);
        assert!(shown.contains("`vm restore web`") && !shown.contains("--accept-change"), "{shown}");
    }
    // A part of it is gone: what is left could be copied.
    site.write("a/resources/vm/web/notes", "something else");
    let shown = site.does(&["plan", "--format", "json"]);
    assert!(shown.contains("`vm restore web`") && shown.contains("sync web a b --accept-change"), "{shown}");
}

#[test]
fn regions_in_each_other_are_refused() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.path("topology.toml")).unwrap();
    site.write("topology.toml", &text.replace("file:b", "file:a/resources/../resources/vm/b"));
    let (exit, _, error) = site.run(&["validate", "--format", "json"]);
    assert_eq!(exit, code(1));
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["code"], "config::nested-endpoint");
    assert_eq!(error["error"]["labels"].as_array().map(Vec::len), Some(2));

    site.write("topology.toml", &text);
    std::os::unix::fs::symlink("a", site.path("b")).unwrap();
    let plan = site.json(&["plan"]);
    assert_eq!(plan["unobserved"][0]["region_id"], "b", "{plan:#}");
    assert!(plan["unobserved"][0]["reason"].as_str().unwrap().contains("that of region a"), "{plan:#}");
    let (exit, _, error) = site.run(&["apply", "--auto-approve"]);
    assert_eq!(exit, code(3), "{error}");
    assert!(!error.contains("in use"), "{error}");
}

/// Two regions and one machine with files.
fn small_world() -> (tempfile::TempDir, String) {
    let dir = tempfile::TempDir::new().unwrap();
    let topology = "schema_version = 1\n\n[regions.a]\napi_endpoint = \"file:a\"\nprimary = true\n\n\
                    [regions.b]\napi_endpoint = \"file:b\"\n\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\n\
                    resource_types = [\"vm\"]\n\n[vms.web]\nreplicas = [\"b\"]\n";
    std::fs::write(dir.path().join("topology.toml"), topology).unwrap();
    let files = dir.path().join("a/resources/vm/web");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("domain.xml"), "<domain/>\n").unwrap();
    let path = dir.path().join("topology.toml").to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn only_the_word_yes_is_a_yes() {
    let (dir, topology) = small_world();
    let device = Device { tty: true, width: Some(80) };
    // A dumb terminal can answer, and draws no bars over the test's own output.
    let terminal =
        Terminal { input_tty: true, output: device, error: device, dumb: true, utf8: true, ..Terminal::default() };
    for answer in ["no\n", "y\n", "YES\n", "\n", ""] {
        let (exit, output, error) = run_at(&["apply", "--topology", &topology], answer, terminal);
        assert_eq!(exit, code(5), "{answer:?}");
        assert!(output.starts_with("Plan: 4 to create, 1 to sync"), "{output}");
        assert!(error.contains("Only `yes`") && error.contains("nothing was changed"), "{error}");
        assert!(!dir.path().join("b").exists(), "{answer:?}");
    }
    let (exit, output, error) = run_at(&["apply", "--topology", &topology, "--no-input"], "yes\n", terminal);
    assert_eq!(exit, code(5), "{output}");
    assert!(error.contains("--auto-approve") && !error.contains("Only `yes`"), "{error}");

    let (exit, output, error) = run_at(&["apply", "--topology", &topology], "yes\n", terminal);
    assert_eq!(exit, code(0), "{output}{error}");
    assert!(output.contains("5 done"), "{output}");
    assert!(dir.path().join("b/resources/vm/web/domain.xml").exists());
    // With nothing to do nothing is asked.
    let (exit, _, error) = run_at(&["apply", "--topology", &topology], "", terminal);
    assert_eq!((exit, error), (code(0), String::new()));
}

#[test]
fn a_run_in_json_is_lines_of_events_and_nothing_else() {
    let (_dir, topology) = small_world();
    let (exit, output, error) = run(&["apply", "--topology", &topology, "--format", "json"]);
    assert_eq!((exit, output), (code(5), String::new()));
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["code"], "not_approved");
    assert!(error["error"]["help"].as_str().unwrap().contains("--auto-approve"));

    let (exit, output, error) = run(&["apply", "--topology", &topology, "--format", "json", "--auto-approve"]);
    assert_eq!((exit, error), (code(0), String::new()));
    let lines: Vec<serde_json::Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["type"], "summary");
    assert_eq!(lines.last().unwrap()["done"], 5);
    assert_eq!(lines.iter().filter(|line| line["type"] == "action_finished").count(), 5);

    for args in [
        &["status"][..],
        &["plan"],
        &["history"],
        &["state", "show"],
        &["replication", "points", "web"],
        &["vm", "list"],
        &["region", "list"],
        &["region", "list", "--status", "healthy"],
        &["region", "show", "a"],
        &["region", "health-check", "a"],
        &["region", "stats", "b"],
        &["global"],
    ] {
        for format in ["json", "yaml"] {
            let args: Vec<&str> = args.iter().copied().chain(["--topology", &topology, "--format", format]).collect();
            let (exit, output, error) = run(&args);
            assert_eq!((exit, error), (code(0), String::new()), "{args:?}");
            let value: serde_json::Value = if format == "json" {
                serde_json::from_str(&output).unwrap()
            } else {
                serde_yaml::from_str(&output).unwrap()
            };
            assert!(value.is_object() || value.is_array(), "{args:?}");
        }
    }
}

#[test]
fn regions_are_shown_and_only_those_that_there_are() {
    let (dir, topology) = small_world();
    assert_eq!(run(&["apply", "--topology", &topology, "--auto-approve"]).0, code(0));
    std::fs::rename(dir.path().join("b"), dir.path().join("away")).unwrap();
    let json = |args: &[&str]| -> serde_json::Value {
        let (exit, output, error) = run(&[args, &["--topology", &topology, "--format", "json"]].concat());
        assert_eq!((exit, error), (code(0), String::new()), "{args:?}");
        serde_json::from_str(&output).unwrap()
    };
    let healthy = json(&["region", "list", "--status", "healthy"]);
    assert_eq!(healthy.as_array().unwrap().len(), 1, "{healthy}");
    assert_eq!((&healthy[0]["region_id"], &healthy[0]["seen_by"]), (&"a".into(), &serde_json::json!({})));
    assert_eq!(
        json(&["region", "health-check", "b"])["status"],
        "unknown",
        "a directory that is gone is not known dead"
    );
    assert_eq!(json(&["region", "stats", "a"])["resources_primary"], 1);
    let global = json(&["global"]);
    assert_eq!((&global["total_regions"], &global["healthy_regions"]), (&2.into(), &1.into()), "{global}");
    assert_eq!(global["answering_regions"], 1, "{global}");
    let replicas = &json(&["replication", "list"])[0]["replicas"];
    assert_eq!((&replicas["b"]["status"], &replicas["b"]["points"]), (&"unknown".into(), &serde_json::Value::Null));
    for args in [&["region", "show", "c"][..], &["region", "health-check", "c"], &["region", "stats", "c"]] {
        let (exit, output, error) = run(&[args, &["--topology", &topology]].concat());
        assert_eq!((exit, output), (code(1), String::new()), "{args:?}");
        assert!(error.contains("no region `c` is declared"), "{error}");
    }
    let (exit, _, error) = run(&["region", "list", "--status", "well", "--topology", &topology]);
    assert_eq!(exit, code(64));
    assert!(error.contains("healthy, degraded, unreachable, recovering, unknown"), "{error}");
}

#[test]
fn a_regions_answer_is_shown_at_the_line_that_asked() {
    let (dir, topology) = small_world();
    assert_eq!(run(&["apply", "--topology", &topology, "--auto-approve"]).0, code(0));
    std::fs::rename(dir.path().join("b"), dir.path().join("away")).unwrap();
    let (exit, _, error) = run(&["replication", "points", "web", "--region", "b", "--topology", &topology]);
    assert_eq!(exit, code(1), "{error}");
    assert!(
        error.contains("topology.toml:") && error.contains("[vms.web]") && error.contains("asked for here"),
        "{error}"
    );
    let (exit, _, error) = run(&["replication", "points", "wbe", "--topology", &topology]);
    assert_eq!(exit, code(1));
    assert!(error.contains("Did you mean `web`?"), "{error}");
}

#[test]
fn points_are_listed_of_the_regions_that_answer_and_a_silent_one_is_marked() {
    let (dir, topology) = small_world();
    assert_eq!(run(&["apply", "--topology", &topology, "--auto-approve"]).0, code(0));
    std::fs::rename(dir.path().join("b"), dir.path().join("away")).unwrap();
    let (exit, output, error) = run(&["replication", "points", "web", "--topology", &topology, "--format", "json"]);
    assert_eq!((exit, error), (code(0), String::new()));
    let listed: serde_json::Value = serde_json::from_str(&output).unwrap();
    let [silent] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&silent["region_id"], &silent["sequence"]), (&"b".into(), &serde_json::Value::Null));
    assert!(silent["error"].as_str().unwrap().contains("/b"), "{silent}");
    let (exit, output, error) = run(&["replication", "points", "web", "--topology", &topology]);
    assert_eq!((exit, error), (code(0), String::new()));
    assert!(output.contains("a\n  no point yet\n") && output.contains("b\n  its points are not known: "), "{output}");

    std::fs::rename(dir.path().join("a"), dir.path().join("gone")).unwrap();
    let (exit, output, error) = run(&["replication", "points", "web", "--topology", &topology]);
    assert_eq!((exit, output), (code(1), String::new()), "{error}");
}

#[test]
fn a_saved_plan_is_shown_and_its_damage_seen() {
    let (dir, topology) = small_world();
    let file = dir.path().join("plan.json");
    let file = file.to_str().unwrap();
    assert_eq!(run(&["plan", "--topology", &topology, "--out", file]).0, code(0));
    let (exit, output, _) = run(&["show", file, "--format", "markdown"]);
    assert_eq!(exit, code(0));
    assert!(output.starts_with("### debvisor-region plan\n\n**4 to create, 1 to sync**"), "{output}");
    let text = std::fs::read_to_string(file).unwrap().replace("\"vm.web\"", "\"vm.wet\"");
    std::fs::write(file, text).unwrap();
    for args in [&["show", file][..], &["apply", file, "--topology", &topology]] {
        let (exit, output, error) = run(args);
        assert_eq!((exit, output), (code(1), String::new()));
        assert!(error.contains("plan.json") && error.contains("changed after it was made"), "{error}");
    }
}

#[test]
fn what_cannot_be_restored_is_said_before_anybody_is_asked() {
    let (_dir, topology) = small_world();
    assert_eq!(run(&["apply", "--topology", &topology, "--auto-approve"]).0, code(0));
    for (args, word) in
        [(&["nope"][..], "nope"), (&["web", "--from", "zz"], "zz"), (&["web", "--point", "99"], "no region")]
    {
        let args: Vec<&str> =
            ["vm", "restore", "--topology", &topology].into_iter().chain(args.iter().copied()).collect();
        let (exit, _, error) = run(&args);
        assert_eq!(exit, code(1), "{error}");
        assert!(error.contains(word) && !error.contains("--auto-approve"), "{error}");
    }
    let (exit, _, error) = run(&["vm", "restore", "web", "--topology", &topology]);
    assert_eq!(exit, code(5));
    assert!(error.contains("--auto-approve"), "{error}");
}

#[test]
fn a_state_that_was_named_must_be_a_file_that_is_there() {
    let (dir, topology) = small_world();
    let typo = dir.path().join("typo.db");
    let (exit, output, error) = run(&["history", "--state", typo.to_str().unwrap()]);
    assert_eq!((exit, output), (code(1), String::new()));
    assert!(error.contains("typo.db"), "{error}");
    let directory = dir.path().to_str().unwrap();
    for command in [&["plan", "--topology", &topology][..], &["history"], &["state", "show"]] {
        let args: Vec<&str> = command.iter().copied().chain(["--state", directory]).collect();
        let (exit, _, error) = run(&args);
        assert_eq!(exit, code(1), "{command:?}");
        assert!(error.contains("is not a file") && !error.contains("266"), "{error}");
    }
}

#[test]
fn every_mistake_in_a_regions_own_file_is_told_with_its_line() {
    let (dir, topology) = small_world();
    assert_eq!(run(&["apply", "--topology", &topology, "--auto-approve"]).0, code(0));
    let file = dir.path().join("b/.debvisor/config.toml");
    let told = || {
        let (_, output, _) = run(&["plan", "--topology", &topology, "--format", "json"]);
        let plan: serde_json::Value = serde_json::from_str(&output).unwrap();
        plan["unobserved"][0]["reason"].as_str().unwrap().to_owned()
    };
    std::fs::write(&file, "[quiesce]\nsnapshto = [\"x\"]\ntimeout = \"soon\"\n\n[runer]\n").unwrap();
    let reason = told();
    for part in ["config.toml", "line 2", "snapshto", "line 3", "soon", "line 5", "runer", "did you mean"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    std::fs::write(&file, "[quiesce]\ntimeout = \"soon\"\n").unwrap();
    assert!(told().contains("line 2"), "{}", told());
}

#[test]
fn what_was_born_elsewhere_is_accepted_after_a_yes() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("topology.toml");
    let text = "schema_version = 1\n[regions.a]\napi_endpoint = \"file:a\"\nprimary = true\n[regions.b]\n\
                api_endpoint = \"file:b\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
                bidirectional = true\n[vms.web]\nprimary = \"a\"\nreplicas = [\"b\"] # there\n";
    std::fs::write(&file, text).unwrap();
    let topology = file.to_str().unwrap();
    assert_eq!(run(&["apply", "--auto-approve", "--topology", topology]).0, code(0));
    let other = text.replace("primary = \"a\"\nreplicas = [\"b\"]", "primary = \"b\"\nreplicas = [\"a\"]");
    std::fs::write(&file, &other).unwrap();
    let tty = Device { tty: true, width: Some(80) };
    let seen = Terminal { input_tty: true, output: tty, error: tty, utf8: true, ..Terminal::default() };
    let accept = |answer| run_at(&["failover", "accept", "--topology", topology], answer, seen);
    let (exit, output, error) = accept("yes please\n");
    assert_eq!(exit, code(5), "{error}");
    assert!(output.contains("\u{1b}[31m-replicas = [\"a\"] # there\u{1b}[0m"), "{output:?}");
    assert!(error.contains("nothing was written: the answer was `yes please`"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), other);
    let (exit, _, error) = accept("yes\n");
    assert_eq!(exit, code(0), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}
