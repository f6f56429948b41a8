//! The command line, in the manner of Go's `flag` package, as containerd writes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// The first argument of who finishes a `delete`; the others are those of that `delete`.
pub const FINISH: &str = "--finish";

/// What the shim is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the inner shim and the guard, and print the address.
    Start,
    /// Clean up after a container.
    Delete,
    /// Describe the runtime.
    Info,
    /// Print the version.
    Version,
}

/// The arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Args {
    /// The containerd namespace.
    pub namespace: String,
    /// The container.
    pub id: String,
    /// containerd's gRPC socket.
    pub address: PathBuf,
    /// containerd's binary, which publishes events.
    pub publish_binary: PathBuf,
    /// The bundle, which `delete` is told.
    pub bundle: PathBuf,
    /// Whether containerd logs at its debug level.
    pub debug: bool,
}

/// Why a command line is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A flag lacks its value.
    #[error("the flag -{0} needs a value")]
    Value(String),
    /// A flag is not known.
    #[error("there is no flag -{0}; see containerd-shim-lacre-v1 -h")]
    Flag(String),
    /// No action, or none that exists.
    #[error(
        "expected one of the actions start, delete; got {0:?}; see containerd-shim-lacre-v1 -h"
    )]
    Action(String),
    /// A flag that an action needs is missing.
    #[error("{action} needs the flag -{flag}, which containerd gives")]
    Missing {
        /// What was asked.
        action: &'static str,
        /// What is missing.
        flag: &'static str,
    },
    /// An identifier is not one.
    #[error(
        "-{flag} {value:?} is not an identifier of containerd (letters and digits, joined by \
         single . _ -, at most 76)"
    )]
    Identifier {
        /// Which flag.
        flag: &'static str,
        /// What it says.
        value: String,
    },
}

/// What the shim prints for `-h`.
pub const USAGE: &str = "\
containerd-shim-lacre-v1: the containerd shim that keeps containers honest.

containerd runs this program; a person does not need to. To use it:

    ctr run --runtime io.containerd.lacre.v1 IMAGE ID

Usage: containerd-shim-lacre-v1 [flags] start|delete

  -namespace NAME        the containerd namespace
  -id ID                 the container
  -address SOCKET        containerd's gRPC socket
  -publish-binary FILE   containerd's binary
  -bundle DIR            the bundle (delete)
  -debug                 log more
  -info                  describe the runtime, in protobuf
  -v                     print the version
  -h                     print this
";

impl Args {
    /// Reads the arguments after the program's name; `None` when only help was asked.
    ///
    /// # Errors
    /// When they are not what containerd writes.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Option<(Self, Action)>, ArgsError> {
        let mut args = Self::default();
        let mut rest = arguments.into_iter();
        let mut action = None;
        let mut words = Vec::new();
        while let Some(argument) = rest.next() {
            let bytes = argument.as_bytes();
            let Some(flag) = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")) else {
                words.push(argument);
                continue;
            };
            let (name, inline) = match flag.iter().position(|byte| *byte == b'=') {
                Some(at) => (&flag[..at], Some(OsStr::from_bytes(&flag[at + 1..]).to_owned())),
                None => (flag, None),
            };
            let name = String::from_utf8_lossy(name).into_owned();
            let mut value =
                || inline.clone().or_else(|| rest.next()).ok_or(ArgsError::Value(name.clone()));
            match name.as_str() {
                "namespace" => args.namespace = text(value()?),
                "id" => args.id = text(value()?),
                "address" => args.address = value()?.into(),
                "publish-binary" => args.publish_binary = value()?.into(),
                "bundle" => args.bundle = value()?.into(),
                "debug" => args.debug = inline.is_none_or(|word| word != "false"),
                "v" | "version" => action = Some(Action::Version),
                "info" => action = Some(Action::Info),
                "h" | "help" => return Ok(None),
                _ => return Err(ArgsError::Flag(name)),
            }
        }
        let action = match (action, words.as_slice()) {
            (Some(action), _) => action,
            (None, [word]) if word == "start" => Action::Start,
            (None, [word]) if word == "delete" => Action::Delete,
            (None, words) => {
                let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
                return Err(ArgsError::Action(words.join(" ")));
            }
        };
        match action {
            Action::Version | Action::Info => {}
            // Where `start` finds no container here, standard input may name it.
            Action::Start if args.id.is_empty() && args.namespace.is_empty() => {}
            Action::Start => args.check_container("start")?,
            Action::Delete => args.check_container("delete")?,
        }
        Ok(Some((args, action)))
    }

    /// Whether they name a container that can be one.
    ///
    /// # Errors
    /// When a name is missing, or is none.
    pub fn check_container(&self, action: &'static str) -> Result<(), ArgsError> {
        for (flag, value) in [("namespace", &self.namespace), ("id", &self.id)] {
            if value.is_empty() {
                return Err(ArgsError::Missing { action, flag });
            }
            if !is_identifier(value) {
                return Err(ArgsError::Identifier { flag, value: value.clone() });
            }
        }
        Ok(())
    }
}

/// containerd's rule (pkg/identifiers): they become names of files.
fn is_identifier(word: &str) -> bool {
    word.len() <= 76
        && word
            .split(['.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn text(value: OsString) -> String {
    String::from_utf8_lossy(&value.into_vec()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<Option<(Args, Action)>, ArgsError> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn reads_what_containerd_writes() {
        let line = "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd \
                    -id 4f -bundle /run/b -debug delete";
        let (args, action) = parse(line).unwrap().unwrap();
        assert_eq!(action, Action::Delete);
        assert_eq!((args.namespace.as_str(), args.id.as_str(), args.debug), ("k8s.io", "4f", true));
        assert_eq!(args.bundle, PathBuf::from("/run/b"));
        assert_eq!(parse("-info").unwrap().unwrap().1, Action::Info);
        assert_eq!(parse("-v").unwrap().unwrap().1, Action::Version);
        assert!(!parse("--id=a --namespace=b -debug=false start").unwrap().unwrap().0.debug);
        assert_eq!(parse("-h"), Ok(None));
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(parse("-id"), Err(ArgsError::Value("id".into())));
        assert_eq!(parse("-nonsense"), Err(ArgsError::Flag("nonsense".into())));
        assert_eq!(parse(""), Err(ArgsError::Action(String::new())));
        assert_eq!(
            parse("-id a start"),
            Err(ArgsError::Missing { action: "start", flag: "namespace" })
        );
        for id in ["../x", "a/b", ".", "a..b", "-x", ""] {
            let arguments = ["-namespace", "n", "-id", id, "start"].map(OsString::from);
            assert!(Args::parse(arguments).is_err(), "{id}");
        }
    }

    proptest! {
        #[test]
        fn no_arguments_make_it_panic(words in proptest::collection::vec("-{0,2}[a-z=/]{0,9}", 0..8)) {
            let _ = Args::parse(words.into_iter().map(OsString::from));
        }
    }
}
