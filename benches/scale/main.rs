//! Measures what grows with a registry and what does not: `cargo bench --bench scale
//! [-- --sizes 10000,100000 --two-million --shapes one,many,skewed --rounds N --dir DIR --fresh --only import,verify,publish,get,accept
//! --json FILE --svg FILE]`.
//!
//! Builds registries of 10,000, 100,000 and 1,000,000 packages, each in three shapes, and keeps them in DIR, so that a second run finds them there; what
//! their building cost is kept beside them. Everything else is measured on copies, each thing beside its floor, and in each round once in
//! every size, so that what disturbs the machine disturbs all of them. Floors are stock git's, and for signatures ed25519's alone. Whole processes
//! on both sides, but for bare signing and checking.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::disallowed_methods)]

mod floors;
mod kept;
mod memory;
#[path = "../pairs/mod.rs"]
mod pairs;
mod picture;
mod scene;
mod table;

use floors::{Crowded, Fetching, Working, diff_and_verify, verify_commits};
use kept::{DOMAIN, Kept};
use memory::{with_peak, within};
use pairs::bed::Bed;
use pairs::signed::{all_signed, check};
use pairs::{Duel, Pairs, flag, is_whole, time, word};
use quipu::git::store::Store;
use quipu::model::error::Result;
use scene::{Scene, Servers, write_small};
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::{Row, Table, grouped, milliseconds};

/// What a package has: its log, and its files.
const KINDS: [&str; 2] = ["packages", "contents"];
const GIB: u64 = 1 << 30;

struct Options {
    sizes: Vec<u64>,
    shapes: Vec<String>,
    rounds: usize,
    dir: PathBuf,
}

impl Options {
    fn read() -> Self {
        let list = |name: &str, whole: &str, trial: &str| -> Vec<String> {
            let text = word(name).unwrap_or(if is_whole() { whole } else { trial }.to_owned());
            text.split(',').map(str::to_owned).collect()
        };
        let sizes = list("--sizes", "10000,100000,1000000", "300");
        let mut sizes: Vec<u64> = sizes.iter().map(|size| size.parse().unwrap()).collect();
        if is_set("--two-million") {
            sizes.push(2_000_000);
        }
        sizes.sort_unstable();
        sizes.dedup();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(if is_whole() { "scale" } else { "scale-trial" });
        Options {
            sizes,
            shapes: list("--shapes", "one,many,skewed", "many"),
            rounds: flag("--rounds").unwrap_or(if is_whole() { 9 } else { 1 }),
            dir: word("--dir").map_or(folder, |dir| std::path::absolute(dir).unwrap()),
        }
    }
}

fn is_set(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

fn main() -> Result<()> {
    let options = Options::read();
    std::fs::create_dir_all(&options.dir).unwrap();
    println!("{}\n", table::machine());
    table::print_head();
    let mut table = Table::default();
    // What one shape leaves is deleted after the last: see `Scene::fresh`.
    let beds: Vec<Bed> = options.shapes.iter().map(|_| Bed::with_key(&options.dir)).collect();
    for (shape, bed) in options.shapes.iter().zip(&beds) {
        let find = |size: &u64| Kept::find_or_build(bed, &options.dir, shape, *size, is_set("--fresh") || !is_whole());
        let kept: Vec<Kept> = options.sizes.iter().map(find).collect();
        let servers = Servers::start(&bed.path(""));
        let scenes: Vec<Scene<'_>> = kept.iter().map(|kept| Scene::copy(bed, kept, &servers)).collect();
        let mut bench = Bench { scenes: &scenes, rounds: options.rounds, table: &mut table };
        let only = word("--only");
        let is_wanted = |what: &str| only.as_ref().is_none_or(|only| only.split(',').any(|word| word == what));
        if is_wanted("import") {
            bench.import();
        }
        if is_wanted("verify") {
            bench.verify()?;
        }
        if is_wanted("publish") {
            bench.publish();
        }
        if is_wanted("get") {
            bench.get();
            bench.update();
            bench.count();
        }
        if is_wanted("accept") {
            bench.accept_and_verify_since()?;
        }
    }
    for shape in &options.shapes {
        table.print_shape(shape, &options.sizes);
    }
    table.print_growth(&options.shapes, &options.sizes);
    if let Some(file) = word("--json") {
        std::fs::write(file, format!("{:#}\n", table.json())).unwrap();
    }
    if let Some(file) = word("--svg") {
        std::fs::write(file, picture::draw(&table, &options.shapes[0], &options.sizes)).unwrap();
    }
    Ok(())
}

/// Registries of one shape, smallest first, and where their figures go.
struct Bench<'b> {
    scenes: &'b [Scene<'b>],
    rounds: usize,
    table: &'b mut Table,
}

impl<'b> Bench<'b> {
    /// Measures one thing in all sizes.
    fn rows(&mut self, what: &'static str, rounds: usize, duel: impl FnMut(&'b Scene<'b>) -> Duel<'b>) {
        let pairs = Pairs::in_turn(1, rounds, self.scenes.iter().map(duel).collect());
        for (scene, pairs) in self.scenes.iter().zip(pairs) {
            self.row(scene, what, pairs, None);
        }
    }

    fn row(&mut self, scene: &Scene<'_>, what: &'static str, pairs: Pairs, records: Option<u64>) {
        self.table.row(Row { shape: scene.kept.shape.clone(), packages: scene.kept.packages, what, pairs, records });
    }

    fn fact(&mut self, scene: &Scene<'_>, what: impl Into<String>, value: impl Into<serde_json::Value>, words: String) {
        self.table.fact((&scene.kept.shape, scene.kept.packages), what, value, words);
    }

    /// Says what the building cost. The floor of import signs as many messages on all cores.
    fn import(&mut self) {
        for scene in self.scenes {
            let kept = scene.kept;
            self.row(scene, table::IMPORT, kept.import(), Some(kept.records()));
            for (what, state) in [("as imported", "imported"), ("after gc", "packed")] {
                for (part, name) in [("all", "bytes a package"), ("references", "of that, references")] {
                    let bytes = kept.figures[state][part].as_u64().unwrap() / kept.packages;
                    self.fact(scene, format!("{name}, {what}"), bytes, grouped(bytes));
                }
            }
            let gc = kept.figures["gc-seconds"].as_f64().unwrap();
            self.fact(scene, "time of gc", gc, milliseconds(Duration::from_secs_f64(gc)));
            for (what, figure) in [("import", "import-peak-kib"), ("gc", "gc-peak-kib")] {
                self.peak(scene, what, kept.figures[figure].as_u64());
            }
        }
    }

    fn peak(&mut self, scene: &Scene<'_>, what: &str, kib: Option<u64>) {
        let words = kib.map_or("not measured".to_owned(), |kib| format!("{} MiB", grouped(kib / 1024)));
        self.fact(scene, format!("peak memory of {what}"), kib, words);
    }

    /// Verifies all logs of the whole. The floor checks all signatures, by keys decompressed before, on all cores.
    fn verify(&mut self) -> Result<()> {
        for scene in self.scenes {
            // The larger, the longer it takes, and the less chance has to do with it.
            let rounds = if scene.kept.packages > 200_000 { self.rounds.div_ceil(4) } else { self.rounds };
            let (signed, packages) = all_signed(&Store::open(&scene.repository)?)?;
            let subject = || {
                time(|| {
                    let found = scene.verify(&["--logs-only"]);
                    assert_eq!((&found["packages"], &found["records"]), (&packages.into(), &signed.len().into()));
                })
            };
            let pairs = Pairs::run(rounds, || check(&signed), subject);
            self.row(scene, table::VERIFY, pairs, Some(signed.len() as u64));
            let (signers, heads) = (scene.allowed_signers(), scene.heads(50));
            let took = time(|| verify_commits(scene.bed, &scene.repository, &signers, &heads));
            let rate = heads.len() as f64 / took.as_secs_f64();
            self.fact(scene, "git verify-commit, records/s", rate, format!("{rate:.0}"));
            let args = ["verify", scene.repository.to_str().unwrap(), "--logs-only", "--quiet"];
            let (_, peak) = with_peak(scene.bed, &scene.operator, &args);
            self.peak(scene, "verify, logs only", peak);
            let limited = within(GIB, scene.bed, &scene.operator, &args);
            let words = limited.as_ref().map_or_else(|why| format!("skipped: {why}"), |took| milliseconds(*took));
            let took = limited.ok().map(|took| took.as_secs_f64());
            self.fact(scene, "verify, logs only, in a control group of 1 GiB", took, words);
        }
        Ok(())
    }

    /// Publishes a small new version. The floor signs and pushes a commit to a small plain repository in the same way.
    fn publish(&mut self) {
        let write = |folder: &Path, round: usize| write_small(folder, "load-000:package-000000", &format!("2.{round}.0"));
        self.rows(table::PUBLISH, self.rounds, |scene| {
            let plain = scene.bed.bare(&scene.inside("plain.git"));
            let floor = Working::new(scene.bed, &scene.inside("work"), plain.to_str().unwrap());
            Duel::new(move || floor.commit_and_push(write), || scene.publish(&scene.operator, &scene.next_package(), || ()))
        });
        self.rows(table::PUBLISH_BY_SERVER, self.rounds, |scene| {
            scene.bed.bare(&scene.inside("served.git"));
            let floor = Working::new(scene.bed, &scene.inside("far-work"), &scene.url("served.git"));
            let publisher = scene.publisher(&scene.url("registry.git"));
            Duel::new(
                move || floor.commit_and_push(write),
                move || {
                    scene.publish(&publisher, &scene.next_package(), || {
                        scene.accept();
                    })
                },
            )
        });
    }

    /// Gets one package over the network. The floor fetches its log and contents into a repository, which verifies nothing and writes no files.
    fn get(&mut self) {
        self.rows(table::GET_COLD, self.rounds, |scene| {
            let url = scene.url("registry.git");
            let floor_url = url.clone();
            Duel::new(
                move || {
                    let package = scene.next_package().to_string();
                    Fetching::new(scene.bed, &scene.fresh("empty")).fetch(&floor_url, &package, &KINDS)
                },
                move || {
                    let reader = scene.reader(&url);
                    scene.get(&reader, &scene.next_package())
                },
            )
        });
        self.rows(table::GET_NEW, self.rounds, |scene| {
            let url = scene.url("registry.git");
            let (package, reader) = (scene.next_package(), scene.reader(&url));
            let name = package.to_string();
            let floor = Fetching::new(scene.bed, &scene.fresh("fetching"));
            floor.fetch(&url, &name, &KINDS);
            scene.get(&reader, &package);
            let published = package.clone();
            Duel::new(move || floor.fetch(&url, &name, &KINDS), move || scene.get(&reader, &package)).after(move || {
                scene.publish(&scene.operator, &published, || ());
            })
        });
        self.rows(table::GET_WARM, self.rounds, |scene| {
            let url = scene.url("registry.git");
            let (package, reader) = (scene.next_package(), scene.reader(&url));
            let name = package.to_string();
            let floor = Fetching::new(scene.bed, &scene.fresh("fetching"));
            Duel::new(move || floor.fetch(&url, &name, &KINDS), move || scene.get(&reader, &package))
        });
    }

    /// Asks again about a package of which nothing is new. The floor fetches its log once more.
    fn update(&mut self) {
        self.rows(table::UPDATE, self.rounds, |scene| {
            let url = scene.url("registry.git");
            let (package, reader) = (scene.next_package().to_string(), scene.reader(&url));
            let what = format!("{DOMAIN}/{package}");
            let floor = Fetching::new(scene.bed, &scene.fresh("fetching"));
            Duel::new(
                move || floor.fetch(&url, &package, &KINDS[..1]),
                move || time(|| drop(scene.bed.quipu(&reader, &["verify", &what, "--quiet"]))),
            )
        });
    }

    /// Counts at the socket what each way of getting costs, ours and git's, in one more run that is not timed.
    fn count(&mut self) {
        for scene in self.scenes {
            let url = scene.counted_url("registry.git");
            let (package, reader) = (scene.next_package(), scene.reader(&url));
            let (name, floor) = (package.to_string(), Fetching::new(scene.bed, &scene.fresh("counted")));
            for what in [table::GET_COLD, table::GET_WARM, table::GET_NEW] {
                if what == table::GET_NEW {
                    scene.publish(&scene.operator, &package, || ());
                }
                scene.spent();
                scene.get(&reader, &package);
                let ours = scene.spent();
                floor.fetch(&url, &name, &KINDS);
                let floors = scene.spent();
                let words = |(connections, bytes): (u64, u64)| format!("{connections}, {} B", grouped(bytes));
                self.fact(
                    scene,
                    format!("connections and bytes: {what}; git fetch"),
                    vec![ours.0, ours.1, floors.0, floors.1],
                    format!("{}; {}", words(ours), words(floors)),
                );
            }
        }
    }

    /// Accepts a batch of proposals that wait, then verifies what the last batch changed.
    ///
    /// The floor of the first is one `git push` of as many commits to as many new references of a plain repository on the same disk, which has the
    /// registry's references, all hidden. That of the second is `git diff-tree` of the two maps and `git verify-commit` of the heads that differ.
    fn accept_and_verify_since(&mut self) -> Result<()> {
        let batch = |scene: &Scene<'_>| 100.min(scene.kept.packages as usize / 10);
        let crowded: Vec<Crowded<'_>> =
            self.scenes.iter().map(|scene| Crowded::like(scene.bed, &scene.kept.repository(), &scene.inside(""))).collect();
        for (scene, crowded) in self.scenes.iter().zip(&crowded) {
            let told = crowded.push(1);
            crowded.hide();
            let hidden = crowded.push(1).min(crowded.push(1));
            let words = format!("{}; {}", milliseconds(told), milliseconds(hidden));
            let what = "git push of one commit to a plain repository with these references; the same with them hidden";
            self.fact(scene, what, vec![told.as_secs_f64(), hidden.as_secs_f64()], words);
        }
        let duels = self.scenes.iter().zip(&crowded).map(|(scene, crowded)| {
            let count = batch(scene);
            Duel::new(move || crowded.push(count), || scene.accept()).after(move || scene.propose(count).unwrap())
        });
        let pairs = Pairs::in_turn(1, self.rounds, duels.collect());
        for (scene, pairs) in self.scenes.iter().zip(pairs) {
            self.row(scene, table::ACCEPT, pairs, None);
        }
        self.rows(table::SINCE, self.rounds, |scene| {
            let after = scene.checkpoint();
            let before = scene.bed.git(&scene.repository, &["rev-parse", "refs/registry/log~1"]).trim().to_owned();
            let signers = scene.allowed_signers();
            let since = scene.verify(&["--logs-only"])["checkpoint"]["seq"].as_u64().unwrap() - 1;
            Duel::new(
                move || {
                    let (took, changed) = diff_and_verify(scene.bed, &scene.repository, &signers, &before, &after);
                    // The map says the checkpoint before by a link of its own.
                    assert!(changed == batch(scene) || changed == batch(scene) + 1, "{changed}");
                    took
                },
                move || {
                    time(|| {
                        let found = scene.verify(&["--since", &since.to_string()]);
                        assert_eq!(found["looked-at"], batch(scene));
                    })
                },
            )
        });
        Ok(())
    }
}
