//! Which strings are paths (Apache's `PathUtils.validatePath`), and the ways in which operations look at one before that.

/// The znodes that are ZooKeeper's own and cannot be deleted (`DataTree.isSpecialPath`).
const SPECIAL: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// Whether `path` is well formed: begins with a slash, does not end with one, no empty, `.` or `..` name, and no character that
/// could not be shown.
pub fn is_valid(path: &str) -> bool {
    let Some(names) = path.strip_prefix('/') else { return false };
    if names.is_empty() {
        return true;
    }
    names.split('/').all(|name| !matches!(name, "" | "." | "..") && name.chars().all(is_allowed))
}

/// The characters that Java's check lets through. It goes by UTF-16 units, so nothing beyond the basic plane passes: surrogates
/// are in the range it refuses.
const fn is_allowed(c: char) -> bool {
    matches!(c, '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{f900}'..='\u{ffef}')
}

/// The parent of what is to be created, before the whole path is checked (`validatePathForCreate`). None: bad arguments.
pub(super) fn parent_for_create(path: &str) -> Option<&str> {
    match path.rfind('/') {
        Some(_) if path.contains('\0') => None,
        Some(0) => Some("/"),
        Some(slash) => Some(&path[..slash]),
        None => None,
    }
}

/// The parent of what is to be deleted (`getParentPathAndValidate`). None: bad arguments, as for ZooKeeper's own znodes.
pub(super) fn parent_for_delete(path: &str) -> Option<&str> {
    if SPECIAL.contains(&path) { None } else { parent_for_create(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_utils_validate_path() {
        for path in
            ["/", "/a", "/a/b", "/a b", "/.a", "/a.", "/...", "/a..b", "/a./b", "/\u{a0}", "/ü/ß", "/中", "/\u{ffef}"]
        {
            assert!(is_valid(path), "{path:?}");
        }
        let bad = [
            "",
            "a",
            "a/b",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/..",
            "/./a",
            "/a/.",
            "/a/..",
            "/a/../b",
            "/a\0",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{1F600}",
        ];
        for path in bad {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn parents_are_found_before_paths_are_checked() {
        assert_eq!(parent_for_create("/a"), Some("/"));
        assert_eq!(parent_for_create("/a/b"), Some("/a"));
        assert_eq!(parent_for_create("/a/"), Some("/a"), "a sequential child without a name of its own");
        assert_eq!(parent_for_create("/"), Some("/"));
        assert_eq!(parent_for_create("a"), None);
        assert_eq!(parent_for_create("/a\0/b"), None);
        assert_eq!(parent_for_delete("/a/b"), Some("/a"));
        for path in SPECIAL {
            assert_eq!(parent_for_delete(path), None, "{path}");
        }
    }
}
