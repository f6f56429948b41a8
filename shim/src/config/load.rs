use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Config, Server};
use crate::options;

/// The file that is read when nobody names one.
pub const STANDARD_PATH: &str = "/etc/lacre/config.yaml";
/// The variable in containerd's environment that names another.
pub const ENVIRONMENT: &str = "LACRE_CONFIG";

/// A configuration is a page; more is a mistake, and is not read.
const SIZE_MAX: u64 = 1 << 20;
/// `sun_path` is 108 bytes (unix(7)); a socket's name there takes 36, and a NUL.
const RUN_MAX: usize = 60;

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
    /// It is not text, or far too long.
    #[error("the configuration {} is not a YAML text of at most 1 MiB", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// It says something that can't be.
    #[error("the configuration {}{at}: {what}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line and column, when they can be told.
        at: String,
        /// What is wrong, and what to write.
        what: String,
    },
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
    /// Reads the file; the defaults when it may be absent and is.
    ///
    /// # Errors
    /// When it can't be read, or is wrong.
    pub fn load(path: &Path, required: bool) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
                return Ok(Self::default());
            }
            Err(error) => return Err(read(error)),
        };
        let mut bytes = Vec::new();
        file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= SIZE_MAX);
        let text = text.ok_or_else(|| ConfigError::NotText { path: path.to_owned() })?;
        Self::parse(&text).map_err(|(at, what)| {
            let at = at
                .map_or(String::new(), |(line, column)| format!(", line {line}, column {column}"));
            ConfigError::Wrong { path: path.to_owned(), at, what }
        })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong, with line and column when they can be told.
    pub fn parse(text: &str) -> Result<Self, (Option<(usize, usize)>, String)> {
        let empty = text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        });
        if empty {
            return Ok(Self::default());
        }
        let config: Self = serde_yaml::from_str(text).map_err(|error| {
            let place = error.location().map(|at| (at.line(), at.column()));
            (place, explain(&error.to_string()))
        })?;
        config.check().map_err(|(key, what)| (place_of(text, key), what))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let paths = [
            ("policy", &self.policy),
            ("records", &self.records),
            ("state", &self.state),
            ("run", &self.run),
        ];
        let tls = self
            .tls
            .iter()
            .flat_map(|tls| [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)]);
        let inner = self.inner.config.iter().map(|path| ("config", path));
        for (key, path) in paths.into_iter().chain(tls).chain(inner) {
            if !path.is_absolute() {
                return Err((
                    key,
                    format!("`{key}` must be an absolute path, not `{}`", path.display()),
                ));
            }
        }
        if self.run.as_os_str().as_bytes().len() > RUN_MAX {
            return Err((
                "run",
                format!("`run` has more than {RUN_MAX} bytes; the names of sockets are limited"),
            ));
        }
        match (&self.server, &self.tls) {
            (Some(Server::Tls(_)), None) => {
                return Err((
                    "server",
                    "a tls:// server needs `tls` with ca, cert and key".to_owned(),
                ));
            }
            (None | Some(Server::Unix(_)), Some(_)) => {
                return Err((
                    "tls",
                    "`tls` is given, but `server` is not tls://HOST:PORT".to_owned(),
                ));
            }
            _ => {}
        }
        if !self.inner.shim.starts_with('/') {
            crate::inner::binary_name(&self.inner.shim)
                .map_err(|error| ("shim", error.to_string()))?;
        }
        if !self.inner.options.is_empty() && self.inner.config.is_some() {
            return Err(("config", "`inner` has both `options`, which are runc's, and `config`, which is another shim's".to_owned()));
        }
        options::encode_runc(&self.inner.options).map_err(|error| ("options", error))?;
        Ok(())
    }
}

/// Line and column of a key, by its first occurrence.
fn place_of(text: &str, key: &str) -> Option<(usize, usize)> {
    text.lines().enumerate().find_map(|(at, line)| {
        let column = line.find(&format!("{key}:"))?;
        let before = line[..column].chars().next_back();
        (!before.is_some_and(char::is_alphanumeric)).then_some((at + 1, column + 1))
    })
}

/// The parser's own words without the place, which is told apart, and with the nearest
/// word that would have been right.
fn explain(message: &str) -> String {
    let message = message.rfind(" at line ").map_or(message, |at| &message[..at]);
    let mut words = message.split('`').skip(1).step_by(2);
    let expects = message.contains("unknown field") || message.contains("unknown variant");
    let nearest = match words.next() {
        Some(wrong) if expects => nearest(wrong, words),
        _ => None,
    };
    match nearest {
        Some(word) => format!("{message}; did you mean `{word}`?"),
        None => message.to_owned(),
    }
}

/// The word nearest to `wrong`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    words
        .map(|word| (distance(&wrong, &word.to_lowercase()), word))
        .min()
        .filter(|(distance, word)| *distance <= word.len() / 3 + 1)
        .map(|(_, word)| word)
}

/// How many letters must be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::{Block, Sources};
    use super::*;
    use lacre_types::{Mode, Source};
    use proptest::prelude::*;

    fn wrong(text: &str) -> (Option<(usize, usize)>, String) {
        Config::parse(text).unwrap_err()
    }

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
    fn a_wrong_key_is_told_with_its_place_and_the_right_one() {
        let (place, what) = wrong("mode: audit\npolcy: /x\n");
        assert_eq!(place, Some((2, 1)), "{what}");
        assert!(what.contains("`polcy`") && what.ends_with("did you mean `policy`?"), "{what}");
        let (place, what) = wrong("inner:\n  shimm: x\n");
        assert_eq!(place.map(|(line, _)| line), Some(2));
        assert!(what.ends_with("did you mean `shim`?"), "{what}");
    }

    #[test]
    fn wrong_values_are_told_with_their_line() {
        for (text, line, says) in [
            ("mode: enforced\n", 1, "enforce"),
            ("mode: audit\nrun: run\n", 2, "absolute"),
            ("server: tcp://x:1\n", 1, "tls://HOST:PORT"),
            ("server: tls://x:1\n", 1, "needs `tls`"),
            ("tls: {ca: /a, cert: /b, key: /c}\n", 1, "`server`"),
            ("sources: [fanotify, ftrace]\n", 1, "fanotify"),
            ("sources: fanotify\n", 1, "[fanotify]"),
            ("inner:\n  shim: runc\n", 2, "io.containerd"),
            ("inner:\n  options: {SystemdCgrup: true}\n", 2, "SystemdCgroup"),
            ("inner:\n  options: {SystemdCgroup: 1}\n", 2, "true or false"),
        ] {
            let (place, what) = wrong(text);
            assert_eq!(place.map(|(line, _)| line), Some(line), "{text}: {what}");
            assert!(what.contains(says), "{text}: {what}");
        }
        assert!(wrong(&format!("run: /{}\n", "x".repeat(60))).1.contains("60 bytes"));
    }

    #[test]
    fn who_names_the_file() {
        let environment = Some(OsStr::new("/e"));
        assert_eq!(locate(Some("/o".into()), environment), ("/o".into(), true));
        assert_eq!(locate(None, environment), ("/e".into(), true));
        assert_eq!(locate(None, Some(OsStr::new(""))), (STANDARD_PATH.into(), false));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:{}\\[\\]\"&* \n-]{0,80}") {
            let _ = Config::parse(&text);
        }

        #[test]
        fn a_slip_of_one_letter_finds_its_word(at in 0usize..6, letter in "[a-z]") {
            let mut slip = "policy".to_owned();
            slip.replace_range(at..=at, &letter);
            prop_assert_eq!(nearest(&slip, ["mode", "policy", "server"].into_iter()), Some("policy"));
        }
    }
}
