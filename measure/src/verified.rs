//! The one way to know what a file holds.
//!
//! A digest that somebody can make false before it is used is worth nothing: by writing to
//! the file while it is read, through a shared mapping that was made before, on a file
//! system that does not date its changes or has several views of one file. So there is one
//! reader, [`verify`], and what it makes, a [`Verified`], is all that a map of the kernel's,
//! an answer to it, and an ignore mark take.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lacre_sys::lease::{Leases, Still};
use lacre_types::{CanonicalPath, Digest, FileId, mountinfo};
use sha2::{Digest as _, Sha256};

use crate::file_systems;
use crate::files::{Layers, regular};
use crate::unverified::{Unverified, Why};

/// More is never read: it is no program that anybody ships, and a sparse file of any size
/// costs an attacker nothing. 1 GiB, a second of one core.
pub const MOST: u64 = 1 << 30;

/// What can't be verified is read all the same, for the record, up to this many bytes: 64 MiB,
/// a tenth of a second of one core.
const MOST_UNVERIFIED: u64 = 64 << 20;

/// One read's buffer. A larger one is no faster.
const CHUNK: usize = 128 << 10;

/// How long a writer is waited for where a process waits for the answer, and how often it is
/// looked for. What a process that has ended had open on an overlay is closed by a worker of the
/// kernel's (`delayed_fput`): a tick after its end, or later on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_millis(2);

/// The longest tick of a clock that dates files, before 6.13: 10 ms, and room.
const TICK: Duration = Duration::from_millis(40);
/// Where only seconds are kept (ext3, small inodes), and room.
const WHOLE_SECONDS: Duration = Duration::from_millis(2100);

/// A file whose content is known, and stays what it is for as long as this lives: nobody
/// could write to it while it was read, and who wants to now waits.
///
/// Nothing but `verify` makes one:
///
/// ```compile_fail
/// # fn forge(id: lacre_types::FileId, digest: lacre_types::Digest) {
/// let forged = lacre_measure::Verified { id: Some(id), digest };
/// # }
/// ```
#[derive(Debug)]
pub struct Verified {
    id: Dated,
    digest: Digest,
    /// On what was opened: it keeps new writers waiting, on an overlay before the copy-up.
    opened: Still<OwnedFd>,
    /// On the real inode beneath an overlay.
    _real: Option<Still<OwnedFd>>,
}

/// What a state is told by. It goes before the lease does, and not before a later change of
/// the file must have another date.
#[derive(Debug)]
struct Dated(Option<FileId>);

impl Drop for Dated {
    fn drop(&mut self) {
        if let Some(id) = &self.0 {
            settle(id);
        }
    }
}

impl Verified {
    /// The state that was read, where it will never come to be another's or another content's:
    /// on a file system that dates each change. What is kept by it outlives the lease.
    #[must_use]
    pub const fn lasting(&self) -> Option<&FileId> {
        self.id.0.as_ref()
    }

    /// Waits until dropping it waits for nothing: 40 ms where the file was changed just now,
    /// 2 s where its file system keeps whole seconds.
    pub(crate) fn settle(&self) {
        if let Some(id) = &self.id.0 {
            settle(id);
        }
    }

    /// What it holds.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Hands the lease on to who keeps it from now on; `None` when a writer waits already.
    pub(crate) fn keep(self, leases: &Leases) -> io::Result<Option<OwnedFd>> {
        leases.adopt(self.opened)
    }
}

/// Reads a file that is open to read, under a lease, if it may be believed. It may wait for a
/// disk or a server: it is for threads that nobody's answer depends on but this one's.
/// `path` is its name in the container, if there is a likelier one than its link of /proc.
pub(crate) fn verify(
    file: OwnedFd,
    path: Option<&CanonicalPath>,
    layers: &Layers,
    dropped: &AtomicBool,
) -> Result<Verified, Unverified> {
    verify_within((MOST, Duration::ZERO), file, path, layers, dropped)
}

/// [`verify`], with another limit than [`MOST`], for a process that waits for the answer or has
/// used the file: one that was writing and ends just now has ended before it counts.
pub(crate) fn verify_patiently(
    most: u64,
    file: OwnedFd,
    path: Option<&CanonicalPath>,
    layers: &Layers,
    dropped: &AtomicBool,
) -> Result<Verified, Unverified> {
    verify_within((most, PATIENCE), file, path, layers, dropped)
}

fn verify_within(
    terms: (u64, Duration),
    file: OwnedFd,
    path: Option<&CanonicalPath>,
    layers: &Layers,
    dropped: &AtomicBool,
) -> Result<Verified, Unverified> {
    keep_still(terms, file, path, layers, dropped)?.read(dropped)
}

/// A file that nobody can write to for as long as this lives, not read yet.
pub(crate) struct KeptStill {
    opened: Still<OwnedFd>,
    real: Option<Still<OwnedFd>>,
    id: Option<FileId>,
    most: u64,
}

impl KeptStill {
    /// As [`Verified::lasting`].
    pub(crate) const fn lasting(&self) -> Option<&FileId> {
        self.id.as_ref()
    }

    /// Reads it.
    pub(crate) fn read(self, dropped: &AtomicBool) -> Result<Verified, Unverified> {
        let Self { opened, real, id, most } = self;
        let shown = opened.as_fd();
        let read = real.as_ref().map_or(shown, AsFd::as_fd);
        let digest = twice(read, shown, most, dropped)?;
        Ok(Verified { id: Dated(id), digest, opened, _real: real })
    }
}

/// Keeps a file that is open to read from being written to, if it may be believed then. It may
/// wait, as [`verify`].
pub(crate) fn keep_still(
    (most, patience): (u64, Duration),
    file: OwnedFd,
    path: Option<&CanonicalPath>,
    layers: &Layers,
    dropped: &AtomicBool,
) -> Result<KeptStill, Unverified> {
    let (state, size) = facts(file.as_fd())?;
    if size > most {
        return Err(Why::TooLarge(size).into());
    }
    let until = Instant::now() + patience;
    let opened = match still(file, until, dropped) {
        Ok(still) => still,
        Err((file, error)) => {
            let why = match error.kind() {
                io::ErrorKind::WouldBlock => Why::Writer,
                _ => Why::NoPromise(format!("it has no leases: {error}")),
            };
            return Err(glimpse(why, &file.into(), size, dropped));
        }
    };
    let fd = opened.as_fd();
    let placed = place(fd, (&state, size), path, layers, (until, dropped));
    let (real, id) = match placed {
        Ok(placed) => placed,
        Err(why) => {
            let file = File::from(fd.try_clone_to_owned().map_err(unexamined)?);
            return Err(glimpse(why, &file, size, dropped));
        }
    };
    Ok(KeptStill { opened, real, id, most })
}

/// The real file beneath an overlay, kept still, and the identity that will last.
fn place(
    file: BorrowedFd<'_>,
    (state, size): (&FileId, u64),
    path: Option<&CanonicalPath>,
    layers: &Layers,
    (until, dropped): (Instant, &AtomicBool),
) -> Result<(Option<Still<OwnedFd>>, Option<FileId>), Why> {
    let dev = file_system(file).map_err(|why| Why::Unexamined(why.to_string()))?;
    if !layers.is_overlay(file).map_err(|why| Why::Unexamined(why.to_string()))? {
        let kind = layers.mounted(dev).map(<[u8]>::to_vec).or_else(|| kind(dev));
        let kind = kind.ok_or_else(|| Why::NoPromise("mounted by the container".into()))?;
        // Under its lease it stays the same even where nothing is dated; after it, not.
        return match &kind[..] {
            b"tmpfs" | b"ramfs" | b"rootfs" => Ok((None, None)),
            dated if file_systems::dates_changes(dated) => {
                Ok((None, Some(FileId { dev, ..*state })))
            }
            other => Err(Why::NoPromise(lacre_types::escape(other))),
        };
    }
    if layers.overlay() != Some(dev) {
        return Err(Why::NoPromise("an overlay of the container's own".into()));
    }
    let real = layers.beneath(file, (state, size), path).ok_or(Why::Unplaced)?;
    let kept = still(OwnedFd::from(real.file), until, dropped);
    let kept = kept.map_err(|(_, error)| match error.kind() {
        io::ErrorKind::WouldBlock => Why::Writer,
        _ => Why::NoPromise(format!("its layer has no leases: {error}")),
    })?;
    let dated = kind(real.id.dev).is_some_and(|kind| file_systems::dates_changes(&kind));
    Ok((Some(kept), dated.then_some(real.id)))
}

/// A lease, once nobody has the file open for writing.
fn still(
    mut file: OwnedFd,
    until: Instant,
    dropped: &AtomicBool,
) -> Result<Still<OwnedFd>, (OwnedFd, io::Error)> {
    loop {
        match Still::new(file) {
            Err((back, error))
                if error.kind() == io::ErrorKind::WouldBlock
                    && Instant::now() < until
                    && !dropped.load(Ordering::Relaxed) =>
            {
                std::thread::sleep(AGAIN);
                file = back;
            }
            taken => return taken,
        }
    }
}

/// Hashes `read` until it stayed the same meanwhile, which `shown` tells too.
fn twice(
    read: BorrowedFd<'_>,
    shown: BorrowedFd<'_>,
    most: u64,
    dropped: &AtomicBool,
) -> Result<Digest, Unverified> {
    let state = || Ok::<_, Unverified>((facts(read)?, facts(shown)?));
    for _ in 0..2 {
        let before = state()?;
        let file = File::from(read.try_clone_to_owned().map_err(unexamined)?);
        let digest = hash(&file, most, dropped)?;
        if before == state()? {
            return Ok(digest);
        }
    }
    Err(Why::Changed.into())
}

/// Waits, the lease held, until a later change must have another date.
fn settle(id: &FileId) {
    let tick = if id.ctime_nsec == 0 { WHOLE_SECONDS } else { TICK };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let age = (now.tv_sec.saturating_sub(id.ctime_sec))
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec - i64::from(id.ctime_nsec));
    // A date in the future is waited for as if it were now.
    let age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
    if let Some(left) = tick.checked_sub(age) {
        std::thread::sleep(left);
    }
}

/// The digest of what can't be believed.
fn glimpse(why: Why, file: &File, size: u64, dropped: &AtomicBool) -> Unverified {
    let local = !matches!(why, Why::NoPromise(_)) || is_local(file.as_fd());
    let read = (size <= MOST_UNVERIFIED && local)
        .then(|| hash(file, MOST_UNVERIFIED, dropped).ok())
        .flatten();
    Unverified { why, glimpse: read }
}

/// What a file holds now, which says nothing of the next moment.
pub(crate) fn hash(file: &File, most: u64, dropped: &AtomicBool) -> Result<Digest, Why> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        if dropped.load(Ordering::Relaxed) {
            return Err(Why::Dropped);
        }
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(Digest::sha256(sha.finalize().into())),
            // It grows as it is read.
            Ok(_) if at > most => return Err(Why::TooLarge(at)),
            Ok(got) => {
                sha.update(buffer.get(..got).unwrap_or_default());
                at += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Why::Unreadable(error.to_string())),
        }
    }
}

fn facts(file: BorrowedFd<'_>) -> Result<(FileId, u64), Why> {
    regular(file).map_err(|why| Why::Unexamined(why.to_string()))
}

fn unexamined(why: io::Error) -> Unverified {
    Why::Unexamined(why.to_string()).into()
}

/// The file system of a file that has a lease, as the kernel numbers it: `stat` tells the
/// device that the file system wants to be seen (an overlay over several file systems, btrfs),
/// the lease's line in `fdinfo` the real one (fs/locks.c, `lock_get_status`).
fn file_system(file: BorrowedFd<'_>) -> io::Result<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let place = info.lines().find_map(|line| {
        let line = line.strip_prefix("lock:")?;
        line.contains("LEASE")
            .then(|| line.split_whitespace().find(|word| word.matches(':').count() == 2))?
    });
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    place
        .and_then(|place| {
            let mut parts = place.split(':');
            Some(FileId::kernel_dev(number(parts.next()?)?, number(parts.next()?)?))
        })
        .ok_or_else(|| io::Error::other("the kernel does not tell where its lease is"))
}

/// The type of the file system with that device, if the host has mounted it: what a container
/// mounts itself it can change behind the file system's back.
fn kind(dev: u32) -> Option<Vec<u8>> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let mounts = mountinfo::parse(&table).ok()?;
    let is = |(major, minor): (u32, u32)| FileId::kernel_dev(major, minor) == dev;
    mounts.into_iter().find(|mount| is(mount.dev)).map(|mount| mount.kind)
}

/// Whether reading waits for no server and no process of somebody's.
pub(crate) fn is_local(file: BorrowedFd<'_>) -> bool {
    /// ext2..4, XFS, btrfs, bcachefs, f2fs, EROFS, squashfs, overlayfs, tmpfs, ramfs
    /// (linux/magic.h).
    const LOCAL: [i64; 10] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0xca45_1a4e,
        0xf2f5_2010,
        0xe0f5_e1e2,
        0x7371_7368,
        0x794c_7630,
        0x0102_1994,
        0x8584_58f6,
    ];
    #[allow(clippy::useless_conversion, reason = "the field's type differs between targets")]
    rustix::fs::fstatfs(file).is_ok_and(|stat| LOCAL.contains(&stat.f_type.into()))
}
