//! Tables that fit: laid out by comfy-table in columns of widths that are decided here.
//!
//! A table that is too wide first wraps its running text, then moves columns to a second line of each row or leaves out
//! what it can do without, and says so, then becomes one block per row. Names and numbers are never broken, and without a
//! width nothing is wrapped, moved or left out.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Layout, TableStyle, Width};

use super::paint::{Glyph, Tone};
use super::terminal::Look;
use super::text;

/// How a column gives way where there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Give {
    /// It does not: names, states.
    Never,
    /// It goes to a line below its row; the highest first.
    Below(u8),
    /// It is left out, which is said; the highest first.
    Drop(u8),
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    give: Give,
    right: bool,
    /// Whether it is running text, which is wrapped before anything gives way.
    wraps: bool,
}

impl Column {
    pub(super) const fn name(title: &'static str) -> Self {
        Self { title, give: Give::Never, right: false, wraps: false }
    }

    pub(super) const fn text(title: &'static str) -> Self {
        Self { title, give: Give::Never, right: false, wraps: true }
    }

    pub(super) const fn number(title: &'static str) -> Self {
        Self { title, give: Give::Never, right: true, wraps: false }
    }

    /// Can stand on a line below its row; columns of a higher rank go first.
    pub(super) const fn below(self, rank: u8) -> Self {
        Self { give: Give::Below(rank), ..self }
    }

    /// Can be done without; columns of a higher rank go first.
    pub(super) const fn optional(self, rank: u8) -> Self {
        Self { give: Give::Drop(rank), ..self }
    }
}

/// A cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

/// A table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
    titled: bool,
}

/// Spaces between two columns.
const GAP: usize = 2;
/// How much further in than its row a line below it stands.
const BELOW: usize = 4;
/// Running text is not squeezed below this.
const TEXT_MIN: usize = 24;

impl Table {
    pub(super) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), indent: 0, titled: true }
    }

    /// Moves the whole table to the right.
    pub(super) const fn indented(mut self, columns: usize) -> Self {
        self.indent = columns;
        self
    }

    /// Leaves out the line of titles; they are still used where rows become blocks.
    pub(super) const fn untitled(mut self) -> Self {
        self.titled = false;
        self
    }

    pub(super) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The table as lines, each ending in a line break.
    pub(super) fn render(&self, look: &Look) -> String {
        let mut left_out = BTreeSet::new();
        let lines = self.render_part(look, &mut left_out);
        format!("{lines}{}", said(&left_out, self.indent, look))
    }

    /// The same as one of several, of which together is said what was left out.
    pub(super) fn render_part(&self, look: &Look, left_out: &mut BTreeSet<&'static str>) -> String {
        let rows: Vec<Vec<Cell>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| Cell { text: look.clean(&cell.text), tone: cell.tone }).collect())
            .collect();
        match self.fit(&rows, look) {
            Some(fitted) => {
                left_out.extend(fitted.left_out.iter().map(|at| self.columns[*at].title));
                self.lay_out(&rows, &fitted, look)
            }
            None => self.stack(&rows, look),
        }
    }

    /// What becomes of the columns; none where even those that must stay don't fit.
    fn fit(&self, rows: &[Vec<Cell>], look: &Look) -> Option<Fitted> {
        let natural = |at: usize| {
            let title = if self.titled { text::width(self.columns[at].title) } else { 0 };
            rows.iter().map(|row| text::width(&row[at].text)).max().unwrap_or(0).max(title)
        };
        // A column without content says nothing; it is left out, titles and all.
        let filled = |at: &usize| rows.is_empty() || rows.iter().any(|row| !row[*at].text.is_empty());
        let kept = (0..self.columns.len()).filter(filled).map(|at| (at, natural(at))).collect();
        let mut fitted = Fitted { kept, ..Fitted::default() };
        let Some(room) = look.width else { return Some(fitted) };
        let room = room.saturating_sub(self.indent);
        loop {
            let taken = |kept: &[(usize, usize)]| {
                kept.iter().map(|(_, wide)| wide).sum::<usize>() + GAP * kept.len().saturating_sub(1)
            };
            if taken(&fitted.kept) <= room {
                return Some(fitted);
            }
            let mut squeezed = fitted.kept.clone();
            while taken(&squeezed) > room {
                let widest = squeezed
                    .iter_mut()
                    .filter(|(at, wide)| self.columns[*at].wraps && *wide > TEXT_MIN)
                    .max_by_key(|(_, wide)| *wide);
                let Some((_, wide)) = widest else { break };
                *wide -= 1;
            }
            if taken(&squeezed) <= room {
                return Some(Fitted { kept: squeezed, ..fitted });
            }
            let rank = |at: usize| match self.columns[at].give {
                Give::Below(rank) | Give::Drop(rank) => Some(rank),
                Give::Never => None,
            };
            let places = fitted.kept.iter().enumerate();
            let (_, expendable) = places.filter_map(|(place, (at, _))| rank(*at).map(|rank| (rank, place))).max()?;
            let (at, _) = fitted.kept.remove(expendable);
            match self.columns[at].give {
                Give::Below(_) => fitted.below.push(at),
                Give::Drop(_) | Give::Never => fitted.left_out.push(at),
            }
            fitted.below.sort_unstable();
        }
    }

    fn lay_out(&self, rows: &[Vec<Cell>], fitted: &Fitted, look: &Look) -> String {
        let Fitted { kept, below, left_out: _ } = fitted;
        let mut out = String::new();
        if self.titled {
            let titles = kept.iter().map(|(at, _)| mark(Tone::Faint, &look.clean(self.columns[*at].title)));
            self.line(titles.collect(), kept, look, &mut out);
        }
        for row in rows {
            let cells = kept.iter().map(|(at, _)| mark(row[*at].tone, &row[*at].text));
            self.line(cells.collect(), kept, look, &mut out);
            let facts = below.iter().filter(|at| !row[**at].text.is_empty());
            let facts: Vec<String> =
                facts.map(|at| format!("{} {}", self.columns[*at].title.to_lowercase(), row[*at].text)).collect();
            let indent = self.indent + BELOW;
            for line in text::wrap(&facts.join(&format!(" {} ", look.glyph(Glyph::Dot))), look.room(indent)) {
                if !line.is_empty() {
                    out.push_str(&format!("{}{}\n", " ".repeat(indent), look.paint(Tone::Faint, &line)));
                }
            }
        }
        out
    }

    /// One row in these columns, wrapped where it must be.
    fn line(&self, cells: Vec<String>, kept: &[(usize, usize)], look: &Look, out: &mut String) {
        let mut layout = Layout::new();
        layout.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
        layout.add_row(cells);
        for (place, (at, wide)) in kept.iter().enumerate() {
            let Some(column) = layout.column_mut(place) else { continue };
            let last = place + 1 == kept.len();
            let gap = if last { 0 } else { GAP };
            column.set_padding((0, u16::try_from(gap).unwrap_or(0)));
            let wide = u16::try_from(wide + gap).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(wide)));
            if self.columns[*at].right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let pad = " ".repeat(self.indent);
        for line in layout.lines() {
            out.push_str(format!("{pad}{}", unmark(look, &line)).trim_end());
            out.push('\n');
        }
    }

    /// One block per row: its first cell, then the others, each with its title.
    fn stack(&self, rows: &[Vec<Cell>], look: &Look) -> String {
        let pad = " ".repeat(self.indent);
        let titles = self.columns.iter().skip(1).map(|column| text::width(column.title)).max().unwrap_or(0);
        let mut out = String::new();
        for row in rows {
            let mut cells = row.iter().zip(&self.columns);
            if let Some((cell, _)) = cells.next() {
                out.push_str(&format!("{pad}{}\n", look.paint(cell.tone, &cell.text)));
            }
            for (cell, column) in cells.filter(|(cell, _)| !cell.text.is_empty()) {
                let title = look.paint(Tone::Faint, &text::padded(column.title, titles));
                let room = look.width.unwrap_or(usize::MAX).saturating_sub(self.indent + 4 + titles).max(12);
                let lines = text::wrap(&cell.text, room);
                // A name that is too long for its title's side has the next line for itself.
                if lines.iter().any(|line| text::width(line) > room) {
                    if !column.title.is_empty() {
                        out.push_str(&format!("{pad}  {}\n", look.paint(Tone::Faint, column.title)));
                    }
                    for line in text::wrap(&cell.text, room + titles + 2) {
                        out.push_str(&format!("{pad}  {}\n", look.paint(cell.tone, &line)));
                    }
                    continue;
                }
                for (number, line) in lines.iter().enumerate() {
                    let before = if number == 0 { title.clone() } else { " ".repeat(titles) };
                    out.push_str(&format!("{pad}  {before}  {}\n", look.paint(cell.tone, line)));
                }
            }
        }
        out
    }
}

/// What becomes of each column that has content.
#[derive(Debug, Default)]
struct Fitted {
    /// Those that stay, each with its width.
    kept: Vec<(usize, usize)>,
    /// Those that go below each row.
    below: Vec<usize>,
    /// Those that are left out.
    left_out: Vec<usize>,
}

/// The line that says what tables left out; nothing where they left out nothing.
pub(super) fn said(left_out: &BTreeSet<&'static str>, indent: usize, look: &Look) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let titles = left_out.iter().copied().collect::<Vec<_>>().join(", ");
    let text = format!("not shown: {titles}; a wider window and --format json have more");
    let pad = " ".repeat(indent);
    let lines = text::wrap(&text, look.room(indent));
    lines.into_iter().map(|line| format!("{pad}{}\n", look.paint(Tone::Faint, &line))).collect()
}

/// A tone's beginning, as a character without width that cleaned text cannot hold: comfy-table measures plain text,
/// and colours are put in afterwards.
const MARK: u32 = 0xE0100;
const MARK_END: char = '\u{e01ef}';

fn mark(tone: Tone, text: &str) -> String {
    let number = Tone::ALL.iter().position(|known| *known == tone).unwrap_or(0);
    match char::from_u32(MARK + number as u32) {
        Some(begin) if tone != Tone::Plain && !text.is_empty() => format!("{begin}{text}{MARK_END}"),
        _ => text.to_owned(),
    }
}

/// Puts the colours where the marks are. A cell that was wrapped is coloured on its first line only.
fn unmark(look: &Look, line: &str) -> String {
    let mut out = String::new();
    let mut open: Option<(Tone, String)> = None;
    for c in line.chars() {
        let tone = (c as u32).checked_sub(MARK).and_then(|number| Tone::ALL.get(number as usize));
        if c == MARK_END {
            if let Some((tone, text)) = open.take() {
                out.push_str(&look.paint(tone, &text));
            }
        } else if let Some(tone) = tone {
            open = Some((*tone, String::new()));
        } else if let Some((_, text)) = &mut open {
            text.push(c);
        } else {
            out.push(c);
        }
    }
    if let Some((tone, text)) = open {
        out.push_str(&look.paint(tone, &text));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new([
            Column::name("Region"),
            Column::name("Status"),
            Column::number("Latency").optional(1),
            Column::text("Detail"),
        ]);
        table.row([
            Cell::from("us-east-1"),
            Cell::toned(Tone::Good, "healthy"),
            Cell::from("1.2 ms"),
            Cell::from("answers, and everything that it should hold is there"),
        ]);
        table.row([
            Cell::from("a-region-with-a-long-name"),
            Cell::toned(Tone::Bad, "unreachable"),
            Cell::from(""),
            Cell::from("no route to host"),
        ]);
        table
    }

    fn look(width: Option<usize>) -> Look {
        Look { color: false, unicode: true, width }
    }

    #[test]
    fn without_a_width_nothing_is_wrapped() {
        let expected = "\
Region                     Status       Latency  Detail
us-east-1                  healthy       1.2 ms  answers, and everything that it should hold is there
a-region-with-a-long-name  unreachable           no route to host
";
        assert_eq!(sample().render(&look(None)), expected);
    }

    #[test]
    fn text_wraps_first_then_columns_go_then_rows_are_stacked() {
        for width in [20, 40, 60, 70, 80, 120] {
            let text = sample().render(&look(Some(width)));
            assert!(text.contains("a-region-with-a-long-name"), "{width}: {text}");
            if width >= 40 {
                assert!(text.lines().all(|line| text::width(line) <= width), "{width}: {text}");
            }
        }
        assert!(sample().render(&look(Some(80))).contains("Latency"));
        let narrow = sample().render(&look(Some(66)));
        assert!(!narrow.lines().next().unwrap().contains("Latency"), "{narrow}");
        assert!(narrow.ends_with("not shown: Latency; a wider window and --format json have more\n"), "{narrow}");
        let expected = "\
us-east-1
  Status   healthy
  Latency  1.2 ms
  Detail   answers, and everything that
           it should hold is there
a-region-with-a-long-name
  Status   unreachable
  Detail   no route to host
";
        assert_eq!(sample().render(&look(Some(40))), expected);
    }

    #[test]
    fn what_somebody_needs_goes_below_its_row() {
        let mut table = Table::new([Column::name("Began"), Column::name("By").below(2), Column::text("Why").below(1)]);
        table.row(["12:00:05", "ops@gate", "the power is to be cut, and nobody knows for how long"].map(Cell::from));
        table.row(["12:00:06", "ops@gate", ""].map(Cell::from));
        let expected = "\
Began     Why
12:00:05  the power is to be cut, and
          nobody knows for how long
    by ops@gate
12:00:06
    by ops@gate
";
        assert_eq!(table.render(&look(Some(40))), expected);
        assert!(table.render(&look(Some(100))).starts_with("Began     By        Why\n"));
    }

    #[test]
    fn a_name_too_long_for_its_titles_side_stands_below_it() {
        let mut table = Table::new([Column::name("Region"), Column::name("Store")]).indented(2);
        table.row(["b", "0192f1d4-5a51-7c3e-9d2b-3f1c5e6a7b8c"].map(Cell::from));
        let expected = "  b\n    Store\n    0192f1d4-5a51-7c3e-9d2b-3f1c5e6a7b8c\n";
        assert_eq!(table.render(&look(Some(40))), expected);
    }

    #[test]
    fn colours_take_no_room() {
        let plain = sample().render(&look(Some(80)));
        let colored = sample().render(&Look { color: true, ..look(Some(80)) });
        assert!(colored.contains("\u{1b}[32mhealthy\u{1b}[0m"), "{colored:?}");
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), plain);
    }
}
