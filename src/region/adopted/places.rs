//! Where the files of one exchange go, and what remembers it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::restore::failed;
use crate::host::disk::replace_file;
use crate::host::{Disk, Open};
use crate::live::port::PortError;
use crate::model::ResourceKey;
use crate::replica::tree::Tree;

/// What remembers the places of an exchange.
pub(in crate::region) const PLACES: &str = ".places";

/// One file of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    /// Its name in the resource.
    pub(super) name: String,
    /// Where it goes.
    pub(super) place: PathBuf,
    /// A hidden name in the same directory, to which suffixes are added.
    beside: PathBuf,
}

impl Placed {
    /// The new file, before it is at its place.
    pub(super) fn fresh(&self) -> PathBuf {
        self.beside.with_extension("new")
    }

    /// The file that was there, of which a copy lies aside.
    pub(super) fn old(&self) -> PathBuf {
        self.beside.with_extension("old")
    }

    /// The directory of the place.
    pub(super) fn directory(&self) -> &Path {
        self.place.parent().unwrap_or(Path::new("/"))
    }
}

/// The places of the restore `name`, which must have a directory each, and none within another.
pub(super) fn plan(
    disk: &dyn Disk,
    resource: &ResourceKey,
    name: &str,
    named: BTreeMap<String, PathBuf>,
) -> Result<Vec<Placed>, PortError> {
    let mut files: Vec<Placed> = Vec::new();
    for (at, (file, place)) in named.into_iter().enumerate() {
        // Whoever goes on may stand elsewhere.
        let place = std::path::absolute(&place).map_err(failed("find", &place))?;
        let beside = place.with_file_name(format!(".debvisor-{}-{name}-{at}.beside", resource.id));
        let placed = Placed { name: file, place, beside };
        let directory = placed.directory();
        if disk.read_dir(directory).is_err() {
            return Err(PortError::Refused {
                reason: format!("there is no directory {} to put {} into", directory.display(), placed.name),
                help: Some("mount its disk, or make it".to_owned()),
            });
        }
        files.push(placed);
    }
    for one in &files {
        if let Some(within) = files.iter().find(|other| other.name != one.name && other.place.starts_with(&one.place)) {
            return Err(PortError::Refused {
                reason: format!("{} lies within {}", within.place.display(), one.place.display()),
                help: Some("name one of them in the region's configuration, not both".to_owned()),
            });
        }
    }
    Ok(files)
}

pub(super) fn write(disk: &dyn Disk, path: &Path, files: &[Placed]) -> Result<(), PortError> {
    let text = serde_json::to_vec(files).map_err(|error| {
        let what = format!("the places of the files cannot be written down: {error}");
        PortError::Refused { reason: what, help: None }
    })?;
    replace_file(disk, path, &text).map_err(failed("write", path))
}

pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<Placed>, PortError> {
    let file = disk.open(path, Open::Read).map_err(failed("open", path))?;
    let mut text = vec![0; file.len().map_or(0, |len| usize::try_from(len).unwrap_or(0))];
    let read = file.read_at(&mut text, 0).map_err(failed("read", path))?;
    serde_json::from_slice(&text[..read])
        .map_err(|error| PortError::Failed(format!("{} cannot be understood: {error}", path.display())))
}

/// Refuses a point whose files are not, by their names, those of the configuration.
pub(in crate::region) fn expect_names(
    resource: &ResourceKey,
    point: &Tree,
    named: &BTreeMap<String, PathBuf>,
    config: &Path,
) -> Result<(), PortError> {
    let tops = point.found.iter().filter(|found| !found.path.contains('/'));
    let has: BTreeSet<&str> = tops.map(|found| found.path.as_str()).collect();
    let names: BTreeSet<&str> = named.keys().map(String::as_str).collect();
    let list = |names: Vec<&&str>| names.into_iter().copied().collect::<Vec<_>>().join(", ");
    let (more, less) = (list(has.difference(&names).collect()), list(names.difference(&has).collect()));
    let differs = match (more.is_empty(), less.is_empty()) {
        (true, true) => return Ok(()),
        (false, true) => format!("the point has {more} too"),
        (true, false) => format!("the point has no {less}"),
        (false, false) => format!("the point has {more}, and no {less}"),
    };
    Err(PortError::Refused {
        reason: format!("the files that {} names for {resource} are not the point's: {differs}", config.display()),
        help: Some(format!(
            "name under `[resources.{}]` where each of the point's files goes, or `replication export` the point and \
             put its files there by hand",
            resource.id
        )),
    })
}
