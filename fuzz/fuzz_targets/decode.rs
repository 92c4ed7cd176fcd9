//! Any bytes into every decoder of the schema: `cargo fuzz run decode`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/codec/records.rs"]
mod records;

fuzz_target!(|bytes: &[u8]| records::decode_as_everything(bytes));
