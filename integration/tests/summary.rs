//! What closes a run, of what cargo prints: what failed (`integration/failures.awk`), and two
//! lines (`integration/summary.awk`).

use std::process::Command;

use anyhow::Result;
use lacre_integration::output::Output;
use lacre_integration::paths::repository;

/// What the script makes of a log, with these notes of others.
fn closing(log: &str, notes: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (log_file, notes_file) = (folder.path().join("log"), folder.path().join("notes"));
    std::fs::write(&log_file, log)?;
    std::fs::write(&notes_file, notes)?;
    let mut awk = Command::new("awk");
    awk.arg("-v").arg(format!("notes={}", notes_file.display()));
    awk.arg("-f").arg(repository().join("integration/summary.awk")).arg(log_file);
    Output::of(&mut awk)?.ok()
}

/// A binary's header, and its first line.
fn begins(name: &str, tests: u32) -> String {
    format!(
        "     Running tests/{name}.rs (target/debug/deps/{name}-0123456789abcdef)\n\n\
         running {tests} tests\n"
    )
}

fn result(passed: u32, failed: u32, ignored: u32, filtered: u32) -> String {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    format!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; \
         {filtered} filtered out; finished in 0.00s\n\n"
    )
}

#[test]
fn a_test_that_runs_itself_again_counts_once() -> Result<()> {
    for again in [result(0, 1, 0, 2), result(1, 0, 0, 2), result(1, 0, 0, 2).repeat(3)] {
        let log = begins("network", 3)
            + "test cut ... FAILED\ntest back ... ok\ntest refused ... ok\n\n\
               ---- cut stdout ----\n\nrunning 1 test\ntest cut ... FAILED\n"
            + &again
            + &result(2, 1, 0, 0);
        assert_eq!(
            closing(&log, "")?,
            "2 passed, 1 failed\nnot run: nothing, of all that there is\n"
        );
    }
    Ok(())
}

#[test]
fn what_failed_is_said_again_without_its_backtrace() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let first = "thread 'one' (7) panicked at a.rs:1:2:\nleft behind: a socket\n";
    std::fs::write(
        &log,
        format!(
            "test one ... FAILED\ntest two ... ok\n\nfailures:\n\n---- one stdout ----\n\n{first}\
             stack backtrace:\n   0: begin_unwind\n\nfailures:\n    one\n"
        ),
    )?;
    let mut awk = Command::new("awk");
    awk.arg("-f").arg(repository().join("integration/failures.awk")).arg(log);
    assert_eq!(Output::of(&mut awk)?.ok()?, format!("\n---- one stdout ----\n\n{first}"));
    Ok(())
}

#[test]
fn a_binary_that_does_not_say_its_result_has_failed() -> Result<()> {
    let dies = begins("dies", 2) + "test one ... ok\nerror: test failed (signal: 11, SIGSEGV)\n";
    let good = begins("good", 1) + "test one ... ok\n" + &result(1, 0, 0, 0);
    for log in [dies.clone() + &good, good + &dies] {
        assert!(closing(&log, "")?.starts_with("1 passed, 1 failed\n"), "{log}");
    }
    Ok(())
}

#[test]
fn what_was_left_out_is_named_until_it_has_run() -> Result<()> {
    let first = begins("vm", 4)
        + "test patched::clean ... ignored, make test-vm\n\
           test patched::dropped ... ignored, make test-vm\n\
           test armer ... ignored, run by another test, as a process of its own\n\
           test stock::clean ... ok\n"
        + &result(1, 0, 3, 5);
    let said = closing(&first, "no patched kernel: none was built\n")?;
    assert!(said.starts_with("1 passed, 0 failed\nnot run: 7 tests; "), "{said}");
    for words in [
        "2 of vm: patched::* (make test-vm)",
        "5 of vm (filtered out)",
        "no patched kernel: none was built",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    // Run after all, by a name of its own, where all others are filtered out.
    let later = begins("vm", 1) + "test patched::clean ... FAILED\n" + &result(0, 1, 0, 8);
    let said = closing(&(first + &later), "")?;
    assert!(said.starts_with("1 passed, 1 failed\nnot run: 6 tests; "), "{said}");
    assert!(said.contains("1 of vm: patched::* (make test-vm)"), "{said}");
    Ok(())
}
