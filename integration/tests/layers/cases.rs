//! A case: one to three layers, one upon the other.

use crate::members::member;
use crate::packing::{Blob, pack};
use crate::random::Random;

/// The case of that number under a seed.
pub(crate) fn case(seed: u64, number: u64) -> Vec<Blob> {
    let mut random = Random::new(seed, number);
    let layers = 1 + random.weighted(&[3, 4, 2]);
    (0..layers).map(|_| layer(&mut random)).collect()
}

fn layer(random: &mut Random) -> Blob {
    let (mut tar, mut names) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(9) {
        member(&mut tar, &mut names, random);
    }
    end(&mut tar, random);
    pack(&tar, random)
}

/// Two blocks of zeros, or what else may stand there.
fn end(tar: &mut Vec<u8>, random: &mut Random) {
    match random.weighted(&[40, 3, 3, 3, 3, 1, 1, 1]) {
        0 => tar.resize(tar.len() + 1024, 0),
        1 => {}
        2 => tar.resize(tar.len() + 512, 0),
        3 => tar.resize(tar.len() + 10_240, 0),
        4 => {
            tar.resize(tar.len() + 1024, 0);
            tar.extend_from_slice(b"garbage that nobody reads");
        }
        5 => {
            tar.resize(tar.len() + 512, 0);
            member(tar, &mut Vec::new(), random);
        }
        6 => {
            let padding = tar.iter().rev().take_while(|byte| **byte == 0).count().min(511);
            tar.truncate(tar.len() - random.below(padding + 2));
        }
        _ => tar.truncate(random.below(tar.len() + 1)),
    }
}
