//! From the file's nodes to a configuration.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use lacre_policy::yaml::{self, Field, Node, Reader, Span, Value};
use lacre_policy::{Diagnostic, Errors};

use super::values::Armable;
use super::{Baseline, Config, Exemptions, Inner, Named, RuncValue, Server, Sources, Tls};
use crate::bootstrap::options::{RUNC_FIELDS, RuncKind};

/// `sun_path` is 108 bytes (unix(7)); a socket's name there takes 36, and a NUL.
const RUN_MAX: usize = 60;

const TOP: &[&str] = &[
    "mode", "policy", "server", "tls", "sources", "block", "fetch", "docker", "patience",
    "baseline", "inner", "exempt", "programs", "records", "state", "run",
];

pub(super) fn config(name: &str, text: &[u8]) -> Result<Config, Errors> {
    checked(name, text, |_, _| None).map(|(config, _)| config)
}

/// With a warning for all that is named there and that `look` has something to say of.
pub(super) fn checked(
    name: &str,
    text: &[u8],
    mut look: impl FnMut(Named, &Config) -> Option<(String, String)>,
) -> Result<(Config, Vec<Diagnostic>), Errors> {
    let (mut reader, root) = Reader::open_or_empty(name, text)?;
    let mut places = Places::new();
    let mut config = Config::default();
    let root = root.filter(|root| root.value != Value::Null);
    let fields = root.as_ref().and_then(|root| reader.fields(root, "the configuration", TOP));
    let (mut server, mut tls) = (None, None);
    for field in fields.unwrap_or_default() {
        let value = field.value;
        let place = match field.name {
            "policy" => Some(Named::Policy),
            "server" => Some(Named::Server),
            "programs" => Some(Named::Programs),
            _ => None,
        };
        places.extend(place.map(|named| (named, value.span)));
        match field.name {
            "mode" => set(&mut config.mode, reader.word(value, "a mode", &[])),
            "policy" => set(&mut config.policy, path(&mut reader, field)),
            "server" => {
                server = Some(value.span);
                config.server = self::server(&mut reader, value);
            }
            "tls" => {
                tls = Some(field.span);
                config.tls = self::tls(&mut reader, field, &mut places);
            }
            "sources" => set(&mut config.sources, sources(&mut reader, value)),
            "block" => set(&mut config.block, reader.word(value, "a `block`", &[])),
            "fetch" => set(&mut config.fetch, reader.switch(value)),
            "docker" => set(&mut config.docker, path(&mut reader, field)),
            "patience" => set(&mut config.patience, yaml::duration(&mut reader, value)),
            "baseline" => config.baseline = baseline(&mut reader, value),
            "inner" => config.inner = inner(&mut reader, value, &mut places),
            "exempt" => config.exempt = exempt(&mut reader, value),
            "programs" => set(&mut config.programs, path(&mut reader, field)),
            "records" => set(&mut config.records, path(&mut reader, field)),
            "state" => set(&mut config.state, path(&mut reader, field)),
            _ => set(&mut config.run, run(&mut reader, field)),
        }
    }
    match (&config.server, server, tls) {
        (Some(Server::Tls(_)), Some(span), None) => {
            reader
                .error(span, "a tls:// server needs certificates")
                .help("add `tls: {ca: FILE, cert: FILE, key: FILE}`");
        }
        (Some(Server::Unix(_)), _, Some(span)) | (None, None, Some(span)) => {
            reader
                .error(span, "`tls` is given, but `server` is not tls://HOST:PORT")
                .help("leave `tls` out, or name the server that it is for");
        }
        _ => {}
    }
    if !reader.has_errors() {
        for (named, span) in places {
            if let Some((what, help)) = look(named, &config) {
                reader.warn(span, what).help(help);
            }
        }
    }
    reader.finish().map(|warnings| (config, warnings))
}

/// Where the file names things that must be had elsewhere.
type Places = Vec<(Named, Span)>;

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn path(reader: &mut Reader<'_>, field: Field<'_>) -> Option<PathBuf> {
    let text = reader.text(field.value, "a path")?;
    if text.starts_with('/') && !text.contains('\0') {
        return Some(text.into());
    }
    reader
        .error(field.value.span, format!("`{}` must be an absolute path", field.name))
        .expected("expected a path that begins with /");
    None
}

fn run(reader: &mut Reader<'_>, field: Field<'_>) -> Option<PathBuf> {
    let run = path(reader, field)?;
    if run.as_os_str().as_bytes().len() > RUN_MAX {
        reader
            .error(field.value.span, format!("`run` has more than {RUN_MAX} bytes"))
            .help("the names of sockets are limited; /run/lacre is the default");
        return None;
    }
    Some(run)
}

fn server(reader: &mut Reader<'_>, node: &Node) -> Option<Server> {
    let text = reader.text(node, "unix:///PATH or tls://HOST:PORT")?;
    let server = Server::of(text);
    if server.is_none() {
        reader
            .error(node.span, "this is not a policy server")
            .expected("expected unix:///PATH or tls://HOST:PORT");
    }
    server
}

fn tls(reader: &mut Reader<'_>, field: Field<'_>, places: &mut Places) -> Option<Tls> {
    let (mut ca, mut cert, mut key) = (None, None, None);
    let fields = reader.fields(field.value, "`tls`", &["ca", "cert", "key"])?;
    let complete = fields.len() == 3;
    for field in fields {
        let (slot, named) = match field.name {
            "ca" => (&mut ca, Named::Ca),
            "cert" => (&mut cert, Named::Cert),
            _ => (&mut key, Named::Key),
        };
        places.push((named, field.value.span));
        *slot = path(reader, field);
    }
    if !complete {
        reader.error(field.span, "`tls` needs all three of ca, cert and key");
    }
    Some(Tls { ca: ca?, cert: cert?, key: key? })
}

fn sources(reader: &mut Reader<'_>, node: &Node) -> Option<Sources> {
    let list = match &node.value {
        Value::Scalar(word) if word == "auto" => return Some(Sources::Auto),
        Value::Scalar(word) => {
            let shown = lacre_types::escape(word.as_bytes());
            let error = reader.error(node.span, format!("`{shown}` is not `auto`"));
            if word.parse::<Armable>().is_ok() {
                error.help(format!("one source is a list of one: [{word}]"));
            }
            return None;
        }
        Value::List(list) => list,
        _ => {
            reader.wrong(node, "`auto` or a list of sources");
            return None;
        }
    };
    if list.is_empty() {
        reader.error(node.span, "the list of sources is empty").help("`auto` takes the best");
    }
    let mut sources = Vec::with_capacity(list.len());
    for node in list {
        let source: Option<Armable> = reader.word(node, "a source", &[]);
        let source = source.map(|Armable(source)| source);
        sources.extend(source.filter(|source| !sources.contains(source)));
    }
    Some(Sources::Only(sources))
}

fn baseline(reader: &mut Reader<'_>, node: &Node) -> Baseline {
    let mut baseline = Baseline::default();
    for field in reader.fields(node, "`baseline`", &["wait"]).unwrap_or_default() {
        set(&mut baseline.wait, yaml::duration(reader, field.value));
    }
    baseline
}

fn inner(reader: &mut Reader<'_>, node: &Node, places: &mut Places) -> Inner {
    let mut inner = Inner::default();
    let mut options: Option<Span> = None;
    for field in reader.fields(node, "`inner`", &["shim", "options", "config"]).unwrap_or_default()
    {
        match field.name {
            "shim" => {
                places.push((Named::InnerShim, field.value.span));
                set(&mut inner.shim, shim(reader, field.value));
            }
            "options" => {
                options = Some(field.span);
                inner.options = runc_options(reader, field.value);
            }
            _ => {
                places.push((Named::InnerConfig, field.value.span));
                inner.config = path(reader, field);
            }
        }
    }
    if let (Some(span), Some(_)) = (options, &inner.config) {
        reader
            .error(span, "`inner` has both `options`, which are runc's, and `config`")
            .help("`config` is for a shim other than runc's; leave one of them out");
    }
    inner
}

fn shim(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let shim = reader.text(node, "a runtime's name, or a shim's path")?;
    if !shim.starts_with('/')
        && let Err(error) = crate::inner::program::binary_name(shim)
    {
        reader.error(node.span, error.to_string());
        return None;
    }
    Some(shim.to_owned())
}

fn runc_options(reader: &mut Reader<'_>, node: &Node) -> BTreeMap<String, RuncValue> {
    let names = RUNC_FIELDS.map(|(name, ..)| name);
    let mut options = BTreeMap::new();
    for field in reader.fields(node, "runc's options", &names).unwrap_or_default() {
        let kind = RUNC_FIELDS.iter().find(|(name, ..)| *name == field.name).map(|known| known.2);
        let value = match kind {
            Some(RuncKind::Bool) => reader.switch(field.value).map(RuncValue::Bool),
            Some(RuncKind::Number) => number(reader, field.value).map(RuncValue::Number),
            _ => reader.text(field.value, "a text").map(|text| RuncValue::Text(text.to_owned())),
        };
        options.extend(value.map(|value| (field.name.to_owned(), value)));
    }
    options
}

fn number(reader: &mut Reader<'_>, node: &Node) -> Option<u32> {
    let number = reader.text(node, "a number")?.parse().ok();
    if number.is_none() {
        reader.error(node.span, "this is not a number").expected("expected 0 to 4294967295");
    }
    number
}

fn exempt(reader: &mut Reader<'_>, node: &Node) -> Exemptions {
    let mut exempt = Exemptions::default();
    for field in reader.fields(node, "`exempt`", &["namespaces"]).unwrap_or_default() {
        let Value::List(list) = &field.value.value else {
            reader.wrong(field.value, "a list of namespaces");
            continue;
        };
        let names = list.iter().filter_map(|node| reader.text(node, "a namespace"));
        exempt.namespaces = names.map(str::to_owned).collect();
    }
    exempt
}
