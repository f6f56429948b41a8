//! What a node lists of its programs: the inner shim and runc are compared with it when they are
//! started. Another one is told in audit mode, and runs nothing in enforce.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use lacre_integration::grpc::{self, CreateTask, Empty, Mounts, Process, Snapshot};
use lacre_integration::images::busybox_image;
use lacre_integration::output::Output;
use lacre_integration::{Containerd, Runtime, Version};

/// A daemon whose inner shim and runc are copies of its own.
struct Field {
    daemon: Containerd,
    shim: PathBuf,
    runc: PathBuf,
    count: usize,
}

impl Field {
    fn new(version: Version, mode: &str) -> Result<Self> {
        let daemon = Containerd::builder(version).lacre(&format!("mode: {mode}\n")).start()?;
        daemon.import(&busybox_image()?)?;
        let folder = daemon.node().folder().to_owned();
        let copy = |name: &str| -> Result<PathBuf> {
            let mut command = daemon.command("sh");
            command.args(["-c", &format!("command -v {name}")]).stdin(Stdio::null());
            let found = Output::of(&mut command)?.ok()?;
            let to = folder.join("programs").join(name);
            fs::copy(found.trim(), &to).with_context(|| found.clone())?;
            Ok(to)
        };
        fs::create_dir(folder.join("programs"))?;
        let (shim, runc) = (copy("containerd-shim-runc-v2")?, copy("runc")?);
        let (list, config) = (folder.join("programs/list"), folder.join("lacre/config.yaml"));
        let inner = format!(
            "programs: {}\ninner: {{shim: {}, options: {{BinaryName: {}}}}}\n",
            list.display(),
            shim.display(),
            runc.display()
        );
        fs::write(&config, fs::read_to_string(&config)? + &inner)?;
        let field = Self { daemon, shim, runc, count: 0 };
        field.list()?;
        Ok(field)
    }

    fn list(&self) -> Result<()> {
        let mut command = self.daemon.command("sha256sum");
        command.arg(&self.shim).arg(&self.runc).stdin(Stdio::null());
        let said = Output::of(&mut command)?.ok()?;
        fs::write(self.shim.with_file_name("list"), said)?;
        Ok(())
    }

    fn run(&mut self) -> Result<Output> {
        self.count += 1;
        let id = format!("listed-{}", self.count);
        let ran = self.daemon.run(Runtime::Lacre, &busybox_image()?, &id, &["true"])?;
        if ran.code != 0 {
            // A client of 1.6 leaves it.
            let _ = self.daemon.ctr(&["containers", "rm", &id])?;
        }
        Ok(ran)
    }

    fn records(&self) -> Result<String> {
        Ok(fs::read_to_string(self.daemon.record_file()).unwrap_or_default())
    }
}

/// What runs on, runs on: the kernel writes to no program that is being executed.
fn add_a_byte(program: &Path) -> Result<()> {
    let new = program.with_extension("new");
    fs::copy(program, &new)?;
    OpenOptions::new().append(true).open(&new)?.write_all(b"\n")?;
    Ok(fs::rename(&new, program)?)
}

#[test]
fn another_runc_or_inner_shim_runs_nothing_in_enforce() -> Result<()> {
    for version in Version::ALL {
        let mut field = Field::new(version, "enforce")?;
        field.run()?.ok()?;
        for program in [field.runc.clone(), field.shim.clone()] {
            add_a_byte(&program)?;
            let ran = field.run()?;
            let said = format!("{}{}", ran.stdout, ran.stderr);
            ensure!(ran.code != 0, "{version:?}: it ran with another {}", program.display());
            ensure!(said.contains("is not what"), "{version:?}: {said}");
            let id = format!("listed-{}", field.count);
            let records = field.records()?;
            let its: Vec<&str> = records.lines().filter(|line| line.contains(&id)).collect();
            let told = r#""action":"DENY","outcome":"denied","rule":"the node's list of programs""#;
            let [one] = its[..] else { bail!("{version:?}: {its:?}") };
            ensure!(one.contains("LOG_TAMPERED") && one.contains(told), "{version:?}: {one}");
            // It is the node's word that counts, and an upgrade is one more line.
            field.list()?;
            field.run()?.ok()?;
        }
        fs::remove_file(field.shim.with_file_name("list"))?;
        ensure!(field.run()?.code != 0, "a list that is named is there");
    }
    Ok(())
}

/// containerd's own API, of which `ctr` makes two calls at a time.
struct Client(grpc::Client);

impl Client {
    fn create(&mut self, id: &str) -> Result<()> {
        let snapshot = Snapshot {
            snapshotter: "overlayfs".to_owned(),
            key: id.to_owned(),
            parent: String::new(),
        };
        let Mounts { mounts: rootfs } = self.0.call("snapshots.v1.Snapshots/Mounts", snapshot)?;
        let create = CreateTask { container: id.to_owned(), rootfs, options: None };
        self.0.call::<_, Empty>("tasks.v1.Tasks/Create", create).map(drop)
    }

    fn start(&mut self, id: &str) -> Result<()> {
        let process = Process { container: id.to_owned(), exec: String::new() };
        self.0.call::<_, Empty>("tasks.v1.Tasks/Start", process).map(drop)
    }
}

/// runc is run anew for each step of a container: what it is when that is created says nothing
/// of what starts it, or another process in it.
#[test]
fn another_runc_than_created_a_container_starts_nothing_in_it() -> Result<()> {
    let field = Field::new(Version::V2_1, "enforce")?;
    let daemon = &field.daemon;
    let mut client = Client(grpc::Client::connect(&daemon.socket(), daemon.namespace())?);
    let image = busybox_image()?;
    let create = ["containers", "create", "--runtime", Runtime::Lacre.name(), image.name()];
    for id in ["created", "started"] {
        daemon.ctr(&[&create[..], &[id, "/bin/sleep", "1000"]].concat())?.ok()?;
        client.create(id)?;
    }
    client.start("started")?;
    daemon.exec("started", &["true"])?.ok()?;
    let good = field.runc.with_extension("good");
    fs::copy(&field.runc, &good)?;
    add_a_byte(&field.runc)?;
    let refused = client.start("created").err().context("it was started by another runc")?;
    ensure!(format!("{refused:#}").contains("is not what"), "{refused:#}");
    let said = daemon.exec("started", &["true"])?;
    ensure!(said.code != 0 && said.stderr.contains("is not what"), "{said:?}");
    let told = format!("{} is not what", field.runc.display());
    ensure!(field.records()?.contains(&told), "{told}: {}", field.records()?);
    fs::rename(good, &field.runc)?;
    // Nothing is done to who was started by the one that is listed.
    let records = field.records()?;
    let told: Vec<_> = records.lines().filter(|line| line.contains("LOG_TAMPERED")).collect();
    ensure!(told.iter().all(|line| line.contains(r#""action":"DENY""#)), "{records}");
    daemon.await_status("started", Some("RUNNING"))?;
    daemon.exec("started", &["true"])?.ok()?;
    for id in ["created", "started"] {
        daemon.remove(id)?;
    }
    Ok(())
}

#[test]
fn another_runc_or_inner_shim_is_told_in_audit() -> Result<()> {
    let mut field = Field::new(Version::V2_1, "audit")?;
    field.run()?.ok()?;
    ensure!(!field.records()?.contains("LOG_TAMPERED"), "nothing is wrong yet");
    for program in [field.runc.clone(), field.shim.clone()] {
        add_a_byte(&program)?;
        field.run()?.ok()?;
        let told = format!("{} is not what", program.display());
        ensure!(field.records()?.contains(&told), "{told}: {}", field.records()?);
    }
    Ok(())
}
