//! Any bytes on the quorum port, and from a leader: `cargo +nightly fuzz run quorum`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/codec/peers.rs"]
#[allow(dead_code, reason = "the other port has a target of its own")]
mod peers;

fuzz_target!(|input: (u8, &[u8])| peers::quorum_port(input.1, usize::from(input.0)));
