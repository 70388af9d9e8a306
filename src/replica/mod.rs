//! The block engine: how the files of a resource become a recovery point at another region, and stay one.

pub mod port;
pub mod manifest;
pub mod place;
pub mod catalog;
pub mod suspicion;
mod block;
mod fault;
mod index;
mod layer;
mod qcow2;
pub mod tree;
mod hashing;
mod scan;
pub mod source;
pub mod retention;
pub mod inspect;
mod aside;
mod survey;
pub mod receive;
mod undo;
mod putting;
pub mod publish;
pub mod prune;
pub mod target;
pub mod points;
pub mod export;
pub mod verify;
pub mod transfer;
#[cfg(test)]
mod tests;
