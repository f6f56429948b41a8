//! Prints what replay and verification cost on one core: lines per second of thread time
//! and of wall time, which differ where the machine is shared.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it is what this program is for")]

use std::time::{Duration, Instant};

use lacre_attest::container::Secret;
use lacre_attest::evidence::Evidence;
use lacre_attest::ima::{Form, Stream, write};
use lacre_attest::replay::Replay;
use lacre_attest::testing::Node;
use lacre_attest::verify::{Expectations, ExpectedContainer, verify};
use lacre_types::{Algorithm, Digest};
use rustix::time::{ClockId, clock_gettime};

const LINES: u64 = 1_000_000;

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// The quickest of three: what else runs only adds.
fn measured(what: &str, lines: u64, mut run: impl FnMut()) {
    let (mut thread, mut wall) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let (from, start) = (thread_time(), Instant::now());
        run();
        thread = thread.min(thread_time() - from);
        wall = wall.min(start.elapsed());
    }
    let rate = lines as f64 / thread.as_secs_f64() / 1e6;
    let (thread, wall) = (thread.as_secs_f64() * 1e3, wall.as_secs_f64() * 1e3);
    println!("{what:<44} {thread:>8.1} ms {wall:>8.1} ms wall {rate:>6.2} M lines/s");
}

fn main() {
    use Algorithm::{Sha1, Sha256, Sha384};
    let mut list = Vec::new();
    for n in 0..LINES {
        let name = format!("/usr/lib/x86_64-linux-gnu/library-{n}.so.6");
        let digest = Digest::sha256([n.to_le_bytes()[0]; 32]);
        list.extend(write::file(10, Sha1, &digest, name.as_bytes()));
    }
    println!("{LINES} lines of ima-ng, {} MiB, template digests SHA-1", list.len() >> 20);
    for banks in [&[Sha256][..], &[Sha1], &[Sha384], &[Sha1, Sha256, Sha384]] {
        measured(&format!("replay in {banks:?}"), LINES, || {
            let mut replay = Replay::new(banks.iter().copied());
            let mut stream = Stream::new(Form::Binary, Sha1);
            for piece in list.chunks(1 << 20) {
                let fed = stream.feed(piece, |_, entry| {
                    let _ = replay.push(entry, Sha1);
                });
                assert!(fed.is_ok());
            }
        });
    }
    drop(list);
    for lines in [1_000u32, 10_000, 100_000] {
        let mut node = Node::boot();
        for n in 0..lines {
            node.measure(&Digest::sha256([7; 32]), &format!("/usr/lib/library-{n}.so"));
        }
        containers(&mut node, 10, lines / 10);
        whole(&format!("verify, {lines} lines on the host, and in 10"), &node, 10, lines * 2);
    }
    for count in [1u8, 100] {
        let mut node = Node::boot();
        containers(&mut node, count, 10_000 / u32::from(count));
        let what = format!("verify, 10000 lines in {count} containers");
        whole(&what, &node, count, 10_000);
    }
}

fn containers(node: &mut Node, count: u8, lines: u32) {
    for n in 0..count {
        let id = format!("container-{n}");
        node.create(&id, Secret::new([n; 32]));
        for line in 0..lines {
            node.run(&id, &Digest::sha256([7; 32]), &format!("/usr/lib/library-{line}.so"));
        }
        node.flush();
    }
}

fn whole(what: &str, node: &Node, count: u8, lines: u32) {
    let json = node.evidence(b"nonce").to_json();
    let expected = |n: u8| ExpectedContainer {
        id: format!("container-{n}"),
        secret: Some(Secret::new([n; 32])),
        seq: None,
        keeper: None,
        baseline: None,
        optional: false,
    };
    let containers = (0..count).map(expected).collect();
    let expect = Expectations { containers, ..Expectations::default() };
    measured(what, lines.into(), || {
        let evidence = Evidence::parse(&json).unwrap();
        let verified = verify(&evidence, &expect, None, 0);
        assert_eq!(verified.verdict.findings(), []);
    });
}
