//! Which sources stand on the ladder here, and how they are armed.

use std::sync::Arc;

use lacre_measure::{
    Armed, Known, SourceError, Target, container_ima, exec_map, exec_trace, fanotify, ima,
};
use lacre_types::{Source, chain};
use slog::{Logger, info, warn};

use super::judge::Judge;
use crate::config::{Config, Sources};
use crate::container::generation::Generation;

/// What names a container on this node; its id does so only within its namespace.
pub(crate) fn name(namespace: &str, container: &str) -> String {
    format!("{namespace}/{container}")
}

/// A source that should watch a container and does not: a SOURCE_LOST of its name, whatever
/// else watches. In enforce mode the container does not start.
#[derive(Debug, thiserror::Error)]
#[error("{source_name} does not watch this container")]
pub(super) struct Lost {
    pub(super) source_name: Source,
    #[source]
    pub(super) why: SourceError,
}

/// What came of arming the sources: those that watch, and each that should and does not.
#[derive(Default)]
pub(super) struct Ladder {
    pub(super) armed: Vec<Box<dyn Armed>>,
    pub(super) lost: Vec<Lost>,
}

impl Ladder {
    /// Sorts what came of one source. Only what `auto` tries may be missing, and only where
    /// the node does not have it: what is named, and what the node offers and can't arm, is
    /// lost.
    fn came(&mut self, source: Source, came: Came, named: bool, log: &Logger) {
        match came {
            Ok(armed) => self.armed.push(armed),
            Err(why @ SourceError::Unavailable { .. }) if !named => {
                info!(log, "this node does not have a source";
                    "source" => source.as_str(), "error" => chain(&why));
            }
            Err(why) => {
                let lost = Lost { source_name: source, why };
                warn!(log, "source not armed"; "error" => chain(&lost));
                self.lost.push(lost);
            }
        }
    }

    /// Where nothing at all watches, that is a loss of what `auto` tried first.
    fn closed(mut self) -> Self {
        if self.armed.is_empty() && self.lost.is_empty() {
            let needs = "one of the sources that docs/sources.md lists, each with what it needs; \
                         the log says what is missing"
                .to_owned();
            let source_name = Sources::AUTO[0];
            let why = SourceError::Unavailable { source_name, needs, source: None };
            self.lost.push(Lost { source_name, why });
        }
        self
    }
}

type Came = Result<Box<dyn Armed>, SourceError>;

/// The sources that the configuration names, or those that `auto` tries.
pub(crate) fn named(config: &Config) -> &[Source] {
    wanted(config).0
}

/// The sources to try, and whether all of them must be had.
fn wanted(config: &Config) -> (&[Source], bool) {
    match &config.sources {
        Sources::Auto => (Sources::AUTO, false),
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
    trace: Option<Trace>,
}

/// `exec-trace`, and why it does not check libraries where it can't.
#[derive(Debug)]
struct Trace {
    ready: Result<exec_trace::Prepared, SourceError>,
    without_fetch: Option<SourceError>,
}

/// Makes ready, while the container is being created, what the kernel takes its time for.
pub(super) fn prepare(config: &Config, generation: &Generation, known: &dyn Known) -> Prepared {
    let wanted = wanted(config).0.contains(&Source::ExecTrace);
    Prepared { trace: wanted.then(|| trace(config, generation, known)) }
}

/// A kernel that has no hook for fetches still has the one for programs.
fn trace(config: &Config, generation: &Generation, known: &dyn Known) -> Trace {
    let options = |fetch| exec_trace::Options { fetch, ..exec_trace::Options::default() };
    let container = generation.as_str();
    match exec_trace::prepare(container, known, &options(config.fetch)) {
        Err(why @ SourceError::Unavailable { .. }) if config.fetch => {
            let ready = exec_trace::prepare(container, known, &options(false));
            let without_fetch = ready.is_ok().then_some(why);
            Trace { ready, without_fetch }
        }
        ready => Trace { ready, without_fetch: None },
    }
}

/// What there is to arm the sources of one container with.
pub(super) struct Arming<'a> {
    pub(super) config: &'a Config,
    pub(super) generation: &'a Generation,
    /// Of fanotify's, which all containers of the shim share.
    pub(super) groups: &'a fanotify::Groups,
    pub(super) target: &'a Target,
    /// The image's name.
    pub(super) image: &'a str,
    pub(super) judge: &'a Arc<Judge>,
    pub(super) log: &'a Logger,
}

impl Arming<'_> {
    /// Arms what the configuration asks for: each source that it names, or whatever of `auto`
    /// this node offers.
    pub(super) fn all(&self, mut prepared: Prepared) -> Ladder {
        let (list, named) = wanted(self.config);
        let mut ladder = Ladder::default();
        for source in list {
            ladder.came(*source, self.one(*source, &mut prepared), named, self.log);
        }
        // exec-trace sees what is mapped of memory, and not what is changed where it is mapped.
        if self.judge.denies_memory() && !list.contains(&Source::ExecMap) {
            ladder.came(Source::ExecMap, self.one(Source::ExecMap, &mut prepared), false, self.log);
        }
        let ladder = ladder.closed();
        let sees_opens = ladder.armed.iter().any(|it| it.source() == Source::Fanotify);
        if !sees_opens && lacre_measure::Judge::code_directories(&**self.judge).any {
            warn!(
                self.log,
                "the policy declares code directories, and nothing here sees what is \
                             opened there; fanotify does"
            );
        }
        let names: Vec<_> = ladder.armed.iter().map(|source| source.source().as_str()).collect();
        info!(self.log, "armed"; "sources" => names.join(", "), "mode" => self.target.mode.as_str());
        remark(&ladder.armed, self.log);
        ladder
    }

    fn one(&self, source: Source, prepared: &mut Prepared) -> Came {
        let Self { config, generation, groups, target, image, judge, log } = *self;
        let asked: Arc<dyn lacre_measure::Judge> = Arc::clone(judge) as _;
        match source {
            Source::Fanotify => {
                let limits = fanotify::Limits::default();
                let armed = fanotify::arm_at(groups, target, asked, limits)?;
                judge.hold(armed.holder());
                Ok(Box::new(armed))
            }
            Source::ExecTrace => {
                let Trace { ready, without_fetch } = prepared
                    .trace
                    .take()
                    .unwrap_or_else(|| trace(config, generation, &*target.known));
                if let Some(why) = without_fetch {
                    warn!(log, "exec-trace sees programs here, and no libraries";
                        "error" => chain(&why));
                }
                let armed = ready?.arm_at(groups, target, asked)?;
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
            other @ Source::Bpf => {
                unavailable(other, "a later release of lacre: take it out of `sources`")
            }
            other @ Source::Attestation => unavailable(
                other,
                "a policy server that attests this node, and is no source of a shim",
            ),
        }
    }
}

/// What the sources have to say of how they see here.
pub(crate) fn remark(armed: &[Box<dyn Armed>], log: &Logger) {
    for source in armed {
        if let Some(remark) = source.remark() {
            info!(log, "a source's limits"; "source" => source.source().as_str(), "remark" => remark);
        }
    }
}

fn unavailable(source_name: Source, needs: &str) -> Came {
    Err(SourceError::Unavailable { source_name, needs: needs.to_owned(), source: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sees(Source);

    impl Armed for Sees {
        fn source(&self) -> Source {
            self.0
        }
    }

    fn failed(source_name: Source) -> Came {
        let source = std::io::ErrorKind::OutOfMemory.into();
        Err(SourceError::Failed { source_name, doing: "making a group".to_owned(), source })
    }

    fn ladder(named: bool, came: Vec<(Source, Came)>) -> (Vec<Source>, Vec<Source>) {
        let log = Logger::root(slog::Discard, slog::o!());
        let mut ladder = Ladder::default();
        came.into_iter().for_each(|(source, came)| ladder.came(source, came, named, &log));
        let Ladder { armed, lost } = ladder.closed();
        let armed = armed.iter().map(|source| source.source()).collect();
        (armed, lost.iter().map(|lost| lost.source_name).collect())
    }

    use Source::{ContainerIma, ExecTrace, Fanotify};

    fn sees(source: Source) -> (Source, Came) {
        (source, Ok(Box::new(Sees(source))))
    }

    #[test]
    fn what_the_node_offers_and_cannot_arm_is_lost_and_the_others_stand() {
        let came = vec![sees(ExecTrace), (Fanotify, failed(Fanotify))];
        assert_eq!(ladder(false, came), (vec![ExecTrace], vec![Fanotify]));
    }

    #[test]
    fn auto_goes_on_without_what_the_node_does_not_have() {
        let came = vec![(ExecTrace, unavailable(ExecTrace, "BTF")), sees(Fanotify)];
        assert_eq!(ladder(false, came), (vec![Fanotify], vec![]));
    }

    #[test]
    fn a_named_source_that_is_missing_is_lost_by_its_own_name() {
        let missing = (ContainerIma, unavailable(ContainerIma, "the patched kernel"));
        let came = vec![missing, sees(Fanotify), sees(ExecTrace)];
        assert_eq!(ladder(true, came), (vec![Fanotify, ExecTrace], vec![ContainerIma]));
    }

    #[test]
    fn a_node_that_has_none_of_them_is_a_loss_too() {
        let none = |source| (source, unavailable(source, "another kernel"));
        assert_eq!(
            ladder(false, vec![none(ExecTrace), none(Fanotify)]),
            (vec![], vec![Sources::AUTO[0]])
        );
    }
}
