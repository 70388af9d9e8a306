//! Work that is stopped at the moment at which it begins.

use super::*;

/// Cancels when an action begins.
struct AtOnce(CancellationToken);

impl EventSink for AtOnce {
    fn emit(&self, event: &Event) {
        if let Event::ActionStarted { .. } = event {
            self.0.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_or_an_export_that_is_stopped_before_it_began_changes_nothing() {
    let place = Place::new();
    place.apply().await;
    let (web, newest) = ("web".parse().unwrap(), PointSelector::Newest);
    place.write("east", "web", "disk.raw", &noise(9, 600_000));
    let before = tree(&place.vm("east", "web"));
    // Which of two things that are ready is looked at first must not matter.
    for round in 0..8 {
        let cancel = CancellationToken::new();
        let watch = Watch { events: Arc::new(AtOnce(cancel.clone())), cancel: cancel.clone() };
        let stopped = place.fleet().restore_vm(&web, Some(&id("west")), &newest, &watch).await;
        assert!(matches!(stopped, Err(FleetError::Interrupted)), "{round}: {stopped:?}");
        assert!(cancel.is_cancelled() && tree(&place.vm("east", "web")) == before);
        assert!(!place.path("east/.debvisor/restore/vm/web").exists());

        let stopped = place.fleet().export(&web, None, &newest, &place.path("out"), &cancel).await;
        assert!(matches!(stopped, Err(FleetError::Interrupted)), "{round}: {stopped:?}");
        assert!(!place.path("out").exists());
    }
    assert_eq!(place.history()[0].run.outcome, RunOutcome::Interrupted);
}
