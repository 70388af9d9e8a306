//! Colours and glyphs, and nothing else that knows them. Every glyph has a form in ASCII.

use anstyle::{AnsiColor, Style};

use super::terminal::Look;
use crate::plan::document::Action;

/// What a piece of text means; its colour follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// Headings and verdicts.
    Strong,
    /// What may be overlooked.
    Faint,
    /// Well, or new.
    Good,
    /// To be looked at, or changed.
    Warn,
    /// Lost, failed or removed.
    Bad,
    /// On its way.
    Move,
}

impl Tone {
    /// Every tone, in the order of its marker in table cells.
    pub(super) const ALL: [Self; 7] =
        [Self::Plain, Self::Strong, Self::Faint, Self::Good, Self::Warn, Self::Bad, Self::Move];

    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(anstyle::Color::Ansi(color)));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => color(AnsiColor::Green),
            Self::Warn => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red),
            Self::Move => color(AnsiColor::Cyan),
        }
    }

    /// The tone of an action.
    pub const fn of(action: Action) -> Self {
        match action {
            Action::Create => Self::Good,
            Action::Update | Action::Repair | Action::Failover => Self::Warn,
            Action::Delete | Action::Fence => Self::Bad,
            Action::Sync => Self::Move,
        }
    }
}

/// A sign with a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyph {
    /// Of an action, before its object.
    Action(Action),
    /// From here to there.
    Arrow,
    /// Carried out.
    Done,
    /// Failed.
    Cross,
    /// Stopped, held back, to be looked at.
    Stop,
    /// Nothing to do.
    Same,
    /// Between two small facts.
    Dot,
    /// Before one of several things.
    Bullet,
    /// Something was left out.
    Ellipsis,
}

impl Look {
    /// `text` in the colour of `tone`, where colours may be used.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let style = tone.style();
        if self.color && !text.is_empty() && style != Style::new() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// The sign for `glyph`.
    pub const fn glyph(&self, glyph: Glyph) -> &'static str {
        let (unicode, ascii) = match glyph {
            Glyph::Action(Action::Create) => ("+", "+"),
            Glyph::Action(Action::Update) => ("~", "~"),
            Glyph::Action(Action::Delete) => ("-", "-"),
            Glyph::Action(Action::Sync) => ("→", ">"),
            Glyph::Action(Action::Repair) => ("↻", "*"),
            Glyph::Action(Action::Failover) => ("⇄", "%"),
            Glyph::Action(Action::Fence) => ("×", "x"),
            Glyph::Arrow => ("→", "->"),
            Glyph::Done => ("✓", "ok"),
            Glyph::Cross => ("✗", "x"),
            Glyph::Stop => ("!", "!"),
            Glyph::Same => ("=", "="),
            Glyph::Dot => ("·", "-"),
            Glyph::Bullet => ("·", "."),
            Glyph::Ellipsis => ("…", "..."),
        };
        if self.unicode { unicode } else { ascii }
    }
}
