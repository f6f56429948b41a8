//! What goes wrong, and when: read anew at every call, so that a test says it while the shim
//! runs.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;

use nix::sys::signal::{Signal, raise};

/// Names the file of faults: lines of a call (`Create`, or `start` and `delete` for those of
/// the command line) and what goes wrong with it. What was met is added to the same path with
/// `.met`.
pub const FAULTS: &str = "LACRE_TEST_FAULTS";

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused, and nothing is done (`fails`).
    Fails,
    /// The shim dies before it does anything (`dies`).
    Dies,
    /// The shim does it, and dies before it answers (`dies-after`).
    DiesAfter,
    /// Nothing is done, and no answer comes (`hangs`).
    Hangs,
    /// Nothing is done, and the answer says that it was (`lies`).
    Lies,
}

impl Fault {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "fails" => Self::Fails,
            "dies" => Self::Dies,
            "dies-after" => Self::DiesAfter,
            "hangs" => Self::Hangs,
            "lies" => Self::Lies,
            _ => return None,
        })
    }

    /// What goes wrong with `call` now. It is noted down as met before it does.
    #[must_use]
    pub fn of(call: &str) -> Option<Self> {
        let path = PathBuf::from(env::var_os(FAULTS)?);
        let text = fs::read_to_string(&path).ok()?;
        let word = text.lines().find_map(|line| line.strip_prefix(call)?.strip_prefix(' '))?;
        let fault = Self::named(word)?;
        let mut met = File::options().create(true).append(true).open(path.with_extension("met"));
        if let Ok(met) = &mut met {
            let _ = writeln!(met, "{call} {word}");
        }
        Some(fault)
    }

    /// Does `work` as the fault has it, or in good order where there is none; `lie` is the
    /// answer without the work, and `refusal` what is said in place of one.
    ///
    /// # Errors
    /// The refusal, or what `work` fails with.
    pub fn around<T, E>(
        call: &str,
        refusal: impl FnOnce(String) -> E,
        lie: impl FnOnce() -> T,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        match Self::of(call) {
            None => work(),
            Some(Self::Fails) => Err(refusal(format!("{call} fails, as it was told"))),
            Some(Self::Lies) => Ok(lie()),
            Some(Self::Hangs) => loop {
                thread::park();
            },
            Some(Self::Dies) => die(),
            Some(Self::DiesAfter) => {
                drop(work());
                die()
            }
        }
    }
}

fn die() -> ! {
    let _ = raise(Signal::SIGKILL);
    loop {
        thread::park();
    }
}
