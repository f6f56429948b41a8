use std::env;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use lacre_policy::{Errors, yaml};

use super::{Config, read};

/// The file that is read when nobody names one.
pub const STANDARD_PATH: &str = "/etc/lacre/config.yaml";
/// The variable in containerd's environment that names another.
pub const ENVIRONMENT: &str = "LACRE_CONFIG";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("reading the configuration {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It says something that can't be.
    #[error(transparent)]
    Wrong(#[from] Errors),
}

/// The file to read, and whether it must be there: what the runtime options name, else
/// what the environment names, else the standard path, which may be absent.
#[must_use]
pub fn locate(options: Option<PathBuf>, environment: Option<&OsStr>) -> (PathBuf, bool) {
    if let Some(path) = options {
        return (path, true);
    }
    match environment {
        Some(path) if !path.is_empty() => (path.into(), true),
        _ => (STANDARD_PATH.into(), false),
    }
}

impl Config {
    /// What holds for a container whose runtime options name that file or none.
    ///
    /// # Errors
    /// When the file can't be read, or is wrong.
    pub fn find(options: Option<PathBuf>) -> Result<Self, ConfigError> {
        let (path, required) = locate(options, env::var_os(ENVIRONMENT).as_deref());
        Self::load(&path, required)
    }

    /// Reads the file; the defaults when it may be absent and is.
    ///
    /// # Errors
    /// When it can't be read, or is wrong.
    pub fn load(path: &Path, required: bool) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
                return Ok(Self::default());
            }
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        // One byte more than is taken, so that a file that is too long is told as such.
        file.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(read::config(&path.to_string_lossy(), &bytes)?)
    }

    /// Reads a text, which messages call `config.yaml`.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub fn parse(text: &str) -> Result<Self, Errors> {
        read::config("config.yaml", text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Block, Server, Sources};
    use super::*;
    use lacre_types::{Mode, Source};

    #[test]
    fn the_example_of_the_manual_loads() {
        let manual = include_str!("../../../docs/configuration.md");
        let examples: Vec<_> =
            manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!examples.is_empty());
        for example in &examples {
            Config::parse(example).unwrap();
        }
        let config = Config::parse(examples[0]).unwrap();
        assert_eq!(config.mode, Mode::Enforce);
        assert_eq!(config.sources, Sources::Only(vec![Source::Fanotify, Source::ExecTrace]));
        assert_eq!(config.block, Block::All);
        assert_eq!(config.server, Some(Server::Tls("policy.example:50051".to_owned())));
        assert_eq!(config.exempt.namespaces, ["kube-system"]);
    }

    #[test]
    fn nothing_is_the_defaults() {
        for text in ["", "\n", "# nothing\n", "---\n", "{}"] {
            assert_eq!(Config::parse(text), Ok(Config::default()), "{text:?}");
        }
        let absent = Path::new("/nonexistent/config.yaml");
        assert_eq!(Config::load(absent, false).unwrap(), Config::default());
        assert!(matches!(Config::load(absent, true), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10 << 30).unwrap();
        let error = Config::load(file.path(), true).unwrap_err().to_string();
        assert!(error.contains("1048577 bytes, more than 1048576"), "{error}");
    }

    #[test]
    fn who_names_the_file() {
        let environment = Some(OsStr::new("/e"));
        assert_eq!(locate(Some("/o".into()), environment), ("/o".into(), true));
        assert_eq!(locate(None, environment), ("/e".into(), true));
        assert_eq!(locate(None, Some(OsStr::new(""))), (STANDARD_PATH.into(), false));
    }
}
