//! The block engine: how the files of a resource become a recovery point at another region, and stay one.
//!
//! # How a sync goes
//! Files are cut into blocks of 64 KiB and groups of 64 blocks. A block is known by the BLAKE3 of its bytes, a group
//! by that of its blocks' hashes, a file by that of its size and all group hashes, a point by that of all entries.
//! Holes and blocks of zeros have the hash of zeros and never travel.
//!
//! 1. The source ([`source`]) looks at all files and reads those whose inode, size, times changed since it last did;
//!    the hashes of the others are remembered (`scan`). Every core hashes; holes are not read. Of a disk whose bitmap
//!    says what was written since, the rest need not be read ([`hint`]).
//! 2. The target ([`target`], [`receive`]) finishes what an earlier sync left, refuses a source that looks lost
//!    ([`suspicion`]), looks at its own files ([`inspect`]), and sets aside what somebody wrote there (`aside`).
//! 3. Group hashes go to the target, then block hashes of the groups that differ (`survey`): it knows now what it
//!    lacks, whether that is too much to believe, and whether there is room.
//! 4. Those blocks travel ([`transfer`]), a few requests at a time, and are put beside the replica: blocks of a large
//!    file that is there into an *overlay*, everything of a new or small one into a *staged* file. Each is hashed
//!    before it is kept; every 64 MiB they are synced, and only then their slots say that they are there.
//! 5. The source looks at its files again. Where one changed, the reading is repeated and what arrived stays.
//! 6. The target publishes ([`publish`]): the new point is *sealed*, the old blocks that will be overwritten are saved
//!    into the old point's *undo* (`undo`), files that leave are moved there, staged ones moved in, large ones
//!    patched (`putting`), and one commit makes the point the newest. [`prune`] then drops what [`retention`] does
//!    not want any more.
//!
//! So the replica's files always show the newest point, as plain files, and an older point is read through layers
//! (`layer`, [`points`]): its undo, then that of each later point, then the files.
//!
//! When the region is to hold the resource, [`promote`] makes the files those of the point that was chosen and tells
//! which points a machine that writes into them takes along; `renew` makes points of what is here already, so that they
//! share nothing with those files. When it held the resource itself and is to keep copies again, [`adopt`] makes a point
//! of what lies there, to compare the first copy with.
//!
//! What a replica holds is read back a part at a time ([`audit`]), and all at once where a person asks ([`verify`]): files
//! that are not what was copied are not trusted from then on, and the next sync reads and mends them.
//!
//! # What holds, and after a crash where
//!
//! | step | guarantee | a crash in it leaves behind |
//! | --- | --- | --- |
//! | reading | nothing of the resource is written, but for bitmaps where they are asked for | a scan cache as it was, or newer |
//! | setting aside | what is moved or overwritten later is kept under a name first | the point set aside, or a layer that the next one overwrites |
//! | comparing | the source's hashes agree with each other and with its list of files | overlays with fewer blocks than before |
//! | copying | a block that is not what its hash says is never kept; a slot is written after its block is durable | what the last checkpoint had; the next sync hashes it again and asks for the rest |
//! | sealing | all that arrived is durable before the commit | either side of the commit; from it on no source is needed |
//! | saving the undo | the replica's files are not touched | the old point as it was; the undo is saved anew |
//! | taking out, putting in | the old point can be read through its undo | files of both points; recovery does it again |
//! | the last commit | new point, identities of its files, damaged points: all or nothing | either side |
//! | promoting | no file of the newest point is touched before the files that take its place are durable, and then it stays a point | what the next promotion or opening finishes |
//! | adopting | nothing but indexes is written before the commit | indexes without a record |
//! | dropping | an older point finds the same bytes before, during and after a merge | a point half merged, finished by the next opening |
//!
//! The newest complete point can therefore be exported at any time, before recovery too, and on a full disk too.
//!
//! # What is assumed
//! One process at a time writes a region's directory, and one sync at a time a resource (the region's lock). The
//! disk keeps what it has synced; where it does not, reading shows it: every export hashes every byte. A catalog's
//! commit is durable when it returns. A source's clock may be wrong by any amount as long as it is the clock of its
//! own file system.
//!
//! # What is bounded
//! Memory does not grow with a disk's size: hashes are read from and written to index files group by group, four
//! requests of 4 MiB are in flight, and hashing holds one group per core. It does grow with the number of files: each
//! holds its place in the source's list, which both ends share where they are one program, some 300 bytes while it is
//! compared, and its place in the list that is kept.

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
mod bitmap;
mod clusters;
pub mod hint;
mod scan;
pub mod source;
pub mod retention;
pub mod inspect;
mod beside;
mod room;
mod refusing;
mod aside;
mod survey;
pub mod receive;
mod losses;
mod undo;
mod putting;
mod renew;
pub mod publish;
pub mod prune;
pub mod target;
pub mod points;
pub mod export;
pub mod adopt;
pub mod promote;
pub mod giving;
pub mod verify;
pub mod audit;
pub mod pace;
pub mod transfer;

pub use fault::{Stop, StopCheck};
#[cfg(test)]
mod tests;
