//! What is kept of orders over a restart of the server.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lacre_sys::whole_file;
use serde::{Deserialize, Serialize};

use super::order::{Approved, Order, What};
use super::window::Target;
use crate::clock::Moment;
use crate::state_file::{OpenError, StateError, version};

/// The version of the file.
const VERSION: u32 = 1;

/// How many orders that somebody decided on are remembered; the log has all.
const PAST: usize = 256;

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    /// The number of the last order.
    pub(super) last: u64,
    pub(super) orders: Vec<Order>,
    /// What is to be weighed once nodes have come back; it has no number yet.
    #[serde(default)]
    pub(super) gathered: Vec<Order>,
    /// When a file of these was found damaged: what was done before is not known.
    #[serde(default)]
    pub(super) shut: Option<Moment>,
    #[serde(default)]
    pub(super) touched: Vec<Touched>,
    /// Those that are over, the newest last.
    #[serde(default)]
    past: Vec<Past>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Touched {
    #[serde(flatten)]
    pub(super) target: Target,
    pub(super) at: Moment,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Past {
    id: u64,
    what: What,
    approved: Approved,
}

impl Default for Kept {
    fn default() -> Self {
        let (orders, gathered, shut, touched, past) = Default::default();
        Self { version: VERSION, last: 0, orders, gathered, shut, touched, past }
    }
}

impl Kept {
    /// An order is over.
    pub(super) fn bury(&mut self, order: Order) {
        if let Some(approved) = order.approved {
            self.past.push(Past { id: order.id, what: order.what, approved });
            let beyond = self.past.len().saturating_sub(PAST);
            self.past.drain(..beyond);
        }
    }
}

/// What was there.
pub(super) struct Opened {
    pub(super) file: KeptFile,
    /// `None`: nothing was kept yet.
    pub(super) kept: Option<Kept>,
    /// A file that was put aside, and why.
    pub(super) damaged: Option<(PathBuf, StateError)>,
}

/// Where it is.
#[derive(Debug)]
pub(super) struct KeptFile(PathBuf);

/// Whether this release may have what is kept in that folder. Nothing is touched.
///
/// # Errors
/// When a later release wrote it, or it can't be read.
pub fn check(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join("orders.json");
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::Read(path, error)),
        Ok(text) => match version(&text, VERSION) {
            Err(newer @ StateError::Newer { .. }) => Err(OpenError::Newer(path, newer)),
            _ => Ok(()),
        },
    }
}

impl KeptFile {
    /// What was kept. A damaged file is put aside.
    pub(super) fn open(dir: &Path) -> Result<Opened, OpenError> {
        let path = dir.join("orders.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Opened { file: Self(path), kept: None, damaged: None });
            }
            read => read.map_err(|error| OpenError::Read(path.clone(), error))?,
        };
        let kept = version(&text, VERSION)
            .and_then(|_| serde_json::from_slice(&text).map_err(StateError::Damaged));
        match kept {
            Ok(kept) => {
                let kept = Some(Kept { version: VERSION, ..kept });
                Ok(Opened { file: Self(path), kept, damaged: None })
            }
            Err(newer @ StateError::Newer { .. }) => Err(OpenError::Newer(path, newer)),
            Err(damaged) => {
                let aside = path.with_extension("damaged");
                fs::rename(&path, &aside).map_err(|error| OpenError::Read(path.clone(), error))?;
                let (kept, damaged) = (Some(Kept::default()), Some((aside, damaged)));
                Ok(Opened { file: Self(path), kept, damaged })
            }
        }
    }

    /// Whole or not at all.
    pub(super) fn write(&self, text: &[u8]) -> io::Result<()> {
        let Self(path) = self;
        whole_file::put(path, 0o600, |file| {
            file.write_all(text)?;
            file.sync_data()
        })?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}
