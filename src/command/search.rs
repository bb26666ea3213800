//! `quipu search`: packages by their names and by what they say of themselves.

use super::answer::{Answer, bytes_in_words, count, error_object, for_terminal, one_line};
use super::client::{self, Client};
use super::context::Context;
use super::table::Table;
use crate::disk::trusted::Trust;
use crate::log::package::Released;
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::{FullName, PackageName, RegistryName};
use crate::model::search::{Query, Rank};
use crate::replica::search::{Search, Searched, search};
use crate::replica::snapshot::{PackageView, Snapshot};
use crate::trust::choose::choose;
use crate::trust::memory::Memory;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;

/// The most characters of a description in a line.
const WORDS_MAX: usize = 100;

/// Find packages by name or description
///
/// All words must be found, in whatever case, in a package's name or description. `wasi:` is all of a namespace, `wasi:ht` what has `ht`
/// in its name there, `acme.example/http` what one registry has; no word at all finds everything. Best first: the name itself, its
/// beginning, a part of it, what is said of it. Exit status 1: nothing was found.
///
/// All trusted registries are searched, or that of --registry. Of one elsewhere the names come along if they are few or of one namespace,
/// else those that are kept here are searched, and it is said how many that are; descriptions are known of packages that were looked at.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to look for
    words: Vec<String>,
    /// Look at all names and descriptions, whatever must be fetched for it; they are kept for the next time
    #[arg(long)]
    all: bool,
    /// Show at most so many packages
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

/// A registry, as far as it could be searched.
struct Looked<'s> {
    name: RegistryName,
    memory: Option<Memory>,
    found: Result<(&'s Client<'s>, Snapshot<'s>, Searched)>,
    /// Why what is kept was searched and not the registry itself.
    away: Option<Error>,
    views: BTreeMap<PackageName, Result<PackageView>>,
}

/// Runs the command.
///
/// # Errors
/// `no-registry`, `not-trusted`, `bad-name`; what reading a registry can end in, where none could be searched.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let (query, named) = Query::read(&args.words)?;
    let names = registries(context, named)?;
    let clients: Vec<(RegistryName, Result<Client<'_>>)> =
        names.into_iter().map(|name| (name.clone(), Client::open(context, name))).collect();
    let mut looked: Vec<Looked<'_>> = clients.iter().map(|(name, client)| look(context, args, &query, name, client)).collect();
    if looked.iter().all(|looked| looked.found.is_err())
        && let Some(Looked { found: Err(error), .. }) = looked.first()
    {
        let others = looked.iter().skip(1).filter_map(|looked| looked.found.as_ref().err().map(|why| (&looked.name, why)));
        let error = error.clone().at(&looked[0].name);
        return Err(others.fold(error, |error, (name, why)| error.hint(format!("{name}: {}", why.message()))));
    }
    let hits = best(context, &looked, usize::from(args.limit));
    for looked in &mut looked {
        let name = &looked.name;
        let wanted: Vec<PackageName> =
            hits.iter().filter(|(_, hit)| hit.registry == *name).map(|(_, hit)| hit.package.clone()).collect();
        if let Ok((client, snapshot, _)) = &mut looked.found {
            let is_kept = context.flags.offline || looked.away.is_some();
            looked.views = read(client, snapshot, is_kept, looked.memory.as_ref(), &wanted)?;
        }
    }

    let mut answer = Answer::new();
    let mut shown: Vec<Shown> = hits
        .into_iter()
        .filter_map(|(_, hit)| {
            let of = looked.iter_mut().find(|looked| looked.name == hit.registry)?;
            let view = of.views.remove(&hit.package);
            Some(Shown::of(hit, view))
        })
        .collect();
    // What cannot be had goes last, whatever it is called.
    shown.sort_by_key(|shown| !matches!(shown.state, "released" | "unknown"));
    for faulty in shown.iter().filter_map(|shown| shown.error.as_ref()) {
        answer.fault.get_or_insert_with(|| faulty.clone());
    }
    let matches: u64 = looked.iter().filter_map(|looked| looked.found.as_ref().ok()).map(|(.., found)| found.best.all()).sum();
    answer.text.push_str(&Table::from(shown.iter().map(Shown::row).collect::<Vec<_>>()).lay(context.width()));
    answer.exit = u8::from(shown.is_empty());
    tell(context, args, &looked, matches, shown.len() as u64);

    let is_complete = |looked: &Looked<'_>| looked.away.is_none() && matches!(&looked.found, Ok((.., found)) if found.complete);
    answer.field("words", args.words.clone());
    answer.field("complete", looked.iter().all(is_complete));
    answer.field("matches", matches);
    answer.field("hits", shown.iter().map(Shown::to_json).collect::<Vec<Value>>());
    let objects: Vec<Value> = looked
        .iter()
        .map(|looked| {
            let found = looked.found.as_ref().ok();
            json!({
                "registry": looked.name.as_str(),
                "packages": found.map(|(_, snapshot, _)| snapshot.checkpoint().checkpoint().packages),
                "names": found.map_or(0, |(.., found)| found.names),
                "descriptions": found.map_or(0, |(.., found)| found.descriptions),
                "complete": is_complete(looked),
                "fetched": found.map_or(0, |(.., found)| found.fetched),
                "checkpoint": found.map(|(_, snapshot, _)| json!({
                    "seq": snapshot.checkpoint().seq(),
                    "digest": snapshot.checkpoint().digest().to_string(),
                })),
                "error": looked.found.as_ref().err().or(looked.away.as_ref()).map(error_object),
            })
        })
        .collect();
    answer.field("registries", objects);
    // That a registry contradicts itself is not to be overlooked among the answers of others.
    let faults = looked.iter().filter_map(|looked| looked.found.as_ref().err().map(|error| error.clone().at(&looked.name)));
    if let Some(fault) = faults.into_iter().find(|fault| fault.exit() == ErrorCode::Fork.exit_when_read()) {
        answer.fault = Some(fault);
    }
    Ok(answer)
}

/// Returns the registries to search: the one that is named, or all that are trusted, the default first.
fn registries(context: &Context, named: Option<RegistryName>) -> Result<Vec<RegistryName>> {
    let asked = match (named, context.flags.registry.clone()) {
        (Some(named), _) => Some(named),
        (None, flag) => flag,
    };
    if let Some(name) = asked {
        // One that is not trusted is an answer of its own.
        Client::open(context, name.clone())?;
        return Ok(vec![name]);
    }
    let default = context.config.registry.as_ref();
    let trust = Trust::load(&context.home)?;
    let mut names: Vec<RegistryName> = trust.all().iter().map(|trusted| trusted.name.clone()).collect();
    names.sort_by_key(|name| (Some(name) != default, name.clone()));
    if names.is_empty() {
        return Err(fault!(NoRegistry, "no registry is trusted, and so there is none to search")
            .hint("trust one: quipu trust add DOMAIN URL")
            .hint("or make one: quipu registry init PATH --name DOMAIN"));
    }
    Ok(names)
}

/// Searches one registry. Where it cannot be reached, what is kept of it is searched.
fn look<'s>(context: &Context, args: &Args, query: &Query, name: &RegistryName, client: &'s Result<Client<'s>>) -> Looked<'s> {
    let mut away = None;
    let mut memory = None;
    let mut search_it = || {
        let client = client.as_ref().map_err(Error::clone)?;
        memory = client::recall(context, client.id)?;
        let mut snapshot = match client.snapshot(None) {
            Err(error) if is_away(&error) && !context.flags.offline => {
                let Ok(kept) = client.snapshot_kept() else { return Err(error) };
                away = Some(error);
                kept
            }
            opened => opened?,
        };
        let covers = |package: &PackageName| client.check_trusted(package).is_ok();
        let asked = Search { query, most: usize::from(args.limit), all: args.all, memory: memory.as_ref(), covers: &covers };
        let found = match search(&snapshot, asked) {
            // It went away in between.
            Err(error) if is_away(&error) && away.is_none() => {
                let Ok(kept) = client.snapshot_kept() else { return Err(error) };
                away = Some(error);
                snapshot = kept;
                search(&snapshot, asked)?
            }
            found => found?,
        };
        Ok((client, snapshot, found))
    };
    let found = search_it();
    Looked { name: name.clone(), memory, found, away, views: BTreeMap::new() }
}

/// Says whether an error tells of a place that did not answer.
fn is_away(error: &Error) -> bool {
    error.exit() == ErrorCode::Network.exit_when_asked()
}

/// Returns the best of all registries; of two that answer alike, that of the registry that comes first.
fn best(context: &Context, looked: &[Looked<'_>], most: usize) -> Vec<((Rank, bool), FullName)> {
    let mut hits: Vec<((Rank, bool), FullName)> = looked
        .iter()
        .filter_map(|looked| looked.found.as_ref().ok().map(|(.., found)| (&looked.name, found)))
        .flat_map(|(name, found)| {
            let is_other = context.config.registry.as_ref() != Some(name);
            found
                .best
                .iter()
                .map(move |(rank, package)| ((rank, is_other), FullName { registry: name.clone(), package: package.clone() }))
        })
        .collect();
    hits.sort_by(|a, b| (a.0, &a.1.package, &a.1.registry).cmp(&(b.0, &b.1.package, &b.1.registry)));
    hits.truncate(most);
    hits
}

/// Reads and verifies the logs of packages, as far as they are here or come in one go; what was looked at is remembered.
fn read(
    client: &Client<'_>,
    snapshot: &mut Snapshot<'_>,
    is_kept: bool,
    memory: Option<&Memory>,
    wanted: &[PackageName],
) -> Result<BTreeMap<PackageName, Result<PackageView>>> {
    // What does not come is known by its name alone.
    if !is_kept && let Err(error) = snapshot.gather(wanted) {
        if !is_away(&error) {
            return Err(error);
        }
        client.context.warn(&format!("{}: what is found is shown by name alone: {}", client.name, error.message()));
    }
    let mut views = BTreeMap::new();
    for package in wanted {
        match snapshot.package(package) {
            Err(error) if is_away(&error) => {
                if let Some(view) = memory.and_then(|memory| snapshot.package_seen(memory, package).ok()) {
                    views.insert(package.clone(), Ok(view));
                }
            }
            view => drop(views.insert(package.clone(), view)),
        }
    }
    let good = views.iter().filter_map(|(package, view)| view.as_ref().ok().map(|view| (package, view)));
    client.remember(snapshot, good)?;
    Ok(views)
}

/// A package that was found.
struct Shown {
    name: FullName,
    version: Option<String>,
    description: Option<String>,
    license: Option<String>,
    state: &'static str,
    renamed: Option<FullName>,
    error: Option<Error>,
}

impl Shown {
    fn of(name: FullName, view: Option<Result<PackageView>>) -> Self {
        let mut shown =
            Shown { name, version: None, description: None, license: None, state: "unknown", renamed: None, error: None };
        let view = match view {
            None => return shown,
            // It is in the map, and its log is not to be had, or not to be believed.
            Some(Err(error)) => return Shown { state: "faulty", error: Some(error), ..shown },
            Some(Ok(view)) => view,
        };
        shown.renamed = view.renamed_to();
        let log = &view.log.log;
        let is_down = |released: &&Released| view.takedown_of(&released.release.version).is_some();
        let chosen = choose(log, &view.takedowns, None).ok();
        // Where there is none to choose, the newest that is not taken down tells what it is.
        let newest = log.releases().rev().find(|released| !is_down(released));
        shown.state = match (chosen, newest) {
            (Some(_), _) => "released",
            (None, Some(newest)) if newest.flagged => "flagged",
            (None, Some(_)) => "yanked",
            (None, None) if log.releases().next().is_some() => "taken-down",
            (None, None) => "unreleased",
        };
        shown.version = chosen.map(|released| released.release.version.to_string());
        if let Some(released) = chosen.or(newest) {
            shown.description = released.release.description.clone();
            shown.license = released.release.license.clone();
        }
        shown
    }

    fn row(&self) -> Vec<String> {
        let state = match self.state {
            "released" | "unknown" => "",
            "taken-down" => "(taken down) ",
            "unreleased" => "(no release yet) ",
            "yanked" => "(yanked) ",
            "flagged" => "(flagged) ",
            _ => "(faulty) ",
        };
        let renamed = self.renamed.as_ref().map(|name| format!("(renamed to {name}) ")).unwrap_or_default();
        let mut words: Vec<char> = self.description.as_deref().unwrap_or_default().chars().collect();
        if words.len() > WORDS_MAX {
            words.truncate(WORDS_MAX - 1);
            words.push('…');
        }
        let version = self.version.clone().unwrap_or_else(|| "-".to_owned());
        vec![self.name.to_string(), version, format!("{renamed}{state}{}", words.into_iter().collect::<String>())]
    }

    fn to_json(&self) -> Value {
        json!({
            "registry": self.name.registry.as_str(),
            "package": self.name.package.to_string(),
            "version": self.version,
            "description": self.description,
            "license": self.license,
            "state": self.state,
            "renamed-to": self.renamed.as_ref().map(ToString::to_string),
            "error": self.error.as_ref().map(error_object),
        })
    }
}

/// Says beside the answer what was not looked at, and how it can be.
fn tell(context: &Context, args: &Args, looked: &[Looked<'_>], matches: u64, shown: u64) {
    if context.flags.quiet || context.flags.json {
        return;
    }
    let mut err = anstream::stderr();
    // Where nobody listens nothing is said.
    let mut note = |text: String| drop(writeln!(err, "{}", one_line(&for_terminal(&text))));
    let mut again = String::from("quipu search");
    for word in &args.words {
        again.push(' ');
        again.push_str(word);
    }
    for Looked { name, found, away, .. } in looked {
        if let Some(error) = found.as_ref().err().or(away.as_ref()) {
            note(format!("warning: {name} could not be searched: {error}"));
        }
        let Ok((_, snapshot, found)) = found else { continue };
        let packages = snapshot.checkpoint().checkpoint().packages;
        if let Err(error) = snapshot.check_fresh(context.now) {
            note(format!("warning: {name}: {error}"));
        }
        if away.is_some() || (!found.complete && (context.flags.offline || args.all)) {
            note(format!("note: of {name} what is kept here was searched: {} of {packages} names", found.names));
        } else if !found.complete {
            note(format!("note: of {name} {} of {packages} names were searched, those that are kept here", found.names));
            let size = bytes_in_words(found.missing);
            note(format!("hint: to fetch the others, at most some {size}, and keep them: {again} --all"));
            if args.words.iter().all(|word| !word.contains(':')) {
                note("hint: one namespace comes by itself: quipu search NAMESPACE:".to_owned());
            }
        } else if found.fetched > 0 && args.all {
            note(format!("note: {} of names of {name} were fetched and are kept", bytes_in_words(found.fetched)));
        }
        if found.more_descriptions {
            let what = match found.descriptions {
                0 => "names".to_owned(),
                some => format!("names and {}", count(some, "description")),
            };
            note(format!("note: of {name} only {what} were searched; all descriptions: {again} --all"));
        }
    }
    match (matches, shown) {
        (0, _) => note("note: nothing was found".to_owned()),
        (matches, shown) if matches > shown => {
            note(format!("note: the best {shown} of {} are shown; more: --limit NUMBER", count(matches, "package")));
        }
        _ => {}
    }
}
