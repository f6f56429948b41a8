//! An inner shim for containerd 1.x that fails on command: the generated service, under the
//! name that 1.x calls it by, whose messages are the same.

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use containerd_shim::{Config, Error, Flags, Result, Shim as _, StartOpts, parse};
use containerd_shim_protos::create_task;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::ttrpc::Server;
use lacre_inner_shims::{FaultyShim, started};

const OF_2_X: &str = "containerd.task.v3.Task";
const OF_1_X: &str = "containerd.task.v2.Task";

fn other(error: impl std::fmt::Display) -> Error {
    Error::Other(error.to_string())
}

fn say(bytes: &[u8]) -> Result<()> {
    io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()).map_err(other)
}

fn start(flags: &Flags) -> Result<()> {
    let options = StartOpts {
        id: flags.id.clone(),
        namespace: flags.namespace.clone(),
        address: flags.address.clone(),
        publish_binary: flags.publish_binary.clone(),
        debug: flags.debug,
        ..StartOpts::default()
    };
    say(started(options)?.as_bytes())
}

fn serve(flags: &Flags) -> Result<()> {
    let mut shim = FaultyShim::new("", flags, &mut Config::default());
    let methods = create_task(Arc::new(shim.tasks()));
    let methods = methods.into_iter().map(|(name, call)| (name.replace(OF_2_X, OF_1_X), call));
    let socket = flags.socket.strip_prefix("unix://").unwrap_or(&flags.socket);
    if let Some(folder) = std::path::Path::new(socket).parent() {
        std::fs::create_dir_all(folder).map_err(other)?;
    }
    let server = Server::new().bind(&flags.socket).map_err(other)?;
    let mut server = server.register_service(methods.collect());
    server.start().map_err(other)?;
    // `start` waits for the end of what is written there.
    nix::unistd::dup2_stdout(io::stderr()).map_err(other)?;
    shim.wait();
    server.shutdown();
    std::fs::remove_file(socket).map_err(other)
}

fn run() -> Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let flags = parse(&arguments)?;
    nix::sys::prctl::set_child_subreaper(true).map_err(other)?;
    match flags.action.as_str() {
        "start" => start(&flags),
        "delete" => {
            let mut shim = FaultyShim::new("", &flags, &mut Config::default());
            say(&shim.delete_shim()?.write_to_bytes().map_err(other)?)
        }
        _ => serve(&flags),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
