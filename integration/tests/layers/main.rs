//! Layers of random tars: what lacre reads is what containerd unpacks, and what containerd
//! refuses is refused. A run says its seeds; `LACRE_LAYERS_SEED=… LACRE_LAYERS_FROM=…
//! LACRE_LAYERS=1` makes one of their cases again, `LACRE_LAYERS_RECORD=FOLDER` keeps them.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(clippy::print_stdout, reason = "a run says its seed and its figures")]

mod capability;
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
use lacre_baseline::unpacked::{Listed, Unpacked, diff_id, differences, list, pile, stack};
use lacre_baseline::{Baseline, NoProgress, Options, from_lower, from_rootfs};
use lacre_integration::{Containerd, Version};
use lacre_types::Digest;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use packing::Blob;

/// More are of the same kind.
const SHOWN: usize = 12;

/// Cases of each seed, however slow the machine is: some 2.5 s of one that has much else to do.
const AT_LEAST: u64 = 50;

#[derive(Default)]
struct Counts {
    cases: u64,
    unpacked: u64,
    /// Over what the layers beneath left.
    piled: u64,
    refused: u64,
}

/// Those of each run that names none: what one seed draws often, another draws seldom.
const SEEDS: [u64; 3] = [1, 2, 3];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// As many cases as there is time, of each seed as long, or as `LACRE_LAYERS` says.
fn compare(version: Version) -> Result<()> {
    let daemon = Containerd::builder(version)
        .log_level("error")
        .in_memory()
        .env("CONTAINERD_DISABLE_PIGZ", "1")
        .env("CONTAINERD_DISABLE_IGZIP", "1")
        .start()?;
    let seeds = variable("LACRE_LAYERS_SEED").map_or(SEEDS.to_vec(), |seed| vec![seed]);
    let time = Duration::from_secs(variable("LACRE_LAYERS_SECONDS").unwrap_or(12));
    let each = time / u32::try_from(seeds.len())?;
    daemon.check(|daemon| {
        let mut unpacker = Unpacker::new(daemon)?;
        let mut found = Vec::new();
        for seed in seeds {
            let differences = cases_of(seed, each, &mut unpacker, version)?;
            found.extend(differences.into_iter().map(|it| format!("seed {seed}, {it}")));
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    })
}

/// The differences in the cases of one seed.
fn cases_of(
    seed: u64,
    time: Duration,
    unpacker: &mut Unpacker,
    version: Version,
) -> Result<Vec<String>> {
    let from = variable("LACRE_LAYERS_FROM").unwrap_or(0);
    let cases = variable("LACRE_LAYERS");
    let until = Instant::now() + time;
    let mut counts = Counts::default();
    let mut found = Vec::new();
    for case in (from..).take_while(|case| cases.is_none_or(|cases| case - from < cases)) {
        // The first ones are tried on whatever machine.
        let first = counts.cases < AT_LEAST;
        if (cases.is_none() && !first && Instant::now() > until) || found.len() == SHOWN {
            break;
        }
        counts.cases += 1;
        let blobs = cases::case(seed, case);
        let record = std::env::var_os("LACRE_LAYERS_RECORD")
            .map(|folder| PathBuf::from(folder).join(format!("{seed}-{case}")));
        if let Some(difference) = one(unpacker, &blobs, record.as_deref(), &mut counts)? {
            found.push(format!("case {case}: {difference}"));
        }
    }
    let Counts { cases, unpacked, piled, refused } = counts;
    println!(
        "figure: containerd {version:?}, seed {seed}: {cases} cases, {unpacked} layers unpacked \
         for overlayfs, {piled} over those beneath, {refused} refused, {} differences",
        found.len()
    );
    Ok(found)
}

/// Unpacks a case's layers, one upon the other and one over the other, and tells where lacre
/// reads another.
fn one(
    unpacker: &mut Unpacker,
    blobs: &[Blob],
    record: Option<&Path>,
    counts: &mut Counts,
) -> Result<Option<String>> {
    let folder = unpacker.folder().join("case");
    fs::create_dir(&folder)?;
    let mut difference = stacked(unpacker, &folder, blobs, record, counts)?;
    // The lowest layer is unpacked alike for both.
    if difference.is_none() && blobs.len() > 1 {
        difference = piled(unpacker, &folder.join("pile"), blobs, counts)?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(difference)
}

/// Each layer in a directory of its own, as for overlayfs. What containerd told goes into the
/// folder `record`, for `replay`.
fn stacked(
    unpacker: &mut Unpacker,
    folder: &Path,
    blobs: &[Blob],
    record: Option<&Path>,
    counts: &mut Counts,
) -> Result<Option<String>> {
    let mut beneath: Vec<PathBuf> = Vec::new();
    let mut read: Vec<Unpacked<'_>> = Vec::new();
    for (at, blob) in blobs.iter().enumerate() {
        let to = folder.join(at.to_string());
        fs::create_dir(&to)?;
        let told = unpacker.unpack(blob, &to, &beneath)?;
        if let Some(record) = record {
            write_down(record, at, blob, &told)?;
        }
        let ours = read_as(&mut read, blob, |read| {
            let layer = read.last().unwrap();
            Ok((list(layer, at)?, stack(read)?))
        });
        if matches!(told, Told::Unpacked(..)) {
            beneath.insert(0, to);
        }
        let wrong = compared(&told, ours, |baseline| seen(folder, &beneath, baseline))?;
        match (wrong, &told) {
            (Some(wrong), _) => {
                return Ok(Some(format!("layer {at} ({}): {wrong}", blob.media_type)));
            }
            (None, Told::Refused(_)) => {
                counts.refused += 1;
                break;
            }
            (None, Told::Unpacked(..)) => counts.unpacked += 1,
        }
    }
    Ok(None)
}

/// All in one directory, as for the native snapshotter.
fn piled(
    unpacker: &mut Unpacker,
    to: &Path,
    blobs: &[Blob],
    counts: &mut Counts,
) -> Result<Option<String>> {
    fs::create_dir(to)?;
    let mut read: Vec<Unpacked<'_>> = Vec::new();
    for (at, blob) in blobs.iter().enumerate() {
        let told = unpacker.unpack_over(blob, to)?;
        let ours = read_as(&mut read, blob, pile);
        let wrong = compared(&told, ours, |baseline| {
            let root = from_rootfs(to, &Options::default(), &NoProgress)?;
            Ok(differs("the root", &root, baseline))
        })?;
        if let Some(wrong) = wrong {
            return Ok(Some(format!("layer {at} over all ({}): {wrong}", blob.media_type)));
        }
        if matches!(told, Told::Refused(_)) {
            counts.refused += 1;
            break;
        }
        counts.piled += 1;
    }
    Ok(None)
}

/// What lacre reads a layer as, upon those that it has read: its diff ID, and what `read` makes
/// of all of them.
fn read_as<'b, T>(
    layers: &mut Vec<Unpacked<'b>>,
    blob: &'b Blob,
    read: impl FnOnce(&[Unpacked<'b>]) -> Result<T, lacre_baseline::Error>,
) -> Result<(Digest, T), lacre_baseline::Error> {
    let diff_id = diff_id(&blob.bytes, &blob.media_type)?;
    layers.push((&blob.bytes, &blob.media_type, diff_id));
    Ok((diff_id, read(layers)?))
}

/// Where lacre reads another than what containerd told; `seen` is what else can be compared of
/// the baseline, once what each path is was.
fn compared(
    told: &Told,
    ours: Result<(Digest, (Vec<Listed>, Baseline)), lacre_baseline::Error>,
    seen: impl FnOnce(&Baseline) -> Result<Vec<String>>,
) -> Result<Option<String>> {
    Ok(match (told, &ours) {
        (Told::Refused(_), Err(_)) => None,
        (Told::Refused(why), Ok(_)) => Some(format!("refused by containerd: {why}")),
        (Told::Unpacked(..), Err(error)) => Some(format!("refused by lacre: {}", text(error))),
        (Told::Unpacked(digest, lines), Ok((diff_id, (listed, baseline)))) => {
            let mut wrong = differences(listed, lines);
            if diff_id.to_string() != *digest {
                wrong.push(format!("diff ID {diff_id}, containerd's {digest}"));
            }
            if wrong.is_empty() {
                wrong = seen(baseline)?;
            }
            (!wrong.is_empty()).then(|| wrong.join("\n  "))
        }
    })
}

fn write_down(record: &Path, at: usize, blob: &Blob, told: &Told) -> Result<()> {
    fs::create_dir_all(record)?;
    fs::write(record.join(format!("{at}.blob")), &blob.bytes)?;
    let (answer, lines) = match told {
        Told::Refused(_) => ("refused", &[][..]),
        Told::Unpacked(digest, lines) => (digest.as_str(), &lines[..]),
    };
    let text = format!("{}\n{answer}\n{}", blob.media_type, lines.join("\n"));
    Ok(fs::write(record.join(format!("{at}.told")), text)?)
}

/// Where the baseline of the layers is another than that of their directories, or of what
/// overlayfs makes of them.
fn seen(folder: &Path, dirs: &[PathBuf], ours: &Baseline) -> Result<Vec<String>> {
    let options = Options::default();
    let mut wrong = differs("the directories", &from_lower(dirs, &options, &NoProgress)?, ours);
    if dirs.len() > 1 {
        let at = folder.join("merged");
        fs::create_dir_all(&at)?;
        let lower: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        let lower = format!("lowerdir={}", lower.join(":"));
        mount(Some("overlay"), &at, Some("overlay"), MsFlags::MS_RDONLY, Some(&*lower))?;
        let merged = from_rootfs(&at, &options, &NoProgress);
        umount2(&at, MntFlags::MNT_DETACH)?;
        wrong.extend(differs("the overlay", &merged?, ours));
    }
    Ok(wrong)
}

fn differs(what: &str, theirs: &Baseline, ours: &Baseline) -> Vec<String> {
    let mut wrong = Vec::new();
    if theirs.digest() != ours.digest() {
        wrong.push(format!("{what}: {} files, not {}", theirs.len(), ours.len()));
        wrong.extend(lacre_baseline::compare(ours, theirs).iter().map(|d| format!("{d:?}")));
    }
    wrong
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
