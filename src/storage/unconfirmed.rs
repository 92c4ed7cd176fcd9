//! A tree that a leader sent before it was established, and what was known to be committed before: the
//! file `unconfirmedTree`.
//!
//! Whoever finds a snapshot takes what it holds for committed, and so refuses a leader that ends before
//! it. Such a tree may hold what its leader alone had, and the next leader may not have it.

use std::path::Path;

use super::epochs::write_small;
use crate::io::{Disk, DiskError, read_whole};
use crate::types::Zxid;

const FILE: &str = "unconfirmedTree";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    /// The zxid of the tree.
    tree: Zxid,
    /// Up to where all was known to be committed when it came.
    committed: Zxid,
}

impl Unconfirmed {
    /// Makes the note durable, before the tree is.
    pub fn note(
        disk: &dyn Disk,
        dir: &Path,
        tree: Zxid,
        committed: Zxid,
    ) -> Result<Unconfirmed, DiskError> {
        let text = format!("{} {}\n", tree.0, committed.0);
        write_small(disk, dir, FILE, text.as_bytes())?;
        Ok(Unconfirmed { tree, committed })
    }

    /// The note, if there is one; damaged, it does not count.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Unconfirmed>, DiskError> {
        let bytes = match read_whole(disk, &dir.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut zxids = text.split_whitespace().map(str::parse);
        let (Some(Ok(tree)), Some(Ok(committed))) = (zxids.next(), zxids.next()) else {
            tracing::warn!(?text, "the file {FILE} holds no two zxids");
            return Ok(None);
        };
        Ok(Some(Unconfirmed {
            tree: Zxid(tree),
            committed: Zxid(committed),
        }))
    }

    /// The zxid of the tree.
    pub fn tree(&self) -> Zxid {
        self.tree
    }

    /// Up to where all was known to be committed, if this is what the note is about.
    pub fn committed_of(&self, tree: Zxid) -> Option<Zxid> {
        (self.tree == tree).then_some(self.committed)
    }

    /// Removes the note.
    pub fn remove(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        disk.remove(&dir.join(FILE))?;
        disk.sync_dir(dir)
    }
}
