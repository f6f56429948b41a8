//! Which configuration file is read, and why it can't be used.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use lacre_policy::{Diagnostic, Errors, yaml};
use lacre_types::Mode;

use super::{Config, Named, read};

/// The file that is read when nobody names one.
pub const STANDARD_PATH: &str = "/etc/lacre/config.yaml";
/// The variable in containerd's environment that names another.
pub const ENVIRONMENT: &str = "LACRE_CONFIG";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("reading the configuration {}{}", .path.display(), chosen_by(.path))]
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
    /// It names a policy that is not there.
    #[error(
        "the configuration {} is for enforce and names the policy {}, which is not there; \
         write it, or leave `policy` out for /etc/lacre/policy.yaml and, where that is not there, \
         the built-in one", .path.display(), .policy.display()
    )]
    Policy {
        /// The configuration.
        path: PathBuf,
        /// The policy.
        policy: PathBuf,
    },
}

/// Where nobody named the file: what chose it.
fn chosen_by(path: &Path) -> &'static str {
    match named(env::args_os().next().as_deref()) {
        Some(chosen) if chosen == path => ", which the name of this shim chooses",
        _ => "",
    }
}

/// The file that a shim's own name chooses: `containerd-shim-lacre-audit-v1` (the runtime
/// `io.containerd.lacre-audit.v1`, or a `runtime_path`) reads `/etc/lacre/audit.yaml`.
/// `program` is the name by which it was started, with or without folders.
#[must_use]
pub fn named(program: Option<&OsStr>) -> Option<PathBuf> {
    let name = Path::new(program?).file_name()?.to_str()?;
    let (name, version) = name.strip_prefix("containerd-shim-lacre-")?.rsplit_once("-v")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let sound = !name.is_empty() && name.bytes().all(is_name);
    let version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    (sound && version).then(|| format!("/etc/lacre/{name}.yaml").into())
}

/// The file to read, and whether it must be there: what the runtime options name, else what
/// the name chooses by which the shim was started, else what the environment names, else
/// the standard path, which may be absent.
#[must_use]
pub fn locate(
    options: Option<PathBuf>,
    program: Option<&OsStr>,
    environment: Option<&OsStr>,
) -> (PathBuf, bool) {
    if let Some(path) = options.or_else(|| named(program)) {
        return (path, true);
    }
    match environment {
        Some(path) if !path.is_empty() => (path.into(), true),
        _ => (STANDARD_PATH.into(), false),
    }
}

impl Config {
    /// What holds where no runtime options are known: one that can't be read is no reason not
    /// to clean up.
    pub(crate) fn of_this_process() -> Self {
        let program = env::args_os().next();
        let environment = env::var_os(ENVIRONMENT);
        let (path, required) = locate(None, program.as_deref(), environment.as_deref());
        Self::load(&path, required).unwrap_or_default()
    }

    /// What holds for a container whose runtime options name that file or none, and which file
    /// says so.
    ///
    /// # Errors
    /// When the file can't be read, or is wrong.
    pub fn find(options: Option<PathBuf>) -> Result<(PathBuf, Self), ConfigError> {
        let program = env::args_os().next();
        let environment = env::var_os(ENVIRONMENT);
        let (path, required) = locate(options, program.as_deref(), environment.as_deref());
        let config = Self::load(&path, required)?;
        if config.mode == Mode::Enforce
            && config.policy != Self::default().policy
            && config.policy.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        {
            return Err(ConfigError::Policy { path, policy: config.policy });
        }
        Ok((path, config))
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

    /// Reads a text, which messages call `name`. Where it is good, `look` is asked of all that it
    /// names, with the whole of it; what `look` says, and how to mend it, is a warning there.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub fn check(
        name: &str,
        text: &[u8],
        look: impl FnMut(Named, &Self) -> Option<(String, String)>,
    ) -> Result<(Self, Vec<Diagnostic>), Errors> {
        read::checked(name, text, look)
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
    use lacre_types::Source;

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
    fn a_policy_that_is_named_for_enforce_must_be_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let find = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            Config::find(Some(file.path().to_owned()))
        };
        let absent = "policy: /nonexistent/policy.yaml\n";
        let error = find(&format!("mode: enforce\n{absent}")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/policy.yaml"), "{error}");
        assert!(find(absent).is_ok(), "audit touches nothing");
        assert!(find("mode: enforce\n").is_ok());
    }

    #[test]
    fn who_names_the_file() {
        let environment = Some(OsStr::new("/e"));
        let plain = Some(OsStr::new("/usr/local/bin/containerd-shim-lacre-v1"));
        let audit = Some(OsStr::new("/usr/local/bin/containerd-shim-lacre-audit-v1"));
        assert_eq!(locate(Some("/o".into()), audit, environment), ("/o".into(), true));
        assert_eq!(locate(None, audit, environment), ("/etc/lacre/audit.yaml".into(), true));
        assert_eq!(locate(None, plain, environment), ("/e".into(), true));
        assert_eq!(locate(None, plain, Some(OsStr::new(""))), (STANDARD_PATH.into(), false));
        assert_eq!(locate(None, None, None), (STANDARD_PATH.into(), false));
    }

    #[test]
    fn a_shims_name_chooses_its_file() {
        for (program, file) in [
            ("containerd-shim-lacre-audit-v1", Some("/etc/lacre/audit.yaml")),
            ("/opt/x/containerd-shim-lacre-team-a-v2", Some("/etc/lacre/team-a.yaml")),
            ("containerd-shim-lacre-vip-v1", Some("/etc/lacre/vip.yaml")),
            ("containerd-shim-lacre-v1", None),
            ("containerd-shim-lacre-v1-v1", Some("/etc/lacre/v1.yaml")),
            ("containerd-shim-lacre--v1", None),
            ("containerd-shim-lacre-audit", None),
            ("containerd-shim-lacre-audit-vx", None),
            ("containerd-shim-lacre-..-v1", None),
            ("containerd-shim-lacre-a/../b-v1", None),
            ("containerd-shim-runc-v2", None),
            ("", None),
        ] {
            assert_eq!(named(Some(OsStr::new(program))), file.map(PathBuf::from), "{program}");
        }
    }
}
