//! What can go wrong for a client, worded as Apache's `KeeperException` words it.

use std::io;

use crate::jute::JuteError;
use crate::types::ErrorCode;
use crate::types::path::PathError;

use super::connect_string::ConnectStringError;
use super::multi::OpResult;

/// Why an operation of a client failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused, or the connection or session was lost. Displays as the message of
    /// Apache's `KeeperException`.
    #[error("{}", keeper_message(*code, path.as_deref()))]
    Keeper {
        /// The protocol's code.
        code: ErrorCode,
        /// The path of the operation, as the client named it; `None` where it has none.
        path: Option<String>,
    },
    /// The server answered with a code that the protocol does not have.
    #[error("KeeperErrorCode = Unknown error {0}")]
    UnknownCode(i32),
    /// A transaction was refused as a whole.
    #[error("{}", keeper_message(*code, None))]
    Multi {
        /// The code of the first operation that failed.
        code: ErrorCode,
        /// What became of each operation.
        results: Vec<OpResult>,
    },
    /// The caller's path is not one; nothing was sent.
    #[error("{}", path_message(path, *reason))]
    Path {
        /// The path as given.
        path: String,
        /// The rule that it breaks.
        reason: PathError,
    },
    /// The caller's time to live is out of range; nothing was sent.
    #[error("ttl must be positive and cannot be larger than: {max_ms}")]
    Ttl {
        /// The largest time to live, in milliseconds.
        max_ms: i64,
    },
    /// The caller's connect string is not one.
    #[error(transparent)]
    ConnectString(#[from] ConnectStringError),
    /// The server's answer is not the record that it should be.
    #[error("cannot read the server's answer: {0}")]
    Answer(#[from] JuteError),
    /// This machine refused what a client needs to start.
    #[error("cannot start the client: {0}")]
    Start(#[source] io::Error),
}

impl ClientError {
    /// The protocol's code, for errors that have one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Keeper { code, .. } | ClientError::Multi { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The error for a code on the wire; `path` as the client named it.
    pub(crate) fn from_wire(code: i32, path: Option<&str>) -> ClientError {
        match ErrorCode::from_code(code) {
            Some(code) => ClientError::Keeper {
                code,
                path: path.map(str::to_owned),
            },
            None => ClientError::UnknownCode(code),
        }
    }
}

/// The message of Apache's `KeeperException` for a code and an optional path.
pub fn keeper_message(code: ErrorCode, path: Option<&str>) -> String {
    match path {
        None | Some("") => format!("KeeperErrorCode = {}", code_name(code)),
        Some(path) => format!("KeeperErrorCode = {} for {path}", code_name(code)),
    }
}

/// The name that Apache's messages give a code.
fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Ok => "ok",
        ErrorCode::SystemError => "SystemError",
        ErrorCode::RuntimeInconsistency => "RuntimeInconsistency",
        ErrorCode::DataInconsistency => "DataInconsistency",
        ErrorCode::ConnectionLoss => "ConnectionLoss",
        ErrorCode::MarshallingError => "MarshallingError",
        ErrorCode::Unimplemented => "Unimplemented",
        ErrorCode::OperationTimeout => "OperationTimeout",
        ErrorCode::BadArguments => "BadArguments",
        ErrorCode::NewConfigNoQuorum => "NewConfigNoQuorum",
        ErrorCode::ReconfigInProgress => "ReconfigInProgress",
        ErrorCode::UnknownSession => "Unknown error UNKNOWNSESSION",
        ErrorCode::ApiError => "APIError",
        ErrorCode::NoNode => "NoNode",
        ErrorCode::NoAuth => "NoAuth",
        ErrorCode::BadVersion => "BadVersion",
        ErrorCode::NoChildrenForEphemerals => "NoChildrenForEphemerals",
        ErrorCode::NodeExists => "NodeExists",
        ErrorCode::NotEmpty => "Directory not empty",
        ErrorCode::SessionExpired => "Session expired",
        ErrorCode::InvalidCallback => "Invalid callback",
        ErrorCode::InvalidAcl => "InvalidACL",
        ErrorCode::AuthFailed => "AuthFailed",
        ErrorCode::SessionMoved => "Session moved",
        ErrorCode::NotReadOnly => "Not a read-only call",
        ErrorCode::EphemeralOnLocalSession => "Ephemeral node on local session",
        ErrorCode::NoWatcher => "No such watcher",
        ErrorCode::RequestTimeout => "Unknown error REQUESTTIMEOUT",
        ErrorCode::ReconfigDisabled => "Reconfig is disabled",
        ErrorCode::SessionClosedRequireSaslAuth => {
            "Session closed because client failed to authenticate"
        }
        ErrorCode::QuotaExceeded => "Quota has exceeded",
        ErrorCode::Throttled => "Op throttled due to high load",
    }
}

/// The message of Apache's `PathUtils`.
pub(crate) fn path_message(path: &str, reason: PathError) -> String {
    match reason {
        PathError::Empty | PathError::NoLeadingSlash | PathError::TrailingSlash => {
            reason.to_string()
        }
        _ => format!("Invalid path string \"{path}\" caused by {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_reference() {
        let error = ClientError::from_wire(-101, Some("/x"));
        assert_eq!(error.to_string(), "KeeperErrorCode = NoNode for /x");
        assert_eq!(error.code(), Some(ErrorCode::NoNode));
        assert_eq!(
            ClientError::from_wire(-123, None).to_string(),
            "KeeperErrorCode = Reconfig is disabled"
        );
        assert_eq!(
            ClientError::from_wire(-111, Some("")).to_string(),
            "KeeperErrorCode = Directory not empty"
        );
        assert_eq!(
            ClientError::Path {
                path: "//x".into(),
                reason: PathError::EmptyName(1)
            }
            .to_string(),
            "Invalid path string \"//x\" caused by empty node name specified @1"
        );
        assert_eq!(
            ClientError::Path {
                path: "x".into(),
                reason: PathError::NoLeadingSlash
            }
            .to_string(),
            "Path must start with / character"
        );
    }
}
