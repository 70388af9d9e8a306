//! Hashing a resource's files at their holder, and remembering it: a file that did not change since is not read.
//!
//! The cache is a directory with `scan.json` (for each path the file's identity, its root, when it was read) and one
//! index per large file. It is written whole: new indexes first and synced, then `scan.json` by renaming, then what
//! nobody refers to any more is removed. A crash leaves the former cache, or the new one and a few files too many. A
//! cache that is lost or unreadable costs reading everything again, never a wrong copy: the target checks the hashes
//! that it is given against the roots, and every block against its hash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::block::GROUP_BYTES;
use super::catalog::FileIdentity;
use super::fault::{StopCheck, cannot};
use super::hashing::{hash_and_check, hash_file, hash_rest, lock, on_all_cores, read_small};
use super::hint::{self, Begun, Hinting, Hints, Kept, Last, begin, judge, map_beside};
use super::index::Index;
use super::layer::remove_if_there;
use super::place::Place;
use super::port::TransferError;
use super::tree::{Found, FoundNode, Tree, identity, walk};
use crate::host::disk::{Disk, DiskFile, FileKind, Open, replace_file};
use crate::model::{Clock, Digest, Timestamp};

const CACHE: &str = "scan.json";
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    identity: FileIdentity,
    root: Digest,
    /// The name of its index, of a large file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    index: Option<String>,
    /// What its next reading may go by.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hint: Option<Kept>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cache {
    version: u32,
    /// The number that the next index is named by.
    next: u64,
    files: BTreeMap<String, Remembered>,
    /// Files in which a bitmap missed what was written, and what its name began with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    disbelieved: BTreeMap<String, String>,
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub(super) struct Scanned {
    /// Its name in the resource.
    pub(super) path: String,
    /// Where its bytes were read, and are.
    pub(super) at: PathBuf,
    /// Its size as it was read.
    pub(super) size: u64,
    /// Its root.
    pub(super) root: Digest,
    /// Its index, of a large file.
    pub(super) index: Option<PathBuf>,
}

/// What to hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScanOrder<'a> {
    /// The cache's directory.
    pub(super) cache: &'a Path,
    /// The files as they lie, looked at before any of them is read or copied: what the cache knows them by.
    pub(super) live: &'a Tree,
    /// The files to read, where these are copies of the former.
    pub(super) copy: Option<&'a Tree>,
    /// When the reading began.
    pub(super) began: Timestamp,
    /// How coarse the files' times are.
    pub(super) grain: Duration,
    /// Whether to read every byte.
    pub(super) full: bool,
    /// Whether bitmaps are used.
    pub(super) hinting: &'a Hinting,
    /// Those that were begun before the files were looked at.
    pub(super) begun: &'a BTreeMap<String, Begun>,
}

/// What was hashed.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The files.
    pub(super) files: Vec<Scanned>,
    /// What whoever asked must be told.
    pub(super) notes: Vec<String>,
}

fn load(disk: &dyn Disk, directory: &Path) -> Cache {
    let empty = Cache { version: VERSION, ..Cache::default() };
    let path = directory.join(CACHE);
    let Ok(file) = disk.open(&path, Open::Read) else { return empty };
    let Ok(size) = file.len() else { return empty };
    let mut bytes = vec![0; size as usize];
    match file.read_at(&mut bytes, 0) {
        Ok(read) if read == bytes.len() => {}
        Ok(_) | Err(_) => return empty,
    }
    serde_json::from_slice::<Cache>(&bytes).ok().filter(|cache| cache.version == VERSION).unwrap_or(empty)
}

/// How coarse the times of these files are: a file that was read less than this after its last change may have changed
/// again without showing it.
pub(super) fn grain(disk: &dyn Disk, tree: &Tree) -> Duration {
    let files = tree.found.iter().filter(|found| found.node == FoundNode::File);
    let one_each: BTreeMap<u64, &Found> = files.map(|found| (found.stat.dev, found)).collect();
    one_each.values().map(|found| disk.grain(&found.at)).max().unwrap_or_default()
}

/// Whether a file that was looked at when a reading began cannot have changed later without showing it.
pub(super) fn settled(ctime_ns: i64, began: Timestamp, grain: Duration) -> bool {
    age_ns(ctime_ns, began) > nanos(grain)
}

fn age_ns(ctime_ns: i64, now: Timestamp) -> i64 {
    now.as_micros().saturating_mul(1000).saturating_sub(ctime_ns)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Looks at a resource's files, waiting once and not for long until every file's last change is old enough to show a
/// later one.
pub(super) fn look_when_settled(disk: &dyn Disk, clock: &dyn Clock, live: &Place) -> Result<Tree, TransferError> {
    let tree = walk(disk, live)?;
    let grain = nanos(grain(disk, &tree));
    let age = age_ns(tree.latest_change_ns(), clock.now());
    // Clocks that are far apart are not mended by waiting.
    if !(-grain..=grain).contains(&age) {
        return Ok(tree);
    }
    let wait = grain.saturating_sub(age).saturating_add(2_000_000);
    std::thread::sleep(Duration::from_nanos(u64::try_from(wait).unwrap_or(0)));
    walk(disk, live)
}

/// Hashes all files of an order. `in_use` are indexes that other readings still refer to.
///
/// # Errors
/// I/O errors; [`TransferError::Interrupted`].
pub(super) fn scan(
    disk: &dyn Disk,
    order: &ScanOrder<'_>,
    in_use: &BTreeSet<PathBuf>,
    stop: &StopCheck,
) -> Result<Scan, TransferError> {
    // A cache that is lost costs reading again: nobody waits for its directory to be durable.
    disk.create_dir_all(order.cache).map_err(cannot("make the directory", order.cache))?;
    let mut cache = load(disk, order.cache);
    let live: BTreeMap<&str, &Found> = order.live.found.iter().map(|found| (found.path.as_str(), found)).collect();
    let files: Vec<&Found> =
        order.copy.unwrap_or(order.live).found.iter().filter(|found| found.node == FoundNode::File).collect();
    let before = cache.clone();

    let known = |found: &Found| -> Option<Scanned> {
        let was = before.files.get(&found.path).filter(|_| !order.full)?;
        let now = live.get(found.path.as_str())?;
        let same = was.identity == identity(&now.stat) && found.stat.size == now.stat.size;
        same.then(|| Scanned {
            path: found.path.clone(),
            at: found.at.clone(),
            size: was.identity.size,
            root: was.root,
            index: was.index.as_ref().map(|name| order.cache.join(name)),
        })
    };
    let mut done: BTreeMap<String, Scanned> = BTreeMap::new();
    let mut small: Vec<&Found> = Vec::new();
    let mut large: Vec<&Found> = Vec::new();
    for found in files {
        match known(found) {
            Some(scanned) if scanned.index.as_ref().is_none_or(|index| disk.symlink_metadata(index).is_ok()) => {
                done.insert(found.path.clone(), scanned);
            }
            Some(_) | None if found.stat.size <= GROUP_BYTES => small.push(found),
            Some(_) | None => large.push(found),
        }
    }

    let fresh: Mutex<Vec<Scanned>> = Mutex::new(Vec::new());
    on_all_cores(
        small.len(),
        || (),
        |at, ()| {
            stop.go_on()?;
            let found = small[at];
            let file = disk.open(&found.at, Open::Read).map_err(cannot("open", &found.at))?;
            let (_, root) = read_small(&*file, &found.at, found.stat.size)?;
            lock(&fresh).push(Scanned {
                path: found.path.clone(),
                at: found.at.clone(),
                size: found.stat.size,
                root,
                index: None,
            });
            Ok(())
        },
    )?;
    let mut fresh = fresh.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut hinted = Hinted::default();
    for found in large {
        let name = format!("{}.idx", cache.next);
        cache.next += 1;
        let path = order.cache.join(&name);
        remove_if_there(disk, &path)?;
        let index = Index::create(disk, &path)?;
        let file = disk.open(&found.at, Open::Read).map_err(cannot("open", &found.at))?;
        let was = before.files.get(&found.path);
        let root = hinted.hash(disk, order, (&*file, found), (&index, &path), was, stop)?;
        index.sync()?;
        fresh.push(Scanned {
            path: found.path.clone(),
            at: found.at.clone(),
            size: found.stat.size,
            root,
            index: Some(path),
        });
    }
    cache.disbelieved.append(&mut hinted.disbelieved);

    for scanned in &fresh {
        let name = scanned.index.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into());
        let remembered = live.get(scanned.path.as_str()).filter(|found| {
            // A file that changed while it was read, or just before, is not remembered.
            let still = order.copy.is_some()
                || disk.symlink_metadata(&found.at).is_ok_and(|stat| identity(&stat) == identity(&found.stat));
            still && settled(found.stat.ctime_ns, order.began, order.grain)
        });
        match remembered {
            Some(found) => {
                let hint = hinted.kept.remove(&scanned.path);
                let remembered = Remembered { identity: identity(&found.stat), root: scanned.root, index: name, hint };
                cache.files.insert(scanned.path.clone(), remembered);
            }
            None => {
                cache.files.remove(&scanned.path);
            }
        }
    }
    cache.files.retain(|path, _| live.contains_key(path.as_str()));
    cache.disbelieved.retain(|path, _| live.contains_key(path.as_str()));
    done.extend(fresh.into_iter().map(|scanned| (scanned.path.clone(), scanned)));
    if cache != before {
        store(disk, order.cache, &cache, done.values().any(|file| file.index.is_some()))?;
    }
    let mut referred: BTreeSet<PathBuf> = in_use.clone();
    referred.extend(cache.files.values().filter_map(|file| file.index.as_ref()).map(|name| order.cache.join(name)));
    let maps = cache.files.values().filter_map(|file| file.hint.as_ref());
    referred.extend(maps.map(|hint| order.cache.join(&hint.map)));
    referred.extend(done.values().filter_map(|scanned| scanned.index.clone()));
    sweep(disk, order.cache, &referred)?;
    Ok(Scan { files: done.into_values().collect(), notes: hinted.notes })
}

/// What comes of the hints of one scan.
#[derive(Debug, Default)]
struct Hinted {
    kept: BTreeMap<String, Kept>,
    disbelieved: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Hinted {
    /// Hashes a large file: all of it, or what a hint leaves over.
    fn hash(
        &mut self,
        disk: &dyn Disk,
        order: &ScanOrder<'_>,
        (file, found): (&dyn DiskFile, &Found),
        (index, index_path): (&Index, &Path),
        was: Option<&Remembered>,
        stop: &StopCheck,
    ) -> Result<Digest, TransferError> {
        let size = found.stat.size;
        let whole = || hash_file(file, &found.at, size, Some(index), stop).map(|(root, _)| root);
        let (begun, hints) = match (order.begun.get(&found.path), order.hinting) {
            (Some(begun), Hinting::By(hints)) => (begun, hints),
            (_, Hinting::Refused(why)) if hint::is_hinted(disk, found) => {
                self.read_whole(found, why);
                return whole();
            }
            (None, Hinting::By(_)) | (_, Hinting::Off | Hinting::Refused(_)) => {
                let root = whole()?;
                // What was as it is has the bitmap that it had.
                let same = was.filter(|was| was.root == root && was.identity == identity(&found.stat));
                if let Some(kept) = same.and_then(|was| was.hint.as_ref()) {
                    self.kept.insert(found.path.clone(), kept.checked(order.began));
                }
                return Ok(root);
            }
        };
        let former =
            was.and_then(|was| was.index.as_ref().zip(was.hint.as_ref()).map(|(name, kept)| (was, name, kept)));
        let former = former.map(|(was, name, kept)| (was, order.cache.join(name), kept));
        let last =
            former.as_ref().map(|(was, index, kept)| Last { size: was.identity.size, root: was.root, index, kept });
        let map = map_beside(index_path);
        let judged = judge(disk, (file, &found.at), (begun, hints), last, &map, order.began);
        if let Some(kept) = judged.kept {
            self.kept.insert(found.path.clone(), kept);
        }
        if let Some(why) = &judged.why {
            self.read_whole(found, why);
        }
        let Some((unchanged, hashes)) = judged.rest else { return whole() };
        let file = (file, &*found.at);
        if !judged.check {
            return hash_rest(file, size, index, (&unchanged, &hashes), stop);
        }
        let (root, missed) = hash_and_check(file, size, index, (&unchanged, &hashes), stop)?;
        if missed > 0 {
            self.kept.remove(&found.path);
            self.disbelieved.insert(found.path.clone(), hints.bitmap.clone());
            self.notes.push(format!(
                "{}: {missed} blocks of 64 KiB were written without its bitmap: this copy has them, earlier ones may lack \
                 them; {}",
                found.path,
                disbelief(&hints.bitmap)
            ));
        }
        Ok(root)
    }

    fn read_whole(&mut self, found: &Found, why: &str) {
        self.notes.push(format!("{}: full comparison: {why}", found.path));
    }
}

/// What is told of bitmaps that nobody believes any more.
fn disbelief(bitmap: &str) -> String {
    format!("bitmaps of the name {bitmap} are not believed for it any more: find what writes it, then change the name")
}

/// Begins bitmaps in the images of `tree` that are to be read.
pub(super) fn begin_bitmaps(
    disk: &dyn Disk,
    directory: &Path,
    hints: &Hints,
    tree: &Tree,
    random: impl Fn() -> Uuid,
) -> BTreeMap<String, Begun> {
    let cache = load(disk, directory);
    let unread = |found: &Found| match cache.files.get(&found.path) {
        Some(was) if was.identity == identity(&found.stat) => None,
        was => Some(was.and_then(|was| was.hint.as_ref()).map(|hint| hint.bitmap.clone())),
    };
    let disbelieved = |found: &Found| cache.disbelieved.get(&found.path).is_some_and(|name| *name == hints.bitmap);
    let mut all = begin(disk, hints, tree, |found| unread(found).filter(|_| !disbelieved(found)), random);
    for found in tree.found.iter().filter(|found| disbelieved(found)) {
        all.insert(found.path.clone(), Err(disbelief(&hints.bitmap)));
    }
    all
}

fn store(disk: &dyn Disk, directory: &Path, cache: &Cache, indexes: bool) -> Result<(), TransferError> {
    let path = directory.join(CACHE);
    let bytes = serde_json::to_vec(cache).expect("plain data with text keys converts to JSON");
    if indexes {
        disk.sync_dir(directory).map_err(cannot("sync", directory))?;
    }
    replace_file(disk, &path, &bytes).map_err(cannot("write", &path))
}

/// Removes indexes and maps that nobody refers to.
fn sweep(disk: &dyn Disk, directory: &Path, referred: &BTreeSet<PathBuf>) -> Result<(), TransferError> {
    for name in disk.read_dir(directory).map_err(cannot("read the directory", directory))? {
        let path = directory.join(&name);
        let is_kept = path.extension().is_some_and(|suffix| suffix == "idx" || suffix == "map");
        if is_kept && !referred.contains(&path) {
            remove_if_there(disk, &path)?;
        }
    }
    Ok(())
}

/// What is remembered of a file: its identity and root; none where nothing is.
pub(super) fn remembered(
    disk: &dyn Disk,
    directory: &Path,
) -> BTreeMap<String, (FileIdentity, Digest, Option<PathBuf>)> {
    if !disk.symlink_metadata(directory).is_ok_and(|stat| stat.kind == FileKind::Directory) {
        return BTreeMap::new();
    }
    let files = load(disk, directory).files.into_iter();
    files.map(|(path, file)| (path, (file.identity, file.root, file.index.map(|name| directory.join(name))))).collect()
}
