//! Files that commands write: whole or not at all.

use std::path::Path;

use super::error::CliError;
use crate::host;

/// Puts `bytes` in the place of the file at `path`; see [`host::replace`].
///
/// # Errors
/// Those of the file system, naming `path`.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    host::replace(path, bytes).map_err(|source| CliError::File { action: "write", path: path.to_owned(), source })
}
