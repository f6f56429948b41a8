//! The programs and maps: loaded once per node, pinned, and used by every shim after.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lacre_types::Source;
use libbpf_rs::{ErrorKind, MapCore, MapHandle, ObjectBuilder};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::SourceError;

/// Built by build.rs.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/exec_trace.bpf.o"));

/// `BPF_FS_MAGIC` (linux/magic.h).
const BPF_FS: u64 = 0xcafe_4a11;
const BPF_FS_HOME: &str = "/sys/fs/bpf";
const MAPS: [&str; 7] = ["containers", "slots", "verdicts", "rings", "tags", "strays", "names"];

/// The pinned maps of one version of the programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) containers: MapHandle,
    pub(super) slots: MapHandle,
    pub(super) verdicts: MapHandle,
    pub(super) rings: MapHandle,
    pub(super) tags: MapHandle,
    pub(super) strays: MapHandle,
    pub(super) names: MapHandle,
    dir: PathBuf,
}

/// One shim at a time changes what is pinned.
#[derive(Debug)]
pub(super) struct Locked(#[expect(dead_code, reason = "closing it is the unlocking")] File);

pub(super) fn failed(doing: String, source: impl Into<io::Error>) -> SourceError {
    SourceError::Failed { source_name: Source::ExecTrace, doing, source: source.into() }
}

pub(super) fn bpf_failed(doing: String, why: libbpf_rs::Error) -> SourceError {
    failed(doing, io::Error::other(why))
}

fn unavailable(needs: String, source: Option<io::Error>) -> SourceError {
    SourceError::Unavailable { source_name: Source::ExecTrace, needs, source }
}

/// The folder of the programs within `folder`: the object's hash is the version of what
/// is shared, and programs with the fetch hook are others than those without.
fn version(fetch: bool) -> String {
    // FNV-1a: it tells builds apart, it protects nothing.
    let hash = OBJECT.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}{}", if fetch { "-fetch" } else { "" })
}

/// Makes the folder where things are pinned, mounting bpffs where it belongs and is not.
pub(super) fn prepare(folder: &Path) -> Result<(), SourceError> {
    let is_bpffs = |path: &Path| {
        rustix::fs::statfs(path).map(|stat| stat.f_type as u64 == BPF_FS).unwrap_or(false)
    };
    let home = Path::new(BPF_FS_HOME);
    if folder.starts_with(home) && !is_bpffs(home) {
        use rustix::mount::MountFlags;
        rustix::mount::mount(
            "bpf",
            home,
            "bpf",
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME,
            c"mode=700",
        )
        .map_err(|why| {
            unavailable(
                "a bpffs: `mount -t bpf bpf /sys/fs/bpf` as root".to_owned(),
                Some(why.into()),
            )
        })?;
    }
    std::fs::create_dir_all(folder)
        .map_err(|why| failed(format!("making the folder {}", folder.display()), why))?;
    if !is_bpffs(folder) {
        return Err(unavailable(
            format!("its pins on a bpffs, and {} is on none", folder.display()),
            None,
        ));
    }
    Ok(())
}

pub(super) fn lock(folder: &Path) -> Result<Locked, SourceError> {
    let why = |why: rustix::io::Errno| failed(format!("locking {}", folder.display()), why);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(folder, flags, Mode::empty()).map_err(why)?;
    rustix::fs::flock(&dir, FlockOperation::LockExclusive).map_err(why)?;
    Ok(Locked(dir.into()))
}

impl Programs {
    /// The pinned ones of this version, loaded now if they are not there.
    pub(super) fn load(folder: &Path, fetch: bool, _: &Locked) -> Result<Self, SourceError> {
        let dir = folder.join(version(fetch));
        if !dir.exists() {
            let fresh = folder.join(format!("{}-new", version(fetch)));
            // What a shim left that died half-way.
            unpin_dir(&fresh);
            pin(&fresh, fetch)?;
            std::fs::rename(&fresh, &dir)
                .map_err(|why| failed(format!("naming the pins {}", dir.display()), why))?;
        }
        Self::open(dir)
    }

    /// Every version that is pinned there.
    pub(super) fn pinned(folder: &Path) -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| !entry.file_name().as_encoded_bytes().ends_with(b"-new"))
            .filter_map(|entry| Self::open(entry.path()).ok())
            .collect()
    }

    fn open(dir: PathBuf) -> Result<Self, SourceError> {
        let map = |name: &str| {
            MapHandle::from_pinned_path(dir.join(name)).map_err(|why| {
                bpf_failed(format!("opening the map {name} in {}", dir.display()), why)
            })
        };
        Ok(Self {
            containers: map("containers")?,
            slots: map("slots")?,
            verdicts: map("verdicts")?,
            rings: map("rings")?,
            tags: map("tags")?,
            strays: map("strays")?,
            names: map("names")?,
            dir,
        })
    }

    /// Whether the programs are still attached: nobody unpinned them since.
    pub(super) fn are_pinned(&self) -> bool {
        self.dir.join("lacre_exec").exists()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Loads everything, attaches it, and pins it in `dir`.
fn pin(dir: &Path, fetch: bool) -> Result<(), SourceError> {
    std::fs::create_dir(dir).map_err(|why| failed(format!("making {}", dir.display()), why))?;
    let loading = |why: libbpf_rs::Error| match why.kind() {
        ErrorKind::PermissionDenied => unavailable(
            "CAP_BPF and CAP_PERFMON in the first user namespace".to_owned(),
            Some(io::Error::other(why)),
        ),
        _ => unavailable(
            "BPF with BTF (CONFIG_DEBUG_INFO_BTF, Linux 5.17 or newer)".to_owned(),
            Some(io::Error::other(why)),
        ),
    };
    // libbpf would write to the standard error of whoever loads it.
    libbpf_rs::set_print(None);
    let mut builder = ObjectBuilder::default();
    let mut open = builder.open_memory(OBJECT).map_err(loading)?;
    for mut program in open.progs_mut() {
        if program.name() == "lacre_fetch" {
            program.set_autoload(fetch);
        }
    }
    let mut object = open.load().map_err(loading)?;
    for mut map in object.maps_mut() {
        let name = map.name().to_owned();
        if MAPS.iter().any(|known| name == *known) {
            map.pin(dir.join(&name)).map_err(|why| {
                bpf_failed(format!("pinning the map {} in {}", name.display(), dir.display()), why)
            })?;
        }
    }
    for program in object.progs_mut() {
        let name = program.name().to_owned();
        if name == "lacre_fetch" && !fetch {
            continue;
        }
        let mut link = program.attach().map_err(|why| {
            unavailable(
                format!("the BTF tracepoint {}", program.section().display()),
                Some(io::Error::other(why)),
            )
        })?;
        link.pin(dir.join(&name)).map_err(|why| {
            bpf_failed(format!("pinning the link {} in {}", name.display(), dir.display()), why)
        })?;
    }
    Ok(())
}

/// Takes every pin away: programs are detached, maps are freed.
pub(super) fn unpin_all(folder: &Path) -> Result<(), SourceError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let _locked = lock(folder)?;
    for entry in entries.flatten() {
        unpin_dir(&entry.path());
    }
    std::fs::remove_dir(folder).map_err(|why| failed(format!("removing {}", folder.display()), why))
}

fn unpin_dir(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
    let _ = std::fs::remove_dir(dir);
}
