//! A target that is ordered to start something, and says nothing more: it may run. Nobody else starts it, nobody calls the
//! operation taken back, and it ends where it runs once that is known.

use crate::automatic::{AUTOMATIC, Fleet};

#[test]
fn a_target_that_may_run_it_is_not_called_taken_back() {
    let mut fleet = Fleet::new(1, AUTOMATIC);
    // Its server is killed as its runner has started the machine.
    fleet.world.write("machines/b/.lost", fleet.regions[1].child.id().to_string());
    fleet.regions[0].kill();
    let left = fleet.run(&["failover", "execute", "a", "b", "--force", "--strategy", "manual"]);
    assert_ne!(left.code, 0, "{}{}", left.stdout, left.stderr);
    assert!(
        fleet.machines.runs("web-1", "b"),
        "it was started, and nobody heard of it: {}{}",
        left.stdout,
        left.stderr
    );
    assert!(!fleet.machines.ran("web-1", "c"), "it may run at b");
    fleet.run(&["failover", "status"]).says(&["is open", "failover resume"]);
    let [event] = fleet.events().try_into().unwrap();
    assert_eq!(event["outcome"], serde_json::Value::Null, "{event:#}");
    // Who resumes it before `b` is back is told whom it waits for.
    let early = fleet.run(&["failover", "resume"]).says(&["b does not answer"]);
    assert_ne!(early.code, 0, "{}{}", early.stdout, early.stderr);
    assert!(!fleet.machines.ran("web-1", "c"), "it may run at b");

    std::fs::remove_file(fleet.world.path("machines/b/.lost")).unwrap();
    fleet.again(1);
    fleet.run(&["failover", "resume"]).exits(0).says(&["completed"]);
    fleet.assert_all_run_at("b");
    fleet.run(&["failover", "status"]).says(&["no operation is open"]);
}
