//! A snapshot that replaces all others and the log, as a member takes it from its leader.
//!
//! It is written whole and durable under the name `replacement.<hexadecimal zxid>`; that name
//! being durable is the decision. From then on the log and the snapshots of before count no more:
//! who finds the name removes them and gives the file its final name, as often as a crash makes it
//! necessary. Before, nothing of them is touched.

use std::path::Path;

use super::format::{snapshot_name, zxid_of_name};
use super::load::{load_file, set_aside};
use super::write::write_as;
use super::{SnapshotError, SnapshotInfo};
use crate::io::Disk;
use crate::tree::{TreeConfig, View};
use crate::types::{SessionId, Zxid};

/// Starts the name of a snapshot that replaces all.
const REPLACEMENT: &str = "replacement.";

/// Writes what `view` shows as [`super::write`] does. When it returns, the decision is made.
///
/// # Errors
/// As [`super::write`]; nothing is decided then unless only the directory's sync failed.
pub fn write_replacement(
    disk: &dyn Disk,
    dir: &Path,
    view: &View,
    sessions: &[(SessionId, i32)],
) -> Result<SnapshotInfo, SnapshotError> {
    write_as(disk, dir, &replacement_name(view.zxid()), view, sessions)
}

/// The zxid of a replacement that was decided and not finished. Its name is durable then. One that
/// was damaged since is set aside under the suffix `.bad`, and does not count.
///
/// # Errors
/// As [`super::load`].
pub fn pending_replacement(
    disk: &dyn Disk,
    dir: &Path,
    config: &TreeConfig,
) -> Result<Option<Zxid>, SnapshotError> {
    let names = disk.list(dir)?;
    let mut zxids: Vec<Zxid> = names.iter().filter_map(|name| zxid_of(name)).collect();
    zxids.sort();
    if !zxids.is_empty() {
        disk.sync_dir(dir)?;
    }
    while let Some(zxid) = zxids.pop() {
        let path = dir.join(replacement_name(zxid));
        match load_file(disk, &path, zxid, config)? {
            Ok(_) => return Ok(Some(zxid)),
            Err(reason) => {
                tracing::error!(file = %path.display(), reason, "set a damaged snapshot aside");
                set_aside(disk, dir, &path)?;
            }
        }
    }
    Ok(None)
}

/// Removes all other snapshots and gives the replacement its final name. The log must be gone.
///
/// # Errors
/// [`SnapshotError::Disk`]; to be tried again.
pub fn install_replacement(disk: &dyn Disk, dir: &Path, zxid: Zxid) -> Result<(), SnapshotError> {
    for name in disk.list(dir)? {
        let is_other = zxid_of(&name).is_some_and(|other| other != zxid);
        if is_other || zxid_of_name(&name).is_some() {
            disk.remove(&dir.join(name))?;
        }
    }
    // Not in one sync with the renaming: an old one must not come back as the newest.
    disk.sync_dir(dir)?;
    disk.rename(
        &dir.join(replacement_name(zxid)),
        &dir.join(snapshot_name(zxid)),
    )?;
    disk.sync_dir(dir)?;
    Ok(())
}

/// The zxid of the newest snapshot, sound or not.
///
/// # Errors
/// [`SnapshotError::Disk`].
pub fn newest_zxid(disk: &dyn Disk, dir: &Path) -> Result<Option<Zxid>, SnapshotError> {
    let names = disk.list(dir)?;
    Ok(names.iter().filter_map(|name| zxid_of_name(name)).max())
}

/// Gives the suffix `.dropped` to the snapshots of a later zxid: of transactions that are to be
/// dropped. Returns the zxid of the newest one that stays.
///
/// # Errors
/// [`SnapshotError::Disk`].
pub fn set_aside_above(
    disk: &dyn Disk,
    dir: &Path,
    above: Zxid,
) -> Result<Option<Zxid>, SnapshotError> {
    let mut newest = None;
    for name in disk.list(dir)? {
        match zxid_of_name(&name) {
            Some(zxid) if zxid > above => {
                tracing::warn!(file = name, %above, "setting aside a snapshot of what is dropped");
                disk.rename(&dir.join(&name), &dir.join(format!("{name}.dropped")))?;
                disk.sync_dir(dir)?;
            }
            found => newest = newest.max(found),
        }
    }
    Ok(newest)
}

/// The newest snapshot that was set aside as damaged.
///
/// # Errors
/// [`SnapshotError::Disk`].
pub fn newest_set_aside(disk: &dyn Disk, dir: &Path) -> Result<Option<Zxid>, SnapshotError> {
    let names = disk.list(dir)?;
    let zxids = names.iter().filter_map(|name| {
        let name = name.strip_suffix(".bad")?;
        zxid_of_name(name).or_else(|| zxid_of(name))
    });
    Ok(zxids.max())
}

fn replacement_name(zxid: Zxid) -> String {
    format!("{REPLACEMENT}{:x}", zxid.0)
}

fn zxid_of(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix(REPLACEMENT)?;
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}
