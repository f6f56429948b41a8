use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lacre_types::{Action, chain};
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::outcome::Outcome;

/// What a helper is asked: it travels to its standard input as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// DELETE or RESTART.
    pub action: Action,
    /// containerd's socket.
    pub address: String,
    /// containerd's namespace.
    pub namespace: String,
    /// The container's id.
    pub container: String,
    /// Why, for the outcome.
    pub cause: String,
    /// How soon it may come back.
    pub backoff: Backoff,
    /// lacre's run directory: outcomes and locks lie there.
    pub run: PathBuf,
    /// Where the outcome goes; made by [`Request::outcome_path`].
    pub outcome: PathBuf,
}

/// How this program calls itself to act when the shim is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; its `main` must call [`main`] on them. Namespace and id follow, for
    /// who reads the list of processes.
    pub args: Vec<String>,
}

impl Default for Helper {
    /// This very program, also when its file was replaced since, with `--act`.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), args: vec!["--act".into()] }
    }
}

/// What a helper did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// containerd's namespace.
    pub namespace: String,
    /// The container's id.
    pub container: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// Why a helper can't be started or heard.
#[derive(Debug, thiserror::Error)]
pub enum DetachedError {
    /// A name that can't be part of a file's.
    #[error("`{0}` is no name of a container or namespace")]
    Name(String),
    /// A file or the process.
    #[error("{doing} {path}", path = .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What was read is not what it must be.
    #[error("{what} can't be read")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The greatest request or record that is read.
const JSON_MAX: u64 = 64 << 10;

/// How many records one [`collect`] takes; the rest waits for the next.
const COLLECT_MAX: usize = 1024;

impl Request {
    /// A path for the outcome, that no other request has: it names the process that waits
    /// for it.
    ///
    /// # Errors
    /// When namespace or id can't be part of a file's name.
    pub fn outcome_path(
        run: &Path,
        namespace: &str,
        container: &str,
    ) -> Result<PathBuf, DetachedError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = file_name(namespace, container)?;
        Ok(run.join(format!("outcomes/{name}.{}.{number}.json", std::process::id())))
    }

    /// Takes the outcome that the helper left, once it has ended.
    ///
    /// # Errors
    /// When there is none: the helper was killed, or somebody else has taken it.
    pub fn take_outcome(&self) -> Result<Outcome, DetachedError> {
        let record = read_record(&self.outcome)?;
        fs::remove_file(&self.outcome).map_err(failed("removing", &self.outcome))?;
        Ok(record.outcome)
    }
}

/// Starts the helper, in a session of its own. It does not need this process to live on;
/// while that lives, it must wait for the child.
///
/// # Errors
/// When it does not start.
pub fn spawn(helper: &Helper, request: &Request) -> Result<Child, DetachedError> {
    file_name(&request.namespace, &request.container)?;
    let json = serde_json::to_vec(request)
        .map_err(|source| DetachedError::Read { what: "the request of a helper", source })?;
    let mut command = Command::new(&helper.program);
    command
        .arg0("lacre-act")
        .args(&helper.args)
        .args([&request.namespace, &request.container])
        // The shim's own folder, the bundle, is about to be removed.
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed("starting", &helper.program))?;
    // Less than a pipe holds: this does not block.
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&json));
    if let Err(source) = sent {
        // It ends by itself: what it read is no request.
        let _ = child.wait();
        return Err(failed("asking", &helper.program)(source));
    }
    Ok(child)
}

/// The helper's side: reads the request from `input`, acts, and writes the record.
pub fn main(input: impl Read) -> ExitCode {
    // Fails when it leads a group already, and then it is its own master anyway.
    let _ = rustix::process::setsid();
    match serve(input) {
        Ok(outcome) if outcome.done => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(_) => ExitCode::from(2),
    }
}

fn serve(input: impl Read) -> Result<Outcome, DetachedError> {
    let what = "the request of a helper";
    let mut json = Vec::new();
    input.take(JSON_MAX).read_to_end(&mut json).map_err(failed("reading", Path::new("stdin")))?;
    let request: Request =
        serde_json::from_slice(&json).map_err(|source| DetachedError::Read { what, source })?;
    let start = Instant::now();
    let outcome = |done, detail| Outcome {
        action: request.action,
        done,
        detail,
        took: start.elapsed(),
        cause: request.cause.clone(),
    };
    let outcome = match act(&request) {
        Ok((done, detail)) => outcome(done, detail),
        Err(error) => outcome(false, chain(error.as_ref())),
    };
    write_record(&request, &outcome)?;
    Ok(outcome)
}

fn act(request: &Request) -> Result<(bool, String), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match request.action {
        Action::Delete => runtime.block_on(crate::remake::delete(request)),
        Action::Restart => runtime.block_on(crate::remake::restart(request)),
        other => Err(format!("a helper does not do {other}").into()),
    }
}

/// Takes what helpers of processes that are gone have left: a shim that ended with its
/// container did not hear of the end of its own action. Each is given out once.
///
/// # Errors
/// When the folder can't be read. A file that can't is left, and skipped.
pub fn collect(run: &Path) -> Result<Vec<Record>, DetachedError> {
    let folder = run.join("outcomes");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("reading", &folder)(error)),
    };
    let mut all = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if all.len() < COLLECT_MAX
            && path.extension().is_some_and(|end| end == "json")
            && !waiter(&path).is_some_and(alive)
            && let Ok(record) = read_record(&path)
            // Who removes it has it.
            && fs::remove_file(&path).is_ok()
        {
            all.push(record);
        }
    }
    Ok(all)
}

fn waiter(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.rsplit('.').nth(2)?.parse().ok()
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// One helper at a time on one container.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for it. Its holder's calls all have deadlines.
    pub(crate) fn take(request: &Request) -> Result<Self, DetachedError> {
        let name = file_name(&request.namespace, &request.container)?;
        let path = folder(&request.run, "locks")?.join(name);
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed("opening", &path))?;
            let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
            locked.map_err(|error| failed("locking", &path)(error.into()))?;
            // The last holder may have removed it while we waited.
            let ours = file.metadata().map_err(failed("reading", &path))?.ino();
            if fs::metadata(&path).is_ok_and(|meta| meta.ino() == ours) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn write_record(request: &Request, outcome: &Outcome) -> Result<(), DetachedError> {
    let record = Record {
        namespace: request.namespace.clone(),
        container: request.container.clone(),
        outcome: outcome.clone(),
    };
    let json = serde_json::to_vec(&record)
        .map_err(|source| DetachedError::Read { what: "the record of a helper", source })?;
    folder(&request.run, "outcomes")?;
    let new = request.outcome.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed("creating", &new))?;
    file.write_all(&json).map_err(failed("writing", &new))?;
    fs::rename(&new, &request.outcome).map_err(failed("creating", &request.outcome))
}

fn read_record(path: &Path) -> Result<Record, DetachedError> {
    let mut json = Vec::new();
    File::open(path)
        .and_then(|file| file.take(JSON_MAX).read_to_end(&mut json))
        .map_err(failed("reading", path))?;
    serde_json::from_slice(&json)
        .map_err(|source| DetachedError::Read { what: "the record of a helper", source })
}

pub(crate) fn folder(run: &Path, name: &str) -> Result<PathBuf, DetachedError> {
    let path = run.join(name);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&path)
        .map_err(failed("creating", &path))?;
    Ok(path)
}

/// containerd's own rule for names keeps these out; nothing here relies on it.
pub(crate) fn file_name(namespace: &str, container: &str) -> Result<String, DetachedError> {
    for name in [namespace, container] {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        // A file's name has 255 bytes at most.
        if name.is_empty() || name.len() > 100 || !name.bytes().all(fits) || name.starts_with('.') {
            return Err(DetachedError::Name(lacre_types::escape(name.as_bytes())));
        }
    }
    Ok(format!("{namespace}.{container}"))
}

pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DetachedError {
    move |source| DetachedError::Io { doing, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_nobody_waits_for_is_collected_once() {
        let run = tempfile::tempdir().unwrap();
        let path = Request::outcome_path(run.path(), "default", "one").unwrap();
        let mut request = Request {
            action: Action::Delete,
            address: String::new(),
            namespace: "default".into(),
            container: "one".into(),
            cause: "test".into(),
            backoff: Backoff::default(),
            run: run.path().into(),
            outcome: path,
        };
        let outcome = Outcome {
            action: Action::Delete,
            done: true,
            detail: "gone".into(),
            took: Duration::from_micros(1500),
            cause: "test".into(),
        };
        write_record(&request, &outcome).unwrap();
        assert!(collect(run.path()).unwrap().is_empty(), "its waiter lives");
        assert_eq!(request.take_outcome().unwrap(), outcome);

        // Above any pid_max.
        request.outcome = run.path().join("outcomes/default.one.4194305.0.json");
        write_record(&request, &outcome).unwrap();
        let found = collect(run.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].container.as_str(), &found[0].outcome), ("one", &outcome));
        assert!(collect(run.path()).unwrap().is_empty());
    }

    #[test]
    fn names_stay_in_their_folder() {
        for bad in ["", "..", "../x", "a/b", "a\nb", &"x".repeat(101)] {
            assert!(file_name("default", bad).is_err(), "{bad}");
        }
        assert_eq!(file_name("k8s.io", "a-B_9").unwrap(), "k8s.io.a-B_9");
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        assert!(serve(&b"{}"[..]).is_err());
        assert!(serve(&b""[..]).is_err());
    }
}
