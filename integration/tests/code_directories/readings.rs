//! What nothing says to be code: told once, and nobody is hit.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use lacre_integration::images::debian_image;
use lacre_integration::output::wait_for;

use crate::field::{BLOCKS, Field, SOON, bind};

const NOTHING: &str = "Actions: {}\n";

/// Told once in each of its states, however often and by whom it is read.
#[test]
fn a_file_that_is_read_is_told_once() -> Result<()> {
    let field = Field::new(debian_image()?)?;
    field.start("once", "all", NOTHING, &[])?;
    let python = "import os\nfor n in range(50): exec(open('/tmp/notes').read())";
    field.sh("once", "echo x=1 >/tmp/notes; echo other >/tmp/other; cat /tmp/other")?;
    assert_eq!(field.enter("once", &["python3", "-c", python])?.code, 0);
    field.sh("once", ". /tmp/notes")?;
    let record = field.await_told("once", "REPORT", "/tmp/notes")?;
    assert_eq!((&record["size"], &record["line"]), (&4.into(), &"- /tmp/notes\n".into()));
    assert_eq!((&record["action"], &record["outcome"]), (&"SKIP".into(), &"ran".into()));
    // In another state it is another file: one record all the same, and counted.
    field.sh("once", "echo y=2 >>/tmp/notes; . /tmp/notes")?;
    let counted = wait_for("the update", SOON, || {
        let all = field.daemon.records()?.into_iter();
        Ok(all.filter(|it| it["record"] == "update").find(|it| it["of"] == record["seq"]))
    })?;
    assert_eq!(counted["count"], 2, "{counted}");
    assert_eq!(field.told("once", "REPORT")?.len(), 1);
    field.is_innocent("once")?;
    field.daemon.remove("once")?;

    // Switched off, and more than told.
    field.start("off", "all", "Report: none\nActions: {}\n", &[])?;
    field.sh("off", "echo x=1 >/tmp/notes; . /tmp/notes; cat /tmp/notes")?;
    let strict = "Report: none\nActions: {REPORT: {ByPath: [{/tmp/good: SKIP}], Default: DENY}}\n";
    field.start("strict", "all", strict, &[])?;
    field.sh(
        "strict",
        "echo x=1 >/tmp/notes; cp /tmp/notes /tmp/good; . /tmp/good; cat /tmp/notes",
    )?;
    assert_ne!(field.enter("strict", &["sh", "-c", ". /tmp/notes"])?.code, 0);
    let record = field.await_told("strict", "REPORT", "/tmp/notes")?;
    assert_eq!((&record["action"], &record["outcome"]), (&"DENY".into(), &"denied".into()));
    assert_eq!(field.told("strict", "REPORT")?.len(), 1);
    // It is later than what the first would have written.
    assert!(field.told("off", "REPORT")?.is_empty());
    for id in ["off", "strict"] {
        field.daemon.remove(id)?;
    }
    field.daemon.forget_client_fifos()
}

/// Programs that have their data there work as ever, and an interpreter that reads thousands of
/// files leaves no more records than there is room for; what is a violation still has its own.
#[test]
fn who_reads_thousands_of_files_is_not_hit_and_fills_nothing() -> Result<()> {
    const FILES: usize = 6000;
    let field = Field::new(debian_image()?)?;
    let volume = field.daemon.node().folder().join("volume");
    for folder in ["data", "app"] {
        fs::create_dir_all(volume.join(folder))?;
    }
    for file in 0..FILES {
        fs::write(volume.join(format!("data/{file}")), format!("{file}\n"))?;
    }
    let mut table = String::new();
    for line in 0..100 {
        writeln!(table, "{line},{}", line * 2)?;
    }
    fs::write(volume.join("app/table"), table)?;
    let data = bind(&volume.join("data"), "/data");
    let app = bind(&volume.join("app"), "/srv/app");
    let policy = "CodeDirectories: {Default: [/srv/app]}\nActions: {}\n";
    for block in BLOCKS {
        let id = format!("reads-{block}");
        field.start(&id, block, policy, &["--mount", &data, "--mount", &app])?;
        for read in [
            "sort -n /srv/app/table | tail -n 1",
            "cp /srv/app/table /tmp/t; tail -n 1 /tmp/t",
            "awk 'END { print }' /srv/app/table",
            "cat /srv/app/table | python3 -c 'import sys; print(sys.stdin.read().split()[-1])'",
        ] {
            assert_eq!(field.sh(&id, read)?, "99,198\n", "{block}: {read}");
        }
        let sum = "import os\nprint(sum(int(open('/data/' + n).read()) for _ in range(3) \
                   for n in os.listdir('/data')))";
        let said = field.enter(&id, &["python3", "-c", sum])?;
        assert_eq!(said.stdout.trim(), (3 * FILES * (FILES - 1) / 2).to_string(), "{said:?}");
        field.is_innocent(&id)?;
        // Still a violation, and on record.
        field.enter(&id, &["sh", "-c", "cp /bin/true /tmp/foreign; /tmp/foreign"])?;
        field.await_told(&id, "ENTRY_NOT_FOUND", "/tmp/foreign")?;
        field.daemon.remove(&id)?;
        let told = field.told(&id, "REPORT")?.len();
        if block == "exec" {
            assert_eq!(told, 0);
            continue;
        }
        assert!((500..2500).contains(&told), "{told}");
        let lost = wait_for("the gap", SOON, || {
            let all = field.daemon.records()?;
            let of = all.iter().filter(|it| it["reason"] == "reports" && it["containerID"] == *id);
            let lost: u64 = of.filter_map(|it| it["lost"].as_u64()).sum();
            Ok((lost > 0).then_some(lost))
        });
        let lost = lost.with_context(|| format!("{told} told"))?;
        assert!(told as u64 + lost >= FILES as u64, "{told} told, {lost} not");
        let size = fs::metadata(field.daemon.record_file())?.len();
        assert!(size < 3 << 20, "{size} bytes");
    }
    field.daemon.forget_client_fifos()
}
