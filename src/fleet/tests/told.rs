//! What people are told: what failed last, which names are taken, what is missing, whose work was left.

use super::*;
use crate::host::{FileLock, Holder};

impl Place {
    /// Has the region's directory, as another program would.
    fn occupy(&self, region: &str) -> FileLock {
        let since = Timestamp::from_micros(0);
        let holder = Holder { who: "ann@desk".to_owned(), pid: 1, command: "a backup".to_owned(), since };
        FileLock::take(&self.path(region).join(".debvisor/lock"), &holder).unwrap()
    }

    async fn troubles(&self) -> Vec<Trouble> {
        self.fleet().status().await.unwrap().troubles
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_last_and_is_still_to_be_done_needs_attention() {
    let place = Place::new();
    place.apply().await;
    assert!(place.troubles().await.is_empty());
    place.write("east", "db", "disk.raw", &noise(7, 300_000));
    assert!(place.troubles().await.is_empty(), "nothing was tried yet");
    let occupied = place.occupy("west");
    assert_ne!(place.apply().await.class, ExitClass::Done);
    drop(occupied);
    // A run that does something else does not hide it.
    let _ = place.fleet().discard(&"web".parse().unwrap(), &id("west"), "none", &quiet()).await;
    let troubles = place.troubles().await;
    let [only] = troubles.as_slice() else { panic!("{troubles:#?}") };
    assert_eq!(
        (only.kind, only.address.to_string().as_str(), only.region_id.clone()),
        (TroubleKind::Run, "vm.db", Some(id("west")))
    );
    assert!(only.reason.contains("a backup") && only.help.is_some(), "{only:?}");
    assert_eq!(place.apply().await.class, ExitClass::Done);
    assert!(place.troubles().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_directory_holds_anothers_files_is_blocked_before_anything_is_written() {
    let place = Place::new();
    place.apply().await;
    let renamed = TOPOLOGY.replace("[vms.db]", "[vms.sql]");
    place.write_topology(&format!("{renamed}\n[[moved]]\nfrom = \"vm.db\"\nto = \"vm.sql\"\n"));
    place.apply().await;
    place.write_topology(&format!("{renamed}\n[vms.db]\nreplicas = [\"west\"]\n"));
    let plan = place.plan().await;
    assert!(plan.changes.is_empty() && plan.waiting.is_empty() && plan.held.is_empty(), "{plan:#?}");
    let [blocked] = plan.blocked.as_slice() else { panic!("{:#?}", plan.blocked) };
    assert_eq!((blocked.address.to_string().as_str(), blocked.region_id.clone()), ("vm.db", Some(id("east"))));
    assert!(blocked.detail.contains("vm.sql") && blocked.detail.contains("resources/vm/db"), "{blocked:?}");
    let report = place.apply().await;
    assert_eq!((report.class, report.counts.failed), (ExitClass::Partial, 0));
    // What it says.
    fs::rename(place.vm("east", "db"), place.vm("east", "sql")).unwrap();
    place.write("east", "db", "disk.raw", &noise(8, 300_000));
    assert_eq!(place.apply().await.class, ExitClass::Done);
    place.assert_settled().await;
    place.assert_equal("db");
    place.assert_equal("sql");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_lost_its_identity_alone_is_told_what_it_was() {
    let place = Place::new();
    place.apply().await;
    let identity = place.path("east/.debvisor/region.json");
    fs::remove_file(&identity).unwrap();
    let plan = place.plan().await;
    let told = &plan.unobserved[0];
    let help = told.help.as_deref().unwrap();
    assert!(told.reason.contains("region.json") && !told.reason.contains("is empty"), "{told:?}");
    // What it says.
    let (from, to) = (help.find('{').unwrap(), help.rfind('}').unwrap());
    fs::write(identity, &help[from..=to]).unwrap();
    place.assert_settled().await;
    assert_eq!(place.apply().await.class, ExitClass::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_state_made_is_not_called_unfinished() {
    let place = Place::new();
    place.apply().await;
    fs::rename(place.path("state.db"), place.path("left.db")).unwrap();
    place.fleet().state_rebuild(true, &quiet()).await.unwrap();
    place.write("east", "mail", "disk.raw", &noise(9, 100_000));
    place.write_topology(&format!("{TOPOLOGY}\n[vms.mail]\nreplicas = [\"west\"]\n"));
    assert_eq!(place.apply().await.class, ExitClass::Done);
    fs::rename(place.path("left.db"), place.path("state.db")).unwrap();
    let plan = place.plan().await;
    let [change] = plan.changes.as_slice() else { panic!("{:#?}", plan.changes) };
    assert!(change.reason.contains("another state"), "{}", change.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_whose_memory_went_back_is_unobserved_until_it_is_readmitted() {
    let place = Place::new();
    place.apply().await;
    let (memory, backup, newer) = (place.path("west/region.db"), place.path("backup"), place.path("newer"));
    fs::copy(&memory, &backup).unwrap();
    let changed = TOPOLOGY.replace("\"file:west\"", "\"file:west\"\ncapacity_vms = 7");
    place.write_topology(&changed);
    assert_eq!(place.apply().await.class, ExitClass::Done);
    place.apply().await;
    fs::copy(&memory, &newer).unwrap();

    fs::copy(&backup, &memory).unwrap();
    place.write("east", "db", "disk.raw", &noise(7, 300_000));
    let plan = place.plan().await;
    assert_eq!(plan.effects().count(), 0, "{plan:#?}");
    let told = &plan.unobserved[0];
    assert!(told.region_id == id("west") && told.reason.contains("went back"), "{told:?}");
    assert!(told.help.as_ref().unwrap().contains("region readmit west"), "{told:?}");

    fs::copy(&newer, &memory).unwrap();
    assert_eq!(place.plan().await.effects().count(), 1);
    // The other way that it says.
    fs::copy(&backup, &memory).unwrap();
    let options = ReadmitOptions { region: id("west"), gone: BTreeMap::new(), take_over: false, alone: None };
    let done = place.fleet().readmit(&options, &quiet()).await.unwrap();
    assert!(done.was.unwrap().contains("went back") && done.holds_no_more.is_empty());
    assert_eq!(place.apply().await.class, ExitClass::Done);
    place.assert_settled().await;
    place.assert_equal("db");
}
