//! Why a server's data cannot be used.

use std::path::PathBuf;

use crate::io::DiskError;
use crate::jute::JuteError;
use crate::snapshot::SnapshotError;
use crate::types::Zxid;
use crate::wal::WalError;

/// The data folders cannot be used, or what is in them.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A folder or file cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another server uses the folder.
    #[error("{folder} is in use by another server; stop that one, or set another dataDir")]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds data of Apache ZooKeeper and none of ours.
    #[error(
        "{folder} holds data of Apache ZooKeeper, which this version cannot take over; starting \
         with an empty tree would hide it. Set another dataDir"
    )]
    ForeignData {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds data of Apache ZooKeeper that are newer than ours.
    #[error(
        "{folder} holds data of Apache ZooKeeper up to {newest} at least, and this server's own, which \
         end at {last}, are older: clients would be served what is out of date. Move those away that \
         are not wanted"
    )]
    NewerForeignData {
        /// The folder.
        folder: PathBuf,
        /// What it has at least.
        newest: Zxid,
        /// The newest transaction of ours.
        last: Zxid,
    },
    /// A data folder is missing and `datadir.autocreate` forbids to make it.
    #[error(
        "the data directory {folder} is missing and datadir.autocreate is off; make it, or set \
         another dataDir or dataLogDir"
    )]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// Snapshots were set aside as damaged, and there is nothing else to begin from.
    #[error(
        "every snapshot in {folder} is damaged (set aside as .bad) and there is no log; starting \
         with an empty tree would hide that. Restore one, or move the .bad files away to begin anew"
    )]
    OnlyDamaged {
        /// The folder.
        folder: PathBuf,
    },
    /// A snapshot was set aside as damaged, and nothing reaches as far as it did.
    #[error(
        "the snapshot of {lost} in {folder} is damaged (set aside as .bad), and what is left ends at \
         {last}. Restore it, or move the .bad file away to go on without the transactions after {last}"
    )]
    SnapshotLost {
        /// The folder.
        folder: PathBuf,
        /// The zxid of the snapshot.
        lost: Zxid,
        /// The newest transaction that is left.
        last: Zxid,
    },
    /// There is no data and `db.autocreate` forbids to begin with none.
    #[error(
        "{folder} holds no data and db.autocreate is off; make an empty file named initialize in \
         {parent} to begin with an empty tree"
    )]
    NoData {
        /// The folder.
        folder: PathBuf,
        /// Where the file belongs.
        parent: PathBuf,
    },
    /// A snapshot or the tree in it cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log cannot be read, or not be written any more.
    #[error(transparent)]
    Log(#[from] WalError),
    /// A record of the log is no transaction.
    #[error("the log record at zxid {zxid} is no transaction: {source}")]
    Record {
        /// Its zxid.
        zxid: Zxid,
        /// What is wrong.
        source: JuteError,
    },
    /// An epoch file holds no epoch.
    #[error(
        "{} should hold an epoch as a decimal number, and holds {content:?}; restore it. Without \
         it this member could go back on what it promised to a leader",
        path.display()
    )]
    EpochFile {
        /// The file.
        path: PathBuf,
        /// The start of what is in it.
        content: String,
    },
    /// The data is of a later epoch than this member ever agreed to.
    #[error(
        "the current epoch {current} (file currentEpoch in {folder}) is older than that of the \
         last transaction, {last}, and no later one was accepted; the files are not from the same \
         time. Restore those that belong together"
    )]
    CurrentEpochOld {
        /// The folder of the file.
        folder: PathBuf,
        /// What it says.
        current: i64,
        /// The newest transaction.
        last: Zxid,
    },
    /// The member follows a leader whose epoch it never accepted.
    #[error(
        "the accepted epoch {accepted} is less than the current epoch {current} (files \
         acceptedEpoch and currentEpoch in {folder}); the files are not from the same time. \
         Restore those that belong together"
    )]
    AcceptedEpochOld {
        /// The folder of the files.
        folder: PathBuf,
        /// The one.
        accepted: i64,
        /// The other.
        current: i64,
    },
}

impl StorageError {
    /// Whether transactions that were acknowledged are damaged or gone, which a member of an
    /// ensemble can get from the others; also those that an Apache server in its place has taken. Without
    /// data where `db.autocreate` is off it counts as such, too, as for Apache.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            StorageError::OnlyDamaged { .. }
                | StorageError::SnapshotLost { .. }
                | StorageError::NoData { .. }
                | StorageError::NewerForeignData { .. }
                | StorageError::Log(WalError::Corrupt { .. } | WalError::Missing { .. })
        )
    }

    /// Whether the data folders as such cannot be used (Apache's
    /// `ExitCode.UNABLE_TO_ACCESS_DATADIR`), rather than what is in them.
    pub fn is_access(&self) -> bool {
        matches!(
            self,
            StorageError::Disk(_)
                | StorageError::Locked { .. }
                | StorageError::ForeignData { .. }
                | StorageError::NewerForeignData { .. }
                | StorageError::NoFolder { .. }
                | StorageError::NoData { .. }
                | StorageError::Snapshot(SnapshotError::Disk(_))
                | StorageError::Log(WalError::Disk(_))
        )
    }
}
