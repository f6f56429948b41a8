//! What a container that floods, and a disk that stands still, cost the others: nothing.
//!
//! `LACRE_FLOOD` says in seconds how long one floods (8), `LACRE_STALL` how long the disk
//! stands still (5).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::image::{Image, Layer};
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::{Containerd, Runtime, Version};

/// All that a node keeps of records, whatever its containers do.
const BOUND: u64 = 64 << 20;
/// What the 99th percentile of an exec may grow by, in microseconds, on a machine that does
/// nothing else (`make soak PART=stalled_disk`); and beside other tests, which is still far from
/// what a disk that stands still for seconds would add.
const GROWTH: (i64, i64) = (1000, 100_000);
/// For what was seen to be on record.
const SOON: Duration = Duration::from_secs(60);

fn seconds(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Field {
    daemon: Containerd,
    image: Image,
}

impl Field {
    fn new(lacre: &str, records: Option<&Path>) -> Result<Self> {
        let daemon = Containerd::builder(Version::V2_1).lacre(lacre).start()?;
        if let Some(records) = records {
            let config = daemon.node().folder().join("lacre/config.yaml");
            let text = fs::read_to_string(&config)?;
            let own = text.lines().filter(|line| !line.starts_with("records:"));
            let own: Vec<_> = own.collect();
            fs::write(config, format!("records: {}\n{}\n", records.display(), own.join("\n")))?;
        }
        let folder = daemon.node().folder().to_owned();
        let mut layer = Layer::new();
        for name in ["flood", "latency"] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/record_disk")
                .join(name)
                .with_extension("c");
            let mut command = Command::new("cc");
            command.args(["-O1", "-static", "-o"]).arg(folder.join(name)).arg(source);
            Output::of(&mut command)?.ok()?;
            layer = layer.copy(format!("bin/{name}"), 0o755, folder.join(name));
        }
        let image = busybox_image()?.layer(layer);
        daemon.import(&image)?;
        Ok(Self { daemon, image })
    }

    fn out(&self, id: &str) -> PathBuf {
        self.daemon.node().folder().join("out").join(id)
    }

    fn start(&self, id: &str, script: &str) -> Result<()> {
        let out = self.out(id);
        fs::create_dir_all(&out)?;
        let mount = format!("type=bind,src={},dst=/out,options=rbind:rw", out.display());
        let script = format!("cp /bin/busybox /tmp/busybox; {script}");
        let runs = ["sh", "-c", &script];
        self.daemon.spawn_with(Runtime::Lacre, &["--mount", &mount], &self.image, id, &runs)
    }

    /// What it printed into that file, once it has ended.
    fn printed(&self, id: &str, name: &str, within: Duration) -> Result<String> {
        wait_for(format!("{id}'s {name}"), within, || {
            let text = fs::read_to_string(self.out(id).join(name)).unwrap_or_default();
            Ok(text.ends_with('\n').then_some(text))
        })
    }
}

/// Of each container: uses that are on record, uses that are told to be lost.
fn accounts(records: &Path) -> Result<BTreeMap<String, (u64, u64)>> {
    let mut counts: BTreeMap<(String, u64), u64> = BTreeMap::new();
    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    let number = |line: &serde_json::Value, key: &str| line[key].as_u64();
    // The oldest first: a newer update stands for more.
    for aside in ["5", "4", "3", "2", "1", ""] {
        let file = match aside {
            "" => records.to_owned(),
            aside => records.with_extension(format!("jsonl.{aside}")),
        };
        let text = fs::read_to_string(&file).unwrap_or_default();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            let Some(id) = line["containerID"].as_str().map(str::to_owned) else { continue };
            match line["record"].as_str() {
                None => {
                    let key = (id, number(&line, "seq").context("a number")?);
                    counts.insert(key, number(&line, "count").unwrap_or(1));
                }
                Some("update") => {
                    let key = (id, number(&line, "of").context("whose it is")?);
                    counts.insert(key, number(&line, "count").context("a count")?);
                }
                Some("gap") => *lost.entry(id).or_default() += number(&line, "lost").unwrap_or(0),
                Some(_) => {}
            }
        }
    }
    let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for ((id, _), count) in counts {
        all.entry(id).or_default().0 += count;
    }
    for (id, count) in lost {
        all.entry(id).or_default().1 += count;
    }
    Ok(all)
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            meta => meta.map_or(0, |meta| meta.len()),
        })
        .sum()
}

/// One container is refused as fast as a process can be; another tries ten times a second.
#[test]
fn a_flood_is_counted_stays_small_and_takes_nothing_from_others() -> Result<()> {
    let field = Field::new("mode: enforce\n", None)?;
    let flood = seconds("LACRE_FLOOD", 8);
    let until = Duration::from_secs(flood) + SOON;
    field.start("flood", &format!("flood {flood} >/out/count; sleep 100000"))?;
    let tries = "n=0; while [ ! -e /out/enough ]; do /tmp/busybox touch /out/ran; n=$((n+1)); \
                 usleep 100000; done; echo $n >/out/count; sleep 100000";
    field.start("other", tries)?;
    let flooded: u64 = field.printed("flood", "count", until)?.trim().parse()?;
    fs::write(field.out("other").join("enough"), "")?;
    let tried: u64 = field.printed("other", "count", SOON)?.trim().parse()?;
    for id in ["flood", "other"] {
        ensure!(!field.out(id).join("ran").exists(), "{id}: what is foreign has run");
    }
    let records = field.daemon.record_file();
    let counted = wait_for("every use on record", SOON, || {
        let all = accounts(&records)?;
        let of = |id: &str| all.get(id).copied().unwrap_or_default();
        let whole = |(counted, lost): (u64, u64), seen| counted + lost == seen;
        let all = whole(of("flood"), flooded) && whole(of("other"), tried);
        Ok(all.then(|| (of("flood"), of("other"))))
    });
    let (of_flood, of_other) = counted.with_context(|| {
        format!("{flooded} and {tried} tries: {:?}", accounts(&records).unwrap_or_default())
    })?;
    let size = size_of(&field.daemon.node().folder().join("lacre"));
    println!(
        "figure: {flooded} refused in {flood} s, {} a second: {} on record, {} told lost; the \
         other: {tried} tries, {} on record; {} KiB on disk",
        flooded / flood,
        of_flood.0,
        of_flood.1,
        of_other.0,
        size >> 10
    );
    ensure!(of_flood.1 == 0, "the uses are equal, and none need be lost: {of_flood:?}");
    ensure!(of_other == (tried, 0), "another lost records: {of_other:?} of {tried}");
    ensure!(size < BOUND, "{size} bytes are kept");
    Ok(())
}

/// A file system of its own, which can stand still.
struct Disk {
    folder: tempfile::TempDir,
    thaw: Option<Child>,
}

impl Disk {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("image");
        fs::File::create(&image)?.set_len(64 << 20)?;
        Output::of(Command::new("mkfs.ext4").arg("-q").arg(&image))?.ok()?;
        let disk = Self { folder, thaw: None };
        fs::create_dir(disk.path())?;
        Output::of(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()))?
            .ok()?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// It stands still from when this returns, until another process thaws it: a writer of a
    /// frozen file system can't even be killed.
    fn freeze(&mut self, seconds: u64) -> Result<()> {
        let script = format!(
            "fsfreeze -f \"$0\" && touch \"$1\"; sleep {seconds}; fsfreeze -u \"$0\"; rm -f \"$1\""
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(self.path()).arg(self.mark());
        self.thaw = Some(command.spawn()?);
        wait_for("the disk standing still", SOON, || Ok(self.is_frozen().then_some(())))
    }

    fn mark(&self) -> PathBuf {
        self.folder.path().join("frozen")
    }

    fn is_frozen(&self) -> bool {
        self.mark().exists()
    }

    fn await_thaw(&mut self) {
        if let Some(mut thaw) = self.thaw.take() {
            let _ = thaw.wait();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.await_thaw();
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// The 99th percentile, in microseconds, and the tries of what is foreign.
fn latency(text: &str) -> Result<(i64, u64)> {
    let (p99, tries) = text.trim().split_once(' ').context("two numbers")?;
    Ok((p99.parse()?, tries.parse()?))
}

/// While the disk of the records stands still, programs start as fast as before, containerd has
/// its answers, and afterwards what was tried is on record, or told to be lost.
#[test]
fn a_disk_that_stands_still_keeps_nobody_waiting() -> Result<()> {
    let mut disk = Disk::new()?;
    let records = disk.path().join("violations.jsonl");
    let stall = seconds("LACRE_STALL", 5);
    let field = Field::new("mode: enforce\n", Some(&records))?;
    let within = Duration::from_secs(stall) + SOON;
    let measure = format!("latency {} >/out/new; mv /out/new /out", stall.saturating_sub(1).max(1));
    let script = format!(
        "{measure}/before; while [ ! -e /out/go ]; do usleep 10000; done; {measure}/during; \
         while [ -e /out/go ]; do usleep 10000; done; {measure}/after; sleep 100000"
    );
    field.start("steady", &script)?;
    let before = latency(&field.printed("steady", "before", within)?)?;
    disk.freeze(stall)?;
    fs::write(field.out("steady").join("go"), "")?;
    // The Task API, of a container that is there and of one that comes.
    field.daemon.exec("steady", &["true"])?.ok()?;
    field.daemon.spawn(Runtime::Lacre, &field.image, "comes", &["sleep", "1000"])?;
    field.daemon.exec("comes", &["true"])?.ok()?;
    field.daemon.remove("comes")?;
    let answered = disk.is_frozen();
    let during = latency(&field.printed("steady", "during", within)?)?;
    disk.await_thaw();
    fs::remove_file(field.out("steady").join("go"))?;
    let after = latency(&field.printed("steady", "after", within)?)?;
    ensure!(answered, "containerd had its answers only when the disk went on");
    let tries = before.1 + during.1 + after.1;
    let account = wait_for("what was tried being accounted for", SOON, || {
        let of = accounts(&records)?.get("steady").copied().unwrap_or_default();
        Ok((of.0 + of.1 == tries).then_some(of))
    });
    let (counted, lost) =
        account.with_context(|| format!("{tries} tries: {:?}", accounts(&records)))?;
    println!(
        "figure: disk still for {stall} s: exec's 99th percentile {} µs before, {} µs meanwhile, \
         {} µs after; {tries} tries, {counted} on record, {lost} told lost",
        before.0, during.0, after.0
    );
    // What else runs on the machine, before and after, is not the disk's doing.
    let grown = during.0 - before.0.max(after.0);
    let alone = std::env::var_os("LACRE_STALL").is_some();
    ensure!(
        grown < if alone { GROWTH.0 } else { GROWTH.1 },
        "an exec takes longer: {before:?}, {during:?}, {after:?}"
    );
    field.daemon.remove("steady")
}
