//! From edits to texts that load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::change::{Edit, Edited, EditedFile, PairEdit, RegionEdit, ResourceEdit};
use super::declared::Catalog;
use super::page::Page;
use super::{object, removal, resource};
use crate::config::Loaded;
use crate::config::load::load_texts;
use crate::config::problem::{Problem, Problems};
use crate::config::source::Source;
use crate::model::Address;
use crate::model::topology::{Spec, Topology};

/// The text of a topology file that is not there yet, understood as if it lay at `path`.
///
/// # Errors
/// All that is wrong with it.
pub fn begun(path: &Path, text: &str) -> Result<Loaded, Problems> {
    let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    load_texts(vec![Source::new(path.display().to_string(), text)], path.to_owned(), base.to_owned())
}

/// What becomes of the files of a topology by these edits. Writes nothing.
///
/// Guarantee: lines that no edit speaks of keep their bytes; the same edits once more change nothing.
///
/// # Errors
/// Edits that cannot be made, and all that would be wrong with the edited files.
pub fn edit(loaded: &Loaded, edits: &[Edit]) -> Result<Edited, Problems> {
    let sources = &loaded.sources;
    let mut pages = sources.iter().map(|source| Page::new(source)).collect::<Result<Vec<_>, Problem>>()?;
    let catalog = Catalog::of(&pages);
    let mut resources = Vec::new();
    for edit in edits {
        match edit {
            Edit::Region(region) => object::region(&mut pages, &catalog, &loaded.topology, region)?,
            Edit::Pair(pair) => object::pair(&mut pages, &catalog, &loaded.topology, pair)?,
            Edit::Resource(resource) => resources.push(resource),
            Edit::NoRegion { id, cascade } => {
                removal::region(&mut pages, sources, &catalog, loaded, id, *cascade)?;
            }
            Edit::NoPair(id) => removal::pair(&mut pages, sources, id)?,
            Edit::NoResource(key) => removal::resource(&mut pages, sources, &catalog, key)?,
        }
    }
    resource::resources(&mut pages, sources, &catalog, &loaded.topology, &resources)?;
    let texts: Vec<Source> = pages.iter().map(|page| Source::new(page.name.as_str(), page.edited())).collect();
    let files = sources.iter().zip(&texts).filter(|(before, after)| before.text() != after.text());
    let files = files.map(|(before, after)| EditedFile {
        path: PathBuf::from(before.name()),
        before: Some(before.text().to_owned()),
        after: after.text().to_owned(),
    });
    let files = files.collect();
    let after = load_texts(texts, loaded.path.clone(), loaded.base.clone())?;
    match strayed(loaded, &after, edits) {
        Some(problem) => Err(problem.into()),
        None => Ok(Edited { files, loaded: after }),
    }
}

/// An object that nobody spoke of and that the edited files declare otherwise: they are laid out in a way that was not
/// understood.
fn strayed(before: &Loaded, after: &Loaded, edits: &[Edit]) -> Option<Problem> {
    let spoken = spoken_of(edits, &before.topology);
    let moves_candidates = edits.iter().any(|edit| matches!(edit, Edit::NoRegion { cascade: true, .. }));
    let objects = |loaded: &Loaded| {
        let mut objects = loaded.topology.objects();
        for spec in objects.values_mut() {
            if let (Spec::Region(region), true) = (spec, moves_candidates) {
                region.policy = before.topology.policy.clone();
            }
        }
        objects
    };
    let (was, is) = (objects(before), objects(after));
    let other = was
        .keys()
        .chain(is.keys())
        .find(|address| was.get(*address) != is.get(*address) && !spoken.contains(address))?;
    let problem = Problem::new("config::edit-by-hand", format!("the edit would also change `{other}`"))
        .reason("its table is written in a way that this program does not edit")
        .help("edit it by hand, or give each object a table with a header of its own");
    Some(before.label(other, "this one").into_iter().fold(problem, Problem::label))
}

/// The objects that edits are about.
fn spoken_of(edits: &[Edit], topology: &Topology) -> BTreeSet<Address> {
    let mut spoken = BTreeSet::new();
    for edit in edits {
        spoken.insert(match edit {
            Edit::Region(RegionEdit { id, .. }) | Edit::NoRegion { id, .. } => Address::Region(id.clone()),
            Edit::Pair(PairEdit { id, .. }) | Edit::NoPair(id) => Address::Replication(id.clone()),
            Edit::Resource(ResourceEdit { key, .. }) | Edit::NoResource(key) => Address::Resource(key.clone()),
        });
        if let Edit::NoRegion { id, cascade: true } = edit {
            let pairs = topology.pairs.keys().filter(|pair| pair.source == *id || pair.target == *id);
            let copied = topology.resources.iter().filter(|(_, spec)| spec.replicas.contains(id));
            spoken.extend(pairs.cloned().map(Address::Replication));
            spoken.extend(copied.map(|(key, _)| Address::Resource(key.clone())));
        }
    }
    spoken
}
