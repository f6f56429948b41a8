//! BPF programs on BTF tracepoints (`tp_btf`), by bpf(2): libbpf attaches only a program that
//! it has loaded itself, and not one that was pinned by somebody else.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// `enum bpf_cmd` (linux/bpf.h).
const OBJ_PIN: libc::c_int = 6;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;

/// `union bpf_attr` for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Open {
    /// A pointer; 0: the tracepoint that the program was loaded for.
    name: u64,
    prog_fd: u32,
    pad: u32,
}

/// `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct Pin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Attaches a program to the tracepoint that it was loaded for, until what is given is closed
/// and pinned nowhere any more.
///
/// # Errors
/// `EEXIST` before Linux 6.10 while the program is still attached; `EPERM` without `CAP_BPF`
/// and `CAP_PERFMON`.
pub fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let open = Open { name: 0, prog_fd: program.as_raw_fd().cast_unsigned(), pad: 0 };
    let size = size_of::<Open>();
    // SAFETY: the kernel reads `size` bytes of `open`, which outlives the call, and no pointer
    // in it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, RAW_TRACEPOINT_OPEN, &raw const open, size) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins what [`attach`] gave at a path of a bpffs.
///
/// # Errors
/// `EEXIST` when something is there; `EPERM` for a name with a dot, or outside of a bpffs.
pub fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let pin = Pin {
        pathname: path.as_ptr().expose_provenance() as u64,
        bpf_fd: link.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    let size = size_of::<Pin>();
    // SAFETY: the kernel reads `size` bytes of `pin`, and in it the pointer to `path`, which
    // ends with a NUL; both outlive the call.
    let failed = unsafe { libc::syscall(libc::SYS_bpf, OBJ_PIN, &raw const pin, size) } < 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
