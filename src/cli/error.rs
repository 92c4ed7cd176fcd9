//! Why a command failed, worded as zkCli words it (Apache's `CliException` and its kin).

use crate::client::ClientError;
use crate::types::ErrorCode;

use super::options::OptionError;

/// Why a command failed; displays as zkCli prints it to the standard error.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not fit; holds the usage or what is wrong.
    #[error("{0}")]
    Usage(String),
    /// The options do not fit.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// There is no such command. (That the text stands there twice is the reference's doing.)
    #[error("Command not found: Command not found {0}")]
    UnknownCommand(String),
    /// The client refused or the operation failed.
    #[error("{}", explain(.0))]
    Client(#[from] ClientError),
}

impl CliError {
    /// The exit code of the process, if this command is its last.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::UnknownCommand(_) => 127,
            _ => 1,
        }
    }

    /// A number that Java could not read.
    pub fn number(text: &str) -> CliError {
        CliError::Usage(format!("For input string: \"{text}\""))
    }
}

/// The message of Apache's `CliWrapperException`.
fn explain(error: &ClientError) -> String {
    let ClientError::Keeper { code, path } = error else {
        return error.to_string();
    };
    let path = path.as_deref().unwrap_or("null");
    match code {
        ErrorCode::NoNode => format!("Node does not exist: {path}"),
        ErrorCode::NoChildrenForEphemerals => format!("Ephemerals cannot have children: {path}"),
        ErrorCode::NodeExists => format!("Node already exists: {path}"),
        ErrorCode::NotEmpty => format!("Node not empty: {path}"),
        ErrorCode::NotReadOnly => format!("Not a read-only call: {path}"),
        ErrorCode::InvalidAcl => format!("Acl is not valid : {path}"),
        ErrorCode::NoAuth => format!("Insufficient permission : {path}"),
        ErrorCode::BadArguments => format!("Arguments are not valid : {path}"),
        ErrorCode::BadVersion => format!("version No is not valid : {path}"),
        ErrorCode::QuotaExceeded => format!("Quota has exceeded : {path}"),
        ErrorCode::ReconfigInProgress => "Another reconfiguration is in progress -- concurrent \
                                          reconfigs not supported (yet)"
            .to_owned(),
        ErrorCode::NewConfigNoQuorum => "No quorum of new config is connected and up-to-date \
                                         with the leader of last commmitted config - try \
                                         invoking reconfiguration after new servers are \
                                         connected and synced"
            .to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_exit_codes() {
        let keeper = |code, path: Option<&str>| {
            CliError::from(ClientError::Keeper {
                code,
                path: path.map(str::to_owned),
            })
        };
        for (error, message, exit_code) in [
            (
                keeper(ErrorCode::NoNode, Some("/x")),
                "Node does not exist: /x",
                1,
            ),
            (
                keeper(ErrorCode::SessionExpired, Some("/x")),
                "KeeperErrorCode = Session expired for /x",
                1,
            ),
            (
                CliError::UnknownCommand("x".into()),
                "Command not found: Command not found x",
                127,
            ),
            (CliError::number("x"), "For input string: \"x\"", 1),
        ] {
            assert_eq!(error.to_string(), message);
            assert_eq!(error.exit_code(), exit_code);
        }
    }
}
