//! Files that are written for people and other programs: whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Puts `bytes` in the place of the file at `path`, through a neighbour that is renamed over it.
///
/// Guarantee: whoever reads `path` sees the old content or the new one, and the new one is durable when this returns.
/// A crash leaves at most the neighbour `.NAME.new` behind. The former file's permissions stay; a link is followed.
///
/// # Errors
/// Those of the file system.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A device or a pipe, such as /dev/stdout, is written to as it is.
    let known = fs::metadata(path);
    if known.as_ref().is_ok_and(|known| !known.is_file()) {
        return fs::write(path, bytes);
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut neighbour = std::ffi::OsString::from(".");
    neighbour.push(name);
    neighbour.push(".new");
    let neighbour = parent.join(neighbour);
    let written = write(&neighbour, bytes, known.ok().map(|known| known.permissions().mode()))
        .and_then(|()| fs::rename(&neighbour, &path))
        .and_then(|()| sync(parent));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&neighbour);
    })
}

fn write(path: &PathBuf, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let mut file = File::create(path)?;
    if let Some(mode) = mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("plan.json");
        replace(&path, b"one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
        assert!(replace(&dir.path().join("none/plan.json"), b"x").is_err());
    }
}
