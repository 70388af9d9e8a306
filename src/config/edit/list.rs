//! Changes of a list of texts: what stays keeps its place, its line and its comment.

use std::ops::Range;

use toml_edit::{Array, Value};

use super::page::{Splice, line_end, line_start, listed, quoted};

/// The changes that make a list hold exactly `wanted`. What goes gives its place to what comes.
pub(super) fn reshape(text: &str, list: &Array, span: &Range<usize>, wanted: &[&str]) -> Vec<Splice> {
    let entries: Vec<(&str, Range<usize>)> =
        list.iter().filter_map(|entry| Some((entry.as_str()?, entry.span()?))).collect();
    let mut coming: Vec<&str> =
        wanted.iter().copied().filter(|text| !entries.iter().any(|(entry, _)| entry == text)).collect();
    coming.reverse();
    let mut going: Vec<usize> = Vec::new();
    let mut splices = Vec::new();
    for (at, (entry, range)) in entries.iter().enumerate() {
        if wanted.contains(entry) {
            continue;
        }
        match coming.pop() {
            Some(new) => splices.push(Splice { range: range.clone(), text: quoted(new) }),
            None => going.push(at),
        }
    }
    coming.reverse();
    if going.is_empty() && coming.is_empty() {
        return splices;
    }
    let inside = &text[span.clone()];
    if !inside.contains('\n') && !inside.contains('#') {
        // On one line there is nothing to lose, but the order stays.
        let kept = entries.iter().map(|(entry, range)| {
            splices.iter().find(|splice| splice.range == *range).map_or_else(|| quoted(entry), |new| new.text.clone())
        });
        let kept = kept.enumerate().filter(|(at, _)| !going.contains(at)).map(|(_, entry)| entry);
        let all: Vec<String> = kept.chain(coming.iter().map(|new| quoted(new))).collect();
        return vec![Splice { range: span.clone(), text: format!("[{}]", all.join(", ")) }];
    }
    if wanted.is_empty() {
        return vec![Splice { range: span.clone(), text: listed([]) }];
    }
    let lines: Vec<usize> = entries.iter().map(|(_, range)| line_start(text, range.start)).collect();
    let apart =
        lines.windows(2).all(|pair| pair[0] < pair[1]) && lines.first().is_some_and(|first| *first > span.start);
    if !apart {
        return vec![Splice { range: span.clone(), text: anew(inside, wanted) }];
    }
    for at in &going {
        splices.push(Splice { range: lines[*at]..line_end(text, entries[*at].1.end), text: String::new() });
    }
    if let (Some((_, last)), Some(line)) = (entries.last(), lines.last()) {
        let indent = &text[*line..last.start];
        let lines: String = coming.iter().map(|new| format!("{indent}{},\n", quoted(new))).collect();
        if !lines.is_empty() && !list.trailing_comma() {
            splices.push(Splice { range: last.end..last.end, text: ",".to_owned() });
        }
        let end = line_end(text, last.end);
        splices.push(Splice { range: end..end, text: lines });
    }
    splices
}

/// A list of several lines, some of which hold more than one entry.
fn anew(text: &str, wanted: &[&str]) -> String {
    let Ok(Value::Array(mut list)) = text.parse::<Value>() else { return listed(wanted.iter().copied()) };
    list.retain(|entry| entry.as_str().is_some_and(|entry| wanted.contains(&entry)));
    let here: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for new in wanted.iter().filter(|new| !here.iter().any(|entry| entry == *new)) {
        list.push(*new);
    }
    list.to_string().trim().to_owned()
}
