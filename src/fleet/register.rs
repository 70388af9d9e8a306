//! A directory of topology files as a fleet, and declaring by calls what commands declare by words: the files are
//! edited, and just that is carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::declare::{Declaration, Declared, Ground};
use super::error::FleetError;
use super::manager::MultiRegionManager;
use super::options::{Approved, Desired, Settings, Watch};
use super::report::{ExitClass, RunReport};
use super::status::{RegionState, ReplicationStatus};
use crate::config::edit::{Edit, PairEdit, RegionEdit, ResourceEdit};
use crate::config::{Credentials, Loaded};
use crate::execute::event::Outcome;
use crate::host::{self, Host, HostDisk};
use crate::model::topology::{PairSpec, ResourceSpec};
use crate::model::{Address, PairId, RegionId, ResourceKey, ResourceType};
use crate::state::StateFile;
use crate::wire::region::{RegisterRegion, ReplicateVm, ReplicationConfig};

impl From<&Loaded> for Desired {
    fn from(loaded: &Loaded) -> Self {
        Self { topology: loaded.topology.clone(), path: loaded.path.display().to_string(), base: loaded.base.clone() }
    }
}

impl MultiRegionManager {
    /// A manager of what the topology files (`*.toml`) of a directory declare, with its state beside them. Where there
    /// are none yet, `topology.toml` begins there with the first registration. It is the same as
    /// `debvisor-region --topology DIR`, so that program and command line may take turns.
    ///
    /// Regions are shown no credentials: see [`with_credentials`](Self::with_credentials). Hooks of a policy run only
    /// where [`Settings::exec_guard`] names a program that guards them, which an embedding program has not.
    ///
    /// # Errors
    /// [`FleetError::Topology`] with all that is wrong with the files; a directory that is not there.
    ///
    /// # Examples
    /// ```
    /// use debvisor_region::fleet::MultiRegionManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let manager = MultiRegionManager::of_directory(dir.path())?;
    /// assert!(manager.resources().is_empty());
    /// assert!(MultiRegionManager::of_directory("/nowhere").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_directory(config_dir: impl AsRef<Path>) -> Result<Self, FleetError> {
        let ground = Ground::of_directory(config_dir.as_ref())?;
        let path = &ground.loaded.path;
        let settings = Settings {
            state: StateFile::default_path(path, path.is_dir()),
            parallelism: Settings::DEFAULT_PARALLELISM,
            lock_timeout: Duration::ZERO,
            host: Host::current(),
            disk: Arc::new(HostDisk),
            guard: None,
            exec_guard: None,
            allowed_hooks: None,
            credentials: Arc::new(Credentials::default()),
            command: "the library".to_owned(),
        };
        let desired = Desired::from(&*ground.loaded);
        Ok(Self { ground: Some(ground), ..Self::new(host::world(), settings, desired) })
    }

    /// The same, which shows regions these credentials.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.settings.credentials = Arc::new(credentials);
        self
    }

    /// What is declared of each resource, by type and id. Who holds it now, after a failover, is
    /// [`get_replication_status`](Self::get_replication_status)'s to say.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// for (key, resource) in manager.resources() {
    ///     assert_eq!((key.to_string(), resource.primary.as_str()), ("vm.web-1".to_owned(), "us-east-1"));
    ///     assert_eq!(resource.replicas.len(), 1);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub const fn resources(&self) -> &BTreeMap<ResourceKey, ResourceSpec> {
        &self.desired.topology.resources
    }

    /// The primary region as it is now: where resources are born that name no region. None where none is declared so.
    ///
    /// # Errors
    /// Where the state file cannot be read.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let primary = manager.get_primary_region().await?.expect("one is declared");
    /// assert_eq!(primary.region_id.as_str(), "us-east-1");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_primary_region(&self) -> Result<Option<RegionState>, FleetError> {
        let mut regions = self.desired.topology.regions.iter();
        match regions.find(|(_, spec)| spec.primary) {
            Some((id, _)) => self.get_region(id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Declares a region in the files, founds it where it is new, and tells every other region of it. One that is
    /// declared already becomes what is said here; the same again changes nothing. Without a `region_id` its location
    /// is its id. Of a fleet without files: [`register_region_as`](Self::register_region_as).
    ///
    /// # Errors
    /// What would make the topology invalid ([`FleetError::Topology`], nothing is written); whatever refuses or fails
    /// an [`apply`](Self::apply). Where it could not be carried out, a region that does not answer say, the files
    /// declare it all the same, and the next `apply` goes on.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// use debvisor_region::wire::region::RegisterRegion;
    ///
    /// let region = RegisterRegion {
    ///     capacity_vms: 500,
    ///     ..RegisterRegion::new("EU West 1", "eu-west-1", "file:eu-west-1")
    /// };
    /// let eu = manager.register_region(&region, &Watch::default()).await?;
    /// assert_eq!((eu.region_id.as_str(), eu.status), ("eu-west-1", RegionStatus::Healthy));
    /// assert_eq!((eu.current_vms, eu.capacity_vms), (Some(0), 500));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register_region(&mut self, region: &RegisterRegion, watch: &Watch) -> Result<RegionState, FleetError> {
        let id = id_of(region)?;
        let RegisterRegion { region_id: _, name, location, api_endpoint, is_primary, capacity_vms } = region.clone();
        let edit = Edit::Region(RegionEdit {
            id: id.clone(),
            name: Some(name),
            location: Some(location),
            api_endpoint: Some(api_endpoint),
            primary: Some(is_primary),
            capacity_vms: Some(capacity_vms),
        });
        self.declare(edit, Address::Region(id.clone()), watch).await?;
        self.get_region(&id).await
    }

    /// Declares what is copied from one region to another, in the files and at both of them. A pair that is declared
    /// already becomes what is said here. Copies are made by [`reconcile`](Self::reconcile) when they are due, by
    /// [`apply`](Self::apply), and by [`sync_resource`](Self::sync_resource).
    ///
    /// # Errors
    /// As [`register_region`](Self::register_region).
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// use debvisor_region::wire::region::ReplicationConfig;
    ///
    /// let (east, west) = ("us-east-1".parse()?, "us-west-1".parse()?);
    /// let config = ReplicationConfig {
    ///     sync_interval_seconds: 600,
    ///     ..ReplicationConfig::new(east, west, [ResourceType::Vm, ResourceType::State])
    /// };
    /// let config = manager.setup_replication(&config, &Watch::default()).await?;
    /// assert_eq!((config.sync_interval_seconds, config.batch_size, config.compression), (600, 100, true));
    /// let written = std::fs::read_to_string(dir.path().join("topology.toml"))?;
    /// assert!(written.contains("resource_types = [\"vm\", \"state\"]\nsync_interval = \"10m\"\n"), "{written}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn setup_replication(
        &mut self,
        config: &ReplicationConfig,
        watch: &Watch,
    ) -> Result<ReplicationConfig, FleetError> {
        let id = config.pair();
        let PairSpec {
            resource_types,
            sync_interval,
            batch_size,
            priority,
            enabled,
            bidirectional,
            compression,
            bandwidth_limit: _,
            paused: _,
        } = spec_of(config)?;
        let edit = Edit::Pair(PairEdit {
            resource_types: Some(resource_types),
            sync_interval: Some(sync_interval),
            batch_size: Some(batch_size),
            priority: Some(priority),
            enabled: Some(enabled),
            bidirectional: Some(bidirectional),
            compression: Some(compression),
            ..PairEdit::of(id.clone())
        });
        self.declare(edit, Address::Replication(id.clone()), watch).await?;
        Ok(ReplicationConfig::of(&id, self.declared_pair(&id)?))
    }

    /// Lets a pair's copies rest, in the files and at both of its ends: its replicas keep what they have and grow older,
    /// and their status is `paused`. [`sync_resource`](Self::sync_resource) still copies, and failovers go on.
    ///
    /// # Errors
    /// [`FleetError::UnknownPair`]; as [`register_region`](Self::register_region).
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// let pair = debvisor_region::model::PairId { source: "us-east-1".parse()?, target: "us-west-1".parse()? };
    /// manager.pause_replication(&pair, &Watch::default()).await?;
    /// let paused = manager.get_replication_status(&"web-1".parse()?).await?;
    /// assert_eq!(paused.replicas[&"us-west-1".parse()?].status, SyncStatus::Paused);
    /// manager.resume_replication(&pair, &Watch::default()).await?;
    /// let again = manager.get_replication_status(&"web-1".parse()?).await?;
    /// assert_eq!(again.replicas[&"us-west-1".parse()?].status, SyncStatus::InSync);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause_replication(&mut self, pair: &PairId, watch: &Watch) -> Result<(), FleetError> {
        self.rest_replication(pair, true, watch).await
    }

    /// Lets a paused pair go on; its copies are due at once.
    ///
    /// # Errors
    /// As [`pause_replication`](Self::pause_replication).
    pub async fn resume_replication(&mut self, pair: &PairId, watch: &Watch) -> Result<(), FleetError> {
        self.rest_replication(pair, false, watch).await
    }

    async fn rest_replication(&mut self, pair: &PairId, paused: bool, watch: &Watch) -> Result<(), FleetError> {
        self.declared_pair(pair)?;
        let edit = Edit::Pair(PairEdit { paused: Some(paused), ..PairEdit::of(pair.clone()) });
        self.declare(edit, Address::Replication(pair.clone()), watch).await
    }

    fn declared_pair(&self, pair: &PairId) -> Result<&PairSpec, FleetError> {
        let pairs = &self.desired.topology.pairs;
        pairs.get(pair).ok_or_else(|| FleetError::UnknownPair {
            pair: pair.to_string(),
            known: pairs.keys().map(ToString::to_string).collect(),
        })
    }

    /// Declares a virtual machine and the regions that keep copies of it, in the files and at these regions, and makes
    /// the first copies where its files are there. Once it lives, another `primary_region_id` moves it nowhere:
    /// [`perform_failover`](Self::perform_failover) does.
    ///
    /// # Errors
    /// As [`register_region`](Self::register_region); a copy that failed or is blocked.
    ///
    /// # Examples
    /// ```
    #[doc = include_str!("example.txt")]
    /// use debvisor_region::wire::region::ReplicateVm;
    ///
    /// let vm = ReplicateVm::new("web-2".parse()?, "us-east-1".parse()?, ["us-west-1".parse()?]);
    /// let resource = manager.replicate_vm(&vm, &Watch::default()).await?;
    /// assert_eq!(resource.primary_region.unwrap().as_str(), "us-east-1");
    /// // Its files are not there yet: nothing is copied, and nothing is wrong.
    /// assert_eq!(resource.replicas[&"us-west-1".parse()?].health, ReplicaHealth::Waiting);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replicate_vm(&mut self, vm: &ReplicateVm, watch: &Watch) -> Result<ReplicationStatus, FleetError> {
        let ReplicateVm { vm_id, primary_region_id, replica_regions } = vm.clone();
        let key = ResourceKey::new(ResourceType::Vm, vm_id.clone());
        let edit = Edit::Resource(ResourceEdit {
            key: key.clone(),
            primary: Some(primary_region_id),
            replicas: Some(replica_regions.into_iter().collect()),
        });
        self.declare(edit, key.into(), watch).await?;
        self.get_replication_status(&vm_id).await
    }

    /// Edits the files, and carries out just that.
    async fn declare(&mut self, edit: Edit, concerns: Address, watch: &Watch) -> Result<(), FleetError> {
        let Some(ground) = &self.ground else {
            return Err(FleetError::Unfit {
                reason: "this fleet has no files of its own to be edited".to_owned(),
                help: Some("open one of a directory".to_owned()),
            });
        };
        let declaration = Declaration { edits: vec![edit], concerns: vec![concerns], gone: false };
        let mut declared = Declared::of(ground, &declaration)?;
        let edited = Self { desired: Desired::from(&declared.loaded), ..self.clone() };
        let result = edited.apply_declared(&mut declared, &mut Approved, watch).await;
        if declared.written {
            self.desired = edited.desired;
            self.ground = Some(Ground { loaded: Arc::new(declared.loaded), begun: false });
        }
        let report = result?;
        match report.class {
            ExitClass::Done => Ok(()),
            ExitClass::Partial | ExitClass::Failed | ExitClass::Interrupted => Err(undone(&report)),
        }
    }
}

/// The id of a region that is to be registered.
pub(super) fn id_of(region: &RegisterRegion) -> Result<RegionId, FleetError> {
    region.id().map_err(|error| FleetError::Argument {
        field: "location",
        reason: format!("it is no id, so give a region_id too: {error}"),
    })
}

/// The attributes of a pair that is to be set up; it is not paused, and no bandwidth is kept from it.
pub(super) fn spec_of(config: &ReplicationConfig) -> Result<PairSpec, FleetError> {
    let wrong = |field, reason: &str| Err(FleetError::Argument { field, reason: reason.to_owned() });
    if config.resource_types.is_empty() {
        return wrong("resource_types", "a pair carries at least one type");
    }
    if config.sync_interval_seconds == 0 {
        return wrong("sync_interval_seconds", "it is at least one second");
    }
    if config.batch_size == 0 {
        return wrong("batch_size", "a request takes at least one resource");
    }
    if config.source_region_id == config.target_region_id {
        return wrong("target_region_id", "a pair has two ends");
    }
    Ok(PairSpec {
        resource_types: config.resource_types.clone(),
        sync_interval: Duration::from_secs(config.sync_interval_seconds),
        batch_size: config.batch_size,
        priority: config.priority,
        enabled: config.enabled,
        bidirectional: config.bidirectional,
        compression: config.compression,
        bandwidth_limit: None,
        paused: false,
    })
}

/// Why what was declared was not carried out.
fn undone(report: &RunReport) -> FleetError {
    let failed = report.outcomes.iter().filter(|ended| !matches!(ended.outcome, Outcome::Done | Outcome::Unchanged));
    let failed = failed.filter_map(|ended| Some(format!("{}: {}", ended.address, ended.message.as_ref()?)));
    let silent = report.plan.unobserved.iter().filter(|region| !region.deferred.is_empty());
    let silent = silent.map(|region| format!("region {}: {}", region.region_id, region.reason));
    let blocked = report.plan.blocked.iter().map(|blocked| format!("{}: {}", blocked.address, blocked.detail));
    let why: BTreeSet<String> = failed.chain(silent).chain(blocked).collect();
    FleetError::Unfit {
        reason: format!(
            "the files declare it, and it was not carried out: {}",
            why.into_iter().collect::<Vec<_>>().join("; ")
        ),
        help: Some("`apply` goes on once that is mended".to_owned()),
    }
}
