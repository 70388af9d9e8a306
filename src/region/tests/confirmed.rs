//! A region writes down that sources were seen unchanged: each by itself, never back, never ahead.

use std::time::Duration;

use super::*;
use crate::replica::port::{Confirmation, Confirmed};

#[tokio::test]
async fn each_of_many_is_confirmed_or_refused_by_itself() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    let later = pair.world.clock.now();
    let hour = Duration::from_secs(3600);
    let one = |order, sequence, verified_at| Confirmed { order, sequence, verified_at };
    let web = || pair.order("vm.web");
    let elsewhere = SyncOrder { target: "east".parse().unwrap(), ..web() };
    let asked =
        [one(web(), 7, later), one(elsewhere, 1, later), one(web(), 1, later), one(web(), 1, later.before(hour))];
    let answers = pair.west.confirm_unchanged(&asked).await.unwrap();
    let [Confirmation::Error(_), Confirmation::Error(_), Confirmation::Point(moved), Confirmation::Point(still)] =
        answers.as_slice()
    else {
        panic!("{answers:?}")
    };
    assert_eq!((moved.verified_at, still.verified_at), (later, later), "nothing is moved back");
    assert_eq!(pair.west.points(&key("vm.web")).await.unwrap()[0], **moved);
    let ahead = one(web(), 1, pair.world.clock.now().plus(hour));
    let answers = pair.west.confirm_unchanged(&[ahead]).await.unwrap();
    let [Confirmation::Point(moved)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(moved.verified_at <= pair.world.clock.now(), "nobody has seen what is to come");
}
