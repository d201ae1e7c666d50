//! What may be a path, said before anything is sent (Apache's `PathUtils.validatePath`, whose messages scripts know).
//!
//! Positions count UTF-16 units, as Java's do.

use super::error::Error;

/// Whether `path` can name a znode.
pub fn validate(path: &str) -> Result<(), Error> {
    let invalid = |message: &str| Err(Error::InvalidPath(message.to_owned()));
    if path.is_empty() {
        return invalid("Path length must be > 0");
    }
    if !path.starts_with('/') {
        return invalid("Path must start with / character");
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return invalid("Path must not end with / character");
    }
    match reason(path) {
        None => Ok(()),
        Some((reason, at)) => {
            Err(Error::InvalidPath(format!("Invalid path string \"{path}\" caused by {reason} @{at}")))
        }
    }
}

/// What is wrong with an absolute path and where.
fn reason(path: &str) -> Option<(&'static str, usize)> {
    let mut at = 0;
    for name in path[1..].split('/') {
        at += 1;
        if name.is_empty() {
            return Some(("empty node name specified", at));
        }
        if let Some((offset, reason)) = bad_character(name) {
            return Some((reason, at + offset));
        }
        if name == "." || name == ".." {
            return Some(("relative paths not allowed", at + name.len() - 1));
        }
        at += name.encode_utf16().count();
    }
    None
}

/// The first character of `name` that no znode's name may hold, with its offset.
fn bad_character(name: &str) -> Option<(usize, &'static str)> {
    name.encode_utf16().enumerate().find_map(|(offset, unit)| match unit {
        0 => Some((offset, "null character not allowed")),
        0x01..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => Some((offset, "invalid character")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_paths_pass() {
        for path in ["/", "/a", "/a/b.c", "/..a/b..", "/...", "/\u{e4}/\u{4e2d}"] {
            assert_eq!(validate(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn bad_paths_are_told_why_and_where() {
        let cases = [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            ("/a//b", "Invalid path string \"/a//b\" caused by empty node name specified @3"),
            ("/a/../b", "Invalid path string \"/a/../b\" caused by relative paths not allowed @4"),
            ("/./b", "Invalid path string \"/./b\" caused by relative paths not allowed @1"),
            ("/a\u{1}", "Invalid path string \"/a\u{1}\" caused by invalid character @2"),
            ("/\u{0}", "Invalid path string \"/\u{0}\" caused by null character not allowed @1"),
            ("/a/\u{1f600}", "Invalid path string \"/a/\u{1f600}\" caused by invalid character @3"),
        ];
        for (path, message) in cases {
            assert_eq!(validate(path), Err(Error::InvalidPath(message.to_owned())));
        }
    }
}
