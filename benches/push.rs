//! Measures many publishers at once through the hooks of one registry: `cargo bench --bench push [-- --publishers N --releases N --server http]`.
//!
//! The floor is `git push` of as many commits, with the same files, by as many at once, to a plain repository at the same server: made before
//! the clock runs, signed by nobody and looked at by nobody. Ours is `quipu publish` as a process: it looks at the registry, signs, pushes, and
//! hears from the hooks that a checkpoint holds it.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::daemon::Daemon;
use support::hosts::{Nginx, Sshd};
use support::{Person, World, crowd, git};

/// Ten files of 2 KB, the manifest not counted.
const FILES: (usize, usize) = (10, 2_048);

fn main() {
    let is_whole = std::env::args().any(|arg| arg == "--bench");
    let flag = |name: &str| std::env::args().skip_while(|arg| arg != name).nth(1);
    let count = |name: &str, whole: usize| flag(name).map_or(if is_whole { whole } else { 2 }, |text| text.parse().unwrap());
    let (publishers, releases) = (count("--publishers", 32), count("--releases", 63));
    println!(
        "| {publishers} publishers, {releases} releases each | floor, pushes/s | quipu, releases/s | share of the floor | floor: median, last of 100 | quipu: median, last of 100 | conflicts |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for server in flag("--server").map_or(vec!["git".to_owned(), "http".to_owned(), "ssh".to_owned()], |only| vec![only]) {
        let world = World::new();
        let alice = world.person_with_key("alice");
        let made = alice.asks(["registry", "init", &world.at("git/acme.git"), "--name", "acme.example", "--hooks"]);
        git(&world.root(), ["init", "-q", "--bare", &world.at("git/plain.git")]).ok();
        let Some(server) = Server::start(&server, &world, publishers) else { continue };
        let people: Vec<Person> =
            (0..publishers).map(|number| server.welcome(&world, &world.person_with_key(&format!("p{number}")))).collect();
        server.open();
        let (floor, floor_times) = floor(&world, &people, &server.url(&world, "plain.git"), releases);
        for person in &people {
            person.trust("acme.example", &server.url(&world, "acme.git"), made["id"].as_str().unwrap());
        }
        let (pushes, times) = proposals(&world, &people, &server, made["id"].as_str().unwrap(), releases);
        print_row(&server, "proposals made before, pushed by git", (floor, &floor_times), (pushes, &times), 0);
        row(&world, &server, "each its own package", (floor, &floor_times), &people, releases, |number| {
            format!("demo:own{number}")
        });
        people[0].quipu(["publish", &world.package("first", "demo:shared", "0.1.0")]).ok();
        for person in &people[1..] {
            people[0].quipu(["owner", "allow", "demo:shared", &person.public_key(), "--privilege", "release"]).ok();
        }
        let fewer = releases.div_ceil(16);
        row(&world, &server, "one package", (floor, &floor_times), &people, fewer, |_| "demo:shared".into());
        let fsck = alice.asks(["registry", "fsck", &world.at("git/acme.git")]);
        assert_eq!(
            (&fsck["clean"], &fsck["releases"]),
            (&true.into(), &(publishers * (2 * releases + fewer) + 1).into()),
            "{fsck}"
        );
    }
}

fn row(
    world: &World,
    server: &Server,
    what: &str,
    floor: Measured<'_>,
    people: &[Person],
    releases: usize,
    name: impl Fn(usize) -> String + Sync,
) {
    let told = crowd::release(world, people, releases, FILES, name);
    let rate = told.released.len() as f64 / told.whole.as_secs_f64();
    print_row(server, what, floor, (rate, &told.times), told.conflicts);
}

type Measured<'a> = (f64, &'a [Duration]);

fn print_row(server: &Server, what: &str, (floor, floor_times): Measured<'_>, (rate, times): Measured<'_>, conflicts: usize) {
    let show = |times: &[Duration]| {
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64();
        format!("{:.2} s, {:.2} s", at(0.5), at(0.99))
    };
    println!(
        "| {}, {what} | {floor:.1} | {rate:.1} | **{:.2}** | {} | {} | {conflicts} |",
        server.name(),
        rate / floor,
        show(floor_times),
        show(times),
    );
}

/// Pushes proposals of new packages that were made before, by git alone: what is left of our share is what the hooks do.
fn proposals(world: &World, people: &[Person], server: &Server, id: &str, releases: usize) -> (f64, Vec<Duration>) {
    git(&world.root(), ["clone", "-q", "--mirror", &world.at("git/acme.git"), "draft.git"]).ok();
    let maker = world.person_with_key("maker");
    maker.trust("acme.example", &world.at("draft.git"), id);
    let made: Vec<Vec<String>> = people
        .iter()
        .map(|person| {
            let one = |round| {
                let name = format!("demo:{}x{round}", person.name);
                let folder = crowd::folder(world, &person.name, &name, "1.0.0", FILES.0, FILES.1);
                let answer = maker.asks(["publish", &folder]);
                format!("refs/incoming/{}/{}", name.replace(':', "/"), answer["proposal"].as_str().unwrap())
            };
            (0..releases).map(one).collect()
        })
        .collect();
    // Everybody pushes from a repository of their own, as they do for the floor: git looks at all references of the one that it pushes from.
    let draft = |person: &Person| world.path(&format!("drafts/{}", person.name));
    for person in people {
        git(&world.root(), ["init", "-q", "--bare", draft(person).to_str().unwrap()]).ok();
        let own = format!("refs/incoming/demo/{}x*", person.name);
        git(&draft(person), ["fetch", "-q", &world.at("draft.git"), &format!("{own}:{own}")]).ok();
    }
    at_once(people, releases, |number, round| {
        let (person, name) = (&people[number], &made[number][round]);
        push(person, &draft(person), &server.url(world, "acme.git"), &format!("{name}:{name}"));
    })
}

/// Does something as often as `rounds` says for each of the people, all at once, and returns how many a second, and how long each took.
fn at_once(people: &[Person], rounds: usize, each: impl Fn(usize, usize) + Sync) -> (f64, Vec<Duration>) {
    let times = Mutex::new(Vec::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..people.len() {
            let (times, each) = (&times, &each);
            scope.spawn(move || {
                for round in 0..rounds {
                    let begun = Instant::now();
                    each(number, round);
                    times.lock().unwrap().push(begun.elapsed());
                }
            });
        }
    });
    let whole = start.elapsed();
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    (times.len() as f64 / whole.as_secs_f64(), times)
}

/// Pushes commits that were made before, and returns how many a second, and how long each took.
fn floor(world: &World, people: &[Person], url: &str, releases: usize) -> (f64, Vec<Duration>) {
    let work = |person: &Person| world.path(&format!("floor/{}", person.name));
    for person in people {
        git(&world.root(), ["init", "-q", work(person).to_str().unwrap()]).ok();
        for round in 0..releases {
            let from = crowd::folder(world, &person.name, "demo:x", &format!("1.{round}.0"), FILES.0, FILES.1);
            let tree = format!("--work-tree={from}");
            let commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "release"];
            git(&work(person), [tree.as_str(), "add", "-A"]).ok();
            git(&work(person), std::iter::once(tree.as_str()).chain(commit)).ok();
            git(&work(person), ["branch", &format!("r{round}")]).ok();
        }
    }
    at_once(people, releases, |number, round| {
        let person = &people[number];
        push(person, &work(person), url, &format!("r{round}:refs/heads/{}", person.name));
    })
}

fn push(person: &Person, folder: &Path, url: &str, what: &str) {
    person.git(folder, ["push", "-q", url, what]).ok();
}

/// A server with a place for everybody.
enum Server {
    Git(Daemon),
    Http(Nginx),
    Ssh(Sshd, std::path::PathBuf, Mutex<String>),
}

impl Server {
    fn start(kind: &str, world: &World, publishers: usize) -> Option<Self> {
        let served = world.path("git");
        match kind {
            "git" => Some(Server::Git(Daemon::serve(&served))),
            "http" => {
                let names: Vec<String> = (0..publishers).map(|number| format!("p{number}")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let manual = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hosting.md")).unwrap();
                let setting = manual.split("```nginx\n").nth(1)?.split("```").next()?;
                Nginx::start(world, &served, &names, setting).map(Server::Http)
            }
            "ssh" => {
                let keys = world.path("authorized_keys");
                std::fs::create_dir_all(world.path("account")).unwrap();
                Sshd::start(world, &world.path("account"), &keys).map(|sshd| Server::Ssh(sshd, keys, Mutex::default()))
            }
            other => panic!("{other} is none of git, http, ssh"),
        }
    }

    fn name(&self) -> &str {
        match self {
            Server::Git(_) => "git daemon",
            Server::Http(_) => "nginx",
            Server::Ssh(..) => "sshd",
        }
    }

    fn welcome(&self, _world: &World, person: &Person) -> Person {
        match self {
            Server::Git(_) => person.clone(),
            Server::Http(nginx) => nginx.welcome(person),
            Server::Ssh(sshd, _, lines) => {
                let (person, public) = sshd.welcome(person);
                let line = format!("restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {public}\n");
                lines.lock().unwrap().push_str(&line);
                person
            }
        }
    }

    /// Lets in whoever was welcomed.
    fn open(&self) {
        if let Server::Ssh(_, keys, lines) = self {
            std::fs::write(keys, &*lines.lock().unwrap()).unwrap();
        }
    }

    fn url(&self, world: &World, repository: &str) -> String {
        match self {
            Server::Git(daemon) => daemon.url(repository),
            Server::Http(nginx) => nginx.url(repository),
            Server::Ssh(sshd, ..) => sshd.url(&world.at(&format!("git/{repository}"))),
        }
    }
}
