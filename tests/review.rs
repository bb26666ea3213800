//! A registry in a browser: the pages that gitweb makes of it, set up as `docs/review.md` says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::path::{Path, PathBuf};
use support::{World, clean, run, skipped};

/// Where gitweb is on the systems that have it.
const PLACES: &[&str] = &["/usr/share/gitweb/gitweb.cgi", "/usr/lib/cgi-bin/gitweb.cgi", "/var/www/git/gitweb.cgi"];

/// Gitweb, run as a web server would run it.
struct Gitweb {
    program: PathBuf,
    config: PathBuf,
    home: PathBuf,
}

impl Gitweb {
    /// Sets it up for the repositories in a folder. `None` where it is not installed; the test says so.
    fn find(world: &World) -> Option<Self> {
        let Some(program) = PLACES.iter().map(PathBuf::from).find(|place| place.is_file()) else {
            skipped("gitweb is not installed, and no page was made of a registry");
            return None;
        };
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/review.md")).unwrap();
        let config =
            text.split("```perl\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the document has a setting");
        assert!(config.contains("\"/srv/git\""), "{config}");
        let config = world.write("gitweb.conf", &config.replace("/srv/git", &world.at("git")));
        Some(Gitweb { program, config, home: world.root() })
    }

    /// Returns the status and the text of a page, without its markup.
    fn page(&self, query: &str) -> (u16, String) {
        let mut cgi = clean("perl", &self.home);
        cgi.arg(&self.program).env("GITWEB_CONFIG", &self.config).env("QUERY_STRING", query);
        for (name, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/"),
            ("SCRIPT_NAME", "/"),
            ("SERVER_NAME", "localhost"),
            ("SERVER_PORT", "80"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
        ] {
            cgi.env(name, value);
        }
        let said = run(&mut cgi).stdout;
        // A CGI that answers and says no status means 200.
        let silent = if said.contains("Content-Type: ") { 200 } else { 0 };
        let status = said.lines().find_map(|line| line.strip_prefix("Status: ")?.get(..3)?.parse().ok()).unwrap_or(silent);
        let mut text = String::new();
        let mut inside = false;
        for c in said.chars() {
            match c {
                '<' => inside = true,
                '>' => inside = false,
                _ if !inside => text.push(c),
                _ => {}
            }
        }
        (status, text.replace("&nbsp;", " ").replace("&quot;", "\""))
    }
}

#[test]
fn gitweb_shows_a_package_log_as_its_story() {
    for format in ["sha1", "sha256"] {
        let world = World::new();
        let Some(gitweb) = Gitweb::find(&world) else { return };
        let alice = world.person_with_key("alice");
        world.registry(&alice, "git/acme.git", "acme.example", format);
        for version in ["1.0.0", "1.1.0"] {
            alice.quipu(["publish", &world.package("hello", "demo:hello", version)]).ok();
        }
        alice.quipu(["yank", "demo:hello@1.0.0", "--reason", "it was hasty"]).ok();

        let shows = |query: &str, parts: &[&str]| {
            let (status, page) = gitweb.page(&format!("p=acme.git;{query}"));
            assert_eq!(status, 200, "{query}\n{page}");
            // Each after the one before.
            let mut rest = page.as_str();
            for part in parts {
                let at = rest.find(part).unwrap_or_else(|| panic!("{query}: {part} is not in\n{page}"));
                rest = &rest[at + part.len()..];
            }
        };
        let story = ["yank demo:hello 1.0.0", "release demo:hello 1.1.0", "release demo:hello 1.0.0", "init demo:hello"];
        shows("a=shortlog;h=refs/packages/demo/hello", &story);
        let records =
            ["kind = \"yank\"", "reason = \"it was hasty\"", "kind = \"release\"", "version = \"1.1.0\"", "kind = \"init\""];
        shows("a=log;h=refs/packages/demo/hello", &records);
        shows("a=heads", &["demo/hello (packages)"]);
        shows("a=heads", &["log (registry)"]);
        shows("a=tree;hb=refs/contents/demo/hello;f=1.1.0", &["quipu.toml"]);
        shows("a=blob_plain;hb=refs/contents/demo/hello;f=1.1.0/src/text", &["demo:hello 1.1.0"]);
        shows("a=shortlog;h=refs/registry/log", &["checkpoint 3: 1 package", "checkpoint 0: 0 packages"]);
        shows("a=commitdiff;h=refs/registry/log", &["kind = \"checkpoint\"", "packages/demo/hello", "Subproject commit"]);

        // What is not there is not shown.
        let (_, page) = gitweb.page("p=acme.git;a=shortlog;h=refs/packages/demo/nothing");
        assert!(!page.contains("init demo:"), "{page}");
        assert_ne!(gitweb.page("p=other.git;a=summary").0, 200);
    }
}
