//! What is shown instead of evidence: another quote, an older one, and none at all.

use lacre_attest::enrol::Challenge;
use lacre_proto::MAX_PART;
use lacre_proto::attest::{
    ActivateRequest, DeclineRequest, EnrolRequest, PollRequest, SubmitRequest, Wanted,
};

use crate::attesting::{Server, asking};
use crate::node::Node;
use crate::support::within;

/// Answers the server's next challenge with evidence that `quote` makes of its nonce.
fn answer(
    server: &Server,
    node: &Node,
    quote: impl FnOnce(&str) -> Vec<u8>,
) -> (String, Vec<String>) {
    asking(&server.connector(), async |client| {
        let asked = client.poll(within(), &node.first_poll()).await.unwrap();
        assert_eq!(asked.wanted.enum_value(), Ok(Wanted::EVIDENCE));
        let challenge: Challenge = serde_json::from_slice(&asked.challenge).unwrap();
        let hex: String = challenge.nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = quote(&hex);
        let request = SubmitRequest { part, last: true, ..SubmitRequest::default() };
        let answer = client.submit(within(), &request).await.unwrap();
        // A challenge is answered once.
        let again = client.submit(within(), &request).await.unwrap_err();
        assert!(again.to_string().contains("no evidence is wanted"), "{again}");
        let node = answer.node.unwrap();
        (node.state, node.findings.into_iter().map(|found| found.name).collect())
    })
}

#[test]
fn a_replayed_quote_and_one_over_other_pcrs_are_told() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    drop(server.trusted(&node));
    let (state, _) = answer(&server, &node, |nonce| node.quote(&["--nonce", nonce]));
    assert_eq!(state, "trusted");
    let few = |nonce: &str| node.quote(&["--nonce", nonce, "--pcrs", "0,10"]);
    let (state, findings) = answer(&server, &node, few);
    assert_eq!(state, "untrusted");
    assert!(findings.contains(&"SELECTION_OTHER".to_owned()), "{findings:?}");
    let old = node.quote(&["--nonce", &"00".repeat(32)]);
    let (state, findings) = answer(&server, &node, |_| old);
    assert_eq!((&*state, findings), ("untrusted", vec!["NONCE_MISMATCH".to_owned()]));
}

#[test]
fn what_is_no_enrolment_and_no_evidence_is_refused() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    asking(&server.connector(), async |client| {
        let poll = PollRequest { ak: vec![1, 2, 3], ..PollRequest::default() };
        assert!(client.poll(within(), &poll).await.is_err());
        for enrol in [b"{}".to_vec(), vec![b' '; 70_000], Vec::new()] {
            let request = EnrolRequest { enrol, ..EnrolRequest::default() };
            assert!(client.enrol(within(), &request).await.is_err());
        }
        let activated = br#"{"secret":"AAAA"}"#.to_vec();
        let request = ActivateRequest { activated, ..ActivateRequest::default() };
        let early = client.activate(within(), &request).await.unwrap_err();
        assert!(early.to_string().contains("enrol first"), "{early}");
        let request = SubmitRequest { part: vec![b'{'; 10], ..SubmitRequest::default() };
        let unasked = client.submit(within(), &request).await.unwrap_err();
        assert!(unasked.to_string().contains("no evidence is wanted"), "{unasked}");
        for reason in ["", "TPM_FINE"] {
            let reason = reason.to_owned();
            let request = DeclineRequest { reason, ..DeclineRequest::default() };
            assert!(client.decline(within(), &request).await.is_err());
        }
    });
    // Evidence that is none leaves an enrolled node unproven, and says so.
    drop(server.trusted(&node));
    asking(&server.connector(), async |client| {
        client.poll(within(), &node.first_poll()).await.unwrap();
        let submit = |offset, part: Vec<u8>, last| SubmitRequest {
            offset,
            part,
            last,
            ..SubmitRequest::default()
        };
        client.submit(within(), &submit(0, vec![b'{'; 10], false)).await.unwrap();
        for (request, why) in [
            (submit(11, Vec::new(), false), "10 bytes have come, and the part begins at 11"),
            (submit(u64::MAX, vec![1], true), "10 bytes have come, and the part begins at 184"),
            (submit(10, vec![0; MAX_PART + 1], false), "a part has at most"),
            (submit(10, vec![b'}'], true), "the evidence can't be read"),
        ] {
            let refused = client.submit(within(), &request).await.unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
        client.poll(within(), &node.first_poll()).await.unwrap();
        let (part, last) = (b"{\"version\":2}".to_vec(), true);
        let request = SubmitRequest { part, last, ..SubmitRequest::default() };
        let refused = client.submit(within(), &request).await.unwrap_err();
        assert!(refused.to_string().contains("version 2"), "{refused}");
    });
    assert_eq!(
        (&*server.state(), server.findings()),
        ("unproven", vec!["EVIDENCE_MALFORMED".to_owned()])
    );
}
