//! The arguments of `zkore cli`.

use std::fs;
use std::path::Path;

use crate::client::ClientConfig;
use crate::config::properties;

/// What `-help` prints before the list of commands.
pub const HELP: &str = "\
zkore cli [options] [command arguments]

Runs one command, or without one reads commands line by line.

Options:
  -server host:port[,host:port...][/chroot]  servers to connect to [default: localhost:2181]
  -timeout ms                                session timeout [default: 30000]
  -r                                         make do with a server that only serves reads
  -waitforconnection                         run nothing before there is a connection
  -client-configuration file                 properties file with settings of the client

Commands:";

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// `-server`: the connect string.
    pub server: String,
    /// `-timeout`: the session timeout, in milliseconds, as it was given.
    timeout: String,
    /// `-r`: a server cut off from its quorum will do.
    read_only: bool,
    /// `-waitforconnection`: run nothing before there is a connection.
    pub wait_for_connection: bool,
    /// `-client-configuration`: a properties file.
    client_configuration: Option<String>,
    /// `-help`.
    pub help: bool,
    /// An option that stands last and wants a value.
    pub without_value: Option<String>,
    /// The command and its arguments; empty for an interactive shell.
    pub command: Vec<String>,
}

/// Why the settings of the client cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// A value that must be a number.
    #[error("For input string: \"{0}\"")]
    Number(String),
    /// The file cannot be read.
    #[error("Error while processing {path}: {reason}")]
    File {
        /// The file as given.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file asks for what this client does not have.
    #[error("{path}: {key} is not supported: this client does not speak TLS")]
    Tls {
        /// The file as given.
        path: String,
        /// The key.
        key: String,
    },
}

impl ArgumentError {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            ArgumentError::Number(_) => 1,
            ArgumentError::File { .. } | ArgumentError::Tls { .. } => 2,
        }
    }
}

impl Arguments {
    /// Reads the arguments. Options come first; those that are unknown are passed over, as the
    /// reference does.
    pub fn parse(args: Vec<String>) -> Arguments {
        let mut arguments = Arguments {
            server: "localhost:2181".to_owned(),
            timeout: "30000".to_owned(),
            read_only: false,
            wait_for_connection: false,
            client_configuration: None,
            help: false,
            without_value: None,
            command: Vec::new(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let wants_value = matches!(
                arg.as_str(),
                "-server" | "-timeout" | "-client-configuration"
            );
            let value = if wants_value { args.next() } else { None };
            match (arg.as_str(), value) {
                ("-server", Some(value)) => arguments.server = value,
                ("-timeout", Some(value)) => arguments.timeout = value,
                ("-client-configuration", Some(value)) => {
                    arguments.client_configuration = Some(value);
                }
                ("-r", _) => arguments.read_only = true,
                ("-waitforconnection", _) => arguments.wait_for_connection = true,
                ("-h" | "-help" | "--help", _) => arguments.help = true,
                _ if wants_value => arguments.without_value = Some(arg),
                _ if arg.starts_with('-') => {}
                _ => {
                    arguments.command.push(arg);
                    arguments.command.extend(args.by_ref());
                }
            }
        }
        arguments
    }

    /// The settings of the client.
    pub fn client_config(&self) -> Result<ClientConfig, ArgumentError> {
        let mut config = ClientConfig {
            session_timeout_ms: number(&self.timeout)?,
            can_be_read_only: self.read_only,
            ..ClientConfig::default()
        };
        if let Some(path) = &self.client_configuration {
            read_file(path, &mut config)?;
        }
        Ok(config)
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, ArgumentError> {
    text.trim()
        .parse()
        .map_err(|_| ArgumentError::Number(text.to_owned()))
}

/// Reads the keys of Apache's `ZKClientConfig` that mean something here.
fn read_file(path: &str, config: &mut ClientConfig) -> Result<(), ArgumentError> {
    let refuse = |reason: String| ArgumentError::File {
        path: path.to_owned(),
        reason,
    };
    let bytes = fs::read(Path::new(path)).map_err(|error| refuse(error.to_string()))?;
    for property in properties::parse(&bytes).map_err(|error| refuse(error.to_string()))? {
        let is_true = property.value.eq_ignore_ascii_case("true");
        match property.key.as_str() {
            "zookeeper.request.timeout" => {
                let timeout_ms: i64 = number(&property.value)?;
                config.request_timeout_ms = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0);
            }
            "zookeeper.disableAutoWatchReset" => config.disable_watch_reset = is_true,
            "zookeeper.client.secure" if is_true => {
                return Err(ArgumentError::Tls {
                    path: path.to_owned(),
                    key: property.key,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_come_before_the_command() {
        let arguments = parse("-server a:1/x -timeout 5000 -r -unknown ls -R / -server b");
        assert_eq!(arguments.server, "a:1/x");
        assert_eq!(arguments.command, ["ls", "-R", "/", "-server", "b"]);
        assert!(arguments.read_only && !arguments.wait_for_connection);
        let config = arguments.client_config().expect("numbers");
        assert_eq!(config.session_timeout_ms, 5000);
        assert!(config.can_be_read_only);
    }

    #[test]
    fn defaults_and_errors() {
        let arguments = parse("-waitforconnection -server");
        assert_eq!(arguments.server, "localhost:2181");
        assert_eq!(arguments.without_value.as_deref(), Some("-server"));
        assert!(arguments.wait_for_connection && arguments.command.is_empty());
        let error = parse("-timeout x").client_config().expect_err("no number");
        assert_eq!(error.to_string(), "For input string: \"x\"");
        let error = parse("-client-configuration /no/such/file")
            .client_config()
            .expect_err("no file");
        assert_eq!(error.exit_code(), 2);
    }
}
