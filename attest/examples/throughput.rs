//! Prints how many lines of a list are replayed in a second, on one core.
#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use std::time::Instant;

use lacre_attest::ima::{Form, Stream, write};
use lacre_attest::replay::Replay;
use lacre_types::{Algorithm, Digest};

const LINES: u64 = 1_000_000;

fn main() {
    let mut list = Vec::new();
    for n in 0..LINES {
        let name = format!("/usr/lib/x86_64-linux-gnu/library-{n}.so.6");
        let digest = Digest::sha256([n.to_le_bytes()[0]; 32]);
        list.extend(write::file(10, Algorithm::Sha1, &digest, name.as_bytes()));
    }
    println!("{LINES} lines, {} MiB, template ima-ng", list.len() >> 20);
    use Algorithm::{Sha1, Sha256, Sha384};
    for banks in [&[Sha256][..], &[Sha1], &[Sha384], &[Sha1, Sha256]] {
        let start = Instant::now();
        let mut replay = Replay::new(banks.iter().copied());
        let mut stream = Stream::new(Form::Binary, Sha1);
        for piece in list.chunks(1 << 20) {
            let fed = stream.feed(piece, |_, entry| {
                let _ = replay.push(entry, Sha1);
            });
            assert!(fed.is_ok());
        }
        let took = start.elapsed();
        let rate = LINES as f64 / took.as_secs_f64();
        println!("{banks:?}: {:.0} ms, {rate:.0} lines/s", took.as_secs_f64() * 1e3);
    }
}
