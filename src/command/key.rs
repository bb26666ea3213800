//! `quipu key`: making keys, and showing the ones there are.

use super::answer::Answer;
use super::context::Context;
use super::table::Table;
use crate::disk::keys::{self, KeyFile};
use crate::git::signer;
use crate::model::error::Result;
use crate::model::key::allowed_signers_line;
use crate::model::name::Label;
use clap::Subcommand;
use serde_json::json;

/// Make, list and show keys
#[derive(Subcommand, Debug)]
pub enum Args {
    /// Make a key: an OpenSSH ed25519 key without a passphrase
    New {
        /// A simple name for it [default: your user name]
        name: Option<Label>,
    },
    /// List the keys that quipu finds: its own, git's and ssh's
    List,
    /// Show one key: fingerprint, public key, allowed_signers line
    Show {
        /// A name from `quipu key list`, or a path [default: the key that would sign]
        #[arg(id = "whose", value_name = "KEY")]
        key: Option<String>,
        /// Print only the line for git's allowed_signers file
        #[arg(long)]
        allowed_signers: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// `exists`, `no-key`, `bad-key`, `io`.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    match args {
        Args::New { name } => new(context, name.as_ref()),
        Args::List => list(context),
        Args::Show { key, allowed_signers } => show(context, key.as_deref(), *allowed_signers),
    }
}

fn new(context: &Context, name: Option<&Label>) -> Result<Answer> {
    let mut answer = Answer::new();
    if context.flags.dry_run {
        answer.line(format!("would make a key in {}", context.home.keys().display()));
        return Ok(answer);
    }
    let key = context.make_key(name)?;
    answer.line(format!("made the key {}", key.comment));
    describe(&mut answer, &key);
    Ok(answer)
}

fn describe(answer: &mut Answer, key: &KeyFile) {
    answer.line(format!("  fingerprint  {}", key.public.fingerprint()));
    answer.line(format!("  public key   {}", key.public));
    answer.line(format!("  file         {}", key.path.display()));
    for (name, value) in object(key).as_object().into_iter().flatten() {
        answer.field(name, value.clone());
    }
}

fn object(key: &KeyFile) -> serde_json::Value {
    json!({
        "fingerprint": key.public.fingerprint().to_string(),
        "public-key": key.public.to_string(),
        "comment": key.comment,
        "file": key.path.display().to_string(),
        "protected": key.protected,
    })
}

fn list(context: &Context) -> Result<Answer> {
    let mut found = keys::own(&context.home)?;
    // A key of git's or ssh's that quipu cannot use is no fault of the list.
    let others = signer::of_git().ok().flatten().into_iter().chain(keys::of_ssh(&context.home));
    for path in others {
        if let Ok(key) = KeyFile::open(&path)
            && found.iter().all(|other| other.public != key.public)
        {
            found.push(key);
        }
    }
    let chosen = context.key().ok().map(|key| key.public);
    let mut answer = Answer::new();
    if found.is_empty() {
        answer.line("there is no key; make one: quipu key new");
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|key| {
            let mark = if chosen.as_ref() == Some(&key.public) { "*" } else { " " };
            let name = key.suggested_name(&context.home).map_or("-".into(), |name| name.to_string());
            let file = match &key.protected {
                Some(how) => format!("{} ({how})", key.path.display()),
                None => key.path.display().to_string(),
            };
            vec![format!("{mark} {name}"), key.public.fingerprint().to_string(), file]
        })
        .collect();
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    let objects: Vec<_> = found
        .iter()
        .map(|key| {
            let mut object = object(key);
            object["signs"] = json!(chosen.as_ref() == Some(&key.public));
            object
        })
        .collect();
    answer.field("keys", objects);
    Ok(answer)
}

fn show(context: &Context, wanted: Option<&str>, allowed_signers: bool) -> Result<Answer> {
    let key = match wanted {
        Some(wanted) => keys::find(&context.home, Some(wanted), || Ok(None))?,
        None => context.key()?,
    };
    let principal = key.suggested_name(&context.home).map_or("key".to_owned(), |name| name.to_string());
    let line = allowed_signers_line(&principal, &key.public);
    let mut answer = Answer::new();
    if allowed_signers {
        answer.line(&line);
        for (name, value) in object(&key).as_object().into_iter().flatten() {
            answer.field(name, value.clone());
        }
    } else {
        answer.line(&principal);
        describe(&mut answer, &key);
        if let Some(how) = &key.protected {
            answer.line(format!("  protected    {how}"));
        }
        answer.line(format!("  for git      {line}"));
    }
    answer.field("name", principal);
    answer.field("allowed-signers", line);
    Ok(answer)
}
