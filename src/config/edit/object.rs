//! Regions and pairs: their keys one by one, and new ones where the others are.

use super::change::{PairEdit, RegionEdit};
use super::declared::{Catalog, PairPlace};
use super::page::{Line, Page, header, listed, quoted};
use crate::config::problem::Problem;
use crate::model::topology::{PairSpec, RegionSpec, Topology};
use crate::model::units::format_duration;

/// Keys and how they are to be written, in the order of the guide's tables.
type Keys = Vec<(&'static str, String)>;

fn lines(keys: &Keys) -> String {
    keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

pub(super) fn region(
    pages: &mut [Page],
    catalog: &Catalog,
    topology: &Topology,
    edit: &RegionEdit,
) -> Result<(), Problem> {
    let known = topology.regions.get(&edit.id);
    let keys = region_keys(known, edit);
    let Some(at) = catalog.plain("regions", edit.id.as_str()) else {
        if edit.api_endpoint.is_none() {
            return Err(Problem::new("config::missing-key", format!("region `{}` has no endpoint yet", edit.id))
                .reason("a region must be reached somewhere")
                .help("name one, such as `https://host` or `file:directory`"));
        }
        let lines = format!("{}\n{}", header(&["regions".to_owned(), edit.id.to_string()]), lines(&keys));
        insert(pages, catalog, &["regions"], &lines);
        return Ok(());
    };
    let declared = &catalog.all[at];
    let Some(table) = declared.table(pages) else { return Ok(()) };
    let page = &pages[declared.file];
    let splices = keys.iter().map(|(key, value)| page.set(table, &declared.form, key, value, Line::Last)).collect();
    pages[declared.file].splice_all(splices);
    Ok(())
}

/// What differs from what stands there, defaults included.
fn region_keys(known: Option<&RegionSpec>, edit: &RegionEdit) -> Keys {
    let RegionEdit { id, name, location, api_endpoint, primary, capacity_vms } = edit;
    let mut keys = Keys::new();
    let mut text = |key, wanted: &Option<String>, is: Option<&str>| {
        keys.extend(wanted.as_deref().filter(|wanted| Some(*wanted) != is).map(|wanted| (key, quoted(wanted))));
    };
    // A name or a place that is not said is the id.
    text("name", name, Some(known.map_or(id.as_str(), |known| &known.name)));
    text("location", location, Some(known.map_or(id.as_str(), |known| &known.location)));
    text("api_endpoint", api_endpoint, known.map(|known| known.api_endpoint.as_str()));
    let is = known.is_some_and(|known| known.primary);
    keys.extend(primary.filter(|primary| *primary != is).map(|primary| ("primary", primary.to_string())));
    let is = known.map_or(RegionSpec::DEFAULT_CAPACITY_VMS, |known| known.capacity_vms);
    keys.extend(capacity_vms.filter(|wanted| *wanted != is).map(|wanted| ("capacity_vms", wanted.to_string())));
    keys
}

pub(super) fn pair(pages: &mut [Page], catalog: &Catalog, topology: &Topology, edit: &PairEdit) -> Result<(), Problem> {
    let known = topology.pairs.get(&edit.id);
    let keys = pair_keys(known, edit);
    let Some(place) = PairPlace::find(pages, &edit.id) else {
        if edit.resource_types.is_none() {
            return Err(Problem::new("config::unknown-pair", format!("the pair {} is not declared", edit.id))
                .reason("so there is nothing about it to change")
                .help(format!(
                    "`debvisor-region replication setup {} {} vm` declares it",
                    edit.id.source, edit.id.target
                )));
        }
        let ends = [("source", quoted(edit.id.source.as_str())), ("target", quoted(edit.id.target.as_str()))];
        let lines = format!("[[replication]]\n{}", lines(&ends.into_iter().chain(keys).collect()));
        insert(pages, catalog, &["replication", "regions"], &lines);
        return Ok(());
    };
    let Some((table, form)) = place.table(pages) else { return Ok(()) };
    let page = &pages[place.file];
    let splices = keys.iter().map(|(key, value)| match (*key, value.as_str()) {
        // As the file was before it was paused.
        ("paused", "false") => {
            page.unset(table, &form, key).unwrap_or_else(|| page.set(table, &form, key, value, Line::Last))
        }
        _ => page.set(table, &form, key, value, Line::Last),
    });
    let splices = splices.collect();
    pages[place.file].splice_all(splices);
    Ok(())
}

fn pair_keys(known: Option<&PairSpec>, edit: &PairEdit) -> Keys {
    let PairEdit {
        id: _,
        resource_types,
        sync_interval,
        batch_size,
        priority,
        enabled,
        bidirectional,
        compression,
        bandwidth_limit,
        paused,
    } = edit;
    let default = PairSpec::default();
    let is = known.unwrap_or(&default);
    let mut keys = Keys::new();
    if let Some(types) = resource_types.as_ref().filter(|types| **types != is.resource_types) {
        keys.push(("resource_types", listed(types.iter().map(|kind| kind.as_str()))));
    }
    let interval = sync_interval.filter(|wanted| *wanted != is.sync_interval);
    keys.extend(interval.map(|wanted| ("sync_interval", quoted(&format_duration(wanted)))));
    let mut number = |key, wanted: Option<u32>, is: u32| {
        keys.extend(wanted.filter(|wanted| *wanted != is).map(|wanted| (key, wanted.to_string())));
    };
    number("batch_size", *batch_size, is.batch_size);
    number("priority", *priority, is.priority);
    let mut flag = |key, wanted: Option<bool>, is: bool| {
        keys.extend(wanted.filter(|wanted| *wanted != is).map(|wanted| (key, wanted.to_string())));
    };
    flag("enabled", *enabled, is.enabled);
    flag("bidirectional", *bidirectional, is.bidirectional);
    flag("compression", *compression, is.compression);
    if bandwidth_limit.is_some() && *bandwidth_limit != is.bandwidth_limit {
        keys.extend(bandwidth_limit.map(|rate| ("bandwidth_limit", quoted(&rate.to_string()))));
    }
    keys.extend(paused.filter(|wanted| *wanted != is.paused).map(|wanted| ("paused", wanted.to_string())));
    keys
}

/// Puts a new table behind the last one of the first of these kinds that there are; else at the end of the last file.
pub(super) fn insert(pages: &mut [Page], catalog: &Catalog, behind: &[&'static str], lines: &str) {
    let last = behind.iter().find_map(|kind| {
        let ends: Vec<(usize, usize)> = if *kind == "replication" {
            PairPlace::all(pages).filter_map(|place| Some((place.file, place.extent(pages)?.end))).collect()
        } else {
            let those = catalog.all.iter().filter(|declared| declared.section == *kind);
            those.map(|declared| (declared.file, declared.extent().end)).collect()
        };
        ends.into_iter().max()
    });
    let (file, end) = match last {
        Some((file, end)) => (file, pages[file].section_end(end)),
        None => {
            let file = pages.len() - 1;
            (file, pages[file].text().len())
        }
    };
    pages[file].insert_section(end, lines);
}
