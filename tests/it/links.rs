//! Lines between regions, and between a region and the program that reconciles, that cut, delay, reorder, truncate,
//! flip bits, answer as somebody else, stall and trickle, each way. Whatever happens: the newest complete point of the
//! target is the source as it was before or as it is now, names, modes, times and bytes; nothing hangs; the error says
//! where and why; and on a good line a plain apply converges.
//!
//! The gate plays what is quick, a round each; the full version is
//! `cargo test --release --test it links:: -- --ignored --nocapture`. Each prints its seed and what struck.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::kill::Chance;
use crate::proxy::{Proxy, Trouble, Way};
use crate::served::Served;
use crate::support::{Answer, World};

/// Where the bad line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between the target and the source that it fetches from.
    Regions,
    /// Between this program and both regions.
    Orders,
    /// Between this program and the target that it carries a directory's files to.
    Relay,
}

impl Place {
    /// One of these words tells the region.
    const fn names(self) -> &'static [&'static str] {
        match self {
            // What `b` says of a sync is told of the sync at `b`; which of the two had the bad line must be said besides.
            Self::Regions | Self::Orders => &["http://127.0.0.1:", "failed: a: ", "failed: b: "],
            // No line leads to any other region.
            Self::Relay => &["http://127.0.0.1:", " at b failed: "],
        }
    }
}

/// Ids that are one bit apart.
const RESOURCES: [&str; 2] = ["web-1", "web-3"];

const DISK_BYTES: u64 = 3 << 20;

/// Names, kinds, modes, times and bytes of a tree.
type Picture = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

fn picture(root: &Path) -> Picture {
    let (mut found, mut open) = (Picture::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if meta.is_dir() {
                found.insert(name, (meta.mode(), 0, 0, Vec::new()));
                open.push(path);
            } else {
                found.insert(name, (meta.mode(), meta.mtime(), meta.mtime_nsec(), fs::read(path).unwrap()));
            }
        }
    }
    found
}

/// What two trees differ in, in words.
fn difference(expected: &Picture, found: &Picture) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let told = |picture: &Picture, name: &PathBuf| {
        picture.get(name).map(|(mode, seconds, nanos, bytes)| format!("{mode:o} {seconds}.{nanos} {}", bytes.len()))
    };
    let differing = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    differing.map(|name| format!("{name:?}: {:?}, not {:?}", told(found, name), told(expected, name))).collect()
}

struct Lines {
    world: World,
    served: Vec<Served>,
    /// Those that are bad, from time to time.
    lines: Vec<Proxy>,
    chance: Chance,
    /// The sources as the last apply left them.
    before: Option<BTreeMap<&'static str, Picture>>,
}

impl Lines {
    fn new(place: Place, seed: u64) -> Self {
        let world = World::new();
        let mut chance = Chance::new(seed);
        for name in RESOURCES {
            let dir = format!("a/resources/vm/{name}");
            world.write(format!("{dir}/domain.xml"), format!("<domain><name>{name}</name></domain>\n"));
            world.write(format!("{dir}/disk.raw"), chance.bytes(DISK_BYTES as usize));
            for n in 0..20 {
                world.write(format!("{dir}/notes/n{n:02}.txt"), format!("{name} {n}\n"));
            }
        }
        let connect =
            |origin: &str, line: &Proxy| format!("[origins.\"{origin}\"]\nconnect = \"{}\"\n", line.address());
        let (mut served, mut lines) = (Vec::new(), Vec::new());
        let a = if place == Place::Relay {
            "file:a".to_owned()
        } else {
            served.push(Served::start(&world, "a", &[]));
            served[0].origin.clone()
        };
        let peers = if place == Place::Regions {
            lines.push(Proxy::to(&a, seed));
            connect(&a, &lines[0])
        } else {
            String::new()
        };
        world.secret("peers.toml", &peers);
        served.push(Served::start(&world, "b", &["--peer-tokens", "peers.toml"]));
        let b = served.last().unwrap().origin.clone();
        let mut own = String::new();
        if place != Place::Regions {
            for served in &served {
                lines.push(Proxy::to(&served.origin, seed + lines.len() as u64));
                own += &connect(&served.origin, lines.last().unwrap());
            }
        }
        world.secret("own.toml", &own);
        world.write(
            "topology.toml",
            format!(
                "schema_version = 1\n[regions.a]\napi_endpoint = \"{a}\"\nprimary = true\n[regions.b]\n\
                 api_endpoint = \"{b}\"\n[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
                 [vms.web-1]\nreplicas = [\"b\"]\nmax_change = \"100 %\"\n[vms.web-3]\nreplicas = [\"b\"]\n\
                 max_change = \"100 %\"\n"
            ),
        );
        Self { world, served, lines, chance, before: None }
    }

    fn sources(&self) -> BTreeMap<&'static str, Picture> {
        RESOURCES.into_iter().map(|name| (name, picture(&self.files("a", name)))).collect()
    }

    fn files(&self, region: &str, name: &str) -> PathBuf {
        self.world.path(format!("{region}/resources/vm/{name}"))
    }

    fn change(&mut self) {
        for name in RESOURCES {
            let disk = fs::File::options().write(true).open(self.files("a", name).join("disk.raw")).unwrap();
            for _ in 0..12 {
                let length = 4096 * (1 + self.chance.below(16)) as usize;
                let bytes = self.chance.bytes(length);
                disk.write_all_at(&bytes, self.chance.below(DISK_BYTES - length as u64)).unwrap();
            }
            let n = self.chance.below(20);
            fs::write(self.files("a", name).join(format!("notes/n{n:02}.txt")), self.chance.bytes(40)).unwrap();
        }
    }

    fn are(&self, trouble: Trouble, way: Way, percent: u64, within: u64) {
        for line in &self.lines {
            line.is(trouble, way, percent, within);
        }
    }

    fn heal(&self) -> Vec<String> {
        self.lines.iter().for_each(Proxy::heals);
        self.lines.iter().flat_map(Proxy::strikes).collect()
    }

    /// An apply over the lines as they are.
    fn apply(&self) -> Answer {
        self.world.run(["--credentials", "own.toml", "apply", "--auto-approve"])
    }

    /// The newest complete point of each, exported over a good line, is the source of its time.
    fn assert_points(&self, began: SystemTime, told: &str) {
        let now = self.sources();
        for name in RESOURCES {
            let into = TempDir::new_in(self.world.dir.path()).unwrap();
            let into = into.path().join("export");
            let export = ["replication", "export", name, "--region", "b", into.to_str().unwrap()];
            let answer = self.world.run(export);
            let before = self.before.as_ref().map(|before| &before[name]);
            if before.is_none() && answer.code != 0 {
                assert!(!into.exists(), "{told}\nwhat failed left something");
                continue;
            }
            assert_eq!(answer.code, 0, "{told}\n{}{}", answer.stdout, answer.stderr);
            let found = picture(&into);
            if found != now[name] && before != Some(&found) {
                let old = before.map(|before| difference(before, &found));
                panic!(
                    "{told}\n{name} is neither as it is: {:#?}\nnor as it was: {old:#?}",
                    difference(&now[name], &found)
                );
            }
            if found == now[name] && before != Some(&found) {
                self.assert_dated(name, began, told);
            }
        }
    }

    /// The newest point was read in this round.
    fn assert_dated(&self, name: &str, began: SystemTime, told: &str) {
        let answer = self.world.run(["replication", "points", name, "--region", "b", "--format", "json"]).exits(0);
        let text = answer.stdout.replace(char::is_whitespace, "");
        for field in ["read_at", "verified_at"] {
            // The newest stands first.
            let (_, rest) = text.split_once(&format!("\"{field}\":\"")).unwrap_or_else(|| panic!("{told}\n{text}"));
            let at: jiff::Timestamp = rest.split('"').next().unwrap().parse().unwrap();
            let earliest = began.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - 1;
            let latest = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + 1;
            assert!((earliest..=latest).contains(&at.as_second()), "{told}\n{name} says {field} {at}");
        }
    }

    fn converge(&mut self, told: &str) {
        let answer = self.apply();
        assert_eq!(answer.code, 0, "{told}\nthen: {}{}", answer.stdout, answer.stderr);
        for name in RESOURCES {
            let (source, replica) = (picture(&self.files("a", name)), picture(&self.files("b", name)));
            assert!(source == replica, "{told}\n{name}: {:#?}", difference(&source, &replica));
        }
        self.world.assert_settled();
        self.before = Some(self.sources());
    }

    fn end(self) {
        self.served.into_iter().for_each(Served::end);
    }
}

/// One of these words tells the cause.
fn causes(trouble: Trouble) -> &'static [&'static str] {
    match trouble {
        Trouble::Cut | Trouble::Truncate => &["closed the connection", "connection reset", "broken pipe", "cut"],
        // A region that is left waiting closes in the end, which is all that the other side may hear of it.
        Trouble::Stall | Trouble::Held(_) => {
            &["no answer", "nothing came for", "did not come in time", "closed the connection"]
        }
        Trouble::Trickle => &["no answer", "nothing came for", "too slow", "did not come in time"],
        Trouble::Broken => &["answered 500"],
        Trouble::Html => &["something else than", "closed the connection", "connection reset", "answered 400"],
        // Whatever part of it was hit.
        Trouble::Deaf(_) | Trouble::Flip | Trouble::Swap | Trouble::Cross | Trouble::Alter { .. } => &[""],
        Trouble::Delay | Trouble::Slow | Trouble::Lose(_) | Trouble::Nothing => &["this never fails"],
    }
}

#[derive(Clone, Copy)]
struct Round {
    trouble: Trouble,
    way: Way,
    percent: u64,
    within: u64,
    /// Nothing may take longer.
    most: Duration,
}

fn play(place: Place, rounds: &[Round], seed: u64) {
    let mut lines = Lines::new(place, seed);
    let (mut failed, mut struck) = (0, 0);
    for (n, Round { trouble, way, percent, within, most }) in rounds.iter().copied().enumerate() {
        lines.change();
        let (began, since) = (Instant::now(), SystemTime::now());
        lines.are(trouble, way, percent, within);
        let answer = lines.apply();
        let took = began.elapsed();
        let strikes = lines.heal();
        let told = format!(
            "{place:?}, seed {seed}, round {n}: {trouble:?} {way:?}, exit {} after {took:.1?}\n{strikes:#?}\n{}{}",
            answer.code, answer.stdout, answer.stderr
        );
        eprintln!("{place:?} {n}: {trouble:?} {way:?}: {} strikes, exit {}, {took:.1?}", strikes.len(), answer.code);
        assert!(took < most, "{told}");
        lines.assert_points(since, &told);
        if answer.code == 0 {
            let now = lines.sources();
            for name in RESOURCES {
                assert!(picture(&lines.files("b", name)) == now[name], "{told}\nit says that it is done");
            }
        } else {
            failed += 1;
            assert!(matches!(answer.code, 1 | 3), "{told}");
            assert!(!strikes.is_empty(), "it failed by itself: {told}");
            // As it was before it was broken into lines.
            let said = format!("{}{}", answer.stdout, answer.stderr).replace('│', " ");
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(causes(trouble).iter().any(|cause| said.contains(cause)), "the cause is not named: {told}");
            assert!(place.names().iter().any(|name| said.contains(name)), "the region is not named: {told}");
        }
        struck += usize::from(!strikes.is_empty());
        lines.converge(&told);
    }
    eprintln!("{place:?}, seed {seed}: {} rounds, {struck} struck, {failed} failed", rounds.len());
    lines.end();
}

/// A round of each quick trouble, each way.
fn quick(count: usize) -> Vec<Round> {
    let kinds =
        [Trouble::Cut, Trouble::Truncate, Trouble::Flip, Trouble::Html, Trouble::Swap, Trouble::Cross, Trouble::Delay];
    let rounds = kinds.into_iter().flat_map(|trouble| [Way::Asked, Way::Answered].map(|way| (trouble, way)));
    let rounds: Vec<_> = rounds
        .map(|(trouble, way)| {
            let percent = if matches!(trouble, Trouble::Delay | Trouble::Flip) { 100 } else { 40 };
            Round { trouble, way, percent, within: 40_000, most: Duration::from_secs(60) }
        })
        .collect();
    rounds.iter().copied().cycle().take(count * rounds.len()).collect()
}

/// Of each quick trouble one way, each time the other.
fn half(first: usize) -> Vec<Round> {
    let both = quick(1).into_iter().enumerate();
    both.filter(|(n, _)| (n / 2 + n + first).is_multiple_of(2)).map(|(_, round)| round).collect()
}

/// What is named in an answer or a question is another thing, where nothing else is.
fn altered(from: &'static str, to: &'static str, way: Way) -> Round {
    Round { trouble: Trouble::Alter { from, to }, way, percent: 100, within: 1, most: Duration::from_secs(60) }
}

#[test]
fn no_bit_of_a_reading_becomes_another_in_a_point() {
    let rounds = [
        altered("domain.xml", "domain.xmm", Way::Answered),
        altered("\"mode\":420", "\"mode\":428", Way::Answered),
        altered("\"mtime_ns\":1", "\"mtime_ns\":0", Way::Answered),
        altered("\"read_at\":\"2", "\"read_at\":\"0", Way::Answered),
        altered("vm.web-1", "vm.web-3", Way::Asked),
    ];
    play(Place::Regions, &rounds, 51);
}

#[test]
fn no_bit_of_an_order_becomes_another() {
    let rounds = [
        altered("domain.xml", "domain.xmm", Way::Asked),
        altered("vm.web-1", "vm.web-3", Way::Asked),
        altered("\"verified_at\":\"2", "\"verified_at\":\"0", Way::Asked),
    ];
    play(Place::Relay, &rounds, 52);
}

#[test]
fn a_bad_line_between_regions() {
    play(Place::Regions, &half(0), 53);
}

#[test]
fn a_bad_line_to_the_regions() {
    play(Place::Orders, &half(1), 54);
}

/// Loses an answer of each call: the question is asked again, and nothing else comes of it.
fn lose(place: Place, opening: &'static str, calls: &'static [&'static str], seed: u64) {
    let mut lines = Lines::new(place, seed);
    lines.converge("at first");
    lines.change();
    let log = lines.world.path(if place == Place::Regions { "a.log" } else { "b.log" });
    let before = fs::read_to_string(&log).unwrap().len();
    let began = SystemTime::now();
    lines.are(Trouble::Lose(calls), Way::Asked, 100, 1);
    let answer = lines.apply();
    let strikes = lines.heal();
    let log = fs::read_to_string(&log).unwrap().split_off(before);
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("\"POST\"")).collect();
    let told = format!("{place:?}: {strikes:#?}\n{}{}\n{}", answer.stdout, answer.stderr, asked.join("\n"));
    assert_eq!(strikes.len(), calls.len(), "{told}");
    assert_eq!(answer.code, 0, "{told}");
    assert!(!log.contains("\"status\":4"), "{told}");
    // Once for each, and once more for the answer that was lost.
    let openings = asked.iter().filter(|line| line.contains(&format!("{opening}\""))).count();
    assert_eq!(openings, RESOURCES.len() + 1, "{told}");
    assert!(!answer.stdout.contains("changed during"), "{told}");
    lines.assert_points(began, &told);
    lines.converge(&told);
    lines.end();
}

#[test]
fn a_lost_answer_of_a_receiving_costs_a_question_and_no_more() {
    let calls = ["/receivings", "/groups", "/expect", "/survey", "/wanted", "/blocks", "/publish"].as_slice();
    lose(Place::Relay, "/receivings", calls, 55);
}

#[test]
fn a_lost_answer_of_a_reading_costs_a_question_and_no_more() {
    let calls = ["/readings", "/group-hashes", "/block-hashes", "/blocks", "/close"].as_slice();
    lose(Place::Regions, "/readings", calls, 56);
}

#[test]
#[ignore = "many rounds: cargo test --release --test it links:: -- --ignored --nocapture"]
fn bad_lines_many_times() {
    play(Place::Regions, &quick(12), 61);
    play(Place::Orders, &quick(12), 62);
    play(Place::Relay, &quick(12), 63);
}

/// What waits for deadlines.
fn slow(count: usize) -> Vec<Round> {
    let kinds = [Trouble::Stall, Trouble::Trickle];
    let rounds = kinds.into_iter().flat_map(|trouble| [Way::Asked, Way::Answered].map(|way| (trouble, way)));
    let rounds: Vec<_> = rounds
        .map(|(trouble, way)| Round { trouble, way, percent: 100, within: 40_000, most: Duration::from_secs(240) })
        .collect();
    rounds.iter().copied().cycle().take(count * rounds.len()).collect()
}

#[test]
#[ignore = "waits for deadlines: cargo test --release --test it links:: -- --ignored --nocapture"]
fn lines_that_stall_and_trickle() {
    play(Place::Regions, &slow(3), 71);
    play(Place::Orders, &slow(2), 72);
    play(Place::Relay, &slow(2), 73);
}
