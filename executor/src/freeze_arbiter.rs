use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cgroup::{Cgroup, CgroupError};
use crate::freezer::{FreezeError, Freezer};
use crate::target::Target;

/// How many processes are looked at on the thread of who asks for an action: some 50 µs for
/// each. With more, freezing waits for a thread of its own.
const LOOKED_AT_ONCE: usize = 128;

/// The only one who freezes a container for lacre, or thaws it: it keeps apart who wanted
/// it frozen, and freezes nothing once an end was decided.
#[derive(Debug)]
pub(crate) struct FreezeArbiter {
    target: Arc<Target>,
    wanted: Mutex<Wanted>,
    /// Held while the kernel is being waited for, by one at a time.
    freezing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// By lacre, and no Resume came since.
    by_lacre: bool,
    /// By a client, as far as is known: its inner shim may call the container paused.
    by_client: bool,
    /// Not by anybody any more: for good.
    ending: bool,
}

impl FreezeArbiter {
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self { target, wanted: Mutex::default(), freezing: Mutex::new(()) }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn freezer(&self) -> Result<Freezer, &CgroupError> {
        self.target.cgroup().map(|cgroup| Freezer::new(Arc::clone(cgroup)))
    }

    /// Asks the kernel to freeze it and does not wait; nothing where that would take long, or
    /// can't be. [`Self::freeze`] does it again, and says what went wrong.
    pub(crate) fn ask(&self) {
        let Ok(freezer) = self.freezer() else { return };
        let few = |cgroup: &Arc<_>| {
            let within = Cgroup::tree(cgroup).and_then(|tree| tree.processes().all());
            within.is_ok_and(|pids| pids.len() <= LOOKED_AT_ONCE)
        };
        if self.target.cgroup().is_ok_and(few) && self.target.look().is_alone() {
            let _ = self.ask_by(&freezer);
        }
    }

    fn ask_by(&self, freezer: &Freezer) -> Result<(), FreezeError> {
        let mut wanted = self.wanted();
        // Nobody is left to be frozen, and runc would call what is frozen paused.
        if wanted.ending || self.target.init().ended().unwrap_or(false) {
            return Err(FreezeError::Ending);
        }
        if !wanted.by_lacre {
            wanted.by_client |= freezer.is_asked()?;
        }
        freezer.ask()?;
        wanted.by_lacre = true;
        Ok(())
    }

    /// Freezes it, unless another container would stand still with it. Blocks for as long as [`Freezer::freeze`].
    pub(crate) fn freeze(&self, freezer: &Freezer) -> Result<(), FreezeError> {
        let _one = self.freezing.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_alone(freezer)?;
        let frozen = freezer.freeze_by(|| self.ask_by(freezer));
        // Who came meanwhile was not asked.
        frozen.and_then(|()| self.is_alone(freezer)).inspect_err(|error| match error {
            FreezeError::Shared { .. } => {
                let mut wanted = self.wanted();
                if wanted.by_lacre && !wanted.by_client {
                    let _ = freezer.thaw();
                }
                wanted.by_lacre = false;
            }
            // Between its asking and the end, the freezer was written to.
            FreezeError::Ending => drop(freezer.thaw()),
            _ => {}
        })
    }

    fn is_alone(&self, freezer: &Freezer) -> Result<(), FreezeError> {
        let look = self.target.look();
        if look.is_alone() {
            return Ok(());
        }
        Err(FreezeError::Shared { path: freezer.path().into(), pids: look.others() })
    }

    /// From now on nothing freezes it. What is frozen stays so until it is killed. Says
    /// whether that was so already.
    pub(crate) fn end(&self) -> bool {
        std::mem::replace(&mut self.wanted().ending, true)
    }

    /// The same; what lacre froze is thawed, for somebody else to end it.
    pub(crate) fn end_and_thaw(&self) {
        let mut wanted = self.wanted();
        wanted.ending = true;
        if std::mem::take(&mut wanted.by_lacre)
            && !wanted.by_client
            && let Ok(freezer) = self.freezer()
        {
            // Whoever ends it finds what else holds it.
            let _ = freezer.thaw();
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.wanted().ending
    }

    /// Whether lacre wants it frozen, and the freezer still says so.
    pub(crate) fn is_paused(&self) -> bool {
        let wanted = self.wanted();
        wanted.by_lacre
            && !wanted.ending
            && self.freezer().is_ok_and(|freezer| freezer.is_asked().unwrap_or(false))
    }

    /// A client's Pause goes to the inner shim.
    pub(crate) fn client_pauses(&self) {
        self.wanted().by_client = true;
    }

    /// Whether a client may have had it paused by the inner shim.
    pub(crate) fn is_client_paused(&self) -> bool {
        self.wanted().by_client
    }

    /// Thaws it for a client, after a freeze that is under way. Says whether it was frozen.
    pub(crate) fn thaw(&self) -> Result<bool, FreezeError> {
        let _one = self.freezing.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(freezer) = self.freezer() else { return Ok(false) };
        let mut wanted = self.wanted();
        if wanted.ending {
            return Err(FreezeError::Ending);
        }
        let was = freezer.is_asked()?;
        freezer.thaw()?;
        (wanted.by_lacre, wanted.by_client) = (false, false);
        if freezer.is_free()? { Ok(was) } else { Err(FreezeError::Above(freezer.path().into())) }
    }

    /// Whether lacre froze it and it is being ended: then the thaw is lacre's, too.
    pub(crate) fn is_ours_to_thaw(&self) -> bool {
        self.wanted().by_lacre
    }
}
