//! The jute codec and the records of the ZooKeeper protocol.
//!
//! One file a module of Apache's `zookeeper.jute`. Records borrow strings and buffers from the
//! bytes that they are read from, so that decoding a request copies nothing; a decoder takes any
//! bytes and answers with a [`JuteError`], never with a panic.
//!
//! Encoding: big-endian integers; booleans of one byte; strings and buffers as an `i32` length and
//! bytes; vectors as an `i32` count and elements; length −1 for a null.

mod codec;
pub mod data;
pub mod op;
pub mod proto;
pub mod quorum;
pub mod txn;

pub use codec::{Decoder, JuteError, Record};
pub(crate) use codec::{fixed_record, record};
