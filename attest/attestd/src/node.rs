//! The node's side: its keys, its TPM, its lists.
//!
//! The TPM is opened for each answer and let go of again: it may reset, be suspended with
//! the machine, or serve others in between. A lock keeps this agent's processes from
//! asking at the same time.

mod error;
mod key_file;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lacre_attest::container::{Keeper, Secret, final_list};
use lacre_attest::enrol::{Activated, Challenge, Enrol, Proof};
use lacre_attest::evidence::{EkPart, Evidence};
use lacre_attest::expect::{certificates, secret};
use lacre_attest::pcr::ListPcr;
use lacre_attest::tpm::{AttestationKey, KeyKind, Places, Tpm, TpmError, collect, seq};
use lacre_attest::tpm2::Public;

pub use self::error::NodeError;
use crate::args::NodeArgs;
use crate::shim_lists::{ShimListsError, Shims};

/// Evidence, and the secrets of the containers in it.
#[derive(Debug)]
pub struct Shown {
    /// The evidence.
    pub evidence: Evidence,
    /// The secrets: the container's id, the number of its creation, the secret.
    pub secrets: Vec<(String, u64, Secret)>,
}

/// This node.
#[derive(Debug)]
pub struct Node {
    args: NodeArgs,
    name: String,
    /// One for all of this process: it knows how far each list is anchored.
    shims: OnceLock<Arc<Shims>>,
}

impl Node {
    /// The node with that TPM and these lists.
    #[must_use]
    pub fn new(args: NodeArgs) -> Self {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { name: args.name.clone().unwrap_or_else(host), args, shims: OnceLock::new() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn io(&self, doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> NodeError + use<> {
        let path = self.args.state.join(file);
        move |source| NodeError::State { doing, path, source }
    }

    /// Held while the TPM is in use. Who holds it does so for some deadlines at most.
    fn lock(&self) -> Result<File, NodeError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.args.state);
        made.map_err(self.io("make", "."))?;
        let path = self.args.state.join("lock");
        let lock = || -> io::Result<File> {
            let file =
                File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(self.io("lock", "lock"))
    }

    /// The attestation key's `TPMT_PUBLIC`, if there is a key.
    ///
    /// # Errors
    /// When its file can't be read.
    pub fn public(&self) -> Result<Option<Vec<u8>>, NodeError> {
        Ok(self.key()?.map(|key| key.public.to_vec()))
    }

    /// The TPM, with the attestation key loaded: made now, if there is none.
    fn open(&self) -> Result<(Tpm, AttestationKey), NodeError> {
        let tpm = Tpm::open(&self.args.tcti, self.args.deadline())?;
        if let Some(key) = self.key()? {
            return match tpm.load_ak(&key) {
                Ok(()) => Ok((tpm, key)),
                Err(error) if error.is_refusal_of_what_was_given() => {
                    let path = self.args.state.join("key.json");
                    fs::rename(&path, path.with_extension("lost"))
                        .map_err(self.io("put aside", "key.json"))?;
                    Err(NodeError::KeyLost(error))
                }
                Err(error) => Err(error.into()),
            };
        }
        let key = tpm.create_ak(parent(&tpm)?, KeyKind::EccP256)?;
        self.keep(&key)?;
        Ok((tpm, key))
    }

    fn ek(&self, tpm: &Tpm, key: &AttestationKey) -> Result<EkPart, NodeError> {
        let made = tpm.endorsement(key.parent)?;
        let mut chain: Vec<_> = made.certificate.into_iter().map(Into::into).collect();
        for file in &self.args.ek_chain {
            let above = certificates(file).map_err(NodeError::Chain)?;
            chain.extend(above.into_iter().map(Into::into));
        }
        Ok(EkPart { public: made.public.into(), chain })
    }

    /// The wish to be known.
    ///
    /// # Errors
    /// When the TPM does not serve.
    pub fn enrol(&self) -> Result<Enrol, NodeError> {
        let _lock = self.lock()?;
        let (tpm, key) = self.open()?;
        let ek = self.ek(&tpm, &key)?;
        Ok(Enrol { node: self.name.clone(), ek, ak: key.public })
    }

    /// Opens the credential.
    ///
    /// # Errors
    /// When it is another TPM's, or the TPM does not serve.
    pub fn activate(&self, proof: &Proof) -> Result<Activated, NodeError> {
        let _lock = self.lock()?;
        let (tpm, _) = self.open()?;
        Ok(Activated { secret: tpm.activate(&proof.credential)?.into() })
    }

    /// The names of the endorsement and of the attestation key.
    ///
    /// # Errors
    /// When the TPM does not serve.
    pub fn keys(&self) -> Result<[Vec<u8>; 2], NodeError> {
        let enrol = self.enrol()?;
        let malformed = |_| TpmError::Answer("public key");
        let name = |public| Public::parse(public).map(|key| key.name()).map_err(malformed);
        Ok([name(&enrol.ek.public)?, name(&enrol.ak)?])
    }

    /// Has the TPM do something, while nobody else of this agent asks it.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn with_tpm<T>(&self, f: impl FnOnce(&mut Tpm) -> T) -> Result<T, NodeError> {
        let _lock = self.lock()?;
        let mut tpm = Tpm::open(&self.args.tcti, self.args.deadline())?;
        Ok(f(&mut tpm))
    }

    /// The folder of the lists that shims keep; `None`: they keep none.
    fn evidence(&self) -> Option<&Path> {
        Some(&*self.args.evidence).filter(|folder| !folder.as_os_str().is_empty())
    }

    /// The folder of the kernel's lists that have ended.
    fn ended(&self) -> Option<PathBuf> {
        self.evidence().map(|folder| folder.join(final_list::FOLDER))
    }

    /// Removes the kernel's lists that ended long ago.
    pub(crate) fn tidy(&self) {
        if let Some(folder) = self.ended() {
            crate::final_lists::tidy(&folder, &self.args.ima.join("containers"));
        }
    }

    /// The lists that shims are to keep: makes their folder, which tells shims that they are
    /// heard. `None`: they keep none.
    ///
    /// # Errors
    /// When the folder can't be made or read.
    pub fn hear_shims(&self) -> Result<Option<Arc<Shims>>, ShimListsError> {
        self.evidence().map(|folder| self.shims_in(folder)).transpose()
    }

    /// The lists that shims keep, where an agent has made their folder.
    fn shims(&self) -> Result<Option<Arc<Shims>>, NodeError> {
        let folder = self.evidence().filter(|folder| folder.is_dir());
        let shims = folder.map(|folder| self.shims_in(folder)).transpose();
        shims.map_err(|error| NodeError::Shims(error.into()))
    }

    fn shims_in(&self, folder: &Path) -> Result<Arc<Shims>, ShimListsError> {
        if let Some(shims) = self.shims.get() {
            return Ok(Arc::clone(shims));
        }
        let pcr = self.args.shim_pcr;
        if kernel_pcr(&self.args.ima) == Some(pcr.index()) {
            return Err(ShimListsError::KernelPcr(pcr.index()));
        }
        let opened = Arc::new(Shims::open(folder, pcr)?);
        Ok(Arc::clone(self.shims.get_or_init(|| opened)))
    }

    /// The PCRs that a quote is over where nobody says which: the boot's, the host's list's, and
    /// those of containers' lists.
    #[must_use]
    pub fn usual_pcrs(&self) -> Vec<u32> {
        let mut pcrs: Vec<u32> = (0..=ListPcr::HOST.index()).collect();
        pcrs.extend([ListPcr::KERNEL.index(), self.args.shim_pcr.index()]);
        pcrs
    }

    /// Whether shims' lists stay in another PCR than the configured one until the next boot, and
    /// in which.
    #[must_use]
    pub fn stays_in(&self) -> Option<u32> {
        let pcr = self.shims.get()?.pcr();
        (pcr != self.args.shim_pcr).then_some(pcr.index())
    }

    /// Answers a challenge; with the endorsement key for who does not know it.
    ///
    /// # Errors
    /// When the TPM gives no quote, or a list can't be read.
    pub fn show(&self, challenge: &Challenge, endorsed: bool) -> Result<Shown, NodeError> {
        let _lock = self.lock()?;
        let (mut tpm, key) = self.open()?;
        let failed = |error: ShimListsError| NodeError::Shims(error.into());
        let shims = self.shims()?;
        // Before the quote, which then is over all that they say is anchored; and what broke
        // off when this was last running is ended.
        // What can't be anchored any more in this boot is shown as far as it is: who verifies
        // tells what of it the TPM vouches for.
        if let Some(shims) = &shims
            && let Err(error) = shims.anchor(&mut tpm)
            && !error.is_for_good()
        {
            return Err(failed(error));
        }
        let shown = shims.as_deref().map(Shims::shown).transpose();
        let shown = shown.map_err(failed)?.unwrap_or_default();
        let (lists, mut secrets): (Vec<_>, Vec<_>) = shown
            .into_iter()
            .map(|(list, secret)| {
                let (id, seq) = (list.id.clone(), list.seq);
                (list, (id, seq, secret))
            })
            .unzip();
        let ek = endorsed.then(|| self.ek(&tpm, &key)).transpose()?;
        let (ima, boot_log) = (self.args.ima.clone(), self.args.boot_log.clone());
        let exported = self.args.ima_exported.clone();
        let copy = self.evidence().filter(|folder| folder.is_dir());
        let copy = copy.map(|folder| folder.join("host"));
        let journal = shims.map(|shims| shims.journal().clone());
        let ended = self.ended();
        let places = Places { ima, exported, copy, boot_log, journal, ended: ended.clone() };
        let evidence = collect(&tpm, &self.name, &key, ek, challenge, &places, &lists)
            .map_err(NodeError::Collect)?;
        // Removed meanwhile, and so not to be missed.
        let there = |seq: u64| self.args.evidence.join(format!("{seq}.json")).exists();
        let brought = |id: &str, seq: u64| {
            let lists = evidence.anchors.iter().flat_map(|anchor| &anchor.containers);
            lists.into_iter().any(|list| list.id == id && list.seq == seq)
        };
        secrets.retain(|(id, seq, _)| there(*seq) || brought(id, *seq));
        let kernel = evidence.anchors.iter().filter(|anchor| anchor.keeper == Keeper::Kernel);
        let told = ended.and_then(|ended| final_list::lists(&ended).ok()).unwrap_or_default();
        let mut told: HashMap<u64, Secret> =
            told.into_iter().map(|(seq, about)| (seq, about.secret)).collect();
        // A secret that is not there is one that the verifier says is missing; so is that of a
        // container that has come again since its list was read.
        let given = kernel.flat_map(|anchor| &anchor.containers).filter_map(|container| {
            if let Some(secret) = told.remove(&container.seq) {
                return Some((container.id.clone(), container.seq, secret));
            }
            let secret = secret(&self.args.secrets.join(&container.id)).ok()?;
            let now = seq(&self.args.ima.join("containers").join(&container.id));
            (now == Some(container.seq)).then(|| (container.id.clone(), container.seq, secret))
        });
        secrets.extend(given);
        Ok(Shown { evidence, secrets })
    }
}

/// The PCR of the lists that the kernel keeps of containers, where it does.
fn kernel_pcr(ima: &Path) -> Option<u32> {
    let status = fs::read_to_string(ima.join("containers/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("pcr ")?.trim().parse().ok())
}

/// The kind of endorsement key that the maker certified.
fn parent(tpm: &Tpm) -> Result<KeyKind, TpmError> {
    for kind in [KeyKind::EccP256, KeyKind::Rsa2048] {
        match tpm.endorsement(kind) {
            Ok(key) if key.certificate.is_some() => return Ok(kind),
            // A TPM need not have every kind.
            Ok(_) | Err(TpmError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(KeyKind::EccP256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_own_pcr_is_known() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kernel_pcr(dir.path()), None);
        fs::create_dir(dir.path().join("containers")).unwrap();
        let status = "version 1\nmode deferred\npcr 13\ntpm yes\n";
        fs::write(dir.path().join("containers/status"), status).unwrap();
        assert_eq!(kernel_pcr(dir.path()), Some(13));
    }
}
