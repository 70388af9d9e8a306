//! Every line of the command line reference of the customer's guide, as it stands there and in its order, typed into a
//! shell before four served regions. `tests/fixtures/guide-cli.txt` has the lines, `guide-cli.toml` what they presume;
//! the credentials file says where the guide's host names are reached here.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::machines::Machines;
use crate::served::Served;
use crate::support::{Answer, World, assert_same_tree, program, repository};

const LINES: &str = include_str!("../fixtures/guide-cli.txt");
const REGIONS: [&str; 4] = ["us-east-1", "us-west-1", "eu-west-1", "us-central-1"];
/// The machine that the guide asks after before it has declared one.
const MACHINE: &str = "\n[vms.vm-12345]\nprimary = \"us-east-1\"\nreplicas = [\"us-west-1\"]\n";

/// The guide's lines and what they are typed before.
struct Guide {
    lines: VecDeque<String>,
    // In this order they end.
    _served: Vec<Served>,
    machines: Machines,
    world: World,
}

impl Guide {
    fn new() -> Self {
        let world = World::new();
        let hosts: Vec<String> = REGIONS.iter().map(|region| format!("api.{region}.internal")).collect();
        let hostnames: Vec<&str> = hosts.iter().map(String::as_str).collect();
        Authority::new(&world, "authority").certify(&world, "regions", &hostnames);

        // Free until they are served: regions ask after each other at once.
        let free: Vec<TcpListener> = REGIONS.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let places: Vec<String> = free.iter().map(|place| place.local_addr().unwrap().to_string()).collect();
        drop(free);
        let origin = |(host, place): (&String, &String)| {
            format!("[origins.\"https://{host}\"]\nca = \"authority.pem\"\nconnect = \"{place}\"\n")
        };
        world.secret("credentials.toml", hosts.iter().zip(&places).map(origin).collect::<String>());

        let machines = Machines::of(&world);
        let serve = |(region, place): (&'static str, &String)| {
            world.write(format!("{region}/.debvisor/config.toml"), machines.config());
            let tls = ["--tls-cert", "regions.pem", "--tls-key", "regions.key", "--peer-tokens", "credentials.toml"];
            Served::at(&world, region, place, tls.map(str::to_owned).into())
        };
        let served = REGIONS.into_iter().zip(&places).map(serve).collect();
        fs::copy(repository().join("tests/fixtures/guide-cli.toml"), world.path("topology.toml")).unwrap();
        let lines = LINES.replace("\\\n", "\\\0").lines().map(|line| line.replace('\0', "\n")).collect();
        Self { lines, _served: served, machines, world }
    }

    /// As a person has it who works with these regions.
    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let ours = PathBuf::from(program()).parent().map(Path::to_owned);
        let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&path))).unwrap();
        command
            .current_dir(self.world.dir.path())
            .env("PATH", path)
            .env("SHELL", "/bin/sh")
            .env("DEBVISOR_REGION_CREDENTIALS", "credentials.toml")
            .env_remove("DEBVISOR_REGION_TOPOLOGY")
    }

    /// The guide's next line, which has this command.
    fn line(&self, command: &str) -> String {
        let line = self.lines.front().unwrap_or_else(|| panic!("the guide has no line of {command} left")).clone();
        assert!(line.starts_with(&format!("debvisor-region {command}")), "{line}, not {command}");
        line
    }

    fn typed(&self, line: &str) -> Answer {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", line]).stdin(Stdio::null());
        Answer::from_output(self.environment(&mut shell).output().unwrap())
    }

    /// Types the guide's next line, where nobody can be asked.
    #[track_caller]
    fn next(&mut self, command: &str) -> Answer {
        let line = self.line(command);
        self.lines.pop_front();
        self.typed(&line)
    }

    /// Types the guide's next line at a terminal, and answers what is asked.
    #[track_caller]
    fn next_at_a_terminal(&mut self, command: &str, says: &str) -> Answer {
        let line = self.line(command);
        self.lines.pop_front();
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.environment(&mut terminal).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{says}\n").as_bytes()).unwrap();
        Answer::from_output(child.wait_with_output().unwrap())
    }

    /// Another command, whose line is not the guide's.
    #[track_caller]
    fn run(&self, command: &str) -> Answer {
        self.typed(&format!("debvisor-region {command}"))
    }

    #[track_caller]
    fn json(&self, command: &str) -> Value {
        self.run(&format!("{command} --format json")).exits(0).json()
    }

    /// Declares by the guide's next line, which says nothing new when it is typed again, and carries it out.
    #[track_caller]
    fn declares(&mut self, command: &str, expected: &str) {
        let line = self.line(command);
        let told = self.next(command).exits(0).says(&["wrote topology.toml"]);
        for line in expected.lines() {
            assert!(told.stdout.lines().any(|told| told == format!("+{line}")), "{line} in\n{}", told.stdout);
        }
        assert!(self.topology().contains(expected), "{expected} in\n{}", self.topology());
        let before = self.topology();
        self.typed(&line).exits(0).says(&["declared so already"]);
        assert_eq!(self.topology(), before);
        self.run("apply --auto-approve").exits(0);
        self.run("plan --detailed-exitcode").exits(0);
    }

    fn topology(&self) -> String {
        String::from_utf8(self.world.read("topology.toml")).unwrap()
    }

    /// What the regions themselves record.
    fn recorded(&self) -> toml::Table {
        self.run("import https://api.us-east-1.internal --dry-run").exits(0).stdout.parse().unwrap()
    }

    fn recorded_pair(&self, source: &str, target: &str) -> toml::Value {
        let all = self.recorded();
        let pairs = all["replication"].as_array().unwrap();
        let found = pairs
            .iter()
            .find(|pair| (pair["source"].as_str(), pair["target"].as_str()) == (Some(source), Some(target)));
        found.unwrap_or_else(|| panic!("{source} to {target} in {all:#?}")).clone()
    }

    /// A machine's files at its region of birth.
    fn machine(&self, id: &str, words: &str) {
        self.world.write(format!("us-east-1/resources/vm/{id}/domain.xml"), format!("<domain>{id}</domain>\n"));
        self.world.write(format!("us-east-1/resources/vm/{id}/disk.raw"), words.repeat(9000));
    }

    fn files(&self, region: &str, id: &str) -> PathBuf {
        self.world.path(format!("{region}/resources/vm/{id}"))
    }

    #[track_caller]
    fn assert_run_at(&self, region: &str) {
        let machines = self.json("vm where")["machines"].clone();
        let machines = machines.as_array().unwrap();
        assert_eq!(machines.len(), 2, "{machines:#?}");
        for machine in machines {
            assert_eq!(machine["running_at"], json!([region]), "{machine:#}");
        }
        assert_eq!(self.machines.overlaps(), Vec::<String>::new());
    }

    /// Back to where the guide's next failover begins.
    #[track_caller]
    fn home(&self) {
        self.run("failover execute us-west-1 us-east-1 --force --reason home").exits(0);
        self.run("apply --auto-approve").exits(0);
        self.assert_run_at("us-east-1");
    }
}

fn regions_of(guide: &mut Guide) {
    guide.declares(
        "region add",
        "[regions.us-east-1]\nname = \"US East 1\"\napi_endpoint = \"https://api.us-east-1.internal\"\n\
         primary = true\ncapacity_vms = 2000\n",
    );
    for region in REGIONS {
        // Each knows all four.
        let known: Value =
            serde_json::from_slice(&guide.world.read(format!("{region}/.debvisor/region.json"))).unwrap();
        assert_eq!(known["region_id"], region);
    }
    let recorded = guide.recorded()["regions"].clone();
    assert_eq!(recorded["us-east-1"]["capacity_vms"].as_integer(), Some(2000));
    assert_eq!(recorded.as_table().unwrap().len(), 4);

    guide.next("region list").exits(0).says(&REGIONS);
    guide.next("region list --status healthy").exits(0).says(&REGIONS);
    // The filter is one.
    let none = guide.run("region list --status unreachable").exits(0).stdout;
    assert!(REGIONS.iter().all(|region| !none.contains(region)), "{none}");
    let listed = guide.next("region list --format json").exits(0).json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 4);
    for region in listed {
        assert_eq!(region["status"], "healthy", "{region:#}");
        assert_eq!(region["is_primary"], region["region_id"] == "us-east-1", "{region:#}");
        assert!(region["latency_ms"].as_f64().is_some_and(|latency| latency > 0.0), "{region:#}");
    }
    guide.next("region show").exits(0).says(&["us-east-1", "the primary region", "https://api.us-east-1.internal"]);
    let shown = guide.next("region show").exits(0).json();
    let expected = json!({"region_id": "us-east-1", "name": "US East 1", "location": "us-east-1", "is_primary": true,
        "api_endpoint": "https://api.us-east-1.internal", "status": "healthy", "capacity_vms": 2000, "current_vms": 0});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(shown[name], *value, "{name} of {shown:#}");
    }
    // The three others were asked to look, and did.
    guide.next("region health-check").exits(0).says(&["us-east-1 healthy", "us-west-1", "eu-west-1", "us-central-1"]);
    guide.next("region stats").exits(0).says(&["0 of 2,000", "utilization", "failovers", "latency"]);
}

fn replication_of(guide: &mut Guide) {
    guide.declares(
        "replication setup",
        "[[replication]]\nsource = \"us-east-1\"\ntarget = \"us-west-1\"\nresource_types = [\"vm\", \"config\"]\n",
    );
    guide.declares(
        "replication setup",
        "[[replication]]\nsource = \"us-east-1\"\ntarget = \"eu-west-1\"\nresource_types = [\"vm\", \"config\", \"state\"]\n\
         sync_interval = \"10m\"\n",
    );
    guide.declares(
        "replication setup",
        "[[replication]]\nsource = \"us-west-1\"\ntarget = \"us-central-1\"\nresource_types = [\"vm\"]\n\
         bidirectional = true\n",
    );
    let slow = guide.recorded_pair("us-east-1", "eu-west-1");
    assert_eq!(slow["sync_interval"].as_str(), Some("10m"));
    assert_eq!(guide.recorded_pair("us-west-1", "us-central-1")["bidirectional"].as_bool(), Some(true));
    let plain = guide.recorded_pair("us-east-1", "us-west-1");
    assert_eq!(plain["resource_types"].as_array().unwrap().len(), 2);

    guide.machine("vm-12345", "as it was\n");
    guide.world.write("topology.toml", guide.topology() + MACHINE);
    guide.run("apply --auto-approve").exits(0);
    guide.next("replication status").exits(0).says(&["vm.vm-12345 held by us-east-1", "us-west-1", "in sync"]);
    guide.machine("vm-12345", "as it is now\n");
    guide.next("replication sync").exits(0).says(&["vm-12345"]);
    assert_same_tree(&guide.files("us-east-1", "vm-12345"), &guide.files("us-west-1", "vm-12345"));
    assert_eq!(guide.json("replication status vm-12345")["version"], 2);

    guide.machine("vm-web-1", "a page\n");
    guide.declares(
        "vm replicate",
        "[vms.vm-web-1]\nprimary = \"us-east-1\"\nreplicas = [\"us-west-1\", \"eu-west-1\"]\n",
    );
    for region in ["us-west-1", "eu-west-1"] {
        assert_same_tree(&guide.files("us-east-1", "vm-web-1"), &guide.files(region, "vm-web-1"));
    }
}

fn failovers_of(guide: &mut Guide) {
    for machine in ["vm-12345", "vm-web-1"] {
        guide.machines.start(machine, "us-east-1", 1);
    }
    guide.assert_run_at("us-east-1");
    // It asks before it acts; where nobody can be asked it changes nothing.
    let line = guide.line("failover execute");
    guide.typed(&line).exits(5).says(&["nobody can be asked", "--force"]);
    guide.assert_run_at("us-east-1");
    guide.next_at_a_terminal("failover execute", "yes").exits(0).says(&["Fail over from us-east-1 to us-west-1?"]);
    guide.assert_run_at("us-west-1");
    guide.home();

    let line = guide.line("failover execute");
    guide.lines.push_front(line);
    guide.next_at_a_terminal("failover execute", "no").exits(5).says(&["the answer was `no`"]);
    guide.assert_run_at("us-east-1");
    guide.next_at_a_terminal("failover execute", "yes").exits(0);
    guide.assert_run_at("us-west-1");
    guide.home();

    assert!(guide.line("failover execute").ends_with("--force"));
    guide.next("failover execute").exits(0);
    guide.assert_run_at("us-west-1");
    guide.home();

    // What is written last arrives as well.
    guide.machine("vm-web-1", "the last page\n");
    guide.next_at_a_terminal("failover execute", "yes").exits(0);
    guide.assert_run_at("us-west-1");
    let disk = guide.world.read("us-west-1/resources/vm/vm-web-1/disk.raw");
    assert_eq!(disk, "the last page\n".repeat(9000).as_bytes());

    let recent = guide.next("failover history").exits(0).stdout;
    let of_east = guide.next("failover history --region us-east-1").exits(0).stdout;
    let more = guide.next("failover history --limit 50").exits(0).stdout;
    for told in [recent, of_east, more] {
        assert!(told.contains("Scheduled maintenance") && told.contains("completed"), "{told}");
    }
    assert_eq!(guide.json("failover history --region eu-west-1"), json!([]));
    assert_eq!(guide.json("failover history --limit 2").as_array().unwrap().len(), 2);
    let history = guide.next("failover history --format json").exits(0).json();
    let history = history.as_array().unwrap();
    assert_eq!(history.len(), 7, "{history:#?}");
    for event in history {
        assert_eq!((&event["success"], &event["affected_resources"]), (&json!(true), &json!(2)), "{event:#}");
        assert!(event["duration_seconds"].as_f64().is_some_and(|took| took > 0.0), "{event:#}");
        assert!(event["event_id"].as_str().is_some_and(|id| id.starts_with("evt-")), "{event:#}");
    }
    assert_eq!(history[0]["reason"], "Scheduled maintenance");
    assert_eq!(
        (&history[0]["from_region_id"], &history[0]["to_region_id"]),
        (&json!("us-east-1"), &json!("us-west-1"))
    );
}

#[test]
fn every_line_of_the_guides_reference_does_what_it_says() {
    let mut guide = Guide::new();
    assert_eq!(guide.lines.len(), 23, "{:#?}", guide.lines);
    assert!(guide.lines.iter().all(|line| line.starts_with("debvisor-region ")), "{:#?}", guide.lines);
    regions_of(&mut guide);
    replication_of(&mut guide);
    failovers_of(&mut guide);

    guide.next("global").exits(0).says(&["regions      4", "healthy      4", "2 of 4,500", "failovers    7"]);
    assert_eq!(guide.lines, Vec::<String>::new());
    let global = guide.json("global");
    let expected = json!({"total_regions": 4, "healthy_regions": 4, "total_resources": 2, "total_vms": 2,
        "capacity_vms": 4500, "failover_events_total": 7, "failover_events_failed": 0});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(global[name], *value, "{name} of {global:#}");
    }
    let west = guide.json("region stats us-west-1");
    assert_eq!((&west["current_vms"], &west["failover_events"]), (&json!(2), &json!(7)), "{west:#}");
    assert_eq!(guide.json("region stats eu-west-1")["failover_events"], 0);
}
