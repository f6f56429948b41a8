//! The system call in which a thread waits for an answer, as the kernel tells it: what it opens
//! the file for.
//!
//! Only registers are believed: no other thread changes them while this one waits. What an
//! openat2(2) wants lies in memory, and what a ring (`io_uring_enter(2)`) wants is in no system
//! call; of a 32-bit process the numbers are others. Of them nothing is told.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use lacre_types::CanonicalPath;

use super::requester::{MAPS, base, bounded};
use crate::interpreter::is_loader;

/// Whether a thread stands in an open of its loader's, and not of its own or of a library's:
/// then it maps what it opens. What can't be told is loaded.
pub(super) fn loads(thread: u32) -> bool {
    let told = || {
        let call = Call::of(thread)?;
        // Every loader opens what it loads this way, a musl's, which is the C library too.
        if call.flags.is_some_and(|flags| flags & LOADS != O_CLOEXEC) {
            return Some(false);
        }
        let maps = bounded(thread, "maps", MAPS)?;
        Some(mapped_at(&maps, call.at).is_none_or(|name| is_loader(base(name))))
    };
    told().unwrap_or(true)
}

/// Whether a thread may write the file that it opens, and not only read it: who loads code asks
/// for less. What can't be told only reads.
pub(super) fn may_write(thread: u32) -> bool {
    let flags = Call::of(thread).and_then(|call| call.flags);
    flags.is_some_and(|flags| flags & O_ACCMODE != 0)
}

/// What a thread asks for that opens a file by a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The descriptor of the directory that a relative name begins at; `None`: its own.
    pub(super) directory: Option<u32>,
    pub(super) name: Vec<u8>,
}

/// The name by which a thread opens the file: where that leads is another's to change, and by
/// which name it opens is not. It may wait, for the thread's memory.
pub(super) fn asked(thread: u32) -> Option<Asked> {
    let call = Call::of(thread)?;
    Some(Asked { directory: call.directory, name: string(thread, call.name?)? })
}

/// The last part of that.
pub(super) fn name_opened(thread: u32) -> Option<Vec<u8>> {
    asked(thread).map(|asked| base(&asked.name).to_vec())
}

/// What a thread has in its memory there, up to the NUL.
fn string(thread: u32, at: u64) -> Option<Vec<u8>> {
    let memory = std::fs::File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut name = Vec::new();
    // A page at a time: the next one may not be there.
    while name.len() < CanonicalPath::MAX {
        let from = at.checked_add(name.len() as u64)?;
        let mut part = vec![0; (PAGE - from % PAGE) as usize];
        let got = memory.read_at(&mut part, from).ok().filter(|got| *got > 0)?;
        let part = part.get(..got)?;
        match part.iter().position(|byte| *byte == 0) {
            Some(end) => {
                name.extend_from_slice(part.get(..end)?);
                return Some(name);
            }
            None => name.extend_from_slice(part),
        }
    }
    None
}

/// The smallest page of any architecture, bytes.
const PAGE: u64 = 4096;

/// Whether a thread opens the file to write it and for nothing else: what it opens can be
/// neither read nor mapped by that, nor run. What can't be told is read.
pub(super) fn only_writes(thread: u32) -> bool {
    Call::of(thread).is_some_and(|call| call.only_writes())
        && bounded(thread, "stack", 16 << 10).is_some_and(|stack| is_in_its_open(&stack))
}

/// Whether the kernel is in the open that the thread's registers tell of: a ring's request, too,
/// may run in a thread, and on its way out of another system call (task_work).
fn is_in_its_open(stack: &[u8]) -> bool {
    let has = |name: &[u8]| stack.windows(name.len()).any(|part| part == name);
    // The last by another name, where the compiler made a jump of the call.
    let opens = [&b"sys_open"[..], b"sys_creat", b"handle_open"].into_iter().any(has);
    opens && !has(b"task_work")
}

/// How long a thread may take from asking to waiting for the answer. That is no way, but others
/// may have the processor.
const FALLS_ASLEEP: Duration = Duration::from_secs(1);

/// What the kernel tells of the system call in which the thread waits. Who has only just asked
/// may still be on the way to waiting, and then has none to tell of.
fn waiting_call(thread: u32) -> Option<Vec<u8>> {
    let until = Instant::now() + FALLS_ASLEEP;
    loop {
        let call = bounded(thread, "syscall", 512)?;
        if !call.starts_with(b"running") || Instant::now() > until {
            return Some(call);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// As all architectures that we are built for have them (asm-generic/fcntl.h).
const O_ACCMODE: u64 = 0o3;
const O_WRONLY: u64 = 0o1;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1_000;
const O_CLOEXEC: u64 = 0o2_000_000;
const LOADS: u64 = O_ACCMODE | O_CREAT | O_TRUNC | O_CLOEXEC;

/// What /proc/PID/syscall tells of a system call that waits (proc_pid_syscall(5)).
#[derive(Debug, PartialEq, Eq)]
struct Call {
    /// The flags of an open.
    flags: Option<u64>,
    /// Where the name is that it opens.
    name: Option<u64>,
    /// The descriptor that it is looked for from.
    directory: Option<u32>,
    /// The stack pointer.
    stack: u64,
    /// The address of the instruction.
    at: u64,
}

impl Call {
    fn of(thread: u32) -> Option<Self> {
        Self::parse(&waiting_call(thread)?)
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let hex = |at: usize| u64::from_str_radix(fields.get(at)?.strip_prefix("0x")?, 16).ok();
        let number = fields.first()?.parse().ok()?;
        // open(2), creat(2), openat(2), openat2(2)
        let name = match (number, cfg!(target_arch = "x86_64")) {
            (2_u32 | 85, true) => hex(1),
            (257 | 437, true) | (56 | 437, false) => hex(2),
            _ => None,
        };
        // openat(2), openat2(2); below nought is no descriptor
        let directory = match (number, cfg!(target_arch = "x86_64")) {
            (257 | 437, true) | (56 | 437, false) => {
                hex(1).and_then(|it| u32::try_from(it as i32).ok())
            }
            _ => None,
        };
        // open(2), creat(2), openat(2), open_by_handle_at(2)
        let flags = match (number, cfg!(target_arch = "x86_64")) {
            (2, true) => Some(hex(2)?),
            (85, true) => Some(O_CREAT | O_WRONLY | O_TRUNC),
            (257 | 304, true) | (56 | 265, false) => Some(hex(3)?),
            _ => None,
        };
        Some(Self { flags, name, directory, stack: hex(7)?, at: hex(8)? })
    }

    /// A thread that a ring has for its work has the registers of whoever made it, but for the
    /// stack and the instruction, which are nought (`copy_thread`).
    const fn only_writes(&self) -> bool {
        let writes = matches!(self.flags, Some(flags) if flags & O_ACCMODE == O_WRONLY);
        writes && self.stack != 0 && self.at != 0
    }
}

/// The name of the mapping at an address, if it has one.
fn mapped_at(maps: &[u8], address: u64) -> Option<&[u8]> {
    let line = maps.split(|byte| *byte == b'\n').find(|line| {
        let range = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let range = std::str::from_utf8(range).ok().and_then(|range| range.split_once('-'));
        let hex = |text| u64::from_str_radix(text, 16).ok();
        range
            .and_then(|(from, to)| Some(hex(from)?..hex(to)?))
            .is_some_and(|r| r.contains(&address))
    })?;
    let name = line.iter().position(|byte| *byte == b'/')?;
    line.get(name..)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn an_open_of_the_loaders_is_told_from_one_of_a_librarys() {
        let line = b"257 0xffffff9c 0x7f1 0x80000 0x0 0x0 0x0 0x7ffd 0x7f00\n";
        let call = Call::parse(line).unwrap();
        if cfg!(target_arch = "x86_64") {
            let expected = Call {
                flags: Some(O_CLOEXEC),
                name: Some(0x7f1),
                directory: None,
                stack: 0x7ffd,
                at: 0x7f00,
            };
            assert_eq!(call, expected);
            let beneath = Call::parse(b"257 0x7 0x7f1 0x80000 0x0 0x0 0x0 0x7ffd 0x7f00");
            assert_eq!(beneath.unwrap().directory, Some(7));
        }
        assert_eq!(Call::parse(b"running\n"), None);
        let maps = b"7e00-7eff r-xp 00000000 08:01 7 /lib/libc.so.6\n\
                     7f00-7fff r-xp 00000000 08:01 8                 /lib64/ld-linux-x86-64.so.2\n\
                     8000-8001 rw-p 00000000 00:00 0\n";
        assert_eq!(mapped_at(maps, 0x7f00), Some(&b"/lib64/ld-linux-x86-64.so.2"[..]));
        assert_eq!(mapped_at(maps, 0x7e10).map(base), Some(&b"libc.so.6"[..]));
        assert_eq!(mapped_at(maps, 0x8000), None);
        assert!(loads(0x3fff_fff0), "what can't be told is loaded");
        assert!(!only_writes(0x3fff_fff0), "what can't be told is read");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_only_writes_the_registers_tell() {
        for (line, writes) in [
            ("257 0xffffff9c 0x7f1 0x241 0x1b6 0x0 0x0 0x7ffd 0x7f00", true),
            ("257 0xffffff9c 0x7f1 0x80401 0x0 0x0 0x0 0x7ffd 0x7f00", true),
            ("2 0x7f1 0x1 0x0 0x0 0x0 0x0 0x7ffd 0x7f00", true),
            ("85 0x7f1 0x1ed 0x0 0x0 0x0 0x0 0x7ffd 0x7f00", true),
            ("304 0xffffff9c 0x7f1 0x1 0x0 0x0 0x0 0x7ffd 0x7f00", true),
            // To read, to read and write, for neither, and by a struct in memory.
            ("257 0xffffff9c 0x7f1 0x80000 0x0 0x0 0x0 0x7ffd 0x7f00", false),
            ("257 0xffffff9c 0x7f1 0x242 0x1b6 0x0 0x0 0x7ffd 0x7f00", false),
            ("2 0x1 0x3 0x1 0x0 0x0 0x0 0x7ffd 0x7f00", false),
            ("437 0xffffff9c 0x7f1 0x1 0x18 0x0 0x0 0x7ffd 0x7f00", false),
            // A ring, its thread, an exec, and a number of another table.
            ("426 0x3 0x1 0x1 0x1 0x0 0x8 0x7ffd 0x7f00", false),
            ("257 0xffffff9c 0x7f1 0x1 0x1b6 0x0 0x0 0x0 0x0", false),
            ("59 0x1 0x1 0x1 0x1 0x0 0x8 0x7ffd 0x7f00", false),
            ("5 0x7f1 0x1 0x1 0x0 0x0 0x0 0x7ffd 0x7f00", false),
        ] {
            assert_eq!(Call::parse(line.as_bytes()).unwrap().only_writes(), writes, "{line}");
        }
    }

    #[test]
    fn whose_open_it_is_the_stack_tells() {
        let open = "[<0>] do_filp_open+0xc3/0x180\n[<0>] do_sys_openat2+0x6e/0xd0\n\
                    [<0>] __x64_sys_openat+0x5d/0xa0\n[<0>] do_syscall_64+0x71/0x280\n";
        assert!(is_in_its_open(open.as_bytes()));
        assert!(is_in_its_open(b"[<0>] __arm64_sys_open_by_handle_at+0x1/0x2\n"));
        assert!(is_in_its_open(b"[<0>] do_handle_open+0x1/0x2\n[<0>] do_syscall_64+0x71/0x280\n"));
        let ring = "[<0>] do_filp_open+0xc3/0x180\n[<0>] io_openat2+0x6e/0xd0\n\
                    [<0>] io_req_task_submit+0x5/0x6\n[<0>] task_work_run+0x59/0x90\n\
                    [<0>] exit_to_user_mode_loop+0x1/0x2\n[<0>] do_syscall_64+0x71/0x280\n";
        assert!(!is_in_its_open(ring.as_bytes()));
        assert!(!is_in_its_open(b""), "nobody tells");
    }

    /// As where others run on its processor between its question and its sleep.
    #[test]
    fn who_is_not_asleep_yet_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        for writes in [false, true] {
            let (sender, receiver) = std::sync::mpsc::sync_channel(0);
            let opened = fifo.clone();
            let opener = std::thread::spawn(move || {
                sender.send(rustix::thread::gettid()).unwrap();
                let until = Instant::now() + Duration::from_millis(50);
                while Instant::now() < until {}
                std::fs::OpenOptions::new().read(!writes).write(writes).open(opened).unwrap();
            });
            let thread = receiver.recv().unwrap().as_raw_nonzero().get().unsigned_abs();
            let (loads, only) = (loads(thread), only_writes(thread));
            std::fs::OpenOptions::new().read(writes).write(!writes).open(&fifo).unwrap();
            opener.join().unwrap();
            assert_eq!((loads, only), (false, writes));
        }
    }
}
