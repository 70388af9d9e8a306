//! Syncs that keep to a pace: what they wait for holds up nobody else, and hashes are bytes too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::lab::{BLOCK, Lab, Line, noise};
use crate::host::disk::faulty::Fault;
use crate::model::BitRate;
use crate::replica::pace::Pace;
use crate::replica::transfer::{Means, SyncFailure, SyncOptions, SyncReport, sync};

const MBIT: u64 = 1_000_000;

fn lab() -> Lab {
    let mut lab = Lab::new("storage.s");
    lab.line = Some(Arc::default());
    lab
}

fn line(lab: &Lab) -> &Line {
    lab.line.as_deref().unwrap()
}

async fn run(lab: &Lab, pace: &Pace) -> Result<SyncReport, SyncFailure> {
    let (source, _, target) = lab.ends(Fault::None);
    let means =
        Means { clock: &*lab.clock, pace: Some(pace), progress: &|_, _, _| (), cancel: &lab.cancel, verified_at: None };
    sync(&source, &target, &lab.order(), &SyncOptions::default(), &means).await
}

#[tokio::test]
async fn a_sync_that_hangs_while_it_waits_holds_up_nobody() {
    let (hangs, other) = (lab(), lab());
    hangs.write("disk", &noise(1, 3 * BLOCK));
    other.write("disk", &noise(2, BLOCK));
    line(&hangs).touches_hang.store(true, Ordering::SeqCst);
    let pace = Pace::new(BitRate(8_000));
    let quicker = async {
        while line(&hangs).touched_source.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        pace.set(BitRate(1_000 * MBIT));
    };
    let all = async { tokio::join!(run(&hangs, &pace), run(&other, &pace), quicker) };
    let (hung, waited, ()) = tokio::time::timeout(Duration::from_secs(15), all).await.unwrap();
    hung.unwrap();
    waited.unwrap();
    for lab in [&hangs, &other] {
        assert!(line(lab).touched_source.load(Ordering::SeqCst) > 0, "the source knows that somebody is there");
        assert!(line(lab).touched_target.load(Ordering::SeqCst) > 0, "so does the target");
    }
}

/// 16 GiB of holes: four questions for group hashes, each of 32 KiB from the source and 64 KiB to the target.
fn holes() -> Lab {
    let lab = lab();
    lab.write("disk", &noise(1, BLOCK));
    lab.resize("disk", 16 << 30);
    lab
}

const QUESTION: f64 = 96.0 * 1024.0;

#[tokio::test]
async fn hashes_keep_the_limit_while_they_are_compared() {
    let lab = holes();
    let pace = Pace::new(BitRate(2 * MBIT));
    run(&lab, &pace).await.unwrap();
    let asked = line(&lab).asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4);
    let took = (asked[3] - asked[0]).as_secs_f64();
    // Less the credit of a moment, and what this machine took for the first answer.
    assert!(took >= 3.0 * QUESTION / 250_000.0 - 0.35, "four questions within {took} s");
}

#[tokio::test]
async fn what_a_failed_comparison_asked_is_counted() {
    let lab = holes();
    line(&lab).fails_at.store(3, Ordering::SeqCst);
    let pace = Pace::new(BitRate(4 * MBIT));
    let began = Instant::now();
    run(&lab, &pace).await.unwrap_err();
    let _ = pace.pay(1).await;
    let took = began.elapsed().as_secs_f64();
    assert!(took >= 2.0 * QUESTION / 500_000.0, "the next one may go after {took} s");
}

#[tokio::test]
async fn whoever_is_stopped_while_it_waits_stops() {
    let lab = holes();
    let pace = Pace::new(BitRate(8));
    let stop = async {
        while line(&lab).asked.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        lab.cancel.cancel();
    };
    let both = async { tokio::join!(run(&lab, &pace), stop) };
    let (done, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert!(done.is_err());
}
