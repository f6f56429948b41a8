//! Gathers evidence on a node: the quote first, then the lists, so that a list never ends
//! before the quote does.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lacre_types::Algorithm;

use super::kernel::Kernel;
use super::{AttestationKey, Journal, JournalError, Tpm, TpmError};
use crate::Blob;
use crate::container::Keeper;
use crate::enrol::{Challenge, Known};
use crate::evidence::{
    AnchorPart, ContainerPart, EkPart, Evidence, ListPart, MAX_BYTES, QuotePart, VERSION,
};
use crate::ima::{EntryError, Form, LogError, Stream};

/// Where a node's lists are.
#[derive(Debug, Clone)]
pub struct Places {
    /// IMA's folder in securityfs.
    pub ima: PathBuf,
    /// The firmware's event log.
    pub boot_log: PathBuf,
    /// The journal of the lists that shims keep.
    pub journal: Option<Journal>,
    /// The folder of the kernel's lists that have ended ([`crate::container::ended`]).
    pub ended: Option<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            ima: "/sys/kernel/security/ima".into(),
            boot_log: "/sys/kernel/security/tpm0/binary_bios_measurements".into(),
            journal: None,
            ended: None,
        }
    }
}

/// Why no evidence could be gathered.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The TPM.
    #[error("the TPM gave no quote")]
    Tpm(#[source] TpmError),
    /// A file could not be read.
    #[error("cannot read {}; is securityfs mounted, and IMA on?", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A list that a shim keeps could not be read.
    #[error("cannot read {}, the list that a shim keeps of {}", .path.display(), lacre_types::escape(.id.as_bytes()))]
    Shim {
        /// Which file.
        path: PathBuf,
        /// Of which container.
        id: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The journal could not be read.
    #[error("cannot read the journal of the shims' lists")]
    Journal(#[source] JournalError),
    /// A list is larger than evidence may be, or a boot log than any is.
    #[error("{} is larger than it may be in evidence", .0.display())]
    TooLarge(PathBuf),
}

/// A container whose list the shim keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimContainer {
    /// Its id.
    pub id: String,
    /// The number of its creation.
    pub seq: u64,
    /// Its image, as the user named it.
    pub image: Option<String>,
    /// Whether its shim is gone, and all that it told is anchored.
    pub left: bool,
}

/// Answers a challenge. The attestation key must be loaded.
///
/// # Errors
/// When the TPM gives no quote, or a list can't be read.
pub fn collect(
    tpm: &Tpm,
    node: &str,
    key: &AttestationKey,
    ek: Option<EkPart>,
    challenge: &Challenge,
    places: &Places,
    shim_containers: &[ShimContainer],
) -> Result<Evidence, CollectError> {
    let count = counted(&places.ima.join("runtime_measurements_count"));
    let kernel = Kernel::look(places.ima.join("containers"), places.ended.as_deref())?;
    let quote = tpm.quote(&challenge.nonce, &challenge.selection).map_err(CollectError::Tpm)?;
    let clock = crate::tpm2::Attest::parse(&quote.attest).map(|attest| attest.clock);
    let same_boot = |known: &&Known| clock.is_ok_and(|c| c.reset_count == known.reset_count);
    let known = challenge.known.as_ref().filter(same_boot);
    let path = places.ima.join("binary_runtime_measurements");
    let first = known.map_or(0, |known| known.host);
    let host = list(&path, Algorithm::Sha1, first, count)?;
    let mut anchors = Vec::new();
    anchors.extend(kernel.map(|kernel| kernel.show(known)).transpose()?);
    if let Some(journal) = &places.journal {
        anchors.extend(shims(journal, known, shim_containers)?);
    }
    let taken = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(Evidence {
        version: VERSION,
        node: node.to_owned(),
        taken: taken.map(|since| since.as_secs()).unwrap_or_default(),
        quote: QuotePart { attest: quote.attest.into(), signature: quote.signature.into() },
        ak: key.public.clone(),
        ek,
        pcrs: quote.pcrs,
        boot_log: boot_log(&places.boot_log)?,
        host: Some(host),
        anchors,
    })
}

/// More than any firmware's log, which has some hundreds of KiB.
const MAX_BOOT_LOG: u64 = 16 << 20;

/// The firmware's log, where there is one.
fn boot_log(path: &Path) -> Result<Option<Blob>, CollectError> {
    match File::open(path) {
        Ok(file) => read(path, file, MAX_BOOT_LOG).map(|log| Some(log.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CollectError::Read { path: path.to_owned(), source }),
    }
}

/// Reads a file that ends where it ends: securityfs tells no length.
pub(super) fn read(
    path: &Path,
    mut file: impl io::Read,
    most: u64,
) -> Result<Vec<u8>, CollectError> {
    let mut bytes = Vec::new();
    let read = file.by_ref().take(most + 1).read_to_end(&mut bytes);
    read.map_err(|source| CollectError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > most {
        return Err(CollectError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

pub(super) fn open(path: &Path) -> Result<File, CollectError> {
    File::open(path).map_err(|source| CollectError::Read { path: path.to_owned(), source })
}

pub(super) fn counted(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A binary list from that line on. One that is shorter is told as it is, whole.
pub(super) fn list(
    path: &Path,
    digests: Algorithm,
    first: u64,
    count: Option<u64>,
) -> Result<ListPart, CollectError> {
    let data = read(path, open(path)?, MAX_BYTES)?;
    let (first, skip) = skip(&data, digests, first);
    Ok(ListPart { form: Form::Binary, digests, first, count, data: data[skip..].to_vec().into() })
}

/// How many bytes the first lines are.
fn skip(data: &[u8], digests: Algorithm, first: u64) -> (u64, usize) {
    let (lines, offset) = walk(data, digests, first);
    if lines == first { (first, offset) } else { (0, 0) }
}

/// How many bytes of a shim's list are to be shown: not the beginning of a line at its end,
/// but all from a line on that is none, which the verifier tells.
fn whole(data: &[u8]) -> usize {
    let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
    match stream.feed(data, |_, _| {}).and_then(|()| stream.finish()) {
        Err(LogError { source: EntryError::Cut, .. }) => walk(data, Algorithm::Sha256, u64::MAX).1,
        _ => data.len(),
    }
}

/// How many of at most so many lines there are, and their bytes.
fn walk(data: &[u8], digests: Algorithm, most: u64) -> (u64, usize) {
    let mut offset = 0;
    let mut lines = 0;
    let mut stream = Stream::new(Form::Binary, digests);
    let _ = stream.feed(data, |line, entry| {
        if line < most {
            let old = usize::from(entry.template != b"ima");
            let data = entry.data.map_or(0, <[u8]>::len);
            offset += 8 + digests.len() + entry.template.len() + 4 * old + data;
            lines = line + 1;
        }
    });
    (lines, offset)
}

fn shims(
    journal: &Journal,
    known: Option<&Known>,
    shim_containers: &[ShimContainer],
) -> Result<Option<AnchorPart>, CollectError> {
    let text = journal.read().map_err(CollectError::Journal)?;
    if text.is_empty() {
        return Ok(None);
    }
    let (first, aggregate) = rest(text, known, Keeper::Shim);
    let mut containers = Vec::new();
    for ShimContainer { id, seq, image, left } in shim_containers {
        let path = journal.list(*seq);
        let first = known_lines(known, id, *seq);
        let mut list = match list(&path, Algorithm::Sha256, first, None) {
            Ok(list) => list,
            // The agent removes the lists of containers that are long gone, this file last.
            Err(CollectError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    && !path.with_extension("json").exists() =>
            {
                continue;
            }
            Err(CollectError::Read { path, source }) => {
                return Err(CollectError::Shim { path, id: id.clone(), source });
            }
            Err(error) => return Err(error),
        };
        // The last line may be on its way still; its event is not anchored then.
        let whole = whole(&list.data);
        list.data.0.truncate(whole);
        let (id, image) = (id.clone(), image.clone());
        containers.push(ContainerPart { id, seq: *seq, image, left: *left, list });
    }
    Ok(Some(AnchorPart { keeper: Keeper::Shim, first, aggregate: aggregate.into(), containers }))
}

pub(super) fn known_lines(known: Option<&Known>, id: &str, seq: u64) -> u64 {
    let lines = known.and_then(|known| known.containers.get(&format!("{id}#{seq}")));
    lines.copied().unwrap_or(0)
}

/// What of an `aggregate` is not known.
pub(super) fn rest(text: Vec<u8>, known: Option<&Known>, keeper: Keeper) -> (u64, Vec<u8>) {
    let lines = known.and_then(|known| known.aggregates.get(&keeper)).copied().unwrap_or(0);
    let skip = usize::try_from(lines).unwrap_or(usize::MAX);
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    match skip.checked_sub(1).map(|last| ends.map(|(at, _)| at + 1).nth(last)) {
        Some(Some(at)) => (lines, text[at..].to_vec()),
        _ => (0, text),
    }
}
