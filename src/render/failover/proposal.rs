//! A failover as it would go: what is decided, what each gate found, what moves in which order, what follows.

use std::collections::BTreeMap;

use super::evidence::evidence;
use super::moves;
use crate::failover::{Feed, Gate, GateKind, Move, OldSide, Outcome, PlannedHook, Proposal, Source, Unprotected};
use crate::model::failover::Hook;
use crate::model::policy::Strategy;
use crate::model::{RegionId, ResourceKey};
use crate::render::paint::{Glyph, Tone};
use crate::render::plan::rows;
use crate::render::table::{Cell, Column, Table};
use crate::render::terminal::Look;
use crate::render::text::{self, brief, count, grouped};

/// More entries than this are put together in ranges, or told by their number.
const GATHER_ABOVE: usize = 24;
/// At a terminal, no part has more lines than this.
const LINES_MAX: usize = 60;

/// The whole of it; with `explain`, nothing is put together or left out, and what a verdict rests on is shown.
pub fn proposal(proposal: &Proposal, look: &Look, explain: bool) -> String {
    // Named field by field: a new part of the proposal must be shown before this compiles.
    let Proposal {
        at: _,
        from,
        to,
        strategy: _,
        loses_nothing: _,
        outcome,
        source,
        moves,
        held_back,
        gates,
        hooks,
        feeds,
        unprotected,
        next,
        passed_over,
        verdict,
    } = proposal;
    let mut page = Page { look, every: explain, text: String::new() };
    page.head(proposal);
    if let (Some(verdict), true) = (verdict, explain) {
        page.text.push_str(&format!("\n{}", evidence(verdict, look)));
    }
    if *outcome == Outcome::Nothing {
        return page.text;
    }
    page.gates(gates);
    page.moves(proposal, moves);
    page.list(
        "Held back",
        Tone::Warn,
        "These stay where they are, with what depends on them.",
        held_back.iter().map(|held| (held.resource.to_string(), held.why.clone())).collect(),
    );
    // What does not happen has no consequences.
    if *outcome != Outcome::Refused {
        page.hooks(hooks);
        page.afterwards(from, to, source, feeds, unprotected);
    }
    let passed = passed_over.iter().map(|over| (over.region.to_string(), over.why.clone()));
    page.list("Passed over", Tone::Plain, "These would have come first.", passed.collect());
    if !next.is_empty() {
        let next = next.iter().map(ToString::to_string).collect::<Vec<_>>().join(", then ");
        page.text.push_str(&look.wrapped(0, &format!("\nShould {to} refuse or fail: {next}.")));
    }
    page.text
}

/// The options that let every gate pass that refuses this, each with its own words to be put in; none: some gate lets
/// nothing pass.
pub fn past(proposal: &Proposal) -> Option<String> {
    let (whole, own): (Vec<&Gate>, Vec<&Gate>) = proposal.failed_gates().partition(|gate| gate.subject.is_none());
    let way = |gate: &Gate| gate.way_past.as_ref().map(|way| way.option.clone());
    let mut options = whole.into_iter().map(way).collect::<Option<Vec<String>>>()?;
    // Of what is lost, the most that any of them loses.
    let lost = |gate: &&&Gate| {
        let subject = gate.subject.as_ref();
        let of = proposal.moves.iter().find(|one| Some(&one.resource) == subject);
        of.and_then(|one| one.loss.as_ref()).map(|loss| loss.at_most)
    };
    options.extend(own.iter().filter(|gate| gate.kind == GateKind::Loss).max_by_key(lost).and_then(|gate| way(gate)));
    options.extend(own.iter().filter(|gate| gate.kind != GateKind::Loss).filter_map(|gate| way(gate)));
    let mut seen = std::collections::BTreeSet::new();
    options.retain(|option| seen.insert(option.clone()));
    (!options.is_empty()).then(|| options.join(" "))
}

/// A sign, and text beside it.
pub(super) fn hanging(look: &Look, indent: usize, tone: Tone, sign: &str, text: &str) -> String {
    let pad = " ".repeat(indent);
    let inner = indent + text::width(sign) + 1;
    let wrapped = look.wrapped(inner, text);
    let first = format!("{pad}{} ", look.paint(tone, sign));
    format!("{first}{}", wrapped.trim_start())
}

struct Page<'a> {
    look: &'a Look,
    every: bool,
    text: String,
}

impl Page<'_> {
    fn heading(&mut self, title: &str, entries: Option<usize>) {
        let count = entries.map_or_else(String::new, |entries| {
            format!(" {}", self.look.paint(Tone::Faint, &format!("({})", grouped(entries as u64))))
        });
        self.text.push_str(&format!("\n{}{count}\n", self.look.paint(Tone::Strong, title)));
    }

    fn prose(&mut self, indent: usize, text: &str) {
        self.text.push_str(&self.look.wrapped(indent, text));
    }

    fn head(&mut self, proposal: &Proposal) {
        let Proposal { from, to, outcome, source, moves, held_back, .. } = proposal;
        let arrow = self.look.glyph(Glyph::Arrow);
        let title = self.look.paint(Tone::Strong, &format!("Failover {from} {arrow} {to}:"));
        let going = proposal.going().count();
        let what = |n: usize| count(n, "resource", "resources");
        let (tone, says) = match outcome {
            Outcome::Nothing => (Tone::Good, format!("nothing to do, {from} holds none of what was asked for")),
            Outcome::Goes => (Tone::Good, format!("{} would move", what(going))),
            Outcome::Partly => (Tone::Warn, format!("{} of {} would move", grouped(going as u64), what(moves.len()))),
            Outcome::Refused => (Tone::Bad, "refused, nothing would move".to_owned()),
        };
        self.text.push_str(&format!("{title} {}\n", self.look.paint(tone, &says)));
        if *outcome == Outcome::Nothing {
            return;
        }
        if *outcome == Outcome::Refused {
            self.prose(2, &format!("These gates refuse it: {}.", refusing(proposal)));
        }
        let manner = match (proposal.strategy, proposal.loses_nothing) {
            (Strategy::Graceful, _) => "graceful: copied once more after it is stopped, nothing is lost",
            (Strategy::Cascading, true) => "cascading: copied once more after it is stopped, nothing is lost",
            (Strategy::Manual, _) => "manual: from the points below, which are older than the source",
            (Strategy::Automatic, _) => "automatic: from the newest points, which are older than the source",
            (Strategy::Cascading, false) => {
                "cascading: from the newest points, on to the next target where one refuses"
            }
        };
        self.prose(2, manner);
        self.prose(2, &old_side(from, source));
        let held: Vec<&ResourceKey> = held_back.iter().map(|held| &held.resource).collect();
        let lost = moves.iter().filter(|one| !held.contains(&&one.resource)).filter_map(|one| one.loss.as_ref());
        if let Some(worst) =
            lost.map(|loss| loss.at_most).max().filter(|worst| !worst.is_zero() && *outcome != Outcome::Refused)
        {
            self.prose(2, &format!("At most {} of writes are lost.", brief(worst)));
        }
    }

    fn gates(&mut self, gates: &[Gate]) {
        self.heading("Gates", None);
        let mut kinds: Vec<GateKind> = gates.iter().map(|gate| gate.kind).collect();
        kinds.dedup();
        let column = kinds.iter().map(|kind| kind.as_str().len()).max().unwrap_or_default();
        for kind in kinds {
            let of: Vec<&Gate> = gates.iter().filter(|gate| gate.kind == kind).collect();
            let name = text::padded(kind.as_str(), column);
            for (said, gates) in alike(&of, self.every) {
                let first = gates[0];
                let (tone, glyph) = match (first.passes, first.is_overridden()) {
                    (true, false) => (Tone::Good, Glyph::Done),
                    (true, true) => (Tone::Warn, Glyph::Stop),
                    (false, _) => (Tone::Bad, Glyph::Cross),
                };
                let sign = format!("{} {name} ", self.look.glyph(glyph));
                self.text.push_str(&hanging(self.look, 2, tone, &sign, &said));
                let inner = 2 + text::width(&sign) + 1;
                for line in beside(first) {
                    self.text.push_str(&self.look.wrapped(inner, &line));
                }
            }
        }
    }

    fn moves(&mut self, proposal: &Proposal, moves: &[Move]) {
        let held = proposal.held();
        let going: Vec<&Move> = moves.iter().filter(|one| !held.contains_key(&one.resource)).collect();
        if going.is_empty() {
            return;
        }
        self.heading(
            if proposal.outcome == Outcome::Refused { "Would move otherwise" } else { "Moves" },
            Some(going.len()),
        );
        if moves.iter().any(|one| one.level > 0) {
            self.prose(2, "Step by step; what stands in one step starts at once.");
        }
        let rows = moves::rows(&going, if self.every { usize::MAX } else { GATHER_ABOVE });
        let mut table = Table::new([
            Column::number("Step"),
            Column::name("Resource"),
            Column::name("From point"),
            Column::number("Old"),
            Column::name("Kind").below(1),
            Column::number("Loses"),
        ])
        .indented(2);
        let shown = self.shown(rows.len());
        let all = rows.len();
        for (name, facts) in rows.into_iter().take(shown) {
            let mut facts = facts.into_iter();
            let mut cells = vec![Cell::from(facts.next().unwrap_or_default()), Cell::from(name)];
            cells.extend(facts.map(Cell::from));
            table.row(cells);
        }
        self.text.push_str(&table.render(self.look));
        self.rest(all - shown);
    }

    fn shown(&self, all: usize) -> usize {
        if self.every || self.look.width.is_none() { all } else { all.min(LINES_MAX) }
    }

    fn rest(&mut self, left_out: usize) {
        if left_out > 0 {
            let dots = self.look.glyph(Glyph::Ellipsis);
            let more = count(left_out, "line", "lines");
            self.prose(2, &format!("{dots} and {more} more; --explain shows all"));
        }
    }

    /// Names, and running text beside each.
    fn list(&mut self, title: &str, tone: Tone, note: &str, entries: Vec<(String, String)>) {
        if entries.is_empty() {
            return;
        }
        self.heading(title, Some(entries.len()));
        self.prose(2, note);
        let entries = if self.every || entries.len() <= GATHER_ABOVE { entries } else { rows::gather(entries) };
        let mut table = Table::new([Column::name(""), Column::text("")]).indented(2).untitled();
        let (all, shown) = (entries.len(), self.shown(entries.len()));
        let sign = self.look.glyph(if tone == Tone::Warn { Glyph::Stop } else { Glyph::Bullet });
        for (name, text) in entries.into_iter().take(shown) {
            table.row([Cell::toned(tone, format!("{sign} {name}")), Cell::from(text)]);
        }
        self.text.push_str(&table.render(self.look));
        self.rest(all - shown);
    }

    fn hooks(&mut self, hooks: &[PlannedHook]) {
        if hooks.is_empty() {
            return;
        }
        self.heading("Programs", None);
        let mut table =
            Table::new([Column::name("When"), Column::text("What"), Column::number("At most")]).indented(2).untitled();
        for PlannedHook { hook, command, timeout } in hooks {
            let when = match hook {
                Hook::Before(_) => "before the first change",
                Hook::Fence(_) => "to cut the source off",
                Hook::After(_) => "after the last start",
            };
            table.row([
                Cell::from(when),
                Cell::from(command.join(" ")),
                Cell::from(format!("within {}", brief(*timeout))),
            ]);
        }
        self.text.push_str(&table.render(self.look));
    }

    fn afterwards(
        &mut self,
        from: &RegionId,
        to: &RegionId,
        source: &Source,
        feeds: &[Feed],
        unprotected: &[Unprotected],
    ) {
        if feeds.is_empty() && unprotected.is_empty() {
            return;
        }
        self.heading("Afterwards", None);
        let bullet = self.look.glyph(Glyph::Bullet);
        let returns = match source.stopped {
            OldSide::Demotion | OldSide::Unwatched => {
                format!("{from} keeps replicas of them, fed from the files that it has.")
            }
            OldSide::Fence | OldSide::CutOff | OldSide::Word(_) | OldSide::Gone(_) | OldSide::Unproven => format!(
                "When {from} returns it starts none of them; what it wrote alone is kept there as a named point."
            ),
        };
        let mut lines = vec![returns];
        for Feed { target, pair, interval, resources, at_once } in feeds {
            let arrow = self.look.glyph(Glyph::Arrow);
            let when = if *at_once { "at once".to_owned() } else { format!("once {target} is back") };
            let what = count(resources.len(), "resource", "resources");
            lines.push(format!(
                "{to} feeds {target} {when}: {what} every {}, as {} {arrow} {} did.",
                brief(*interval),
                pair.source,
                pair.target
            ));
        }
        let mut until: BTreeMap<&str, Vec<&ResourceKey>> = BTreeMap::new();
        for Unprotected { resource, until: waits } in unprotected {
            until.entry(waits).or_default().push(resource);
        }
        for (until, keys) in until {
            lines.push(format!("UNPROTECTED until {until}: {}, with one copy at {to} only.", names(&keys)));
        }
        for line in lines {
            let tone = if line.starts_with("UNPROTECTED") { Tone::Warn } else { Tone::Plain };
            self.text.push_str(&hanging(self.look, 2, tone, bullet, &line));
        }
    }
}

/// The gates that refuse it: those about all of it, or else those that hold back each resource.
fn refusing(proposal: &Proposal) -> String {
    let whole = proposal.failed_gates().any(|gate| gate.subject.is_none());
    let refusing = proposal.failed_gates().filter(|gate| !whole || gate.subject.is_none());
    let mut kinds: Vec<&str> = refusing.map(|gate| gate.kind.as_str()).collect();
    kinds.dedup();
    kinds.join(", ")
}

/// An option without the place for words that it takes.
fn named(option: &str) -> &str {
    option.split_once("\"how").map_or(option, |(name, _)| name.trim_end_matches(['=', ' ']))
}

/// The old side in a sentence.
fn old_side(from: &RegionId, source: &Source) -> String {
    let Source { answers, last_seen, seen_by, stopped, collateral: _ } = source;
    let by = seen_by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let state = match (answers, last_seen) {
        (true, _) => format!("{from} answers"),
        (false, Some(age)) => format!("{from} does not answer, last seen {} ago{by}", brief(*age)),
        (false, None) => format!("{from} does not answer, and nobody knows when it was last seen"),
    };
    let stopped = match stopped {
        OldSide::Demotion => "it gives up its role and stops its machines".to_owned(),
        OldSide::Unwatched => "it gives up its role, NOT FENCED BY US: nothing here stops its machines".to_owned(),
        OldSide::Fence => "it is cut off by the fence hook".to_owned(),
        OldSide::CutOff => "it was cut off by hand, and not let in since".to_owned(),
        OldSide::Word(how) => format!("it is stopped, by somebody's word: {how}"),
        OldSide::Gone(how) => format!("it is gone, by somebody's word: {how}"),
        OldSide::Unproven => "nothing proves that its machines are stopped".to_owned(),
    };
    format!("{state}; {stopped}.")
}

/// What stands below a gate: the safer way and the override where it fails, what was taken on where it was overridden.
fn beside(gate: &Gate) -> Vec<String> {
    let mut lines = Vec::new();
    match (&gate.way_past, gate.passes) {
        (Some(way), true) if way.given => lines.push(format!("passed by {}: {}", named(&way.option), way.price)),
        (_, true) => {}
        (way, false) => {
            if let Some(age) = gate.evidence_age {
                lines.push(format!("the evidence is {} old", brief(age)));
            }
            lines.extend(gate.safer.as_ref().map(|safer| format!("safer: {safer}")));
            if let Some(way) = way {
                lines.push(format!("or {}: {}", way.option, way.price));
            }
        }
    }
    lines
}

/// Gates of one kind that are told together: those that say the same, and all that pass.
fn alike<'g>(gates: &[&'g Gate], every: bool) -> Vec<(String, Vec<&'g Gate>)> {
    let mut groups: Vec<Vec<&Gate>> = Vec::new();
    for gate in gates {
        let same = |group: &&mut Vec<&Gate>| {
            let first = group[0];
            let quiet = |gate: &Gate| gate.passes && !gate.is_overridden();
            gate.subject.is_some()
                && !every
                && (quiet(first) && quiet(gate) || (&first.figure, first.passes) == (&gate.figure, gate.passes))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(gate),
            None => groups.push(vec![gate]),
        }
    }
    let said = |group: &[&Gate]| {
        let keys: Vec<&ResourceKey> = group.iter().filter_map(|gate| gate.subject.as_ref()).collect();
        let figure = &group[0].figure;
        match keys[..] {
            [] => figure.clone(),
            _ if group.iter().all(|gate| gate.figure == *figure) => format!("{}: {figure}", names(&keys)),
            _ => format!("{} pass", count(keys.len(), "resource", "resources")),
        }
    };
    groups.into_iter().map(|group| (said(&group), group)).collect()
}

/// `vm.a, vm.b`, and of many the first and how many more.
fn names(keys: &[&ResourceKey]) -> String {
    let gathered = rows::gather(keys.iter().map(|key| (key.to_string(), ())).collect::<Vec<_>>());
    let mut names: Vec<String> = gathered.into_iter().map(|(name, ())| name).collect();
    let more = names.len().saturating_sub(4);
    names.truncate(4);
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {} more", grouped(more as u64)) }
}
