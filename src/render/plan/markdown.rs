//! A plan as a comment on a pull request: verdict and counts, then what is risky, then tables.
//!
//! GitHub refuses a comment of more than 65,536 characters, so none here has more than [`LIMIT`]; what does not fit is
//! counted, never dropped silently. Text from outside cannot leave its cell, start markup, or call people by `@`.

use super::{value, words};
use crate::model::observed::RegionStatus;
use crate::plan::document::{Action, Change, Plan};
use crate::render::text::{count, grouped};

/// Bytes, hence also characters, that a comment has at most.
pub const LIMIT: usize = 60_000;
/// Kept free for saying what was left out, and for closing what is open.
const RESERVE: usize = 700;
/// One cell's text.
const CELL_MAX: usize = 400;

/// One table of the comment.
struct Block {
    title: &'static str,
    note: String,
    columns: &'static [&'static str],
    rows: Vec<String>,
    /// Shown open, before the others.
    risky: bool,
}

/// The comment.
pub fn markdown(plan: &Plan) -> String {
    let mut out = head(plan);
    let blocks: Vec<Block> = blocks(plan).into_iter().filter(|block| !block.rows.is_empty()).collect();
    let mut left_out = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let opening = opening(block);
        let closing = if block.risky { "" } else { "\n</details>\n" };
        // What the headings after this one will need stays free for them.
        let later: usize = blocks[index + 1..].iter().map(|block| self::opening(block).len() + 20).sum();
        let room = LIMIT.saturating_sub(RESERVE + later + closing.len());
        if out.len() + opening.len() + block.rows.first().map_or(0, String::len) > room {
            left_out.push((block.title, block.rows.len()));
            continue;
        }
        out.push_str(&opening);
        let mut shown = 0;
        for row in &block.rows {
            if out.len() + row.len() > room {
                break;
            }
            out.push_str(row);
            shown += 1;
        }
        out.push_str(closing);
        if shown < block.rows.len() {
            left_out.push((block.title, block.rows.len() - shown));
        }
    }
    if !left_out.is_empty() {
        let all: usize = left_out.iter().map(|(_, entries)| entries).sum();
        let parts = left_out.iter().map(|(title, entries)| format!("{} of {title}", grouped(*entries as u64)));
        out.push_str(&format!(
            "\n**{} left out for length** ({}). `plan --format json` and the saved plan have all of them.\n",
            count(all, "entry", "entries"),
            parts.collect::<Vec<_>>().join(", ")
        ));
    }
    out
}

fn head(plan: &Plan) -> String {
    let mut verdict = words::verdict(plan);
    if let Some(first) = verdict.get(..1).map(str::to_uppercase) {
        verdict.replace_range(..1, &first);
    }
    let mut out = format!("### debvisor-region plan\n\n**{verdict}**");
    let asides = words::asides(plan);
    if !asides.is_empty() {
        out.push_str(&format!(" · {asides}"));
    }
    out.push_str("\n\n");
    if let Some(mode) = words::mode(plan.mode) {
        out.push_str(&format!("_{mode}_\n\n"));
    }
    let unwell = plan.regions.iter().filter(|region| region.status != RegionStatus::Healthy).count();
    let regions = count(plan.regions.len(), "region", "regions");
    let health = if unwell == 0 { "all healthy".to_owned() } else { format!("{unwell} not healthy") };
    out.push_str(&format!(
        "{regions}, {health} · topology {} · state serial {} · plan `{}`\n",
        code(&plan.topology.path),
        plan.state.serial,
        plan.digest.short()
    ));
    out
}

fn opening(block: &Block) -> String {
    let Block { title, note, columns, rows, risky } = block;
    let entries = grouped(rows.len() as u64);
    let mut out = if *risky {
        format!("\n#### {title} ({entries})\n\n")
    } else {
        format!("\n<details><summary>{title} ({entries})</summary>\n\n")
    };
    if !note.is_empty() {
        out.push_str(&format!("{note}\n\n"));
    }
    out.push_str(&format!("| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len())));
    out
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Everything of the plan, what needs a reader's judgement first.
fn blocks(plan: &Plan) -> Vec<Block> {
    // Named field by field: a new part of the plan must be shown before this compiles.
    let Plan {
        format_version: _,
        tool_version: _,
        created_at: _,
        digest: _,
        mode: _,
        topology: _,
        state: _,
        regions: _,
        changes,
        drift,
        held,
        blocked,
        waiting,
        unmanaged,
        unobserved,
        moved,
        warnings,
        summary: _,
    } = plan;
    let mut blocks: Vec<Block> = [Action::Fence, Action::Failover, Action::Delete, Action::Repair]
        .map(|action| of_action(action, changes))
        .into();
    blocks.push(Block {
        title: words::drift(plan.mode).title,
        note: words::drift(plan.mode).note.to_owned(),
        columns: &["object", "action", "difference", "why"],
        rows: drift.iter().map(|change| changed(change, true)).collect(),
        risky: true,
    });
    blocks.push(Block {
        title: words::BLOCKED.title,
        note: words::BLOCKED.note.to_owned(),
        columns: &["object", "region", "reason", "detail"],
        rows: blocked
            .iter()
            .map(|entry| {
                let region = entry.region_id.as_ref().map_or_else(String::new, |region| code(region.as_str()));
                row(&[code(&entry.address.to_string()), region, code(entry.reason.as_str()), prose(&entry.detail)])
            })
            .collect(),
        risky: true,
    });
    blocks.push(Block {
        title: words::UNOBSERVED.title,
        note: words::UNOBSERVED.note.to_owned(),
        columns: &["region", "why", "deferred"],
        rows: unobserved
            .iter()
            .zip(words::deferred(unobserved))
            .map(|(entry, (new, above))| {
                let why = match &entry.help {
                    Some(help) => format!("{}. {}", prose(&entry.reason), prose(help)),
                    None => prose(&entry.reason),
                };
                let names: Vec<String> = new.iter().take(8).map(|name| code(&name.to_string())).collect();
                let more = new.len() - names.len();
                let more = if more > 0 { format!(" and {} more", grouped(more as u64)) } else { String::new() };
                row(&[
                    code(entry.region_id.as_str()),
                    why,
                    words::and_above(format!("{}{more}", names.join(", ")), above),
                ])
            })
            .collect(),
        risky: true,
    });
    blocks.extend([Action::Update, Action::Create, Action::Sync].map(|action| of_action(action, changes)));
    blocks.push(Block {
        title: words::MOVED.title,
        note: words::MOVED.note.to_owned(),
        columns: &["from", "to"],
        rows: moved.iter().map(|entry| row(&[code(&entry.from.to_string()), code(&entry.to.to_string())])).collect(),
        risky: false,
    });
    blocks.push(Block {
        title: words::HELD.title,
        note: words::HELD.note.to_owned(),
        columns: &["object", "declared", "held by", "why"],
        rows: held
            .iter()
            .map(|entry| {
                let holder = format!("{} (epoch {})", code(entry.holder.region.as_str()), entry.holder.epoch);
                row(&[code(&entry.address.to_string()), code(entry.declared.as_str()), holder, prose(&entry.reason)])
            })
            .collect(),
        risky: false,
    });
    blocks.push(Block {
        title: words::WAITING.title,
        note: words::WAITING.note.to_owned(),
        columns: &["object", "region"],
        rows: waiting
            .iter()
            .map(|entry| row(&[code(&entry.address.to_string()), code(entry.region_id.as_str())]))
            .collect(),
        risky: false,
    });
    blocks.push(Block {
        title: words::UNMANAGED.title,
        note: words::UNMANAGED.note.to_owned(),
        columns: &["object", "regions", "lineage"],
        rows: unmanaged
            .iter()
            .map(|entry| {
                let lineage = entry.managed_by.map_or_else(|| "none".to_owned(), |lineage| code(&lineage.to_string()));
                row(&[code(&entry.address.to_string()), regions(&entry.regions), lineage])
            })
            .collect(),
        risky: false,
    });
    blocks.push(Block {
        title: words::WARNINGS.title,
        note: String::new(),
        columns: &["object", "what"],
        rows: warnings
            .iter()
            .map(|entry| {
                let address = entry.address.as_ref().map_or_else(String::new, |address| code(&address.to_string()));
                row(&[address, prose(&entry.message)])
            })
            .collect(),
        risky: false,
    });
    blocks
}

fn of_action(action: Action, changes: &[Change]) -> Block {
    let update = action == Action::Update;
    let entries = changes.iter().filter(|change| change.action == action);
    let rows = entries.map(|change| {
        if update {
            return changed(change, false);
        }
        let what = value::about(change, "→");
        row(&[
            code(&change.address.to_string()),
            if what.is_empty() { what } else { code(&what) },
            prose(&change.reason),
        ])
    });
    Block {
        title: words::action(action),
        note: words::action_note(action).unwrap_or_default().to_owned(),
        columns: if update { &["object", "difference", "why"] } else { &["object", "what", "why"] },
        rows: rows.collect(),
        risky: matches!(action, Action::Delete | Action::Repair | Action::Failover | Action::Fence),
    }
}

fn changed(change: &Change, with_action: bool) -> String {
    let differences = value::differences(change, "→");
    let lines = differences.iter().map(|(path, what)| format!("{} {}", code(path), code(what)));
    let mut cells = vec![code(&change.address.to_string())];
    if with_action {
        cells.push(change.action.as_str().to_owned());
    }
    let mut lines: Vec<String> = lines.collect();
    if lines.len() > 12 {
        let more = lines.len() - 12;
        lines.truncate(12);
        lines.push(format!("and {more} more"));
    }
    cells.push(lines.join("<br>"));
    cells.push(prose(&change.reason));
    row(&cells)
}

fn regions(regions: &[crate::model::RegionId]) -> String {
    regions.iter().map(|region| code(region.as_str())).collect::<Vec<_>>().join(", ")
}

/// The text without what could end a line or act on it, and not longer than a cell.
fn tamed(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= CELL_MAX {
            out.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => out.extend(c.escape_unicode()),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out.trim().to_owned()
}

/// A name or value in a code span, which a table's `|` would still end: it is escaped.
fn code(text: &str) -> String {
    let text = tamed(text);
    if text.is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    // In a table even a code span needs its bars escaped, and there a backslash before one would escape the escape.
    let text = text.replace('\\', "＼").replace('|', "\\|");
    format!("{fence}{space}{text}{space}{fence}")
}

/// Running text: every character that could start markup is escaped, and `@name`, `#12` call nobody.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for c in tamed(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' | '#' => {
                out.push(c);
                out.push_str("&#8203;");
            }
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_in_its_cell() {
        for evil in ["a | b", "a\n| x |", "`|`", "``x``", "<img src=x>", "@team #1 [l](http://x)", "\\|", "\u{202e}x"] {
            let cells = format!("{} {}", code(evil), prose(evil));
            assert!(!cells.contains('\n') && !cells.contains('\u{202e}'), "{cells}");
            let bare = cells
                .char_indices()
                .filter(|(at, c)| *c == '|' && cells[..*at].chars().rev().take_while(|c| *c == '\\').count() % 2 == 0);
            assert_eq!(bare.count(), 0, "{cells}");
            assert!(!prose(evil).contains('<') && !prose(evil).contains("@t"), "{cells}");
        }
        assert_eq!(code("us-east-1"), "`us-east-1`");
        assert_eq!(code("a`b"), "`` a`b ``");
        assert_eq!(code(""), "");
    }
}
