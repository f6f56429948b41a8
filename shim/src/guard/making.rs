//! The making of one container's baseline, on a thread of its own: from the image's content
//! where containerd has it, else from the directories that it was unpacked to.
//!
//! Whoever creates the container waits for it no longer than the configuration says. It goes
//! on after that: what it comes to holds for the container from then on, and is kept for the
//! next. When the container has ended it is called off, unless it was for want of the baseline
//! that it did not start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use lacre_baseline::{
    Baseline, BlobError, Error, Image, Options, Platform, Progress as _, Scanned, Store, from_lower,
};
use lacre_containerd::Client;
use lacre_types::{Digest, chain};
use slog::{Logger, info, warn};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::call_off::CallOff;
use super::identity::{Beneath, RootFs};
use super::image_files::of_content;
use super::image_knowledge::LateImage;
use super::lazy_content;
use super::snapshot_view;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Working,
    /// It reads what is fetched over the network as it is read: nobody waits for that.
    Downloads(String),
    Made,
    /// There will be none, for this reason.
    Failed(String),
}

/// What is found out about a container while its baseline is being made.
struct Facts {
    beneath: Beneath,
    client: Client,
}

/// A baseline that is being made.
pub(super) struct Making {
    image: Arc<LateImage>,
    stage: watch::Receiver<Stage>,
    facts: mpsc::Sender<Facts>,
    mounted: mpsc::Sender<()>,
}

impl Making {
    /// Begins it. Where no thread can be had there is none.
    pub(super) fn begin(root: &RootFs, baselines: &Path, call_off: CallOff, log: &Logger) -> Self {
        let image = Arc::<LateImage>::default();
        let (tell, stage) = watch::channel(Stage::Working);
        let (facts, told) = mpsc::channel();
        let (mounted, is_mounted) = mpsc::channel();
        let work = Work {
            root: root.clone(),
            baselines: baselines.to_owned(),
            told,
            is_mounted,
            stage: tell,
            runtime: Handle::current(),
            call_off,
            log: log.clone(),
        };
        let to = Arc::clone(&image);
        let thread = std::thread::Builder::new().name("baseline".to_owned());
        if let Err(error) = thread.spawn(move || work.run(&to)) {
            warn!(log, "starting a thread that makes the baseline"; "error" => error.to_string());
        }
        Self { image, stage, facts, mounted }
    }

    /// What it makes, now or later.
    pub(super) fn image(&self) -> &Arc<LateImage> {
        &self.image
    }

    /// What the container stands on has been found out.
    pub(super) fn tell(&self, beneath: Beneath, client: Client) {
        // It may have ended by itself.
        let _ = self.facts.send(Facts { beneath, client });
    }

    /// The container has been created, and its root is mounted.
    pub(super) fn is_mounted(&self) {
        let _ = self.mounted.send(());
    }

    /// A look at how far it is, for who waits.
    pub(super) fn wait(&self) -> Wait {
        Wait(self.stage.clone())
    }
}

/// Waits for a baseline.
#[derive(Debug, Clone)]
pub(super) struct Wait(watch::Receiver<Stage>);

impl Wait {
    /// Until it is made, it is known that it will take a download or that there will be none, or
    /// the time has come.
    pub(super) async fn until(&mut self, deadline: Instant) {
        let settled = self.0.wait_for(|stage| *stage != Stage::Working);
        // A thread that has gone without a word makes nothing more.
        let _ = timeout_at(deadline, settled).await;
    }

    /// Whether it is made at last.
    pub(super) async fn comes(mut self) -> bool {
        let over = |stage: &Stage| matches!(stage, Stage::Made | Stage::Failed(_));
        self.0.wait_for(over).await.is_ok_and(|stage| *stage == Stage::Made)
    }

    /// Why there is none so far.
    pub(super) fn why_not(&self) -> String {
        match &*self.0.borrow() {
            Stage::Failed(why) => why.clone(),
            Stage::Downloads(why) => format!(
                "its files are fetched as they are read ({why}); the baseline is being made, and \
                 will hold when it is there"
            ),
            Stage::Working | Stage::Made => "it is still being made, and will hold when it is \
                there; `lacre baseline warm` makes baselines ahead"
                .to_owned(),
        }
    }
}

struct Work {
    root: RootFs,
    baselines: PathBuf,
    told: mpsc::Receiver<Facts>,
    is_mounted: mpsc::Receiver<()>,
    stage: watch::Sender<Stage>,
    runtime: Handle,
    call_off: CallOff,
    log: Logger,
}

/// What may run, and which manifest says so.
type Allowed = (Arc<Baseline>, Option<Digest>);

impl Work {
    fn run(self, image: &LateImage) {
        let stage = match self.make() {
            Ok((made, manifest)) => {
                let of = manifest.map_or("directories".to_owned(), |it| format!("content {it}"));
                let digest = made.baseline.digest().to_string();
                info!(self.log, "has a baseline"; "baseline" => digest, "of" => of);
                image.came(made.into(), manifest);
                Stage::Made
            }
            Err(why) => {
                if self.call_off.is_unwanted() {
                    info!(self.log, "its baseline is not made any more: it has ended");
                } else {
                    warn!(self.log, "no baseline"; "error" => &why);
                }
                Stage::Failed(why)
            }
        };
        let _ = self.stage.send(stage);
    }

    fn make(&self) -> Result<(Image, Option<Digest>), String> {
        let store = Store::open(&self.baselines).map_err(text)?;
        let lower = self.root.layers.as_ref().map(|layers| layers.lower.as_slice());
        let lazy = lower.and_then(lazy_content::by_directories).or_else(|| self.root.lazy.clone());
        let facts = || self.told.recv().map_err(|_| "its Create was given up".to_owned());
        let options = Options::default();
        let scan = |lower| store.scanned(lower, &options, &self.call_off).map(Some).map_err(text);
        let (scanned, facts, lazy) = match lower {
            Some(lower) if lazy.is_none() => {
                // While it is still being found out whose image it is, unless that may tell more.
                if lazy_content::may_be(lower) {
                    let facts = facts()?;
                    let lazy = facts.beneath.lazy.clone();
                    (if lazy.is_none() { scan(lower)? } else { None }, facts, lazy)
                } else {
                    (scan(lower)?, facts()?, None)
                }
            }
            _ => {
                let facts = facts()?;
                let lazy = lazy.or_else(|| facts.beneath.lazy.clone());
                (None, facts, lazy)
            }
        };
        let content = self.content(&store, &facts)?;
        if let Some(why) = lazy {
            if content.is_none() {
                let _ = self.stage.send(Stage::Downloads(why));
            }
            // No promise is made of a file that somebody else serves: none is known by its inode.
            let (baseline, manifest) = match (content, lower) {
                (Some(content), _) => content,
                (None, Some(lower)) => {
                    (Arc::new(from_lower(lower, &options, &self.call_off).map_err(text)?), None)
                }
                (None, None) => self.view(&facts)?,
            };
            return Ok((Image::of_baseline(baseline).map_err(text)?, manifest));
        }
        match (scanned, content) {
            (Some(scanned), Some((baseline, manifest))) => {
                Ok((scanned.allowing(baseline), manifest))
            }
            (Some(scanned), None) => Ok((scanned.as_they_are(), None)),
            (None, content) => {
                let (baseline, manifest) = content.map_or_else(|| self.view(&facts), Ok)?;
                let scanned = self.scanned_root(&store)?;
                Ok((scanned.allowing(baseline), manifest))
            }
        }
    }

    /// By the content of the image, where containerd has it whole.
    fn content(&self, store: &Store, facts: &Facts) -> Result<Option<Allowed>, String> {
        let Some(manifest) = facts.beneath.manifest else { return Ok(None) };
        let options = of_content(self.root.layers.is_some());
        let platform = Platform::default();
        if let Some(baseline) = store.kept_content(&manifest, &platform, &options) {
            return Ok(Some((baseline, Some(manifest))));
        }
        let root = match self.runtime.block_on(facts.client.content_root()) {
            Ok(root) => root,
            Err(error) => {
                info!(self.log, "containerd's content can't be read; its snapshots are";
                    "error" => chain(&error));
                return Ok(None);
            }
        };
        match store.content(&root, &manifest, &platform, &options, &self.call_off) {
            Ok(baseline) => Ok(Some((baseline, Some(manifest)))),
            Err(error) if is_altered(&error) || self.call_off.is_unwanted() => Err(text(error)),
            Err(error) => {
                let kept = if is_missing(&error) { "kept" } else { "of use" };
                info!(self.log, "the image's content is not {kept}; its snapshots are";
                    "error" => chain(&error));
                Ok(None)
            }
        }
    }

    /// By what the container's snapshot stands on, mounted for that.
    fn view(&self, facts: &Facts) -> Result<Allowed, String> {
        let Facts { beneath, client } = facts;
        let Some(parent) = &beneath.parent else {
            return Err("containerd has neither an image nor a snapshot of it that a baseline \
                could be made of; run it from an image"
                .to_owned());
        };
        let view = snapshot_view::view(client, &beneath.snapshotter, parent);
        let view = self.runtime.block_on(view)?;
        let read = snapshot_view::directories(&view).and_then(|dirs| {
            from_lower(&dirs.paths(), &Options::default(), &self.call_off).map_err(text)
        });
        self.runtime.block_on(view.remove());
        Ok((Arc::new(read?), None))
    }

    /// The container's own root, once it is mounted: by it its files are known by their inodes.
    fn scanned_root(&self, store: &Store) -> Result<Scanned, String> {
        self.is_mounted.recv().map_err(|_| "it was not created".to_owned())?;
        store.scanned_root(&self.root.path, &Options::default(), &self.call_off).map_err(text)
    }
}

/// Whether content is there, and is not what its digest says: what the snapshot holds may have
/// been altered by the same hand.
fn is_altered(error: &Error) -> bool {
    let Error::Blob { source, .. } = error else { return false };
    matches!(**source, BlobError::Digest { .. } | BlobError::DiffId { .. } | BlobError::Size { .. })
}

/// Whether containerd has not kept the layers once they were unpacked
/// (`discard_unpacked_layers`), or has never fetched them.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Blob { source, .. } if matches!(**source, BlobError::Missing(_)))
}

#[allow(clippy::needless_pass_by_value, reason = "it is used as a function")]
fn text(error: Error) -> String {
    chain(&error)
}
