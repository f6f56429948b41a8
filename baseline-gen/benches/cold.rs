//! A cold baseline against `sha256sum` of the same files over all cores, in turns, in one
//! run. The page cache is warm for both: what differs is the work.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lacre_baseline::{NoProgress, Options, from_rootfs};

const RUNS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let root =
        std::env::var_os("LACRE_BENCH_TREE").map_or_else(|| "/usr/bin".into(), PathBuf::from);
    let temp = tempfile::tempdir()?;
    let options = Options::default();
    let baseline = from_rootfs(&root, &options, &NoProgress)?;

    // The code alone, in a tree of its own: plain data costs lacre a look, and sha256sum
    // would hash it.
    let tree = temp.path().join("tree");
    let mut list = Vec::new();
    let mut bytes = 0;
    for entry in baseline.files().flatten() {
        let relative = Path::new(OsStr::from_bytes(&entry.path[1..]));
        let copy = tree.join(relative);
        fs::create_dir_all(copy.parent().unwrap_or(&tree))?;
        fs::copy(root.join(relative), &copy)?;
        list.extend_from_slice(copy.as_os_str().as_bytes());
        list.push(0);
        bytes += entry.size;
    }
    let cores = std::thread::available_parallelism()?.get();
    let mut lacre = Vec::new();
    let mut coreutils = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let made = from_rootfs(&tree, &options, &NoProgress)?;
        lacre.push(started.elapsed());
        if made.len() != baseline.len() {
            return Err(format!("{} files, not {}", made.len(), baseline.len()).into());
        }
        let started = Instant::now();
        sha256sum(&list, cores)?;
        coreutils.push(started.elapsed());
    }
    let (lacre, coreutils) = (median(lacre), median(coreutils));
    writeln!(
        std::io::stdout(),
        "{} files, {} MiB, {cores} cores, median of {RUNS}: baseline {lacre:.0?}, sha256sum \
         {coreutils:.0?}, ratio {:.2}",
        baseline.len(),
        bytes >> 20,
        lacre.as_secs_f64() / coreutils.as_secs_f64()
    )?;
    Ok(())
}

fn sha256sum(list: &[u8], cores: usize) -> Result<(), Box<dyn Error>> {
    let mut xargs = Command::new("xargs")
        .args(["-0", "-n", "256", "-P", &cores.to_string(), "sha256sum"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    xargs.stdin.take().ok_or("no pipe")?.write_all(list)?;
    if !xargs.wait()?.success() {
        return Err("sha256sum failed".into());
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
