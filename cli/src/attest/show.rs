//! A verdict, for people and for machines.

use lacre_attest::evidence::Evidence;
use lacre_attest::verify::{Answer, Conclusion, Verified, Weight};
use lacre_types::escape;
use serde_json::json;

use crate::output;

pub(crate) fn json(evidence: &Evidence, verified: &Verified) -> anyhow::Result<()> {
    let lines: Vec<_> =
        verified.lines.iter().map(|(log, lines)| json!({"list": log, "lines": lines})).collect();
    output::json(&json!({
        "node": escape(evidence.node.as_bytes()),
        "clock": verified.clock,
        "verdict": verified.verdict,
        "vouchedFor": lines,
    }))
}

pub(crate) fn people(evidence: &Evidence, verified: &Verified) -> anyhow::Result<()> {
    let verdict = &verified.verdict;
    let conclusion = match verdict.conclusion() {
        Conclusion::Trusted => "TRUSTED",
        Conclusion::Unproven => "UNPROVEN: nothing is wrong, but not all was checked",
        Conclusion::Untrusted => "UNTRUSTED",
    };
    output::line(format!("node {}: {conclusion}\n", escape(evidence.node.as_bytes())))?;
    let rows = verdict.answers().iter().map(|(question, answer)| {
        let (word, detail) = match answer {
            Answer::Passed(seen) => ("passed", seen.as_str()),
            Answer::Failed => ("FAILED", ""),
            Answer::NotChecked(why) => ("not checked", &**why),
            Answer::Waived(why) => ("waived", &**why),
        };
        [question.to_string(), word.to_owned(), detail.to_owned()]
    });
    output::table(["QUESTION", "ANSWER", ""], rows)?;
    if !verdict.findings().is_empty() {
        output::line("")?;
        let rows = verdict.findings().iter().map(|finding| {
            let kind = match finding.weight() {
                Weight::Note => "note",
                Weight::Open => "open",
                Weight::Gap => "gap",
                Weight::Fault => "fault",
                Weight::Tampering => "tampering",
            };
            [finding.name().to_owned(), kind.to_owned(), finding.to_string()]
        });
        output::table(["FINDING", "WEIGHT", ""], rows)?;
    }
    Ok(())
}
