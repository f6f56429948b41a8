//! Requests to the control file of container-IMA (linux/ima_container.h, which
//! `kernel/patches` adds; `kernel/INTERFACE.md`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What an id has room for, its NUL included.
const ID_ROOM: usize = 208;

/// `struct ima_container_create`.
#[repr(C)]
struct Create {
    id: [u8; ID_ROOM],
    flags: u32,
    pidfd: i32,
    limit_mib: u32,
    reserved: u32,
    secret: [u8; 32],
}

/// `struct ima_container_release`.
#[repr(C)]
struct Release {
    id: [u8; ID_ROOM],
}

/// `_IOW(0xb9, 0, struct ima_container_create)`: the size is part of the number.
const CREATE: libc::c_ulong = request::<Create>(0);
/// `_IOW(0xb9, 1, struct ima_container_release)`.
const RELEASE: libc::c_ulong = request::<Release>(1);

const fn request<T>(number: libc::c_ulong) -> libc::c_ulong {
    (1 << 30) | ((size_of::<T>() as libc::c_ulong) << 16) | (0xb9 << 8) | number
}

/// The id as the kernel takes it. One that has no room, or a NUL within, is none.
fn padded(id: &str) -> io::Result<[u8; ID_ROOM]> {
    let mut bytes = [0; ID_ROOM];
    if id.len() >= ID_ROOM || id.as_bytes().contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    bytes[..id.len()].copy_from_slice(id.as_bytes());
    Ok(bytes)
}

/// Makes the process that `pidfd` refers to the first of a container, whose list takes
/// `limit_mib` MiB at most; 0 for the node's own limit, which no other may be above.
///
/// # Errors
/// As `kernel/INTERFACE.md` has them.
pub fn create(
    control: BorrowedFd<'_>,
    id: &str,
    pidfd: BorrowedFd<'_>,
    (secret, limit_mib): (&[u8; 32], u32),
) -> io::Result<()> {
    let argument = Create {
        id: padded(id)?,
        flags: 0,
        pidfd: pidfd.as_raw_fd(),
        limit_mib,
        reserved: 0,
        secret: *secret,
    };
    // SAFETY: the request reads as many bytes as its number says, which are `Create`'s, and
    // `argument` outlives the call.
    let done = unsafe { libc::ioctl(control.as_raw_fd(), CREATE as _, &raw const argument) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets go of a container, which ends when nobody is in it.
///
/// # Errors
/// As `kernel/INTERFACE.md` has them.
pub fn release(control: BorrowedFd<'_>, id: &str) -> io::Result<()> {
    let argument = Release { id: padded(id)? };
    // SAFETY: the request reads as many bytes as its number says, which are `Release`'s, and
    // `argument` outlives the call.
    let done = unsafe { libc::ioctl(control.as_raw_fd(), RELEASE as _, &raw const argument) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    /// The numbers of a C compiler that was given the header.
    #[test]
    fn requests_are_numbered_as_the_header_has_them() {
        assert_eq!((CREATE, RELEASE), (0x4100_b900, 0x40d0_b901));
    }

    #[test]
    fn an_id_that_has_no_room_is_refused() {
        assert_eq!(padded("a").unwrap()[..2], *b"a\0");
        assert!(padded(&"x".repeat(ID_ROOM - 1)).is_ok());
        for id in [&*"x".repeat(ID_ROOM), "a\0b"] {
            assert_eq!(padded(id).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn what_is_no_control_file_makes_no_container() {
        let null = File::open("/dev/null").unwrap();
        let made = create(null.as_fd(), "a", null.as_fd(), (&[7; 32], 0));
        assert_eq!(made.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        let gone = release(null.as_fd(), "a");
        assert_eq!(gone.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
