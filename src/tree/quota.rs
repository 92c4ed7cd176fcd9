//! Quotas: which nodes have one, and the text of limits and usage (Apache's `PathTrie` and
//! `StatsTrack`).
//!
//! The limits of `/a` stand in `/zookeeper/quota/a/zookeeper_limits`, its usage in
//! `/zookeeper/quota/a/zookeeper_stats`. Usage is counted for the nearest node at or above a
//! changed one that has limits.

use std::collections::BTreeMap;

use crate::types::path::{QUOTA_LIMITS_NAME, QUOTA_ROOT, QUOTA_STATS_NAME};

const COUNT: &str = "count";
const BYTES: &str = "bytes";
const COUNT_HARD_LIMIT: &str = "countHardLimit";
const BYTES_HARD_LIMIT: &str = "byteHardLimit";

/// Where the usage of `path` is counted.
pub fn stats_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{QUOTA_STATS_NAME}")
}

/// Where the limits of `path` stand.
pub fn limits_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{QUOTA_LIMITS_NAME}")
}

/// Limits, or usage: figures by name (Apache's `StatsTrack`). One that is absent is −1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsTrack {
    figures: BTreeMap<String, i64>,
}

impl StatsTrack {
    /// Reads `name=figure` pairs between commas and semicolons; `None` where the data are something
    /// else.
    pub fn parse(data: &[u8]) -> Option<StatsTrack> {
        let text = std::str::from_utf8(data).ok()?;
        let mut figures = BTreeMap::new();
        let text = text.trim_end_matches([',', ';']);
        if text.is_empty() {
            return Some(StatsTrack { figures });
        }
        // Separators in a row count as one.
        for (at, pair) in text.split([',', ';']).enumerate() {
            if pair.is_empty() && at > 0 {
                continue;
            }
            let mut parts = pair.split('=');
            let (name, figure) = (parts.next()?, parts.next()?);
            // Such a pair ends in nothing but signs of equality, which the reference drops.
            if figure.is_empty() && parts.all(str::is_empty) {
                return None;
            }
            let figure = if figure.is_empty() {
                -1
            } else {
                figure.parse().ok()?
            };
            figures.insert(name.to_owned(), figure);
        }
        Some(StatsTrack { figures })
    }

    fn figure(&self, name: &str) -> i64 {
        self.figures.get(name).copied().unwrap_or(-1)
    }

    fn set(&mut self, name: &str, figure: i64) {
        self.figures.insert(name.to_owned(), figure);
    }

    /// Nodes.
    pub fn count(&self) -> i64 {
        self.figure(COUNT)
    }

    /// Sets [`StatsTrack::count`].
    pub fn set_count(&mut self, count: i64) {
        self.set(COUNT, count);
    }

    /// Bytes of data.
    pub fn bytes(&self) -> i64 {
        self.figure(BYTES)
    }

    /// Sets [`StatsTrack::bytes`].
    pub fn set_bytes(&mut self, bytes: i64) {
        self.set(BYTES, bytes);
    }

    /// Nodes past which a create is refused.
    pub fn count_hard_limit(&self) -> i64 {
        self.figure(COUNT_HARD_LIMIT)
    }

    /// Sets [`StatsTrack::count_hard_limit`].
    pub fn set_count_hard_limit(&mut self, count: i64) {
        self.set(COUNT_HARD_LIMIT, count);
    }

    /// Bytes past which a write is refused.
    pub fn bytes_hard_limit(&self) -> i64 {
        self.figure(BYTES_HARD_LIMIT)
    }

    /// Sets [`StatsTrack::bytes_hard_limit`].
    pub fn set_bytes_hard_limit(&mut self, bytes: i64) {
        self.set(BYTES_HARD_LIMIT, bytes);
    }
}

impl std::fmt::Display for StatsTrack {
    /// Count and bytes first, as clients from before the hard limits read them; the sign of
    /// equality behind them makes those clients stop there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{COUNT}={},{BYTES}={}", self.count(), self.bytes())?;
        let others = self
            .figures
            .iter()
            .filter(|(name, _)| *name != COUNT && *name != BYTES);
        for (at, (name, figure)) in others.enumerate() {
            let separator = if at == 0 { "=;" } else { ";" };
            write!(f, "{separator}{name}={figure}")?;
        }
        Ok(())
    }
}

/// The nodes that have limits.
#[derive(Debug, Default)]
pub(super) struct QuotaTrie {
    root: TrieNode,
}

#[derive(Debug, Default)]
struct TrieNode {
    children: BTreeMap<Box<str>, TrieNode>,
    has_quota: bool,
}

impl QuotaTrie {
    /// Notes that `path` has limits.
    pub(super) fn add(&mut self, path: &str) {
        let mut node = &mut self.root;
        for name in names(path) {
            node = node.children.entry(name.into()).or_default();
        }
        node.has_quota = true;
        // The reference keeps no quota of the root.
        self.root.has_quota = false;
    }

    /// Notes that `path` has no limits any more.
    pub(super) fn remove(&mut self, path: &str) {
        remove_below(&mut self.root, &mut names(path));
    }

    /// The nearest node at or above `path` that has limits.
    pub(super) fn prefix_of(&self, path: &str) -> Option<String> {
        if self.root.children.is_empty() {
            return None;
        }
        let mut node = &self.root;
        let mut prefix = String::new();
        let mut found_len = 0;
        for name in names(path) {
            let Some(child) = node.children.get(name) else {
                break;
            };
            node = child;
            prefix.push('/');
            prefix.push_str(name);
            if node.has_quota {
                found_len = prefix.len();
            }
        }
        prefix.truncate(found_len);
        (found_len > 0).then_some(prefix)
    }
}

fn remove_below<'a>(node: &mut TrieNode, names: &mut impl Iterator<Item = &'a str>) {
    let Some(name) = names.next() else {
        node.has_quota = false;
        return;
    };
    let Some(child) = node.children.get_mut(name) else {
        return;
    };
    remove_below(child, names);
    if !child.has_quota && child.children.is_empty() {
        node.children.remove(name);
    }
}

/// The names of a path; the reference skips blank ones.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|name| name.bytes().any(|byte| byte > b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_and_print_as_the_reference_does() {
        for (text, printed) in [
            ("", "count=-1,bytes=-1"),
            ("count=5,bytes=10", "count=5,bytes=10"),
            (
                "count=5,bytes=10=;byteHardLimit=20;countHardLimit=7",
                "count=5,bytes=10=;byteHardLimit=20;countHardLimit=7",
            ),
            ("bytes=3,,;count=2;", "count=2,bytes=3"),
            ("count==7", "count=-1,bytes=-1"),
            ("x=1", "count=-1,bytes=-1=;x=1"),
        ] {
            let track = StatsTrack::parse(text.as_bytes()).expect(text);
            assert_eq!(track.to_string(), printed, "{text}");
        }
        for bad in [
            "count",
            "count=",
            "count=x",
            ",count=1",
            "\u{e9}",
            "count=1,=",
        ] {
            assert_eq!(StatsTrack::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(StatsTrack::parse(&[0xff]), None);
    }

    #[test]
    fn the_nearest_quota_counts() {
        let mut trie = QuotaTrie::default();
        assert_eq!(trie.prefix_of("/a/b"), None);
        trie.add("/a");
        trie.add("/a/b/c");
        trie.add("");
        assert_eq!(trie.prefix_of("/"), None);
        assert_eq!(trie.prefix_of("/x"), None);
        assert_eq!(trie.prefix_of("/a").as_deref(), Some("/a"));
        assert_eq!(trie.prefix_of("/a/b/d").as_deref(), Some("/a"));
        assert_eq!(trie.prefix_of("/a/b/c/d").as_deref(), Some("/a/b/c"));
        trie.remove("/a");
        assert_eq!(trie.prefix_of("/a/b"), None);
        assert_eq!(trie.prefix_of("/a/b/c").as_deref(), Some("/a/b/c"));
        trie.remove("/a/b/c");
        trie.remove("/nothing");
        assert!(trie.root.children.is_empty());
    }
}
