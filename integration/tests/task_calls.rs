//! Calls on a task in an order, or with options, that no client of today makes.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lacre_integration::grpc::{
    self, Any, CreateTask, Empty, ExecProcess, Mounts, Process, Snapshot,
};
use lacre_integration::images::busybox_image;
use lacre_integration::output::wait_for;
use lacre_integration::{Containerd, Runtime, Version};

const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// containerd's own API, of which `ctr` makes two calls at a time.
struct Client(grpc::Client);

impl Client {
    fn connect(daemon: &Containerd) -> Result<Self> {
        grpc::Client::connect(&daemon.socket(), daemon.namespace()).map(Self)
    }

    /// A task that is not started.
    fn create(&mut self, id: &str, options: Option<Any>) -> Result<()> {
        let snapshot = Snapshot {
            snapshotter: "overlayfs".to_owned(),
            key: id.to_owned(),
            parent: String::new(),
        };
        let Mounts { mounts: rootfs } = self.0.call("snapshots.v1.Snapshots/Mounts", snapshot)?;
        let create = CreateTask { container: id.to_owned(), rootfs, options };
        self.0.call::<_, Empty>("tasks.v1.Tasks/Create", create).map(drop)
    }

    fn exec(&mut self, id: &str, exec: &str, script: &str) -> Result<()> {
        let spec = serde_json::json!({"args": ["/bin/sh", "-c", script], "cwd": "/",
            "user": {"uid": 0, "gid": 0}});
        let type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
        let spec = Some(Any { type_url, value: serde_json::to_vec(&spec)? });
        let exec = ExecProcess { container: id.to_owned(), spec, exec: exec.to_owned() };
        self.0.call::<_, Empty>("tasks.v1.Tasks/Exec", exec).map(drop)
    }

    fn start(&mut self, id: &str, exec: &str) -> Result<()> {
        let process = Process { container: id.to_owned(), exec: exec.to_owned() };
        self.0.call::<_, Empty>("tasks.v1.Tasks/Start", process).map(drop)
    }
}

fn container(daemon: &Containerd, options: &[&str], id: &str) -> Result<()> {
    let image = busybox_image()?;
    let create = ["containers", "create", "--runtime", Runtime::Lacre.name()];
    let arguments = [image.name(), id, "/bin/sleep", "1000"];
    daemon.ctr(&[&create[..], options, &arguments].concat())?.ok().map(drop)
}

fn refusal(outcome: Result<()>) -> Result<String> {
    Ok(format!("{:#}", outcome.err().context("it was not refused")?))
}

/// What keeps a container from being started keeps every process of it from that: an exec may
/// come before the start.
fn an_exec_before_the_start_is_no_way_round(version: Version) -> Result<()> {
    let daemon = Containerd::builder(version).lacre("mode: enforce\n").start()?;
    daemon.import(&busybox_image()?)?;
    daemon.check(|daemon| {
        let mut client = Client::connect(daemon)?;
        // Where its socket is to be.
        let watchdog = daemon.node().folder().join("run/lacre/watchdog");
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&watchdog)?;
        container(daemon, &[], "alone")?;
        client.create("alone", None)?;
        client.exec("alone", "first", "sleep 1000")?;
        let refused = refusal(client.start("alone", "first"))?;
        ensure!(refused.contains("there is no watchdog"), "{refused}");
        daemon.remove("alone")?;
        fs::remove_dir(&watchdog)?;

        container(daemon, &[], "well")?;
        client.create("well", None)?;
        client.exec("well", "first", "sleep 1000")?;
        client.start("well", "first")?;
        client.start("well", "")?;
        daemon.remove("well")?;

        container(daemon, &[], "edited")?;
        client.create("edited", None)?;
        let bundle = format!("state/io.containerd.runtime.v2.task/{}/edited", daemon.namespace());
        let spec = daemon.node().folder().join(bundle).join("config.json");
        fs::write(&spec, fs::read_to_string(&spec)? + "\n")?;
        client.exec("edited", "first", "sleep 1000")?;
        let refused = refusal(client.start("edited", "first"))?;
        ensure!(refused.contains("is not what it was"), "{refused}");
        daemon.remove("edited")?;

        Ok(())
    })
}

#[test]
fn an_exec_before_the_start_is_no_way_round_under_1_6() -> Result<()> {
    an_exec_before_the_start_is_no_way_round(Version::V1_6)
}

#[test]
fn an_exec_before_the_start_is_no_way_round_under_2_1() -> Result<()> {
    an_exec_before_the_start_is_no_way_round(Version::V2_1)
}

/// A client may send, as a task's options, a message that names no file, and containerd sends
/// that in place of the runtime's.
fn no_message_takes_the_place_of_the_configuration(version: Version) -> Result<()> {
    let daemon = Containerd::builder(version).lacre("mode: audit\n").start()?;
    daemon.import(&busybox_image()?)?;
    let folder = daemon.node().folder().to_owned();
    let strict = folder.join("lacre/strict.yaml");
    let loose = fs::read_to_string(folder.join("lacre/config.yaml"))?;
    fs::write(&strict, loose.replace("mode: audit", "mode: enforce"))?;
    daemon.check(|daemon| {
        let mut client = Client::connect(daemon)?;
        let path = strict.display().to_string();
        let generic = "runtimeoptions.v1.Options";
        // Nothing that is known; a type; options of runc.
        let values = [vec![0x98, 6, 1], b"\x0a\x01x".to_vec(), b"\x1a\x0cIoUid = 0\n\n\n".to_vec()];
        for (at, value) in values.into_iter().enumerate() {
            let id = format!("options-{at}");
            container(daemon, &["--runtime-config-path", &path], &id)?;
            let options = Any { type_url: generic.to_owned(), value };
            match client.create(&id, Some(options)) {
                Ok(()) => ensure!(mode_of(&folder, &id)? == "enforce", "{id} lost its mode"),
                // containerd 2 takes none but runc's.
                Err(refused) => ensure!(version == Version::V2_1, "{id}: {refused:#}"),
            }
            daemon.remove(&id)?;
        }
        Ok(())
    })
}

/// In which mode a container is guarded, by its charter.
fn mode_of(folder: &Path, id: &str) -> Result<String> {
    for entry in fs::read_dir(folder.join("run/lacre/containers"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let charter: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
        if charter["head"]["id"] == id {
            return charter["body"]["mode"].as_str().map(str::to_owned).context("a mode");
        }
    }
    anyhow::bail!("{id} has no charter")
}

#[test]
fn no_message_takes_the_place_of_the_configuration_under_1_6() -> Result<()> {
    no_message_takes_the_place_of_the_configuration(Version::V1_6)
}

#[test]
fn no_message_takes_the_place_of_the_configuration_under_1_7() -> Result<()> {
    no_message_takes_the_place_of_the_configuration(Version::V1_7)
}

#[test]
fn no_message_takes_the_place_of_the_configuration_under_2_1() -> Result<()> {
    no_message_takes_the_place_of_the_configuration(Version::V2_1)
}

/// A source that can't follow who enters by exec does not see what that runs: it says so.
#[test]
fn an_exec_that_can_not_be_followed_is_told() -> Result<()> {
    use lacre_integration::fault::{Victim, find};
    let settings = "mode: audit\nsources: [exec-map]\n";
    let daemon = Containerd::builder(Version::V2_1).lacre(settings).start()?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    daemon.check(|daemon| {
        daemon.spawn(Runtime::Lacre, &image, "full", &["sleep", "1000"])?;
        daemon.exec("full", &["true"])?.ok()?;
        let guard = find(daemon, Victim::Lacre, "full").context("a guard")?.pid;
        let limit = |files: u32| {
            let mut limit = std::process::Command::new("prlimit");
            limit.arg(format!("--pid={guard}")).arg(format!("--nofile={files}:"));
            lacre_integration::output::Output::of(&mut limit)?.ok()
        };
        limit(3)?;
        let mut client = Client::connect(daemon)?;
        client.exec("full", "unseen", "sleep 1000")?;
        client.start("full", "unseen")?;
        limit(1024)?;
        let records = daemon.node().folder().join("lacre/violations.jsonl");
        wait_for("a record", SOON, || {
            let text = fs::read_to_string(&records).unwrap_or_default();
            let told = |line: &&str| line.contains("SOURCE_LOST") && line.contains("not followed");
            Ok(text.lines().find(told).map(drop))
        })?;
        daemon.remove("full")
    })
}
