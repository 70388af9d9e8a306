//! The client against a world that means it ill: each question ends within its deadline, with an error that names the
//! cause.

mod hostile;
mod names;
mod anger;
mod operations;
mod secrets;

use std::time::{Duration, Instant};

use super::{Deadlines, HttpRegion};
use crate::config::Credential;
use crate::model::region::{Authority, Epoch, SyncOrder};
use crate::model::{Lineage, OperationId, RegionId, ResourceKey, Seat, World};

/// So short that a test is, and so long that a busy machine keeps them.
fn deadlines() -> Deadlines {
    Deadlines {
        connect: Duration::from_millis(500),
        snapshot: Duration::from_millis(500),
        glance: Duration::from_millis(500),
        call: Duration::from_millis(500),
        bulk: Duration::from_secs(20),
        pace: Duration::from_millis(600),
        begin: Duration::ZERO,
        wait: Duration::ZERO,
        lost: Duration::from_millis(900),
        pause: Duration::from_millis(5),
    }
}

fn world() -> World {
    crate::host::world()
}

fn west() -> RegionId {
    "west".parse().unwrap()
}

fn region(origin: &str) -> HttpRegion {
    HttpRegion::new(west(), origin, deadlines(), Credential::default(), world())
}

fn web() -> ResourceKey {
    "vm.web".parse().unwrap()
}

fn authority() -> Authority {
    let nil = uuid::Uuid::nil();
    Authority { lineage: Lineage(nil), term: 1, seat: Seat(nil), place: "here".to_owned(), operation: OperationId(nil) }
}

fn order() -> SyncOrder {
    SyncOrder {
        lineage: Lineage(uuid::Uuid::nil()),
        term: 1,
        resource: web(),
        source: "east".parse().unwrap(),
        target: west(),
        epoch: Epoch::BIRTH,
        operation: OperationId(uuid::Uuid::nil()),
        compress: true,
    }
}

/// What `asked` gave, which must not take longer than `most`.
#[expect(clippy::disallowed_methods, reason = "the test measures deadlines")]
async fn within<T>(most: Duration, asked: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let given = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it never ended");
    assert!(began.elapsed() < most, "it took {:?}", began.elapsed());
    given
}
