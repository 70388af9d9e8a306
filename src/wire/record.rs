//! Records as they travel: attributes are read by the kind of the object that they are of.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::model::region::{Epoch, RecordChange, RecordWrite};
use crate::model::topology::{PairSpec, RegionSpec, ResourceSpec, Spec};
use crate::model::{Address, Digest, Lineage, RegionId, ResourceId, StoreId};

/// One conditional write of a record: [`RecordChange`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordChangeBody {
    /// Which object.
    pub address: Address,
    /// The fingerprint that the record must have now; none: there must be no record.
    pub expected: Option<Digest>,
    /// What it becomes; none: it is removed.
    pub record: Option<RecordWriteBody>,
}

/// What a record becomes: [`RecordWrite`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordWriteBody {
    /// The declared attributes, of the kind that the address says.
    #[schemars(schema_with = "spec")]
    pub spec: serde_json::Value,
    /// Who manages it from now on.
    pub managed_by: Option<Lineage>,
    /// Of a region: its store, where known.
    pub store: Option<StoreId>,
    /// Of a resource that the region does not know yet: its holder and epoch elsewhere; none: it is born now.
    pub holder: Option<(RegionId, Epoch)>,
    /// Of a resource: the id that it had before a rename.
    pub former_id: Option<ResourceId>,
}

fn spec(generator: &mut SchemaGenerator) -> Schema {
    let [region, pair, resource] = [
        generator.subschema_for::<RegionSpec>(),
        generator.subschema_for::<PairSpec>(),
        generator.subschema_for::<ResourceSpec>(),
    ];
    json_schema!({ "anyOf": [region, pair, resource] })
}

impl From<&RecordChange> for RecordChangeBody {
    fn from(change: &RecordChange) -> Self {
        let RecordChange { address, expected, record } = change;
        let record =
            record.as_ref().map(|RecordWrite { spec, managed_by, store, holder, former_id }| RecordWriteBody {
                spec: spec.to_json(),
                managed_by: *managed_by,
                store: *store,
                holder: holder.clone(),
                former_id: former_id.clone(),
            });
        Self { address: address.clone(), expected: *expected, record }
    }
}

impl TryFrom<RecordChangeBody> for RecordChange {
    type Error = serde_json::Error;

    /// Reads the attributes by the address's kind.
    fn try_from(body: RecordChangeBody) -> Result<Self, serde_json::Error> {
        let RecordChangeBody { address, expected, record } = body;
        let record = match record {
            Some(RecordWriteBody { spec, managed_by, store, holder, former_id }) => {
                let spec = Spec::from_json(&address, spec)?;
                Some(RecordWrite { spec, managed_by, store, holder, former_id })
            }
            None => None,
        };
        Ok(Self { address, expected, record })
    }
}
