//! The runtime: executors, pinning, mailboxes, files and sockets.
//!
//! The only module that knows glommio and io-uring. Shards run on one glommio executor each; the
//! sequencer runs on one bare ring, so that nothing stands between a completion and its next step.

pub mod clock;
pub mod cpu;
pub mod disk;
mod doorbell;
pub mod executor;
pub mod machine;
pub mod mailbox;
pub mod net;
pub mod probe;
pub mod pulse;
pub mod ring;
pub mod signal;
