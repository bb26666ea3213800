//! What `docs/` shows is what the code does: samples, tables that can be counted, and the tests that are named. `UPDATE=1` writes the samples
//! anew.

use crate::cast::SHA1;
use crate::golden::{World, folder, world};
use quipu::log::keys::KEYS_MAX;
use quipu::model::canonical::needs_escape;
use quipu::model::contents::{COMPONENT_MAX, Limits};
use quipu::model::entry::{LIST_MAX, TEXT_MAX};
use quipu::model::error::ErrorCode;
use quipu::model::map::{FOLDER_NAMES, Map};
use quipu::model::object::STRUCTURE_MAX;
use quipu::model::record::{RECORD_MAX, Record};
use quipu::model::skip::skip;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(document(name)).unwrap()
}

/// Replaces the inside of every fenced block that has a word after its fence by what the code says about that word.
fn filled(document: &str, world: &World) -> (String, usize) {
    let mut out = String::new();
    let mut blocks = 0;
    let mut lines = document.split_inclusive('\n');
    while let Some(line) = lines.next() {
        out.push_str(line);
        let Some(word) = line.strip_prefix("```").map(str::trim).filter(|word| !word.is_empty()) else { continue };
        let found: String = lines.by_ref().take_while(|line| *line != "```\n").collect();
        out.push_str(&block(word, world).unwrap_or(found));
        out.push_str("```\n");
        blocks += 1;
    }
    (out, blocks)
}

fn block(word: &str, world: &World) -> Option<String> {
    let (kind, path) = word.split_once(' ').unwrap_or((word, ""));
    Some(match kind {
        "record" => std::fs::read_to_string(folder().join(path)).unwrap_or_else(|why| panic!("{path}: {why}")),
        "escapes" => ranges(),
        "skips" => {
            let row = |of: &dyn Fn(u64) -> u64| (1..=15).fold(String::new(), |row, seq| format!("{row}{:>3}", of(seq)));
            format!("seq {}\nskip{}\n", row(&|seq| seq), row(&skip))
        }
        "manifest" => world.manifest.clone(),
        "limits" => limits(),
        "map" => map(path, world),
        "changes" => changes(path, world),
        _ => return None,
    })
}

fn ranges() -> String {
    let codes: Vec<u32> = ('\0'..=char::MAX).filter(|c| needs_escape(*c)).map(u32::from).collect();
    let mut out = String::new();
    for run in codes.chunk_by(|a, b| a + 1 == *b) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let _ = if first == last { writeln!(out, "{first:04X}") } else { writeln!(out, "{first:04X}..{last:04X}") };
    }
    out
}

fn limits() -> String {
    let limits = Limits::default();
    let rows: [(&str, u64); 13] = [
        ("record", RECORD_MAX),
        ("text in a record", TEXT_MAX as u64),
        ("items of a list", LIST_MAX as u64),
        ("keys of a log", KEYS_MAX as u64),
        ("declarations of stolen keys in a log", 1024),
        ("names in a folder of the map", FOLDER_NAMES as u64),
        ("commit or tree that is read", STRUCTURE_MAX),
        ("files of a release", limits.files),
        ("bytes of a file", limits.file_bytes),
        ("bytes of a release", limits.release_bytes),
        ("bytes of a path", limits.path_bytes),
        ("components of a path", limits.depth),
        ("bytes of a component", COMPONENT_MAX as u64),
    ];
    rows.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
}

fn checkpoint(path: &str) -> Record {
    Record::parse(SHA1, std::fs::read(folder().join(path)).unwrap()).unwrap()
}

fn map(path: &str, world: &World) -> String {
    let mut out = String::new();
    let map = Map::at(checkpoint(path).draft().tree);
    map.for_each(&world.objects, &mut |slot, id| {
        let _ = writeln!(out, "{} commit {id}\t{slot}", slot.mode().as_str());
        Ok(())
    })
    .unwrap();
    out
}

/// The text that a checkpoint's `changes` is taken of, put together as the format says and held against the record.
fn changes(path: &str, world: &World) -> String {
    let record = checkpoint(path);
    let head = world.of_log("package")[usize::try_from(record.seq()).unwrap()];
    let log = world.package.chain().id();
    let text = format!("quipu-changes 1\npackages/wasi/http {log} {} {}\n", head.seq(), head.digest());
    let quipu::model::entry::Entry::Checkpoint(says) = record.entry() else { panic!("{path} is no checkpoint") };
    assert_eq!(says.changes, quipu::model::digest::ChangesDigest::of_bytes(text.as_bytes()));
    text
}

#[test]
fn the_format_shows_what_the_code_writes() {
    let found = text("format.md");
    let (expected, blocks) = filled(&found, &world(SHA1));
    assert!(blocks > 25, "only {blocks} blocks have a word");
    if std::env::var_os("UPDATE").is_some() {
        #[allow(clippy::disallowed_methods)] // A document in the source tree; nothing reads it at the same time.
        std::fs::write(document("format.md"), &expected).unwrap();
        return;
    }
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "docs/format.md, line {}; UPDATE=1 writes it", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

#[test]
fn the_format_speaks_of_every_kind_and_field() {
    let format = text("format.md");
    for sample in world(SHA1).samples {
        let body = sample.record.draft().body();
        for line in body.lines().filter(|line| !line.starts_with('[') && !line.is_empty()) {
            let field = line.split(' ').next().unwrap();
            assert!(format.contains(&format!("`{field}`")), "{field} of {}", sample.path());
        }
        let kind = sample.record.entry().kind();
        let titles = format.lines().filter(|line| line.starts_with("### "));
        let has_title = titles.flat_map(|line| line.split([' ', ','])).any(|word| word == kind);
        assert!(has_title || format.contains(&format!("`{kind}`")), "{kind}");
    }
}

/// Codes in square brackets and backticks.
fn codes(document: &str) -> BTreeSet<&str> {
    document.split("`[").skip(1).filter_map(|rest| rest.split_once("]`")).map(|(code, _)| code).collect()
}

#[test]
fn the_documents_name_codes_that_there_are() {
    let known: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    for name in ["format.md", "threat-model.md"] {
        let document = text(name);
        // Lists and headings of TOML are in brackets, too.
        let named: Vec<&str> = codes(&document)
            .into_iter()
            .filter(|code| code.starts_with(char::is_lowercase) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
            .collect();
        assert!(!named.is_empty());
        for code in named {
            // `[name]` is a table's heading.
            assert!(known.contains(code) || code == "name" || code == "[name]", "{name}: {code}");
        }
    }
}

fn sources(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_threat_model_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut all);
    }
    let document = text("threat-model.md");
    let rows = document.lines().filter(|line| line.starts_with("| ") && line.contains("`["));
    let mut tests = 0;
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for test in last.split('`').skip(1).step_by(2) {
            assert!(test.contains('/') || all.contains(&format!("fn {test}(")), "no test is called {test}");
            tests += 1;
        }
    }
    assert!(tests > 40, "only {tests} tests are named");
}
