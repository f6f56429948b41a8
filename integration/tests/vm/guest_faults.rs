//! A guest that cannot be had says why, and what to do.

use std::env;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use lacre_integration::Output;
use lacre_integration::vm::{Guest, Kernel, Maker, rootfs};

/// Longer than Debian's kernel takes to its first process.
const LONG: Duration = Duration::from_secs(120);
/// Shorter than any boot.
const SHORT: Duration = Duration::from_millis(100);

fn why(booted: Result<Guest>) -> String {
    booted
        .map(|guest| guest.console())
        .map_or_else(|error| format!("{error:#}"), |console| format!("it booted: {console}"))
}

#[test]
fn a_panic_is_told_as_one() {
    let said = why(Guest::boot_with(Kernel::StockIma, "rdinit=/none init=/none", LONG));
    for words in [
        "stock 6.12 with IMA",
        "has panicked: Kernel panic - not syncing: VFS: Unable to mount root",
        "guest's console:",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
}

/// One that can be rebooted comes back after a panic, and says hello where an answer is due.
#[test]
#[ignore = "make test-vm"]
fn a_panic_of_one_that_reboots_is_told_as_one() -> Result<()> {
    let mut guest = Guest::boot_made_by(Kernel::StockIma, &Maker::new()?)?;
    let said = guest.run("echo c >/proc/sysrq-trigger").map_err(|error| format!("{error:#}"));
    let said = said.err().unwrap_or_default();
    assert!(said.contains("has panicked: Kernel panic - not syncing: sysrq"), "{said}");
    Ok(())
}

#[test]
fn a_guest_that_hangs_is_ended() {
    let said = why(Guest::boot_with(Kernel::StockIma, "", SHORT));
    for words in ["the guest hangs: no answer in 100ms", "guest's console:"] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
}

/// Runs one of this file's own tests where something is missing.
fn without(test: &str, change: impl FnOnce(&mut Command)) -> Result<String> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--include-ignored", "--exact", test]);
    change(&mut command);
    let output = Output::of(&mut command)?;
    assert_ne!(output.code, 0, "{output:?}");
    Ok(output.stdout + &output.stderr)
}

#[test]
fn a_missing_kernel_is_named() -> Result<()> {
    let said = without("patched::clean", |command| {
        command.env("LACRE_KERNEL", "/none");
    })?;
    assert!(said.contains("/none is missing; run `make kernel"), "{said}");
    Ok(())
}

#[test]
fn a_missing_program_is_named() -> Result<()> {
    // Which takes more programs than these, the first time.
    rootfs::prepare()?;
    let tidying = ["cat", "grep", "rm"];
    let all = ["sh", "ldd", "strip", "clang", "mkfs.ext4", "swtpm", "qemu-system-x86_64"];
    for missing in ["swtpm", "qemu-system-x86_64"] {
        let folder = tempfile::tempdir()?;
        for name in all.iter().filter(|name| **name != missing).chain(&tidying) {
            let path = Output::of(Command::new("sh").args(["-c", &format!("command -v {name}")]))?;
            symlink(path.ok()?.trim(), folder.path().join(name))?;
        }
        let said = without("stock_ima::pcr_10_is_the_replay", |command| {
            command.env("PATH", folder.path());
        })?;
        let wanted = format!("starting {missing}, which integration/vm/prepare.sh installs");
        assert!(said.contains(&wanted), "{wanted:?} in {said}");
    }
    Ok(())
}
