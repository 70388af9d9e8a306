//! Real disk images: a sparse ext4, a qcow2, a VM with two disks. Compared byte for byte, sparseness too.
//!
//! The generator and the mutator under `tests/tools` need python3 and e2fsprogs, the qcow2 test qemu-img. The gate
//! uses small disks; `cargo test --release --test it -- --ignored` uses 8 GiB.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::support::{World, allocated, assert_same_bytes, assert_same_tree, repository};

/// Runs one of `tests/tools`; gives what it says of its work.
pub(crate) fn tool(name: &str, args: &[&str]) -> serde_json::Value {
    let out = Command::new("python3").arg(repository().join("tests/tools").join(name)).args(args).output().unwrap();
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Bytes that the latest run in the history moved.
fn moved(world: &World) -> u64 {
    let history = world.run(["history", "--format", "json", "--limit", "1"]).exits(0).json();
    let runs = history.as_array().or_else(|| history["runs"].as_array()).expect("history is a list of runs");
    runs[0]["bytes"].as_u64().expect("a run's bytes")
}

fn sparse_disk(gib: &str, bytes: u64) {
    let world = World::two_regions("[vms.big]\nreplicas = [\"b\"]\n");
    world.write("a/resources/vm/big/domain.xml", "<domain><name>big</name></domain>\n");
    let source = world.path("a/resources/vm/big/disk.raw");
    tool("gen_disk.py", &[source.to_str().unwrap(), "--size-gib", gib, "--seed", "1"]);
    let replica = world.path("b/resources/vm/big/disk.raw");

    world.apply();
    assert_same_bytes(&source, &replica);
    assert_eq!(fs::metadata(&source).unwrap().len(), bytes);
    // Allocated zeros of the source become holes; beyond that both occupy the same, give or take the file system's
    // own bookkeeping.
    let (left, right) = (allocated(&source), allocated(&replica));
    assert!(right <= left + left / 100 + (1 << 20), "source {left}, replica {right} bytes on disk");
    let first = moved(&world);
    assert!(first <= left, "{first} bytes travelled for {left} on disk");
    world.assert_settled();

    let change = tool("mutate.py", &[source.to_str().unwrap(), "--pct", "1", "--seed", "2"]);
    let blocks = change["changed_64k"].as_u64().unwrap();
    world.apply();
    assert_same_bytes(&source, &replica);
    let second = moved(&world);
    eprintln!("{gib} GiB: first {first} bytes, then {second} for {blocks} in changed blocks");
    assert!(second > 0 && second <= blocks + (64 << 10), "{second} bytes travelled for {blocks} in changed blocks");
    assert!(allocated(&replica) <= allocated(&source) + allocated(&source) / 100 + (1 << 20));
    world.assert_settled();
}

#[test]
fn a_sparse_ext4_disk() {
    sparse_disk("0.25", 256 << 20);
}

#[test]
#[ignore = "8 GiB: cargo test --release --test it -- --ignored"]
fn a_sparse_ext4_disk_of_8_gib() {
    sparse_disk("8", 8 << 30);
}

fn qemu_img(args: &[&str]) {
    let out = Command::new("qemu-img").args(args).output().unwrap();
    assert!(out.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A VM with a raw and a qcow2 disk: both are one point, and both arrive.
#[test]
fn a_vm_with_two_disks_one_of_them_qcow2() {
    let world = World::two_regions("[vms.two]\nreplicas = [\"b\"]\n");
    world.write("a/resources/vm/two/domain.xml", "<domain><name>two</name></domain>\n");
    let raw = world.path("a/resources/vm/two/system.raw");
    let qcow2 = world.path("a/resources/vm/two/data.qcow2");
    tool("gen_disk.py", &[raw.to_str().unwrap(), "--size-gib", "0.25", "--fill", "0.1", "--seed", "3"]);
    qemu_img(&["convert", "-O", "qcow2", raw.to_str().unwrap(), qcow2.to_str().unwrap()]);
    world.apply();
    let replica = world.path("b/resources/vm/two");
    assert_same_tree(&world.path("a/resources/vm/two"), &replica);
    qemu_img(&["check", replica.join("data.qcow2").to_str().unwrap()]);
    qemu_img(&["compare", raw.to_str().unwrap(), replica.join("data.qcow2").to_str().unwrap()]);

    tool("mutate.py", &[raw.to_str().unwrap(), "--pct", "2", "--seed", "4"]);
    world.apply();
    assert_same_tree(&world.path("a/resources/vm/two"), &replica);
    world.assert_newest_point_is("two", "b", &world.path("a/resources/vm/two"));
    world.assert_settled();
}

/// Files of a hypervisor stay where they are.
#[test]
fn adopted_files_stay_where_they_are() {
    let world = World::two_regions("[vms.here]\nreplicas = [\"b\"]\n");
    world.write("images/here.raw", vec![7u8; 300_000]);
    world.write("etc/here.xml", "<domain/>\n");
    let list =
        format!("[resources.here]\nfiles = [{:?}, {:?}]\n", world.path("images/here.raw"), world.path("etc/here.xml"));
    world.write("a/.debvisor/config.toml", list);
    world.apply();
    let replica = world.path("b/resources/vm/here");
    assert_same_bytes(&world.path("images/here.raw"), &replica.join("here.raw"));
    assert_same_bytes(&world.path("etc/here.xml"), &replica.join("here.xml"));
    assert!(!Path::exists(&world.path("a/resources/vm/here")));
    world.assert_settled();
}

/// A bitmap of the image says what was written, where a runner says that the machine is stopped.
#[test]
fn a_qcow2_with_a_bitmap_is_read_in_part() {
    let world = World::two_regions("[vms.hinted]\nreplicas = [\"b\"]\n");
    world.write("a/resources/vm/hinted/domain.xml", "<domain/>\n");
    let image = world.path("a/resources/vm/hinted/disk.qcow2");
    let disk = image.to_str().unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", disk, "64M"]);
    let write = |range: &str, byte: u8| {
        let command = format!("write -P {byte} {range}");
        assert!(Command::new("qemu-io").args(["-f", "qcow2", "-c", &command, disk]).output().unwrap().status.success());
    };
    write("0 32M", 3);
    let machine = |says: &str| {
        let runner = format!("[runner]\nstart = [\"true\"]\nstop = [\"true\"]\nstatus = [\"echo\", \"{says}\"]\n");
        world.write("a/.debvisor/config.toml", format!("{runner}[hints]\nbitmap = \"hint\"\n"));
    };
    let sync = || {
        let report = world.run(["replication", "sync", "hinted", "a", "b", "--format", "json"]).exits(0).stdout;
        assert_same_tree(&world.path("a/resources/vm/hinted"), &world.path("b/resources/vm/hinted"));
        report
    };
    machine("stopped");
    let first = world.run(["apply", "--auto-approve", "--format", "json"]).exits(0).stdout;
    assert!(first.contains("disk.qcow2: full comparison: its bitmap begins now"), "{first}");
    world.assert_settled();
    for byte in [4, 5] {
        write("12M 128k", byte);
        let report = sync();
        assert!(!report.contains("full comparison"), "{report}");
    }
    // What changes behind the bitmap's back is not read: so it is by the bitmap that nothing else was.
    let bytes = fs::read(&image).unwrap();
    let at = bytes.windows(65_536).position(|window| window.iter().all(|byte| *byte == 3)).unwrap();
    fs::File::options().write(true).open(&image).unwrap().write_all_at(&[9; 4], at as u64 + 9).unwrap();
    world.run(["replication", "sync", "hinted", "a", "b"]).exits(0);
    assert_ne!(
        fs::read(&image).unwrap()[at..],
        fs::read(world.path("b/resources/vm/hinted/disk.qcow2")).unwrap()[at..]
    );
    world.run(["replication", "verify", "hinted"]);
    machine("running");
    write("12M 128k", 6);
    let report = sync();
    assert!(report.contains("disk.qcow2: full comparison: no runner said that its machine is stopped"), "{report}");
}

/// A change within the second of the last read is a change.
#[test]
fn a_change_right_after_the_read_is_seen() {
    let world = World::two_regions("[vms.fast]\nreplicas = [\"b\"]\n");
    let disk = world.path("a/resources/vm/fast/disk.raw");
    world.write("a/resources/vm/fast/domain.xml", "<domain/>\n");
    for round in 0..10u8 {
        let stat = fs::metadata(&disk).ok().and_then(|meta| meta.modified().ok());
        world.write("a/resources/vm/fast/disk.raw", vec![round + 1; 200_000]);
        if let Some(time) = stat {
            // A hand that also restores the time of modification.
            fs::File::options().write(true).open(&disk).unwrap().set_modified(time).unwrap();
        }
        // The whole disk changes each time.
        let answer = world.run(["apply", "--auto-approve"]);
        if answer.code != 0 {
            world.run(["replication", "sync", "fast", "a", "b", "--accept-change"]).exits(0);
        }
        assert_same_bytes(&disk, &world.path("b/resources/vm/fast/disk.raw"));
    }
}
