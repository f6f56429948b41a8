//! A certificate, as TPMs' makers write them (RFC 5280; TCG EK Credential Profile).
//!
//! What decides is read strictly: lengths, algorithms, the key, what a key may be used for. What
//! does not is not looked at: the serial number, which some write with a wrong sign or too many
//! digits; names, whose strings are of other types than they should be and whose sets are in the
//! wrong order, and which are compared byte for byte.

use super::der::{Der, Odd, tag};

/// OIDs, as their DER content.
mod oid {
    pub(super) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    pub(super) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    pub(super) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub(super) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
    pub(super) const POLICIES: &[u8] = &[0x55, 0x1d, 0x20];
    pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
}

/// `tcg-kp-EKCertificate`, 2.23.133.8.1.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// `anyExtendedKeyUsage`.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// `keyCertSign`, of the first byte of a key usage.
const CERT_SIGN: u8 = 0x04;

/// What of a certificate its verification needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certificate<'a> {
    /// What is signed.
    pub(super) signed: &'a [u8],
    /// The algorithm's identifier, without the sequence around it.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// The names, as they are written.
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    /// When it holds, in seconds since 1970, the last of them too.
    pub(super) valid: (u64, u64),
    /// The key, `SubjectPublicKeyInfo`, without the sequence around it.
    pub(super) key: &'a [u8],
    extensions: Extensions,
}

#[derive(Debug, Clone, Copy, Default)]
struct Extensions {
    /// Whether it may sign others, and how many may stand between it and the last.
    authority: Option<Option<u8>>,
    usage: Option<u8>,
    /// Whether it may be an EK's, where it says what it is for.
    endorsement: Option<bool>,
    /// Something that must not be passed over, and that is not known here.
    unknown: bool,
}

impl<'a> Certificate<'a> {
    /// Reads one, and nothing behind it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Odd> {
        let mut outer = Der::new(bytes);
        let mut whole = outer.enter(tag::SEQUENCE)?;
        outer.end()?;
        let signed = whole.any()?;
        let (algorithm, signature) = (whole.take(tag::SEQUENCE)?, whole.bits()?);
        whole.end()?;
        if signed.tag != tag::SEQUENCE {
            return Err(Odd);
        }
        let mut inner = Der::new(signed.content);
        // One of an older version has no extensions, so that it may sign nothing.
        inner.take_if(tag::VERSION)?;
        inner.take(tag::INTEGER)?;
        if inner.take(tag::SEQUENCE)? != algorithm {
            return Err(Odd);
        }
        let issuer = inner.take(tag::SEQUENCE)?;
        let mut valid = inner.enter(tag::SEQUENCE)?;
        let valid = (time(&mut valid)?, time(&mut valid)?);
        let (subject, key) = (inner.take(tag::SEQUENCE)?, inner.take(tag::SEQUENCE)?);
        // Unique identifiers of issuer and subject, `[1]` and `[2]`, which nobody uses.
        inner.take_if(0x81)?;
        inner.take_if(0x82)?;
        let extensions = inner.take_if(tag::EXTENSIONS)?;
        inner.end()?;
        let extensions = extensions.map(Extensions::parse).transpose()?.unwrap_or_default();
        let signed = signed.whole;
        Ok(Self { signed, algorithm, signature, issuer, subject, valid, key, extensions })
    }

    /// Whether something in it that must not be passed over is not known here.
    pub(super) const fn has_unknown(self) -> bool {
        self.extensions.unknown
    }

    /// Whether it may be an endorsement key's.
    pub(super) fn may_be_ek(self) -> bool {
        // Who may sign others' certificates is no TPM's key.
        self.extensions.authority.is_none() && self.extensions.endorsement.unwrap_or(true)
    }

    /// Whether it may sign another that has so many below it.
    pub(super) fn may_sign(self, below: usize) -> bool {
        let Some(length) = self.extensions.authority else { return false };
        let usage = self.extensions.usage.is_none_or(|usage| usage & CERT_SIGN != 0);
        usage
            && length.is_none_or(|length| below <= usize::from(length))
            && self.extensions.endorsement.unwrap_or(true)
    }
}

impl Extensions {
    fn parse(bytes: &[u8]) -> Result<Self, Odd> {
        let (mut outer, mut found) = (Der::new(bytes), Self::default());
        let mut all = outer.enter(tag::SEQUENCE)?;
        outer.end()?;
        let mut seen: Vec<&[u8]> = Vec::new();
        while !all.is_empty() {
            let mut one = all.enter(tag::SEQUENCE)?;
            let id = one.take(tag::OID)?;
            // FALSE is the default, and some write it all the same.
            let critical = one.take_if(tag::BOOLEAN)?.is_some_and(|value| value != [0]);
            let value = one.take(tag::OCTET_STRING)?;
            one.end()?;
            if seen.contains(&id) {
                return Err(Odd);
            }
            seen.push(id);
            match id {
                oid::KEY_USAGE => {
                    let bits = Der::new(value).take(tag::BIT_STRING)?;
                    found.usage = Some(bits.get(1).copied().unwrap_or(0));
                }
                oid::BASIC_CONSTRAINTS => found.authority = authority(value)?,
                oid::EXTENDED_KEY_USAGE => found.endorsement = Some(is_for_ek(value)?),
                // Who made the TPM, its model and version: nothing is asked of that. And by which
                // policy it was issued: nobody here asks for one, so each will do (RFC 5280,
                // 6.1.1, initial-explicit-policy).
                oid::SUBJECT_ALT_NAME | oid::POLICIES => {}
                // It must be obeyed, and is not understood.
                oid::NAME_CONSTRAINTS => found.unknown = true,
                _ => found.unknown |= critical,
            }
        }
        Ok(found)
    }
}

fn authority(value: &[u8]) -> Result<Option<Option<u8>>, Odd> {
    let mut inside = Der::new(value).enter(tag::SEQUENCE)?;
    let is = inside.take_if(tag::BOOLEAN)?.is_some_and(|value| value != [0]);
    let length = match inside.take_if(tag::INTEGER)? {
        Some([length @ 0..=0x7f]) => Some(*length),
        // Longer than any chain that is looked at.
        Some([0..=0x7f, _, ..]) | None => None,
        Some(_) => return Err(Odd),
    };
    inside.end()?;
    Ok(is.then_some(length))
}

fn is_for_ek(value: &[u8]) -> Result<bool, Odd> {
    let (mut inside, mut is) = (Der::new(value).enter(tag::SEQUENCE)?, false);
    while !inside.is_empty() {
        is |= matches!(inside.take(tag::OID)?, EK_CERTIFICATE | ANY_USAGE);
    }
    Ok(is)
}

/// `UTCTime` or `GeneralizedTime` (RFC 5280, 4.1.2.5), in seconds since 1970.
fn time(at: &mut Der<'_>) -> Result<u64, Odd> {
    let value = at.any()?;
    let (year, rest) = match (value.tag, value.content.len()) {
        (tag::UTC_TIME, 13) => {
            let year = digits(&value.content[..2])?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &value.content[2..])
        }
        (tag::GENERALIZED_TIME, 15) => (digits(&value.content[..4])?, &value.content[4..]),
        _ => return Err(Odd),
    };
    let part = |at: usize| digits(&rest[at..at + 2]);
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    let is_one = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if rest[10] != b'Z' || !is_one {
        return Err(Odd);
    }
    if year < 1970 {
        return Ok(0);
    }
    // Days since 1970 of the proleptic Gregorian calendar, by years that begin in March.
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day;
    let days = days.saturating_sub(719_469);
    Ok(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn digits(text: &[u8]) -> Result<u64, Odd> {
    text.iter().try_fold(0, |sum, digit| match digit {
        b'0'..=b'9' => Ok(sum * 10 + u64::from(digit - b'0')),
        _ => Err(Odd),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tag: u8, text: &str) -> Result<u64, Odd> {
        let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        time(&mut Der::new(&bytes))
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("19700101000000Z", 0),
            ("20000229235959Z", 951_868_799),
            ("20240301000000Z", 1_709_251_200),
            ("99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(at(tag::GENERALIZED_TIME, text), Ok(seconds), "{text}");
        }
        assert_eq!(at(tag::UTC_TIME, "491231235959Z"), Ok(2_524_607_999));
        assert_eq!(at(tag::UTC_TIME, "700101000001Z"), Ok(1));
        assert_eq!(at(tag::UTC_TIME, "501231235959Z"), Ok(0), "before 1970, and past anyway");
        assert_eq!(at(tag::GENERALIZED_TIME, "00000101000000Z"), Ok(0));
        for odd in [
            "20241301000000Z",
            "20240001000000Z",
            "2024030100000Z",
            "20240301000000+",
            "2024030x000000Z",
        ] {
            assert!(at(tag::GENERALIZED_TIME, odd).is_err(), "{odd}");
        }
    }
}
