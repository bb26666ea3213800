//! OpenSSH private keys.
//!
//! `cargo +nightly fuzz run private_keys fuzz/corpus/private_keys tests/fixtures/keys`
#![no_main]

#[allow(dead_code)] // The other targets use the rest.
#[path = "../../tests/law/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::private_keys(bytes);
});
