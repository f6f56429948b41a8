//! The benchmark runs through, and its page has everything; the figures mean nothing here.

use std::process::Command;
use std::time::Duration;

use lacre_integration::Output;

/// Half a minute of work, on a machine that may have others to serve too.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn a_quick_run_writes_the_whole_page() -> anyhow::Result<()> {
    let page = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lacre-bench"));
    Output::within(LIMIT, command.arg("--quick").arg(page.path()))?.ok()?;
    let text = std::fs::read_to_string(page.path())?;
    let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(
        sections,
        [
            "Budgets",
            "The machine",
            "Container start",
            "Programs",
            "Opens of data files",
            "An exec-heavy build",
            "A server",
            "Many files",
            "From measurement to PAUSE",
            "Baselines",
            "Memory",
            "Beside idle containers",
            "A call of the Task API",
        ],
        "{text}"
    );
    assert!(!text.contains("Not measured"), "{text}");
    // The workloads are the image's own: a violation is a false alarm.
    assert!(text.contains("where none is right: 0."), "{text}");
    for word in ["MiB", "× runc", "proportional", "seen to paused", "× sha256sum"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    Ok(())
}
