//! `quipu owner`: the keys of a package.

use super::answer::Answer;
use super::client::Client;
use super::context::Context;
use super::keyarg::{KeyArg, known, sorted};
use super::request::Way;
use super::submit::{NO_FORK, State, Submission, Wait, submit};
use super::table::Table;
use crate::model::entry::{Denial, Grant, PackageEntry, PackagePrivilege, Privilege as _};
use crate::model::error::{Result, fault};
use crate::model::key::allowed_signers_line;
use crate::model::name::{Label, Reference};
use clap::Subcommand;
use serde_json::json;

/// Show and change who owns a package
#[derive(Subcommand, Debug)]
pub enum Args {
    /// List the keys of a package and what each may append
    List {
        /// The package: [REGISTRY/]NAMESPACE:NAME
        package: Reference,
        /// Print lines for git's allowed_signers file
        #[arg(long)]
        allowed_signers: bool,
    },
    /// Give privileges to a key
    Allow {
        /// The package: [REGISTRY/]NAMESPACE:NAME
        package: Reference,
        /// The key: `ssh-ed25519 AAAA…`, a .pub file, or the name of one of yours
        #[arg(id = "whose", value_name = "KEY")]
        key: KeyArg,
        /// What it may append: auth, release, yank, rename [default: release and yank]
        #[arg(long = "privilege", value_name = "PRIVILEGE", value_delimiter = ',')]
        privileges: Vec<PackagePrivilege>,
        /// Its simple name in the log [default: from its comment]
        #[arg(long, value_name = "NAME")]
        name: Option<Label>,
        /// How the change gets to the registry.
        #[command(flatten)]
        way: Way,
        /// Whether it is waited for an operator.
        #[command(flatten)]
        wait: Wait,
    },
    /// Take privileges from a key
    Deny {
        /// The package: [REGISTRY/]NAMESPACE:NAME
        package: Reference,
        /// The key: its name in the log, its fingerprint, `ssh-ed25519 AAAA…`, or a .pub file
        #[arg(id = "whose", value_name = "KEY")]
        key: KeyArg,
        /// What is taken [default: all it has]
        #[arg(long = "privilege", value_name = "PRIVILEGE", value_delimiter = ',')]
        privileges: Vec<PackagePrivilege>,
        /// The seq since which the key was in wrong hands: what it appended from there on is flagged
        #[arg(long, value_name = "SEQ")]
        compromised_since: Option<u64>,
        /// How the change gets to the registry.
        #[command(flatten)]
        way: Way,
        /// Whether it is waited for an operator.
        #[command(flatten)]
        wait: Wait,
    },
}

/// Runs the command.
///
/// # Errors
/// `not-found`, `unauthorized`, `last-owner`, and all else that the registry refuses.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match args {
        Args::List { package, allowed_signers } => list(context, package, *allowed_signers),
        Args::Allow { package, key, privileges, name, way, wait } => {
            let (name, key) = key.named(context, name.as_ref())?;
            let default = vec![PackagePrivilege::Release, PackagePrivilege::Yank];
            let privileges = sorted(if privileges.is_empty() { &default } else { privileges });
            let said = format!("allow {name}: {}", words(&privileges));
            let grant = Grant { name, key, privileges, namespaces: Vec::new() };
            change(context, package, &said, (way, *wait), |_| Ok(PackageEntry::Allow(grant.clone())))
        }
        Args::Deny { package, key, privileges, compromised_since, way, wait } => {
            change(context, package, &format!("deny {key}"), (way, *wait), |keys| {
                let state = known(context, key, keys.iter().map(|key| (&key.name, &key.key)))?;
                let held = keys.get(&state.1).map(|key| key.privileges.clone()).unwrap_or_default();
                let privileges = match (privileges.is_empty(), held.is_empty()) {
                    (false, _) => sorted(privileges),
                    (true, false) => held,
                    // What is declared stolen may have been denied before.
                    (true, true) if compromised_since.is_some() => PackagePrivilege::ALL.to_vec(),
                    (true, true) => return Err(fault!(BadRecord, "{} has no privilege left to take", state.0).asked()),
                };
                Ok(PackageEntry::Deny(Denial { name: state.0, key: state.1, privileges, compromised_since: *compromised_since }))
            })
        }
    }
}

fn words(privileges: &[PackagePrivilege]) -> String {
    let words: Vec<&str> = privileges.iter().map(|privilege| privilege.as_str()).collect();
    words.join(", ")
}

fn change(
    context: &Context,
    reference: &Reference,
    said: &str,
    (way, wait): (&Way, Wait),
    entry: impl Fn(&crate::log::keys::Keys<PackagePrivilege>) -> Result<PackageEntry>,
) -> Result<Answer> {
    let mut client = Client::of(context, reference)?;
    way.tell(&mut client)?;
    let signing = context.signing(&context.key()?)?;
    let author = signing.author(None)?;
    let package = &reference.package;
    let submission = Submission {
        client: &client,
        signing: &signing,
        author: &author,
        package,
        follow: true,
        wait: wait.duration(),
        origin: NO_FORK,
    };
    let submitted = submit(&submission, |mut ground, _| {
        if let Some(absent) = ground.absent {
            return Err(absent);
        }
        let entry = entry(ground.work.log().keys())?;
        ground.work.add(ground.author, entry)?;
        Ok((ground.work, Vec::new()))
    })?;
    let package = &submitted.package;
    let full = format!("{}/{package}", client.name);
    let summary = submitted.added.last().map_or(said.to_owned(), |record| record.summary());
    let mut answer = Answer::new();
    answer.line(match &submitted.state {
        State::DryRun => format!("would change the keys of {full}: {summary}"),
        State::Proposed(id) => format!("proposed for {full}: {summary} (proposal {id})"),
        State::Published(seq, _) => format!("changed the keys of {full} in checkpoint {seq}: {summary}"),
    });
    submitted.tell(&mut answer);
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    answer.field("summary", summary);
    answer.field("keys", objects(&submitted.log));
    Ok(answer)
}

fn objects(log: &crate::log::package::PackageLog) -> Vec<serde_json::Value> {
    log.keys()
        .iter()
        .map(|key| {
            json!({
                "name": key.name.as_str(),
                "fingerprint": key.key.fingerprint().to_string(),
                "public-key": key.key.to_string(),
                "privileges": key.privileges.iter().map(|privilege| privilege.as_str()).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn list(context: &Context, reference: &Reference, allowed_signers: bool) -> Result<Answer> {
    let client = Client::of(context, reference)?;
    let (snapshot, view) = client.look(reference)?;
    let package = &view.name.package;
    client.remember(&snapshot, [(package, &view)])?;
    let log = &view.log.log;
    let mut answer = Answer::new();
    if allowed_signers {
        for key in log.keys().iter() {
            answer.line(allowed_signers_line(key.name.as_str(), &key.key));
        }
    } else {
        let rows: Vec<Vec<String>> = log
            .keys()
            .iter()
            .map(|key| {
                let privileges = if key.privileges.is_empty() { "-".into() } else { words(&key.privileges) };
                vec![key.name.to_string(), key.key.fingerprint().to_string(), privileges]
            })
            .collect();
        answer.text.push_str(&Table::from(rows).lay(context.width()));
    }
    let lines = answer.text.clone();
    Client::tell_renamed(&mut answer, &view);
    if allowed_signers {
        // Nothing but lines for the file.
        answer.text = lines;
    }
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    answer.field("keys", objects(log));
    Ok(answer)
}
