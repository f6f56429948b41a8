//! The kernel, and the boot that it came by.

use super::tampered::host;
use super::*;

#[test]
fn only_lines_that_are_vouched_for_tell_the_kernels_version() {
    let (mut node, world) = (node(), world());
    node.measure_buffer("kernel_version", b"6.1.0");
    let mut expect = world.expect(&node);
    expect.kernel.as_mut().unwrap().versions = vec!["6.12.0".to_owned()];
    expect.host.as_mut().unwrap().programs.push(CanonicalPath::new("/bin/ls").unwrap());
    let version = ima_buf("kernel_version", b"6.12.0");
    let sha1 = pcr::hash(Algorithm::Sha1, &[&version]);
    // A line after the quote, and one of a PCR that was not quoted.
    for index in [10, 13] {
        let mut evidence = node.evidence(b"fresh");
        let line = write::binary(index, sha1.as_bytes(), b"ima-buf", &version);
        let program = entry(index, Algorithm::Sha1, 13, "/bin/ls");
        host(&mut evidence, |list| list.extend([line, program]));
        let verified = check(&evidence, &expect, None);
        let findings = verified.verdict.findings();
        let kernel = Finding::Kernel(KernelFault::Version("6.1.0".to_owned()));
        assert!(findings.contains(&kernel), "{index}: {findings:#?}");
        assert!(findings.contains(&Finding::HostProgramUnseen("/bin/ls".to_owned())), "{index}");
    }
    // A violation is extended as one, whatever its line says.
    let ones = pcr::repeated(Algorithm::Sha256, 0xff);
    node.extend(10, &ones);
    let mut evidence = node.evidence(b"fresh");
    let line = write::binary(10, &[0; 20], b"ima-buf", &version);
    host(&mut evidence, |list| list.push(line));
    let verified = check(&evidence, &expect, None);
    let kernel = Finding::Kernel(KernelFault::Version("6.1.0".to_owned()));
    assert!(verified.verdict.findings().contains(&kernel), "{:#?}", verified.verdict);
}

#[test]
fn the_kernel_must_be_one_of_the_allowed() {
    let (node, world) = (node(), world());
    let evidence = node.evidence(b"fresh");
    type Ask = fn(&mut KernelPolicy);
    let asked: [(Ask, KernelFault); 4] = [
        (|p| p.boot_aggregate = vec![digest(5)], KernelFault::BootAggregate(node.boot_aggregate())),
        (
            |p| drop(p.pcrs.insert(4, vec![digest(5)])),
            KernelFault::Pcr { index: 4, value: node.pcrs[&4] },
        ),
        (|p| p.versions = vec!["6.12.0".to_owned()], KernelFault::NoVersion),
        (|p| p.boot_events = vec![digest(5)], KernelFault::BootEvent(digest(5))),
    ];
    for (ask, fault) in asked {
        let mut expect = world.expect(&node);
        ask(expect.kernel.as_mut().unwrap());
        let verified = check(&evidence, &expect, None);
        assert_eq!(verified.verdict.findings(), [Finding::Kernel(fault)]);
    }
    let mut expect = world.expect(&node);
    let policy = expect.kernel.as_mut().unwrap();
    policy.boot_aggregate = vec![digest(5), node.boot_aggregate()];
    policy.pcrs = BTreeMap::from([(4, vec![digest(5), node.pcrs[&4]])]);
    policy.boot_events = vec![node.boot[4].event];
    assert_eq!(check(&evidence, &expect, None).verdict.conclusion(), Conclusion::Trusted);
    let mut expect = world.expect(&node);
    let mut evidence = evidence;
    evidence.anchors.clear();
    expect.containers.clear();
    let verified = check(&evidence, &expect, None);
    let unexplained =
        Finding::AggregateNotReplayed { log: Log::Aggregate(Keeper::Kernel), index: 12, lines: 0 };
    let none = Finding::Kernel(KernelFault::NoContainerIma);
    assert_eq!(verified.verdict.findings(), [unexplained, none]);
}

/// The firmware's log is only text: an event is one when a PCR that was quoted vouches for it.
#[test]
fn an_event_of_the_boot_must_be_in_a_pcr_that_was_quoted() {
    let (node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let wanted = digest(77);
    expect.kernel.as_mut().unwrap().boot_events = vec![wanted];
    let boot = |events: Vec<BootEvent>| {
        let mut evidence = node.evidence(b"fresh");
        evidence.boot_log = Some(boot_log(&events).into());
        check(&evidence, &expect, None)
    };
    let event = |index, kind| BootEvent { index, kind, event: wanted, data: vec![] };
    let fault = Finding::Kernel(KernelFault::BootEvent(wanted));

    // In PCRs that are not the boot's alone, quoted or not.
    for index in [11, 16] {
        let verified = boot([node.boot.clone(), vec![event(index, 1)]].concat());
        assert_eq!(verified.verdict.findings(), std::slice::from_ref(&fault), "{index}");
    }
    // In a PCR that does not agree.
    let verified = boot([node.boot.clone(), vec![event(4, 1)]].concat());
    assert_eq!(verified.verdict.findings(), [Finding::BootLogNotReplayed(4), fault.clone()]);
    // In one that a start of another locality is to make up for, as if it had begun anew.
    let locality = BootEvent { data: b"StartupLocality\0\0".to_vec(), ..event(0, 3) };
    let again = vec![event(0, 1), locality];
    let verified = boot([again, node.boot.clone()].concat());
    assert_eq!(verified.verdict.findings(), [Finding::BootLogNotReplayed(0), fault.clone()]);
    // The events of a PCR left out.
    let verified = boot(node.boot.iter().filter(|event| event.index != 4).cloned().collect());
    assert_eq!(verified.verdict.findings(), [Finding::BootLogNotReplayed(4), fault.clone()]);

    // A log of PCRs none of which was quoted says nothing.
    let mut evidence = node.evidence(b"fresh");
    let selection = Selection::of(Algorithm::Sha256, 10..=12);
    let attest = node.attest(b"fresh", &selection);
    evidence.quote.signature = node.sign(&attest).into();
    evidence.quote.attest = attest.into();
    evidence.boot_log = Some(boot_log(&[event(4, 1)]).into());
    expect.selection = selection;
    expect.kernel.as_mut().unwrap().pcrs.clear();
    let verified = check(&evidence, &expect, None);
    assert_eq!(verified.verdict.findings(), []);
    let why = Answer::NotChecked("there is no boot log that holds".into());
    assert_eq!(verified.verdict.answers()[&Question::Kernel], why);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
}

#[test]
fn a_boot_log_that_is_left_out_is_not_checked() {
    let (node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let mut evidence = node.evidence(b"fresh");
    evidence.boot_log = None;
    let verified = check(&evidence, &expect, None);
    let why = Answer::NotChecked("the evidence brings no boot log".into());
    assert_eq!(verified.verdict.answers()[&Question::BootLog], why);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
    expect.waived.insert("boot-log".to_owned());
    assert_eq!(check(&evidence, &expect, None).verdict.conclusion(), Conclusion::Trusted);
}

#[test]
fn a_pcr_0_that_began_at_another_locality_is_replayed_from_there() {
    let (mut node, world) = (node(), world());
    let mut start = [0; 32];
    start[31] = 3;
    let events: Vec<BootEvent> = node.boot.iter().filter(|e| e.index == 0).cloned().collect();
    let value = events
        .iter()
        .fold(Digest::sha256(start), |value, event| pcr::extended(&value, event.event.as_bytes()));
    node.pcrs.insert(0, value);
    let data = b"StartupLocality\0\x03".to_vec();
    node.boot.insert(0, BootEvent { index: 0, kind: 3, event: digest(0), data });
    let expect = Expectations { kernel: None, ..world.expect(&node) };
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    assert!(!names(&verified).contains("BOOT_LOG_NOT_REPLAYED"), "{:#?}", verified.verdict);
    assert!(matches!(verified.verdict.answers()[&Question::BootLog], Answer::Passed(_)));
}
