//! Planning against a model world.
