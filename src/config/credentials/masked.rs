//! The text of a credentials file as it may be shown: a problem is drawn with the lines around it, and none of them
//! may show a secret, not even one under a mistyped key or in a comment.

/// What is no secret, and helps to see what is wrong.
const OPEN: [&str; 5] = ["token_file", "ca", "cert", "key", "connect"];

/// As many bytes on as many lines, with stars for all that may be secret.
pub(super) fn masked(text: &str) -> String {
    text.split_inclusive('\n').flat_map(line).collect()
}

fn line(line: &str) -> Vec<char> {
    let begins = line.trim_start();
    if begins.starts_with('[') && !begins.contains('=') {
        // A name and password in an address.
        let from = line.find("//").filter(|_| line.contains('@'));
        return hidden(line, from.unwrap_or(line.len()));
    }
    match line.split_once('=') {
        Some((key, rest)) if OPEN.contains(&bare(key)) && !rest.contains(['{', '#', '=']) => line.chars().collect(),
        Some((key, _)) if !begins.starts_with('#') => hidden(line, key.len() + 1),
        Some(_) | None => hidden(line, 0),
    }
}

fn bare(key: &str) -> &str {
    key.trim().trim_matches(['"', '\''])
}

/// `line` with stars from the byte `from` on, one for each byte: places stay where they are.
fn hidden(line: &str, from: usize) -> Vec<char> {
    let (open, secret) = line.split_at(from);
    let star =
        |byte: u8| if byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'') { char::from(byte) } else { '*' };
    open.chars().chain(secret.bytes().map(star)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_stars_wherever_they_stand() {
        let text = "[origins.\"https://a:1\"]\ntoken = \"s3cret\" # s3cret\npasword='s3cret'\nca = \"ca.pem\"\n\
                    # token = s3cret\nconnect = 7 # s3cret\ntoken = \"\"\"\ns3cret\"\"\"\n\
                    [origins.\"https://me:s3cret@a\"]\norigins = { \"https://b\" = { token = \"s3cret\" } }\ntökén = ü";
        let masked = masked(text);
        assert!(!masked.contains("s3cret"), "{masked}");
        assert_eq!(masked.len(), text.len());
        assert_eq!(masked.lines().count(), text.lines().count());
        assert!(masked.contains("[origins.\"https://a:1\"]\n") && masked.contains("\nca = \"ca.pem\"\n"), "{masked}");
        assert!(masked.contains("token = \"******\""), "{masked}");
    }
}
