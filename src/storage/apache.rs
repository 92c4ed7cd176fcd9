//! Data of Apache ZooKeeper beside ours.

use std::path::{Path, PathBuf};

use crate::io::{Disk, DiskError};
use crate::types::Zxid;

/// Apache's folder below `dataDir` and `dataLogDir`.
const FOLDER: &str = "version-2";

/// Up to where data of Apache's reach at least, by the names of its snapshots and logs, and the folder that
/// says so; `None` where there are none.
pub(super) fn newest(
    disk: &dyn Disk,
    dirs: [&Path; 2],
) -> Result<Option<(Zxid, PathBuf)>, DiskError> {
    let mut newest = None;
    for dir in dirs {
        let folder = dir.join(FOLDER);
        let names = match disk.list(&folder) {
            Ok(names) => names,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let zxids = names.iter().filter_map(|name| zxid_of_name(name));
        newest = newest.max(zxids.max().map(|zxid| (zxid, folder)));
    }
    Ok(newest)
}

/// The number in the name of a snapshot (its last transaction; compressed ones have a suffix) or of a log
/// (its first); zero where it is none, as of the beginning of an epoch.
fn zxid_of_name(name: &str) -> Option<Zxid> {
    let rest = name
        .strip_prefix("snapshot.")
        .or(name.strip_prefix("log."))?;
    let number = rest.split('.').next().unwrap_or_default();
    let zxid = Zxid(i64::from_str_radix(number, 16).unwrap_or(0));
    Some(if zxid.counter() == 0 {
        Zxid::ZERO
    } else {
        zxid
    })
}
