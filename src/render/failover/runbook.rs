//! A runbook as Markdown: to be printed, or read at a terminal as it is.

use crate::failover::{Chapter, Instruction, Runbook};
use crate::model::ResourceKey;
use crate::render::plan::rows;
use crate::render::terminal::Look;
use crate::render::text::wrap;

/// The columns of a page that is printed.
const PAPER: usize = 80;

/// The whole of it.
pub fn runbook(runbook: &Runbook, look: &Look) -> String {
    let Runbook { from, to, topology, facts, moves, stays, chapters } = runbook;
    let mut page = Page { look, text: String::new() };
    page.line(&format!("# Failover from {from} to {to}"));
    page.prose(
        "",
        &format!(
            "Written from the topology at {topology}. Run each command where that is, or add `--topology {topology}`."
        ),
    );
    page.prose("", "Read the headings first, and choose the night that you have. Do one step, see what is expected, then do the next. If something else happens, stop.");
    page.line("\n## What there is\n");
    for fact in facts {
        page.item("- ", fact);
    }
    page.line("\n## What moves\n");
    if moves.iter().all(|level| level.is_empty()) {
        page.prose("", &format!("Nothing is born at {from} with a replica at {to}."));
    }
    for (level, keys) in (1..).zip(moves) {
        page.item(&format!("{level}. "), &names(keys));
    }
    if !stays.is_empty() {
        page.prose("", &format!("NOT PROTECTED at {to}, these stay down with {from}: {}", names(stays)));
    }
    page.prose("", "By the files, that is. `debvisor-region vm list` says who holds what now.");
    page.line("\n## Which night is it?\n");
    for (number, chapter) in (1..).zip(chapters) {
        page.item(&format!("{number}. "), &format!("**{}**: {}", chapter.title, chapter.when));
    }
    for (number, chapter) in (1..).zip(chapters) {
        page.chapter(number, chapter);
    }
    page.text
}

/// Names in the notation of the topology, so that a thousand machines fit on a line.
fn names<'k>(keys: impl IntoIterator<Item = &'k ResourceKey>) -> String {
    let gathered = rows::gather(keys.into_iter().map(|key| (key.to_string(), ())).collect::<Vec<_>>());
    gathered.into_iter().map(|(name, ())| name).collect::<Vec<_>>().join(", ")
}

struct Page<'a> {
    look: &'a Look,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn wrapped(&mut self, first: &str, rest: &str, text: &str) {
        let room = self.look.width.unwrap_or(PAPER).clamp(20, 100).saturating_sub(rest.len()).max(16);
        for (at, line) in wrap(&self.look.clean(text), room).iter().enumerate() {
            self.text.push_str(if at == 0 { first } else { rest });
            self.line(line);
        }
    }

    fn prose(&mut self, indent: &str, text: &str) {
        self.text.push('\n');
        self.wrapped(indent, indent, text);
    }

    fn item(&mut self, sign: &str, text: &str) {
        self.wrapped(sign, &" ".repeat(sign.len()), text);
    }

    fn chapter(&mut self, number: usize, chapter: &Chapter) {
        let Chapter { title, when, steps, stop } = chapter;
        self.line(&format!("\n## {number}. {title}"));
        self.prose("", when);
        for (number, Instruction { text, commands, expect }) in (1..).zip(steps) {
            let sign = format!("{number}. ");
            let indent = " ".repeat(sign.len());
            self.text.push('\n');
            self.item(&sign, text);
            if !commands.is_empty() {
                self.line(&format!("\n{indent}```sh"));
                for command in commands {
                    self.line(&format!("{indent}{}", self.look.clean(command)));
                }
                self.line(&format!("{indent}```"));
            }
            if let Some(expect) = expect {
                self.prose(&indent, &format!("Expect: {expect}"));
            }
        }
        self.line("\n**Stop if:**\n");
        for reason in stop {
            self.item("- ", reason);
        }
    }
}
