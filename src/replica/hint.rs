//! Hints: what a hypervisor's bitmap says was written since a disk was hashed last, so that the rest need not be read.
//!
//! # The one invariant
//! Each reading that may be remembered begins a bitmap of its own, with a name that is used once (`NAME-` and sixteen
//! random digits), before it looks at the file. The name stands in the scan cache beside the hashes of that reading. So:
//!
//! > An image that has this bitmap, closed and not in use, holds for its guest what it held at that reading, but for
//! > what the bitmap says.
//!
//! That does not depend on where the image is, nor on whether a point was published: a backup that was made after the
//! reading and put back, a copy that came back from another region, and the image itself all have what their bitmap
//! says. One from before that reading, or of another region's, has another name, and is read whole. Nothing else, and
//! no journal, says which bitmap belongs to which hashes.
//!
//! | step | guarantee | assumption | a crash here leaves behind |
//! | --- | --- | --- | --- |
//! | begin a bitmap | the former one goes on recording; no VM has the image open, since the tool gets its lock | the runner said `stopped`; whoever writes the image is a program that knows bitmaps, or clears the flag as the format asks | a bitmap that nobody names, which the next reading takes out; the former one still stands for the kept hashes |
//! | take out those that nobody names | neither the kept hashes' bitmap nor the new one is touched | | some of them, for the next reading |
//! | look, and read what was written | all of it is looked at after the new bitmap was begun, and before the file is seen not to have changed since | | nothing |
//! | keep the hashes, the map and the name | one renaming, after the index is durable; the map is known by its digest | | the former cache with the former bitmap, which is still there; or the new one |
//!
//! What cannot be relied on is read whole, and a note says why. Once in each `period` a disk is read whole although it
//! has a hint, and what differs where the hint said that nothing was written is counted: from then on no bitmap of that
//! name is believed for that file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::bitmap::{self, doubt, written};
use super::block::GROUP_BYTES;
use super::clusters::{Since, Unchanged, unchanged};
use super::index::Index;
use super::qcow2::{HEAD_BYTES, Header, header, is_image};
use super::tree::{Found, FoundNode, Tree};
use crate::host::disk::{Disk, DiskFile, Open};
use crate::model::{Digest, Timestamp};

/// Changes the bitmaps of images. It must get the image's lock as every hypervisor does, and fail where it cannot.
pub trait BitmapTool: fmt::Debug + Send + Sync {
    /// Begins a bitmap.
    ///
    /// # Errors
    /// Why it was not, in words.
    fn add(&self, image: &Path, bitmap: &str) -> Result<(), String>;

    /// Takes one out.
    ///
    /// # Errors
    /// Why it is still there, in words.
    fn remove(&self, image: &Path, bitmap: &str) -> Result<(), String>;
}

/// How bitmaps are used.
#[derive(Debug, Clone)]
pub struct Hints {
    /// What their names begin with.
    pub bitmap: String,
    /// How long one is believed without reading the disk whole.
    pub period: Duration,
    /// What changes them.
    pub tool: Arc<dyn BitmapTool>,
}

/// Whether bitmaps are used for a reading.
#[derive(Debug, Clone, Default)]
pub enum Hinting {
    /// Nobody asks for them.
    #[default]
    Off,
    /// They are asked for, and cannot be used, in words.
    Refused(String),
    /// They are used.
    By(Hints),
}

/// What is kept beside a file's hashes for its next reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The bitmap that was begun before they were read.
    pub(super) bitmap: String,
    /// The file in the cache with the image's map.
    pub(super) map: String,
    digest: Digest,
    /// Bytes that the guest sees.
    size: u64,
    cluster_bits: u32,
    /// When all of it was read last.
    checked_at: Timestamp,
}

impl Kept {
    /// The same after all of the file was read at this time, and was what it had been.
    pub(super) fn checked(&self, at: Timestamp) -> Self {
        Self { checked_at: at, ..self.clone() }
    }
}

/// A bitmap that was begun for a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fresh {
    /// Its name.
    bitmap: String,
    /// Why the former one was not to be relied on even before this one was begun.
    doubt: Option<String>,
}

/// A bitmap that was begun for a reading, or why none was.
pub(super) type Begun = Result<Fresh, String>;

/// What is known of a file from its last reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last<'a> {
    /// Bytes that it had.
    pub(super) size: u64,
    /// What they hashed to.
    pub(super) root: Digest,
    /// The index of it.
    pub(super) index: &'a Path,
    /// Its hint.
    pub(super) kept: &'a Kept,
}

/// What a hint comes to.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// What need not be read, and the hashes of it.
    pub(super) rest: Option<(Unchanged, Index)>,
    /// Read it all the same, and compare.
    pub(super) check: bool,
    /// What to keep for the next reading.
    pub(super) kept: Option<Kept>,
    /// Why all of it is read.
    pub(super) why: Option<String>,
}

/// The first bytes of an image that may have bitmaps; none where it is no image, or too small to be worth it.
fn head(disk: &dyn Disk, found: &Found) -> Option<Vec<u8>> {
    if found.node != FoundNode::File || found.stat.size <= GROUP_BYTES {
        return None;
    }
    let file = disk.open(&found.at, Open::Read).ok()?;
    let mut head = vec![0; HEAD_BYTES];
    let read = file.read_at(&mut head, 0).ok()?;
    head.truncate(read);
    is_image(&head).then_some(head)
}

/// Whether the file is a large image, which a hint would be for.
pub(super) fn is_hinted(disk: &dyn Disk, found: &Found) -> bool {
    head(disk, found).is_some()
}

/// Begins a bitmap in each image of `tree` that is to be read, and takes out those that nobody names any more.
/// `unread` says which are to be read, and the bitmap that each one's kept hashes name.
pub(super) fn begin(
    disk: &dyn Disk,
    hints: &Hints,
    tree: &Tree,
    unread: impl Fn(&Found) -> Option<Option<String>>,
    random: impl Fn() -> Uuid,
) -> BTreeMap<String, Begun> {
    let mut all = BTreeMap::new();
    for found in &tree.found {
        let Some(kept) = unread(found) else { continue };
        let Some(head) = head(disk, found) else { continue };
        let name = format!("{}-{:016x}", hints.bitmap, random().as_u64_pair().1);
        all.insert(found.path.clone(), begin_one(disk, hints, found, &head, kept.as_deref(), name));
    }
    all
}

fn begin_one(disk: &dyn Disk, hints: &Hints, found: &Found, head: &[u8], kept: Option<&str>, name: String) -> Begun {
    let header = header(head)?;
    let file = disk.open(&found.at, Open::Read).map_err(|error| error.to_string())?;
    let listed = bitmap::list(&*file, &found.at, &header)?;
    drop(file);
    // Before the new one: what an unclean end left must not look clean by being written anew.
    let doubt = kept.and_then(|kept| named(&listed, kept).err());
    hints.tool.add(&found.at, &name)?;
    for listed in listed.iter().filter(|listed| Some(&*listed.name) != kept && is_own(hints, &listed.name)) {
        hints.tool.remove(&found.at, &listed.name)?;
    }
    Ok(Fresh { bitmap: name, doubt })
}

/// The bitmap of this name, which records all that is written; else why there is none.
fn named<'a>(all: &'a [bitmap::Listed], name: &str) -> Result<&'a bitmap::Listed, String> {
    let listed = all.iter().find(|listed| listed.name == name).ok_or_else(|| format!("it has no bitmap {name}"))?;
    doubt(listed).map_or(Ok(listed), |doubt| Err(format!("the bitmap {name} {doubt}")))
}

/// Whether it is the name of a bitmap that was begun here.
fn is_own(hints: &Hints, name: &str) -> bool {
    let digits = name.strip_prefix(&*hints.bitmap).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Looks at what a bitmap says of an image, which nobody writes from before this until its reading has ended. Writes
/// the image's map as `map`, an empty file of this path.
pub(super) fn judge(
    disk: &dyn Disk,
    (file, path): (&dyn DiskFile, &Path),
    (begun, hints): (&Begun, &Hints),
    last: Option<Last<'_>>,
    map: &Path,
    now: Timestamp,
) -> Judged {
    let Fresh { bitmap: begun, doubt } = match begun {
        Ok(fresh) => fresh,
        Err(why) => return Judged { why: Some(why.clone()), ..Judged::default() },
    };
    let image = match Image::open(file, path) {
        Ok(image) => image,
        Err(why) => return Judged { why: Some(why), ..Judged::default() },
    };
    let new = named(&image.bitmaps, begun).and_then(|_| empty(disk, map));
    let rest = match (last, doubt) {
        (None, _) => Err("its bitmap begins now".to_owned()),
        (Some(_), Some(doubt)) => Err(doubt.clone()),
        (Some(last), None) => image.since(disk, last, map).map(|found| (found, last.kept.checked_at)),
    };
    let (rest, digest) = match rest {
        Ok(((found, digest), checked_at)) => (Ok((found, checked_at)), new.map(|()| digest)),
        Err(why) => (Err(why), new.and_then(|()| empty(disk, map)).and_then(|()| image.map(disk, map))),
    };
    let kept = |checked_at| {
        let digest = digest.clone().ok()?;
        let name = map.file_name()?.to_string_lossy().into_owned();
        let Header { size, cluster_bits, .. } = image.header;
        Some(Kept { bitmap: begun.clone(), map: name, digest, size, cluster_bits, checked_at })
    };
    match rest {
        Ok((rest, checked_at)) => {
            // A clock that was set back proves nothing.
            let check = checked_at > now || now.since(checked_at) >= hints.period;
            let kept = kept(if check { now } else { checked_at });
            Judged { rest: Some(rest), check, kept, why: None }
        }
        Err(why) => Judged { rest: None, check: false, kept: kept(now), why: Some(why) },
    }
}

/// An image whose tables may be relied on.
struct Image<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    file_size: u64,
    header: Header,
    bitmaps: Vec<bitmap::Listed>,
}

impl<'a> Image<'a> {
    fn open(file: &'a dyn DiskFile, path: &'a Path) -> Result<Self, String> {
        let file_size = file.len().map_err(|error| error.to_string())?;
        let mut head = vec![0; HEAD_BYTES];
        let read = file.read_at(&mut head, 0).map_err(|error| error.to_string())?;
        let header = header(&head[..read])?;
        let bitmaps = bitmap::list(file, path, &header)?;
        Ok(Self { file, path, file_size, header, bitmaps })
    }

    /// Writes the map.
    fn map(&self, disk: &dyn Disk, map: &Path) -> Result<Digest, String> {
        let to = disk.open(map, Open::ReadWrite).map_err(|error| error.to_string())?;
        let (digest, _) = unchanged((self.file, self.path), &self.header, self.file_size, (&*to, map), None)?;
        Ok(digest)
    }

    /// What is as it was at the last reading. Writes the map too.
    fn since(&self, disk: &dyn Disk, last: Last<'_>, map: &Path) -> Result<((Unchanged, Index), Digest), String> {
        let Last { size, root, index, kept } = last;
        if (kept.size, kept.cluster_bits) != (self.header.size, self.header.cluster_bits) {
            return Err("its size was changed".to_owned());
        }
        let written = written(self.file, self.path, &self.header, named(&self.bitmaps, &kept.bitmap)?)?;
        let hashes = Index::open(disk, index, Open::Read).map_err(|error| error.to_string())?;
        let hashes = hashes.ok_or_else(|| "the hashes that were kept of it are gone".to_owned())?;
        if !hashes.is_sound(size, root).map_err(|error| error.to_string())? {
            return Err("the hashes that were kept of it are damaged".to_owned());
        }
        let open = |path: &Path, how| disk.open(path, how).map_err(|error| format!("its map: {error}"));
        let was = open(&index.with_file_name(&kept.map), Open::Read)?;
        let to = open(map, Open::ReadWrite)?;
        let since = Since { map: &*was, digest: kept.digest, written: &written, size };
        let file = (self.file, self.path);
        let (digest, found) = unchanged(file, &self.header, self.file_size, (&*to, map), Some(since))?;
        let found = found.ok_or_else(|| "nothing is known of it".to_owned())?;
        Ok(((found, hashes), digest))
    }
}

/// An empty file in the place of whatever is there.
fn empty(disk: &dyn Disk, path: &Path) -> Result<(), String> {
    let made = disk.open(path, Open::Create).and_then(|file| file.set_len(0));
    made.map_err(|error| format!("cannot make {}: {error}", path.display()))
}

/// Where the map of a file is kept whose index has this path.
pub(super) fn map_beside(index: &Path) -> PathBuf {
    index.with_extension("map")
}
