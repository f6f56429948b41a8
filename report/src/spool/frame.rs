//! Frames of a spool segment: `length u32 · crc32 u32 · number u64 · payload`, little
//! endian; the checksum covers number and payload. A segment begins with [`MAGIC`].

use lacre_proto::MAX_RECORD;

/// How a segment begins.
pub(crate) const MAGIC: &[u8; 8] = b"LCRSPL1\n";

/// The last number that there can be: whoever adds one to a number need not look.
const LAST: u64 = i64::MAX as u64;

/// Bytes before a payload.
pub(crate) const HEAD: usize = 16;

/// The head of a frame, read and not yet checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) len: usize,
    crc: u32,
    pub(crate) number: u64,
}

impl Head {
    /// `None` when no frame begins like this.
    pub(crate) fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let [l0, l1, l2, l3, c0, c1, c2, c3, number @ ..] = *bytes;
        let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
        let number = u64::from_le_bytes(number);
        (len <= MAX_RECORD && (1..=LAST).contains(&number)).then_some(Self {
            len,
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            number,
        })
    }

    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        self.len == payload.len() && self.crc == checksum(self.number, payload)
    }
}

/// A whole frame, to be written at once.
pub(crate) fn encode(number: u64, payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() > MAX_RECORD {
        return None;
    }
    let len = u32::try_from(payload.len()).ok()?;
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&checksum(number, payload).to_le_bytes());
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(payload);
    Some(frame)
}

fn checksum(number: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The bytes up to the end of the last whole frame; 0 when it does not even begin right.
    pub(crate) valid: usize,
    /// The number of the last whole frame.
    pub(crate) last: Option<u64>,
}

/// Finds the whole frames, numbered without a gap, from the beginning on.
pub(crate) fn scan(segment: &[u8]) -> Scan {
    let mut scan = Scan { valid: 0, last: None };
    if !segment.starts_with(MAGIC) {
        return scan;
    }
    scan.valid = MAGIC.len();
    while let Some((head, rest)) = segment[scan.valid..].split_first_chunk::<HEAD>() {
        let Some(head) = Head::read(head) else { break };
        let Some(payload) = rest.get(..head.len) else { break };
        if !head.fits(payload) || scan.last.is_some_and(|last| head.number != last + 1) {
            break;
        }
        scan.valid += HEAD + head.len;
        scan.last = Some(head.number);
    }
    scan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (at, payload) in payloads.iter().enumerate() {
            bytes.extend(encode(at as u64 + 1, payload).unwrap());
        }
        bytes
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..12)
    }

    proptest! {
        #[test]
        fn a_torn_tail_costs_the_torn_frame_and_no_other(payloads in payloads(), cut in 0_usize..2000) {
            let whole = segment(&payloads);
            let cut = cut % (whole.len() + 1);
            let found = scan(&whole[..cut]);
            prop_assert!(found.valid <= cut);
            let kept = usize::try_from(found.last.unwrap_or(0)).unwrap();
            if cut >= MAGIC.len() {
                prop_assert_eq!(segment(&payloads[..kept]).len(), found.valid);
                prop_assert!(kept == payloads.len() || segment(&payloads[..=kept]).len() > cut);
            }
        }

        #[test]
        fn a_flipped_bit_is_never_taken_for_a_record(payloads in payloads(), at in any::<usize>(), bit in 0_u32..8) {
            let mut bytes = segment(&payloads);
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            let found = scan(&bytes);
            prop_assert!(found.valid <= at, "{} holds the flipped byte {}", found.valid, at);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            crate::fuzz::fuzz_segment(&bytes);
            let mut bytes = bytes;
            bytes.splice(0..0, *MAGIC);
            crate::fuzz::fuzz_segment(&bytes);
        }
    }
}
