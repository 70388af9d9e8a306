//! Brace ranges: one `{a..b}` stands for its members, `web-{1..3}` for `web-1`, `web-2` and `web-3`; `{01..10}` keeps
//! its width.

/// The most members that one range may have.
pub(super) const MEMBERS_MAX: u64 = 10_000;

/// Why braces are no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RangeError {
    #[error("a brace is left alone")]
    Unbalanced,
    #[error("there is more than one pair of braces")]
    Several,
    #[error("`{{{0}}}` is not a range of two whole numbers")]
    Inner(String),
    #[error("`{{{first}..{last}}}` counts down")]
    Reversed { first: String, last: String },
    #[error("`{{{inner}}}` has {count} members")]
    TooMany { inner: String, count: u128 },
}

impl RangeError {
    /// How to mend it.
    pub(super) fn help(&self) -> String {
        match self {
            Self::Unbalanced => "close it, as in `web-{1..5}`".to_owned(),
            Self::Several => "keep one range and write the other out, key by key".to_owned(),
            Self::Inner(_) => "write it as in `web-{1..5}` or `web-{01..10}`".to_owned(),
            Self::Reversed { first, last } => format!("write `{{{last}..{first}}}`"),
            Self::TooMany { .. } => "split it: a range may have at most 10,000 members".to_owned(),
        }
    }
}

/// A text with at most one range in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    before: String,
    after: String,
    /// First, last, and the width to which numbers are filled up with zeros.
    numbers: Option<(u64, u64, usize)>,
}

impl Pattern {
    /// Reads `text`; without braces it stands for itself.
    pub(super) fn parse(text: &str) -> Result<Self, RangeError> {
        let Some(open) = text.find('{') else {
            return if text.contains('}') {
                Err(RangeError::Unbalanced)
            } else {
                Ok(Self { before: text.to_owned(), after: String::new(), numbers: None })
            };
        };
        let (before, rest) = (&text[..open], &text[open + 1..]);
        let (inner, after) = rest.split_once('}').ok_or(RangeError::Unbalanced)?;
        if inner.contains('{') || before.contains('}') {
            return Err(RangeError::Unbalanced);
        }
        if after.contains(['{', '}']) {
            return Err(RangeError::Several);
        }
        let bad = || RangeError::Inner(inner.to_owned());
        let (first, last) = inner.split_once("..").ok_or_else(bad)?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| digits).ok_or_else(bad)
        };
        let (a, b) = (number(first)?, number(last)?);
        if a > b {
            return Err(RangeError::Reversed { first: first.to_owned(), last: last.to_owned() });
        }
        let count = u128::from(b - a) + 1;
        if count > u128::from(MEMBERS_MAX) {
            return Err(RangeError::TooMany { inner: inner.to_owned(), count });
        }
        let padded = [first, last].iter().any(|text| text.len() > 1 && text.starts_with('0'));
        let width = if padded { first.len().max(last.len()) } else { 0 };
        Ok(Self { before: before.to_owned(), after: after.to_owned(), numbers: Some((a, b, width)) })
    }

    /// Whether there are braces.
    pub(super) const fn is_range(&self) -> bool {
        self.numbers.is_some()
    }

    /// How many members it stands for.
    pub(super) fn count(&self) -> u64 {
        self.numbers.map_or(1, |(first, last, _)| last - first + 1)
    }

    /// The members in order.
    pub(super) fn members(&self) -> impl Iterator<Item = String> + '_ {
        let (first, last, width) = self.numbers.unwrap_or((0, 0, 0));
        (first..=last).map(move |number| {
            let Self { before, after, numbers } = self;
            match numbers {
                Some(_) => format!("{before}{number:0width$}{after}"),
                None => before.clone(),
            }
        })
    }

    /// Whether `name` is one of the members.
    pub(super) fn contains(&self, name: &str) -> bool {
        let Self { before, after, numbers } = self;
        let Some((first, last, width)) = *numbers else { return name == before };
        let inner = name.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()));
        inner.is_some_and(|inner| {
            inner
                .parse::<u64>()
                .is_ok_and(|number| (first..=last).contains(&number) && format!("{number:0width$}") == inner)
        })
    }

    /// The text of those members alone whose places, from 0, are in `places`.
    pub(super) fn part(&self, places: std::ops::RangeInclusive<u64>) -> String {
        let Self { before, after, numbers } = self;
        let Some((first, _, width)) = *numbers else { return before.clone() };
        let (from, to) = (first + places.start(), first + places.end());
        if from == to {
            format!("{before}{from:0width$}{after}")
        } else {
            format!("{before}{{{from:0width$}..{to:0width$}}}{after}")
        }
    }

    /// The first and the last member: what holds of their characters and lengths holds of all.
    pub(super) fn ends(&self) -> [String; 2] {
        let mut members = self.members();
        let first = members.next().unwrap_or_default();
        let last = members.last().unwrap_or_else(|| first.clone());
        [first, last]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(text: &str) -> Vec<String> {
        Pattern::parse(text).unwrap().members().collect()
    }

    #[test]
    fn ranges_expand_in_order_and_keep_their_width() {
        assert_eq!(members("web-{1..3}"), ["web-1", "web-2", "web-3"]);
        assert_eq!(members("web-{08..10}-a"), ["web-08-a", "web-09-a", "web-10-a"]);
        assert_eq!(members("web-{8..010}"), ["web-008", "web-009", "web-010"]);
        assert_eq!(members("{7..7}"), ["7"]);
        assert_eq!(members("{0..1}"), ["0", "1"]);
        assert_eq!(members("plain"), ["plain"]);
        assert_eq!(Pattern::parse("{18446744073709551615..18446744073709551615}").unwrap().count(), 1);
        assert_eq!(Pattern::parse("{1..10000}").unwrap().count(), 10_000);
    }

    #[test]
    fn broken_ranges_say_how() {
        let error = |text| Pattern::parse(text).unwrap_err();
        for text in ["a{1..2", "a}", "a}{1..2}", "a{{1..2}}"] {
            assert_eq!(error(text), RangeError::Unbalanced, "{text}");
        }
        assert_eq!(error("{1..2}{3..4}"), RangeError::Several);
        for text in ["{}", "{1}", "{1..}", "{..2}", "{a..b}", "{1...2}", "{-1..2}", "{+1..2}", "{1,2}", "{ 1..2}"] {
            assert!(matches!(error(text), RangeError::Inner(_)), "{text}");
        }
        assert!(matches!(error("{1..99999999999999999999}"), RangeError::Inner(_)));
        assert!(matches!(error("{5..1}"), RangeError::Reversed { .. }));
        assert!(matches!(error("{0..10000}"), RangeError::TooMany { count: 10_001, .. }));
        assert!(matches!(error("{0..18446744073709551615}"), RangeError::TooMany { .. }));
    }

    proptest! {
        #[test]
        fn every_member_is_named_once_and_holds_its_number(
            before in "[a-z-]{0,8}", after in "[a-z-]{0,8}", first in 0u64..2000, more in 0u64..300, width in 0usize..6,
        ) {
            let last = first + more;
            let text = format!("{before}{{{first:0width$}..{last:0width$}}}{after}");
            let pattern = Pattern::parse(&text).unwrap();
            let all: Vec<String> = pattern.members().collect();
            prop_assert_eq!(all.len() as u64, pattern.count());
            prop_assert_eq!(all.len() as u64, more + 1);
            let padded = format!("{first:0width$}").len() > 1 && format!("{first:0width$}").starts_with('0');
            for (number, member) in (first..=last).zip(&all) {
                let inner = member.strip_prefix(&before).unwrap().strip_suffix(&after).unwrap();
                prop_assert_eq!(inner.parse::<u64>().unwrap(), number);
                prop_assert!(!padded || inner.len() >= width);
            }
            prop_assert!(all.iter().all(|member| pattern.contains(member)));
            let beyond = format!("{before}{}{after}", last + 1);
            prop_assert!(!pattern.contains(&beyond) && !pattern.contains(&before));
            let part = Pattern::parse(&pattern.part(more / 3..=more)).unwrap();
            prop_assert_eq!(part.members().collect::<Vec<_>>(), &all[usize::try_from(more / 3).unwrap()..]);
            prop_assert_eq!(pattern.ends(), [all[0].clone(), all[all.len() - 1].clone()]);
        }

        #[test]
        fn no_text_panics(text in "[a{}.0-9-]{0,16}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert!(pattern.count() <= MEMBERS_MAX);
                let plain = pattern.members().all(|member| !member.contains(['{', '}']));
                prop_assert!(plain);
            }
        }
    }
}
