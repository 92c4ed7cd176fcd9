//! The composition root: makes every part, starts the threads, and waits for the end.
//!
//! Threads: one a shard ([`shard_loop`]), one for the sequencer and its log ([`sequencer_loop`]),
//! two for what blocks ([`background`]), and the main one, which waits for a signal or a fatal
//! error.

mod background;
mod gather;
mod recovery;
mod report;
mod sequencer_loop;
mod settings;
mod shard_loop;
mod start;

use std::io;
use std::path::PathBuf;

use crate::config::Config;
use crate::io::DiskError;
use crate::rt::probe::ProbeError;
use crate::snapshot::SnapshotError;
use crate::wal::WalError;

/// Why a server did not start, or ended other than because it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The machine does not offer what is needed.
    #[error(transparent)]
    Machine(#[from] ProbeError),
    /// The settings name an ensemble.
    #[error("an ensemble is configured, and this version serves alone only; leave one server line")]
    Ensemble,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}{hint}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
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
        zxid: crate::types::Zxid,
        /// What is wrong.
        source: crate::jute::JuteError,
    },
    /// The sequencer's ring failed.
    #[error("io_uring failed: {0}")]
    Ring(io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A thread ended that should not have.
    #[error("the thread {name} ended: {reason}")]
    ThreadEnded {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
}

impl ServerError {
    /// The exit code of a server that ended so (Apache's `ExitCode`): 3 where the data folders
    /// cannot be used, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            ServerError::Disk(_)
            | ServerError::Locked { .. }
            | ServerError::ForeignData { .. }
            | ServerError::NoFolder { .. }
            | ServerError::NoData { .. }
            | ServerError::Snapshot(SnapshotError::Disk(_))
            | ServerError::Log(WalError::Disk(_)) => 3,
            _ => 1,
        }
    }
}

/// Runs a server until SIGTERM or SIGINT; an error tells why it ended otherwise.
pub fn run(config: Config) -> Result<(), ServerError> {
    if config.ensemble.is_some() {
        return Err(ServerError::Ensemble);
    }
    start::run(config)
}
