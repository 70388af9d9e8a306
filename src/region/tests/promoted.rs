//! Files that change hands: a replica's that become a machine's, and a holder's that become a replica's.

use std::os::unix::fs::FileExt;

use super::*;
use crate::model::failover::Part;

const BLOCK: u64 = 64 << 10;

/// Bytes that tell their place and `seed`.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Every file below `root` and its bytes.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let bytes = |(path, (_, _, bytes)): (PathBuf, Look)| Some((path.strip_prefix(root).ok()?.to_owned(), bytes));
    picture(root).into_iter().filter(|(path, _)| path.is_file()).filter_map(bytes).collect()
}

impl Pair {
    /// `vm.web` at `east` with a definition and a disk, and its first point at `west`.
    async fn with_disk(disk: usize) -> Self {
        let pair = Self::new();
        pair.write("east/resources/vm/web/web.xml", "<domain/>");
        fs::write(pair.path("east/resources/vm/web/disk.raw"), noise(1, disk)).unwrap();
        pair.born("vm.web").await;
        pair.sync("vm.web").await.unwrap();
        pair
    }

    fn port(&self, name: &str) -> &LocalRegion {
        if name == "east" { &self.east } else { &self.west }
    }

    fn files(&self, name: &str) -> PathBuf {
        self.path(name).join("resources/vm/web")
    }

    /// Writes into a file, as a machine does.
    fn run(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(self.files(name).join("disk.raw")).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    async fn part(&self, name: &str, role: Role, holder: &str, epoch: u64) {
        self.part_at(self.port(name), role, holder, epoch).await;
    }

    async fn part_at(&self, port: &LocalRegion, role: Role, holder: &str, epoch: u64) {
        let writing = port.inner.writing().await.unwrap();
        let part = Part { role, holder: id(holder), epoch: Epoch(epoch), attempt: 1 };
        let written = port.inner.change(&writing, None, |book| {
            book.parts.insert(key("vm.web"), part);
            Ok(())
        });
        written.unwrap();
    }

    /// What the orders of an operation leave: `from` gave up, `to` holds.
    async fn pass(&self, from: &str, to: &str, epoch: u64) {
        self.part(from, Role::Demoted, to, epoch).await;
        self.part(to, Role::Holder, to, epoch).await;
    }

    fn operation(&self) -> OperationId {
        OperationId(self.world.ids.random())
    }

    async fn feed(&self, from: &str, to: &str, epoch: u64) -> Result<SyncReport, TransferError> {
        let order = SyncOrder { source: id(from), target: id(to), epoch: Epoch(epoch), ..self.order("vm.web") };
        let (options, cancel) = (SyncOptions::default(), CancellationToken::new());
        let (source, target) = (self.port(from), self.port(to));
        let done = sync(source, target, &order, &options, &means(&self.world, &cancel)).await;
        done.map_err(|failure| failure.error)
    }

    /// Keeps everybody else from the resource's files, until what it gives is dropped.
    fn occupy(&self, name: &str) -> std::sync::mpsc::Sender<()> {
        let lane = self.port(name).inner.receivings.lane(&key("vm.web"));
        let (until, dropped) = std::sync::mpsc::channel();
        let (alone, is_alone) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _alone = lane.alone();
            alone.send(()).unwrap();
            let _ = dropped.recv();
        });
        is_alone.recv().unwrap();
        until
    }

    async fn exported(&self, name: &str, point: PointSelector) -> BTreeMap<PathBuf, Vec<u8>> {
        let into = self.path("exported");
        let _ = fs::remove_dir_all(&into);
        self.port(name).export(&key("vm.web"), &point, &into).await.unwrap();
        contents(&into)
    }
}

#[tokio::test]
async fn there_and_back_again() {
    let pair = Pair::with_disk(5 << 20).await;
    let web = key("vm.web");

    // `west` takes over; `east` was cut off, and its machine went on for a while.
    pair.pass("east", "west", 2).await;
    let operation = pair.operation();
    let placed = pair.west.place(&web, None, operation).await.unwrap();
    assert_eq!((placed.point.as_ref().unwrap().sequence, placed.given_up.as_slice()), (1, &[1][..]));
    assert_eq!(contents(&pair.files("west")), contents(&pair.files("east")));
    pair.run("west", 3 * BLOCK, &noise(2, 2 * BLOCK as usize));
    pair.run("east", 9 * BLOCK + 7, b"late");
    pair.run("east", 4 * BLOCK, b"late, and where the other one wrote");
    let (wrote, late) = (contents(&pair.files("west")), contents(&pair.files("east")));

    // A repeat finds a machine that has written since.
    assert_eq!(pair.west.place(&web, None, operation).await.unwrap(), placed);
    let other = pair.west.place(&web, Some(1), operation).await.unwrap_err();
    assert_eq!(other.to_string(), "vm.web was started from point 1 in this operation already");
    pair.west.inner.close().await;
    assert_eq!(pair.west.place(&web, None, operation).await.unwrap(), placed, "by another process too");
    assert_eq!(contents(&pair.files("west")), wrote);

    // The former holder returns: by itself, as here, or with the first copy that it is brought.
    let settled = pair.east.settle(&web).await.unwrap();
    assert_eq!(settled.set_aside.as_deref(), Some("diverged-2"));
    assert_eq!(pair.east.settle(&web).await.unwrap(), Settled::default(), "done again, it changes nothing");
    assert_eq!(contents(&pair.files("east")), late);
    let snapshot = pair.east.snapshot().await.unwrap();
    assert_eq!(snapshot.resources[&web].role, Role::Replica);
    let replica = &snapshot.replicas[&web];
    assert_eq!((replica.newest.as_ref(), replica.damage.as_ref(), replica.set_aside), (None, None, 1));
    let report = pair.feed("west", "east", 2).await.unwrap();
    // Blocks 3 and 4 by the one, 9 by the other.
    assert_eq!((report.bytes.0, report.published.set_aside.len()), (3 * BLOCK, 0));
    assert_eq!(contents(&pair.files("east")), wrote);
    let diverged = || PointSelector::Name("diverged-2".to_owned());
    assert_eq!(pair.exported("east", diverged()).await, late);

    // And home again.
    pair.pass("west", "east", 3).await;
    let placed = pair.east.place(&web, None, pair.operation()).await.unwrap();
    assert_eq!(placed.point.as_ref().unwrap().data_hash, report.published.point.data_hash);
    assert_eq!(contents(&pair.files("east")), wrote);
    pair.run("east", 20 * BLOCK, b"home");
    pair.run("west", 30 * BLOCK, b"late again");
    let late = contents(&pair.files("west"));
    assert_eq!(pair.west.settle(&web).await.unwrap(), Settled::default(), "its points tell the rest");
    let report = pair.feed("east", "west", 3).await.unwrap();
    // Of `west`, all since the copy that it was promoted with; of `east`, what it wrote now.
    assert_eq!(report.bytes.0, 2 * BLOCK);
    assert_eq!(contents(&pair.files("west")), contents(&pair.files("east")));
    let [name] = report.published.set_aside.as_slice() else { panic!("{report:?}") };
    assert_eq!(pair.exported("west", PointSelector::Name(name.clone())).await, late);
    let states: Vec<PointState> = pair.west.points(&web).await.unwrap().iter().map(|point| point.state).collect();
    assert_eq!(states, [PointState::Complete, PointState::Damaged, PointState::SetAside]);
    pair.west.discard(&pair.authority(), &web, name).await.unwrap();
    assert_eq!(pair.feed("east", "west", 3).await.unwrap().bytes.0, 0);
}

#[tokio::test]
async fn an_older_point_is_placed_where_it_was_asked_for() {
    let pair = Pair::with_disk(5 << 20).await;
    let web = key("vm.web");
    let first = contents(&pair.files("west"));
    pair.run("east", 0, &noise(66, BLOCK as usize));
    pair.sync("vm.web").await.unwrap();
    let second = contents(&pair.files("west"));
    pair.pass("east", "west", 2).await;
    let operation = pair.operation();
    let unknown = pair.west.place(&web, Some(7), operation).await.unwrap_err();
    assert_eq!(unknown.to_string(), "vm.web has no point 7 here");
    let placed = pair.west.place(&web, Some(1), operation).await.unwrap();
    assert_eq!((placed.point.as_ref().unwrap().sequence, placed.given_up.as_slice()), (3, &[3][..]));
    assert_eq!(contents(&pair.files("west")), first);
    pair.run("west", 0, b"a machine");
    assert_eq!(pair.west.place(&web, Some(1), operation).await.unwrap(), placed);
    assert_eq!(pair.exported("west", PointSelector::Sequence(1)).await, first);
    assert_eq!(pair.exported("west", PointSelector::Sequence(2)).await, second, "what was there stays");
}

#[tokio::test]
async fn a_source_that_starts_again_keeps_its_files() {
    let pair = Pair::with_disk(BLOCK as usize).await;
    let web = key("vm.web");
    pair.run("east", 5, b"the last words");
    let own = contents(&pair.files("east"));
    let placed = pair.east.place(&web, None, pair.operation()).await.unwrap();
    assert_eq!((placed.point, contents(&pair.files("east"))), (None, own.clone()));
    // Also where it keeps points from the time before it was promoted.
    pair.pass("east", "west", 2).await;
    pair.west.place(&web, None, pair.operation()).await.unwrap();
    pair.run("west", 5, b"the next words");
    let own = contents(&pair.files("west"));
    let placed = pair.west.place(&web, None, pair.operation()).await.unwrap();
    assert_eq!((placed.point, contents(&pair.files("west"))), (None, own));
    // What it gave up, and nothing came for since, is no copy that could be promoted.
    pair.part("west", Role::Demoted, "east", 3).await;
    pair.west.settle(&web).await.unwrap();
    pair.part("west", Role::Holder, "west", 4).await;
    let refused = pair.west.place(&web, None, pair.operation()).await.unwrap_err();
    assert_eq!(refused.to_string(), "point 1 of vm.web is the newest here, and is damaged");
    // Nor is what was never a copy.
    pair.part("east", Role::Demoted, "west", 4).await;
    pair.east.settle(&web).await.unwrap();
    pair.part("east", Role::Holder, "east", 5).await;
    let refused = pair.east.place(&web, None, pair.operation()).await.unwrap_err();
    assert!(refused.to_string().contains("is what this region held itself"), "{refused}");
    pair.east.place(&web, Some(1), pair.operation()).await.unwrap();
}

#[tokio::test]
async fn a_receiving_that_is_open_ends_with_the_promotion() {
    let pair = Pair::with_disk(5 << 20).await;
    let web = key("vm.web");
    let copied = contents(&pair.files("west"));
    pair.run("east", 0, &noise(66, BLOCK as usize));
    let order = pair.order("vm.web");
    let reading = pair.east.open_reading(&order, false).await.unwrap();
    let receiving = pair.west.open_receiving(&order, &reading, false).await.unwrap();
    pair.pass("east", "west", 2).await;
    pair.west.place(&web, None, pair.operation()).await.unwrap();
    assert_eq!(contents(&pair.files("west")), copied);
    let over = pair.west.end_survey(receiving.session).await.unwrap_err();
    assert_eq!(over.to_string(), "the receiving is not open any more");
    let stale = pair.west.open_receiving(&order, &reading, false).await.unwrap_err();
    assert!(matches!(stale, TransferError::Stale { ordered: Epoch(1), recorded: Epoch(2) }), "{stale}");
}

#[tokio::test]
async fn nothing_is_placed_or_named_under_a_machine_that_may_run() {
    for (answer, words) in [("running", "vm.web runs at"), ("paused", "vm.web may run at")] {
        let pair = Pair::with_disk(BLOCK as usize).await;
        let web = key("vm.web");
        pair.pass("east", "west", 2).await;
        let config = format!(
            "[runner]\nstart = [\"/bin/false\"]\nstop = [\"/bin/false\"]\nstatus = [\"/bin/echo\", \"{answer}\"]\n"
        );
        for name in ["east", "west"] {
            pair.port(name).inner.close().await;
            pair.write(&format!("{name}/.debvisor/config.toml"), &config);
        }
        let before = contents(&pair.path("west/resources"));
        let error = pair.west.place(&web, None, pair.operation()).await.unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
        let error = pair.east.settle(&web).await.unwrap_err();
        assert!(error.to_string().starts_with(words), "{error}");
        assert_eq!(contents(&pair.path("west/resources")), before);
        assert_eq!(pair.east.snapshot().await.unwrap().resources[&web].role, Role::Demoted);
        assert!(pair.east.points(&web).await.is_err(), "nothing was named");
    }
}

#[tokio::test]
async fn only_what_was_given_up_to_another_is_settled() {
    let pair = Pair::with_disk(BLOCK as usize).await;
    let web = key("vm.web");
    let refused = |error: PortError, words: &str| assert!(error.to_string().contains(words), "{error}");
    refused(pair.east.settle(&web).await.unwrap_err(), "has not given it up");
    pair.part("east", Role::Demoted, "east", 1).await;
    refused(pair.east.settle(&web).await.unwrap_err(), "nobody holds vm.web as far as east knows");
    pair.part("east", Role::Fenced, "west", 2).await;
    refused(pair.east.settle(&web).await.unwrap_err(), "east is fenced of vm.web");
    refused(pair.east.settle(&key("vm.x")).await.unwrap_err(), "has no record of vm.x");
    refused(pair.west.place(&web, None, pair.operation()).await.unwrap_err(), "not its holder");
}

#[tokio::test]
async fn a_long_return_keeps_the_agent_from_nothing() {
    let pair = Pair::with_disk(BLOCK as usize).await;
    pair.pass("east", "west", 2).await;
    let reading = pair.occupy("east");
    for _ in 0..2 {
        assert_eq!(pair.east.look_after().await.unwrap(), Vec::<String>::new(), "it goes on");
    }
    drop(reading);
    let told = loop {
        let told = pair.east.look_after().await.unwrap();
        if !told.is_empty() {
            break told;
        }
    };
    let words =
        "it has another holder, and is a replica from now on; all that was held here is set aside as `diverged-2`";
    assert_eq!(told, [format!("vm.web: {words}")]);
    assert_eq!(pair.east.look_after().await.unwrap(), Vec::<String>::new(), "once");
}

#[tokio::test]
async fn a_return_that_is_overtaken_by_a_promotion_forgets_nothing() {
    let pair = Pair::with_disk(BLOCK as usize).await;
    let web = key("vm.web");
    pair.pass("east", "west", 2).await;
    pair.west.place(&web, None, pair.operation()).await.unwrap();
    pair.pass("west", "east", 3).await;
    // While `west` looks at what it held, it is given it back.
    let busy = pair.occupy("west");
    let west = pair.west.clone();
    let settling = tokio::spawn(async move { west.settle(&key("vm.web")).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    pair.pass("east", "west", 4).await;
    drop(busy);
    let overtaken = settling.await.unwrap().unwrap_err();
    assert_eq!(overtaken.to_string(), "the record of vm.web at west was changed meanwhile");
    let writing = pair.west.inner.writing().await.unwrap();
    assert!(writing.store.placed(&web).unwrap().is_some());
    assert_eq!(pair.west.snapshot().await.unwrap().resources[&web].role, Role::Holder);
}

#[tokio::test]
async fn files_that_lie_elsewhere_are_brought_there_and_back() {
    let pair = Pair::with_disk(5 << 20).await;
    let web = key("vm.web");
    let config = |name: &str| {
        let files = ["web.xml", "disk.raw"].map(|file| pair.path(&format!("{name}-images")).join(file));
        pair.write(&format!("{name}/.debvisor/config.toml"), &format!("[resources.web]\nfiles = {files:?}\n"));
        fs::create_dir_all(pair.path(&format!("{name}-images"))).unwrap();
    };
    // At the target of a promotion.
    pair.west.inner.close().await;
    config("west");
    pair.write("west-images/web.xml", "<what stood there/>");
    pair.pass("east", "west", 2).await;
    let copied = contents(&pair.files("west"));
    let operation = pair.operation();
    let placed = pair.west.place(&web, None, operation).await.unwrap();
    assert_eq!(contents(&pair.path("west-images")), copied);
    let [name] = placed.set_aside.as_slice() else { panic!("{placed:?}") };
    assert_eq!(pair.read(&format!("west/.debvisor/replaced/vm/web/{name}/web.xml")), "<what stood there/>");
    pair.write("west-images/web.xml", "<a machine/>");
    assert_eq!(pair.west.place(&web, None, operation).await.unwrap(), placed);
    let again = pair.west.place(&web, None, pair.operation()).await.unwrap();
    assert_eq!(again.point, None, "they are its own now");
    assert_eq!(pair.read("west-images/web.xml"), "<a machine/>");
    assert_eq!(pair.exported("west", PointSelector::Sequence(1)).await, copied, "nothing shares bytes with them");

    // At a holder that returns.
    pair.east.inner.close().await;
    config("east");
    for file in ["web.xml", "disk.raw"] {
        fs::rename(pair.files("east").join(file), pair.path("east-images").join(file)).unwrap();
    }
    let held = contents(&pair.path("east-images"));
    let settled = pair.east.settle(&web).await.unwrap();
    assert_eq!(settled.set_aside.as_deref(), Some("diverged-2"));
    assert_eq!(contents(&pair.path("east-images")), held);
    assert_eq!(contents(&pair.files("east")), held);
    let report = pair.feed("west", "east", 2).await.unwrap();
    assert_eq!(report.bytes.0, "<a machine/>".len() as u64, "only the difference travels");
    assert_eq!(pair.exported("east", PointSelector::Name("diverged-2".to_owned())).await, held);
}

/// A region whose disk fails at the n-th call that changes something, and the calls that it was asked for.
fn faulty(pair: &Pair, name: &str, fault: Fault) -> (LocalRegion, FaultyDisk) {
    let disk = FaultyDisk::new(Arc::new(HostDisk), fault);
    let opening = Opening { disk: Arc::new(disk.clone()), ..opening(&pair.world) };
    (LocalRegion::new(id(name), pair.path(name), opening), disk)
}

/// `what` is cut off at every call, from as often as it takes; then it is done again, by another process.
async fn cut_off(name: &str, point: Option<u64>, elsewhere: bool, settles: bool) {
    let web = key("vm.web");
    let mut at = 1;
    loop {
        let pair = Pair::with_disk(100_000).await;
        pair.run("east", 0, &noise(66, 100));
        pair.sync("vm.web").await.unwrap();
        pair.pass("east", "west", 2).await;
        pair.run("east", 7, b"late");
        pair.port(name).inner.close().await;
        let live = if elsewhere { pair.path("images") } else { pair.files(name) };
        if elsewhere {
            let files = ["web.xml", "disk.raw"].map(|file| live.join(file));
            pair.write(&format!("{name}/.debvisor/config.toml"), &format!("[resources.web]\nfiles = {files:?}\n"));
            fs::create_dir_all(&live).unwrap();
            if settles {
                for file in ["web.xml", "disk.raw"] {
                    fs::rename(pair.files(name).join(file), live.join(file)).unwrap();
                }
            }
        }
        let before = contents(&live);
        let (port, disk) = faulty(&pair, name, Fault::Crash { at });
        let operation = pair.operation();
        let done = if settles {
            port.settle(&web).await.map(drop)
        } else {
            port.place(&web, point, operation).await.map(drop)
        };
        port.inner.close().await;
        let crashed = disk.crashed();
        // What an exchange leaves over is removed last, by whoever comes next too: that this fails is not told.
        assert!(done.is_err() || settles || elsewhere || !crashed, "{at}: {done:?}");
        if settles {
            assert_eq!(contents(&live), before, "{at}: cut off");
            pair.port(name).settle(&web).await.unwrap();
            assert_eq!(contents(&live), before, "{at}: done again");
            let points = pair.port(name).points(&web).await.unwrap();
            let aside: Vec<_> = points.iter().filter_map(|point| point.name.clone()).collect();
            assert_eq!(aside, ["diverged-2"], "{at}");
            pair.feed("west", name, 2).await.unwrap();
            assert_eq!(pair.exported(name, PointSelector::Name("diverged-2".to_owned())).await, before, "{at}");
            assert_eq!(contents(&pair.files(name)), contents(&pair.files("west")));
        } else {
            let placed = pair.port(name).place(&web, point, operation).await.unwrap();
            let wanted = pair.exported(name, PointSelector::Sequence(1)).await;
            let there = contents(&live);
            assert_eq!(there == wanted, point == Some(1), "{at}");
            let file = fs::OpenOptions::new().write(true).open(live.join("disk.raw")).unwrap();
            file.write_all_at(b"a machine", 0).unwrap();
            let running = contents(&live);
            assert_eq!(pair.port(name).place(&web, point, operation).await.unwrap(), placed, "{at}");
            assert_eq!(contents(&live), running, "{at}: a machine writes it now");
        }
        if !crashed {
            break;
        }
        // Each step of an exchange has tests of its own.
        at += if elsewhere { 3 } else { 1 };
    }
    assert!(at > 3, "{at}");
}

#[tokio::test]
async fn a_return_is_cut_off_anywhere_and_done_again() {
    cut_off("east", None, false, true).await;
}

#[tokio::test]
async fn a_return_of_files_that_lie_elsewhere_is_cut_off_anywhere_and_done_again() {
    cut_off("east", None, true, true).await;
}

#[tokio::test]
async fn a_placement_of_an_older_point_is_cut_off_anywhere_and_done_again() {
    cut_off("west", Some(1), false, false).await;
}

#[tokio::test]
async fn a_placement_elsewhere_is_cut_off_anywhere_and_done_again() {
    cut_off("west", Some(1), true, false).await;
}
