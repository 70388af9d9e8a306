//! The documents that have a schema.

use schemars::JsonSchema;
use serde::Serialize;

use super::table::{Cell, Column, Table};
use super::terminal::Look;

/// A document that has a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Listed {
    /// Its name: `schema NAME` prints its schema.
    pub name: &'static str,
    /// Its file under `schemas/`.
    pub file: String,
    /// What it is.
    pub about: &'static str,
    /// The commands whose result it is with `--format json` or `yaml`, with the options that make it so.
    pub printed_by: &'static [&'static str],
}

/// All of them.
pub fn list(listed: &[Listed], look: &Look) -> String {
    let mut table =
        Table::new([Column::name("Name"), Column::text("What it is"), Column::text("Printed by").optional(1)]);
    for Listed { name, file: _, about, printed_by } in listed {
        table.row([Cell::from(*name), Cell::from(look.clean(about)), Cell::from(printed_by.join(", "))]);
    }
    table.render(look)
}
