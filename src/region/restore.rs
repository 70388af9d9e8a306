//! Putting a point's files in place of the holder's own, where those are in the resource's directory; what is common
//! with [`adopted`](super::adopted) files too.
//!
//! The present files are moved aside under a name, the new ones moved in. Both moves are renames within the region's
//! file system, after the new files were brought there and synced.
//!
//! - **Guarantee**: the resource's directory shows the present files or the new ones, or for the moment between the
//!   two renames nothing; the present ones are kept, at their place or aside.
//! - **Assumption**: nothing runs from the files; the caller asked.
//! - **A crash here** leaves a partial copy, which the next writer removes, or the moment between the renames, which
//!   the next writer ends by moving the new files in. What it cannot end it leaves, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::adopted::{Exchange, PLACES};
use super::layout::Layout;
use super::quiesce::copy_all;
use crate::host::{Disk, FileKind, Open, remove_tree};
use crate::live::port::PortError;
use crate::model::point::{FileRefusal, Point, PointKind, PointState};
use crate::model::region::Epoch;
use crate::model::{ByteCount, Digest, RegionId, ResourceKey, ResourceType, Timestamp};
use crate::replica::StopCheck;
use crate::replica::export;
use crate::replica::place::{Place, ReplicaPlace};
use crate::replica::port::TransferError;
use crate::replica::tree::{self, FoundNode, Tree, walk};

/// New files, being copied.
const PARTIAL: &str = ".partial";
/// New files, complete: from here on they are moved in, by whoever comes next if need be.
pub(super) const READY: &str = ".ready";

pub(super) fn failed<'a>(action: &'a str, path: &'a Path) -> impl Fn(io::Error) -> PortError + 'a {
    move |error| PortError::Failed(format!("cannot {action} {}: {error}", path.display()))
}

/// The name that files are set aside under at `at`: sorts by time, and stands in a path.
fn name(at: Timestamp) -> String {
    let text: String = at.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("replaced-{text}")
}

/// New files beside the holder's own, complete and durable.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) partial: PathBuf,
    pub(super) name: String,
}

/// What there is at a place, all of which can be copied.
pub(super) fn look(disk: &dyn Disk, place: &Place) -> Result<Tree, PortError> {
    let tree = walk(disk, place).map_err(|error| PortError::Failed(error.to_string()))?;
    match &tree.refused {
        Some(FileRefusal { path, reason }) => {
            Err(PortError::Refused { reason: format!("{path} {reason}"), help: None })
        }
        None => Ok(tree),
    }
}

/// The files of `from`, which must be some.
pub(super) fn look_into(disk: &dyn Disk, from: &Path) -> Result<Tree, PortError> {
    let tree = look(disk, &Place::Directory(from.to_owned()))?;
    if tree.is_empty() {
        return Err(PortError::NotFound(format!("there are no files in {}", from.display())));
    }
    Ok(tree)
}

/// Refuses where so many bytes find no room on the file system of `path`.
pub(super) fn expect_room(disk: &dyn Disk, path: &Path, needed: u64) -> Result<(), PortError> {
    export::expect_room(disk, path, ByteCount(needed)).map_err(told)
}

/// What went wrong in writing out, as the region's port tells it.
fn told(error: TransferError) -> PortError {
    match error {
        TransferError::Io { .. } => PortError::Failed(error.to_string()),
        error => PortError::Refused { reason: error.to_string(), help: None },
    }
}

/// The bytes that a copy of `tree` takes.
pub(super) fn allocated(tree: &Tree) -> u64 {
    tree.found.iter().map(|found| found.stat.allocated).sum()
}

/// Brings `tree`, the files of `from`, to where they can be moved in, however long that takes. What lies below the
/// region's own directory is there for this alone and is moved; anything else is copied.
pub(super) fn stage(
    disk: &dyn Disk,
    layout: &Layout,
    resource: &ResourceKey,
    (from, tree): (&Path, &Tree),
    at: Timestamp,
) -> Result<Staged, PortError> {
    let base = layout.replaced(resource);
    let name = name(at);
    let (partial, aside) = (base.join(format!("{name}{PARTIAL}")), base.join(&name));
    if disk.symlink_metadata(&aside).is_ok() {
        return Err(PortError::Busy(format!("{} is there already: try again", aside.display())));
    }
    remove(disk, &partial)?;
    disk.create_dir_all(&base).map_err(failed("make", &base))?;
    let moved = from.starts_with(layout.own()) && disk.rename(from, &partial).is_ok();
    if !moved {
        expect_room(disk, &base, allocated(tree))?;
        copy_all(disk, tree, &partial, &StopCheck::never()).map_err(failed("copy to", &partial))?;
    }
    sync(disk, tree, &partial)?;
    make_durable(disk, layout.root(), &base)?;
    if let Some(above) = from.parent().filter(|_| moved) {
        disk.sync_dir(above).map_err(failed("sync", above))?;
    }
    Ok(Staged { partial, name })
}

/// Removes what was staged and is not wanted.
pub(super) fn unstage(disk: &dyn Disk, staged: &Staged) -> Result<(), PortError> {
    remove(disk, &staged.partial)
}

/// Puts what was staged in the place of `live`; gives the name of what was there.
pub(super) fn replace(
    disk: &dyn Disk,
    layout: &Layout,
    resource: &ResourceKey,
    live: &Path,
    staged: Staged,
) -> Result<Option<String>, PortError> {
    let Staged { partial, name } = staged;
    let base = layout.replaced(resource);
    let (ready, aside) = (base.join(format!("{name}{READY}")), base.join(&name));
    disk.rename(&partial, &ready).map_err(failed("rename", &partial))?;
    disk.sync_dir(&base).map_err(failed("sync", &base))?;
    exchange(disk, live, &aside, &ready, &layout.files(resource))?;
    Ok(disk.symlink_metadata(&aside).is_ok().then_some(name))
}

/// Moves `live` aside, where it is still there, and `ready` to its place `new`: another one than `live` where the
/// resource was renamed.
fn exchange(disk: &dyn Disk, live: &Path, aside: &Path, ready: &Path, new: &Path) -> Result<(), PortError> {
    let (Some(home), Some(base)) = (new.parent(), aside.parent()) else {
        return Err(PortError::Failed(format!("{} has no parent", new.display())));
    };
    disk.create_dir_all(home).map_err(failed("make", home))?;
    if disk.symlink_metadata(live).is_ok() && disk.symlink_metadata(aside).is_err() {
        disk.rename(live, aside).map_err(failed("rename", live))?;
        disk.sync_dir(base).map_err(failed("sync", base))?;
    }
    disk.rename(ready, new).map_err(failed("rename", ready))?;
    disk.sync_dir(home).map_err(failed("sync", home))?;
    disk.sync_dir(base).map_err(failed("sync", base))
}

/// Whatever lies below a region's `replaced`, by resource; what cannot be read is added to `left`.
pub(super) fn each(disk: &dyn Disk, layout: &Layout, left: &mut Vec<PortError>) -> Vec<(ResourceKey, PathBuf)> {
    let mut found = Vec::new();
    for kind in ResourceType::ALL {
        let replaced = layout.own().join("replaced").join(kind.as_str());
        for id in noted(left, names(disk, &replaced)).unwrap_or_default() {
            let Ok(id) = id.parse() else { continue };
            let resource = ResourceKey::new(kind, id);
            let base = layout.replaced(&resource);
            let names = noted(left, names(disk, &base)).unwrap_or_default();
            found.extend(names.iter().map(|name| (resource.clone(), base.join(name))));
        }
    }
    found
}

/// Ends what a killed program left: partial copies are removed, complete ones moved in. Gives what it could not end,
/// which stays for the next writer and stands in nobody's way. An exchange of adopted files that has begun is not
/// ended here: something may run from them by now.
pub(super) fn recover(disk: &dyn Disk, layout: &Layout) -> Vec<PortError> {
    let mut left = Vec::new();
    for (resource, path) in each(disk, layout, &mut left) {
        noted(&mut left, recover_one(disk, layout, &resource, &path));
    }
    left
}

pub(super) fn noted<T>(left: &mut Vec<PortError>, done: Result<T, PortError>) -> Option<T> {
    done.map_err(|error| left.push(error)).ok()
}

/// Ends the restore that the copy at `path` was made for, where it is one that did not end.
fn recover_one(disk: &dyn Disk, layout: &Layout, resource: &ResourceKey, path: &Path) -> Result<(), PortError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    if name.ends_with(PARTIAL) || name.ends_with(".new") {
        return clear(disk, path);
    }
    if name.ends_with(PLACES) {
        let exchange = Exchange::read(disk, path)?;
        return if exchange.has_begun(disk)? { Ok(()) } else { exchange.give_up(disk) };
    }
    let Some(name) = name.strip_suffix(READY) else { return Ok(()) };
    if disk.symlink_metadata(&path.with_file_name(format!("{name}{PLACES}"))).is_ok() {
        return Ok(());
    }
    let (live, aside) = (layout.files(resource), path.with_file_name(name));
    let began = disk.symlink_metadata(&aside).is_ok();
    if began && disk.symlink_metadata(&live).is_err() {
        return exchange(disk, &live, &aside, path, &live);
    }
    // Nobody was told that the files were replaced, and they were not.
    remove(disk, path)
}

/// Removes what was set aside under `name`; false where there is nothing of that name.
pub(super) fn discard(disk: &dyn Disk, layout: &Layout, resource: &ResourceKey, name: &str) -> Result<bool, PortError> {
    let Some(path) = named(disk, layout, resource, name)? else { return Ok(false) };
    if disk.symlink_metadata(&path.with_file_name(format!("{name}{READY}"))).is_ok() {
        return Err(PortError::Refused {
            reason: format!("the restore that set {name} aside was cut off, and its files may be needed"),
            help: Some(format!("stop {resource}, so that it can be ended")),
        });
    }
    remove(disk, &path)?;
    if let Some(base) = path.parent() {
        disk.sync_dir(base).map_err(failed("sync", base))?;
    }
    Ok(true)
}

/// Where the files lie that were set aside under `name`.
fn named(disk: &dyn Disk, layout: &Layout, resource: &ResourceKey, name: &str) -> Result<Option<PathBuf>, PortError> {
    let found = set_aside(disk, layout, resource)?;
    Ok(found.into_iter().find_map(|(there, path)| (there == name).then_some(path)))
}

/// What was set aside as it lay: the names, the oldest first, and the directories. At the holder what others were put
/// in the place of, at a replica what was in the way and could not be read as a point.
fn set_aside(disk: &dyn Disk, layout: &Layout, resource: &ResourceKey) -> Result<Vec<(String, PathBuf)>, PortError> {
    let in_the_way = ReplicaPlace::below(layout.root(), resource).in_the_way();
    let mut found = Vec::new();
    for base in [layout.replaced(resource), in_the_way] {
        let mut below = names(disk, &base)?;
        // What has a suffix is on its way in.
        below.retain(|name| !name.contains('.'));
        below.sort();
        found.extend(below.into_iter().map(|name| (name.clone(), base.join(name))));
    }
    Ok(found)
}

/// How often files of each resource were set aside as they lay.
pub(super) fn counts(disk: &dyn Disk, layout: &Layout) -> Result<BTreeMap<ResourceKey, u32>, PortError> {
    let mut counts = BTreeMap::new();
    for kind in ResourceType::ALL {
        let below = |part: &str| names(disk, &layout.own().join(part).join(kind.as_str()));
        let ids: BTreeSet<String> = below("replaced")?.into_iter().chain(below("aside")?).collect();
        for id in ids {
            let Ok(id) = id.parse() else { continue };
            let key = ResourceKey::new(kind, id);
            let count = set_aside(disk, layout, &key)?.len();
            if count > 0 {
                counts.insert(key, u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
    }
    Ok(counts)
}

/// What was set aside, as points are listed; the newest first. Reads no file.
pub(super) fn list(
    disk: &dyn Disk,
    layout: &Layout,
    resource: &ResourceKey,
    region: &RegionId,
    epoch: Epoch,
) -> Result<Vec<Point>, PortError> {
    let mut listed = Vec::new();
    for (name, path) in set_aside(disk, layout, resource)?.into_iter().rev() {
        let stat = disk.symlink_metadata(&path).map_err(failed("look at", &path))?;
        // What cannot even be looked at is listed all the same: it may be why it was set aside.
        let content = tree::content(disk, &Place::Directory(path), resource.kind).unwrap_or_default();
        let outline = content.as_ref().map(|content| content.outline.clone()).unwrap_or_default();
        let at = taken_at(&name).unwrap_or_else(|| Timestamp::from_micros(stat.ctime_ns / 1_000));
        listed.push(Point {
            sequence: 0,
            name: Some(name),
            data_hash: content.map_or_else(|| Digest::of(b""), |content| content.stamp),
            read_at: at,
            verified_at: at,
            source: region.clone(),
            epoch,
            kind: PointKind::Cold,
            state: PointState::SetAside,
            bytes: outline.bytes,
            files: outline.files,
        });
    }
    Ok(listed)
}

/// When a name was given, by [`name`].
fn taken_at(name: &str) -> Option<Timestamp> {
    let text = name.strip_prefix("replaced-")?;
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let part = |text: &'_ str, from, to| text.get(from..to).map(str::to_owned);
    let (year, month, day) = (part(date, 0, 4)?, part(date, 4, 6)?, part(date, 6, 8)?);
    let (hour, minute, second) = (part(time, 0, 2)?, part(time, 2, 4)?, part(time, 4, 6)?);
    let fraction = time.get(6..)?;
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}{dot}{fraction}Z").parse().ok()
}

/// Copies what was set aside under `name` into `into`, which must be empty or not there, all or nothing as of a point;
/// none where there is nothing of that name.
pub(super) fn export(
    disk: &dyn Disk,
    layout: &Layout,
    resource: &ResourceKey,
    name: &str,
    (into, stop): (&Path, &StopCheck),
) -> Result<bool, PortError> {
    let Some(path) = named(disk, layout, resource, name)? else { return Ok(false) };
    let tree = walk(disk, &Place::Directory(path)).map_err(|error| PortError::Failed(error.to_string()))?;
    expect_room(disk, into, allocated(&tree))?;
    let copy = || -> Result<bool, PortError> {
        let copied = copy_all(disk, &tree, into, stop).map_err(failed("copy to", into))?;
        if copied {
            sync(disk, &tree, into)?;
        }
        Ok(copied)
    };
    let copied = export::all_or_nothing(disk, into, || match copy() {
        Ok(true) => Ok(()),
        Ok(false) => Err(TransferError::Interrupted),
        Err(error) => Err(TransferError::Region(error.to_string())),
    });
    copied.map(|()| true).map_err(told)
}

/// Names in a directory that are UTF-8; none where there is no directory.
fn names(disk: &dyn Disk, path: &Path) -> Result<Vec<String>, PortError> {
    match disk.read_dir(path) {
        Ok(names) => Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), PortError> {
    remove_tree(disk, path).map_err(failed("remove", path))
}

/// Removes whatever stands at `path`; done where nothing does.
pub(super) fn clear(disk: &dyn Disk, path: &Path) -> Result<(), PortError> {
    match disk.symlink_metadata(path) {
        Ok(stat) if stat.kind == FileKind::Directory => remove(disk, path),
        Ok(_) => disk.remove_file(path).map_err(failed("remove", path)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// Makes a copied tree durable, files first, then the directories from the bottom up.
pub(super) fn sync(disk: &dyn Disk, tree: &Tree, copy: &Path) -> Result<(), PortError> {
    for found in tree.found.iter().rev() {
        let path = copy.join(&found.path);
        match &found.node {
            FoundNode::File => {
                let file = disk.open(&path, Open::Read).map_err(failed("open", &path))?;
                file.sync_all().map_err(failed("sync", &path))?;
            }
            FoundNode::Directory => disk.sync_dir(&path).map_err(failed("sync", &path))?,
            FoundNode::Link(_) => {}
        }
    }
    disk.sync_dir(copy).map_err(failed("sync", copy))
}

/// Makes the names of `path` and of the directories between it and `root` durable.
pub(super) fn make_durable(disk: &dyn Disk, root: &Path, path: &Path) -> Result<(), PortError> {
    let between: Vec<PathBuf> = path.ancestors().take_while(|above| above.starts_with(root)).map(Into::into).collect();
    for directory in between {
        if disk.symlink_metadata(&directory).is_ok_and(|stat| stat.kind == FileKind::Directory) {
            disk.sync_dir(&directory).map_err(failed("sync", &directory))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_time() {
        for at in ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.000123Z"] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(taken_at(&name(at)), Some(at));
        }
        assert_eq!(taken_at("replaced-3"), None);
        assert_eq!(taken_at("modified-12"), None);
    }
}
