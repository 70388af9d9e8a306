//! Many objects: the same answer, and no step that looks at every pair of them.

use super::world::*;
use crate::plan::compute_plan;

/// Ten regions and so many VMs with two replicas each, all of it applied.
fn large(machines: usize) -> World {
    let names: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&ids, &[], &[]);
    for source in &ids {
        for target in ids.iter().filter(|target| *target != source) {
            world.topology.pairs.insert(pair(source, target), pair_spec());
        }
    }
    for n in 0..machines {
        let (primary, first, second) = (ids[n % 10], ids[(n + 1) % 10], ids[(n + 3) % 10]);
        let text = format!("vm.vm-{n:05}");
        world.topology.resources.insert(key(&text), resource(primary, &[first, second]));
        world.write_files(primary, &text, n as u64);
    }
    world.edited();
    let plan = world.with_input(compute_plan).unwrap();
    assert_eq!(plan.summary.create as usize, 10 + 90 + machines);
    assert_eq!(plan.summary.sync as usize, machines * 2);
    world.carry_out(&plan);
    world
}

#[test]
fn ten_thousand_machines_in_step_are_an_empty_plan() {
    let world = large(10_000);
    let plan = world.with_input(compute_plan).unwrap();
    assert!(plan.is_settled());
    assert_eq!(crate::plan::check(&plan), []);
}

/// `cargo test --release --lib plan::tests::scale -- --ignored --nocapture`
#[test]
#[ignore = "measures time: cargo test --release --lib plan::tests::scale -- --ignored --nocapture"]
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "a measurement")]
fn time_is_in_proportion_to_the_machines() {
    for machines in [10_000, 50_000] {
        let world = large(machines);
        world.with_input(|input| {
            let start = std::time::Instant::now();
            let plan = compute_plan(input).unwrap();
            eprintln!("{machines} machines: {:?}", start.elapsed());
            assert!(plan.is_settled());
        });
    }
}
