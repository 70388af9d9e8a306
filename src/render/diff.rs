//! Unified diffs of text files, coloured: what `fmt` and the declaring commands would write.

use similar::{ChangeTag, TextDiff};

use super::paint::Tone;
use super::terminal::Look;

/// The unified diff that makes `after` of `before`, with the file's name on both sides; empty where they are equal.
pub fn unified(path: &str, before: &str, after: &str, look: &Look) -> String {
    if before == after {
        return String::new();
    }
    let path = look.clean(path);
    let diff = TextDiff::from_lines(before, after);
    let mut out = look.paint(Tone::Strong, &format!("--- {path}")) + "\n";
    out.push_str(&(look.paint(Tone::Strong, &format!("+++ {path}")) + "\n"));
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        out.push_str(&(look.paint(Tone::Move, hunk.header().to_string().trim_end()) + "\n"));
        for change in hunk.iter_changes() {
            let (sign, tone) = match change.tag() {
                ChangeTag::Delete => ('-', Tone::Bad),
                ChangeTag::Insert => ('+', Tone::Good),
                ChangeTag::Equal => (' ', Tone::Plain),
            };
            // Bytes stay as they are, so that the diff can be applied; only what could act on a terminal is shown.
            let line = change.value().trim_end_matches('\n');
            let line: String =
                line.chars()
                    .flat_map(|c| {
                        if c.is_control() && c != '\t' { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] }
                    })
                    .collect();
            out.push_str(&(look.paint(tone, &format!("{sign}{line}")) + "\n"));
            if change.missing_newline() {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_says_what_changes_and_nothing_else() {
        let before = "a = 1\n# note\nb = 2";
        let after = "a = 1\n# note\nb = 3\n";
        let expected = "\
--- t.toml
+++ t.toml
@@ -1,3 +1,3 @@
 a = 1
 # note
-b = 2
\\ No newline at end of file
+b = 3
";
        assert_eq!(unified("t.toml", before, after, &Look::PLAIN), expected);
        assert_eq!(unified("t.toml", before, before, &Look::PLAIN), "");
        let colored = unified("t.toml", before, after, &Look { color: true, ..Look::PLAIN });
        assert!(colored.contains("\u{1b}[31m-b = 2\u{1b}[0m"), "{colored:?}");
    }
}
