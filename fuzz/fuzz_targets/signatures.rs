//! Armours of SSH signatures.
//!
//! `cargo +nightly fuzz run signatures`
#![no_main]

#[allow(dead_code)] // The other targets use the rest.
#[path = "../../tests/law/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::armours(bytes);
});
