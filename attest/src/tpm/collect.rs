//! Gathers evidence on a node: the quote first, then the lists, so that a list never ends
//! before the quote does.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use lacre_types::Algorithm;

use super::collect_error::CollectError;
use super::commands::AttestationKey;
use super::connection::Tpm;
use super::host_list::host_list;
use super::journal::Journal;
use super::kernel::Kernel;
use super::list_file::{count, known_lines, list, read, unknown_part, whole};
use super::places::Places;
use crate::Blob;
use crate::container::Keeper;
use crate::enrol::{Challenge, Known};
use crate::evidence::{AnchorPart, ContainerPart, EkPart, Evidence, QuotePart, VERSION};
use crate::pcr::ListPcr;

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
    let count = count(&places.ima.join("runtime_measurements_count"));
    let look = || Kernel::look(places.ima.join("containers"), places.ended.as_deref());
    let ask = || tpm.quote(&challenge.nonce, &challenge.selection).map_err(CollectError::Tpm);
    let (mut kernel, mut quote) = (look()?, ask()?);
    for _ in 0..MORE_QUOTES {
        if !kernel.as_ref().map_or(Ok(false), Kernel::grew)? {
            break;
        }
        (kernel, quote) = (look()?, ask()?);
    }
    let clock = crate::tpm2::Attest::parse(&quote.attest).map(|attest| attest.clock);
    let same_boot = |known: &&Known| clock.is_ok_and(|c| c.reset_count == known.reset_count);
    let known = challenge.known.as_ref().filter(same_boot);
    let first = known.map_or(0, |known| known.host);
    let index = ListPcr::HOST.index();
    let held = quote.pcrs.values().find_map(|values| values.get(&index)).copied();
    let host = host_list(places, first, count, held)?;
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
        host,
        anchors,
    })
}

/// How often a quote is taken anew because a container was made meanwhile, whose events it may be
/// over. Of those that are made still, who verifies asks in a minute.
const MORE_QUOTES: usize = 2;

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

fn shims(
    journal: &Journal,
    known: Option<&Known>,
    shim_containers: &[ShimContainer],
) -> Result<Option<AnchorPart>, CollectError> {
    let text = journal.read().map_err(CollectError::Journal)?;
    if text.is_empty() {
        return Ok(None);
    }
    let (first, aggregate) = unknown_part(text, known, Keeper::Shim);
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
