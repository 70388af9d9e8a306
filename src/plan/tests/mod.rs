//! Planning against a model world: regions as plain data, and an applier that does to them what a plan says.

mod world;
mod situations;
mod unseen;
mod copies;
mod later;
mod properties;
mod scale;
