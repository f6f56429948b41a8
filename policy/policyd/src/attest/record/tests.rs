//! When a node is trusted, stale or late, whatever the clocks do.

use lacre_attest::container::Secret;
use lacre_attest::testing;
use lacre_attest::verify::{Expectations, verify};
use lacre_types::Digest;

use super::super::incident::SAYS;
use super::*;

/// What is known of a node that has just enrolled with that TPM.
pub(in crate::attest) fn known(tpm: u8) -> NodeState {
    NodeState {
        node: "n".to_owned(),
        ek_name: vec![tpm].into(),
        ek_key: Some(vec![tpm].into()),
        ak_name: vec![2].into(),
        enrolled: 1000,
        trust: Trust::Unknown,
        attested: None,
        challenge: None,
        seen: None,
        claims: None,
    }
}

const INTERVAL: Duration = Duration::from_secs(300);

/// That second, where clock and kernel agree.
fn at(seconds: u64) -> Now {
    when("b", seconds, seconds)
}

fn when(boot: &str, seconds: u64, wall: u64) -> Now {
    Now { wall, moment: Moment { boot: boot.to_owned(), seconds } }
}

fn record() -> Record {
    Record::enrolled("uid:0", known(1), None, &at(1000))
}

/// Trusted since that second.
fn trusted(seconds: u64) -> Record {
    let mut record = record();
    record.known.trust = Trust::Trusted;
    (record.evidence, record.heard) = (Some(seconds), Some(at(seconds).moment));
    record
}

#[test]
fn who_shows_nothing_for_two_intervals_is_stale_whatever_it_was() {
    let mut record = record();
    assert_eq!(record.state(&at(1600), INTERVAL), State::Unproven);
    assert_eq!(record.state(&at(1601), INTERVAL), State::Stale);
    record = trusted(2000);
    assert_eq!(record.state(&at(2600), INTERVAL), State::Trusted);
    assert_eq!(record.state(&at(2601), INTERVAL), State::Stale);
    record.known.trust = Trust::Untrusted;
    assert_eq!(record.state(&at(9999), INTERVAL), State::Untrusted);
}

#[test]
fn who_sets_the_clock_makes_nobody_older_or_younger() {
    let record = trusted(2000);
    let is = |now: &Now| record.state(now, INTERVAL);
    for wall in [0, 1, 1400, 2000, 90_000, u64::MAX] {
        assert_eq!(is(&when("b", 2600, wall)), State::Trusted, "{wall}");
        assert_eq!(is(&when("b", 2601, wall)), State::Stale, "{wall}");
    }
    // The machine was started since. The clock may lie, but it runs for so long at least.
    for (seconds, wall, state) in [
        (10, 2500, State::Trusted),
        (10, 2601, State::Stale),
        (10, 1399, State::Stale),
        (600, 2010, State::Trusted),
        (601, 2010, State::Stale),
    ] {
        assert_eq!(is(&when("c", seconds, wall)), state, "{seconds} {wall}");
    }
    // Over a restart of the server, too.
    let again = Record::parse(&record.to_json().unwrap()).unwrap();
    assert_eq!(again.state(&when("b", 2601, 2010), INTERVAL), State::Stale);
    assert_eq!(record.show(&at(2700), INTERVAL).since, "1970-01-01T00:43:20Z");
}

#[test]
fn of_an_older_release_s_node_the_age_is_counted_from_then_on() {
    let begun = |seconds, wall| {
        let mut record = trusted(2000);
        record.heard = None;
        record.begin_to_count(&when("b", seconds, wall));
        record
    };
    let record = begun(5000, 2100);
    assert_eq!(record.age(&when("b", 5000, 9)), 100);
    assert_eq!(record.age(&when("b", 5600, 9)), 700);
    // It was heard before the machine was started.
    assert_eq!(begun(50, 2100).age(&when("b", 50, 2100)), 100);
    assert_eq!(begun(50, 2100).age(&when("b", 700, 2100)), 700);
}

#[test]
fn what_a_node_names_does_not_fill_its_file() {
    let mut node = testing::Node::boot();
    let id = "c".repeat(1 << 20);
    node.create(&id, Secret::new([1; 32]));
    node.run(&id, &Digest::sha256([2; 32]), "/bin/app");
    node.flush();
    let evidence = node.evidence(&[3; 32]);
    let verified = verify(&evidence, &Expectations::default(), None, 1000);
    let mut record = record();
    record.note(&evidence, verified, &at(1000));
    let lists = record.unchecked.iter().filter(|text| text.starts_with("container-list:ccc"));
    assert_eq!(lists.count(), 1, "its secret was not given");
    assert!(record.to_json().unwrap().len() < 2 * FINDINGS * SAYS);
}

#[test]
fn a_new_key_clears_nobody_and_somebody_must_look() {
    let anew = || NodeState { ak_name: vec![9].into(), ..record().known };
    let mut before = record();
    before.known.trust = Trust::Untrusted;
    before.remember(vec![Told::new("LOG_EDITED", "a line")], true, 1000);
    let after = Record::enrolled("uid:0", record().known, Some(&before), &at(2000));
    assert_eq!((after.known.trust, after.tampered()), (Trust::Untrusted, Some(1000)));
    let names = |record: &Record| -> Vec<String> {
        let found = record.incident().into_iter().flat_map(|incident| &incident.findings);
        found.map(|told| told.name.clone()).collect()
    };
    assert_eq!(names(&after), ["LOG_EDITED"], "the same key once more");
    before.known.trust = Trust::Trusted;
    let after = Record::enrolled("uid:0", anew(), Some(&before), &at(2000));
    assert_eq!(after.known.trust, Trust::Unknown, "it has to show itself anew");
    assert_eq!(after.tampered(), Some(1000), "and somebody has to look");
    assert_eq!(names(&after), ["LOG_EDITED", "RE_ENROLLED"]);
    let after = Record::enrolled("uid:0", anew(), Some(&record()), &at(2000));
    assert_eq!((names(&after), after.tampered()), (vec!["RE_ENROLLED".to_owned()], None));
    assert_eq!(names(&Record::enrolled("uid:0", anew(), None, &at(2000))), [""; 0]);
}

/// As 0.1 left it, before incidents were kept and after.
#[test]
fn what_older_releases_wrote_is_read_and_a_verdict_stays() {
    let file = |more: &str| {
        format!(
            r#"{{"version":1,"principal":"uid:0","known":{{"node":"n","ekName":"AQ==",
                "akName":"Ag==","enrolled":1000,"trust":"untrusted"}},"since":1000,{more}
                "evidence":1000,"findings":[{{"name":"LOG_EDITED","says":"a line"}}],
                "unchecked":[],"lines":3,"fresh":1}}"#
        )
    };
    let first = Record::parse(file(r#""tampered":true,"#).as_bytes()).unwrap();
    let incident = r#""keepsIncidents":true,"incident":{"since":900,"tampered":901,"findings":[
        {"name":"LOG_EDITED","note":false,"says":"a line"}]},"#;
    let second = Record::parse(file(incident).as_bytes()).unwrap();
    for (record, since) in [(&first, 1000), (&second, 901)] {
        assert_eq!((record.tampered(), record.lines), (Some(since), 3));
        assert_eq!(record.state(&at(9999), INTERVAL), State::Untrusted);
        let again = Record::parse(&record.to_json().unwrap()).unwrap();
        assert_eq!(again, *record, "and is of this release from then on");
    }
    let looked = r#""keepsIncidents":true,"acknowledged":{"at":5,"reason":"a disk was swapped"},"#;
    let mut third = Record::parse(file(looked).as_bytes()).unwrap();
    assert_eq!(third.incident(), None, "somebody has looked");
    assert!(!third.acknowledge("again", 3000), "there is nothing to look at");
    assert_eq!(third.show(&at(2000), INTERVAL).reason, "a disk was swapped");
}

#[test]
fn what_a_later_release_added_is_passed_over_and_its_own_version_is_refused() {
    let mut kept = record();
    kept.known.trust = Trust::Untrusted;
    kept.remember(vec![Told::new("LOG_EDITED", "a line")], true, 1000);
    let text = String::from_utf8(kept.to_json().unwrap()).unwrap();
    // In each object that there is.
    let more = text.replace('{', r#"{"later":{"a":[1]},"#);
    assert_eq!(Record::parse(more.as_bytes()).unwrap(), kept);
    let newer = text.replacen("\"version\":2", "\"version\":3", 1);
    let refused = Record::parse(newer.as_bytes()).unwrap_err();
    assert!(matches!(refused, StateError::Newer { found: 3, known: 2 }), "{refused}");
    for damaged in ["{}", "{\"version\":0}", "{\"version\":2}", "", &text[1..]] {
        let refused = Record::parse(damaged.as_bytes()).unwrap_err();
        assert!(matches!(refused, StateError::Damaged(_)), "{damaged}");
    }
}

#[test]
fn what_is_kept_reads_back() {
    let mut kept = record();
    kept.doubt(Told::new("TPM_GONE", "no\nTPM"), 1100);
    assert_eq!(Record::parse(&kept.to_json().unwrap()).unwrap(), kept);
    assert_eq!(kept.show(&at(1100), INTERVAL).since, "1970-01-01T00:16:40Z");
}
