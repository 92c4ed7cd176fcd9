//! Any bytes on the election port: `cargo fuzz run election`. Half of the inputs are bytes as
//! they are, half choose among well-formed notifications.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/codec/peers.rs"]
#[allow(dead_code, reason = "the other port has a target of its own")]
mod peers;
#[path = "../../tests/codec/script.rs"]
#[allow(dead_code, reason = "the other port has a target of its own")]
mod script;

fuzz_target!(|input: (bool, &[u8])| match input {
    (true, bytes) => peers::election_port(&script::notifications(bytes)),
    (false, bytes) => peers::election_port(bytes),
});
