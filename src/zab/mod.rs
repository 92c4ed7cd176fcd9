//! How the members of an ensemble agree: Fast Leader Election and ZAB 1.0.
//!
//! Everything here is sans-IO and deterministic: messages and times in milliseconds are arguments,
//! what is to be sent and what was decided are asked for.

pub mod election;
