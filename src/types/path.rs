//! Znode paths: their rules (Apache's `PathUtils`) and how they split.

/// Root of the nodes that the server keeps for itself.
pub const SYSTEM_ROOT: &str = "/zookeeper";
/// Root of the quota limits and usage.
pub const QUOTA_ROOT: &str = "/zookeeper/quota";
/// The node that holds the ensemble's configuration.
pub const CONFIG_NODE: &str = "/zookeeper/config";
/// Name of a quota's limit node.
pub const QUOTA_LIMITS_NAME: &str = "zookeeper_limits";
/// Name of a quota's usage node.
pub const QUOTA_STATS_NAME: &str = "zookeeper_stats";

/// Why a path is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path has no characters.
    #[error("Path length must be > 0")]
    Empty,
    /// The path does not begin at the root.
    #[error("Path must start with / character")]
    NoLeadingSlash,
    /// The path ends in a slash.
    #[error("Path must not end with / character")]
    TrailingSlash,
    /// The null character stands at this position (in UTF-16 units).
    #[error("null character not allowed @{0}")]
    NullCharacter(usize),
    /// Two slashes stand side by side.
    #[error("empty node name specified @{0}")]
    EmptyName(usize),
    /// `.` or `..` stands for a name; the position is that of its last dot.
    #[error("relative paths not allowed @{0}")]
    Relative(usize),
    /// A control character, a private one, or one outside the basic plane.
    #[error("invalid character @{0}")]
    InvalidCharacter(usize),
}

/// Checks a path. A sequential create is checked with a digit appended, since its name may be
/// empty before the counter is added.
pub fn validate(path: &str, sequential: bool) -> Result<(), PathError> {
    if sequential {
        let mut with_digit = String::with_capacity(path.len() + 1);
        with_digit.push_str(path);
        with_digit.push('1');
        return validate_whole(&with_digit);
    }
    validate_whole(path)
}

fn validate_whole(path: &str) -> Result<(), PathError> {
    let bytes = path.as_bytes();
    match bytes {
        [] => return Err(PathError::Empty),
        [b'/'] => return Ok(()),
        [b'/', .., b'/'] => return Err(PathError::TrailingSlash),
        [b'/', ..] => {}
        _ => return Err(PathError::NoLeadingSlash),
    }
    let mut name_start = 1;
    let mut position = 0;
    for (at, character) in path.char_indices() {
        if at > 0 {
            check_character(character, position)?;
        }
        if at > 0 && character == '/' {
            check_name(&path[name_start..at], position)?;
            name_start = at + 1;
        }
        position += character.len_utf16();
    }
    check_name(&path[name_start..], position)
}

fn check_character(character: char, position: usize) -> Result<(), PathError> {
    match character {
        '\0' => Err(PathError::NullCharacter(position)),
        // The reference looks at UTF-16 units, so it refuses every character above U+FFFF.
        '\u{1}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fff0}'..='\u{10ffff}' => Err(PathError::InvalidCharacter(position)),
        _ => Ok(()),
    }
}

fn check_name(name: &str, position: usize) -> Result<(), PathError> {
    match name {
        "" => Err(PathError::EmptyName(position)),
        "." | ".." => Err(PathError::Relative(position - 1)),
        _ => Ok(()),
    }
}

/// The parent of a path; of the root and of its children, the root.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// The last name of a path; empty for the root.
pub fn name(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

/// Whether `path` is `ancestor` or lies below it.
pub fn is_at_or_below(path: &str, ancestor: &str) -> bool {
    if ancestor == "/" {
        return path.starts_with('/');
    }
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A child's path.
pub fn join(parent: &str, name: &str) -> String {
    let mut path = String::with_capacity(parent.len() + 1 + name.len());
    if parent != "/" {
        path.push_str(parent);
    }
    path.push('/');
    path.push_str(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_the_reference() {
        for (path, expected) in [
            ("/", Ok(())),
            ("/a", Ok(())),
            ("/a/b.c/...", Ok(())),
            ("/\u{e9}", Ok(())),
            ("/a\u{1f600}b", Err(PathError::InvalidCharacter(2))),
            ("", Err(PathError::Empty)),
            ("a", Err(PathError::NoLeadingSlash)),
            ("/a/", Err(PathError::TrailingSlash)),
            ("//a", Err(PathError::EmptyName(1))),
            ("/a//b", Err(PathError::EmptyName(3))),
            ("/a/./b", Err(PathError::Relative(3))),
            ("/a/..", Err(PathError::Relative(4))),
            ("/a\0", Err(PathError::NullCharacter(2))),
            ("/a\u{1}", Err(PathError::InvalidCharacter(2))),
            ("/a\u{7f}", Err(PathError::InvalidCharacter(2))),
            ("/a\u{f8ff}", Err(PathError::InvalidCharacter(2))),
        ] {
            assert_eq!(validate(path, false), expected, "{path:?}");
        }
        assert_eq!(validate("/a/", true), Ok(()));
        assert_eq!(validate("/", true), Ok(()));
    }

    #[test]
    fn paths_split_and_join() {
        assert_eq!((parent("/a/b"), name("/a/b")), ("/a", "b"));
        assert_eq!((parent("/a"), name("/a")), ("/", "a"));
        assert_eq!((parent("/"), name("/")), ("/", ""));
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a", "b"), "/a/b");
        assert!(is_at_or_below("/a/b", "/a") && is_at_or_below("/a", "/a"));
        assert!(!is_at_or_below("/ab", "/a") && is_at_or_below("/x", "/"));
    }
}
