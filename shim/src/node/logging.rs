//! Logging into the bundle's `log` FIFO, which containerd copies into its own log.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use lacre_types::rfc3339;
use rustix::fs::OFlags;
use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record};

/// What a FIFO takes at once or not at all (`PIPE_BUF`, pipe(7)), so that lines of several
/// writers do not mix.
const LINE_MAX: usize = 4096;

/// Lines in the manner of logrus, which containerd's own shims write. Never blocks: what
/// the FIFO does not take is counted, and the count told when it takes lines again.
struct Fifo {
    file: Option<File>,
    level: Level,
    lost: AtomicU64,
}

/// A logger for the shim of `bundle`.
pub fn to_bundle(bundle: &Path, debug: bool) -> Logger {
    // Opened for reading too, a FIFO without a reader is no error; and it must not be made
    // where there is none.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let path = bundle.join("log");
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).ok();
    let level = if debug { Level::Debug } else { Level::Info };
    Logger::root(Fifo { file, level, lost: AtomicU64::new(0) }, slog::o!())
}

impl Drain for Fifo {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        if !record.level().is_at_least(self.level) {
            return Ok(());
        }
        let mut line = Line::begin(record.level(), &record.msg().to_string());
        let _ = record.kv().serialize(record, &mut line);
        let _ = values.serialize(record, &mut line);
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            line.pair("lost_lines", &lost.to_string());
        }
        if file.write_all(&line.end()).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct Line(String);

impl Line {
    fn begin(level: Level, message: &str) -> Self {
        let level = match level {
            Level::Critical => "fatal",
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let mut line = Self(format!("time=\"{}\" level={level}", rfc3339(SystemTime::now())));
        line.pair("msg", message);
        line.pair("runtime", "io.containerd.lacre.v1");
        line
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+:".contains(&byte);
        if !value.is_empty() && value.bytes().all(bare) {
            self.0.push_str(value);
        } else {
            self.0.push('"');
            self.0.push_str(&lacre_types::escape(value.as_bytes()).replace('"', "\\\""));
            self.0.push('"');
        }
    }

    fn end(self) -> Vec<u8> {
        let mut line = self.0;
        line.truncate(line.floor_char_boundary(LINE_MAX - 1));
        line.push('\n');
        line.into_bytes()
    }
}

impl slog::Serializer for Line {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        self.pair(key, &value.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{info, o};
    use std::io::Read as _;
    use std::process::Command;

    fn bundle_with_fifo() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        assert!(Command::new("mkfifo").arg(dir.path().join("log")).status().unwrap().success());
        dir
    }

    #[test]
    fn a_line_reads_as_logrus_writes_it() {
        let dir = bundle_with_fifo();
        let log = to_bundle(dir.path(), false).new(o!("id" => "web"));
        info!(log, "said \"it\"\n"; "path" => "/a b");
        slog::debug!(log, "not at this level");
        let mut file = File::open(dir.path().join("log")).unwrap();
        let mut bytes = [0; 4096];
        let count = file.read(&mut bytes).unwrap();
        let line = std::str::from_utf8(&bytes[..count]).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        let rest = line.split_once("Z\" ").unwrap().1;
        let expected = "level=info msg=\"said \\\"it\\\"\\n\" runtime=io.containerd.lacre.v1 \
                        path=\"/a b\" id=web\n";
        assert_eq!(rest, expected);
    }

    #[test]
    fn a_full_fifo_does_not_block() {
        let dir = bundle_with_fifo();
        let log = to_bundle(dir.path(), false);
        for _ in 0..200 {
            info!(log, "{}", "x".repeat(5000));
        }
        let mut file = File::open(dir.path().join("log")).unwrap();
        let mut bytes = vec![0; 1 << 16];
        assert!(file.read(&mut bytes).unwrap() > 4000);
        info!(log, "again");
        let count = file.read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]);
        assert!(text.contains("lost_lines="), "{text}");
    }

    #[test]
    fn a_bundle_without_a_fifo_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        info!(to_bundle(dir.path(), true), "nobody reads this");
        assert!(!dir.path().join("log").exists());
    }
}
