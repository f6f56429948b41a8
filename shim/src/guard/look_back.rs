//! What is found out of processes that run already is told by a source that watches them.

use std::sync::Arc;

use lacre_measure::{
    Answer, CodeDirectories, Judge, Leased, LetPass, Loss, Outcome, Spared, Verified,
};
use lacre_types::{CanonicalPath, Measurement, Source};

/// A container's judge, as who looks through its mappings has it: he reads them as `exec-map`
/// does, which may not be armed, and records name sources that are.
pub(super) struct LookBack {
    pub(super) judge: Arc<dyn Judge>,
    /// Whose sight it is.
    pub(super) source: Source,
}

impl LookBack {
    fn own(&self, measurement: Measurement) -> Measurement {
        Measurement { source: self.source, ..measurement }
    }
}

impl Judge for LookBack {
    fn judge(&self, measurement: &Measurement) -> Answer {
        self.judge.judge(measurement)
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        self.judge.settled(measurement)
    }

    fn spared(&self) -> Spared {
        self.judge.spared()
    }

    fn let_pass(&self) -> LetPass {
        self.judge.let_pass()
    }

    fn code_directories(&self) -> CodeDirectories {
        self.judge.code_directories()
    }

    fn is_declared_code(&self, path: &CanonicalPath) -> bool {
        self.judge.is_declared_code(path)
    }

    fn judge_reading(&self, measurement: &Measurement) -> Answer {
        self.judge.judge_reading(measurement)
    }

    fn read(&self, measurement: Measurement, outcome: Outcome) {
        self.judge.read(self.own(measurement), outcome);
    }

    fn passes(&self, file: &Verified, measurement: &Measurement) {
        self.judge.passes(file, measurement);
    }

    fn changed(&self, path: &CanonicalPath) {
        self.judge.changed(path);
    }

    fn leased(&self, file: &Leased<'_>) {
        self.judge.leased(file);
    }

    fn lease_ends(&self, ino: u64) {
        self.judge.lease_ends(ino);
    }

    fn refuses(&self, measurement: &Measurement) {
        self.judge.refuses(measurement);
    }

    fn was_refused(&self, measurement: &Measurement, exec: u64) -> bool {
        self.judge.was_refused(measurement, exec)
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        self.judge.seen(self.own(measurement), outcome);
    }

    fn lost(&self, _: Source, loss: Loss) {
        self.judge.lost(self.source, loss);
    }
}
