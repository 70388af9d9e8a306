//! Both sides of a resource, file by file: whether they are equal, and which of them is not what the newest point
//! says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{FileComparison, Side};
use crate::live::port::{ContentCheck, FileCheck, FileVerdict};

/// Compares what was read at the holder with what was read at a replica, by path.
pub(super) fn compare(source: &ContentCheck, target: &ContentCheck) -> Vec<FileComparison> {
    let by_path = |check: &ContentCheck| -> BTreeMap<String, FileCheck> {
        check.files.iter().map(|file| (file.path.clone(), file.clone())).collect()
    };
    let (at_source, at_target) = (by_path(source), by_path(target));
    let paths: BTreeSet<&String> = at_source.keys().chain(at_target.keys()).collect();
    let compared = paths.into_iter().map(|path| {
        let (ours, theirs) = (at_source.get(path), at_target.get(path));
        let root = |file: Option<&FileCheck>| file.and_then(|file| file.root);
        FileComparison {
            path: path.clone(),
            equal: root(ours).is_some() && root(ours) == root(theirs),
            source: side(ours),
            target: side(theirs),
        }
    });
    compared.collect()
}

/// What one side's file is, compared with the newest point (or with what its holder remembered of it).
fn side(file: Option<&FileCheck>) -> Side {
    match file {
        None => Side { verdict: FileVerdict::Missing, blocks: Some(0), reason: None },
        Some(file) => Side { verdict: file.verdict.clone(), blocks: file.blocks, reason: file.reason.clone() },
    }
}
