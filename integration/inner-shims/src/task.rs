//! The Task API over runc. It tells no events: `ctr` asks for none, and containerd tells the
//! end of a shim by itself.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim_protos::Task;
use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    DeleteResponse, Empty, ExecProcessRequest, KillRequest, Mount, PauseRequest, PidsRequest,
    PidsResponse, ProcessInfo, ResumeRequest, ShutdownRequest, StartRequest, StartResponse,
    StateRequest, StateResponse, Status, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::ttrpc::{self, Code, TtrpcContext, get_status};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};

use crate::fault::Fault;
use crate::process::{Process, Processes, State};
use crate::runc::{Runc, Streams};

type Answer<T> = ttrpc::Result<T>;

/// The tasks of one shim.
#[derive(Debug)]
pub struct Tasks {
    runc: Runc,
    processes: Processes,
    exit: Exit,
}

/// What is called when the shim is told to end.
pub struct Exit(pub Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exit")
    }
}

fn refusal(message: String) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(get_status(Code::FAILED_PRECONDITION, message))
}

fn failed(error: impl std::fmt::Display) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(get_status(Code::UNKNOWN, error.to_string()))
}

/// A call in good order, or as the test has it.
fn call<T: Default>(name: &str, work: impl FnOnce() -> Answer<T>) -> Answer<T> {
    Fault::around(name, refusal, T::default, work)
}

/// runc keeps no time of an end; who asks wants one all the same.
fn some_time() -> Option<Timestamp> {
    Some(Timestamp { seconds: 1, ..Timestamp::default() })
}

/// Mounts a root. Not by containerd's crate, which forks for that and waits for the child by the
/// reaper that this shim does not have.
fn mount(mount: &Mount, target: &Path) -> io::Result<()> {
    let (mut flags, mut data) = (MsFlags::empty(), Vec::new());
    for option in &mount.options {
        match option.as_str() {
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "ro" => flags |= MsFlags::MS_RDONLY,
            "rw" => {}
            other => data.push(other),
        }
    }
    let (source, kind, data) = (mount.source.as_str(), mount.type_.as_str(), data.join(","));
    Ok(nix::mount::mount(Some(source), target, Some(kind), flags, Some(data.as_str()))?)
}

/// Takes out what Create mounted, if it did.
///
/// # Errors
/// When the kernel does not let go of it.
pub fn unmount(bundle: &Path) -> io::Result<()> {
    match umount2(&bundle.join("rootfs"), MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Tasks {
    /// Those of a containerd namespace; `exit` is called when the shim is told to end.
    #[must_use]
    pub fn new(namespace: &str, exit: Exit) -> Self {
        Self { runc: Runc::of(namespace), processes: Processes::default(), exit }
    }

    fn process(&self, id: &str, exec: &str) -> Answer<Arc<Process>> {
        let none = || get_status(Code::NOT_FOUND, format!("no process {id} {exec}: not found"));
        self.processes.get(id, exec).ok_or_else(|| ttrpc::Error::RpcStatus(none()))
    }

    fn runc(&self, arguments: &[&str]) -> Answer<Vec<u8>> {
        self.runc.run(arguments).map_err(failed)
    }

    fn create_with_runc(&self, request: &CreateTaskRequest) -> Answer<CreateTaskResponse> {
        let bundle = PathBuf::from(&request.bundle);
        for root in &request.rootfs {
            mount(root, &bundle.join("rootfs")).map_err(failed)?;
        }
        let streams = Streams {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
        };
        let arguments = ["create", "--bundle", &request.bundle, &request.id].map(OsStr::new);
        let pid = self.runc.spawn(&bundle, "init", &arguments, &streams);
        let pid = pid.inspect_err(|_| drop(unmount(&bundle))).map_err(failed)?;
        let process = Process::new(bundle, streams);
        process.now(State::Created(pid));
        process.watch(pid);
        self.processes.add(&request.id, "", process);
        Ok(CreateTaskResponse { pid: pid.cast_unsigned(), ..Default::default() })
    }

    fn start_with_runc(&self, id: &str, exec: &str) -> Answer<StartResponse> {
        let process = self.process(id, exec)?;
        let pid = if exec.is_empty() {
            self.runc(&["start", id])?;
            process.state().pid().cast_signed()
        } else {
            let spec = process.bundle.join(format!("{exec}.json"));
            let arguments = [
                OsStr::new("exec"),
                OsStr::new("--detach"),
                OsStr::new("--process"),
                spec.as_os_str(),
                OsStr::new(id),
            ];
            let pid = self.runc.spawn(&process.bundle, exec, &arguments, &process.streams);
            let pid = pid.map_err(failed)?;
            process.watch(pid);
            pid
        };
        process.now(State::Running(pid));
        Ok(StartResponse { pid: pid.cast_unsigned(), ..Default::default() })
    }

    fn delete_with_runc(&self, id: &str, exec: &str) -> Answer<DeleteResponse> {
        let process = self.process(id, exec)?;
        if exec.is_empty() {
            self.runc(&["delete", id])?;
            unmount(&process.bundle).map_err(failed)?;
        }
        self.processes.remove(id, exec);
        let state = process.state();
        Ok(DeleteResponse {
            pid: state.pid(),
            exit_status: state.status(),
            exited_at: some_time().into(),
            ..Default::default()
        })
    }
}

impl Task for Tasks {
    fn state(&self, _: &TtrpcContext, request: StateRequest) -> Answer<StateResponse> {
        let process = self.process(&request.id, &request.exec_id)?;
        let state = process.state();
        let status = match Fault::of("State") {
            Some(Fault::Lies) => Status::STOPPED,
            Some(Fault::Fails) => return Err(refusal("State fails, as it was told".to_owned())),
            _ => match state {
                State::New | State::Created(_) => Status::CREATED,
                State::Running(_) => Status::RUNNING,
                State::Paused(_) => Status::PAUSED,
                State::Ended(..) => Status::STOPPED,
            },
        };
        Ok(StateResponse {
            id: request.id,
            exec_id: request.exec_id,
            bundle: process.bundle.display().to_string(),
            pid: state.pid(),
            status: status.into(),
            stdin: process.streams.stdin.clone(),
            stdout: process.streams.stdout.clone(),
            stderr: process.streams.stderr.clone(),
            exit_status: state.status(),
            exited_at: matches!(state, State::Ended(..)).then(some_time).flatten().into(),
            ..Default::default()
        })
    }

    fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        // Another process than the container's: the shim itself.
        let lie = || CreateTaskResponse { pid: std::process::id(), ..Default::default() };
        let work = || self.create_with_runc(&request);
        // The container is there all the same.
        let lying = || work().map(|_| ()).map_or_else(|_| lie(), |()| lie());
        Fault::around("Create", refusal, lying, work)
    }

    fn start(&self, _: &TtrpcContext, request: StartRequest) -> Answer<StartResponse> {
        let name = if request.exec_id.is_empty() { "Start" } else { "StartExec" };
        let pid = self.process(&request.id, &request.exec_id)?.state().pid();
        let lie = || StartResponse { pid, ..Default::default() };
        let work = || self.start_with_runc(&request.id, &request.exec_id);
        Fault::around(name, refusal, lie, work)
    }

    fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Answer<DeleteResponse> {
        let name = if request.exec_id.is_empty() { "Delete" } else { "DeleteExec" };
        call(name, || self.delete_with_runc(&request.id, &request.exec_id))
    }

    fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Answer<PidsResponse> {
        call("Pids", || {
            let said = self.runc(&["ps", "--format", "json", &request.id])?;
            let all: Vec<u32> = serde_json::from_slice(&said).map_err(failed)?;
            let info = |pid| ProcessInfo { pid, ..Default::default() };
            let processes = all.into_iter().map(info).collect();
            Ok(PidsResponse { processes, ..Default::default() })
        })
    }

    fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Answer<Empty> {
        call("Pause", || {
            let process = self.process(&request.id, "")?;
            self.runc(&["pause", &request.id])?;
            process.now(State::Paused(process.state().pid().cast_signed()));
            Ok(Empty::new())
        })
    }

    fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Answer<Empty> {
        call("Resume", || {
            let process = self.process(&request.id, "")?;
            self.runc(&["resume", &request.id])?;
            process.now(State::Running(process.state().pid().cast_signed()));
            Ok(Empty::new())
        })
    }

    fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Answer<Empty> {
        call("Kill", || {
            let process = self.process(&request.id, &request.exec_id)?;
            let signal = request.signal.to_string();
            if request.exec_id.is_empty() {
                let all: &[&str] = if request.all { &["kill", "--all"] } else { &["kill"] };
                self.runc(&[all, &[&request.id, &signal]].concat())?;
            } else {
                let pid = nix::unistd::Pid::from_raw(process.state().pid().cast_signed());
                let signal = nix::sys::signal::Signal::try_from(request.signal.cast_signed());
                nix::sys::signal::kill(pid, signal.map_err(failed)?).map_err(failed)?;
            }
            Ok(Empty::new())
        })
    }

    fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Answer<Empty> {
        call("Exec", || {
            let bundle = self.process(&request.id, "")?.bundle.clone();
            let spec = bundle.join(format!("{}.json", request.exec_id));
            fs::write(spec, &request.spec.value).map_err(failed)?;
            let streams = Streams {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
            };
            self.processes.add(&request.id, &request.exec_id, Process::new(bundle, streams));
            Ok(Empty::new())
        })
    }

    fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Answer<WaitResponse> {
        call("Wait", || {
            let state = self.process(&request.id, &request.exec_id)?.ended();
            Ok(WaitResponse {
                exit_status: state.status(),
                exited_at: some_time().into(),
                ..Default::default()
            })
        })
    }

    fn close_io(
        &self,
        _: &TtrpcContext,
        _: containerd_shim_protos::api::CloseIORequest,
    ) -> Answer<Empty> {
        Ok(Empty::new())
    }

    fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Answer<ConnectResponse> {
        call("Connect", || {
            let task = self.processes.get(&request.id, "");
            Ok(ConnectResponse {
                shim_pid: std::process::id(),
                task_pid: task.map_or(0, |task| task.state().pid()),
                ..Default::default()
            })
        })
    }

    fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> Answer<Empty> {
        call("Shutdown", || {
            if self.processes.is_empty() {
                (self.exit.0)();
            }
            Ok(Empty::new())
        })
    }
}
