//! Containers whose ids nobody knows beforehand: by their image, and by what the node gives.

use lacre_attest::verify::{Given, ImageBaselines};
use proptest::prelude::*;

use super::again::rest;
use super::*;

const DEMO: &str = "docker.io/library/demo:1";

/// What images may run.
struct Shelf(BTreeMap<&'static str, Files>);

impl ImageBaselines for Shelf {
    fn baseline(&self, image: &str) -> Option<&dyn Whitelist> {
        self.0.get(image).map(|files| files as &dyn Whitelist)
    }
}

fn shelf() -> Shelf {
    let other = Files(BTreeMap::from([("/bin/other", 30)]));
    Shelf(BTreeMap::from([(DEMO, image()), ("other", other)]))
}

fn given(node: &Node) -> Vec<Given> {
    let all = node.containers.iter();
    all.map(|(id, container)| Given {
        id: id.clone(),
        seq: Some(container.seq),
        secret: container.secret.clone(),
    })
    .collect()
}

/// A fleet's expectations: nothing is known of ids.
fn fleet<'a>(world: &'a World, shelf: &'a Shelf, node: &Node) -> Expectations<'a> {
    let mut expect = world.expect(node);
    expect.containers.clear();
    expect.images = Some(shelf);
    expect.add(given(node));
    expect
}

fn of_baseline(verified: &Verified, id: &str) -> Answer {
    verified.verdict.answers()[&Question::ContainerBaseline(id.into())].clone()
}

fn told(evidence: &mut Evidence, at: usize, image: Option<&str>) {
    evidence.anchors[0].containers[at].image = image.map(str::to_owned);
}

#[test]
fn what_nobody_named_is_judged_by_its_image() {
    let (mut node, world, shelf) = (node(), world(), shelf());
    let verified = check(&node.evidence(b"fresh"), &fleet(&world, &shelf, &node), None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    let says = "5 measurements are in the baseline of docker.io/library/demo:1".to_owned();
    assert_eq!(of_baseline(&verified, "a"), Answer::Passed(says));

    // What is written of a container goes before its image; what is not written falls back.
    let none = Files(BTreeMap::new());
    for (baseline, passes) in [(Some(&none as &dyn Whitelist), false), (None, true)] {
        let mut expect = fleet(&world, &shelf, &node);
        expect.containers = vec![ExpectedContainer { baseline, ..world.container("a", 1) }];
        expect.add(given(&node));
        let verified = check(&node.evidence(b"fresh"), &expect, None);
        assert_eq!(matches!(of_baseline(&verified, "a"), Answer::Passed(_)), passes);
        assert!(matches!(of_baseline(&verified, "b"), Answer::Passed(_)));
    }

    node.run("b", &digest(66), "/tmp/evil");
    node.flush();
    let verified = check(&node.evidence(b"fresh"), &fleet(&world, &shelf, &node), None);
    assert_eq!(names(&verified), BTreeSet::from(["CONTAINER_VIOLATION"]));
    assert_eq!(of_baseline(&verified, "b"), Answer::Failed);
    // The lie that a name allows: another image that is allowed, whose files it ran.
    let mut evidence = node.evidence(b"fresh");
    told(&mut evidence, 0, Some("other"));
    let verified = check(&evidence, &fleet(&world, &shelf, &node), None);
    assert_eq!(of_baseline(&verified, "a"), Answer::Failed);
}

#[test]
fn an_image_that_nothing_is_known_of_is_not_checked() {
    let (node, world, shelf) = (node(), world(), shelf());
    for (image, why) in [
        (None, "no baseline was given for it, and its image is not told"),
        (Some(""), "no baseline was given for it, and its image is not told"),
        (Some("e\u{1b}vil"), "no baseline was given for it, nor for its image e\\u{1b}vil"),
    ] {
        let mut evidence = node.evidence(b"fresh");
        told(&mut evidence, 0, image);
        let mut expect = fleet(&world, &shelf, &node);
        let verified = check(&evidence, &expect, None);
        assert_eq!(of_baseline(&verified, "a"), Answer::NotChecked(why.into()));
        assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
        expect.waived.insert("container-baseline".to_owned());
        let verified = check(&evidence, &expect, None);
        assert_eq!(of_baseline(&verified, "a"), Answer::Waived(why.into()));
        assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted);
    }
    // A name that is long is not told at length.
    let mut evidence = node.evidence(b"fresh");
    told(&mut evidence, 0, Some(&"x".repeat(1 << 20)));
    let verified = check(&evidence, &fleet(&world, &shelf, &node), None);
    assert!(matches!(of_baseline(&verified, "a"), Answer::NotChecked(why) if why.len() < 1024));
}

/// Else what one image lacks, a node would have run as another.
#[test]
fn a_list_is_of_one_image_from_its_first_line() {
    let (mut node, world, shelf) = (node(), world(), shelf());
    let expect = fleet(&world, &shelf, &node);
    let seen = check(&node.evidence(b"fresh"), &expect, None).seen.unwrap();
    let seen: Seen = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
    node.run("a", &digest(30), "/bin/other");
    node.flush();
    let mut evidence = node.evidence(b"fresh");
    told(&mut evidence, 0, Some("other"));
    let mut whole = evidence.clone();
    rest(&mut evidence, &seen);
    let verified = check(&evidence, &expect, Some(&seen));
    let why = "its first lines were judged as those of docker.io/library/demo:1, and now its image \
               is other";
    assert_eq!(of_baseline(&verified, "a"), Answer::NotChecked(why.into()));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "all of it is asked for");
    assert_eq!(names(&check(&whole, &expect, None)), BTreeSet::from(["CONTAINER_VIOLATION"]));

    // What was done without once is not made good by the lines that came after.
    told(&mut whole, 0, None);
    let mut waives = fleet(&world, &shelf, &node);
    waives.waived.insert("container-baseline".to_owned());
    let seen = check(&whole, &waives, None).seen.unwrap();
    let mut evidence = node.evidence(b"fresh");
    rest(&mut evidence, &seen);
    let verified = check(&evidence, &waives, Some(&seen));
    let why = "its first lines were not judged as those of docker.io/library/demo:1";
    assert_eq!(of_baseline(&verified, "a"), Answer::Waived(why.into()));
}

#[test]
fn a_secret_that_is_not_written_is_the_one_that_the_node_gives() {
    let (mut node, world) = (node(), world());
    let unwritten = |expect: &mut Expectations<'_>| {
        expect.containers.iter_mut().for_each(|container| container.secret = None);
    };
    let mut expect = world.expect(&node);
    unwritten(&mut expect);
    expect.containers[1].seq = Some(2);
    let mut with = expect.clone();
    with.add(given(&node));
    assert_eq!(with.containers.len(), 2);
    let verified = check(&node.evidence(b"fresh"), &with, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);

    // Nothing is checked without, and a wrong one opens nothing.
    let verified = check(&node.evidence(b"fresh"), &expect, None);
    let log = Log::Aggregate(Keeper::Kernel);
    assert_eq!(verified.verdict.findings(), [Finding::EventsUnclaimed { log, events: 10 }]);
    let why = Answer::NotChecked("its secret was not given".into());
    assert_eq!(verified.verdict.answers()[&Question::ContainerList("a".into())], why);
    let mut wrong = expect.clone();
    let other = |given| Given { secret: secret(9), ..given };
    wrong.add(given(&node).into_iter().map(other).collect());
    let verified = check(&node.evidence(b"fresh"), &wrong, None);
    assert_eq!(names(&verified), BTreeSet::from(["EVENTS_UNCLAIMED", "NOT_ANCHORED"]));

    // What is asked of it is asked all the same: its baseline, its number, that it is there.
    node.run("a", &digest(66), "/tmp/evil");
    node.flush();
    let verified = check(&node.evidence(b"fresh"), &with, None);
    assert_eq!(names(&verified), BTreeSet::from(["CONTAINER_VIOLATION"]));
    let mut later = expect.clone();
    later.containers[1].seq = Some(7);
    later.add(given(&node));
    let verified = check(&node.evidence(b"fresh"), &later, None);
    let missing = |finding: &Finding| finding.name() == "LOG_MISSING";
    assert!(verified.verdict.findings().iter().any(missing), "{:#?}", verified.verdict);
    let mut evidence = node.evidence(b"fresh");
    evidence.anchors[0].containers.remove(0);
    let gives = given(&node).into_iter().filter(|given| given.id == "b");
    expect.add(gives.collect());
    let missed = BTreeSet::from(["EVENTS_UNCLAIMED", "LOG_MISSING"]);
    assert_eq!(names(&check(&evidence, &expect, None)), missed);
}

#[test]
fn what_may_be_absent_is_not_missed_and_is_judged_where_it_is() {
    let (mut node, world) = (node(), world());
    let mut expect = world.expect(&node);
    let without = |node: &Node| {
        let mut evidence = node.evidence(b"fresh");
        evidence.anchors[0].containers.retain(|list| list.id != "b");
        evidence
    };
    let verified = check(&without(&node), &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["EVENTS_UNCLAIMED", "LOG_MISSING"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Untrusted);
    assert!(
        !verified.verdict.findings().iter().any(Finding::is_tampering),
        "it may never have been"
    );
    assert!(Finding::LogMissing(Log::Host).is_tampering());
    expect.containers[1].optional = true;
    // Its events are there, and its list is not.
    let verified = check(&without(&node), &expect, None);
    assert_eq!(names(&verified), BTreeSet::from(["EVENTS_UNCLAIMED"]));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven, "{:#?}", verified.verdict);
    expect.excused.insert("aggregate-complete".to_owned(), "b comes and goes".to_owned());
    let verified = check(&without(&node), &expect, None);
    assert_eq!(verified.verdict.conclusion(), Conclusion::Trusted, "{:#?}", verified.verdict);
    // Once it was seen, it has to end.
    let seen = check(&node.evidence(b"fresh"), &expect, None).seen.unwrap();
    let verified = check(&without(&node), &expect, Some(&seen));
    assert_eq!(verified.verdict.conclusion(), Conclusion::Unproven);
    node.run("b", &digest(66), "/tmp/evil");
    node.flush();
    let verified = check(&node.evidence(b"fresh"), &expect, Some(&seen));
    assert_eq!(names(&verified), BTreeSet::from(["CONTAINER_VIOLATION"]));
}

/// What may be written of a container, what the node gives, and what it says and runs: by
/// round, of which each is shown after what the one before it left.
#[derive(Debug, Clone)]
struct Life {
    /// Whether an entry names it; with a secret; with a baseline of its own.
    written: Option<(bool, bool)>,
    gives: bool,
    rounds: Vec<Round>,
}

#[derive(Debug, Clone)]
struct Round {
    image: Option<&'static str>,
    ran: Vec<(u8, &'static str)>,
}

fn life() -> impl Strategy<Value = Life> {
    let image = prop::sample::select(vec![None, Some(DEMO), Some("other"), Some("unknown")]);
    let ran = prop::sample::select(vec![(10, "/bin/app"), (30, "/bin/other"), (66, "/tmp/evil")]);
    let round =
        (image, prop::collection::vec(ran, 0..3)).prop_map(|(image, ran)| Round { image, ran });
    let written = prop::option::of(any::<(bool, bool)>());
    (written, prop::bool::weighted(0.8), prop::collection::vec(round, 3))
        .prop_map(|(written, gives, rounds)| Life { written, gives, rounds })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_not_checked_has_never_passed(
        lives in prop::collection::vec(life(), 1..3),
        waived in any::<bool>(),
        whole in prop::collection::vec(any::<bool>(), 3),
    ) {
        let (mut node, world, shelf) = (Node::boot(), world(), shelf());
        let ids = ["a", "b"];
        for (id, n) in ids.iter().zip(1..).take(lives.len()) {
            node.create(id, secret(n));
        }
        let mut expect = Expectations { host: None, kernel: None, ..world.expect(&node) };
        expect.waived = ["kernel", "host-programs"].map(str::to_owned).into();
        expect.waived.extend(waived.then(|| "container-baseline".to_owned()));
        expect.images = Some(&shelf);
        expect.containers.clear();
        for ((life, id), n) in lives.iter().zip(ids).zip(1..) {
            let Some((with_secret, with_baseline)) = life.written else { continue };
            let mut container = world.container(id, n);
            container.secret = container.secret.filter(|_| with_secret);
            container.baseline = container.baseline.filter(|_| with_baseline);
            expect.containers.push(container);
        }
        let gives = |given: &Given| lives[usize::from(given.id == "b")].gives;
        expect.add(given(&node).into_iter().filter(gives).collect());
        let (mut seen, mut ran): (Option<Seen>, BTreeMap<&str, Vec<_>>) = Default::default();
        for (round, whole) in whole.into_iter().enumerate() {
            for (life, id) in lives.iter().zip(ids) {
                for (n, path) in &life.rounds[round].ran {
                    node.run(id, &digest(*n), path);
                    ran.entry(id).or_default().push((*n, *path));
                }
            }
            node.flush();
            let mut evidence = node.evidence(b"fresh");
            for (at, life) in lives.iter().enumerate() {
                told(&mut evidence, at, life.rounds[round].image);
            }
            // As `NodeState` asks: of a node that is not trusted all is wanted.
            if let Some(seen) = seen.as_ref().filter(|seen| !whole && covers(seen, &evidence)) {
                rest(&mut evidence, seen);
            }
            let verified = check(&evidence, &expect, seen.as_ref());
            let trusted = verified.verdict.conclusion() == Conclusion::Trusted;
            for (life, id) in lives.iter().zip(ids) {
                let own = life.written.is_some_and(|(_, baseline)| baseline);
                let by = match life.rounds[round].image {
                    _ if own => Some(&world.image as &dyn Whitelist),
                    image => image.and_then(|image| shelf.baseline(image)),
                };
                let may = |path: &str| by?.entry(&CanonicalPath::new(path).unwrap());
                let all = ran.get(id).into_iter().flatten();
                let good = by.is_some() && all.clone().all(|(_, path)| may(path).is_some());
                let answer = verified.verdict.answers().get(&Question::ContainerBaseline(id.into()));
                if let Some(Answer::Passed(_)) = answer {
                    prop_assert!(good, "{id} in round {round}: {:#?}", verified.verdict);
                }
                if trusted && !waived {
                    prop_assert!(good && matches!(answer, Some(Answer::Passed(_))));
                }
            }
            seen = if trusted { verified.seen } else { None };
        }
    }
}

/// Whether a verifier knows each list that the evidence brings.
fn covers(seen: &Seen, evidence: &Evidence) -> bool {
    let known = &seen.anchors[&Keeper::Kernel].containers;
    let lists = &evidence.anchors[0].containers;
    lists.iter().all(|list| known.contains_key(&format!("{}#{}", list.id, list.seq)))
}
