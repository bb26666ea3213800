//! `quipu registry`: running a registry, in its own repository.

use super::answer::{Answer, count, error_object};
use super::client;
use super::context::{Context, Signing};
use super::decide;
use super::gc;
use super::hooks;
use super::import;
use super::keyarg::{KeyArg, known, sorted};
use super::mirror;
use super::progress::Progress;
use super::submit;
use super::table::Table;
use super::verify;
use crate::disk::config::Config;
use crate::disk::keys;
use crate::disk::trusted::{Source, Trust, TrustFile, Trusted};
use crate::git::program::Program;
use crate::git::store::Store;
use crate::git::transport::Url;
use crate::model::digest::{GitId, ObjectFormat, RegistryId};
use crate::model::entry::{Denial, Grant, OperatorEntry, OperatorPrivilege, Privilege as _};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::key::{KeyCache, allowed_signers_line};
use crate::model::name::{Label, RegistryName, looks_like_url};
use crate::model::proposal::PROPOSAL_FILE_MAX;
use crate::model::record::SignedRecord;
use crate::replica::accept::{self, Asked};
use crate::replica::accept::{Verdict, Wish};
use crate::replica::audit::{Audit, audit};
use crate::replica::author::Author;
use crate::replica::discovery::{self, WellKnown};
use crate::replica::forge::{self, Found, Judged, Upstream};
use crate::replica::inbox;
use crate::replica::page::PageFile;
use crate::replica::standing::{self, Founding, Standing, change_operators};
use crate::trust::memory::Memory;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Run a registry
#[derive(Subcommand, Debug)]
pub enum Args {
    /// Make a registry: a bare git repository, ready to be served
    Init {
        /// Where; an empty folder or none
        path: PathBuf,
        /// The registry's name, a domain
        #[arg(long, value_name = "DOMAIN")]
        name: RegistryName,
        /// The hash of the repository's objects: sha1, which every git host has, or sha256
        #[arg(long, value_name = "FORMAT", default_value = "sha1")]
        object_format: ObjectFormat,
        /// Your simple name as an operator [default: from the key's file or comment]
        #[arg(long = "as", value_name = "NAME")]
        operator: Option<Label>,
        /// Install the hooks too, so that a push is judged and published as it comes
        #[arg(long)]
        hooks: bool,
        /// Begin as a fork of the registry at this place: it is mirrored whole, and its packages are served under the old name until their
        /// owners move them
        #[arg(long, value_name = "URL", conflicts_with = "object_format")]
        from: Option<String>,
        /// The registry id that the registry at --from must have, where it is not trusted
        #[arg(long, value_name = "sha256:…", requires = "from")]
        id: Option<RegistryId>,
    },
    /// Install the hooks, so that a push is judged and published as it comes
    Hooks {
        /// The registry's repository
        path: PathBuf,
    },
    /// Judge all proposals, and publish those that hold with one checkpoint
    Accept {
        /// The registry's repository, or with --push a clone of it
        path: PathBuf,
        /// Proposal files of pull requests: what they name is fetched from the forks
        #[arg(long, value_name = "FILE", num_args = 1..)]
        from: Vec<PathBuf>,
        /// Let proposals of new names wait
        #[arg(long)]
        known: bool,
        /// Where the registry is: its references are read there first, and moved there by one push
        #[arg(long, value_name = "URL")]
        push: Option<String>,
    },
    /// Say of proposal files what accept would say, and change nothing
    Check {
        /// The registry's repository, or a clone of it
        path: PathBuf,
        /// Proposal files: proposals/NAMESPACE/NAME/COMMIT.toml
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Refuse a proposal that waits
    Refuse {
        /// The registry's repository
        path: PathBuf,
        /// The proposal, by its commit; `registry accept --dry-run` lists those that wait
        proposal: GitId,
        /// Why, for the proposer to read
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take a package or a release down: its files go, its log stays and says why
    Takedown(decide::Takedown),
    /// Bring back what was taken down
    Restore(decide::Restore),
    /// Grant a package the name that its owners ask for
    Rename(decide::Rename),
    /// Give a name to a new log; the one of before is put aside, for locks and anchors that mean it
    Reset(decide::Reset),
    /// Show and change who may act for the registry
    #[command(subcommand)]
    Operator(OperatorArgs),
    /// Print the file by which a domain says where its registry is
    WellKnown {
        /// The registry's repository
        path: PathBuf,
        /// Where others fetch it: an https URL
        url: String,
        /// Where else they do, should the first not answer
        more: Vec<String>,
    },
    /// Keep the repository quick and small: pack references and objects, and drop what nothing leads to
    Gc {
        /// The registry's repository
        path: PathBuf,
        /// How much is done
        #[command(flatten)]
        how: gc::How,
    },
    /// Bring in packages that exist as files, many at once
    Import(import::Args),
    /// Check the whole repository: everything that verify checks, and what only its keeper sees
    Fsck {
        /// The registry's repository
        path: PathBuf,
    },
}

/// Show and change who may act for the registry
#[derive(Subcommand, Debug)]
pub enum OperatorArgs {
    /// List the operators
    List {
        /// The registry's repository
        path: PathBuf,
        /// Print lines for git's allowed_signers file
        #[arg(long)]
        allowed_signers: bool,
    },
    /// Give privileges to a key
    Allow {
        /// The registry's repository
        path: PathBuf,
        /// The key: `ssh-ed25519 AAAA…`, a .pub file, or the name of one of yours
        #[arg(id = "whose", value_name = "KEY")]
        key: KeyArg,
        /// What it may do: auth, checkpoint, register, decide, policy, mirror
        #[arg(long = "privilege", value_name = "PRIVILEGE", value_delimiter = ',', required = true)]
        privileges: Vec<OperatorPrivilege>,
        /// Limit `register` to this namespace; may be given several times
        #[arg(long = "namespace", value_name = "NAMESPACE", value_delimiter = ',')]
        namespaces: Vec<Label>,
        /// Its simple name in the log [default: from its comment]
        #[arg(long, value_name = "NAME")]
        name: Option<Label>,
    },
    /// Take privileges from a key
    Deny {
        /// The registry's repository
        path: PathBuf,
        /// The key: its name in the log, its fingerprint, `ssh-ed25519 AAAA…`, or a .pub file
        #[arg(id = "whose", value_name = "KEY")]
        key: KeyArg,
        /// What is taken [default: all it has]
        #[arg(long = "privilege", value_name = "PRIVILEGE", value_delimiter = ',')]
        privileges: Vec<OperatorPrivilege>,
        /// The seq of the operator log since which the key was in wrong hands
        #[arg(long, value_name = "SEQ")]
        compromised_since: Option<u64>,
    },
}

/// How long another acceptor on this machine is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Runs the command.
///
/// # Errors
/// `exists`, `bad-repository`, `unauthorized`, `refused` where a proposal was, and all else that a registry's own repository can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match args {
        Args::Init { path, name, object_format, operator, hooks, from, id } => {
            let old = from.as_deref().map(|from| mirror::Forked::look(context, from, *id)).transpose()?;
            let mut answer = init(context, path, name, *object_format, operator.as_ref(), old.as_ref())?;
            if let Some(old) = old.filter(|_| !context.flags.dry_run) {
                old.hold(context, &store(context, path)?, &mut answer)?;
            }
            if *hooks && !context.flags.dry_run {
                hooks::hooks(context, &store(context, path)?)?;
                answer.line("its hooks judge and publish what is pushed");
            }
            answer.field("hooks", *hooks);
            Ok(answer)
        }
        Args::Import(args) => import::run(context, &store(context, &args.path)?, args),
        Args::Reset(args) => decide::reset(context, &store(context, &args.path)?, args),
        Args::Rename(args) => decide::rename(context, &store(context, &args.path)?, args),
        Args::Takedown(args) => decide::takedown(context, &store(context, &args.path)?, args),
        Args::Restore(args) => decide::restore(context, &store(context, &args.path)?, args),
        Args::Refuse { path, proposal, reason } => refuse(context, path, *proposal, reason),
        Args::Hooks { path } => hooks::run(context, path, &store(context, path)?),
        Args::Accept { path, from, known, push } => accept(context, path, from, *known, push.as_deref()),
        Args::Check { path, files } => check(context, path, files),
        Args::Operator(OperatorArgs::List { path, allowed_signers }) => operators(context, path, *allowed_signers),
        Args::Operator(OperatorArgs::Allow { path, key, privileges, namespaces, name }) => {
            let (name, key) = key.named(context, name.as_ref())?;
            let mut namespaces = namespaces.clone();
            namespaces.sort();
            namespaces.dedup();
            let grant = Grant { name, key, privileges: sorted(privileges), namespaces };
            change(context, path, |_| Ok(OperatorEntry::Allow(grant)))
        }
        Args::Operator(OperatorArgs::Deny { path, key, privileges, compromised_since }) => change(context, path, |standing| {
            let keys = &standing.operators.log.now().keys;
            let (name, key) = known(context, key, keys.iter().map(|key| (&key.name, &key.key)))?;
            let held = keys.get(&key).map(|key| key.privileges.clone()).unwrap_or_default();
            let privileges = match (privileges.is_empty(), held.is_empty()) {
                (false, _) => sorted(privileges),
                (true, false) => held,
                (true, true) if compromised_since.is_some() => OperatorPrivilege::ALL.to_vec(),
                (true, true) => return Err(fault!(BadRecord, "{name} has no privilege left to take").asked()),
            };
            Ok(OperatorEntry::Deny(Denial { name, key, privileges, compromised_since: *compromised_since }))
        }),
        Args::WellKnown { path, url, more } => well_known(context, path, [url].into_iter().chain(more).cloned().collect()),
        Args::Gc { path, how } => gc::run(context, &store(context, path)?, *how),
        Args::Fsck { path } => fsck(context, path),
    }
}

fn store(context: &Context, path: &Path) -> Result<Store> {
    if looks_like_url(&path.to_string_lossy()) {
        return Err(fault!(Usage, "{} is a URL, expected the path of the registry's own repository", path.display()));
    }
    Store::open(&context.path(path))
}

/// A file of the front page of a new registry: where it is, whether it can be executed, what is in it.
macro_rules! page_files {
    ($($path:literal, $executable:literal;)*) => {
        &[$(($path, $executable, include_str!(concat!("../../index-template/", $path))),)*]
    };
}

/// The front page of a new registry: what people read there, and what a forge runs.
const FRONT_PAGE: &[(&str, bool, &str)] = page_files! {
    "README.md", false;
    "CONTRIBUTING.md", false;
    "TAKEDOWN.md", false;
    "registry.toml", false;
    "ci/lib.sh", false;
    "ci/quipu-version", false;
    "ci/verify.sh", true;
    "ci/accept.sh", true;
    "ci/audit.sh", true;
    ".github/workflows/verify.yml", false;
    ".github/workflows/accept.yml", false;
    ".github/workflows/audit.yml", false;
    ".gitlab-ci.yml", false;
    ".forgejo/workflows/verify.yml", false;
    ".forgejo/workflows/accept.yml", false;
    ".forgejo/workflows/audit.yml", false;
};

fn init(
    context: &Context,
    path: &Path,
    name: &RegistryName,
    format: ObjectFormat,
    operator: Option<&Label>,
    old: Option<&mirror::Forked>,
) -> Result<Answer> {
    let format = old.map_or(format, |old| old.format);
    if let Some(old) = old.filter(|old| old.name == *name) {
        return Err(fault!(Usage, "{name} is the name of the registry at {}; a fork has a name of its own", old.url));
    }
    if looks_like_url(&path.to_string_lossy()) {
        return Err(fault!(Usage, "{} is a URL, expected a path", path.display())
            .hint("make the registry in a folder here, then push it to the host: docs/format.md names its references"));
    }
    let trust = Trust::load(&context.home)?;
    if let Some(known) = trust.get(name) {
        return Err(fault!(Exists, "{name} is trusted already, with the id {}", known.id)
            .hint("another registry of the same name would be taken for it; choose another name")
            .hint(format!("or trust the old one no longer: quipu trust remove {name}")));
    }
    let key = match context.key() {
        Err(error) if error.code() == ErrorCode::NoKey && keys::own(&context.home)?.is_empty() && !context.flags.dry_run => {
            let wanted = context.flags.yes || (context.can_ask() && context.ask("There is no key to sign with. Make one?")?);
            if wanted { context.make_key(operator)? } else { return Err(error) }
        }
        found => found?,
    };
    let signing = context.signing(&key)?;
    let author = signing.author(operator)?;
    let target = context.path(path);
    // It is written down where the registry is, so that it must be possible to.
    Url::local(&target)?;
    let mut answer = Answer::new();
    if context.flags.dry_run {
        answer.line(format!("would make the registry {name} in {}", path.display()));
        answer.field("registry", name.as_str());
        return Ok(answer);
    }
    let signers = allowed_signers_line(author.name.as_str(), author.key()) + "\n";
    let page = |id: &str| -> Vec<PageFile> {
        let file = |path: &str, executable: bool, text: &str| PageFile {
            path: path.to_owned(),
            executable,
            bytes: text.as_bytes().to_vec(),
        };
        let fill = |text: &str| {
            let words = [
                ("{domain}", name.as_str()),
                ("{id}", id),
                ("{format}", format.as_str()),
                ("{version}", env!("CARGO_PKG_VERSION")),
            ];
            words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
        };
        let files = FRONT_PAGE.iter().map(|(path, executable, text)| {
            // Scripts and workflows have braces of their own.
            let is_filled = path.ends_with(".md") || path.ends_with(".toml") || *path == "ci/quipu-version";
            if is_filled { file(path, *executable, &fill(text)) } else { file(path, *executable, text) }
        });
        files.chain([file("allowed_signers", false, &signers)]).collect()
    };
    let origin = old.map(|old| (old.name.clone(), old.id, old.checkpoint));
    let founding = Founding { name, format, origin, front_page: &|id| page(&id.to_string()) };
    let standing = standing::found(&target, &author, &founding).or_else(|error| match error.code() {
        ErrorCode::Exists => made_before(&target, &author, &founding).ok_or(error),
        _ => Err(error),
    })?;
    let operators = &standing.operators.log;
    let id = operators.id();
    let url = std::path::absolute(&target).map_err(|why| fault!(Io, "{}: {why}", target.display()))?;
    client::save(context, id, Memory::new(operators, standing.operators.head(), &standing.checkpoint))?;
    Config::set_registry(&context.home, name, &url.display().to_string(), &[])?;
    TrustFile::change(&context.home, |trust| {
        trust.put(Trusted {
            name: name.clone(),
            id,
            source: Source::Made,
            since: context.now.unix(),
            seen: true,
            only: Vec::new(),
        });
    })?;
    answer.line(format!("made the registry {name} in {}", path.display()));
    if let Some(old) = old {
        answer.line(format!("  from      {} as of checkpoint {}", old.name, old.seq));
        answer.field(
            "from",
            json!({ "registry": old.name.as_str(), "id": old.id.to_string(), "checkpoint": old.checkpoint.to_string() }),
        );
    }
    answer.line(format!("  id        {id}"));
    answer.line(format!("  operator  {}, {}", author.name, author.key().fingerprint()));
    answer.line("only one key may change who operates it; allow a second one soon: quipu registry operator allow");
    answer.line("next:");
    answer.line("  quipu new DIR --name NAMESPACE:NAME    make a folder a package");
    answer.line("  quipu publish DIR                      publish it");
    answer.line("others trust it with:");
    answer.line(format!("  quipu trust add {name} URL --id {id}"));
    answer.field("registry", name.as_str());
    answer.field("id", id.to_string());
    answer.field("path", url.display().to_string());
    answer.field("object-format", format.as_str());
    answer.field("operator", json!({ "name": author.name.as_str(), "fingerprint": author.key().fingerprint().to_string() }));
    Ok(answer)
}

/// Returns the registry that a run of the same command made before it was killed: one that nobody has used since.
fn made_before(path: &Path, author: &Author<'_>, founding: &Founding<'_>) -> Option<Standing> {
    let store = Store::open(path).ok()?;
    let standing = Standing::read(&store, &mut KeyCache::default()).ok()?;
    let log = &standing.operators.log;
    let is_new = standing.checkpoint.seq() == 0 && log.chain().seq() == 0 && store.format() == founding.format;
    let is_own = log.registry() == founding.name
        && log.origin() == founding.origin.as_ref()
        && log.now().keys.holds(author.key(), OperatorPrivilege::Auth);
    (is_new && is_own).then_some(standing)
}

/// Finds a key of the user's that may make checkpoints of a registry.
fn operator(context: &Context, standing: &Standing) -> Result<Signing> {
    let signing = context.signing(&context.key()?)?;
    if context.flags.key.is_some() {
        return Ok(signing);
    }
    Ok(submit::operator(context, &standing.operators.log, &signing)?.unwrap_or(signing))
}

fn accept(context: &Context, path: &Path, from: &[PathBuf], known: bool, push: Option<&str>) -> Result<Answer> {
    let store = store(context, path)?;
    let standing = Standing::read(&store, &mut KeyCache::default())?;
    let operator = operator(context, &standing)?;
    let mut answer = Answer::new();
    if context.flags.dry_run && !from.is_empty() {
        return check(context, path, from);
    }
    if context.flags.dry_run {
        let waiting = store.references("refs/incoming/")?;
        answer.line(format!("{} waiting", count(waiting.len() as u64, "proposal")));
        answer.field("waiting", waiting.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>());
        return Ok(answer);
    }
    let found = found(context, from);
    let (outcomes, rest, checkpoint, renames) = match push {
        Some(push) => {
            let url = Url::parse(push, &context.folder)?;
            context.may_reach(&url)?;
            let lock = store.lock(LOCK_WAIT, "quipu: accepting proposals")?;
            let author = operator.operator()?;
            let upstream = Upstream { url: &url, terminal: context.terminal() };
            let delivery = forge::deliver(&lock, &store, &author, &upstream, &found, known)?;
            answer.field("pushed", delivery.pushed.iter().map(ToString::to_string).collect::<Vec<_>>());
            (delivery.outcomes, delivery.rest, delivery.checkpoint, delivery.renames)
        }
        None => {
            let (_, rest) = forge::bring(&store, context.now, &found, known)?;
            let report = submit::accept_here(&store, &operator, if known { Asked::Known } else { Asked::All })?;
            let checkpoint = report.checkpoint.map(|checkpoint| (checkpoint.seq(), checkpoint.digest()));
            (report.outcomes, rest, checkpoint, report.renames)
        }
    };
    let outcomes = outcomes.into_iter().map(|outcome| Told {
        place: None,
        package: Some(outcome.package.to_string()),
        proposal: outcome.proposal.map(|id| id.to_string()),
        verdict: outcome.verdict,
    });
    let mut told: Vec<Told> = rest.into_iter().map(Told::from).collect();
    told.extend(outcomes);
    answer.field("registry", standing.operators.log.registry().as_str());
    tell(&mut answer, &told, "accepted");
    tell_renames(&mut answer, &renames, path);
    match checkpoint {
        Some((seq, digest)) => {
            answer.line(format!("checkpoint {seq} {digest}"));
            answer.checkpoint(seq, digest);
        }
        None if told.is_empty() => answer.line("no proposal is waiting"),
        None => {}
    }
    Ok(answer)
}

fn check(context: &Context, path: &Path, files: &[PathBuf]) -> Result<Answer> {
    let store = store(context, path)?;
    let judged = forge::check(&store, context.now, &found(context, files))?;
    let mut answer = Answer::new();
    answer.field("registry", Standing::read(&store, &mut KeyCache::default())?.operators.log.registry().as_str());
    let new: Vec<String> = judged
        .iter()
        .filter(|judged| judged.is_new == Some(true))
        .filter_map(|judged| judged.file.as_ref().map(|file| file.package.to_string()))
        .collect();
    let told: Vec<Told> = judged.into_iter().map(Told::from).collect();
    tell(&mut answer, &told, "holds");
    for name in &new {
        answer.line(format!("the name {name} is new"));
    }
    answer.field("new-names", new);
    Ok(answer)
}

/// What is told of one proposal.
struct Told {
    /// The path of its file, where that is how it is known.
    place: Option<String>,
    package: Option<String>,
    proposal: Option<String>,
    verdict: Verdict,
}

impl From<Judged> for Told {
    fn from(judged: Judged) -> Self {
        let file = judged.file.as_ref();
        Told {
            package: file.map(|file| file.package.to_string()),
            proposal: file.map(|file| file.proposal.to_string()),
            place: Some(judged.place),
            verdict: judged.verdict,
        }
    }
}

/// Tells what became of proposals; `good` is the word for those that are let in.
fn tell(answer: &mut Answer, all: &[Told], good: &str) {
    let mut refused = Vec::new();
    let mut objects: Vec<Value> = Vec::new();
    for Told { place, package, proposal, verdict } in all {
        let named = place.as_ref().or(package.as_ref()).cloned().unwrap_or_default();
        let (state, records, error) = match verdict {
            Verdict::Accepted(records) => {
                let summaries: Vec<String> = records.iter().map(|record| record.summary()).collect();
                answer.line(format!("{good} {named}: {}", summaries.join("; ")));
                (good, summaries, None)
            }
            Verdict::AlreadyIn => {
                answer.line(format!("already in: {named}"));
                ("already-in", Vec::new(), None)
            }
            Verdict::Held => {
                answer.line(format!("held {named}: the name is new"));
                ("held", Vec::new(), None)
            }
            Verdict::Refused(error) => {
                answer.line(format!("refused {named}: {error}"));
                refused.push(format!("{named}: {}", error.message()));
                ("refused", Vec::new(), Some(error_object(error)))
            }
        };
        let object = json!({ "package": package, "proposal": proposal, "state": state, "file": place, "records": records, "error": error });
        objects.push(object);
    }
    answer.field("outcomes", objects);
    if !refused.is_empty() {
        let what = count(refused.len() as u64, "proposal");
        answer.fault = Some(fault!(Refused, "{what} refused: {}", refused.join("; ")).asked());
    }
}

/// Tells what became of owners' wishes for other names.
fn tell_renames(answer: &mut Answer, wishes: &[Wish], path: &Path) {
    let mut objects: Vec<Value> = Vec::new();
    for Wish { from, to, answer: given } in wishes {
        match given {
            Ok(_) => answer.line(format!("renamed {from} to {to}")),
            Err(why) => {
                answer.line(format!("{from} waits to be called {to}: {}", why.message()));
                answer.line(format!("  to grant it: quipu registry rename {} {from}", path.display()));
            }
        }
        let (state, error) = match given {
            Ok(_) => ("granted", None),
            Err(why) => ("waits", Some(error_object(why))),
        };
        objects.push(json!({ "from": from.to_string(), "to": to.to_string(), "state": state, "error": error }));
    }
    answer.field("renames", objects);
}

/// Reads proposal files, which may be anybody's: no more of each than one can have, and nothing but files.
fn found(context: &Context, files: &[PathBuf]) -> Vec<Found> {
    let read = |path: &Path| {
        let io = |why: std::io::Error| fault!(Io, "{}: {why}", path.display());
        let is_file = std::fs::symlink_metadata(path).map_err(io)?.is_file();
        if !is_file {
            return Err(fault!(BadProposal, "{} is not a file", path.display()));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path).and_then(|file| file.take(PROPOSAL_FILE_MAX + 1).read_to_end(&mut bytes)).map_err(io)?;
        Ok(bytes)
    };
    let found = |path: &PathBuf| Found { place: path.display().to_string(), bytes: read(&context.path(path)) };
    files.iter().map(found).collect()
}

fn well_known(context: &Context, path: &Path, urls: Vec<String>) -> Result<Answer> {
    let standing = Standing::read(&store(context, path)?, &mut KeyCache::default())?;
    let log = &standing.operators.log;
    let file = WellKnown::new(log.registry().clone(), log.id(), urls)?;
    let text = file.to_text()?;
    let mut answer = Answer::new();
    answer.text.push_str(&text);
    answer.field("registry", log.registry().as_str());
    answer.field("id", log.id().to_string());
    answer.field("place", format!("https://{}{}", log.registry(), discovery::WELL_KNOWN));
    answer.field("well-known", text);
    Ok(answer)
}

fn refuse(context: &Context, path: &Path, proposal: GitId, reason: &str) -> Result<Answer> {
    let store = store(context, path)?;
    Standing::read(&store, &mut KeyCache::default())?;
    let mut answer = Answer::new();
    if context.flags.dry_run {
        answer.line(format!("would refuse {proposal}: {reason}"));
    } else {
        let lock = store.lock(Duration::from_secs(60), "quipu: refusing a proposal")?;
        let package = inbox::refuse(&lock, &store, context.now, proposal, reason)?;
        answer.line(format!("refused {proposal} of {package}: {reason}"));
        answer.field("package", package.to_string());
    }
    answer.field("proposal", proposal.to_string());
    answer.field("reason", reason);
    Ok(answer)
}

fn operators(context: &Context, path: &Path, allowed_signers: bool) -> Result<Answer> {
    let store = store(context, path)?;
    let standing = Standing::read(&store, &mut KeyCache::default())?;
    let log = &standing.operators.log;
    let mut answer = Answer::new();
    if allowed_signers {
        for key in log.now().keys.iter() {
            answer.line(allowed_signers_line(key.name.as_str(), &key.key));
        }
    } else {
        let rows: Vec<Vec<String>> = log
            .now()
            .keys
            .iter()
            .map(|key| {
                let mut words: Vec<String> = key.privileges.iter().map(ToString::to_string).collect();
                if !key.namespaces.is_empty() {
                    let names: Vec<&str> = key.namespaces.iter().map(Label::as_str).collect();
                    words.push(format!("only in {}", names.join(", ")));
                }
                vec![
                    key.name.to_string(),
                    key.key.fingerprint().to_string(),
                    if words.is_empty() { "-".into() } else { words.join(", ") },
                ]
            })
            .collect();
        answer.text.push_str(&Table::from(rows).lay(context.width()));
    }
    fields(&mut answer, &standing.operators.log);
    Ok(answer)
}

fn fields(answer: &mut Answer, log: &crate::log::operator::OperatorLog) {
    answer.field("registry", log.registry().as_str());
    answer.field("id", log.id().to_string());
    let objects: Vec<Value> = log
        .now()
        .keys
        .iter()
        .map(|key| {
            json!({
                "name": key.name.as_str(),
                "fingerprint": key.key.fingerprint().to_string(),
                "public-key": key.key.to_string(),
                "privileges": key.privileges.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "namespaces": key.namespaces.iter().map(Label::as_str).collect::<Vec<_>>(),
            })
        })
        .collect();
    answer.field("operators", objects);
}

fn change(context: &Context, path: &Path, entry: impl FnOnce(&Standing) -> Result<OperatorEntry>) -> Result<Answer> {
    let store = store(context, path)?;
    let mut keys = KeyCache::default();
    let signing = context.signing(&context.key()?)?;
    let lock = store.lock(Duration::from_secs(60), "quipu: changing operators")?;
    let standing = Standing::read(&store, &mut keys)?;
    let entry = entry(&standing)?;
    let author = signing.operator()?;
    let mut answer = Answer::new();
    if context.flags.dry_run {
        answer.line(format!("would change the operators of {}", standing.operators.log.registry()));
        fields(&mut answer, &standing.operators.log);
        return Ok(answer);
    }
    // What a killed acceptor left is judged by the operators of before.
    accept::accept(&lock, &store, &author, Asked::Left)?;
    let (record, checkpoint): (SignedRecord, SignedRecord) = change_operators(&lock, &store, &author, entry, &mut keys)?;
    let standing = Standing::read(&store, &mut keys)?;
    answer.line(format!(
        "changed the operators of {} in checkpoint {}: {}",
        standing.operators.log.registry(),
        checkpoint.seq(),
        record.summary()
    ));
    fields(&mut answer, &standing.operators.log);
    answer.field("record", record.digest().to_string());
    answer.checkpoint(checkpoint.seq(), checkpoint.digest());
    Ok(answer)
}

fn fsck(context: &Context, path: &Path) -> Result<Answer> {
    let store = store(context, path)?;
    let progress = Progress::new(context, "packages");
    let found = audit(&Audit {
        store: &store,
        expected: None,
        contents: true,
        since: None,
        progress: &|done, all| progress.at(done, all),
    })?;
    progress.end();
    let mut faults: Vec<Error> = found.faults.clone();
    let mut left = None;
    // While an acceptor is at it, there is a journal too.
    let is_live = || store.lock(Duration::ZERO, "quipu: looking").is_err_and(|error| error.code() == ErrorCode::Conflict);
    if store.has_journal() && !is_live() && store.has_journal() {
        let killed = fault!(BadRepository, "an acceptor was killed while it moved references")
            .hint(format!("the next one repairs it: quipu registry accept {}", path.display()));
        // Where all references are as the newest checkpoint has them, only a file is left.
        if found.unpublished.is_empty() { left = Some(killed) } else { faults.push(killed) }
    }
    let output =
        Program::git().args(["fsck", "--strict", "--no-dangling", "--no-progress"]).env("GIT_DIR", store.path()).run()?;
    if !output.success {
        faults.push(fault!(CorruptObject, "git fsck --strict: {}", output.words()));
    }
    let waiting = store.references("refs/incoming/")?.len() as u64;
    let mut held = Answer::new();
    let mirrors = verify::mirrors(context, &store, true, &mut held)?;
    faults.extend(held.fault.take());
    let mut answer = Answer::new();
    let verdict = if faults.is_empty() { "clean" } else { "NOT clean" };
    answer.line(format!("{verdict}: {}", found.operators.registry()));
    answer.line(format!(
        "  {}, {}, {}, {} waiting",
        count(found.packages, "package"),
        count(found.records, "record"),
        count(found.releases, "release"),
        count(waiting, "proposal")
    ));
    for package in &found.unpublished {
        answer.line(format!("  not published yet: {package}"));
    }
    for fault in &faults {
        answer.line(format!("  {fault}"));
    }
    answer.text.push_str(&held.text);
    answer.field("mirrors", mirrors);
    if let Some(left) = &left {
        answer.line(format!("  {}, and nothing is amiss", left.message()));
    }
    answer.field("clean", faults.is_empty());
    answer.field("registry", found.operators.registry().as_str());
    answer.field("id", found.operators.id().to_string());
    answer.field("packages", found.packages);
    answer.field("records", found.records);
    answer.field("releases", found.releases);
    answer.field("waiting", waiting);
    answer.field("unpublished", found.unpublished.iter().map(ToString::to_string).collect::<Vec<_>>());
    answer.field("faults", faults.iter().map(error_object).collect::<Vec<Value>>());
    answer.fault = faults.into_iter().next();
    debug_assert!(answer.fault.as_ref().is_none_or(|fault| fault.code() != ErrorCode::Bug));
    Ok(answer)
}
