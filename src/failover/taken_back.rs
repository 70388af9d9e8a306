//! A promotion that started nothing, taken back by the region that was promoted.
//!
//! The copy that was to be started may turn out to be damaged, or its files cannot be put in place: nothing can run
//! there, and as long as the promotion stood, the operation would lead nowhere else.
//!
//! | what | |
//! | --- | --- |
//! | guarantee | the region's part is what it was before the promotion, and to the operation it is one that was never promoted: the next attempt may lead there with another point, elsewhere, or back |
//! | assumption | what was put in place for an operation is durable before a machine is started from it, and is read in the same transaction; so whatever may ever have run under the promotion is among it |
//! | a crash before it | a holder that starts nothing, as after any crash between the role and the start; whoever orders it again meets the same damage, and it is taken back then |
//! | a crash after it | nothing of the promotion; the machine that was to be started is not remembered, or holds no role to start by |
//!
//! Nobody else may do it: others know only that a promotion was ordered, not that nothing came of it. Nobody acts on it
//! without asking anew: it is the answer to the next attempt that says whether something is promoted.

use std::collections::BTreeSet;

use super::book::Book;
use crate::model::failover::{Attempt, Direction};
use crate::model::{OperationId, ResourceKey};

impl Book {
    /// Takes back the promotion of what could not be put in place. `placed`: what was, for this operation, in any attempt
    /// at it, and so may run. Gives what was taken back; where another attempt was accepted meanwhile, nothing.
    pub fn take_back(
        &mut self,
        id: OperationId,
        attempt: Attempt,
        keys: &BTreeSet<ResourceKey>,
        placed: &BTreeSet<ResourceKey>,
    ) -> BTreeSet<ResourceKey> {
        let Ok(open) = self.at(id, attempt) else { return BTreeSet::new() };
        if open.bid.direction == Direction::Abort {
            return BTreeSet::new();
        }
        let mut parts = Vec::new();
        for key in keys.difference(placed).filter(|key| open.promoted.contains_key(*key)) {
            parts.extend(open.replaced.remove(key).map(|part| (key.clone(), part)));
        }
        open.promoted.retain(|key, _| !parts.iter().any(|(taken, _)| taken == key));
        let taken = parts.iter().map(|(key, _)| key.clone()).collect();
        self.parts.extend(parts);
        taken
    }
}
