//! Whether a snapshot is one of the resource: it has the same files as the live ones, none less and none more.
//!
//! Who writes the files may go on while a snapshot is made, so the live ones are looked at before and after: what is
//! there both times must be in the snapshot, what is there neither time must not, and a size may be anything between.

use std::collections::{BTreeMap, BTreeSet};

use crate::replica::tree::{Found, FoundNode, Tree};

/// How `copy` differs from the files that it should be a copy of, in words; none where it has them all.
pub(super) fn difference(before: &Tree, after: &Tree, copy: &Tree) -> Option<String> {
    if let Some(refused) = &copy.refused {
        return Some(format!("has {}, which {}", refused.path, refused.reason));
    }
    let (before, after, copy) = (by_path(before), by_path(after), by_path(copy));
    let lacking = before.keys().filter(|path| after.contains_key(*path) && !copy.contains_key(*path));
    if let Some(words) = some_of(lacking) {
        return Some(format!("lacks {words}"));
    }
    let foreign = copy.keys().filter(|path| !before.contains_key(*path) && !after.contains_key(*path));
    if let Some(words) = some_of(foreign) {
        return Some(format!("has {words}, which the resource does not have"));
    }
    copy.values().find_map(|copied| {
        let live: Vec<&Found> = [&before, &after].iter().filter_map(|tree| tree.get(&*copied.path).copied()).collect();
        unlike(copied, &live)
    })
}

/// How a path differs from what it was and from what it became.
fn unlike(copied: &Found, live: &[&Found]) -> Option<String> {
    let path = &copied.path;
    let same: Vec<&&Found> = live.iter().filter(|found| found.node == copied.node).collect();
    let Some(first) = same.first() else {
        let expected = live.first().map_or_else(String::new, |found| kind(&found.node));
        return Some(format!("has {path} as {}, which is {expected}", kind(&copied.node)));
    };
    if copied.node != FoundNode::File {
        return None;
    }
    let sizes = || same.iter().map(|found| found.stat.size);
    let (least, most) = (sizes().min()?, sizes().max()?);
    (!(least..=most).contains(&copied.stat.size))
        .then(|| format!("has {} bytes of {path}, which has {}", copied.stat.size, first.stat.size))
}

fn kind(node: &FoundNode) -> String {
    match node {
        FoundNode::Directory => "a directory".to_owned(),
        FoundNode::File => "a file".to_owned(),
        FoundNode::Link(to) => format!("a link to {to}"),
    }
}

fn by_path(tree: &Tree) -> BTreeMap<&str, &Found> {
    tree.found.iter().map(|found| (found.path.as_str(), found)).collect()
}

/// The first path, and how many more there are.
fn some_of<'a>(paths: impl Iterator<Item = &'a &'a str>) -> Option<String> {
    let paths: BTreeSet<&&str> = paths.collect();
    let first = paths.first()?;
    Some(match paths.len() - 1 {
        0 => (**first).to_owned(),
        more => format!("{first} and {more} more"),
    })
}
