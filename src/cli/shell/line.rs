//! A typed line into words, as zkCli splits it: at white space, except within a pair of quotes of one kind.

/// The words of `line`. A quote that opens a word and is never closed is left out, as in zkCli.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if matches!(first, '"' | '\'') {
            let inner = &rest[1..];
            match inner.find(first) {
                Some(end) => {
                    words.push(inner[..end].to_owned());
                    rest = inner[end + 1..].trim_start();
                }
                None => rest = inner.trim_start(),
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = rest[end..].trim_start();
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        assert_eq!(split("  set /a  'b c' \"d 'e\" "), ["set", "/a", "b c", "d 'e"]);
        assert_eq!(split("create /a \"\""), ["create", "/a", ""]);
        assert_eq!(split("x it's 'open"), ["x", "it's", "open"]);
        assert!(split("  ").is_empty());
    }
}
