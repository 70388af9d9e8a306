//! Pairs: setting one up, letting its copies rest, and letting them go on.

use super::order::{Ends, Made, Order, new};
use crate::fleet::error::FleetError;
use crate::fleet::manager::MultiRegionManager;
use crate::fleet::register::spec_of;
use crate::model::region::{PairRecord, Record, RecordChange, RecordWrite};
use crate::model::topology::{PairSpec, Spec};
use crate::model::{Address, OperationId, PairId};
use crate::wire::region::{ReplicationConfig, ReplicationPair};

impl MultiRegionManager {
    /// Records a pair at both of its ends. Whether it is paused stays as it is.
    ///
    /// # Errors
    /// [`FleetError::Argument`]; [`FleetError::UnknownRegion`]; [`FleetError::Conflict`] with the pair that is there;
    /// [`FleetError::Region`] where an end does not answer.
    pub async fn setup_replication_as(
        &self,
        operation: OperationId,
        config: &ReplicationConfig,
    ) -> Result<Made<ReplicationPair>, FleetError> {
        let order = self.order_by_hand(operation)?;
        order.founded()?;
        let (pair, wanted) = (config.pair(), spec_of(config)?);
        let ends = order.ends_of(&pair).await?;
        let mut spec = wanted.clone();
        for (region, end) in &ends {
            let Some(PairRecord { spec: known, .. }) = end.recorded.pairs.get(&pair) else { continue };
            spec = PairSpec { bandwidth_limit: known.bandwidth_limit, paused: known.paused, ..wanted.clone() };
            if spec != *known {
                return Err(FleetError::Conflict {
                    reason: format!("{region} records the pair from {} to {} otherwise", pair.source, pair.target),
                    help: "declare it in a topology file to change it: `replication setup` there, and `apply`"
                        .to_owned(),
                });
            }
        }
        let mut is_new = false;
        for (region, end) in ends.iter().filter(|(_, end)| !end.recorded.pairs.contains_key(&pair)) {
            let change = new(Address::Replication(pair.clone()), Spec::Replication(spec.clone()), None);
            order.write((region, end), &[change]).await?;
            is_new = true;
        }
        Ok(Made { data: ReplicationPair::of(&pair, &spec), is_new })
    }

    /// Lets a pair's copies rest, or go on: recorded at both of its ends. It stays what feeds its target. Nothing is done
    /// where it is so already.
    ///
    /// # Errors
    /// [`FleetError::UnknownPair`]; [`FleetError::Unfit`] for a pair that a topology declares, which the next `apply` would
    /// put back; [`FleetError::Region`] where an end does not answer.
    pub async fn pause_replication_as(
        &self,
        operation: OperationId,
        pair: &PairId,
        paused: bool,
    ) -> Result<Made<ReplicationPair>, FleetError> {
        let order = self.order_by_hand(operation)?;
        let known = &order.founded()?.pairs;
        let ends = order.ends_of(pair).await?;
        let recorded: Vec<_> =
            ends.iter().filter_map(|(region, end)| Some((region, end, end.recorded.pairs.get(pair)?))).collect();
        let Some(spec) = recorded.first().map(|(_, _, record)| PairSpec { paused, ..record.spec.clone() }) else {
            let known = known.keys().map(ToString::to_string).collect();
            return Err(FleetError::UnknownPair { pair: pair.to_string(), known });
        };
        let PairId { source, target } = pair;
        if let Some(lineage) = recorded.iter().find_map(|(_, _, record)| record.managed_by) {
            let word = if paused { "pause" } else { "resume" };
            return Err(FleetError::Unfit {
                reason: format!("the pair from {source} to {target} is declared in a topology (lineage {lineage})"),
                help: Some(format!("change it there: `debvisor-region replication {word} {source} {target} --apply`")),
            });
        }
        let mut is_new = false;
        for (region, end, record) in recorded.into_iter().filter(|(_, _, record)| record.spec.paused != paused) {
            let spec = Spec::Replication(PairSpec { paused, ..record.spec.clone() });
            let change = RecordChange {
                address: Address::Replication(pair.clone()),
                expected: Some(Record::Replication(record.clone()).fingerprint()),
                record: Some(RecordWrite { spec, managed_by: None, store: None, holder: None, former_id: None }),
            };
            order.write((region, end), &[change]).await?;
            is_new = true;
        }
        Ok(Made { data: ReplicationPair::of(pair, &spec), is_new })
    }
}

impl Order<'_> {
    async fn ends_of(&self, PairId { source, target }: &PairId) -> Result<Ends, FleetError> {
        self.expect_registered(source)?;
        self.expect_registered(target)?;
        self.ends([source, target].into()).await
    }
}
