//! The known address that a mistyped one most likely meant.

use crate::model::Address;

/// The nearest of `known`; none where nothing is near enough to be worth a suggestion.
pub(crate) fn nearest(mistyped: &Address, known: impl IntoIterator<Item = Address>) -> Option<Address> {
    let text = mistyped.to_string();
    let most = text.len() / 3;
    known
        .into_iter()
        .map(|address| (edits(&text, &address.to_string(), most), address))
        .filter(|(edits, _)| *edits <= most)
        .min()
        .map(|(_, address)| address)
}

/// How many letters must be put in, taken out or replaced to make `b` of `a`; more than `most` is not counted out.
fn edits(a: &str, b: &str, most: usize) -> usize {
    if a.len().abs_diff(b.len()) > most {
        return most + 1;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let known = || ["vm.web-vm-1", "vm.web-vm-2", "region.us-east-1"].map(|text| text.parse::<Address>().unwrap());
        let near = |text: &str| nearest(&text.parse().unwrap(), known()).map(|address| address.to_string());
        assert_eq!(near("vm.web-wm-2").as_deref(), Some("vm.web-vm-2"));
        assert_eq!(near("vm.webvm1").as_deref(), Some("vm.web-vm-1"));
        assert_eq!(near("storage.archive"), None);
        assert_eq!(edits("kitten", "sitting", 9), 3);
    }
}
