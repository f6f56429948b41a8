//! Numbers in what the kernel hands over, in the byte order of the machine.

/// The number at `at`; `None` where the bytes end before.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

/// The same.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

/// The same.
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_ne_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_none() {
        let bytes = [&7_u16.to_ne_bytes()[..], &8_u32.to_ne_bytes()].concat();
        assert_eq!((u16_at(&bytes, 0), u32_at(&bytes, 2)), (Some(7), Some(8)));
        assert_eq!((u32_at(&bytes, 3), u64_at(&bytes, 0), u16_at(&bytes, 6)), (None, None, None));
        assert_eq!(u32_at(&bytes, usize::MAX), None);
    }
}
