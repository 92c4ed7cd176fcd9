//! The server as the four-letter words show it, beside what the shards report.

use std::sync::Arc;

use crate::admin::{Status, Word};
use crate::config::Config;
use crate::metrics::ShardMetrics;
use crate::rt::clock::Monotonic;
use crate::sequencer::Sequencer;

/// What does not change while the server runs.
pub struct ServerInfo {}

impl ServerInfo {
    /// For a server with these settings.
    pub fn new(
        _config: &Config,
        _sequencer: &Sequencer,
        _metrics: Vec<Arc<ShardMetrics>>,
        _clock: Monotonic,
    ) -> ServerInfo {
        ServerInfo {}
    }
    /// Completes a status.
    pub fn complete(&self, _status: &mut Status) {}
}

/// Adds the sequencer's part.
pub fn add_sequencer(_status: &mut Status, _word: Word, _sequencer: &Sequencer) {}
