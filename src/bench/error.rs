//! Why a run could not be made.

use std::io;
use std::path::PathBuf;

use crate::jute::JuteError;

/// Why a run could not be made, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A server's address does not resolve.
    #[error("{address}: {source}")]
    Address {
        /// As given.
        address: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// No connection to a server, or it broke before the load began.
    #[error("connection to {address}: {source}")]
    Connect {
        /// The server.
        address: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The server does not speak the protocol.
    #[error("{address} sent a reply that is not ZooKeeper's: {source}")]
    Protocol {
        /// The server.
        address: String,
        /// What is wrong with it.
        source: ProtocolError,
    },
    /// A request that prepares or cleans up the znodes was refused.
    #[error("{what}: the server answered {}", super::report::error_name(*code))]
    Refused {
        /// The request.
        what: String,
        /// The code of the reply header.
        code: i32,
    },
    /// The base path exists and was not made by this tool.
    #[error("{0} exists and was not made by zkore bench; choose another --base or delete it")]
    ForeignBase(String),
    /// The machine refuses something that a run needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// The process that `--server-pid` names cannot be read.
    #[error("/proc of server process {pid}: {source}")]
    ServerProcess {
        /// As given.
        pid: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// A report cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

/// What a server may not send.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame with a negative length, or one beyond [`super::frame::FRAME_LENGTH_MAX`].
    #[error("frame of {0} bytes")]
    FrameLength(i32),
    /// A record that cannot be read.
    #[error(transparent)]
    Record(#[from] JuteError),
    /// The handshake was refused.
    #[error("the server refused the session")]
    SessionRefused,
    /// Replies must come in the order of the requests.
    #[error("reply to request {got} where {expected:?} was due")]
    OutOfOrder {
        /// The oldest request without a reply, if any.
        expected: Option<i32>,
        /// The request that was answered.
        got: i32,
    },
    /// The connection's own directory could not be made.
    #[error("the server refused the directory of a connection with error {0}")]
    DirectoryRefused(i32),
}
