use std::time::Duration;

/// Every bound of one container's responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a process may wait for its file to be read. 5 s: five times what 1 GiB
    /// takes; after it the failure action answers.
    pub deadline: Duration,
    /// Threads that read files, started when there is something to read. 2: one may
    /// stand before a slow volume without holding up the other.
    pub readers: usize,
    /// How long a thread is at one file before another is started in its place: 1 s, so that who
    /// waits behind files that never come has an answer within the deadline.
    pub held_after: Duration,
    /// Threads that may be started so, 4.
    pub spare_readers: usize,
    /// Processes that wait for their file to be read, 256. Each holds a descriptor and a
    /// thread of the container; one more is answered by the failure action.
    pub waiting: usize,
    /// Files to be read for a report after the kernel was answered. One more is
    /// reported by its size alone.
    pub reports: usize,
    /// The largest file that is read while a process waits: 1 GiB, a second of one core. A
    /// larger one is refused as not read.
    pub verify_bytes: u64,
    /// The largest file that is read only for a report: 64 MiB, 60 ms of one core.
    pub report_bytes: u64,
    /// How long a report, and the action that follows it, waits for the file to be read: 1 s. After
    /// it, and of a file that grows beyond [`Self::report_bytes`], the report has its size alone.
    pub report_within: Duration,
    /// Code that needs no second look: 8,192 files, more than a program and its interpreter's
    /// library have. Each holds a descriptor, and some 3 KiB of the kernel's memory, most of it
    /// inodes that a memory shortage would free otherwise; one goes when one more comes.
    pub settled: usize,
    /// How often settled files are looked through for deleted ones, whose space on the
    /// disk they would keep: 10 s. Only while there is one that a deletion can free.
    pub sweep: Duration,
    /// How long an idle reader thread stays.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            readers: 2,
            held_after: Duration::from_secs(1),
            spare_readers: 4,
            waiting: 256,
            reports: 64,
            verify_bytes: crate::MOST,
            report_bytes: 64 << 20,
            report_within: Duration::from_secs(1),
            settled: 8192,
            sweep: Duration::from_secs(10),
            idle: Duration::from_secs(2),
        }
    }
}

/// How much of a file tells whether it is code: an ELF header with its program headers,
/// or a `#!` line (256 bytes, linux/binfmts.h).
pub(super) const HEAD: usize = 1024;

/// The longest mount table that is read: about 20,000 mounts.
pub(super) const MOUNTINFO: u64 = 4 << 20;

/// How long a disarming caller waits for the thread. The group is closed by then, and
/// nobody waits for an answer any more.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// How long who marks mounts may stand before one: it is the kernel that answers, or a disk.
pub(super) const REACH: Duration = Duration::from_secs(1);

/// Mounts that may be out of reach, each of which holds a thread: more than a container has servers'
/// file systems with mounts of their own beneath.
pub(super) const UNREACHED: usize = 4;

/// How long a new policy waits until opens are asked about: longer than a responder may be busy
/// before the watchdog ends it (6 s).
pub(super) const WIDENING: Duration = Duration::from_secs(10);

/// How long a new policy waits for what a declared directory's name leads to. A container may
/// have mounted there what never answers.
pub(super) const FOLLOWING: Duration = Duration::from_secs(5);

/// The stack of each thread: they call nothing deep.
pub(super) const STACK: usize = 256 << 10;
