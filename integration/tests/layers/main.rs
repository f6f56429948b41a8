//! Layers of random tars: what lacre reads is what containerd unpacks, and what containerd
//! refuses is refused. A run says its seed; `LACRE_LAYERS_SEED=… LACRE_LAYERS_FROM=…
//! LACRE_LAYERS=1` makes one of its cases again, `LACRE_LAYERS_RECORD=FOLDER` keeps them.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(clippy::print_stdout, reason = "a run says its seed and its figures")]

mod cases;
mod containerd;
mod header;
mod members;
mod packing;
mod random;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use containerd::{Told, Unpacker};
use lacre_baseline::unpacked::{differences, list, stack};
use lacre_baseline::{Baseline, NoProgress, Options, from_lower, from_rootfs};
use lacre_integration::{Containerd, Version};
use lacre_types::Digest;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use packing::Blob;

/// More are of the same kind.
const SHOWN: usize = 12;

#[derive(Default)]
struct Counts {
    cases: u64,
    unpacked: u64,
    refused: u64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// As many cases as there is time, or as `LACRE_LAYERS` says.
fn compare(version: Version) -> Result<()> {
    let daemon = Containerd::builder(version)
        .log_level("error")
        .in_memory()
        .env("CONTAINERD_DISABLE_PIGZ", "1")
        .env("CONTAINERD_DISABLE_IGZIP", "1")
        .start()?;
    let seed = number("LACRE_LAYERS_SEED", 1);
    let from = number("LACRE_LAYERS_FROM", 0);
    let cases = number("LACRE_LAYERS", u64::MAX);
    let until = Instant::now() + Duration::from_secs(number("LACRE_LAYERS_SECONDS", 12));
    daemon.check(|daemon| {
        let mut unpacker = Unpacker::new(daemon)?;
        let mut counts = Counts::default();
        let mut found = Vec::new();
        for case in (from..).take_while(|case| case - from < cases) {
            if (cases == u64::MAX && Instant::now() > until) || found.len() == SHOWN {
                break;
            }
            counts.cases += 1;
            let blobs = cases::case(seed, case);
            let record = std::env::var_os("LACRE_LAYERS_RECORD")
                .map(|folder| PathBuf::from(folder).join(case.to_string()));
            if let Some(difference) = one(&mut unpacker, &blobs, record.as_deref(), &mut counts)? {
                found.push(format!("case {case}: {difference}"));
            }
        }
        let Counts { cases, unpacked, refused } = counts;
        println!(
            "figure: containerd {version:?}, seed {seed}: {cases} cases, {unpacked} layers \
             unpacked, {refused} refused, {} differences",
            found.len()
        );
        assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
        Ok(())
    })
}

/// Unpacks a case's layers, one upon the other, and tells where lacre reads another.
/// What containerd told goes into the folder `record`, for `replay`.
fn one(
    unpacker: &mut Unpacker,
    blobs: &[Blob],
    record: Option<&Path>,
    counts: &mut Counts,
) -> Result<Option<String>> {
    let folder = unpacker.folder().join("case");
    fs::create_dir(&folder)?;
    let mut beneath: Vec<PathBuf> = Vec::new();
    let mut read: Vec<(&[u8], &str, Digest)> = Vec::new();
    let mut difference = None;
    for (at, blob) in blobs.iter().enumerate() {
        let to = folder.join(at.to_string());
        let told = unpacker.unpack(blob, &to, &beneath)?;
        if let Some(record) = record {
            fs::create_dir_all(record)?;
            fs::write(record.join(format!("{at}.blob")), &blob.bytes)?;
            let (answer, lines) = match &told {
                Told::Refused(_) => ("refused", &[][..]),
                Told::Unpacked(digest, lines) => (digest.as_str(), &lines[..]),
            };
            let text = format!("{}\n{answer}\n{}", blob.media_type, lines.join("\n"));
            fs::write(record.join(format!("{at}.told")), text)?;
        }
        let ours = list(&blob.bytes, &blob.media_type, at);
        if let Ok((diff_id, _)) = &ours {
            read.push((&blob.bytes, &blob.media_type, *diff_id));
        }
        let ours = ours.and_then(|(diff_id, listed)| Ok((diff_id, listed, stack(&read)?)));
        let wrong = match (&told, &ours) {
            (Told::Refused(_), Err(_)) => None,
            (Told::Refused(why), Ok(_)) => Some(format!("refused by containerd: {why}")),
            (Told::Unpacked(..), Err(error)) => Some(format!("refused by lacre: {}", text(error))),
            (Told::Unpacked(digest, lines), Ok((diff_id, listed, baseline))) => {
                beneath.insert(0, to);
                let mut wrong = differences(listed, lines);
                if diff_id.to_string() != *digest {
                    wrong.push(format!("diff ID {diff_id}, containerd's {digest}"));
                }
                if wrong.is_empty() {
                    wrong = seen(&folder, &beneath, baseline)?;
                }
                (!wrong.is_empty()).then(|| wrong.join("\n  "))
            }
        };
        if let Some(wrong) = wrong {
            difference = Some(format!("layer {at} ({}): {wrong}", blob.media_type));
            break;
        }
        if matches!(told, Told::Refused(_)) {
            counts.refused += 1;
            break;
        }
        counts.unpacked += 1;
    }
    fs::remove_dir_all(&folder)?;
    Ok(difference)
}

/// Where the baseline of the layers is another than that of their directories, or of what
/// overlayfs makes of them.
fn seen(folder: &Path, dirs: &[PathBuf], ours: &Baseline) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let options = Options::default();
    let mut compare = |what: &str, theirs: &Baseline| {
        if theirs.digest() != ours.digest() {
            wrong.push(format!("{what}: {} files, not {}", theirs.len(), ours.len()));
            wrong.extend(lacre_baseline::compare(ours, theirs).iter().map(|d| format!("{d:?}")));
        }
    };
    compare("the directories", &from_lower(dirs, &options, &NoProgress)?);
    if dirs.len() > 1 {
        let at = folder.join("merged");
        fs::create_dir_all(&at)?;
        let lower: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        let lower = format!("lowerdir={}", lower.join(":"));
        mount(Some("overlay"), &at, Some("overlay"), MsFlags::MS_RDONLY, Some(&*lower))?;
        let merged = from_rootfs(&at, &options, &NoProgress);
        umount2(&at, MntFlags::MNT_DETACH)?;
        compare("the overlay", &merged?);
    }
    Ok(wrong)
}

fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error;
    while let Some(source) = cause.source() {
        write!(text, ": {source}").unwrap();
        cause = source;
    }
    text
}

#[test]
fn as_containerd_1_6() -> Result<()> {
    compare(Version::V1_6)
}

#[test]
fn as_containerd_1_7() -> Result<()> {
    compare(Version::V1_7)
}

#[test]
fn as_containerd_2_1() -> Result<()> {
    compare(Version::V2_1)
}
