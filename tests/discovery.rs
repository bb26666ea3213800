//! A registry is looked for by its name: at the domain, and in the file at the domain's well-known place. Over https, through a proxy, all of it
//! on the loopback interface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use quipu::git::program::Environment;
use quipu::git::{transport, web};
use quipu::model::error::{Error, ErrorCode};
use quipu::replica::discovery::{self, Looking};
use std::time::{Duration, Instant};
use support::web::{Host, Web};
use support::{Person, World, git};

const DOMAIN: &str = "acme.example";
const PLACE: &str = "/.well-known/quipu.toml";

/// A registry on a machine that serves it at git.acme.example, and Bob, who knows a web in which acme.example has an address.
struct Scene {
    world: World,
    web: Web,
    alice: Person,
    bob: Person,
    id: String,
}

impl Scene {
    fn new() -> Option<Self> {
        let world = World::new();
        let web = Web::start(&world.path("web"))?;
        let alice = world.person_with_key("alice");
        let id = world.registry(&alice, "served/reg.git", DOMAIN, "sha1");
        alice.quipu(["publish", &world.package("hello", "demo:hello", "1.0.0")]).ok();
        web.host("git.acme.example", Host::default().with_repositories(world.path("served")));
        web.host(DOMAIN, Host::default());
        let bob = world.person("bob").with("https_proxy", web.proxy()).with("GIT_SSL_CAINFO", web.certificate());
        Some(Scene { world, web, alice, bob, id })
    }

    /// Returns the file that `registry well-known` prints.
    fn file(&self) -> String {
        let registry = self.world.at("served/reg.git");
        self.alice.quipu(["registry", "well-known", &registry, "https://git.acme.example/reg.git"]).ok().stdout
    }

    /// Puts a file at the well-known place, and nothing else at the domain.
    fn put(&self, text: impl Into<Vec<u8>>) {
        self.web.host(DOMAIN, Host::default().with_file(PLACE, text));
    }

    fn at_root(&self) -> Host {
        Host::default().with_repositories(self.world.path("served/reg.git"))
    }

    /// Looks for the registry without trusting it: the honest twin of each attack.
    #[track_caller]
    fn is_found_at(&self, url: &str) {
        let message = self.bob.quipu(["trust", "add", DOMAIN, "--json"]).fails(5, "not-trusted");
        assert!(message.contains(&format!("quipu trust add {DOMAIN} {url} --id {}", self.id)), "{message}");
    }

    /// Returns what Bob's programs inherit, where the library is asked and not the program.
    fn environment(&self) -> Environment {
        let variables = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", self.world.at("homes/bob")),
            ("https_proxy", self.web.proxy()),
            ("GIT_SSL_CAINFO", self.web.certificate()),
        ];
        Environment::new(variables.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[track_caller]
    fn is_refused(&self, status: i32, code: &str) -> String {
        let message = self.bob.quipu(["trust", "add", DOMAIN, "--yes", "--json"]).fails(status, code);
        assert_eq!(self.bob.asks(["trust", "list"])["registries"].as_array().map(Vec::len), Some(0));
        message
    }
}

/// Begins a test; where there is no openssl it ends here, and says so.
macro_rules! scene {
    () => {
        match Scene::new() {
            Some(scene) => scene,
            None => return,
        }
    };
}

#[test]
fn a_registry_is_found_at_its_domain_and_trusted_once_somebody_says_so() {
    let scene = scene!();
    scene.web.host(DOMAIN, scene.at_root());
    scene.is_found_at("https://acme.example/");
    let shown = scene.bob.quipu(["trust", "add", DOMAIN, "--yes"]).ok().stdout;
    for part in [
        "url          https://acme.example/\n",
        "found at     https://acme.example/\n",
        "operators    alice\n",
        "since  ",
        &scene.id,
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    scene.bob.quipu(["get", "acme.example/demo:hello", "--to", &scene.world.at("got")]).ok();
    support::folders::assert_same(&scene.world.path("got"), &scene.world.path("hello"));
    // Once more, and it is still the same.
    assert!(scene.bob.quipu(["trust", "add", DOMAIN]).ok().stdout.starts_with("still trust"));
}

#[test]
fn a_registry_is_found_by_the_file_at_the_well_known_place() {
    let scene = scene!();
    scene.put(scene.file());
    scene.is_found_at("https://git.acme.example/reg.git");
    let mut asked = scene.web.asked();
    asked.sort();
    assert!(asked.contains(&format!("acme.example {PLACE}")), "{asked:?}");
    assert!(asked.contains(&"acme.example /info/refs?service=git-upload-pack".to_owned()), "{asked:?}");
    // Trying it out changes nothing.
    scene.bob.quipu(["trust", "add", DOMAIN, "--id", &scene.id, "--dry-run"]).ok();
    assert_eq!(scene.bob.asks(["trust", "list"])["registries"].as_array().map(Vec::len), Some(0));
    let other = format!("sha256:{}", "0".repeat(64));
    scene.bob.quipu(["trust", "add", DOMAIN, "--id", &other, "--json"]).fails(5, "id-mismatch");
    let added = scene.bob.asks(["trust", "add", DOMAIN, "--id", &scene.id]);
    assert_eq!(added["url"], "https://git.acme.example/reg.git");
    assert_eq!(added["found-at"], "https://acme.example/.well-known/quipu.toml");
    scene.bob.quipu(["get", "acme.example/demo:hello", "--to", &scene.world.at("got")]).ok();
    let schema: serde_json::Value = serde_json::from_str(include_str!("../docs/json/trust.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap().validate(&added).unwrap();
}

#[test]
fn the_repository_at_the_domain_goes_before_the_file_and_both_agree() {
    let scene = scene!();
    scene.web.host(DOMAIN, scene.at_root().with_file(PLACE, scene.file()));
    scene.is_found_at("https://acme.example/");
    // A file that names another id contradicts the repository, whichever of the two is right.
    let other = format!("sha256:{}", "0".repeat(64));
    scene.web.host(DOMAIN, scene.at_root().with_file(PLACE, scene.file().replace(&scene.id, &other)));
    let message = scene.is_refused(5, "id-mismatch");
    assert!(message.contains(&scene.id) && message.contains(&other) && message.contains(PLACE), "{message}");
}

#[test]
fn an_id_that_is_not_the_repositorys_is_refused_with_both() {
    let scene = scene!();
    let other = format!("sha256:{}", "0".repeat(64));
    scene.put(scene.file().replace(&scene.id, &other));
    let message = scene.is_refused(5, "id-mismatch");
    assert!(message.contains(&scene.id) && message.contains(&other), "{message}");
    // Nor does it help to say the file's id.
    scene.bob.quipu(["trust", "add", DOMAIN, "--id", &other, "--json"]).fails(5, "id-mismatch");
    scene.put(scene.file());
    scene.is_found_at("https://git.acme.example/reg.git");
}

#[test]
fn a_file_that_is_not_exactly_of_its_format_is_refused() {
    let scene = scene!();
    let good = scene.file();
    let with_url = |url: &str| good.replace("https://git.acme.example/reg.git", url);
    let trap = scene.world.at("trap");
    for (text, status, code) in [
        (format!("{good}#{}\n", "x".repeat(20_000)), 4, "limit"),
        ("<!doctype html><title>Acme</title>".to_owned(), 7, "bad-well-known"),
        (String::new(), 7, "bad-well-known"),
        (format!("{good}operators = [\"mallory\"]\n"), 7, "bad-well-known"),
        (good.replace("quipu = 1", "quipu = 2"), 4, "unsupported-format"),
        (good.replace("registry = \"acme", "registry = \"other"), 4, "wrong-registry"),
        (with_url(&format!("ext::touch {trap}")), 7, "bad-well-known"),
        (with_url(&format!("file://{}", scene.world.at("served/reg.git"))), 7, "bad-well-known"),
        (with_url(&scene.world.at("served/reg.git")), 7, "bad-well-known"),
        (with_url(&format!("--upload-pack=touch {trap}")), 7, "bad-well-known"),
        (with_url("http://git.acme.example/reg.git"), 7, "bad-well-known"),
        (with_url("https://bob:secret@git.acme.example/reg.git"), 7, "bad-well-known"),
    ] {
        scene.put(text.clone());
        scene.web.asked();
        let message = scene.is_refused(status, code);
        assert!(message.contains(PLACE) && !message.contains("secret"), "{message}");
        assert!(!scene.web.asked().iter().any(|line| line.starts_with("git.acme.example")), "{text}");
        assert!(!scene.world.path("trap").exists());
    }
    scene.put(good);
    scene.is_found_at("https://git.acme.example/reg.git");
}

#[test]
fn an_answer_that_never_ends_is_cut_off() {
    let scene = scene!();
    let domain = DOMAIN.parse().unwrap();
    // Only a limit ends this, or the end of patience.
    let looking = Looking { patience: Duration::from_secs(300), environment: scene.environment() };
    scene.web.host(DOMAIN, Host::endless());
    let started = Instant::now();
    assert_eq!(discovery::look(&domain, &looking).unwrap_err().code(), ErrorCode::Limit);
    // Each of the two places has its own.
    let (root, place) = (format!("https://{DOMAIN}/"), format!("https://{DOMAIN}{PLACE}"));
    let references = "refs/registry/operators".parse().unwrap();
    let error =
        transport::has_reference(&root.parse().unwrap(), &references, looking.patience, &looking.environment).unwrap_err();
    assert_eq!((error.code(), error.message().contains("list of references")), (ErrorCode::Limit, true), "{error}");
    let error = web::get(&place.parse().unwrap(), discovery::SIZE_MAX, looking.patience, &looking.environment).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Limit);
    assert!(started.elapsed() < looking.patience);
    // The same that end are found.
    scene.web.host(DOMAIN, scene.at_root().with_file(PLACE, scene.file()));
    assert!(discovery::look(&domain, &looking).unwrap().file.is_some());
}

#[test]
fn redirects_are_not_followed() {
    let scene = scene!();
    scene.web.host("other.example", scene.at_root().with_file(PLACE, scene.file()));
    let away = |path: &str| format!("Location: https://other.example{path}\r\n");
    let host = |headers: [&str; 2]| {
        let host = Host::default().with_answer(PLACE, "302 Found", headers[0], "");
        host.with_answer("/info/refs", "301 Moved Permanently", headers[1], "")
    };
    scene.web.host(DOMAIN, host([&away(PLACE), &away("/info/refs?service=git-upload-pack")]));
    let message = scene.is_refused(3, "not-found");
    assert!(message.contains("redirects to \"https://other.example/.well-known/quipu.toml\""), "{message}");
    assert!(!scene.web.asked().iter().any(|line| line.starts_with("other.example")));
    // Without them, the same is found.
    scene.web.host(DOMAIN, scene.at_root().with_file(PLACE, scene.file()));
    scene.is_found_at("https://acme.example/");
}

#[test]
fn a_repository_of_another_name_is_not_the_domains() {
    let scene = scene!();
    scene.world.registry(&scene.world.person_with_key("mallory"), "served/other.git", "other.example", "sha256");
    scene.web.host(DOMAIN, Host::default().with_repositories(scene.world.path("served/other.git")));
    let message = scene.is_refused(4, "wrong-registry");
    assert!(message.contains("quipu trust add other.example https://acme.example/"), "{message}");
    scene.web.host(DOMAIN, scene.at_root());
    scene.is_found_at("https://acme.example/");
}

#[test]
fn where_nothing_is_found_it_is_said_what_was_tried() {
    let scene = scene!();
    let both = |message: &str| {
        for part in [
            "repository at https://acme.example/",
            "https://acme.example/.well-known/quipu.toml",
            "quipu trust add acme.example URL",
        ] {
            assert!(message.contains(part), "{part}\n{message}");
        }
    };
    both(&scene.is_refused(3, "not-found"));
    // A web site that answers everything with a page; the page is no file of ours.
    let page = "<!doctype html>";
    scene.web.host(DOMAIN, Host::default().with_file("/info/refs", page));
    both(&scene.is_refused(3, "not-found"));
    // A repository that is none of ours.
    git(&scene.world.root(), ["init", "-q", "--bare", "plain.git"]).ok();
    scene.web.host(DOMAIN, Host::default().with_repositories(scene.world.path("plain.git")));
    both(&scene.is_refused(3, "not-found"));
    // The file is there, and the repository that it names is not.
    scene.put(scene.file().replace("reg.git", "gone.git"));
    let message = scene.is_refused(3, "not-found");
    assert!(message.contains("https://git.acme.example/gone.git"), "{message}");
    // A second URL serves where the first one is gone.
    let urls = ["https://git.acme.example/gone.git", "https://git.acme.example/reg.git"];
    let registry = scene.world.at("served/reg.git");
    scene.put(scene.alice.quipu(["registry", "well-known", &registry].into_iter().chain(urls)).ok().stdout);
    scene.is_found_at(urls[1]);
}

#[test]
fn a_name_that_does_not_resolve_is_not_found() {
    let world = World::new();
    let bob = world.person("bob");
    let message = bob.quipu(["trust", "add", "registry.invalid", "--json"]).fails(3, "not-found");
    assert!(
        message.contains("https://registry.invalid/ is nowhere") && message.contains("quipu trust add registry.invalid URL"),
        "{message}"
    );
}

#[test]
fn without_the_network_nothing_is_looked_for() {
    let scene = scene!();
    scene.web.host(DOMAIN, scene.at_root());
    let message = scene.bob.quipu(["trust", "add", DOMAIN, "--offline", "--json"]).fails(7, "network");
    assert!(message.contains("--offline"), "{message}");
    assert_eq!(scene.web.asked(), [] as [&str; 0]);
    scene.is_found_at("https://acme.example/");
}

#[test]
fn proxy_and_certificates_may_stand_in_the_configuration_of_git() {
    let scene = scene!();
    scene.put(scene.file());
    let carol = scene.world.person("carol");
    let config = format!("[http]\n proxy = {}\n sslCAInfo = {}\n", scene.web.proxy(), scene.web.certificate());
    scene.world.write("homes/carol/.gitconfig", &config);
    carol.quipu(["trust", "add", DOMAIN, "--id", &scene.id]).ok();
    // Whoever does not know the certificate is not let through.
    let dave = scene.world.person("dave").with("https_proxy", scene.web.proxy());
    dave.quipu(["trust", "add", DOMAIN, "--id", &scene.id, "--json"]).fails(7, "network");
}

#[test]
fn without_curl_the_repository_at_the_domain_is_still_found() {
    let scene = scene!();
    let programs = scene.world.path("bin");
    std::fs::create_dir_all(&programs).unwrap();
    let git =
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|folder| folder.join("git")).find(|git| git.is_file());
    std::os::unix::fs::symlink(git.unwrap(), programs.join("git")).unwrap();
    let bob = scene.bob.with("PATH", &programs);
    scene.put(scene.file());
    let message = bob.quipu(["trust", "add", DOMAIN, "--yes", "--json"]).fails(7, "network");
    assert!(message.contains("the program curl cannot be started") && message.contains("install curl"), "{message}");
    scene.web.host(DOMAIN, scene.at_root());
    bob.quipu(["trust", "add", DOMAIN, "--yes", "--json"]).ok();
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let scene = scene!();
    let looking = Looking { patience: Duration::from_secs(60), environment: scene.environment() };
    let hurried = Looking { patience: Duration::from_millis(300), ..looking.clone() };
    let domain = DOMAIN.parse().unwrap();
    scene.web.host(DOMAIN, Host::silent());
    let started = Instant::now();
    let error: Error = discovery::look(&domain, &hurried).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(error.code(), ErrorCode::Network);
    for part in ["https://acme.example/:", "https://acme.example/.well-known/quipu.toml cannot be reached"] {
        assert!(error.message().contains(part), "{error}");
    }
    // One that answers is found by the same means.
    scene.web.host(DOMAIN, scene.at_root());
    assert_eq!(discovery::look(&domain, &looking).unwrap().url.as_str(), "https://acme.example/");
}

#[test]
fn only_what_can_be_used_is_printed_for_the_well_known_place() {
    let scene = scene!();
    let registry = scene.world.at("served/reg.git");
    for url in ["http://acme.example/r", "git@acme.example:r", "./r", "https://acme.example"] {
        scene.alice.quipu(["registry", "well-known", &registry, url, "--json"]).fails(2, "bad-url");
    }
    let said = scene.alice.asks(["registry", "well-known", &registry, "https://acme.example/"]);
    assert_eq!((&said["place"], &said["id"]), (&format!("https://acme.example{PLACE}").into(), &scene.id.as_str().into()));
}
