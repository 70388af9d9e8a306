//! What a source says of itself where its files, their snapshot or their whole region are not what they were.

use super::*;

impl Pair {
    /// `east` takes its copies by a snapshot command whose script is `body`; `$1` are the files, `$2` is the copy.
    async fn snapshots_by(&self, body: &str) {
        self.east.inner.close().await;
        let copy = self.path("copy");
        let snapshot = self.script("snap", &format!("{body}\necho \"$2\""));
        let release = self.script("release", &format!("chmod -R u+w {0}; rm -rf {0}", copy.display()));
        let text = format!("[quiesce]\nsnapshot = [{snapshot:?}, \"{{dir}}\", {copy:?}]\nrelease = [{release:?}]\n");
        self.write("east/.debvisor/config.toml", &text);
    }
}

#[tokio::test]
async fn a_snapshot_that_lacks_a_disk_makes_no_point() {
    let pair = Pair::with_web().await;
    pair.snapshots_by("cp -a \"$1\" \"$2\"; rm \"$2\"/disk.raw").await;
    let first = pair.sync("vm.web").await.unwrap();
    assert_eq!(first.published.point.kind, PointKind::Quiet);
    assert_eq!(pair.read("west/resources/vm/web/disk.raw"), pair.read("east/resources/vm/web/disk.raw"));
    let told = format!(
        "read without holding it still, so only quiet: snapshot: the snapshot {} lacks disk.raw",
        pair.path("copy").canonicalize().unwrap_or_else(|_| pair.path("copy")).display()
    );
    assert_eq!(first.notes, [told]);
    assert_eq!(pair.read("log"), "snap\nrelease\n");
}

#[tokio::test]
async fn a_broken_snapshot_does_not_make_the_source_look_gutted() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    pair.write("east/resources/vm/web/web.xml", "<domain id='2'/>");
    pair.snapshots_by("mkdir \"$2\"").await;
    let second = pair.sync("vm.web").await.unwrap();
    assert_eq!(second.published.point.kind, PointKind::Quiet);
    assert!(second.notes[0].ends_with("lacks disk.raw and 1 more"), "{:?}", second.notes);
    assert_eq!(pair.read("west/resources/vm/web/web.xml"), "<domain id='2'/>");
}

#[tokio::test]
async fn a_region_that_went_away_is_not_a_source_that_lost_its_files() {
    for moved in ["east", "east/resources"] {
        let pair = Pair::with_web().await;
        pair.sync("vm.web").await.unwrap();
        fs::rename(pair.path(moved), pair.path("elsewhere")).unwrap();
        let error = pair.sync("vm.web").await.unwrap_err();
        if moved == "east" {
            let there = pair.path("east");
            let words = format!("{} is not there any more: is a disk not mounted?", there.display());
            assert!(matches!(&error, TransferError::Region(told) if told.ends_with(&words)), "{error}");
        } else {
            assert_eq!(error.to_string(), "suspicious: all of its files are gone");
        }
    }
}

#[tokio::test]
async fn what_may_still_be_held_is_in_the_snapshot_and_what_somebody_is_at_is_not() {
    let pair = Pair::with_web().await;
    let orders = r#"{"enter": [], "leave": ["/bin/thaw", "it's web"], "variables": {}, "entering": "1s", "longest": null, "mark": null}"#;
    let mark = pair.path("east/.debvisor/held/vm.web.json");
    pair.write("east/.debvisor/held/vm.web.json", orders);
    pair.write("east/.debvisor/held/vm.db.json", "half of it");
    pair.write("east/.debvisor/held/vm.web.json.tmp", orders);
    let before = pair.world.clock.now();
    let held = pair.east.snapshot().await.unwrap().still_held;
    assert_eq!(held.keys().map(ToString::to_string).collect::<Vec<_>>(), ["vm.db", "vm.web"]);
    let web = &held[&key("vm.web")];
    assert_eq!(web.release.as_deref(), Some("/bin/thaw \"it's web\""));
    assert_eq!((Path::new(&web.remembered), web.since <= before), (&*mark, true));
    assert_eq!(held[&key("vm.db")].release, None);

    let at_it = fs::File::options().read(true).write(true).open(&mark).unwrap();
    rustix::fs::flock(&at_it, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let held = pair.east.snapshot().await.unwrap().still_held;
    assert_eq!(held.keys().map(ToString::to_string).collect::<Vec<_>>(), ["vm.db"]);
}

#[tokio::test]
async fn a_freeze_that_outlasts_its_time_is_told_though_somebody_is_at_it() {
    let pair = Pair::with_web().await;
    let orders = |longest: &str| {
        format!(
            r#"{{"enter": [], "leave": ["/bin/thaw"], "variables": {{}}, "entering": "1s", "longest": {longest}, "mark": null}}"#
        )
    };
    let cases = [("vm.web", "\"10s\"", 60), ("vm.young", "\"10s\"", 5), ("vm.snapshot", "null", 3600)];
    let _at_them = cases.map(|(resource, longest, age)| {
        let path = format!("east/.debvisor/held/{resource}.json");
        pair.write(&path, &orders(longest));
        let mark = fs::File::options().read(true).write(true).open(pair.path(&path)).unwrap();
        let written = u64::try_from(pair.world.clock.now().as_micros()).unwrap() - age * 1_000_000;
        mark.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_micros(written)).unwrap();
        rustix::fs::flock(&mark, rustix::fs::FlockOperation::LockExclusive).unwrap();
        mark
    });
    let held = pair.east.snapshot().await.unwrap().still_held;
    assert_eq!(held.keys().map(ToString::to_string).collect::<Vec<_>>(), ["vm.web"]);
}
