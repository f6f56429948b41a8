//! dockerd, by its API.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lacre_types::escape;
use serde_json::Value;

use crate::facts::{Docker, Seen};

/// The most of an answer that is read; `/info` has some KiB.
const ANSWER: u64 = 4 << 20;

pub(super) fn look(socket: &Path, limit: Duration) -> Seen<Option<Docker>> {
    match ask(socket, limit) {
        Ok(answer) => match info(socket, &answer) {
            Some(docker) => Seen::Seen(Some(docker)),
            None => Seen::Unseen(format!("{} answers, and not as dockerd", socket.display())),
        },
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Seen::Seen(None)
        }
        Err(error) => Seen::Unseen(format!("asking {}: {error}", socket.display())),
    }
}

/// One request by HTTP/1.0, in which an answer ends with its connection.
fn ask(socket: &Path, limit: Duration) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(b"GET /info HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn info(socket: &Path, answer: &[u8]) -> Option<Docker> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let info: Value = serde_json::from_slice(&answer[end + 4..]).ok()?;
    let is_lacre = |name: &str, runtime: &Value| {
        let named = [&runtime["runtimeType"], &runtime["path"]];
        let names_it = |text: &str| {
            let last = text.rsplit('/').next().unwrap_or(text);
            last.starts_with("io.containerd.lacre") || last.starts_with("containerd-shim-lacre-")
        };
        names_it(name) || named.iter().filter_map(|value| value.as_str()).any(names_it)
    };
    let runtimes = info["Runtimes"].as_object();
    let lacre: Vec<_> = runtimes
        .into_iter()
        .flatten()
        .filter(|(name, runtime)| is_lacre(name, runtime))
        .map(|(name, _)| name.as_str())
        .collect();
    let default = info["DefaultRuntime"].as_str().unwrap_or_default();
    let options = info["SecurityOptions"].as_array().into_iter().flatten();
    Some(Docker {
        socket: socket.to_owned(),
        version: escape(info["ServerVersion"].as_str()?.as_bytes()),
        is_default: lacre.contains(&default) || default.starts_with("io.containerd.lacre"),
        has_lacre: !lacre.is_empty(),
        rootless: { options }.any(|option| option == "name=rootless"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str) -> Option<Docker> {
        info(Path::new("/s"), format!("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{body}").as_bytes())
    }

    #[test]
    fn what_dockerd_says_of_its_runtimes() {
        let docker = told(
            r#"{"ServerVersion":"28.5.1","DefaultRuntime":"runc","SecurityOptions":["name=seccomp"],
                "Runtimes":{"runc":{"path":"runc"},"seal":{"runtimeType":"io.containerd.lacre.v1"}}}"#,
        )
        .unwrap();
        assert!(docker.has_lacre && !docker.is_default && !docker.rootless, "{docker:?}");
        let default = r#"{"ServerVersion":"1","DefaultRuntime":"io.containerd.lacre.v1",
                          "SecurityOptions":["name=rootless"]}"#;
        let docker = told(default).unwrap();
        assert!(docker.is_default && docker.rootless && !docker.has_lacre, "{docker:?}");
        for wrong in ["", "[]", "{}", "{\"ServerVersion\":1}"] {
            assert_eq!(told(wrong), None, "{wrong}");
        }
    }
}
