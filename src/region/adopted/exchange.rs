//! The steps of an exchange, and taking them back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::super::layout::Layout;
use super::super::quiesce::copy_all;
use super::super::restore::{self, READY, Staged, allocated, clear, expect_room, failed, look, noted};
use super::places::{self, PLACES, Placed};
use crate::host::{Disk, Open};
use crate::live::port::PortError;
use crate::model::{Digest, ResourceKey};
use crate::replica::StopCheck;
use crate::replica::place::Place;
use crate::replica::tree::{FoundNode, Tree};

/// Copies of present files that cannot be renamed aside.
const KEPT: &str = ".kept";
/// Bytes that are compared at a time.
const PIECE: usize = 1 << 20;

/// What was copied of present files, by name: the stamp of what the copy was made from.
#[derive(Debug, Default)]
pub(in crate::region) struct Copies(BTreeMap<String, Digest>);

impl Copies {
    /// Whether nothing had to be copied.
    pub(in crate::region) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The exchange of adopted files for a point's.
#[derive(Debug, Clone)]
pub(in crate::region) struct Exchange {
    /// Where the restores of the resource lie.
    base: PathBuf,
    /// This one's name.
    name: String,
    files: Vec<Placed>,
}

/// Whether something stands at `path`; what cannot be looked at is an error, not nothing.
fn is_there(disk: &dyn Disk, path: &Path) -> Result<bool, PortError> {
    match disk.symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

fn sync_dir(disk: &dyn Disk, path: &Path) -> Result<(), PortError> {
    disk.sync_dir(path).map_err(failed("sync", path))
}

/// The file or directory at `path`, under the name `name`.
fn tree_of(disk: &dyn Disk, path: &Path, name: &str) -> Result<Tree, PortError> {
    look(disk, &Place::Adopted(BTreeMap::from([(name.to_owned(), path.to_owned())])))
}

/// Copies `tree`, which is one file or directory, into `directory`, durably.
fn copy(disk: &dyn Disk, tree: &Tree, directory: &Path) -> Result<(), PortError> {
    copy_all(disk, tree, directory, &StopCheck::never()).map_err(failed("copy to", directory))?;
    restore::sync(disk, tree, directory)
}

impl Exchange {
    /// Brings the new files beside their places.
    pub(in crate::region) fn begin(
        disk: &dyn Disk,
        layout: &Layout,
        resource: &ResourceKey,
        staged: &Staged,
        named: BTreeMap<String, PathBuf>,
    ) -> Result<Self, PortError> {
        let prepared = places::plan(disk, resource, &staged.name, named).and_then(|files| {
            let exchange = Self { base: layout.replaced(resource), name: staged.name.clone(), files };
            places::write(disk, &exchange.at(PLACES), &exchange.files)?;
            Ok(exchange)
        });
        let exchange = match prepared {
            Ok(exchange) => exchange,
            Err(error) => {
                // The next writer removes what cannot be removed now.
                let _ = restore::unstage(disk, staged);
                return Err(error);
            }
        };
        match exchange.bring(disk, &staged.partial) {
            Ok(()) => Ok(exchange),
            Err(error) => {
                let _ = exchange.give_up(disk);
                let _ = restore::unstage(disk, staged);
                Err(error)
            }
        }
    }

    /// The one whose places are in the file `path`.
    pub(in crate::region) fn read(disk: &dyn Disk, path: &Path) -> Result<Self, PortError> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(PLACES));
        let (Some(base), Some(name)) = (path.parent(), name) else {
            return Err(PortError::Failed(format!("{} has no name", path.display())));
        };
        Ok(Self { base: base.to_owned(), name: name.to_owned(), files: places::read(disk, path)? })
    }

    /// Those of a region, or of one resource in it, that were cut off and have begun; what cannot be read is added to
    /// `left`.
    pub(in crate::region) fn cut_off(
        disk: &dyn Disk,
        layout: &Layout,
        only: Option<&ResourceKey>,
        left: &mut Vec<PortError>,
    ) -> Vec<(ResourceKey, Self)> {
        let mut found = Vec::new();
        for (resource, path) in restore::each(disk, layout, left) {
            if only.is_none_or(|only| *only == resource)
                && path.to_str().is_some_and(|path| path.ends_with(PLACES))
                && let Some(exchange) = noted(left, Self::read(disk, &path))
                && noted(left, exchange.has_begun(disk)).is_some_and(|begun| begun)
            {
                found.push((resource, exchange));
            }
        }
        found
    }

    fn at(&self, suffix: &str) -> PathBuf {
        self.base.join(format!("{}{suffix}", self.name))
    }

    /// Where present files are set aside.
    pub(in crate::region) fn aside(&self) -> PathBuf {
        self.base.join(&self.name)
    }

    /// Whether a present file was set aside, or a new one is at its place.
    pub(in crate::region) fn has_begun(&self, disk: &dyn Disk) -> Result<bool, PortError> {
        let aside = self.aside();
        match disk.read_dir(&aside) {
            Ok(names) if !names.is_empty() => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read", &aside)(error)),
        }
        for file in &self.files {
            if !is_there(disk, &file.fresh())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves what is staged in `partial` beside the places, or copies it where that is another file system.
    fn bring(&self, disk: &dyn Disk, partial: &Path) -> Result<(), PortError> {
        let ready = self.at(READY);
        disk.rename(partial, &ready).map_err(failed("rename", partial))?;
        sync_dir(disk, &self.base)?;
        let mut apart = Vec::new();
        for file in &self.files {
            let (from, new) = (ready.join(&file.name), file.fresh());
            clear(disk, &new)?;
            match disk.rename(&from, &new) {
                Ok(()) => sync_dir(disk, file.directory())?,
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => apart.push(file),
                Err(error) => return Err(failed("rename", &from)(error)),
            }
        }
        sync_dir(disk, &ready)?;
        // For all of them before the first one is written.
        let mut needed: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
        let mut trees = Vec::new();
        for file in apart {
            let stat = disk.symlink_metadata(file.directory()).map_err(failed("look at", file.directory()))?;
            let new = file.fresh();
            let hidden = new.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let tree = tree_of(disk, &ready.join(&file.name), &hidden)?;
            needed.entry(stat.dev).or_insert((file.directory(), 0)).1 += allocated(&tree);
            trees.push((file, tree));
        }
        for (directory, needed) in needed.values() {
            expect_room(disk, directory, *needed)?;
        }
        trees.into_iter().try_for_each(|(file, tree)| copy(disk, &tree, file.directory()))
    }

    /// Copies the present files that cannot be renamed aside: those whose new ones could not be renamed either.
    pub(in crate::region) fn keep(&self, disk: &dyn Disk) -> Result<Copies, PortError> {
        let (ready, kept, aside) = (self.at(READY), self.at(KEPT), self.aside());
        let mut trees = Vec::new();
        for file in &self.files {
            let apart = is_there(disk, &ready.join(&file.name))?;
            let waits = is_there(disk, &file.fresh())? && is_there(disk, &file.place)?;
            if apart && waits && !is_there(disk, &aside.join(&file.name))? {
                trees.push((file, tree_of(disk, &file.place, &file.name)?));
            }
        }
        expect_room(disk, &self.base, trees.iter().map(|(_, tree)| allocated(tree)).sum())?;
        let mut copies = Copies::default();
        for (file, tree) in trees {
            clear(disk, &kept.join(&file.name))?;
            copy(disk, &tree, &kept)?;
            copies.0.insert(file.name.clone(), tree.stamp());
        }
        if !copies.is_empty() {
            sync_dir(disk, &self.base)?;
        }
        Ok(copies)
    }

    /// Moves every present file aside, then every new one to its place; gives the name of what was there.
    pub(in crate::region) fn carry_out(&self, disk: &dyn Disk, copies: &Copies) -> Result<Option<String>, PortError> {
        let aside = self.aside();
        disk.create_dir_all(&aside).map_err(failed("make", &aside))?;
        sync_dir(disk, &self.base)?;
        for file in &self.files {
            self.set_aside(disk, file, copies)?;
        }
        for file in &self.files {
            let new = file.fresh();
            if is_there(disk, &new)? {
                disk.rename(&new, &file.place).map_err(failed("rename", &new))?;
                sync_dir(disk, file.directory())?;
            }
        }
        let replaced = disk.read_dir(&aside).map_err(failed("read", &aside))?;
        // All is where it belongs; the next writer removes what cannot be removed now.
        let _ = self.finish(disk);
        Ok((!replaced.is_empty()).then(|| self.name.clone()))
    }

    /// [`Self::carry_out`] by whoever began it: nobody can have changed the files since, so what fails is undone.
    pub(in crate::region) fn carry_out_or_undo(
        &self,
        disk: &dyn Disk,
        copies: &Copies,
    ) -> Result<Option<String>, PortError> {
        self.carry_out(disk, copies).map_err(|error| match self.undo(disk).and_then(|()| self.give_up(disk)) {
            Ok(()) => error,
            Err(also) => PortError::Failed(format!(
                "{error}; it could not be undone: {also}; what was moved aside lies in {}, and whoever writes to the \
                 region next goes on",
                self.aside().display()
            )),
        })
    }

    fn set_aside(&self, disk: &dyn Disk, file: &Placed, copies: &Copies) -> Result<(), PortError> {
        // Without its new file beside it, it is at its place already.
        if !is_there(disk, &file.fresh())? || !is_there(disk, &file.place)? {
            return Ok(());
        }
        let (directory, aside) = (self.aside(), self.aside().join(&file.name));
        if is_there(disk, &aside)? {
            if !same(disk, &file.place, &aside)? {
                return Err(Self::in_the_way(file, &aside));
            }
            return Self::take_away(disk, file);
        }
        match disk.rename(&file.place, &aside) {
            Ok(()) => {
                sync_dir(disk, &directory)?;
                sync_dir(disk, file.directory())
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let changed = match copies.0.get(&file.name) {
                    Some(stamp) => tree_of(disk, &file.place, &file.name)?.stamp() != *stamp,
                    None => true,
                };
                if changed {
                    let reason = format!("{} changed while it was copied", file.place.display());
                    return Err(PortError::Refused { reason, help: Some("stop whatever writes to it".to_owned()) });
                }
                let kept = self.at(KEPT);
                disk.rename(&kept.join(&file.name), &aside).map_err(failed("rename", &aside))?;
                sync_dir(disk, &directory)?;
                sync_dir(disk, &kept)?;
                Self::take_away(disk, file)
            }
            Err(error) => Err(failed("rename", &file.place)(error)),
        }
    }

    fn in_the_way(file: &Placed, aside: &Path) -> PortError {
        let (place, aside) = (file.place.display(), aside.display());
        PortError::Refused {
            reason: format!("{place} is there again, and is not what was set aside as {aside}"),
            help: Some(format!("move {place} away")),
        }
    }

    /// Takes a present file, of which a copy lies aside, from its place. It is removed in the end.
    fn take_away(disk: &dyn Disk, file: &Placed) -> Result<(), PortError> {
        let old = file.old();
        clear(disk, &old)?;
        disk.rename(&file.place, &old).map_err(failed("rename", &file.place))?;
        sync_dir(disk, file.directory())
    }

    /// Moves every new file beside its place again, then every present one back.
    fn undo(&self, disk: &dyn Disk) -> Result<(), PortError> {
        for file in &self.files {
            let new = file.fresh();
            if !is_there(disk, &new)? && is_there(disk, &file.place)? {
                disk.rename(&file.place, &new).map_err(failed("rename", &file.place))?;
                sync_dir(disk, file.directory())?;
            }
        }
        let directory = self.aside();
        for file in &self.files {
            let (aside, old) = (directory.join(&file.name), file.old());
            if !is_there(disk, &aside)? {
                continue;
            }
            if is_there(disk, &old)? {
                disk.rename(&old, &file.place).map_err(failed("rename", &old))?;
                sync_dir(disk, file.directory())?;
            }
            if !is_there(disk, &file.place)? {
                disk.rename(&aside, &file.place).map_err(failed("rename", &aside))?;
                sync_dir(disk, file.directory())?;
            } else if same(disk, &file.place, &aside)? {
                // Half of it must not lie aside.
                let kept = self.at(KEPT);
                disk.create_dir_all(&kept).map_err(failed("make", &kept))?;
                clear(disk, &kept.join(&file.name))?;
                disk.rename(&aside, &kept.join(&file.name)).map_err(failed("rename", &aside))?;
            } else {
                return Err(Self::in_the_way(file, &aside));
            }
            sync_dir(disk, &directory)?;
        }
        Ok(())
    }

    /// Removes all that was made for an exchange that has not begun, or was undone.
    pub(in crate::region) fn give_up(&self, disk: &dyn Disk) -> Result<(), PortError> {
        // First of all: with it, a new file that is gone would be one that is at its place.
        let aside = self.aside();
        if is_there(disk, &aside)? {
            disk.remove_dir(&aside).map_err(failed("remove", &aside))?;
            sync_dir(disk, &self.base)?;
        }
        for file in &self.files {
            let new = file.fresh();
            if is_there(disk, &new)? {
                clear(disk, &new)?;
                sync_dir(disk, file.directory())?;
            }
        }
        self.finish(disk)
    }

    /// Removes what an exchange leaves, the places last: they tell where the rest is.
    fn finish(&self, disk: &dyn Disk) -> Result<(), PortError> {
        for file in &self.files {
            let old = file.old();
            if is_there(disk, &old)? {
                clear(disk, &old)?;
                sync_dir(disk, file.directory())?;
            }
        }
        clear(disk, &self.at(READY))?;
        clear(disk, &self.at(KEPT))?;
        if disk.read_dir(&self.aside()).is_ok_and(|names| names.is_empty()) {
            disk.remove_dir(&self.aside()).map_err(failed("remove", &self.aside()))?;
        }
        sync_dir(disk, &self.base)?;
        clear(disk, &self.at(PLACES))?;
        sync_dir(disk, &self.base)
    }
}

/// Whether two files or directories hold the same names and bytes.
fn same(disk: &dyn Disk, one: &Path, other: &Path) -> Result<bool, PortError> {
    let (one, other) = (tree_of(disk, one, "it")?, tree_of(disk, other, "it")?);
    if one.found.len() != other.found.len() {
        return Ok(false);
    }
    for (one, other) in one.found.iter().zip(&other.found) {
        if one.path != other.path || one.node != other.node {
            return Ok(false);
        }
        if one.node == FoundNode::File
            && (one.stat.size != other.stat.size || !same_bytes(disk, (&one.at, &other.at), one.stat.size)?)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_bytes(disk: &dyn Disk, (one, other): (&Path, &Path), size: u64) -> Result<bool, PortError> {
    let open = |path: &Path| disk.open(path, Open::Read).map_err(failed("open", path));
    let files = (open(one)?, open(other)?);
    let mut pieces = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while at < size {
        let read = files.0.read_at(&mut pieces.0, at).map_err(failed("read", one))?;
        let also = files.1.read_at(&mut pieces.1, at).map_err(failed("read", other))?;
        if read == 0 || read != also || pieces.0[..read] != pieces.1[..also] {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}
