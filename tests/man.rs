//! Manual pages: one for each command, complete, and without a fault that those who show them could find.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{World, run, skipped};

/// Says whether a program is there; where everything is to be tested, it is.
fn has(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status().unwrap().success();
    assert!(found || std::env::var_os("CI").is_none(), "{program} is missing");
    if !found {
        skipped(&format!("{program} is missing"));
    }
    found
}

fn pages(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_command_has_a_page_with_all_that_is_asked_of_one() {
    let world = World::new();
    let nobody = world.person("nobody");
    // It needs no home, and none of what may be wrong with one.
    world.write("homes/nobody/config.toml", "[[[");
    let folder = world.path("man/man1");
    let said = nobody.asks(["man", "--dir", folder.to_str().unwrap()]);
    let pages = pages(&folder);
    assert_eq!(said["pages"].as_array().unwrap().len(), pages.len());
    for name in ["quipu.1", "quipu-install.1", "quipu-registry.1", "quipu-registry-accept.1", "quipu-registry-operator-allow.1"] {
        assert!(pages.contains(name), "{pages:?}");
    }
    let help = nobody.quipu(["--help"]).ok().stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for command in commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()) {
        assert!(pages.contains(&format!("quipu-{command}.1")), "{command}");
    }
    for page in &pages {
        let text = fs::read_to_string(folder.join(page)).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"] {
            assert!(
                text.contains(&format!(".SH {section}\n")) || text.contains(&format!(".SH \"{section}\"\n")),
                "{page}: {section}"
            );
        }
        assert!(text.contains("QUIPU_HOME"), "{page}");
        // What it refers to is there.
        for name in text.lines().filter_map(|line| line.strip_prefix("\\fB")?.strip_suffix("(1),")?.strip_suffix("\\fR")) {
            let name = format!("{}.1", name.replace("\\-", "-"));
            assert!(name == "git.1" || pages.contains(&name), "{page}: {name}");
        }
    }
    // One page is what stands in the folder.
    assert_eq!(nobody.quipu(["man"]).ok().stdout, fs::read_to_string(folder.join("quipu.1")).unwrap());
    let accept = nobody.quipu(["man", "registry", "accept"]).ok().stdout;
    assert_eq!(accept, fs::read_to_string(folder.join("quipu-registry-accept.1")).unwrap());
    assert!(nobody.quipu(["man", "registry", "nothing", "--json"]).fails(2, "usage").contains("accept"));
    assert_eq!(
        nobody.asks(["man", "--dir", &world.at("none"), "--dry-run"])["pages"],
        nobody.asks(["man", "--dir", &world.at("none")])["pages"]
    );
}

#[test]
fn those_who_show_pages_find_no_fault() {
    let world = World::new();
    let folder = world.path("man1");
    world.person("nobody").quipu(["man", "--dir", folder.to_str().unwrap()]).ok();
    for page in pages(&folder) {
        let path = folder.join(&page);
        if has("mandoc") {
            // Below a warning are matters of style of the macros that the generator writes.
            let said = run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path));
            // A page has no date, on purpose.
            let faults: Vec<&str> = said.stdout.lines().filter(|line| !line.contains("missing date")).collect();
            assert!(faults.is_empty() && said.stderr.is_empty(), "{said:?}");
        }
        if has("man") {
            let mut man = Command::new("man");
            man.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(&path);
            let said = run(man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80").env("MANPAGER", "cat"));
            assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{page}");
            assert!(said.stdout.contains("SEE ALSO") && said.stdout.contains("verification failed"), "{page}");
        }
    }
}

#[test]
fn exit_statuses_are_those_of_the_table_of_errors() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md")).unwrap();
    let table = text.split("| exit | meaning |\n|---|---|\n").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let known = quipu::command::man::EXITS.iter().map(|(status, meaning)| format!("| {status} | {meaning} |"));
    assert_eq!(rows, known.collect::<Vec<_>>());
}
