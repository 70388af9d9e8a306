//! The library by example. Every chapter runs as it stands when the documentation is tested, on regions that are
//! directories; put `https://…` in the place of `file:…` for regions that are served.
//!
//! All of it is [`MultiRegionManager`](super::MultiRegionManager). Ids are checked when they are made (`"us-east-1".parse()?`). What changes
//! something takes a [`Watch`](super::Watch), which hears what happens and stops it; `Watch::default()` does neither. What a person
//! may have to confirm takes a review; [`Approved`](super::Approved) confirms. Times are UTC, lag and durations are
//! [`Duration`](std::time::Duration)s, and a number carries its unit in its name.
//!
//! # Quick start
//!
//! ```
//! use debvisor_region::fleet::{Approved, FailoverOptions, MultiRegionManager, Watch};
//! use debvisor_region::model::ResourceType;
//! use debvisor_region::model::observed::RegionStatus;
//! use debvisor_region::wire::region::{RegisterRegion, ReplicateVm, ReplicationConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let config_dir = directory.path();
//! # for vm in (1..6).map(|i| format!("web-vm-{i}")).chain((1..3).map(|i| format!("db-vm-{i}"))) {
//! #     let files = config_dir.join("us-east-1/resources/vm").join(&vm);
//! #     std::fs::create_dir_all(&files)?;
//! #     std::fs::write(files.join("disk.raw"), format!("the disk of {vm}\n").repeat(500))?;
//! # }
//! // A manager of the topology files in a directory, /etc/debvisor/regions say.
//! let mut manager = MultiRegionManager::of_directory(config_dir)?;
//! let watch = Watch::default();
//!
//! // The primary region first.
//! let primary = RegisterRegion {
//!     is_primary: true,
//!     capacity_vms: 1000,
//!     ..RegisterRegion::new("US East 1", "us-east-1", "file:us-east-1")
//! };
//! let primary = manager.register_region(&primary, &watch).await?;
//! assert!(primary.is_primary);
//!
//! // Then those that stand by.
//! let west = RegisterRegion::new("US West 1", "us-west-1", "file:us-west-1");
//! let west = manager.register_region(&west, &watch).await?;
//! let eu = RegisterRegion { capacity_vms: 500, ..RegisterRegion::new("EU West 1", "eu-west-1", "file:eu-west-1") };
//! let eu = manager.register_region(&eu, &watch).await?;
//! assert_eq!((west.capacity_vms, eu.capacity_vms), (1000, 500));
//!
//! // What is copied between them: every five minutes, and every ten over the longer way.
//! let near = ReplicationConfig {
//!     sync_interval_seconds: 300,
//!     bidirectional: false,
//!     ..ReplicationConfig::new("us-east-1".parse()?, "us-west-1".parse()?, [ResourceType::Vm, ResourceType::Config])
//! };
//! let near = manager.setup_replication(&near, &watch).await?;
//! assert_eq!((near.sync_interval_seconds, near.bidirectional), (300, false));
//! let types = [ResourceType::Vm, ResourceType::Config, ResourceType::State];
//! let far = ReplicationConfig {
//!     sync_interval_seconds: 600,
//!     ..ReplicationConfig::new("us-east-1".parse()?, "eu-west-1".parse()?, types)
//! };
//! manager.setup_replication(&far, &watch).await?;
//!
//! // The machines, each with its first copies.
//! for i in 1..6 {
//!     let vm = format!("web-vm-{i}").parse()?;
//!     let replicas = ["us-west-1".parse()?, "eu-west-1".parse()?];
//!     manager.replicate_vm(&ReplicateVm::new(vm, "us-east-1".parse()?, replicas), &watch).await?;
//! }
//! for i in 1..3 {
//!     let vm = format!("db-vm-{i}").parse()?;
//!     manager.replicate_vm(&ReplicateVm::new(vm, "us-east-1".parse()?, ["us-west-1".parse()?]), &watch).await?;
//! }
//! assert_eq!(manager.resources().len(), 7);
//! # let copy = std::fs::read(config_dir.join("eu-west-1/resources/vm/web-vm-5/disk.raw"))?;
//! # assert_eq!(copy, "the disk of web-vm-5\n".repeat(500).as_bytes());
//!
//! // How it looks.
//! for region in ["us-east-1", "us-west-1"] {
//!     let region = manager.check_region_health(&region.parse()?).await?;
//!     assert_eq!(region.status, RegionStatus::Healthy);
//! }
//!
//! // A failover where the primary is gone. It is not: nothing happens.
//! let primary = manager.get_primary_region().await?.ok_or("no primary region")?;
//! let seen = manager.check_region_health(&primary.region_id).await?;
//! if seen.status == RegionStatus::Unreachable {
//!     let backup = manager.get_region(&"us-west-1".parse()?).await?;
//!     let options = FailoverOptions::new(primary.region_id, backup.region_id).because("Primary region unreachable");
//!     manager.perform_failover(&options, &mut Approved, &watch).await?;
//! }
//! assert!(manager.get_failover_history(None, None)?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Regions
//!
//! ```
#![doc = include_str!("example.txt")]
//! use debvisor_region::wire::region::RegisterRegion;
//!
//! let watch = Watch::default();
//! let region = RegisterRegion {
//!     is_primary: false,
//!     capacity_vms: 2000,
//!     ..RegisterRegion::new("US Central 2", "us-central-2", "file:us-central-2")
//! };
//! let region = manager.register_region(&region, &watch).await?;
//! assert_eq!((region.name.as_str(), region.location.as_str()), ("US Central 2", "us-central-2"));
//! assert_eq!((region.capacity_vms, region.is_primary), (2000, false));
//!
//! // All, and those that are healthy.
//! let all_regions = manager.list_regions(None).await?;
//! let healthy = manager.list_regions(Some(RegionStatus::Healthy)).await?;
//! assert_eq!((all_regions.len(), healthy.len()), (3, 3));
//!
//! // One of them. What is not known is none: its numbers, while it does not answer.
//! let region = manager.get_region(&"us-east-1".parse()?).await?;
//! assert_eq!(region.status, RegionStatus::Healthy);
//! assert!(region.latency_ms.is_some_and(|milliseconds| milliseconds < 1000.0));
//! assert_eq!((region.current_vms, region.capacity_vms), (Some(1), 1000));
//!
//! // Asked now, and by the others, too.
//! let seen = manager.check_region_health(&"us-east-1".parse()?).await?;
//! assert_eq!(seen.status, RegionStatus::Healthy);
//!
//! // All of them.
//! for region in manager.list_regions(None).await? {
//!     let seen = manager.check_region_health(&region.region_id).await?;
//!     println!("{}:", region.name);
//!     println!("  status: {}", seen.status.as_str());
//!     println!("  latency: {:?} ms", seen.latency_ms);
//!     println!("  utilization: {:?} of {}", seen.current_vms, seen.capacity_vms);
//!     println!("  replication lag: {:?} s", seen.replication_lag_seconds);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Replication
//!
//! ```
#![doc = include_str!("example.txt")]
//! use debvisor_region::model::RegionId;
//! use debvisor_region::wire::region::{RegisterRegion, ReplicateVm, ReplicationConfig};
//!
//! # let watch = Watch::default();
//! # for region in ["eu-west-1", "us-central-1", "ap-south-1"] {
//! #     manager.register_region(&RegisterRegion::new(region, region, format!("file:{region}")), &watch).await?;
//! # }
//! # let (east, west): (RegionId, RegionId) = ("us-east-1".parse()?, "us-west-1".parse()?);
//! # let (eu, central): (RegionId, RegionId) = ("eu-west-1".parse()?, "us-central-1".parse()?);
//! # let ap: RegionId = "ap-south-1".parse()?;
//! # for vm in ["web-server-1", "web-2", "web-3", "db-1", "cache-1"] {
//! #     let files = dir.path().join("us-east-1/resources/vm").join(vm);
//! #     std::fs::create_dir_all(&files)?;
//! #     std::fs::write(files.join("disk.raw"), "a disk\n".repeat(500))?;
//! # }
//! // One way, every five minutes.
//! let config = ReplicationConfig {
//!     sync_interval_seconds: 300,
//!     ..ReplicationConfig::new(east.clone(), west.clone(), [ResourceType::Vm, ResourceType::Config])
//! };
//! let config = manager.setup_replication(&config, &watch).await?;
//! assert_eq!((config.batch_size, config.priority, config.enabled), (100, 1, true), "what was not said");
//!
//! // Both ways: it also carries what is born at the target. No resource ever has two writers.
//! let config = ReplicationConfig {
//!     sync_interval_seconds: 60,
//!     bidirectional: true,
//!     ..ReplicationConfig::new(west.clone(), central, [ResourceType::Vm, ResourceType::State])
//! };
//! let config = manager.setup_replication(&config, &watch).await?;
//! assert!(config.bidirectional);
//!
//! // Compressed on a long way.
//! let config = ReplicationConfig {
//!     sync_interval_seconds: 600,
//!     compression: true,
//!     ..ReplicationConfig::new(east.clone(), ap.clone(), [ResourceType::Vm, ResourceType::Storage])
//! };
//! let config = manager.setup_replication(&config, &watch).await?;
//! assert!(config.compression);
//!
//! // One machine at two regions; it needs a pair to each of them.
//! let vm = ReplicateVm::new("web-server-1".parse()?, east.clone(), [west.clone(), eu.clone()]);
//! let refused = manager.replicate_vm(&vm, &watch).await.unwrap_err();
//! assert!(matches!(&refused, FleetError::Topology(problems) if problems.told().contains("eu-west-1")), "{refused}");
//! manager.setup_replication(&ReplicationConfig::new(east.clone(), eu, [ResourceType::Vm]), &watch).await?;
//! let resource = manager.replicate_vm(&vm, &watch).await?;
//! assert_eq!(resource.replicas.len(), 2);
//!
//! // Several.
//! for vm_id in ["web-1", "web-2", "web-3", "db-1", "cache-1"] {
//!     let vm = ReplicateVm::new(vm_id.parse()?, east.clone(), [west.clone()]);
//!     manager.replicate_vm(&vm, &watch).await?;
//! }
//!
//! // Every copy now, whatever its interval.
//! for (key, resource) in manager.resources() {
//!     for target_region in &resource.replicas {
//!         let copied = manager.sync_resource(&key.id, &resource.primary, target_region, false, &watch).await?;
//!         assert_eq!(copied.run.class, ExitClass::Done, "{key} to {target_region}");
//!     }
//! }
//!
//! // How one of them is kept.
//! let status = manager.get_replication_status(&"web-server-1".parse()?).await?;
//! assert_eq!(status.resource_id.as_str(), "web-server-1");
//! assert_eq!(status.primary_region, Some(east.clone()));
//! assert_eq!(status.version, Some(1), "nothing changed since its first copy");
//! assert!(status.last_sync.is_some());
//! for (region, replica) in &status.replicas {
//!     assert_eq!(replica.status, SyncStatus::InSync, "at {region}");
//! }
//! // The same as JSON, for a report.
//! let json = serde_json::to_value(&status)?;
//! assert_eq!(json["replicas"]["us-west-1"]["status"], "in_sync");
//!
//! // Tuning: seldom, in small requests, compressed; or often and plain, where the line is wide.
//! let seldom = ReplicationConfig {
//!     sync_interval_seconds: 1800,
//!     batch_size: 10,
//!     compression: true,
//!     ..ReplicationConfig::new(east.clone(), ap, [ResourceType::Config])
//! };
//! manager.setup_replication(&seldom, &watch).await?;
//! let often = ReplicationConfig {
//!     sync_interval_seconds: 300,
//!     batch_size: 500,
//!     priority: 1,
//!     enabled: true,
//!     compression: false,
//!     ..ReplicationConfig::new(east, west, [ResourceType::Vm])
//! };
//! manager.setup_replication(&often, &watch).await?;
//! # let text = std::fs::read_to_string(dir.path().join("topology.toml"))?;
//! # assert!(text.contains("resource_types = [\"config\"]\nsync_interval = \"30m\"\nbatch_size = 10\n"), "{text}");
//! # assert!(text.contains("batch_size = 500\ncompression = false\n"), "{text}");
//! # Ok(())
//! # }
//! ```
//!
//! # Failover
//!
//! What is refused is an error with every gate that does not hold, before anything was changed; what was begun is an
//! event in the history, whether it succeeded or not.
//!
//! ```
#![doc = include_str!("example.txt")]
//! let watch = Watch::default();
//!
//! // By hand.
//! let options = FailoverOptions::new("us-east-1".parse()?, "us-west-1".parse()?)
//!     .because("Scheduled maintenance on primary");
//! let report = manager.perform_failover(&options, &mut Approved, &watch).await?;
//! match &report.event {
//!     Some(event) if event.success => println!("failover {}: it arrived", event.event_id),
//!     Some(event) => println!("failover {}: {:?}", event.event_id, event.notes),
//!     None => println!("nothing was left to move"),
//! }
//! # let event = report.event.expect("it moved something");
//! # assert!(event.success && event.affected_resources == 1 && event.duration_seconds.0.as_secs() < 60);
//!
//! // Because it does not answer: to the first healthy one. A region that is silent must be proven stopped, by the
//! // policy's fence hook or by a person's word; otherwise this is refused.
//! let primary = manager.get_primary_region().await?.ok_or("no primary region")?;
//! let seen = manager.check_region_health(&primary.region_id).await?;
//! if seen.status == RegionStatus::Unreachable {
//!     let backups = manager.list_regions(Some(RegionStatus::Healthy)).await?;
//!     if let Some(backup) = backups.first() {
//!         let options = FailoverOptions::new(primary.region_id, backup.region_id.clone())
//!             .because("Automatic failover - primary unavailable");
//!         let report = manager.perform_failover(&options, &mut Approved, &watch).await?;
//!         assert!(report.event.is_some_and(|event| event.success));
//!     }
//! }
//!
//! // What was moved, the newest first.
//! for event in manager.get_failover_history(None, Some(10))? {
//!     println!("[{}] {}", event.timestamp, event.event_id);
//!     println!("  {} -> {}", event.from_region_id, event.to_region_id);
//!     println!("  {}", if event.success { "it arrived" } else { "it failed" });
//!     println!("  duration: {:?}", event.duration_seconds.0);
//! }
//! let regional = manager.get_failover_history(Some(&"us-east-1".parse()?), None)?;
//! assert_eq!(regional.len(), 1);
//!
//! // The numbers.
//! let region = manager.get_region_statistics(&"us-east-1".parse()?).await?;
//! assert_eq!((region.failover_events, region.resources_primary, region.resources_replica), (1, Some(0), Some(1)));
//! let all = manager.get_global_statistics().await?;
//! assert_eq!((all.failover_events_total, all.failover_events_failed), (1, 0));
//!
//! // And home again. One that is silent is not passed over: the refusal says what is missing.
//! let home = FailoverOptions::new("us-west-1".parse()?, "us-east-1".parse()?).because("home");
//! std::fs::rename(dir.path().join("us-west-1"), dir.path().join("unplugged"))?;
//! let refused = manager.perform_failover(&home, &mut Approved, &watch).await.unwrap_err();
//! assert!(matches!(&refused, FleetError::Refused(gates) if !gates.is_empty()), "{refused}");
//! std::fs::rename(dir.path().join("unplugged"), dir.path().join("us-west-1"))?;
//! let report = manager.perform_failover(&home, &mut Approved, &watch).await?;
//! assert!(report.event.is_some_and(|event| event.success));
//! # let all = manager.get_global_statistics().await?;
//! # assert_eq!((all.failover_events_total, all.failover_events_failed), (2, 0), "a refusal is no failover");
//! # Ok(())
//! # }
//! ```
//!
//! # Where something is wrong
//!
//! ```
#![doc = include_str!("example.txt")]
//! std::fs::rename(dir.path().join("us-west-1"), dir.path().join("unplugged"))?;
//!
//! // A region that does not answer says why, and what to do.
//! let region = manager.get_region(&"us-west-1".parse()?).await?;
//! assert_ne!(region.status, RegionStatus::Healthy);
//! assert!(region.reason.is_some() && region.latency_ms.is_none(), "{region:?}");
//! assert!(region.last_heartbeat.is_some(), "when it answered last");
//!
//! // What it keeps is not known, and not taken for lost.
//! let status = manager.get_replication_status(&"web-1".parse()?).await?;
//! assert_eq!(status.replicas[&"us-west-1".parse()?].status, SyncStatus::Unknown);
//! println!("{}", serde_json::to_string_pretty(&status)?);
//!
//! // The primary first, then all: who answers?
//! let primary = manager.get_primary_region().await?;
//! for region in primary.into_iter().chain(manager.list_regions(None).await?) {
//!     let seen = manager.check_region_health(&region.region_id).await?;
//!     println!("{}: {}", region.name, seen.status.as_str());
//! }
//!
//! // Everything that is wrong, the worst first, each with what to do about it.
//! let report = manager.status().await?;
//! assert!(!report.troubles.is_empty());
//! # Ok(())
//! # }
//! ```
