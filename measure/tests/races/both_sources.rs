//! A container under both sources, as `auto` arms them.

use std::sync::{Arc, Condvar, Mutex, OnceLock};

use lacre_measure::exec_trace::{self, Allower, ExecTraceArmed};
use lacre_measure::fanotify::{self, FanotifyArmed, Groups, Holder};
use lacre_measure::{Answer, Armed as _, Block, Judge, Leased, Loss, Outcome, Verified};
use lacre_types::{CanonicalPath, Measurement, Mode, Source};

use crate::common::{self, Container, Image, Node, Recorder};

/// A judge that tells `exec-trace` what `fanotify` lets pass, as the shim's does.
pub(crate) struct Both {
    pub(crate) recorder: Arc<Recorder>,
    traced: OnceLock<Allower>,
    holder: OnceLock<Holder>,
    records: bool,
    /// Changes of the shell that it was told of, and processes that were killed.
    pub(crate) heard: Mutex<(u64, u64)>,
    news: Condvar,
}

impl Both {
    pub(crate) fn heard_of_the_shell(&self) -> u64 {
        self.heard.lock().unwrap().0
    }

    pub(crate) fn wait_until(&self, is: impl Fn(&(u64, u64)) -> bool) {
        let heard = self.heard.lock().unwrap();
        let waited = self.news.wait_timeout_while(heard, common::PATIENCE, |heard| !is(heard));
        assert!(!waited.unwrap().1.timed_out());
    }

    pub(crate) fn wait_until_heard(&self, before: u64) {
        self.wait_until(|heard| heard.0 > before);
    }

    pub(crate) fn wait_until_killed(&self, kills: u64) {
        self.wait_until(|heard| heard.1 >= kills);
    }
}

impl Judge for Both {
    fn judge(&self, measurement: &Measurement) -> Answer {
        self.recorder.judge(measurement)
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        self.recorder.settled(measurement)
    }

    fn passes(&self, file: &Verified, measurement: &Measurement) {
        if let Some(traced) = self.traced.get() {
            let _ = traced.allow(file, measurement.path.as_ref());
        }
    }

    fn leased(&self, file: &Leased<'_>) {
        if let Some(traced) = self.traced.get() {
            traced.leased(file);
        }
    }

    fn lease_ends(&self, ino: u64) {
        if let Some(traced) = self.traced.get() {
            traced.lease_ends(ino);
        }
    }

    fn changed(&self, path: &CanonicalPath) {
        if let Some(holder) = self.holder.get() {
            holder.hold(path);
        }
        self.heard.lock().unwrap().0 += u64::from(path.as_bytes() == b"/bin/sh");
        self.news.notify_all();
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        if outcome == Outcome::Killed {
            self.heard.lock().unwrap().1 += 1;
            self.news.notify_all();
        }
        // Of a soak's races they would be many.
        if self.records {
            self.recorder.seen(measurement, outcome);
        }
    }

    fn lost(&self, source: Source, loss: Loss) {
        self.recorder.lost(source, loss);
    }
}

/// A container under both sources, as `auto` arms them.
pub(crate) struct Guarded {
    pub(crate) container: Container,
    pub(crate) judge: Arc<Both>,
    pub(crate) armed: (ExecTraceArmed, FanotifyArmed),
    _image: Image,
    // after what is pinned on it
    _node: Node,
}

impl Guarded {
    pub(crate) fn new(block: Block, records: bool) -> Self {
        Self::of(&Groups::new(), block, records)
    }

    /// A container of the shim that has these groups.
    pub(crate) fn of(groups: &Groups, block: Block, records: bool) -> Self {
        let mut image = Image::new();
        build(&mut image, "/bin/victim", &["-DPROGRAM"]);
        build(&mut image, "/opt/victim.so", &["-shared", "-fPIC"]);
        Self::of_image(image, groups, block, records)
    }

    pub(crate) fn of_image(image: Image, groups: &Groups, block: Block, records: bool) -> Self {
        let node = Node::new();
        let container = Container::new(&image);
        let recorder = Recorder::new(Mode::Enforce, &image);
        let (traced, holder) = (OnceLock::new(), OnceLock::new());
        let heard = Mutex::default();
        let judge =
            Arc::new(Both { recorder, traced, holder, records, heard, news: Condvar::new() });
        let target = lacre_measure::Target { block, ..container.target(&image, Mode::Enforce) };
        let asked = Arc::clone(&judge) as Arc<dyn Judge>;
        let trace =
            exec_trace::prepare(&target.container, &*target.known, &node.options()).unwrap();
        let trace = trace.arm_at(groups, &target, Arc::clone(&asked)).unwrap();
        assert_eq!(trace.remark(), None);
        judge.traced.set(trace.allower()).unwrap();
        let limits = fanotify::Limits::default();
        let fanotify = fanotify::arm_at(groups, &target, asked, limits).unwrap();
        judge.holder.set(fanotify.holder()).unwrap();
        let armed = (trace, fanotify);
        Self { container, judge, armed, _image: image, _node: node }
    }

    /// Has a file changed, and used once word of that has come.
    pub(crate) fn use_after(&mut self, change: &str, victim: &str) {
        assert_eq!(self.container.each(&format!("/bin/t change {change} {victim}")), 0);
        // On a machine with more to do than it can, another program may be faster than word of
        // it: what is told later is told after it.
        let heard = self.judge.heard_of_the_shell();
        assert_eq!(self.container.each("/bin/t change touch /bin/sh"), 0);
        self.judge.wait_until_heard(heard);
        let ran = self.container.each(&format!("/bin/t use {victim}"));
        assert_eq!(ran, 0, "after {change} of {victim}");
    }

    /// Nobody was killed, and nothing is on record but what ran and is settled.
    pub(crate) fn nobody_was_hit(&self) {
        assert_eq!(self.armed.0.counters().unwrap().kills, 0);
        let recorder = &self.judge.recorder;
        assert!(recorder.all().iter().all(|(m, o)| *o == Outcome::Ran && recorder.settled(m)));
    }
}

pub(crate) fn build(image: &mut Image, path: &str, arguments: &[&str]) {
    common::compile("victim.c", &image.lower().join(&path[1..]), arguments);
    image.allow(path);
}
