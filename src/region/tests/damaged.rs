//! What is found damaged is said to be, once and for all who ask later.

use std::fs;

use super::{Pair, key};
use crate::live::port::{PointSelector, RegionPort};
use crate::model::point::PointState;

#[tokio::test]
async fn an_older_point_that_an_export_finds_damaged_is_listed_so() {
    let pair = Pair::with_web().await;
    let web = key("vm.web");
    pair.sync("vm.web").await.unwrap();
    pair.write("east/resources/vm/web/disk.raw", &"sectors!".repeat(20_000));
    pair.sync("vm.web").await.unwrap();
    let states =
        async || -> Vec<PointState> { pair.west.points(&web).await.unwrap().iter().map(|point| point.state).collect() };
    let export = async |sequence: u64, into: &str| {
        pair.west.export(&web, &PointSelector::Sequence(sequence), &pair.path(into)).await
    };
    // A file of the newest point: the next sync mends it, and no point is called damaged for good.
    let live = pair.path("west/resources/vm/web/web.xml");
    let times = fs::metadata(&live).unwrap().modified().unwrap();
    fs::write(&live, "<domaim/>").unwrap();
    fs::File::options().write(true).open(&live).unwrap().set_modified(times).unwrap();
    export(1, "out-1").await.unwrap_err();
    export(2, "out-2").await.unwrap_err();
    assert_eq!(states().await, [PointState::Complete, PointState::Complete]);
    let damage = pair.west.snapshot().await.unwrap().replicas[&web].damage.clone().unwrap();
    assert!(damage.contains("web.xml is to be read again"), "{damage}");
    pair.sync("vm.web").await.unwrap();
    export(1, "out-3").await.unwrap();

    // What only the older point has.
    let layer = fs::read_dir(pair.path("west/.debvisor/points/vm/web/1")).unwrap();
    let mut layer = layer.map(|name| name.unwrap().path());
    let body = layer.find(|path| path.extension().is_some_and(|suffix| suffix == "whole")).unwrap();
    fs::write(body, "sectorz ".repeat(20_000)).unwrap();
    export(1, "out-4").await.unwrap_err();
    let states = states().await;
    let damaged = states.iter().filter(|state| **state == PointState::Damaged).count();
    let complete = states.iter().filter(|state| **state == PointState::Complete).count();
    assert_eq!((damaged, complete), (1, 2), "{states:?}");
}
