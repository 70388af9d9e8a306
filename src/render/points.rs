//! Recovery points, and what verification and restoring found.

use super::moment::{ago, moment};
use super::paint::{Glyph, Tone};
use super::table::{Cell, Column, Table};
use super::terminal::Look;
use super::text::count;
use crate::fleet::{FileComparison, PointsAt, ReplicaVerification, Restored, Side, Verification};
use crate::live::port::FileVerdict;
use crate::model::point::{Point, PointState};
use crate::model::{RegionId, ResourceId, Timestamp};

/// Every region's points of one resource, newest first.
pub fn points(regions: &[PointsAt], now: Timestamp, look: &Look) -> String {
    let mut out = String::new();
    // The holder is asked too, and has points only after a failover.
    let has = |points: &[Point]| !points.is_empty();
    let any = regions.iter().any(|at| at.points.as_deref().is_ok_and(has));
    for PointsAt { region_id, points } in regions.iter().filter(|at| !any || at.points.as_deref().map_or(true, has)) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("{}\n", look.paint(Tone::Strong, region_id.as_str())));
        let points = match points {
            Ok(points) => points,
            Err(error) => {
                out.push_str(&look.wrapped(2, &format!("its points are not known: {error}")));
                continue;
            }
        };
        if points.is_empty() {
            out.push_str(&format!("  {}\n", look.paint(Tone::Faint, "no point yet")));
            continue;
        }
        let mut table = Table::new([
            Column::number("Point"),
            Column::name("Read at"),
            Column::name("Verified").below(1),
            Column::name("Kind"),
            Column::number("Size"),
            Column::number("Files").below(3),
            Column::name("From").below(2),
            Column::name("Hash").below(4),
            Column::name("State"),
        ])
        .indented(2);
        for point in points {
            let (state, tone) = match point.state {
                PointState::Complete => ("complete", Tone::Good),
                PointState::Damaged => ("not whole", Tone::Bad),
                PointState::SetAside => ("set aside", Tone::Warn),
                PointState::SetAsideDamaged => ("set aside, not whole", Tone::Bad),
            };
            table.row([
                Cell::from(point.name.clone().unwrap_or_else(|| point.sequence.to_string())),
                Cell::from(moment(point.read_at)),
                Cell::from(ago(point.verified_at, now)),
                Cell::from(point.kind.as_str()),
                Cell::from(point.bytes.to_string()),
                Cell::from(point.files.to_string()),
                Cell::from(point.source.as_str()),
                Cell::from(point.data_hash.short()),
                Cell::toned(tone, state),
            ]);
        }
        out.push_str(&table.render(look));
    }
    if regions.iter().flat_map(|at| at.points.iter().flatten()).any(|point| point.state.is_damaged()) {
        let why = "not whole: bytes of it were overwritten there, or are a machine's to write since it was promoted";
        out.push_str(&format!("\n{}", look.wrapped(0, why)));
    }
    out
}

/// One line about an exported point.
pub fn exported(resource: &ResourceId, region: &RegionId, point: &Point, into: &str, look: &Look) -> String {
    let what = format!(
        "{resource}: point {} of {region}, read at {}, {} in {}, written to {into}",
        point.name.clone().unwrap_or_else(|| point.sequence.to_string()),
        moment(point.read_at),
        point.bytes,
        count(usize::try_from(point.files).unwrap_or(usize::MAX), "file", "files"),
    );
    format!("{} {}\n", look.paint(Tone::Good, look.glyph(Glyph::Done)), look.clean(&what))
}

/// What a restore did.
pub fn restored(restored: &Restored, look: &Look) -> String {
    let Restored { run: _, resource, holder, from, point, set_aside } = restored;
    let number = point.name.clone().unwrap_or_else(|| point.sequence.to_string());
    let what = format!("{resource} at {holder} is point {number} of {from} again, read at {}", moment(point.read_at));
    let mut out = format!("{} {}\n", look.paint(Tone::Good, look.glyph(Glyph::Done)), look.clean(&what));
    if let Some(name) = set_aside {
        let id = &resource.id;
        out.push_str(&look.wrapped(2, &format!("What was there before is kept at {holder} as {name}.")));
        out.push_str(&look.wrapped(2, &format!("`replication discard {id} {holder} {name}` discards it.")));
    }
    out
}

/// Both sides of a resource, compared byte for byte.
pub fn verification(verification: &Verification, look: &Look) -> String {
    let Verification { resource, holder, source, replicas } = verification;
    let mut out = format!("{}\n", look.paint(Tone::Strong, &format!("{resource} held by {holder}")));
    let read: crate::model::ByteCount = source.files.iter().map(|file| file.read).sum();
    let files = count(source.files.len(), "file", "files");
    out.push_str(&format!("  {}\n", look.paint(Tone::Faint, &format!("{files}, {read} read at {holder}"))));
    for ReplicaVerification { region_id, equal, intact, files, error } in replicas {
        let (glyph, tone, words) = match (error, *equal, *intact) {
            (Some(_), _, _) => (Glyph::Cross, Tone::Bad, "could not be read"),
            (None, true, true) => (Glyph::Done, Tone::Good, "equal, byte for byte"),
            (None, true, false) => (Glyph::Stop, Tone::Warn, "equal to the source, but not as its newest point says"),
            (None, false, true) if files.iter().any(|file| !file.equal && is_suspect(&file.source)) => {
                (Glyph::Stop, Tone::Warn, "as its newest point says; the source differs and was not written")
            }
            (None, false, true) => (Glyph::Stop, Tone::Warn, "as its newest point says; the source was written since"),
            (None, false, false) => (Glyph::Cross, Tone::Bad, "damaged; the next apply repairs it"),
        };
        let name = look.paint(tone, &format!("{} {region_id}", look.glyph(glyph)));
        out.push_str(&format!("  {name}\n{}", look.wrapped(6, words)));
        if let Some(error) = error {
            out.push_str(&look.wrapped(6, error));
        }
        let mut table = Table::new([Column::name("File"), Column::name("Source"), Column::name("Replica")]).indented(6);
        let mut differing = 0;
        for file in files.iter().filter(|file| !file.equal || file.target.verdict != FileVerdict::Identical) {
            differing += 1;
            let (source, target) = if *intact { moved_on(file) } else { (side(&file.source), side(&file.target)) };
            table.row([Cell::from(file.path.clone()), source, target]);
        }
        if differing > 0 {
            out.push_str(&table.render(look));
        }
    }
    out
}

/// Whether a file is not what its holder remembers, though nothing says that it was written.
const fn is_suspect(side: &Side) -> bool {
    matches!(side.verdict, FileVerdict::Mismatch)
}

/// Both sides of a file where the replica is as its point says. What the holder remembers may be newer than the point,
/// and a file may be there since or be gone since.
fn moved_on(file: &FileComparison) -> (Cell, Cell) {
    let source = match file.source.verdict {
        FileVerdict::Identical => Cell::toned(Tone::Warn, "written since"),
        FileVerdict::Missing => Cell::toned(Tone::Warn, "removed since"),
        FileVerdict::Changed | FileVerdict::Mismatch => side(&file.source),
    };
    let target = match file.target.verdict {
        FileVerdict::Missing => Cell::from("not in its point"),
        FileVerdict::Identical | FileVerdict::Changed | FileVerdict::Mismatch => side(&file.target),
    };
    (source, target)
}

/// How one side's file compares with what was remembered of it.
fn side(side: &Side) -> Cell {
    let Side { verdict, blocks, reason } = side;
    if let Some(reason) = reason {
        return Cell::toned(Tone::Bad, reason.clone());
    }
    let blocks = blocks.map(|blocks| count(usize::try_from(blocks).unwrap_or(usize::MAX), "block", "blocks"));
    let blocks = blocks.map_or(String::new(), |blocks| format!(", {blocks}"));
    match verdict {
        FileVerdict::Identical => Cell::from("unchanged"),
        FileVerdict::Changed => Cell::toned(Tone::Warn, format!("changed{blocks}")),
        FileVerdict::Mismatch => Cell::toned(Tone::Bad, format!("silently changed{blocks}")),
        FileVerdict::Missing => Cell::toned(Tone::Bad, "missing"),
    }
}
