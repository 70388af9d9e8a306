//! The machine under us, handed in: clock, ids, disk, database, lock.
