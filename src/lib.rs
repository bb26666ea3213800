//! quipu: a package registry that is nothing but a git repository.
//!
//! Every package is a log: a chain of signed commits. A registry is a log of logs: each of its checkpoints is a signed
//! commit whose tree maps the names of all packages to the heads of their logs. The rooms of this crate, from the inside out:

/// Nouns: names, digests, keys, records and their exact bytes, the files of a release, the map of a registry. Pure, and without
/// knowledge of any other room.
pub mod model {
    pub mod digest;
    pub mod error;
    pub mod name;
    pub mod object;
    pub mod tree;
}

/// Hands on git: where things are in a repository, reading and writing it, and fetching from another. The only room that knows
/// gix and the `git` program.
pub mod git {
    #[cfg(test)]
    pub(crate) mod daemon;
    #[cfg(test)]
    pub(crate) mod fixture;
    pub mod layout;
    pub mod pack;
    pub mod program;
    pub mod quarantine;
    pub mod refs;
    pub mod store;
    pub mod transport;
    pub mod url;
}
