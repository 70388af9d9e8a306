//! The first topology, for somebody who has none yet.

/// A commented topology that validates as it is: three regions beside the file, what travels between them, one range
/// of VMs; policies stand there as comments.
pub const STARTER: &str = include_str!("starter.toml");
