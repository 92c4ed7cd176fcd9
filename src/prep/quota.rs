//! Hard quotas (Apache's `ZooKeeperServer.checkQuota` and `StatsTrack`).
//!
//! Usage is what the tree has counted so far; operations of the same multi do not count for each
//! other, as in the reference.

use super::Work;
use crate::tree::Tree;
use crate::types::ErrorCode;
use crate::types::path::{QUOTA_LIMITS_NAME, QUOTA_ROOT, QUOTA_STATS_NAME};

/// The figures in a quota's limit or usage node; −1 for those that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    count: i64,
    count_hard: i64,
    bytes: i64,
    bytes_hard: i64,
}

impl Work<'_> {
    pub(super) fn check_quota_of_create(&self, path: &str, bytes: usize) -> Result<(), ErrorCode> {
        self.check_quota(path, bytes as i64, 1)
    }

    pub(super) fn check_quota_of_set(
        &self,
        path: &str,
        bytes_before: usize,
        bytes: usize,
    ) -> Result<(), ErrorCode> {
        self.check_quota(path, bytes as i64 - bytes_before as i64, 0)
    }

    fn check_quota(&self, path: &str, bytes: i64, count: i64) -> Result<(), ErrorCode> {
        if !self.config.enforce_quota {
            return Ok(());
        }
        let tree = self.tip.tree;
        let Some(prefix) = tree.quota_prefix(path) else {
            return Ok(());
        };
        let Some(limits) = figures(tree, &prefix, QUOTA_LIMITS_NAME)? else {
            return Ok(());
        };
        if !is_limited(limits, bytes, count) {
            return Ok(());
        }
        let Some(usage) = figures(tree, &prefix, QUOTA_STATS_NAME)? else {
            return Ok(());
        };
        let is_count_over =
            count != 0 && limits.count_hard > -1 && usage.count + count > limits.count_hard;
        let is_bytes_over = bytes != 0
            && limits.bytes_hard > -1
            && usage.bytes.saturating_add(bytes) > limits.bytes_hard;
        if is_count_over || is_bytes_over {
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }
}

/// Whether there is any limit, soft or hard, that the change bears on. Without one the usage is not
/// read, so that what is wrong in it does not matter.
fn is_limited(limits: Figures, bytes: i64, count: i64) -> bool {
    let by_count = count != 0 && (limits.count > -1 || limits.count_hard > -1);
    let by_bytes = bytes != 0 && (limits.bytes > -1 || limits.bytes_hard > -1);
    by_count || by_bytes
}

/// The figures of one of a quota's nodes, if it is there. Data that is none fails the request as
/// `MarshallingError`, as in the reference.
fn figures(tree: &Tree, prefix: &str, name: &str) -> Result<Option<Figures>, ErrorCode> {
    let Some(node) = tree.node(&format!("{QUOTA_ROOT}{prefix}/{name}")) else {
        return Ok(None);
    };
    let data = node.data().ok_or(ErrorCode::MarshallingError)?;
    parse(&String::from_utf8_lossy(data))
        .map(Some)
        .ok_or(ErrorCode::MarshallingError)
}

/// Reads `key=number` pairs with commas or semicolons between them. A number may be empty, and
/// more equals signs after it are ignored.
fn parse(text: &str) -> Option<Figures> {
    const SEPARATORS: [char; 2] = [',', ';'];
    let mut figures = Figures {
        count: -1,
        count_hard: -1,
        bytes: -1,
        bytes_hard: -1,
    };
    let pairs = text.trim_end_matches(SEPARATORS);
    if pairs.starts_with(SEPARATORS) {
        return None;
    }
    for pair in pairs.split(SEPARATORS).filter(|pair| !pair.is_empty()) {
        let mut parts = pair.trim_end_matches('=').split('=');
        let (key, value) = (parts.next()?, parts.next()?);
        let value = if value.is_empty() {
            -1
        } else {
            value.parse().ok()?
        };
        match key {
            "count" => figures.count = value,
            "countHardLimit" => figures.count_hard = value,
            "bytes" => figures.bytes = value,
            "byteHardLimit" => figures.bytes_hard = value,
            _ => {}
        }
    }
    Some(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_reference_reads_them() {
        let all = |count, count_hard, bytes, bytes_hard| {
            Some(Figures {
                count,
                count_hard,
                bytes,
                bytes_hard,
            })
        };
        for (text, expected) in [
            ("", all(-1, -1, -1, -1)),
            ("count=3,bytes=20", all(3, -1, 20, -1)),
            (
                "count=-1,bytes=-1=;byteHardLimit=5;countHardLimit=7",
                all(-1, 7, -1, 5),
            ),
            ("count=1;;,bytes=2;", all(1, -1, 2, -1)),
            ("count==4", all(-1, -1, -1, -1)),
            ("other=9", all(-1, -1, -1, -1)),
            ("count", None),
            ("count=", None),
            ("count=x", None),
            (",count=1", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
