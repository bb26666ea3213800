//! A mirror that goes wrong in the middle: made, brought up to date, narrowed or ended, and killed before each write. It serves what it served or
//! what is new, and the next step does what this one did not.

use super::*;

impl Case<'_> {
    /// Kills it before each call that changes what a name leads to. How many other writes there are depends on how what is fetched comes in.
    fn try_kills(&self) {
        let writes = self.world.copy().writes(self.who, self.args);
        let is_move = |call: &str| call.starts_with("rename") || call.starts_with("unlink") || call.starts_with("link");
        let points: Vec<&(String, usize)> = writes.iter().filter(|(call, _)| is_move(call)).collect();
        let killed = AtomicUsize::new(0);
        in_parallel(&points, |(call, when)| {
            let world = self.world.copy();
            let trace = format!("trace={WRITES}");
            let options = ["-e", &trace, "-e", &Fault::Kill.injection(call, *when)];
            let first = world.strace(self.who, &options, self.args);
            killed.fetch_add(usize::from(first.status.is_none()), Ordering::Relaxed);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (self.then)(&world);
                world.age();
                let again = world.person(self.who, self.args);
                assert!((self.again)(&world, &again), "run again: {again:?}");
                (self.end)(&world);
                if !world.strays().is_empty() {
                    world.package("sweeper", "1.0.0");
                    world.alice(&["publish", "sweeper"]).ok();
                }
                assert_eq!(world.strays(), Vec::<String>::new(), "something was left");
            }));
            assert!(outcome.is_ok(), "after {call} {when}\n{first:?}\n{}", world.trace());
        });
        println!("{:?}: {} points, {killed:?} killed", self.args, points.len());
        assert!(killed.into_inner() > points.len() / 2, "hardly any kill came");
    }
}

/// Alice's registry beside that of Bob, which she mirrors as said.
fn mirrored(only: Option<&[&str]>) -> World {
    let world = World::with_hello();
    world.person("bob", &["key", "new", "bob"]).ok();
    world.person("bob", &["registry", "init", "home.git", "--name", "home.example"]).ok();
    for name in ["wasi:http", "cli:run"] {
        release(&world, name, "1.0.0");
    }
    let id = home_id(&world);
    world.person("carol", &["trust", "add", "home.example", "./home.git", "--id", &id]).ok();
    if let Some(only) = only {
        let args = ["mirror", "add", "home.example", "./home.git", "--id", &id, "--in", "reg.git"];
        world.alice(&[&args[..], only].concat()).ok();
        // From now on Carol reads Alice's copy.
        let config = world.at("carol/config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("home.git", "reg.git")).unwrap();
        release(&world, "wasi:http", "2.0.0");
        release(&world, "wasi:new", "1.0.0");
    }
    world
}

fn home_id(world: &World) -> String {
    let said = world.person("bob", &["trust", "show", "home.example", "--json"]).ok();
    let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    said["id"].as_str().unwrap().to_owned()
}

fn release(world: &World, name: &str, version: &str) {
    let folder = world.at("to-publish");
    fs::create_dir_all(&folder).unwrap();
    let text = format!("[package]\nregistry = \"home.example\"\nname = \"{name}\"\nversion = \"{version}\"\n");
    fs::write(folder.join("quipu.toml"), text).unwrap();
    fs::write(folder.join("text"), format!("{name} {version}\n")).unwrap();
    world.person("bob", &["publish", "to-publish"]).ok();
}

/// Fails unless somebody gets a release of the mirrored registry from Alice's repository.
fn serves(world: &World, release: &str) {
    let said = world.person("carol", &["verify", &format!("home.example/{release}")]);
    assert_eq!(said.status, Some(0), "{release}: {said:?}");
}

/// Fails unless Alice's repository is sound, has only what it should of the mirror, and has nothing new to bring.
fn ends(world: &World, count: usize) {
    world.assert_whole();
    let names = world.git(&["for-each-ref", "--format=%(refname)", "refs/mirrors"]).ok().out;
    assert_eq!(names.lines().count(), count, "{names}");
    let said = world.alice(&["mirror", "sync", "--in", "reg.git"]).ok();
    assert!(said.out.contains("nothing new") || said.out.contains("nothing is mirrored"), "{said:?}");
    world.assert_released("alice", "demo:hello@0.1.0");
}

fn starts(only: &[&str], count: usize) {
    if !can_inject() {
        return;
    }
    let world = mirrored(None);
    let id = home_id(&world);
    let args = ["mirror", "add", "home.example", "./home.git", "--id", &id, "--in", "reg.git"];
    Case {
        world: &world,
        who: "alice",
        args: &[&args[..], only].concat(),
        then: &|world| world.assert_released("alice", "demo:hello@0.1.0"),
        again: &|world, said| {
            // Git's own lock of its configuration is for a person to remove, as the error says.
            let lock = world.at("reg.git/config.lock");
            let is_locked = said.is("conflict") && said.err.contains("config.lock") && fs::remove_file(lock).is_ok();
            said.status == Some(0) || is_locked && world.alice(&[&args[..], only].concat()).status == Some(0)
        },
        end: &|world| {
            ends(world, count);
            let config = world.at("carol/config.toml");
            let text = fs::read_to_string(&config).unwrap();
            fs::write(&config, text.replace("home.git", "reg.git")).unwrap();
            serves(world, "wasi:http@1.0.0");
        },
    }
    .try_kills();
}

#[test]
fn a_whole_mirror_can_be_killed_anywhere_as_it_is_made() {
    starts(&[], 6);
}

#[test]
fn a_mirror_of_a_part_can_be_killed_anywhere_as_it_is_made() {
    starts(&["--only", "wasi:*"], 4);
}

fn steps(before: &[&str], args: &[&str], new: Option<&str>, count: usize) {
    if !can_inject() {
        return;
    }
    let world = mirrored(Some(before));
    serves(&world, "wasi:http@1.0.0");
    Case {
        world: &world,
        who: "alice",
        args,
        then: &|world| {
            world.assert_released("alice", "demo:hello@0.1.0");
            if new.is_some() {
                serves(world, "wasi:http@1.0.0");
                // Somebody who has nothing yet, too.
                fs::remove_dir_all(world.at("carol/cache")).ok();
                serves(world, "wasi:http@1.0.0");
            }
        },
        again: &|_, said| said.status == Some(0) || new.is_none() && said.is("not-found"),
        end: &|world| {
            ends(world, count);
            if let Some(new) = new {
                serves(world, new);
            }
        },
    }
    .try_kills();
}

const SYNC: &[&str] = &["mirror", "sync", "--in", "reg.git"];

#[test]
fn a_whole_mirror_can_be_killed_anywhere_as_it_goes_on() {
    steps(&[], SYNC, Some("wasi:new@1.0.0"), 8);
}

#[test]
fn a_mirror_of_a_part_can_be_killed_anywhere_as_it_goes_on() {
    steps(&["--only", "wasi:*"], SYNC, Some("wasi:new@1.0.0"), 6);
}

#[test]
fn a_mirror_can_be_killed_anywhere_as_it_becomes_narrower() {
    let args = ["mirror", "add", "home.example", "--only", "wasi:http", "--in", "reg.git"];
    steps(&[], &args, Some("wasi:http@2.0.0"), 4);
}

#[test]
fn a_mirror_can_be_killed_anywhere_as_it_ends() {
    steps(&["--only", "wasi:*"], &["mirror", "remove", "home.example", "--in", "reg.git"], None, 0);
}
