//! Says when a source looks lost rather than changed.
//!
//! Owns the rule (a vanished or gutted source is not a change) and its words. Asked twice about every sync: by
//! planning, which has nothing but two outlines, and by the target, which also knows how many bytes differ. Whether a
//! person has accepted the change is the callers' business.
//!
//! Nothing here ever lets less through than the other asker would: both call the same two functions.

use crate::model::point::{BlockReason, Outline};
use crate::model::units::Percent;
use crate::model::{ByteCount, ResourceType};

/// Below this, neither a loss nor a change is worth stopping for: a config file is rewritten whole every day.
pub const NEGLIGIBLE: ByteCount = ByteCount::mib(1);

/// Judges a source by what its last point held and what it holds now; none: it may be copied.
///
/// A VM is held to a stricter measure than other types: its definition and each of its disks must still be there, no
/// disk may have become smaller, and losing half counts however small it is.
pub fn judge(kind: ResourceType, previous: &Outline, now: &Outline) -> Option<(BlockReason, String)> {
    if previous.files == 0 {
        return None;
    }
    if now.files == 0 {
        let detail = format!("all {} files ({}) of the last point are gone", previous.files, previous.bytes);
        return Some((BlockReason::Suspicious, detail));
    }
    if previous.bytes > ByteCount(0) && now.bytes == ByteCount(0) {
        let detail = format!("every file is empty; the last point had {}", previous.bytes);
        return Some((BlockReason::Suspicious, detail));
    }
    let machine = match kind {
        ResourceType::Vm => true,
        ResourceType::Storage | ResourceType::Network | ResourceType::Config | ResourceType::State => false,
    };
    if machine && let Some(detail) = lost_part(previous, now) {
        return Some((BlockReason::Suspicious, detail));
    }
    let lost = ByteCount(previous.bytes.0.saturating_sub(now.bytes.0));
    let half = lost > ByteCount(0) && lost.0 >= previous.bytes.0.div_ceil(2);
    if half && (machine || lost > NEGLIGIBLE) {
        let detail = format!("{lost} of the last point's {} are gone", previous.bytes);
        return Some((BlockReason::Suspicious, detail));
    }
    if machine && let Some(detail) = shrunk_disk(previous, now) {
        return Some((BlockReason::Shrunk, detail));
    }
    None
}

fn lost_part(previous: &Outline, now: &Outline) -> Option<String> {
    if now.definitions.is_empty()
        && let Some(lost) = previous.definitions.first()
    {
        return Some(format!("its definition {lost} is gone"));
    }
    let (disk, size) = previous.disks.iter().find(|(disk, _)| !now.disks.contains_key(*disk))?;
    Some(format!("its disk {disk} ({size}) is gone"))
}

fn shrunk_disk(previous: &Outline, now: &Outline) -> Option<String> {
    previous.disks.iter().find_map(|(disk, before)| {
        let after = now.disks.get(disk).filter(|after| *after < before)?;
        Some(format!("its disk {disk} shrank from {before} to {after}"))
    })
}

/// Judges a change by its size; none: it is not more than may change at once.
///
/// A base without bytes has nothing to lose, and a share of 100 % allows everything.
pub fn judge_change(changed: ByteCount, base_total: ByteCount, max_change: Percent) -> Option<String> {
    let allowed = u128::from(base_total.0) * u128::from(max_change.0);
    // What was added beyond the base's size replaces nothing.
    let replaced = u128::from(changed.0.min(base_total.0)) * 100;
    (replaced > allowed && changed > NEGLIGIBLE).then(|| {
        format!(
            "{changed} differ from the last point's {base_total}, more than the {max_change} that may change at once"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(definitions: &[&str], disks: &[(&str, u64)]) -> Outline {
        Outline {
            files: (definitions.len() + disks.len()) as u64,
            bytes: ByteCount(disks.iter().map(|(_, size)| size).sum::<u64>() + definitions.len() as u64 * 100),
            definitions: definitions.iter().map(|name| (*name).to_owned()).collect(),
            disks: disks.iter().map(|(name, size)| ((*name).to_owned(), ByteCount(*size))).collect(),
        }
    }

    fn plain(files: u64, bytes: u64) -> Outline {
        Outline { files, bytes: ByteCount(bytes), ..Outline::default() }
    }

    fn reason(kind: ResourceType, previous: &Outline, now: &Outline) -> Option<BlockReason> {
        judge(kind, previous, now).map(|(reason, _)| reason)
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_machine_keeps_its_definition_and_its_disks() {
        let base = vm(&["vm.xml"], &[("a.raw", 100 * MIB), ("b.raw", MIB)]);
        let cases = [
            ("unchanged", base.clone(), None),
            ("grown", vm(&["vm.xml"], &[("a.raw", 200 * MIB), ("b.raw", MIB)]), None),
            ("definition renamed", vm(&["other.xml"], &[("a.raw", 100 * MIB), ("b.raw", MIB)]), None),
            ("nothing left", Outline::default(), Some(BlockReason::Suspicious)),
            ("no definition", vm(&[], &[("a.raw", 100 * MIB), ("b.raw", MIB)]), Some(BlockReason::Suspicious)),
            ("a small disk gone", vm(&["vm.xml"], &[("a.raw", 100 * MIB)]), Some(BlockReason::Suspicious)),
            ("a disk emptied", vm(&["vm.xml"], &[("a.raw", 0), ("b.raw", MIB)]), Some(BlockReason::Suspicious)),
            ("a disk shrunk", vm(&["vm.xml"], &[("a.raw", 99 * MIB), ("b.raw", MIB)]), Some(BlockReason::Shrunk)),
        ];
        for (name, now, expected) in cases {
            assert_eq!(reason(ResourceType::Vm, &base, &now), expected, "{name}");
        }
    }

    #[test]
    fn half_of_the_bytes_is_too_much_from_a_mebibyte_on() {
        let cases = [
            (plain(2, 10 * MIB), plain(1, 5 * MIB), Some(BlockReason::Suspicious)),
            (plain(2, 10 * MIB), plain(1, 5 * MIB + 1), None),
            (plain(2, 2 * MIB), plain(1, MIB), None),
            (plain(2, 1000), plain(1, 10), None),
            (plain(2, 1000), plain(0, 0), Some(BlockReason::Suspicious)),
            (plain(2, 1000), plain(2, 0), Some(BlockReason::Suspicious)),
            (plain(0, 0), plain(0, 0), None),
            (plain(1, 0), plain(1, 0), None),
        ];
        for (previous, now, expected) in cases {
            assert_eq!(reason(ResourceType::Config, &previous, &now), expected, "{previous:?} {now:?}");
        }
        assert_eq!(reason(ResourceType::Vm, &plain(2, 1000), &plain(2, 500)), Some(BlockReason::Suspicious));
    }

    #[test]
    fn a_change_is_judged_by_share_and_by_size() {
        let judged =
            |changed, total, share| judge_change(ByteCount(changed), ByteCount(total), Percent(share)).is_some();
        assert!(judged(6 * MIB, 10 * MIB, 50));
        assert!(!judged(5 * MIB, 10 * MIB, 50));
        assert!(!judged(MIB, MIB, 50), "not more than a mebibyte");
        assert!(judged(MIB + 1, MIB + 1, 50));
        assert!(!judged(900 * MIB, 10 * MIB, 100), "all may change");
        assert!(!judged(900 * MIB, 0, 50), "nothing to lose");
        assert!(judged(u64::MAX, u64::MAX, 99), "no overflow");
    }
}
