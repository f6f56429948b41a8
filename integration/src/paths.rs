//! Where the harness finds what it did not build itself.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// What `integration/setup.sh` fetched: `LACRE_CACHE`, else `.cache` in the repository.
#[must_use]
pub fn cache() -> PathBuf {
    env::var_os("LACRE_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// A file or folder of the cache that must be there.
///
/// # Errors
/// When it is not: the set-up has not run.
pub fn cached(name: &str) -> Result<PathBuf> {
    let path = cache().join(name);
    if !path.exists() {
        bail!("{} is missing; run integration/setup.sh", path.display());
    }
    Ok(path)
}

/// The folder of the built lacre binaries: `LACRE_BIN_DIR`, else where cargo puts them,
/// which is where this very test stands.
#[must_use]
pub fn binaries() -> PathBuf {
    if let Some(folder) = env::var_os("LACRE_BIN_DIR") {
        return PathBuf::from(folder);
    }
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    target().join(profile)
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), |dir| repository().join(dir))
}

/// An inner shim that fails on command (`integration/inner-shims`).
///
/// # Errors
/// When it is not built.
pub fn failing_shim(name: &str) -> Result<PathBuf> {
    let path = target().join("inner-shims/debug").join(name);
    if !path.exists() {
        bail!("{} is missing; run integration/inner-shims.sh", path.display());
    }
    Ok(path)
}

/// `PATH` for a daemon unpacked at `root`: lacre's binaries, its own, then the tools'.
#[must_use]
pub fn search_path(root: &std::path::Path) -> String {
    let tools = cache().join("tools");
    let own = [
        binaries(),
        root.join("usr/bin"),
        root.join("usr/sbin"),
        tools.join("usr/sbin"),
        tools.join("usr/bin"),
        cache().join("filesystems/usr/bin"),
    ];
    let mut all: Vec<String> = own.iter().map(|p| p.display().to_string()).collect();
    all.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(String::from));
    all.join(":")
}
