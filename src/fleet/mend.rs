//! What a person does to one resource, or to the state file, by hand: discard, restore, rebuild. The same road as
//! everything else: lock, look, journal, act, history.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::error::{FleetError, Gate};
use super::manager::{MultiRegionManager, export_until, there_are};
use super::options::Watch;
use super::report::{Rebuilt, Restored};
use super::road::{Road, Sight};
use super::single::single;
use crate::execute::records;
use crate::host::lock::Holder;
use crate::host::remove_tree;
use crate::live::port::{PointSelector, PortError, Replaced};
use crate::model::observed::Observation;
use crate::model::region::RegionSnapshot;
use crate::model::topology::Endpoint;
use crate::model::{Address, ByteCount, RegionId, ResourceId, ResourceKey, RunId};
use crate::plan::document::{Action, Change, Kind};
use crate::region::layout::Layout;
use crate::replica::port::TransferError;
use crate::state::{Rebuild, RunEnd, RunOutcome, StateFile};

/// An action by hand, as journal and history know it.
fn by_hand(verb: &str, action: Action, key: &ResourceKey, region: &RegionId, reason: String) -> Change {
    let id = format!("{verb}:{key}:{region}");
    single(id, Address::Resource(key.clone()), Kind::Sync, action, region, reason)
}

impl Road<'_> {
    /// Carries one action out and ends the run.
    async fn act<T>(
        mut self,
        change: &Change,
        watch: &Watch,
        effect: impl Future<Output = Result<(T, ByteCount), PortError>>,
    ) -> Result<T, FleetError> {
        let ended = match self.journalled(change, watch, effect).await {
            Ok(ended) => ended,
            Err(error) => return Err(self.turn_back(error)),
        };
        match (ended, change.regions.first()) {
            (Ok(done), _) => {
                self.state.finish_run(self.run, &RunEnd { outcome: RunOutcome::Done, exit_code: 0, message: None })?;
                Ok(done)
            }
            (Err(_), _) if watch.cancel.is_cancelled() => Err(self.turn_back(FleetError::Interrupted)),
            (Err(source), Some(region)) => {
                let (region, address) = (region.clone(), change.address.clone());
                Err(self.turn_back(FleetError::Region { region, address, source: Box::new(source) }))
            }
            (Err(source), None) => {
                let error = FleetError::Unfit { reason: source.to_string(), help: None };
                Err(self.turn_back(error))
            }
        }
    }
}

impl MultiRegionManager {
    /// Discards a copy that was set aside at a region. It cannot be had back.
    ///
    /// # Errors
    /// Ids that are not declared; an unknown name.
    pub async fn discard(
        &self,
        resource: &ResourceId,
        region: &RegionId,
        name: &str,
        watch: &Watch,
    ) -> Result<RunId, FleetError> {
        let (key, _) = self.declared_resource(resource)?;
        self.declared_region(region)?;
        let mut aside = self.points_at(&key, region).await?;
        aside.retain(|point| point.state.is_set_aside());
        if !aside.iter().any(|point| point.name.as_deref() == Some(name)) {
            let none = aside.is_empty();
            let listed = [(region.clone(), aside)];
            return Err(FleetError::Unfit {
                reason: format!("{region} has nothing of {resource} set aside as `{name}`"),
                help: Some(if none { "there is nothing set aside".to_owned() } else { there_are(&listed, &[]) }),
            });
        }
        let mut road = self.set_out(self.settings.lock_timeout, watch).await?;
        let prepared = async {
            let sight = road.look().await?;
            let authority = road.authority(&sight)?;
            Ok((sight, authority))
        };
        let (sight, authority) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err(road.turn_back(error)),
        };
        let Some(port) = sight.ports.get(region) else { return Err(road.turn_back(self.unreachable(region))) };
        let run = road.run;
        let change = by_hand("discard", Action::Delete, &key, region, format!("discarded {name}"));
        let effect = async { port.discard(&authority, &key, name).await.map(|()| ((), ByteCount(0))) };
        road.act(&change, watch, effect).await?;
        Ok(run)
    }

    fn unreachable(&self, region: &RegionId) -> FleetError {
        FleetError::Unfit { reason: format!("region {region} has no endpoint"), help: None }
    }

    /// Puts a point's files in place of the holder's, which are set aside under a name.
    ///
    /// Guarantees that the files that were there are kept, and that the resource's directory shows one or the other.
    /// Assumes that nothing runs from the files, which the holder's region checks with its runner. A crash leaves the
    /// point's export below the holder's `.debvisor`, which the next restore of the resource removes, or what the
    /// holder's next writer finishes; a served holder fetches the point by itself and goes to its end without this
    /// program.
    ///
    /// # Errors
    /// Ids that are not declared; unknown points; a resource that runs; a served holder and a point that is kept in a
    /// directory of this machine.
    pub async fn restore_vm(
        &self,
        resource: &ResourceId,
        from_region: Option<&RegionId>,
        point: &PointSelector,
        watch: &Watch,
    ) -> Result<Restored, FleetError> {
        let (key, spec) = self.declared_resource(resource)?;
        let from = self.region_with(resource, from_region, point).await?;
        let mut road = self.set_out(self.settings.lock_timeout, watch).await?;
        let prepared = async {
            let sight = road.look().await?;
            let holder = self.holder_in_sight(&sight, &key, &spec.primary)?;
            let staged = self.staging(&holder, &key, &from)?;
            staged.as_deref().map_or(Ok(()), |staged| self.clear(staged))?;
            let authority = road.authority(&sight)?;
            Ok((sight, holder, staged, authority))
        };
        let (sight, holder, staged, authority) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err(road.turn_back(error)),
        };
        let (Some(source), Some(target)) = (sight.ports.get(&from), sight.ports.get(&holder)) else {
            return Err(road.turn_back(self.unreachable(&from)));
        };
        let run = road.run;
        let change = by_hand("restore", Action::Repair, &key, &holder, format!("restored from a point of {from}"));
        let effect = async {
            let (point, set_aside) = match &staged {
                Some(staged) => {
                    let point = export_until(&**source, &key, point, staged, &watch.cancel).await?;
                    if watch.cancel.is_cancelled() {
                        return Err(PortError::Failed(TransferError::Interrupted.to_string()));
                    }
                    (point, target.replace_files(&authority, &key, staged).await?)
                }
                None => {
                    let restored = target.restore(&authority, &key, (&from, point), &watch.cancel).await;
                    let nothing = || PortError::Failed(format!("{holder} fetches nothing by itself"));
                    let Replaced { point, set_aside } = restored.ok_or_else(nothing)??;
                    (point, set_aside)
                }
            };
            let bytes = point.bytes;
            Ok(((point, set_aside), bytes))
        };
        let acted = road.act(&change, watch, effect).await;
        // What remains of it is in nobody's way, and the next restore removes it.
        let cleared = staged.as_deref().map_or(Ok(()), |staged| self.clear(staged));
        let (point, set_aside) = acted?;
        cleared?;
        Ok(Restored { run, resource: key, holder, from, point, set_aside })
    }

    /// Who holds the resource; refuses where that cannot be known.
    fn holder_in_sight(&self, sight: &Sight, key: &ResourceKey, primary: &RegionId) -> Result<RegionId, FleetError> {
        if let Some(holder) = records::holder(&sight.observed, key) {
            return Ok(holder.region);
        }
        Err(FleetError::Unfit {
            reason: format!("{key} is not recorded at any region that answers, so nobody knows who holds it"),
            help: Some(format!("`apply` it first; it is to be born at {primary}")),
        })
    }

    /// Where a point is exported to on its way: on the holder's file system, below its own directory; none where the
    /// holder is served and fetches it by itself.
    fn staging(&self, holder: &RegionId, key: &ResourceKey, from: &RegionId) -> Result<Option<PathBuf>, FleetError> {
        let endpoints = &self.desired.topology.endpoints;
        match (endpoints.get(holder), endpoints.get(from)) {
            (Some(Endpoint::Directory(directory)), _) => Ok(Some(Layout::new(directory).restoring(key))),
            (Some(Endpoint::Http(_)), Some(Endpoint::Directory(_))) => Err(FleetError::Unfit {
                reason: format!(
                    "{key} is held by {holder}, which is served and cannot fetch from {from}, a directory of this machine"
                ),
                help: Some(format!("serve {from}, or `replication export` the point and bring its files there")),
            }),
            (Some(Endpoint::Http(_)), Some(Endpoint::Http(_)) | None) => Ok(None),
            (None, _) => Err(self.unreachable(holder)),
        }
    }

    fn clear(&self, path: &std::path::Path) -> Result<(), FleetError> {
        remove_tree(&*self.settings.disk, path).map_err(|source| FleetError::Io {
            action: "remove",
            path: path.to_owned(),
            source,
        })
    }

    /// Makes a lost state file anew from what the regions remember: lineage, objects, stores. History and the
    /// controller's place are not among it; `take_over` takes that place anew.
    ///
    /// # Errors
    /// Where there is one that manages something, no region answers, or the regions know several lineages.
    pub async fn state_rebuild(&self, take_over: bool, watch: &Watch) -> Result<Rebuilt, FleetError> {
        let host = &self.settings.host;
        let holder = Holder {
            who: host.who(),
            pid: host.pid,
            command: self.settings.command.clone(),
            since: self.world.clock.now(),
        };
        let file = StateFile::new(&self.settings.state);
        let locked = tokio::select! {
            locked = file.lock_within(&holder, self.settings.lock_timeout) => locked?,
            () = watch.cancel.cancelled() => return Err(FleetError::Interrupted),
        };
        let sight = self.look().await?;
        let mut answered: BTreeMap<RegionId, RegionSnapshot> = BTreeMap::new();
        let mut missing = Vec::new();
        for (region, observation) in &sight.observed.regions {
            match observation {
                Observation::Answered { snapshot, .. } if snapshot.identity.is_some() => {
                    answered.insert(region.clone(), snapshot.as_ref().clone());
                }
                Observation::Answered { .. } => missing.push((region.clone(), "nothing was founded there".to_owned())),
                Observation::Silent(silence) => missing.push((region.clone(), silence.reason.clone())),
            }
        }
        if answered.is_empty() {
            return Err(FleetError::Refused(vec![Gate {
                code: "nothing_to_rebuild_from".to_owned(),
                detail: "no region that answers remembers anything".to_owned(),
                help: Some(
                    missing.iter().map(|(region, why)| format!("{region}: {why}")).collect::<Vec<_>>().join("; "),
                ),
                address: None,
            }]));
        }
        if take_over {
            sight.gate_take_over(self, &BTreeMap::new(), None)?;
        }
        let learnt = Rebuild::learn(&answered, None)?;
        let state = locked.rebuild(&self.world, host, &learnt)?;
        let mut road = self.begin(state)?;
        let taken = async {
            let sight = road.look().await?;
            if take_over {
                sight.gate_take_over(self, &BTreeMap::new(), None)?;
                road.take_over(&sight, watch).await?;
            }
            let controllers = sight.foreign().into_iter().map(|(_, controller)| controller.place.clone());
            Ok(if take_over { BTreeSet::new() } else { controllers.collect() })
        };
        let controllers = match taken.await {
            Ok(controllers) => controllers,
            Err(error) => return Err(road.turn_back(error)),
        };
        let message = (!missing.is_empty()).then(|| {
            let silent: Vec<&str> = missing.iter().map(|(region, _)| region.as_str()).collect();
            format!("without {}", silent.join(", "))
        });
        let end = RunEnd { outcome: RunOutcome::Done, exit_code: 0, message };
        road.state.finish_run(road.run, &end)?;
        Ok(Rebuilt {
            run: road.run,
            lineage: learnt.lineage,
            objects: learnt.objects.len(),
            regions: answered.into_keys().collect(),
            missing,
            controllers,
        })
    }
}
