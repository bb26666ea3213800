//! A copy of a kept registry, to be changed as one likes, and people who use it.

use crate::floors::copy_linking_packs;
use crate::kept::{DOMAIN, Kept, value};
use crate::pairs::bed::{Bed, copy};
use crate::pairs::daemon::Daemon;
use crate::pairs::relay::Relay;
use crate::pairs::time;
use quipu::disk::keys::KeyFile;
use quipu::git::layout;
use quipu::git::refs::{Expected, RefEdit};
use quipu::git::staging::Staging;
use quipu::git::store::Store;
use quipu::model::contents::{ContentsBuilder, write_tree};
use quipu::model::digest::ObjectKind;
use quipu::model::entry::{PackageEntry, Policy, Release};
use quipu::model::error::Result;
use quipu::model::key::KeyCache;
use quipu::model::name::PackageName;
use quipu::model::object::WriteObjects as _;
use quipu::model::time::Timestamp;
use quipu::replica::accept::{limits, propose};
use quipu::replica::author::{Author, Work};
use quipu::replica::chains;
use quipu::replica::import::Offer as _;
use quipu::replica::synthetic::{Files, Synthetic};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A registry that is measured.
pub(crate) struct Scene<'b> {
    pub(crate) bed: &'b Bed,
    pub(crate) kept: &'b Kept,
    /// The copy.
    pub(crate) repository: PathBuf,
    /// Of the operator, who has the copy on her own disk.
    pub(crate) operator: PathBuf,
    name: String,
    server: &'b Servers,
    packages: Vec<PackageName>,
    next: Cell<usize>,
    round: Cell<u64>,
}

/// The same folder, served with and without something in between that counts.
pub(crate) struct Servers {
    daemon: Daemon,
    pub(crate) relay: Relay,
}

impl Servers {
    pub(crate) fn start(folder: &Path) -> Self {
        let daemon = Daemon::serve(folder);
        let relay = Relay::to(daemon.port());
        Servers { daemon, relay }
    }

    pub(crate) fn url(&self, repository: &str) -> String {
        self.daemon.url(repository)
    }
}

impl<'b> Scene<'b> {
    /// Copies a registry.
    pub(crate) fn copy(bed: &'b Bed, kept: &'b Kept, server: &'b Servers) -> Self {
        let name = format!("{}-{}", kept.shape, kept.packages);
        let repository = bed.path(&format!("{name}/registry.git"));
        fs::create_dir_all(&repository).unwrap();
        for entry in fs::read_dir(kept.repository()).unwrap() {
            let entry = entry.unwrap();
            let (from, to) = (entry.path(), repository.join(entry.file_name()));
            match (entry.file_name() == "objects", entry.file_type().unwrap().is_dir()) {
                (true, _) => copy_linking_packs(&from, &to),
                (_, true) => copy(&from, &to),
                _ => drop(fs::copy(from, to).unwrap()),
            }
        }
        // It would come in the midst of a measurement; what it costs is measured apart.
        bed.git(&repository, &["config", "quipu.gc", "never"]);
        let operator = bed.home_that_trusts(
            &format!("{name}/operator"),
            (DOMAIN, kept.id()),
            repository.to_str().unwrap(),
            Some(&kept.keys()),
        );
        let packages = with_two_releases(kept);
        Scene { bed, kept, repository, operator, name, server, packages, next: Cell::new(0), round: Cell::new(0) }
    }

    /// Returns a path of this scene's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.bed.path(&self.inside(name))
    }

    /// Names a path that was not there before. None is deleted before the end: some file systems take long to make a file where others were just
    /// deleted.
    pub(crate) fn fresh(&self, kind: &str) -> String {
        self.round.set(self.round.get() + 1);
        self.inside(&format!("{kind}-{}", self.round.get()))
    }

    pub(crate) fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        self.server.url(&self.inside(name))
    }

    pub(crate) fn counted_url(&self, name: &str) -> String {
        self.server.relay.url(&self.inside(name))
    }

    /// Returns connections and bytes since it was asked last.
    pub(crate) fn spent(&self) -> (u64, u64) {
        self.server.relay.spent()
    }

    /// Makes the home of somebody who trusts the registry at a URL and was never there since.
    pub(crate) fn reader(&self, url: &str) -> PathBuf {
        let home = self.bed.home_that_trusts(&self.fresh("reader"), (DOMAIN, self.kept.id()), url, None);
        let _ = fs::remove_dir_all(home.join("cache"));
        home
    }

    /// Makes the home of somebody who has the owner's key, and not the registry.
    pub(crate) fn publisher(&self, url: &str) -> PathBuf {
        self.bed.home_that_trusts(&self.fresh("publisher"), (DOMAIN, self.kept.id()), url, Some(&self.kept.keys()))
    }

    /// Returns some packages that have two releases, others each time, as far apart in the map as may be.
    pub(crate) fn next_packages(&self, count: usize) -> Vec<PackageName> {
        let first = self.next.get();
        self.next.set(first + count);
        (first..first + count).map(|at| self.packages[at % self.packages.len()].clone()).collect()
    }

    pub(crate) fn next_package(&self) -> PackageName {
        self.next_packages(1).remove(0)
    }

    /// Publishes a small new version of a package by `quipu publish`, and whatever is to be done after it.
    pub(crate) fn publish(&self, home: &Path, package: &PackageName, after: impl FnOnce()) -> Duration {
        let folder = self.bed.path(&self.fresh("folder"));
        self.round.set(self.round.get() + 1);
        let version = format!("2.{}.0", self.round.get());
        write_small(&folder, &package.to_string(), &version);
        time(|| {
            self.bed.quipu(home, &["publish", folder.to_str().unwrap(), "--quiet"]);
            after();
        })
    }

    /// Gets a package into a folder that was not there.
    pub(crate) fn get(&self, home: &Path, package: &PackageName) -> Duration {
        let to = self.bed.path(&self.fresh("got"));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let what = format!("{DOMAIN}/{package}");
        time(|| drop(self.bed.quipu(home, &["get", &what, "--to", to.to_str().unwrap(), "--quiet"])))
    }

    /// Lets the operator accept what waits.
    pub(crate) fn accept(&self) -> Duration {
        let repository = self.repository.to_str().unwrap();
        time(|| drop(self.bed.quipu(&self.operator, &["registry", "accept", repository, "--quiet"])))
    }

    /// Verifies the repository on disk, and returns what was said.
    pub(crate) fn verify(&self, more: &[&str]) -> serde_json::Value {
        let args = ["verify", self.repository.to_str().unwrap(), "--json"];
        value(&self.bed.quipu(&self.operator, &[&args, more].concat()))
    }

    /// Returns the commit of the newest checkpoint.
    pub(crate) fn checkpoint(&self) -> String {
        self.bed.git(&self.repository, &["rev-parse", "refs/registry/log"]).trim().to_owned()
    }

    /// Returns the heads of the logs of some packages.
    pub(crate) fn heads(&self, count: usize) -> Vec<String> {
        let names = self.next_packages(count);
        let names: Vec<String> =
            names.iter().map(|name| format!("refs/packages/{}", name.to_string().replace(':', "/"))).collect();
        let args: Vec<&str> = std::iter::once("rev-parse").chain(names.iter().map(String::as_str)).collect();
        self.bed.git(&self.repository, &args).lines().map(str::to_owned).collect()
    }

    /// Writes the operators' keys to a file as git reads them. The one who imported all packages is the operator.
    pub(crate) fn allowed_signers(&self) -> PathBuf {
        let path = self.path("allowed-signers");
        let list = ["registry", "operator", "list", self.repository.to_str().unwrap(), "--allowed-signers"];
        fs::write(&path, self.bed.quipu(&self.operator, &list)).unwrap();
        path
    }

    /// Puts proposals of so many packages, a small new version each, where they wait.
    pub(crate) fn propose(&self, packages: usize) -> Result<()> {
        self.round.set(self.round.get() + 1);
        let secret = KeyFile::open(&self.kept.keys().join("alice"))?.secret()?.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let author = Author { signer: &secret, name: "alice".parse()?, now: Timestamp::from_unix(now)? };
        let store = Store::open(&self.repository)?;
        let (reader, mut objects) = (store.reader(), Staging::new(&store));
        let mut edits = Vec::new();
        for package in self.next_packages(packages) {
            let head = store.reference(&layout::package(&package))?.unwrap();
            let log = chains::package(&reader, head, &mut KeyCache::default())?.log;
            let name = log.name().clone();
            let mut work = Work::resume(log, name);
            let release =
                release(&mut objects, &format!("{package} {}", self.round.get()), &format!("3.{}.0", self.round.get()))?;
            let made = (release.version.to_string(), release.tree);
            work.add(&author, PackageEntry::Release(release.into()))?;
            work.write(&mut objects)?;
            let proposal = propose(&mut objects, work.log().chain().git_head(), &[made])?;
            edits.push(RefEdit { name: layout::incoming(&package, proposal), expected: Expected::Absent, new: Some(proposal) });
        }
        objects.finish()?;
        store.refresh()?;
        store.update(&edits)
    }
}

/// Writes a release of one small file, as the synthetic ones are.
fn release(objects: &mut Staging<'_>, text: &str, version: &str) -> Result<Release> {
    let mut contents = ContentsBuilder::new(limits(&Policy::default()));
    let file = contents.add("README".parse()?, false, text.as_bytes())?.clone();
    let blob = objects.write(ObjectKind::Blob, text.as_bytes())?;
    let tree = write_tree(objects, &[(file, blob)])?;
    let contents = contents.finish()?;
    Ok(Release {
        version: version.parse()?,
        content: contents.digest(),
        tree,
        size: contents.size(),
        files: contents.len() as u64,
        description: None,
        license: Some("MIT".to_owned()),
        links: Vec::new(),
        build: None,
        dependencies: Vec::new(),
    })
}

/// Writes a folder of two small files, of which one is the manifest.
pub(crate) fn write_small(folder: &Path, package: &str, version: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("README"), format!("{package} {version}\n")).unwrap();
    let manifest = format!("[package]\nname = \"{package}\"\nversion = \"{version}\"\nlicense = \"MIT\"\n");
    fs::write(folder.join("quipu.toml"), manifest).unwrap();
}

/// Returns the packages that have two releases, so that all that are measured are of one length; neighbours here are none in the registry.
fn with_two_releases(kept: &Kept) -> Vec<PackageName> {
    let synthetic = Synthetic { packages: kept.packages, seed: 1, shape: kept.shape.parse().unwrap(), files: Files::Own };
    let names: Vec<PackageName> = synthetic
        .offers()
        .map(Result::unwrap)
        .filter(|offer| offer.versions().len() == 2)
        .map(|offer| offer.package().clone())
        .collect();
    // A prime that is no factor of the count visits every place once.
    let step = [7919, 7927].into_iter().find(|prime| !names.len().is_multiple_of(*prime)).unwrap();
    (0..names.len()).map(|at| names[at * step % names.len()].clone()).collect()
}
