//! Any bytes on the quorum port, and from a leader: `cargo fuzz run quorum`. Half of the
//! inputs are bytes as they are, half choose among well-formed packets.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/codec/peers.rs"]
#[allow(dead_code, reason = "the other port has a target of its own")]
mod peers;
#[path = "../../tests/codec/script.rs"]
#[allow(dead_code, reason = "the other port has a target of its own")]
mod script;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (is_script, piece, bytes) = input;
    // In pieces of one byte a tree takes too long to be tried often.
    let piece = 8 + usize::from(piece) * 4;
    match is_script {
        true => peers::quorum_port(&script::packets(bytes), piece),
        false => peers::quorum_port(bytes, piece),
    }
});
