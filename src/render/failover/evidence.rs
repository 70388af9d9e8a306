//! What a region's being down rests on: who saw what, when, and which rule that meets or breaks.

use super::proposal::hanging;
use crate::failover::{Finding, Ruling, Verdict, Witness, Word};
use crate::model::RegionId;
use crate::render::paint::{Glyph, Tone};
use crate::render::table::{Cell, Column, Table};
use crate::render::terminal::Look;
use crate::render::text::brief;

/// On what a region counts as down, or not: who saw what, when, and which rule that meets or breaks.
pub fn evidence(verdict: &Verdict, look: &Look) -> String {
    let Verdict { suspect, ruling, served, needed, votes: _, findings, witnesses } = verdict;
    let (tone, says) = match ruling {
        Ruling::Down { silent_for } => (Tone::Bad, format!("{suspect} is down: silent for {}", brief(*silent_for))),
        Ruling::NotDown { .. } => (Tone::Good, format!("{suspect} does not count as down")),
    };
    let mut out = format!("{}\n", look.paint(tone, &says));
    out.push_str(&look.wrapped(2, &format!("{served} served regions, {needed} must meet silence")));
    let mut table = Table::new([
        Column::name("Who"),
        Column::name("Says"),
        Column::number("Last seen"),
        Column::number("Sees").below(1),
        Column::text("Because"),
    ])
    .indented(2);
    for Witness { region, word, why, sees, evidence } in witnesses {
        let (tone, says) = match word {
            Word::Sighting => (Tone::Good, "there"),
            Word::Vote => (Tone::Bad, "silent"),
            Word::Silence => (Tone::Warn, "silent, no vote"),
            Word::Unclear => (Tone::Warn, "unclear"),
            Word::Unheard => (Tone::Warn, "not heard"),
        };
        let last = evidence.as_ref().map(|evidence| match evidence.last_seen {
            Some(age) => format!("{} ago", brief(age)),
            None => "never".to_owned(),
        });
        table.row([
            Cell::from(region.as_ref().map_or("this run", RegionId::as_str)),
            Cell::toned(tone, says),
            Cell::from(last.unwrap_or_default()),
            Cell::from(sees.map(|sees| format!("{sees} of {served}")).unwrap_or_default()),
            Cell::from(why.as_str()),
        ]);
    }
    out.push_str(&table.render(look));
    for Finding { rule: _, holds, found } in findings {
        let (tone, glyph) = if *holds { (Tone::Plain, Glyph::Done) } else { (Tone::Warn, Glyph::Cross) };
        out.push_str(&hanging(look, 2, tone, look.glyph(glyph), found));
    }
    out
}
