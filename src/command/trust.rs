//! `quipu trust`: which registries are trusted, and by which id.

use super::answer::{Answer, count};
use super::client;
use super::context::Context;
use super::table::Table;
use crate::disk::config::{Config, Source, TrustFile, Trusted};
use crate::disk::replace;
use crate::git::transport::Url;
use crate::model::digest::RegistryId;
use crate::model::entry::OperatorPrivilege;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::RegistryName;
use crate::model::redact::redact;
use crate::model::time::Timestamp;
use crate::replica::discovery::{self, Hint, Looking};
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
        Args::Add { domain, url, id } => add(context, domain, url.as_deref(), *id, false),
        Args::List => list(context),
        Args::Show { domain } => show(context, domain),
        Args::Remove { domain } => remove(context, domain),
    }
}

/// Trusts a registry. Where `id` is what somebody else says of it, the user is asked all the same.
///
/// # Errors
/// Those of [`run`].
pub fn add(
    context: &Context,
    domain: &RegistryName,
    url: Option<&str>,
    id: Option<RegistryId>,
    is_hearsay: bool,
) -> Result<Answer> {
    let hint = if url.is_none() { Some(discover(context, domain)?) } else { None };
    let url = match (url, &hint) {
        (_, Some(hint)) => hint.url.clone(),
        (url, None) => place(context, domain, url.unwrap_or_default())?,
    };
    context.may_reach(&url)?;
    let trust = TrustFile::load(&context.home)?;
    let known = trust.get(domain).cloned();
    let evidence = |contradiction: crate::trust::memory::Contradiction| contradiction.error;
    let snapshot = Snapshot::open(Reading {
        url: &url,
        expected: None,
        memory: None,
        cache: None,
        package: None,
        terminal: context.terminal(),
        offline: false,
        evidence: &evidence,
    })?;
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
    let mut rows: Vec<Vec<String>> = shown.iter().map(|(key, value)| vec![format!("  {key}"), value.clone()]).collect();
    if let Some(hint) = &hint {
        rows.insert(2, vec!["  found at".to_owned(), hint.found_at.to_string()]);
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
    answer.field("id", found.to_string());
    if let Some(hint) = &hint {
        answer.field("found-at", hint.found_at.to_string());
    }
    answer.field("whole-map", snapshot.is_found_without_filters());
    if let Some((note, hint)) = client::whole_map(&snapshot, &url) {
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
    Config::set_registry(&context.home, domain, url.as_str())?;
    let since = known.map_or(context.now.unix(), |known| known.since);
    TrustFile::change(&context.home, |trust| {
        trust.put(Trusted { name: domain.clone(), id: found, source, since, seen: true });
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

fn list(context: &Context) -> Result<Answer> {
    let trust = TrustFile::load(&context.home)?;
    let mut answer = Answer::new();
    if trust.registries.is_empty() {
        answer.line("no registry is trusted; trust one: quipu trust add DOMAIN URL");
    }
    let place = |name: &RegistryName| context.config.registries.get(name).map_or("-".to_owned(), |place| redact(&place.url));
    let rows: Vec<Vec<String>> = trust
        .registries
        .iter()
        .map(|trusted| {
            let mark = if context.config.registry.as_ref() == Some(&trusted.name) { "*" } else { " " };
            vec![format!("{mark} {}", trusted.name), trusted.id.to_string(), place(&trusted.name)]
        })
        .collect();
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    let objects: Vec<_> = trust
        .registries
        .iter()
        .map(|trusted| {
            json!({
                "registry": trusted.name.as_str(),
                "id": trusted.id.to_string(),
                "url": place(&trusted.name),
                "default": context.config.registry.as_ref() == Some(&trusted.name),
                "since": trusted.since,
            })
        })
        .collect();
    answer.field("registries", objects);
    Ok(answer)
}

/// Shows what is known here; nothing is fetched.
fn show(context: &Context, domain: &RegistryName) -> Result<Answer> {
    let trust = TrustFile::load(&context.home)?;
    let trusted = trust.get(domain).ok_or_else(|| not_trusted(domain))?;
    let place = context.config.registries.get(domain);
    let url = place.map(|place| redact(&place.url));
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
    };
    let mut answer = Answer::new();
    let mut rows = vec![("name", domain.to_string()), ("registry id", trusted.id.to_string())];
    rows.push(("url", url.clone().unwrap_or_else(|| "not known".to_owned())));
    rows.extend(mirrors.iter().map(|mirror| ("mirror", mirror.clone())));
    rows.push(("trusted", format!("since {since}: {source}")));
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
    let trust = TrustFile::load(&context.home)?;
    let Some(trusted) = trust.get(domain).cloned() else {
        return Err(not_trusted(domain));
    };
    let mut answer = Answer::new();
    answer.line(format!("{domain} is not trusted any more, and what was seen of it is forgotten"));
    answer.field("registry", domain.as_str());
    answer.field("id", trusted.id.to_string());
    if !context.flags.dry_run {
        TrustFile::change(&context.home, |trust| trust.registries.retain(|other| other.name != *domain))?;
        replace::remove(&context.home.state_file(trusted.id))?;
    }
    Ok(answer)
}
