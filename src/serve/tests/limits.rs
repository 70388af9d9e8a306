//! What the settings of a pair do to syncs between servers: measured where the bytes leave.

use tokio::time::Instant;

use super::*;
use crate::model::BitRate;
use crate::model::region::SyncOrder;
use crate::replica::transfer::{SyncOptions, Urgency};
use crate::wire::call::Fetch;

fn fetch(lab: &Lab, vm: &str, options: SyncOptions) -> Fetch {
    Fetch { order: SyncOrder { resource: format!("vm.{vm}").parse().unwrap(), ..lab.order() }, options }
}

/// Two servers that have these VMs on record, with a disk each at `east`.
async fn pair_of(lab: &Lab, disks: &[(&str, Vec<u8>)]) -> (Served, Served) {
    for (vm, bytes) in disks {
        lab.write(&format!("east/resources/vm/{vm}/{vm}.xml"), b"<domain/>");
        lab.write(&format!("east/resources/vm/{vm}/disk.raw"), bytes);
    }
    let (east, west) = (lab.serve("east").await, lab.serve("west").await);
    for served in [&east, &west] {
        lab.born(served, &east.origin).await;
        let changes = disks.iter().filter(|(vm, _)| *vm != "web").map(|(vm, _)| {
            let mut change = RecordChangeBody::from(&resource_record());
            change.address = format!("vm.{vm}").parse().unwrap();
            change
        });
        let changes: Vec<_> = changes.collect();
        if !changes.is_empty() {
            served.post("records", &Recording { authority: lab.authority(), changes }).await.data();
        }
    }
    (east, west)
}

/// Bytes of blocks that left `east` until now.
async fn sent(east: &Served) -> u64 {
    let text = east.send(east.client.get(format!("{}/metrics", east.origin))).await;
    let text = String::from_utf8(text.body).unwrap();
    let line = text.lines().find(|line| line.starts_with("debvisor_region_server_blocks_sent_bytes_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

/// Syncs of several machines of one pair at once, and how many bytes a second left over `window`, from the moment that
/// they travel.
async fn rate_of(limit: BitRate, vms: &[&str], disk: usize, window: Duration) -> f64 {
    let lab = Lab::new();
    let disks: Vec<(&str, Vec<u8>)> = vms.iter().map(|vm| (*vm, noise(disk))).collect();
    let (east, west) = pair_of(&lab, &disks).await;
    let options = SyncOptions { bandwidth_limit: Some(limit), ..SyncOptions::default() };
    for vm in vms {
        west.begin("syncs", lab.world.ids.random(), 0, &fetch(&lab, vm, options)).await;
    }
    let warm = limit.bytes_per_second() / 2;
    while sent(&east).await < warm {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (began, before) = (Instant::now(), sent(&east).await);
    tokio::time::sleep(window).await;
    let (after, took) = (sent(&east).await, began.elapsed());
    let in_all = (vms.len() * disk) as u64;
    assert!(after < in_all, "it was still under way");
    west.drain.cancel();
    (after - before) as f64 / took.as_secs_f64()
}

#[tokio::test]
async fn the_syncs_of_a_pair_share_its_limit_on_the_wire() {
    let limit = BitRate(40_000_000);
    let rate = rate_of(limit, &["web", "db", "app"], 8 << 20, Duration::from_secs(3)).await;
    let wanted = limit.bytes_per_second() as f64;
    // Other tests run beside this one: they may slow it down, never speed it up.
    assert!((0.8..1.1).contains(&(rate / wanted)), "{rate} of {wanted} bytes a second");
}

/// Alone on its machine: `cargo test --lib serve::tests::limits -- --ignored --test-threads 1`.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_limit_is_held_within_five_percent() {
    for (limit, vms) in
        [(20_000_000, &["web"][..]), (20_000_000, &["web", "db", "app"][..]), (100_000_000, &["web"][..])]
    {
        let limit = BitRate(limit);
        let disk = limit.bytes_per_second() as usize * 16 / vms.len();
        let rate = rate_of(limit, vms, disk, Duration::from_secs(12)).await;
        let share = rate / limit.bytes_per_second() as f64;
        assert!((0.95..1.05).contains(&share), "{limit}, {} at once: {rate} bytes a second", vms.len());
    }
}

#[tokio::test]
async fn blocks_are_compressed_where_the_pair_says_so_and_it_pays() {
    let lab = Lab::new();
    let text: Vec<u8> = (0..300_000_u32).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    let (east, west) =
        pair_of(&lab, &[("text", text.clone()), ("plain", text.clone()), ("noise", noise(text.len()))]).await;
    let mut before = 0;
    let mut carried = async |vm: &str, compress: bool| {
        let mut body = fetch(&lab, vm, SyncOptions::default());
        body.order.compress = compress;
        let report = west.post("syncs", &body).await.data();
        let now = sent(&east).await;
        let left = now - std::mem::replace(&mut before, now);
        let [bytes, wire] = ["bytes", "wire"].map(|name| report[name].as_u64().unwrap());
        assert!(bytes >= text.len() as u64, "{report}");
        assert!(wire >= left && wire < left + 64_000, "hashes travel too: {report}, {left} left");
        wire as f64 / bytes as f64
    };
    let (packed, plain, noise) =
        (carried("text", true).await, carried("plain", false).await, carried("noise", true).await);
    assert!(packed < 0.5, "{packed}");
    assert!((1.0..1.01).contains(&plain), "{plain}");
    assert!((1.0..1.01).contains(&noise), "{noise}");
}

#[tokio::test]
async fn what_is_urgent_begins_first() {
    let lab = Lab { at_once: 1, ..Lab::new() };
    let small = |vm| (vm, noise(100));
    let (_east, west) =
        pair_of(&lab, &[("web", noise(24 << 20)), small("late"), small("soon"), small("first"), small("last")]).await;
    let slow = SyncOptions { bandwidth_limit: Some(BitRate(8_000_000)), ..SyncOptions::default() };
    let first = lab.world.ids.random();
    west.begin("syncs", first, 0, &fetch(&lab, "web", slow)).await;
    west.until(first, |operation| operation["progress"]["stage"] == "copying").await;
    let mut waiting = Vec::new();
    let deadlines = [("last", 7, None), ("late", 3, Some(2)), ("soon", 3, Some(1)), ("first", 0, Some(9))];
    for (vm, priority, deadline) in deadlines {
        let urgency = Urgency { priority, deadline: deadline.map(Timestamp::from_micros) };
        let key = lab.world.ids.random();
        west.begin("syncs", key, 0, &fetch(&lab, vm, SyncOptions { urgency, ..SyncOptions::default() })).await;
        waiting.push(key);
    }
    west.send(west.client.delete(west.url(&format!("operations/{first}")))).await.data();
    let mut began = Vec::new();
    for (key, (vm, ..)) in waiting.into_iter().zip(deadlines) {
        let done = west.until(key, |operation| operation["state"] == "done").await;
        began.push((done["result"]["published"]["point"]["read_at"].as_str().unwrap().to_owned(), vm));
    }
    began.sort();
    assert_eq!(began.iter().map(|(_, vm)| *vm).collect::<Vec<_>>(), ["first", "soon", "late", "last"]);
}

#[tokio::test]
async fn a_limit_below_a_block_a_second_keeps_the_reading_open() {
    let mut lab = Lab::new();
    lab.leases.reading = Duration::from_secs(5);
    let (_east, west) = pair_of(&lab, &[("web", noise(2 * (64 << 10)))]).await;
    // The second block waits for longer than a lease.
    let options = SyncOptions { bandwidth_limit: Some(BitRate(8 * (8 << 10))), ..SyncOptions::default() };
    let began = Instant::now();
    let report = west.post("syncs", &fetch(&lab, "web", options)).await.data();
    assert_eq!(report["published"]["new"], true, "{report}");
    assert!(began.elapsed() > lab.leases.reading, "{:?}", began.elapsed());
}
