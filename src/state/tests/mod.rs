//! The state file as its users meet it.
