//! `quipu compare`: two registries, a registry and its mirror, or two moments of one.

use super::answer::{Answer, count};
use super::client::Client;
use super::context::Context;
use super::table::Table;
use crate::git::transport::Url;
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::moment::Moment;
use crate::model::name::{RegistryName, looks_like_path, looks_like_url};
use crate::model::slot::Slot;
use crate::replica::compare::{Difference, Relation, compare};
use crate::replica::snapshot::{Reading, Snapshot};
use serde_json::json;
use std::collections::BTreeMap;

/// Compare two registries, a registry and its mirror, or two moments of one
///
/// Each is a trusted registry's name, a path or a URL, and may be followed by @CHECKPOINT, its number or its digest, for how it was then:
/// `acme.example@12`. Exit status 1: they differ.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The one: a registry's name, path or URL, with @CHECKPOINT for an earlier moment
    #[arg(value_name = "A")]
    here: String,
    /// The other; @CHECKPOINT alone is another moment of A [default: A as it is now]
    #[arg(value_name = "B")]
    there: Option<String>,
    /// List at most so many differences
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 1000)]
    limit: u32,
}

/// A registry and a moment of it, as they are named.
struct Side<'t> {
    text: &'t str,
    what: &'t str,
    moment: Option<Moment>,
}

impl<'t> Side<'t> {
    fn read(text: &'t str) -> Self {
        match text.rsplit_once('@').map(|(what, moment)| (what, moment.parse())) {
            Some((what, Ok(moment))) => Side { text, what, moment: Some(moment) },
            _ => Side { text, what: text, moment: None },
        }
    }
}

/// Where a side is read.
enum Place<'c> {
    Known(Box<Client<'c>>),
    Url(Url),
}

fn place<'c>(context: &'c Context, what: &str) -> Result<Place<'c>> {
    if looks_like_path(what) || looks_like_url(what) {
        let url = Url::parse(what, &context.folder)?;
        context.may_reach(&url)?;
        return Ok(Place::Url(url));
    }
    let name: RegistryName = what.parse().map_err(|error: crate::model::error::Error| {
        if context.path(what).exists() { error.hint(format!("for the path: quipu compare ./{what}")) } else { error }
    })?;
    Ok(Place::Known(Box::new(Client::open(context, name)?)))
}

/// Reads a side; `called` is the registry of the other one, which a URL may lead to a mirror of.
fn snapshot<'s>(
    context: &'s Context,
    place: &'s Place<'_>,
    called: Option<&'s RegistryName>,
    moment: Option<&Moment>,
) -> Result<Snapshot<'s>> {
    let mut snapshot = match place {
        Place::Known(client) => {
            let snapshot = client.snapshot(None)?;
            client.remember(&snapshot, [])?;
            snapshot
        }
        Place::Url(url) => Snapshot::open(Reading {
            mirrored: called,
            terminal: context.terminal(),
            patience: context.patience(),
            ..Reading::anew(url, context.now, &|contradiction| contradiction.error)
        })?,
    };
    if let Some(moment) = moment {
        snapshot.go_back(moment)?;
    }
    Ok(snapshot)
}

/// Runs the command.
///
/// # Errors
/// `id-mismatch` where they are two registries, `not-found` for a moment that there is not, all that reading a registry can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let here = Side::read(&args.here);
    let there = match args.there.as_deref() {
        Some(text) => match text.strip_prefix('@') {
            Some(moment) => Side { text, what: here.what, moment: Some(moment.parse()?) },
            None => Side::read(text),
        },
        None if here.moment.is_some() => Side { text: here.what, what: here.what, moment: None },
        None => {
            return Err(fault!(Usage, "{} is to be compared with what", here.text)
                .hint(format!("with another one: quipu compare {} B", here.text))
                .hint(format!("with an earlier moment: quipu compare {}@CHECKPOINT", here.text)));
        }
    };
    let (a, b) = (place(context, here.what)?, place(context, there.what)?);
    let (first, last) = (&here, &there);
    let one = |called| snapshot(context, &a, called, first.moment.as_ref()).map_err(|error| error.at(first.text));
    let other = |called| snapshot(context, &b, called, last.moment.as_ref()).map_err(|error| error.at(last.text));
    let named = |place: &Place<'_>| if let Place::Known(client) = place { Some(client.name.clone()) } else { None };
    let (named_a, named_b) = (named(&a), named(&b));
    let mut one = one(named_b.as_ref())?;
    let own = named_a.or_else(|| named_b.is_none().then(|| one.operators().log.registry().clone()));
    let other = other(own.as_ref())?;
    let of_other = other.operators().log.registry().clone();
    if named_b.is_none() && own.as_ref().is_some_and(|own| *own != of_other) {
        // Perhaps the first one mirrors the second one's registry.
        one = snapshot(context, &a, Some(&of_other), first.moment.as_ref()).map_err(|error| error.at(first.text))?;
    }
    let mut counts: BTreeMap<Relation, u64> = BTreeMap::new();
    let mut listed: Vec<Difference> = Vec::new();
    let (mut all, mut filtered) = (0, 0);
    let found = compare(&one, &other, &mut |difference| {
        if difference.relation == Relation::Filtered {
            filtered += 1;
            return Ok(());
        }
        *counts.entry(difference.relation).or_default() += 1;
        all += 1;
        if listed.len() < args.limit as usize {
            listed.push(difference);
        }
        Ok(())
    });
    let relation = found.map_err(|error| match error.code() {
        ErrorCode::IdMismatch => error.hint("only what is of one registry can be compared; a fork of it is another one"),
        _ => error,
    })?;
    // Names of a large namespace come by their hashes.
    listed.sort_by(|a, b| a.slot.cmp(&b.slot));
    let mut answer = Answer::new();
    let registry = one.operators().log.registry();
    let (from, to) = (one.checkpoint(), other.checkpoint());
    answer.line(match relation {
        Relation::Same => format!("{registry}: {} and {} are the same, checkpoint {}", here.text, there.text, from.seq()),
        Relation::Behind => {
            format!("{registry}: {} is behind {}, checkpoint {} before {}", here.text, there.text, from.seq(), to.seq())
        }
        Relation::Ahead => {
            format!("{registry}: {} is ahead of {}, checkpoint {} after {}", here.text, there.text, from.seq(), to.seq())
        }
        _ => format!(
            "{registry}: {} and {} have DIVERGED: each is signed, and neither goes on from the other",
            here.text, there.text
        ),
    });
    let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    if all > listed.len() as u64 {
        answer.line(format!("  and {} more", count(all - listed.len() as u64, "difference")));
    }
    for (side, snapshot) in [(&here, &one), (&there, &other)] {
        if let Some(held) = snapshot.held() {
            let patterns: Vec<String> = held.patterns.iter().take(8).map(ToString::to_string).collect();
            answer.line(format!("  {} holds a part only: {}", side.text, patterns.join(", ")));
        }
    }
    if filtered > 0 {
        answer.line(format!("  {} in what is not part of it", count(filtered, "difference")));
    }
    answer.exit = u8::from(relation != Relation::Same || all > 0);
    let side = |side: &Side<'_>, snapshot: &Snapshot<'_>| {
        let checkpoint = snapshot.checkpoint();
        let patterns = snapshot.held().map(|held| held.patterns.iter().map(ToString::to_string).collect::<Vec<_>>());
        json!({
            "named": side.text,
            "url": snapshot.url().to_string(),
            "seq": checkpoint.seq(),
            "digest": checkpoint.digest().to_string(),
            "patterns": patterns,
        })
    };
    answer.field("registry", registry.as_str());
    answer.field("id", one.operators().log.id().to_string());
    answer.field("here", side(&here, &one));
    answer.field("there", side(&there, &other));
    answer.field("relation", relation.word());
    answer.field("all", all);
    answer.field("filtered", filtered);
    answer.field(
        "counts",
        counts.iter().map(|(relation, count)| (relation.word().to_owned(), (*count).into())).collect::<serde_json::Map<_, _>>(),
    );
    let objects = listed.iter().map(|difference| {
        json!({
            "place": difference.slot.to_string(),
            "relation": difference.relation.word(),
            "here": difference.seqs.map(|(here, _)| here),
            "there": difference.seqs.map(|(_, there)| there),
            "shared": difference.shared,
        })
    });
    answer.field("differences", objects.collect::<Vec<_>>());
    Ok(answer)
}

fn row(difference: &Difference) -> Vec<String> {
    let name = match &difference.slot {
        Slot::Package(package) => package.to_string(),
        Slot::Decisions(package) => format!("{package}, decisions"),
        slot => slot.to_string(),
    };
    let says = match (difference.relation, difference.seqs, difference.shared) {
        (Relation::OnlyHere, ..) => "only in the first".to_owned(),
        (Relation::OnlyThere, ..) => "only in the second".to_owned(),
        (Relation::WithheldHere, ..) => "WITHHELD by the first: its map names it".to_owned(),
        (Relation::WithheldThere, ..) => "WITHHELD by the second: its map names it".to_owned(),
        (Relation::Diverged, Some((here, there)), Some(shared)) => {
            format!("DIVERGED after {shared} records: seq {here}, seq {there}")
        }
        (relation, Some((here, there)), _) => format!("{}: seq {here}, seq {there}", relation.word()),
        (relation, ..) => relation.word().to_owned(),
    };
    vec![format!("  {name}"), says]
}
