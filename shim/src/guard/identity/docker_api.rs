//! What dockerd answers about a container where its files can't be read. Only calls that
//! wait for no container's lock: the list, and an image's `inspect`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_containerd::ImageLabels;
use lacre_policy::{Fact, Witness};
use lacre_types::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::docker_store::{DockerImage, Stored, StoredImage};

/// For one answer. dockerd gives these from memory; a start waits for them.
const DEADLINE: Duration = Duration::from_secs(2);
/// The greatest answer that is read, in bytes.
const ANSWER_MAX: u64 = 4 << 20;

/// Why dockerd does not tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("asking dockerd at {} for {what}", .socket.display())]
    Io {
        socket: PathBuf,
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("dockerd did not answer {0} in {DEADLINE:?}")]
    Deadline(String),
    #[error("dockerd's answer to {0}: {1}")]
    Status(String, String),
    #[error("dockerd's answer to {0}")]
    Json(String, #[source] serde_json::Error),
    #[error("dockerd knows no container {0}")]
    Nobody(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: Digest,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    repo_digests: Option<Vec<String>>,
    config: Option<ImageRunConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageRunConfig {
    labels: Option<BTreeMap<String, String>>,
}

/// Asks dockerd at that socket. There are no bytes to compare with a digest: all is its word.
pub(super) async fn ask(socket: &Path, id: &str) -> Result<Stored, ApiError> {
    // {"id":["ID"]}; an id has nothing that would have to be escaped.
    let list = format!("/containers/json?all=1&filters=%7B%22id%22%3A%5B%22{id}%22%5D%7D");
    let listed: Vec<Listed> = get(socket, &list).await?;
    let listed = listed.into_iter().find(|listed| listed.id == id);
    let Listed { names, image, image_id, labels, .. } =
        listed.ok_or_else(|| ApiError::Nobody(id.to_owned()))?;
    let inspected = get::<Inspected>(socket, &format!("/images/{image_id}/json")).await;
    let image_facts = inspected.map_err(|error| lacre_types::chain(&error)).map(|image| {
        let pulled = image.repo_digests.unwrap_or_default();
        let pulled = pulled.iter().filter_map(|name| name.split_once('@')?.1.parse().ok());
        let mut digests: Vec<_> = [image_id].into_iter().chain(pulled).collect();
        digests.dedup();
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
        DockerImage {
            digests: digests.into_iter().map(|one| Fact::new(one, Witness::Daemon)).collect(),
            labels: ImageLabels::from_iter(labels),
        }
    });
    Ok(Stored {
        image_name: image,
        name: names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        image: StoredImage::Docker(image_facts),
    })
}

async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ApiError> {
    let what = || path.split('?').next().unwrap_or(path).to_owned();
    let answer = tokio::time::timeout(DEADLINE, exchange(socket, path)).await;
    let answer = answer
        .map_err(|_| ApiError::Deadline(what()))?
        .map_err(|source| ApiError::Io { socket: socket.to_owned(), what: what(), source })?;
    let body = body(&answer).map_err(|status| ApiError::Status(what(), status))?;
    serde_json::from_slice(body).map_err(|error| ApiError::Json(what(), error))
}

/// One request by HTTP/1.0, in which an answer ends with its connection and has no chunks:
/// two calls of a fall-back do not earn a client.
async fn exchange(socket: &Path, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// What follows the head of a good answer; else its status line.
pub(crate) fn body(answer: &[u8]) -> Result<&[u8], String> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let good = status.starts_with(b"HTTP/1.") && status.get(8..12) == Some(b" 200");
    match head {
        Some(head) if good => Ok(&answer[head + 4..]),
        _ => Err(lacre_types::escape(&status[..status.len().min(100)])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_has_a_body() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n[]"), Ok(&b"[]"[..]));
        for bad in [
            &b"HTTP/1.0 404 Not Found\r\n\r\n{}"[..],
            b"HTTP/1.0 200 OK\r\nA: b",
            b"SSH-2.0\r\n\r\n",
            b"",
        ] {
            assert!(body(bad).is_err());
        }
    }
}
