//! What `start` reads and answers, in every manner that containerd has had.
//!
//! | containerd | on stdin | the answer |
//! | --- | --- | --- |
//! | 1.6 | options or nothing | the bare address |
//! | 1.7 | options or nothing | the bare address, or JSON up to version 2 |
//! | 2.0–2.2 | options or nothing | the bare address, or JSON of version 2 or 3 |
//! | 2.3 | `BootstrapParams` | `BootstrapResult` |
//!
//! The inner shim's own answer is handed on with only the address replaced: it is right for
//! the daemon that the inner shim came with.

use std::env;

use self::options::{OptionsError, Own};
use crate::arguments::Args;
use crate::config;
use crate::messages::Any;
use crate::wire::{Value, WireError, fields, put_bytes};

pub use self::answer::{Answer, AnswerError};

/// What containerd wrote on the standard input of `start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Runtime options, or nothing.
    Options(Option<Any>),
    /// `containerd.runtime.bootstrap.v1.BootstrapParams`.
    Params(Vec<u8>),
}

mod answer;
pub mod legacy;
pub mod options;
mod record;

/// Numbers in `BootstrapParams` (containerd, `api/runtime/bootstrap/v1/bootstrap.proto`).
mod params {
    pub(super) const INSTANCE_ID: u32 = 1;
    pub(super) const NAMESPACE: u32 = 2;
    pub(super) const LOG_LEVEL: u32 = 3;
    pub(super) const TTRPC_ADDRESS: u32 = 5;
    pub(super) const GRPC_ADDRESS: u32 = 6;
    pub(super) const BINARY: u32 = 7;
    pub(super) const EXTENSIONS: u32 = 8;
    /// `LOG_LEVEL_DEBUG`: levels are slog's of Go, where less is more.
    pub(super) const DEBUG: i64 = -4;
}

impl Input {
    /// Reads it. `BootstrapParams` begins as `Any` does, with two strings; it is told by
    /// these being the container's id and namespace, as containerd's own shims tell it. Where
    /// the command line does not name the container, nothing else can.
    ///
    /// # Errors
    /// When it is neither.
    pub fn decode(bytes: Vec<u8>, namespace: &str, id: &str) -> Result<Self, WireError> {
        if bytes.is_empty() {
            return Ok(Self::Options(None));
        }
        let (mut first, mut second) = (&b""[..], &b""[..]);
        for field in fields(&bytes) {
            let field = field?;
            match field.number {
                params::INSTANCE_ID => first = field.bytes()?,
                params::NAMESPACE => second = field.bytes()?,
                _ => {}
            }
        }
        if id.is_empty() || first == id.as_bytes() && second == namespace.as_bytes() {
            return Ok(Self::Params(bytes));
        }
        Any::decode(&bytes).map(Some).map(Self::Options)
    }

    /// lacre's part of the options.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn own(&self) -> Result<Own, OptionsError> {
        match self {
            Self::Options(None) => Ok(Own::default()),
            Self::Options(Some(any)) => options::own(any),
            Self::Params(raw) => {
                for field in fields(raw) {
                    let field = field?;
                    if field.number == params::EXTENSIONS
                        && let Some(any) = extension(field.bytes()?)?
                        && any.type_name() == options::GENERIC
                    {
                        return options::own(&any);
                    }
                }
                Ok(Own::default())
            }
        }
    }

    /// The arguments, with what is said here in place of the command line: there upstream
    /// means to leave it out.
    ///
    /// # Errors
    /// When a field has another type than the protocol says.
    pub fn arguments(&self, args: &Args) -> Result<Args, WireError> {
        let mut args = args.clone();
        let Self::Params(raw) = self else { return Ok(args) };
        for field in fields(raw) {
            let field = field?;
            match (field.number, field.value) {
                (params::INSTANCE_ID, _) => args.id = field.text()?.to_owned(),
                (params::NAMESPACE, _) => args.namespace = field.text()?.to_owned(),
                (params::LOG_LEVEL, Value::Varint(level)) => {
                    args.debug |= level.cast_signed() <= params::DEBUG;
                }
                (params::GRPC_ADDRESS, _) if !field.bytes()?.is_empty() => {
                    args.address = field.text()?.into();
                }
                (params::BINARY, _) if !field.bytes()?.is_empty() => {
                    args.publish_binary = field.text()?.into();
                }
                _ => {}
            }
        }
        Ok(args)
    }

    /// Options that name no file, as a client may set for this task alone in place of the
    /// runtime's, which may.
    fn may_replace_the_runtimes(&self) -> Result<bool, OptionsError> {
        if self.own()?.config_path.is_some() {
            return Ok(false);
        }
        match self {
            Self::Options(given) => Ok(given.is_some()),
            Self::Params(raw) => {
                for field in fields(raw) {
                    let field = field?;
                    if field.number == params::EXTENSIONS
                        && let Some(any) = extension(field.bytes()?)?
                        && (options::are_runcs(&any) || any.type_name() == options::GENERIC)
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// lacre's part of the options; where a client's have taken their place, of those that
    /// the container's record keeps.
    ///
    /// # Errors
    /// When they are wrong, or when containerd does not say what the record keeps: which
    /// configuration holds is then not known, and none is guessed.
    pub fn own_or_recorded(&self, args: &Args) -> Result<Own, OptionsError> {
        // With a name of its own the configuration is chosen already (`config::locate`).
        if config::named(env::args_os().next().as_deref()).is_some()
            || !self.may_replace_the_runtimes()?
        {
            return self.own();
        }
        match record::runtime_options(args)? {
            Some(any) => options::own(&any),
            None => Ok(Own::default()),
        }
    }

    /// Where containerd takes events, when it says so here and not in the environment.
    #[must_use]
    pub fn ttrpc_address(&self) -> Option<String> {
        let Self::Params(raw) = self else { return None };
        fields(raw)
            .filter_map(Result::ok)
            .filter(|field| field.number == params::TTRPC_ADDRESS)
            .last()
            .and_then(|field| field.text().ok())
            .filter(|address| !address.is_empty())
            .map(str::to_owned)
    }

    /// What to write on the standard input of the inner shim.
    ///
    /// # Errors
    /// When the options are lacre's, and wrong.
    pub fn for_inner(&self, inner: &config::Inner) -> Result<Vec<u8>, OptionsError> {
        match self {
            Self::Options(given) => Ok(options::for_inner(given.as_ref(), inner)?
                .map_or_else(Vec::new, |any| any.encode())),
            Self::Params(raw) => {
                let mut out = Vec::with_capacity(raw.len());
                let mut replaced = false;
                for field in fields(raw) {
                    let field = field?;
                    let any = match field.number {
                        params::EXTENSIONS => extension(field.bytes()?)?,
                        _ => None,
                    };
                    match any {
                        Some(any)
                            if any.type_name() == options::GENERIC || options::are_runcs(&any) =>
                        {
                            put_extension(&mut out, options::for_inner(Some(&any), inner)?);
                            replaced = true;
                        }
                        _ => out.extend_from_slice(field.raw),
                    }
                }
                if !replaced {
                    put_extension(&mut out, options::for_inner(None, inner)?);
                }
                Ok(out)
            }
        }
    }
}

fn extension(raw: &[u8]) -> Result<Option<Any>, WireError> {
    Any::embedded(raw, 1)
}

fn put_extension(out: &mut Vec<u8>, any: Option<Any>) {
    if any.is_some() {
        let mut extension = Vec::new();
        options::put(&mut extension, 1, any.as_ref());
        put_bytes(out, params::EXTENSIONS, &extension);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RuncValue;
    use crate::wire::{put_text, put_uint};
    use proptest::prelude::*;

    fn bootstrap_params(extensions: &[Any]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&mut bytes, 1, "web");
        put_text(&mut bytes, 2, "k8s.io");
        put_text(&mut bytes, 5, "/run/c.ttrpc");
        for any in extensions {
            put_extension(&mut bytes, Some(any.clone()));
        }
        put_text(&mut bytes, 9, "/run/s");
        bytes
    }

    #[test]
    fn parameters_keep_all_but_our_options() {
        let mut value = Vec::new();
        put_text(&mut value, 2, "/etc/lacre/x.yaml");
        let ours = Any { type_url: options::GENERIC.into(), value };
        let other = Any { type_url: "other".into(), value: vec![7] };
        let input =
            Input::decode(bootstrap_params(&[other.clone(), ours]), "k8s.io", "web").unwrap();
        assert_eq!(input.own().unwrap().config_path, Some("/etc/lacre/x.yaml".into()));
        assert_eq!(input.ttrpc_address().as_deref(), Some("/run/c.ttrpc"));
        let out = input.for_inner(&config::Inner::default()).unwrap();
        assert_eq!(out, bootstrap_params(std::slice::from_ref(&other)));
        let inner = config::Inner {
            options: [("SystemdCgroup".to_owned(), RuncValue::Bool(true))].into(),
            ..Default::default()
        };
        let runc = Any { type_url: options::RUNC.into(), value: vec![9 << 3, 1] };
        assert_eq!(input.for_inner(&inner).unwrap(), bootstrap_params(&[other, runc]));
    }

    #[test]
    fn parameters_stand_in_for_the_command_line() {
        let mut bytes = bootstrap_params(&[]);
        put_uint(&mut bytes, 3, (-4_i64).cast_unsigned());
        put_text(&mut bytes, 6, "/run/c.sock");
        put_text(&mut bytes, 7, "/usr/bin/containerd");
        let input = Input::decode(bytes, "", "").unwrap();
        let read = input.arguments(&Args::default()).unwrap();
        let whole = Args {
            id: "web".into(),
            namespace: "k8s.io".into(),
            address: "/run/c.sock".into(),
            publish_binary: "/usr/bin/containerd".into(),
            debug: true,
            ..Args::default()
        };
        assert_eq!(read, whole);
        // What is not said there stands as it was; level 0 is info.
        let input = Input::decode(bootstrap_params(&[]), "k8s.io", "web").unwrap();
        let told = Args { debug: false, ..whole };
        assert_eq!(input.arguments(&told).unwrap(), told);
        let none = Input::Options(None);
        assert_eq!(none.arguments(&told).unwrap(), told);
    }

    #[test]
    fn a_clients_options_do_not_hide_the_runtimes() {
        let given = |type_url: &str| Any { type_url: type_url.into(), value: vec![8, 1] };
        let asks = |input: Input| input.may_replace_the_runtimes().unwrap();
        let (old, new) = ("containerd.linux.runc.CreateOptions", options::RUNC);
        for type_url in [old, new] {
            assert!(asks(Input::Options(Some(given(type_url)))), "{type_url}");
            let params = bootstrap_params(&[given(type_url)]);
            assert!(asks(Input::Params(params)), "{type_url}");
        }
        // A message of any type comes in their place, if the client likes.
        for type_url in ["io.containerd.runsc.v1.options", ""] {
            assert!(asks(Input::Options(Some(given(type_url)))), "{type_url}");
        }
        let unnamed = Any { value: vec![0x98, 6, 1], ..given(options::GENERIC) };
        assert!(asks(Input::Options(Some(unnamed.clone()))));
        assert!(asks(Input::Params(bootstrap_params(&[given(old), unnamed]))));
        // What names a file is what holds.
        let names = Any { value: b"\x12\x02/x".to_vec(), ..given(options::GENERIC) };
        assert!(!asks(Input::Options(Some(names.clone()))));
        assert!(!asks(Input::Params(bootstrap_params(&[given(old), names]))));
        assert!(!asks(Input::Options(None)));
        let other = given("containerd.some.extension");
        assert!(!asks(Input::Params(bootstrap_params(&[other]))));
    }

    #[test]
    fn options_are_not_taken_for_parameters() {
        let any = Any { type_url: options::RUNC.into(), value: b"\x48\x01".to_vec() };
        let input = Input::decode(any.encode(), "k8s.io", "web").unwrap();
        assert_eq!(input, Input::Options(Some(any.clone())));
        assert_eq!(input.for_inner(&config::Inner::default()).unwrap(), any.encode());
        assert_eq!(Input::decode(Vec::new(), "n", "i"), Ok(Input::Options(None)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(input) = Input::decode(bytes, "n", "i") {
                let _ = (input.own(), input.ttrpc_address(), input.may_replace_the_runtimes());
                let _ = input.arguments(&Args::default());
                let _ = input.for_inner(&config::Inner::default());
            }
        }
    }
}
