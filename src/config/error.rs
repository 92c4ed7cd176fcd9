//! What can be wrong with the settings, and where it was said.

use std::fmt;
use std::path::PathBuf;

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On this line of this file, the first being 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line on which the setting begins.
        line: usize,
    },
    /// As an argument or as `-D`.
    CommandLine,
    /// In this environment variable.
    Environment(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Environment(variable) => f.write_str(variable),
        }
    }
}

/// Why a server with these settings does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is not in the syntax of a properties file.
    #[error("{origin}: {reason}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is not one that the key takes.
    #[error("{origin}: {key}={value}: expected {allowed}")]
    BadValue {
        /// Where.
        origin: Origin,
        /// The key as it was written.
        key: String,
        /// The value as it was written.
        value: String,
        /// What the key takes.
        allowed: String,
    },
    /// The key asks for something that this server must not silently leave out.
    #[error("{origin}: {key}={value} is refused: {reason}")]
    Refused {
        /// Where.
        origin: Origin,
        /// The key as it was written.
        key: String,
        /// The value as it was written.
        value: String,
        /// Why.
        reason: String,
    },
    /// A setting without which a server cannot start is missing, or two do not fit together.
    #[error("{whence}: {reason}")]
    Invalid {
        /// The file, or `command line`.
        whence: String,
        /// What does not fit.
        reason: String,
    },
}

/// How much a [`Warning`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Good to know: a known key that has no effect here.
    Notice,
    /// Probably a mistake: an unknown key, or a value that was replaced.
    Warning,
}

/// Something about the settings that does not keep the server from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub origin: Origin,
    /// How much it matters.
    pub severity: Severity,
    /// What, naming the key.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}
