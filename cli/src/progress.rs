//! A progress bar on stderr when somebody watches, silence otherwise.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lacre_baseline::Progress;

/// Files done of files found, and the bytes hashed.
pub(crate) struct Bar {
    files: ProgressBar,
    bytes: std::sync::atomic::AtomicU64,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let files = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(
            "{spinner} {wide_msg} {pos}/{len} files, {prefix} hashed, {elapsed}",
        ) {
            files.set_style(style);
        }
        if !files.is_hidden() {
            files.enable_steady_tick(Duration::from_millis(200));
        }
        Self { files, bytes: std::sync::atomic::AtomicU64::new(0) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.files.finish_and_clear();
    }
}

impl Progress for Bar {
    fn stage(&self, what: &str) {
        self.files.set_message(what.to_owned());
    }

    fn found(&self, files: u64) {
        self.files.inc_length(files);
    }

    fn looked(&self, files: u64) {
        self.files.inc(files);
    }

    fn hashed(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        // The text changes by the mebibyte.
        if before >> 20 != (before + bytes) >> 20 {
            self.files.set_prefix(indicatif::HumanBytes(before + bytes).to_string());
        }
    }
}
