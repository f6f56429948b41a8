//! Images of disks, and the one with the programs under test.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::output::Output;
use crate::paths::binaries;

/// What a guest has of lacre, and the agent.
pub(crate) const PROGRAMS: [&str; 5] =
    ["containerd-shim-lacre-v1", "lacre", "lacre-attestd", "lacre-policyd", "lacre-vm-agent"];

/// Beside the files' own size: what ext4 takes for itself.
const SPARE: u64 = 32 << 20;

/// Makes an ext4 of at least `size` bytes (sparse) with what is in `tree`. It has no journal:
/// no guest writes to it for longer than it lives.
pub(crate) fn make(tree: &Path, image: &Path, size: u64) -> Result<()> {
    fs::File::create(image)?.set_len(size)?;
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"]);
    Output::of(command.arg(tree).arg(image))?.ok().context("making a disk for the guest")?;
    Ok(())
}

/// The programs as they are now, without their debug sections: the kernel hashes what it
/// executes, slowly.
pub(crate) fn of_programs(folder: &Path) -> Result<()> {
    let tree = folder.join("lacre");
    fs::create_dir_all(tree.join("bin"))?;
    for name in PROGRAMS {
        let (from, to) = (binaries().join(name), tree.join("bin").join(name));
        Output::of(Command::new("strip").arg("-o").arg(&to).arg(&from))?
            .ok()
            .with_context(|| format!("copying {}; `make build` builds it", from.display()))?;
    }
    let source = folder.join("lsm.bpf.c");
    fs::write(&source, include_str!("../../vm/lsm.bpf.c"))?;
    let mut clang = Command::new("clang");
    clang.args(["-g", "-O2", "-target", "bpf", "-Wall", "-Werror", "-c"]).arg(&source);
    Output::of(clang.arg("-o").arg(tree.join("lsm.bpf.o")))?
        .ok()
        .context("building the guest's BPF program")?;
    let mut size = SPARE;
    for entry in fs::read_dir(tree.join("bin"))? {
        size += entry?.metadata()?.len();
    }
    make(&tree, &folder.join("lacre.ext4"), size)?;
    Ok(fs::remove_dir_all(tree)?)
}
