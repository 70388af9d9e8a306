//! The calls, one method of the region's port each. Bodies and their meaning are [`wire::call`](crate::wire::call)'s.

pub(super) mod region;
pub(super) mod fleet;
pub(super) mod order;
pub(super) mod failover;
pub(super) mod record;
pub(super) mod resource;
pub(super) mod point;
pub(super) mod reading;
pub(super) mod receiving;
pub(super) mod sync;
pub(super) mod operation;
pub(super) mod numbers;
pub(super) mod document;

use serde::Serialize;

use super::answer::Reply;
use super::router::App;

/// What was asked for.
fn ok<T: Serialize>(app: &App, data: &T) -> Reply<T> {
    Reply::new(app.world.clock.now(), data)
}
