//! Runs of things that root does, drawn at random.

use proptest::prelude::*;

use super::*;

/// One thing that root does to what the node shows.
#[derive(Debug, Clone)]
enum Deed {
    Extend(u32),
    SetBack(u32),
    Anew { keeper: bool, pcr: u32, says: u32, on_top: bool },
    Append { seq: u64 },
    Hide(usize),
    Clean(usize),
    Cut { lines: usize },
    First(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let pcr = prop::sample::select(vec![8, 9, 11, 12, 13, 14, 15, 16, 17, 23]);
    prop_oneof![
        pcr.clone().prop_map(Deed::Extend),
        prop::sample::select(vec![16u32, 17, 23]).prop_map(Deed::SetBack),
        (any::<bool>(), pcr.clone(), pcr, any::<bool>())
            .prop_map(|(keeper, pcr, says, on_top)| Deed::Anew { keeper, pcr, says, on_top }),
        prop::sample::select(vec![1, 2, 77]).prop_map(|seq| Deed::Append { seq }),
        (0usize..3).prop_map(Deed::Hide),
        (0usize..3).prop_map(Deed::Clean),
        (1usize..12).prop_map(|lines| Deed::Cut { lines }),
        (0u64..9).prop_map(Deed::First),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is done, in whatever order: a node on which that program ran is not trusted.
    #[test]
    fn no_forgery_is_trusted(deeds in prop::collection::vec(deed(), 0..6), seen: bool) {
        let world = world();
        let mut forger = Forger::new(&world);
        let mut parts = forger.node.evidence(b"fresh").anchors;
        for deed in deeds {
            let part = &mut parts[0];
            match deed {
                Deed::Extend(pcr) => forger.node.extend(pcr, &digest(5)),
                Deed::SetBack(pcr) => {
                    forger.node.pcrs.insert(pcr, pcr::repeated(Algorithm::Sha256, 0));
                }
                Deed::Anew { keeper, pcr, says, on_top } => {
                    let keeper = if keeper { Keeper::Kernel } else { Keeper::Shim };
                    let start = if on_top { forger.value(pcr) } else { ZERO };
                    let anew = forger.anchored(keeper, pcr, says, start);
                    if keeper == part.keeper {
                        parts[0] = anew;
                    } else {
                        parts.truncate(1);
                        parts.push(anew);
                    }
                }
                Deed::Append { seq } => {
                    let (list, events) = clean("a", 1, seq, 12);
                    let appended = forger.appends(&events);
                    part.aggregate = appended.aggregate;
                    part.containers.retain(|other| (&other.id, other.seq) != (&list.id, list.seq));
                    part.containers.push(list);
                }
                Deed::Hide(at) if at < part.containers.len() => drop(part.containers.remove(at)),
                Deed::Clean(at) if at < part.containers.len() => {
                    let seq = part.containers[at].seq;
                    part.containers[at].list = clean("a", 1, seq, 12).0.list;
                }
                Deed::Hide(_) | Deed::Clean(_) => {}
                Deed::Cut { lines } => {
                    let text = String::from_utf8(part.aggregate.to_vec()).unwrap();
                    let kept: String = text.split_inclusive('\n').take(lines).collect();
                    part.aggregate = kept.into_bytes().into();
                }
                Deed::First(first) => part.first = first,
            }
        }
        let evidence = forger.shows(parts);
        let mut expect = world.expect(&forger.node);
        expect.containers.push(ExpectedContainer { seq: Some(77), ..world.container("a", 1) });
        expect.containers.iter_mut().for_each(|container| container.optional = true);
        let verified = check(&evidence, &expect, seen.then_some(&forger.seen));
        prop_assert_ne!(verified.verdict.conclusion(), Conclusion::Trusted);
        let told = verified.verdict.findings().iter().any(|finding| !finding.is_note());
        prop_assert!(told, "{:#?}", verified.verdict);
    }
}
