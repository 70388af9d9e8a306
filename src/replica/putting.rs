//! Making the replica's files show the new point: files that leave are moved into the undo, staged ones moved in,
//! large ones patched.
//!
//! Every step may be repeated: a move that was done is seen by what is no longer at its old name, a patch writes the
//! same bytes again. The order is: all that leaves, its directories synced; then all that comes, files before the
//! directories' modes and times; then every directory that gained or lost a name is synced.
//!
//! Something in the way that is neither of the old point nor of the new one is moved beside the set-aside points,
//! never overwritten. A file that somebody took away meanwhile, and one that cannot be written, is passed over: it is
//! better to have the rest and to say what is lacking than to wait for what may never come.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::beside::put_beside;
use super::block::{GROUP_BYTES, blocks_in_group, from_slot, groups_in, hash_group};
use super::catalog::{FileId, FileIdentity, KeptEntry, KeptFile};
use super::export::{dress, is_dressed, lies};
use super::fault::{cannot, if_readable};
use super::hashing::hash_file;
use super::index::{Index, Record};
use super::layer::{exists, make_dir, move_if_there, remove_if_there, write_sparse};
use super::manifest::Node;
use super::port::{BLOCK_BYTES, TransferError, ZERO};
use super::publish::Passage;
use super::tree::identity;
use crate::host::disk::{Disk, DiskFile, FileKind, FileStat, Open};

/// Whether the old point has files that the new one does not have.
pub(super) fn leaves(passage: &Passage<'_>) -> bool {
    let stays: BTreeSet<FileId> = bodies(&passage.new.entries).map(|(_, body)| body.id).collect();
    bodies(&passage.old.entries).any(|(_, body)| !stays.contains(&body.id))
}

/// Moves the files that the new point does not have into the undo of the old one.
///
/// # Errors
/// I/O errors.
pub(super) fn take_out(passage: &mut Passage<'_>) -> Result<(), TransferError> {
    let Some(undo) = passage.undo() else { return Ok(()) };
    let disk = passage.disk;
    open_up(passage, &passage.old.entries)?;
    let stays: BTreeSet<FileId> = bodies(&passage.new.entries).map(|(_, body)| body.id).collect();
    let mut left = BTreeSet::new();
    let mut losses = passage.losses();
    for (kept, body) in bodies(&passage.old.entries).filter(|(_, body)| !stays.contains(&body.id)) {
        let path = passage.place.files.join(&kept.entry.path);
        let stat = disk.symlink_metadata(&path).ok().filter(|stat| stat.kind == FileKind::File);
        let whole = undo.whole(body.id);
        // Somebody took it away, or wrote to it, since it was last looked at. A machine that lost its power may have
        // moved it back, with another time: nothing is called lost unread.
        let is_lost = match &stat {
            Some(stat) => passage.expected(body) != Some(identity(stat)) && !reads_as(passage, kept, stat, &path)?,
            None => !exists(disk, &whole)?,
        };
        if is_lost {
            losses.file(body.id)?;
        }
        if stat.is_some() && move_if_there(disk, &path, &whole)? {
            left.extend(path.parent().map(Path::to_owned));
        }
        let index = passage.place.index_of(body.id);
        if move_if_there(disk, &index, &undo.whole_index(body.id))? {
            left.insert(passage.place.index.clone());
        }
    }
    let damaged = losses.damaged();
    passage.note_damaged(damaged);
    undo.sync(disk)?;
    left.iter().try_for_each(|directory| disk.sync_dir(directory).map_err(cannot("sync", directory)))
}

/// Whether what lies there is what the entry says, read byte by byte.
fn reads_as(passage: &Passage<'_>, kept: &KeptEntry, stat: &FileStat, path: &Path) -> Result<bool, TransferError> {
    let Node::File { size, root } = kept.entry.node else { return Ok(false) };
    if stat.size != size.0 {
        return Ok(false);
    }
    let read = passage.disk.open(path, Open::Read).map_err(cannot("open", path));
    let read = read.and_then(|file| hash_file(&*file, path, size.0, None, passage.stop));
    Ok(if_readable(read)?.is_some_and(|(found, _)| found == root))
}

/// What became of a file of the new point.
enum Put {
    /// It is there and lies so; it may have to be read again by the next sync.
    There { stat: FileStat, trusted: bool },
    /// It was and stays as it is.
    Same,
    /// Not all of it could be written; what an older point needs of it is there.
    Torn,
    /// It is not there, with all that older points needed of it.
    Gone,
}

/// Makes the files show the new point, and notes how they lie.
///
/// # Errors
/// I/O errors.
pub(super) fn put_in(passage: &mut Passage<'_>) -> Result<(), TransferError> {
    let disk = passage.disk;
    let files = passage.place.files.clone();
    make_dir(disk, &files)?;
    let mut gained: BTreeSet<PathBuf> = BTreeSet::from([files.clone()]);
    if bodies(&passage.new.entries).any(|(kept, _)| has_index(kept)) {
        make_dir(disk, &passage.place.index)?;
        gained.insert(passage.place.index.clone());
    }
    open_up(passage, &passage.old.entries)?;
    clear(passage)?;
    let mut lie_otherwise = Vec::new();
    let mut note = |stat: &FileStat, (at, kept): (usize, &KeptEntry)| {
        let found = lies(stat, &kept.entry);
        lie_otherwise.extend((found != kept.lies).then_some((at, found)));
    };
    for (at, kept) in passage.new.entries.iter().enumerate() {
        let path = files.join(&kept.entry.path);
        match &kept.entry.node {
            Node::Directory => {
                make_way(passage, &path, FileKind::Directory)?;
                if disk.symlink_metadata(&path).is_err() {
                    disk.create_dir_all(&path).map_err(cannot("make the directory", &path))?;
                    gained.extend(path.parent().map(Path::to_owned));
                }
            }
            Node::Link { to } => {
                make_way(passage, &path, FileKind::Link)?;
                if disk.read_link(&path).ok().as_deref() != Some(Path::new(to)) {
                    remove_if_there(disk, &path)?;
                    disk.symlink(Path::new(to), &path).map_err(cannot("make the link", &path))?;
                    gained.extend(path.parent().map(Path::to_owned));
                }
                note(&dress_unless(passage, &path, kept)?.0, (at, kept));
            }
            Node::File { .. } => {}
        }
    }
    open_up(passage, &passage.new.entries)?;

    let before: BTreeMap<&str, &KeptEntry> =
        passage.old.entries.iter().map(|kept| (kept.entry.path.as_str(), kept)).collect();
    let mut identities: Vec<(usize, Option<FileIdentity>)> = Vec::new();
    let mut losses = passage.losses();
    let mut lacking = false;
    let mut torn = BTreeSet::new();
    for (at, kept) in passage.new.entries.iter().enumerate() {
        let Some(body) = &kept.file else { continue };
        let path = files.join(&kept.entry.path);
        let put = match passage.receiving.files.get(&kept.entry.path) {
            Some(arriving) if arriving.staged => {
                gained.extend(path.parent().map(Path::to_owned));
                move_in(passage, kept, body, &path)?
            }
            Some(_) => patch(passage, kept, body, &path)?,
            None => {
                let same = before.get(kept.entry.path.as_str()).is_some_and(|old| old.entry == kept.entry);
                if same && !passage.receiving.undressed.contains(&body.id) {
                    Put::Same
                } else {
                    dress_again(passage, kept, body, &path)?
                }
            }
        };
        match put {
            Put::There { stat, trusted } => {
                identities.push((at, trusted.then(|| identity(&stat))));
                note(&stat, (at, kept));
            }
            Put::Same => {}
            Put::Torn => {
                identities.push((at, None));
                torn.insert(body.id);
            }
            Put::Gone => {
                losses.file(body.id)?;
                identities.push((at, None));
                lacking = true;
            }
        }
    }
    let damaged = losses.damaged();
    let directories = passage.new.entries.iter().enumerate().rev();
    for (at, kept) in directories.filter(|(_, kept)| kept.entry.node == Node::Directory) {
        let path = files.join(&kept.entry.path);
        let (stat, was_otherwise) = dress_unless(passage, &path, kept)?;
        note(&stat, (at, kept));
        if was_otherwise {
            gained.insert(path);
        }
    }
    for directory in gained.iter().rev() {
        disk.sync_dir(directory).map_err(cannot("sync", directory))?;
    }
    for (at, identity) in identities {
        if let Some(body) = &mut passage.new.entries[at].file {
            body.identity = identity;
            body.torn = torn.contains(&body.id);
        }
    }
    for (at, found) in lie_otherwise {
        passage.new.entries[at].lies = found;
    }
    passage.lacking = lacking || !torn.is_empty();
    passage.note_damaged(damaged);
    Ok(())
}

/// Moves a staged file in. Where an earlier attempt has done it, what lies there is believed if it looks like it.
fn move_in(passage: &Passage<'_>, kept: &KeptEntry, body: &KeptFile, path: &Path) -> Result<Put, TransferError> {
    let disk = passage.disk;
    let staged = passage.incoming().data(body.id);
    if exists(disk, &staged)? {
        make_way(passage, path, FileKind::File)?;
        if let Some(stat) = look(disk, path)? {
            // The old file has left. Only one that is being healed lies there, and was set aside.
            if was(passage, body) != Some(identity(&stat)) {
                put_aside(passage, path)?;
            }
        }
    }
    let moved = move_if_there(disk, &staged, path)?;
    move_if_there(disk, &passage.incoming().table(body.id), &passage.place.index_of(body.id))?;
    let Some(stat) = look(disk, path)?.filter(|stat| stat.kind == FileKind::File) else { return Ok(Put::Gone) };
    let trusted = moved || stat.size == size_of(kept) && is_dressed(&stat, kept, false);
    Ok(Put::There { stat, trusted })
}

/// Gives a file that stays its mode, time and owner.
fn dress_again(passage: &Passage<'_>, kept: &KeptEntry, body: &KeptFile, path: &Path) -> Result<Put, TransferError> {
    let disk = passage.disk;
    let Some(stat) = look(disk, path)?.filter(|stat| stat.kind == FileKind::File) else { return Ok(Put::Gone) };
    // Dressed by an earlier attempt, it lies otherwise than before and must still be believed.
    let dressed = stat.size == size_of(kept) && is_dressed(&stat, kept, false);
    let trusted = dressed || body.identity == Some(identity(&stat));
    // Opened before: its new mode may forbid that. Where the old one does, and the new one is lost with the power, the
    // next look finds it undressed.
    let file = disk.open(path, Open::Read).ok();
    dress(disk, path, &kept.entry, passage.receiving.owners)?;
    file.map_or(Ok(()), |file| file.sync_all()).map_err(cannot("sync", path))?;
    let stat = disk.symlink_metadata(path).map_err(cannot("look at", path))?;
    Ok(Put::There { stat, trusted })
}

/// How a file that the old point has too should lie until it is touched.
fn was(passage: &Passage<'_>, body: &KeptFile) -> Option<FileIdentity> {
    bodies(&passage.old.entries).find(|(_, old)| old.id == body.id).and_then(|(_, old)| passage.expected(old))
}

/// How what stands at `path` lies; none: nothing does.
fn look(disk: &dyn Disk, path: &Path) -> Result<Option<FileStat>, TransferError> {
    match disk.symlink_metadata(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(cannot("look at", path)(error)),
    }
}

fn size_of(kept: &KeptEntry) -> u64 {
    match kept.entry.node {
        Node::File { size, root: _ } => size.0,
        Node::Directory | Node::Link { .. } => 0,
    }
}

/// Gives a directory or a link its owner, mode and time, where it does not have them; says how it lies now, and
/// whether it lay otherwise.
fn dress_unless(passage: &Passage<'_>, path: &Path, kept: &KeptEntry) -> Result<(FileStat, bool), TransferError> {
    let look = || passage.disk.symlink_metadata(path).map_err(cannot("look at", path));
    let stat = look()?;
    let owners = passage.receiving.owners;
    if is_dressed(&stat, kept, owners) {
        return Ok((stat, false));
    }
    dress(passage.disk, path, &kept.entry, owners)?;
    Ok((look()?, true))
}

/// Whether an entry is a file that is large enough to have an index.
fn has_index(kept: &KeptEntry) -> bool {
    match kept.entry.node {
        Node::File { size, root: _ } => size.0 > GROUP_BYTES,
        Node::Directory | Node::Link { .. } => false,
    }
}

fn bodies(entries: &[KeptEntry]) -> impl Iterator<Item = (&KeptEntry, &KeptFile)> {
    entries.iter().filter_map(|kept| kept.file.as_ref().map(|body| (kept, body)))
}

/// Lets this program, where it is not root, write in directories that their owner may not write in. Their modes are
/// set at the end.
fn open_up(passage: &Passage<'_>, entries: &[KeptEntry]) -> Result<(), TransferError> {
    for kept in entries.iter().filter(|kept| kept.entry.node == Node::Directory) {
        let path = passage.place.files.join(&kept.entry.path);
        if let Ok(stat) = passage.disk.symlink_metadata(&path)
            && stat.kind == FileKind::Directory
            && stat.mode & 0o700 != 0o700
        {
            passage.disk.set_mode(&path, stat.mode | 0o700).map_err(cannot("set the mode of", &path))?;
        }
    }
    Ok(())
}

/// Removes links and directories of the old point that the new one does not have, the innermost first.
fn clear(passage: &Passage<'_>) -> Result<(), TransferError> {
    let stays: BTreeMap<&str, &Node> =
        passage.new.entries.iter().map(|kept| (kept.entry.path.as_str(), &kept.entry.node)).collect();
    for kept in passage.old.entries.iter().rev() {
        let path = passage.place.files.join(&kept.entry.path);
        let new = stays.get(kept.entry.path.as_str());
        let kind = passage.disk.symlink_metadata(&path).ok().map(|stat| stat.kind);
        match kept.entry.node {
            Node::Link { .. } if kind == Some(FileKind::Link) && !matches!(new, Some(Node::Link { .. })) => {
                remove_if_there(passage.disk, &path)?;
            }
            Node::Directory if kind == Some(FileKind::Directory) && new != Some(&&Node::Directory) => {
                match passage.disk.remove_dir(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => put_aside(passage, &path)?,
                    Err(error) => return Err(cannot("remove the directory", &path)(error)),
                }
            }
            Node::Link { .. } | Node::Directory | Node::File { .. } => {}
        }
    }
    Ok(())
}

/// Moves away what stands at `path` and is of another kind than what comes there.
fn make_way(passage: &Passage<'_>, path: &Path, kind: FileKind) -> Result<(), TransferError> {
    match passage.disk.symlink_metadata(path) {
        Ok(stat) if stat.kind != kind => put_aside(passage, path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("look at", path)(error)),
    }
}

fn put_aside(passage: &Passage<'_>, path: &Path) -> Result<(), TransferError> {
    put_beside(passage.disk, passage.place, passage.receiving.sequence.unwrap_or(0), path).map(|_| ())
}

/// Makes a large file what the new point says. One that is not there, or that may not be opened, is given up; one
/// that its disk does not take is left torn. It is to be read again where an earlier attempt was interrupted in it,
/// since nobody can tell then whose writing made it what it is, and where its index is not what its root says.
fn patch(passage: &Passage<'_>, kept: &KeptEntry, body: &KeptFile, path: &Path) -> Result<Put, TransferError> {
    let disk = passage.disk;
    let Some(stat) = look(disk, path)? else { return Ok(Put::Gone) };
    if stat.kind != FileKind::File {
        return Ok(Put::Gone);
    }
    let as_it_was = was(passage, body) == Some(identity(&stat));
    let as_it_becomes = stat.size == size_of(kept) && is_dressed(&stat, kept, false);
    let Some(live) = if_readable(open_for_writing(disk, path, &stat))? else {
        put_aside(passage, path)?;
        return Ok(Put::Gone);
    };
    let Some(sound) = if_readable(write_all(passage, kept, body, (path, &*live)))?.flatten() else {
        return Ok(Put::Torn);
    };
    let stat = disk.symlink_metadata(path).map_err(cannot("look at", path))?;
    Ok(Put::There { stat, trusted: sound && (as_it_was || as_it_becomes) })
}

fn open_for_writing(disk: &dyn Disk, path: &Path, stat: &FileStat) -> Result<Box<dyn DiskFile>, TransferError> {
    if stat.mode & 0o600 != 0o600 {
        disk.set_mode(path, stat.mode | 0o600).map_err(cannot("set the mode of", path))?;
    }
    disk.open(path, Open::ReadWrite).map_err(cannot("open", path))
}

/// Writes what arrived of a large file into it, and its hashes into its index, which may turn out not to be what the
/// file's root says. None where what arrived is lost.
fn write_all(
    passage: &Passage<'_>,
    kept: &KeptEntry,
    body: &KeptFile,
    (path, live): (&Path, &dyn DiskFile),
) -> Result<Option<bool>, TransferError> {
    let disk = passage.disk;
    let Node::File { size, root } = kept.entry.node else { return Ok(Some(true)) };
    let size = size.0;
    let Some(arrived) = passage.incoming().overlay(disk, body.id)? else { return Ok(None) };
    let index = Index::create(disk, &passage.place.index_of(body.id))?;
    live.set_len(size).map_err(cannot("write", path))?;
    let mut buffer = Vec::new();
    let mut next = arrived.table.next(0)?;
    while let Some(group) = next.filter(|group| *group < groups_in(size)) {
        passage.stop.go_on()?;
        let slots = arrived.table.record(group)?;
        if slots != Record::EMPTY {
            write_group(live, path, &arrived, (group, size), &slots, &mut buffer)?;
            let mut record = index.record(group)?;
            for (hash, slot) in record.blocks.iter_mut().zip(&slots.blocks) {
                *hash = from_slot(*slot).unwrap_or(*hash);
            }
            record.group = hash_group(&record.blocks[..blocks_in_group(size, group)]);
            index.write(group, &record)?;
        }
        next = arrived.table.next(group + 1)?;
    }
    index.cut(groups_in(size))?;
    // A group's hash is over as many blocks as the file has of it: those that were the last and are the last now have
    // other ones, though none of their blocks may have changed.
    let before = passage.old.entries.iter().find(|old| old.file.as_ref().is_some_and(|old| old.id == body.id));
    let before = before.map_or(0, size_of);
    let lasts = [before, size].map(|size| groups_in(size).saturating_sub(1));
    for last in lasts.into_iter().filter(|last| *last < groups_in(size)) {
        let mut record = index.record(last)?;
        let count = blocks_in_group(size, last);
        record.blocks[count..].fill(ZERO);
        record.group = hash_group(&record.blocks[..count]);
        index.write(last, &record)?;
    }
    dress(disk, path, &kept.entry, passage.receiving.owners)?;
    live.sync_all().map_err(cannot("sync", path))?;
    index.sync()?;
    index.is_sound(size, root).map(Some)
}

/// Writes one group's blocks, neighbours together; zeros become holes.
fn write_group(
    live: &dyn DiskFile,
    path: &Path,
    arrived: &super::layer::Overlay,
    (group, size): (u64, u64),
    slots: &Record,
    buffer: &mut Vec<u8>,
) -> Result<(), TransferError> {
    let count = blocks_in_group(size, group);
    let kinds: Vec<Option<bool>> =
        slots.blocks[..count].iter().map(|slot| from_slot(*slot).map(|hash| hash == ZERO)).collect();
    let mut at = 0;
    for run in kinds.chunk_by(|a, b| a == b) {
        let start = group * GROUP_BYTES + at as u64 * BLOCK_BYTES;
        let len = (run.len() as u64 * BLOCK_BYTES).min(size - start);
        at += run.len();
        match run[0] {
            None => {}
            Some(true) => live.punch_hole(start, len).map_err(cannot("write", path))?,
            Some(false) => {
                buffer.resize(len as usize, 0);
                let read = arrived.data.read_at(buffer, start).map_err(cannot("read", path))?;
                // It may end with a hole, and so before its last block does.
                buffer[read..].fill(0);
                write_sparse(live, path, start, buffer)?;
            }
        }
    }
    Ok(())
}
