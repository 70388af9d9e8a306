//! Giving points back: which there are, and reading any of them.
//!
//! A point's bytes are found by looking through layers: its own undo, then that of each later point, then the
//! replica's files. A layer's overlay has some blocks; a whole file in a layer ends the search. While a point is
//! being put in, the undo of the one before it counts too, so the newest complete point can be read at any time,
//! before an interrupted sync is finished as well.
//!
//! Nothing read here is believed: [`export`](super::export) hashes every byte against the point's roots.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::block::{GROUP_BYTES, blocks_in_group};
use super::catalog::{Catalog, FileId, KeptEntry, KeptManifest, Phase, PointRecord, ReplicaRecord};
use super::fault::cannot;
use super::layer::{Layer, Overlay, read_if_data};
use super::manifest::Node;
use super::place::ReplicaPlace;
use super::port::{BLOCK_BYTES, TransferError};
use crate::host::disk::{Disk, DiskFile, Open};
use crate::model::point::Point;

/// Which of a replica's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointChoice<'a> {
    /// The newest complete one; the newest where none is complete.
    Newest,
    /// By its number.
    Sequence(u64),
    /// By its name (set-aside points have one).
    Name(&'a str),
}

/// All points as listed: newest first, set-aside ones last.
pub fn list(record: &ReplicaRecord) -> Vec<Point> {
    record.chain().rev().chain(record.set_aside()).map(|record| record.point.clone()).collect()
}

/// The number of a point; none where there is no such point.
pub fn find(record: &ReplicaRecord, choice: PointChoice<'_>) -> Option<u64> {
    let listed = || record.chain().chain(record.set_aside()).map(|record| &record.point);
    match choice {
        PointChoice::Newest => record.newest_complete().or_else(|| record.newest()).map(|record| record.point.sequence),
        PointChoice::Sequence(sequence) => listed().map(|point| point.sequence).find(|there| *there == sequence),
        PointChoice::Name(name) => {
            listed().find(|point| point.name.as_deref() == Some(name)).map(|point| point.sequence)
        }
    }
}

/// Reads one point.
#[derive(Debug)]
pub(super) struct PointReader<'a> {
    disk: &'a dyn Disk,
    /// The point's record.
    pub(super) record: PointRecord,
    /// What it holds.
    pub(super) manifest: KeptManifest,
    layers: Vec<Layer>,
    /// Where the newest point's files lie.
    live: BTreeMap<FileId, PathBuf>,
}

/// An open file and where it lies.
type Body = (Box<dyn DiskFile>, PathBuf);

/// Reads one file of a point.
#[derive(Debug)]
pub(super) struct FileReader {
    overlays: Vec<Overlay>,
    /// What lies below the overlays; none: it is gone, and only what the overlays have is left.
    body: Option<Body>,
    size: u64,
}

/// The numbers of the points whose undo says what the point `from` was, in the order in which they are looked
/// through. With `all`, that of the newest too: it counts while the one after it is being put in.
pub(super) fn undo_chain(record: &ReplicaRecord, from: u64, all: bool) -> Vec<u64> {
    let newest = record.newest().map_or(u64::MAX, |record| record.point.sequence);
    record
        .points
        .values()
        .filter(|point| !point.is_set_aside())
        .map(|point| point.point.sequence)
        .filter(|sequence| *sequence >= from && (*sequence < newest || all && *sequence == newest))
        .collect()
}

impl<'a> PointReader<'a> {
    /// Opens the point `sequence` for reading.
    ///
    /// # Errors
    /// Where its records cannot be read.
    pub(super) fn open(
        disk: &'a dyn Disk,
        catalog: &dyn Catalog,
        place: &ReplicaPlace,
        record: &ReplicaRecord,
        sequence: u64,
    ) -> Result<Self, TransferError> {
        let manifest = catalog.manifest(&place.resource, sequence)?;
        let no_point = || TransferError::Region(format!("{} has no point {sequence}", place.resource));
        let point = record.points.get(&sequence).ok_or_else(no_point)?.clone();
        let mut layers = Vec::new();
        let mut live = BTreeMap::new();
        let from = if point.is_set_aside() {
            layers.push(Layer(place.set_aside(sequence)));
            // Until it is moved into the layer, what was in the way is where it was found.
            live.extend(paths(place, &manifest));
            point.base
        } else {
            Some(sequence)
        };
        let patching = record.receiving.as_ref().is_some_and(|receiving| receiving.phase >= Phase::TakingOut);
        if let Some(from) = from {
            layers.extend(undo_chain(record, from, patching).into_iter().map(|at| Layer(place.undo(at))));
        }
        if let Some(newest) = record.newest() {
            let newest = catalog.manifest(&place.resource, newest.point.sequence)?;
            live.extend(paths(place, &newest));
        }
        Ok(Self { disk, record: point, manifest, layers, live })
    }

    /// Opens one of its files.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn file(&self, kept: &KeptEntry) -> Result<FileReader, TransferError> {
        let size = match &kept.entry.node {
            Node::File { size, root: _ } => size.0,
            Node::Directory | Node::Link { .. } => 0,
        };
        let mut reader = FileReader { overlays: Vec::new(), body: None, size };
        let Some(id) = kept.file.as_ref().map(|file| file.id) else { return Ok(reader) };
        for layer in &self.layers {
            reader.overlays.extend(layer.overlay(self.disk, id)?);
            if let Some(whole) = self.open_if_there(layer.whole(id))? {
                reader.body = Some(whole);
                return Ok(reader);
            }
        }
        if let Some(path) = self.live.get(&id) {
            reader.body = self.open_if_there(path.clone())?;
        }
        Ok(reader)
    }

    fn open_if_there(&self, path: PathBuf) -> Result<Option<Body>, TransferError> {
        match self.disk.open(&path, Open::Read) {
            Ok(file) => Ok(Some((file, path))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(cannot("open", &path)(error)),
        }
    }
}

fn paths(place: &ReplicaPlace, manifest: &KeptManifest) -> BTreeMap<FileId, PathBuf> {
    manifest
        .entries
        .iter()
        .filter_map(|kept| kept.file.as_ref().map(|file| (file.id, place.files.join(&kept.entry.path))))
        .collect()
}

impl FileReader {
    /// Whether there is something below the overlays.
    pub(super) const fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Reads a group; false where it is a hole in everything that has a say.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn read(&self, group: u64, bytes: &mut [u8]) -> Result<bool, TransferError> {
        let mut filled = vec![false; blocks_in_group(self.size, group)];
        for overlay in &self.overlays {
            overlay.fill(group, self.size, bytes, &mut filled)?;
        }
        let Some((body, path)) = &self.body else {
            let rest = filled.iter().enumerate().filter(|(_, done)| !**done);
            rest.for_each(|(at, _)| part(bytes, at).fill(0));
            return Ok(filled.contains(&true));
        };
        if filled.iter().all(|done| *done) {
            return Ok(true);
        }
        if !filled.contains(&true) {
            return read_if_data(&**body, path, group, bytes);
        }
        for (at, _) in filled.iter().enumerate().filter(|(_, done)| !**done) {
            let offset = group * GROUP_BYTES + at as u64 * BLOCK_BYTES;
            let part = part(bytes, at);
            let read = body.read_at(part, offset).map_err(cannot("read", path))?;
            part[read..].fill(0);
        }
        Ok(true)
    }
}

fn part(bytes: &mut [u8], at: usize) -> &mut [u8] {
    let start = at * BLOCK_BYTES as usize;
    let end = (start + BLOCK_BYTES as usize).min(bytes.len());
    &mut bytes[start..end]
}
