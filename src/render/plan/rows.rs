//! Many objects on few lines: `vm.web-vm-{1..5000}`, in the notation that the topology itself has for them.

use std::collections::BTreeMap;

/// Puts names that differ in their last number only, and say the same, on one line. The order is that of first
/// appearance; names that stand alone stay as they are.
pub(in crate::render) fn gather<T: Clone + Ord>(rows: Vec<(String, T)>) -> Vec<(String, T)> {
    struct Group<T> {
        stem: String,
        facts: T,
        numbers: Vec<u64>,
        /// Digits of a number that is written with leading zeros.
        padded: Option<usize>,
    }
    let mut places: BTreeMap<(String, Option<usize>, T), usize> = BTreeMap::new();
    let mut groups: Vec<Group<T>> = Vec::new();
    for (name, facts) in rows {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, number) = name.split_at(name.len() - digits);
        let parsed = number.parse::<u64>().ok().filter(|_| digits <= 18);
        let padded = (digits > 1 && number.starts_with('0')).then_some(digits);
        let Some(parsed) = parsed else {
            groups.push(Group { stem: name, facts, numbers: Vec::new(), padded: None });
            continue;
        };
        let key = (stem.to_owned(), padded, facts.clone());
        match places.get(&key) {
            Some(place) => groups[*place].numbers.push(parsed),
            None => {
                places.insert(key, groups.len());
                groups.push(Group { stem: stem.to_owned(), facts, numbers: vec![parsed], padded });
            }
        }
    }
    let mut out = Vec::new();
    for mut group in groups {
        if group.numbers.is_empty() {
            out.push((group.stem, group.facts));
            continue;
        }
        group.numbers.sort_unstable();
        let digits = |n: u64| format!("{n:0wide$}", wide = group.padded.unwrap_or(0));
        let mut rest = group.numbers.as_slice();
        while let Some(&first) = rest.first() {
            let run = rest.iter().zip(first..).take_while(|(number, expected)| **number == *expected).count();
            let last = rest[run - 1];
            let stem = &group.stem;
            if run >= 3 {
                out.push((format!("{stem}{{{}..{}}}", digits(first), digits(last)), group.facts.clone()));
            } else {
                out.extend((first..=last).map(|n| (format!("{stem}{}", digits(n)), group.facts.clone())));
            }
            rest = &rest[run..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_numbers_become_ranges() {
        let names = ["vm.a-1", "vm.a-10", "vm.a-2", "vm.a-3", "vm.db", "vm.x01", "vm.x02", "vm.x03", "vm.y1", "vm.y2"];
        let rows = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        let gathered: Vec<String> = gather(rows).into_iter().map(|(name, ())| name).collect();
        assert_eq!(gathered, ["vm.a-{1..3}", "vm.a-10", "vm.db", "vm.x{01..03}", "vm.y1", "vm.y2"]);
    }

    #[test]
    fn only_what_says_the_same_is_gathered() {
        let rows = (1..=6).map(|n| (format!("vm.a-{n}"), n % 2 == 0)).collect();
        assert_eq!(gather(rows).len(), 6);
        let rows = (1..=6).map(|n| (format!("vm.a-{n}"), n > 3)).collect();
        assert_eq!(gather(rows), [("vm.a-{1..3}".to_owned(), false), ("vm.a-{4..6}".to_owned(), true)]);
    }
}
