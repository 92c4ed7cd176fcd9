//! The composition root: per-core loops and recovery at start.

use crate::config::Config;

/// Why a server ended, other than because it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The parts are there, but not yet put together.
    #[error("the server is not built yet")]
    NotBuilt,
}

/// Runs a server until it is asked to end.
pub fn run(_config: Config) -> Result<(), ServerError> {
    Err(ServerError::NotBuilt)
}
