//! What is answered to a command line that cannot be read: what is wrong with it, and what was meant.

use crate::model::error::{Error, ErrorCode};
use clap::error::{ContextKind, ContextValue};
use std::error::Error as _;

/// Words that people try, behind which command they try them, and what they mean here.
const MEANT: &[(&str, &[&str], &str)] = &[
    ("quipu", &["download", "fetch", "pull", "clone", "cat"], "to get a release: quipu get NAMESPACE:NAME"),
    ("quipu", &["i", "ci", "sync", "restore"], "to bring what quipu.toml needs: quipu install [--locked]"),
    ("quipu", &["sync", "replicate", "mirrors"], "to bring a mirror up to date: quipu mirror sync [DOMAIN]"),
    ("quipu", &["require", "depend"], "to need a package: quipu add NAMESPACE:NAME"),
    ("quipu", &["sync", "merge", "rebase", "upstream"], "to bring what a fork's origin released since: quipu fork --sync"),
    (
        "quipu",
        &["opensource", "expose", "transfer"],
        "to publish elsewhere what is inside: quipu promote NAMESPACE:NAME --to REGISTRY",
    ),
    ("quipu", &["branch", "patch", "derive"], "to make a package of your own from another one: quipu fork NAMESPACE:NAME [NAME]"),
    ("quipu", &["upgrade", "outdated", "up"], "to choose newer versions: quipu update [--dry-run]"),
    ("quipu", &["list", "ls", "show", "view", "status"], "to look at a package or a registry: quipu info [NAME]"),
    ("quipu", &["list", "ls", "find", "query", "packages"], "to find packages: quipu search [WORDS]"),
    ("quipu", &["list", "ls"], "for lists: quipu trust list, quipu key list, quipu owner list NAMESPACE:NAME"),
    ("quipu", &["history", "versions", "changes"], "to see a package's records: quipu log NAMESPACE:NAME"),
    ("quipu", &["changes", "review"], "to see what a release changed: quipu diff NAMESPACE:NAME@VERSION"),
    ("quipu", &["init", "create"], "to make a folder a package: quipu new DIR"),
    ("quipu", &["init", "create"], "to make a registry: quipu registry init PATH --name DOMAIN"),
    ("quipu", &["push", "upload", "release", "submit", "package"], "to publish a folder: quipu publish DIR"),
    (
        "quipu",
        &["rm", "delete", "unpublish", "uninstall"],
        "to take a release out of new choices: quipu yank NAMESPACE:NAME@VERSION",
    ),
    ("quipu", &["rm", "uninstall"], "to need a package no longer: quipu remove NAMESPACE:NAME"),
    ("quipu", &["fsck", "audit", "check", "validate"], "to check a package, a path or a registry: quipu verify WHAT"),
    (
        "quipu",
        &["keygen", "login", "signup", "register", "keys"],
        "to make a key, which is all the account there is: quipu key new NAME",
    ),
    ("quipu", &["accept", "approve"], "to accept proposals: quipu registry accept PATH"),
    ("quipu", &["operator", "operators", "serve", "server"], "for those who run a registry: quipu registry --help"),
    ("quipu", &["owners", "allow", "deny", "invite"], "to change who owns a package: quipu owner allow NAMESPACE:NAME KEY"),
    (
        "quipu",
        &["completions", "complete", "autocomplete"],
        "to let a shell complete what is typed: quipu completion bash, zsh or fish",
    ),
    ("quipu", &["clean", "prune", "gc"], "to delete what is kept only to be quick: quipu cache prune"),
    ("quipu", &["manual", "manpage"], "to see a manual page: quipu man COMMAND | man -l -"),
    (
        "quipu cache",
        &["clean", "clear", "gc", "rm", "remove", "delete", "purge"],
        "to delete what is kept: quipu cache prune [NAME]",
    ),
    ("quipu cache", &["ls", "show", "info", "size"], "to see what is kept: quipu cache list"),
    ("quipu", &["help"], "quipu --help, or quipu COMMAND --help"),
    ("quipu registry", &["add", "trust"], "to trust a registry: quipu trust add DOMAIN URL"),
    ("quipu registry", &["list", "ls", "remove", "rm"], "registries that you trust: quipu trust list, quipu trust remove DOMAIN"),
    (
        "quipu registry",
        &["mirror", "sync", "replicate"],
        "to hold another registry beside one's own: quipu mirror add DOMAIN URL",
    ),
    ("quipu mirror", &["new", "init", "create", "start"], "to mirror a registry: quipu mirror add DOMAIN URL --in PATH"),
    ("quipu mirror", &["update", "fetch", "pull", "refresh", "run"], "to bring mirrors up to date: quipu mirror sync [DOMAIN]"),
    ("quipu mirror", &["ls", "show", "status", "info"], "to see what is mirrored: quipu mirror list"),
    ("quipu mirror", &["rm", "delete", "stop", "end"], "to mirror a registry no longer: quipu mirror remove DOMAIN"),
    ("quipu mirror", &["verify", "check", "fsck"], "to check what is mirrored with all the rest: quipu verify PATH"),
    ("quipu registry", &["new", "create", "make"], "to make a registry: quipu registry init PATH --name DOMAIN"),
    ("quipu registry", &["verify", "audit"], "to check a registry: quipu registry fsck PATH"),
    (
        "quipu registry",
        &["announce", "discovery", "wellknown"],
        "to let others find it by its name: quipu registry well-known PATH URL",
    ),
    ("quipu key", &["add", "create", "make", "gen", "generate"], "to make a key: quipu key new NAME"),
    ("quipu key", &["add", "import"], "a key of ssh's is used where it is: --key FILE, or key = \"FILE\" in config.toml"),
    ("quipu owner", &["add", "invite"], "to let a key in: quipu owner allow NAMESPACE:NAME KEY"),
    ("quipu owner", &["remove", "rm", "revoke"], "to shut a key out: quipu owner deny NAMESPACE:NAME KEY"),
    ("quipu trust", &["new", "init"], "to trust a registry: quipu trust add DOMAIN URL"),
];

/// Turns what clap says into an error like any other: its first sentence, then what was meant, then the usage.
pub fn explain(error: &clap::Error) -> Error {
    // A value that one of our own types refused: it says itself what is wrong.
    if let Some(own) = error.source().and_then(|source| source.downcast_ref::<Error>()) {
        let place = text_of(error, ContextKind::InvalidArg);
        return if place.is_empty() { own.clone() } else { own.clone().at(place) };
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let mut found = Error::new(ErrorCode::Usage, words.join(" ").trim_start_matches("error: ").replace("...", "…"));
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: ")).unwrap_or("quipu [OPTIONS] <COMMAND>");
    // clap repeats the flags that were given.
    let usage = usage.replace(" --json", "");
    let command: Vec<&str> = usage.split(' ').take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    let command = command.join(" ");
    let wrong = text_of(error, ContextKind::InvalidSubcommand);
    let meant: Vec<&str> = MEANT
        .iter()
        .filter(|(place, tried, _)| *place == command && tried.contains(&wrong.as_str()))
        .map(|(_, _, meant)| *meant)
        .collect();
    for meant in &meant {
        found = found.hint(*meant);
    }
    if command == "quipu install" && error.kind() == clap::error::ErrorKind::UnknownArgument {
        found = found.hint("to need a package: quipu add NAMESPACE:NAME");
    }
    if meant.is_empty() {
        for tip in text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")) {
            found = found.hint(tip);
        }
        found = found.hint(format!("usage: {usage}"));
    }
    found.hint(format!("more: {command} --help"))
}

fn text_of(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};

    fn refused(args: &[&str]) -> Error {
        let version = Arg::new("version").required(true).value_parser(|text: &str| text.parse::<crate::model::name::Version>());
        let command = Command::new("quipu")
            .subcommand_required(true)
            .disable_help_subcommand(true)
            .subcommand(Command::new("get").arg(version))
            .subcommand(Command::new("registry").subcommand_required(true).subcommand(Command::new("init")));
        explain(&command.try_get_matches_from(args).unwrap_err())
    }

    #[test]
    fn a_near_miss_is_answered_with_what_was_meant() {
        let error = refused(&["quipu", "download", "wasi:http"]);
        assert_eq!((error.code(), error.message()), (ErrorCode::Usage, "unrecognized subcommand 'download'"));
        assert!(error.hints()[0].contains("quipu get"), "{error:?}");
        let error = refused(&["quipu", "registry", "add"]);
        assert!(error.hints()[0].contains("quipu trust add"), "{error:?}");
        let error = refused(&["quipu", "gett"]);
        assert!(error.hints()[0].contains("'get'"), "{error:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = refused(&["quipu", "get"]);
        assert_eq!(error.message(), "the following required arguments were not provided: <version>");
        assert_eq!(error.hints(), ["usage: quipu get <version>", "more: quipu get --help"]);
    }

    #[test]
    fn a_value_keeps_the_code_of_what_refused_it() {
        let error = refused(&["quipu", "get", "1.0"]);
        assert_eq!(error.code(), ErrorCode::BadVersion);
        assert!(error.message().starts_with("<version>: "), "{error}");
    }

    #[test]
    fn every_near_miss_means_something_that_is_said_in_full() {
        for (place, tried, meant) in MEANT {
            assert!(
                place.starts_with("quipu") && !tried.is_empty() && meant.contains("quipu ") || meant.contains("--key"),
                "{meant}"
            );
        }
    }
}
