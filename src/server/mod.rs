//! The composition root: makes every part, starts the threads, and waits for the end.
//!
//! Threads: one a shard ([`shard_loop`]), one for the sequencer and its log ([`sequencer_loop`]),
//! two for what blocks ([`background`]), and the main one, which waits for a signal or a fatal
//! error.

mod background;
mod gather;
mod links;
mod placement;
mod report;
mod sequencer_loop;
mod settings;
mod shard_loop;
mod start;

use std::io;

use crate::config::Config;
use crate::peer::PeerError;
use crate::replica::ReplicaError;
use crate::rt::probe::ProbeError;
use crate::storage::StorageError;
use crate::wal::WalError;

/// Why a server did not start, or ended other than because it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The machine does not offer what is needed.
    #[error(transparent)]
    Machine(#[from] ProbeError),
    /// The links to the other members cannot be set up.
    #[error(transparent)]
    Peers(#[from] PeerError),
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
    /// The data folders cannot be used, or what is in them.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log cannot be written any more.
    #[error(transparent)]
    Log(#[from] WalError),
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

impl From<ReplicaError> for ServerError {
    fn from(error: ReplicaError) -> ServerError {
        match error {
            ReplicaError::Storage(error) => error.into(),
            ReplicaError::Log(error) => error.into(),
        }
    }
}

impl ServerError {
    /// The exit code of a server that ended so (Apache's `ExitCode`): 3 where the data folders
    /// cannot be used, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            ServerError::Storage(error) if error.is_access() => 3,
            ServerError::Log(WalError::Disk(_)) => 3,
            _ => 1,
        }
    }
}

/// Runs a server until SIGTERM or SIGINT; an error tells why it ended otherwise.
pub fn run(config: Config) -> Result<(), ServerError> {
    start::run(config)
}
