//! What DELETE and RESTART change in containerd's records. To delete a task, containerd asks
//! the shim, which ends by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lacre_containerd::{Change, Client, Container, Error, Status};

use crate::backoff::{LAST, Next, now};
use crate::helper::lock::Lock;
use crate::helper::request::Request;
use crate::helper::retry::{PATIENCE, persist, there};
use crate::helper::snapshot;

type Did = Result<(bool, String), Box<dyn std::error::Error>>;

/// How long the restart monitor gets: three of its rounds, by default 10 s each.
const COMEBACK: Duration = Duration::from_secs(35);

/// How long containerd's restart monitor may take over a start that it has begun: to start a
/// shim on a busy machine.
const BEGUN: Duration = Duration::from_secs(10);

/// Between two looks at a container that is to come back.
const LOOK: Duration = Duration::from_millis(200);

const STATUS: &str = "containerd.io/restart.status";
const POLICY: &str = "containerd.io/restart.policy";
const EXPLICIT: &str = "containerd.io/restart.explicitly-stopped";

/// Deletes task, record and snapshot. What somebody else deleted meanwhile is deleted.
pub(crate) async fn delete(request: &Request) -> Did {
    let client = client(request);
    let _lock = Lock::take(request)?;
    let id = &request.container;
    let record = persist(|| async { there(client.container(id).await) }).await?;
    let mut gone = Vec::new();
    // A restart monitor or a client may start it anew between the two.
    for _ in 0..5 {
        end_task(&client, id).await?;
        match persist(|| async { there(client.delete_container(id).await) }).await {
            Ok(Some(())) => gone.push("container"),
            Ok(None) => {}
            Err(_) if client.task(id).await.is_ok() => continue,
            Err(error) => return Err(error.into()),
        }
        let snapshot = record.as_ref().filter(|record| !record.snapshot_key.is_empty());
        if let Some(Container { snapshotter, snapshot_key, .. }) = snapshot {
            let remove =
                || async { there(client.remove_snapshot(snapshotter, snapshot_key).await) };
            persist(remove).await?;
            // Where it is gone already, containerd collected what no record names any more.
            if !gone.is_empty() {
                gone.push("snapshot");
            }
        }
        return Ok((
            true,
            match gone.as_slice() {
                [] => "task, container and snapshot are gone: somebody else deleted them".into(),
                ours => format!("killed; task gone, deleted {}", ours.join(" and ")),
            },
        ));
    }
    Err("its task is started again each time it is deleted".into())
}

/// Gives the container a clean snapshot, and has containerd's restart monitor start it.
pub(crate) async fn restart(request: &Request) -> Did {
    let client = client(request);
    let id = &request.container;
    let lock = Lock::take(request)?;
    let Some(record) = persist(|| async { there(client.container(id).await) }).await? else {
        return Ok((
            false,
            "killed; its client deleted the container, so it can't come back".into(),
        ));
    };
    let next = request.backoff.next(&record.labels, now());
    // Until the snapshot is clean, nobody may start it.
    let mut stopped = BTreeMap::from([(STATUS.to_owned(), "stopped".to_owned())]);
    if let Next::Stop { .. } = next {
        stopped.insert(EXPLICIT.into(), "true".into());
    }
    let held = || async { there(client.update_container(id, labels(stopped.clone())).await) };
    persist(held).await?;
    end_task(&client, id).await?;
    let (count, wait) = match next {
        Next::Restart { count, wait } => (count, wait),
        Next::Stop { count } => {
            return Ok((false, format!("stopped instead: it was restarted {count} times already")));
        }
    };
    if wants_terminal(&record) {
        return Ok((
            false,
            "killed; it was started with a terminal, which nobody could give it again".into(),
        ));
    }
    let deleted =
        || Ok((false, "killed; somebody else deleted or changed it meanwhile".to_owned()));
    let Some(key) = snapshot::renew(&client, &record, count).await? else { return deleted() };
    drop(lock);
    tokio::time::sleep(wait).await;

    let lock = Lock::take(request)?;
    let found = persist(|| async { there(client.container(id).await) }).await?;
    if found.is_none_or(|record| record.snapshot_key != key) {
        // Whoever deletes the record may have read it before it had this key.
        let remove = || async { there(client.remove_snapshot(&record.snapshotter, &key).await) };
        persist(remove).await?;
        return deleted();
    }
    let running = BTreeMap::from([
        (LAST.to_owned(), now().to_string()),
        (STATUS.to_owned(), "running".to_owned()),
        // With `on-failure`, the monitor does not start what has no task any more.
        (POLICY.to_owned(), "always".to_owned()),
    ]);
    let asked = || async { there(client.update_container(id, labels(running.clone())).await) };
    if persist(asked).await?.is_none() {
        let remove = || async { there(client.remove_snapshot(&record.snapshotter, &key).await) };
        persist(remove).await?;
        return deleted();
    }
    drop(lock);
    match comes_back(&client, id).await? {
        Comeback::Runs => {}
        Comeback::Late => {
            return Ok((
                false,
                format!(
                    "killed, snapshot clean, but not started within {COMEBACK:?}: is containerd's restart plugin on, and its interval shorter?"
                ),
            ));
        }
        Comeback::Deleted => {
            end_unrecorded(&client, &record).await?;
            let remove =
                || async { there(client.remove_snapshot(&record.snapshotter, &key).await) };
            persist(remove).await?;
            return deleted();
        }
    }
    give_back(&client, &record).await?;
    let waited = if wait.is_zero() { String::new() } else { format!(" after {wait:?}") };
    Ok((true, format!("restart {count} from a clean snapshot ({key}){waited}")))
}

fn wants_terminal(record: &Container) -> bool {
    let spec: serde_json::Value = serde_json::from_slice(&record.spec).unwrap_or_default();
    spec.pointer("/process/terminal").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// Ends the task whatever it does, and deletes it.
async fn end_task(client: &Client, id: &str) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.delete_task(id).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            // It runs, or is just ending. Its init alone is asked for: for all of it, runc kills
            // whoever is in its cgroup and beneath, another container's too. Who is its own has
            // been killed by the kernel before.
            Err(_) => {
                let _ = client.kill_task(id, 9, false).await;
                if let Err(error) = client.wait_task(id).await
                    && !error.is_not_found()
                {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}

/// What came of a start that was left to the restart monitor.
enum Comeback {
    Runs,
    Late,
    /// Somebody deleted the record: it is not to run.
    Deleted,
}

async fn comes_back(client: &Client, id: &str) -> Result<Comeback, Error> {
    let deadline = Instant::now() + COMEBACK;
    while Instant::now() < deadline {
        match client.task(id).await {
            Ok(task) if task.status == Status::Running => return Ok(Comeback::Runs),
            Ok(_) => {}
            // 1.x finds no task, whether there is one or not, where there is no record.
            Err(error) if error.is_not_found() => {
                if matches!(there(client.container(id).await), Ok(None)) {
                    return Ok(Comeback::Deleted);
                }
            }
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(Comeback::Late)
}

/// Ends the task that the restart monitor may have made, or may be about to make, of a record
/// which somebody deleted meanwhile: nobody could delete it any more, since containerd finds a
/// task by its record. It is given one for that long.
async fn end_unrecorded(client: &Client, record: &Container) -> Result<(), Error> {
    let id = &record.id;
    let deadline = Instant::now() + BEGUN;
    while Instant::now() < deadline {
        if there(client.container(id).await).is_ok_and(|record| record.is_some()) {
            // Somebody has made another of this name.
            return Ok(());
        }
        let tasks = persist(|| async { client.tasks().await }).await?;
        if !tasks.iter().any(|task| task.container == *id) {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let labels = BTreeMap::from([(STATUS.to_owned(), "stopped".to_owned())]);
        let again = Container { labels, ..record.clone() };
        match client.create_container(&again).await {
            Ok(()) => {}
            Err(error) if error.already_exists() => return Ok(()),
            Err(error) => return Err(error),
        }
        let ended = end_task(client, id).await;
        let removed = persist(|| async { there(client.delete_container(id).await) }).await;
        return ended.and(removed.map(drop));
    }
    Ok(())
}

/// Restart labels as the user had them: RESTART restarts once.
async fn give_back(client: &Client, record: &Container) -> Result<(), Error> {
    let mut change = Change::default();
    for name in [STATUS, POLICY] {
        match record.labels.get(name) {
            Some(value) => drop(change.labels.insert(name.into(), value.clone())),
            None => change.without.push(name.into()),
        }
    }
    let give = || async { there(client.update_container(&record.id, change.clone()).await) };
    persist(give).await.map(drop)
}

fn client(request: &Request) -> Client {
    Client::new(&request.address, &request.namespace)
}

const fn labels(labels: BTreeMap<String, String>) -> Change {
    Change { snapshot_key: None, labels, without: Vec::new() }
}
