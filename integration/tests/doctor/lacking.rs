//! Where something is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::output::wait_for;
use lacre_integration::paths::binaries;
use lacre_integration::process::Process;
use lacre_integration::{Node, Output};
use nix::sys::signal::Signal;

use crate::{DOCTOR, Said, lacre};

/// A node with no daemon, and what may be done to it before the doctor comes.
pub(crate) struct Bare {
    pub(crate) node: Node,
    pub(crate) config: PathBuf,
}

impl Bare {
    pub(crate) fn new(config: &str) -> Result<Self> {
        let node = Node::start()?;
        let path = node.folder().join("config.yaml");
        fs::write(&path, config)?;
        Ok(Self { node, config: path })
    }

    fn doctor(&self, words: &[&str]) -> Command {
        let (first, rest) = words.split_first().unwrap_or((&"env", &[]));
        let mut command = self.node.command(first);
        command.args(rest).arg(lacre()).args(DOCTOR).arg("--config").arg(&self.config);
        command
    }

    /// As that command runs it.
    pub(crate) fn by(&self, words: &[&str]) -> Result<Said> {
        Said::of(&mut self.doctor(words))
    }

    /// With something bound over a path, in a mount namespace of its own.
    fn over(&self, path: &str, text: Option<&str>) -> Result<Said> {
        let with = self.node.folder().join("instead");
        match text {
            Some(text) => fs::write(&with, text)?,
            None => fs::create_dir_all(&with)?,
        }
        let mount = format!("mount --bind {} {path} && exec \"$@\"", with.display());
        self.by(&["unshare", "--mount", "sh", "-c", &mount, "sh"])
    }
}

#[test]
fn a_capability_that_is_gone_shows_in_facts_and_forecast() -> Result<()> {
    let bare = Bare::new("mode: enforce\n")?;
    let whole = bare.by(&[])?;
    ensure!(whole.offer("fanotify") == "given", "{:#}", whole.json["facts"]["offers"]);
    ensure!(whole.offer("execTrace") == "given");
    ensure!(whole.fate("program", "enforce") == ["DENY"]);
    ensure!(whole.fate("memfd", "enforce") == ["KILL"]);
    ensure!(whole.fate("library", "enforceAll") == ["DENY"]);

    // BPF and perf events ask for it only where there is no other that is enough.
    let less = bare.by(&["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"])?;
    ensure!(less.offer("fanotify")["missing"].is_string(), "{:#}", less.json["facts"]["offers"]);
    ensure!(less.offer("execTrace") == "given", "{:#}", less.json["facts"]["offers"]);
    less.has("warning", "fanotify needs CAP_SYS_ADMIN")?;
    ensure!(less.fate("program", "enforce") == ["KILL"], "{:?}", less.fate("program", "enforce"));
    ensure!(less.fate("script", "enforceAll") == ["KILL", "REPORT"]);
    ensure!(less.code == 1);

    let none = bare.by(&["setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon"])?;
    ensure!(none.offer("execTrace")["missing"].is_string());
    none.has("fault", "nothing of `auto` can be had")?;
    ensure!(none.fate("program", "enforce") == ["no start"]);
    ensure!(none.fate("program", "audit") == ["MISS"]);
    Ok(())
}

#[test]
fn a_hook_that_is_gone_shows_in_facts_and_forecast() -> Result<()> {
    // Without its types no program on a tracepoint can be loaded.
    let bare = Bare::new("mode: enforce\n")?;
    let less = bare.over("/sys/kernel/btf", None)?;
    ensure!(less.json["facts"]["kernel"]["seen"]["btf"] == false);
    ensure!(less.offer("execTrace")["missing"].is_string(), "{:#}", less.json["facts"]["offers"]);
    less.has("warning", "no BTF")?;
    ensure!(less.fate("program", "enforce") == ["DENY"]);
    ensure!(less.fate("memfd", "enforce") == ["MISS"]);
    ensure!(less.fate("library", "enforce") == ["MISS"]);
    ensure!(less.fate("library", "enforceAll") == ["DENY"]);

    let named = Bare::new("mode: enforce\nsources: [exec-trace, fanotify]\n")?;
    let less = named.over("/sys/kernel/btf", None)?;
    less.has("fault", "names exec-trace, which can't be had here")?;
    ensure!(less.fate("program", "enforce") == ["no start"]);
    // By what its configuration asks for.
    let without = Bare::new("mode: enforce\nfetch: false\n")?.by(&[])?;
    ensure!(without.fate("library", "enforce") == ["MISS"]);
    ensure!(without.fate("memfd", "enforce") == ["KILL"]);
    Ok(())
}

#[test]
fn a_limit_of_the_kernel_shows_in_facts() -> Result<()> {
    let bare = Bare::new("mode: audit\n")?;
    let less = bare.over("/proc/sys/fs/fanotify/max_user_groups", Some("1\n"))?;
    ensure!(less.json["facts"]["fanotify"]["seen"]["groups"] == 1);
    less.has("warning", "fs.fanotify.max_user_groups is 1")?;
    let shared = bare.by(&["setpriv", "--bounding-set", "-setuid"])?;
    ensure!(shared.json["facts"]["fanotify"]["seen"]["otherUsers"] == false);
    shared.has("warning", "groups can't be made under other users")
}

#[test]
fn in_a_user_namespace_of_ones_own_nothing_can_be_guarded() -> Result<()> {
    let bare = Bare::new("mode: enforce\n")?;
    let less = bare.by(&["unshare", "--user", "--map-root-user"])?;
    less.has("fault", "this is a user namespace of its own")?;
    ensure!(less.fate("program", "enforce") == ["no start"], "{:#}", less.json["facts"]["offers"]);
    Ok(())
}

/// Who is not root is told what is known, and what was not looked at.
#[test]
fn without_root_it_says_what_it_could_not_see() -> Result<()> {
    let bare = Bare::new("mode: audit\n")?;
    let copy = bare.node.folder().join("lacre");
    fs::copy(lacre(), &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let mut command = bare.node.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(copy);
    let said = Said::of(command.args(DOCTOR).arg("--config").arg(&bare.config))?;
    said.has("unseen", "not root")?;
    said.has("unseen", "fanotify: only root can try")?;
    said.has("unseen", "which containerd runs here only root may see")?;
    ensure!(said.code == 1 || said.code == 2, "{}", said.code);
    // What nobody saw is not promised.
    ensure!(said.fate("program", "enforce") == ["unknown"]);
    Ok(())
}

/// A policy server that ends with its test.
pub(crate) struct PolicyServer(pub(crate) Child);

impl Drop for PolicyServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_policy_server_is_asked() -> Result<()> {
    let bare = Bare::new("")?;
    let folder = bare.node.folder();
    let (socket, policy) = (folder.join("policyd.sock"), folder.join("policy.yaml"));
    fs::write(&policy, "Actions: {}\n")?;
    let address = format!("unix://{}", socket.display());
    fs::write(&bare.config, format!("server: {address}\npolicy: {}\n", policy.display()))?;
    let gone = bare.by(&[])?;
    gone.has("fault", &format!("{address} can't be reached"))?;

    let mut server = Command::new(binaries().join("lacre-policyd"));
    server.arg("--policy").arg(&policy).arg("--listen").arg(&address);
    server.arg("--state").arg(folder.join("policyd")).stdout(Stdio::null()).stderr(Stdio::null());
    let server = PolicyServer(server.spawn()?);
    wait_for("the server", Duration::from_secs(30), || Ok(socket.exists().then_some(())))?;
    let there = bare.by(&[])?;
    there.has("ok", &format!("{address} answers: policy sha256:"))?;
    // It waits for nobody that hangs.
    let hung = Process::by_pid(i32::try_from(server.0.id())?).context("it runs")?;
    hung.signal(Signal::SIGSTOP);
    let said = Said::of(bare.doctor(&[]).args(["--limit", "1"]));
    hung.signal(Signal::SIGCONT);
    said?.has("fault", &format!("{address} can't be reached"))
}

/// A file that hangs costs its own lines.
#[test]
fn a_file_that_hangs_is_not_waited_for() -> Result<()> {
    let bare = Bare::new("")?;
    let fifo = bare.node.folder().join("policy.yaml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR)?;
    fs::write(&bare.config, format!("policy: {}\n", fifo.display()))?;
    let said = Said::of(bare.doctor(&[]).args(["--limit", "1"]))?;
    said.has("unseen", "looking at lacre's configuration did not end within")?;
    said.has("ok", "fanotify can be had")
}

/// For people: the same, in lines.
#[test]
fn people_are_told_in_lines() -> Result<()> {
    let bare = Bare::new("mode: enforce\n")?;
    let mut command = bare.node.command(lacre());
    let said = Output::of(command.arg("doctor").arg("--config").arg(&bare.config))?;
    for words in [
        "kernel\n  ok       Linux ",
        "\nsources\n  ok       fanotify can be had\n",
        "watched by: fanotify, exec-trace (libraries too)\n",
        "a foreign or changed program",
        "DENY does not run",
    ] {
        ensure!(said.stdout.contains(words), "no {words:?} in {}", said.stdout);
    }
    let json = bare.by(&[])?;
    ensure!(json.code == said.code, "{} and {}", json.code, said.code);
    for finding in json.findings() {
        let first = finding["is"].as_str().and_then(|is| is.lines().next()).unwrap_or_default();
        ensure!(said.stdout.contains(first), "no {first:?} in {}", said.stdout);
    }
    Ok(())
}
