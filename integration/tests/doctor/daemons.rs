//! Where daemons run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lacre_integration::process::Process;
use lacre_integration::{Containerd, Dockerd, Version};
use nix::sys::signal::Signal;

use crate::{DOCTOR, Said, lacre};

/// The doctor where that daemon runs.
fn at(daemon: &Containerd) -> Result<Said> {
    Said::of(daemon.command(lacre()).args(DOCTOR))
}

/// Every file of a folder, its size and when it changed.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64, std::time::SystemTime)>> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, found) = (entry.path(), entry.metadata()?);
            if found.is_dir() {
                folders.push(path.clone());
            }
            all.push((path, found.len(), found.modified()?));
        }
    }
    all.sort();
    Ok(all)
}

#[test]
fn each_containerd_is_known_by_its_own_configuration() -> Result<()> {
    for version in Version::ALL {
        let daemon = Containerd::builder(version).cri().start()?;
        daemon.check(|daemon| {
            let folder = daemon.node().folder().to_owned();
            let said = at(daemon)?;
            let found = &said.json["facts"]["daemons"]["seen"][0];
            let told = found["version"]["seen"].as_str().unwrap_or_default();
            ensure!(told.contains(version.name()), "{found:#}");
            ensure!(found["config"] == folder.join("config.toml").display().to_string());
            let handlers = found["settings"]["seen"]["handlers"].as_array();
            let handlers: Vec<_> =
                handlers.into_iter().flatten().filter_map(|it| it["name"].as_str()).collect();
            ensure!(handlers == ["lacre", "runc"], "{found:#}");
            said.has("ok", "pods: the handler lacre is lacre")?;
            said.has("ok", "it finds lacre's shim")?;
            // The one that containerd's environment names, and no other.
            let configs = said.json["facts"]["configs"]["seen"].as_array().map_or(0, Vec::len);
            ensure!(configs == 1, "{:#}", said.json["facts"]["configs"]);
            said.has("ok", "lacre/config.yaml (LACRE_CONFIG")?;
            Ok(())
        })?;
    }
    Ok(())
}

/// What an operator may write into containerd's configuration, and what comes of it.
#[test]
fn what_is_wrong_in_containerds_configuration() -> Result<()> {
    for version in [Version::V1_7, Version::V2_1] {
        let daemon = Containerd::builder(version).cri().start()?;
        daemon.check(|daemon| {
            let config = daemon.node().folder().join("config.toml");
            let text = fs::read_to_string(&config)?;
            let section = match version {
                Version::V2_1 => "io.containerd.cri.v1.runtime",
                _ => "io.containerd.grpc.v1.cri",
            };
            let runc = format!(
                "[plugins.\"{section}\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
            );
            fs::write(&config, format!("{text}{runc}"))?;
            at(daemon)?.has("fault", "the handler runc has SystemdCgroup, and lacre has not")?;
            let own = daemon.node().folder().join("lacre/config.yaml");
            let before = fs::read_to_string(&own)?;
            fs::write(&own, format!("{before}inner: {{options: {{SystemdCgroup: true}}}}\n"))?;
            at(daemon)?.has("ok", "pods: the handler lacre is lacre")?;

            let import = daemon.node().folder().join("import.toml");
            let handler = format!(
                "version = {}\n[plugins.\"{section}\".containerd.runtimes.other]\n\
                 runtime_type = \"io.containerd.lacre.v1\"\n",
                if version == Version::V2_1 { 3 } else { 2 }
            );
            fs::write(&import, handler)?;
            let named = format!("imports = [{:?}]\n{text}", import.display().to_string());
            fs::write(&config, named)?;
            let said = at(daemon)?;
            let warned = said.states("has a CRI section, and this is containerd 1.x");
            match version {
                Version::V2_1 => {
                    ensure!(warned.is_empty());
                    said.has("ok", "pods: the handler other is lacre")?;
                }
                _ => ensure!(warned == ["warning"], "{:#}", said.json["facts"]["daemons"]),
            }

            fs::write(&config, "version = 2\nx = [\n")?;
            at(daemon)?.has("unseen", "its configuration: ")?;
            fs::write(&own, "mode: enforcee\nsources: auto\n")?;
            fs::write(&config, &text)?;
            let said = at(daemon)?;
            said.has("fault", "did you mean `enforce`")?;
            ensure!(said.code == 1);
            Ok(())
        })?;
    }
    Ok(())
}

/// A daemon that hangs costs its own line.
#[test]
fn a_daemon_that_hangs_is_told_of_and_not_waited_for() -> Result<()> {
    let daemon = Containerd::start(Version::V2_1)?;
    daemon.check(|daemon| {
        let pid = daemon.pid().context("it runs")?;
        let process = Process::by_pid(pid).context("it runs")?;
        process.signal(Signal::SIGSTOP);
        let begun = Instant::now();
        let said = Said::of(daemon.command(lacre()).args(DOCTOR).args(["--limit", "2"]));
        process.signal(Signal::SIGCONT);
        let said = said?;
        ensure!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        said.has("fault", &format!("containerd, process {pid}, does not answer"))?;
        // What hangs on it alone is not known; all else is.
        said.has("ok", "fanotify can be had")?;
        Ok(())
    })
}

#[test]
fn nothing_of_the_node_is_changed() -> Result<()> {
    let daemon = Containerd::builder(Version::V2_1).cri().start()?;
    daemon.check(|daemon| {
        let state = daemon.node().folder().join("lacre");
        let pins = daemon.node().view("/sys/fs/bpf");
        let run = daemon.node().view("/run/lacre");
        let look = || -> Result<_> {
            Ok((files(&state)?, files(&pins)?, run.exists(), daemon.snapshot()))
        };
        let before = look()?;
        at(daemon)?;
        let after = look()?;
        ensure!(before.0 == after.0, "{:?}, {:?}", before.0, after.0);
        ensure!(before.1 == after.1, "pinned: {:?}", after.1);
        ensure!(before.2 == after.2, "/run/lacre was made");
        ensure!(daemon.leaks_since(&before.3).is_empty());
        Ok(())
    })
}

#[test]
fn docker_is_known_with_its_runtimes() -> Result<()> {
    let docker = Dockerd::start()?;
    let socket = docker.socket();
    let daemon = docker.containerd();
    let said = Said::of(daemon.command(lacre()).args(DOCTOR).arg("--docker").arg(&socket))?;
    said.has("ok", &format!("at {}", socket.display()))?;
    said.has("note", "lacre is not its default runtime, which it knows")?;
    let none = Said::of(daemon.command(lacre()).args(DOCTOR).args(["--docker", "/nonexistent"]))?;
    none.has("note", "no dockerd at /nonexistent")?;
    // Unasked, it is looked for where it was told to listen.
    let found = at(daemon)?;
    found.has("ok", &format!("at {}", socket.display()))
}
