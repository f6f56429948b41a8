//! `lacre release`: an operator lets a container go on.

use clap::Args as ClapArgs;
use lacre_shim::inspect;
use lacre_types::{Action, escape};
use serde_json::json;

use crate::exit::{Exit, Usage};
use crate::output;
use crate::view::{View, Where, find, named};

/// Undo PAUSE and ISOLATE of a container; exit status 1 where the policy did either again at once
///
/// Its guard does it and records who asked, and why. What somebody else froze stays frozen.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The container: its id, or how that begins, or NAMESPACE/ID, or its name
    id: String,
    /// Why; it is kept in the records
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// containerd's namespace of it, where several have such an id
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    at: Where,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.reason.trim().is_empty() || args.reason.len() > 1024 {
        return Err(Usage("--reason wants a text of 1 to 1024 bytes".to_owned()).into());
    }
    let view = View::take(&args.at)?;
    view.tell_of_config()?;
    let one = find(&view, &args.id, args.namespace.as_deref())?;
    let done = inspect::release(&view.run, &view.seen, one, &args.reason)?;
    let name = named(one);
    if args.json {
        output::json(&json!({
            "namespace": one.namespace,
            "id": one.id,
            "undone": done.undone,
            "again": done.again,
            "failed": done.failed,
            "notes": done.notes,
        }))?;
    } else {
        for action in &done.undone {
            output::line(format!("{name}: {action} is undone"))?;
        }
        for note in done.failed.iter().chain(&done.notes) {
            output::line(format!("{name}: {}", escape(note.as_bytes())))?;
        }
        if done.undone.is_empty() && done.failed.is_empty() {
            output::line(format!("{name}: nothing to undo; it is neither paused nor isolated"))?;
        }
        for action in &done.again {
            output::line(format!(
                "{name}: the policy has answered with {action} again at once: {}",
                after(*action)
            ))?;
        }
    }
    Ok(match (done.failed.is_empty(), done.again.is_empty()) {
        (false, _) => Exit::Failed,
        (true, false) => Exit::Differs,
        (true, true) => Exit::Good,
    })
}

const fn after(action: Action) -> &'static str {
    match action {
        Action::Isolate => "it is cut off as before; `lacre show` says for what",
        _ => "it stands still as before; `lacre show` says for what",
    }
}
