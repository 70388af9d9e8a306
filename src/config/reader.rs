//! Reads one TOML table key by key. Each mistake is reported where it stands, and reading goes on: a value that could
//! not be read is simply none. Keys that nobody asked for are unknown.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::units::parse_duration;

use super::problem::Problem;
use super::report::Report;
use super::source::Place;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// In a schema, a value is what it is without its place.
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What a value is, in words.
fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A key by its own name and that of its table. Like all words here it is written out only where it is needed: most
/// values are right, and there may be many.
struct Name<'a> {
    key: &'a str,
    of: &'a str,
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, of } = self;
        if of.is_empty() { write!(f, "`{key}`") } else { write!(f, "`{key}` of {of}") }
    }
}

fn wrong_type(
    report: &mut Report,
    what: &dyn Display,
    wanted: &str,
    example: &dyn Display,
    place: &Place,
    found: &DeValue<'_>,
) {
    let found = kind_of(found);
    let problem = Problem::new("config::wrong-type", format!("{what} must be {wanted}, but is {found}"))
        .help(example.to_string());
    report.add(problem, &[(place, format!("this is {found}"))]);
}

/// One table while it is read.
#[derive(Debug)]
pub(super) struct Fields<'r, 'i> {
    pub(super) report: &'r mut Report,
    file: usize,
    /// How messages call the table, such as "region `eu-west-1`".
    what: String,
    /// The key or header that opens it.
    pub(super) header: Place,
    table: DeTable<'i>,
    known: Vec<&'static str>,
}

impl<'r, 'i> Fields<'r, 'i> {
    pub(super) fn new(report: &'r mut Report, what: String, header: Place, table: DeTable<'i>) -> Self {
        Self { report, file: header.file, what, header, table, known: Vec::new() }
    }

    /// Opens `value` if it is a table.
    pub(super) fn open(
        report: &'r mut Report,
        what: String,
        header: Place,
        value: Spanned<DeValue<'i>>,
    ) -> Option<Self> {
        match value.into_inner() {
            DeValue::Table(table) => Some(Self::new(report, what, header, table)),
            other => {
                let example = "write it as `[table]` with `key = value` lines";
                wrong_type(report, &what, "a table", &example, &header, &other);
                None
            }
        }
    }

    fn named(&self, key: &str) -> String {
        Name { key, of: &self.what }.to_string()
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Takes a value out as it is.
    pub(super) fn take(&mut self, key: &'static str) -> Option<At<DeValue<'i>>> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        let place = Place::new(self.file, value.span());
        Some(At { value: value.into_inner(), place })
    }

    /// Takes a table out, with the keys that it holds and their places, in the order of the file.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(At<String>, Spanned<DeValue<'i>>)> {
        let Some(found) = self.take(key) else { return Vec::new() };
        let DeValue::Table(table) = found.value else {
            let example = format!("write `[{key}.NAME]` for each");
            wrong_type(self.report, &self.named(key), "a table", &example, &found.place, &found.value);
            return Vec::new();
        };
        let mut entries: Vec<_> = table
            .into_iter()
            .map(|(key, value)| {
                let place = Place::new(self.file, key.span());
                (At { value: key.into_inner().into_owned(), place }, value)
            })
            .collect();
        entries.sort_by(|(a, _), (b, _)| a.place.cmp(&b.place));
        entries
    }

    /// Opens a table inside this one; its header is its own, or its key where it has none.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Fields<'_, 'i>> {
        let found = self.take(key)?;
        let what = self.named(key);
        let value = Spanned::new(found.place.span(), found.value);
        Fields::open(self.report, what, found.place, value)
    }

    /// The tables of a list of tables, `[[key]]`, with the places of their headers.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(Place, Spanned<DeValue<'i>>)> {
        let Some(found) = self.take(key) else { return Vec::new() };
        let file = self.file;
        match found.value {
            DeValue::Array(items) => items.into_iter().map(|item| (Place::new(file, item.span()), item)).collect(),
            other => {
                let example = format!("write `[[{key}]]` with two pairs of brackets, once for each");
                wrong_type(self.report, &self.named(key), "a list of tables", &example, &found.place, &other);
                Vec::new()
            }
        }
    }

    /// A text that `parse` can read.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let found = self.take(key)?;
        let what = Name { key, of: &self.what };
        parse_text(self.report, &what, &format_args!("write `{key} = \"{example}\"`"), found, parse)
    }

    /// Any text that is not empty.
    pub(super) fn text(&mut self, key: &'static str, example: &str) -> Option<At<String>> {
        self.parsed(key, example, not_empty)
    }

    /// An id.
    pub(super) fn id<T: FromStr<Err: Display>>(&mut self, key: &'static str, example: &str) -> Option<At<T>> {
        self.parsed(key, example, str::parse)
    }

    /// True or false.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let found = self.take(key)?;
        if let DeValue::Boolean(value) = found.value {
            return Some(At { value, place: found.place });
        }
        let example = format!("write `{key} = true` or `{key} = false`, without quotes");
        wrong_type(self.report, &self.named(key), "true or false", &example, &found.place, &found.value);
        None
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<At<u32>> {
        let found = self.take(key)?;
        let (least, most) = (*range.start(), *range.end());
        let DeValue::Integer(integer) = &found.value else {
            let meant = found.value.as_str().and_then(|text| text.trim().parse().ok()).filter(|n| range.contains(n));
            let example = match meant {
                Some(number) => format!("leave the quotes out: `{key} = {number}`"),
                None => format!("write a number, such as `{key} = {}`", least.max(3)),
            };
            wrong_type(self.report, &self.named(key), "a whole number", &example, &found.place, &found.value);
            return None;
        };
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
        if value.is_none() {
            let limits = if most == u32::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
            let problem = Problem::new("config::bad-value", format!("{} is out of range", self.named(key)))
                .help(format!("write a whole number, {limits}"));
            self.report.add(problem, &[(&found.place, format!("not {limits}"))]);
        }
        value.map(|value| At { value, place: found.place })
    }

    /// A duration; `zero` says what one of zero would mean, where it makes no sense.
    pub(super) fn duration(&mut self, key: &'static str, zero: Option<&str>) -> Option<At<Duration>> {
        let found = self.parsed(key, "5m", parse_duration)?;
        let Some(meaning) = zero.filter(|_| found.value.is_zero()) else { return Some(found) };
        let problem = Problem::new("config::bad-value", format!("{} is zero", self.named(key)))
            .reason(meaning.to_owned())
            .help(format!("write a longer one, such as `{key} = \"5s\"`"));
        self.report.add(problem, &[(&found.place, "zero".to_owned())]);
        None
    }

    /// A list of texts that `parse` can read, each with its place; a repeated one is reported.
    pub(super) fn list<T, E: Display>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<At<Vec<At<T>>>> {
        let found = self.take(key)?;
        let what = Name { key, of: &self.what };
        items(self.report, &what, key, example, found, true, parse)
    }

    /// One command: the program and its arguments; empty for none.
    pub(super) fn argv(&mut self, key: &'static str) -> Option<At<Vec<String>>> {
        let At { value, place } = self.argv_in_place(key)?;
        Some(At { value: value.into_iter().map(|item| item.value).collect(), place })
    }

    /// The same, each of its texts with its place.
    pub(super) fn argv_in_place(&mut self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        let found = self.take(key)?;
        let what = self.named(key);
        if let DeValue::String(line) = &found.value {
            let words: Vec<String> = line.split_whitespace().map(|word| format!("{word:?}")).collect();
            let example = format!("no shell reads it: write `{key} = [{}]`", words.join(", "));
            wrong_type(self.report, &what, "a command as a list of texts", &example, &found.place, &found.value);
            return None;
        }
        let before = self.report.count();
        let list = items(self.report, &what, key, "/path/of/program", found, false, |text| {
            if text.contains('\0') { Err("an argument cannot hold a NUL character") } else { Ok(text.to_owned()) }
        })?;
        if let Some(program) = list.value.first().filter(|program| program.value.is_empty()) {
            let problem = Problem::new("config::bad-value", format!("{what} names no program"))
                .help(format!("write `{key} = [\"/path/of/program\", \"argument\"]`"));
            self.report.add(problem, &[(&program.place, "empty".to_owned())]);
        }
        (self.report.count() == before).then_some(list)
    }

    /// Free words: a table of texts.
    pub(super) fn words(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let mut words = BTreeMap::new();
        for (name, value) in self.entries(key) {
            let what = Name { key, of: &self.what };
            let place = Place::new(self.file, value.span());
            let example = format_args!("write `{key} = {{ {} = \"word\" }}`", name.value);
            let each = format_args!("`{}` in {what}", name.value);
            let value = At { value: value.into_inner(), place };
            if let Some(word) = parse_text(self.report, &each, &example, value, |text| Ok::<_, String>(text.to_owned()))
            {
                words.insert(name.value, word.value);
            }
        }
        words
    }

    /// A table of lists of texts.
    pub(super) fn word_lists(&mut self, key: &'static str) -> BTreeMap<String, At<Vec<String>>> {
        let mut lists = BTreeMap::new();
        for (name, value) in self.entries(key) {
            let what = Name { key, of: &self.what };
            let found = At { place: Place::new(self.file, value.span()), value: value.into_inner() };
            let each = format_args!("`{}` in {what}", name.value);
            if let Some(list) = items(self.report, &each, &name.value, "word", found, true, not_empty) {
                let values = list.value.into_iter().map(|item| item.value).collect();
                lists.insert(name.value, At { value: values, place: list.place });
            }
        }
        lists
    }

    /// Reports that `key` is not there, unless it stands where nothing could be read.
    pub(super) fn missing(&mut self, key: &str, reason: &str, example: &str) {
        if !self.report.may_hide(key) {
            let problem = Problem::new("config::missing-key", format!("{} is missing", self.named(key)))
                .reason(reason.to_owned())
                .help(format!("add `{example}`"));
            self.report.add(problem, &[(&self.header, format!("has no `{key}`"))]);
        }
    }

    /// Reports each key that nobody asked for.
    pub(super) fn finish(self) {
        let mut left: Vec<_> = self.table.keys().collect();
        left.sort_by_key(|key| key.span().start);
        for key in left {
            let name: &str = key.get_ref();
            let of = if self.what.is_empty() { String::new() } else { format!(" of {}", self.what) };
            let near = self.report.nearest(name, self.known.iter().copied());
            // Where a token is known, this is the credentials file.
            let secret = !self.known.contains(&"token")
                && ["token", "password", "secret", "credential"].iter().any(|word| name.contains(word));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if secret => "credentials belong in the credentials file, never in this one".to_owned(),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let problem = Problem::new("config::unknown-key", format!("`{name}` is no known key{of}")).help(help);
            self.report.add(problem, &[(&Place::new(self.file, key.span()), "unknown".to_owned())]);
        }
    }
}

/// Takes any text but white space.
pub(super) fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("it is empty") } else { Ok(text.to_owned()) }
}

/// Reads a text with `parse`, reporting where it is none or cannot be read.
fn parse_text<T, E: Display>(
    report: &mut Report,
    what: &dyn Display,
    example: &dyn Display,
    found: At<DeValue<'_>>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<At<T>> {
    let DeValue::String(text) = &found.value else {
        wrong_type(report, what, "text", example, &found.place, &found.value);
        return None;
    };
    match parse(text) {
        Ok(value) => Some(At { value, place: found.place }),
        Err(error) => {
            let problem = Problem::new("config::bad-value", format!("{what} cannot be read"))
                .reason(error.to_string())
                .help(example.to_string());
            report.add(problem, &[(&found.place, "this one".to_owned())]);
            None
        }
    }
}

/// Reads a list of texts with `parse`; where each may stand `once`, a repeated one is reported.
fn items<T, E: Display>(
    report: &mut Report,
    what: &dyn Display,
    key: &str,
    example: &str,
    found: At<DeValue<'_>>,
    once: bool,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<At<Vec<At<T>>>> {
    let example = format_args!("write `{key} = [\"{example}\"]`");
    let DeValue::Array(array) = found.value else {
        wrong_type(report, what, "a list of texts", &example, &found.place, &found.value);
        return None;
    };
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    // A single one is nobody's repetition.
    let once = once && array.len() > 1;
    let mut items = Vec::with_capacity(array.len());
    for item in array {
        let place = Place::new(found.place.file, item.span());
        if let Some(text) = item.get_ref().as_str().filter(|_| once) {
            if let Some(before) = seen.get(text) {
                let problem = Problem::new("config::duplicate-entry", format!("`{text}` stands twice in {what}"))
                    .help("leave one of them out");
                report.add(problem, &[(&place, "again".to_owned()), (before, "first here".to_owned())]);
                continue;
            }
            seen.insert(text.to_owned(), place.clone());
        }
        let each = format_args!("an entry of {what}");
        items.extend(parse_text(report, &each, &example, At { value: item.into_inner(), place }, &parse));
    }
    Some(At { value: items, place: found.place })
}
