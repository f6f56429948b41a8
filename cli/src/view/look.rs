//! A look at this node, by its run directory and its configuration.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use lacre_shim::config::{Config, ConfigError, ENVIRONMENT, locate};
use lacre_shim::inspect::{self, ContainerSeen, Seen};

use super::names::shown;

/// Where to look.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Where {
    /// The shim's configuration, which says where its run directory and its records are
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Another run directory than the configuration's
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// How long each guard, and each containerd, may take to answer
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// Where to look, for what is not guarded too.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Everywhere {
    #[command(flatten)]
    pub(crate) at: Where,
    /// Another containerd's socket, to be asked for what is not guarded (repeatable)
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Vec<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() && limit <= Duration::from_secs(3600) => Ok(limit),
        _ => Err("not between 0 and 3600".to_owned()),
    }
}

/// What there is.
pub(crate) struct View {
    pub(crate) config_path: PathBuf,
    /// What the configuration says, or why it says nothing.
    pub(crate) config: Result<Config, ConfigError>,
    pub(crate) run: PathBuf,
    pub(crate) seen: Seen,
}

impl View {
    /// Looks.
    pub(crate) fn take(at: &Where) -> anyhow::Result<Self> {
        let environment = env::var_os(ENVIRONMENT);
        let (config_path, required) = locate(at.config.clone(), None, environment.as_deref());
        let config = Config::load(&config_path, required);
        let said = || config.as_ref().map(|config| config.run.clone());
        let run = at.run.clone().or_else(|| said().ok()).unwrap_or_else(|| Config::default().run);
        let seen = inspect::look(&run, at.timeout)
            .with_context(|| format!("cannot read {}, which is root's alone", shown(&run)))?;
        Ok(Self { config_path, config, run, seen })
    }

    /// Says on standard error that the configuration can't be used, if it can't.
    pub(crate) fn tell_of_config(&self) -> io::Result<()> {
        let Err(error) = &self.config else { return Ok(()) };
        let (error, run) = (lacre_types::chain(error), shown(&self.run));
        writeln!(io::stderr(), "lacre: {error}; looking in {run}")
    }

    /// The sockets of the containerds of this node: those that guards were started by, and those
    /// that are usually there.
    pub(crate) fn containerds(&self, more: &[PathBuf]) -> Vec<PathBuf> {
        const USUAL: [&str; 4] = [
            "/run/containerd/containerd.sock",
            "/var/run/docker/containerd/containerd.sock",
            "/run/k3s/containerd/containerd.sock",
            "/run/docker/containerd/containerd.sock",
        ];
        let bodies = self.seen.containers.iter().filter_map(ContainerSeen::body);
        let told = bodies.map(|body| body.containerd.clone());
        let usual = USUAL.iter().map(PathBuf::from).filter(|path| path.exists());
        let mut all: Vec<PathBuf> = Vec::new();
        for path in more.iter().cloned().chain(told).chain(usual) {
            let bare = path.to_string_lossy().trim_start_matches("unix://").to_owned();
            let path = PathBuf::from(bare);
            let path = path.canonicalize().unwrap_or(path);
            if !all.contains(&path) {
                all.push(path);
            }
        }
        all
    }
}
