//! `-info` and `-v`.

use std::env;
use std::io;
use std::path::Path;

use crate::arguments::Args;
use crate::bootstrap::options::{self, OptionsError};
use crate::commands::stdin;
use crate::config::{Config, ConfigError};
use crate::inner::program::{self, InnerError, Output};
use crate::messages::Any;
use crate::wire::{WireError, replace_bytes};

/// The runtime's name, as containerd knows it.
const NAME: &[u8] = b"io.containerd.lacre.v1";
/// Options are a page.
const INPUT_MAX: u64 = 1 << 20;

/// Why there is no description.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// Standard input can't be read.
    #[error("reading the runtime options from standard input")]
    Input(#[source] io::Error),
    /// Standard input is no message.
    #[error("the runtime options on standard input are no message")]
    Message(#[from] WireError),
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The inner shim does not run.
    #[error(transparent)]
    Inner(#[from] InnerError),
}

/// The inner shim's description (`RuntimeInfo`), under lacre's name.
///
/// # Errors
/// When the inner shim can't be asked.
pub fn run(args: &Args) -> Result<Output, InfoError> {
    let bytes = stdin::read(INPUT_MAX).map_err(InfoError::Input)?;
    let given = if bytes.is_empty() { None } else { Some(Any::decode(&bytes)?) };
    let own = given.as_ref().map(options::own).transpose()?.unwrap_or_default();
    let (_, config) = Config::find(own.config_path)?;
    let containerd = &args.publish_binary;
    let program = program::find(&config.inner.shim, env::var_os("PATH").as_deref(), containerd)?;
    let input = options::for_inner(given.as_ref(), &config.inner)?;
    let input = input.map_or_else(Vec::new, |any| any.encode());
    let run = program::Run::spawn(&program, env::args_os().skip(1), Path::new("."), &input)?;
    let mut output = run.finish()?;
    if output.status.success() {
        output.stdout = replace_bytes(&output.stdout, 1, Some(NAME))?;
    }
    Ok(output)
}

/// What `-v` prints.
#[must_use]
pub fn version() -> String {
    format!("containerd-shim-lacre-v1:\n  Version:  {}\n", env!("CARGO_PKG_VERSION"))
}
