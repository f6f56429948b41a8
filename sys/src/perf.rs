//! Perf events that record executable mappings (`PERF_RECORD_MMAP2`), and their rings.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a perf event is attached to.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// A task, and all that it forks from then on.
    Tree(u32),
    /// The tasks of a cgroup: a descriptor of its directory, of the perf_event or the
    /// unified hierarchy.
    Cgroup(BorrowedFd<'a>),
    /// Everything on the processor.
    Everything,
}

/// `struct perf_event_attr`, as far as `PERF_ATTR_SIZE_VER1` (linux/perf_event.h).
#[repr(C)]
#[derive(Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
}

const TYPE_SOFTWARE: u32 = 1;
const COUNT_SW_DUMMY: u64 = 9;
const INHERIT: u64 = 1 << 1;
const MMAP: u64 = 1 << 8;
const WATERMARK: u64 = 1 << 14;
const MMAP2: u64 = 1 << 23;
const FLAG_FD_CLOEXEC: libc::c_ulong = 8;
const FLAG_PID_CGROUP: libc::c_ulong = 4;
/// Offsets in `struct perf_event_mmap_page`: the kernel's head, the reader's tail.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;
/// `struct perf_event_header`: type u32, misc u16, size u16.
const HEADER: usize = 8;

/// One event on one processor, with its ring.
#[derive(Debug)]
pub struct Mappings {
    fd: OwnedFd,
    base: NonNull<u8>,
    page: usize,
    /// Bytes of the ring, a power of two.
    data: usize,
}

// SAFETY: the mapping belongs to this value alone, and `read` needs it exclusively.
unsafe impl Send for Mappings {}

impl Mappings {
    /// Records the executable mappings of `scope` on processor `cpu` in a ring of
    /// `pages` pages, a power of two.
    ///
    /// # Errors
    /// What `perf_event_open` or `mmap` said.
    pub fn open(scope: Scope<'_>, cpu: u32, pages: usize) -> io::Result<Self> {
        if !pages.is_power_of_two() || pages > 1 << 16 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (pid, flags, inherit) = match scope {
            Scope::Tree(pid) => (pid.cast_signed(), 0, INHERIT),
            Scope::Cgroup(dir) => (dir.as_raw_fd(), FLAG_PID_CGROUP, 0),
            Scope::Everything => (-1, 0, 0),
        };
        let attr = Attr {
            kind: TYPE_SOFTWARE,
            size: size_of::<Attr>() as u32,
            config: COUNT_SW_DUMMY,
            flags: MMAP | MMAP2 | WATERMARK | inherit,
            // With a watermark the reader is woken when so many bytes wait: one record.
            wakeup_events: 1,
            ..Attr::default()
        };
        // SAFETY: `attr` is whole, carries its own size, and outlives the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                pid,
                cpu,
                -1,
                flags | FLAG_FD_CLOEXEC,
            )
        };
        let fd =
            i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel just gave this descriptor to us, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let page = rustix::param::page_size();
        let data = pages * page;
        // SAFETY: a new shared mapping at an address of the kernel's choice, of a
        // descriptor that we hold; the length is checked by the kernel.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                page + data,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { fd, base, page, data })
    }

    /// Hands each waiting record, header included, to `each`; returns how many.
    pub fn read(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        // SAFETY: both lie in the first page of our mapping, aligned to eight, and the
        // kernel documents them as accessed atomically.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(self.base.as_ptr().add(DATA_HEAD).cast()),
                AtomicU64::from_ptr(self.base.as_ptr().add(DATA_TAIL).cast()),
            )
        };
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        let mut record = Vec::new();
        let mut count = 0;
        while at < end {
            let mut header = [0; HEADER];
            self.copy(at, &mut header);
            let size = usize::from(u16::from_ne_bytes([header[6], header[7]]));
            if size < HEADER || (end - at) < size as u64 {
                // Not a ring that the kernel wrote: nothing after this can be trusted.
                at = end;
                break;
            }
            record.resize(size, 0);
            self.copy(at, &mut record);
            at += size as u64;
            count += 1;
            each(&record);
        }
        tail.store(at, Ordering::Release);
        count
    }

    fn copy(&self, at: u64, to: &mut [u8]) {
        let start = (at as usize) & (self.data - 1);
        let first = to.len().min(self.data - start);
        let rest = to.len() - first;
        // SAFETY: `start + first` and `rest` stay within the `data` bytes after the first
        // page; a record is at most 65535 bytes and `to` is no longer than the record. The
        // kernel does not write between tail and head.
        unsafe {
            let ring = self.base.as_ptr().add(self.page);
            std::ptr::copy_nonoverlapping(ring.add(start), to.as_mut_ptr(), first);
            std::ptr::copy_nonoverlapping(ring, to.as_mut_ptr().add(first), rest.min(self.data));
        }
    }
}

impl AsFd for Mappings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.page + self.data) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_tree_tells_the_mappings_of_what_it_forks() {
        let mut rings: Vec<_> = (0..std::thread::available_parallelism().unwrap().get() as u32)
            .map(|cpu| Mappings::open(Scope::Tree(std::process::id()), cpu, 16).unwrap())
            .collect();
        // Only this thread is followed: the fork must be its own.
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        if tid != std::process::id() {
            rings = (0..rings.len() as u32)
                .map(|cpu| Mappings::open(Scope::Tree(tid), cpu, 16).unwrap())
                .collect();
        }
        assert!(Command::new("/bin/true").stdout(Stdio::null()).status().unwrap().success());
        let mut seen = Vec::new();
        for ring in &mut rings {
            ring.read(|record| seen.push(String::from_utf8_lossy(record).into_owned()));
        }
        assert!(seen.iter().any(|record| record.contains("/true")), "{seen:?}");
    }

    #[test]
    fn a_ring_of_no_power_of_two_is_refused() {
        assert!(Mappings::open(Scope::Everything, 0, 3).is_err());
    }
}
