//! `quipu log`: a package's story.

use super::answer::Answer;
use super::client::Client;
use super::context::Context;
use super::table::Table;
use crate::model::error::Result;
use crate::model::name::Reference;
use crate::model::record::SignedRecord;
use serde_json::{Value, json};

/// Show the records of a package, newest first
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The package: [REGISTRY/]NAMESPACE:NAME[#sha256:…]
    reference: Reference,
    /// Show at most so many records
    #[arg(long, short = 'n', value_name = "NUMBER")]
    limit: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// `not-found` with near names, `anchor-mismatch`, and all that reading a registry can end in.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let reference = &args.reference;
    let client = Client::of(context, reference)?;
    let (snapshot, view) = client.look(reference)?;
    let package = &view.name.package;
    client.remember(&snapshot, [(package, &view)])?;
    // The decisions about the name come first, and then those about the names before it.
    let own = view.decisions.iter();
    let others = view.decided().filter(|(name, _)| *name != package).map(|(_, decisions)| decisions);
    let decided = own.chain(others).flat_map(|decisions| decisions.records.iter().rev());
    let shown: Vec<&SignedRecord> = decided.chain(view.log.records.iter().rev()).take(args.limit.unwrap_or(usize::MAX)).collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|record| {
            let draft = record.draft();
            vec![
                record.seq().to_string(),
                draft.time.to_string(),
                draft.signer.to_string(),
                record.digest().hex()[..12].to_owned(),
                record.summary(),
            ]
        })
        .collect();
    let mut answer = Answer::new();
    answer.text.push_str(&Table::from(rows).lay(context.width()));
    Client::tell_renamed(&mut answer, &view);
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    answer.field("log", view.log.log.chain().id().to_string());
    let objects: Vec<Value> = shown
        .iter()
        .map(|record| {
            json!({
                "seq": record.seq(),
                "subject": record.draft().subject.to_string(),
                "kind": record.entry().kind(),
                "summary": record.summary(),
                "signer": record.draft().signer.as_str(),
                "fingerprint": record.key().fingerprint().to_string(),
                "time": record.draft().time.unix(),
                "record": record.digest().to_string(),
                "commit": record.git_id().to_string(),
            })
        })
        .collect();
    answer.field("records", objects);
    Ok(answer)
}
