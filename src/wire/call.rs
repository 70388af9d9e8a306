//! The bodies of calls between programs, as the port to a region has them. Each carries under whose authority it is
//! made: lineage, term, resource, epoch and operation are in the [`Authority`] or the [`SyncOrder`]; what follows an
//! open session carries the session's id, which was given for that order.
//!
//! | call | what |
//! | --- | --- |
//! | `GET snapshot`, `GET snapshot?resource=` | all that planning needs; what is known of one resource |
//! | `GET snapshot?records=true` | what is recorded, without a look at any resource's files |
//! | `GET running` | what it is running, asked of its runner now |
//! | `POST regions/{id}/health` | how that region looks from here, asked now |
//! | `GET regions/{id}` | a region as this one knows it; of itself, in its own words |
//! | `POST region` | founds the region |
//! | `POST control` | takes control, changes the registry, readmits the region, or keeps or forgets that another one is cut off |
//! | `POST standings` | roles, and whether some machines run there |
//! | `POST failover/pause` | keeps that nothing fails over without a person, or that it may again |
//! | `POST audit` | reads back a part of what replicas hold (an operation) |
//! | `POST orders` | carries out one step of a failover (an operation) |
//! | `POST records` | writes records |
//! | `POST records/by-hand` | writes records that belong to nobody, at a person's request to another region |
//! | `GET resources/{type}/{id}/points` | the points |
//! | `GET resources/{type}/{id}/points/{sequence}` | one point and all that it holds |
//! | `POST resources/{type}/{id}/points/{sequence}/blocks` | blocks of one of its files |
//! | `POST resources/{type}/{id}/points/{sequence}/files` | all blocks of many small files |
//! | `POST resources/{type}/{id}/restore` | the holder fetches a point and puts its files in place of its own (an operation) |
//! | `POST resources/{type}/{id}/verify` | reads every byte (an operation) |
//! | `DELETE resources/{type}/{id}/set-aside/{name}` | discards a copy |
//! | `POST readings` | opens a reading (an operation) |
//! | `POST readings/{session}/group-hashes`, `/block-hashes`, `/blocks`, `/close` | reads; the last is an operation |
//! | `POST receivings` | opens a receiving (an operation) |
//! | `POST receivings/{session}/groups`, `/expect`, `/survey`, `/wanted`, `/blocks`, `/checkpoint`, `/publish`, `/close` | receives |
//! | `POST verified` | the sources of some resources were seen unchanged |
//! | `POST syncs` | the region fetches a resource from its source (an operation with progress) |
//! | `GET operations/{id}`, `DELETE operations/{id}` | asks after an operation, stops it |

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::RecordChangeBody;
use crate::failover::Control;
use crate::model::failover::Standings;
use crate::model::point::PointSelector;
use crate::model::region::{Authority, Pause, PeerRecords, SyncOrder};
use crate::model::{Digest, OperationId, RegionId, ResourceKey, Timestamp, units};
use crate::replica::port::{BlockAddress, Confirmed, Reading};
use crate::replica::transfer::SyncOptions;

/// An order that says nothing but who gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// Under whose authority.
    pub authority: Authority,
}

/// An order about authority and the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Controlling {
    /// The order.
    pub control: Control,
    /// What other regions have recorded, of what this one may have no record of.
    pub peers: PeerRecords,
}

/// Whether anything fails over without a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pausing {
    /// What is kept; none: it may.
    pub pause: Option<Pause>,
}

/// Asks for roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    /// The machines of which the runner is to be asked; any other one may run.
    pub machines: BTreeSet<ResourceKey>,
    /// What was answered last: it need not be told once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Digest>,
}

/// What a region says of its roles now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// Of the whole.
    pub digest: Digest,
    /// The whole; none: it is what whoever asks knows.
    pub standings: Option<Standings>,
}

/// Conditional writes of records, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// Under whose authority.
    pub authority: Authority,
    /// The writes; later ones see what earlier ones wrote.
    pub changes: Vec<RecordChangeBody>,
}

/// Conditional writes of records at a person's request, all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByHand {
    /// The order that they are part of; a repeat does nothing twice.
    pub operation: OperationId,
    /// The writes.
    pub changes: Vec<RecordChangeBody>,
}

/// Opens a reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenReading {
    /// Of what, for whom.
    pub order: SyncOrder,
    /// Whether nothing remembered of earlier readings is trusted.
    pub full: bool,
}

/// Asks for the hashes of groups that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRun {
    /// The file's place in the manifest.
    pub file: u32,
    /// The first group.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// Asks for the hashes of all blocks of groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// The file's place in the manifest.
    pub file: u32,
    /// The groups.
    pub groups: Vec<u64>,
}

/// Asks for blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedBlocks {
    /// Which.
    pub wanted: Vec<BlockAddress>,
    /// Whether they may come compressed.
    pub compress: bool,
}

/// Opens a receiving.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenReceiving {
    /// Of what, from whom.
    pub order: SyncOrder,
    /// What the source opened.
    pub reading: Reading,
    /// Whether a person has accepted that the source changed a lot.
    pub accept_change: bool,
}

/// Hashes of groups that follow each other, for a receiving to compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupHashes {
    /// The file's place in the manifest.
    pub file: u32,
    /// The first group.
    pub first: u64,
    /// The hashes, in hexadecimal, without anything between them.
    pub hashes: HashList,
}

/// Hashes of all blocks of groups, for a receiving to expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockHashes {
    /// The file's place in the manifest.
    pub file: u32,
    /// The groups.
    pub groups: Vec<u64>,
    /// The hashes of their blocks, in the groups' order.
    pub hashes: HashList,
}

/// Asks for the blocks of the first of some groups of a point's file that is no hole; zeros are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointBlocks {
    /// The file's place in the manifest.
    pub file: u32,
    /// The first group.
    pub first: u64,
    /// How many groups are looked through.
    #[schemars(range(max = PointBlocks::COUNT_MAX))]
    pub count: u64,
    /// Whether they may come compressed.
    pub compress: bool,
}

impl PointBlocks {
    /// The most groups that one request looks through: 64 GiB of holes.
    pub const COUNT_MAX: u64 = 16 << 10;
}

/// Asks for all blocks of files of a point that are small: at most 2,048 files of at most 4 MiB together. Zeros are
/// left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointFiles {
    /// The files' places in the manifest.
    pub files: Vec<u32>,
    /// Whether they may come compressed.
    pub compress: bool,
}

/// Has a resource's holder put the files of a point in place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// Under whose authority.
    pub authority: Authority,
    /// The region that keeps the point, which the holder finds in its own registry; it may be the holder.
    pub from: RegionId,
    /// Which point.
    pub point: PointSelector,
}

/// Has a region read its copy of a resource, and see whether a machine of it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// How long a machine is to go on running.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub watched: Duration,
}

/// Publishes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// When the source was last seen as it was read.
    pub verified_at: Timestamp,
}

/// Says of resources, as many as their pair's `batch_size` at once, that their sources were seen unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirming {
    /// Which, of which points, and when.
    pub confirmed: Vec<Confirmed>,
}

/// Has a region fetch a resource from its source, which it finds in its own registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Of what, from whom.
    pub order: SyncOrder,
    /// How.
    pub options: SyncOptions,
}

/// Hashes as one hexadecimal text: 64 digits each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^([0-9a-f]{64})*$"))]
pub struct HashList(pub Vec<[u8; 32]>);

impl TryFrom<String> for HashList {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.as_bytes().chunks(64);
        let hash = |digits: &[u8]| blake3::Hash::from_hex(digits).map(|hash| *hash.as_bytes());
        digits
            .map(hash)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|_| "hashes are 64 hexadecimal digits each".to_owned())
    }
}

impl From<HashList> for String {
    fn from(list: HashList) -> Self {
        list.0.iter().map(|hash| blake3::Hash::from_bytes(*hash).to_hex().to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_come_back_as_they_were_and_halves_are_refused() {
        let list = HashList(vec![[7; 32], [0xab; 32]]);
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(text.len(), 130);
        assert_eq!(serde_json::from_str::<HashList>(&text).unwrap(), list);
        assert_eq!(serde_json::from_str::<HashList>("\"\"").unwrap(), HashList::default());
        for bad in ["\"ab\"", "\"zz\"", "7"] {
            assert!(serde_json::from_str::<HashList>(bad).is_err(), "{bad}");
        }
    }
}
