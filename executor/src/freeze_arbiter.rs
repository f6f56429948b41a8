//! Who has a container frozen, lacre or a client, and what a Resume of either ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

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
    /// How often lacre has come to want it frozen.
    freezes: watch::Sender<u64>,
}

/// Who has a container frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// Nobody.
    No,
    /// lacre.
    ByLacre,
    /// lacre and a client, whose Resume ends both.
    ByBoth,
    /// Somebody else.
    ByOthers,
}

/// Why what lacre froze stays frozen.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// Not for lacre alone.
    #[error("a client has paused it as well, and its Resume ends both: resume it there")]
    Client,
    /// It is not lacre's to thaw.
    #[error("somebody else has frozen it, who is the one to thaw it")]
    Others,
    /// It does not run.
    #[error(transparent)]
    Freezer(#[from] FreezeError),
}

#[derive(Debug, Default)]
struct Wanted {
    /// By lacre, and no Resume came since.
    by_lacre: bool,
    /// By a client, as far as is known: its inner shim may call the container paused.
    by_client: bool,
    /// By a client, after lacre had frozen it: the inner shim was not asked.
    client_too: bool,
    /// Not by anybody any more: for good.
    ending: bool,
}

impl FreezeArbiter {
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            wanted: Mutex::default(),
            freezing: Mutex::new(()),
            freezes: watch::Sender::new(0),
        }
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
        if !std::mem::replace(&mut wanted.by_lacre, true) {
            self.freezes.send_modify(|count| *count += 1);
        }
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

    /// Who has it frozen, as far as can be told.
    pub(crate) fn frozen(&self) -> Frozen {
        let wanted = self.wanted();
        let asked = self.freezer().is_ok_and(|freezer| freezer.is_asked().unwrap_or(false));
        match (asked, wanted.by_lacre && !wanted.ending) {
            (false, _) => Frozen::No,
            (true, false) => Frozen::ByOthers,
            (true, true) if wanted.by_client || wanted.client_too => Frozen::ByBoth,
            (true, true) => Frozen::ByLacre,
        }
    }

    /// Tells each time that lacre comes to freeze it.
    pub(crate) fn freezes(&self) -> watch::Receiver<u64> {
        self.freezes.subscribe()
    }

    /// A client's Pause that lacre answers itself, since it has frozen it already.
    pub(crate) fn client_pauses_too(&self) {
        self.wanted().client_too = true;
    }

    /// Thaws what lacre froze, and nobody else; after a freeze that is under way. Says whether it
    /// had.
    pub(crate) fn release(&self) -> Result<bool, HeldError> {
        let _one = self.freezing.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(freezer) = self.freezer() else { return Ok(false) };
        let mut wanted = self.wanted();
        if wanted.ending {
            return Err(FreezeError::Ending.into());
        }
        match (freezer.is_asked()?, wanted.by_lacre) {
            (false, _) => {
                // Who thawed it did not tell.
                wanted.by_lacre = false;
                return Ok(false);
            }
            (true, false) => return Err(HeldError::Others),
            (true, true) if wanted.by_client || wanted.client_too => return Err(HeldError::Client),
            (true, true) => {}
        }
        freezer.thaw()?;
        wanted.by_lacre = false;
        if freezer.is_free()? {
            Ok(true)
        } else {
            Err(FreezeError::Above(freezer.path().into()).into())
        }
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
        (wanted.by_lacre, wanted.by_client, wanted.client_too) = (false, false, false);
        if freezer.is_free()? { Ok(was) } else { Err(FreezeError::Above(freezer.path().into())) }
    }

    /// Whether lacre froze it and it is being ended: then the thaw is lacre's, too.
    pub(crate) fn is_ours_to_thaw(&self) -> bool {
        self.wanted().by_lacre
    }
}
