//! Baselines: made cold against `sha256sum` of the same files, and found in the cache.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use lacre_baseline::{Baseline, NoProgress, Options, open_or_build};

use super::budgets::{Key, Verdict};
use super::lab::{Base, Lab};
use super::page::{Section, Unit};
use super::plan::Plan;
use super::report::Report;
use super::stats::{Comparison, Series};
use super::variant::{RUNC, of_round};
use crate::output::Output;
use crate::paths::{binaries, cached};

pub(crate) fn measure(lab: &mut Lab, plan: &Plan) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let mut section = Section::new(
        "Baselines",
        "`lacre baseline generate --rootfs` against `xargs -P` (one for each core) \
         `sha256sum` of exactly the files that the baseline then has: lacre has to find \
         them besides, and to look into the files that it leaves out. The page cache is warm.",
    );
    let mut verdicts = Vec::new();
    for (name, trees) in [
        ("a Debian-like root", &["debian/base", "debian/perl", "debian/python"][..]),
        ("a few large programs", &["daemons/2.1", "tools"]),
    ] {
        let root = folder.path().join(trees[0].replace('/', "-"));
        fs::create_dir(&root)?;
        for tree in trees {
            let from = cached(tree)?.join(".");
            Output::of(Command::new("cp").arg("-a").arg(from).arg(&root))?.ok()?;
        }
        let (files, bytes, rows) = cold(&root, plan)?;
        let title = format!("{name}: {files} files, {} MB", bytes / 1_000_000);
        section.comparison(&title, Unit::Nanoseconds, &rows);
        if let Some(ratio) = rows.ratio(LACRE) {
            verdicts.push(Verdict::new(Key::BaselineCold, name, ratio.median()));
        }
    }
    let cached = from_cache(lab, plan, folder.path())?;
    section.paragraph(
        "Cached: the baseline and the index of inodes of the image that the sections above \
         measure, as a shim has them at Create.",
    );
    verdicts.push(Verdict::new(Key::BaselineCached, "the image of the tests", cached.median()));
    section.series("cached", Unit::Nanoseconds, &[("open".to_owned(), cached)]);
    Ok(Report { sections: vec![section], verdicts })
}

const SHA256SUM: &str = "sha256sum";
const LACRE: &str = "lacre";

fn cold(root: &Path, plan: &Plan) -> Result<(usize, u64, Comparison)> {
    let out = root.with_extension("baseline");
    let generate = || -> Result<f64> {
        let begun = Instant::now();
        let mut command = Command::new(binaries().join("lacre"));
        command.args(["baseline", "generate", "--rootfs"]).arg(root).arg("-o").arg(&out);
        Output::of(&mut command)?.ok().context("lacre baseline generate")?;
        Ok(begun.elapsed().as_nanos() as f64)
    };
    generate()?;
    let baseline = Baseline::open(&out)?;
    let (mut list, mut bytes) = (Vec::new(), 0);
    for entry in baseline.files().flatten() {
        list.extend_from_slice(root.as_os_str().as_bytes());
        list.extend_from_slice(entry.path);
        list.push(0);
        bytes += entry.size;
    }
    let names = root.with_extension("list");
    fs::File::create(&names)?.write_all(&list)?;
    let cores = std::thread::available_parallelism()?.to_string();
    let sums = || -> Result<f64> {
        let begun = Instant::now();
        let mut command = Command::new("xargs");
        command.arg("-a").arg(&names).args(["-0", "-P", &cores, "-n", "16", "sha256sum", "-b"]);
        Output::of(&mut command)?.ok().context("sha256sum")?;
        Ok(begun.elapsed().as_nanos() as f64)
    };
    sums()?;
    let mut rows = Comparison::default();
    for round in 0..plan.rounds(8) {
        plan.progress("baseline", round + 1, plan.rounds(8));
        for name in of_round(&[SHA256SUM, LACRE], round) {
            rows.push(name, if *name == LACRE { generate()? } else { sums()? });
        }
    }
    let rows = rows.ordered([SHA256SUM, LACRE].into_iter());
    Ok((baseline.files().len(), bytes, rows))
}

fn from_cache(lab: &mut Lab, plan: &Plan, folder: &Path) -> Result<Series> {
    let made = lab.make(RUNC, Base::Debian, &["none"], None)?;
    let lower: Vec<PathBuf> = made.lower();
    lab.unmake(&made)?;
    let state = folder.join("state");
    let open = || open_or_build(&lower, &state, &Options::default(), &NoProgress);
    open()?;
    (0..plan.rounds(100))
        .map(|_| {
            let begun = Instant::now();
            open()?;
            Ok(begun.elapsed().as_nanos() as f64)
        })
        .collect()
}
