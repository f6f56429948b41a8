//! One layer's blob: read, hashed, inflated, hashed again, and scanned, in one pass.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use lacre_types::{Algorithm, Digest};
use sha2::Digest as _;

use super::packing::Packing;
use crate::error::{BlobError, Error};
use crate::layer::Layer;
use crate::options::{Limits, check};
use crate::tar::{Fault, Listed, Scanned, Tree, Wanted, Whiteouts, scan_tar, unpack};
use crate::{NoProgress, Options, Progress};

/// Hashes with the algorithm of a descriptor.
pub(super) enum BlobHasher {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl BlobHasher {
    pub(super) fn new(algorithm: Algorithm, what: &str) -> Result<Self, Error> {
        Ok(match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Sha1 => {
                let why = "SHA-1 vouches for nothing; build the image again".to_owned();
                return Err(Error::blob(what, BlobError::Unusable(why)));
            }
        })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Digest {
        let (algorithm, bytes): (_, &[u8]) = match self {
            Self::Sha256(hasher) => return Digest::sha256(hasher.finalize().into()),
            Self::Sha384(hasher) => (Algorithm::Sha384, &hasher.finalize()),
            Self::Sha512(hasher) => (Algorithm::Sha512, &hasher.finalize()),
        };
        Digest::new(algorithm, bytes).unwrap_or_else(|| Digest::sha256([0; 32]))
    }
}

/// A stream that is hashed and counted as it is read.
struct Hashed<R> {
    from: R,
    hasher: Option<BlobHasher>,
    count: u64,
}

/// Shared, so that the blob can be read to its end after the inflater gave up.
type Shared<R> = Rc<RefCell<Hashed<R>>>;

struct Tap<R>(Shared<R>);

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut hashed = self.0.borrow_mut();
        let len = hashed.from.read(into)?;
        if let Some(hasher) = &mut hashed.hasher {
            hasher.update(&into[..len]);
        }
        hashed.count += len as u64;
        Ok(len)
    }
}

/// Reads on to the end, then tells the number of bytes and their digest.
fn finish<R: Read>(shared: &Shared<R>) -> io::Result<(u64, Option<Digest>)> {
    io::copy(&mut Tap(Rc::clone(shared)), &mut io::sink())?;
    let mut hashed = shared.borrow_mut();
    Ok((hashed.count, hashed.hasher.take().map(BlobHasher::finish)))
}

/// Fails once nobody wants what is read.
struct WhileWanted<'a, R> {
    from: R,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for WhileWanted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        check(self.progress).map_err(io::Error::other)?;
        self.from.read(into)
    }
}

/// Fails once what was unpacked passes a limit.
struct Bounded<'a, R> {
    from: R,
    blob: Rc<dyn Fn() -> u64 + 'a>,
    count: u64,
    limits: Limits,
    passed: Rc<RefCell<Option<(u64, &'static str)>>>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(into)?;
        self.count += len as u64;
        let by_ratio = (self.blob)().saturating_mul(self.limits.ratio).max(Limits::RATIO_FREE);
        let (limit, which) = if by_ratio < self.limits.layer_bytes {
            (by_ratio, "--max-ratio")
        } else {
            (self.limits.layer_bytes, "--max-layer-bytes")
        };
        if self.count > limit {
            *self.passed.borrow_mut() = Some((limit, which));
            return Err(io::Error::other("too many bytes unpacked"));
        }
        Ok(len)
    }
}

/// A layer's blob, and what is told of it.
pub(crate) struct LayerBlob<'a> {
    pub(crate) what: &'a str,
    pub(crate) open: &'a dyn Fn() -> Result<Box<dyn Read>, Error>,
    /// Digest and size, where there is a descriptor.
    pub(crate) blob: Option<&'a (Digest, u64)>,
    pub(crate) diff_id: &'a Digest,
    pub(crate) packing: Packing,
    pub(crate) whiteouts: Whiteouts,
}

impl LayerBlob<'_> {
    /// The layer in a blob of which all that is told is right.
    pub(crate) fn scan(&self, options: &Options, progress: &dyn Progress) -> Result<Layer, Error> {
        let mut wanted = Wanted::default();
        // The second pass hashes what the first found to be code by a later name or mode.
        for _ in 0..2 {
            let scan =
                |tar: &mut dyn Read| scan_tar(tar, self.whiteouts, &wanted, options, progress);
            match self.pass(scan, options, progress)? {
                Scanned::Layer(layer) => return Ok(layer),
                Scanned::Again(more) => wanted = more,
            }
        }
        let why = "it changed between two readings".to_owned();
        Err(Error::blob(self.what, BlobError::Unusable(why)))
    }

    /// All that unpacking leaves, every file hashed.
    pub(crate) fn list(
        &self,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Vec<Listed>, Error> {
        let list = |tar: &mut dyn Read| {
            let empty = (Tree::default(), self.whiteouts, 0);
            unpack(tar, empty, &Wanted::All, options, progress).map(|tree| tree.list())
        };
        self.pass(list, options, progress)
    }

    /// What unpacking it over a tree leaves, `at` that place from the bottom.
    pub(crate) fn unpack_over(
        &self,
        (tree, at): (Tree, usize),
        wanted: &Wanted,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Tree, Error> {
        let over = (tree, self.whiteouts, u16::try_from(at).unwrap_or(u16::MAX));
        let unpack = |tar: &mut dyn Read| unpack(tar, over, wanted, options, progress);
        self.pass(unpack, options, progress)
    }

    /// What its tar is, whatever is told of it.
    pub(crate) fn told_diff_id(&self, options: &Options) -> Result<Digest, Error> {
        match self.pass(|_: &mut dyn Read| Ok(()), options, &NoProgress) {
            Ok(()) => Ok(*self.diff_id),
            Err(Error::Blob { what, source }) => match *source {
                BlobError::DiffId { got, .. } => Ok(got),
                source => Err(Error::blob(what, source)),
            },
            Err(error) => Err(error),
        }
    }

    /// Reads the blob and its tar once, to their ends.
    fn pass<T>(
        &self,
        read: impl FnOnce(&mut dyn Read) -> Result<T, Fault>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<T, Error> {
        let from = WhileWanted { from: (self.open)()?, progress };
        let passed = self.pass_over(from, read, options);
        // Whatever that came to on its way out.
        passed.or_else(|error| check(progress).and(Err(error)))
    }

    fn pass_over<T>(
        &self,
        from: impl Read,
        read: impl FnOnce(&mut dyn Read) -> Result<T, Fault>,
        options: &Options,
    ) -> Result<T, Error> {
        let Self { what, blob, diff_id, .. } = *self;
        let hasher =
            blob.map(|(digest, _)| BlobHasher::new(digest.algorithm(), what)).transpose()?;
        let raw = Rc::new(RefCell::new(Hashed { from, hasher, count: 0 }));
        let at = {
            let raw = Rc::clone(&raw);
            move || raw.borrow().count
        };
        let passed = Rc::new(RefCell::new(None));
        let wrong = |error| Error::blob(what, error);

        let scanned = (|| {
            let read_fault = |source| wrong(BlobError::Read { at: at(), source });
            let (plain, looks) = self.packing.open(Tap(Rc::clone(&raw))).map_err(read_fault)?;
            let bounded = Bounded {
                from: plain,
                blob: Rc::new(at.clone()),
                count: 0,
                limits: options.limits,
                passed: Rc::clone(&passed),
            };
            let hasher = Some(BlobHasher::new(diff_id.algorithm(), what)?);
            let unpacked = Rc::new(RefCell::new(Hashed { from: bounded, hasher, count: 0 }));
            let failed = |fault| {
                if let Some((limit, which)) = *passed.borrow() {
                    return wrong(BlobError::Bomb { read: at(), limit, which });
                }
                wrong(match fault {
                    Fault::Read(source) => BlobError::Read { at: at(), source },
                    Fault::Tar { at, fault } => match looks {
                        Some(how) if at <= 512 => BlobError::Unusable(format!(
                            "it is packed with {how}, as its media type does not say or containerd \
                         does not unpack; use gzip, zstd or none"
                        )),
                        _ => BlobError::Tar { at, fault },
                    },
                })
            };
            let scanned = read(&mut Tap(Rc::clone(&unpacked))).map_err(failed)?;
            let (_, got) = finish(&unpacked).map_err(|e| failed(Fault::Read(e)))?;
            Ok((scanned, got))
        })();

        // A blob that is not what its digest says explains every other failure; a bomb is not
        // read on for that.
        let bomb = passed.borrow().is_some();
        if let Some((expected, size)) = blob.filter(|_| !bomb) {
            let at = at();
            let (count, got) =
                finish(&raw).map_err(|source| wrong(BlobError::Read { at, source }))?;
            if let Some(got) = got.filter(|got| got != expected) {
                return Err(wrong(BlobError::Digest { expected: *expected, got }));
            }
            if count != *size {
                return Err(wrong(BlobError::Size { expected: *size, got: count }));
            }
        }
        let (scanned, got) = scanned?;
        match got {
            Some(got) if got == *diff_id => Ok(scanned),
            got => {
                let got = got.unwrap_or_else(|| Digest::sha256([0; 32]));
                Err(wrong(BlobError::DiffId { expected: *diff_id, got }))
            }
        }
    }
}
