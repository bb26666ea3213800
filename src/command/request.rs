//! Proposing by a pull request: the proposal is pushed to the user's own fork, and beside it a branch that adds one file to the front page of
//! the registry. Its format is in `model/proposal.rs`.

use super::answer::Answer;
use super::client::Client;
use crate::git::layout::{self, RefName};
use crate::git::quarantine::Quarantine;
use crate::git::refs::{Expected, RefEdit};
use crate::git::staging::Staging;
use crate::git::transport::{self, FetchOptions, PushOptions, PushReport, Pushed, Url, Want};
use crate::model::digest::GitId;
use crate::model::error::{ErrorCode, Result, fault};
use crate::model::name::{PackageName, RegistryName};
use crate::model::proposal::ProposalFile;
use crate::model::record::SignedRecord;
use crate::replica::author::Author;
use crate::replica::forge::check_fork;
use crate::replica::page::{self, PageFile};
use serde_json::json;

/// How a proposal gets to its registry
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Way {
    /// Push to your own fork, with a branch for a pull request
    #[arg(long, conflicts_with = "wait")]
    pub propose: bool,
    /// Your fork, where it is not in config.toml; implies --propose
    #[arg(long, value_name = "URL", conflicts_with = "wait")]
    pub fork: Option<String>,
}

impl Way {
    /// Tells a client of it.
    ///
    /// # Errors
    /// Those of [`Client::propose_by`].
    pub fn tell(&self, client: &mut Client<'_>) -> Result<()> {
        if self.propose || self.fork.is_some() { client.propose_by(self.fork.as_deref()) } else { Ok(()) }
    }
}

/// A branch that is ready for a pull request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The registry that it is for.
    pub registry: RegistryName,
    /// The fork, as everybody can fetch it.
    pub fork: String,
    /// The branch in it.
    pub branch: String,
    /// The file that it adds.
    pub file: String,
    /// Where the forge opens the pull request, where that can be told.
    pub open: Option<String>,
}

impl Request {
    /// Says what is to be done with it.
    pub fn tell(&self, answer: &mut Answer) {
        let registry = &self.registry;
        answer.line(format!("  fork      {}", self.fork));
        answer.line(format!("  branch    {}", self.branch));
        match &self.open {
            Some(open) => answer.line(format!("next: open a pull request to {registry}: {open}")),
            None => answer.line(format!("next: open a pull request to main of {registry} from that branch")),
        }
        answer.field("request", json!({ "fork": self.fork, "branch": self.branch, "file": self.file, "open": self.open }));
    }
}

/// Pushes a proposal to a fork, and the branch that names it. `scratch` holds the proposal, or reads it.
///
/// # Errors
/// `bad-url` where others could not fetch from the fork, `ref-missing` where the registry has no front page, `refused`, and those of the
/// transport.
pub fn push(
    client: &Client<'_>,
    fork: &Url,
    author: &Author<'_>,
    scratch: &Quarantine,
    package: &PackageName,
    proposal: GitId,
    newest: &SignedRecord,
) -> Result<Request> {
    let context = client.context;
    let public = public(fork.as_str());
    check_fork(&public).map_err(|error| error.hint("whoever judges the proposal fetches it from there, and asks nobody"))?;
    let file = ProposalFile {
        registry: client.name.clone(),
        id: client.id,
        package: package.clone(),
        proposal,
        fork: public.clone(),
        signer: newest.draft().signer.clone(),
        key: newest.key().fingerprint(),
    };
    let here: RefName = "refs/quipu/page".parse()?;
    let want = Want::reference(layout::front_page()).to(here.clone());
    let options = FetchOptions { terminal: context.terminal(), ..FetchOptions::default() };
    transport::fetch(scratch, &client.url, &[want], &options).map_err(|error| match error.code() {
        ErrorCode::RefMissing => error.hint("a pull request needs a branch to go to, and this registry has none"),
        _ => error,
    })?;
    let store = scratch.store();
    let parent = store.reference(&here)?.ok_or_else(|| fault!(Bug, "the front page was fetched and is not there"))?;
    let mut objects = Staging::new(store);
    let tree = page::tree_of(&objects, parent)?;
    let added = PageFile { path: file.path(), executable: false, bytes: file.to_text().into_bytes() };
    let tree = page::put(&mut objects, Some(tree), &[added])?;
    let message = format!("Propose {}", newest.summary());
    let commit = page::commit(&mut objects, author, tree, Some(parent), &message)?;
    objects.finish()?;

    let short = &proposal.to_string()[..12];
    let branch = format!("quipu/{}/{}/{short}", package.namespace(), package.name());
    let created = |name: RefName, id| RefEdit { name, expected: Expected::Absent, new: Some(id) };
    let page = created(format!("refs/heads/{branch}").parse()?, commit);
    let incoming = created(layout::incoming(package, proposal), proposal);
    let options = PushOptions { terminal: context.terminal(), ..PushOptions::default() };
    let send = |edits: &[RefEdit]| transport::push(scratch, fork, edits, &options);
    let is_there =
        |report: &PushReport, edit: &RefEdit| matches!(report.refs.get(&edit.name), Some(Pushed::Done | Pushed::Unchanged));
    // The proposal first: a branch that is there names what can be fetched.
    let mut report = send(std::slice::from_ref(&incoming))?;
    if !is_there(&report, &incoming) {
        // Some hosts take branches only.
        let instead =
            created(format!("refs/heads/quipu-data/{}/{}/{short}", package.namespace(), package.name()).parse()?, proposal);
        report = send(std::slice::from_ref(&instead))?;
        if !is_there(&report, &instead) {
            return Err(refused(fork, &report));
        }
    }
    let report = send(std::slice::from_ref(&page))?;
    if !is_there(&report, &page) {
        return Err(refused(fork, &report));
    }
    let open = opened_at(&public, &client.url, &branch, &report.said);
    Ok(Request { registry: client.name.clone(), fork: public, branch, file: file.path(), open })
}

fn refused(fork: &Url, report: &PushReport) -> crate::model::error::Error {
    let why = report.refs.values().find_map(|pushed| match pushed {
        Pushed::Refused(why) => Some(why.clone()),
        Pushed::Stale => Some("the branch is there already".into()),
        _ => None,
    });
    let said: Vec<String> = why.into_iter().chain(report.said.iter().cloned()).collect();
    fault!(Refused, "{fork} refused the proposal: {}", said.join("; ")).asked()
}

/// Returns the URL by which everybody can fetch what is pushed by ssh: forges have the same path for both.
fn public(fork: &str) -> String {
    if let Some(rest) = fork.strip_prefix("ssh://git@")
        && let Some((host, path)) = rest.split_once('/')
        && !host.contains(':')
    {
        return format!("https://{host}/{path}");
    }
    if !fork.contains("://")
        && let Some(rest) = fork.strip_prefix("git@")
        && let Some((host, path)) = rest.split_once(':')
        && !host.starts_with('[')
    {
        return format!("https://{host}/{}", path.trim_start_matches('/'));
    }
    fork.to_owned()
}

/// Says where a pull request is opened: what the forge is known to have, or what it said itself.
fn opened_at(fork: &str, registry: &Url, branch: &str, said: &[String]) -> Option<String> {
    let parts = |url: &str| {
        let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
        Some((host.to_owned(), path.trim_end_matches('/').trim_end_matches(".git").to_owned()))
    };
    if let Some((host, path)) = parts(fork) {
        let upstream = parts(&public(registry.as_str())).filter(|(other, _)| *other == host).map(|(_, path)| path);
        if host == "github.com" {
            return Some(format!("https://{host}/{path}/pull/new/{branch}"));
        }
        if host == "gitlab.com" || host.starts_with("gitlab.") {
            let branch = branch.replace('/', "%2F");
            return Some(format!("https://{host}/{path}/-/merge_requests/new?merge_request%5Bsource_branch%5D={branch}"));
        }
        if let Some(upstream) = upstream
            && (host == "codeberg.org" || host.starts_with("forgejo.") || host.starts_with("gitea."))
        {
            let owner = path.split('/').next().unwrap_or_default();
            return Some(format!("https://{host}/{upstream}/compare/main...{owner}:{branch}"));
        }
    }
    let words = said.iter().flat_map(|line| line.split_whitespace());
    words.into_iter().find(|word| word.starts_with("https://") && word.len() < 2000).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_by_ssh_is_fetched_by_https() {
        for (fork, seen) in [
            ("git@github.com:bob/registry.git", "https://github.com/bob/registry.git"),
            ("ssh://git@codeberg.org/bob/registry.git", "https://codeberg.org/bob/registry.git"),
            ("https://gitlab.com/bob/registry.git", "https://gitlab.com/bob/registry.git"),
            ("ssh://git@forge.example:2222/bob/r.git", "ssh://git@forge.example:2222/bob/r.git"),
            ("alice@forge.example:r.git", "alice@forge.example:r.git"),
            ("git://forge.example/r.git", "git://forge.example/r.git"),
        ] {
            assert_eq!(public(fork), seen);
        }
    }

    #[test]
    fn the_page_of_a_pull_request_is_known_or_said_or_left_open() -> Result<()> {
        let upstream: Url = "https://codeberg.org/acme/registry.git".parse()?;
        let at = |fork: &str, said: &[&str]| {
            opened_at(fork, &upstream, "quipu/a/b/0", &said.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(at("https://github.com/bob/r.git", &[]).as_deref(), Some("https://github.com/bob/r/pull/new/quipu/a/b/0"));
        assert_eq!(
            at("https://gitlab.com/g/bob/r.git", &[]).as_deref(),
            Some("https://gitlab.com/g/bob/r/-/merge_requests/new?merge_request%5Bsource_branch%5D=quipu%2Fa%2Fb%2F0")
        );
        assert_eq!(
            at("https://codeberg.org/bob/r.git", &[]).as_deref(),
            Some("https://codeberg.org/acme/registry/compare/main...bob:quipu/a/b/0")
        );
        assert_eq!(
            at("https://forge.example/bob/r.git", &["Create a pull request:", "  https://forge.example/x"]).as_deref(),
            Some("https://forge.example/x")
        );
        assert_eq!(at("git://forge.example/bob/r.git", &["welcome"]), None);
        Ok(())
    }
}
