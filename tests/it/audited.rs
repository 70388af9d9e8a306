//! Replicas that rot on their disk, below the file system: rounds of `reconcile` read them back, find it, quarantine it,
//! mend it and say so; never faster and never longer than the policy allows; and a power cut in the middle of it leaves
//! nothing wrong.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kill::Chance;
use crate::served::Served;
use crate::support::{Answer, World, assert_same_tree, kill_once};

const MIB: u64 = 1 << 20;

/// Two served regions, a machine at `a` whose disk has so many mebibytes, and a copy of it at `b`.
struct Copied {
    a: Served,
    b: Served,
    world: World,
}

impl Copied {
    fn new(mebibytes: usize, audit: &str) -> Self {
        let world = World::new();
        world.write("a/resources/vm/web/domain.xml", "<domain><name>web</name></domain>\n");
        world.write("a/resources/vm/web/disk.raw", Chance::new(3).bytes(mebibytes << 20));
        let (a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
        world.write(
            "topology.toml",
            format!(
                "schema_version = 1\n[regions.a]\napi_endpoint = \"{}\"\nprimary = true\n[regions.b]\n\
                 api_endpoint = \"{}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
                 sync_interval = \"1h\"\n[vms.web]\nreplicas = [\"b\"]\n[audit]\n{audit}\n",
                a.origin, b.origin
            ),
        );
        world.apply();
        let copied = Self { a, b, world };
        assert_same_tree(&copied.source(), &copied.replica());
        copied
    }

    fn source(&self) -> PathBuf {
        self.world.path("a/resources/vm/web")
    }

    fn replica(&self) -> PathBuf {
        self.world.path("b/resources/vm/web")
    }

    /// Other bytes on the disk of `b`, where nothing shows it: neither times nor size, as when the medium fails.
    fn rot(&self, at: u64) {
        let path = self.replica().join("disk.raw");
        let before = fs::metadata(&path).unwrap();
        let disk = fs::File::options().write(true).open(&path).unwrap();
        disk.write_all_at(b"rotten!", at).unwrap();
        disk.set_modified(before.modified().unwrap()).unwrap();
        disk.sync_all().unwrap();
        // The time of the change is the one that no call sets: what the region knows of it is moved along.
        let changed = fs::metadata(&path).unwrap();
        assert_eq!((changed.size(), changed.mtime_nsec()), (before.size(), before.mtime_nsec()));
        let store = rusqlite::Connection::open(self.world.path("b/region.db")).unwrap();
        store.busy_timeout(Duration::from_secs(30)).unwrap();
        let read = "SELECT entries FROM manifests WHERE resource = 'vm.web' AND sequence = 1";
        let entries: String = store.query_row(read, [], |row| row.get(0)).unwrap();
        let mut entries: Vec<Value> = serde_json::from_str(&entries).unwrap();
        let kept = entries.iter_mut().find(|kept| kept["path"] == "disk.raw").unwrap();
        kept["file"]["identity"]["ctime_ns"] = (changed.ctime() * 1_000_000_000 + changed.ctime_nsec()).into();
        let write = "UPDATE manifests SET entries = ?1 WHERE resource = 'vm.web' AND sequence = 1";
        assert_eq!(store.execute(write, [serde_json::to_string(&entries).unwrap()]).unwrap(), 1);
        drop(store);
        self.world.assert_settled();
    }

    fn round(&self) -> (Answer, Vec<Value>) {
        let answer = self.world.run(["reconcile", "--format", "json", "--metrics-file", "metrics.prom"]);
        let lines = answer.json_lines();
        (answer, lines)
    }

    /// Rounds until one finds something.
    #[track_caller]
    fn round_that_finds(&self) -> (Answer, Vec<Value>) {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let (answer, lines) = self.round();
            if lines.iter().any(|line| line["type"] == "damage_found") {
                return (answer, lines);
            }
            assert!(Instant::now() < until, "nothing was found: {lines:#?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// How far the reading back is, as the region has it.
    fn audit(&self) -> Option<Value> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let store = rusqlite::Connection::open_with_flags(self.world.path("b/region.db"), flags).unwrap();
        store.busy_timeout(Duration::from_secs(30)).unwrap();
        let record: Option<String> =
            store.query_row("SELECT record FROM audits WHERE resource = 'vm.web'", [], |row| row.get(0)).ok();
        record.map(|record| serde_json::from_str(&record).unwrap())
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8(self.world.read("metrics.prom")).unwrap();
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        line.rsplit_once(' ').map(|(_, value)| value.parse().unwrap())
    }
}

/// The bytes of all audits that these events tell of.
fn bytes_read(lines: &[Value]) -> u64 {
    let audited = lines.iter().filter(|line| line["type"] == "audited");
    audited.map(|line| line["bytes"].as_u64().unwrap()).sum()
}

#[test]
fn what_rots_is_found_within_the_period_quarantined_mended_and_told() {
    let copied = Copied::new(24, "period = \"2s\"");
    let world = &copied.world;
    copied.round().0.exits(0);
    copied.rot(9 * MIB + 17);
    let (answer, lines) = copied.round_that_finds();
    answer.exits(0);
    let found: Vec<&Value> = lines.iter().filter(|line| line["type"] == "damage_found").collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (&found[0]["address"], &found[0]["region_id"], &found[0]["path"], &found[0]["point"]),
        (&"vm.web".into(), &"b".into(), &"disk.raw".into(), &1.into())
    );
    assert!(found[0]["detail"].as_str().unwrap().contains("1 block is not what was copied"), "{found:#?}");
    // Mended by the same round, from the source, and nothing but that block travelled.
    let ended: Vec<&Value> = lines.iter().filter(|line| line["type"] == "action_finished").collect();
    assert_eq!((ended.len(), &ended[0]["action"], &ended[0]["outcome"]), (1, &"repair".into(), &"done".into()));
    assert!(ended[0]["bytes"].as_u64().unwrap() <= 2 * 65536, "{ended:#?}");
    assert_same_tree(&copied.source(), &copied.replica());
    world.run(["replication", "verify", "web"]).exits(0);
    world.assert_newest_point_is("web", "b", &copied.source());
    let history = world.run(["history", "--format", "json"]).exits(0).json().to_string();
    assert!(history.contains("read back and not what was copied: vm.web at b (disk.raw of point 1"), "{history}");
    assert_eq!(copied.metric("debvisor_region_audit_damage_total{"), Some(1.0));
    assert_eq!(copied.metric("debvisor_region_audit_period_seconds"), Some(2.0));
    // It goes on, and finds nothing more.
    let passes = copied.audit().unwrap()["passes"].as_u64().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while copied.audit().unwrap()["passes"].as_u64().unwrap() < passes + 2 {
        let (answer, lines) = copied.round();
        answer.exits(0);
        assert!(!lines.iter().any(|line| line["type"] == "damage_found"), "{lines:#?}");
        assert!(Instant::now() < until, "no pass ends: {:#?}", copied.audit());
    }
}

#[test]
fn what_cannot_be_mended_yet_is_offered_to_no_failover() {
    let mut copied = Copied::new(8, "period = \"1s\"");
    copied.round();
    copied.rot(5 * MIB);
    copied.a.kill();
    let (answer, _) = copied.round_that_finds();
    answer.exits(3);
    // Told again by whoever asks, with when and what.
    let world = &copied.world;
    world.run(["status"]).says(&["read back at", "was not what was copied"]);
    let execute = ["failover", "execute", "a", "b", "--force", "--fenced", "it's unplugged"];
    world.run(execute).exits(5).says(&["the newest point at b is not what was copied"]);
    // The next rounds mend it as soon as there is a source.
    copied.a.again(world);
    let until = Instant::now() + Duration::from_secs(60);
    while copied.round().0.code != 0 {
        assert!(Instant::now() < until, "it is not mended");
    }
    assert_same_tree(&copied.source(), &copied.replica());
    world.run(["replication", "verify", "web"]).exits(0);
}

#[test]
fn a_round_reads_no_faster_and_no_more_than_the_policy_allows() {
    // 5 MB a second, for two seconds at most: two groups of 4 MiB, and not three.
    let copied = Copied::new(24, "period = \"1s\"\nread_limit = \"40 Mbit/s\"\nround_limit = \"2s\"");
    let (_, lines) = copied.round();
    assert_eq!(bytes_read(&lines), 0, "it was written a moment ago: {lines:#?}");
    let server_read = || {
        let io = fs::read_to_string(format!("/proc/{}/io", copied.b.child.id())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse::<u64>().unwrap()
    };
    thread::sleep(Duration::from_millis(1100));
    let (mut read, mut rounds) = (0, 0);
    while copied.audit().unwrap()["passes"] == 0 {
        let before = server_read();
        let (answer, lines) = copied.round();
        answer.exits(0);
        let bytes = bytes_read(&lines);
        assert!(bytes > 0 && bytes <= 10_000_000, "{bytes}");
        let through = server_read() - before;
        assert!(through >= bytes && through <= bytes + 4 * MIB, "{through} bytes were read for {bytes}");
        let took: Vec<&str> =
            lines.iter().filter_map(|line| line["duration"].as_str().filter(|_| line["type"] == "audited")).collect();
        assert_eq!(took.len(), 1, "{lines:#?}");
        // What was read takes its time; the part that ends the pass is followed by nothing.
        let least = (bytes as f64 / 5e6).min(2.0) - 0.1;
        assert!(seconds(took[0]) >= least, "{bytes} in {}", took[0]);
        (read, rounds) = (read + bytes, rounds + 1);
        assert!(rounds < 20, "no pass ends");
    }
    // All of it, once, with the list of its hashes.
    let whole = 24 * MIB + 34;
    assert!((whole..whole + MIB).contains(&read), "{read} of {whole}");
    assert!(rounds >= 3, "{rounds}");
}

/// A duration of the kind `1s500ms`.
fn seconds(text: &str) -> f64 {
    let unit = regex::Regex::new(r"([0-9]+)(ms|us|s|m)").unwrap();
    let each = unit.captures_iter(text).map(|found| {
        let number: f64 = found[1].parse().unwrap();
        number
            * [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)]
                .iter()
                .find(|(name, _)| *name == &found[2])
                .unwrap()
                .1
    });
    each.sum()
}

#[test]
fn a_power_cut_in_the_middle_leaves_nothing_wrong() {
    let mut copied = Copied::new(40, "period = \"1s\"\nread_limit = \"40 Mbit/s\"\nround_limit = \"1m\"");
    copied.round();
    copied.rot(38 * MIB);
    thread::sleep(Duration::from_millis(1100));
    let mut command = copied.world.command(["reconcile"]);
    let mut round = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = || copied.audit().is_some_and(|audit| audit["read"].as_u64().unwrap() > 0);
    assert!(kill_once(&mut round, begun), "the round ended before it was killed");
    let there = copied.audit().unwrap();
    assert_eq!((&there["passes"], &there["found"]), (&0.into(), &0.into()), "it was in the middle: {there:#}");
    copied.b.again(&copied.world);
    let kept = copied.audit().unwrap();
    assert!(kept["read"].as_u64() >= there["read"].as_u64(), "{there:#} {kept:#}");
    // Nothing is wrong with it, and the rest is read.
    copied.world.assert_settled();
    let (answer, _) = copied.round_that_finds();
    answer.exits(0);
    let audit = copied.audit().unwrap();
    assert!(audit["read"].as_u64().unwrap() < 60 * MIB, "what was read before counts: {audit:#}");
    assert_same_tree(&copied.source(), &copied.replica());
    copied.world.assert_newest_point_is("web", "b", &copied.source());
}
