//! Events on a terminal: a bar for each running copy, one line over all, and above them the lines of what ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::feed::View;
use super::lines::{self, Tells};
use crate::execute::event::{Event, Outcome, Stage};
use crate::model::ByteCount;
use crate::plan::document::Kind;
use crate::render::paint::{Glyph, Tone};
use crate::render::printer::Printer;
use crate::render::terminal::Look;
use crate::render::text;

/// More running copies than this have no bar of their own: a screen is only so high.
const BARS_MAX: usize = 8;
/// Above so many actions, only copies and what went wrong get a line.
const LINES_BELOW: usize = 40;

/// Bars on standard error.
#[derive(Debug)]
pub struct Bars {
    printer: Arc<Printer>,
    look: Look,
    all: MultiProgress,
    overall: ProgressBar,
    running: BTreeMap<String, Running>,
    total: usize,
    ended: usize,
    troubled: usize,
    bytes: ByteCount,
    tells: Tells,
}

#[derive(Debug)]
struct Running {
    name: String,
    bar: Option<ProgressBar>,
    stage: Option<Stage>,
}

impl Bars {
    /// Draws for a run of `total` actions.
    pub fn new(printer: Arc<Printer>, total: usize, tells: Tells) -> Self {
        let target = printer.draw_target();
        Self { tells, ..Self::on(target, printer, total) }
    }

    pub(super) fn on(target: ProgressDrawTarget, printer: Arc<Printer>, total: usize) -> Self {
        let look = *printer.error_look();
        let all = MultiProgress::with_draw_target(target);
        let overall = all.add(ProgressBar::new(total as u64));
        overall.set_style(style(OVERALL));
        overall.enable_steady_tick(Duration::from_millis(500));
        let mut bars = Self {
            printer,
            look,
            all,
            overall,
            running: BTreeMap::new(),
            total,
            ended: 0,
            troubled: 0,
            bytes: ByteCount::default(),
            tells: Tells::default(),
        };
        bars.tell();
        bars
    }

    /// Brings the line over all up to date.
    fn tell(&mut self) {
        let dot = self.look.glyph(Glyph::Dot);
        let done = format!("{} of {}", text::grouped(self.ended as u64), text::grouped(self.total as u64));
        self.overall.set_prefix(self.look.paint(Tone::Strong, &done));
        let mut facts = vec![format!("{} running", self.running.len())];
        if self.bytes.0 > 0 {
            facts.push(self.bytes.to_string());
        }
        if self.troubled > 0 {
            facts.push(self.look.paint(Tone::Bad, &format!("{} not done", self.troubled)));
        }
        self.overall.set_message(format!("{dot} {} {dot}", facts.join(&format!(" {dot} "))));
    }

    fn start(&mut self, id: &str, name: String, kind: Kind) {
        let shown = self.running.values().filter(|running| running.bar.is_some()).count();
        let bar = (kind == Kind::Sync && shown < BARS_MAX).then(|| {
            let bar = self.all.insert_before(&self.overall, ProgressBar::no_length());
            bar.set_style(waiting());
            bar.set_prefix(text::padded(&name, 30));
            bar.set_message("starting");
            bar
        });
        self.running.insert(id.to_owned(), Running { name, bar, stage: None });
    }

    fn progress(&mut self, id: &str, stage: Stage, done: ByteCount, total: Option<ByteCount>) {
        let look = self.look;
        let Some(running) = self.running.get_mut(id) else { return };
        let Some(bar) = &running.bar else { return };
        if running.stage != Some(stage) {
            // Another stage counts other bytes: rate and time left begin anew.
            running.stage = Some(stage);
            bar.reset();
            bar.set_message(lines::stage_word(stage));
            bar.set_prefix(text::padded(&running.name, 30));
            // What had arrived before came at no speed: it is there before the rate is counted, and shown.
            bar.set_style(waiting());
            bar.update(|state| state.set_pos(done.0));
            bar.reset_eta();
            bar.set_style(if total.is_some() { measured(&look) } else { waiting() });
        }
        if let Some(total) = total {
            bar.set_length(total.0);
        }
        bar.set_position(done.0);
    }
}

impl View for Bars {
    fn event(&mut self, event: &Event) {
        match event {
            Event::ActionStarted { id, address, kind, regions, .. } => {
                self.start(id, lines::name(address, *kind, regions, &self.look), *kind);
            }
            Event::Progress { id, stage, bytes_done, bytes_total, .. } => {
                self.progress(id, *stage, *bytes_done, *bytes_total);
            }
            Event::ActionFinished { id, kind, outcome, bytes, .. } => {
                if let Some(Running { bar: Some(bar), .. }) = self.running.remove(id) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                self.ended += 1;
                self.bytes += *bytes;
                let well = matches!(outcome, Outcome::Done | Outcome::Unchanged);
                self.troubled += usize::from(!well);
                if (self.total < LINES_BELOW || *kind == Kind::Sync || !well)
                    && let Some(line) = lines::finished(event, &self.look)
                {
                    self.all.suspend(|| self.printer.note(&line));
                }
            }
            Event::Blocked { .. } | Event::Deferred { .. } => {
                if let Some(line) = lines::stopped(event, self.tells, &self.look) {
                    self.all.suspend(|| self.printer.note(&line));
                }
            }
            Event::DamageFound { .. } | Event::Audited { .. } => {
                if let Some(line) = lines::audit(event, &self.look) {
                    self.all.suspend(|| self.printer.note(&line));
                }
            }
            Event::OperationOpen { .. } | Event::FailoverHeld { .. } | Event::FailoverFinished { .. } => {
                if let Some(line) = lines::failover(event, &self.look) {
                    self.all.suspend(|| self.printer.note(&line));
                }
            }
            Event::Summary { .. } => {}
        }
        self.tell();
    }

    fn say(&mut self, line: &str) {
        self.all.suspend(|| self.printer.note(line));
    }

    fn end(&mut self) {
        for running in self.running.values() {
            if let Some(bar) = &running.bar {
                bar.finish_and_clear();
            }
        }
        self.overall.finish_and_clear();
    }
}

/// A template is one of the constants below; a test holds that they parse.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const OVERALL: &str = "  {prefix} {msg} {elapsed}";
const WAITING: &str = "  {prefix} {msg} {binary_bytes}";
/// What fits, by the columns it needs: the name and the percentage always; bar, rate and time left as there is room.
const MEASURED: [(usize, &str); 5] = [
    (
        114,
        "  {prefix} {bar:24} {percent:>3} %  {binary_bytes:>10} of {binary_total_bytes:<10} {binary_bytes_per_sec:>12}  {eta:>4} left",
    ),
    (96, "  {prefix} {bar:16} {percent:>3} %  {binary_bytes:>10}  {binary_bytes_per_sec:>12}  {eta:>4} left"),
    (76, "  {prefix} {bar:8} {percent:>3} %  {binary_bytes_per_sec:>12} {eta:>4} left"),
    (56, "  {prefix} {percent:>3} %  {eta:>4} left"),
    (0, "  {prefix} {percent:>3} %"),
];

fn waiting() -> ProgressStyle {
    style(WAITING)
}

fn measured(look: &Look) -> ProgressStyle {
    let width = look.width.unwrap_or(80);
    let template = MEASURED.iter().find(|(needs, _)| width >= *needs).map_or(WAITING, |(_, template)| template);
    style(template).progress_chars(if look.unicode { "━╸─" } else { "=>-" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::terminal::{ColorChoice, Streams, Terminal};
    use crate::render::{Printer, Talk};

    #[test]
    fn what_had_arrived_before_is_no_speed() {
        let streams = Streams {
            input: Box::new(std::io::empty()),
            output: Box::new(std::io::sink()),
            error: Box::new(std::io::sink()),
            terminal: Terminal::default(),
        };
        let printer = Arc::new(Printer::new(streams, ColorChoice::Auto, Talk::Normal).0);
        let mut bars = Bars::on(ProgressDrawTarget::hidden(), printer, 1);
        bars.start("s1", "vm.web".to_owned(), Kind::Sync);
        for (stage, before) in [(Stage::Comparing, 0), (Stage::Copying, 600 << 10)] {
            bars.progress("s1", stage, ByteCount::mib(before), Some(ByteCount::mib(1 << 20)));
            std::thread::sleep(Duration::from_millis(30));
            bars.progress("s1", stage, ByteCount::mib(before + 1), Some(ByteCount::mib(1 << 20)));
            let rate = bars.running["s1"].bar.as_ref().unwrap().per_sec();
            assert!(rate < 1e9, "{before}: {rate}");
        }
    }

    #[test]
    fn templates_parse() {
        for template in MEASURED.iter().map(|(_, template)| *template).chain([OVERALL, WAITING]) {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
