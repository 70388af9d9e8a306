//! What a region keeps, and shows to whoever plans: its identity, the registry, roles with their epochs, points.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::failover::{CutOff, Inert};
use super::id::{Lineage, OperationId, PairId, RegionId, ResourceId, ResourceKey, Seat, StoreId};
use super::point::{Content, Replica};
use super::running::ForeignStart;
use super::sighting::Evidence;
use super::time::Timestamp;
use super::topology::{PairSpec, RegionSpec, ResourceSpec, Spec};
use super::units::{BitRate, ByteCount};
use super::work::{FailedCopy, Work};

/// The age of a role: every change of a resource's holder has a higher one, and nothing of a lower one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that a resource is born at.
    pub const BIRTH: Self = Self(1);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who a region is: `.debvisor/region.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The region's id.
    pub region_id: RegionId,
    /// Its store; another store under the same id is another region.
    pub store: StoreId,
}

/// A region's part in a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May run it and is read from.
    Holder,
    /// Keeps points.
    Replica,
    /// Was the holder and gave it up.
    Demoted,
    /// May start nothing; also what a record that cannot be read means.
    Fenced,
}

impl Role {
    /// The name in files and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::Replica => "replica",
            Self::Demoted => "demoted",
            Self::Fenced => "fenced",
        }
    }
}

/// Who may change roles and the registry, as a region has recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Controller {
    /// The controlling state file's lineage.
    pub lineage: Lineage,
    /// Grows with every bind and take-over.
    pub term: u64,
    /// The place that was bound.
    pub seat: Seat,
    /// Where that is, for people.
    pub place: String,
}

impl Controller {
    /// Whether these orders come from it.
    pub fn gave(&self, authority: &Authority) -> bool {
        (self.lineage, self.term, self.seat) == (authority.lineage, authority.term, authority.seat)
    }
}

/// A region in another region's registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegionRecord {
    /// As declared when it was recorded.
    pub spec: RegionSpec,
    /// Its store, where it has been met.
    pub store: Option<StoreId>,
    /// Who manages it; none: registered by hand.
    pub managed_by: Option<Lineage>,
}

/// A pair as recorded at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairRecord {
    /// As declared when it was recorded.
    pub spec: PairSpec,
    /// Who manages it.
    pub managed_by: Option<Lineage>,
}

/// A resource as recorded at one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRecord {
    /// As declared when it was recorded.
    pub spec: ResourceSpec,
    /// Who manages it.
    pub managed_by: Option<Lineage>,
    /// This region's part in it.
    pub role: Role,
    /// Who holds it, as far as this region knows.
    pub holder: RegionId,
    /// Since which epoch.
    pub epoch: Epoch,
    /// The attempt within that epoch's operation.
    pub attempt: u32,
    /// The operation that is open on it.
    pub operation: Option<OperationId>,
}

impl ResourceRecord {
    /// Which of two words on a resource is the later one.
    pub const fn age(&self) -> (Epoch, u32) {
        (self.epoch, self.attempt)
    }
}

/// One recorded object, whatever its kind: what is written with [`RecordChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Of a region.
    Region(Box<RegionRecord>),
    /// Of a pair.
    Replication(PairRecord),
    /// Of a resource.
    Resource(ResourceRecord),
}

impl Record {
    /// The declared attributes.
    pub fn spec(&self) -> Spec {
        match self {
            Self::Region(record) => Spec::Region(Box::new(record.spec.clone())),
            Self::Replication(record) => Spec::Replication(record.spec.clone()),
            Self::Resource(record) => Spec::Resource(record.spec.clone()),
        }
    }

    /// Who manages it.
    pub const fn managed_by(&self) -> Option<Lineage> {
        match self {
            Self::Region(record) => record.managed_by,
            Self::Replication(record) => record.managed_by,
            Self::Resource(record) => record.managed_by,
        }
    }

    /// A digest of what a plan relies on: attributes, manager, and of a resource also role, holder and epoch.
    pub fn fingerprint(&self) -> Digest {
        match self {
            Self::Region(record) => Digest::of_json(&(&record.spec, &record.managed_by)),
            Self::Replication(record) => Digest::of_json(&(&record.spec, &record.managed_by)),
            Self::Resource(record) => Digest::of_json(&(
                &record.spec,
                &record.managed_by,
                record.role,
                &record.holder,
                record.epoch,
                record.attempt,
                &record.operation,
            )),
        }
    }
}

/// What a run began to hold still, and nobody let go in time, as far as the region can tell: whoever writes its files
/// may be standing still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StillHeld {
    /// Since when.
    pub since: Timestamp,
    /// The command that lets it go; none where that cannot be read any more.
    pub release: Option<String>,
    /// The file there that remembers it, to be removed by whoever has let it go by hand.
    pub remembered: String,
}

/// All that planning needs of one region, in one call. Taken without a lock and without writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegionSnapshot {
    /// Who it is; none: a place where no region has been founded yet.
    pub identity: Option<Identity>,
    /// Grows with every write of a role or of the registry.
    pub serial: u64,
    /// The highest epoch that it ever saw.
    pub highest_epoch: Epoch,
    /// Why it takes no part in anything before it is readmitted; none: it does.
    #[serde(default)]
    pub inert: Option<Inert>,
    /// Who may change roles here.
    pub controller: Option<Controller>,
    /// The other regions that a person cut off by hand, and did not let in since.
    #[serde(default)]
    pub cut_off: BTreeMap<RegionId, CutOff>,
    /// Up to which epoch no word that a region was cut off by hand proves it stopped any more: it was let in since, or runs.
    #[serde(default)]
    pub unproven: BTreeMap<RegionId, Epoch>,
    /// The other regions that a person declared gone, in that person's words: they count for nothing before they are
    /// readmitted.
    #[serde(default)]
    pub gone: BTreeMap<RegionId, String>,
    /// When the last failover that a policy asked for, and that this region took part in, was completed.
    #[serde(default)]
    pub last_automatic: Option<Timestamp>,
    /// The registry.
    pub regions: BTreeMap<RegionId, RegionRecord>,
    /// The pairs that concern it.
    #[serde(with = "pair_map")]
    #[schemars(with = "BTreeMap<String, PairRecord>")]
    pub pairs: BTreeMap<PairId, PairRecord>,
    /// The resources that concern it.
    pub resources: BTreeMap<ResourceKey, ResourceRecord>,
    /// The files that it finds, recorded or not, but for what it only keeps copies of.
    pub contents: BTreeMap<ResourceKey, Content>,
    /// What it holds as a replica.
    pub replicas: BTreeMap<ResourceKey, Replica>,
    /// How often files of a resource were set aside as they lay: at the holder when others were put in their place, at
    /// a replica when they were in the way and could not be read.
    #[serde(default)]
    pub replaced: BTreeMap<ResourceKey, u32>,
    /// Former ids of resources whose files still lie under them.
    pub former_ids: BTreeMap<ResourceKey, ResourceId>,
    /// Room left on the file system of its points.
    pub free: ByteCount,
    /// Whether it has a runner: something that starts and stops its machines.
    #[serde(default)]
    pub runner: bool,
    /// Whether it has a way to hold a running machine still while it is copied.
    #[serde(default)]
    pub freezes: bool,
    /// What an earlier run may have left frozen or snapshotted.
    #[serde(default)]
    pub still_held: BTreeMap<ResourceKey, StillHeld>,
    /// Machines that run there though it does not hold them, and that its agent could not stop. A directory has none.
    #[serde(default)]
    pub foreign_starts: BTreeMap<ResourceKey, ForeignStart>,
    /// What it knows of the other regions of its registry from asking them. A directory observes nobody.
    #[serde(default)]
    pub sightings: BTreeMap<RegionId, Evidence>,
    /// How fast blocks came lately from other regions.
    #[serde(default)]
    pub links: BTreeMap<RegionId, BitRate>,
    /// What is under way there.
    #[serde(default)]
    pub work: Vec<Work>,
    /// Copies that it tried last and that failed, as far as it remembers.
    #[serde(default)]
    pub failed_copies: BTreeMap<ResourceKey, FailedCopy>,
    /// Copies made there or found to be as their source in the last hour; none: it does not count them.
    #[serde(default)]
    pub copies_lately: Option<u64>,
    /// That nothing fails over without a person, as long as this is kept.
    #[serde(default)]
    pub paused: Option<Pause>,
}

/// What other regions have recorded, for one that is to know it and has no record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerRecords {
    /// Of regions.
    pub regions: BTreeMap<RegionId, RegionRecord>,
    /// Of resources, as any region records them.
    pub resources: BTreeMap<ResourceKey, ResourceRecord>,
}

/// Failovers that no person asks for are stopped: by whom, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Who did, and from where.
    pub by: String,
    /// When, by their clock.
    pub at: Timestamp,
    /// Why, in their words.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Pause {
    /// All of it, in words.
    pub fn words(&self) -> String {
        let Self { by, at, reason } = self;
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("by {by}, since {}{reason}", at.for_people())
    }
}

impl RegionSnapshot {
    /// A place where no region has been founded: nothing recorded, perhaps files already there.
    pub fn vacant(contents: BTreeMap<ResourceKey, Content>, free: ByteCount) -> Self {
        Self {
            identity: None,
            serial: 0,
            highest_epoch: Epoch::default(),
            inert: None,
            controller: None,
            cut_off: BTreeMap::new(),
            unproven: BTreeMap::new(),
            gone: BTreeMap::new(),
            last_automatic: None,
            regions: BTreeMap::new(),
            pairs: BTreeMap::new(),
            resources: BTreeMap::new(),
            contents,
            replicas: BTreeMap::new(),
            replaced: BTreeMap::new(),
            former_ids: BTreeMap::new(),
            free,
            runner: false,
            freezes: false,
            still_held: BTreeMap::new(),
            foreign_starts: BTreeMap::new(),
            sightings: BTreeMap::new(),
            links: BTreeMap::new(),
            work: Vec::new(),
            failed_copies: BTreeMap::new(),
            copies_lately: None,
            paused: None,
        }
    }
}

/// JSON maps have text keys: pairs go by `SOURCE.TARGET`.
mod pair_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{PairId, PairRecord};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<PairId, PairRecord>, to: S) -> Result<S::Ok, S::Error> {
        let texts: BTreeMap<String, &PairRecord> =
            map.iter().map(|(id, record)| (format!("{}.{}", id.source, id.target), record)).collect();
        texts.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<PairId, PairRecord>, D::Error> {
        let texts = BTreeMap::<String, PairRecord>::deserialize(from)?;
        texts
            .into_iter()
            .map(|(text, record)| {
                let (source, target) =
                    text.split_once('.').ok_or_else(|| D::Error::custom("a pair is SOURCE.TARGET"))?;
                let source = source.parse().map_err(D::Error::custom)?;
                let target = target.parse().map_err(D::Error::custom)?;
                Ok((PairId { source, target }, record))
            })
            .collect()
    }
}

/// Under whose authority a record is written: carried by every request that changes roles, the registry or what is
/// recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Authority {
    /// The state file's lineage.
    pub lineage: Lineage,
    /// Its term as controller.
    pub term: u64,
    /// Its seat.
    pub seat: Seat,
    /// Where it is, for people: `user@host:path`.
    pub place: String,
    /// The order that this is part of; a repeat does nothing twice.
    pub operation: OperationId,
}

/// Under whose authority bytes move, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncOrder {
    /// The lineage that manages the resource.
    pub lineage: Lineage,
    /// The controller's term, as far as the orderer knows.
    pub term: u64,
    /// What is copied.
    pub resource: ResourceKey,
    /// The holder that is read from.
    pub source: RegionId,
    /// The region that keeps the copy.
    pub target: RegionId,
    /// The holder's epoch; a lower one than a region has recorded is refused.
    pub epoch: Epoch,
    /// The order that this is part of.
    pub operation: OperationId,
    /// Whether blocks may be compressed where they travel between machines.
    pub compress: bool,
}

/// One conditional write of a record at a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// Which object.
    pub address: super::id::Address,
    /// The fingerprint that the record must have now; none: there must be no record.
    pub expected: Option<Digest>,
    /// What it becomes; none: it is removed. Removing a record never deletes data.
    pub record: Option<RecordWrite>,
}

/// What a record becomes: its attributes. Role, holder and epoch of a living resource are the region's own and stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordWrite {
    /// The declared attributes.
    pub spec: Spec,
    /// Who manages it from now on.
    pub managed_by: Option<Lineage>,
    /// Of a region: its store, where known.
    pub store: Option<StoreId>,
    /// Of a resource that this region does not know yet: its holder and epoch elsewhere; none: it is born now.
    pub holder: Option<(RegionId, Epoch)>,
    /// Of a resource: the id that it had before a rename, whose files and points are this one's.
    pub former_id: Option<ResourceId>,
}
