//! `quipu publish`: a folder becomes a release.

use super::answer::{Answer, bytes_in_words, count};
use super::client::{self, Client};
use super::context::Context;
use super::origin;
use super::request::Way;
use super::submit::{Ground, State, Submission, Wait, submit};
use crate::disk::folder;
use crate::disk::project::Project;
use crate::disk::trusted::Trust;
use crate::model::entry::{PackageEntry, Release};
use crate::model::error::{Error, ErrorCode, Result, fault};
use crate::model::name::Label;
use crate::model::object::ReadObjects as _;
use crate::replica::accept::{check_policy, limits};
use std::path::PathBuf;

/// Publish a folder as a release of its package
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder, with a quipu.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The simple name of your key in a new package's log [default: from the key's file or comment]
    #[arg(long, value_name = "NAME")]
    name: Option<Label>,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    wait: Wait,
}

/// Runs the command.
///
/// # Errors
/// All that is missing at once: `bad-manifest`, `no-key`, `no-registry`, `not-trusted`; all that the registry refuses.
pub fn run(context: &Context, args: &Args) -> Result<Answer> {
    let folder = context.path(&args.dir);
    let project = Project::load(&folder);
    let signing = context.key().and_then(|key| context.signing(&key));
    let project = project.and_then(|project| project.package().cloned().map(|package| (project, package)));
    let own = project.as_ref().ok().and_then(|(_, package)| package.registry.as_ref());
    let client = client::which(context, None, own).and_then(|name| {
        let mut client = Client::open(context, name)?;
        args.way.tell(&mut client)?;
        Ok(client)
    });
    let ((project, manifest), signing, client) = all_or_everything_missing(project, signing, client)?;
    let author = signing.author(args.name.as_ref())?;
    let package = &manifest.name;
    let version = &manifest.version;
    let trust = Trust::load(&context.home)?;
    let dependencies = project.dependencies(&client.name, |name| trust.get(name).map(|trusted| trusted.id))?;

    origin::check_finished(&folder)?;
    let ground = || project.origin.as_ref().map(|upstream| origin::ground(context, upstream)).transpose();
    let mut described = None;
    let submission = Submission {
        client: &client,
        signing: &signing,
        author: &author,
        package,
        follow: false,
        wait: args.wait.duration(),
        origin: &ground,
    };
    let submitted = submit(&submission, |ground, objects| {
        let Ground { author, view, operators, mut work, .. } = ground;
        if let Some(released) = view.and_then(|view| view.log.log.release_of(version)) {
            let newest = view.and_then(|view| view.log.log.releases().next_back()).map(|released| &released.release.version);
            let error = fault!(AlreadyReleased, "{}/{package} {version} was released at seq {}", client.name, released.seq);
            return Err(match newest {
                Some(newest) => error.hint(format!("raise the version in quipu.toml above {newest}")),
                None => error,
            }
            .asked());
        }
        let limits = limits(&operators.now().policy);
        let collected = folder::collect(&folder, &project.patterns(), &limits, objects).map_err(Error::asked)?;
        if project.origin.is_some() {
            origin::check_markers(&folder, &collected)?;
        }
        let release = Release {
            version: version.clone(),
            content: collected.contents.digest(),
            tree: collected.tree,
            size: collected.contents.size(),
            files: collected.contents.len() as u64,
            description: manifest.description.clone(),
            license: manifest.license.clone(),
            links: manifest.links.clone(),
            build: manifest.build.clone(),
            dependencies: dependencies.clone(),
        };
        check_policy(operators.now(), &release).map_err(Error::asked)?;
        described = Some((release.content, release.size, release.files));
        work.add(author, PackageEntry::Release(release.into()))?;
        debug_assert_eq!(objects.format(), work.log().chain().format());
        Ok((work, vec![(version.to_string(), collected.tree)]))
    });
    let submitted = submitted.map_err(|error| match error.code() {
        ErrorCode::WrongLog => error.hint(format!("its name stands in {}", folder.join("quipu.toml").display())),
        _ => error,
    })?;

    let (content, size, files) = described.ok_or_else(|| fault!(Bug, "a release without contents"))?;
    let head = submitted.added.last().ok_or_else(|| fault!(Bug, "a release without a record"))?;
    let full = format!("{}/{package}@{version}", client.name);
    let mut answer = Answer::new();
    answer.line(match &submitted.state {
        State::DryRun => format!("would publish {full}"),
        State::Proposed(_) => format!("proposed {full}"),
        State::Published(seq, _) => format!("published {full} in checkpoint {seq}"),
    });
    answer.line(format!("  contents  {content}"));
    answer.line(format!("            {}, {}", count(files, "file"), bytes_in_words(size)));
    answer.line(format!("  record    {}", head.digest()));
    answer.line(format!("            seq {} of {}, signed by {}", head.seq(), submitted.log.chain().id(), head.draft().signer));
    if let (Some(origin), 1) = (submitted.log.origin(), head.seq()) {
        answer.line(format!("  fork of   {}", origin::in_words(origin)));
    }
    if let State::Proposed(id) = &submitted.state {
        answer.line(format!("  proposal  {id}"));
        if submitted.request.is_none() {
            answer.line("it is published when an operator of the registry accepts it: quipu registry accept PATH");
        }
    }
    submitted.tell(&mut answer);
    answer.field("registry", client.name.as_str());
    answer.field("package", package.to_string());
    answer.field("version", version.to_string());
    answer.field("content", content.to_string());
    answer.field("files", files);
    answer.field("size", size);
    answer.field("log", submitted.log.chain().id().to_string());
    answer.field("record", head.digest().to_string());
    answer.field("seq", head.seq());
    Ok(answer)
}

/// Returns all three, or one error that names everything that is missing.
fn all_or_everything_missing<A, B, C>(a: Result<A>, b: Result<B>, c: Result<C>) -> Result<(A, B, C)> {
    match (a, b, c) {
        (Ok(a), Ok(b), Ok(c)) => Ok((a, b, c)),
        (a, b, c) => {
            let errors: Vec<Error> = [a.err(), b.err(), c.err()].into_iter().flatten().collect();
            if errors.len() == 1 {
                return Err(errors[0].clone());
            }
            let messages: Vec<&str> = errors.iter().map(Error::message).collect();
            let all = Error::new(errors[0].code(), messages.join("; "));
            Err(errors.iter().flat_map(Error::hints).fold(all, |all, hint| all.hint(hint)))
        }
    }
}
