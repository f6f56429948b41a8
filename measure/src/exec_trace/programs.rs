//! The programs and maps: loaded once per node, pinned, and used by every shim after.
//!
//! Loading takes some 50 ms of a processor, so what is loaded stays. What is attached costs
//! every fork, exec and page fault of the node, so the programs are attached exactly as long
//! as a container stands in `names`: its name goes in before they are attached, and they are
//! detached after the last name is out, both under [`lock`]. Who dies between leaves a name,
//! which its container's end or the next one's takes out, or links that nobody needs, which
//! the next end takes away. Each link is put in by itself where it is missing: half of them
//! is no state that anybody must know of.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_sys::tracepoint;
use libbpf_rs::{MapCore, MapHandle, Program};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::abi::Name;
use super::failure::{bpf_failed, failed, unavailable};
use super::object::{FETCH, load};
use crate::SourceError;

/// `BPF_FS_MAGIC` (linux/magic.h).
const BPF_FS: u64 = 0xcafe_4a11;
const BPF_FS_HOME: &str = "/sys/fs/bpf";
const MAPS: [&str; 8] = [CONTAINERS, SLOTS, VERDICTS, RINGS, TAGS, STRAYS, NAMES, CONDEMNED];
pub(super) const CONTAINERS: &str = "containers";
pub(super) const SLOTS: &str = "slots";
pub(super) const VERDICTS: &str = "verdicts";
pub(super) const RINGS: &str = "rings";
pub(super) const TAGS: &str = "tags";
pub(super) const STRAYS: &str = "strays";
const NAMES: &str = "names";
const CONDEMNED: &str = "condemned";
/// A link is pinned by its program's name, the program by that and [`PROGRAM`].
const PROGRAMS: [&str; 3] = ["lacre_exec", "lacre_fork", FETCH];
const PROGRAM: &str = "-program";
/// Of a folder whose pins are not all there yet, or not any more.
const NEW: &str = "-new";
const OLD: &str = "-old";
/// How pins are laid out: to be raised with a change that the object does not show.
const LAYOUT: u64 = 2;

/// How often an attachment is tried anew while the kernel has yet to let go of the last one,
/// which takes it a grace period of RCU and a turn of a work queue: in all a second.
const TRIES: u32 = 200;
const TRY_EVERY: Duration = Duration::from_millis(5);

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
    /// Absent where an earlier lacre pinned them.
    pub(super) condemned: Option<MapHandle>,
    dir: PathBuf,
}

/// One shim at a time changes what is pinned.
#[derive(Debug)]
pub(super) struct Locked(#[expect(dead_code, reason = "closing it is the unlocking")] File);

/// The version of what is shared: the object's hash, which build.rs has taken, and how it is
/// pinned.
fn version() -> String {
    format!("{}-{LAYOUT}", env!("LACRE_EXEC_TRACE_HASH"))
}

/// The name of a set's folder: programs with the fetch hook are others than those without, and so
/// are those that were loaded while the kernel did not know overlayfs yet. Where it is a module,
/// its types are not known before, and are looked up when a program is loaded (`kernel.h`).
fn set(fetch: bool) -> String {
    name(fetch, std::fs::read_to_string("/proc/filesystems").is_ok_and(|all| has_overlay(&all)))
}

fn name(fetch: bool, overlay: bool) -> String {
    let fetch = if fetch { "-fetch" } else { "" };
    version() + fetch + if overlay { "" } else { NO_OVERLAY }
}

const NO_OVERLAY: &str = "-no-overlay";

/// Whether a list of file systems (`/proc/filesystems`) has overlayfs.
fn has_overlay(filesystems: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay"))
}

fn is_half(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(NEW.as_bytes()) || name.ends_with(OLD.as_bytes())
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
    /// The pinned ones of this version, loaded now if they are not there. They may be
    /// attached to nothing.
    pub(super) fn load(folder: &Path, fetch: bool, locked: &Locked) -> Result<Self, SourceError> {
        sweep(folder, locked);
        let dir = folder.join(set(fetch));
        if dir.exists() {
            match Self::open(dir.clone()) {
                Ok(programs) if programs.are_pinned() => return Ok(programs),
                // Somebody else removed some of it. Whom it guards it guards yet.
                Err(why) if is_needed(&dir) => return Err(why),
                _ => unpin_dir(&dir),
            }
        }
        let fresh = folder.join(set(fetch) + NEW);
        pin(&fresh, fetch).inspect_err(|_| clear(&fresh))?;
        std::fs::rename(&fresh, &dir)
            .map_err(|why| failed(format!("naming the pins {}", dir.display()), why))?;
        Self::open(dir)
    }

    fn open(dir: PathBuf) -> Result<Self, SourceError> {
        let map = |name: &str| open_map(&dir, name);
        Ok(Self {
            containers: map(CONTAINERS)?,
            slots: map(SLOTS)?,
            verdicts: map(VERDICTS)?,
            rings: map(RINGS)?,
            tags: map(TAGS)?,
            strays: map(STRAYS)?,
            names: map(NAMES)?,
            condemned: map(CONDEMNED).ok(),
            dir,
        })
    }

    fn programs(&self) -> impl Iterator<Item = &'static str> {
        let fetch = self.dir.as_os_str().as_encoded_bytes().ends_with(b"-fetch");
        PROGRAMS.into_iter().filter(move |name| fetch || *name != FETCH)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{PROGRAM}"))
    }

    /// Whether each program can be attached. An earlier lacre pinned only the links.
    fn are_pinned(&self) -> bool {
        self.programs().all(|name| self.program(name).exists())
    }

    /// Whether every program is attached: nobody unpinned one since.
    pub(super) fn are_attached(&self) -> bool {
        self.programs().all(|name| self.dir.join(name).exists())
    }

    /// Attaches what is not.
    pub(super) fn attach(&self, _: &Locked) -> Result<(), SourceError> {
        for name in self.programs() {
            let link = self.dir.join(name);
            if link.exists() {
                continue;
            }
            let pinned = self.program(name);
            let program = Program::fd_from_pinned_path(&pinned)
                .map_err(|why| bpf_failed(format!("opening {}", pinned.display()), why))?;
            let attached = attach(program.as_fd())
                .map_err(|why| unavailable(format!("the tracepoint of {name}"), Some(why)))?;
            tracepoint::pin(attached.as_fd(), &link)
                .map_err(|why| failed(format!("pinning the link {}", link.display()), why))?;
        }
        Ok(())
    }

    /// Detaches them once no container needs them. The next one attaches them again while it
    /// is being created.
    pub(super) fn detach_unneeded(&self, _: &Locked) {
        if self.is_needed() {
            return;
        }
        if !self.are_pinned() {
            unpin_dir(&self.dir);
            return;
        }
        for name in PROGRAMS {
            let _ = std::fs::remove_file(self.dir.join(name));
        }
        // What a process of a container that is gone handed on.
        for stray in self.strays.keys() {
            let _ = self.strays.delete(&stray);
        }
    }

    fn is_needed(&self) -> bool {
        self.names.keys().next().is_some()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A pinned set, of which no more need be there than the names of whom it guards: an earlier
/// lacre's may lack a map, and somebody may have removed one by hand.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) names: MapHandle,
    dir: PathBuf,
}

impl Set {
    /// Every set that is pinned there; an error for one that is there and whose names can't be
    /// opened: whom it guards nobody knows then.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(super) fn all(folder: &Path) -> Result<Vec<Result<Self, SourceError>>, SourceError> {
        let reading = |why| failed(format!("reading the folder {}", folder.display()), why);
        let entries = match std::fs::read_dir(folder) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(reading)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(reading)?;
            if is_half(&entry.file_name()) {
                continue;
            }
            let dir = entry.path();
            match open_map(&dir, NAMES) {
                // By another key no container of this version's is named there.
                Ok(names) if names.key_size() as usize != size_of::<Name>() => {}
                Ok(names) => all.push(Ok(Self { names, dir })),
                // Another process takes it away: it guards nobody.
                Err(_) if !dir.join(NAMES).exists() => {}
                Err(why) => all.push(Err(why)),
            }
        }
        Ok(all)
    }

    /// One of its maps.
    pub(super) fn map(&self, name: &str) -> Result<MapHandle, SourceError> {
        open_map(&self.dir, name)
    }

    /// All of it, where it is whole.
    pub(super) fn programs(&self) -> Result<Programs, SourceError> {
        Programs::open(self.dir.clone())
    }

    /// Takes away one that is not whole, once it guards nobody.
    pub(super) fn unpin_unneeded(&self, _: &Locked) {
        if self.names.keys().next().is_none() {
            unpin_dir(&self.dir);
        }
    }
}

fn open_map(dir: &Path, name: &str) -> Result<MapHandle, SourceError> {
    MapHandle::from_pinned_path(dir.join(name))
        .map_err(|why| bpf_failed(format!("opening the map {name} in {}", dir.display()), why))
}

fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    for _ in 0..TRIES {
        match tracepoint::attach(program) {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            attached => return attached,
        }
        std::thread::sleep(TRY_EVERY);
    }
    tracepoint::attach(program)
}

/// Whether a set guards somebody; one of which nobody can tell does as long as it is attached.
fn is_needed(dir: &Path) -> bool {
    let names = open_map(dir, NAMES);
    names.map_or_else(|_| is_any_attached(dir), |names| names.keys().next().is_some())
}

fn is_any_attached(dir: &Path) -> bool {
    PROGRAMS.iter().any(|name| dir.join(name).exists())
}

/// Unpins what a shim left that died half-way, and other versions that guard nobody, those from
/// before overlayfs too.
fn sweep(folder: &Path, _: &Locked) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let own = version();
    for entry in entries.flatten() {
        let (name, dir) = (entry.file_name(), entry.path());
        if is_half(&name) {
            clear(&dir);
        } else if (!name.as_encoded_bytes().starts_with(own.as_bytes())
            || name.as_encoded_bytes().ends_with(NO_OVERLAY.as_bytes()))
            && !is_needed(&dir)
        {
            unpin_dir(&dir);
        }
    }
}

/// Loads everything and pins it in `dir`.
fn pin(dir: &Path, fetch: bool) -> Result<(), SourceError> {
    std::fs::create_dir(dir).map_err(|why| failed(format!("making {}", dir.display()), why))?;
    let mut object = load(fetch)?;
    for mut map in object.maps_mut() {
        let name = map.name().to_owned();
        if MAPS.iter().any(|known| name == *known) {
            map.pin(dir.join(&name)).map_err(|why| {
                bpf_failed(format!("pinning the map {} in {}", name.display(), dir.display()), why)
            })?;
        }
    }
    for mut program in object.progs_mut() {
        let name = program.name().to_owned();
        if name == FETCH && !fetch {
            continue;
        }
        program.pin(dir.join(format!("{}{PROGRAM}", name.display()))).map_err(|why| {
            bpf_failed(format!("pinning {} in {}", name.display(), dir.display()), why)
        })?;
    }
    Ok(())
}

/// Takes every pin away: programs are detached, maps are freed.
pub(super) fn unpin_all(folder: &Path) -> Result<(), SourceError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let _locked = lock(folder)?;
    for entry in entries.flatten() {
        clear(&entry.path());
    }
    std::fs::remove_dir(folder).map_err(|why| failed(format!("removing {}", folder.display()), why))
}

/// Takes one version's pins away: nobody finds some of them by its name.
fn unpin_dir(dir: &Path) {
    let mut old = dir.as_os_str().to_owned();
    old.push(OLD);
    clear(Path::new(&old));
    match std::fs::rename(dir, &old) {
        Ok(()) => clear(Path::new(&old)),
        Err(_) => clear(dir),
    }
}

fn clear(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
    let _ = std::fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_before_overlayfs_serves_no_overlay() {
        assert!(has_overlay("nodev\tproc\n\text4\nnodev\toverlay\n"));
        assert!(!has_overlay("nodev\tproc\nnodev\toverlayish\n\text4\n") && !has_overlay(""));
        let all = [(true, true), (true, false), (false, true), (false, false)]
            .map(|(fetch, overlay)| name(fetch, overlay));
        for (at, one) in all.iter().enumerate() {
            assert!(
                !all[..at].contains(one) && one.starts_with(&version()) && !is_half(one.as_ref())
            );
        }
    }
}
