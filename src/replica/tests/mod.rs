//! The engine as a whole, between two directories of this machine: what is found after a crash at every call, after
//! random lives, after hands and bad disks, and with sources that lie.

mod attributes;
mod audit;
mod bad;
mod crash;
mod damage;
mod hints;
mod hostile;
mod lab;
mod later;
mod lives;
mod odd_disk;
mod mending;
mod order;
mod pace;
mod promotion;
mod room;
mod sparse;
mod travel;
