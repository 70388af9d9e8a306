//! Two regions, one of which burnt: nothing goes by itself, and what the refusal prints works.

use std::process::{Command, Stdio};

use crate::machines::Machines;
use crate::served::Served;
use crate::support::{World, assert_same_tree, program};

/// The command that a refusal prints, letter for letter.
#[track_caller]
fn printed(refusal: &str) -> &str {
    let lines = refusal.lines().map(str::trim);
    let mut commands = lines.filter(|text| text.starts_with("debvisor-region failover execute "));
    let first = commands.next().unwrap_or_else(|| panic!("no command is printed:\n{refusal}"));
    assert_eq!(commands.next(), None, "{refusal}");
    first
}

#[test]
fn of_two_regions_one_burnt_and_the_printed_command_works() {
    let world = World::new();
    let machines = Machines::of(&world);
    for n in 1..=2 {
        world.write(format!("a/resources/vm/web-{n}/domain.xml"), format!("<domain>{n}</domain>\n"));
        world.write(format!("a/resources/vm/web-{n}/disk.raw"), format!("the disk of web-{n}\n").repeat(9000));
    }
    for region in ["a", "b"] {
        world.write(format!("{region}/.debvisor/config.toml"), machines.config());
    }
    let (mut a, b) = (Served::start(&world, "a", &[]), Served::start(&world, "b", &[]));
    world.write(
        "topology.toml",
        format!(
            "schema_version = 1\n[regions.a]\napi_endpoint = {:?}\nprimary = true\n[regions.b]\napi_endpoint = {:?}\n\
             [[replication]]\nsource = \"a\"\ntarget = \"b\"\nresource_types = [\"vm\"]\n\
             [vms.\"web-{{1..2}}\"]\nreplicas = [\"b\"]\n",
            a.origin, b.origin
        ),
    );
    world.apply();
    (1..=2).for_each(|n| machines.start(&format!("web-{n}"), "a", 1));
    let copy = world.path("copy-of-a");
    crate::support::copy_tree(&world.path("a/resources/vm"), &copy);

    a.kill();
    (1..=2).for_each(|n| machines.stop(&format!("web-{n}"), "a"));
    std::fs::remove_dir_all(world.path("a")).unwrap();
    // Nobody is asked: what speaks against it comes first.
    for asked in [&["failover", "execute", "a", "b"][..], &["failover", "execute", "a", "b", "--force"]] {
        let refused = world.run(asked).exits(5);
        assert!(printed(&refused.stderr).contains("--fenced"), "{}", refused.stderr);
    }
    assert!(!machines.runs("web-1", "b"), "nothing has moved");
    let refused = world.run(["failover", "execute", "a", "b", "--force", "--reason", "it's burnt"]).exits(5);
    let (directory, _) = program().rsplit_once('/').unwrap();
    let done = Command::new("sh")
        .args(["-c", printed(&refused.stderr)])
        .current_dir(world.dir.path())
        .env("PATH", format!("{directory}:/usr/bin:/bin"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!((1..=2).all(|n| machines.runs(&format!("web-{n}"), "b")), "{said}");
    (1..=2).for_each(|n| {
        let name = format!("web-{n}");
        assert_same_tree(&copy.join(&name), &world.path(format!("b/resources/vm/{name}")));
    });
    world.run(["failover", "history"]).exits(0).says(&["it's burnt", "completed"]);
    assert_eq!(machines.overlaps(), Vec::<String>::new());
}
