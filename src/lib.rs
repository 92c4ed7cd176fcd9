//! zkore: the ZooKeeper service as a thread-per-core storage engine.
//!
//! ARCHITECTURE.md describes the whole; each module states its own contract. Modules are listed
//! here from the vocabulary upwards: a module uses only those above it.

pub mod types;

mod mutation;

pub mod config;
pub mod io;
pub mod jute;
pub mod metrics;

pub mod auth;
pub mod prep;
pub mod session;
pub mod tree;
pub mod watch;

pub mod zab;

pub mod history;

pub mod exchange;
pub mod sequencer;
pub mod shard;

pub mod snapshot;
pub mod storage;
pub mod wal;

pub mod replica;

pub mod admin;
#[allow(clippy::disallowed_methods, reason = "measures real time")]
pub mod bench;
pub mod cli;
#[allow(clippy::disallowed_methods, reason = "waits for real servers")]
pub mod client;
#[allow(clippy::disallowed_methods, reason = "waits for real processes")]
pub mod launch;
#[allow(clippy::disallowed_methods, reason = "implements the clocks")]
pub mod rt;

pub mod sim;

pub mod peer;
pub mod server;
