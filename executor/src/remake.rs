//! What DELETE and RESTART change in containerd's records. Runs in a helper process: to
//! delete a task, containerd asks the shim, which ends by it.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lacre_containerd::{Change, Client, Container, Error, Status};

use crate::backoff::{COUNT, LAST, Next};
use crate::detached::{Lock, Request};

type Did = Result<(bool, String), Box<dyn std::error::Error>>;

/// How long a containerd that restarts, hangs or is busy is asked again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the restart monitor gets: three of its rounds, by default 10 s each.
const COMEBACK: Duration = Duration::from_secs(35);

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
            if persist(remove).await?.is_some() {
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
    let Some(key) = clean_snapshot(&client, &record, count).await? else { return deleted() };
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
    let came = comes_back(&client, id).await?;
    if !came {
        return Ok((
            false,
            format!(
                "killed, snapshot clean, but not started within {COMEBACK:?}: is containerd's restart plugin on, and its interval shorter?"
            ),
        ));
    }
    give_back(&client, &record).await?;
    let waited = if wait.is_zero() { String::new() } else { format!(" after {wait:?}") };
    Ok((true, format!("restart {count} from a clean snapshot ({key}){waited}")))
}

fn wants_terminal(record: &Container) -> bool {
    let spec: serde_json::Value = serde_json::from_slice(&record.spec).unwrap_or_default();
    spec.pointer("/process/terminal").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// Swaps the container's snapshot for a new one on the same parent, and tells its key;
/// `None` when the container is gone.
async fn clean_snapshot(
    client: &Client,
    record: &Container,
    count: u32,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let Container { id, snapshotter, snapshot_key: old, .. } = record;
    if old.is_empty() || snapshotter.is_empty() {
        return Err("killed; containerd keeps no snapshot of it, so it has no clean one".into());
    }
    let info = persist(|| async { there(client.snapshot(snapshotter, old).await) }).await?;
    let Some(info) = info else { return Ok(None) };
    if info.parent.is_empty() {
        return Err("killed; its snapshot stands on no image, so there is no clean one".into());
    }
    let key = format!("{id}-lacre-{count}-{}", now());
    let lease = format!("lacre-{key}");
    let expires = rfc3339(now() + 600);
    persist(|| client.create_lease(&lease, &expires)).await?;
    let kept = |name: &String| !name.starts_with("containerd.io/gc.");
    let snapshot_labels: BTreeMap<_, _> =
        info.labels.into_iter().filter(|(name, _)| kept(name)).collect();
    let leased = client.under_lease(&lease);
    let prepare =
        || leased.prepare_snapshot(snapshotter, &key, &info.parent, snapshot_labels.clone());
    match persist(prepare).await {
        Err(error) if !error.already_exists() => return Err(error.into()),
        // Ours, whose answer was lost.
        _ => {}
    }
    let change = Change {
        snapshot_key: Some(key.clone()),
        labels: BTreeMap::from([
            (COUNT.to_owned(), count.to_string()),
            (LAST.to_owned(), now().to_string()),
        ]),
        without: Vec::new(),
    };
    let updated =
        persist(|| async { there(client.update_container(id, change.clone()).await) }).await;
    // One of the two is nobody's now. Where that is not known, the lease's end decides.
    let useless = match &updated {
        Ok(Some(_)) => old,
        Ok(None) => &key,
        Err(_) => return Ok(updated.map(|_| None)?),
    };
    persist(|| async { there(client.remove_snapshot(snapshotter, useless).await) }).await?;
    persist(|| async { there(client.delete_lease(&lease).await) }).await?;
    Ok(updated?.map(|_| key))
}

/// Ends the task whatever it does, and deletes it.
async fn end_task(client: &Client, id: &str) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.delete_task(id).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            // It runs, or is just ending.
            Err(_) => {
                let _ = client.kill_task(id, 9, true).await;
                if let Err(error) = client.wait_task(id).await
                    && !error.is_not_found()
                {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}

async fn comes_back(client: &Client, id: &str) -> Result<bool, Error> {
    let deadline = Instant::now() + COMEBACK;
    while Instant::now() < deadline {
        match client.task(id).await {
            Ok(task) if task.status == Status::Running => return Ok(true),
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_passing() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
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

/// Asks again while containerd is gone or busy.
async fn persist<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut wait = Duration::from_millis(50);
    loop {
        match ask().await {
            Err(error) if error.is_passing() && Instant::now() < deadline => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(2));
            }
            answer => return answer,
        }
    }
}

fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn client(request: &Request) -> Client {
    Client::new(&request.address, &request.namespace)
}

const fn labels(labels: BTreeMap<String, String>) -> Change {
    Change { snapshot_key: None, labels, without: Vec::new() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds since the epoch as `2026-01-31T23:59:59Z` (days to civil date after Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(super::rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(super::rfc3339(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
