//! Making a replica's files ready for a machine that will write into them, and telling what that costs.
//!
//! | step | guarantee | a crash here leaves behind |
//! | --- | --- | --- |
//! | finish what a sync left | that of [`publish`](super::publish) | what the next opening finishes |
//! | choose the point | an older one than the newest only where it was asked for; one that is damaged never | |
//! | compare the files with the newest point | what only looks modified is read; a modified file refuses the newest point, and is set aside before an older one is put in its place | that of `aside`; what is not of the point at either place |
//! | put an older point in place | that of `renew`: what was there stays a point | that of `renew` |
//! | give the machine files of its own | as above, where the file system can clone | a point more; done again, nothing is cloned twice |
//! | [`given_up`] | points that share bytes with the files that the machine writes say that they are damaged | either side |
//!
//! A machine writes where the newest point lies. With clones that is a point that nothing else shares bytes with, and the
//! copy that was promoted stays. Without them, all that shares bytes with the newest point's files loses them sooner or
//! later: these points are given up when the files are, not when somebody asks for one and its bytes are wrong.

use std::collections::BTreeSet;
use std::path::Path;

use super::aside::SettingAside;
use super::beside::{look_in, put_beside};
use super::catalog::{Catalog, CatalogChange, FileId, KeptEntry, KeptManifest, PointRecord, ReplicaRecord, Standing};
use super::export::{dress, lies};
use super::fault::{StopCheck, cannot, if_readable, misuse};
use super::hashing::hash_file;
use super::inspect::{Findings, inspect};
use super::manifest::Node;
use super::place::ReplicaPlace;
use super::points::{self, PointChoice};
use super::port::TransferError;
use super::prune;
use super::publish::recover;
use super::renew::Renewal;
use super::room::Room;
use super::tree::{Found, FoundNode, identity};
use crate::host::disk::{Disk, Open};
use crate::model::point::{Point, PointState};
use crate::model::region::Epoch;
use crate::model::{ByteCount, RegionId, Timestamp};

/// What is promoted.
#[derive(Debug, Clone, Copy)]
pub struct Promotion<'a> {
    /// The point that was asked for; none: the newest.
    pub point: Option<u64>,
    /// This region, and the epoch that it holds the resource from.
    pub here: (&'a RegionId, Epoch),
    /// Now.
    pub now: Timestamp,
    /// Whether to set owners: the program runs as root.
    pub owners: bool,
}

/// What became of a replica's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted {
    /// The point that they are.
    pub point: Point,
    /// Points that share bytes with them, that one among them, to be given up when a machine starts.
    pub shared: Vec<u64>,
    /// What was set aside, by name.
    pub set_aside: Vec<String>,
}

/// The point that is to be promoted, after finishing what an interrupted sync left; none where nothing was ever copied.
///
/// # Errors
/// [`TransferError::Region`] for one that is not there; [`TransferError::Corrupt`] for one that is damaged, or is no copy
/// although none was asked for.
pub fn choose(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    asked: Option<u64>,
) -> Result<Option<Point>, TransferError> {
    recover(disk, catalog, place)?;
    let record = catalog.load(&place.resource)?;
    let Some(newest) = record.newest() else { return Ok(None) };
    let sequence = match asked {
        Some(sequence) => {
            let found = points::find(&record, PointChoice::Sequence(sequence));
            found.ok_or_else(|| TransferError::Region(format!("{} has no point {sequence} here", place.resource)))?
        }
        None => newest.point.sequence,
    };
    let chosen = &record.points[&sequence];
    let refuse = |why: &str| Err(TransferError::Corrupt(format!("point {sequence} of {} {why}", place.resource)));
    match chosen.point.state {
        PointState::Damaged | PointState::SetAsideDamaged if asked.is_some() => refuse("is damaged"),
        PointState::Damaged | PointState::SetAsideDamaged => refuse("is the newest here, and is damaged"),
        PointState::Complete | PointState::SetAside if chosen.adopted && asked.is_none() => {
            refuse("is what this region held itself: nothing of what came after was copied here yet")
        }
        PointState::Complete | PointState::SetAside => Ok(Some(chosen.point.clone())),
    }
}

/// Makes the files those of the point that [`choose`] gives. Done again, it changes nothing.
///
/// # Errors
/// Those of [`choose`]; [`TransferError::Corrupt`] where the newest point was modified and no other was asked for;
/// [`TransferError::Blocked`] for what is in the way and cannot be set aside; I/O errors; [`TransferError::Interrupted`].
pub fn promote(
    disk: &dyn Disk,
    catalog: &dyn Catalog,
    place: &ReplicaPlace,
    promotion: &Promotion<'_>,
    stop: &StopCheck,
) -> Result<Promoted, TransferError> {
    let nothing = || TransferError::Region(format!("{} has no point here", place.resource));
    let chosen = choose(disk, catalog, place, promotion.point)?.ok_or_else(nothing)?;
    let mut record = catalog.load(&place.resource)?;
    let newest = record.newest().ok_or_else(nothing)?.point.clone();
    let kept = catalog.manifest(&place.resource, newest.sequence)?;
    let (mut findings, moved_away) = look_in(disk, place, record.next_sequence.max(1), (&kept, promotion.owners))?;
    let stays = chosen.data_hash == newest.data_hash;
    if stays && let Some(why) = modified(disk, place, &kept, &findings, stop)? {
        let (sequence, resource) = (newest.sequence, &place.resource);
        return Err(TransferError::Corrupt(format!("{why}: it is not what point {sequence} of {resource} says")));
    }
    let mut set_aside = Vec::from_iter(moved_away);
    if stays {
        // Set aside as a point, it would share all else with the files that are about to be written.
        set_aside.extend(clear(disk, place, record.next_sequence.max(1), std::mem::take(&mut findings.extra))?);
    }
    let aside =
        SettingAside { disk, catalog, place, here: promotion.here, now: promotion.now, room: &Room::default(), stop };
    let aside = aside.run(&mut record, Some(newest.sequence), kept, &findings)?;
    set_aside.extend(aside.names);
    let renewal = Renewal { disk, catalog, place, owners: promotion.owners, stop };
    if stays {
        dress_again(&renewal, newest.sequence, aside.kept)?;
    } else {
        renewal.copy(chosen.sequence, aside.modified)?;
    }
    if !is_apart(catalog, place)? {
        renewal.clone_newest()?;
    }
    let record = catalog.load(&place.resource)?;
    let point = record.newest().ok_or_else(nothing)?.point.clone();
    Ok(Promoted { point, shared: shared(catalog, place, &record)?, set_aside })
}

/// What records of these points that a machine writes over their bytes from now on.
pub fn given_up(record: &ReplicaRecord, shared: &[u64]) -> Vec<CatalogChange> {
    prune::damage(record, &shared.iter().copied().collect())
}

/// The first file that is not what the newest point says, in words. Those that only look so are read.
fn modified(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    kept: &KeptManifest,
    findings: &Findings,
    stop: &StopCheck,
) -> Result<Option<String>, TransferError> {
    if let Some(refused) = &findings.refused {
        return Ok(Some(format!("{} {}", refused.path, refused.reason)));
    }
    let missing = findings.missing.iter().map(|at| &kept.entries[*at].entry);
    if let Some(missing) = missing.into_iter().find(|entry| matches!(entry.node, Node::File { .. })) {
        return Ok(Some(format!("{} is missing", missing.path)));
    }
    for (at, stat) in &findings.modified {
        let entry = &kept.entries[*at].entry;
        let Node::File { size, root } = entry.node else { continue };
        let path = place.files.join(&entry.path);
        if stat.size == size.0 {
            let read = disk.open(&path, Open::Read).map_err(cannot("open", &path));
            let read = read.and_then(|file| hash_file(&*file, &path, size.0, None, stop));
            match if_readable(read)? {
                Some((found, _)) if found == root => continue,
                Some(_) => {}
                None => return Ok(Some(format!("{} cannot be read", entry.path))),
            }
        }
        return Ok(Some(format!("{} was modified", entry.path)));
    }
    Ok(None)
}

/// Moves what is not of the point beside the set-aside points; gives the names.
fn clear(
    disk: &dyn Disk,
    place: &ReplicaPlace,
    sequence: u64,
    extra: Vec<Found>,
) -> Result<Vec<String>, TransferError> {
    let mut names = Vec::new();
    let mut moved: Option<String> = None;
    for found in extra {
        if moved.as_ref().is_some_and(|above| found.path.starts_with(above)) {
            continue;
        }
        // An empty directory is nothing to keep.
        if found.node == FoundNode::Directory && disk.remove_dir(&found.at).is_ok() {
            continue;
        }
        names.push(put_beside(disk, place, sequence, &found.at)?);
        moved = Some(format!("{}/", found.path));
    }
    Ok(names)
}

/// Makes directories and links of the newest point that are missing, and gives all that was given another mode, time or
/// owner its own again.
fn dress_again(renewal: &Renewal<'_>, newest: u64, mut kept: KeptManifest) -> Result<(), TransferError> {
    let Renewal { disk, catalog, place, owners, stop: _ } = *renewal;
    let mut changed = BTreeSet::new();
    for at in inspect(disk, place, &kept, owners)?.missing {
        let entry = &kept.entries[at].entry;
        let path = place.files.join(&entry.path);
        match &entry.node {
            Node::Directory => disk.create_dir_all(&path).map_err(cannot("make the directory", &path))?,
            Node::Link { to } => disk.symlink(to.as_ref(), &path).map_err(cannot("make the link", &path))?,
            Node::File { .. } => return Err(misuse("a file is missing")),
        }
        changed.extend(path.parent().map(Path::to_owned));
    }
    let undressed = inspect(disk, place, &kept, owners)?.undressed;
    if undressed.is_empty() && changed.is_empty() {
        return Ok(());
    }
    // What is in a directory before the directory.
    for at in undressed.iter().rev() {
        let KeptEntry { entry, file, lies: as_it_lies } = &mut kept.entries[*at];
        let path = place.files.join(&entry.path);
        let look = || disk.symlink_metadata(&path).map_err(cannot("look at", &path));
        let trusted = file.as_ref().is_some_and(|file| file.identity == look().ok().map(|stat| identity(&stat)));
        dress(disk, &path, entry, owners)?;
        let stat = look()?;
        *as_it_lies = lies(&stat, entry);
        if let Some(file) = file.as_mut().filter(|_| trusted) {
            file.identity = Some(identity(&stat));
        }
        changed.extend(path.parent().map(Path::to_owned));
    }
    for directory in changed.iter().rev() {
        disk.sync_dir(directory).map_err(cannot("sync", directory))?;
    }
    let record = catalog.load(&place.resource)?;
    let point = record.points.get(&newest).ok_or_else(|| misuse("the newest point has no record"))?;
    let change = CatalogChange::Point { record: Box::new(point.clone()), manifest: Some(kept) };
    Ok(catalog.commit(&place.resource, &[change])?)
}

/// The bodies of a point's files that have bytes.
fn bodies(manifest: &KeptManifest) -> BTreeSet<FileId> {
    let some = |kept: &&KeptEntry| !matches!(kept.entry.node, Node::File { size: ByteCount(0), .. });
    manifest.entries.iter().filter(some).filter_map(|kept| kept.file.as_ref()).map(|body| body.id).collect()
}

/// Whether a complete point with the newest one's content shares no bytes with it.
fn is_apart(catalog: &dyn Catalog, place: &ReplicaPlace) -> Result<bool, TransferError> {
    let record = catalog.load(&place.resource)?;
    let Some(newest) = record.newest() else { return Ok(true) };
    let live = bodies(&catalog.manifest(&place.resource, newest.point.sequence)?);
    let same = |other: &&PointRecord| {
        let (ours, theirs) = (&newest.point, &other.point);
        theirs.sequence != ours.sequence && theirs.data_hash == ours.data_hash && !theirs.state.is_damaged()
    };
    for other in record.chain().chain(record.set_aside()).filter(same) {
        if bodies(&catalog.manifest(&place.resource, other.point.sequence)?).is_disjoint(&live) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The points, the newest among them, that share bytes with its files.
fn shared(catalog: &dyn Catalog, place: &ReplicaPlace, record: &ReplicaRecord) -> Result<Vec<u64>, TransferError> {
    let Some(newest) = record.newest().map(|newest| newest.point.sequence) else { return Ok(Vec::new()) };
    let live = bodies(&catalog.manifest(&place.resource, newest)?);
    let mut shared = Vec::new();
    for point in record.points.values().filter(|point| point.standing == Standing::Published) {
        let sequence = point.point.sequence;
        let own = bodies(&catalog.manifest(&place.resource, sequence)?);
        if sequence == newest || !own.is_disjoint(&live) {
            shared.push(sequence);
        }
    }
    Ok(shared)
}
