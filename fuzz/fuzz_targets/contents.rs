//! Paths and trees of contents.
//!
//! `cargo +nightly fuzz run contents`
#![no_main]

#[allow(dead_code)] // The other targets use the rest.
#[path = "../../tests/law/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::contents(bytes);
});
