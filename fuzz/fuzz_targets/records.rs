//! Commits that look like records.
//!
//! `cargo +nightly fuzz run records fuzz/corpus/records tests/fixtures/records/*`
#![no_main]

#[allow(dead_code)] // The other targets use the rest.
#[path = "../../tests/law/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::commits(bytes);
});
