//! Room at the target: what copies that run side by side are promised, and a disk that fills up under one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::lab::{BLOCK, Lab, LabSource, noise};
use super::odd_disk::OddDisk;
use crate::host::disk::faulty::{ENOSPC, Fault};
use crate::model::point::BlockReason;
use crate::replica::catalog::Catalog;
use crate::replica::port::{SessionId, Source, TransferError};
use crate::replica::target::LocalTarget;

fn lab(seed: u64) -> Lab {
    let lab = Lab::brief("storage.s");
    lab.write("data", &noise(seed, 10 * BLOCK));
    lab
}

/// Opens a receiving and ends its comparison, in which room is looked for.
async fn compare(lab: &Lab, source: &LabSource, target: &LocalTarget) -> Result<SessionId, TransferError> {
    let reading = source.open_reading(&lab.order(), false).await?;
    let catalog = Arc::clone(&lab.catalog) as Arc<dyn Catalog>;
    let receiving =
        target.open_receiving(catalog, lab.place(), &lab.order(), &reading, &lab.rules, &CancellationToken::new())?;
    for file in receiving.compare {
        let groups = source.group_hashes(reading.session, file, 0, 1).await?;
        let differing = target.differing_groups(receiving.session, file, 0, &groups)?;
        let blocks = source.block_hashes(reading.session, file, &differing).await?;
        target.expect_blocks(receiving.session, file, &differing, &blocks)?;
    }
    target.end_survey(receiving.session).map(|_| receiving.session)
}

#[tokio::test]
async fn room_is_promised_once() {
    let (one, other) = (lab(1), lab(2));
    let disk = OddDisk { free: Some(15 * BLOCK as u64), ..OddDisk::default() };
    let target = LocalTarget::new(Arc::new(disk), one.world());
    let ((one_source, ..), (other_source, ..)) = (one.ends(Fault::None), other.ends(Fault::None));
    let first = compare(&one, &one_source, &target).await.unwrap();
    let Err(TransferError::Blocked(refusal)) = compare(&other, &other_source, &target).await else {
        panic!("both were promised the same room")
    };
    assert_eq!(refusal.reason, BlockReason::NoSpace);
    assert!(refusal.needed.is_some_and(|needed| needed.0 >= 10 * BLOCK as u64), "{refusal:?}");
    assert!(refusal.detail.contains("copies that are under way"), "{refusal:?}");
    assert_eq!(other.record().refusal, Some(refusal));
    target.close_receiving(first).unwrap();
    compare(&other, &other_source, &target).await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_promised_no_more() {
    let (one, other) = (lab(1), lab(2));
    // The disk goes on to say the same: only the promise can shrink.
    let disk = OddDisk { free: Some(15 * BLOCK as u64), ..OddDisk::default() };
    let target = LocalTarget::new(Arc::new(disk), one.world());
    let ((one_source, ..), (other_source, ..)) = (one.ends(Fault::None), other.ends(Fault::None));
    let first = compare(&one, &one_source, &target).await.unwrap();
    let wanted = target.next_wanted(first).unwrap();
    let bytes = noise(1, 10 * BLOCK);
    let blocks = wanted.iter().zip(bytes.chunks(BLOCK)).map(|(address, block)| (*address, block.to_vec().into()));
    target.write_blocks(first, &blocks.collect::<Vec<_>>()).unwrap();
    compare(&other, &other_source, &target).await.unwrap();
}

#[test]
fn a_disk_that_fills_up_under_a_copy_lacks_room() {
    let story = || {
        let lab = lab(1);
        lab.sync();
        lab.write("data", &noise(2, 10 * BLOCK));
        lab.write("more", &noise(3, 10 * BLOCK));
        lab
    };
    let calls = story().sync_with(Fault::None).1.count();
    let (mut known, mut met) = (0, 0);
    for at in 1..=calls {
        let lab = story();
        let (ended, _) = lab.sync_with(Fault::FailFrom { at, errno: ENOSPC });
        // What is dropped last may fail: it is put off.
        let Err(failure) = ended else { continue };
        met += 1;
        let TransferError::Blocked(refusal) = failure.error else { panic!("call {at}: {failure}") };
        assert_eq!(refusal.reason, BlockReason::NoSpace, "call {at}");
        let recorded = lab.record().refusal.map(|refusal| refusal.reason);
        assert_eq!(recorded, Some(BlockReason::NoSpace), "call {at}");
        known += u64::from(refusal.needed.is_some_and(|needed| needed.0 >= BLOCK as u64));
        lab.sync();
        assert_eq!(lab.record().refusal, None, "call {at}");
        lab.assert_converged();
    }
    assert!(met > 5 && known > 3, "{met} {known}");
}
