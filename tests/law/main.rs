//! The law against everything that can be made to look like a record.
//!
//! `golden` holds one sample of every kind, byte for byte; `documents` compares what `docs/` shows with these; `attacks` breaks one rule at a
//! time, beside a twin that breaks none; `bytes` changes each byte of each sample; `properties` does anything that is allowed; `git` asks
//! stock git for its opinion; `smoke` runs what `fuzz/` runs, for a moment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod attacks;
mod bytes;
mod cast;
mod documents;
mod git;
mod golden;
mod properties;
mod smoke;
