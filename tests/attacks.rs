//! Attacks, each built from the bad object itself and driven through the program, with a twin that is the same but for the fault and
//! is accepted.
#![cfg(unix)]

#[path = "attacks/client.rs"]
mod client;
#[path = "attacks/contents.rs"]
mod contents;
#[path = "attacks/logs.rs"]
mod logs;
#[path = "attacks/registry.rs"]
mod registry;
#[path = "attacks/scene.rs"]
mod scene;
