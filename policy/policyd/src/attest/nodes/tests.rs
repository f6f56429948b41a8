//! The book of nodes: enrolment, challenges, and expectations that change.

use std::sync::Barrier;

use super::super::record::tests::known;
use super::*;
use crate::reloaded_file::Reloaded;

fn book(dir: &Path) -> Book {
    let file = dir.join("attest.yaml");
    std::fs::write(&file, "endorsementKeys: [00]\n").unwrap();
    let log = Logger::root(slog::Discard, slog::o!());
    Book::open(Followed::load(&file).unwrap(), &dir.join("nodes"), log).unwrap()
}

#[test]
fn one_tpm_is_one_node_though_many_enrol_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    for tpm in 0..200 {
        let together = Barrier::new(8);
        let enrol = |who: u8| {
            together.wait();
            book.enrol(&format!("tls:{tpm}/{who}"), known(tpm)).is_ok()
        };
        let enrolled = std::thread::scope(|scope| {
            let all = [0, 1, 2, 3, 4, 5, 6, 7].map(|who| scope.spawn(move || enrol(who)));
            all.map(|one| one.join().unwrap()).into_iter().filter(|enrolled| *enrolled).count()
        });
        assert_eq!(enrolled, 1, "TPM {tpm}");
    }
}

fn wanted(book: &Book) -> Wanted {
    book.wanted("tls:a", Some(&[2]), false, [0; 32])
}

fn enrolled_and_asked(book: &Book) {
    book.enrol("tls:a", known(1)).unwrap();
    assert!(matches!(wanted(book), Wanted::Evidence(_)));
    assert!(matches!(wanted(book), Wanted::Nothing(1..=60)));
}

#[test]
fn a_challenge_is_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    book.enrol("uid:0", known(2)).unwrap();
    assert!(matches!(book.answered("uid:0"), Err(Refused::Unasked)));
    let ak = known(2).ak_name;
    let wanted = book.wanted("uid:0", Some(&ak), true, [7; 32]);
    assert!(matches!(wanted, Wanted::Evidence(_)));
    let (answered, _) = book.answered("uid:0").unwrap();
    assert_eq!(*answered.challenge.unwrap().value, [7; 32]);
    assert!(matches!(book.answered("uid:0"), Err(Refused::Unasked)));
}

fn expecting(book: &Book, dir: &Path, text: &str) {
    std::fs::write(dir.join("attest.yaml"), text).unwrap();
    let Reloaded::Fresh(config) = book.file.read_again() else { panic!("{text}") };
    book.expect(config);
}

#[test]
fn what_is_expected_anew_is_asked_at_once_and_what_was_asked_before_is_void() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    let wanted = || wanted(&book);
    enrolled_and_asked(&book);
    let mut told = book.changed.subscribe();
    expecting(&book, dir.path(), "endorsementKeys: [00]\nexpect: {pcrs: [7]}\n");
    assert!(told.has_changed().unwrap(), "who polls is woken");
    told.mark_unchanged();
    // Over the PCRs of before, it would be a quote over others.
    assert!(matches!(book.answered("tls:a"), Err(Refused::Unasked)));
    let Wanted::Evidence(challenge) = wanted() else { panic!("evidence is wanted at once") };
    assert_eq!(challenge.selection.to_string(), "sha256:7,15");
    let (_, config) = book.answered("tls:a").unwrap();
    assert_eq!(config.selection("tls:a").to_string(), "sha256:7,15");
}

#[test]
fn a_fleet_is_not_asked_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    for tpm in 0..=255 {
        let name = format!("tls:{tpm}");
        book.nodes().insert(name.clone(), Record::enrolled(&name, known(tpm), None, &Now::read()));
        book.nodes().get_mut(&name).unwrap().due = seconds() + 300;
    }
    let before = seconds();
    expecting(&book, dir.path(), "endorsementKeys: [01]\n");
    let due: Vec<u64> = book.nodes().values().map(|record| record.due).collect();
    let after = seconds();
    let within = |least, most| due.iter().filter(|due| (least..=most).contains(*due)).count();
    assert_eq!(within(before, after + 2), 256);
    assert!(within(before + 1, after + 2) >= 156);
}

#[test]
fn a_broken_file_changes_nothing_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    let write = |text: &str| std::fs::write(dir.path().join("attest.yaml"), text).unwrap();
    let version = book.config().version.clone();
    assert!(matches!(book.file.read_again(), Reloaded::Same));
    write("endorsementKeys: [00]\ninterval: 7\nmakers: [maker.pem]\n");
    assert!(matches!(book.file.read_again(), Reloaded::Kept(_)));
    assert!(matches!(book.file.read_again(), Reloaded::StillBroken));
    assert!(book.file.error().unwrap().contains("maker.pem"));
    assert_eq!((book.config().interval.as_secs(), &book.config().version), (300, &version));
    // What it names comes later than the file.
    std::fs::write(dir.path().join("maker.pem"), "").unwrap();
    assert!(matches!(book.file.read_again(), Reloaded::Kept(_)), "another reason");
    write("endorsementKeys: [00]\ninterval: 7\n");
    expecting(&book, dir.path(), "endorsementKeys: [00]\ninterval: 7\n");
    assert_eq!((book.config().interval.as_secs(), book.file.error()), (7, None));
}

#[test]
fn what_the_file_names_is_followed_too() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    let secret = |digit: &str| {
        std::fs::write(dir.path().join("fresh"), digit.repeat(64)).unwrap();
        std::fs::rename(dir.path().join("fresh"), dir.path().join("secret")).unwrap();
    };
    secret("a");
    let text = "endorsementKeys: [00]\nexpect: {containers: {c: {secret: secret}}}\n";
    expecting(&book, dir.path(), text);
    let given = || {
        let config = book.config();
        config.expected("tls:a").expectations(None, &[]).containers[0].secret.clone().unwrap()
    };
    let before = given();
    assert!(matches!(book.file.read_again(), Reloaded::Same));
    secret("b");
    expecting(&book, dir.path(), text);
    assert_ne!(given(), before);
    std::fs::remove_file(dir.path().join("secret")).unwrap();
    assert!(matches!(book.file.read_again(), Reloaded::Kept(_)));
    assert_ne!(given(), before, "what was read last");
}
