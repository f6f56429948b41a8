//! Which sources stand on the ladder here, and how they are armed.

use std::sync::Arc;

use lacre_baseline::{Baseline, Lookup, NodeIndex};
use lacre_measure::{
    Armed, Known, KnownFile, Listing, SourceError, Target, container_ima, exec_map, exec_trace,
    fanotify, ima,
};
use lacre_types::{CanonicalPath, FileId, Source, chain};
use slog::{Logger, info, warn};

use super::judge::Judge;
use crate::config::{Config, Sources};

/// What `auto` tries. Not `exec-map`: the events that it inherits cost every fork and exec
/// some 15 %, and `exec-trace` sees all but memory made executable.
const AUTO: &[Source] = &[Source::ExecTrace, Source::Fanotify];

/// What names a container on this node; its id does so only within its namespace.
pub(super) fn name(namespace: &str, container: &str) -> String {
    format!("{namespace}/{container}")
}

/// Why a container is not watched as it must be.
#[derive(Debug, thiserror::Error)]
pub(super) enum LadderError {
    #[error("arming the source {0}, which the configuration asks for")]
    Named(Source, #[source] SourceError),
    #[error(
        "this node offers none of the sources; docs/sources.md says what each one needs, the log what is missing"
    )]
    None,
}

/// The sources that the configuration names, or those that `auto` tries.
pub(super) fn named(config: &Config) -> &[Source] {
    wanted(config).0
}

/// The sources to try, and whether all of them must be had.
fn wanted(config: &Config) -> (&[Source], bool) {
    match &config.sources {
        Sources::Auto => (AUTO, false),
        Sources::Only(list) => (list.as_slice(), true),
    }
}

/// Whether the kernel keeps a container's list, so that the shim needs not.
pub(super) fn kernel_keeps_list(config: &Config) -> bool {
    named(config).contains(&Source::ContainerIma)
}

/// What of the sources needs no process of the container.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    trace: Option<Result<exec_trace::Prepared, SourceError>>,
}

/// Makes ready, while the container is being created, what the kernel takes its time for.
pub(super) fn prepare(config: &Config, container: &str, known: &dyn Known) -> Prepared {
    let trace = wanted(config)
        .0
        .contains(&Source::ExecTrace)
        .then(|| exec_trace::prepare(container, known, &trace_options(config)));
    Prepared { trace }
}

fn trace_options(config: &Config) -> exec_trace::Options {
    exec_trace::Options { fetch: config.fetch, ..exec_trace::Options::default() }
}

/// Arms what the configuration asks for: each source that it names, or whatever of `auto`
/// this node offers, one at least.
pub(super) fn arm(
    config: &Config,
    mut prepared: Prepared,
    target: &Target,
    image: &str,
    judge: &Arc<Judge>,
    log: &Logger,
) -> Result<Vec<Box<dyn Armed>>, LadderError> {
    let (list, all) = wanted(config);
    let mut armed = Vec::with_capacity(list.len());
    for source in list {
        match one(*source, config, &mut prepared, target, image, judge) {
            Ok(source) => armed.push(source),
            Err(error) if all => return Err(LadderError::Named(*source, error)),
            Err(error) => {
                warn!(log, "source not armed"; "source" => source.as_str(), "error" => chain(&error));
            }
        }
    }
    if armed.is_empty() {
        return Err(LadderError::None);
    }
    let names: Vec<_> = armed.iter().map(|source| source.source().as_str()).collect();
    info!(log, "armed"; "sources" => names.join(", "), "mode" => target.mode.as_str());
    remark(&armed, log);
    Ok(armed)
}

/// What the sources have to say of how they see here.
pub(super) fn remark(armed: &[Box<dyn Armed>], log: &Logger) {
    for source in armed {
        if let Some(remark) = source.remark() {
            info!(log, "a source's limits"; "source" => source.source().as_str(), "remark" => remark);
        }
    }
}

fn one(
    source: Source,
    config: &Config,
    prepared: &mut Prepared,
    target: &Target,
    image: &str,
    judge: &Arc<Judge>,
) -> Result<Box<dyn Armed>, SourceError> {
    let asked: Arc<dyn lacre_measure::Judge> = Arc::clone(judge) as _;
    match source {
        Source::Fanotify => Ok(Box::new(fanotify::arm(target, asked)?)),
        Source::ExecTrace => {
            let ready = prepared.trace.take().unwrap_or_else(|| {
                exec_trace::prepare(&target.container, &*target.known, &trace_options(config))
            });
            let armed = ready?.arm(target, asked)?;
            judge.trace(armed.allower());
            Ok(Box::new(armed))
        }
        Source::ExecMap => {
            Ok(Box::new(exec_map::arm(target, asked, &exec_map::Options::default())?))
        }
        Source::ContainerIma => {
            let options = container_ima::Options::below(&config.state, &config.run, image);
            Ok(Box::new(container_ima::arm(target, asked, &options)?))
        }
        Source::Ima => Ok(Box::new(ima::arm(target, asked, &ima::Options::default())?)),
        other @ Source::Bpf => unavailable(other, "a later release of lacre"),
        other @ Source::Attestation => {
            unavailable(other, "a policy server that attests this node, and is no source of a shim")
        }
    }
}

fn unavailable(source_name: Source, needs: &str) -> Result<Box<dyn Armed>, SourceError> {
    Err(SourceError::Unavailable { source_name, needs: needs.to_owned(), source: None })
}

/// What this node knows of an image's files.
#[derive(Debug, Clone)]
pub(super) struct ImageFiles {
    pub(super) baseline: Arc<Baseline>,
    pub(super) index: Arc<NodeIndex>,
}

impl Known for ImageFiles {
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
        self.index.by_path(path)
    }

    fn listed(&self, path: &CanonicalPath) -> Listing {
        match self.baseline.entry(path) {
            Lookup::Found(entry) => Listing::Yes(Some(entry.size)),
            Lookup::Missing => Listing::No,
        }
    }

    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)> {
        self.index.by_inode(dev, ino)
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        self.index.allowed()
    }

    fn named(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, FileId)> {
        self.index.named(wanted)
    }
}

/// Nothing is known of a container that has no baseline.
#[derive(Debug)]
pub(super) struct NoFiles;

impl Known for NoFiles {
    fn by_path(&self, _: &CanonicalPath) -> Option<KnownFile> {
        None
    }

    fn listed(&self, _: &CanonicalPath) -> Listing {
        Listing::No
    }

    fn by_inode(&self, _: u32, _: u64) -> Option<(CanonicalPath, KnownFile)> {
        None
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        Box::new(std::iter::empty())
    }
}
