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
pub mod tree;

pub mod exchange;

pub mod session;

pub mod admin;
pub mod prep;
pub mod watch;

pub mod zab;

pub mod sequencer;
pub mod shard;

pub mod history;

pub mod snapshot;
pub mod wal;

pub mod storage;

pub mod replica;

#[allow(clippy::disallowed_methods, reason = "implements the clocks")]
pub mod rt;

pub mod peer;
pub mod sim;

#[allow(clippy::disallowed_methods, reason = "waits for real servers")]
pub mod client;

#[allow(clippy::disallowed_methods, reason = "measures real time")]
pub mod bench;
pub mod cli;
#[allow(clippy::disallowed_methods, reason = "waits for real processes")]
pub mod launch;

pub mod server;
