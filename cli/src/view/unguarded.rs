//! Containers of this node's containerds that no guard has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_containerd::{Client, Status};
use lacre_types::chain;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::look::{Everywhere, View};
use super::names::shown;

/// A container that is not guarded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Other {
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) image_name: String,
    pub(crate) runtime: String,
    /// Empty: nobody tells.
    pub(crate) state: &'static str,
    pub(crate) containerd: PathBuf,
    /// It has lacre's runtime, and no guard all the same.
    pub(crate) should_be: bool,
}

/// What the containerds say.
#[derive(Debug, Default)]
pub(crate) struct Others {
    pub(crate) all: Vec<Other>,
    /// What could not be found out, and why.
    pub(crate) unknown: Vec<String>,
}

/// Asks each containerd for what runs there and is not guarded, none for longer than `node` says.
pub(crate) fn others(view: &View, node: &Everywhere) -> anyhow::Result<Others> {
    let limit = node.at.timeout;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guarded: BTreeSet<(String, String)> =
        view.seen.containers.iter().map(|it| (it.namespace.clone(), it.id.clone())).collect();
    let sockets = view.containerds(&node.address);
    Ok(runtime.block_on(async {
        let mut asked = JoinSet::new();
        for socket in sockets {
            asked.spawn(async move {
                let said = timeout(limit, ask(&socket, limit)).await;
                (socket, said.map_err(|_| format!("no answer within {limit:?}")))
            });
        }
        let mut others = Others::default();
        while let Some(asked) = asked.join_next().await {
            let Ok((socket, said)) = asked else { continue };
            match said {
                Ok(Ok(found)) => {
                    let is_new =
                        |it: &Other| !guarded.contains(&(it.namespace.clone(), it.id.clone()));
                    others.all.extend(found.all.into_iter().filter(is_new));
                    others.unknown.extend(found.unknown);
                }
                Ok(Err(why)) | Err(why) => others.unknown.push(format!(
                    "containerd at {}: {why}; what it has that is not guarded is not known",
                    shown(&socket)
                )),
            }
        }
        others.all.sort();
        others.unknown.sort();
        others
    }))
}

async fn ask(socket: &Path, limit: Duration) -> Result<Others, String> {
    let client = Client::new(&socket.display().to_string(), "default").with_deadline(limit);
    let namespaces = client.namespaces().await.map_err(|error| chain(&error))?;
    let mut others = Others::default();
    for namespace in namespaces {
        let client = client.in_namespace(&namespace);
        let containers = client.containers(&[]).await.map_err(|error| chain(&error))?;
        // It asks every shim: one that hangs leaves the names, at least. Half of the time is for
        // them.
        let tasks = match timeout(limit / 2, client.tasks()).await {
            Ok(Ok(tasks)) => Some(tasks),
            Ok(Err(error)) => {
                others.unknown.push(unknown(&namespace, &chain(&error)));
                None
            }
            Err(_) => {
                others.unknown.push(unknown(&namespace, "no answer in time"));
                None
            }
        };
        for container in containers {
            let status = match &tasks {
                None => "",
                Some(tasks) => match tasks.iter().find(|task| task.container == container.id) {
                    // A record, and nothing that runs.
                    None => continue,
                    Some(task) => word(task.status),
                },
            };
            if status == "stopped" {
                continue;
            }
            others.all.push(Other {
                namespace: namespace.clone(),
                id: container.id,
                image_name: container.image,
                should_be: container.runtime.contains(".lacre"),
                runtime: container.runtime,
                state: status,
                containerd: socket.to_owned(),
            });
        }
    }
    Ok(others)
}

fn unknown(namespace: &str, why: &str) -> String {
    let namespace = lacre_types::escape(namespace.as_bytes());
    format!("which containers of {namespace} run is not known: {why}")
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Unknown => "",
        Status::Created => "created",
        Status::Running => "running",
        Status::Stopped => "stopped",
        Status::Paused => "paused",
        Status::Pausing => "pausing",
    }
}
