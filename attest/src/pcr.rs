//! Platform configuration registers: a digest that can only be extended.

use lacre_types::{Algorithm, Digest};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// How many PCRs a PC's TPM has (TCG PC Client Platform TPM Profile, 4.6).
pub const COUNT: u32 = 24;

/// Whether somebody who runs as root, or launches a kernel anew, can set the PCR back within a
/// boot (TCG PC Client Platform TPM Profile, 4.6.2): of what was extended to it nothing needs
/// to be left.
#[must_use]
pub const fn is_resettable(index: u32) -> bool {
    matches!(index, 16 | 20..=23)
}

/// A PCR that a list can be anchored in: nothing but a reset of the platform sets it back. That
/// leaves out 17 to 19, too, which begin anew with each dynamic launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListPcr(u32);

impl ListPcr {
    /// The host's list's (`CONFIG_IMA_MEASURE_PCR_IDX`).
    pub const HOST: Self = Self(10);
    /// That of the lists that the kernel keeps of containers (`ima.container_pcr`).
    pub const KERNEL: Self = Self(12);
    /// That of the lists that shims keep.
    pub const SHIM: Self = Self(15);

    /// That PCR; `None` for one that can be set back.
    #[must_use]
    pub const fn new(index: u32) -> Option<Self> {
        if index < 16 { Some(Self(index)) } else { None }
    }

    /// One that shims' lists may be anchored in: nobody's secrets are sealed to it, and what
    /// extends it beside them does so before they begin ([`owner`]).
    #[must_use]
    pub const fn for_shims(index: u32) -> Option<Self> {
        if index < 12 { None } else { Self::new(index) }
    }

    /// Its number.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// Whose a PCR is that no shim's list may be extended to: what is sealed to it would stay closed,
/// or what is compared with it would differ (TCG PC Client Platform Firmware Profile, 3.3.4; the
/// Linux TPM PCR Registry, where systemd's are). `None`: lists may be there.
#[must_use]
pub const fn owner(index: u32) -> Option<&'static str> {
    match index {
        0..=7 => Some("the firmware's"),
        8 | 9 => Some("the boot loader's, and part of boot_aggregate"),
        10 => Some("IMA's"),
        11 => Some("systemd's, which unlocks disks by it"),
        12..=15 => None,
        _ => Some("set back at will, or by a dynamic launch"),
    }
}

/// The digest of the parts, one after the other.
#[must_use]
pub fn hash(algorithm: Algorithm, parts: &[&[u8]]) -> Digest {
    fn of<D: sha2::Digest>(algorithm: Algorithm, parts: &[&[u8]]) -> Digest {
        let mut hasher = D::new();
        for part in parts {
            hasher.update(part);
        }
        filled(algorithm, &hasher.finalize())
    }
    match algorithm {
        Algorithm::Sha1 => of::<Sha1>(algorithm, parts),
        Algorithm::Sha256 => of::<Sha256>(algorithm, parts),
        Algorithm::Sha384 => of::<Sha384>(algorithm, parts),
        Algorithm::Sha512 => of::<Sha512>(algorithm, parts),
    }
}

/// The value after the event: `H(value ‖ event)` (TPM 2.0 Part 1, 17.3).
#[must_use]
pub fn extended(value: &Digest, event: &[u8]) -> Digest {
    hash(value.algorithm(), &[value.as_bytes(), event])
}

/// What a PCR holds after a reset: the dynamic ones (17 to 22) ones, the others zeroes.
#[must_use]
pub fn initial(algorithm: Algorithm, index: u32) -> Digest {
    repeated(algorithm, if (17..=22).contains(&index) { 0xff } else { 0 })
}

/// A digest of one byte, over and over.
#[must_use]
pub fn repeated(algorithm: Algorithm, byte: u8) -> Digest {
    filled(algorithm, &[byte; 64])
}

/// The bytes as a digest: cut, or padded with zeroes, to the algorithm's length.
fn filled(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut all = [0; 64];
    let len = bytes.len().min(algorithm.len());
    all[..len].copy_from_slice(&bytes[..len]);
    Digest::new(algorithm, &all[..algorithm.len()]).unwrap_or_else(|| Digest::sha256([0; 32]))
}

/// A digest put into a bank of longer ones, as kernels before 5.8 put SHA-1 into all.
#[must_use]
pub(crate) fn padded(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    filled(algorithm, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_anchored_in_what_can_be_set_back() {
        for index in 0..COUNT {
            let lists = ListPcr::new(index);
            assert!(lists.is_none() || !is_resettable(index), "{index}");
            assert_eq!(lists.map(ListPcr::index), (index < 16).then_some(index));
            assert_eq!(ListPcr::for_shims(index).is_some(), owner(index).is_none(), "{index}");
        }
    }

    #[test]
    fn extends_as_a_tpm_does() {
        let zero = initial(Algorithm::Sha256, 10);
        let after = extended(&zero, &[0xff; 32]);
        assert_eq!(after, hash(Algorithm::Sha256, &[&[0; 32], &[0xff; 32]]));
        assert_eq!(initial(Algorithm::Sha1, 17).as_bytes(), [0xff; 20]);
        assert_eq!(padded(Algorithm::Sha256, &[1; 20]).as_bytes()[20..], [0; 12]);
    }
}
