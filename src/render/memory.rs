//! What the state file remembers.

use schemars::JsonSchema;
use serde::Serialize;

use super::moment::moment;
use super::paint::{Glyph, Tone};
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::count;
use crate::model::{Lineage, Timestamp};
use crate::state::{AppliedTopology, KnownStore, ManagedObject};

/// A state file's content, as `state show` prints it in every format.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Memory {
    /// Where the file is.
    pub path: String,
    /// Its line of descent.
    pub lineage: Lineage,
    /// Grows when managed objects change.
    pub serial: u64,
    /// When it was founded.
    pub created_at: Timestamp,
    /// What is managed.
    pub objects: Vec<ManagedObject>,
    /// The stores that were met.
    pub stores: Vec<KnownStore>,
    /// The topologies that were applied, the last one first.
    pub topologies: Vec<AppliedTopology>,
}

/// The whole of it; attributes are for the other formats.
pub fn memory(memory: &Memory, look: &Look) -> String {
    let Memory { path, lineage, serial, created_at, objects, stores, topologies } = memory;
    let dot = look.glyph(Glyph::Dot);
    let mut out = look.paint(Tone::Strong, &look.clean(path));
    let applied = topologies.first().map_or_else(String::new, |last| {
        format!(" {dot} topology {} applied {}", last.digest.short(), moment(last.applied_at))
    });
    let facts = format!("lineage {lineage} {dot} serial {serial} {dot} founded {}{applied}", moment(*created_at));
    out.push('\n');
    for line in look.wrapped(2, &facts).lines() {
        out.push_str(&format!("  {}\n", look.paint(Tone::Faint, line.trim_start())));
    }
    let title = count(objects.len(), "managed object", "managed objects");
    out.push_str(&format!("\n{}\n", look.paint(Tone::Strong, &title)));
    let mut table =
        Table::new([Column::name("Object"), Column::text("Recorded at"), Column::name("Applied").below(1)]).indented(2);
    for object in objects {
        let regions = object.regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        table.row([Cell::from(object.address.to_string()), Cell::from(regions), Cell::from(moment(object.applied_at))]);
    }
    if !objects.is_empty() {
        out.push_str(&table.render(look));
    }
    if !stores.is_empty() {
        let title = count(stores.len(), "store", "stores");
        out.push_str(&format!("\n{}\n", look.paint(Tone::Strong, &title)));
        let mut table = Table::new([
            Column::name("Region"),
            Column::name("Store"),
            Column::name("Met").below(1),
            Column::text("At").below(2),
        ])
        .indented(2);
        for KnownStore { region_id, store, origin, met_at } in stores {
            let origin = origin.clone().unwrap_or_default();
            table.row([
                Cell::from(region_id.as_str()),
                Cell::from(store.to_string()),
                Cell::from(moment(*met_at)),
                Cell::from(origin),
            ]);
        }
        out.push_str(&table.render(look));
    }
    out
}
