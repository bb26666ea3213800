//! quipu: a package registry that is nothing but a git repository.
//!
//! Every package is a log: a chain of signed commits. A registry is a log of logs: each of its checkpoints is a signed
//! commit whose tree maps the names of all packages to the heads of their logs. The rooms of this crate, from the inside out:

/// Nouns: names, digests, keys, records and their exact bytes, the files of a release, the map of a registry. Pure, and without
/// knowledge of any other room.
pub mod model {
    pub mod canonical;
    pub mod changes;
    pub mod commit;
    pub mod contents;
    pub mod difference;
    pub mod digest;
    pub mod entry;
    pub mod error;
    pub mod gitfiles;
    pub mod held;
    pub mod key;
    pub mod lockfile;
    pub mod map;
    pub mod moment;
    pub mod name;
    pub mod object;
    pub mod opening;
    pub mod openssh;
    pub mod proofs;
    pub mod proposal;
    pub mod record;
    pub mod redact;
    pub mod refusal;
    pub mod search;
    pub mod skip;
    pub mod slot;
    mod ssh_wire;
    pub mod sshsig;
    pub mod time;
    pub mod tree;
}

/// Law: what makes a record the next one of its log. Imports `model` alone; no git, no disk, no clock, no randomness.
pub mod log {
    pub mod attestation;
    pub mod chain;
    pub mod decision;
    pub mod keys;
    pub mod names;
    pub mod operator;
    pub mod package;
    pub mod registry;
    mod suspicion;
}

/// Judgement: what was seen before, anchors, which release is meant, and which releases go together. Imports `log` and `model`.
pub mod trust {
    pub mod choose;
    mod conflict;
    pub mod memory;
    pub mod resolve;
}

/// Hands on files. Imports `model`.
pub mod disk {
    pub mod config;
    pub mod folder;
    pub mod home;
    pub mod installed;
    pub mod keys;
    pub mod layouts;
    pub mod manifest;
    pub mod project;
    pub mod proposals;
    pub mod replace;
    pub mod rewrite;
    pub mod trusted;
    pub mod verified;
    pub(crate) mod writers;
}

/// Hands on git: where things are in a repository, reading and writing it, and fetching from another. The only room that knows
/// gix and the `git` program. Imports `model`.
pub mod git {
    pub mod bundle;
    pub mod bundlefile;
    pub mod cache;
    #[cfg(test)]
    #[path = "../../tests/support/daemon.rs"]
    pub(crate) mod daemon;
    pub mod effort;
    #[cfg(test)]
    pub(crate) mod fixture;
    pub mod journal;
    pub mod layout;
    pub mod merge;
    pub mod pack;
    mod packed;
    mod packs;
    pub mod patch;
    mod pktline;
    pub mod program;
    pub mod quarantine;
    pub mod receive;
    pub mod refs;
    pub mod session;
    pub mod signer;
    pub mod staging;
    pub mod store;
    pub mod transport;
    pub mod upkeep;
    pub mod url;
    pub mod web;
}

/// Where law meets hands: reading a registry from wherever it is, and moving one on. Imports `git`, `trust`, `log`, `model`.
pub mod replica {
    pub mod accept;
    pub mod audit;
    pub mod author;
    pub mod chains;
    pub mod compare;
    pub mod decide;
    pub mod discovery;
    pub mod forge;
    pub mod gather;
    pub mod import;
    pub mod inbox;
    pub mod mirror;
    pub mod mirrored;
    pub(crate) mod names;
    pub mod origin;
    pub mod page;
    pub(crate) mod part;
    pub(crate) mod place;
    pub mod places;
    pub mod search;
    pub mod snapshot;
    pub(crate) mod source;
    pub mod standing;
    pub mod suggest;
    pub mod synthetic;
}

/// Doors: one file a verb, thin; what several verbs share stands beside them. Imports all rooms; no verb imports another.
pub mod command {
    pub mod answer;
    pub mod bundle;
    pub mod cache;
    pub mod client;
    pub mod compare;
    pub mod completion;
    pub mod context;
    pub mod decide;
    pub mod diff;
    pub mod fork;
    pub mod gc;
    pub mod get;
    pub mod hook;
    pub mod hooks;
    pub mod import;
    pub mod info;
    pub mod install;
    pub mod key;
    pub mod keyarg;
    pub mod log;
    pub mod man;
    pub mod mirror;
    pub mod moving;
    pub mod needs;
    pub mod new;
    pub mod origin;
    pub mod owner;
    pub mod patch;
    pub mod progress;
    pub mod promote;
    pub mod publish;
    pub mod reason;
    pub mod registry;
    pub mod rename;
    pub mod request;
    pub mod search;
    pub mod shells;
    pub mod submit;
    pub mod table;
    pub mod tour;
    pub mod trust;
    pub mod usage;
    pub mod verify;
    pub mod workspace;
    pub mod yank;
}
