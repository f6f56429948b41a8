//! `lacre ps`, `status` and `show`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::paths::binaries;
use lacre_integration::process::Process;
use lacre_integration::{Runtime, Version};
use nix::sys::signal::Signal;

use crate::field::{Field, SOON};

#[test]
fn what_is_guarded_and_what_is_not_is_listed() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("pauses")?;
    field.start("denies")?;
    field.daemon.spawn(Runtime::Runc, &busybox_image()?, "plain", &["sleep", "1000"])?;
    field.daemon.violate("denies")?;
    let row = wait_for("the violation", SOON, || {
        Ok(Some(field.row("denies")?).filter(|row| row["violations"] != 0))
    })?;
    ensure!(row["mode"] == "enforce" && row["state"][0] == "running", "{row}");
    ensure!(row["imageName"] == busybox_image()?.name(), "{row}");
    ensure!(row["baseline"].as_str().is_some_and(|it| it.starts_with("content sha256:")), "{row}");
    ensure!(row["sources"].as_array().is_some_and(|all| !all.is_empty()), "{row}");
    let policy = &row["policy"];
    ensure!(policy["version"].as_str().is_some_and(|it| it.starts_with("sha256:")), "{row}");
    ensure!(policy["server"].is_null() && policy["file"].is_string(), "{row}");

    let (all, code) = field.ps(&[])?;
    let others = all["notGuarded"].as_array().context("a list")?;
    let plain = others.iter().find(|it| it["id"] == "plain").context("plain is listed")?;
    ensure!(plain["state"] == "running" && plain["runtime"] == "io.containerd.runc.v2", "{plain}");
    ensure!(others.iter().all(|it| it["id"] != "pauses" && it["id"] != "denies"), "{all}");
    ensure!(code == 0, "{all}");
    let socket = field.daemon.socket().display().to_string();
    let text = field.say(&["ps", "--address", &socket])?.ok()?;
    let line = text
        .lines()
        .position(|line| line.trim_start().starts_with("NOT GUARDED"))
        .context("the others")?;
    ensure!(text.lines().skip(line).any(|line| line.contains(" plain ")), "{text}");

    let full = std::fs::File::options().write(true).open("/dev/full")?;
    for arguments in [&["ps"][..], &["ps", "--json"], &["status"], &["show", "denies"]] {
        let mut command = field.lacre(arguments);
        let said = command.stdout(full.try_clone()?).stderr(Stdio::piped()).spawn()?;
        let said = said.wait_with_output()?;
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(
            said.status.code() == Some(2) && told.contains("No space"),
            "{arguments:?}: {told}"
        );
    }

    let status = field.say(&["status", "--address", &socket])?;
    ensure!(status.code == 0, "{status:?}");
    ensure!(status.stdout.lines().count() == 10, "{status:?}");
    for word in ["2 guarded, 0 exempt, 1 not guarded", "has all guards (2)", "nothing", "enforce"] {
        ensure!(status.stdout.contains(word), "{word}: {status:?}");
    }
    // Whoever it is that is paused, more than one begins so.
    field.start("denies-2")?;
    let ambiguous = field.say(&["show", "den"])?;
    ensure!(ambiguous.code == 64 && ambiguous.stderr.contains("denies-2"), "{ambiguous:?}");
    let whole = field.say(&["show", "denies", "--json"])?.ok()?;
    let whole: serde_json::Value = serde_json::from_str(&whole)?;
    ensure!(whole["told"]["rules"]["kinds"].is_array(), "{whole}");
    ensure!(whole["records"][0]["kind"] == "ENTRY_NOT_FOUND", "{whole}");
    field.daemon.remove("denies-2")?;
    field.daemon.remove("denies")?;
    let gone = field.say(&["show", "denies"])?.ok()?;
    ensure!(gone.contains("no guard of this node has it any more"), "{gone}");
    field.ends_well()
}

#[test]
fn a_hung_containerd_is_told_and_not_waited_for() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("denies")?;
    let daemon = field.daemon.pid().and_then(Process::by_pid).context("the daemon")?;
    daemon.signal(Signal::SIGSTOP);
    let start = Instant::now();
    let (all, code) = field.ps(&["--timeout", "1"])?;
    let took = start.elapsed();
    let status = field.say(&["status", "--timeout", "1"])?;
    daemon.signal(Signal::SIGCONT);
    ensure!(took < Duration::from_secs(20), "{took:?}");
    ensure!(code == 2 && all["guarded"][0]["id"] == "denies", "{all}");
    let unknown = all["unknown"][0].as_str().context("what is not known")?;
    ensure!(unknown.contains("answer") && unknown.contains(" 1s"), "{unknown}");
    ensure!(status.code == 2 && status.stdout.contains("at least 0 not guarded"), "{status:?}");
    field.ends_well()
}

/// A guard that hangs is told, and what is written down of its container is shown.
#[test]
fn a_hung_guard_is_told_by_what_is_written_down() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("denies")?;
    let guard = field.daemon.node().processes().into_iter();
    let mut guards = guard
        .filter(|it| it.name().contains("shim-lacre") && it.arguments.iter().any(|a| a == "serve"));
    let guard = guards.next().context("a guard")?;
    guard.signal(Signal::SIGSTOP);
    let (all, code) = field.ps(&["--timeout", "0.5"])?;
    guard.signal(Signal::SIGCONT);
    let row = &all["guarded"][0];
    ensure!(code == 2 && row["guard"] == "silent" && row["mode"] == "enforce", "{all}");
    ensure!(
        row["violations"].is_null() && row["sources"].as_array().is_some_and(|it| !it.is_empty()),
        "{row}"
    );
    field.await_state("denies", "running")?;
    field.ends_well()
}

#[test]
fn a_look_follows_a_look_and_each_is_one_object() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("denies")?;
    let mut command = field.lacre(&["ps", "--json", "--follow", "--interval", "1"]);
    let out = tempfile::NamedTempFile::new()?;
    let mut child = command.stdout(out.reopen()?).spawn()?;
    let looks = wait_for("two looks", SOON, || {
        let text = std::fs::read_to_string(out.path())?;
        Ok((text.lines().count() >= 2).then_some(text))
    });
    child.kill()?;
    child.wait()?;
    for line in looks?.lines().take(2) {
        let look: serde_json::Value = serde_json::from_str(line)?;
        ensure!(look["guarded"][0]["id"] == "denies", "{look}");
    }
    // On a terminal of 40 columns, no line is longer.
    let ps = field.lacre(&["ps", "--follow", "--interval", "1"]);
    let words: Vec<String> = ps.get_args().map(|it| it.to_string_lossy().into_owned()).collect();
    let shell = format!("stty cols 40 rows 12; timeout 3 nsenter {}", words.join(" "));
    let seen =
        Output::of(std::process::Command::new("script").args(["-qec", &shell, "/dev/null"]))?;
    let plain = seen.stdout.replace("\u{1b}[H", "").replace("\u{1b}[K", "").replace("\u{1b}[J", "");
    ensure!(plain.contains("NAMESPACE"), "{seen:?}");
    ensure!(plain.lines().all(|line| line.trim_end().len() <= 40), "{plain:?}");
    field.ends_well()
}

/// The policy server, as the node's guards reach it.
#[test]
fn the_policy_server_is_told_and_so_is_that_it_has_gone() -> Result<()> {
    let field = Field::with("server: unix:///run/lacre/policyd.sock\n")?;
    let folder = field.daemon.node().folder().to_owned();
    std::fs::create_dir_all(folder.join("run/lacre"))?;
    std::fs::write(folder.join("server.yaml"), "Actions: {INVALID_HASH: {Default: KILL}}\n")?;
    let mut server = field.daemon.node().command(binaries().join("lacre-policyd"));
    server.args(["--listen", "unix:///run/lacre/policyd.sock", "--policy"]);
    server.arg(folder.join("server.yaml")).arg("--state").arg(folder.join("policyd"));
    let mut server =
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let told = (|| {
        field.start("denies")?;
        let row = wait_for("the server's policy", SOON, || {
            Ok(Some(field.row("denies")?).filter(|row| row["policy"]["server"].is_string()))
        })?;
        let version = row["policy"]["server"].as_str().unwrap_or_default().to_owned();
        ensure!(version.starts_with("sha256:") && row["policy"]["version"] != *version, "{row}");
        let status = field.say(&["status"])?.stdout;
        ensure!(status.contains("policyd.sock, reached since"), "{status}");
        ensure!(status.contains(&format!("1 by server {}", &version[..19])), "{status}");
        Ok(())
    })();
    server.kill()?;
    server.wait()?;
    told?;
    let status = wait_for("its end being told", SOON, || {
        let status = field.say(&["status"])?;
        Ok(status.stdout.contains("not reached by 1 of 1 guards since").then_some(status))
    })?;
    ensure!(status.code != 0 && status.stdout.contains("is not reached: "), "{status:?}");
    std::fs::remove_file(folder.join("run/lacre/policyd.sock"))?;
    field.ends_well()
}
