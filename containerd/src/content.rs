//! The content store: what it has, and its blobs.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lacre_types::Digest;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::{Client, Error, wire};

const INFO: &str = "/containerd.services.content.v1.Content/Info";
const READ: &str = "/containerd.services.content.v1.Content/Read";

/// What the content store says of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Where a blob lies beneath the content store's root ([`Client::content_root`]). It may
/// have been discarded after unpacking, and nothing vouches for what is on the disk but
/// its digest.
#[must_use]
pub fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

/// A blob's bytes, as they come. They are not compared with the digest.
#[derive(Debug)]
pub struct ContentReader {
    client: Client,
    name: String,
    parts: tonic::Streaming<wire::ContentPart>,
    /// How much has come.
    at: u64,
    left: Vec<u8>,
}

impl Client {
    /// What the content store says of a blob.
    ///
    /// # Errors
    /// When it has none, or containerd does not tell.
    pub async fn blob_info(&self, digest: &Digest) -> Result<BlobInfo, Error> {
        let name = digest.to_string();
        let answer: wire::OneContentInfo =
            self.unary(INFO, &name, wire::Named { name: name.clone() }).await?;
        let size = answer.info.and_then(|info| u64::try_from(info.size).ok());
        match size {
            Some(size) => Ok(BlobInfo { digest: *digest, size }),
            None => Err(no_good(INFO, &name, "there is no size in it")),
        }
    }

    /// Reads a blob of any size.
    ///
    /// # Errors
    /// When the store has none, or containerd does not give it.
    pub async fn read_blob(&self, digest: &Digest) -> Result<ContentReader, Error> {
        let name = digest.to_string();
        let request = wire::ReadContent { digest: name.clone(), offset: 0, size: 0 };
        let parts = self.stream(READ, &name, request).await?;
        Ok(ContentReader { client: self.clone(), name, parts, at: 0, left: Vec::new() })
    }

    /// A small blob, whole, and its bytes compared with its digest.
    ///
    /// # Errors
    /// When the store has none, it is larger than `max` bytes, or not what its digest says.
    pub async fn small_blob(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, Error> {
        let mut reader = self.read_blob(digest).await?;
        let mut blob = Vec::new();
        while let Some(part) = reader.part().await? {
            if blob.len() + part.len() > max {
                return Err(no_good(READ, &reader.name, &format!("it has more than {max} bytes")));
            }
            blob.extend_from_slice(&part);
        }
        if hash(digest, &blob) != Some(*digest) {
            return Err(no_good(
                READ,
                &reader.name,
                "its bytes are not what its digest says: the content store was tampered with",
            ));
        }
        Ok(blob)
    }
}

impl ContentReader {
    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// When containerd breaks off, hangs, or leaves a gap.
    pub async fn part(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Self { client, name, parts, at, .. } = self;
        let part =
            async { parts.message().await.map_err(|status| client.failed(READ, name, &status)) };
        let Some(part) = client.in_time(READ, name, part).await? else { return Ok(None) };
        if u64::try_from(part.offset) != Ok(*at) {
            return Err(no_good(READ, name, &format!("bytes {at} to {} are missing", part.offset)));
        }
        *at += part.data.len() as u64;
        Ok(Some(part.data))
    }

    /// The same bytes for who reads on a thread of its own (not one of the runtime's).
    #[must_use]
    pub const fn blocking(self, runtime: tokio::runtime::Handle) -> impl Read {
        Blocking { runtime, reader: self }
    }
}

struct Blocking {
    runtime: tokio::runtime::Handle,
    reader: ContentReader,
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.reader.left.is_empty() {
            match self.runtime.block_on(self.reader.part()).map_err(io::Error::other)? {
                Some(part) => self.reader.left = part,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.reader.left.len());
        buffer[..count].copy_from_slice(&self.reader.left[..count]);
        self.reader.left.drain(..count);
        Ok(count)
    }
}

/// The digest of the same algorithm; `None` for one that is never a reason to trust.
pub(crate) fn hash(like: &Digest, bytes: &[u8]) -> Option<Digest> {
    use lacre_types::Algorithm::{Sha1, Sha256 as A256, Sha384 as A384, Sha512 as A512};
    match like.algorithm() {
        Sha1 => None,
        A256 => Digest::new(A256, &Sha256::digest(bytes)),
        A384 => Digest::new(A384, &Sha384::digest(bytes)),
        A512 => Digest::new(A512, &Sha512::digest(bytes)),
    }
}

fn no_good(call: &'static str, on: &str, problem: &str) -> Error {
    Error::Answer { call: crate::client::short(call), on: on.into(), problem: problem.into() }
}
