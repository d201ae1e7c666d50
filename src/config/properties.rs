//! Java's Properties syntax, in which every zoo.cfg is written.
//!
//! A file is a row of natural lines; a backslash before a line's end joins it to the next, whose leading blanks are dropped.
//! A joined line is `key`, then blanks or one `=` or `:` (with blanks around it), then the value to the line's end, its
//! trailing blanks included. `#` or `!` at the start makes a comment, which cannot be continued. `\t`, `\n`, `\r`, `\f` and
//! `\uXXXX` stand for characters, any other escaped character for itself. Bytes are ISO-8859-1.
//! Source: `java.util.Properties.load(InputStream)`, as ZooKeeper's `QuorumPeerConfig` calls it.

use thiserror::Error;

/// One `key=value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped, with the blanks that end its line.
    pub value: String,
    /// The natural line on which it begins, from 1.
    pub line: usize,
    /// The natural line on which it ends.
    pub last_line: usize,
}

/// The one thing that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a \\u that is not followed by four hexadecimal digits")]
pub struct MalformedEscape {
    /// The natural line on which the entry begins, from 1.
    pub line: usize,
}

/// All entries in the order of the file, repeated keys included (Java keeps the last of them).
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, MalformedEscape> {
    let mut entries = Vec::new();
    let mut lines = LogicalLines { bytes, position: 0, line: 1, last_line: 1 };
    while let Some((text, line)) = lines.next_line() {
        let last_line = lines.last_line;
        let (key, value) = split(&text);
        let malformed = || MalformedEscape { line };
        entries.push(Entry {
            key: unescape(key).ok_or_else(malformed)?,
            value: unescape(value).ok_or_else(malformed)?,
            line,
            last_line,
        });
    }
    Ok(entries)
}

struct LogicalLines<'a> {
    bytes: &'a [u8],
    position: usize,
    line: usize,
    /// The natural line that was read last.
    last_line: usize,
}

impl<'a> LogicalLines<'a> {
    /// The next line that is neither blank nor a comment, its continuations joined, and the line where it begins.
    fn next_line(&mut self) -> Option<(Vec<u8>, usize)> {
        let mut text = Vec::new();
        let mut begin = self.line;
        loop {
            let (natural, ended) = self.natural_line()?;
            self.last_line = self.line - usize::from(ended);
            let natural = trim_start(natural);
            // A lone backslash leaves nothing behind, so the line after it may still be a comment: so Java has it.
            if text.is_empty() {
                begin = self.line - usize::from(ended);
                if natural.is_empty() || natural[0] == b'#' || natural[0] == b'!' {
                    continue;
                }
            }
            let backslashes = natural.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if backslashes % 2 == 0 {
                text.extend_from_slice(natural);
                return Some((text, begin));
            }
            text.extend_from_slice(&natural[..natural.len() - 1]);
            if self.position == self.bytes.len() {
                // Java's reader makes an empty entry of a last line that is but a backslash, unless it ends in `\r\n`.
                return (!text.is_empty() || !self.bytes.ends_with(b"\r\n")).then_some((text, begin));
            }
        }
    }

    /// The bytes up to the next `\n`, `\r` or `\r\n`, and whether there was one. Nothing at the end of the file.
    fn natural_line(&mut self) -> Option<(&'a [u8], bool)> {
        if self.position == self.bytes.len() {
            return None;
        }
        let rest = &self.bytes[self.position..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r') else {
            self.position = self.bytes.len();
            return Some((rest, false));
        };
        self.position += end + if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        self.line += 1;
        Some((&rest[..end], true))
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| is_blank(byte)).count();
    &text[blanks..]
}

fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let key_len = text
        .iter()
        .position(|&byte| {
            let ends = !escaped && (byte == b'=' || byte == b':' || is_blank(byte));
            escaped = byte == b'\\' && !escaped;
            ends
        })
        .unwrap_or(text.len());
    let (key, rest) = text.split_at(key_len);
    let mut value = trim_start(rest);
    if let [b'=' | b':', after @ ..] = value {
        value = trim_start(after);
    }
    (key, value)
}

/// ISO-8859-1 with escapes into text. `None` for a malformed `\u`. Escaped surrogates pair up as in Java; a lone one, which
/// no Rust string can hold, becomes the replacement character.
fn unescape(text: &[u8]) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match bytes.next() {
            None => {}
            Some(b'u') => {
                let digits = bytes.as_slice().get(..4)?;
                let mut unit = 0;
                for &digit in digits {
                    unit = unit << 4 | u16::try_from(char::from(digit).to_digit(16)?).ok()?;
                }
                units.push(unit);
                bytes = bytes.as_slice()[4..].iter();
            }
            Some(b't') => units.push(u16::from(b'\t')),
            Some(b'n') => units.push(u16::from(b'\n')),
            Some(b'r') => units.push(u16::from(b'\r')),
            Some(b'f') => units.push(0x0c),
            Some(&other) => units.push(u16::from(other)),
        }
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap().into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    fn pair(text: &str) -> (String, String) {
        let pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{pairs:?}");
        pairs[0].clone()
    }

    fn own(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators() {
        for text in ["a=b", "a:b", "a b", "a = b", "  a\t:  b", "a\x0cb", "a   =b", "a=b\r\n", "a=b\r"] {
            assert_eq!(pair(text), own("a", "b"), "{text:?}");
        }
        assert_eq!(pair("a"), own("a", ""));
        assert_eq!(pair("a="), own("a", ""));
        assert_eq!(pair("=b"), own("", "b"));
        assert_eq!(pair("a==b"), own("a", "=b"));
        assert_eq!(pair("a= =b"), own("a", "=b"));
        assert_eq!(pair("a =:b"), own("a", ":b"));
        assert_eq!(pair("server.1=[::1]:2888:3888"), own("server.1", "[::1]:2888:3888"));
        assert_eq!(pair("a=b "), own("a", "b "), "the value's trailing blanks are its own");
    }

    #[test]
    fn comments_and_blank_lines() {
        assert_eq!(pairs("# a=1\n! b=2\n\n   \n   # c=3\nd=4 # not a comment\n"), [own("d", "4 # not a comment")]);
        assert_eq!(pairs("# a comment is not continued \\\nb=1"), [own("b", "1")]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn continuations() {
        assert_eq!(pair("a=b,\\\n   c,\\\r\n\td"), own("a", "b,c,d"));
        assert_eq!(pair("a=b\\\n#c"), own("a", "b#c"), "a continuation is never a comment");
        assert_eq!(pair("a=b\\\\\n"), own("a", "b\\"), "an escaped backslash joins nothing");
        assert_eq!(pairs("a=b\\\n\nc=d"), [own("a", "b"), own("c", "d")], "an empty line ends a continuation");
        assert_eq!(pair("a=b\\"), own("a", "b"), "a backslash at the end of the file joins nothing");
        assert_eq!(pairs("\\\n# c\na=b"), [own("a", "b")]);
        assert_eq!(pair("\\"), own("", ""), "a lone backslash at the end of the file is an empty entry in Java too");
        assert_eq!(pair("a\\\n   b=c"), own("ab", "c"));
    }

    #[test]
    fn escapes() {
        assert_eq!(pair(r"a\=b\:c\ d=e"), own("a=b:c d", "e"));
        assert_eq!(pair(r"a=\t\n\r\f\q\\"), own("a", "\t\n\r\x0cq\\"));
        assert_eq!(pair(r"a=\u0041\u00e4\u20AC"), own("a", "Aä€"));
        assert_eq!(pair(r"a=\ud83d\ude00"), own("a", "\u{1f600}"));
        assert_eq!(parse(b"ok=1\n\nx=\\u12g4").unwrap_err(), MalformedEscape { line: 3 });
        assert_eq!(parse(b"x=\\u12").unwrap_err(), MalformedEscape { line: 1 });
    }

    #[test]
    fn bytes_are_latin_1() {
        assert_eq!(parse(b"a=\xe4").unwrap()[0].value, "\u{e4}");
    }

    #[test]
    fn lines_are_numbered_where_they_begin() {
        let entries = parse(b"# c\n\na=1\\\n  2\\\n  3\nb=4\r\n\rc=5").unwrap();
        assert_eq!(entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [3, 6, 8]);
    }
}
