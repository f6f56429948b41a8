use super::*;
use crate::NoProgress;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stands still at its first block until another waits, and is called off then.
struct CalledOff {
    stands: Barrier,
    goes_on: Barrier,
    called: AtomicBool,
}

impl Progress for CalledOff {
    fn hashed(&self, _: u64) {
        if !self.called.load(Ordering::Relaxed) {
            self.stands.wait();
            self.goes_on.wait();
        }
    }

    fn is_unwanted(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }
}

struct Unwanted;

impl Progress for Unwanted {
    fn is_unwanted(&self) -> bool {
        true
    }
}

#[test]
fn who_waits_for_a_layer_whose_making_is_called_off_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let lower = dir.path().join("lower");
    fs::create_dir_all(lower.join("bin")).unwrap();
    let program = fs::canonicalize("/bin/sh").unwrap();
    for number in 0..8 {
        fs::copy(&program, lower.join("bin").join(number.to_string())).unwrap();
    }
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let (lower, options) = ([lower], Options { threads: 1.try_into().ok(), ..Options::default() });
    let first = CalledOff {
        stands: Barrier::new(2),
        goes_on: Barrier::new(2),
        called: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let called_off = scope.spawn(|| store.scanned(&lower, &options, &first));
        first.stands.wait();
        // It holds the lock: who comes now waits, whatever becomes of the first.
        assert!(matches!(store.scanned(&lower, &options, &Unwanted), Err(Error::Unwanted)));
        let waits = scope.spawn(|| store.scanned(&lower, &options, &NoProgress));
        first.called.store(true, Ordering::Relaxed);
        first.goes_on.wait();
        assert!(matches!(called_off.join().unwrap(), Err(Error::Unwanted)));
        let image = waits.join().unwrap().unwrap().as_they_are();
        assert_eq!(image.baseline.len(), 8);
    });
}

#[test]
fn what_was_scanned_by_other_rules_has_another_name() {
    let name = |languages: &[Language], rules| Key::by("image 1", languages, rules).0;
    let now = name(LANGUAGES, kind::RULES);
    assert_eq!(now, Key::of("image 1").0);
    assert_ne!(now, name(LANGUAGES, kind::RULES + 1));
    // One suffix more, one less, one that became bytecode, a language more.
    let [first, rest @ ..] = LANGUAGES else { unreachable!("there are languages") };
    let with = |changed: Language| [&[changed], rest].concat();
    let more: &'static [&'static str] = &["ash", "bash", "bats", "csh", "new"];
    for changed in [
        with(Language { scripts: more, ..*first }),
        with(Language { scripts: &first.scripts[1..], ..*first }),
        with(Language { scripts: &[], bytecode: first.scripts, ..*first }),
        [LANGUAGES, LANGUAGES].concat(),
        rest.to_vec(),
    ] {
        assert_ne!(now, name(&changed, kind::RULES));
    }
}
