//! The project tests itself: which room may know which, where programs are started, and whether the documents say what the code does.

// A test may panic wherever it stands.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

use quipu::model::error::ErrorCode;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("log", &["model"]),
    ("trust", &["log", "model"]),
    ("git", &["model"]),
    ("disk", &["model"]),
    ("replica", &["git", "trust", "log", "model"]),
    ("command", &["disk", "replica", "git", "trust", "log", "model"]),
];

/// Files of `command` that are no verbs and may be imported by verbs.
const SHARED_BY_VERBS: &[&str] = &[
    "answer",
    "client",
    "context",
    "decide",
    "hooks",
    "import",
    "keyarg",
    "mirror",
    "needs",
    "origin",
    "patch",
    "progress",
    "reason",
    "request",
    "shells",
    "submit",
    "table",
    "trust",
    "workspace",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .map(|entry| entry.into_path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

/// Returns the lines of a file that are code, with their numbers: no comments, and nothing from the first module of tests on.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a source file is text");
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |at: usize| {
        lines[at].starts_with("#[cfg(")
            && lines[at].contains("test")
            && lines[at + 1..].iter().find(|next| !next.starts_with("#[")).is_some_and(|next| next.contains("mod "))
    };
    let end = (0..lines.len()).find(|at| is_tests(*at)).unwrap_or(lines.len());
    let numbered = lines[..end].iter().enumerate().map(|(at, line)| (at + 1, (*line).to_owned()));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

#[test]
fn every_room_knows_only_the_rooms_below_it() {
    let mut wrong = Vec::new();
    for (room, allowed) in ARROWS {
        for path in files(&root().join("src").join(room), "rs") {
            for (number, line) in code(&path) {
                for (other, _) in ARROWS {
                    let named = line.contains(&format!("crate::{other}::")) || line.contains(&format!("crate::{other}{{"));
                    if named && other != room && !allowed.contains(other) {
                        wrong.push(format!("{}:{number}: {room} may not know {other}: {}", path.display(), line.trim()));
                    }
                }
                for name in ["gix::", "gix_"] {
                    if line.contains(name) && *room != "git" {
                        wrong.push(format!("{}:{number}: gix stays in git/: {}", path.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_verb_knows_another() {
    let folder = root().join("src/command");
    let stem = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let verbs: Vec<String> =
        files(&folder, "rs").iter().map(|path| stem(path)).filter(|name| !SHARED_BY_VERBS.contains(&&**name)).collect();
    let mut wrong = Vec::new();
    for path in files(&folder, "rs") {
        for (number, line) in code(&path) {
            for verb in verbs.iter().filter(|verb| **verb != stem(&path)) {
                if line.contains(&format!("super::{verb}::")) || line.contains(&format!("crate::command::{verb}")) {
                    wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn law_has_no_hands() {
    let mut wrong = Vec::new();
    for room in ["model", "log", "trust"] {
        for path in files(&root().join("src").join(room), "rs") {
            for (number, line) in code(&path) {
                for hand in ["std::fs", "std::net", "std::env", "SystemTime", "Instant::now", "getrandom", "std::process"] {
                    if line.contains(hand) {
                        wrong.push(format!("{}:{number}: {hand}: {}", path.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn programs_are_started_in_one_file() {
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), "rs") {
        if path.ends_with("git/program.rs") || path.ends_with("git/daemon.rs") || path.ends_with("git/fixture.rs") {
            continue;
        }
        for (number, line) in code(&path) {
            if line.contains("process::Command") || line.contains("Command::new(") {
                wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_named_for_nothing() {
    for path in files(&root().join("src"), "rs") {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!["util", "utils", "helpers", "common", "manager", "misc"].contains(&name), "{}", path.display());
    }
}

/// `docs/errors.md` is the table of codes, and says of each what the code itself says.
#[test]
fn the_table_of_errors_is_the_one_in_the_code() {
    let mut table = String::from("| code | exit when read | exit when asked | meaning |\n|---|---|---|---|\n");
    for code in ErrorCode::ALL {
        table += &format!("| `{code}` | {} | {} | {} |\n", code.exit_when_read(), code.exit_when_asked(), code.meaning().trim());
    }
    let path = root().join("docs/errors.md");
    let text = fs::read_to_string(&path).expect("docs/errors.md");
    let (before, rest) = text.split_once("<!-- table -->\n").expect("a mark before the table");
    let (found, after) = rest.split_once("<!-- end -->").expect("a mark after the table");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}<!-- table -->\n{table}<!-- end -->{after}")).expect("docs/errors.md can be written");
    } else {
        assert_eq!(found, table, "docs/errors.md differs from the code; UPDATE=1 writes it anew");
    }
}

#[test]
fn exit_statuses_are_the_documented_ones() {
    let known = [2, 3, 4, 5, 6, 7, 8, 70];
    for code in ErrorCode::ALL {
        assert!(known.contains(&code.exit_when_read()) && known.contains(&code.exit_when_asked()), "{code}");
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let mut wrong = Vec::new();
    let mut section = "";
    let mut before = "";
    let mut explained: BTreeMap<&str, bool> = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies]") && line.contains(" = ") && !line.starts_with('#') {
            // A reason stands above the first of a group.
            let fine = before.starts_with('#') || explained.get(section).copied().unwrap_or(false);
            if !fine {
                wrong.push(line.to_owned());
            }
            explained.insert(section, true);
        }
        if line.is_empty() || line.starts_with('#') {
            explained.insert(section, line.starts_with('#'));
        }
        before = line;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
