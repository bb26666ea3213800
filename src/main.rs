//! The program `quipu`: reads the command line, runs one verb, prints its answer or its failure, and exits by the table of codes.

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use quipu::command::answer::{Answer, error_to_json, for_terminal, json_line, one_line};
use quipu::command::context::{Color, Context, Flags};
use quipu::command::{
    bundle, cache, compare, completion, diff, fork, get, hook, info, install, key, log, man, mirror, new, owner, patch, promote,
    publish, registry, rename, search, tour, trust, usage, verify, yank,
};
use quipu::model::error::{Error, ErrorCode, Result};
use std::io::Write as _;
use std::process::ExitCode;

/// A package registry that is nothing but a git repository
#[derive(Parser)]
#[command(name = "quipu", version, about, disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Install(install::Install),
    Add(install::Add),
    Remove(install::Remove),
    Update(install::Update),
    Vendor(install::Vendor),
    Get(get::Args),
    Search(search::Args),
    Info(info::Args),
    Log(log::Args),
    Diff(diff::Args),
    Verify(verify::Args),
    Compare(compare::Args),
    #[command(subcommand)]
    Mirror(mirror::Args),
    #[command(subcommand)]
    Bundle(bundle::Args),
    New(new::Args),
    Publish(publish::Args),
    Fork(fork::Args),
    Promote(promote::Args),
    Yank(yank::Args),
    /// Bring a yanked version back into new choices
    Unyank(yank::Args),
    Rename(rename::Args),
    #[command(subcommand)]
    Owner(owner::Args),
    #[command(subcommand)]
    Key(key::Args),
    #[command(subcommand)]
    Trust(trust::Args),
    #[command(subcommand)]
    Cache(cache::Args),
    #[command(subcommand)]
    Registry(registry::Args),
    #[command(subcommand)]
    Hook(hook::Args),
    Tour(tour::Args),
    Completion(completion::Args),
    Man(man::Args),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Install(_) => "install",
            Command::Add(_) => "add",
            Command::Remove(_) => "remove",
            Command::Update(_) => "update",
            Command::Vendor(_) => "vendor",
            Command::Get(_) => "get",
            Command::Search(_) => "search",
            Command::Info(_) => "info",
            Command::Log(_) => "log",
            Command::Diff(_) => "diff",
            Command::Verify(_) => "verify",
            Command::Compare(_) => "compare",
            Command::Mirror(_) => "mirror",
            Command::Bundle(_) => "bundle",
            Command::New(_) => "new",
            Command::Publish(_) => "publish",
            Command::Fork(_) => "fork",
            Command::Promote(_) => "promote",
            Command::Yank(_) => "yank",
            Command::Unyank(_) => "unyank",
            Command::Rename(_) => "rename",
            Command::Owner(_) => "owner",
            Command::Key(_) => "key",
            Command::Trust(_) => "trust",
            Command::Cache(_) => "cache",
            Command::Registry(_) => "registry",
            Command::Hook(_) => "hook",
            Command::Tour(_) => "tour",
            Command::Completion(_) => "completion",
            Command::Man(_) => "man",
        }
    }

    fn run(&self, context: &Context) -> Result<Answer> {
        match self {
            Command::Install(args) => install::install(context, args),
            Command::Add(args) => install::add(context, args),
            Command::Remove(args) => install::remove(context, args),
            Command::Update(args) => install::update(context, args),
            Command::Vendor(args) => install::vendor(context, args),
            Command::Get(args) => get::run(context, args),
            Command::Search(args) => search::run(context, args),
            Command::Info(args) => info::run(context, args),
            Command::Log(args) => log::run(context, args),
            Command::Diff(args) => diff::run(context, args),
            Command::Verify(args) => verify::run(context, args),
            Command::Compare(args) => compare::run(context, args),
            Command::Mirror(args) => mirror::run(context, args),
            Command::Bundle(args) => bundle::run(context, args),
            Command::New(args) => new::run(context, args),
            Command::Publish(args) => publish::run(context, args),
            Command::Fork(args) => fork::run(context, args),
            Command::Promote(args) => promote::run(context, args),
            Command::Yank(args) => yank::run(context, args, false),
            Command::Unyank(args) => yank::run(context, args, true),
            Command::Rename(args) => rename::run(context, args),
            Command::Owner(args) => owner::run(context, args),
            Command::Key(args) => key::run(context, args),
            Command::Trust(args) => trust::run(context, args),
            Command::Cache(args) => cache::run(context, args),
            Command::Registry(args) => registry::run(context, args),
            // Not by way of a context: git may run it without a home.
            Command::Hook(_) => Err(Error::new(ErrorCode::Bug, "a hook is not run like other commands")),
            Command::Tour(args) => tour::run(context, args, &typed),
            Command::Completion(args) => completion::run(args),
            Command::Man(args) => man::run(&context.flags, args, Cli::command()),
        }
    }
}

/// Runs a command line of the tour in another person's context.
fn typed(line: &[String], context: &Context) -> Result<Answer> {
    match Cli::try_parse_from(line) {
        Ok(cli) => cli.command.run(&Context::new(cli.flags, context.home.clone(), context.folder.clone())?),
        Err(error) => Err(Error::new(ErrorCode::Bug, format!("`{}`: {error}", line.join(" ")))),
    }
}

fn main() -> ExitCode {
    if let Some(answered) = completion::answer(Cli::command) {
        return answered;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match cli.flags.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    if let Command::Hook(hook) = cli.command {
        return hook::run(hook, &cli.flags);
    }
    let name = cli.command.name();
    let mut flags = cli.flags.clone();
    flags.offline |= matches!(&cli.command, Command::Install(args) if args.is_frozen());
    let answer = match &cli.command {
        // What needs no home is not to fail for want of one.
        Command::Completion(args) => completion::run(args),
        Command::Man(args) => man::run(&flags, args, Cli::command()),
        command => Context::from_environment(flags.clone()).and_then(|context| command.run(&context)),
    };
    match answer {
        Ok(answer) => {
            let printed = match (flags.json, flags.quiet) {
                (true, _) => print(&json_line(&answer.to_json(name))),
                (false, false) => {
                    print(&for_terminal(&answer.text)).and_then(|()| answer.patch.as_ref().map_or(Ok(()), patch::print))
                }
                (false, true) => Ok(()),
            };
            if let Err(error) = printed {
                complain(&error);
                return ExitCode::from(error.exit());
            }
            match &answer.fault {
                Some(fault) => {
                    if !flags.json {
                        complain(fault);
                    }
                    ExitCode::from(fault.exit())
                }
                None => ExitCode::from(answer.exit),
            }
        }
        Err(error) => {
            if !flags.json || print(&json_line(&error_to_json(name, &error))).is_err() {
                complain(&error);
            }
            ExitCode::from(error.exit())
        }
    }
}

/// Prints to stdout. A reader that has gone away is no failure; a full disk behind it is.
fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorCode::Io, format!("the command is done, and its answer could not be printed: {why}")))
        }
        _ => Ok(()),
    }
}

fn complain(error: &Error) {
    let mut err = anstream::stderr();
    let _ = writeln!(err, "\u{1b}[1;31merror\u{1b}[0m[{}]: {}", error.code(), one_line(&for_terminal(error.message())));
    for hint in error.hints() {
        let _ = writeln!(err, "  \u{1b}[1mhint\u{1b}[0m: {}", one_line(&for_terminal(hint)));
    }
}

/// Answers a command line that clap refuses, or that asks for help.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let fault = usage::explain(error);
    if std::env::args_os().any(|arg| arg == "--json") {
        let name = std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_default();
        if print(&json_line(&error_to_json(&name, &fault))).is_err() {
            complain(&fault);
        }
    } else if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        complain(&fault);
    }
    ExitCode::from(fault.exit())
}
