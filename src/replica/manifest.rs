//! The list of everything that a point holds, and its root hash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ByteCount, Digest};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file: its size, holes included, and the root hash of its bytes.
    File {
        /// Size in bytes, holes included.
        size: ByteCount,
        /// Over the size and all group hashes.
        root: Digest,
    },
    /// A symbolic link that stays inside.
    Link {
        /// Its text.
        to: String,
    },
}

/// One path of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Below the resource's directory, with `/` between its parts; UTF-8.
    pub path: String,
    /// What stands there.
    pub node: Node,
    /// Permission bits.
    pub mode: u32,
    /// Modification time in nanoseconds since 1970. Kept at the replica, no part of the root hash: a file that was
    /// only touched is the same content, in a new point.
    pub mtime_ns: i64,
    /// Owner and group; set at a replica where the program runs as root.
    pub owner: (u32, u32),
}

/// Everything that a point holds, sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The entries; a parent stands before what is in it.
    pub entries: Vec<Entry>,
}

/// The longest path, in bytes.
const PATH_MAX: usize = 4095;
/// The longest part of a path, in bytes.
const NAME_MAX: usize = 255;
/// Sizes from here on are not of this world: offsets are signed.
const SIZE_MAX: u64 = 1 << 62;

/// What is wrong with a manifest: the source is broken, or hostile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A path that could lead anywhere.
    #[error("the path {0:?} is empty, absolute, too long, or has a part that is empty, `.` or `..`")]
    Path(String),
    /// Entries that are not sorted by path, or a path that stands there twice.
    #[error("{0:?} stands twice, or out of order")]
    Order(String),
    /// An entry whose parent is not a directory before it.
    #[error("{0:?} stands in no directory")]
    Parent(String),
    /// A link that leads outside.
    #[error("the link {0:?} leads outside, to {1:?}")]
    Link(String, String),
    /// A size, mode or time that no file has.
    #[error("{0:?} has a size, mode or time that no file has")]
    Figures(String),
}

impl Manifest {
    /// The root hash over all files: paths, kinds, modes, sizes, contents and link texts. Not times and owners.
    pub fn data_hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.entries {
            let Entry { path, node, mode, mtime_ns: _, owner: _ } = entry;
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path.as_bytes()).update(&mode.to_le_bytes());
            match node {
                Node::Directory => hasher.update(b"d"),
                Node::File { size, root } => hasher.update(b"f").update(&size.0.to_le_bytes()).update(&root.0),
                Node::Link { to } => hasher.update(b"l").update(&(to.len() as u64).to_le_bytes()).update(to.as_bytes()),
            };
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// All files' sizes together, holes included.
    pub fn bytes(&self) -> ByteCount {
        self.files().map(|(_, size, _)| size).sum()
    }

    /// The regular files: path, size, root.
    pub fn files(&self) -> impl Iterator<Item = (&str, ByteCount, Digest)> {
        self.entries.iter().filter_map(|entry| match entry.node {
            Node::File { size, root } => Some((entry.path.as_str(), size, root)),
            Node::Directory | Node::Link { .. } => None,
        })
    }

    /// Checks that nothing in it can lead outside the directory that it is put into, and that it is in its one
    /// order. Every manifest from elsewhere goes through here before anything is done by it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), ManifestError> {
        let mut directories = std::collections::BTreeSet::new();
        let mut before: Option<&str> = None;
        for entry in &self.entries {
            let Entry { path, node, mode, mtime_ns: _, owner: _ } = entry;
            if !is_inner_path(path) {
                return Err(ManifestError::Path(path.clone()));
            }
            if before.is_some_and(|before| before >= path.as_str()) {
                return Err(ManifestError::Order(path.clone()));
            }
            before = Some(path);
            if path.rsplit_once('/').is_some_and(|(parent, _)| !directories.contains(parent)) {
                return Err(ManifestError::Parent(path.clone()));
            }
            if *mode > 0o7777 {
                return Err(ManifestError::Figures(path.clone()));
            }
            match node {
                Node::Directory => {
                    directories.insert(path.as_str());
                }
                Node::File { size, root: _ } => {
                    if size.0 >= SIZE_MAX {
                        return Err(ManifestError::Figures(path.clone()));
                    }
                }
                Node::Link { to } => {
                    if !stays_inside(path, to) {
                        return Err(ManifestError::Link(path.clone(), to.clone()));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the path is relative and has only real names in it.
pub(super) fn is_inner_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= PATH_MAX
        && path.split('/').all(|part| {
            !part.is_empty() && part != "." && part != ".." && part.len() <= NAME_MAX && !part.contains('\0')
        })
}

/// Whether a link at `path` that says `to` stays inside whatever the names in it are.
///
/// `..` is allowed only in front: behind a name that is itself a link it would lead elsewhere than it seems.
pub(super) fn stays_inside(path: &str, to: &str) -> bool {
    if to.is_empty() || to.len() > PATH_MAX || to.starts_with('/') || to.contains('\0') {
        return false;
    }
    let mut depth = path.matches('/').count();
    let mut descending = false;
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." if descending || depth == 0 => return false,
            ".." => depth -= 1,
            _ => descending = true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, node: Node) -> Entry {
        Entry { path: path.into(), node, mode: 0o644, mtime_ns: 1, owner: (0, 0) }
    }

    fn file(path: &str) -> Entry {
        entry(path, Node::File { size: ByteCount(1), root: Digest([1; 32]) })
    }

    fn verdict(entries: Vec<Entry>) -> Result<(), ManifestError> {
        Manifest { entries }.validate()
    }

    #[test]
    fn an_honest_manifest_passes() {
        let link = entry("a/l", Node::Link { to: "../b".into() });
        assert_eq!(verdict(vec![entry("a", Node::Directory), file("a-b"), link, file("b")]), Ok(()));
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\0b", &"x".repeat(256)] {
            assert_eq!(verdict(vec![file(path)]), Err(ManifestError::Path(path.into())), "{path:?}");
        }
        assert_eq!(verdict(vec![file("a/b")]), Err(ManifestError::Parent("a/b".into())));
        assert_eq!(verdict(vec![file("a"), file("a/b")]), Err(ManifestError::Parent("a/b".into())));
        let link = entry("a", Node::Link { to: "b".into() });
        assert_eq!(verdict(vec![link, file("a/b")]), Err(ManifestError::Parent("a/b".into())));
    }

    #[test]
    fn order_and_figures_are_checked() {
        assert_eq!(verdict(vec![file("a"), file("a")]), Err(ManifestError::Order("a".into())));
        assert_eq!(verdict(vec![file("b"), file("a")]), Err(ManifestError::Order("a".into())));
        let huge = entry("a", Node::File { size: ByteCount(u64::MAX), root: Digest([1; 32]) });
        assert_eq!(verdict(vec![huge]), Err(ManifestError::Figures("a".into())));
        let mode = Entry { mode: 0o10644, ..file("a") };
        assert_eq!(verdict(vec![mode]), Err(ManifestError::Figures("a".into())));
    }

    #[test]
    fn links_stay_inside_however_they_are_written() {
        for (path, to) in [("l", "x"), ("a/l", ".."), ("a/b/l", "../../x/y"), ("l", "./x"), ("l", "x/")] {
            assert!(stays_inside(path, to), "{path} -> {to}");
        }
        // `m -> l/../x` leads outside where `l -> ..` stands at depth one.
        for (path, to) in [("l", "/x"), ("l", ".."), ("a/l", "../.."), ("m", "l/../x"), ("l", ""), ("a/l", "../../x")] {
            assert!(!stays_inside(path, to), "{path} -> {to}");
        }
    }

    #[test]
    fn the_root_hash_leaves_times_and_owners_out() {
        let manifest = |entry: Entry| Manifest { entries: vec![entry] }.data_hash();
        let plain = manifest(file("a"));
        assert_eq!(plain, manifest(Entry { mtime_ns: 7, owner: (1, 1), ..file("a") }));
        assert_ne!(plain, manifest(Entry { mode: 0o600, ..file("a") }));
        assert_ne!(plain, manifest(file("b")));
        assert_ne!(plain, manifest(entry("a", Node::File { size: ByteCount(2), root: Digest([1; 32]) })));
        assert_ne!(plain, manifest(entry("a", Node::Link { to: "b".into() })));
    }
}
