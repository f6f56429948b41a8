//! Each containerd of the node: what it is, and how it is set up.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lacre_containerd::Client;
use lacre_types::{chain, escape};
use toml::{Table, Value};

use super::limit::{Probe, SLACK, output};
use super::processes::{self, Process};
use crate::facts::{Daemon, Handler, Seen, Settings};

/// Where containerd looks for its configuration unless it is told.
const CONFIG: &str = "/etc/containerd/config.toml";
const SHIM: &str = "containerd-shim-lacre-v1";
/// The CRI plugin's section, before 2.0 and since.
const CRI: [&str; 2] = ["io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"];
/// The most of an imported file that is read.
const FILE: u64 = 4 << 20;

/// Those that run, or the one that is installed where none does.
pub(super) fn all(limit: Duration) -> Seen<Vec<Daemon>> {
    let probes: Vec<_> = processes::named("containerd")
        .into_iter()
        // Its other commands have the same name.
        .filter(|process| process.arguments.get(1).is_none_or(|word| is_option(word)))
        .map(|process| {
            let (pid, program) = (process.pid, process.program.clone());
            (pid, program, Probe::start("containerd", move || running(&process, limit)))
        })
        .collect();
    // Two of its looks have the limit, one after the other.
    let wait = |(pid, program, probe): (u32, PathBuf, Probe<Daemon>)| match probe
        .wait(limit.saturating_mul(2) + SLACK)
    {
        Seen::Seen(daemon) => daemon,
        Seen::Unseen(why) => hung(pid, program, &why),
    };
    let running: Vec<_> = probes.into_iter().map(wait).collect();
    if !running.is_empty() {
        return Seen::Seen(running);
    }
    if !rustix::process::geteuid().is_root() {
        return Seen::Unseen("which containerd runs here only root may see".to_owned());
    }
    let path = env::var_os("PATH");
    let found = search(path.as_deref(), "containerd");
    Seen::Seen(found.map(|program| installed(program, limit)).into_iter().collect())
}

fn hung(pid: u32, program: PathBuf, why: &str) -> Daemon {
    Daemon {
        pid: Some(pid),
        program,
        config: CONFIG.into(),
        socket: None,
        version: Seen::Unseen(why.to_owned()),
        settings: Seen::Unseen(why.to_owned()),
        shim: Seen::Unseen(why.to_owned()),
        lacre_config: None,
        search_path: None,
    }
}

fn is_option(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

fn running(process: &Process, limit: Duration) -> Daemon {
    let program = process.program.clone();
    let config = process.option(&["--config", "-c"]).unwrap_or_else(|| CONFIG.into());
    let dumped = dump(&program, &config, limit);
    let named = process.option(&["--address", "-a"]);
    let socket = named.or_else(|| dumped.as_ref().ok().and_then(socket));
    let version = match &socket {
        Some(socket) => ask(socket, limit),
        None => Seen::Unseen("its socket is not known".to_owned()),
    };
    let shim = Seen::Seen(shim(process.variable("PATH"), &program));
    let lacre_config = process.variable(lacre_shim::config::ENVIRONMENT);
    let lacre_config = lacre_config.filter(|path| !path.is_empty()).map(PathBuf::from);
    Daemon {
        pid: Some(process.pid),
        settings: dumped
            .as_ref()
            .map_or_else(|why| Seen::Unseen(why.clone()), |it| seen(it, &config)),
        program,
        config,
        socket,
        version,
        shim,
        lacre_config,
        search_path: process.variable("PATH").map(OsStr::to_owned),
    }
}

fn installed(program: PathBuf, limit: Duration) -> Daemon {
    let config = PathBuf::from(CONFIG);
    let version = output(Command::new(&program).arg("--version"), limit);
    let version = version.map(|text| escape(text.trim_ascii()));
    let dumped = dump(&program, &config, limit);
    Daemon {
        pid: None,
        socket: dumped.as_ref().ok().and_then(socket),
        settings: dumped
            .as_ref()
            .map_or_else(|why| Seen::Unseen(why.clone()), |it| seen(it, &config)),
        // As systemd's units have it, where nothing else is said.
        shim: Seen::Seen(shim(Some(OsStr::new(UNIT_PATH)), &program)),
        program,
        config,
        version: version.map_or_else(Seen::Unseen, Seen::Seen),
        lacre_config: None,
        search_path: Some(UNIT_PATH.into()),
    }
}

/// systemd.exec(5), `$PATH`.
const UNIT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn seen(dumped: &Table, config: &Path) -> Seen<Settings> {
    Seen::Seen(settings(dumped, config))
}

fn dump(program: &Path, config: &Path, limit: Duration) -> Result<Table, String> {
    if !processes::is_roots(program) {
        return Err(format!("{} is not root's alone, and is not run", program.display()));
    }
    let mut command = Command::new(program);
    // One that is not there is an error where it is named, and none where it is not.
    if config != Path::new(CONFIG) || config.exists() {
        command.arg("--config").arg(config);
    }
    let text = output(command.args(["config", "dump"]), limit)?;
    let text = String::from_utf8_lossy(&text);
    text.parse().map_err(|error: toml::de::Error| {
        format!("what `config dump` gives is no TOML: {}", escape(error.message().as_bytes()))
    })
}

fn socket(dumped: &Table) -> Option<PathBuf> {
    let grpc = dumped.get("grpc").and_then(Value::as_table);
    let since_2_3 = || plugin(dumped, "io.containerd.server.v1.grpc");
    let address = |table: &Table| table.get("address").and_then(Value::as_str).map(PathBuf::from);
    grpc.and_then(address).or_else(|| since_2_3().and_then(address))
}

fn plugin<'t>(dumped: &'t Table, name: &str) -> Option<&'t Table> {
    dumped.get("plugins")?.as_table()?.get(name)?.as_table()
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// What matters of a dump.
pub(super) fn settings(dumped: &Table, config: &Path) -> Settings {
    // Before 2.0 the main file is told among them.
    let imports = strings(dumped.get("imports")).map(PathBuf::from);
    let imports: Vec<_> = imports.filter(|path| path != config).collect();
    let has_cri = |path: &&PathBuf| {
        table(path).is_some_and(|table| CRI.iter().any(|name| plugin(&table, name).is_some()))
    };
    let sections = imports.iter().filter(has_cri).cloned();
    let replacing = if has_cri(&&config.to_owned()) { sections.collect() } else { Vec::new() };
    let disabled: Vec<_> = strings(dumped.get("disabled_plugins")).collect();
    // `cri` is short for either.
    let is_on = |name: &&&str| !disabled.iter().any(|off| off == *name || *off == "cri");
    let section = CRI.iter().filter(is_on).find_map(|name| plugin(dumped, name));
    let runtimes = section
        .and_then(|cri| cri.get("containerd")?.as_table()?.get("runtimes")?.as_table())
        .into_iter()
        .flatten();
    let handlers = runtimes.filter_map(|(name, value)| handler(name, value.as_table()?));
    Settings {
        version: dumped.get("version").and_then(Value::as_integer).unwrap_or(1),
        replacing,
        imports,
        cri: section.is_some(),
        handlers: handlers.collect(),
    }
}

fn handler(name: &str, table: &Table) -> Option<Handler> {
    let path = |table: &Table, key: &str| {
        let text = table.get(key).and_then(Value::as_str).unwrap_or_default();
        (!text.is_empty()).then(|| PathBuf::from(text))
    };
    let options = table.get("options").and_then(Value::as_table);
    let switch = |table: &Table| table.get("SystemdCgroup").and_then(Value::as_bool);
    Some(Handler {
        name: name.to_owned(),
        runtime: table.get("runtime_type")?.as_str()?.to_owned(),
        is_there: path(table, "runtime_path").is_none_or(|path| path.exists()),
        path: path(table, "runtime_path"),
        config: options.and_then(|options| path(options, "ConfigPath")),
        systemd_cgroup: options.and_then(switch).unwrap_or(false),
    })
}

fn table(path: &Path) -> Option<Table> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(FILE).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// Asks the daemon itself.
fn ask(socket: &Path, limit: Duration) -> Seen<String> {
    let client = Client::new(&socket.to_string_lossy(), "default").with_deadline(limit);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = match runtime {
        Ok(runtime) => {
            runtime.block_on(client.version()).map_err(|error| chain(&error).to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match asked {
        Ok(version) => Seen::Seen(escape(version.version.as_bytes())),
        Err(why) => Seen::Unseen(why),
    }
}

/// Where containerd would find lacre's shim: on its `PATH`, else beside itself.
fn shim(path: Option<&OsStr>, program: &Path) -> Option<PathBuf> {
    let beside = program.parent().map(|folder| folder.join(SHIM)).filter(|shim| runs(shim));
    search(path, SHIM).or(beside)
}

fn runs(program: &Path) -> bool {
    program.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn search(path: Option<&OsStr>, name: &str) -> Option<PathBuf> {
    let folders = path.into_iter().flat_map(env::split_paths);
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|it| runs(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        settings(&text.parse().unwrap(), Path::new("/nonexistent"))
    }

    #[test]
    fn both_generations_tell_their_handlers() {
        for (version, section) in [(2, CRI[1]), (3, CRI[0])] {
            let read = read(&format!(
                "version = {version}\n[plugins.'{section}'.containerd.runtimes.runc]\n\
                 runtime_type = 'io.containerd.runc.v2'\n\
                 [plugins.'{section}'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n\
                 [plugins.'{section}'.containerd.runtimes.seal]\n\
                 runtime_type = 'io.containerd.runc.v2'\n\
                 runtime_path = '/usr/local/bin/containerd-shim-lacre-audit-v1'\n\
                 [plugins.'{section}'.containerd.runtimes.lacre]\n\
                 runtime_type = 'io.containerd.lacre.v1'\n\
                 [plugins.'{section}'.containerd.runtimes.lacre.options]\n\
                 ConfigPath = '/etc/lacre/other.yaml'\n"
            ));
            assert_eq!((read.version, read.cri), (version, true));
            let lacre: Vec<_> =
                read.handlers.iter().filter(|it| it.is_lacre()).map(|it| &*it.name).collect();
            assert_eq!(lacre, ["lacre", "seal"], "{read:?}");
            let of = |name: &str| read.handlers.iter().find(|it| it.name == name).unwrap();
            assert!(of("runc").systemd_cgroup && !of("lacre").systemd_cgroup);
            assert_eq!(of("lacre").config.as_deref(), Some(Path::new("/etc/lacre/other.yaml")));
        }
    }

    #[test]
    fn a_plugin_that_is_off_has_no_handlers() {
        let text = "version = 2\ndisabled_plugins = ['cri']\n\
                    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.lacre]\n\
                    runtime_type = 'io.containerd.lacre.v1'\n";
        let read = read(text);
        assert!(!read.cri && read.handlers.is_empty(), "{read:?}");
    }

    #[test]
    fn an_import_that_replaces_the_main_files_section_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let [main, with, without] = ["main", "with", "without"].map(|name| dir.path().join(name));
        fs::write(&with, "[plugins.'io.containerd.grpc.v1.cri']\nx = 1\n").unwrap();
        fs::write(&without, "[debug]\nlevel = 'info'\n").unwrap();
        // As 1.7 tells them.
        let dump = format!("version = 2\nimports = [{main:?}, {with:?}, {without:?}, '/none']\n");
        let read = |text: &str| {
            fs::write(&main, text).unwrap();
            settings(&dump.parse().unwrap(), &main)
        };
        let replaced = read("[plugins.'io.containerd.grpc.v1.cri']\ny = 1\n");
        assert_eq!(replaced.imports, [with.clone(), without, "/none".into()]);
        assert_eq!(replaced.replacing, [with]);
        assert!(read("version = 2\n").replacing.is_empty(), "there is nothing to replace");
    }

    #[test]
    fn odd_shapes_are_passed_over() {
        for text in [
            "plugins = 1",
            "[plugins]\n'io.containerd.grpc.v1.cri' = 3",
            "imports = 'x'\ndisabled_plugins = 3\nversion = 'a'",
            "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]\nx = 1\ny = {}",
        ] {
            assert!(read(text).handlers.is_empty(), "{text}");
        }
    }
}
