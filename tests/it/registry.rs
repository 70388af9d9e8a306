//! Which regions there are: when one may come or go, and what a region is worth that went, or that nobody is left to
//! answer for.

use std::fs;

use crate::failover::{Fleet, kill_at};
use crate::failover_rest::get;
use crate::machines::Machines;
use crate::support::World;

fn topology(world: &World) -> String {
    String::from_utf8(world.read("topology.toml")).unwrap()
}

/// A failover of a region that was killed once it was open.
fn open_operation(world: &World) {
    for step in 1.. {
        assert!(kill_at(world, ("a", "b"), step), "nothing was open after any step");
        let told = world.run(["failover", "status", "--format", "json"]).exits(0).json();
        if !told["operations"].as_array().unwrap().is_empty() {
            return;
        }
    }
}

#[test]
fn no_region_comes_or_goes_while_an_operation_is_open() {
    let fleet = Fleet::new(1, "");
    let world = &fleet.world;
    let three = topology(world);
    open_operation(world);
    fs::create_dir(world.path("d")).unwrap();
    world.write(
        "topology.toml",
        three.replacen("[[replication]]", "[regions.d]\napi_endpoint = \"file:d\"\n[[replication]]", 1),
    );
    world.run(["plan"]).says(&["region.d", "no region comes or goes", "1 blocked"]);
    world.run(["apply", "--auto-approve"]).says(&["region.d", "open operation"]);
    world.run(["failover", "resume"]).exits(0);
    fleet.assert_all_run_at("b");
    world.apply();
    let known = get(&fleet.regions[1], "snapshot").is(200)["regions"].clone();
    assert!(known.as_object().unwrap().contains_key("d"), "{known:#}");
}

#[test]
fn a_region_that_was_removed_takes_part_in_nothing_before_it_is_readmitted() {
    let fleet = Fleet::new(1, "");
    let world = &fleet.world;
    let three = topology(world);
    world.run(["region", "remove", "c", "--cascade", "--apply", "--auto-approve"]).exits(0);
    assert_eq!(get(&fleet.regions[2], "snapshot").is(200)["inert"], "removed");
    world.write("topology.toml", three);
    world.run(["apply", "--auto-approve"]).exits(3).says(&["the region was removed", "region readmit c"]);
    world.run(["failover", "execute", "a", "c", "--force"]).exits(5);
    world.run(["region", "readmit", "c"]).exits(0).says(&["removed"]);
    world.apply();
    world.run(["failover", "execute", "a", "c", "--force"]).exits(0);
    fleet.assert_all_run_at("c");
}

#[test]
fn a_region_that_was_declared_gone_can_be_removed() {
    let mut fleet = Fleet::new(1, "");
    fleet.regions[0].kill();
    fleet.machines.stop("web-1", "a");
    let world = &fleet.world;
    world.run(["failover", "execute", "a", "b", "--force", "--gone", "a=it burnt"]).exits(0);
    world.run(["failover", "accept", "web-1", "--auto-approve"]).exits(0);
    // What its own store remembers of it waits for nobody.
    world.run(["region", "remove", "a", "--cascade", "--apply", "--auto-approve"]).says(&["delete region.a"]);
    let known = get(&fleet.regions[1], "snapshot").is(200)["regions"].clone();
    assert!(!known.as_object().unwrap().contains_key("a"), "{known:#}");
    fleet.assert_all_run_at("b");
}

#[test]
fn a_region_that_obeys_a_later_take_over_is_readmitted_above_it() {
    let mut fleet = Fleet::new(1, "");
    fleet.regions[0].kill();
    fleet.machines.stop("web-1", "a");
    fleet.world.run(["failover", "execute", "a", "b", "--force", "--gone", "a=it burnt"]).exits(0);
    // Another state had begun to take over, and came as far as `a`.
    let store = rusqlite::Connection::open(fleet.world.path("a/region.db")).unwrap();
    let later = "UPDATE region SET controller = json_set(controller, '$.term', 5, '$.place', 'ops@elsewhere:state.db', \
                 '$.seat', '00000000-0000-4000-8000-000000000005')";
    assert_eq!(store.execute(later, []).unwrap(), 1);
    drop(store);
    fleet.regions[0].again(&fleet.world);
    let world = &fleet.world;
    world.run(["region", "readmit", "a"]).exits(5).says(&["ops@elsewhere", "region readmit a --take-over"]);
    world.run(["region", "readmit", "a", "--take-over"]).exits(0).says(&["declared gone"]);
    world.apply();
    world.run(["failover", "execute", "b", "a", "--force"]).exits(0);
    fleet.assert_all_run_at("a");
}

/// Two directories, each of which was away while the other one took over what it held.
#[test]
fn of_two_regions_that_were_declared_gone_by_each_other_one_answers_for_the_other() {
    let world = World::new();
    let machines = Machines::of(&world);
    let mut topology = "schema_version = 1\n".to_owned();
    for (region, other) in [("a", "b"), ("b", "a")] {
        let files = format!("{region}/resources/vm/of-{region}");
        world.write(format!("{files}/domain.xml"), "<domain/>\n");
        world.write(format!("{files}/disk.raw"), format!("a disk of {region}\n").repeat(9000));
        world.write(format!("{region}/.debvisor/config.toml"), machines.config());
        topology += &format!("[regions.{region}]\napi_endpoint = \"file:{region}\"\n");
        topology += &format!("[vms.of-{region}]\nprimary = {region:?}\nreplicas = [{other:?}]\n");
        topology += &format!("[[replication]]\nsource = {region:?}\ntarget = {other:?}\nresource_types = [\"vm\"]\n");
    }
    world.write("topology.toml", topology);
    world.apply();
    for (gone, other) in [("b", "a"), ("a", "b")] {
        fs::rename(world.path(gone), world.path("away")).unwrap();
        let declared = format!("{gone}=it burnt");
        world.run(["failover", "execute", gone, other, "--force", "--gone", &declared]).exits(0);
        fs::rename(world.path("away"), world.path(gone)).unwrap();
    }
    let told = world.run(["apply", "--auto-approve"]).exits(3);
    let left = ["a", "b"].into_iter().filter(|region| told.stdout.contains(&format!("region readmit {region}")));
    let [left] = left.collect::<Vec<_>>().try_into().unwrap();
    world.run(["region", "readmit", left]).exits(5).says(&["may", "Stop it there"]);
    ["of-a", "of-b"].iter().for_each(|vm| machines.stop(vm, left));
    world.run(["region", "readmit", left]).exits(0).says(&["declared gone"]);
    world.run(["apply", "--auto-approve"]);
    world.run(["region", "list"]).exits(0);
}

/// `b` took over what `a` held while it was away, and lost its disk before `a` was let in again.
fn nobody_is_left() -> (World, Machines) {
    let world = World::new();
    let machines = Machines::of(&world);
    for region in ["a", "b"] {
        world.write(format!("{region}/.debvisor/config.toml"), machines.config());
    }
    let files = "a/resources/vm/web-1";
    world.write(format!("{files}/domain.xml"), "<domain/>\n");
    world.write(format!("{files}/disk.raw"), "a disk\n".repeat(9000));
    let regions = ["a", "b"].map(|region| format!("[regions.{region}]\napi_endpoint = \"file:{region}\"\n"));
    let vm = "[vms.web-1]\nprimary = \"a\"\nreplicas = [\"b\"]\n";
    let pair = "[[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n";
    world.write("topology.toml", format!("schema_version = 1\n{}{vm}{pair}", regions.concat()));
    world.apply();
    fs::rename(world.path("a"), world.path("away")).unwrap();
    world.run(["failover", "execute", "a", "b", "--force", "--gone", "a=it burnt"]).exits(0);
    fs::rename(world.path("away"), world.path("a")).unwrap();
    world.run(["apply", "--auto-approve"]).exits(3).says(&["region readmit a"]);
    (world, machines)
}

#[test]
fn where_no_region_takes_part_any_more_a_person_says_with_which_one_the_fleet_begins_anew() {
    let (world, machines) = nobody_is_left();
    let alone = ["region", "readmit", "a", "--alone", "b lost its disk"];
    world.run(alone).exits(5).says(&["b takes part"]);
    machines.stop("web-1", "b");
    fs::remove_dir_all(world.path("b")).unwrap();
    world.run(["region", "readmit", "a"]).exits(5).says(&["was declared gone", "region readmit a --alone"]);
    // Its disk may only be unmounted: somebody must know.
    world.run(alone).exits(5).says(&["b", "--gone"]);
    let gone = alone.iter().copied().chain(["--gone", "b=its disk is scrap"]);
    world.run(gone.clone()).exits(0).says(&["a takes part again", "declared gone", "it holds vm.web-1"]);
    world.run(gone).exits(0).says(&["nothing was changed"]);
    fs::create_dir(world.path("b")).unwrap();
    world.write("b/.debvisor/config.toml", machines.config());
    world.run(["region", "readmit", "b"]).exits(0).says(&["declared gone"]);
    world.apply();
    world.assert_newest_point_is("web-1", "b", &world.path("a/resources/vm/web-1"));
    machines.start("web-1", "a", 3);
    world.run(["failover", "execute", "a", "b", "--force"]).exits(0);
    assert!(machines.runs("web-1", "b"));
}

#[test]
fn a_fleet_does_not_begin_anew_with_one_region_while_a_machine_runs_elsewhere() {
    let (world, machines) = nobody_is_left();
    // Nobody counts on what `b` remembers either.
    let store = rusqlite::Connection::open(world.path("b/region.db")).unwrap();
    assert_eq!(store.execute("UPDATE region SET inert = '\"went_back\"'", []).unwrap(), 1);
    drop(store);
    world.run(["region", "readmit", "a"]).exits(5).says(&["region readmit a --alone"]);
    let alone = ["region", "readmit", "a", "--alone", "both were put back from old backups"];
    world.run(alone).exits(5).says(&["vm.web-1 runs at b, or may", "Stop it there"]);
    machines.stop("web-1", "b");
    // What `b` held later is not given up: it moves, as from any holder that was readmitted.
    world.run(alone).exits(0).says(&["a takes part again", "keeps copies of 1 resource"]);
    world.run(["region", "readmit", "b"]).exits(0).says(&["went back", "failover execute b"]);
}
