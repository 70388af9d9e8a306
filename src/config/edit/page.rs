//! One file's text, its tables with their places, and the passages of it that are to change.

use std::ops::Range;

use toml_edit::{Document, Item, Key, Table, TableLike};

use crate::config::problem::Problem;
use crate::config::source::Source;

/// A passage of a text that becomes another one. Several at one place go in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

/// A file while it is edited.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) doc: Document<String>,
    splices: Vec<Splice>,
}

/// A table with a header of its own: where the header stands, and where its last line's last value ends.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The keys that lead to it.
    pub(super) path: Vec<String>,
    pub(super) header: Range<usize>,
    pub(super) end: usize,
}

/// Where a new line of a table is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    First,
    Last,
}

impl Page {
    pub(super) fn new(source: &Source) -> Result<Self, Problem> {
        let doc = Document::parse(source.text().to_owned()).map_err(|error| {
            Problem::new("config::syntax", format!("`{}` is not TOML: {}", source.name(), error.message()))
                .help("what a TOML file may hold is described at https://toml.io")
        })?;
        Ok(Self { name: source.name().to_owned(), doc, splices: Vec::new() })
    }

    pub(super) fn text(&self) -> &str {
        self.doc.raw()
    }

    /// What stands under a key of the file itself.
    pub(super) fn root(&self, key: &str) -> Option<&Item> {
        self.doc.as_table().get(key)
    }

    pub(super) fn splice(&mut self, range: Range<usize>, text: impl Into<String>) {
        self.splices.push(Splice { range, text: text.into() });
    }

    pub(super) fn splice_all(&mut self, splices: Vec<Splice>) {
        self.splices.extend(splices);
    }

    /// The text with all its changes.
    pub(super) fn edited(&self) -> String {
        let breaks = if self.text().contains("\r\n") { "\r\n" } else { "\n" };
        let mut splices: Vec<Splice> = self.splices.clone();
        for splice in &mut splices {
            splice.text = splice.text.replace("\r\n", "\n").replace('\n', breaks);
        }
        let mut edited = spliced(self.text(), 0..self.text().len(), &splices);
        let blank = format!("{breaks}{breaks}");
        while edited.ends_with(&blank) && !self.text().ends_with(&blank) {
            edited.truncate(edited.len() - breaks.len());
        }
        edited
    }

    /// The place behind the line that `at` is in, and the line break that it lacks.
    pub(super) fn after_line(&self, at: usize) -> (usize, &'static str) {
        let end = line_end(self.text(), at);
        let broken = end == 0 || self.text()[..end].ends_with('\n');
        (end, if broken { "" } else { "\n" })
    }

    /// The place behind a table: its lines, and the comments right below it that belong to nothing else.
    pub(super) fn section_end(&self, at: usize) -> usize {
        let text = self.text();
        let end = line_end(text, at);
        let mut below = end;
        while text[below..].trim_start_matches([' ', '\t']).starts_with('#') {
            below = line_end(text, below);
        }
        let blank = text[below..].lines().next().is_none_or(|line| line.trim().is_empty());
        if blank { below } else { end }
    }

    /// Cuts lines out, with the comments right above them and one blank line.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        let text = self.text();
        let mut start = line_start(text, from);
        while start > 0 {
            let above = line_start(text, start - 1);
            if !text[above..start].trim_start().starts_with('#') {
                break;
            }
            start = above;
        }
        let mut end = self.section_end(to);
        let blank = |text: &str| text.lines().next().is_some_and(|line| line.trim().is_empty());
        let before = &text[..start];
        if before.is_empty() || before.ends_with("\n\n") || before.ends_with("\n\r\n") {
            while blank(&text[end..]) {
                end = line_end(text, end);
            }
        }
        if end == text.len() {
            // Nothing follows: neither should a blank line.
            start = text[..start].trim_end().len();
            start = line_end(text, start).min(end);
        }
        self.splice(start..end, "");
    }

    /// Puts lines of their own behind the place `at`, which is the end of a line, a blank line around them.
    pub(super) fn insert_section(&mut self, at: usize, lines: &str) {
        let text = self.text();
        let (before, after) = text.split_at(at);
        let another = self.splices.iter().rfind(|splice| splice.range == (at..at));
        let lead = match (another, before) {
            (Some(splice), _) if splice.text.ends_with("\n\n") => "",
            (Some(_), _) => "\n",
            (None, "") => "",
            (None, before) if before.ends_with('\n') => "\n",
            (None, _) => "\n\n",
        };
        let blank = after.lines().next().is_none_or(|line| line.trim().is_empty());
        let section = format!("{lead}{lines}{}", if blank { "" } else { "\n" });
        self.splice(at..at, section);
    }

    /// The change that takes a key's line out, where nothing else stands on it.
    pub(super) fn unset(&self, table: &dyn TableLike, form: &Form, key: &str) -> Option<Splice> {
        let (from, to) = (table.key(key)?.span()?.start, table.get(key)?.span()?.end);
        let (start, end) = (line_start(self.text(), from), line_end(self.text(), to));
        let alone = self.text()[start..from].trim().is_empty() && self.text()[to..end].trim().is_empty();
        (alone && matches!(form, Form::Headed(_))).then(|| Splice { range: start..end, text: String::new() })
    }

    /// The change that makes `key = value` of a table.
    pub(super) fn set(&self, table: &dyn TableLike, form: &Form, key: &str, value: &str, line: Line) -> Splice {
        if let Some(range) = table.get(key).and_then(Item::span) {
            return Splice { range, text: value.to_owned() };
        }
        let text = self.text();
        if let Form::Inline(span) = form {
            let at = span.start + 1;
            return if table.is_empty() {
                Splice { range: span.clone(), text: format!("{{ {key} = {value} }}") }
            } else {
                Splice { range: at..at, text: format!(" {key} = {value},") }
            };
        }
        // Its own lines, by where their keys begin and their values end.
        let own: Vec<(usize, usize)> = table
            .iter()
            .filter_map(|(name, item)| {
                let key = table.key(name).and_then(Key::span)?;
                Some((key.start, item.as_value().and_then(toml_edit::Value::span)?.end))
            })
            .collect();
        // White space, and what stands before the last dot of a dotted key.
        let lead = own.iter().min().map_or("", |(start, _)| &text[line_start(text, *start)..*start]);
        let (at, broken) = match (line, form, own.iter().min(), own.iter().max()) {
            (Line::First, Form::Headed(header), ..) | (Line::Last, Form::Headed(header), _, None) => {
                self.after_line(header.end)
            }
            (Line::First, Form::Dotted | Form::Inline(_), Some((start, _)), _) => (line_start(text, *start), ""),
            (_, _, _, Some((_, end))) => self.after_line(*end),
            (_, Form::Dotted | Form::Inline(_), ..) => (text.len(), ""),
        };
        Splice { range: at..at, text: format!("{broken}{lead}{key} = {value}\n") }
    }
}

/// How a table is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Under a header of its own, which stands here.
    Headed(Range<usize>),
    /// In braces, here.
    Inline(Range<usize>),
    /// By keys with dots.
    Dotted,
}

impl Form {
    pub(super) fn of(item: &Item) -> Self {
        match item {
            Item::Table(table) if !table.is_dotted() => table.span().map_or(Self::Dotted, Self::Headed),
            Item::Value(value) => value.span().map_or(Self::Dotted, Self::Inline),
            Item::Table(_) | Item::ArrayOfTables(_) | Item::None => Self::Dotted,
        }
    }
}

/// The tables with headers in `item`, its own first, then by where they stand.
pub(super) fn parts(path: &[String], item: &Item) -> Vec<Part> {
    let mut found = Vec::new();
    match item {
        Item::Table(table) => gather(path, table, &mut found),
        Item::ArrayOfTables(tables) => tables.iter().for_each(|table| gather(path, table, &mut found)),
        Item::Value(_) | Item::None => {}
    }
    found.sort_by_key(|part| part.header.start);
    found
}

fn gather(path: &[String], table: &Table, found: &mut Vec<Part>) {
    if let Some(header) = table.span().filter(|_| !table.is_dotted() && !table.is_implicit()) {
        let end = values_end(table).unwrap_or(header.end).max(header.end);
        found.push(Part { path: path.to_vec(), header, end });
    }
    for (key, item) in table.iter() {
        let below: Vec<String> = path.iter().cloned().chain([key.to_owned()]).collect();
        found.extend(parts(&below, item));
    }
}

/// Where the last value of a table's own lines ends.
fn values_end(table: &Table) -> Option<usize> {
    let ends = table.iter().filter_map(|(_, item)| match item {
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(inner) if inner.is_dotted() => values_end(inner),
        Item::Table(_) | Item::ArrayOfTables(_) | Item::None => None,
    });
    ends.max()
}

/// The passage `of` a text with those of the changes that lie in it.
pub(super) fn spliced(text: &str, of: Range<usize>, splices: &[Splice]) -> String {
    let mut inside: Vec<&Splice> =
        splices.iter().filter(|splice| of.start <= splice.range.start && splice.range.end <= of.end).collect();
    inside.sort_by_key(|splice| (splice.range.start, splice.range.end));
    let mut out = String::new();
    let mut at = of.start;
    for Splice { range, text: new } in inside {
        // Cuts may share the blank lines between them.
        out.push_str(&text[at..range.start.max(at)]);
        out.push_str(new);
        at = at.max(range.end);
    }
    out.push_str(&text[at..of.end]);
    out
}

/// Where the line of `at` begins.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |found| found + 1)
}

/// Where the line after that of `at` begins.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |found| at + found + 1)
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string().trim().to_owned()
}

/// A list of texts on one line.
pub(super) fn listed<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", all.join(", "))
}

/// `[vms.web-1]`, with quotes where a key needs them.
pub(super) fn header(path: &[String]) -> String {
    let keys: Vec<String> = path.iter().map(|key| Key::new(key.as_str()).to_string()).collect();
    format!("[{}]", keys.join("."))
}
