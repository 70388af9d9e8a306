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
    /// only touched is the same content.
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
