//! `containerd-shim-lacre-v1`: what containerd runs for `io.containerd.lacre.v1`.

use std::io::{self, Write};
use std::process::ExitCode;

use lacre_shim::arguments::{Action, Args, FINISH, USAGE};
use lacre_shim::commands::delete_finisher::Standby;
use lacre_shim::commands::start::{StartError, Started};
use lacre_shim::commands::{delete, delete_finisher, info, start};
use lacre_shim::guard;
use lacre_shim::inner::program::Output;
use lacre_shim::watchdog;
use lacre_sys::inherited::Inherited;
use lacre_types::chain;

/// A command line that makes no sense (sysexits.h, `EX_USAGE`).
const USAGE_ERROR: u8 = 64;

fn main() -> ExitCode {
    // An action that outlives its shim: DELETE, RESTART.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "--act") {
        return lacre_executor::detached_main(io::stdin(), guard::record_helper_outcome);
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == watchdog::ARGUMENT) {
        return std::env::args_os().nth(2).map_or(USAGE_ERROR.into(), |run| {
            watchdog::main(run.as_ref(), std::env::args_os().len() > 3)
        });
    }
    let finish = std::env::args_os().nth(1).is_some_and(|argument| argument == FINISH);
    let (args, action) = match Args::parse(std::env::args_os().skip(1 + usize::from(finish))) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return print(USAGE.as_bytes()),
        Err(error) => {
            complain(&error);
            return USAGE_ERROR.into();
        }
    };
    // containerd leaks nothing.
    let inherited = Inherited::find().unwrap_or_default();
    match action {
        Action::Delete if finish => {
            delete_finisher::run(&args).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
        }
        Action::Version => print(info::version().as_bytes()),
        Action::Info => {
            info::run(&args).map_or_else(|error| fail(&error), |output| pass_on(&output))
        }
        Action::Delete if let Some(output) = delete::of_nothing(&args) => pass_on(&output),
        Action::Delete => {
            let standby = Standby::begin();
            let output = delete::run(&args);
            let well = output.as_ref().is_ok_and(|output| output.status.success());
            let code = output.map_or_else(|error| fail(&error), |output| pass_on(&output));
            standby.end(well);
            code
        }
        Action::Start => match start::run(&args, inherited) {
            Ok(Started::Answer(answer)) => print(&answer),
            Ok(Started::Guarded(code)) => code,
            Err(StartError::Failed(output)) => pass_on(&output),
            Err(error) => fail(&error),
        },
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The inner shim's own words and exit status.
fn pass_on(output: &Output) -> ExitCode {
    // Whoever closed our standard error does not want it.
    let _ = io::stderr().write_all(&output.stderr);
    let printed = print(&output.stdout);
    match output.status.code() {
        Some(0) => printed,
        Some(code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        None => ExitCode::FAILURE,
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

fn complain(error: &dyn std::error::Error) {
    // There is nowhere else to say it.
    let _ = writeln!(io::stderr(), "containerd-shim-lacre-v1: {}", chain(error));
}
