//! Regions that are served: two `serve` processes on this machine, and the program that reconciles them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::kill::Chance;
use crate::served_export::asked;
use crate::support::{World, assert_same_tree};

/// A running `serve`.
pub(crate) struct Served {
    pub(crate) child: Child,
    region: &'static str,
    pub(crate) origin: String,
    args: Vec<String>,
}

impl Served {
    /// Serves the directory of the region's name.
    pub(crate) fn start(world: &World, region: &'static str, args: &[&str]) -> Self {
        Self::at(world, region, "127.0.0.1:0", args.iter().map(|arg| (*arg).to_owned()).collect())
    }

    pub(crate) fn at(world: &World, region: &'static str, listen: &str, args: Vec<String>) -> Self {
        fs::create_dir_all(world.path(region)).unwrap();
        let log = fs::File::options().create(true).append(true).open(world.path(format!("{region}.log"))).unwrap();
        let mut child = world
            .command(["serve", "--region", region, "--data-dir", region, "--listen", listen])
            .args(&args)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let origin = line.trim().strip_prefix("listening on ").unwrap_or_else(|| {
            panic!("{region} said `{line}`\n{}", fs::read_to_string(world.path(format!("{region}.log"))).unwrap())
        });
        Self { origin: origin.to_owned(), child, region, args }
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it, if it is not dead yet, and serves again at the same place.
    pub(crate) fn again(&mut self, world: &World) {
        self.kill();
        let listen = self.origin.split_once("://").unwrap().1.to_owned();
        *self = Self::at(world, self.region, &listen, self.args.clone());
    }

    /// Asks it to end, which it does well.
    pub(crate) fn end(mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{} did not end well", self.region);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two regions by their endpoints, a pair, and `vms`.
fn topology(world: &World, a: &str, b: &str, pair: &str, more: &str) {
    world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.a]\napi_endpoint = \"{a}\"\nprimary = true\n[regions.b]\n\
             api_endpoint = \"{b}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\n\
             resource_types = [\"vm\", \"config\"]\n{pair}\n{more}"
        ),
    );
}

fn files(world: &World, region: &str, resource: &str) -> PathBuf {
    world.path(region).join("resources").join(resource)
}

fn small_vm(world: &World, name: &str, seed: u64) {
    let mut chance = Chance::new(seed);
    world.write(format!("a/resources/vm/{name}/domain.xml"), format!("<domain><name>{name}</name></domain>\n"));
    world.write(format!("a/resources/vm/{name}/disk.raw"), chance.bytes(700_000));
}

const VMS: &str = "[vms.\"web-{1..3}\"]\nreplicas = [\"b\"]\n[resources.app]\ntype = \"config\"\nreplicas = [\"b\"]\n";

fn assert_replicated(world: &World) {
    for resource in ["vm/web-1", "vm/web-2", "vm/web-3", "config/app"] {
        assert_same_tree(&files(world, "a", resource), &files(world, "b", resource));
    }
}

/// A world with a few small resources at `a`.
fn small_world() -> World {
    let world = World::new();
    (1..=3).for_each(|n| small_vm(&world, &format!("web-{n}"), n));
    world.write("a/resources/config/app/app.toml", "port = 80\n");
    fs::create_dir_all(world.path("b")).unwrap();
    world
}

#[test]
fn a_link_is_measured_whoever_carries_the_bytes() {
    for (a_is_served, b_is_served) in [(false, false), (false, true), (true, false), (true, true)] {
        let world = World::new();
        let disk = Chance::new(1).bytes(4 << 20);
        world.write("a/resources/vm/web-1/disk.raw", &disk);
        fs::create_dir_all(world.path("b")).unwrap();
        let served: Vec<Served> = [("a", a_is_served), ("b", b_is_served)]
            .into_iter()
            .filter(|(_, is_served)| *is_served)
            .map(|(region, _)| Served::start(&world, region, &[]))
            .collect();
        let at = |region: &str| {
            let origin = served.iter().find(|served| served.region == region).map(|served| served.origin.clone());
            origin.unwrap_or_else(|| format!("file:{region}"))
        };
        topology(&world, &at("a"), &at("b"), "", "[vms.web-1]\nreplicas = [\"b\"]\n");
        let mbps = || {
            let regions = world.run(["region", "list", "--format", "json"]).exits(0).json();
            let a = regions.as_array().unwrap().iter().find(|region| region["region_id"] == "a").unwrap().clone();
            a["bandwidth_mbps"].as_f64()
        };
        world.apply();
        let first = mbps().unwrap_or_else(|| panic!("a is served: {a_is_served}, b: {b_is_served}"));
        // Four MiB, in no more than the minutes that a machine may take, and not faster than memory.
        assert!((0.1..1e6).contains(&first), "{first}");
        // What is added to is what was measured before.
        let changed = [Chance::new(2).bytes(3 << 19), disk[3 << 19..].to_vec()].concat();
        world.write("a/resources/vm/web-1/disk.raw", changed);
        world.apply();
        assert!(mbps().is_some());
        if (a_is_served, b_is_served) == (false, false) {
            assert_ne!(mbps(), Some(first), "both copies count");
        }
    }
}

#[test]
fn two_served_regions_are_reconciled_as_two_directories_are() {
    let world = small_world();
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    topology(&world, &a.origin, &b.origin, "", VMS);
    world.apply();
    assert_replicated(&world);
    world.assert_settled();
    world.apply().says(&["othing to do"]);
    // A change travels, and only that.
    let disk = fs::File::options().write(true).open(files(&world, "a", "vm/web-2").join("disk.raw")).unwrap();
    disk.write_all_at(b"changed", 300_000).unwrap();
    drop(disk);
    let answer = world.run(["apply", "--auto-approve", "--format", "json"]).exits(0);
    let moved: u64 = answer.json_lines().iter().filter_map(|line| line["bytes"].as_u64()).max().unwrap_or(0);
    assert!(moved <= 2 * 65536, "{moved} bytes for seven");
    assert_replicated(&world);
    world.run(["replication", "verify", "web-1"]).exits(0);
    world.assert_newest_point_is("web-1", "b", &files(&world, "a", "vm/web-1"));
    world.run(["status"]).exits(0);
    a.end();
    b.end();
    // The same topology with nobody there is no empty fleet.
    world.run(["plan"]).exits(1).says(&["refused"]);
}

#[test]
fn what_is_due_and_unchanged_is_confirmed_with_a_request_for_each_batch() {
    let world = World::new();
    (1..=11).for_each(|n| world.write(format!("a/resources/vm/web-{n}/domain.xml"), format!("<domain id='{n}'/>\n")));
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    let pair = "sync_interval = \"1s\"\nbatch_size = 4\n";
    topology(&world, &a.origin, &b.origin, pair, "[vms.\"web-{1..11}\"]\nreplicas = [\"b\"]\n");
    world.apply();
    thread::sleep(Duration::from_millis(1100));
    world.write("a/resources/vm/web-3/domain.xml", "<domain id='3' changed='yes'/>\n");
    let before = (asked(&a, "/readings"), asked(&b, "/verified"), asked(&b, "/syncs"));
    assert_eq!((before.1, before.2), (0, 11));
    world.run(["reconcile"]).exits(0);
    let after = (asked(&a, "/readings"), asked(&b, "/verified"), asked(&b, "/syncs"));
    assert_eq!((after.1, after.2), (3, 12), "ten are unchanged, one is copied");
    assert!(after.0 > before.0 && after.0 - before.0 <= 5, "only that one is read: {before:?}, {after:?}");
    assert_same_tree(&files(&world, "a", "vm/web-3"), &files(&world, "b", "vm/web-3"));
    let told = world.run(["history", "--format", "json"]).exits(0).stdout;
    assert!((1..=11).all(|n| told.contains(&format!("vm.web-{n}\""))), "{told}");
    a.end();
    b.end();
}

#[test]
fn a_directory_and_a_served_region_are_relayed_both_ways() {
    let world = small_world();
    let b = Served::start(&world, "b", &[]);
    topology(&world, "file:a", &b.origin, "", VMS);
    world.apply();
    assert_replicated(&world);
    world.assert_settled();
    b.end();

    let world = small_world();
    let a = Served::start(&world, "a", &[]);
    topology(&world, &a.origin, "file:b", "compression = false", VMS);
    world.apply();
    assert_replicated(&world);
    world.assert_settled();
    a.end();
}

#[test]
fn who_shows_no_token_is_told_at_the_line_of_the_region() {
    let world = small_world();
    world.write("tokens", "s3cret\n");
    fs::set_permissions(world.path("tokens"), fs::Permissions::from_mode(0o600)).unwrap();
    let token = ["--token-file", "tokens"];
    let (a, b) = (Served::start(&world, "a", &token), Served::start(&world, "b", &[]));
    topology(&world, &a.origin, &b.origin, "", VMS);
    let refused = world.run(["replication", "points", "web-1", "--region", "a"]).exits(1);
    let refused = refused.says(&["401", "credentials file", "topology.toml", "[vms.\"web-{1..3}\"]"]);
    assert!(!refused.stderr.contains("s3cret"));
    // Not where the state does not record it, until a person says so.
    let mut with_token = world.command(["replication", "points", "web-1", "--region", "a"]);
    let answer = with_token.env("DEBVISOR_REGION_TOKEN_A", "s3cret").output().unwrap();
    let said = String::from_utf8(answer.stderr).unwrap();
    assert!(answer.status.code() == Some(1) && said.contains("--trust-origin"), "{said}");

    let credentials = format!("[origins.\"{}\"]\ntoken = \"s3cret\"\n", a.origin);
    world.write("credentials.toml", credentials);
    let refused = world.run(["--credentials", "credentials.toml", "plan"]).exits(1);
    refused.says(&["chmod o-rw"]);
    fs::set_permissions(world.path("credentials.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    // The target needs credentials of its own for the source.
    b.end();
    let b = Served::start(&world, "b", &["--peer-tokens", "credentials.toml"]);
    topology(&world, &a.origin, &b.origin, "", VMS);
    world.run(["--credentials", "credentials.toml", "apply", "--auto-approve"]).exits(0);
    assert_replicated(&world);
    // Now the state records it.
    let mut with_token = world.command(["plan", "--detailed-exitcode"]);
    let answer = with_token.env("DEBVISOR_REGION_TOKEN_A", "s3cret").output().unwrap();
    assert_eq!(answer.status.code(), Some(0), "{}", String::from_utf8_lossy(&answer.stdout));
    for log in ["a.log", "b.log"] {
        assert!(!fs::read_to_string(world.path(log)).unwrap().contains("s3cret"));
    }
}

const DISK_BYTES: u64 = 64 << 20;

/// A world with one disk, and two regions between which it takes some seconds.
fn slow_world() -> (World, Served, Served) {
    let world = World::new();
    let disk = world.path("a/resources/vm/disk-1/disk.raw");
    world.write("a/resources/vm/disk-1/domain.xml", "<domain><name>disk-1</name></domain>\n");
    fs::write(disk, Chance::new(7).bytes(DISK_BYTES as usize)).unwrap();
    let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    let vm = "[vms.disk-1]\nreplicas = [\"b\"]\nmax_change = \"100 %\"\n";
    topology(&world, &a.origin, &b.origin, "bandwidth_limit = \"80 Mbit/s\"", vm);
    (world, a, b)
}

/// Starts an apply, and waits until blocks arrive at `b`.
fn apply_under_way(world: &World) -> Child {
    let log = fs::File::create(world.path("apply.log")).unwrap();
    let mut command = world.command(["apply", "--auto-approve", "--format", "json"]);
    let mut child = command.stdout(log).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let log = fs::read_to_string(world.path("apply.log")).unwrap();
        let copied = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            line["stage"] == "copying" && line["bytes_done"].as_u64().is_some_and(|done| done > 8 << 20)
        };
        if log.lines().any(copied) {
            return child;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no blocks travel: {log}");
        assert!(child.try_wait().unwrap().is_none(), "it ended early: {log}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn assert_converges(world: &World) {
    let answer = world.run(["apply", "--auto-approve", "--format", "json"]).exits(0);
    let moved: u64 = answer.json_lines().iter().filter_map(|line| line["bytes"].as_u64()).max().unwrap_or(0);
    assert!(moved < DISK_BYTES, "{moved} bytes: what had arrived was sent again");
    assert_same_tree(&files(world, "a", "vm/disk-1"), &files(world, "b", "vm/disk-1"));
    world.assert_settled();
}

#[test]
fn a_target_that_is_killed_and_comes_back_goes_on_with_the_same_apply() {
    let (world, a, mut b) = slow_world();
    let mut apply = apply_under_way(&world);
    b.kill();
    b.again(&world);
    let code = apply.wait().unwrap().code();
    let log = fs::read_to_string(world.path("apply.log")).unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert_converges(&world);
    a.end();
    b.end();
}

#[test]
fn a_source_that_is_killed_costs_one_apply_at_most() {
    let (world, mut a, b) = slow_world();
    let mut apply = apply_under_way(&world);
    a.kill();
    a.again(&world);
    apply.wait().unwrap();
    assert_converges(&world);
    a.end();
    b.end();
}

#[test]
fn a_killed_apply_leaves_the_regions_at_work_and_the_next_one_takes_over() {
    let (world, a, b) = slow_world();
    let mut apply = apply_under_way(&world);
    apply.kill().unwrap();
    apply.wait().unwrap();
    assert_converges(&world);
    a.end();
    b.end();
}

#[test]
fn an_interrupted_apply_stops_the_regions_too() {
    let (world, a, b) = slow_world();
    let mut apply = apply_under_way(&world);
    let asked = Instant::now();
    Command::new("kill").args(["-INT", &apply.id().to_string()]).status().unwrap();
    assert_eq!(apply.wait().unwrap().code(), Some(130));
    // The promise is five seconds; a busy machine gets a little more.
    assert!(asked.elapsed() < Duration::from_secs(8), "out after {:?}", asked.elapsed());
    assert_converges(&world);
    a.end();
    b.end();
}

/// Writes an authority, and certificates of it for both regions and for this program.
pub(crate) fn certificates(world: &World, authority: &str) {
    let issuer = Authority::new(world, authority);
    for name in ["a.example", "b.example", "client.example"] {
        issuer.certify(world, &format!("{authority}-{name}"), &[name]);
    }
}

#[test]
fn regions_of_a_private_authority_let_in_whom_theirs_signed() {
    let world = small_world();
    certificates(&world, "ours");
    certificates(&world, "theirs");
    let credentials = |authority: &str, client: &str, places: [&str; 2]| {
        let mut text = String::new();
        for (region, place) in ["a", "b"].into_iter().zip(places) {
            text += &format!(
                "[origins.\"https://{region}.example\"]\nca = \"{authority}.pem\"\ncert = \"{client}-client.example.pem\"\n\
                 key = \"{client}-client.example.key\"\nconnect = \"{place}\"\n"
            );
        }
        world.write("credentials.toml", text);
        fs::set_permissions(world.path("credentials.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let serve = |region: &'static str, listen: &str| {
        let tls = ["--tls-cert", "--tls-key", "--client-ca", "--peer-tokens"];
        let pem = [format!("ours-{region}.example.pem"), format!("ours-{region}.example.key"), "ours.pem".to_owned()];
        let files = pem.into_iter().chain(["credentials.toml".to_owned()]);
        let args = tls.into_iter().zip(files).flat_map(|(option, file)| [option.to_owned(), file]).collect();
        Served::at(&world, region, listen, args)
    };
    let place = |served: &Served| served.origin.split_once("://").unwrap().1.to_owned();
    credentials("ours", "ours", ["127.0.0.1:9", "127.0.0.1:9"]);
    let (a, b) = (serve("a", "127.0.0.1:0"), serve("b", "127.0.0.1:0"));
    let places = [place(&a), place(&b)];
    let places = [places[0].as_str(), places[1].as_str()];
    topology(&world, "https://a.example", "https://b.example", "", VMS);
    let with = |command: &'static [&'static str]| ["--credentials", "credentials.toml"].iter().chain(command);
    for (authority, client, words) in
        [("theirs", "ours", "no TLS connection to https://a.example"), ("ours", "theirs", "refused the TLS connection")]
    {
        credentials(authority, client, places);
        world.run(with(&["plan"])).exits(1).says(&[words, "no region answered"]);
    }
    // Where each is reached is known only now, and the target reads it when it starts.
    credentials("ours", "ours", places);
    b.end();
    let b = serve("b", places[1]);
    world.run(with(&["apply", "--auto-approve"])).exits(0);
    assert_replicated(&world);
    world.run(with(&["plan", "--detailed-exitcode"])).exits(0);
    a.end();
    b.end();
}
