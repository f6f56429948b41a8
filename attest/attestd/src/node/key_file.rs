//! The file that holds the attestation key, which only this TPM can load.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use lacre_attest::tpm::AttestationKey;
use serde::{Deserialize, Serialize};

use super::{Node, NodeError};

/// The version of `key.json` that this code writes.
const KEY_VERSION: u32 = 1;

/// What `key.json` holds. Fields that are not known are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredKey<'a> {
    /// Files of before there were versions have none.
    #[serde(default = "first_version")]
    version: u32,
    #[serde(flatten)]
    key: Cow<'a, AttestationKey>,
}

const fn first_version() -> u32 {
    1
}

impl StoredKey<'static> {
    /// Reads it, unless a later release wrote it: what that means by it is not known here, and a
    /// key that is made anew would be another node's to the server.
    fn parse(text: &[u8]) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            #[serde(default = "first_version")]
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(text)?;
        if version > KEY_VERSION {
            return Err(io::Error::other(format!(
                "it is of version {version}, which a later release of lacre wrote; this one reads \
                 {KEY_VERSION}"
            )));
        }
        Ok(serde_json::from_slice(text)?)
    }
}

impl Node {
    pub(super) fn key(&self) -> Result<Option<AttestationKey>, NodeError> {
        let file = match File::open(self.args.state.join("key.json")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", "key.json")(error)),
        };
        let mut text = Vec::new();
        // A key has a kilobyte.
        file.take(64 << 10).read_to_end(&mut text).map_err(self.io("read", "key.json"))?;
        let stored = StoredKey::parse(&text).map_err(self.io("read", "key.json"))?;
        Ok(Some(stored.key.into_owned()))
    }

    pub(super) fn keep(&self, key: &AttestationKey) -> Result<(), NodeError> {
        let (part, path) = (self.args.state.join("key.part"), self.args.state.join("key.json"));
        let write = || -> io::Result<()> {
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            let stored = StoredKey { version: KEY_VERSION, key: Cow::Borrowed(key) };
            file.write_all(&serde_json::to_vec(&stored)?)?;
            file.sync_data()?;
            fs::rename(&part, &path)
        };
        write().map_err(self.io("write", "key.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_attest::tpm::KeyKind;

    #[test]
    fn a_key_is_kept_over_upgrades_and_not_misread_after_one() {
        let key = AttestationKey {
            kind: KeyKind::EccP256,
            parent: KeyKind::Rsa2048,
            public: vec![1].into(),
            private: vec![2].into(),
        };
        let stored = StoredKey { version: KEY_VERSION, key: Cow::Borrowed(&key) };
        let text = serde_json::to_string(&stored).unwrap();
        let old = serde_json::to_string(&key).unwrap();
        let more = text.replacen('{', "{\"from\":\"later\",", 1);
        for text in [&text, &old, &more] {
            assert_eq!(*StoredKey::parse(text.as_bytes()).unwrap().key, key, "{text}");
        }
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        let error = StoredKey::parse(newer.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
