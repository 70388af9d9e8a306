//! What configured commands may ask for: `{id}`, `{dir}`, `{region}`, `{epoch}`.
//!
//! Owns the replacement, which is of text by text and in one pass: a value is never looked at again, is never split
//! into words and never meets a shell, so nothing in a name or a path can become part of a command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The values that a command's placeholders stand for; one without a value is left as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholders {
    values: Vec<(&'static [u8], OsString)>,
}

impl Placeholders {
    /// No values yet.
    pub const fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// With `{id}`: the resource's name.
    #[must_use]
    pub fn id(self, id: impl Into<OsString>) -> Self {
        self.with(b"{id}", id.into())
    }

    /// With `{dir}`: the directory of the resource's files.
    #[must_use]
    pub fn dir(self, dir: impl Into<OsString>) -> Self {
        self.with(b"{dir}", dir.into())
    }

    /// With `{region}`: the region's name.
    #[must_use]
    pub fn region(self, region: impl Into<OsString>) -> Self {
        self.with(b"{region}", region.into())
    }

    /// With `{epoch}`: the holder's epoch.
    #[must_use]
    pub fn epoch(self, epoch: u64) -> Self {
        self.with(b"{epoch}", epoch.to_string().into())
    }

    fn with(mut self, name: &'static [u8], value: OsString) -> Self {
        self.values.push((name, value));
        self
    }

    /// One argument with every placeholder replaced.
    pub fn expand(&self, argument: &OsStr) -> OsString {
        let mut rest = argument.as_bytes();
        let mut expanded = Vec::with_capacity(rest.len());
        while let Some(&first) = rest.first() {
            match self.values.iter().find(|(name, _)| rest.starts_with(name)) {
                Some((name, value)) => {
                    expanded.extend_from_slice(value.as_bytes());
                    rest = &rest[name.len()..];
                }
                None => {
                    expanded.push(first);
                    rest = &rest[1..];
                }
            }
        }
        OsString::from_vec(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_never_looked_at_again() {
        let places = Placeholders::new().id("{dir}; rm -rf /").dir("/a b/{id}").region("eu").epoch(7);
        let expand = |text: &str| places.expand(OsStr::new(text));
        assert_eq!(expand("{id}"), "{dir}; rm -rf /");
        assert_eq!(expand("--at={dir}@{region}#{epoch}"), "--at=/a b/{id}@eu#7");
        assert_eq!(expand("{ID} {} {unknown} {{epoch}}"), "{ID} {} {unknown} {7}");
        assert_eq!(Placeholders::new().expand(OsStr::new("{id}")), "{id}");
        // What is taken for a placeholder where a file is read is one.
        for name in crate::config::region::PLACEHOLDERS {
            assert_ne!(expand(&format!("{{{name}}}")), format!("{{{name}}}").as_str());
        }
    }
}
