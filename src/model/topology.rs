//! What people declare: regions, pairs, resources. These same types are what regions record and what the state
//! file remembers, so that the three can be compared attribute by attribute.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::id::{Address, PairId, RegionId, ResourceId, ResourceKey, ResourceType};
use super::policy::Policy;
use super::units::{self, BitRate, Percent};

/// A region as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegionSpec {
    /// For people; by default the id.
    pub name: String,
    /// Geographic location; by default the id.
    pub location: String,
    /// Where it is reached, as declared: `https://…`, `http://…` or `file:…`.
    pub api_endpoint: String,
    /// Where resources are born that name no region.
    pub primary: bool,
    /// How many VMs it can hold.
    pub capacity_vms: u32,
    /// Free words for placement rules, such as `jurisdiction = "eu"`.
    pub labels: BTreeMap<String, String>,
    /// The topology's policies, which every region keeps.
    pub policy: Policy,
}

impl RegionSpec {
    /// How many VMs a region can hold when that is not declared.
    pub const DEFAULT_CAPACITY_VMS: u32 = 1000;
}

/// How a region is reached, resolved from its declared endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A directory of this machine: the region runs inside this program.
    Directory(PathBuf),
    /// A region served elsewhere: scheme, host and port, without a path.
    Http(String),
}

/// A replication pair as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairSpec {
    /// What it carries.
    pub resource_types: BTreeSet<ResourceType>,
    /// The time after which a resource is due again.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub sync_interval: Duration,
    /// Resources per request.
    pub batch_size: u32,
    /// Lower goes first.
    pub priority: u32,
    /// Whether it carries anything at all.
    pub enabled: bool,
    /// Whether it also serves resources born at its target.
    pub bidirectional: bool,
    /// Whether blocks are compressed on the way, where it pays.
    pub compression: bool,
    /// The most it may use of the link.
    pub bandwidth_limit: Option<BitRate>,
    /// Whether its copies rest for now: it is still what feeds its target. Left out where it is not, as it was before
    /// there was such a key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

impl PairSpec {
    /// The interval when none is declared.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(300);
}

/// What holds where nothing is declared; it carries nothing.
impl Default for PairSpec {
    fn default() -> Self {
        Self {
            resource_types: BTreeSet::new(),
            sync_interval: Self::DEFAULT_INTERVAL,
            batch_size: 100,
            priority: 1,
            enabled: true,
            bidirectional: false,
            compression: true,
            bandwidth_limit: None,
            paused: false,
        }
    }
}

/// A replicated resource as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceSpec {
    /// Where it is born. Once it lives, its holder is live truth and this is never a reason to act.
    pub primary: RegionId,
    /// Where its replicas are kept.
    pub replicas: BTreeSet<RegionId>,
    /// What is promoted before it.
    pub depends_on: BTreeSet<ResourceId>,
    /// The recovery point that it is promised; none: three times its pair's interval.
    #[serde(default, with = "units::optional_duration")]
    #[schemars(with = "Option<units::DurationText>")]
    pub max_lag: Option<Duration>,
    /// For each label, the values that a region must have one of to hold it.
    pub allowed_regions: BTreeMap<String, BTreeSet<String>>,
    /// Free words.
    pub labels: BTreeMap<String, String>,
    /// A larger change at once is suspicious.
    pub max_change: Percent,
}

impl ResourceSpec {
    /// The share of change that is not yet suspicious when none is declared.
    pub const DEFAULT_MAX_CHANGE: Percent = Percent(50);

    /// Every region that has to do with the resource, its place of birth first.
    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        std::iter::once(&self.primary).chain(self.replicas.iter())
    }
}

/// One declared object, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Of `region.ID`.
    Region(Box<RegionSpec>),
    /// Of `replication.SOURCE.TARGET`.
    Replication(PairSpec),
    /// Of `vm.ID` and the other types.
    Resource(ResourceSpec),
}

impl Spec {
    /// The attributes as a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let converted = match self {
            Self::Region(spec) => serde_json::to_value(spec),
            Self::Replication(spec) => serde_json::to_value(spec),
            Self::Resource(spec) => serde_json::to_value(spec),
        };
        converted.expect("plain data with text keys converts to JSON")
    }

    /// Reads the attributes of the object at `address` back from JSON.
    ///
    /// # Errors
    /// Where the JSON is not of that kind.
    pub fn from_json(address: &Address, value: serde_json::Value) -> Result<Self, serde_json::Error> {
        match address {
            Address::Region(_) => serde_json::from_value(value).map(Box::new).map(Self::Region),
            Address::Replication(_) => serde_json::from_value(value).map(Self::Replication),
            Address::Resource(_) => serde_json::from_value(value).map(Self::Resource),
        }
    }

    /// A digest of all attributes.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.to_json().to_string().as_bytes())
    }
}

/// A rename: the object that was `from` is `to` from now on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moved {
    /// The former address.
    pub from: Address,
    /// The present one.
    pub to: Address,
}

/// A whole topology: validated, expanded, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Regions by id.
    pub regions: BTreeMap<RegionId, RegionSpec>,
    /// How each region is reached.
    pub endpoints: BTreeMap<RegionId, Endpoint>,
    /// Pairs by their ends.
    pub pairs: BTreeMap<PairId, PairSpec>,
    /// Resources of all types.
    pub resources: BTreeMap<ResourceKey, ResourceSpec>,
    /// What holds for all.
    pub policy: Policy,
    /// Renames.
    pub moved: Vec<Moved>,
    /// Of the canonical, expanded content; layout, comments, file names and paths don't change it.
    pub digest: Digest,
}

impl Topology {
    /// A topology that declares nothing.
    pub fn empty() -> Self {
        Self {
            regions: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            pairs: BTreeMap::new(),
            resources: BTreeMap::new(),
            policy: Policy::default(),
            moved: Vec::new(),
            digest: Digest::of(b""),
        }
    }

    /// Every declared object by address.
    pub fn objects(&self) -> BTreeMap<Address, Spec> {
        let regions =
            self.regions.iter().map(|(id, spec)| (Address::Region(id.clone()), Spec::Region(Box::new(spec.clone()))));
        let pairs =
            self.pairs.iter().map(|(id, spec)| (Address::Replication(id.clone()), Spec::Replication(spec.clone())));
        let resources =
            self.resources.iter().map(|(key, spec)| (Address::Resource(key.clone()), Spec::Resource(spec.clone())));
        regions.chain(pairs).chain(resources).collect()
    }

    /// The pair that feeds `target` with resources of type `kind` held at `holder`, with its settings.
    ///
    /// The pair in that direction comes first; else an enabled bidirectional one in the other.
    pub fn feeding_pair(
        &self,
        holder: &RegionId,
        target: &RegionId,
        kind: ResourceType,
    ) -> Option<(PairId, &PairSpec)> {
        let carries = |pair: &PairSpec| pair.enabled && pair.resource_types.contains(&kind);
        let forward = PairId { source: holder.clone(), target: target.clone() };
        let backward = PairId { source: target.clone(), target: holder.clone() };
        if let Some(pair) = self.pairs.get(&forward).filter(|pair| carries(pair)) {
            return Some((forward, pair));
        }
        self.pairs.get(&backward).filter(|pair| carries(pair) && pair.bidirectional).map(|pair| (backward, pair))
    }

    /// The pair whose settings a copy of a resource born at `born` goes by. A new holder feeds each region with the
    /// settings of the pair that fed that region before, and the region of birth with those of the pair that fed the
    /// new holder.
    pub fn settings_between(
        &self,
        born: &RegionId,
        holder: &RegionId,
        target: &RegionId,
        kind: ResourceType,
    ) -> Option<(PairId, &PairSpec)> {
        let between = |from, to| self.feeding_pair(from, to, kind);
        between(holder, target).or_else(|| match (holder == born, target == born) {
            (true, _) => None,
            (false, true) => between(born, holder),
            (false, false) => between(born, target),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_nobody_made_may_be_left_out() {
        let json = serde_json::json!({
            "primary": "a", "replicas": ["b"], "depends_on": [], "allowed_regions": {}, "labels": {}, "max_change": "50 %"
        });
        assert_eq!(serde_json::from_value::<ResourceSpec>(json).unwrap().max_lag, None);
    }
}
