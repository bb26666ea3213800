//! Installing the hooks of a served registry.

use super::answer::Answer;
use super::context::Context;
use crate::disk::replace::{self, Access, make_executable};
use crate::git::layout;
use crate::git::store::Store;
use crate::model::error::{Result, fault};
use crate::replica::standing::configure;
use std::path::Path;

/// The scripts, by name; see the folder `hooks`.
const SCRIPTS: &[(&str, &str)] = &[
    ("pre-receive", include_str!("../../hooks/pre-receive")),
    ("proc-receive", include_str!("../../hooks/proc-receive")),
    ("post-receive", include_str!("../../hooks/post-receive")),
];

/// Installs the hooks in a registry's repository.
///
/// # Errors
/// Those of [`hooks`].
pub fn run(context: &Context, path: &Path, store: &Store) -> Result<Answer> {
    let mut answer = Answer::new();
    if context.flags.dry_run {
        answer.line(format!("would install the hooks in {}", path.display()));
    } else {
        hooks(context, store)?;
        answer.line(format!("installed the hooks in {}: they judge and publish what is pushed", path.display()));
    }
    answer.field("path", store.path().display().to_string());
    answer.field("scripts", SCRIPTS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    Ok(answer)
}

/// Writes the hooks, and tells git to ask them.
///
/// # Errors
/// `exists` where there is a hook of another kind, `bad-repository` where git looks for hooks elsewhere, `io`.
pub fn hooks(context: &Context, store: &Store) -> Result<()> {
    if let Some(elsewhere) = store.config("core.hooksPath")? {
        return Err(fault!(BadRepository, "{}: git looks for its hooks in {elsewhere}", store.path().display())
            .hint("start `quipu hook NAME` from the hooks there, or: git config --unset core.hooksPath"));
    }
    // Whoever pushes may have another PATH than whoever installs.
    let program = std::env::current_exe().map_err(|why| fault!(Io, "where this program is cannot be found out: {why}"))?;
    let program = format!("exec '{}'", program.display().to_string().replace('\'', r"'\''"));
    let folder = store.path().join("hooks");
    for (name, _) in SCRIPTS {
        let place = folder.join(name);
        if replace::read(&place)?.is_some_and(|found| !String::from_utf8_lossy(&found).contains(&format!(" hook {name}"))) {
            return Err(fault!(Exists, "{}: there is a hook of another kind", place.display())
                .hint(format!("start `quipu hook {name}` from it, or remove it")));
        }
    }
    for (name, script) in SCRIPTS {
        let script = script.replace("exec quipu", &program);
        let place = folder.join(name);
        replace::replace(&place, script.as_bytes(), Access::Shared)?;
        make_executable(&place)?;
    }
    configure(store)?;
    // Only now: a push is refused where git is to ask a hook that is not there.
    store.set_config(&[("receive.procReceiveRefs", layout::INCOMING.trim_end_matches('/'))])?;
    if let Some(home) = context.home.folder() {
        store.set_config(&[("quipu.home", &home.display().to_string())])?;
    }
    Ok(())
}
