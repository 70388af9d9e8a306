//! A point of a served region, written out on this machine.
//!
//! Guarantee: as that of [`replica::export`](crate::replica::export): every byte was hashed here. What the region
//! says of holes and blocks is believed only as far as it hashes to the point's roots. Small files come many at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::answer::{self, CallError, data};
use super::client::{Ask, Body, Client};
use super::operation::json;
use super::region::{HttpRegion, of};
use crate::host::HostDisk;
use crate::live::port::{PointSelector, PortError, RegionPort};
use crate::model::ResourceKey;
use crate::model::point::{Point, PointState};
use crate::replica::StopCheck;
use crate::replica::export::{Contents, Groups, write_out};
use crate::replica::giving::{PointContents, SMALL_FILES, SMALL_FILES_BYTES};
use crate::replica::manifest::{Manifest, Node};
use crate::replica::port::{BLOCK_BYTES, BlockAddress, GROUP_BLOCKS, TransferError};
use crate::wire::blocks;
use crate::wire::call::{PointBlocks, PointFiles};

/// How many groups one question looks through for the next that is no hole: 16 GiB.
const LOOKED_THROUGH: u64 = 4096;
/// The most that blocks of so many files, of one group's bytes together, can be, packed. Each file's last block may be
/// a short one.
const fn most(files: usize) -> usize {
    blocks::packed_most(SMALL_FILES_BYTES as usize, GROUP_BLOCKS as usize + files)
}

impl HttpRegion {
    /// [`export`](RegionPort::export), until `cancel` stops it.
    ///
    /// # Errors
    /// As there; [`PortError::Failed`] where it was stopped, and then nothing is left of it.
    pub async fn export_until(
        &self,
        resource: &ResourceKey,
        point: &PointSelector,
        into: &Path,
        cancel: &CancellationToken,
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
        let answer = tokio::select! {
            answer = self.client.ask(&ask) => answer,
            () = cancel.cancelled() => Err(CallError::Interrupted),
        };
        let answer = answer.map_err(CallError::into_port)?;
        let contents: PointContents = data(&self.client, answer).map_err(CallError::into_port)?;
        let remote = Remote {
            client: Arc::clone(&self.client),
            runtime: Handle::current(),
            path,
            cancel: cancel.clone(),
            small: small_files(&contents.manifest),
            given: Mutex::default(),
        };
        let stop = StopCheck::never().until(cancel);
        let (into, region): (PathBuf, _) = (into.to_owned(), region.clone());
        let owners = rustix::process::geteuid().is_root();
        let written = tokio::task::spawn_blocking(move || {
            write_out(&HostDisk, &contents, &remote, (&into, owners), &stop).map(|()| contents.point)
        });
        let written = written.await.map_err(|error| PortError::Failed(error.to_string()))?;
        written.map_err(|error| match error {
            TransferError::Interrupted => CallError::Interrupted.into_port(),
            error => PortError::Refused { reason: format!("{region}: {error}"), help: None },
        })
    }
}

/// The files of which many are asked for at once, with their sizes.
fn small_files(manifest: &Manifest) -> Vec<(u32, u64)> {
    let files = (0..).zip(&manifest.entries).filter_map(|(at, entry)| match &entry.node {
        Node::File { size, root: _ } if size.0 <= SMALL_FILES_BYTES => Some((at, size.0)),
        Node::File { .. } | Node::Directory | Node::Link { .. } => None,
    });
    files.collect()
}

/// A point elsewhere.
struct Remote {
    client: Arc<Client>,
    runtime: Handle,
    /// Of the point, below the API.
    path: String,
    cancel: CancellationToken,
    small: Vec<(u32, u64)>,
    /// Blocks of the small files that came with the one that was asked for last.
    given: Mutex<BTreeMap<u32, Blocks>>,
}

/// Blocks of one file, by their number.
type Blocks = Vec<(u64, Vec<u8>)>;

/// One of its files.
struct RemoteFile<'a> {
    remote: &'a Remote,
    at: u32,
    /// Groups known to be holes: from, to.
    holes: Mutex<BTreeMap<u64, u64>>,
}

impl Contents for Remote {
    fn file(&self, at: u32) -> Result<Box<dyn Groups + '_>, TransferError> {
        if let Ok(place) = self.small.binary_search_by_key(&at, |(at, _)| *at) {
            return Ok(Box::new(SmallFile(self.small_file(at, &self.small[place..])?)));
        }
        Ok(Box::new(RemoteFile { remote: self, at, holes: Mutex::default() }))
    }
}

impl Remote {
    /// Asks for blocks of so many files.
    fn ask(&self, call: &str, body: Body, files: usize) -> Result<Vec<(BlockAddress, Vec<u8>)>, TransferError> {
        let Self { client, runtime, path, cancel, small: _, given: _ } = self;
        let ask = client.short(Method::POST, format!("{path}/{call}"), body, "blocks");
        let ask = Ask { deadline: client.deadlines.bulk, most: most(files), blocks: true, ..ask };
        let answer = runtime.block_on(async {
            tokio::select! {
                answer = client.ask(&ask) => answer.and_then(|answer| answer::blocks(client, answer)),
                () = cancel.cancelled() => Err(CallError::Interrupted),
            }
        });
        let packed = answer.map_err(|error| error.into_transfer(&client.region))?;
        let unpacked = packed.unpack().map_err(|error| TransferError::Corrupt(error.to_string()))?;
        Ok(unpacked.into_iter().map(|(address, bytes)| (address, bytes.into())).collect())
    }

    /// The blocks of the small file `at`, the first of `following`; asks for as many of those as may come at once.
    fn small_file(&self, at: u32, following: &[(u32, u64)]) -> Result<Blocks, TransferError> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blocks) = given.remove(&at) {
            return Ok(blocks);
        }
        let mut room = SMALL_FILES_BYTES;
        let fits = |(_, size): &&(u32, u64)| {
            let rest = room.checked_sub(*size);
            room = rest.unwrap_or(0);
            rest.is_some()
        };
        let files: Vec<u32> = following.iter().take(SMALL_FILES).take_while(fits).map(|(at, _)| *at).collect();
        *given = files.iter().map(|file| (*file, Vec::new())).collect();
        let count = files.len();
        let asked = json(&PointFiles { files, compress: true });
        for (BlockAddress { file, block }, bytes) in self.ask("files", asked, count)? {
            let blocks = given.get_mut(&file);
            blocks
                .ok_or_else(|| TransferError::Corrupt("blocks of another file came".to_owned()))?
                .push((block, bytes));
        }
        Ok(given.remove(&at).unwrap_or_default())
    }
}

impl RemoteFile<'_> {
    fn ask(&self, first: u64) -> Result<Blocks, TransferError> {
        let body = PointBlocks { file: self.at, first, count: LOOKED_THROUGH, compress: true };
        let unpacked = self.remote.ask("blocks", json(&body), 1)?;
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
        put(&blocks, group, bytes)?;
        Ok(true)
    }
}

/// A file that came whole.
struct SmallFile(Blocks);

impl Groups for SmallFile {
    fn read(&self, group: u64, bytes: &mut [u8]) -> Result<bool, TransferError> {
        put(&self.0, group, bytes)?;
        Ok(!self.0.is_empty())
    }
}

/// Puts blocks of a group in their places among zeros.
fn put(blocks: &[(u64, Vec<u8>)], group: u64, bytes: &mut [u8]) -> Result<(), TransferError> {
    bytes.fill(0);
    for (block, given) in blocks {
        let at = block.checked_sub(group * GROUP_BLOCKS).filter(|at| *at < GROUP_BLOCKS);
        let start = at.map(|at| (at * BLOCK_BYTES) as usize);
        let place = start.and_then(|start| bytes.get_mut(start..start + given.len()));
        let place = place.ok_or_else(|| TransferError::Corrupt("blocks of another group came".to_owned()))?;
        place.copy_from_slice(given);
    }
    Ok(())
}
