//! What file systems promise, by the names that `mountinfo` has.

/// Those that keep files on a disk and date each change of content, to a tick of the clock at
/// least; those that nobody can write to change nothing. Not vfat, whose dates are coarse.
const DATED: [&[u8]; 10] = [
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"bcachefs",
    b"f2fs",
    b"zfs",
    b"erofs",
    b"squashfs",
];

/// Others for which the kernel alone answers.
const KERNELS: [&[u8]; 7] =
    [b"tmpfs", b"ramfs", b"rootfs", b"devtmpfs", b"overlay", b"iso9660", b"vfat"];

/// Whether each change of content has a date of its own. Not of tmpfs and ramfs, which do not
/// date what is stored to a shared mapping; nor of an overlay, whose files are its layers'.
pub(crate) fn dates_changes(kind: &[u8]) -> bool {
    DATED.contains(&kind)
}

/// Whether the kernel answers for it. A server or a process (FUSE, NFS, 9P, virtiofs) may
/// answer each reader differently, and may never answer.
pub(crate) fn answers(kind: &[u8]) -> bool {
    dates_changes(kind) || KERNELS.contains(&kind)
}
