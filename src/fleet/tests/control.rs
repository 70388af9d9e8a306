//! Who may change the registry: states made anew, states that were left behind, and taking over.

use super::*;
use crate::plan::document::Kind;

/// A change that only the controller may make.
fn registry_change() -> String {
    TOPOLOGY.replace("\"file:west\"", "\"file:west\"\ncapacity_vms = 7")
}

fn gates(error: FleetError) -> Vec<Gate> {
    match error {
        FleetError::Refused(gates) => gates,
        other => panic!("{other:?}"),
    }
}

impl Place {
    async fn apply_with(&self, options: &PlanOptions) -> Result<RunReport, FleetError> {
        self.fleet().apply(options, &mut yes(), &quiet()).await
    }

    async fn terms(&self) -> Vec<u64> {
        let sight = self.fleet().look().await.unwrap();
        let term = |region: &str| sight.observed.snapshot(&id(region)).unwrap().controller.as_ref().unwrap().term;
        ["east", "west"].map(term).to_vec()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_made_anew_leaves_the_registry_alone_until_it_takes_over() {
    let place = Place::new();
    place.apply().await;
    fs::remove_file(place.path("state.db")).unwrap();
    let rebuilt = place.fleet().state_rebuild(false, &quiet()).await.unwrap();
    assert!(rebuilt.controllers.first().unwrap().ends_with("state.db"), "{rebuilt:?}");

    // Copies go on.
    place.write("east", "db", "disk.raw", &noise(7, 300_000));
    assert_eq!(place.apply().await.class, ExitClass::Done);
    place.assert_equal("db");

    place.write_topology(&registry_change());
    let warned = place.plan().await.warnings;
    assert!(warned.iter().any(|warning| warning.message.contains("apply --take-over")), "{warned:?}");
    let gate = gates(place.apply_with(&PlanOptions::default()).await.unwrap_err()).remove(0);
    assert_eq!(gate.code, "not_controller");
    assert!(gate.detail.contains("update region.west") && gate.detail.contains("state.db"), "{gate:?}");
    assert!(gate.help.unwrap().contains("--take-over"));
    assert_eq!(place.history()[0].run.outcome, RunOutcome::Refused);

    // All that are registered must answer.
    let over = PlanOptions { take_over: true, ..PlanOptions::default() };
    fs::rename(place.path("west"), place.path("away")).unwrap();
    let gate = gates(place.apply_with(&over).await.unwrap_err()).remove(0);
    assert_eq!(gate.code, "take_over");
    assert!(gate.detail.contains("west ("), "{gate:?}");
    fs::rename(place.path("away"), place.path("west")).unwrap();
    assert_eq!(place.terms().await, [1, 1]);

    let report = place.apply_with(&over).await.unwrap();
    assert_eq!((report.class, report.outcomes.len()), (ExitClass::Done, 1), "{:#?}", report.outcomes);
    assert_eq!(place.terms().await, [2, 2]);
    assert_eq!(place.history()[0].actions.len(), 3, "two regions taken over, one update");
    place.assert_settled().await;
    place.apply_with(&over).await.unwrap();
    assert_eq!(place.terms().await, [2, 2], "nothing to take over");

    fs::remove_file(place.path("state.db")).unwrap();
    let rebuilt = place.fleet().state_rebuild(true, &quiet()).await.unwrap();
    assert!(rebuilt.controllers.is_empty());
    assert_eq!(place.terms().await, [3, 3]);
    place.write_topology(TOPOLOGY);
    assert_eq!(place.apply().await.class, ExitClass::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_half_a_take_over_nobody_controls_and_another_goes_above_it() {
    let place = Place::new();
    place.apply().await;
    fs::remove_file(place.path("state.db")).unwrap();
    place.fleet().state_rebuild(false, &quiet()).await.unwrap();
    place.write_topology(&registry_change());
    // Another program has the second region.
    let fleet = place.fleet();
    let sight = fleet.look().await.unwrap();
    let nobody = crate::model::region::Authority {
        lineage: sight.recorded.lineage,
        term: 0,
        seat: crate::model::Seat(uuid::Uuid::nil()),
        place: String::new(),
        operation: crate::model::OperationId(uuid::Uuid::nil()),
    };
    sight.ports[&id("west")].found(&nobody).await.unwrap();
    let over = PlanOptions { take_over: true, ..PlanOptions::default() };
    let error = place.apply_with(&over).await.unwrap_err();
    assert!(matches!(&error, FleetError::TakeOver { accepted, .. } if *accepted == [id("east")]), "{error:?}");
    assert!(error.to_string().contains("nobody controls"), "{error}");
    drop(sight);
    assert_eq!(place.terms().await, [2, 1]);
    let gate = gates(place.apply_with(&PlanOptions::default()).await.unwrap_err()).remove(0);
    assert_eq!(gate.code, "not_controller");
    assert!(gate.detail.contains("nobody controls"), "{gate:?}");
    assert_eq!(place.apply_with(&over).await.unwrap().class, ExitClass::Done);
    assert_eq!(place.terms().await, [3, 3]);
    place.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_another_lineage_need_both_flags() {
    let place = Place::new();
    place.apply().await;
    fs::remove_file(place.path("state.db")).unwrap();
    let gate = gates(place.apply_with(&PlanOptions::default()).await.unwrap_err()).remove(0);
    assert_eq!(gate.code, "new_state");
    assert!(gate.help.unwrap().contains("--adopt --take-over"));
    let adopt = PlanOptions { adopt: true, ..PlanOptions::default() };
    let warned = place.fleet().plan(&adopt).await.unwrap().plan.warnings;
    assert!(warned.iter().any(|warning| warning.message.contains("apply --adopt --take-over")), "{warned:?}");
    let gate = gates(place.apply_with(&adopt).await.unwrap_err()).remove(0);
    assert_eq!(gate.code, "not_controller");
    assert!(gate.help.unwrap().contains("--adopt --take-over"));
    let both = PlanOptions { take_over: true, ..adopt };
    let report = place.apply_with(&both).await.unwrap();
    assert_eq!(report.class, ExitClass::Done, "{:#?}", report.outcomes);
    place.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_a_state_left_behind_copies_and_leaves_the_registry_alone() {
    let place = Place::new();
    place.apply().await;
    // What this state remembers of the registry is what its successor changes.
    let left = fs::read(place.path("state.db")).unwrap();
    fs::remove_file(place.path("state.db")).unwrap();
    place.fleet().state_rebuild(true, &quiet()).await.unwrap();
    place.write_topology(&registry_change());
    assert_eq!(place.apply().await.class, ExitClass::Done);
    fs::write(place.path("state.db"), left).unwrap();
    place.write_topology(TOPOLOGY);
    place.write("east", "db", "disk.raw", &noise(7, 300_000));

    let options =
        ReconcileOptions { allow: Allowed { drift: true, ..Allowed::default() }, ..ReconcileOptions::default() };
    let later = Duration::from_secs(3600);
    let round = place.fleet_later(later).reconcile(&options, &quiet()).await.unwrap();
    let report = round.report.unwrap();
    place.assert_equal("db");
    let [blocked] = report.plan.blocked.as_slice() else { panic!("{:#?}", report.plan.blocked) };
    assert_eq!((blocked.address.to_string().as_str(), blocked.reason), ("region.west", BlockReason::NotController));
    assert!(blocked.detail.contains("state.db"), "{blocked:?}");
    assert_eq!((report.class, report.plan.summary.update), (ExitClass::Partial, 0));
    let copied = |ended: &&ChangeOutcome| ended.outcome == Outcome::Done && ended.kind == Kind::Sync;
    assert_eq!(report.outcomes.iter().filter(copied).count(), 1, "{:#?}", report.outcomes);

    // Where a take-over stopped halfway nobody may say who copies what.
    let sight = place.fleet().look().await.unwrap();
    let authority = crate::model::region::Authority {
        lineage: sight.recorded.lineage,
        term: 9,
        seat: crate::model::Seat(uuid::Uuid::from_u128(9)),
        place: "elsewhere".to_owned(),
        operation: crate::model::OperationId(uuid::Uuid::from_u128(9)),
    };
    let taking = crate::failover::Control::TakeOver { authority };
    sight.ports[&id("east")].control(&taking, &crate::live::port::PeerRecords::default()).await.unwrap();
    drop(sight);
    let refused = place.fleet_later(later * 2).reconcile(&options, &quiet()).await.unwrap_err();
    assert_eq!(refused.code(), 5, "{refused}");
}
