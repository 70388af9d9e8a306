//! Regions that are cut off by hand, and let in again.

use std::collections::BTreeMap;

use super::paint::Tone;
use super::terminal::Look;
use super::text::count;
use crate::fleet::{Fenced, Fencing, LetIn};
use crate::model::RegionId;

/// What is asked before a region is cut off.
pub fn question(region: &RegionId, fencing: &Fencing) -> String {
    let Fencing { answers, machines, witnesses: _ } = fencing;
    let state = if *answers { "It answers. " } else { "" };
    let held = match machines.len() {
        0 => format!("Nobody knows of a machine that {region} holds; whatever runs there stops."),
        machines => {
            format!("{} that it holds, and whatever else runs there, stop.", count(machines, "machine", "machines"))
        }
    };
    format!("Cut {region} off? {state}{held}")
}

/// What came of cutting it off.
pub fn fenced(fenced: &Fenced, look: &Look) -> String {
    let Fenced { region_id, operation: _, epoch, stopped, kept_by: _, unheard } = fenced;
    let mut out = format!("{region_id} is {} with epoch {epoch}\n", look.paint(Tone::Warn, "cut off"));
    if !stopped.is_empty() {
        let held = count(stopped.len(), "machine", "machines");
        let move_on = format!("{held} that it holds are down: `failover execute {region_id} TO` starts them elsewhere");
        out.push_str(&look.wrapped(2, &move_on));
    }
    let returns = format!("whatever comes back there starts nothing by itself before `failover unfence {region_id}`");
    out.push_str(&look.wrapped(2, &returns));
    for (region, why) in unheard {
        out.push_str(&look.wrapped(2, &format!("{region} does not keep that: {why}")));
    }
    out
}

/// What came of letting it in.
pub fn let_in(done: &LetIn, look: &Look) -> String {
    let LetIn { region_id, was, forgotten_by: _, unheard } = done;
    if !unheard.is_empty() {
        return not_yet(region_id, unheard, look);
    }
    let Some(was) = was else {
        let nobody = format!(
            "nobody keeps {region_id} out: no region that answers knows that it was cut off by hand. Once it has heard the others \
             it takes part; what they know against that, `status` shows"
        );
        return look.wrapped(0, &nobody);
    };
    let text = format!(
        "{region_id} is let in again; it was cut off by {}. Once it has heard every other region, it starts again what it still \
         holds",
        was.by
    );
    look.wrapped(0, &text)
}

fn not_yet(region_id: &RegionId, unheard: &BTreeMap<RegionId, String>, look: &Look) -> String {
    let mut out = format!("{region_id} is {}\n", look.paint(Tone::Warn, "not let in yet"));
    for (region, why) in unheard {
        out.push_str(&look.wrapped(2, &format!("{region} may still know that it was cut off: {why}")));
    }
    let again =
        format!("it starts nothing before that one has forgotten it: run `failover unfence {region_id}` again then");
    out.push_str(&look.wrapped(2, &again));
    out
}
