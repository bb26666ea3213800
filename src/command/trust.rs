//! `quipu trust`: which registries are trusted, and by which id.

use super::answer::{Answer, count};
use super::client;
use super::context::Context;
use super::table::Table;
use crate::disk::config::Config;
use crate::disk::replace;
use crate::disk::trusted::{Source, Trust, TrustFile, Trusted};
use crate::git::transport::Url;
use crate::model::digest::RegistryId;
use crate::model::entry::OperatorPrivilege;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{Pattern, RegistryName};
use crate::model::redact::redact;
use crate::model::time::Timestamp;
use crate::replica::discovery::{self, Hint, Looking};
use crate::replica::places::Standing;
use crate::replica::snapshot::{Reading, Snapshot};
use crate::replica::standing::names_of;
use clap::Subcommand;
use serde_json::json;

/// Trust registries
#[derive(Subcommand, Debug)]
pub enum Args {
    /// Trust a registry: look at it, compare its id, remember both
    Add {
        /// The registry's name
        domain: RegistryName,
        /// Where it is: a path, or a URL that git can fetch [default: looked for at https://DOMAIN/ and in
        /// https://DOMAIN/.well-known/quipu.toml]
        url: Option<String>,
        /// The registry id that it must have
        #[arg(long, value_name = "sha256:…")]
        id: Option<RegistryId>,
        /// Where else it is: a mirror of it, or a registry that mirrors it; may be given several times
        #[arg(long = "mirror", value_name = "URL")]
        mirrors: Vec<String>,
        /// Trust it for these packages only, like 'wasi:*' or wasi:http; may be given several times; '*' for all again
        #[arg(long, value_name = "PATTERN")]
        only: Vec<Pattern>,
    },
    /// List the registries that are trusted
    List,
    /// Show how a registry came to be trusted, where it is, and what was seen of it last
    Show {
        /// The registry's name
        domain: RegistryName,
    },
    /// Trust a registry no longer, and forget what was seen of it
    Remove {
        /// The registry's name
        domain: RegistryName,
    },
}

/// Runs the command.
///
/// # Errors
/// `not-trusted` where nobody said yes, `id-mismatch`, `wrong-registry`, and all that looking for a registry and reading it can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match args {
        Args::Add { domain, url, id, mirrors, only } => {
            add(context, &Wanted { domain, url: url.as_deref(), id: *id, mirrors, only, is_hearsay: false })
        }
        Args::List => list(context),
        Args::Show { domain } => show(context, domain),
        Args::Remove { domain } => remove(context, domain),
    }
}

/// A registry that is to be trusted.
pub struct Wanted<'w> {
    /// Its name.
    pub domain: &'w RegistryName,
    /// Where it is; without one it is looked for.
    pub url: Option<&'w str>,
    /// The id that it must have.
    pub id: Option<RegistryId>,
    /// Where else it is.
    pub mirrors: &'w [String],
    /// Which of its packages are to be trusted; where nothing is said, those that were, or all.
    pub only: &'w [Pattern],
    /// Whether all this is what somebody else says of it, so that the user is asked all the same.
    pub is_hearsay: bool,
}

/// Trusts a registry.
///
/// # Errors
/// Those of [`run`].
pub fn add(context: &Context, wanted: &Wanted<'_>) -> Result<Answer> {
    let Wanted { domain, url, id, is_hearsay, .. } = *wanted;
    let trust = Trust::load(&context.home)?;
    // Where it is known to be is a place to look at: what the user said of a registry that is not trusted may have been another one's.
    let config = Config::load(&context.home)?;
    let said = if trust.get(domain).is_some() { trust.place(domain, &config) } else { None };
    let known_place = said.or_else(|| trust.place(domain, &Config::default())).or_else(|| trust.place(domain, &config));
    let url = url.or(known_place.as_ref().map(|place| place.url.as_str()));
    let hint = if url.is_none() { Some(discover(context, domain)?) } else { None };
    let url = match (url, &hint) {
        (_, Some(hint)) => hint.url.clone(),
        (url, None) => place(context, domain, url.unwrap_or_default())?,
    };
    context.may_reach(&url)?;
    let known = trust.get(domain).cloned();
    let evidence = |contradiction: crate::trust::memory::Contradiction| contradiction.error;
    let reading = Reading {
        mirrored: Some(domain),
        terminal: context.terminal(),
        patience: context.patience(),
        ..Reading::anew(&url, context.now, &evidence)
    };
    let snapshot = Snapshot::open(reading.clone())?;
    let operators = &snapshot.operators().log;
    let found = operators.id();
    if operators.registry() != domain {
        return Err(fault!(WrongRegistry, "{url} is the registry {}, expected {domain}", operators.registry())
            .hint(format!("trust it by its own name: quipu trust add {} {url}", operators.registry())));
    }
    if let Some(hint) = &hint {
        hint.check(domain, found)?;
    }
    if let Some(id) = id
        && id != found
    {
        return Err(fault!(IdMismatch, "{url} has the registry id {found}, expected {id}")
            .hint("it is another registry that bears the same name, or the id is not the right one; nothing was changed"));
    }
    if let Some(known) = known.as_ref().filter(|known| known.id != found) {
        return Err(fault!(IdMismatch, "{url} has the registry id {found}, {domain} is trusted with {}", known.id)
            .hint(format!("if the name is to mean the other registry from now on: quipu trust remove {domain}")));
    }
    if id.is_none() && known.as_ref().is_some_and(|known| known.seen) {
        client::require_memory(context, domain, found, url.as_str())?;
    }
    let mirrors = wanted.mirrors.iter().map(|mirror| place(context, domain, mirror)).collect::<Result<Vec<Url>>>()?;
    if !mirrors.is_empty() {
        let all = Snapshot::open(Reading { mirrors: &mirrors, expected: Some((domain, found)), ..reading })?;
        for asked in all.places() {
            match &asked.standing {
                Standing::Failed(error) if client::is_lie(error) => return Err(error.clone()),
                Standing::Failed(error) => context.warn(&format!("{} does not answer for {domain}: {error}", asked.url)),
                Standing::Slow => context.warn(&format!("{} did not answer for {domain} in time", asked.url)),
                Standing::Answers | Standing::Same | Standing::Behind(_) => {}
            }
        }
    }
    let since = Timestamp::from_unix(operators.chain().time().unix()).unwrap_or(Timestamp::MAX);
    let mut answer = Answer::new();
    let first = snapshot.operators().records.first().map(|record| record.draft().time);
    let shown = [
        ("name", domain.to_string()),
        ("url", url.to_string()),
        ("registry id", found.to_string()),
        ("operators", names_of(operators, OperatorPrivilege::Auth)),
        ("since", first.unwrap_or(since).to_string()),
        ("last change", since.to_string()),
        (
            "checkpoint",
            format!("{} with {}", snapshot.checkpoint().seq(), count(snapshot.checkpoint().checkpoint().packages, "package")),
        ),
    ];
    let only = match (wanted.only, &known) {
        ([], Some(known)) => known.only.clone(),
        (only, _) if only.contains(&Pattern::All) => Vec::new(),
        (only, _) => only.to_vec(),
    };
    let mut rows: Vec<Vec<String>> = shown.iter().map(|(key, value)| vec![format!("  {key}"), value.clone()]).collect();
    for mirror in mirrors.iter().rev() {
        rows.insert(2, vec!["  mirror".to_owned(), mirror.to_string()]);
    }
    if let Some(hint) = &hint {
        rows.insert(2, vec!["  found at".to_owned(), hint.found_at.to_string()]);
    }
    if !only.is_empty() {
        rows.push(vec!["  only".to_owned(), words(&only).join(", ")]);
    }
    let source = match (id.filter(|_| !is_hearsay), &known) {
        (Some(_), _) => Source::Given,
        (None, Some(known)) => known.source,
        (None, None) if context.flags.yes => Source::Asked,
        (None, None) => {
            let what =
                format!("{domain} is not trusted yet. What was found:\n{}", Table::from(rows.clone()).lay(context.width()));
            if !context.can_ask() || !context.ask(&format!("{what}Trust it?"))? {
                return Err(fault!(NotTrusted, "{domain} was not trusted: nobody said that its id is {found}").hint(format!(
                    "compare the id with one that you know to be right, then: quipu trust add {domain} {url} --id {found}"
                )));
            }
            Source::Asked
        }
    };
    answer.line(format!("{} {domain}", if known.is_some() { "still trust" } else { "trust" }));
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    answer.field("registry", domain.as_str());
    answer.field("url", url.to_string());
    answer.field("mirrors", mirrors.iter().map(ToString::to_string).collect::<Vec<_>>());
    answer.field("id", found.to_string());
    answer.field("only", words(&only));
    if let Some(hint) = &hint {
        answer.field("found-at", hint.found_at.to_string());
    }
    answer.field("whole-map", snapshot.is_found_without_filters());
    if let Some((note, hint)) = client::whole_map(&snapshot) {
        answer.line(format!("  note: {note}"));
        answer.line(format!("  hint: {hint}"));
    }
    answer.checkpoint(snapshot.checkpoint().seq(), snapshot.checkpoint().digest());
    if context.flags.dry_run {
        return Ok(answer);
    }
    snapshot.keep_in(&context.home.cache_of(found))?;
    // Memory first: a registry that is trusted and was seen has one.
    let fresh = snapshot.remember([]);
    match client::save(context, found, fresh.clone()) {
        // Saying the id again is how a lost memory is given up on purpose.
        Err(error) if error.code() == ErrorCode::StateLost && id.is_some() => {
            let text = fresh.to_text()?;
            replace::replace(&context.home.state_file(found), text.as_bytes(), replace::Access::Private)?;
        }
        saved => saved?,
    }
    let mirrors: Vec<String> = mirrors.iter().map(|mirror| mirror.as_str().to_owned()).collect();
    Config::set_registry(&context.home, domain, url.as_str(), &mirrors)?;
    let since = known.map_or(context.now.unix(), |known| known.since);
    TrustFile::change(&context.home, |trust| {
        trust.put(Trusted { name: domain.clone(), id: found, source, since, seen: true, only });
    })?;
    Ok(answer)
}

/// Reads the URL or path of a registry.
fn place(context: &Context, domain: &RegistryName, url: &str) -> Result<Url> {
    Url::parse(url, &context.folder).map_err(|error| match context.path(url).exists() && !url.is_empty() {
        true => error.hint(format!("for the path: quipu trust add {domain} ./{url}")),
        false => error,
    })
}

/// Looks for the registry of a domain where the user names no URL.
fn discover(context: &Context, domain: &RegistryName) -> Result<Hint> {
    if context.flags.offline {
        return Err(fault!(Network, "the registry {domain} is looked for on the network, and --offline rules that out")
            .hint("leave out --offline")
            .hint(format!("or say where it is on this machine: quipu trust add {domain} PATH")));
    }
    discovery::look(domain, &Looking::default())
}

fn words(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

fn list(context: &Context) -> Result<Answer> {
    let trust = Trust::load(&context.home)?;
    let mut answer = Answer::new();
    if trust.all().is_empty() {
        answer.line("no registry is trusted; trust one: quipu trust add DOMAIN URL");
    }
    let place = |name: &RegistryName| trust.place(name, &context.config).map_or("-".to_owned(), |place| redact(&place.url));
    let is_default = |trusted: &Trusted| context.config.registry.as_ref() == Some(&trusted.name);
    let row = |trusted: &Trusted| {
        let mark = if is_default(trusted) { "*" } else { " " };
        let mut notes = Vec::new();
        if trusted.source == Source::System {
            notes.push("this machine's list".to_owned());
        }
        if !trusted.only.is_empty() {
            notes.push(format!("only {}", words(&trusted.only).join(", ")));
        }
        vec![format!("{mark} {}", trusted.name), trusted.id.to_string(), place(&trusted.name), notes.join("; ")]
    };
    answer.text.push_str(&Table::from(trust.all().iter().map(row).collect::<Vec<_>>()).lay(context.width()));
    let refused: Vec<String> = trust.refused().map(ToString::to_string).collect();
    for name in &refused {
        answer.line(format!("  {name} is on this machine's list, and you do not trust it; to do so: quipu trust add {name}"));
    }
    let objects = trust.all().iter().map(|trusted| {
        json!({
            "registry": trusted.name.as_str(),
            "id": trusted.id.to_string(),
            "url": place(&trusted.name),
            "default": is_default(trusted),
            "source": trusted.source.word(),
            "since": trusted.since,
            "only": words(&trusted.only),
        })
    });
    answer.field("registries", objects.collect::<Vec<_>>());
    answer.field("refused", refused);
    Ok(answer)
}

/// Shows what is known here; nothing is fetched.
fn show(context: &Context, domain: &RegistryName) -> Result<Answer> {
    let trust = Trust::load(&context.home)?;
    let trusted = trust.get(domain).ok_or_else(|| not_trusted(domain))?;
    let place = trust.place(domain, &context.config);
    let url = place.as_ref().map(|place| redact(&place.url));
    let mirrors: Vec<String> = place.iter().flat_map(|place| &place.mirrors).map(|mirror| redact(mirror)).collect();
    let memory = client::recall(context, trusted.id)?;
    if memory.is_none() && trusted.seen {
        return Err(client::lost(context, domain, trusted.id, url.as_deref().unwrap_or("URL")));
    }
    let since = Timestamp::from_unix(trusted.since).unwrap_or(Timestamp::MAX);
    let source = match trusted.source {
        Source::Made => "you made it",
        Source::Given => "you gave its id",
        Source::Asked => "you were shown it, and said yes",
        Source::System => "it is on this machine's list",
    };
    let mut answer = Answer::new();
    let mut rows = vec![("name", domain.to_string()), ("registry id", trusted.id.to_string())];
    rows.push(("url", url.clone().unwrap_or_else(|| "not known".to_owned())));
    rows.extend(mirrors.iter().map(|mirror| ("mirror", mirror.clone())));
    rows.push(match trusted.since {
        0 => ("trusted", source.to_owned()),
        _ => ("trusted", format!("since {since}: {source}")),
    });
    if !trusted.only.is_empty() {
        rows.push(("only", words(&trusted.only).join(", ")));
    }
    let listed = trust.listed(domain);
    if let Some(listed) = listed {
        let file = context.home.system_trust_file().display().to_string();
        rows.push(("listed", if listed == trusted.id { file } else { format!("{file}, with another id: {listed}") }));
    }
    answer.field("only", words(&trusted.only));
    answer.field("listed", listed.map(|listed| listed.to_string()));
    answer.field("registry", domain.as_str());
    answer.field("id", trusted.id.to_string());
    answer.field("url", url);
    answer.field("mirrors", mirrors);
    answer.field("source", trusted.source.word());
    answer.field("since", trusted.since);
    match &memory {
        None => rows.push(("seen", "nothing yet".to_owned())),
        Some(memory) => {
            let at = |seen: &crate::trust::memory::SeenLog| format!("{} {}", seen.seq, seen.head);
            rows.push(("checkpoint", at(&memory.checkpoint)));
            rows.push(("operators", at(&memory.operators)));
            rows.push(("packages", count(memory.packages.len() as u64, "package")));
            answer.checkpoint(memory.checkpoint.seq, memory.checkpoint.head);
        }
    }
    answer.field("packages", memory.map_or(0, |memory| memory.packages.len()));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(key, value)| vec![format!("  {key}"), value]).collect();
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    Ok(answer)
}

fn not_trusted(domain: &RegistryName) -> Error {
    fault!(NotFound, "{domain} is not trusted").hint("show what is: quipu trust list")
}

fn remove(context: &Context, domain: &RegistryName) -> Result<Answer> {
    let trust = Trust::load(&context.home)?;
    let Some(trusted) = trust.get(domain).cloned() else {
        return Err(not_trusted(domain));
    };
    let is_listed = trust.listed(domain).is_some();
    let mut answer = Answer::new();
    answer.line(format!("{domain} is not trusted any more, and what was seen of it is forgotten"));
    if is_listed {
        answer.line(format!("  it stays on this machine's list; to go by that again: quipu trust add {domain}"));
    }
    answer.field("registry", domain.as_str());
    answer.field("id", trusted.id.to_string());
    if !context.flags.dry_run {
        TrustFile::change(&context.home, |trust| {
            trust.registries.retain(|other| other.name != *domain);
            if is_listed && !trust.refused.contains(domain) {
                trust.refused.push(domain.clone());
            }
        })?;
        replace::remove(&context.home.state_file(trusted.id))?;
    }
    Ok(answer)
}
