//! What is told of it: lines for people, or of JSON, and how far long work is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lacre_types::{Digest, escape};
use serde_json::json;

use crate::output;
use crate::progress::Bar;

/// How often JSON tells how far it is.
const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Teller {
    json: bool,
}

/// What was made of one image.
pub(super) struct Made<'a> {
    pub(super) namespace: &'a str,
    pub(super) image: &'a str,
    pub(super) manifest: Digest,
    /// The baseline of its content; none where that is not there.
    pub(super) baseline: Option<Digest>,
    /// Whether it had been made before.
    pub(super) was_there: bool,
    /// Of the directories that it is unpacked to.
    pub(super) directories: &'static str,
    pub(super) seconds: f64,
}

impl Teller {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn progress<'a>(&self, namespace: &'a str, image: &'a str) -> Progress<'a> {
        Progress {
            namespace,
            image,
            json: self.json,
            bar: Bar::new(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            told: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn made(&self, made: &Made<'_>) {
        let Made { namespace, image, manifest, baseline, was_there, directories, seconds } = made;
        let shown = |text: &str| escape(text.as_bytes());
        // Whoever reads may have gone; the work goes on.
        let _ = if self.json {
            output::json(&json!({
                "namespace": shown(namespace),
                "image": shown(image),
                "manifest": manifest,
                "baseline": baseline,
                "made": baseline.is_some() && !was_there,
                "directories": directories,
                "seconds": seconds,
            }))
        } else {
            let content = match (baseline, was_there) {
                (Some(baseline), true) => format!("{baseline} was there"),
                (Some(baseline), false) => format!("{baseline} made"),
                (None, _) => "no content to make it of".to_owned(),
            };
            let (namespace, image) = (shown(namespace), shown(image));
            output::line(format!(
                "{namespace} {image}: {content}; directories {directories} ({seconds:.1} s)"
            ))
        };
    }

    /// Why nothing is made of its content.
    pub(super) fn remark(&self, namespace: &str, image: &str, why: &str) {
        let (namespace, image) = (escape(namespace.as_bytes()), escape(image.as_bytes()));
        let _ = if self.json {
            output::json(&json!({"namespace": namespace, "image": image, "remark": why}))
        } else {
            output::line(format!("{namespace} {image}: {why}"))
        };
    }

    pub(super) fn failed(&self, namespace: &str, image: &str, error: &anyhow::Error) {
        let shown = |text: &str| escape(text.as_bytes());
        let (namespace, image) = (shown(namespace), shown(image));
        if self.json {
            let error = format!("{error:#}");
            let _ = output::json(&json!({"namespace": namespace, "image": image, "error": error}));
        } else {
            self.trouble(&anyhow::anyhow!("{namespace} {image}: {error:#}"));
        }
    }

    pub(super) fn trouble(&self, error: &anyhow::Error) {
        if self.json {
            let _ = output::json(&json!({"error": format!("{error:#}")}));
        } else {
            crate::exit::tell(error);
        }
    }
}

/// How far the work on one image is.
pub(super) struct Progress<'a> {
    namespace: &'a str,
    image: &'a str,
    json: bool,
    bar: Bar,
    files: AtomicU64,
    bytes: AtomicU64,
    told: Mutex<Instant>,
}

impl Progress<'_> {
    fn tell(&self) {
        if !self.json {
            return;
        }
        // One of the threads tells; the others need not wait for it.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.elapsed() < EVERY {
            return;
        }
        *told = Instant::now();
        let _ = output::json(&json!({
            "namespace": escape(self.namespace.as_bytes()),
            "image": escape(self.image.as_bytes()),
            "progress": {
                "files": self.files.load(Ordering::Relaxed),
                "bytes": self.bytes.load(Ordering::Relaxed),
            },
        }));
    }
}

impl lacre_baseline::Progress for Progress<'_> {
    fn stage(&self, what: &str) {
        self.bar.stage(&format!("{}: {what}", escape(self.image.as_bytes())));
    }

    fn found(&self, files: u64) {
        self.bar.found(files);
    }

    fn looked(&self, files: u64) {
        self.bar.looked(files);
        self.files.fetch_add(files, Ordering::Relaxed);
        self.tell();
    }

    fn hashed(&self, bytes: u64) {
        self.bar.hashed(bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }
}
