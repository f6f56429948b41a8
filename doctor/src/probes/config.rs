//! lacre's own configuration, and what it names.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_policy::{Policy, yaml};
use lacre_shim::config::{Config, ConfigError, RuncValue, STANDARD_PATH, Sources, named};
use lacre_shim::inner::program::{RUNC, binary_name, find};
use lacre_shim::node::program_list::{Checked, Programs};
use lacre_types::{chain, escape};

use super::limit::{Probe, SLACK, is_forbidden};
use super::processes::{self, Process};
use super::{kernel, policy_server};
use crate::facts::{
    ConfigFile, Daemon, Disk, Inner, PolicyFile, Program, Seen, Server, Wanted, Watchdog,
};

/// Each file that a container may come to have, by `locate` of the shim: those that handlers,
/// the shims' names and the daemons' environments name, and the standard one.
pub(super) fn all(
    only: Option<PathBuf>,
    daemons: &[Daemon],
    limit: Duration,
) -> Seen<Vec<ConfigFile>> {
    let mut files: Vec<(PathBuf, String, bool)> = Vec::new();
    let mut add = |path: PathBuf, by: String, required: bool| {
        if !files.iter().any(|(known, ..)| *known == path) {
            files.push((path, by, required));
        }
    };
    match only {
        Some(path) => add(path, "--config".to_owned(), true),
        None => {
            for daemon in daemons {
                name_all(daemon, &mut add);
            }
            if daemons.is_empty() || daemons.iter().any(|daemon| daemon.lacre_config.is_none()) {
                add(STANDARD_PATH.into(), "by default".to_owned(), false);
            }
        }
    }
    let start = |file| {
        let daemon = daemons.first().cloned();
        Probe::start("lacre's configuration", move || look(file, daemon.as_ref(), limit))
    };
    let probes: Vec<_> = files.into_iter().map(start).collect();
    let mut all = Vec::new();
    for probe in probes {
        match probe.wait(limit.saturating_mul(2) + SLACK) {
            Seen::Seen(config) => all.push(config),
            Seen::Unseen(why) => return Seen::Unseen(why),
        }
    }
    Seen::Seen(all)
}

fn name_all(daemon: &Daemon, add: &mut impl FnMut(PathBuf, String, bool)) {
    if let Some(path) = &daemon.lacre_config {
        add(path.clone(), "LACRE_CONFIG in containerd's environment".to_owned(), true);
    }
    let handlers = daemon.settings.known().map(|settings| &settings.handlers[..]);
    for handler in handlers.unwrap_or_default().iter().filter(|handler| handler.is_lacre()) {
        let program = match &handler.path {
            Some(path) => Some(path.clone()),
            None => binary_name(&handler.runtime).ok().map(PathBuf::from),
        };
        let by_name = named(program.as_deref().map(Path::as_os_str));
        if let Some(path) = handler.config.clone().or(by_name) {
            add(path, format!("the handler {}", escape(handler.name.as_bytes())), true);
        }
    }
    // Links beside the shim, which any client may name.
    let folder = daemon.shim.known().and_then(|shim| shim.as_ref()?.parent());
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten();
    for name in entries.flatten().map(|entry| entry.file_name()) {
        if let Some(path) = named(Some(&name)) {
            add(path, format!("the shim {}", escape(name.as_encoded_bytes())), true);
        }
    }
}

/// dockerd's socket: where one that runs was told to listen, else as the first configuration has it.
pub(super) fn docker(configs: &Seen<Vec<ConfigFile>>) -> PathBuf {
    let told = |process: &Process| {
        let host = process.option(&["--host", "-H"])?;
        Some(PathBuf::from(host.to_str()?.strip_prefix("unix://")?))
    };
    let first = configs.known().and_then(|all| all.first());
    let running = processes::named("dockerd").iter().find_map(told);
    running
        .or_else(|| first.map(|config| config.docker.clone()))
        .unwrap_or_else(|| Config::default().docker)
}

fn look(
    (path, named_by, required): (PathBuf, String, bool),
    daemon: Option<&Daemon>,
    limit: Duration,
) -> ConfigFile {
    let read = Config::load(&path, required);
    let why = match &read {
        Ok(_) => Seen::Seen(Ok(())),
        Err(error @ ConfigError::Read { source, .. }) if is_forbidden(source) => {
            Seen::Unseen(chain(error).to_string())
        }
        Err(error) => Seen::Seen(Err(chain(error).to_string())),
    };
    let config = read.unwrap_or_default();
    let (server, tls) = (config.server.clone(), config.tls.clone());
    let asked = server.as_ref().map(|server| {
        let address = policy_server::address(server);
        let (server, tls) = (server.clone(), tls.clone());
        let look = move || policy_server::look(&server, tls.as_ref(), limit);
        (address, Probe::start("the policy server", look))
    });
    let only = match &config.sources {
        Sources::Auto => None,
        Sources::Only(list) => Some(list.clone()),
    };
    let systemd = config.inner.options.get("SystemdCgroup");
    let (policy, inner) = (policy(&config), inner(&config, daemon));
    let (disks, watchdog) = (disks(&config), watchdog(&config.run));
    let server = asked.map(|(address, probe)| match probe.wait(limit.saturating_mul(2)) {
        Seen::Seen(server) => server,
        Seen::Unseen(why) => {
            Server { address, answer: Seen::Seen(Err(why)), error: None, tls: None }
        }
    });
    ConfigFile {
        is_there: path.exists(),
        path,
        named_by,
        required,
        read: why,
        mode: config.mode,
        wanted: Wanted { only, fetch: config.fetch },
        systemd_cgroup: systemd == Some(&RuncValue::Bool(true)),
        policy,
        server,
        inner,
        disks,
        watchdog,
        docker: config.docker,
    }
}

/// What can be read of a policy file, as the shim would.
pub(super) fn policy(config: &Config) -> PolicyFile {
    let path = config.policy.clone();
    let (rules, warnings) = match read(&path) {
        Ok(text) => match Policy::parse(&path.to_string_lossy(), &text) {
            Ok((policy, warnings)) => (Seen::Seen(Ok(Some(policy.rules()))), warnings.len()),
            Err(errors) => (Seen::Seen(Err(errors.to_string())), 0),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Seen::Seen(Ok(None)), 0),
        Err(error) => {
            let why = format!("{}: {error}", path.display());
            (if is_forbidden(&error) { Seen::Unseen(why) } else { Seen::Seen(Err(why)) }, 0)
        }
    };
    PolicyFile { is_standard: path == Config::default().policy, path, rules, warnings }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The inner shim, by this process's own `PATH`.
///
/// # Errors
/// Why it can't be found.
pub(super) fn shim_of(config: &Config) -> Result<PathBuf, String> {
    inner(config, None).shim.place
}

fn inner(config: &Config, daemon: Option<&Daemon>) -> Inner {
    let own = env::var_os("PATH");
    let path = daemon.and_then(|daemon| daemon.search_path.as_deref()).or(own.as_deref());
    let beside = daemon.map_or(Path::new("/usr/bin/containerd"), |daemon| &daemon.program);
    // What is known of files is kept by shims; here it is kept nowhere.
    let named = config.programs != Config::default().programs;
    let listed = Programs::new(&config.programs, named, Path::new("/proc/self/nowhere"));
    let told =
        |checked: Result<Checked, lacre_shim::node::program_list::UnlistedError>| match checked {
            Ok(Checked::Listed) => Some(Ok(())),
            Ok(Checked::NotChecked) => None,
            Err(error) => Some(Err(chain(&error).to_string())),
        };
    let place = find(&config.inner.shim, path, beside).and_then(|place| match runs(&place) {
        true => Ok(place),
        false => Err(lacre_shim::inner::program::InnerError::Run {
            program: place,
            source: io::ErrorKind::NotFound.into(),
        }),
    });
    let place = place.map_err(|error| chain(&error).to_string());
    let shim_listed = place.as_ref().ok().and_then(|place| told(listed.check(place)));
    let shim = Program { name: config.inner.shim.clone(), place, listed: shim_listed };
    let runtime = (config.inner.shim == RUNC).then(|| {
        let name = match config.inner.options.get("BinaryName") {
            Some(RuncValue::Text(name)) if !name.is_empty() => name.as_str(),
            _ => "runc",
        };
        let place = search(path, name).ok_or_else(|| "it is not on containerd's PATH".to_owned());
        let runtime_listed = place.as_ref().ok().and_then(|place| told(listed.check(place)));
        Program { name: name.to_owned(), place, listed: runtime_listed }
    });
    Inner { shim, runtime }
}

fn runs(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    program.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn search(path: Option<&OsStr>, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|program| runs(program));
    }
    let folders = path.into_iter().flat_map(env::split_paths);
    folders.map(|folder| folder.join(name)).find(|program| runs(program))
}

fn disks(config: &Config) -> Vec<Disk> {
    let records = config.records.parent().unwrap_or(Path::new("/"));
    let all = [
        ("records", records),
        ("baselines, the spool, the last policy", &config.state),
        ("sockets and charters", &config.run),
    ];
    let of = |(what, path): (&'static str, &Path)| match kernel::disk(path) {
        Ok((path, size, free, read_only)) => {
            Disk { what, path, space: Seen::Seen((size, free)), read_only }
        }
        Err(error) => {
            let space = Seen::Unseen(error.to_string());
            Disk { what, path: path.to_owned(), space, read_only: false }
        }
    };
    all.into_iter().map(of).collect()
}

/// The watchdog's unit, and where systemd has units.
const UNIT: &str = "lacre-watchdog.service";
const UNITS: [&str; 3] =
    ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

fn watchdog(run: &Path) -> Watchdog {
    let socket = run.join("watchdog");
    // Not by a connection, which it would take for a guard's.
    let listens = match fs::read_to_string("/proc/net/unix") {
        Ok(sockets) => Seen::Seen(is_heard(&sockets, &socket)),
        Err(error) => Seen::Unseen(format!("/proc/net/unix: {error}")),
    };
    let unit = UNITS.iter().map(|folder| Path::new(folder).join(UNIT)).find(|unit| unit.exists());
    Watchdog { socket, listens, unit }
}

/// Whether one of the kernel's list of sockets listens there (`__SO_ACCEPTCON`, proc(5)).
fn is_heard(sockets: &str, at: &Path) -> bool {
    sockets.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.nth(3) == Some("00010000") && words.nth(3).is_some_and(|path| Path::new(path) == at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    000000006a: 00000002 00000000 00010000 0005 01 2112 /run/lacre/watchdog\n\
                    000000006b: 00000003 00000000 00000000 0005 03 2113 /run/other/watchdog\n";
        assert!(is_heard(list, Path::new("/run/lacre/watchdog")));
        assert!(!is_heard(list, Path::new("/run/other/watchdog")), "it is a connection");
        assert!(!is_heard(list, Path::new("/run")));
    }

    #[test]
    fn a_policy_is_read_as_the_shim_does() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { policy: dir.path().join("policy.yaml"), ..Config::default() };
        assert_eq!(policy(&config).rules, Seen::Seen(Ok(None)));
        fs::write(&config.policy, "Actions: {FILELESS: {Default: STOP}}\n").unwrap();
        assert!(matches!(policy(&config).rules, Seen::Seen(Ok(Some(_)))));
        fs::write(&config.policy, "Actions: {FILELESS: {Default: STOPP}}\n").unwrap();
        assert!(matches!(policy(&config).rules, Seen::Seen(Err(why)) if why.contains("STOP")));
    }
}
