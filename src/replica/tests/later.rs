//! What shows only syncs later: bytes beyond a former end, and what a cut-short sync left when it meets a smaller
//! source or a failing disk.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::lab::{BLOCK, GROUP, Lab, assert_same, noise, picture};
use crate::host::disk::faulty::Fault;
use crate::replica::catalog::Phase;
use crate::replica::port::TransferError;
use crate::replica::transfer::SyncOptions;

/// A hole that is cut off and then written over is still a hole in the point that had it.
#[test]
fn a_point_keeps_its_hole_over_a_shrink_and_a_growth() {
    let lab = Lab::new("storage.s");
    lab.write("disk", &[noise(1, GROUP + 9 * BLOCK), vec![0; GROUP]].concat());
    lab.sync();
    let first = picture(&lab.source());
    lab.resize("disk", GROUP + 9 * BLOCK);
    lab.sync();
    let second = picture(&lab.source());
    lab.patch("disk", GROUP + 9 * BLOCK, &noise(2, GROUP));
    lab.sync();
    assert_same(&first, &lab.export(1).unwrap(), "before the shrink");
    assert_same(&second, &lab.export(2).unwrap(), "before the growth");
    lab.assert_converged();
}

/// Stops a sync after so many requests for blocks.
fn cut_short(lab: &mut Lab, after: u64) {
    let requests = Arc::new(AtomicU64::new(0));
    let (source, _, target) = lab.ends(Fault::None);
    let (count, cancel) = (Arc::clone(&requests), lab.cancel.clone());
    *source.before_blocks.lock().unwrap() = Some(Box::new(move || {
        if count.fetch_add(1, Ordering::SeqCst) == after {
            cancel.cancel();
        }
    }));
    let options = SyncOptions { accept_change: true, ..SyncOptions::default() };
    let failure = lab.drive(&source, &target, &options).unwrap_err();
    assert!(matches!(failure.error, TransferError::Interrupted), "{failure}");
    lab.cancel = CancellationToken::new();
}

#[test]
fn what_arrived_beyond_an_end_that_moved_is_forgotten() {
    let mut lab = Lab::new("storage.s");
    lab.write("disk", &noise(1, 8 * GROUP));
    lab.sync();
    lab.patch("disk", 0, &noise(2, 7 * GROUP));
    cut_short(&mut lab, 5);
    // In the middle of a group, and before what has arrived.
    lab.resize("disk", GROUP + 7 * BLOCK + 11);
    let (source, _, target) = lab.ends(Fault::None);
    let options = SyncOptions { accept_change: true, ..SyncOptions::default() };
    lab.drive(&source, &target, &options).unwrap();
    lab.assert_converged();
}

/// A kill right after `sealed`, then a bit that the disk flips in what had arrived: nothing of the replica was
/// touched, and the next sync fetches the block again.
#[test]
fn a_flipped_bit_in_what_arrived_leads_back_and_is_fetched_again() {
    let setup = || {
        let lab = Lab::new("storage.s");
        lab.write("disk", &noise(1, 3 * GROUP));
        lab.sync();
        let before = picture(&lab.source());
        lab.patch("disk", GROUP, &noise(2, 6 * BLOCK));
        (lab, before)
    };
    let calls = {
        let (lab, _) = setup();
        lab.sync_with(Fault::None).1.count()
    };
    let mut met = 0;
    for at in 1..=calls {
        let (lab, before) = setup();
        let _ = lab.sync_with(Fault::Crash { at });
        lab.catalog.revive();
        let Some(receiving) = lab.record().receiving.filter(|receiving| receiving.phase == Phase::Sealed) else {
            continue;
        };
        met += 1;
        let id = receiving.files["disk"].id;
        let data = lab.place().incoming.join(format!("{}.data", id.0));
        let data = fs::File::options().write(true).open(data).unwrap();
        data.write_all_at(b"flipped", (GROUP + 2 * BLOCK) as u64).unwrap();
        data.write_all_at(b"flipped", (GROUP + 4 * BLOCK) as u64).unwrap();
        // The first opening leads back; a table that is lost does the same.
        if met % 2 == 0 {
            fs::remove_file(lab.place().incoming.join(format!("{}.idx", id.0))).unwrap();
        }
        let _ = lab.try_sync();
        let report = lab.sync();
        assert_same(&before, &lab.export(1).unwrap(), "the point before");
        assert!(report.published.point.sequence > 1);
        lab.assert_converged();
    }
    assert!(met > 1, "no crash fell between sealed and the undo");
}

/// Zeros travel as slots alone; the table that shows them is durable before the point is sealed.
#[test]
fn zeros_are_durable_before_the_seal() {
    let lab = Lab::new("storage.s");
    lab.write("disk", &noise(1, 3 * GROUP));
    lab.sync();
    lab.patch("disk", GROUP, &vec![0; 6 * BLOCK]);
    let (result, disk) = lab.sync_with(Fault::None);
    result.unwrap();
    let calls = disk.calls();
    let table = |call: &crate::host::disk::faulty::Call| {
        call.path.to_string_lossy().contains("incoming") && call.path.extension().is_some_and(|ending| ending == "idx")
    };
    let written = calls.iter().rposition(|call| table(call) && call.op == crate::host::disk::faulty::Op::Write);
    let synced = calls.iter().rposition(|call| table(call) && call.op == crate::host::disk::faulty::Op::Sync);
    assert!(written.is_some() && synced > written, "written at {written:?}, synced at {synced:?}");
}
