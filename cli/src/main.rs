//! `lacre`: the one command a person types.

use std::process::ExitCode;

fn main() -> ExitCode {
    lacre_cli::main()
}
