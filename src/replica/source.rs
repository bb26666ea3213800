//! Where a registry is read from: a repository on this machine, or another one through a quarantine.

use super::snapshot::Reading;
use crate::git::cache::Cache;
use crate::git::layout::{self, RefName};
use crate::git::quarantine::Quarantine;
use crate::git::store::{Reader, Store};
use crate::git::transport::{self, FetchOptions, Filter, Negotiate, Url, Want};
use crate::model::digest::{GitId, ObjectFormat};
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::name::PackageName;
use crate::replica::chains;
use crate::trust::memory::Memory;
use std::path::Path;

/// A registry's repository, as far as it is here.
pub(crate) enum Source {
    /// It is on this machine, and is read as it is.
    Disk(Store),
    /// Only what was verified and kept before is here, and nothing else is asked for.
    Kept(Cache),
    /// What was fetched of it stays apart from what was verified before.
    Remote(Box<Remote>),
}

/// A registry on another machine.
pub(crate) struct Remote {
    url: Url,
    quarantine: Quarantine,
    cache: Option<Cache>,
    terminal: bool,
}

/// The heads that a source has.
pub(crate) struct Heads {
    pub(crate) log: GitId,
    pub(crate) operators: GitId,
    /// The package that was asked about: what its reference names.
    pub(crate) package: Option<GitId>,
}

/// Asks for what lies above commits that are here.
fn after(tips: Vec<GitId>) -> FetchOptions {
    FetchOptions {
        negotiate: if tips.is_empty() { Negotiate::Nothing } else { Negotiate::Commits(tips) },
        ..FetchOptions::default()
    }
}

fn here(name: &str) -> Result<RefName> {
    format!("refs/quipu/{name}").parse()
}

impl Source {
    /// Opens a registry and finds its heads, and that of the package that is asked for.
    pub(crate) fn open(reading: &Reading<'_>) -> Result<(Self, Heads)> {
        let Reading { url, memory, package, .. } = *reading;
        if let Some(path) = url.is_local() {
            return Source::Disk(Store::open(path)?).again(reading);
        }
        let cache = reading.cache.filter(|path| path.exists()).and_then(|path| Cache::open(path).ok());
        if reading.offline {
            return match (cache, memory) {
                (Some(cache), Some(memory)) => {
                    let package = package.and_then(|package| memory.packages.get(package)).map(|seen| seen.commit);
                    let heads = Heads { log: memory.checkpoint.commit, operators: memory.operators.commit, package };
                    Ok((Source::Kept(cache), heads))
                }
                _ => {
                    Err(fault!(Network, "nothing of {url} is kept on this machine").hint("once without --offline brings it here"))
                }
            };
        }
        let format =
            cache.as_ref().map(|cache| cache.store().format()).or(memory.map(|memory| memory.checkpoint.commit.format()));
        let open = |format, cache| Remote::open(url, format, cache, memory, package, reading.terminal);
        let (remote, heads) = match open(format.unwrap_or(ObjectFormat::Sha1), cache) {
            // Nothing says beforehand which format a registry has.
            Err(error) if format.is_none() && error.message().contains("mismatched algorithms") => {
                open(ObjectFormat::Sha256, None)?
            }
            opened => opened?,
        };
        Ok((Source::Remote(Box::new(remote)), heads))
    }

    /// Finds the heads as they are now, without opening again what is on this machine.
    pub(crate) fn again(self, reading: &Reading<'_>) -> Result<(Self, Heads)> {
        let Source::Disk(store) = &self else { return Source::open(reading) };
        let (log, operators) = super::standing::heads(store)?;
        let package = reading.package.map(|package| store.reference(&layout::package(package))).transpose()?.flatten();
        Ok((self, Heads { log, operators, package }))
    }

    pub(crate) fn store(&self) -> &Store {
        match self {
            Source::Disk(store) => store,
            Source::Kept(cache) => cache.store(),
            Source::Remote(remote) => remote.quarantine.store(),
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        self.store().reader()
    }

    /// Asks again what a reference names.
    pub(crate) fn reference(&self, name: &RefName) -> Result<Option<GitId>> {
        match self {
            Source::Disk(store) => store.reference(name),
            Source::Kept(_) => Ok(None),
            Source::Remote(remote) => {
                let again = here("again")?;
                let scratch = remote.scratch()?;
                match remote.fetch_into(&scratch, &[Want::reference(name.clone()).to(again.clone())], FetchOptions::default()) {
                    Ok(()) => scratch.store().reference(&again),
                    Err(error) if error.code() == ErrorCode::RefMissing => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Brings objects here by their ids, with all that they stand on.
    pub(crate) fn need(&self, ids: &[GitId]) -> Result<()> {
        match self {
            Source::Disk(_) => Err(fault!(RefMissing, "the repository does not have the object {}", ids[0])),
            Source::Kept(_) => Err(fault!(Network, "the object {} is not kept on this machine", ids[0])
                .hint("once without --offline brings it here")),
            Source::Remote(remote) => {
                let wants: Vec<Want> = ids.iter().copied().map(Want::id).collect();
                remote.fetch_into(&remote.quarantine, &wants, FetchOptions::default())
            }
        }
    }

    /// Brings a reference's commit here, with its tree.
    pub(crate) fn need_reference(&self, name: &RefName) -> Result<Option<GitId>> {
        match self {
            Source::Disk(store) => store.reference(name),
            Source::Kept(_) => Ok(None),
            Source::Remote(remote) => {
                let to = here("named")?;
                match remote.fetch_into(
                    &remote.quarantine,
                    &[Want::reference(name.clone()).to(to.clone())],
                    FetchOptions::default(),
                ) {
                    Ok(()) => remote.quarantine.store().reference(&to),
                    Err(error) if error.code() == ErrorCode::RefMissing => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Says whether what is kept is read along with what was fetched, so that keeping it takes nothing out of reach.
    pub(crate) fn is_kept_beside(&self) -> bool {
        matches!(self, Source::Remote(remote) if remote.cache.is_some())
    }

    /// Keeps what was fetched, now that it is verified.
    pub(crate) fn keep(&self, cache: &Path) -> Result<()> {
        let Source::Remote(remote) = self else { return Ok(()) };
        let made;
        let cache = match &remote.cache {
            Some(cache) => cache,
            None => {
                made = Cache::open_or_init(cache, remote.quarantine.store().format())?;
                &made
            }
        };
        remote.quarantine.keep(cache.store())?;
        // What cannot be merged is as good as before, and is tried again the next time.
        let _ = cache.tidy();
        remote.quarantine.store().refresh()
    }

    /// Brings the registry log's commits here, without their trees, as far as they go back.
    pub(crate) fn history(&self) -> Result<Quarantine> {
        let Source::Remote(remote) = self else { return Err(fault!(Bug, "a repository on disk has its history")) };
        let scratch = remote.scratch()?;
        let options = FetchOptions { filter: Some(Filter::Trees(0)), ..FetchOptions::default() };
        remote.fetch_into(&scratch, &[Want::reference(layout::registry_log()).to(here("log")?)], options)?;
        Ok(scratch)
    }
}

impl Remote {
    fn open(
        url: &Url,
        format: ObjectFormat,
        cache: Option<Cache>,
        memory: Option<&Memory>,
        package: Option<&PackageName>,
        terminal: bool,
    ) -> Result<(Self, Heads)> {
        let alternates: Vec<_> = cache.iter().map(|cache| cache.store().objects_path()).collect();
        let quarantine = Quarantine::new(format, &alternates)?;
        let remote = Remote { url: url.clone(), quarantine, cache, terminal };
        let reader = remote.quarantine.store().reader();
        let known = |id: GitId| id.format() == format && reader.contains(id);

        // The registry log from the checkpoint that was seen last, or else its newest checkpoint alone: the log may be long.
        let seen = memory.map(|memory| memory.checkpoint.commit).filter(|id| known(*id));
        if let Some(seen) = seen {
            remote.quarantine.set_shallow(&[seen])?;
        }
        // The other logs are short and come whole, from what was seen of them last.
        let of_package = memory.zip(package).and_then(|(memory, package)| memory.packages.get(package)).map(|seen| seen.commit);
        let mut tips: Vec<GitId> = memory.map(|memory| memory.operators.commit).into_iter().chain(of_package).collect();
        tips.retain(|id| known(*id));

        let (log, operators, named) = (here("log")?, here("operators")?, here("package")?);
        let of_log = Want::reference(layout::registry_log()).to(log.clone());
        let of_operators = Want::reference(layout::operators()).to(operators.clone());
        let of_named = package.map(|package| Want::reference(layout::package(package)).to(named.clone()));
        let rest: Vec<Want> = std::iter::once(of_operators.clone()).chain(of_named).collect();
        // What was all seen before comes over one connection; where some of it is gone, what is left is asked for apart.
        let is_all_seen = package.is_none() || of_package.is_some();
        let together = match seen.filter(|_| is_all_seen) {
            Some(seen) => {
                let all: Vec<Want> = std::iter::once(&of_log).chain(&rest).cloned().collect();
                let tips = std::iter::once(seen).chain(tips.iter().copied()).collect();
                match remote.fetch_into(&remote.quarantine, &all, after(tips)) {
                    Err(error) if error.code() == ErrorCode::RefMissing => false,
                    fetched => fetched.map(|()| true)?,
                }
            }
            None => false,
        };
        if !together {
            let newest = FetchOptions { depth: Some(1), ..FetchOptions::default() };
            let (first, second) = std::thread::scope(|scope| {
                let rest = scope.spawn(|| remote.fetch_into(&remote.quarantine, &rest, after(tips.clone())));
                let options = seen.map_or(newest, |seen| after(vec![seen]));
                let first = remote.fetch_into(&remote.quarantine, &[of_log], options);
                (first, rest.join().unwrap_or_else(|_| Err(fault!(Bug, "a fetch panicked"))))
            });
            first.map_err(|error| match error.code() {
                ErrorCode::RefMissing => {
                    fault!(BadRepository, "{url} is a git repository and no registry: it has no {}", layout::registry_log())
                }
                _ => error,
            })?;
            match second {
                // Only the package is missing; whether that is right is for the map to say.
                Err(error) if error.code() == ErrorCode::RefMissing && package.is_some() => {
                    remote.fetch_into(&remote.quarantine, &[of_operators], after(tips))?;
                }
                fetched => fetched?,
            }
        }
        let at = |name: &RefName| remote.quarantine.store().reference(name);
        let gone = |name: RefName| fault!(RefMissing, "{url}: {name} is gone");
        let heads = Heads {
            log: at(&log)?.ok_or_else(|| gone(layout::registry_log()))?,
            operators: at(&operators)?.ok_or_else(|| gone(layout::operators()))?,
            package: at(&named)?,
        };
        Ok((remote, heads))
    }

    fn scratch(&self) -> Result<Quarantine> {
        Quarantine::new(self.quarantine.store().format(), &[])
    }

    fn fetch_into(&self, quarantine: &Quarantine, wants: &[Want], options: FetchOptions) -> Result<()> {
        transport::fetch(quarantine, &self.url, wants, &FetchOptions { terminal: self.terminal, ..options }).map(drop)
    }
}

/// Says whether the log below a head is here as a whole.
pub(crate) fn is_whole(reader: &Reader, head: GitId) -> Result<bool> {
    match chains::walk(reader, head) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
