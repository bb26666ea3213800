//! Registries that are built once and kept, each with what its building cost, so that a second run need not build them again.

use crate::memory::with_peak;
use crate::pairs::bed::Bed;
use crate::pairs::{Pairs, signed, time};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of each.
pub(crate) const DOMAIN: &str = "scale.example";

/// Small ones are built several times, so that their import is measured over about so many packages in all.
const IMPORTED_IN_ALL: u64 = 500_000;

/// A registry as it is after a full upkeep: `registry.git`, the operator's `home`, and `figures.json`.
pub(crate) struct Kept {
    /// How its packages are spread over namespaces, as `quipu registry import --shape` names it.
    pub(crate) shape: String,
    /// How many packages it has.
    pub(crate) packages: u64,
    /// What its building cost.
    pub(crate) figures: Value,
    folder: PathBuf,
}

impl Kept {
    /// Finds a registry in a folder, or builds it there; `bed` lends a place to work in.
    pub(crate) fn find_or_build(bed: &Bed, inside: &Path, shape: &str, packages: u64, is_fresh: bool) -> Self {
        let folder = inside.join(format!("{shape}-{packages}"));
        if is_fresh && folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        if !folder.join("figures.json").exists() {
            build(bed, &folder, shape, packages);
        }
        let figures = serde_json::from_slice(&fs::read(folder.join("figures.json")).unwrap()).unwrap();
        Kept { shape: shape.to_owned(), packages, figures, folder }
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.join("registry.git")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.join("home/keys")
    }

    pub(crate) fn id(&self) -> &str {
        self.figures["id"].as_str().unwrap()
    }

    pub(crate) fn records(&self) -> u64 {
        self.figures["records"].as_u64().unwrap()
    }

    /// Returns how long its import took, beside signing as much.
    pub(crate) fn import(&self) -> Pairs {
        let seconds =
            |what: &str| -> Vec<f64> { self.figures[what].as_array().unwrap().iter().filter_map(Value::as_f64).collect() };
        Pairs::from_seconds(&seconds("sign-seconds"), &seconds("import-seconds"))
    }
}

fn build(bed: &Bed, folder: &Path, shape: &str, packages: u64) {
    eprintln!("building {}", folder.display());
    // What a run that was killed left is not finished.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    let home = folder.join("home");
    bed.quipu(&home, &["key", "new", "alice", "--quiet"]);
    let repository = folder.join("registry.git");
    let (mut sign, mut import, mut records, mut peak) = (Vec::new(), Vec::new(), 0, None);
    let rounds = (IMPORTED_IN_ALL / packages.max(1)).clamp(1, 5);
    let mut id = String::new();
    for round in 1..=rounds {
        // The last is the one that stays; the others lie with what the run leaves.
        let to = if round == rounds { repository.clone() } else { bed.path(&format!("import-{shape}-{packages}-{round}.git")) };
        let to = to.to_str().unwrap();
        let init = ["registry", "init", to, "--name", DOMAIN, "--json"];
        let other_home = bed.path(&format!("import-{shape}-{packages}-{round}"));
        let home = if round == rounds {
            &home
        } else {
            bed.quipu(&other_home, &["key", "new", "alice", "--quiet"]);
            &other_home
        };
        id = value(&bed.quipu(home, &init))["id"].as_str().unwrap().to_owned();
        let number = packages.to_string();
        let args = ["registry", "import", to, "--synthetic", &number, "--shape", shape, "--json"];
        let mut said = String::new();
        import.push(time(|| (said, peak) = with_peak(bed, home, &args)).as_secs_f64());
        records = value(&said)["records"].as_u64().unwrap();
        sign.push(signed::sign(records).as_secs_f64());
    }
    let imported = Size::of(&repository);
    let (gc, gc_peak) = gc(bed, &home, &repository);
    let packed = Size::of(&repository);
    let figures = json!({
        "id": id, "packages": packages, "records": records, "built-with": super::table::machine(),
        "sign-seconds": sign, "import-seconds": import, "import-peak-kib": peak,
        "imported": imported.json(), "packed": packed.json(), "gc-seconds": gc.as_secs_f64(), "gc-peak-kib": gc_peak,
    });
    fs::write(folder.join("figures.json"), format!("{figures:#}\n")).unwrap();
}

fn gc(bed: &Bed, home: &Path, repository: &Path) -> (Duration, Option<u64>) {
    let mut peak = None;
    let took = time(|| (_, peak) = with_peak(bed, home, &["registry", "gc", repository.to_str().unwrap(), "--quiet"]));
    (took, peak)
}

pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What a repository takes on the disk, in bytes.
struct Size {
    objects: u64,
    references: u64,
    all: u64,
}

impl Size {
    fn of(repository: &Path) -> Self {
        let blocks = |path: &Path| -> u64 {
            walkdir::WalkDir::new(path)
                .into_iter()
                .filter_map(Result::ok)
                .map(|entry| entry.metadata().unwrap().blocks() * 512)
                .sum()
        };
        let references = blocks(&repository.join("refs")) + blocks(&repository.join("packed-refs"));
        Size { objects: blocks(&repository.join("objects")), references, all: blocks(repository) }
    }

    fn json(&self) -> Value {
        json!({ "objects": self.objects, "references": self.references, "all": self.all })
    }
}
