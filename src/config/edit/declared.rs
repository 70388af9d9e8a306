//! Where each object is declared: the file, the table, the form in which it is written.

use std::collections::BTreeMap;

use toml_edit::{Item, TableLike};

use super::page::{Form, Page, Part, Splice, header, parts, spliced};
use crate::config::problem::{Label, Problem};
use crate::config::range::Pattern;
use crate::config::source::Source;
use crate::model::PairId;

/// One key of `[regions]`, `[vms]` or `[resources]`.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) file: usize,
    pub(super) section: &'static str,
    pub(super) key: String,
    pub(super) pattern: Pattern,
    pub(super) form: Form,
    pub(super) parts: Vec<Part>,
    /// Where its key stands, of one that has no header.
    key_span: std::ops::Range<usize>,
}

impl Declared {
    pub(super) fn table<'p>(&self, pages: &'p [Page]) -> Option<&'p dyn TableLike> {
        pages[self.file].root(self.section)?.as_table_like()?.get(&self.key)?.as_table_like()
    }

    /// Where its first line begins and its last one ends.
    pub(super) fn extent(&self) -> std::ops::Range<usize> {
        let (first, last) = (self.parts.first(), self.parts.iter().map(|part| part.end).max());
        match (first, last, &self.form) {
            (Some(first), Some(last), _) => first.header.start..last,
            (_, _, Form::Inline(span)) => self.key_span.start..span.end,
            (_, _, Form::Headed(_) | Form::Dotted) => self.key_span.clone(),
        }
    }

    /// Whether its tables stand one right after the other.
    pub(super) fn is_compact(&self, page: &Page) -> bool {
        let extent = self.extent();
        page.doc.iter().all(|(key, item)| {
            parts(&[key.to_owned()], item).iter().all(|part| {
                !extent.contains(&part.header.start) || self.parts.iter().any(|own| own.header == part.header)
            })
        })
    }

    /// The changes that give it another key.
    pub(super) fn renamed(&self, key: &str) -> Vec<Splice> {
        if self.parts.is_empty() {
            return vec![Splice { range: self.key_span.clone(), text: toml_edit::Key::new(key).to_string() }];
        }
        let new = |part: &Part| Splice { range: part.header.clone(), text: header(&self.path_of(part, key)) };
        self.parts.iter().map(new).collect()
    }

    fn path_of(&self, part: &Part, key: &str) -> Vec<String> {
        part.path.iter().enumerate().map(|(at, own)| if at == 1 { key.to_owned() } else { own.clone() }).collect()
    }

    /// Its lines once more, under another key and with these changes; the comments above it are left out.
    pub(super) fn copied(&self, page: &Page, key: &str, changes: &[Splice]) -> String {
        let text = page.text();
        let all: Vec<Splice> = self.renamed(key).into_iter().chain(changes.iter().cloned()).collect();
        let extent = self.extent();
        let (end, _) = page.after_line(extent.end);
        let copy = spliced(text, extent.start..end, &all);
        if copy.ends_with('\n') { copy } else { copy + "\n" }
    }
}

/// All that the pages declare.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) all: Vec<Declared>,
    /// By section and name, of those that are no ranges.
    plain: BTreeMap<(&'static str, String), usize>,
    ranges: Vec<usize>,
}

pub(super) const SECTIONS: [&str; 3] = ["regions", "vms", "resources"];

impl Catalog {
    pub(super) fn of(pages: &[Page]) -> Self {
        let mut found = Self { all: Vec::new(), plain: BTreeMap::new(), ranges: Vec::new() };
        for (file, page) in pages.iter().enumerate() {
            for section in SECTIONS {
                let Some(table) = page.root(section).and_then(Item::as_table_like) else { continue };
                for (key, item) in table.iter() {
                    let Ok(pattern) = Pattern::parse(key) else { continue };
                    let key_span = table.key(key).and_then(toml_edit::Key::span).unwrap_or_default();
                    let parts = parts(&[section.to_owned(), key.to_owned()], item);
                    let form = Form::of(item);
                    if pattern.is_range() {
                        found.ranges.push(found.all.len());
                    } else {
                        found.plain.insert((section, key.to_owned()), found.all.len());
                    }
                    found.all.push(Declared { file, section, key: key.to_owned(), pattern, form, parts, key_span });
                }
            }
        }
        found
    }

    /// The table that has the name as its key.
    pub(super) fn plain(&self, section: &'static str, name: &str) -> Option<usize> {
        self.plain.get(&(section, name.to_owned())).copied()
    }

    /// The tables of ranges that the name is a member of.
    pub(super) fn ranges<'a>(&'a self, section: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        let has = move |declared: &Declared| declared.section == section && declared.pattern.contains(name);
        self.ranges.iter().copied().filter(move |at| has(&self.all[*at]))
    }
}

/// Where a pair is declared.
#[derive(Debug)]
pub(super) struct PairPlace {
    pub(super) file: usize,
    place: usize,
}

impl PairPlace {
    /// The pair of these ends; none where it is not declared.
    pub(super) fn find(pages: &[Page], id: &PairId) -> Option<Self> {
        let is = |place: &Self| {
            let end = |key: &str| place.table(pages).and_then(|(table, _)| table.get(key)?.as_str());
            end("source") == Some(id.source.as_str()) && end("target") == Some(id.target.as_str())
        };
        Self::all(pages).find(is)
    }

    pub(super) fn all(pages: &[Page]) -> impl Iterator<Item = Self> + '_ {
        pages.iter().enumerate().flat_map(|(file, page)| {
            let count = match page.root("replication") {
                Some(Item::ArrayOfTables(tables)) => tables.len(),
                Some(Item::Value(value)) => value.as_array().map_or(0, toml_edit::Array::len),
                Some(Item::Table(_) | Item::None) | None => 0,
            };
            (0..count).map(move |place| Self { file, place })
        })
    }

    pub(super) fn table<'p>(&self, pages: &'p [Page]) -> Option<(&'p dyn TableLike, Form)> {
        match pages[self.file].root("replication")? {
            Item::ArrayOfTables(tables) => {
                let table = tables.get(self.place)?;
                Some((table, Form::Headed(table.span()?)))
            }
            Item::Value(value) => {
                let table = value.as_array()?.get(self.place)?.as_inline_table()?;
                Some((table, Form::Inline(table.span()?)))
            }
            Item::Table(_) | Item::None => None,
        }
    }

    /// Where its header begins and its last line ends; none where it has no header.
    pub(super) fn extent(&self, pages: &[Page]) -> Option<std::ops::Range<usize>> {
        let Item::ArrayOfTables(tables) = pages[self.file].root("replication")? else { return None };
        let part = parts(&["replication".to_owned()], &Item::Table(tables.get(self.place)?.clone())).pop()?;
        Some(part.header.start..part.end)
    }
}

/// A layout that no edit here can keep.
pub(super) fn by_hand(source: &std::sync::Arc<Source>, span: std::ops::Range<usize>, what: &str) -> Problem {
    Problem::new("config::edit-by-hand", format!("{what} is written in a way that this program does not edit"))
        .reason("it would have to be laid out anew, and nothing that you wrote is")
        .help("edit it by hand, or give it a table with a header of its own")
        .label(Label::new(source, span, "this one"))
}
