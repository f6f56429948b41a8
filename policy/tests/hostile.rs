//! Bytes that no person wrote: bounded time and memory, no panic, and nothing taken that
//! does not decide the same twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lacre_policy::Policy;
use lacre_policy::fuzz::{fuzz_effective, fuzz_policy};
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};

/// This thread's own, so that who else runs does not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

const FIGURE_3: &str = include_str!("fixtures/sarmento-figure3.yaml");

/// Pieces that a parser of YAML and of rules stumbles over.
fn piece() -> impl Strategy<Value = String> {
    let pieces = vec![
        "Actions",
        "INVALID_HASH",
        "ByPath",
        "ByLabel",
        "ByContainerID",
        "Default",
        "STOP",
        ": ",
        ":",
        "- ",
        "-",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "|",
        ">",
        "&a",
        "*a",
        "!t",
        "%YAML 1.2",
        "---",
        "...",
        "#",
        "?",
        "\t",
        "\r",
        "\u{feff}",
        "\u{202e}",
        "~",
        "null",
        "<<",
        "**",
        "/a/**",
        "[a-",
        "\\xff",
        "sha256:",
        "0",
        "\0",
        "é",
        "a: b",
    ];
    prop_oneof![8 => prop::sample::select(pieces).prop_map(str::to_owned), 1 => "\\PC{0,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_policy(&data);
        fuzz_effective(&data);
    }

    #[test]
    fn no_yaml_makes_it_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        fuzz_policy(pieces.concat().as_bytes());
    }

    #[test]
    fn no_edit_of_a_good_file_makes_it_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), piece(), 0..20_usize), 1..4),
    ) {
        let mut text = FIGURE_3.as_bytes().to_vec();
        for (at, piece, cut) in edits {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, piece.bytes());
        }
        fuzz_policy(&text);
    }

    #[test]
    fn no_edit_of_an_effective_policy_makes_it_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (policy, _) = Policy::parse("p.yaml", FIGURE_3.as_bytes()).unwrap();
        let mut bytes = policy.effective(&lacre_policy::Subject::default()).to_json();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_effective(&bytes);
    }
}

#[test]
fn the_largest_files_are_refused_or_read_in_bounded_time() {
    const SIZE: usize = (1 << 20) - 64;
    let repeat = |piece: &str| piece.repeat(SIZE / piece.len());
    let files = [
        repeat("["),
        repeat("- "),
        repeat("{a: "),
        repeat("? "),
        repeat("&a "),
        repeat("a: b\n"),
        repeat("\n"),
        repeat("#"),
        repeat("\"\\x41"),
        repeat("a"),
        repeat(" "),
        repeat("'' "),
        repeat("!a "),
        format!("Actions: {{INVALID_HASH: {{ByPath: [{}]}}}}", "{/x: NO}, ".repeat(100_000)),
        format!("Actions:\n  INVALID_HASH:\n    ByPath:\n{}", "    - /x: SKIP\n".repeat(65_000)),
        format!(
            "Actions:\n  INVALID_HASH:\n    ByPath:\n    - \"{}\": SKIP\n",
            "/a*".repeat(340_000)
        ),
    ];
    for file in files {
        let started = processor_time();
        let _ = Policy::parse("p.yaml", file.as_bytes()).map_err(|errors| errors.to_string());
        let took = processor_time() - started;
        // What is quadratic here takes minutes.
        assert!(took < Duration::from_secs(10), "{:?}: {took:?}", &file[..20.min(file.len())]);
    }
}
