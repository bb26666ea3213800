//! A registry as one user sees it: trusted or not, where it is, what was seen of it.

use super::answer::Answer;
use super::context::{Context, say};
use super::progress::aside;
use crate::disk::config::Config;
use crate::disk::replace::{self, Access};
use crate::disk::trusted::{Source, Trust, TrustFile, Trusted};
use crate::git::store::Store;
use crate::git::transport::{self, Url};
use crate::log::decision::Reset;
use crate::model::digest::RegistryId;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{FullName, PackageName, Reference, RegistryName};
use crate::replica::places::Standing;
use crate::replica::snapshot::{Evidence, PackageView, Reading, Snapshot, Troubles};
use crate::trust::choose::check_anchor;
use crate::trust::memory::{Contradiction, Memory};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// How it is trusted.
    trusted: Trusted,
    /// Where proposals to it go.
    pub push: Url,
    /// The user's own fork, where proposals are to go there and be named in a pull request.
    pub fork: Option<Url>,
    /// The fork that the settings name.
    known_fork: Option<String>,
    memory: Option<Memory>,
    /// What a lock says was seen earlier.
    locked: Option<Memory>,
    cache: PathBuf,
    evidence: Box<Evidence<'c>>,
    troubles: Arc<Troubles>,
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
        let mut client = Client::open(context, which(context, reference.registry.as_ref(), None)?)?;
        // With an anchor it is said which log is meant, whichever was seen before.
        if reference.anchor.is_some() {
            client.follow(&reference.package);
        }
        Ok(client)
    }

    /// Finds a registry in the user's trust and settings, and what was seen of it.
    ///
    /// # Errors
    /// `not-trusted`, `bad-config` where its place is not known, `state-lost`.
    pub fn open(context: &'c Context, name: RegistryName) -> Result<Self> {
        let trust = Trust::load(&context.home)?;
        let place = trust.place(&name, &Config::load(&context.home)?);
        let Some(trusted) = trust.get(&name).cloned() else {
            let url = place.map_or("URL".to_owned(), |place| place.url);
            return Err(fault!(NotTrusted, "the registry {name} is not trusted")
                .hint(format!("look at it and decide: quipu trust add {name} {url}")));
        };
        let id = trusted.id;
        let Some(place) = place else {
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
        let (quiet, of) = (context.flags.quiet, name.clone());
        let troubles = move |lost: &Url, error: &Error, other: &Url| {
            say(quiet, "warning", &format!("{lost} did not hand out all of {of}: {error}"));
            say(quiet, "note", &format!("{other} does instead, verified alike"));
        };
        Ok(Client {
            context,
            name,
            id,
            url,
            mirrors,
            trusted,
            push,
            fork: None,
            known_fork,
            memory,
            locked: None,
            cache,
            evidence,
            troubles: Arc::new(troubles),
            told: AtomicBool::new(false),
        })
    }

    /// Says whether a person may be asked for a password when it is read.
    pub fn may_ask(&self) -> bool {
        std::iter::once(&self.url).chain(&self.mirrors).any(Url::may_ask)
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

    /// Reads the registry as it is now: at its own place and at its mirrors, whichever has the newest checkpoint. Where it is not its own place
    /// that answers, or one of them lies, that is said.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`].
    pub fn snapshot<'s>(&'s self, package: Option<&'s PackageName>) -> Result<Snapshot<'s>> {
        let snapshot = self.open_at(&self.mirrors, package)?;
        self.tell(&snapshot);
        Ok(snapshot)
    }

    /// Takes what a lock says was seen as seen.
    pub fn also_seen(&mut self, memory: Memory) {
        self.locked = self.memory.as_ref().filter(|own| own.checkpoint.seq > memory.checkpoint.seq).map(|_| memory.clone());
        self.memory = Some(match self.memory.take() {
            Some(own) => own.merge(memory),
            None => memory,
        });
    }

    /// Checks that a registry stands on what a lock says was seen, where the user has seen later things.
    ///
    /// # Errors
    /// `fork`; those of the transport.
    pub fn check_locked(&self, snapshot: &Snapshot<'_>) -> Result<()> {
        match &self.locked {
            Some(locked) if !self.context.flags.offline && snapshot.checkpoint().seq() > locked.checkpoint.seq => {
                snapshot.check_seen(locked)
            }
            _ => Ok(()),
        }
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
        Snapshot::open(self.reading(&[], None, true))
    }

    /// Reads the registry as it is now at other machines, with what is fetched beside a repository: for whoever takes it from there.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`].
    pub fn snapshot_beside<'s>(&'s self, store: &'s Store) -> Result<Snapshot<'s>> {
        let reading = self.reading(&self.mirrors, None, self.context.flags.offline);
        let snapshot = Snapshot::open(Reading { beside: Some(store), cache: None, ..reading })?;
        self.tell(&snapshot);
        Ok(snapshot)
    }

    /// Reads the registry as it is now at its own place, where it is moved on.
    ///
    /// # Errors
    /// Those of [`Snapshot::open`].
    pub fn snapshot_at_home<'s>(&'s self, package: Option<&'s PackageName>) -> Result<Snapshot<'s>> {
        self.open_at(&[], package)
    }

    fn open_at<'s>(&'s self, mirrors: &'s [Url], package: Option<&'s PackageName>) -> Result<Snapshot<'s>> {
        let snapshot = Snapshot::open(self.reading(mirrors, package, self.context.flags.offline))?;
        if let Some((note, hint)) = whole_map(&snapshot)
            && !self.context.flags.quiet
            && !self.told.swap(true, Ordering::Relaxed)
        {
            // Where nobody listens nothing is said.
            aside(|| drop(writeln!(anstream::stderr(), "note: {note}\nhint: {hint}")));
        }
        Ok(snapshot)
    }

    fn reading<'s>(&'s self, mirrors: &'s [Url], package: Option<&'s PackageName>, offline: bool) -> Reading<'s> {
        Reading {
            mirrors,
            expected: Some((&self.name, self.id)),
            memory: self.memory.as_ref(),
            cache: Some(&self.cache),
            package,
            terminal: self.context.terminal(),
            offline,
            patience: self.context.patience(),
            troubles: self.troubles.clone(),
            ..Reading::anew(&self.url, self.context.now, &*self.evidence)
        }
    }

    /// Says who did not answer, where somebody else did instead, and whose answer does not hold.
    fn tell(&self, snapshot: &Snapshot<'_>) {
        let places = snapshot.places();
        if self.context.flags.json {
            return;
        }
        let Some(answers) = places.iter().position(|place| matches!(place.standing, Standing::Answers)) else { return };
        for (at, place) in places.iter().enumerate() {
            let url = &place.url;
            match &place.standing {
                // A mirror that is out of reach, or not there yet, matters to nobody while another one answers.
                Standing::Failed(error) if at < answers || is_lie(error) => {
                    self.context.warn(&format!("{url} could not answer for {}: {error}", self.name));
                }
                Standing::Slow if at < answers => {
                    self.context.warn(&format!("{url} was too slow to answer for {}", self.name));
                }
                Standing::Behind(seq) if at < answers => {
                    let newest = snapshot.checkpoint().seq();
                    self.context.warn(&format!("{url} is behind: it has checkpoint {seq} of {}, not {newest}", self.name));
                }
                _ => {}
            }
        }
        if answers > 0 {
            self.context.note(&format!("{} answers for {} instead, verified alike", places[answers].url, self.name));
        }
    }

    /// Returns what came of each place where the registry is, for programs.
    pub fn sources(snapshot: &Snapshot<'_>) -> serde_json::Value {
        let sources = snapshot.places().iter().map(|place| {
            let url = place.url.to_string();
            match &place.standing {
                Standing::Answers => json!({ "url": url, "standing": "answers", "seq": snapshot.checkpoint().seq() }),
                Standing::Same => json!({ "url": url, "standing": "same", "seq": snapshot.checkpoint().seq() }),
                Standing::Behind(seq) => json!({ "url": url, "standing": "behind", "seq": seq }),
                Standing::Slow => json!({ "url": url, "standing": "slow" }),
                Standing::Failed(error) => {
                    json!({ "url": url, "standing": "failed", "code": error.code().as_str(), "message": error.message() })
                }
            }
        });
        sources.collect()
    }

    /// Checks that the registry is trusted for a package.
    ///
    /// # Errors
    /// `not-trusted`.
    pub fn check_trusted(&self, package: &PackageName) -> Result<()> {
        if self.trusted.covers(package) {
            return Ok(());
        }
        let only: Vec<String> = self.trusted.only.iter().map(ToString::to_string).collect();
        let (name, url) = (&self.name, &self.url);
        let error = fault!(NotTrusted, "{name} is trusted for {} only, which {package} is not", only.join(", "));
        let more = format!("{}:*", package.namespace());
        let patterns: String = only.iter().chain([&more]).map(|pattern| format!(" --only '{pattern}'")).collect();
        Err(error.hint(format!("to trust it for more: quipu trust add {name} {url}{patterns}")))
    }

    /// Follows the name of a package to another log, where the registry's operators gave it one by a reset. Whoever asks for that says so.
    pub fn follow(&mut self, package: &PackageName) {
        if let Some(memory) = &mut self.memory {
            memory.followed.insert(package.clone());
        }
    }

    /// Reads the package that a reference means, as it is now, and checks the reference's anchor. A name that was left leads to the one that the
    /// package has now.
    ///
    /// # Errors
    /// Those of [`Client::check_trusted`], [`Snapshot::open`], [`Snapshot::package`] and [`PackageView::followed`], `anchor-mismatch`.
    pub fn look<'s>(&'s self, reference: &'s Reference) -> Result<(Snapshot<'s>, PackageView)> {
        self.check_trusted(&reference.package)?;
        let mut snapshot = self.snapshot(Some(&reference.package))?;
        let mut view = snapshot.package(&reference.package)?;
        if let Some(anchor) = &reference.anchor {
            view = snapshot.meant_by(view, anchor)?;
        }
        let is_meant = reference.anchor.is_some_and(|anchor| view.holds(&anchor));
        // Who says which log is meant stays with it, whatever the name that it was left for means.
        let view = if is_meant && view.lost_to().is_some() { view } else { view.followed()? };
        if view.asked_as().is_some() {
            self.check_trusted(&view.name.package)?;
        }
        check_anchor(&view.log.log, reference.anchor.as_ref())?;
        Ok((snapshot, view))
    }

    /// Says in an answer that a package was asked for by a name that it left.
    pub fn tell_renamed(answer: &mut Answer, view: &PackageView) {
        if let Some(asked) = view.asked_as() {
            answer.line(format!("  note: {asked} was renamed, its name is {} now", view.name));
        }
        answer.field("renamed-to", view.asked_as().map(|_| view.name.to_string()));
        if let Some(reset) = view.put_aside() {
            answer.line(format!("  note: {}", Client::of_put_aside(&view.name, reset)));
        }
        answer.field("put-aside", view.put_aside().map(|reset| json!({ "new": reset.new.to_string(), "reason": reset.reason })));
    }

    /// Says that a log is not the one that the name means now.
    pub fn of_put_aside(name: &FullName, reset: &Reset) -> String {
        format!("the operators reset {name}: {}; this is the log of before, {}", reset.reason, reset.old)
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
        if !self.trusted.seen {
            TrustFile::change(&self.context.home, |trust| {
                match trust.registries.iter_mut().find(|trusted| trusted.name == self.name) {
                    Some(trusted) => trusted.seen = true,
                    // From now on it is remembered, whatever this machine's list says.
                    None if self.trusted.source == Source::System => {
                        trust.put(Trusted { seen: true, since: self.context.now.unix(), ..self.trusted.clone() });
                    }
                    None => {}
                }
            })?;
        }
        Ok(())
    }
}

/// Says, where a server turned out to know no filters, what that cost and what its host can do about it.
pub fn whole_map(snapshot: &Snapshot<'_>) -> Option<(String, &'static str)> {
    let url = snapshot.url();
    let note = || format!("{url} knows no filters, so the whole map of the registry was fetched; from now on what changes in it");
    snapshot.is_found_without_filters().then(|| (note(), "its host can change that: git config uploadpack.allowFilter true"))
}

/// Says whether a place handed out what does not hold, rather than nothing or what is old.
pub fn is_lie(error: &Error) -> bool {
    matches!(error.exit(), 4 | 5) && !matches!(error.code(), ErrorCode::Rollback | ErrorCode::Stale | ErrorCode::RefMissing)
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
