//! quipu: a package registry that is nothing but a git repository.
//!
//! Every package is a log: a chain of signed commits. A registry is a log of logs: each of its checkpoints is a signed
//! commit whose tree maps the names of all packages to the heads of their logs. The rooms of this crate, from the inside out:

/// Nouns: names, digests, keys, records and their exact bytes, the files of a release, the map of a registry. Pure, and without
/// knowledge of any other room.
pub mod model {
    pub mod contents;
    pub mod digest;
    pub mod error;
    pub mod gitfiles;
    pub mod name;
    pub mod object;
    pub mod tree;
}

/// Hands on files: what a person has on disk becomes a release, and a release becomes a folder; files are replaced whole or not
/// at all. Imports model.
pub mod disk {
    pub mod folder;
    pub mod replace;
}
