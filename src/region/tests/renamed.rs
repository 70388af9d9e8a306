//! Renames that meet a receiving.

use super::*;
use crate::replica::port::Reading;

/// All names below a directory.
fn names(dir: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    found
}

/// Opens a receiving of `vm.web` at `west`, and writes half of what it wants.
async fn half_received(pair: &Pair, order: &SyncOrder) -> (Reading, uuid::Uuid) {
    let (east, west) = (&pair.east, &pair.west);
    let reading = east.open_reading(order, false).await.unwrap();
    let receiving = west.open_receiving(order, &reading, true).await.unwrap();
    for file in receiving.compare {
        let hashes = east.group_hashes(reading.session, file, 0, 1).await.unwrap();
        let groups = west.differing_groups(receiving.session, file, 0, &hashes).await.unwrap();
        let hashes = east.block_hashes(reading.session, file, &groups).await.unwrap();
        west.expect_blocks(receiving.session, file, &groups, &hashes).await.unwrap();
    }
    west.end_survey(receiving.session).await.unwrap();
    let mut wanted = west.next_wanted(receiving.session).await.unwrap();
    wanted.truncate(wanted.len() / 2);
    let blocks = east.blocks(reading.session, &wanted).await.unwrap();
    west.write_blocks(receiving.session, wanted.into_iter().zip(blocks).collect()).await.unwrap();
    (reading, receiving.session)
}

#[tokio::test]
async fn a_rename_ends_the_receiving_that_is_open_and_takes_what_it_had_along() {
    let pair = Pair::with_web().await;
    let disk: String = (0..200_000).map(|n| format!("{n:07}\n")).collect();
    pair.write("east/resources/vm/web/disk.raw", &disk);
    let order = pair.order("vm.web");
    let (reading, session) = half_received(&pair, &order).await;
    for port in [&pair.west, &pair.east] {
        port.record(&pair.authority(), &[rename("web", "vm.front")]).await.unwrap();
    }
    let gone = |error: TransferError| {
        assert!(error.to_string().contains("not open any more"), "{error}");
    };
    gone(pair.west.next_wanted(session).await.unwrap_err());
    gone(pair.west.checkpoint(session).await.unwrap_err());
    gone(pair.west.publish(session, reading.read_at).await.unwrap_err());
    pair.west.close_receiving(session).await.unwrap();
    let error = pair.west.open_receiving(&order, &reading, true).await.unwrap_err();
    assert!(error.to_string().contains("no record of vm.web"), "{error}");
    let below = names(&pair.path("west"));
    assert!(below.iter().any(|name| name == "front") && below.iter().all(|name| name != "web"), "{below:?}");

    let report = pair.sync("vm.front").await.unwrap();
    assert!(report.resumed.0 > 0, "{report:?}");
    assert_eq!(pair.read("west/resources/vm/front/disk.raw"), disk);
    assert!(names(&pair.path("west")).iter().all(|name| name != "web"));
}

#[tokio::test]
async fn a_rename_that_is_refused_leaves_the_receiving_alone() {
    let pair = Pair::with_web().await;
    pair.write("east/resources/vm/web/disk.raw", &"sectors ".repeat(200_000));
    let order = pair.order("vm.web");
    let (_, session) = half_received(&pair, &order).await;
    let foreign = Authority { lineage: Lineage(Uuid::from_u128(77)), ..pair.authority() };
    let error = pair.west.record(&foreign, &[rename("web", "vm.front")]).await.unwrap_err();
    assert!(matches!(error, PortError::NotController { .. }), "{error}");
    let mut stale = rename("web", "vm.front");
    stale.expected = Some(crate::model::Digest::of(b"as it was long ago"));
    let error = pair.west.record(&pair.authority(), &[stale]).await.unwrap_err();
    assert!(matches!(error, PortError::Conflict { .. }), "{error}");
    pair.west.next_wanted(session).await.unwrap();
    pair.west.checkpoint(session).await.unwrap();
    pair.west.close_receiving(session).await.unwrap();
}

#[tokio::test]
async fn a_rename_waits_for_the_step_that_a_receiving_is_in_the_middle_of() {
    let pair = Pair::with_web().await;
    pair.write("east/resources/vm/web/disk.raw", &"sectors ".repeat(400_000));
    let (order, all) = (pair.order("vm.web"), [rename("web", "vm.front")]);
    let authority = pair.authority();
    // Whichever comes first, one of the two is refused and neither is torn.
    let (synced, renamed) = tokio::join!(pair.sync_by(&order), pair.west.record(&authority, &all));
    renamed.unwrap();
    pair.east.record(&pair.authority(), &all).await.unwrap();
    let below = names(&pair.path("west"));
    assert!(below.iter().all(|name| name != "web"), "{synced:?}: {below:?}");
    pair.sync("vm.front").await.unwrap();
    assert_eq!(pair.west.snapshot().await.unwrap().replicas[&key("vm.front")].damage, None);
    assert_eq!(pair.read("west/resources/vm/front/disk.raw").len(), 3_200_000);
}
