//! A plan at a terminal: the verdict and the counts, what will be done, and apart from it what will not and why.

use std::collections::BTreeMap;

use super::{rows, value, words};
use crate::model::observed::RegionStatus;
use crate::plan::document::{
    Action, Blocked, Change, Held, Plan, PlannedMove, PlannedRegion, Unmanaged, UnobservedRegion, Waiting, WaitingOn,
    Warning,
};
use crate::render::paint::{Glyph, Tone};
use crate::render::table::{Cell, Column, Table};
use crate::render::terminal::Look;
use crate::render::text::{count, grouped};

/// More entries than this are put together in ranges.
const GATHER_ABOVE: usize = 24;
/// At a terminal, no part of a plan has more lines than this.
const LINES_MAX: usize = 100;

/// The whole plan; with `every`, nothing is put together or left out, and each entry says why.
pub fn people(plan: &Plan, look: &Look, every: bool) -> String {
    let mut page = Page { look, every, text: String::new() };
    page.head(plan);
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
    for action in
        [Action::Fence, Action::Failover, Action::Delete, Action::Update, Action::Create, Action::Repair, Action::Sync]
    {
        page.action(action, changes);
    }
    page.drift(words::drift(plan.mode), drift);
    page.moved(moved);
    page.unmanaged(unmanaged);
    page.waiting(waiting);
    page.held(held);
    page.blocked(blocked);
    page.unobserved(unobserved);
    page.warnings(warnings);
    page.text
}

/// Paths of attributes, and what each of them was and will be.
type Attributes = Vec<(String, String)>;

/// Objects that change alike.
struct Alike<'a> {
    action: Action,
    lines: Attributes,
    reason: &'a str,
    names: Vec<(String, ())>,
}

struct Page<'a> {
    look: &'a Look,
    every: bool,
    text: String,
}

impl Page<'_> {
    fn head(&mut self, plan: &Plan) {
        let verdict = words::verdict(plan);
        let tone = if plan.is_settled() { Tone::Good } else { Tone::Strong };
        let asides = words::asides(plan);
        let label = self.look.paint(Tone::Strong, "Plan:");
        let lines = self.toned(6, tone, &verdict);
        self.text.push_str(&format!("{label} {}", lines.trim_start_matches(' ')));
        let tone = if plan.blocked.is_empty() && plan.unobserved.is_empty() { Tone::Faint } else { Tone::Warn };
        self.text.push_str(&self.toned(6, tone, &asides));
        let dot = self.look.glyph(Glyph::Dot);
        let facts =
            format!("{} {dot} {} {dot} state serial {}", regions(&plan.regions), plan.topology.path, plan.state.serial);
        self.faint(6, &facts);
        if let Some(mode) = words::mode(plan.mode) {
            self.faint(6, mode);
        }
    }

    fn heading(&mut self, title: &str, entries: usize, tone: Tone, note: &str) {
        let count = self.look.paint(Tone::Faint, &format!("({})", grouped(entries as u64)));
        let title = if tone == Tone::Plain {
            self.look.paint(Tone::Strong, title)
        } else {
            self.look.paint(tone, &self.look.paint(Tone::Strong, title))
        };
        self.text.push_str(&format!("\n{title} {count}\n"));
        self.faint(2, note);
    }

    /// Running text, each line of it in one tone; nothing where there is none.
    fn toned(&self, indent: usize, tone: Tone, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let pad = " ".repeat(indent);
        let wrapped = self.look.wrapped(indent, text);
        wrapped.lines().map(|line| format!("{pad}{}\n", self.look.paint(tone, line.trim_start()))).collect()
    }

    /// Small running text.
    fn faint(&mut self, indent: usize, text: &str) {
        let lines = self.toned(indent, Tone::Faint, text);
        self.text.push_str(&lines);
    }

    /// Rows of an object and what is said of it, put together where there are many.
    fn rows(&mut self, glyph: Glyph, tone: Tone, entries: Vec<(String, Vec<String>)>) {
        let entries = if self.every || entries.len() <= GATHER_ABOVE { entries } else { rows::gather(entries) };
        let sign = self.look.glyph(glyph);
        let columns = entries.iter().map(|(_, facts)| facts.len()).max().unwrap_or(0);
        let mut table = Table::new(
            std::iter::once(Column::name(""))
                .chain((0..columns).map(|at| {
                    // The last fact is running text, the others are names.
                    if at + 1 == columns { Column::text("") } else { Column::name("") }
                }))
                .collect::<Vec<_>>(),
        )
        .indented(2)
        .untitled();
        let all = entries.len();
        let shown = if self.every || self.look.width.is_none() { all } else { all.min(LINES_MAX) };
        for (name, facts) in entries.into_iter().take(shown) {
            let mut cells = vec![Cell::toned(tone, format!("{sign} {name}"))];
            cells.extend(facts.into_iter().map(Cell::from));
            cells.resize(columns + 1, Cell::default());
            table.row(cells);
        }
        self.text.push_str(&table.render(self.look));
        if shown < all {
            let more = count(all - shown, "line", "lines");
            let dots = self.look.glyph(Glyph::Ellipsis);
            self.faint(2, &format!("{dots} and {more} more; --verbose shows all"));
        }
    }

    fn action(&mut self, action: Action, changes: &[Change]) {
        let changes: Vec<&Change> = changes.iter().filter(|change| change.action == action).collect();
        if changes.is_empty() {
            return;
        }
        let note = words::action_note(action);
        // One reason for all is said once.
        let shared = note.is_none() && changes.iter().all(|change| change.reason == changes[0].reason);
        let note = if shared { sentence(&changes[0].reason) } else { note.unwrap_or_default().to_owned() };
        let tone = if matches!(action, Action::Delete | Action::Fence) { Tone::Bad } else { Tone::Plain };
        self.heading(words::action(action), changes.len(), tone, &note);
        if action == Action::Update {
            self.differences(&changes, !shared);
        } else {
            self.plain(action, &changes, !shared);
        }
    }

    fn plain(&mut self, action: Action, changes: &[&Change], reasons: bool) {
        let arrow = self.look.glyph(Glyph::Arrow);
        let entries = changes.iter().map(|change| {
            let mut facts = vec![value::about(change, arrow)];
            if reasons || self.every {
                facts.push(change.reason.clone());
            }
            (change.address.to_string(), facts)
        });
        self.rows(Glyph::Action(action), Tone::of(action), entries.collect());
    }

    /// Objects whose attributes change, those with the same differences together.
    fn differences(&mut self, changes: &[&Change], reasons: bool) {
        let arrow = self.look.glyph(Glyph::Arrow);
        let mut groups: Vec<Alike> = Vec::new();
        let mut places: BTreeMap<(Action, Attributes, &str), usize> = BTreeMap::new();
        for change in changes {
            let lines = value::differences(change, arrow);
            let key = (change.action, lines.clone(), change.reason.as_str());
            let place = *places.entry(key).or_insert_with(|| {
                groups.push(Alike { action: change.action, lines, reason: &change.reason, names: Vec::new() });
                groups.len() - 1
            });
            groups[place].names.push((change.address.to_string(), ()));
        }
        let (mut used, mut left_out) = (0, 0);
        for Alike { action, lines, reason, names } in groups {
            let objects = names.len();
            let names = if self.every || objects <= 3 { names } else { rows::gather(names) };
            used += names.len() + lines.len() + 1;
            if used > LINES_MAX && !self.every && self.look.width.is_some() {
                left_out += objects;
                continue;
            }
            let sign = self.look.glyph(Glyph::Action(action));
            for (name, ()) in names {
                let name = self.look.paint(Tone::of(action), &format!("{sign} {name}"));
                self.text.push_str(&format!("  {name}\n"));
            }
            let mut table = Table::new([Column::name(""), Column::text("")]).indented(6).untitled();
            for (path, change) in lines {
                table.row([Cell::toned(Tone::Faint, path), Cell::from(change)]);
            }
            self.text.push_str(&table.render(self.look));
            if reasons || self.every {
                self.faint(6, reason);
            }
        }
        if left_out > 0 {
            let dots = self.look.glyph(Glyph::Ellipsis);
            self.faint(2, &format!("{dots} and {} more; --verbose shows all", count(left_out, "object", "objects")));
        }
    }

    fn drift(&mut self, part: words::Part, drift: &[Change]) {
        if drift.is_empty() {
            return;
        }
        self.heading(part.title, drift.len(), Tone::Warn, part.note);
        self.differences(&drift.iter().collect::<Vec<_>>(), true);
    }

    fn moved(&mut self, moved: &[PlannedMove]) {
        if moved.is_empty() {
            return;
        }
        self.heading(words::MOVED.title, moved.len(), Tone::Plain, words::MOVED.note);
        let arrow = self.look.glyph(Glyph::Arrow);
        let entries =
            moved.iter().map(|PlannedMove { from, to, regions: _ }| (from.to_string(), vec![format!("{arrow} {to}")]));
        self.rows(Glyph::Same, Tone::Plain, entries.collect());
    }

    fn unmanaged(&mut self, unmanaged: &[Unmanaged]) {
        if unmanaged.is_empty() {
            return;
        }
        self.heading(words::UNMANAGED.title, unmanaged.len(), Tone::Plain, words::UNMANAGED.note);
        let entries = unmanaged.iter().map(|Unmanaged { address, regions, managed_by }| {
            let regions = regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let owner = managed_by.map_or_else(String::new, |lineage| format!("of lineage {lineage}"));
            (address.to_string(), vec![format!("at {regions}"), owner])
        });
        self.rows(Glyph::Bullet, Tone::Plain, entries.collect());
    }

    fn waiting(&mut self, waiting: &[Waiting]) {
        if waiting.is_empty() {
            return;
        }
        self.heading(words::WAITING.title, waiting.len(), Tone::Plain, words::WAITING.note);
        let entries = waiting.iter().map(|Waiting { address, region_id, reason }| {
            let WaitingOn::NoSource = reason;
            (address.to_string(), vec![format!("no files at {region_id}")])
        });
        self.rows(Glyph::Bullet, Tone::Plain, entries.collect());
    }

    fn held(&mut self, held: &[Held]) {
        if held.is_empty() {
            return;
        }
        self.heading(words::HELD.title, held.len(), Tone::Warn, words::HELD.note);
        let entries = held.iter().map(|held| (held.address.to_string(), vec![words::held(held)]));
        let entries: Vec<_> = entries.collect();
        // What a failover moved, it moved alike.
        let entries = if self.every { entries } else { rows::gather(entries) };
        self.rows(Glyph::Same, Tone::Warn, entries);
    }

    fn blocked(&mut self, blocked: &[Blocked]) {
        if blocked.is_empty() {
            return;
        }
        self.heading(words::BLOCKED.title, blocked.len(), Tone::Warn, words::BLOCKED.note);
        let entries = blocked.iter().map(|Blocked { address, region_id, reason, detail }| {
            let place = region_id.as_ref().map_or_else(String::new, |region| format!(" at {region}"));
            (address.to_string(), (place, reason.words(), detail.clone()))
        });
        let entries: Vec<_> = entries.collect();
        let entries = if self.every || entries.len() <= GATHER_ABOVE { entries } else { rows::gather(entries) };
        let all = entries.len();
        let shown = if self.every || self.look.width.is_none() { all } else { all.min(LINES_MAX / 3) };
        let sign = self.look.glyph(Glyph::Stop);
        for (name, (place, reason, detail)) in entries.into_iter().take(shown) {
            let name = self.look.paint(Tone::Warn, &format!("{sign} {name}{place}"));
            self.text.push_str(&format!("  {name}  {reason}\n{}", self.look.wrapped(6, &detail)));
        }
        if shown < all {
            let dots = self.look.glyph(Glyph::Ellipsis);
            self.faint(2, &format!("{dots} and {} more; --verbose shows all", grouped((all - shown) as u64)));
        }
    }

    fn unobserved(&mut self, unobserved: &[UnobservedRegion]) {
        if unobserved.is_empty() {
            return;
        }
        self.heading(words::UNOBSERVED.title, unobserved.len(), Tone::Bad, words::UNOBSERVED.note);
        let waiting = words::deferred(unobserved);
        for (UnobservedRegion { region_id, reason, help, deferred }, (new, above)) in unobserved.iter().zip(waiting) {
            let sign = self.look.glyph(Glyph::Cross);
            let name = self.look.paint(Tone::Bad, &format!("{sign} {region_id}"));
            self.text.push_str(&format!("  {name}\n"));
            self.text.push_str(&self.look.wrapped(6, reason));
            if let Some(help) = help {
                self.text.push_str(&self.look.wrapped(6, help));
            }
            if !deferred.is_empty() {
                let names = new.iter().map(|address| (address.to_string(), ())).collect::<Vec<_>>();
                let names = if self.every || names.len() <= 6 { names } else { rows::gather(names) };
                let shown = if self.every { names.len() } else { names.len().min(12) };
                let mut list = names.iter().take(shown).map(|(name, ())| name.as_str()).collect::<Vec<_>>().join(", ");
                if shown < names.len() {
                    list.push_str(&format!(" and {} more", names.len() - shown));
                }
                self.faint(6, &format!("deferred: {}", words::and_above(list, above)));
            }
        }
    }

    fn warnings(&mut self, warnings: &[Warning]) {
        if warnings.is_empty() {
            return;
        }
        self.heading(words::WARNINGS.title, warnings.len(), Tone::Plain, words::WARNINGS.note);
        let entries = warnings.iter().map(|Warning { address, message }| match address {
            Some(address) => (address.to_string(), vec![message.clone()]),
            None => (message.clone(), Vec::new()),
        });
        self.rows(Glyph::Bullet, Tone::Plain, entries.collect());
    }
}

/// A reason, which is a fragment, as a line of its own.
fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str() + ".")
}

/// `3 regions healthy`, or each status with its number.
fn regions(regions: &[PlannedRegion]) -> String {
    let mut by_status: BTreeMap<RegionStatus, usize> = BTreeMap::new();
    for region in regions {
        *by_status.entry(region.status).or_default() += 1;
    }
    let all = count(regions.len(), "region", "regions");
    match by_status.iter().next() {
        None => all,
        Some((status, _)) if by_status.len() == 1 => format!("{all} {status}"),
        Some(_) => {
            let parts = by_status.iter().map(|(status, n)| format!("{n} {status}")).collect::<Vec<_>>().join(", ");
            format!("{all}: {parts}")
        }
    }
}
