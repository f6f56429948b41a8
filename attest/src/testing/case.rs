//! Evidence as a test made it, with what was expected and what came of it, in a file: for who
//! verifies it anew (`attest/tests/checker`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lacre_types::{Algorithm, CanonicalPath, Whitelist};
use serde_json::{Value, json};

use crate::bytes::to_hex;
use crate::evidence::{Evidence, ListPart};
use crate::ima::Stream;
use crate::pcr;
use crate::verify::{Expectations, Seen, Verified};

/// As many underscores of a name are taken for spaces as the verifier does.
const MAX_SPACES: usize = 8;

/// Writes a file of its own into that folder.
///
/// # Panics
/// When it can't.
#[expect(clippy::unwrap_used, reason = "what a test can't keep fails it")]
pub fn keep(
    folder: &Path,
    evidence: &Evidence,
    expect: &Expectations<'_>,
    seen: Option<&Seen>,
    now: u64,
    verified: &Verified,
) {
    assert!(expect.ek_roots.is_none(), "makers' certificates are not kept");
    let names = names(evidence);
    let baseline = |of: &dyn Whitelist| listed(of, &names);
    let containers: Vec<Value> = expect
        .containers
        .iter()
        .map(|container| {
            json!({
                "id": container.id,
                "secret": container.secret.as_ref().map(|secret| to_hex(secret.as_bytes())),
                "seq": container.seq,
                "keeper": container.keeper,
                "baseline": container.baseline.map(baseline),
                "optional": container.optional,
            })
        })
        .collect();
    let lists = evidence.anchors.iter().flat_map(|anchor| &anchor.containers);
    let images: BTreeSet<&str> = lists.filter_map(|list| list.image.as_deref()).collect();
    let images = expect.images.map(|by| {
        let known = images.iter().filter_map(|name| Some((*name, baseline(by.baseline(name)?))));
        known.collect::<BTreeMap<_, _>>()
    });
    let host = expect.host.as_ref().map(|host| {
        let programs = host.programs.iter().map(|path| to_hex(path.as_bytes()));
        json!({
            "baseline": baseline(host.baseline),
            "programs": programs.collect::<Vec<_>>(),
            "everything": host.everything,
        })
    });
    let anchors: BTreeMap<_, _> = expect
        .anchors
        .iter()
        .map(|(keeper, anchor)| (keeper, json!({"pcr": anchor.pcr.index(), "start": anchor.start})))
        .collect();
    let case = json!({
        "now": now,
        "evidence": evidence,
        "seen": seen,
        "expect": {
            "nonce": expect.nonce,
            "akName": expect.ak_name.as_deref().map(to_hex),
            "enrolled": expect.enrolled,
            "bank": expect.bank,
            "hostPcr": expect.host_pcr.index(),
            "anchors": anchors,
            "selection": expect.selection,
            "kernel": expect.kernel,
            "host": host,
            "containers": containers,
            "images": images,
            "judgedBy": expect.judged_by,
            "claims": expect.claims,
            "waived": expect.waived,
            "excused": expect.excused,
        },
        "verdict": verified.verdict,
    });
    let text = serde_json::to_vec(&case).unwrap();
    fs::create_dir_all(folder).unwrap();
    let name = to_hex(&pcr::hash(Algorithm::Sha256, &[&text]).as_bytes()[..8]);
    fs::write(folder.join(format!("{name}.json")), text).unwrap();
}

/// The names in all lists.
fn names(evidence: &Evidence) -> BTreeSet<Vec<u8>> {
    let containers = evidence.anchors.iter().flat_map(|anchor| &anchor.containers);
    let lists = containers.map(|container| &container.list).chain(&evidence.host);
    let mut names = BTreeSet::new();
    for ListPart { form, digests, data, .. } in lists {
        // Of a broken list, those before it breaks.
        let _ = Stream::new(*form, *digests).feed(data, |_, entry| {
            names.extend(entry.name().map(<[u8]>::to_vec));
        });
    }
    names
}

/// What a baseline has of these names, and of those that they may stand for.
fn listed(baseline: &dyn Whitelist, names: &BTreeSet<Vec<u8>>) -> BTreeMap<String, Vec<String>> {
    let mut listed = BTreeMap::new();
    let mut add = |name: &[u8]| {
        let entry = CanonicalPath::new(name).ok().and_then(|path| baseline.entry(&path));
        if let Some(entry) = entry {
            let digests = Algorithm::ALL.iter().filter_map(|of| entry.digests.get(*of));
            listed.insert(to_hex(name), digests.map(ToString::to_string).collect());
        }
    };
    for name in names {
        let scores: Vec<usize> = (0..name.len()).filter(|at| name[*at] == b'_').collect();
        add(name);
        if scores.len() > MAX_SPACES {
            continue;
        }
        for spaces in 1..1usize << scores.len() {
            let mut spaced = name.clone();
            let taken = scores.iter().enumerate().filter(|(bit, _)| spaces >> bit & 1 == 1);
            taken.for_each(|(_, at)| spaced[*at] = b' ');
            add(&spaced);
        }
    }
    listed
}
