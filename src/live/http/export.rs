//! A point of a served region, written out on this machine.
//!
//! Guarantee: as that of [`replica::export`](crate::replica::export): every byte was hashed here. What the region
//! says of holes and blocks is believed only as far as it hashes to the point's roots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use tokio::runtime::Handle;

use super::answer::{CallError, bytes, data};
use super::client::{Ask, Body, Client};
use super::operation::json;
use super::region::{HttpRegion, of};
use crate::host::HostDisk;
use crate::live::port::{PointSelector, PortError, RegionPort};
use crate::model::ResourceKey;
use crate::model::point::{Point, PointState};
use crate::replica::export::{Contents, Groups, write_out};
use crate::replica::giving::PointContents;
use crate::replica::port::{BLOCK_BYTES, GROUP_BLOCKS, TransferError};
use crate::wire::blocks;
use crate::wire::call::PointBlocks;

/// How many groups one question looks through for the next that is no hole: 16 GiB.
const LOOKED_THROUGH: u64 = 4096;
/// The most that a group of blocks can be, packed.
const GROUP_MOST: usize = GROUP_BLOCKS as usize * (BLOCK_BYTES as usize + 64);

impl HttpRegion {
    pub(super) async fn write_point(
        &self,
        resource: &ResourceKey,
        point: &PointSelector,
        into: &Path,
    ) -> Result<Point, PortError> {
        let region = &self.client.region;
        let listed = self.points(resource).await?;
        let selected = match point {
            PointSelector::Newest => {
                let own = || listed.iter().filter(|listed| listed.name.is_none());
                own().find(|listed| listed.state == PointState::Complete).or_else(|| own().next())
            }
            PointSelector::Sequence(sequence) => listed.iter().find(|listed| listed.sequence == *sequence),
            PointSelector::Name(name) => listed.iter().find(|listed| listed.name.as_ref() == Some(name)),
        };
        let Some(selected) = selected else {
            let which = match point {
                PointSelector::Newest => "no point".to_owned(),
                PointSelector::Sequence(sequence) => format!("no point {sequence}"),
                PointSelector::Name(name) => format!("no point named `{name}`"),
            };
            return Err(PortError::NotFound(format!("{region} keeps {which} of {resource}")));
        };
        if selected.sequence == 0 {
            return Err(PortError::Refused {
                reason: "files that were set aside as they lay are no point: nobody hashed them".to_owned(),
                help: Some(format!("copy them on {region}'s own machine")),
            });
        }
        let path = format!("{}/points/{}", of(resource), selected.sequence);
        let ask = self.client.short(Method::GET, path.clone(), Body::Nothing, "a point's contents");
        let ask = Ask { deadline: self.client.deadlines.bulk, ..ask };
        let answer = self.client.ask(&ask).await.map_err(CallError::into_port)?;
        let PointContents { point, manifest } = data(&self.client, answer).map_err(CallError::into_port)?;
        let remote = Remote { client: Arc::clone(&self.client), runtime: Handle::current(), path };
        let (into, region): (PathBuf, _) = (into.to_owned(), region.clone());
        let owners = rustix::process::geteuid().is_root();
        let written = tokio::task::spawn_blocking(move || {
            write_out(&HostDisk, &point, &manifest, &remote, &into, owners).map(|()| point)
        });
        let written = written.await.map_err(|error| PortError::Failed(error.to_string()))?;
        written.map_err(|error| PortError::Refused { reason: format!("{region}: {error}"), help: None })
    }
}

/// A point elsewhere.
struct Remote {
    client: Arc<Client>,
    runtime: Handle,
    /// Of the point, below the API.
    path: String,
}

/// One of its files.
struct RemoteFile<'a> {
    remote: &'a Remote,
    at: u32,
    /// Groups known to be holes: from, to.
    holes: Mutex<BTreeMap<u64, u64>>,
}

impl Contents for Remote {
    fn file(&self, at: u32) -> Result<Box<dyn Groups + '_>, TransferError> {
        Ok(Box::new(RemoteFile { remote: self, at, holes: Mutex::default() }))
    }
}

impl RemoteFile<'_> {
    fn ask(&self, first: u64) -> Result<Vec<(u64, Vec<u8>)>, TransferError> {
        let Remote { client, runtime, path } = self.remote;
        let body = PointBlocks { file: self.at, first, count: LOOKED_THROUGH, compress: true };
        let ask = client.short(Method::POST, format!("{path}/blocks"), json(&body), "blocks");
        let ask = Ask { deadline: client.deadlines.bulk, most: GROUP_MOST, ..ask };
        let answer = runtime.block_on(client.ask(&ask)).and_then(|answer| bytes(client, answer));
        let packed = answer.map_err(|error| error.into_transfer(&client.region))?;
        let unpacked = blocks::unpack(&packed).map_err(|error| TransferError::Corrupt(error.to_string()))?;
        if unpacked.iter().all(|(address, _)| address.file == self.at) {
            return Ok(unpacked.into_iter().map(|(address, bytes)| (address.block, bytes)).collect());
        }
        Err(TransferError::Corrupt("blocks of another file came".to_owned()))
    }

    fn is_hole(&self, group: u64) -> bool {
        let holes = self.holes.lock().unwrap_or_else(PoisonError::into_inner);
        holes.range(..=group).next_back().is_some_and(|(_, end)| group < *end)
    }
}

impl Groups for RemoteFile<'_> {
    fn read(&self, group: u64, bytes: &mut [u8]) -> Result<bool, TransferError> {
        if self.is_hole(group) {
            return Ok(false);
        }
        let blocks = self.ask(group)?;
        let found = blocks.first().map_or(group + LOOKED_THROUGH, |(block, _)| block / GROUP_BLOCKS);
        if found != group {
            self.holes.lock().unwrap_or_else(PoisonError::into_inner).insert(group, found);
            return Ok(false);
        }
        bytes.fill(0);
        for (block, given) in blocks {
            let at = block.checked_sub(group * GROUP_BLOCKS).filter(|at| *at < GROUP_BLOCKS);
            let start = at.map(|at| (at * BLOCK_BYTES) as usize);
            let place = start.and_then(|start| bytes.get_mut(start..start + given.len()));
            let place = place.ok_or_else(|| TransferError::Corrupt("blocks of another group came".to_owned()))?;
            place.copy_from_slice(&given);
        }
        Ok(true)
    }
}
