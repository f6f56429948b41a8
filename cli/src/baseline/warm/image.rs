//! One image.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use lacre_baseline::{Error, Options, Platform, Stacking, Store};
use lacre_containerd::{Client, Platform as Machine};
use lacre_types::{Digest, rfc3339};
use rustix::rand::{GetRandomFlags, getrandom};

use super::output::{Made, Teller};
use crate::exit::Exit;

/// How long the lease stands if nobody is left to drop it.
const LEASE: Duration = Duration::from_secs(3600);

/// Snapshotters that unpack each layer over a copy of what is beneath; all others give each a
/// directory of its own, which overlayfs shows as one.
const UNPACKED: [&str; 5] = ["native", "btrfs", "zfs", "devmapper", "blockfile"];

/// What is made of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct What {
    content: bool,
    directories: bool,
}

impl What {
    pub(super) const fn is_all(&self) -> bool {
        self.content && self.directories
    }
}

/// What is known of an image after a look at it.
#[derive(Debug)]
pub(super) enum Looked {
    Warmed {
        what: What,
        /// Why there is nothing of its content yet, as it was told.
        remark: Option<String>,
    },
    /// Nothing could be made of it, for that reason as it was told.
    Failed { why: String, is_final: bool },
}

impl Looked {
    /// Of one that is not what its digest says nothing will ever be made; all else may pass, as
    /// a disk that is full.
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        let is_final = error.downcast_ref::<Error>().is_some_and(Error::is_altered);
        Self::Failed { why: format!("{error:#}"), is_final }
    }

    /// Whether there is nothing more to be done.
    pub(super) const fn is_done(&self) -> bool {
        match self {
            Self::Warmed { what, .. } => what.is_all(),
            Self::Failed { is_final, .. } => *is_final,
        }
    }

    /// Whether it is what was told before.
    pub(super) fn is_told_by(&self, before: Option<&Self>) -> bool {
        match (self, before) {
            (Self::Warmed { what, remark }, Some(Self::Warmed { what: was, remark: told })) => {
                what == was && remark == told
            }
            (Self::Failed { why, .. }, Some(Self::Failed { why: told, .. })) => why == told,
            _ => false,
        }
    }
}

pub(super) struct Warmer {
    pub(super) store: Store,
    pub(super) snapshotter: String,
    pub(super) teller: Teller,
}

impl Warmer {
    /// Makes what is not there yet. `client` is in the image's namespace, and `before` was made
    /// of it earlier.
    pub(super) async fn warm(
        &self,
        client: &Client,
        content: &Path,
        name: &str,
        before: Option<&Looked>,
    ) -> anyhow::Result<(Looked, Exit)> {
        let started = Instant::now();
        let namespace = client.namespace();
        let image = client.image_manifest(name, &Machine::here()).await?;
        let is_unpacked = UNPACKED.contains(&self.snapshotter.as_str());
        let stacking = if is_unpacked { Stacking::Unpacked } else { Stacking::Overlaid };
        let options = Options { stacking, ..Options::default() };
        let progress = self.teller.progress(namespace, name);
        let (platform, manifest) = (Platform::default(), image.manifest);
        let kept = self.store.kept_content(&manifest, &platform, &options);
        let was_there = kept.is_some();
        let made = match kept {
            Some(kept) => Ok(kept),
            None => self.store.content(content, &manifest, &platform, &options, &progress),
        };
        let (made, content, exit, remark) = match made {
            Ok(made) => (Some(made), true, Exit::Good, None),
            Err(error) if error.is_altered() => return Err(error.into()),
            // A container is guarded by its directories.
            Err(error) => {
                let (content, exit) = match without_content(&error) {
                    Some(Without::Absent) => (false, Exit::Good),
                    Some(Without::Unusable) => (true, Exit::Good),
                    None => (false, Exit::Failed),
                };
                (None, content, exit, Some(lacre_types::chain(&error)))
            }
        };
        let chain = image.chain_id().filter(|_| !is_unpacked);
        let directories = match chain {
            Some(chain) => self.directories(client, &chain, &progress).await?,
            // Of those each container has a copy of its own.
            None => Directories::NotOfUse,
        };
        let what = What { content, directories: directories != Directories::NotUnpacked };
        let looked = Looked::Warmed { what, remark };
        drop(progress);
        // What is as it was is not told again.
        if !looked.is_told_by(before) {
            if let Looked::Warmed { remark: Some(remark), .. } = &looked {
                self.teller.remark(namespace, name, remark);
            }
            self.teller.made(&Made {
                namespace,
                image: name,
                manifest,
                baseline: made.map(|made| made.digest()),
                was_there,
                directories: directories.as_str(),
                seconds: started.elapsed().as_secs_f64(),
            });
        }
        Ok((looked, exit))
    }

    async fn directories(
        &self,
        client: &Client,
        chain: &Digest,
        progress: &super::output::Progress<'_>,
    ) -> anyhow::Result<Directories> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let key = format!("lacre-warm-{:016x}", u64::from_ne_bytes(random));
        let expires = rfc3339(SystemTime::now() + LEASE);
        let parent = chain.to_string();
        let view = match client.view(&self.snapshotter, &parent, &key, &expires).await {
            Ok(view) => view,
            Err(error) if error.is_not_found() => return Ok(Directories::NotUnpacked),
            Err(error) => return Err(error.into()),
        };
        let lower = view.mounts.last().and_then(lacre_containerd::Mount::directories);
        let scanned = lower.map(|lower| self.store.scanned(&lower, &Options::default(), progress));
        view.remove().await;
        match scanned.transpose()? {
            Some(_) => Ok(Directories::Known),
            None => Ok(Directories::NotOfUse),
        }
    }
}

/// What is known of the directories that an image is unpacked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directories {
    Known,
    NotUnpacked,
    NotOfUse,
}

impl Directories {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::NotUnpacked => "not unpacked",
            Self::NotOfUse => "not of use",
        }
    }
}

/// Why an image has no baseline of its content, and needs none.
enum Without {
    /// containerd does not keep what it has unpacked; it may fetch it again.
    Absent,
    /// It is nothing that a baseline is made of, and stays so.
    Unusable,
}

/// `None` where it should have one.
fn without_content(error: &Error) -> Option<Without> {
    let absent = error.is_missing().then_some(Without::Absent);
    absent.or(error.is_unusable().then_some(Without::Unusable))
}
