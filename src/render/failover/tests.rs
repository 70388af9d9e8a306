//! Golden texts of failovers; `SNAPSHOTS=overwrite cargo test golden` writes them anew.

use std::time::Duration;

use crate::failover::tests::world::{World, key, minutes, operation, region, regions};
use crate::failover::{Asker, FenceHook, Runbook, Suspicion, Verdict};
use crate::model::RegionId;
use crate::model::policy::{HealthPolicy, Strategy};
use crate::model::sighting::{Evidence, Observer};
use crate::render::failover::{evidence, proposal, runbook};
use crate::render::{Look, golden};

const LOOK: Look = Look { color: false, unicode: true, width: Some(80) };

fn widths(name: &str, draw: impl Fn(&Look) -> String) {
    for width in [80, 120] {
        golden::check(&format!("{name}-{width}.txt"), &draw(&Look { width: Some(width), ..LOOK }));
    }
    let plain = draw(&LOOK);
    let color = draw(&Look { color: true, ..LOOK });
    assert_eq!(anstream::adapter::strip_str(&color).to_string(), plain);
    let ascii = draw(&Look { unicode: false, ..LOOK });
    assert!(ascii.is_ascii(), "{ascii}");
    let narrow = draw(&Look { width: Some(40), ..LOOK });
    assert!(!narrow.is_empty());
}

fn fleet() -> World {
    let mut world = World::of(&["us-east-1", "us-west-1", "eu-west-1"]);
    world.add("vm.db-vm-1", "us-east-1", &["us-west-1", "eu-west-1"], minutes(4));
    for n in 1..=3 {
        let name = format!("vm.web-vm-{n}");
        world.add(&name, "us-east-1", &["us-west-1", "eu-west-1"], minutes(3));
        world.spec(&name).depends_on.insert("db-vm-1".parse().unwrap());
    }
    world.add("config.app", "us-east-1", &["us-west-1"], minutes(1));
    world.topology.policy.failover.hooks.before = vec!["/etc/debvisor/announce".to_owned(), "--quiet".to_owned()];
    world.topology.policy.failover.hooks.after = vec!["/etc/debvisor/dns-switch".to_owned()];
    world
}

/// The source is dead, and much speaks against moving all of it.
fn troubled() -> World {
    let mut world = fleet();
    world.add("vm.ledger", "us-east-1", &["us-west-1"], minutes(95));
    world.add("vm.report", "us-east-1", &["us-west-1"], minutes(3));
    world.spec("vm.report").depends_on.insert("ledger".parse().unwrap());
    world.add("vm.german", "us-east-1", &["us-west-1", "eu-west-1"], minutes(3));
    world.spec("vm.german").allowed_regions.insert("jurisdiction".to_owned(), ["eu".to_owned()].into());
    let labels = &mut world.topology.regions.get_mut(&region("eu-west-1")).unwrap().labels;
    labels.insert("jurisdiction".to_owned(), "eu".to_owned());
    world.add("vm.busy", "us-east-1", &["us-west-1"], minutes(3));
    world.open("us-west-1", "vm.busy", operation(0x01a2_0586_baa5));
    world.point("eu-west-1", "vm.web-vm-2", 9, minutes(2));
    world.kill("us-east-1", Duration::from_secs(130));
    world
}

#[test]
fn golden_graceful() {
    let world = fleet();
    widths("failover-graceful", |look| proposal(&world.propose(), look, false));
    let mut nothing = fleet();
    nothing.request.from = region("eu-west-1");
    golden::check("failover-nothing-80.txt", &proposal(&nothing.propose(), &LOOK, false));
}

#[test]
fn golden_partly() {
    let mut world = troubled();
    world.request.overrides.fenced = Some("I saw its racks dark at 11:58, Ada".to_owned());
    widths("failover-partly", |look| proposal(&world.propose(), look, false));
    world.request.overrides.accept_data_loss = Some(minutes(100));
    golden::check("failover-overridden-80.txt", &proposal(&world.propose(), &LOOK, false));
}

#[test]
fn golden_refused() {
    let mut world = troubled();
    world.silence("eu-west-1");
    world.topology.regions.get_mut(&region("us-west-1")).unwrap().capacity_vms = 3;
    widths("failover-refused", |look| proposal(&world.propose(), look, false));
    world.fence = FenceHook::Ready;
    world.topology.policy.failover.hooks.fence = vec!["/etc/debvisor/fence".to_owned()];
    world.request.overrides.gone.insert(region("eu-west-1"), "sold in May".to_owned());
    golden::check("failover-collateral-80.txt", &proposal(&world.propose(), &LOOK, false));
}

#[test]
fn golden_of_a_thousand() {
    let mut world = fleet();
    for n in 4..=1000 {
        world.add(&format!("vm.web-vm-{n}"), "us-east-1", &["us-west-1", "eu-west-1"], minutes(3));
    }
    world.request.overrides.fenced = Some("seen".to_owned());
    world.request.strategy = Some(Strategy::Manual);
    golden::check("failover-large-80.txt", &proposal(&world.propose(), &LOOK, false));
}

#[test]
fn a_thousand_of_many_ages_are_told_by_their_bounds() {
    let mut world = fleet();
    for n in 4..=100 {
        world.add(&format!("vm.web-vm-{n}"), "us-east-1", &["us-west-1", "eu-west-1"], Duration::from_secs(60 + n));
    }
    world.request.overrides.fenced = Some("seen".to_owned());
    world.request.strategy = Some(Strategy::Manual);
    let proposed = world.propose();
    let told = proposal(&proposed, &LOOK, false);
    let line = told.lines().find(|line| line.contains("vm.web-vm-{4..100}")).unwrap_or_else(|| panic!("{told}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words.join(" "), "1 vm.web-vm-{4..100} at us-west-1 1m to 4m frozen up to 4m", "{told}");
    assert!(proposal(&proposed, &LOOK, true).lines().count() > 100, "--explain has each");
}

fn verdict(down: bool) -> Verdict {
    let policy = HealthPolicy::default();
    let served = regions(&["us-east-1", "us-west-1", "eu-west-1", "ap-south-1", "sa-east-1"]);
    let lost = crate::failover::tests::world::evidence(Some(Duration::from_secs(130)), true);
    let sees = |ids: &[&str]| regions(ids);
    let watcher = |evidence: &Evidence, seen: &[&str]| Ok(Observer { evidence: evidence.clone(), sees: sees(seen) });
    let mut told: std::collections::BTreeMap<RegionId, Result<Observer, String>> = [
        (region("us-west-1"), watcher(&lost, &["eu-west-1", "ap-south-1", "sa-east-1"])),
        (region("eu-west-1"), watcher(&lost, &["us-west-1", "ap-south-1"])),
        (region("ap-south-1"), watcher(&lost, &["us-west-1", "eu-west-1"])),
        (region("sa-east-1"), watcher(&lost, &["us-west-1"])),
    ]
    .into();
    if !down {
        let seen = crate::failover::tests::world::evidence(Some(Duration::from_secs(4)), false);
        told.insert(region("eu-west-1"), watcher(&seen, &["us-west-1", "ap-south-1"]));
        told.insert(region("sa-east-1"), Err("no answer from https://sa-east-1.example within 2s".to_owned()));
    }
    Suspicion {
        suspect: &region("us-east-1"),
        target: Some(&region("us-west-1")),
        served: &served,
        gone: &regions(&[]),
        own: &lost,
        told: &told,
        health: &policy,
        quorum: None,
    }
    .judge()
}

#[test]
fn golden_evidence() {
    widths("failover-evidence-down", |look| evidence(&verdict(true), look));
    widths("failover-evidence-seen", |look| evidence(&verdict(false), look));
    let mut world = troubled();
    world.request.asker = Asker::Policy;
    world.request.strategy = Some(Strategy::Automatic);
    world.verdict = Some(verdict(false));
    world.last_automatic = Some(world.now.before(minutes(20)));
    golden::check("failover-automatic-80.txt", &proposal(&world.propose(), &LOOK, true));
}

#[test]
fn golden_runbook() {
    let mut world = fleet();
    world.add("vm.lab", "us-east-1", &[], minutes(1));
    let write = |world: &World| {
        Runbook::write(&world.topology, "/srv/site/topology.toml", &region("us-east-1"), &region("us-west-1")).unwrap()
    };
    let written = write(&world);
    assert_eq!(written.moves[1].len(), 3, "the web machines come second");
    assert_eq!(written.stays, [key("vm.lab")].into());
    golden::check("runbook-three.md", &runbook(&written, &LOOK));
    let mut two = World::of(&["us-east-1", "us-west-1"]);
    two.add("vm.web-vm-1", "us-east-1", &["us-west-1"], minutes(1));
    two.topology.policy.failover.strategy = Strategy::Automatic;
    two.topology.policy.failover.hooks.fence = vec!["/etc/debvisor/fence".to_owned()];
    golden::check("runbook-two.md", &runbook(&write(&two), &LOOK));
    let ascii = runbook(&written, &Look { unicode: false, ..LOOK });
    assert!(ascii.is_ascii(), "{ascii}");
}

/// What a runbook has people type is what the program takes, as far as it can be asked yet.
#[test]
fn a_runbook_names_real_regions_and_resources() {
    let world = fleet();
    let (from, to) = (region("us-east-1"), region("us-west-1"));
    let written = Runbook::write(&world.topology, "topology.toml", &from, &to).unwrap();
    assert_eq!(written.chapters.len(), 8);
    for chapter in &written.chapters {
        assert!(!chapter.stop.is_empty() && !chapter.steps.is_empty(), "{}", chapter.title);
        for command in chapter.steps.iter().flat_map(|step| &step.commands) {
            assert!(command.starts_with("debvisor-region ") || command.starts_with("virsh "), "{command}");
        }
    }
    assert!(Runbook::write(&world.topology, "x", &from, &from).is_err());
    assert!(Runbook::write(&world.topology, "x", &from, &region("mars")).is_err());
}
