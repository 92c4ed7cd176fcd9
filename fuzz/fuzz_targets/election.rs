//! Any bytes on the election port: `cargo +nightly fuzz run election`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/codec/peers.rs"]
#[allow(dead_code, reason = "the other port has a target of its own")]
mod peers;

fuzz_target!(|bytes: &[u8]| peers::election_port(bytes));
