//! When a container's own layer was made: what is dated earlier on its root came with the image,
//! since no change is dated before it is made.
//!
//! That holds while the clock goes on. Where it was set since, or was before this was asked, so
//! that something in the layer is older than the layer, a date says nothing, and what came with
//! the image its layers must tell.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::wall_clock::WallClock;

/// Seconds and nanoseconds since 1970.
pub(crate) type Date = (i64, u32);

/// Names of a layer that are looked at, some 2 µs each: more than a container changes that is
/// stopped and started again. Where there are more nothing is believed.
const NAMES: usize = 1 << 16;

/// The birth of a container's own layer.
#[derive(Debug, Clone)]
pub(crate) struct Birth {
    /// `None` where nothing may be believed.
    at: Option<Date>,
    clock: Arc<WallClock>,
}

impl Birth {
    /// Of an upper directory.
    ///
    /// # Errors
    /// When it can't be examined.
    pub(crate) fn of(upper: &Path) -> io::Result<Self> {
        Self::by(upper, WallClock::of_node()?)
    }

    fn by(upper: &Path, clock: WallClock) -> io::Result<Self> {
        let stat = rustix::fs::statx(CWD, upper, AtFlags::empty(), StatxFlags::BTIME)?;
        let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        let born = born.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec));
        let now = clock_gettime(ClockId::Realtime);
        let is_believed = |born: &Date| {
            let now = (now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0));
            *born <= now && all_younger(upper, *born, &mut 0).unwrap_or(false)
        };
        Ok(Self { at: born.filter(is_believed), clock: Arc::new(clock) })
    }

    /// The date, as long as one may be believed.
    pub(crate) fn date(&self) -> Option<Date> {
        self.at.filter(|_| !self.clock.was_set())
    }

    /// Whether a file of that date came with the image.
    pub(crate) fn is_after(&self, changed: Date) -> bool {
        self.at.is_some_and(|at| changed < at) && !self.clock.was_set()
    }
}

/// Whether no file of a layer is dated earlier.
fn all_younger(dir: &Path, born: Date, seen: &mut usize) -> io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        *seen += 1;
        let stat = entry.metadata()?;
        let dated = (stat.ctime(), u32::try_from(stat.ctime_nsec()).unwrap_or(0));
        if *seen > NAMES
            || dated < born
            || stat.is_dir() && !all_younger(&entry.path(), born, seen)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall_clock::tests::Settable;

    const EARLY: Date = (1, 0);

    #[test]
    fn after_the_clock_was_set_no_date_is_believed() {
        let upper = tempfile::tempdir().unwrap();
        for (by, told) in [(-7_200_000_000_000, false), (0, true)] {
            let settable = Settable::default();
            let birth = Birth::by(upper.path(), settable.clock()).unwrap();
            let date = birth.date().unwrap();
            assert!(birth.is_after(EARLY) && !birth.is_after(date));
            settable.set(by, told);
            assert!(!birth.is_after(EARLY) && birth.date().is_none());
        }
    }

    /// It was stopped, and the clock set meanwhile: a file is older than the directory that it was
    /// made in.
    #[test]
    fn a_layer_that_holds_what_is_older_was_dated_by_another_clock() {
        for depth in ["x", "a/b/x"] {
            let dir = tempfile::tempdir().unwrap();
            let early = dir.path().join("early");
            std::fs::write(&early, "x").unwrap();
            let stat = || std::fs::metadata(&early).unwrap();
            let of = |stat: std::fs::Metadata| (stat.ctime(), stat.ctime_nsec());
            // A name more, and nothing else, that is as old as the file.
            let upper = dir.path().join("upper");
            loop {
                std::fs::create_dir(&upper).unwrap();
                if of(std::fs::metadata(&upper).unwrap()) > of(stat()) {
                    break;
                }
                std::fs::remove_dir(&upper).unwrap();
            }
            let believed = |upper: &Path| {
                let clock = Settable::default().clock();
                Birth::by(upper, clock).unwrap().is_after(EARLY)
            };
            let path = upper.join(depth);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            assert!(believed(&upper), "{depth}");
            // As a mount shows a file with the date that it has.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "").unwrap();
            rustix::mount::mount_bind(&early, &path).unwrap();
            assert!(!believed(&upper), "{depth}");
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }
}
