//! Whether failovers happen without a person, and what holds them back.

use super::paint::{Glyph, Tone};
use super::terminal::Look;
use crate::fleet::{Automation, Obstacle, Suspect};

/// What holds failovers back, and what to do about it.
pub fn automation(automation: &Automation, look: &Look) -> String {
    let Automation { strategy, obstacles, suspects } = automation;
    let head = match obstacles.is_empty() {
        true => format!("By itself: a region that is found to be down is failed over from ({})", strategy.as_str()),
        false => "By itself: nothing is failed over".to_owned(),
    };
    let mut out = format!("{}\n", look.paint(Tone::Strong, &head));
    out.extend(obstacles.iter().map(|obstacle| told(obstacle, look)));
    for Suspect { region_id, reason, help, to, obstacles: held } in suspects {
        let what = match (to, held.is_empty() && obstacles.is_empty()) {
            (Some(to), true) => format!("{region_id} is down: the next round moves what it holds to {to}"),
            (Some(to), false) => format!("{region_id} does not answer, and what it holds does not go to {to}"),
            (None, _) => format!("{region_id} does not answer, and what it holds stays there"),
        };
        out.push_str(&format!("\n{}\n", look.paint(Tone::Bad, &look.clean(&what))));
        out.push_str(&look.wrapped(2, reason));
        out.extend(help.as_ref().map(|help| look.wrapped(4, help)));
        out.extend(held.iter().map(|obstacle| told(obstacle, look)));
    }
    if suspects.is_empty() {
        out.push_str(&look.paint(Tone::Faint, "No region that holds something is silent: there is nothing to move\n"));
    }
    out
}

fn told(obstacle: &Obstacle, look: &Look) -> String {
    let Obstacle { code, detail, help } = obstacle;
    let mark = look.paint(Tone::Warn, &format!("{} {code}", look.glyph(Glyph::Stop)));
    let help = help.as_ref().map(|help| look.wrapped(6, help)).unwrap_or_default();
    format!("  {mark}\n{}{help}", look.wrapped(4, detail))
}
