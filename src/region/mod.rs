//! What a region is: its store, roles, points, and the port served in-process.
