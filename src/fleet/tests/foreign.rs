//! A machine that runs where it is not held.

use super::*;
use crate::fleet::view::View;
use crate::model::ByteCount;
use crate::model::observed::{Observation, Observed};
use crate::model::region::RegionSnapshot;
use crate::model::running::ForeignStart;

#[test]
fn a_foreign_start_is_the_first_trouble() {
    let place = Place::new();
    let loaded = config::load(Some(&place.path("topology.toml"))).unwrap();
    let web: crate::model::ResourceKey = "vm.web".parse().unwrap();
    let since = Timestamp::from_micros(0);
    let foreign = ForeignStart { since, reason: "the runner's stop exited with 1".to_owned() };
    let vacant = RegionSnapshot::vacant(BTreeMap::new(), ByteCount(0));
    let snapshot = Box::new(RegionSnapshot { foreign_starts: [(web.clone(), foreign)].into(), ..vacant });
    let west: RegionId = "west".parse().unwrap();
    // East was not asked, which is a trouble too.
    let answered = Observation::Answered { snapshot, latency: Duration::ZERO };
    let observed = Observed { regions: [(west.clone(), answered)].into() };
    let view = View { topology: &loaded.topology, observed: &observed, now: since };
    let troubles = view.troubles(&[], None, &[]);
    assert_eq!(troubles[0].kind, TroubleKind::ForeignStart);
    assert_eq!((&troubles[0].address, &troubles[0].region_id), (&Address::Resource(web), &Some(west)));
    assert!(troubles[0].reason.ends_with("does not hold it: the runner's stop exited with 1"), "{troubles:?}");
    assert!(troubles.len() > 1);
}
