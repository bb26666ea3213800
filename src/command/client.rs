//! A registry as one user sees it: trusted or not, where it is, what was seen of it.

use super::context::Context;
use super::progress::aside;
use crate::disk::config::{Config, TrustFile};
use crate::disk::replace::{self, Access};
use crate::git::transport::{self, Url};
use crate::model::digest::RegistryId;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{PackageName, Reference, RegistryName};
use crate::replica::snapshot::{Evidence, PackageView, Reading, Snapshot};
use crate::trust::choose::check_anchor;
use crate::trust::memory::{Contradiction, Memory};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// A trusted registry.
pub struct Client<'c> {
    /// The context.
    pub context: &'c Context,
    /// Its name.
    pub name: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// Where it is.
    pub url: Url,
    /// Where else it is, for when that place cannot answer.
    mirrors: Vec<Url>,
    /// Where proposals to it go.
    pub push: Url,
    /// The user's own fork, where proposals are to go there and be named in a pull request.
    pub fork: Option<Url>,
    /// The fork that the settings name.
    known_fork: Option<String>,
    memory: Option<Memory>,
    cache: PathBuf,
    evidence: Box<Evidence<'c>>,
    /// Whether it was said that the server knows no filters.
    told: AtomicBool,
}

/// Says which registry is meant: the one that a reference names, the flag's, the project's, or the default.
///
/// # Errors
/// `no-registry`.
pub fn which(context: &Context, named: Option<&RegistryName>, project: Option<&RegistryName>) -> Result<RegistryName> {
    let found = named.or(context.flags.registry.as_ref()).or(project).or(context.config.registry.as_ref());
    found.cloned().ok_or_else(|| {
        fault!(NoRegistry, "no registry is named, and there is no default")
            .hint("make a registry: quipu registry init PATH --name DOMAIN")
            .hint("or trust one: quipu trust add DOMAIN URL")
    })
}

impl<'c> Client<'c> {
    /// Finds the registry that a reference means.
    ///
    /// # Errors
    /// Those of [`which`] and of [`Client::open`].
    pub fn of(context: &'c Context, reference: &Reference) -> Result<Self> {
        Client::open(context, which(context, reference.registry.as_ref(), None)?)
    }

    /// Finds a registry in the user's trust and settings, and what was seen of it.
    ///
    /// # Errors
    /// `not-trusted`, `bad-config` where its place is not known, `state-lost`.
    pub fn open(context: &'c Context, name: RegistryName) -> Result<Self> {
        let trust = TrustFile::load(&context.home)?;
        let Some(trusted) = trust.get(&name) else {
            let place = Config::load(&context.home)?.registries.get(&name).map_or("URL".to_owned(), |place| place.url.clone());
            return Err(fault!(NotTrusted, "the registry {name} is not trusted")
                .hint(format!("look at it and decide: quipu trust add {name} {place}")));
        };
        let id = trusted.id;
        let config = Config::load(&context.home)?;
        let Some(place) = config.registries.get(&name) else {
            return Err(fault!(BadConfig, "it is not known where the registry {name} is")
                .hint(format!("say it: quipu trust add {name} URL --id {id}")));
        };
        let url = Url::parse(&place.url, &context.folder)?;
        let push =
            place.push.as_deref().map(|push| Url::parse(push, &context.folder)).transpose()?.unwrap_or_else(|| url.clone());
        let mirrors = place.mirrors.iter().map(|mirror| Url::parse(mirror, &context.folder)).collect::<Result<Vec<Url>>>()?;
        let known_fork = place.fork.clone();
        if !context.flags.offline {
            transport::prepare_ahead(&url);
        }
        let memory = recall(context, id)?;
        if memory.is_none() && trusted.seen {
            return Err(lost(context, &name, id, &place.url));
        }
        let cache = context.home.cache_of(id);
        let evidence = keep_evidence(context, id);
        Ok(Client {
            context,
            name,
            id,
            url,
            mirrors,
            push,
            fork: None,
            known_fork,
            memory,
            cache,
            evidence,
            told: AtomicBool::new(false),
        })
    }

    /// Sends proposals to the user's own fork: the given one, or that of the settings.
    ///
    /// # Errors
    /// `usage` where there is none, `bad-url`.
    pub fn propose_by(&mut self, given: Option<&str>) -> Result<()> {
        let Some(fork) = given.or(self.known_fork.as_deref()) else {
            return Err(fault!(Usage, "it is not known where your fork of {} is", self.name)
                .hint("fork its repository on the forge, then say where: --fork URL")
                .hint(format!(
                    "or once for all: fork = \"URL\" under [registries.\"{}\"] in {}",
                    self.name,
                    self.context.home.config_file().display()
                )));
        };
        self.fork = Some(Url::parse(fork, &self.context.folder)?);
        Ok(())
    }

    /// Reads the registry as it is now: at its own place or, where that cannot answer, at the first mirror that can. Who did not answer is said.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`] at the registry's own place, where no mirror can answer either; `fork` wherever it is seen: two histories that
    /// the registry's operators signed are no failure of one place.
    pub fn snapshot<'s>(&'s self, package: Option<&'s PackageName>) -> Result<Snapshot<'s>> {
        let mut failures: Vec<(&Url, Error)> = Vec::new();
        let mut stale = None;
        for url in std::iter::once(&self.url).chain(&self.mirrors) {
            match self.open_at(url, package) {
                Ok(snapshot) => match snapshot.check_fresh(self.context.now) {
                    Err(error) if !self.mirrors.is_empty() => {
                        failures.push((url, error));
                        stale.get_or_insert(snapshot);
                    }
                    _ => {
                        self.tell(&failures, url);
                        return Ok(snapshot);
                    }
                },
                Err(error) if self.mirrors.is_empty() || !is_of_one_place(error.code()) => return Err(error),
                Err(error) => failures.push((url, error)),
            }
        }
        // One that is past its time is better than none: whoever needs a fresh one says so.
        if let Some(snapshot) = stale {
            return Ok(snapshot);
        }
        let mut failures = failures.into_iter();
        let Some((_, error)) = failures.next() else { return Err(fault!(Bug, "{} has no place", self.name)) };
        Err(failures.fold(error, |error, (mirror, why)| {
            error.hint(format!("its mirror {mirror} did not answer either: {}", why.message()))
        }))
    }

    /// Takes what a lock says was seen as seen.
    pub fn also_seen(&mut self, memory: Memory) {
        self.memory = Some(match self.memory.take() {
            Some(own) => own.merge(memory),
            None => memory,
        });
    }

    /// Takes this alone as seen.
    pub fn only_seen(&mut self, memory: Memory) {
        self.memory = Some(memory);
    }

    /// Reads the registry as it was seen last, from what is kept on this machine.
    ///
    /// # Errors
    /// `network` where nothing is kept.
    pub fn snapshot_kept(&self) -> Result<Snapshot<'_>> {
        Snapshot::open(self.reading(&self.url, None, true))
    }

    /// Reads the registry as it is now at its own place, where it is moved on.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`].
    pub fn snapshot_at_home<'s>(&'s self, package: Option<&'s PackageName>) -> Result<Snapshot<'s>> {
        self.open_at(&self.url, package)
    }

    fn open_at<'s>(&'s self, url: &'s Url, package: Option<&'s PackageName>) -> Result<Snapshot<'s>> {
        let snapshot = Snapshot::open(self.reading(url, package, self.context.flags.offline))?;
        if let Some((note, hint)) = whole_map(&snapshot, url)
            && !self.context.flags.quiet
            && !self.told.swap(true, Ordering::Relaxed)
        {
            // Where nobody listens nothing is said.
            aside(|| drop(writeln!(anstream::stderr(), "note: {note}\nhint: {hint}")));
        }
        Ok(snapshot)
    }

    fn reading<'s>(&'s self, url: &'s Url, package: Option<&'s PackageName>, offline: bool) -> Reading<'s> {
        Reading {
            url,
            expected: Some((&self.name, self.id)),
            memory: self.memory.as_ref(),
            cache: Some(&self.cache),
            package,
            terminal: self.context.terminal(),
            offline,
            evidence: &*self.evidence,
        }
    }

    /// Says who did not answer, and who did instead.
    fn tell(&self, failures: &[(&Url, Error)], answered: &Url) {
        if self.context.flags.quiet || self.context.flags.json || failures.is_empty() {
            return;
        }
        aside(|| {
            let mut err = anstream::stderr();
            for (url, error) in failures {
                // Where nobody listens nothing is said.
                let _ = writeln!(err, "warning: {url} could not answer for {}: {error}", self.name);
            }
            let _ = writeln!(err, "note: {answered} answers for {} instead, verified alike", self.name);
        });
    }

    /// Reads the package that a reference means, as it is now, and checks the reference's anchor.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`] and [`Snapshot::package`], `anchor-mismatch`.
    pub fn look<'s>(&'s self, reference: &'s Reference) -> Result<(Snapshot<'s>, PackageView)> {
        let mut snapshot = self.snapshot(Some(&reference.package))?;
        let view = snapshot.package(&reference.package)?;
        check_anchor(&view.log.log, reference.anchor.as_ref())?;
        Ok((snapshot, view))
    }

    /// Keeps what was fetched and verified, and remembers what was seen.
    ///
    /// # Errors
    /// `io`.
    pub fn remember<'v>(
        &self,
        snapshot: &Snapshot<'_>,
        views: impl IntoIterator<Item = (&'v PackageName, &'v PackageView)>,
    ) -> Result<()> {
        if self.context.flags.offline {
            return Ok(());
        }
        snapshot.keep()?;
        let mut memory = snapshot.remember(views);
        memory.keep_records_only();
        if self.memory.as_ref() != Some(&memory) {
            save(self.context, self.id, memory)?;
        }
        let is_new = |trust: &TrustFile| trust.get(&self.name).is_some_and(|trusted| !trusted.seen);
        if is_new(&TrustFile::load(&self.context.home)?) {
            TrustFile::change(&self.context.home, |trust| {
                for trusted in trust.registries.iter_mut().filter(|trusted| trusted.name == self.name) {
                    trusted.seen = true;
                }
            })?;
        }
        Ok(())
    }
}

/// Says, where a server turned out to know no filters, what that cost and what its host can do about it.
pub fn whole_map(snapshot: &Snapshot<'_>, url: &Url) -> Option<(String, &'static str)> {
    let note = || format!("{url} knows no filters, so the whole map of the registry was fetched; from now on what changes in it");
    snapshot.is_found_without_filters().then(|| (note(), "its host can change that: git config uploadpack.allowFilter true"))
}

/// Says whether an error tells of the place that was asked rather than of the registry, so that another place may answer.
fn is_of_one_place(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::Fork | ErrorCode::StateLost | ErrorCode::Io | ErrorCode::Bug | ErrorCode::Usage)
}

/// Says that what was seen of a registry is gone.
pub fn lost(context: &Context, name: &RegistryName, id: RegistryId, url: &str) -> Error {
    fault!(StateLost, "what was remembered of {name} is gone: {}", context.home.state_file(id).display())
        .hint("without it a registry that went back could not be told from one that did not")
        .hint(format!("to begin anew on purpose: quipu trust add {name} {url} --id {id}"))
}

/// Checks that what was seen of a registry is still there.
///
/// # Errors
/// `state-lost`.
pub fn require_memory(context: &Context, name: &RegistryName, id: RegistryId, url: &str) -> Result<()> {
    recall(context, id)?.map(drop).ok_or_else(|| lost(context, name, id, url))
}

/// Reads what was seen of a registry.
///
/// # Errors
/// `state-lost` where it is damaged.
pub fn recall(context: &Context, id: RegistryId) -> Result<Option<Memory>> {
    let path = context.home.state_file(id);
    let Some(bytes) = replace::read(&path)? else { return Ok(None) };
    let memory = Memory::parse(&bytes).map_err(|error| {
        error
            .at(path.display())
            .hint("to begin anew on purpose, remove the file and give the id: quipu trust add DOMAIN URL --id …")
    })?;
    Ok(Some(memory))
}

/// Writes what was seen, without losing what another process saw meanwhile.
///
/// # Errors
/// `io`, `state-lost`.
pub fn save(context: &Context, id: RegistryId, mut memory: Memory) -> Result<()> {
    let _lock = context.home.lock()?;
    if let Some(other) = recall(context, id)? {
        memory = memory.merge(other);
    }
    replace::replace(&context.home.state_file(id), memory.to_text()?.as_bytes(), Access::Private)
}

/// Returns what saves a contradiction and says where.
pub fn keep_evidence(context: &Context, id: RegistryId) -> Box<Evidence<'_>> {
    Box::new(move |contradiction| match contradiction.seen.is_empty() {
        // What only a lock knows is known by its digest.
        true => contradiction.error.hint(format!("what was seen before is what {} says", crate::model::lockfile::FILE)),
        false => keep_both(context, id, contradiction),
    })
}

fn keep_both(context: &Context, id: RegistryId, contradiction: Contradiction) -> Error {
    match context.home.save_evidence(id, &contradiction.seen, &contradiction.found) {
        Ok(folder) => contradiction.error.hint(format!("both signed objects are kept in {}", folder.display())),
        Err(why) => contradiction.error.hint(format!("the two signed objects could not be kept: {}", why.message())),
    }
}
