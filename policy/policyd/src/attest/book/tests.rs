use std::sync::Barrier;

use super::super::record::tests::known;
use super::*;

fn book(dir: &Path) -> Book {
    let file = dir.join("attest.yaml");
    std::fs::write(&file, "endorsementKeys: [00]\n").unwrap();
    let log = Logger::root(slog::Discard, slog::o!());
    Book::open(Config::load(&file).unwrap(), &dir.join("nodes"), log).unwrap()
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

#[test]
fn evidence_is_wanted_although_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    book.enrol("tls:a", known(1)).unwrap();
    let wanted = || book.wanted("tls:a", Some(&[2]), false, [0; 32]);
    assert!(matches!(wanted(), Wanted::Evidence(_)));
    assert!(matches!(wanted(), Wanted::Nothing(1..=60)));
    book.nodes().get_mut("tls:a").unwrap().due += 300;
    assert!(matches!(wanted(), Wanted::Evidence(_)), "a time that was never set");
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
    let answered = book.answered("uid:0").unwrap();
    assert_eq!(*answered.challenge.unwrap().value, [7; 32]);
    assert!(matches!(book.answered("uid:0"), Err(Refused::Unasked)));
}
