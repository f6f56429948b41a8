//! Event records as a read of a group gives them (struct fanotify_event_metadata).

use std::io;
use std::os::fd::RawFd;

pub(super) const METADATA: usize = size_of::<libc::fanotify_event_metadata>();

/// One record.
pub(super) struct Record {
    pub(super) mask: u64,
    pub(super) pid: u32,
    pub(super) fd: Option<RawFd>,
}

/// The event records in what a group's read gave (struct fanotify_event_metadata).
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<Record>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let parsed = record(bytes);
        bytes = parsed.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(parsed.map(|(record, _)| record).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "an fanotify record of unknown form")
        }))
    })
}

fn record(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let version = *bytes.get(4)?;
    if version != libc::FANOTIFY_METADATA_VERSION || length < METADATA {
        return None;
    }
    let (head, rest) = bytes.split_at_checked(length)?;
    let fd = i32::from_ne_bytes(head.get(16..20)?.try_into().ok()?);
    let record = Record {
        mask: u64::from_ne_bytes(head.get(8..16)?.try_into().ok()?),
        pid: u32::from_ne_bytes(head.get(20..24)?.try_into().ok()?),
        fd: (fd >= 0).then_some(fd),
    };
    Some((record, rest))
}

/// Entry points for fuzzing.
#[doc(hidden)]
pub mod fuzz {
    /// Event records from a group.
    pub fn fuzz_records(data: &[u8]) {
        let records = super::records(data);
        assert!(records.count() <= data.len() / super::METADATA + 1, "it ends");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(length: u32, mask: u64, fd: i32, pid: u32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([3, 0]);
        bytes.extend(24_u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend(fd.to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes
    }

    #[test]
    fn records_are_read_one_after_the_other() {
        let mut two = bytes(24, 1, 7, 42);
        two.extend(bytes(24, 2, -1, 0));
        let read: Vec<_> = records(&two).map(|r| r.map(|r| (r.mask, r.fd, r.pid))).collect();
        assert_eq!(read[0].as_ref().unwrap(), &(1, Some(7), 42));
        assert_eq!(read[1].as_ref().unwrap(), &(2, None, 0));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn a_record_that_lies_about_its_length_ends_the_reading() {
        for length in [0, 23, 25, u32::MAX] {
            let read: Vec<_> = records(&bytes(length, 1, 7, 1)).map(|r| r.is_ok()).collect();
            assert_eq!(read, [false], "length {length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz::fuzz_records(&data);
        }
    }
}
