//! quipu: a package registry that is nothing but a git repository.
//!
//! Every package is a log: a chain of signed commits. A registry is a log of logs: each of its checkpoints is a signed
//! commit whose tree maps the names of all packages to the heads of their logs. The rooms of this crate, from the inside out:

/// Nouns: names, digests, keys, records and their exact bytes, the files of a release, the map of a registry. Pure, and without
/// knowledge of any other room.
pub mod model {
    pub mod changes;
    pub mod digest;
    pub mod error;
    pub mod map;
    pub mod name;
    pub mod object;
    pub mod skip;
    pub mod slot;
    pub mod tree;
}
