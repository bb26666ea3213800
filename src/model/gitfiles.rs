//! Names and files that git itself gives a meaning to, wherever they lie in a tree.
//!
//! `.git` is refused under every disguise. `.gitmodules` and `.gitattributes` are files like any other, but `git fsck --strict`, and
//! with it every forge, refuses a repository in which they say certain things: one such release would make the whole registry
//! impossible to push. So they are read here first, by a grammar that is narrower than git's: what cannot be proven good
//! is refused.
//!
//! A `.gitmodules` that passes:
//!
//! ```text
//! # a comment
//! [submodule "vendor/zlib"]
//!     path = vendor/zlib
//!     url = https://git.example/zlib.git
//!     branch = main
//! ```
//!
//! Source of the rules: `fsck.c`, `submodule-config.c`, `path.c` and `utf8.c` of git 2.47; a test asks the installed git whether it
//! agrees.

use super::error::{Result, fault};
use unicase::UniCase;

/// A `.gitmodules` has fewer bytes than this.
pub const MODULES_MAX: usize = 1024 * 1024;
/// A `.gitattributes` has at most this many bytes.
pub const ATTRIBUTES_MAX: usize = 100 * 1024 * 1024;
/// A line of a `.gitattributes` has fewer bytes than this, the line feed not counted.
pub const ATTRIBUTES_LINE_MAX: usize = 2048;

/// A file that git reads out of trees, and that `git fsck` judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitFile {
    /// `.gitmodules`: where submodules come from.
    Modules,
    /// `.gitattributes`: how files are checked out.
    Attributes,
}

impl GitFile {
    /// Every one of them.
    pub const ALL: [GitFile; 2] = [GitFile::Modules, GitFile::Attributes];

    /// Returns the name without disguise.
    pub fn name(self) -> &'static str {
        match self {
            GitFile::Modules => ".gitmodules",
            GitFile::Attributes => ".gitattributes",
        }
    }

    /// Says whether some file system takes this name of a file for the one meant here: by case, by trailing dots and spaces, by a
    /// stream (`:…`), by characters that HFS+ ignores, or by a short name that NTFS makes up (`GITMOD~1`, `GI7EBA~1`).
    pub fn is_named(self, name: &str) -> bool {
        let (stem, hashed) = match self {
            GitFile::Modules => ("gitmod", "gi7eba"),
            GitFile::Attributes => ("gitatt", "gi7d29"),
        };
        let name = undisguised(name);
        name == self.name()
            || short_name(&name).is_some_and(|found| {
                // NTFS shortens the hashed stem as its number grows; git takes any stem, even none, that fills eight characters.
                found == stem || found == hashed || (hashed.starts_with(found) && name.len() == 8)
            })
    }

    /// Checks that `git fsck --strict` accepts a file of this name with these bytes.
    ///
    /// # Errors
    /// `bad-contents` with the line and what is wrong in it.
    pub fn check(self, bytes: &[u8]) -> Result<()> {
        match self {
            GitFile::Modules => check_modules(bytes),
            GitFile::Attributes => check_attributes(bytes),
        }
        .map_err(|why| {
            fault!(BadContents, "git would refuse this {}: {why}", self.name())
                .hint("correct the file, or name it in `exclude` in quipu.toml")
        })
    }
}

/// Says whether some file system takes this name for `.git`.
pub fn is_dot_git(name: &str) -> bool {
    if GitFile::ALL.iter().any(|file| file.is_named(name)) {
        return false;
    }
    let name = undisguised(name);
    name == ".git"
        || short_name(&name).is_some_and(|stem| {
            // From the fifth name that is alike on, NTFS takes two letters and four digits of a hash it does not document.
            stem == "git"
                || stem.strip_prefix("gi").is_some_and(|hash| hash.len() == 4 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        })
}

/// Says whether a character is not seen, or changes how those around it are seen: format and direction marks, variation
/// selectors, fillers, line and paragraph separators. All that HFS+ ignores in names is among them.
pub fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
}

/// Takes off a name what some file system does not see in it.
fn undisguised(name: &str) -> String {
    let name = name.split(':').next().unwrap_or_default();
    let seen: String = name.chars().filter(|c| !is_invisible(*c)).collect();
    UniCase::unicode(seen.trim_end_matches(['.', ' '])).to_folded_case()
}

/// Returns what stands before `~` and digits.
fn short_name(name: &str) -> Option<&str> {
    let (stem, number) = name.split_once('~')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(stem)
}

fn check_attributes(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > ATTRIBUTES_MAX {
        return Err(format!("it has {} bytes, at most {ATTRIBUTES_MAX} are allowed", bytes.len()));
    }
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.len() >= ATTRIBUTES_LINE_MAX {
            return Err(format!("line {} has {} bytes, fewer than {ATTRIBUTES_LINE_MAX} are allowed", index + 1, line.len()));
        }
    }
    Ok(())
}

fn check_modules(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() >= MODULES_MAX {
        return Err(format!("it has {} bytes, fewer than {MODULES_MAX} are allowed", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut in_section = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let line = line.strip_suffix("\r\n").or(line.strip_suffix('\n')).unwrap_or(line);
        check_modules_line(line, &mut in_section).map_err(|why| format!("line {}: {why}", index + 1))?;
    }
    Ok(())
}

fn check_modules_line(line: &str, in_section: &mut bool) -> Result<(), String> {
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err("it has a control character".into());
    }
    let line = line.trim_matches([' ', '\t']);
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(());
    }
    if line.starts_with('[') {
        let name = line
            .strip_prefix("[submodule \"")
            .and_then(|rest| rest.strip_suffix("\"]"))
            .ok_or_else(|| format!("{line:?} is not of the form `[submodule \"name\"]`"))?;
        *in_section = true;
        return check_submodule_name(name).map_err(|why| format!("the name {name:?} {why}"));
    }
    if !*in_section {
        return Err(format!("{line:?} stands before the first `[submodule \"name\"]`"));
    }
    let (key, value) = line.split_once('=').ok_or_else(|| format!("{line:?} is not of the form `key = value`"))?;
    let (key, value) = (key.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
    if !key.starts_with(|c: char| c.is_ascii_alphabetic()) || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(format!("{key:?} is not a key"));
    }
    check_submodule_value(&key.to_ascii_lowercase(), value).map_err(|why| format!("the {key} {value:?} {why}"))
}

fn check_submodule_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is empty");
    }
    if name.contains(['"', '\\', '\t']) {
        return Err("has a quote, backslash or tab");
    }
    if name.split('/').any(|component| component == "..") {
        return Err("has a component `..`");
    }
    Ok(())
}

fn check_submodule_value(key: &str, value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("is empty");
    }
    if value.contains(['"', '\\', '#', ';', '\t']) {
        return Err("has a quote, backslash, `#`, `;` or tab");
    }
    if value.starts_with('-') {
        return Err("could be taken for an option");
    }
    let one_of = |words: &[&str]| {
        if words.contains(&value) { Ok(()) } else { Err("is not one of the words that git knows") }
    };
    match key {
        "url" => check_submodule_url(value),
        "path" if value.starts_with('/') || value.split('/').any(|component| component == "..") => {
            Err("leads out of the repository")
        }
        // A value that begins with `!` is a command.
        "update" => one_of(&["checkout", "rebase", "merge", "none"]),
        "ignore" => one_of(&["all", "dirty", "untracked", "none"]),
        "shallow" => one_of(&["true", "false"]),
        "fetchrecursesubmodules" => one_of(&["true", "false", "on-demand"]),
        _ => Ok(()),
    }
}

fn check_submodule_url(url: &str) -> Result<(), &'static str> {
    if !url.bytes().all(|b| b.is_ascii_graphic() && !b"<>^`{|}?".contains(&b)) {
        return Err("has a character that does not belong in a plain URL");
    }
    if url.contains("::") {
        return Err("names a remote helper");
    }
    // What a URL hides behind percent signs comes out again when git, curl or a server decodes it.
    for escape in url.split('%').skip(1) {
        let decoded = escape.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if !decoded.is_some_and(|b| b >= b' ' && b != 0x7f && !b"./\\:@%".contains(&b)) {
            return Err("has a percent sign that hides a control character or a separator");
        }
    }
    let climbs = |path: &str| path.split('/').any(|component| component == "..");
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if climbs(path) {
            return Err("has a component `..`");
        }
        return match scheme {
            "file" if authority.is_empty() => Ok(()),
            "http" | "https" | "ftp" | "ftps" | "git" | "ssh" | "git+ssh" | "ssh+git" => check_authority(authority),
            _ => Err("has a scheme other than https, http, ssh, git, ftp, ftps or file"),
        };
    }
    if url.starts_with("./") || url.starts_with("../") {
        let mut rest = url;
        while let Some(below) = rest.strip_prefix("./").or(rest.strip_prefix("../")) {
            rest = below;
        }
        // `../../:evil` and `..//evil` would replace the host of the URL that they are relative to.
        if rest.starts_with(['/', ':']) || climbs(rest) {
            return Err("climbs out of what it is relative to");
        }
        return Ok(());
    }
    if url == "." || url == ".." || url.contains("@-") || url.starts_with(':') {
        return Err("is not a place that git fetches from");
    }
    Ok(())
}

/// Checks `[user@]host[:port]`.
fn check_authority(authority: &str) -> Result<(), &'static str> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (host, None),
    };
    let plain = |text: &str, more: &[u8]| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    if !user.is_none_or(|user| plain(user, b"._~+-")) {
        return Err("has a user other than letters, digits and `._~+-`");
    }
    if !plain(host, b".-_") {
        return Err("has a host other than letters, digits and `.-_`");
    }
    // `parse` would take a plus sign.
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if !port.is_none_or(is_port) {
        return Err("has a port other than 1 to 65535");
    }
    Ok(())
}

/// The installed git, in a repository of its own, as a second opinion.
#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests ask the real git; the program is run from one file elsewhere.
pub(crate) mod stock_git {
    use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
    use std::ffi::OsStr;
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use tempfile::TempDir;

    pub(crate) struct StockGit {
        folder: TempDir,
    }

    impl StockGit {
        pub(crate) fn new(format: ObjectFormat) -> Self {
            let git = StockGit { folder: TempDir::new().unwrap() };
            git.run(["init", "-q", "--object-format", format.as_str(), "repository"], b"");
            git
        }

        /// Runs git in the repository and returns what it printed; a status other than 0 is a failed test.
        pub(crate) fn run<A: AsRef<OsStr> + std::fmt::Debug>(&self, args: impl IntoIterator<Item = A>, stdin: &[u8]) -> String {
            let (ok, printed) = self.try_run(args, stdin);
            assert!(ok, "git failed: {printed}");
            printed
        }

        fn try_run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, stdin: &[u8]) -> (bool, String) {
            let repository = self.folder.path().join("repository");
            let mut child = Command::new("git")
                .args(args)
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap())
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("HOME", self.folder.path())
                .env("LC_ALL", "C")
                .current_dir(if repository.exists() { &repository } else { self.folder.path() })
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut pipe = child.stdin.take().unwrap();
            let output = std::thread::scope(|scope| {
                // Git prints while it reads: one thread for both would wait for itself.
                scope.spawn(move || pipe.write_all(stdin));
                child.wait_with_output().unwrap()
            });
            let printed = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
        }

        /// Writes objects of one kind, unchecked, and returns their ids.
        pub(crate) fn put(&self, kind: ObjectKind, objects: &[&[u8]]) -> Vec<GitId> {
            let mut places = String::new();
            for (number, bytes) in objects.iter().enumerate() {
                let place = self.folder.path().join(number.to_string());
                std::fs::write(&place, bytes).unwrap();
                places += &format!("{}\n", place.display());
            }
            let args = ["hash-object", "-t", kind.as_str(), "-w", "--no-filters", "--literally", "--stdin-paths"];
            self.run(args, places.as_bytes()).lines().map(|id| id.parse().unwrap()).collect()
        }

        /// Returns what `git fsck --strict` has to say about the objects: nothing is well.
        pub(crate) fn fsck(&self) -> String {
            let (_, printed) = self.try_run(["fsck", "--strict", "--no-dangling", "--no-progress"], b"");
            printed.lines().filter(|line| !line.starts_with("notice:")).map(|line| format!("{line}\n")).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::stock_git::StockGit;
    use super::*;
    use crate::model::digest::{GitId, ObjectFormat, ObjectKind};
    use crate::model::tree::{Entry, Mode, Tree};
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    /// Writes each blob, and a tree that holds it under this name.
    fn put_named(git: &StockGit, named: &[(String, Vec<u8>)]) -> Vec<GitId> {
        let blobs: Vec<&[u8]> = named.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let blobs = git.put(ObjectKind::Blob, &blobs);
        let trees: Vec<Vec<u8>> = named
            .iter()
            .zip(&blobs)
            .map(|((name, _), id)| {
                let entry = Entry { name: name.clone(), mode: Mode::File, id: *id };
                Tree::new(vec![entry]).unwrap().to_bytes()
            })
            .collect();
        git.put(ObjectKind::Tree, &trees.iter().map(Vec::as_slice).collect::<Vec<_>>());
        blobs
    }

    fn modules(line: &str) -> String {
        format!("[submodule \"a\"]\n\t{line}\n")
    }

    fn sample<S: Strategy>(strategy: &S, number: usize) -> Vec<S::Value> {
        let mut runner = TestRunner::deterministic();
        (0..number).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
    }

    #[test]
    fn names_are_known_under_their_disguises() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~1",
            "git~2",
            "git~12",
            ".git.",
            ".git ",
            ".git . .",
            ".git:x",
            ".git::$INDEX_ALLOCATION",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".git\u{200f}",
            "gi12ab~1",
            "GIFFFF~4",
        ] {
            assert!(is_dot_git(name), "{name:?}");
        }
        for name in [".gitignore", "git", "git~", "git~x", "gi7eba~1", "GI7D29~1", ".git2", "agit~1", ".github", "giants~1"] {
            assert!(!is_dot_git(name), "{name:?}");
        }
        for (file, names) in [
            (
                GitFile::Modules,
                [
                    ".gitmodules",
                    ".GitModules",
                    "GITMOD~1",
                    "gitmod~4",
                    "GI7EBA~1",
                    "gi7eb~10",
                    "~1234567",
                    ".gitmodules. .",
                    ".gitmodules:x",
                ],
            ),
            (
                GitFile::Attributes,
                [
                    ".gitattributes",
                    ".GITATTRIBUTES",
                    "gitatt~1",
                    "GITATT~4",
                    "gi7d29~1",
                    "GI7D2~10",
                    "~1234567",
                    ".gitattributes ",
                    ".git\u{200d}attributes",
                ],
            ),
        ] {
            for name in names {
                assert!(file.is_named(name), "{name:?}");
            }
            for name in ["gitmodules", "gitattributes", ".gitignore", "gi7eba", "gi250a~1", "notes~1", "~1"] {
                assert!(!file.is_named(name), "{name:?}");
            }
        }
    }

    #[test]
    fn what_git_takes_for_gitmodules_is_known() {
        let base = prop::sample::select(vec![
            ".gitmodules",
            ".gitmodule",
            "gitmodules",
            "gitmod~1",
            "gitmod~4",
            "gitmod~5",
            "gi7eba~1",
            "gi7eba~9",
            "gi7eb~10",
            "gi7e~123",
            "g~123456",
            "~1234567",
            "~0234567",
            "gi7eba~0",
            ".gitattributes",
            "gitatt~1",
            "gitmo~1",
            "gitmodu~1",
        ]);
        let change = (
            0..14usize,
            prop::sample::select(vec!["", "X", ".", " ", ":", ":x", "\u{200c}", "\u{feff}", "\u{17f}", "~", "1", "a", "é"]),
        );
        let names = (base, prop::collection::vec(change, 0..3)).prop_map(|(base, changes)| {
            let mut name: Vec<String> = base.chars().map(String::from).collect();
            for (place, change) in changes {
                let place = place % (name.len() + 1);
                match change {
                    "X" if place < name.len() => name[place] = name[place].to_uppercase(),
                    change => name.insert(place, change.to_owned()),
                }
            }
            name.concat()
        });
        let unnamed: Vec<(String, Vec<u8>)> = sample(&names, 1500)
            .into_iter()
            .filter(|name| !GitFile::Modules.is_named(name))
            .map(|name| (name, b"[submodule \"../x\"]\nurl = -x\n".to_vec()))
            .collect();
        assert!(unnamed.len() > 300);
        let git = StockGit::new(ObjectFormat::Sha1);
        put_named(&git, &unnamed);
        let blob_faults: Vec<String> = git.fsck().lines().filter(|line| line.contains("blob")).map(str::to_owned).collect();
        assert_eq!(blob_faults, Vec::<String>::new(), "git takes one of the names for .gitmodules");
        // So that silence means something.
        put_named(&git, &[("gi7eb~10".into(), b"[submodule \"../x\"]\nurl = x\n".to_vec())]);
        assert!(git.fsck().contains("gitmodulesName"));
    }

    #[test]
    fn a_gitmodules_is_plain_or_refused() {
        let good = [
            "",
            "\n\n# a comment\n; another \\ \"\n",
            "[submodule \"a\"]",
            "[submodule \"vendor/a b\"]\r\n\tpath = vendor/a b\r\n\turl=https://git.example/a.git\r\n",
            "[submodule \"a\"]\n[submodule \"a\"]\n  PATH = x\n",
        ];
        for text in good {
            assert_eq!(GitFile::Modules.check(text.as_bytes()), Ok(()), "{text:?}");
        }
        let bad = [
            "path = x\n",
            "[core]\n\tpath = x\n",
            "[submodule]\n",
            "[submodule.a]\n",
            "[submodule \"a\"\n",
            "[submodule \"a\"] path = x\n",
            "[submodule \"\"]\n",
            "[submodule \"..\"]\n",
            "[submodule \"a/../b\"]\n",
            "[submodule \"a\\\\..\"]\n",
            "[submodule \"a\\\"b\"]\n",
            "\u{feff}[submodule \"a\"]\n",
            "[submodule \"a\"]\n\tpath\n",
            "[submodule \"a\"]\n\tpath = x\0\n",
            "[submodule \"a\"]\n\tpath = x\ry\n",
        ];
        for text in bad {
            assert!(GitFile::Modules.check(text.as_bytes()).is_err(), "{text:?}");
        }
        for line in [
            "url = https://git.example/a.git",
            "url = http://git.example:8080/~al/a%20.git",
            "url = ssh://git@git.example/a",
            "url = git@git.example:a/b.git",
            "url = ../a.git",
            "url = ./../../a/b.git",
            "url = /srv/git/a.git",
            "url = file:///srv/git/a.git",
            "update = rebase",
            "branch = .",
            "shallow = true",
            "ignore = dirty",
            "fetchRecurseSubmodules = on-demand",
            "own-key = 1",
            "path = a b",
        ] {
            assert_eq!(GitFile::Modules.check(modules(line).as_bytes()), Ok(()), "{line}");
        }
        for line in [
            "url = -oProxyCommand=x",
            "url = ext::sh -c x",
            "url = ext::sh",
            "url = http::git.example/a",
            "url = ../../:x",
            "url = ..//x",
            "url = .//../:x",
            "url = ../a/../../x",
            "url = ../a%0ab",
            "url = ../a%0Ab",
            "url = git://git.example/a%0ahost=x",
            "url = https://git.example/a%0a",
            "url = https://git.example/%2e%2e/a",
            "url = https://git.example/../a",
            "url = https:///a",
            "url = https://-x/a",
            "url = https://git.example:0/a",
            "url = https://git.example:99999/a",
            "url = https://git.example:+1/a",
            "url = https://al:secret@git.example/a",
            "url = ssh://-oProxyCommand=x/a",
            "url = git@-oProxyCommand=x:a",
            "url = javascript://x/a",
            "url = file://host/a",
            "url = https://git.example/%",
            "url = https://git.example/%zz",
            "url = \"https://git.example/a\"",
            "url = https://git.example/é",
            "url =",
            "url",
            "path = -x",
            "path = ../x",
            "path = /x",
            "path = a\\",
            "update = !rm -rf /",
            "update = x",
            "shallow = perhaps",
            "ignore = x",
            "branch = -x",
            "a key = x",
            "1key = x",
        ] {
            assert!(GitFile::Modules.check(modules(line).as_bytes()).is_err(), "{line}");
        }
        let comment = "#".repeat(MODULES_MAX - 1);
        assert!(GitFile::Modules.check(comment.as_bytes()).is_ok());
        assert!(GitFile::Modules.check(format!("{comment}#").as_bytes()).is_err());
        assert!(GitFile::Modules.check(b"# \xff\n").is_err());
    }

    #[test]
    fn git_accepts_every_gitmodules_that_is_accepted_here() {
        let name = prop::sample::select(vec!["a", "a/b", "a..b", "..", "../a", "a/..", "...", "a b", "-a", "a\\..", "", "é"]);
        let piece = prop::sample::select(vec![
            "https://",
            "http://",
            "HTTP://",
            "git://",
            "ssh://",
            "file://",
            "ftp://",
            "ext::",
            "http::",
            "://",
            "./",
            "../",
            "..",
            ".",
            "/",
            "//",
            "@",
            ":",
            "-",
            "%0a",
            "%0A",
            "%2f",
            "%41",
            "%",
            "git.example",
            "a.git",
            "user",
            "22",
            "?",
            "#",
            "é",
            " ",
            "~",
            "[::1]",
            "a",
            "_",
            "\\",
            "\"",
            "!",
        ]);
        let value = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
        let key = prop::sample::select(vec!["url", "URL", "path", "update", "branch", "shallow", "ignore", "x"]);
        let word = prop::sample::select(vec!["!x", "none", "checkout", "true", "-x", "all"]).prop_map(str::to_owned);
        let gap = prop::sample::select(vec![" = ", "=", "\t=\t", " "]);
        let line = (key, gap, prop_oneof![4 => value, 1 => word]).prop_map(|(key, gap, value)| format!("\t{key}{gap}{value}\n"));
        let end = prop::sample::select(vec!["\n", "\r\n", "\n\n# c\n", "\n  ; c \"\n"]);
        let section = (name, end, prop::collection::vec(line, 0..3))
            .prop_map(|(name, end, lines)| format!("[submodule \"{name}\"]{end}{}", lines.concat()));
        let file = prop::collection::vec(section, 1..3).prop_map(|sections| sections.concat());
        let (accepted, refused): (Vec<String>, Vec<String>) =
            sample(&file, 3000).into_iter().partition(|text| GitFile::Modules.check(text.as_bytes()).is_ok());
        assert!(accepted.len() > 300, "{}", accepted.len());
        let named =
            |texts: Vec<String>| texts.into_iter().map(|text| (".gitmodules".to_owned(), text.into_bytes())).collect::<Vec<_>>();
        let git = StockGit::new(ObjectFormat::Sha1);
        put_named(&git, &named(accepted));
        assert_eq!(git.fsck(), "");
        put_named(&git, &named(refused));
        assert!(git.fsck().lines().count() > 100, "the samples do not come near what git refuses");
    }

    #[test]
    fn lines_of_a_gitattributes_are_as_long_as_git_reads_them() {
        let git = StockGit::new(ObjectFormat::Sha1);
        let longest = format!("# short\n{}\n", "a".repeat(ATTRIBUTES_LINE_MAX - 1)).into_bytes();
        assert_eq!(GitFile::Attributes.check(&longest), Ok(()));
        put_named(&git, &[(".gitattributes".into(), longest)]);
        assert_eq!(git.fsck(), "");
        let longer = "a".repeat(ATTRIBUTES_LINE_MAX).into_bytes();
        assert!(GitFile::Attributes.check(&longer).is_err());
        put_named(&git, &[("gitatt~1".into(), longer)]);
        assert!(git.fsck().contains("gitattributesLineLength"));
        let lines = |number: usize| [vec![b'\n'; number - 1], vec![b'#']].concat();
        assert!(GitFile::Attributes.check(&lines(ATTRIBUTES_MAX)).is_ok());
        assert!(GitFile::Attributes.check(&lines(ATTRIBUTES_MAX + 1)).is_err());
    }
}
