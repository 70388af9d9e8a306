//! Files become a topology, every problem with its place.
