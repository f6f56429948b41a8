use lacre_attest::container::Secret;
use lacre_attest::testing;
use lacre_attest::verify::{Expectations, verify};
use lacre_types::Digest;

use super::*;

/// What is known of a node that has just enrolled with that TPM.
pub(in crate::attest) fn known(tpm: u8) -> NodeState {
    NodeState {
        node: "n".to_owned(),
        ek_name: vec![tpm].into(),
        ak_name: vec![2].into(),
        enrolled: 1000,
        trust: Trust::Unknown,
        attested: None,
        challenge: None,
        seen: None,
        claims: None,
    }
}

fn record() -> Record {
    Record::enrolled("uid:0", known(1), None)
}

#[test]
fn who_shows_nothing_for_two_intervals_is_stale_whatever_it_was() {
    let interval = Duration::from_secs(300);
    let mut record = record();
    assert_eq!(record.state(1600, interval), State::Unproven);
    assert_eq!(record.state(1601, interval), State::Stale);
    record.known.trust = Trust::Trusted;
    record.evidence = Some(2000);
    assert_eq!(record.state(2600, interval), State::Trusted);
    assert_eq!(record.state(2601, interval), State::Stale);
    record.known.trust = Trust::Untrusted;
    assert_eq!(record.state(9999, interval), State::Untrusted);
}

#[test]
fn evidence_of_a_time_to_come_is_none_of_now() {
    let interval = Duration::from_secs(300);
    let mut record = record();
    record.known.trust = Trust::Trusted;
    record.evidence = Some(2000);
    assert_eq!(record.state(1400, interval), State::Trusted);
    assert_eq!(record.state(1399, interval), State::Stale, "the clock was set back");
    assert_eq!(record.show(1399, interval).since, "1970-01-01T00:23:19Z");
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
    record.note(&evidence, verified, 1000);
    let lists = record.unchecked.iter().filter(|text| text.starts_with("container-list:ccc"));
    assert_eq!(lists.count(), 1, "its secret was not given");
    assert!(record.to_json().unwrap().len() < 2 * FINDINGS * SAYS);
}

#[test]
fn a_new_key_clears_nobody() {
    let mut before = record();
    before.known.trust = Trust::Untrusted;
    before.remember(vec![Told::new("LOG_EDITED", "a line")], true, 1000);
    let after = Record::enrolled("uid:0", record().known, Some(&before));
    assert_eq!((after.known.trust, after.tampered()), (Trust::Untrusted, Some(1000)));
    before.known.trust = Trust::Trusted;
    let after = Record::enrolled("uid:0", record().known, Some(&before));
    assert_eq!(after.known.trust, Trust::Unknown, "it has to show itself anew");
    assert_eq!(after.tampered(), Some(1000), "and somebody has to look");
}

#[test]
fn what_was_kept_before_incidents_were_is_one() {
    let mut before = record();
    before.known.trust = Trust::Untrusted;
    before.findings = vec![Told::new("LOG_EDITED", "a line")];
    let text = String::from_utf8(before.to_json().unwrap()).unwrap();
    let text = text.replacen("\"keepsIncidents\":true", "\"tampered\":true", 1);
    let mut record = Record::parse(text.as_bytes()).unwrap();
    assert_eq!(record.tampered(), Some(1000));
    assert_eq!(record.incident().unwrap().findings[0].name, "LOG_EDITED");
    assert!(record.acknowledge("a disk was swapped", 2000));
    assert!(!record.acknowledge("again", 3000), "there is nothing to look at");
    assert_eq!((record.tampered(), record.incident()), (None, None));
    let shown = record.show(2000, Duration::from_secs(300));
    assert_eq!(shown.reason, "a disk was swapped");
    let again = Record::parse(&record.to_json().unwrap()).unwrap();
    assert_eq!(again.incident(), None, "somebody has looked");
}

#[test]
fn what_is_kept_reads_back() {
    let mut kept = record();
    kept.doubt(Told::new("TPM_GONE", "no\nTPM"), 1100);
    kept.due = 0;
    assert_eq!(Record::parse(&kept.to_json().unwrap()).unwrap(), kept);
    assert_eq!(kept.show(1100, Duration::from_secs(300)).since, "1970-01-01T00:16:40Z");
    let other = String::from_utf8(kept.to_json().unwrap())
        .unwrap()
        .replace("\"version\":1", "\"version\":2");
    assert!(Record::parse(other.as_bytes()).unwrap_err().to_string().contains("version 2"));
}
