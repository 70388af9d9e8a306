//! What is declared no more: its own lines, and, where that is asked for, what else speaks of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml_edit::{Array, Item};

use super::declared::{Catalog, PairPlace, by_hand};
use super::list::reshape;
use super::page::{Form, Page};
use super::resource::{Fate, settle};
use crate::config::Loaded;
use crate::config::problem::{Label, Problem};
use crate::config::source::Source;
use crate::model::{Address, PairId, RegionId, ResourceKey, ResourceType};

pub(super) fn resource(
    pages: &mut [Page],
    sources: &[Arc<Source>],
    catalog: &Catalog,
    key: &ResourceKey,
) -> Result<(), Problem> {
    let section = if key.kind == ResourceType::Vm { "vms" } else { "resources" };
    let name = key.id.as_str();
    let fates = BTreeMap::from([(name.to_owned(), Fate::Goes)]);
    // A range that the name is a member of would declare it again.
    let tables: Vec<usize> = catalog.plain(section, name).into_iter().chain(catalog.ranges(section, name)).collect();
    tables.into_iter().try_for_each(|table| settle(pages, sources, catalog, table, &fates))
}

pub(super) fn pair(pages: &mut [Page], sources: &[Arc<Source>], id: &PairId) -> Result<(), Problem> {
    let Some(place) = PairPlace::find(pages, id) else { return Ok(()) };
    let Some(extent) = place.extent(pages) else {
        let span = place.table(pages).map_or(0..0, |(_, form)| match form {
            Form::Inline(span) | Form::Headed(span) => span,
            Form::Dotted => 0..0,
        });
        return Err(by_hand(&sources[place.file], span, &format!("the pair {id}")));
    };
    pages[place.file].cut(extent.start, extent.end);
    Ok(())
}

pub(super) fn region(
    pages: &mut [Page],
    sources: &[Arc<Source>],
    catalog: &Catalog,
    loaded: &Loaded,
    id: &RegionId,
    cascade: bool,
) -> Result<(), Problem> {
    let Some(at) = catalog.plain("regions", id.as_str()) else { return Ok(()) };
    let topology = &loaded.topology;
    let born = topology.resources.iter().filter(|(_, spec)| spec.primary == *id);
    let born: Vec<&ResourceKey> = born.map(|(key, _)| key).collect();
    let pairs: Vec<&PairId> = topology.pairs.keys().filter(|pair| pair.source == *id || pair.target == *id).collect();
    let mut used: Vec<Label> = Vec::new();
    let label = |address: &Address, text: &str| loaded.label(address, text);
    used.extend(first_of_each(
        born.iter().filter_map(|key| label(&Address::Resource((*key).clone()), "is born there")),
    ));
    if !cascade {
        used.extend(
            pairs.iter().filter_map(|pair| label(&Address::Replication((*pair).clone()), "leads there, or from there")),
        );
        let kept = topology.resources.iter().filter(|(_, spec)| spec.replicas.contains(id));
        used.extend(first_of_each(kept.filter_map(|(key, _)| label(&Address::Resource(key.clone()), "is kept there"))));
        used.extend(candidates(pages).into_iter().filter_map(|(file, list)| {
            let entry = list.iter().find(|entry| entry.as_str() == Some(id.as_str()))?;
            Some(Label::new(&sources[file], entry.span()?, "is a candidate"))
        }));
    }
    if !used.is_empty() {
        let help = if born.is_empty() {
            "`--cascade` takes out its pairs, and it from all replicas and candidates".to_owned()
        } else {
            format!(
                "move what it holds with `debvisor-region failover execute {id} OTHER`, and write it down with \
                 `debvisor-region failover accept`; or remove it"
            )
        };
        let problem = Problem::new("config::still-used", format!("region `{id}` is still used"))
            .reason("without it, this would not hold together any more")
            .help(help);
        return Err(used.into_iter().fold(problem, Problem::label));
    }
    let declared = &catalog.all[at];
    if declared.form == Form::Dotted || !declared.is_compact(&pages[declared.file]) {
        return Err(by_hand(&sources[declared.file], declared.extent(), &format!("region `{id}`")));
    }
    let extent = declared.extent();
    pages[declared.file].cut(extent.start, extent.end);
    for id in pairs {
        pair(pages, sources, id)?;
    }
    for page in pages {
        let of_it = |list: &&Array| list.iter().any(|entry| entry.as_str() == Some(id.as_str()));
        let without = |list: &Array| {
            let entries = list.iter().filter_map(|entry| entry.as_str());
            let wanted: Vec<&str> = entries.filter(|entry| *entry != id.as_str()).collect();
            Some(reshape(page.text(), list, &list.span()?, &wanted))
        };
        let splices = lists(page).into_iter().filter(of_it).filter_map(without).flatten().collect();
        page.splice_all(splices);
    }
    Ok(())
}

/// A range is told once, not once for each member.
fn first_of_each(labels: impl Iterator<Item = Label>) -> Vec<Label> {
    let mut found: Vec<Label> = Vec::new();
    for label in labels {
        if !found.iter().any(|other| other.file() == label.file() && other.span == label.span) {
            found.push(label);
        }
    }
    found
}

/// The policy's candidates, wherever they stand.
fn candidates(pages: &[Page]) -> Vec<(usize, &Array)> {
    pages
        .iter()
        .enumerate()
        .filter_map(|(file, page)| Some((file, page.root("failover")?.as_table_like()?.get("candidates")?.as_array()?)))
        .collect()
}

/// All lists of regions of one file: who keeps replicas, who is a candidate.
fn lists(page: &Page) -> Vec<&Array> {
    let of = |section: &str, key: &str| -> Vec<&Array> {
        let table = page.root(section).and_then(Item::as_table_like);
        let entries = table.into_iter().flat_map(|table| table.iter().map(|(_, item)| item).collect::<Vec<_>>());
        entries.filter_map(|item| item.as_table_like()?.get(key)?.as_array()).collect()
    };
    let candidates = candidates(std::slice::from_ref(page)).into_iter().map(|(_, list)| list);
    of("vms", "replicas").into_iter().chain(of("resources", "replicas")).chain(candidates).collect()
}
