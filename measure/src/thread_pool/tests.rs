use super::*;
use std::sync::mpsc;

type Job = Box<dyn FnOnce(&AtomicBool) + Send>;

const TERMS: Terms = Terms {
    name: "test",
    threads: 2,
    nice: None,
    idle: Duration::from_secs(100),
    waiting: 8,
    deferred: 2,
    spare: None,
};

const SPARE: Spare = Spare { after: Duration::from_millis(50), threads: 3 };

fn pool(terms: Terms) -> ThreadPool<Job> {
    ThreadPool::new(terms, |job: Job, ended: &AtomicBool| job(ended))
}

/// So many threads that stand still until what is given is dropped.
fn stand_still(pool: &ThreadPool<Job>, threads: usize) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let (began, has_begun) = mpsc::channel();
    for _ in 0..threads {
        let (wait, began) = (Arc::clone(&wait), began.clone());
        let job = move |_: &AtomicBool| {
            began.send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
        };
        assert!(pool.submit(Box::new(job)).is_ok());
    }
    has_begun.iter().take(threads).for_each(drop);
    go
}

fn telling<T: Send + 'static>(sender: &mpsc::Sender<T>, what: T) -> Job {
    let sender = sender.clone();
    Box::new(move |_| sender.send(what).unwrap())
}

#[test]
fn one_that_stands_still_holds_up_no_other() {
    let pool = pool(TERMS);
    let go = stand_still(&pool, 1);
    let (done, is_done) = mpsc::channel();
    for n in 0..5 {
        assert!(pool.submit(telling(&done, n)).is_ok());
    }
    assert_eq!(is_done.iter().take(5).collect::<Vec<_>>(), (0..5).collect::<Vec<_>>());
    drop(go);
}

#[test]
fn what_is_not_done_in_time_is_told_that_nobody_waits() {
    let pool = pool(TERMS);
    let go = stand_still(&pool, TERMS.threads);
    let (done, is_done) = mpsc::channel();
    let last = Box::new(move |ended: &AtomicBool| {
        done.send(ended.load(Ordering::Relaxed)).unwrap();
    });
    assert!(pool.submit(last).is_ok());
    pool.finish(Duration::from_millis(10));
    assert!(is_done.recv().unwrap());
    drop(go);
}

#[test]
fn what_is_done_in_time_is_waited_for() {
    let pool = pool(TERMS);
    let (done, is_done) = mpsc::channel();
    for _ in 0..TERMS.waiting {
        let done = done.clone();
        let job = move |ended: &AtomicBool| {
            done.send(ended.load(Ordering::Relaxed)).unwrap();
        };
        assert!(pool.submit(Box::new(job)).is_ok());
    }
    pool.finish(Duration::from_secs(100));
    assert_eq!(is_done.try_iter().collect::<Vec<_>>(), [false; TERMS.waiting]);
}

#[test]
fn no_more_wait_than_there_is_room_for() {
    let pool = pool(TERMS);
    let go = stand_still(&pool, TERMS.threads);
    let nothing = || Box::new(|_: &AtomicBool| ());
    let taken = (0..100).filter(|_| pool.submit(nothing()).is_ok()).count();
    let deferred = (0..100).filter(|_| pool.defer(nothing()).is_ok()).count();
    assert_eq!((taken, deferred), (TERMS.waiting, TERMS.deferred));
    drop(go);
}

#[test]
fn what_is_deferred_is_done_last_and_what_is_oldest_is_forgotten() {
    let pool = pool(Terms { threads: 1, waiting: 3, ..TERMS });
    let go = stand_still(&pool, 1);
    let (done, is_done) = mpsc::channel();
    assert!(pool.defer(telling(&done, 100)).is_ok());
    for n in 0..5 {
        assert!(pool.submit_last(telling(&done, n)).is_ok());
    }
    drop((go, done));
    assert_eq!(is_done.iter().collect::<Vec<_>>(), [2, 3, 4, 100]);
}

#[test]
fn one_that_breaks_down_takes_no_other_with_it() {
    let pool = pool(Terms { threads: 1, ..TERMS });
    let (done, is_done) = mpsc::channel();
    assert!(pool.submit(Box::new(|_| panic!("as is meant"))).is_ok());
    assert!(pool.submit(telling(&done, ())).is_ok());
    is_done.recv().unwrap();
}

#[test]
fn who_has_nothing_to_do_ends() {
    let pool = pool(Terms { idle: Duration::from_millis(1), ..TERMS });
    let (here, thread) = mpsc::channel();
    /// Tells that its thread ends.
    struct End(mpsc::Sender<()>);
    impl Drop for End {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    thread_local!(static END: std::cell::RefCell<Option<End>> = const { std::cell::RefCell::new(None) });
    for _ in 0..2 {
        let here = here.clone();
        let job = move |_: &AtomicBool| END.set(Some(End(here)));
        assert!(pool.submit(Box::new(job)).is_ok());
        thread.recv().unwrap();
    }
}

#[test]
fn what_waits_for_a_pool_that_goes_is_forgotten() {
    let pool = pool(Terms { threads: 1, ..TERMS });
    let go = stand_still(&pool, 1);
    let (done, is_done) = mpsc::channel();
    assert!(pool.submit(telling(&done, ())).is_ok());
    drop((pool, done));
    assert!(is_done.recv().is_err());
    drop(go);
}

/// As by files whose server does not answer: whoever comes behind them is not kept.
#[test]
fn in_place_of_those_that_are_held_others_are_started() {
    let pool = pool(Terms { spare: Some(SPARE), ..TERMS });
    let mut all = Vec::new();
    for held in [TERMS.threads, 1, 1] {
        all.push(stand_still(&pool, held));
        let (done, is_done) = mpsc::channel();
        let last: Box<dyn Fn(&AtomicBool) + Send> = {
            let done = done.clone();
            Box::new(move |given_up| done.send(given_up.load(Ordering::Relaxed)).unwrap())
        };
        assert!(pool.submit(last).is_ok());
        // Behind all others, and with nobody who has another job done.
        assert!(pool.defer(telling(&done, false)).is_ok());
        drop(done);
        assert_eq!(is_done.iter().collect::<Vec<_>>(), [false, false]);
    }
    drop(all);
    // Those are gone again that are not needed.
    let until = Instant::now() + Duration::from_secs(100);
    while pool.0.lock().threads > TERMS.threads {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

/// Whoever is there already behind them, too.
#[test]
fn when_all_are_held_nothing_is_kept_waiting() {
    let pool = pool(Terms { spare: Some(SPARE), waiting: 64, ..TERMS });
    let mut all = Vec::new();
    for _ in 0..TERMS.threads + SPARE.threads - 1 {
        all.push(stand_still(&pool, 1));
    }
    let (done, is_done) = mpsc::channel();
    all.push(stand_still(&pool, 1));
    let mut kept = 0;
    for _ in 0..8 {
        let done = done.clone();
        let job = move |given_up: &AtomicBool| {
            done.send(given_up.load(Ordering::Relaxed)).unwrap();
        };
        kept += usize::from(pool.submit(Box::new(job)).is_ok());
    }
    drop(done);
    assert_eq!(is_done.iter().collect::<Vec<_>>(), vec![true; kept]);
    let until = Instant::now() + Duration::from_secs(100);
    while pool.submit(Box::new(|_| ())).is_ok() {
        assert!(Instant::now() < until);
    }
    drop(all);
    while pool.submit(Box::new(|_| ())).is_err() {
        assert!(Instant::now() < until);
    }
}

/// A thread that was started in another's place has its own to do.
#[test]
fn a_row_of_slow_jobs_is_done() {
    let spare = Spare { after: Duration::from_millis(1), threads: 1 };
    let pool = pool(Terms { spare: Some(spare), waiting: 64, ..TERMS });
    let (done, is_done) = mpsc::channel();
    let mut taken = 0;
    for n in 0..40 {
        let done = done.clone();
        let job = move |_: &AtomicBool| {
            std::thread::sleep(Duration::from_millis(2));
            done.send(n).unwrap();
        };
        taken += usize::from(pool.submit(Box::new(job)).is_ok());
    }
    drop(done);
    assert_eq!(is_done.iter().count(), taken);
    assert!(pool.0.lock().threads <= TERMS.threads + 2);
}
