//! Certificates of endorsement keys, as makers write them and as a forger would.

use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;
use crate::tpm2::keys::tests::{ecc, rsa};

/// 2030-01-01.
const NOW: u64 = 1_893_456_000;

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = crate::tpm2::der::number(&length);
    let length = match content.len() {
        short @ 0..=0x7f => vec![u8::try_from(short).unwrap()],
        _ => [&[0x80 | u8::try_from(digits.len()).unwrap()], digits].concat(),
    };
    [&[tag][..], &length, content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn oid(content: &[u8]) -> Vec<u8> {
    tlv(6, content)
}

/// A name of sets of attributes, each of a string type; in the order that is given, which need
/// not be DER's.
fn name(sets: &[&[(u8, u8, &str)]]) -> Vec<u8> {
    let set = |set: &&[(u8, u8, &str)]| {
        let attributes = set.iter().map(|(attribute, string, text)| {
            sequence(&[&oid(&[0x55, 4, *attribute]), &tlv(*string, text.as_bytes())])
        });
        tlv(0x31, &attributes.collect::<Vec<_>>().concat())
    };
    sequence(&[&sets.iter().map(set).collect::<Vec<_>>().concat()])
}

/// Common name, printable.
fn plain(text: &str) -> Vec<u8> {
    name(&[&[(3, 0x13, text)]])
}

fn extension(id: &[u8], critical: Option<u8>, value: &[u8]) -> Vec<u8> {
    let critical = critical.map(|value| tlv(1, &[value])).unwrap_or_default();
    sequence(&[&oid(id), &critical, &tlv(4, value)])
}

/// `basicConstraints` of who may sign, with so many between.
fn authority(length: Option<u8>) -> Vec<u8> {
    let length = length.map(|length| tlv(2, &[length])).unwrap_or_default();
    extension(&[0x55, 0x1d, 0x13], Some(0xff), &sequence(&[&tlv(1, &[0xff]), &length]))
}

/// Of who may not, where the default is written all the same.
fn no_authority() -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x13], Some(0xff), &sequence(&[&tlv(1, &[0])]))
}

fn usage(bits: u8) -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x0f], Some(0xff), &tlv(3, &[0, bits]))
}

fn purpose(id: &[u8]) -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x25], None, &sequence(&[&oid(id)]))
}

fn for_ek() -> Vec<u8> {
    purpose(&[0x67, 0x81, 0x05, 0x08, 0x01])
}

/// `certificatePolicies`, critical, with a place where to read it.
fn policies() -> Vec<u8> {
    let place = tlv(0x16, b"http://www.example/TPM/repository/");
    let qualifier = sequence(&[&oid(&[0x2b, 6, 1, 5, 5, 7, 2, 1]), &place]);
    let policy = sequence(&[&oid(&[0x55, 0x1d, 0x20, 0]), &sequence(&[&qualifier])]);
    extension(&[0x55, 0x1d, 0x20], Some(0xff), &sequence(&[&policy]))
}

/// `subjectAltName`, critical, as the profile has it where the subject is empty: who made the
/// TPM, its model and version, here all in one set.
fn who_made_it() -> Vec<u8> {
    let attribute =
        |last: u8, text: &[u8]| sequence(&[&oid(&[0x67, 0x81, 5, 2, last]), &tlv(0x0c, text)]);
    let set = tlv(0x31, &[attribute(3, b"id:13"), attribute(1, b"id:4E544300")].concat());
    let directory = tlv(0xa4, &sequence(&[&set]));
    extension(&[0x55, 0x1d, 0x11], Some(0xff), &sequence(&[&directory]))
}

struct Signer {
    key: EcdsaKeyPair,
    name: Vec<u8>,
}

const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], bytes].concat())
}

fn ec_key(point: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(&[&oid(EC), &oid(P256)]), &bits(point)])
}

/// What a certificate says, as it is to be written.
struct Says {
    serial: Vec<u8>,
    subject: Vec<u8>,
    until: &'static str,
    key: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

impl Signer {
    fn new(name: Vec<u8>) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = &ECDSA_P256_SHA256_ASN1_SIGNING;
        Self { key: EcdsaKeyPair::from_pkcs8(key, made.as_ref(), &random).unwrap(), name }
    }

    fn says(&self, extensions: Vec<Vec<u8>>) -> Says {
        Says {
            serial: vec![1],
            subject: self.name.clone(),
            until: "99991231235959Z",
            key: ec_key(self.key.public_key().as_ref()),
            extensions,
        }
    }

    fn sign(&self, says: &Says) -> Vec<u8> {
        self.sign_as(&self.name, says)
    }

    fn sign_as(&self, issuer: &[u8], says: &Says) -> Vec<u8> {
        let algorithm = sequence(&[&oid(ECDSA_SHA256)]);
        let times = sequence(&[&tlv(0x17, b"200101000000Z"), &tlv(0x18, says.until.as_bytes())]);
        let extensions = tlv(0xa3, &sequence(&[&says.extensions.concat()]));
        let signed = sequence(&[
            &tlv(0xa0, &tlv(2, &[2])),
            &tlv(2, &says.serial),
            &algorithm,
            issuer,
            &times,
            &says.subject,
            &says.key,
            &extensions,
        ]);
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        sequence(&[&signed, &algorithm, &bits(signature.as_ref())])
    }

    fn root(&self) -> EkRoots {
        EkRoots::new([&*self.sign(&self.says(vec![authority(None), usage(4)]))]).unwrap()
    }
}

/// An EK, and what its certificate says of it as a rule.
fn endorsement() -> (Public, Says) {
    let (x, y) = ([7; 32], [9; 32]);
    let point = [&[4][..], &x, &y].concat();
    let extensions = vec![who_made_it(), no_authority(), for_ek(), usage(0x08)];
    let (serial, subject) = (vec![5], sequence(&[]));
    let until = "99991231235959Z";
    (ecc(&x, &y), Says { serial, subject, until, key: ec_key(&point), extensions })
}

fn check(ek: &Public, chain: &[&[u8]], root: &Signer) -> Result<(), EkError> {
    verify_ek(ek, chain, &root.root(), NOW)
}

const fn wrong(why: ChainError) -> Result<(), EkError> {
    Err(EkError::Chain(why))
}

/// What makers have written, as those tell who stumbled over it: a policy that is critical, an
/// issuer whose attributes are in one set in the wrong order, or of a string type of long ago,
/// serial numbers with a wrong sign or too many digits, times without an end, padding.
#[test]
fn what_makers_write_oddly_leads_to_their_root() {
    let names = [
        plain("root"),
        // In the order C, O, CN of one set: longer ones first, which DER forbids.
        name(&[&[(3, 0x13, "TPM Root CA 2112"), (10, 0x13, "A Technology"), (6, 0x13, "TW")]]),
        // Teletex, BMP, universal: bytes that no other reader may ask to be text.
        name(&[&[(10, 0x14, "A\u{7f}G")], &[(3, 0x1e, "\0T\0P\0M")], &[(11, 0x1c, "x")]]),
        name(&[&[]]),
        sequence(&[]),
    ];
    let serials: [&[u8]; 5] = [&[0, 0, 0, 6], &[0xff, 0x85], &[0x7f; 40], &[0], &[]];
    for root_name in &names {
        for serial in serials {
            let (root, between) = (Signer::new(root_name.clone()), Signer::new(plain("between")));
            let says = between.says(vec![policies(), authority(Some(0)), usage(0x04)]);
            let middle = root.sign(&Says { serial: serial.to_vec(), ..says });
            let (ek, says) = endorsement();
            let first = between.sign(&Says { serial: serial.to_vec(), ..says });
            assert_eq!(check(&ek, &[&first, &middle], &root), Ok(()), "{root_name:x?} {serial:x?}");
            // As an index holds it, each or all of them.
            let padded = [&first[..], &[0xff; 300]].concat();
            assert_eq!(check(&ek, &[&padded, &[&middle[..], &[0; 9]].concat()], &root), Ok(()));
            assert_eq!(check(&ek, &[&[&first[..], &middle, &[0xff; 7]].concat()], &root), Ok(()));
            assert_eq!(check(&ek, &[&first], &root), wrong(ChainError::Issuer));
        }
    }
}

#[test]
fn a_chain_may_come_in_any_order_with_more_than_it_needs() {
    let root = Signer::new(plain("root"));
    let (upper, lower) = (Signer::new(plain("upper")), Signer::new(plain("lower")));
    // The same name with another key, as when a maker renews one.
    let renewed = Signer::new(plain("lower"));
    let may = || vec![authority(None), usage(0x06)];
    let (own, up) = (root.sign(&root.says(may())), root.sign(&upper.says(may())));
    let low = upper.sign(&lower.says(may()));
    let other = upper.sign(&renewed.says(may()));
    let (ek, says) = endorsement();
    let first = lower.sign(&says);
    for chain in [
        [&first, &low, &up, &own, &other],
        [&first, &own, &other, &up, &low],
        [&first, &up, &up, &low, &low],
    ] {
        let chain: Vec<&[u8]> = chain.iter().map(|one| &***one).collect();
        assert_eq!(check(&ek, &chain, &root), Ok(()));
    }
    assert_eq!(check(&ek, &[&first, b"no certificate", &low, &up], &root), Ok(()));
    assert_eq!(check(&ek, &[&first, &other, &up], &root), wrong(ChainError::Signature));
    let another = Signer::new(plain("root"));
    assert_eq!(check(&ek, &[&first, &low, &up], &another), wrong(ChainError::Signature));
    assert_eq!(check(&ek, &[], &root), Err(EkError::Missing));
}

#[test]
fn a_key_may_be_written_in_each_way_that_the_profile_has() {
    let root = Signer::new(plain("root"));
    let with = |ek: &Public, key: Vec<u8>| {
        let (_, says) = endorsement();
        check(ek, &[&root.sign(&Says { key, ..says })], &root)
    };
    // A coordinate with a zero before it, which a TPM may leave out.
    let (x, y) = ([&[0][..], &[7; 31]].concat(), [&[9; 31][..], &[3]].concat());
    let point = [&[4][..], &x, &y].concat();
    let short = [&[3][..], &x].concat();
    for ek in [ecc(&x, &y), ecc(&x[1..], &y)] {
        assert_eq!(with(&ek, ec_key(&point)), Ok(()));
        assert_eq!(with(&ek, ec_key(&short)), Ok(()), "compressed");
        let even = [&[2][..], &x].concat();
        assert_eq!(with(&ek, ec_key(&even)), Err(EkError::OtherKey));
    }
    let modulus = [&[0x80][..], &[5; 255]].concat();
    let numbers = sequence(&[&tlv(2, &[&[0], &modulus[..]].concat()), &tlv(2, &[1, 0, 1])]);
    // rsaEncryption, and id-RSAES-OAEP with parameters.
    for (last, parameters) in [(1, tlv(5, &[])), (7, sequence(&[&tlv(0xa2, &tlv(4, b""))]))] {
        let id = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last]);
        let key = sequence(&[&sequence(&[&id, &parameters]), &bits(&numbers)]);
        assert_eq!(with(&rsa(&modulus), key.clone()), Ok(()));
        assert_eq!(with(&rsa(&modulus[1..]), key.clone()), Err(EkError::OtherKey));
        // What only ends with the key is another.
        let longer = [&[1][..], &modulus].concat();
        assert_eq!(with(&rsa(&longer), key), Err(EkError::OtherKey));
    }
    let ending =
        sequence(&[&sequence(&[&oid(EC), &oid(P256)]), &bits(&[&[4], &point[..]].concat())]);
    assert_eq!(with(&ecc(&x, &y), ending), Err(EkError::OtherKey));
}

#[test]
fn what_must_not_be_taken_is_not() {
    let (root, between) = (Signer::new(plain("root")), Signer::new(plain("between")));
    let unknown = || extension(&[0x55, 0x1d, 0x24], Some(0xff), &sequence(&[]));
    let names = || extension(&[0x55, 0x1d, 0x1e], None, &sequence(&[]));
    // Of the endorsement key's own.
    for (extensions, why) in [
        (vec![authority(None), for_ek()], ChainError::Usage),
        (vec![purpose(&[0x2b, 6, 1, 5, 5, 7, 3, 2])], ChainError::Usage),
        (vec![for_ek(), unknown()], ChainError::Critical),
        (vec![for_ek(), names()], ChainError::Critical),
        (vec![for_ek(), for_ek()], ChainError::Malformed),
    ] {
        let (ek, says) = endorsement();
        let first = root.sign(&Says { extensions, ..says });
        assert_eq!(check(&ek, &[&first], &root), wrong(why));
    }
    let (ek, says) = endorsement();
    let past = root.sign(&Says { until: "20291231235959Z", ..says });
    assert_eq!(check(&ek, &[&past], &root), wrong(ChainError::Time));
    assert_eq!(check(&ecc(&[7; 32], &[8; 32]), &[&past], &root), Err(EkError::OtherKey));
    // Of the one between.
    for (extensions, why) in [
        (vec![no_authority()], ChainError::Authority),
        (vec![], ChainError::Authority),
        (vec![authority(None), usage(0x08)], ChainError::Authority),
        (vec![authority(None), purpose(&[0x2b, 6, 1, 5, 5, 7, 3, 2])], ChainError::Authority),
        (vec![authority(None), unknown()], ChainError::Critical),
    ] {
        let (ek, says) = endorsement();
        let (first, middle) = (between.sign(&says), root.sign(&between.says(extensions)));
        assert_eq!(check(&ek, &[&first, &middle], &root), wrong(why));
    }
    // One may have one below it, and has two.
    let upper = Signer::new(plain("upper"));
    let (ek, says) = endorsement();
    let first = between.sign(&says);
    let middle = upper.sign(&between.says(vec![authority(None)]));
    let top = |length| root.sign(&upper.says(vec![authority(Some(length))]));
    assert_eq!(check(&ek, &[&first, &middle, &top(1)], &root), Ok(()));
    assert_eq!(check(&ek, &[&first, &middle, &top(0)], &root), wrong(ChainError::Authority));
    // Who signs itself leads nowhere, however often.
    let own = between.sign(&between.says(vec![authority(None)]));
    let many: Vec<&[u8]> = std::iter::once(&*first).chain([&*own; 16]).collect();
    let led = check(&ek, &many, &root);
    assert!(matches!(led, Err(EkError::Chain(ChainError::Long | ChainError::Issuer))), "{led:?}");
    // What stands behind it and is no padding, and a bit that was turned.
    assert_eq!(check(&ek, &[&[&first[..], &[1]].concat()], &root), wrong(ChainError::Malformed));
}

#[test]
fn what_stands_behind_a_certificate_in_its_index_is_cut_off() {
    let certificate = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
    for padding in [&[][..], &[0xff; 9], &[0; 300], &[0, 0xff]] {
        let read = [&certificate, padding].concat();
        assert_eq!(without_padding(&read), certificate);
    }
    let other = [&certificate[..], &[0xff, 1]].concat();
    assert_eq!(without_padding(&other), other, "that is no padding");
    assert_eq!(without_padding(&certificate[..200]), &certificate[..200]);
    assert_eq!(without_padding(&[]), &[] as &[u8]);
}

proptest! {
    #[test]
    fn no_bit_of_a_chain_can_be_turned(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let (root, between) = (Signer::new(plain("root")), Signer::new(plain("between")));
        let (ek, says) = endorsement();
        let first = between.sign(&says);
        let middle = root.sign(&between.says(vec![authority(Some(0)), policies()]));
        let at = at.index(first.len() + middle.len());
        let (mut one, mut two) = (first.clone(), middle.clone());
        match at.checked_sub(first.len()) {
            None => one[at] ^= 1 << bit,
            Some(at) => two[at] ^= 1 << bit,
        }
        prop_assert!(check(&ek, &[&one, &two], &root).is_err());
    }
}
