//! How the members of an ensemble agree: Fast Leader Election and ZAB 1.0, as Apache ZooKeeper 3.5 to
//! 3.9 speak them.
//!
//! Everything here is sans-IO and deterministic: messages, durable positions and times in
//! milliseconds are arguments; what is to be sent and what was decided are asked for. Transactions
//! are opaque bytes.

pub mod election;
pub mod leader;
pub mod learner;
mod packet;
mod proposals;
mod rejection;
#[cfg(test)]
mod tests;

pub use packet::{PacketError, PacketReader, encode_packet};
pub use proposals::Proposals;
pub use rejection::Rejection;

/// The version of the protocol that both sides announce (Apache's 0x10000: ZAB 1.0).
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// The last epoch: a zxid has room for no later one. No ensemble comes near it.
pub const EPOCH_MAX: u32 = i32::MAX as u32;

/// What a learner of ours adds to its introduction, and a leader of ours to its answer: from then
/// on one ACK or COMMIT stands for all before it, and a failed request is no transaction
/// ([`Rejection`]). Apache's servers ignore the bytes. A later version has another number, so that
/// servers of different versions talk as Apache's do.
pub const EXTENSION: &[u8] = b"zkore\x02";
