//! Declarative replication and failover of Debian/KVM regions.
//!
//! ```text
//!  topology/*.toml ──config──▶ desired ─┐
//!  live regions ────live─────▶ observed ├─▶ plan ──▶ Plan ──▶ execute ──▶ live regions
//!  state.db ────────state────▶ recorded ┘  (pure)    (data)   (effects)      │ history
//!                                                                            ▼
//!                                                                         state.db
//! ```
//!
//! Rooms, in reading order. A room imports only from rooms above it in this list; `tests/it/tidy.rs` holds it.

pub mod model;
pub mod config;
pub mod host;
pub mod process;
pub mod failover;
pub mod replica;
pub mod wire;
pub mod plan;
pub mod live;
pub mod region;
pub mod state;
pub mod execute;
pub mod fleet;
pub mod serve;
pub mod render;
pub mod cli;
