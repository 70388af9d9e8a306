//! Resources: which table speaks of one, and how one member of a range gets a table of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toml_edit::Item;

use super::change::ResourceEdit;
use super::declared::{Catalog, Declared, by_hand};
use super::list::reshape;
use super::object::insert;
use super::page::{Form, Line, Page, Splice, header, line_start, listed, quoted};
use crate::config::problem::Problem;
use crate::config::source::Source;
use crate::model::topology::Topology;
use crate::model::{RegionId, ResourceType};

/// What becomes of the members of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Becomes { primary: Option<RegionId>, replicas: Option<Vec<RegionId>> },
    Goes,
}

/// Changes resources, all at once, so that members of a range that change alike stay together.
pub(super) fn resources(
    pages: &mut [Page],
    sources: &[Arc<Source>],
    catalog: &Catalog,
    topology: &Topology,
    edits: &[&ResourceEdit],
) -> Result<(), Problem> {
    let mut by_table: BTreeMap<usize, BTreeMap<String, Fate>> = BTreeMap::new();
    for edit in edits {
        let ResourceEdit { key, primary, replicas } = edit;
        let known = topology.resources.get(key);
        let primary = primary.clone().filter(|wanted| known.is_none_or(|known| known.primary != *wanted));
        let replicas = replicas.clone().filter(|wanted| {
            known.is_none_or(|known| wanted.iter().collect::<BTreeSet<_>>() != known.replicas.iter().collect())
        });
        if known.is_none() {
            new(pages, catalog, edit);
            continue;
        }
        let section = if key.kind == ResourceType::Vm { "vms" } else { "resources" };
        let name = key.id.as_str();
        let table = catalog.plain(section, name).or_else(|| catalog.ranges(section, name).next());
        if let Some(table) = table.filter(|_| primary.is_some() || replicas.is_some()) {
            by_table.entry(table).or_default().insert(name.to_owned(), Fate::Becomes { primary, replicas });
        }
    }
    for (table, fates) in by_table {
        settle(pages, sources, catalog, table, &fates)?;
    }
    Ok(())
}

fn new(pages: &mut [Page], catalog: &Catalog, edit: &ResourceEdit) {
    let ResourceEdit { key, primary, replicas } = edit;
    let (section, kind) = match key.kind {
        ResourceType::Vm => ("vms", String::new()),
        ResourceType::Storage | ResourceType::Network | ResourceType::Config | ResourceType::State => {
            ("resources", format!("type = {}\n", quoted(key.kind.as_str())))
        }
    };
    let primary = primary.iter().map(|primary| format!("primary = {}\n", quoted(primary.as_str())));
    let replicas = replicas.iter().map(|list| format!("replicas = {}\n", listed(list.iter().map(RegionId::as_str))));
    let keys: String = primary.chain(replicas).collect();
    let lines = format!("{}\n{kind}{keys}", header(&[section.to_owned(), key.id.to_string()]));
    insert(pages, catalog, &[section, "vms", "resources", "replication", "regions"], &lines);
}

/// Carries out what becomes of the members of one table.
pub(super) fn settle(
    pages: &mut [Page],
    sources: &[Arc<Source>],
    catalog: &Catalog,
    table: usize,
    fates: &BTreeMap<String, Fate>,
) -> Result<(), Problem> {
    let declared = &catalog.all[table];
    // A member with a table of its own is none of this one's.
    let own = |member: &str| declared.pattern.is_range() && catalog.plain(declared.section, member).is_some();
    let fate = |member: &String| match fates.get(member) {
        Some(fate) => Some(fate.clone()),
        None if own(member) => None,
        None => Some(Fate::Stays),
    };
    let members: Vec<String> = declared.pattern.members().collect();
    let runs = runs(members.iter().map(fate));
    let page = &pages[declared.file];
    if let [(_, _, only)] = runs.as_slice() {
        match only {
            Fate::Stays => {}
            Fate::Goes => {
                let extent = declared.extent();
                if declared.form == Form::Dotted || !declared.is_compact(page) {
                    return Err(hand(sources, declared));
                }
                pages[declared.file].cut(extent.start, extent.end);
            }
            Fate::Becomes { .. } => {
                let splices = changes(pages, declared, only);
                pages[declared.file].splice_all(splices);
            }
        }
        return Ok(());
    }
    if declared.form == Form::Dotted || !declared.is_compact(page) {
        return Err(hand(sources, declared));
    }
    let kept: Vec<_> = runs.iter().filter(|(_, _, fate)| *fate != Fate::Goes).collect();
    let overrides = fates.values().all(|fate| *fate != Fate::Goes) && fates.len() < kept.len();
    let mut copies = Vec::new();
    let mut splices = Vec::new();
    if overrides {
        for (member, fate) in members.iter().filter_map(|member| Some((member, fates.get(member)?))) {
            copies.push(declared.copied(page, member, &changes(pages, declared, fate)));
        }
    } else {
        for (at, (first, last, fate)) in kept.iter().enumerate() {
            let key = declared.pattern.part(*first..=*last);
            if at == 0 {
                splices.extend(declared.renamed(&key));
                splices.extend(changes(pages, declared, fate));
            } else {
                copies.push(declared.copied(page, &key, &changes(pages, declared, fate)));
            }
        }
    }
    let page = &mut pages[declared.file];
    page.splice_all(splices);
    if copies.is_empty() {
        return Ok(());
    }
    if matches!(declared.form, Form::Inline(_)) {
        let (at, broken) = page.after_line(declared.extent().end);
        let key = declared.extent().start;
        let indent = page.text()[line_start(page.text(), key)..key].to_owned();
        let lines: String = copies.iter().map(|copy| format!("{indent}{copy}")).collect();
        page.splice(at..at, format!("{broken}{lines}"));
    } else {
        let at = page.section_end(declared.extent().end);
        page.insert_section(at, &copies.join("\n"));
    }
    Ok(())
}

fn hand(sources: &[Arc<Source>], declared: &Declared) -> Problem {
    by_hand(&sources[declared.file], declared.extent(), &format!("`{}`", declared.key))
}

/// Members that follow each other and share a fate, by their places. Those without one go with their neighbours.
fn runs(fates: impl Iterator<Item = Option<Fate>>) -> Vec<(u64, u64, Fate)> {
    let mut runs: Vec<(u64, u64, Fate)> = Vec::new();
    for (at, fate) in (0u64..).zip(fates) {
        match (runs.last_mut(), fate) {
            (None, None) => {}
            (Some((_, last, _)), None) => *last = at,
            (Some((_, last, of)), Some(fate)) if *of == fate => *last = at,
            (Some(_), Some(fate)) => runs.push((at, at, fate)),
            (None, Some(fate)) => runs.push((0, at, fate)),
        }
    }
    runs
}

/// The changes that make a table say what its members become.
fn changes(pages: &[Page], declared: &Declared, fate: &Fate) -> Vec<Splice> {
    let Fate::Becomes { primary, replicas } = fate else { return Vec::new() };
    let Some(table) = declared.table(pages) else { return Vec::new() };
    let page = &pages[declared.file];
    let mut splices = Vec::new();
    if let Some(primary) = primary {
        splices.push(page.set(table, &declared.form, "primary", &quoted(primary.as_str()), Line::First));
    }
    if let Some(replicas) = replicas {
        let wanted: Vec<&str> = replicas.iter().map(RegionId::as_str).collect();
        let there = table.get("replicas").and_then(Item::as_array);
        match there.and_then(|list| Some((list, list.span()?))) {
            Some((list, span)) => splices.extend(reshape(page.text(), list, &span, &wanted)),
            None => splices.push(page.set(table, &declared.form, "replicas", &listed(wanted), Line::Last)),
        }
    }
    splices
}
