//! Exports: when they are stopped, and those of what was set aside at a holder.

use super::*;
use crate::host::disk::faulty::Op;
use crate::replica::export::CUT_OFF;

#[tokio::test]
async fn an_export_that_is_stopped_before_it_reads_writes_nothing() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    pair.west.inner.close().await;
    let (web, into) = (key("vm.web"), pair.path("out"));
    {
        let exporting = pair.west.export(&web, &PointSelector::Newest, &into);
        tokio::pin!(exporting);
        tokio::select! {
            biased;
            _ = &mut exporting => panic!("the region is opened elsewhere meanwhile"),
            () = std::future::ready(()) => {}
        }
        pair.west.interrupt();
        let error = exporting.await.unwrap_err();
        assert!(error.to_string().contains("interrupted"), "{error}");
    }
    assert!(!into.exists());
    pair.west.export(&web, &PointSelector::Newest, &into).await.unwrap();
}

/// A holder on a disk of its own, and the name of what a restore set aside there.
async fn set_aside(pair: &Pair) -> (LocalRegion, Arc<FaultyDisk>, PointSelector) {
    let web = key("vm.web");
    pair.sync("vm.web").await.unwrap();
    pair.west.export(&web, &PointSelector::Newest, &pair.path("point")).await.unwrap();
    let name = pair.east.replace_files(&pair.authority(), &web, &pair.path("point")).await.unwrap().unwrap();
    pair.east.inner.close().await;
    let disk = Arc::new(FaultyDisk::new(Arc::new(HostDisk), Fault::None));
    let opening = Opening { disk: Arc::clone(&disk) as Arc<dyn crate::host::Disk>, ..opening(&pair.world) };
    (LocalRegion::new(id("east"), pair.path("east"), opening), disk, PointSelector::Name(name))
}

#[tokio::test]
async fn what_was_set_aside_is_exported_whole_or_not_at_all() {
    let pair = Pair::with_web().await;
    let (east, disk, named) = set_aside(&pair).await;
    let (web, into) = (key("vm.web"), pair.path("new/out"));
    let stop = CancellationToken::new();
    stop.cancel();
    let error = east.until(&stop).export(&web, &named, &into).await.unwrap_err();
    assert!(error.to_string().contains("interrupted") && !into.exists(), "{error}");

    let first = disk.calls().len();
    east.export(&web, &named, &into).await.unwrap();
    assert_eq!(fs::read_dir(&into).unwrap().count(), 2);
    let calls = disk.calls().split_off(first);
    let of = |op: Op, path: PathBuf| calls.iter().position(|call| (call.op, &call.path) == (op, &path));
    let began = of(Op::Create, into.join("disk.raw")).or_else(|| of(Op::Clone, into.join("disk.raw")));
    assert!(of(Op::Create, into.join(CUT_OFF)).unwrap() < began.unwrap(), "a part never looks like the whole");
    assert!(of(Op::Remove, into.join(CUT_OFF)).unwrap() > of(Op::Sync, into.join("web.xml")).unwrap_or(began.unwrap()));

    // A file that fails in the middle.
    let PointSelector::Name(name) = &named else { panic!("{named:?}") };
    let aside = pair.path(&format!("east/.debvisor/replaced/vm/web/{name}/web.xml"));
    disk.spoil(&aside, Bad::Read(0..u64::MAX), EIO).unwrap();
    let into = pair.path("failed");
    // Where it cannot be cloned.
    disk.mount(&into);
    east.export(&web, &named, &into).await.unwrap_err();
    assert!(!into.exists(), "as it was");
    fs::create_dir(&into).unwrap();
    east.export(&web, &named, &into).await.unwrap_err();
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0, "as it was");
}

#[tokio::test]
async fn what_was_set_aside_and_finds_no_room_is_not_begun() {
    let pair = Pair::with_web().await;
    let (east, disk, named) = set_aside(&pair).await;
    disk.leave_free(1000);
    let into = pair.path("out");
    let error = east.export(&key("vm.web"), &named, &into).await.unwrap_err();
    assert!(error.to_string().contains("no_space: "), "{error}");
    assert!(matches!(error, PortError::Refused { .. }) && !into.exists());
}
