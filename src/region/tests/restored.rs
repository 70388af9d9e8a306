//! A point's files in the place of the holder's own: for whom, when, and what is kept.

use super::*;

#[tokio::test]
async fn files_are_replaced_for_whoever_manages_them_alone() {
    let pair = Pair::with_web().await;
    let web = key("vm.web");
    pair.sync("vm.web").await.unwrap();
    pair.west.export(&web, &PointSelector::Newest, &pair.path("out")).await.unwrap();
    pair.write("east/resources/vm/web/web.xml", "<newer/>");
    let foreign = Authority { lineage: Lineage(Uuid::from_u128(77)), ..pair.authority() };
    let refused = |error: PortError| assert!(matches!(error, PortError::NotController { .. }), "{error}");
    refused(pair.east.replace_files(&foreign, &web, &pair.path("out")).await.unwrap_err());
    // Another seat took over.
    let taken = Authority { term: 2, seat: Seat(Uuid::from_u128(3)), ..pair.authority() };
    let taking = Control::TakeOver { authority: taken.clone() };
    pair.east.control(&taking, &PeerRecords::default()).await.unwrap();
    refused(pair.east.replace_files(&pair.authority(), &web, &pair.path("out")).await.unwrap_err());
    assert_eq!(pair.read("east/resources/vm/web/web.xml"), "<newer/>");
    pair.east.replace_files(&taken, &web, &pair.path("out")).await.unwrap().unwrap();
}

#[tokio::test]
async fn restored_files_take_the_place_of_the_present_ones_which_are_kept() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    pair.west.export(&key("vm.web"), &PointSelector::Newest, &pair.path("out")).await.unwrap();
    pair.write("east/resources/vm/web/web.xml", "<broken/>");
    let error = pair.west.replace_files(&pair.authority(), &key("vm.web"), &pair.path("out")).await.unwrap_err();
    assert!(error.to_string().contains("not its holder"), "{error}");
    let name = pair.east.replace_files(&pair.authority(), &key("vm.web"), &pair.path("out")).await.unwrap().unwrap();
    assert_eq!(pair.read("east/resources/vm/web/web.xml"), "<domain/>");
    assert_eq!(pair.read(&format!("east/.debvisor/replaced/vm/web/{name}/web.xml")), "<broken/>");
    pair.east.discard(&pair.authority(), &key("vm.web"), &name).await.unwrap();
    assert_eq!(fs::read_dir(pair.path("east/.debvisor/replaced/vm/web")).unwrap().count(), 0);
    // Nothing there: nothing is set aside.
    fs::remove_dir_all(pair.path("east/resources/vm/web")).unwrap();
    let none = pair.east.replace_files(&pair.authority(), &key("vm.web"), &pair.path("out")).await.unwrap();
    assert_eq!(none, None);
    assert_eq!(pair.read("east/resources/vm/web/web.xml"), "<domain/>");
}

#[tokio::test]
async fn files_are_not_replaced_under_a_machine_that_may_run() {
    let pair = Pair::with_web().await;
    pair.write("out/web.xml", "<other/>");
    for (answer, words) in [("running", "runs at east"), ("paused", "may run at east"), ("stopped", "")] {
        let config = format!(
            "[runner]\nstart = [\"/bin/false\"]\nstop = [\"/bin/false\"]\nstatus = [\"/bin/echo\", \"{answer}\"]\n"
        );
        pair.write("east/.debvisor/config.toml", &config);
        // The configuration is read when the region is opened.
        pair.east.inner.close().await;
        let replaced = pair.east.replace_files(&pair.authority(), &key("vm.web"), &pair.path("out")).await;
        match replaced {
            Err(error) => assert!(!words.is_empty() && error.to_string().contains(words), "{error}"),
            Ok(_) => assert_eq!(answer, "stopped"),
        }
    }
    assert_eq!(pair.read("east/resources/vm/web/web.xml"), "<other/>");
}

#[tokio::test]
async fn a_killed_restore_is_ended_by_the_next_writer() {
    let pair = Pair::with_web().await;
    pair.east.inner.close().await;
    let base = pair.path("east/.debvisor/replaced/vm/web");
    pair.write("east/.debvisor/replaced/vm/web/replaced-1.partial/half", "x");
    pair.write("east/.debvisor/replaced/vm/web/replaced-2.ready/web.xml", "<never told/>");
    pair.east.record(&pair.authority(), &[create("vm.x")]).await.unwrap();
    assert_eq!(fs::read_dir(&base).unwrap().count(), 0, "what was not moved in is removed");
    assert_eq!(pair.read("east/resources/vm/web/web.xml"), "<domain/>");
    // Between the two renames.
    pair.write("east/.debvisor/replaced/vm/web/replaced-3.ready/web.xml", "<restored/>");
    fs::rename(pair.path("east/resources/vm/web"), base.join("replaced-3")).unwrap();
    pair.east.inner.close().await;
    pair.east.record(&pair.authority(), &[create("vm.y")]).await.unwrap();
    assert_eq!(pair.read("east/resources/vm/web/web.xml"), "<restored/>");
    assert_eq!(pair.read("east/.debvisor/replaced/vm/web/replaced-3/web.xml"), "<domain/>");
}
