//! How freed memory is kept.
//!
//! The C library gives each thread that asks for memory an area of its own, and keeps in each what was freed there. A
//! server whose blocks of some megabytes are taken by one thread and let go by another comes to hold several times of
//! what it uses. And it gives blocks of that size back to the system as soon as they are let go, so that the next ones
//! are pages that the system has to find and wipe first: for a copy of 410 MiB 24,000 of them at each end instead of
//! 4,000. The C library listens to nothing but the environment that a program is begun with.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the C library of most Linux systems reads; another one takes no notice.
const ARENAS: &str = "MALLOC_ARENA_MAX";
/// Pieces up to so many bytes come from what is kept: more than a request's blocks are.
const KEPT_PIECES: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "8388608");
/// So many bytes are kept: about what the requests of a transfer take that are in flight.
const KEPT: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "16777216");

/// Begins the program anew with one area for all threads, which keeps some of what is let go, where it is to serve and
/// nobody has said how many areas there are to be. It is the same process still. Where that cannot be done, it goes on as it is.
pub fn share_memory(args: &[OsString]) {
    let [name, rest @ ..] = args else { return };
    if !rest.iter().any(|arg| arg == "serve") || std::env::var_os(ARENAS).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // It comes back only where it failed, and then nothing is lost but memory.
        let _ = Command::new(program).arg0(name).args(rest).env(ARENAS, "1").envs([KEPT_PIECES, KEPT]).exec();
    }
}
