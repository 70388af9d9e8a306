//! The one way to lay out a topology file. Comments, order and values stay; white space is made equal: one space
//! around `=`, one blank line between tables, lists and inline tables evenly spaced, nothing behind the last character
//! of a line. White space before a comment at the end of a line is kept, so that columns of comments stay columns.
//!
//! Invariant: formatting twice is formatting once, and the digest of the topology is unchanged.

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, KeyMut, RawString, Table, Value};

use super::problem::{Problem, Problems};
use super::report::Report;
use super::source::Source;

const INDENT: &str = "    ";

/// Lays out the text of the file `name`.
///
/// # Errors
/// Every syntax error, where the text is not TOML.
pub fn format(name: &str, text: &str) -> Result<String, Problems> {
    let mut report = Report::default();
    let file = report.take_source(Source::new(name, text));
    report.parse(file, text);
    if let Some(problems) = report.into_problems() {
        return Err(problems);
    }
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        Problem::new("config::syntax", format!("`{name}` is not TOML: {}", error.message()))
            .help("what a TOML file may hold is described at https://toml.io")
    })?;
    let trailing = above(raw(Some(document.trailing())), Gap::AtMostOne);
    document.set_trailing(trailing.trim_end_matches('\n'));
    table(document.as_table_mut(), &mut true);
    let laid_out = document.to_string();
    let laid_out = laid_out.trim_start_matches('\n').trim_end_matches('\n');
    Ok(if laid_out.is_empty() { String::new() } else { format!("{laid_out}\n") })
}

/// The blank lines wanted before a line and the comments above it.
#[derive(Clone, Copy, PartialEq)]
enum Gap {
    None,
    AtMostOne,
    One,
}

fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}

/// The comments and blank lines above a line. What stands after the last line break is the line's own indentation.
fn above(text: &str, gap: Gap) -> String {
    let mut lines: Vec<&str> = text.split('\n').map(str::trim).collect();
    // At the very end of a file a comment may lack its line break.
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let blank = lines.first().is_some_and(|line| line.is_empty());
    // A comment right below the table before belongs to that one.
    let attached = !blank && lines.iter().any(|line| line.is_empty());
    let mut laid_out = match gap {
        Gap::One if attached => String::new(),
        Gap::One => "\n".to_owned(),
        Gap::AtMostOne if blank => "\n".to_owned(),
        Gap::AtMostOne | Gap::None => String::new(),
    };
    let mut pending = false;
    for line in lines.into_iter().skip_while(|line| line.is_empty()) {
        if line.is_empty() {
            pending = true;
            continue;
        }
        if std::mem::take(&mut pending) {
            laid_out.push('\n');
        }
        laid_out.push_str(line);
        laid_out.push('\n');
    }
    if pending {
        laid_out.push('\n');
    }
    laid_out
}

/// What stands behind a value or a header: a comment, or nothing.
fn behind(text: &str) -> String {
    let text = text.trim_end();
    match text.find('#') {
        None => String::new(),
        Some(0) => format!(" {text}"),
        Some(_) => text.to_owned(),
    }
}

fn set(decor: &mut Decor, prefix: String, suffix: String) {
    decor.set_prefix(prefix);
    decor.set_suffix(suffix);
}

fn bare(key: &mut KeyMut<'_>) {
    set(key.leaf_decor_mut(), String::new(), String::new());
    set(key.dotted_decor_mut(), String::new(), String::new());
}

/// Lays out a table's lines and the tables below it; `first` says that none of its own lines came yet.
fn table(table: &mut Table, first: &mut bool) {
    for (mut key, item) in table.iter_mut() {
        match item {
            Item::None => {}
            Item::Value(value) => {
                let gap = if std::mem::take(first) { Gap::None } else { Gap::AtMostOne };
                let prefix = above(raw(key.leaf_decor().prefix()), gap);
                bare(&mut key);
                set(key.leaf_decor_mut(), prefix, " ".to_owned());
                let suffix = behind(raw(value.decor().suffix()));
                self::value(value, 0);
                set(value.decor_mut(), " ".to_owned(), suffix);
            }
            Item::Table(inner) if inner.is_dotted() => {
                bare(&mut key);
                self::table(inner, first);
            }
            Item::Table(inner) => {
                bare(&mut key);
                header(inner);
            }
            Item::ArrayOfTables(tables) => {
                bare(&mut key);
                tables.iter_mut().for_each(header);
            }
        }
    }
}

fn header(inner: &mut Table) {
    let prefix = above(raw(inner.decor().prefix()), Gap::One);
    let suffix = behind(raw(inner.decor().suffix()));
    set(inner.decor_mut(), prefix, suffix);
    table(inner, &mut true);
}

fn value(value: &mut Value, depth: usize) {
    match value {
        Value::Array(items) => array(items, depth),
        Value::InlineTable(inner) => inline(inner, depth),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// White space and comments between two entries of a list, or between an entry and a bracket. A comment that stood
/// behind an entry stays behind it.
fn between(text: &str, depth: usize, on_one_line: &str) -> String {
    let Some((same_line, below)) = text.split_once('\n') else { return on_one_line.to_owned() };
    let mut laid_out = behind(same_line);
    let line = format!("\n{}", INDENT.repeat(depth));
    for comment in below.split('\n').map(str::trim).filter(|comment| !comment.is_empty()) {
        laid_out.push_str(&line);
        laid_out.push_str(comment);
    }
    laid_out.push_str(&line);
    laid_out
}

/// As [`between`], before the bracket that closes: comments are indented as the entries are.
fn before_end(text: &str, depth: usize, on_one_line: &str) -> String {
    let laid_out = between(text, depth + 1, on_one_line);
    match laid_out.strip_suffix(&format!("\n{}", INDENT.repeat(depth + 1))) {
        Some(rest) => format!("{rest}\n{}", INDENT.repeat(depth)),
        None => laid_out,
    }
}

fn array(items: &mut Array, depth: usize) {
    let mut carried = String::new();
    let mut gaps = Vec::with_capacity(items.len());
    for item in items.iter() {
        carried.push_str(raw(item.decor().prefix()));
        gaps.push(std::mem::replace(&mut carried, raw(item.decor().suffix()).to_owned()));
    }
    carried.push_str(raw(Some(items.trailing())));
    // A list that ends on a line of its own gets a comma behind every entry.
    items.set_trailing_comma(carried.contains('\n') && !items.is_empty());
    items.set_trailing(before_end(&carried, depth, ""));
    for (at, (item, gap)) in items.iter_mut().zip(gaps).enumerate() {
        value(item, depth + 1);
        let prefix = between(&gap, depth + 1, if at == 0 { "" } else { " " });
        set(item.decor_mut(), prefix, String::new());
    }
}

fn inline(inner: &mut InlineTable, depth: usize) {
    let last = inner.len();
    let mut carried = String::new();
    let dotted = inner.iter().any(|(_, value)| value.as_inline_table().is_some_and(InlineTable::is_dotted));
    for (at, (mut key, value)) in inner.iter_mut().enumerate() {
        self::value(value, depth + 1);
        // Dotted keys keep their ends deeper down; their entries are left as they are.
        if dotted {
            continue;
        }
        carried.push_str(raw(key.leaf_decor().prefix()));
        let gap = std::mem::replace(&mut carried, raw(value.decor().suffix()).to_owned());
        bare(&mut key);
        set(key.leaf_decor_mut(), between(&gap, depth + 1, " "), " ".to_owned());
        let ends = at + 1 == last;
        set(value.decor_mut(), " ".to_owned(), String::new());
        if ends && !carried.contains('\n') {
            set(value.decor_mut(), " ".to_owned(), " ".to_owned());
        }
    }
    if !dotted {
        let one_line = !carried.contains('\n');
        carried.push_str(raw(Some(inner.trailing())));
        let broken = carried.contains('\n');
        if one_line && broken {
            // The closing bracket stands on its own line: nothing is needed behind the last value.
            if let Some((_, value)) = inner.iter_mut().last() {
                value.decor_mut().set_suffix("");
            }
        }
        inner.set_trailing_comma(broken && !inner.is_empty());
        inner.set_trailing(if broken { before_end(&carried, depth, "") } else { String::new() });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::drawn;
    use super::*;

    fn laid_out(text: &str) -> String {
        format("t.toml", text).unwrap_or_else(|problems| panic!("{text}\n{}", drawn(&problems)))
    }

    #[test]
    fn white_space_is_made_equal_and_the_rest_stays() {
        let messy = "\n\n#:schema x.json\nschema_version=1   \n\n\n\n# about a\n  # more\n\n[ regions . a ]  # tail  \n\n\
                     api_endpoint   =\"file:a\"# why\n\n\nlabels={a='x',b=\"y\"}\n labels2 . c   = [ 'a','b' , ]\n\
                     [[replication]]\nresource_types=[\n'vm', # first\n# second\n   'config'\n\n]   \n  # the end";
        let neat = "#:schema x.json\nschema_version = 1\n\n# about a\n# more\n\n[regions.a]  # tail\n\
                    api_endpoint = \"file:a\" # why\n\nlabels = { a = 'x', b = \"y\" }\nlabels2.c = ['a', 'b']\n\n\
                    [[replication]]\nresource_types = [\n    'vm', # first\n    # second\n    'config',\n]\n# the end\n";
        assert_eq!(laid_out(messy), neat);
        assert_eq!(laid_out(neat), neat);
        assert_eq!(laid_out("[a]\nb=1\n# of a\n\n\n# of c\n[c]"), "[a]\nb = 1\n# of a\n\n# of c\n[c]\n");
        assert_eq!(laid_out("[a]\nb=1\n# of c\n[c]"), "[a]\nb = 1\n\n# of c\n[c]\n");
        assert_eq!(laid_out(""), "");
        assert_eq!(laid_out("\n\n"), "");
        assert_eq!(laid_out("# only"), "# only\n");
        assert_eq!(laid_out("a=1\r\n\r\n\r\n[b]\r\nc=2\r\n"), "a = 1\n\n[b]\nc = 2\n");
        assert_eq!(laid_out("a={\nb=1,\n c=[{d=1},{ e = 2}] # x\n}"), {
            "a = {\n    b = 1,\n    c = [{ d = 1 }, { e = 2 }], # x\n}\n"
        });
        assert_eq!(laid_out("a={}\nb=[]\nc=[ ]\nd={ }"), "a = {}\nb = []\nc = []\nd = {}\n");
        assert_eq!(laid_out("a = '''\n  x  \n'''\n"), "a = '''\n  x  \n'''\n");
    }

    #[test]
    fn what_is_not_toml_is_told_in_full() {
        let problems = format("t.toml", "a = \nb = 1\nc = = 2\n").unwrap_err();
        assert_eq!(problems.0.len(), 2, "{}", drawn(&problems));
        assert_eq!(problems.0[0].labels[0].file(), "t.toml");
    }

    fn space() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", " ", "  ", "\t"])
    }

    fn gap() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", " ", "\n", "\n\n", " # c \n", "\n  # d\n\n # e\n", "# f\r\n"])
    }

    fn plain() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["1", "'a # b'", "\"x\"", "true", "'''\n y \n'''", "0x1F", "1979-05-27"])
            .prop_map(str::to_owned)
    }

    fn any_value() -> impl Strategy<Value = String> {
        plain().prop_recursive(3, 12, 3, |inner| {
            let list = (prop::collection::vec((gap(), inner.clone(), gap()), 0..3), any::<bool>(), gap()).prop_map(
                |(items, comma, end)| {
                    let all: Vec<String> = items.iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect();
                    let comma = if comma && !all.is_empty() { "," } else { "" };
                    format!("[{}{comma}{end}]", all.join(","))
                },
            );
            let table = prop::collection::vec((space(), space(), inner), 0..3).prop_map(|items| {
                let all: Vec<String> =
                    items.iter().enumerate().map(|(at, (a, b, value))| format!("{a}k{at}{b}={a}{value}{b}")).collect();
                format!("{{{}}}", all.join(","))
            });
            prop_oneof![list, table]
        })
    }

    fn lines(prefix: &'static str) -> impl Strategy<Value = String> {
        let blank = prop::sample::select(vec!["", "\n", " \n\n", "# c\n", "\n\n  # d  \n\n"]);
        prop::collection::vec((blank, space(), any_value(), prop::sample::select(vec!["", " ", " # e ", "#f"])), 0..4)
            .prop_map(move |all| {
                let line = |(at, (above, space, value, tail)): (usize, &(&str, &str, String, &str))| {
                    let key = if at % 2 == 0 { format!("{prefix}{at}") } else { format!("{prefix}.x{at}") };
                    format!("{above}{space}{key}{space}={space}{value}{tail}\n")
                };
                all.iter().enumerate().map(line).collect()
            })
    }

    fn document() -> impl Strategy<Value = String> {
        let heads = vec!["[a]", "[b.c]\t", "[ d ]# x", "[[e]]", "[[e]] ", "[e.f] # y  "];
        let tables = prop::sample::subsequence(heads, 0..6);
        (lines("k"), tables, prop::collection::vec(lines("m"), 6), gap()).prop_map(|(root, heads, bodies, end)| {
            let all: String = heads.iter().zip(bodies).map(|(head, body)| format!("{head}\n{body}")).collect();
            format!("{root}{all}{end}")
        })
    }

    proptest! {
        #[test]
        fn formatting_twice_is_formatting_once_and_changes_no_value(text in document()) {
            prop_assume!(toml::from_str::<toml::Table>(&text).is_ok());
            let once = laid_out(&text);
            prop_assert_eq!(&laid_out(&once), &once, "from\n{}", text);
            let value = |text: &str| toml::from_str::<toml::Table>(text).unwrap();
            prop_assert_eq!(value(&once), value(&text), "{}", once);
            let comments = |text: &str| text.matches('#').count();
            prop_assert_eq!(comments(&once), comments(&text), "from\n{}\nto\n{}", text, once);
            // Inside of a multi-line text, white space is content.
            let bad = once.lines().find(|line| line.ends_with([' ', '\t']) && !line.starts_with(" y "));
            prop_assert_eq!(bad, None);
            prop_assert!(once.is_empty() || once.ends_with('\n') && !once.ends_with("\n\n"));
        }
    }
}
