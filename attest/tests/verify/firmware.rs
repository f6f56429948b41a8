//! What firmware does badly, and what user space may do to the boot's PCRs: a question that is
//! not answered, with its reason, that who says why may do without; never an accusation.

use super::*;

/// What is wrong, how, and which questions it leaves open.
type Fault = (&'static str, fn(&mut Node, &mut Evidence), &'static [&'static str]);

/// The node shows itself anew, with that boot log.
fn again(node: &Node, evidence: &mut Evidence, log: Vec<u8>) {
    *evidence = node.evidence(b"fresh");
    evidence.boot_log = Some(log.into());
}

fn cut(log: &[u8], by: usize) -> Vec<u8> {
    log[..log.len() - by].to_vec()
}

const FAULTS: &[Fault] = &[
    ("no log", |_, e| e.boot_log = None, &["boot-log"]),
    ("a log of no bytes", |_, e| e.boot_log = Some(vec![].into()), &["boot-log"]),
    ("a log that is cut", |n, e| again(n, e, cut(&boot_log(&n.boot), 3)), &["boot-log"]),
    ("a log of TPM 1.2", |n, e| again(n, e, vec![0; 64]), &["boot-log"]),
    (
        "a log with nothing of the bank",
        |n, e| {
            let log = boot_log(&n.boot);
            // Another algorithm's number, wherever SHA-256's is.
            let log: Vec<u8> =
                log.iter().map(|byte| if *byte == 0x0b { 0x12 } else { *byte }).collect();
            again(n, e, log);
        },
        &["boot-log"],
    ),
    ("a log without the last events", |n, e| again(n, e, boot_log(&n.boot[..7])), &["boot-log"]),
    (
        "a bank that the firmware left alone",
        |n, e| {
            (0..8).for_each(|index| {
                n.pcrs.insert(index, pcr::initial(Algorithm::Sha256, index));
            });
            let log = boot_log(&n.boot)
                .iter()
                .map(|byte| if *byte == 0x0b { 0x12 } else { *byte })
                .collect();
            again(n, e, log);
        },
        &["boot-log", "boot-aggregate"],
    ),
    (
        "a bank that the firmware left alone, and a log that says so",
        |n, e| {
            (0..8).for_each(|index| {
                n.pcrs.insert(index, pcr::initial(Algorithm::Sha256, index));
            });
            again(n, e, boot_log(&[]));
        },
        &["boot-log", "boot-aggregate"],
    ),
    (
        "one register that was left alone",
        |n, e| {
            n.pcrs.insert(5, pcr::initial(Algorithm::Sha256, 5));
            let boot: Vec<_> = n.boot.iter().filter(|event| event.index != 5).cloned().collect();
            again(n, e, boot_log(&boot));
        },
        &["boot-log", "boot-aggregate"],
    ),
    (
        "user space extends PCR 9, of which the log knows nothing",
        |n, e| {
            n.extend(9, &digest(9));
            again(n, e, boot_log(&n.boot));
        },
        &["boot-aggregate"],
    ),
    (
        "user space extends PCR 4",
        |n, e| {
            n.extend(4, &digest(9));
            again(n, e, boot_log(&n.boot));
        },
        &["boot-log", "boot-aggregate"],
    ),
    (
        "user space extends the PCR of containers' lists",
        |n, e| {
            n.extend(12, &digest(9));
            again(n, e, boot_log(&n.boot));
        },
        &["aggregate", "container-list", "container-baseline", "kernel"],
    ),
];

#[test]
fn what_firmware_does_badly_leaves_a_question_open_and_accuses_nobody() {
    let world = world();
    for (what, break_it, questions) in FAULTS {
        let mut node = node();
        let mut evidence = node.evidence(b"fresh");
        break_it(&mut node, &mut evidence);
        let mut expect = world.expect(&node);
        expect.kernel.as_mut().unwrap().pcrs.clear();
        let verified = check(&evidence, &expect, None);
        let verdict = &verified.verdict;
        assert_eq!(verdict.conclusion(), Conclusion::Unproven, "{what}: {verdict:#?}");
        assert!(!verdict.findings().iter().any(Finding::is_fault), "{what}: {verdict:#?}");
        let open = verdict.answers().iter().filter_map(|(question, answer)| {
            let name = question.to_string();
            let kind = name.split(':').next().unwrap_or_default().to_owned();
            matches!(answer, Answer::NotChecked(_)).then_some(kind)
        });
        let open: BTreeSet<String> = open.collect();
        assert_eq!(open, questions.iter().map(|name| (*name).to_owned()).collect(), "{what}");
        // Who says why does without.
        let reason = "our firmware, and nobody mends it".to_owned();
        expect.excused = open.into_iter().map(|question| (question, reason.clone())).collect();
        let verified = check(&evidence, &expect, None);
        assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{what}");
    }
}

/// What the boot log says of a PCR that something extended later is named.
#[test]
fn a_pcr_that_was_extended_since_the_boot_is_named() {
    let (mut node, world) = (Node::boot(), world());
    node.extend(9, &digest(3));
    node.boot.push(BootEvent { index: 9, kind: 1, event: digest(3), data: vec![] });
    node.pcrs.insert(10, pcr::initial(Algorithm::Sha256, 10));
    (node.host, node.host_lines) = (Vec::new(), 0);
    node.measure(&node.boot_aggregate(), "boot_aggregate");
    let mut expect = Expectations { host: None, ..world.expect(&node) };
    expect.containers.clear();
    let sound = check(&node.evidence(b"fresh"), &expect, None);
    assert_eq!(sound.verdict.findings(), []);
    node.extend(9, &digest(77));
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    let findings = [Finding::BootLogNotReplayed(9), Finding::BootAggregate { later: vec![9] }];
    assert_eq!(verified.verdict.findings(), findings);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
    // A waiver that says no reason is for what can't be asked.
    expect.waived.extend(["boot-log", "boot-aggregate", "host-programs"].map(str::to_owned));
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
}

/// IMA began before the TPM's driver did: the list grows, and no PCR is extended.
#[test]
fn a_list_that_no_tpm_ever_saw_proves_nothing_and_accuses_nobody() {
    let (mut node, world) = (node(), world());
    node.pcrs.insert(10, pcr::initial(Algorithm::Sha256, 10));
    let mut expect = world.expect(&node);
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["NEVER_EXTENDED"]));
    let said = verified.verdict.findings()[0].to_string();
    assert_eq!(
        said,
        "PCR 10 was never extended, though the host's list has 4 lines: IMA began without a TPM"
    );
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
    let all = ["host-list", "boot-aggregate", "host-programs"];
    expect.excused = all.map(|question| (question.to_owned(), "no TPM".to_owned())).into();
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "nobody does without");
    // Neither a list nor an extend: the kernel has no IMA.
    let mut none = node.evidence(b"fresh");
    none.host = None;
    let verified = check(&none, &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["NO_HOST_LIST"]));
    assert!(!verified.verdict.findings().iter().any(Finding::is_fault));
}

/// A TPM that was cleared counts anew.
#[test]
fn a_clock_that_went_back_is_a_question() {
    let (mut node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let seen = check(&node.evidence(b"fresh"), &expect, None).seen.unwrap();
    node.clock.reset_count = 0;
    let verified = check(&node.evidence(b"fresh"), &expect, Some(&seen));
    assert_eq!(names(&verified), BTreeSet::from(["CLOCK_WENT_BACK"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
    expect.excused.insert("clock".to_owned(), "its TPM was cleared".to_owned());
    let verified = check(&node.evidence(b"fresh"), &expect, Some(&seen));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
}
