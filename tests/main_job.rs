//! The main job on real input: every package that quipu itself is built from goes into one registry, from three owners, and comes out of
//! it as it was, over the network, for somebody who had nothing but its URL and its id.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::daemon::Daemon;
use support::{Outcome, Person, World, folders, git};

const DOMAIN: &str = "crates.example";

/// One package of Cargo.lock, as cargo has it on disk.
#[derive(Debug)]
struct Crate {
    /// `crates:toml-edit`
    name: String,
    version: semver::Version,
    build: Option<String>,
    source: PathBuf,
    description: Option<String>,
    license: Option<String>,
    links: Vec<String>,
    dependencies: BTreeMap<String, String>,
}

impl Crate {
    fn folder(&self) -> String {
        format!("{}-{}", self.name.trim_start_matches("crates:"), self.version)
    }

    fn manifest(&self) -> String {
        let mut package = toml::Table::new();
        let mut set = |key: &str, value: Option<&String>| {
            if let Some(value) = value {
                package.insert(key.into(), value.clone().into());
            }
        };
        set("name", Some(&self.name));
        set("version", Some(&self.version.to_string()));
        set("build", self.build.as_ref());
        set("description", self.description.as_ref());
        set("license", self.license.as_ref());
        package.insert("links".into(), self.links.clone().into());
        let dependencies: toml::Table =
            self.dependencies.iter().map(|(name, requirement)| (name.clone(), requirement.clone().into())).collect();
        let mut manifest = toml::Table::new();
        manifest.insert("package".into(), package.into());
        manifest.insert("dependencies".into(), dependencies.into());
        toml::to_string(&manifest).unwrap()
    }
}

fn name_of(krate: &str) -> String {
    format!("crates:{}", krate.replace('_', "-"))
}

/// Asks cargo where the sources of all packages in Cargo.lock are, whatever platform needs them; fetches them only where they are missing.
fn crates() -> Vec<Crate> {
    let cargo = |args: &[&str]| Command::new(env!("CARGO")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let ask = || cargo(&["metadata", "--offline", "--locked", "--format-version", "1"]);
    let mut output = ask();
    if !output.status.success() {
        assert!(cargo(&["fetch", "--locked"]).status.success());
        output = ask();
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut found: Vec<Crate> = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        if package["source"].is_null() {
            continue;
        }
        let mut version: semver::Version = package["version"].as_str().unwrap().parse().unwrap();
        let build = (!version.build.is_empty()).then(|| version.build.to_string());
        version.build = semver::BuildMetadata::EMPTY;
        let mut dependencies = BTreeMap::new();
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["kind"] != "dev" {
                dependencies
                    .entry(name_of(dependency["name"].as_str().unwrap()))
                    .or_insert_with(|| text(&dependency["req"]).unwrap());
            }
        }
        found.push(Crate {
            name: name_of(package["name"].as_str().unwrap()),
            version,
            build,
            source: Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned(),
            description: text(&package["description"]),
            license: text(&package["license"]).map(|license| license.replace('/', " OR ")),
            links: ["homepage", "repository", "documentation"].iter().filter_map(|key| text(&package[*key])).collect(),
            dependencies,
        });
    }
    found.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    found
}

/// Reads the same from Cargo.lock itself, so that nothing is left out silently.
fn locked() -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let lock: toml::Table = text.parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let packages = packages.filter(|package| package.get("source").is_some());
    packages
        .map(|package| {
            let version = package["version"].as_str().unwrap();
            let version = version.split_once('+').map_or(version, |(version, _)| version);
            (name_of(package["name"].as_str().unwrap()), version.to_owned())
        })
        .collect()
}

/// Runs `work` on all items, on as many threads as there are processors.
fn on_all<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

/// Says how long a part of the test took; seen with `--no-capture`.
struct Clock(std::time::Instant);

impl Clock {
    fn start() -> Self {
        Clock(std::time::Instant::now())
    }

    fn lap(&mut self, what: &str) {
        println!("{what}: {:.1} s", self.0.elapsed().as_secs_f64());
        self.0 = std::time::Instant::now();
    }
}

struct Job<'w> {
    world: &'w World,
    crates: &'w [Crate],
    id: String,
}

impl Job<'_> {
    /// Copies a package's source into a folder of the test's, and writes its quipu.toml.
    fn prepare(&self, krate: &Crate) {
        let folder = self.world.path("src").join(krate.folder());
        folders::copy(&krate.source, &folder);
        assert!(!folder.join("quipu.toml").exists(), "{}", krate.folder());
        std::fs::write(folder.join("quipu.toml"), krate.manifest()).unwrap();
    }

    /// Publishes a release, or proposes it, and returns in which state it is then.
    fn publish(&self, owner: &Person, krate: &Crate) -> String {
        let answer = owner.asks(["publish", &self.world.at(&format!("src/{}", krate.folder()))]);
        answer["state"].as_str().unwrap().to_owned()
    }

    fn get(&self, person: &Person, krate: &Crate) {
        let target = self.world.path("got").join(krate.folder());
        let reference = format!("{DOMAIN}/{}@{}", krate.name, krate.version);
        let answer = person.asks(["get", &reference, "--to", target.to_str().unwrap()]);
        assert_eq!(answer["version"], krate.version.to_string());
        // The manifest is ours; all else is as cargo has it.
        let manifest = std::fs::read_to_string(target.join("quipu.toml")).unwrap();
        assert_eq!(manifest, krate.manifest());
        std::fs::remove_file(target.join("quipu.toml")).unwrap();
        folders::assert_same(&target, &krate.source);
    }

    fn accept(&self, operator: &Person) -> Outcome {
        operator.quipu(["registry", "accept", &self.world.at("reg.git"), "--json"])
    }

    /// Checks every record of every log, and all that stock git can check of the repository.
    fn satisfies_stock_git(&self, person: &Person) {
        let registry = self.world.path("reg.git");
        git(&registry, ["fsck", "--strict", "--no-progress"]).ok();
        let operators = ["registry", "operator", "list", &self.world.at("reg.git"), "--allowed-signers"];
        let of_operators = self.world.write("signers/operators", &person.quipu(operators).ok().stdout);
        let mut logs =
            vec![("refs/registry/operators".to_owned(), of_operators.clone()), ("refs/registry/log".to_owned(), of_operators)];
        let names: BTreeSet<&str> = self.crates.iter().map(|krate| krate.name.as_str()).collect();
        for name in &names {
            let signers = person.quipu(["owner", "list", name, "--allowed-signers"]).ok().stdout;
            let (namespace, own) = name.split_once(':').unwrap();
            let file = self.world.write(&format!("signers/{own}"), &signers);
            logs.push((format!("refs/packages/{namespace}/{own}"), file));
        }
        let on_disk = git(&registry, ["for-each-ref", "--format=%(refname)", "refs/packages"]).ok().stdout;
        assert_eq!(on_disk.lines().count(), names.len());
        let records = Mutex::new(0);
        on_all(&logs, |(reference, signers)| {
            let commits = git(&registry, ["rev-list", reference]).ok().stdout;
            let commits: Vec<&str> = commits.lines().collect();
            let file = format!("gpg.ssh.allowedSignersFile={}", signers.display());
            let verdict = git(&registry, ["-c", &file, "verify-commit"].iter().chain(&commits)).ok().stderr;
            let good = verdict.lines().filter(|line| line.starts_with("Good \"git\" signature for ")).count();
            assert_eq!(good, commits.len(), "{reference}\n{verdict}");
            *records.lock().unwrap() += commits.len();
        });
        let counted = person.asks(["verify", DOMAIN])["records"].as_u64().unwrap();
        assert_eq!(counted, records.into_inner().unwrap() as u64);
    }
}

/// Takes every crate from its source into a registry and out again.
fn main_job(crates: &[Crate], format: &str) {
    let world = World::new();
    let mut clock = Clock::start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| world.person_with_key(name));
    let registry = world.at("reg.git");
    let id = world.registry(&alice, "reg.git", DOMAIN, format);
    let job = Job { world: &world, crates, id };
    let daemon = Daemon::serve(&world.root());
    let url = daemon.url("reg.git");
    // Alice and Bob run the registry together, on its own machine. Carol has only the network.
    alice.quipu(["registry", "operator", "allow", &registry, &bob.public_key(), "--privilege", "auth,checkpoint"]).ok();
    bob.trust(DOMAIN, &registry, &job.id);
    carol.trust(DOMAIN, &url, &job.id);
    on_all(crates, |krate| job.prepare(krate));
    clock.lap("copy the sources");

    // Each owner has a third of the names; of a name with several versions, the first one comes first.
    let owners = [&alice, &bob, &carol];
    let mut names: Vec<Vec<&Crate>> = Vec::new();
    for krate in crates {
        match names.last_mut() {
            Some(versions) if versions[0].name == krate.name => versions.push(krate),
            _ => names.push(vec![krate]),
        }
    }
    // All three at once: those on the machine publish, the one who is not proposes.
    std::thread::scope(|scope| {
        for (place, owner) in owners.iter().enumerate() {
            let mine = names.iter().skip(place).step_by(owners.len());
            let (job, state) = (&job, if place == 2 { "proposed" } else { "published" });
            scope.spawn(move || mine.for_each(|versions| assert_eq!(job.publish(owner, versions[0]), state)));
        }
    });
    clock.lap("publish the first versions");
    let proposed = names.iter().skip(2).step_by(owners.len()).count();
    let report = job.accept(&alice).ok().json();
    let outcomes = report["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), proposed);
    assert!(outcomes.iter().all(|outcome| outcome["state"] == "accepted"), "{report}");
    clock.lap("accept the proposals in one batch");

    // The versions after come from a co-owner, whom the owner lets in.
    for (place, versions) in names.iter().enumerate().filter(|(_, versions)| versions.len() > 1) {
        let (owner, other) = (owners[place % 3], owners[(place + 1) % 3]);
        owner.quipu(["owner", "allow", &versions[0].name, &other.public_key()]).ok();
        job.accept(&alice).ok();
        for version in &versions[1..] {
            job.publish(other, version);
        }
    }
    let report = job.accept(&bob).ok().json();
    assert!(report["outcomes"].as_array().unwrap().iter().all(|outcome| outcome["state"] == "accepted"), "{report}");
    clock.lap("publish the versions after");

    // Dave has nothing but the URL and the id.
    let dave = world.person("dave");
    dave.trust(DOMAIN, &url, &job.id);
    on_all(crates, |krate| job.get(&dave, krate));
    clock.lap("get every release");
    let newest = dave.asks(["info", &names.iter().find(|versions| versions.len() > 1).unwrap()[0].name]);
    assert_eq!(newest["versions"].as_array().unwrap().len(), 2, "{newest}");

    let verified = dave.asks(["verify", DOMAIN]);
    assert_eq!((&verified["verified"], &verified["fault-count"]), (&Value::from(true), &Value::from(0)));
    assert_eq!(
        (verified["packages"].as_u64(), verified["releases"].as_u64()),
        (Some(names.len() as u64), Some(crates.len() as u64))
    );
    clock.lap("verify DOMAIN over git://");
    let on_disk = dave.asks(["verify", &registry]);
    for key in ["packages", "records", "releases", "bytes", "checkpoint", "id"] {
        assert_eq!(on_disk[key], verified[key], "{key}");
    }
    clock.lap("verify PATH");
    assert_eq!(alice.asks(["registry", "fsck", &registry])["clean"], true);
    clock.lap("registry fsck");
    job.satisfies_stock_git(&alice);
    clock.lap("git fsck and git verify-commit");
}

#[test]
fn every_package_of_our_own_lock_file_goes_in_and_comes_out_as_it_was() {
    let crates = crates();
    let found: BTreeSet<(String, String)> = crates.iter().map(|krate| (krate.name.clone(), krate.version.to_string())).collect();
    assert_eq!(found, locked());
    assert!(crates.len() > 150, "{}", crates.len());
    // Real input is odd, and this test is worth little where it is not.
    let files: Vec<(String, PathBuf)> = crates.iter().flat_map(|krate| folders::files(&krate.source)).collect();
    assert!(files.iter().any(|(path, _)| path.contains(' ')), "no file name with a space");
    assert!(files.iter().any(|(path, _)| path.starts_with('.')), "no hidden file");
    assert!(files.iter().filter(|(_, file)| folders::is_exec(file)).count() > 5, "hardly any executables");
    assert!(files.iter().any(|(_, file)| file.metadata().unwrap().len() == 0), "no empty file");
    assert!(files.iter().any(|(_, file)| file.metadata().unwrap().len() > 2_000_000), "no large file");
    assert!(files.iter().any(|(path, _)| path.split('/').count() > 5), "no deep folder");
    assert!(files.len() > 5_000, "{} files", files.len());
    assert!(crates.iter().any(|krate| folders::files(&krate.source).len() > 300), "no package of many files");
    assert!(crates.iter().any(|krate| krate.build.is_some()), "no build metadata");
    assert!(crates.windows(2).filter(|pair| pair[0].name == pair[1].name).count() > 2, "hardly any package of two versions");
    main_job(&crates, "sha1");
}

#[test]
fn a_registry_of_sha256_objects_holds_them_as_well() {
    // Those of several versions, of odd names, of executables, and some more.
    let mut crates = crates();
    let twice: BTreeSet<String> =
        crates.windows(2).filter(|pair| pair[0].name == pair[1].name).map(|pair| pair[0].name.clone()).collect();
    let mut some = 0;
    crates.retain(|krate| {
        let files = folders::files(&krate.source);
        let size: u64 = files.values().map(|file| file.metadata().unwrap().len()).sum();
        let odd = files.iter().any(|(path, file)| path.contains(' ') || folders::is_exec(file)) || krate.build.is_some();
        let more = some < 5;
        some += usize::from(more);
        size < 1_000_000 && (odd || more || twice.contains(&krate.name))
    });
    assert!(crates.len() >= 15, "{}", crates.len());
    main_job(&crates, "sha256");
}
