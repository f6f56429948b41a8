//! What a node lists of its programs: the inner shim and runc are compared with it when they are
//! started. Another one is told in audit mode, and runs nothing in enforce.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
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
            // It is the node's word that counts, and an upgrade is one more line.
            field.list()?;
            field.run()?.ok()?;
        }
        fs::remove_file(field.shim.with_file_name("list"))?;
        ensure!(field.run()?.code != 0, "a list that is named is there");
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
