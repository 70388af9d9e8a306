//! How much one client, and all of them together, may ask of a server.

use std::time::Duration;

/// A body that names an order and little else.
pub(super) const SMALL: usize = 64 << 10;
/// A body of hashes: those of all blocks of 64 groups, in hexadecimal.
pub(super) const HASHES: usize = 1 << 20;
/// A body with a manifest of 100,000 files, or all records of a region.
pub(super) const LARGE: usize = 32 << 20;
/// A body of blocks: one request of the port with its heads.
pub(super) const BLOCKS: usize = 8 << 20;

/// All headers of a request.
pub(super) const HEADERS: usize = 32 << 10;
/// The time in which they must have come; also how long an idle connection is kept.
pub(super) const HEADER_TIME: Duration = Duration::from_secs(10);
/// The time for a TLS handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// The time in which a body must have come.
pub(super) const BODY_TIME: Duration = Duration::from_secs(60);
/// The time that a body of blocks may take, on a slow line.
pub(super) const BLOCKS_TIME: Duration = Duration::from_secs(120);
/// The time for a request that is no operation, its body aside.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(60);

/// How long an answer waits for a client that takes less than [`STALL_BYTES`] of it.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// 4 KiB a second.
pub(super) const STALL_BYTES: usize = 240 << 10;

/// Requests that are answered at once.
pub(super) const REQUESTS: usize = 512;
/// Connections that are open at once; more wait to be accepted.
pub(super) const CONNECTIONS: usize = 1024;

/// How long a server that was told to end waits for what is under way. Within what service managers allow.
pub(super) const DRAIN: Duration = Duration::from_secs(30);
