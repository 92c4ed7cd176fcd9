//! The runtime: the allocator, executors, pinning, mailboxes, files and sockets.
//!
//! The only module that knows glommio and io-uring. The sequencer's loop and each shard's run on one
//! bare ring, so that nothing stands between a completion and its next step; shards can also run on
//! glommio executors.

pub mod allocator;
pub mod clock;
pub mod cpu;
pub mod disk;
mod doorbell;
mod executor;
mod loop_ring;
pub mod machine;
pub mod mailbox;
pub mod net;
pub mod probe;
mod pulse;
pub mod ring;
pub mod signal;
