//! The shim's configuration file. `docs/configuration.md` is its reference.

mod load;
mod read;
mod settings;
mod values;

pub use load::{ConfigError, ENVIRONMENT, STANDARD_PATH, locate, named};
pub use settings::{Baseline, Config, Exemptions, Inner, RuncValue, Sources, Tls};
pub use values::{Block, Named, Server};
