//! `quipu mirror`: other registries, held as they are beside one's own.

use super::answer::{Answer, count, error_object};
use super::client::keep_evidence;
use super::context::Context;
use super::progress::Progress;
use super::table::Table;
use super::trust;
use crate::disk::config::Config;
use crate::disk::replace;
use crate::disk::trusted::Trust;
use crate::git::store::Store;
use crate::git::transport::Url;
use crate::model::digest::{ObjectFormat, RecordDigest, RegistryId};
use crate::model::entry::Mirror;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::held::in_order;
use crate::model::key::KeyCache;
use crate::model::lockfile::Lockfile;
use crate::model::name::{Pattern, RegistryName};
use crate::replica::accept::{Asked, accept};
use crate::replica::author::Author;
use crate::replica::gather::{Gathering, Synced};
use crate::replica::mirror::{self, Kept, Syncing, Wanted};
use crate::replica::snapshot::{Reading, Snapshot};
use crate::replica::standing::Standing;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Hold other registries as they are, beside one's own
#[derive(Subcommand, Debug)]
pub enum Args {
    /// Mirror a registry, in full or in part: its records as they are, under its own name
    Add {
        /// The registry's name
        domain: RegistryName,
        /// Where it is: a path, or a URL that git can fetch; a mirror of it will do [default: where it is known to be]
        url: Option<String>,
        /// Mirror these packages only, like 'wasi:*' or wasi:http; may be given several times
        #[arg(long, value_name = "PATTERN", conflicts_with = "from_lock")]
        only: Vec<Pattern>,
        /// Mirror the packages of that registry that a quipu.lock names
        #[arg(long, value_name = "FILE")]
        from_lock: Option<PathBuf>,
        /// Hold logs, and not the files of releases
        #[arg(long)]
        logs_only: bool,
        /// Hold on to files that the registry takes down; everybody can see that
        #[arg(long, conflicts_with = "logs_only")]
        keep_taken_down: bool,
        /// The registry id that it must have, where it is not trusted here
        #[arg(long, value_name = "sha256:…")]
        id: Option<RegistryId>,
        /// Our own registry's repository [default: this folder]
        #[arg(long = "in", value_name = "PATH", default_value = ".", hide_default_value = true)]
        path: PathBuf,
    },
    /// Bring mirrors to where their registries are now
    Sync {
        /// Which; all where none is named
        domains: Vec<RegistryName>,
        /// Our own registry's repository [default: this folder]
        #[arg(long = "in", value_name = "PATH", default_value = ".", hide_default_value = true)]
        path: PathBuf,
    },
    /// List what is mirrored
    List {
        /// Our own registry's repository [default: this folder]
        #[arg(long = "in", value_name = "PATH", default_value = ".", hide_default_value = true)]
        path: PathBuf,
    },
    /// Mirror a registry no longer
    Remove {
        /// The registry's name
        domain: RegistryName,
        /// Our own registry's repository [default: this folder]
        #[arg(long = "in", value_name = "PATH", default_value = ".", hide_default_value = true)]
        path: PathBuf,
    },
}

/// How long another acceptor on this machine is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Runs the command.
///
/// # Errors
/// `not-trusted`, `not-found`, `unauthorized`; all that reading a registry can end in, and all that one's own repository can.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match args {
        Args::Add { domain, url, only, from_lock, logs_only, keep_taken_down, id, path } => {
            let store = open(context, path)?;
            let patterns = match from_lock {
                Some(file) => locked(context, domain, file)?,
                None => only.clone(),
            };
            let patterns = in_order(if patterns.is_empty() { vec![Pattern::All] } else { patterns })?;
            let known = known_mirror(&store, domain)?;
            let url = place(context, &store, domain, url.as_deref())?;
            let id = identity(context, domain, Some(&url), *id, known.map(|known| known.id))?;
            let keep_taken_down = *keep_taken_down;
            let wanted = Wanted { name: domain.clone(), id, patterns, contents: !logs_only, keep_taken_down };
            add(context, &store, &url, &wanted)
        }
        Args::Sync { domains, path } => sync(context, &open(context, path)?, domains),
        Args::List { path } => list(context, &open(context, path)?),
        Args::Remove { domain, path } => remove(context, &open(context, path)?, domain),
    }
}

/// Opens the repository of our own registry.
///
/// # Errors
/// Those of [`Store::open`].
pub fn open(context: &Context, path: &PathBuf) -> Result<Store> {
    Store::open(&context.path(path)).map_err(|error| match error.code() {
        ErrorCode::NotFound | ErrorCode::BadRepository => {
            error.hint("mirrors are held in a registry's own repository; say which: --in PATH")
        }
        _ => error,
    })
}

/// Returns the packages of a registry that a lock names.
fn locked(context: &Context, domain: &RegistryName, file: &PathBuf) -> Result<Vec<Pattern>> {
    let path = context.path(file);
    let bytes = replace::read(&path)?.ok_or_else(|| fault!(NotFound, "{}: there is no such file", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| fault!(BadConfig, "{}: the lock is not UTF-8", path.display()))?;
    let lock = Lockfile::parse(&text).map_err(|error| error.at(path.display()))?;
    let mut patterns = Vec::new();
    for (pin, package) in &lock.packages {
        let names = std::iter::once(&pin.name).chain(&package.asked_as);
        patterns.extend(names.filter(|name| name.registry == *domain).map(|name| Pattern::Package(name.package.clone())));
    }
    if patterns.is_empty() {
        return Err(fault!(NotFound, "{} names no package of {domain}", path.display()));
    }
    Ok(patterns)
}

/// Returns what the operators say of a registry that is mirrored, or was.
///
/// # Errors
/// Those of [`Standing::read`].
pub fn known_mirror(store: &Store, domain: &RegistryName) -> Result<Option<Mirror>> {
    let standing = Standing::read(store, &mut KeyCache::default())?;
    if standing.operators.log.registry() == domain {
        return Err(
            fault!(Usage, "{domain} is this registry itself, which is here already").hint("mirrors are of other registries")
        );
    }
    Ok(standing.operators.log.mirrors().find(|mirror| mirror.name == *domain).cloned())
}

fn url_key(domain: &RegistryName) -> String {
    format!("quipu-mirror.{domain}.url")
}

/// Finds out where a registry is: as given, as this repository remembers it, or as the user's settings say.
fn place(context: &Context, store: &Store, domain: &RegistryName, given: Option<&str>) -> Result<Url> {
    let kept = store.config(&url_key(domain))?;
    let said = match (given, kept) {
        (Some(given), _) => Some(given.to_owned()),
        (None, Some(kept)) => Some(kept),
        (None, None) => Trust::load(&context.home)?.place(domain, &Config::load(&context.home)?).map(|place| place.url),
    };
    let Some(said) = said else {
        return Err(fault!(BadConfig, "it is not known where the registry {domain} is")
            .hint(format!("say it: quipu mirror add {domain} URL")));
    };
    let url = Url::parse(&said, &context.folder)?;
    context.may_reach(&url)?;
    Ok(url)
}

/// Finds out which registry is meant by its name; nobody's word is taken for it unasked. The user may be asked about the one at a URL.
///
/// # Errors
/// `not-trusted` where nobody says, `id-mismatch`.
pub fn identity(
    context: &Context,
    domain: &RegistryName,
    url: Option<&Url>,
    given: Option<RegistryId>,
    known: Option<RegistryId>,
) -> Result<RegistryId> {
    let trusted = |context: &Context| Ok::<_, Error>(Trust::load(&context.home)?.get(domain).map(|trusted| trusted.id));
    let id = match known.or(given) {
        Some(id) => Some(id),
        None => trusted(context)?,
    };
    if let (Some(id), Some(given)) = (id, given)
        && id != given
    {
        return Err(fault!(IdMismatch, "{domain} was mirrored with the id {id} before, {given} is asked for")
            .hint("a name stands for one registry for ever"));
    }
    match (id, url) {
        (Some(id), _) => Ok(id),
        (None, Some(url)) if context.can_ask() && !context.flags.dry_run => {
            let wanted = trust::Wanted { domain, url: Some(url.as_str()), id: None, mirrors: &[], only: &[], is_hearsay: true };
            trust::add(context, &wanted)?;
            trusted(context)?.ok_or_else(|| fault!(NotTrusted, "the registry {domain} is not trusted"))
        }
        (None, url) => Err(fault!(NotTrusted, "the registry {domain} is not trusted, so nobody says that this is it")
            .hint(format!("look at it and decide: quipu trust add {domain} {}", url.map_or("URL", Url::as_str)))
            .hint("or say its id: --id sha256:…")),
    }
}

/// A registry that another one is to begin as a fork of.
pub struct Forked {
    /// Its name.
    pub name: RegistryName,
    /// Its id.
    pub id: RegistryId,
    /// Its newest checkpoint.
    pub checkpoint: RecordDigest,
    /// The place of that.
    pub seq: u64,
    /// Its object format.
    pub format: ObjectFormat,
    /// Where it is.
    pub url: Url,
}

impl Forked {
    /// Looks at the registry at a place.
    ///
    /// # Errors
    /// `not-trusted` where nobody says that it is the right one, `id-mismatch`; all that reading a registry can end in.
    pub fn look(context: &Context, from: &str, id: Option<RegistryId>) -> Result<Self> {
        let url = Url::parse(from, &context.folder)?;
        context.may_reach(&url)?;
        let evidence = |contradiction: crate::trust::memory::Contradiction| contradiction.error;
        let reading =
            Reading { terminal: context.terminal(), patience: context.patience(), ..Reading::anew(&url, context.now, &evidence) };
        let found = Snapshot::open(reading)?;
        let operators = &found.operators().log;
        let (name, found_id) = (operators.registry().clone(), operators.id());
        let id = identity(context, &name, Some(&url), id, None)?;
        if id != found_id {
            return Err(fault!(IdMismatch, "{url} has the registry id {found_id}, expected {id}")
                .hint("it is another registry that bears the same name; nothing was made"));
        }
        let checkpoint = found.checkpoint();
        let (seq, checkpoint) = (checkpoint.seq(), checkpoint.digest());
        Ok(Forked { name, id, checkpoint, seq, format: found.format(), url: url.clone() })
    }

    /// Mirrors it whole in the registry that began as its fork.
    ///
    /// # Errors
    /// Those of [`run`].
    pub fn hold(&self, context: &Context, store: &Store, answer: &mut Answer) -> Result<()> {
        let patterns = vec![Pattern::All];
        let wanted = Wanted { name: self.name.clone(), id: self.id, patterns, contents: true, keep_taken_down: false };
        let held = add(context, store, &self.url, &wanted).map_err(|error| {
            let path = store.path().display();
            error.hint(format!("the registry is made; go on with: quipu mirror add {} {} --in {path}", self.name, self.url))
        })?;
        answer.text.push_str(&held.text);
        answer.fields.extend(held.fields);
        answer.line("its owners move their packages with: quipu rename");
        Ok(())
    }
}

/// A mirror that is brought to where its registry is now.
pub struct One<'o> {
    /// The context.
    pub context: &'o Context,
    /// The repository.
    pub store: &'o Store,
    /// Who makes checkpoints in it.
    pub author: &'o Author<'o>,
    /// Where the registry is.
    pub url: &'o Url,
    /// What is to be held of it.
    pub wanted: &'o Wanted,
}

/// What became of one.
pub enum Done {
    /// It would go to the first of these checkpoints; it holds the second.
    Would(u64, Option<u64>),
    /// It did something, and held this checkpoint before.
    Did(Synced, Option<u64>),
}

impl One<'_> {
    /// Brings it there; `says` lets the operators say so first.
    ///
    /// # Errors
    /// Those of [`run`].
    pub fn run(&self, says: bool) -> Result<Done> {
        let One { context, store, wanted, url, .. } = *self;
        let standing = Standing::read(store, &mut KeyCache::default())?;
        let kept = Kept::read(store, &standing, &wanted.name)?;
        let before = kept.as_ref().map(|kept| kept.held.seq);
        let memory = kept.as_ref().map(|kept| kept.memory(store)).transpose().map_err(|error| {
            let domain = &wanted.name;
            error.hint(format!(
                "what is held is damaged; hold it anew: quipu mirror remove {domain}, quipu mirror add {domain} URL"
            ))
        })?;
        let evidence = keep_evidence(context, wanted.id);
        let reading = Reading {
            expected: Some((&wanted.name, wanted.id)),
            memory: memory.as_ref(),
            beside: Some(store),
            terminal: context.terminal(),
            patience: context.patience(),
            ..Reading::anew(url, context.now, &*evidence)
        };
        let upstream = Snapshot::open(reading).map_err(|error| match (error.code(), before) {
            (_, Some(seq)) if error.exit() == 4 => {
                error.hint(format!("nothing was taken from it; the mirror goes on serving checkpoint {seq}"))
            }
            _ => error,
        })?;
        upstream.check_fresh(context.now)?;
        if context.flags.dry_run {
            return Ok(Done::Would(upstream.checkpoint().seq(), before));
        }
        // It was fetched without the lock: nobody waits for a slow registry.
        let lock = store.lock(LOCK_WAIT, "quipu: mirroring")?;
        accept(&lock, store, self.author, Asked::Left)?;
        let standing = Standing::read(store, &mut KeyCache::default())?;
        let kept = Kept::read(store, &standing, &wanted.name)?;
        let bar = Progress::new(context, "packages");
        let progress = &|done, all| bar.at(done, all);
        let what = Gathering { store, wanted, kept: kept.as_ref(), upstream: &upstream, since: None, progress };
        let syncing = Syncing { lock: &lock, author: self.author, standing: &standing, says, what };
        let done = syncing.run();
        bar.end();
        done.map(|synced| Done::Did(synced, before))
    }
}

fn add(context: &Context, store: &Store, url: &Url, wanted: &Wanted) -> Result<Answer> {
    let signing = context.signing(&context.key()?)?;
    let author = signing.operator()?;
    let known = known_mirror(store, &wanted.name)?;
    let says = known.map(|known| Wanted::of(&known)).transpose()?.as_ref() != Some(wanted);
    let done = One { context, store, author: &author, url, wanted }.run(says)?;
    if !context.flags.dry_run && store.config(&url_key(&wanted.name))?.as_deref() != Some(url.as_str()) {
        store.set_config(&[(&url_key(&wanted.name), url.as_str())])?;
    }
    let mut answer = report(wanted, &done, url);
    if !context.flags.dry_run {
        answer.line("next: keep it up to date, by hand or by a timer:");
        let here = std::fs::canonicalize(&context.folder).is_ok_and(|folder| folder == store.path());
        let place = if here { String::new() } else { format!(" --in {}", store.path().display()) };
        answer.line(format!("    quipu mirror sync {}{place}", wanted.name));
    }
    Ok(answer)
}

/// Says what became of a mirror that was asked for by itself.
pub fn report(wanted: &Wanted, done: &Done, from: &dyn std::fmt::Display) -> Answer {
    let mut answer = Answer::new();
    let told = tell(&mut answer, wanted, done);
    answer.line(format!("  holds     {}", in_words(wanted)));
    answer.line(format!("  from      {from}"));
    answer.field("mirrors", json!([told]));
    answer
}

fn in_words(wanted: &Wanted) -> String {
    let patterns: Vec<String> = wanted.patterns.iter().take(8).map(ToString::to_string).collect();
    let what = match wanted.patterns.as_slice() {
        [Pattern::All] => "all packages".to_owned(),
        more if more.len() > patterns.len() => format!("{} and {} more", patterns.join(", "), more.len() - patterns.len()),
        _ => patterns.join(", "),
    };
    match (wanted.contents, wanted.keep_taken_down) {
        (false, _) => format!("{what}: logs only"),
        (true, false) => what,
        (true, true) => format!("{what}; also files that were taken down"),
    }
}

fn sync(context: &Context, store: &Store, domains: &[RegistryName]) -> Result<Answer> {
    let standing = Standing::read(store, &mut KeyCache::default())?;
    let mirrors = standing.operators.log.mirrors().filter(|mirror| !mirror.patterns.is_empty());
    let mirrors: Vec<Wanted> = mirrors.map(Wanted::of).collect::<Result<_>>()?;
    for domain in domains {
        if mirrors.iter().all(|wanted| wanted.name != *domain) {
            let own = standing.operators.log.registry();
            return Err(fault!(NotFound, "{own} does not mirror {domain}").hint(format!("quipu mirror add {domain} URL")));
        }
    }
    let chosen = mirrors.into_iter().filter(|wanted| domains.is_empty() || domains.contains(&wanted.name));
    let signing = context.signing(&context.key()?)?;
    let author = signing.operator()?;
    let (mut answer, mut told) = (Answer::new(), Vec::new());
    for ended in standing.operators.log.mirrors().filter(|mirror| mirror.patterns.is_empty()) {
        // Whoever removed it was killed.
        if domains.is_empty() && !context.flags.dry_run && mirror::is_left(store, &standing, &ended.name)? {
            let lock = store.lock(LOCK_WAIT, "quipu: mirroring")?;
            accept(&lock, store, &author, Asked::Left)?;
            mirror::remove(&lock, store, &author, &ended.name)?;
            answer.line(format!("{}: what was left of it is gone: it is mirrored no longer", ended.name));
            told.push(json!({ "registry": ended.name.as_str(), "id": ended.id.to_string() }));
        }
    }
    for wanted in chosen {
        let done = place(context, store, &wanted.name, None)
            .and_then(|url| One { context, store, author: &author, url: &url, wanted: &wanted }.run(false));
        match done {
            Ok(done) => told.push(tell(&mut answer, &wanted, &done)),
            // One registry's outage is none of the others'.
            Err(error) => {
                answer.line(format!("{}: {error}", wanted.name));
                told.push(json!({ "registry": wanted.name.as_str(), "error": error_object(&error) }));
                answer.fault.get_or_insert(error.at(&wanted.name));
            }
        }
    }
    if told.is_empty() {
        answer.line("nothing is mirrored here");
    }
    answer.field("mirrors", told);
    Ok(answer)
}

/// Says what became of one mirror.
fn tell(answer: &mut Answer, wanted: &Wanted, done: &Done) -> Value {
    let domain = &wanted.name;
    let mut told = json!({ "registry": domain.as_str(), "id": wanted.id.to_string() });
    match done {
        Done::Would(seq, before) => {
            answer.line(match before {
                Some(before) if before == seq => format!("{domain}: nothing new, checkpoint {seq}"),
                Some(before) => format!("{domain}: would go from checkpoint {before} to {seq}"),
                None => format!("{domain}: would be mirrored at checkpoint {seq}"),
            });
            told["seq"] = (*seq).into();
            told["before"] = (*before).into();
        }
        Done::Did(synced, before) => {
            let Synced { seq, packages, releases, dropped, checkpoint } = synced;
            match (checkpoint, before) {
                (None, _) => answer.line(format!("{domain}: nothing new, checkpoint {seq}")),
                (Some((own, _)), before) => {
                    let from = before.map(|before| format!("from checkpoint {before} ")).unwrap_or_default();
                    let files =
                        if wanted.contents { format!(", files of {}", count(*releases, "release")) } else { String::new() };
                    answer.line(format!(
                        "{domain}: mirrored {from}to checkpoint {seq}: {} new or changed{files}; our checkpoint {own} vouches for it",
                        count(*packages, "package")
                    ));
                    if *dropped > 0 {
                        answer.line(format!(
                            "  the files of {} were taken down there, and are not served here any more",
                            count(*dropped, "release")
                        ));
                    }
                }
            }
            told["seq"] = (*seq).into();
            told["before"] = (*before).into();
            told["packages"] = (*packages).into();
            told["releases"] = (*releases).into();
            told["dropped"] = (*dropped).into();
            told["checkpoint"] = match checkpoint {
                Some((seq, digest)) => json!({ "seq": seq, "digest": digest.to_string() }),
                None => Value::Null,
            };
        }
    }
    told
}

fn list(context: &Context, store: &Store) -> Result<Answer> {
    let standing = Standing::read(store, &mut KeyCache::default())?;
    let (mut answer, mut rows, mut told) = (Answer::new(), Vec::new(), Vec::new());
    for mirror in standing.operators.log.mirrors().filter(|mirror| !mirror.patterns.is_empty()) {
        let wanted = Wanted::of(mirror)?;
        let kept = Kept::read(store, &standing, &wanted.name)?;
        let url = store.config(&url_key(&wanted.name))?;
        let seq = kept.as_ref().map(|kept| kept.held.seq);
        rows.push(vec![
            wanted.name.to_string(),
            seq.map_or("not yet".into(), |seq| format!("checkpoint {seq}")),
            in_words(&wanted),
            url.clone().unwrap_or_default(),
        ]);
        told.push(json!({
            "registry": wanted.name.as_str(),
            "id": wanted.id.to_string(),
            "seq": seq,
            "digest": kept.as_ref().map(|kept| kept.held.checkpoint.to_string()),
            "patterns": wanted.patterns.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "contents": wanted.contents,
            "keep-taken-down": wanted.keep_taken_down,
            "url": url,
        }));
    }
    match rows.is_empty() {
        true => answer.line("nothing is mirrored here"),
        false => answer.text.push_str(&Table::from(rows).lay(context.width())),
    }
    answer.field("mirrors", told);
    Ok(answer)
}

fn remove(context: &Context, store: &Store, domain: &RegistryName) -> Result<Answer> {
    let signing = context.signing(&context.key()?)?;
    let author = signing.operator()?;
    let mut answer = Answer::new();
    let known = match known_mirror(store, domain)? {
        // Somebody may have been killed while it was removed.
        Some(known) if known.patterns.is_empty() => {
            mirror::is_left(store, &Standing::read(store, &mut KeyCache::default())?, domain)?.then_some(known)
        }
        known => known,
    };
    let known = known.ok_or_else(|| fault!(NotFound, "{domain} is not mirrored here"))?;
    let told = json!([{ "registry": domain.as_str(), "id": known.id.to_string() }]);
    answer.field("mirrors", told);
    if context.flags.dry_run {
        answer.line(format!("would mirror {domain} no longer"));
        return Ok(answer);
    }
    let lock = store.lock(LOCK_WAIT, "quipu: mirroring")?;
    accept(&lock, store, &author, Asked::Left)?;
    let (seq, digest) = mirror::remove(&lock, store, &author, domain)?;
    answer.line(format!(
        "{domain} is mirrored no longer, as checkpoint {seq} says; its objects go with the next: quipu registry gc"
    ));
    answer.checkpoint(seq, digest);
    Ok(answer)
}
