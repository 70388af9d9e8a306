//! Bad input and bad places: each a clear error with what to do, and nothing lost.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{io, thread};

use crate::support::{Answer, World, assert_same_tree};

const VM: &str = "[vms.web]\nreplicas = [\"b\"]\n";

/// Two regions with one small VM.
fn small_world() -> World {
    let world = World::two_regions(VM);
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", vec![5u8; 400_000]);
    world
}

fn applied_world() -> World {
    let world = small_world();
    world.apply();
    world
}

// ---- topology files

#[test]
fn a_topology_that_is_not_there() {
    World::new().run(["plan"]).exits(1).says(&["topology.toml", "init"]);
    World::new().run(["plan", "--topology", "nowhere.toml"]).exits(1).says(&["nowhere.toml"]);
}

#[test]
fn a_topology_that_is_not_toml() {
    let world = World::new();
    world.write("topology.toml", "schema_version = 1\n[regions.a\nname = \n");
    world.run(["validate"]).exits(1).says(&["topology.toml", ":2"]);
}

#[test]
fn a_topology_that_is_not_utf8() {
    let world = World::new();
    world.write("topology.toml", b"schema_version = 1\nname = \"\xff\xfe\"\n");
    world.run(["validate"]).exits(1).says(&["topology.toml", "UTF-8"]);
}

#[test]
fn a_topology_of_ten_megabytes() {
    let world = World::new();
    world.write("topology.toml", "# filler\n".repeat(10 << 20 >> 3));
    world.run(["validate"]).exits(1).says(&["topology.toml", "MiB"]);
}

#[test]
fn a_directory_without_topology() {
    let world = World::new();
    world.write("topology/readme.txt", "nothing here");
    world.run(["validate"]).exits(1).says(&[".toml"]);
}

#[test]
fn a_topology_that_cannot_be_read() {
    let world = World::new();
    fs::create_dir(world.path("topology.toml")).unwrap();
    // A directory without any file stands for every other reason: root may read everything.
    world.run(["validate"]).exits(1).says(&["topology.toml"]);
}

// ---- state files

#[test]
fn a_state_file_that_is_not_sqlite() {
    let world = applied_world();
    world.write("debvisor-region.state.db", "this is a text, long enough to be looked at as a header of a database\n");
    for command in [&["plan"][..], &["apply", "--auto-approve"], &["history"]] {
        world.run(command).exits(1).says(&["debvisor-region.state.db", "state rebuild"]);
    }
    assert_same_tree(&world.path("a/resources"), &world.path("b/resources"));
}

#[test]
fn a_state_file_of_a_newer_version() {
    let world = applied_world();
    let db = rusqlite::Connection::open(world.path("debvisor-region.state.db")).unwrap();
    db.pragma_update(None, "user_version", 9_999).unwrap();
    drop(db);
    world.run(["plan"]).exits(1).says(&["9999", "newer"]);
}

// ---- places of regions

#[test]
fn a_region_that_is_not_mounted() {
    let world = applied_world();
    fs::rename(world.path("b"), world.path("unmounted")).unwrap();
    world.write("a/resources/vm/web/disk.raw", vec![6u8; 400_000]);
    // The change is small in bytes, but the whole disk: it must be deferred, not judged.
    let answer = world.run(["plan", "--format", "json", "--detailed-exitcode"]).exits(2);
    let plan = answer.json();
    assert_eq!(plan["unobserved"][0]["region_id"], "b");
    assert_eq!(plan["unobserved"][0]["deferred"][0], "vm.web");
    assert_eq!(plan["summary"]["create"], 0);
    world.run(["apply", "--auto-approve"]).exits(3).says(&["b", "mount"]);
    assert!(!world.path("b").exists(), "an unmounted region was founded anew");

    // An empty mount point is no deletion either.
    fs::create_dir(world.path("b")).unwrap();
    world.run(["apply", "--auto-approve"]).exits(3);
    assert!(fs::read_dir(world.path("b")).unwrap().next().is_none(), "something was written into an empty mount point");
    fs::remove_dir(world.path("b")).unwrap();

    fs::rename(world.path("unmounted"), world.path("b")).unwrap();
    world.write("a/resources/vm/web/disk.raw", vec![5u8; 400_000]);
    world.apply();
    world.assert_settled();
}

#[test]
fn the_directory_of_another_region() {
    let world = applied_world();
    fs::rename(world.path("b"), world.path("b.saved")).unwrap();
    let copied = Command::new("cp").arg("-a").arg(world.path("a")).arg(world.path("b")).status().unwrap();
    assert!(copied.success());
    world.run(["plan", "--detailed-exitcode"]).exits(2).says(&["another region answers there: a", "deferred"]);
    assert_same_tree(&world.path("a/resources"), &world.path("b/resources"));
}

#[test]
fn a_store_that_was_replaced() {
    let world = applied_world();
    // The same id, another store: a region founded by somebody else.
    let other = small_world();
    other.apply();
    fs::rename(world.path("b"), world.path("b.saved")).unwrap();
    fs::rename(other.path("b"), world.path("b")).unwrap();
    world.write("a/resources/vm/web/domain.xml", "<domain id='2'/>\n");
    world.run(["apply", "--auto-approve"]).exits(3).says(&["store"]);
}

/// Whether this process may write where permissions say that it may not.
fn permissions_bind() -> bool {
    let world = World::new();
    fs::create_dir(world.path("d")).unwrap();
    fs::set_permissions(world.path("d"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::write(world.path("d/f"), "").is_err()
}

/// A mount of its own for a test, in a mount namespace that ends with it.
fn mounted(options: &str, world: &World, script: &str) -> Option<Answer> {
    let probe = Command::new("unshare").args(["-m", "true"]).output().ok()?;
    if !probe.status.success() {
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &format!("{options} && {script}")])
        .current_dir(world.dir.path())
        .env("PROGRAM", crate::support::program());
    let output = command.output().ok()?;
    Some(Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    })
}

#[test]
fn a_read_only_region() {
    let world = applied_world();
    world.write("a/resources/vm/web/domain.xml", "<domain id='2'/>\n");
    let bind = "mount --bind b b && mount -o remount,bind,ro b";
    if let Some(answer) = mounted(bind, &world, "$PROGRAM apply --auto-approve") {
        answer.exits(1).says(&["b/.debvisor", "Read-only", "writable"]);
        mounted(bind, &world, "$PROGRAM plan --detailed-exitcode").unwrap().exits(2);
    } else if permissions_bind() {
        fs::set_permissions(world.path("b"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::set_permissions(world.path("b/.debvisor"), fs::Permissions::from_mode(0o555)).unwrap();
        world.run(["apply", "--auto-approve"]).exits(1).says(&["b"]);
        fs::set_permissions(world.path("b"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(world.path("b/.debvisor"), fs::Permissions::from_mode(0o755)).unwrap();
    } else {
        eprintln!("neither mounts nor permissions bind here: the read-only region is left to machines where they do");
        return;
    }
    world.apply();
    world.assert_settled();
}

#[test]
fn a_full_disk() {
    let world = applied_world();
    // The replica lies on a file system of 24 MiB; the source then wants 64 MiB.
    let mut noise = crate::kill::Chance::new(5);
    world.write("a/resources/vm/web/disk.raw", [vec![5u8; 400_000], vec![0; 100_000]].concat());
    world.write("big.raw", noise.bytes(64 << 20));
    let mount = "mkdir -p small && mount -t tmpfs -o size=24m none small && cp -a b/. small/ && mount --move small b";
    let script = "$PROGRAM apply --auto-approve && cp big.raw a/resources/vm/web/data.raw && \
                  { $PROGRAM apply --auto-approve; echo code $?; } && \
                  $PROGRAM replication export web --region b out && ls out && \
                  { $PROGRAM plan --detailed-exitcode; echo plan $?; } && \
                  rm a/resources/vm/web/data.raw && $PROGRAM apply --auto-approve && $PROGRAM plan --detailed-exitcode";
    let Some(answer) = mounted(mount, &world, script) else {
        eprintln!("no mounts here: the full disk is left to machines with them");
        return;
    };
    answer.exits(0).says(&["no_space", "code 3", "plan 2", "domain.xml"]);
}

// ---- sources

#[test]
fn a_source_that_vanished_or_was_gutted() {
    type Harm = fn(&Path) -> io::Result<()>;
    let harms: [(&str, Harm); 5] = [
        ("vanished", |vm| fs::remove_dir_all(vm)),
        ("emptied", |vm| {
            fs::remove_file(vm.join("disk.raw"))?;
            fs::remove_file(vm.join("domain.xml"))
        }),
        ("definition", |vm| fs::remove_file(vm.join("domain.xml"))),
        ("disk", |vm| fs::remove_file(vm.join("disk.raw"))),
        ("shrunk", |vm| fs::File::options().write(true).open(vm.join("disk.raw"))?.set_len(1000)),
    ];
    for (name, harm) in harms {
        let world = applied_world();
        let saved = world.path("saved");
        crate::support::copy_tree(&world.path("b/resources/vm/web"), &saved);
        harm(&world.path("a/resources/vm/web")).unwrap();
        let plan = world.run(["plan", "--format", "json", "--detailed-exitcode"]).exits(2).json();
        assert_eq!(plan["blocked"][0]["address"], "vm.web", "{name}: {plan:#}");
        world.run(["apply", "--auto-approve"]).exits(3);
        assert_same_tree(&saved, &world.path("b/resources/vm/web"));
        // Brought back by hand from the replica, it is in sync again.
        world.run(["vm", "restore", "web", "--from", "b", "--auto-approve"]).exits(0);
        assert_same_tree(&saved, &world.path("a/resources/vm/web"));
        world.apply();
        world.assert_settled();
    }
}

#[test]
fn a_change_of_more_than_its_share_waits_for_a_person() {
    let world = World::two_regions(VM);
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", crate::kill::Chance::new(1).bytes(4 << 20));
    world.apply();
    let old = world.path("old");
    crate::support::copy_tree(&world.path("a/resources/vm/web"), &old);
    // Every block is another: what ransomware does.
    world.write("a/resources/vm/web/disk.raw", crate::kill::Chance::new(2).bytes(4 << 20));
    world.run(["apply", "--auto-approve"]).exits(3).says(&["suspicious", "--accept-change"]);
    assert_same_tree(&old, &world.path("b/resources/vm/web"));
    world.run(["plan", "--detailed-exitcode"]).exits(2).says(&["suspicious"]);
    world.run(["replication", "sync", "web", "a", "b", "--accept-change"]).exits(0);
    assert_same_tree(&world.path("a/resources/vm/web"), &world.path("b/resources/vm/web"));
    // The point before it is still there.
    world.assert_settled();
    let points = world.run(["replication", "points", "web", "--region", "b", "--format", "json"]).exits(0).json();
    let points = points.as_array().or_else(|| points["points"].as_array()).unwrap().clone();
    assert_eq!(points.len(), 2);
    let oldest = points.iter().map(|point| point["sequence"].as_u64().unwrap()).min().unwrap().to_string();
    world.run(["replication", "export", "web", "--region", "b", "--point", &oldest, "before"]).exits(0);
    assert_same_tree(&old, &world.path("before"));
}

#[test]
fn a_source_written_all_the_while_is_busy() {
    let world = World::two_regions(VM);
    world.write("a/resources/vm/web/domain.xml", "<domain/>\n");
    world.write("a/resources/vm/web/disk.raw", crate::kill::Chance::new(1).bytes(16 << 20));
    world.apply();
    let old = world.path("old");
    crate::support::copy_tree(&world.path("a/resources/vm/web"), &old);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = thread::spawn({
        let (stop, path) = (stop.clone(), world.path("a/resources/vm/web/disk.raw"));
        move || {
            let disk = fs::File::options().write(true).open(path).unwrap();
            let mut n = 0u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                disk.write_all_at(&n.to_le_bytes(), n * 4096 % (15 << 20)).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let answer = world.run(["apply", "--auto-approve"]);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    answer.exits(3).says(&["source_busy"]);
    assert_same_tree(&old, &world.path("b/resources/vm/web"));
    world.apply();
    assert_same_tree(&world.path("a/resources/vm/web"), &world.path("b/resources/vm/web"));
}

#[test]
fn what_cannot_be_copied_is_refused_by_name() {
    type Harm = fn(&Path);
    let harms: [(&str, &str, Harm); 5] = [
        ("link that leads out", "passwd", |vm| symlink("/etc/passwd", vm.join("passwd")).unwrap()),
        ("relative link that leads out", "up", |vm| symlink("../../../..", vm.join("up")).unwrap()),
        ("fifo", "pipe", |vm| assert!(Command::new("mkfifo").arg(vm.join("pipe")).status().unwrap().success())),
        ("socket", "sock", |vm| drop(std::os::unix::net::UnixListener::bind(vm.join("sock")).unwrap())),
        ("name", "\u{fffd}", |vm| {
            use std::os::unix::ffi::OsStrExt;
            fs::write(vm.join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x").unwrap();
        }),
    ];
    for (what, name, harm) in harms {
        let world = applied_world();
        let saved = world.path("saved");
        crate::support::copy_tree(&world.path("b/resources/vm/web"), &saved);
        harm(&world.path("a/resources/vm/web"));
        world.run(["apply", "--auto-approve"]).exits(3).says(&["unsupported", name]);
        assert_same_tree(&saved, &world.path("b/resources/vm/web"));
        eprintln!("{what}: refused");
    }
}

#[test]
fn a_device_is_refused_by_name() {
    let world = applied_world();
    let made = Command::new("mknod").arg(world.path("a/resources/vm/web/null")).args(["c", "1", "3"]).output().unwrap();
    if !made.status.success() {
        eprintln!("no right to make devices here");
        return;
    }
    world.run(["apply", "--auto-approve"]).exits(3).says(&["unsupported", "null"]);
}

#[test]
fn a_qcow2_whose_backing_file_leads_out_is_refused() {
    let world = applied_world();
    world.write("base.raw", vec![0u8; 1 << 20]);
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(world.path("base.raw"))
        .arg(world.path("a/resources/vm/web/top.qcow2"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    world.run(["apply", "--auto-approve"]).exits(3).says(&["unsupported", "top.qcow2", "base.raw"]);
}

#[test]
fn a_tree_arrives_with_its_links_modes_and_times() {
    let world = World::two_regions("[resources.app]\ntype = \"config\"\nreplicas = [\"b\"]\n");
    world.write("a/resources/config/app/etc/app.conf", "x = 1\n");
    world.write("a/resources/config/app/etc/empty", "");
    world.write("a/resources/config/app/bin/run", "#!/bin/sh\n");
    let tree = world.path("a/resources/config/app");
    fs::set_permissions(tree.join("bin/run"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(tree.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("etc/app.conf", tree.join("current")).unwrap();
    symlink("../etc", tree.join("bin/etc")).unwrap();
    fs::hard_link(tree.join("etc/app.conf"), tree.join("etc/same.conf")).unwrap();
    fs::create_dir(tree.join("void")).unwrap();
    world.apply();
    let replica = world.path("b/resources/config/app");
    assert_same_tree(&tree, &replica);
    let time = |root: &Path| fs::metadata(root.join("bin/run")).unwrap().modified().unwrap();
    assert_eq!(time(&tree), time(&replica));
    world.assert_settled();

    // A rename, a removal, a kind that changes.
    fs::rename(tree.join("bin/run"), tree.join("bin/start")).unwrap();
    fs::remove_dir(tree.join("void")).unwrap();
    fs::write(tree.join("void"), "now a file\n").unwrap();
    fs::remove_file(tree.join("current")).unwrap();
    symlink("etc/empty", tree.join("current")).unwrap();
    world.apply();
    assert_same_tree(&tree, &replica);
    world.assert_settled();
}

// ---- replicas

#[test]
fn a_damaged_replica_is_repaired_and_what_was_there_is_set_aside() {
    let world = applied_world();
    let source = world.path("a/resources/vm/web");
    let replica = world.path("b/resources/vm/web");
    for harm in ["overwritten", "missing", "gone"] {
        match harm {
            "overwritten" => {
                let disk = fs::File::options().write(true).open(replica.join("disk.raw")).unwrap();
                disk.write_all_at(b"written by a hand", 70_000).unwrap();
            }
            "missing" => fs::remove_file(replica.join("domain.xml")).unwrap(),
            _ => fs::remove_dir_all(&replica).unwrap(),
        }
        let plan = world.run(["plan", "--format", "json", "--detailed-exitcode"]).exits(2).json();
        assert_eq!(plan["summary"]["repair"], 1, "{harm}: {plan:#}");
        world.apply();
        assert_same_tree(&source, &replica);
        world.assert_settled();
        world.assert_newest_point_is("web", "b", &source);
    }
    let points = world.run(["replication", "points", "web", "--region", "b", "--format", "json"]).exits(0).json();
    assert!(points.to_string().contains("set_aside"), "{points:#}");
}

#[test]
fn a_flipped_bit_is_found_by_verify() {
    let world = applied_world();
    let disk = world.path("b/resources/vm/web/disk.raw");
    let meta = fs::metadata(&disk).unwrap();
    let file = fs::File::options().write(true).open(&disk).unwrap();
    file.write_all_at(&[4], 300_000).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    drop(file);
    world.run(["replication", "verify", "web"]).exits(1).says(&["disk.raw"]);
    world.apply();
    world.run(["replication", "verify", "web"]).exits(0);
}
