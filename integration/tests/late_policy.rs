//! A container whose mode tightens while it runs: the policy server, which says enforce, was
//! away when it started in audit mode. What is the image's own is never touched, whatever it
//! does at that moment; what is not and runs meets the policy's action; and no more of it
//! starts.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lacre_integration::image::{Image, Layer};
use lacre_integration::images::debian_image;
use lacre_integration::output::wait_for;
use lacre_integration::paths::{binaries, cached};
use lacre_integration::process::{Process, alive};
use lacre_integration::{Containerd, Runtime, Version};

/// Longer than anything here takes, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Runs for ever, by programs of the image alone.
const HONEST: &str = "#!/bin/sh\nwhile :; do sleep 0.05; done\n";

/// What the image's own does at that moment. Each has a word among its arguments that tells
/// it from others.
const HONEST_SCRIPT: &str = "\
chown 1 /usr/bin/sleep /usr/bin/tac
sleep 7001 &
tail -n7002 -f /dev/null & tail=$!
perl -e 'sleep 100000' 7003 &
/opt/honest.sh 7004 &
sh /opt/honest.sh 7005 &
python3 -c 'import time; time.sleep(100000)' 7006 &
";

/// What did not come with the image and runs at that moment: each by a path of its own, since
/// equal ones that are told together are one record.
const FOREIGN_SCRIPT: &str = "\
mkdir /tmp/own; cp /opt/busybox /tmp/own/busybox
/tmp/own/busybox sleep 7101 &
cp /usr/lib/x86_64-linux-gnu/libdl.so.2 /tmp/own/foreign.so
LD_PRELOAD=/tmp/own/foreign.so perl -e 'sleep 100000' 7102 &
cp /opt/honest.sh /tmp/own/foreign.sh; echo 'true' >>/tmp/own/foreign.sh
sh /tmp/own/foreign.sh 7103 &
cp /tmp/own/foreign.sh /tmp/own/begun.sh; /tmp/own/begun.sh 7104 &
echo 'import time; time.sleep(100000)' >/tmp/own/foreign.py
python3 /tmp/own/foreign.py 7105 &
mkdir /tmp/own/gone /tmp/own/entered /tmp/own/tried
for to in gone entered tried; do cp /opt/busybox /tmp/own/$to; done
/tmp/own/gone/busybox sleep 7106 &
";

/// Then it tries what did not come with the image, again and again, and runs a program of the
/// image that was changed before the flip and is first run after it.
const LOOP: &str = "\
until [ -e /proc/$tail/cwd ] && [ -e /tmp/go ]; do sleep 0.05; done
rm /usr/bin/tail /tmp/own/gone/busybox
n=0; while :; do
  n=$((n+1)); echo $n >/tmp/n.new; mv /tmp/n.new /tmp/tried
  /tmp/own/tried/busybox touch /tmp/ran
  if [ -e /tmp/late ]; then tac /etc/passwd >/tmp/tac.new && mv /tmp/tac.new /tmp/tac; fi
  /bin/true
done
";

const INNOCENT: [&str; 7] = ["7001", "-n7002", "7003", "7004", "7005", "7006", "7007"];
const STRANGERS: [&str; 7] = ["7101", "7102", "7103", "7104", "7105", "7106", "7107"];

/// The policy server of this node, until it is dropped.
struct Policyd(Child, PathBuf);

impl Policyd {
    fn start(daemon: &Containerd, policy: &str) -> Result<Self> {
        let folder = daemon.node().folder();
        fs::write(folder.join("policy.yaml"), policy)?;
        fs::create_dir_all(folder.join("run/lacre"))?;
        let mut command = daemon.node().command(binaries().join("lacre-policyd"));
        command.args(["--listen", "unix:///run/lacre/policyd.sock"]);
        command.arg("--policy").arg(folder.join("policy.yaml"));
        command.arg("--state").arg(folder.join("policyd"));
        let log = fs::File::create(folder.join("policyd.log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self(child, folder.join("run/lacre/policyd.sock")))
    }
}

impl Drop for Policyd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(&self.1);
    }
}

struct Late {
    daemon: Containerd,
    init: i32,
}

impl Late {
    fn start(version: Version) -> Result<Self> {
        let lacre = "mode: audit\nserver: unix:///run/lacre/policyd.sock\n";
        let daemon = Containerd::builder(version).lacre(lacre).start()?;
        let image = image()?;
        daemon.import(&image)?;
        let script = format!("{HONEST_SCRIPT}{FOREIGN_SCRIPT}{LOOP}");
        daemon.spawn(Runtime::Lacre, &image, "late", &["bash", "-c", &script])?;
        let init = daemon.task_pid("late")?.context("it runs")?;
        let late = Self { daemon, init };
        late.enters("innocent", &["sleep", "7007"])?;
        wait_for("a copy", SOON, || Ok(late.tmp("own/tried/busybox").exists().then_some(())))?;
        late.enters("stranger", &["/tmp/own/entered/busybox", "sleep", "7107"])?;
        Ok(late)
    }

    fn tmp(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/tmp/{name}", self.init))
    }

    /// From outside, as `exec` does.
    fn enters(&self, name: &str, what: &[&str]) -> Result<()> {
        let how = ["tasks", "exec", "--detach", "--exec-id", name, "late"];
        self.daemon.ctr(&[&how[..], what].concat())?.ok()?;
        Ok(())
    }

    /// The process of the container with that word among its arguments, once it has begun what
    /// it is there for: by what it has mapped or opened.
    fn who(&self, word: &str) -> Result<i32> {
        wait_for(word, SOON, || {
            let all = self.daemon.node().processes().into_iter();
            let mut inside = all.filter(|process: &Process| process.cgroups().contains("/late"));
            let is_it = |process: &Process| process.arguments.iter().any(|of| of == word);
            Ok(inside.find(|process| is_it(process) && process.pid != self.init).map(|it| it.pid))
        })
    }

    fn tried(&self) -> u64 {
        let text = fs::read_to_string(self.tmp("tried")).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }

    fn tries_more(&self, times: u64) -> Result<()> {
        let before = self.tried();
        wait_for("tries", SOON, || {
            ensure!(alive(self.init), "the container's first process was killed");
            Ok((self.tried() >= before + times).then_some(()))
        })
    }

    /// What is on record as of enforce mode.
    fn enforced(&self) -> Result<Vec<serde_json::Value>> {
        let all = self.daemon.records()?.into_iter();
        Ok(all.filter(|record| record["mode"] == "enforce").collect())
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        let _ = self.daemon.forget_client_fifos();
    }
}

fn image() -> Result<Image> {
    let layer = Layer::new().dir("opt", 0o755).file("opt/honest.sh", 0o755, HONEST).copy(
        "opt/busybox",
        0o755,
        cached("tools/bin/busybox")?,
    );
    Ok(debian_image()?.named("lacre.test/late:1").layer(layer))
}

fn tightens(version: Version) -> Result<()> {
    let late = Late::start(version)?;
    let innocent: Result<Vec<_>> = INNOCENT.iter().map(|word| late.who(word)).collect();
    let innocent = innocent.with_context(|| late.daemon.printed("late"))?;
    let strangers: Result<Vec<_>> = STRANGERS.iter().map(|word| late.who(word)).collect();
    let strangers = strangers.with_context(|| late.daemon.printed("late"))?;
    fs::write(late.tmp("go"), "").context("telling it to go on")?;
    late.tries_more(30)?;
    assert!(late.tmp("ran").exists(), "audit stops nobody");

    let policy = "Mode: enforce\nActions: {ENTRY_NOT_FOUND: {Default: DENY}}\n";
    let _policyd = Policyd::start(&late.daemon, policy)?;
    wait_for("the strangers' end", SOON, || {
        Ok((!strangers.iter().any(|pid| alive(*pid))).then_some(()))
    })
    .with_context(|| {
        let left = STRANGERS.iter().zip(&strangers).filter(|(_, pid)| alive(**pid));
        format!("{:?}", left.collect::<Vec<_>>())
    })?;
    fs::write(late.tmp("late"), "").context("telling it that it is late")?;
    // One that began before may be ending.
    late.tries_more(2)?;
    fs::remove_file(late.tmp("ran")).context("what ran in audit mode")?;
    late.tries_more(30)?;
    assert!(!late.tmp("ran").exists(), "what did not come with the image has run");
    let tac = fs::metadata(late.tmp("tac"));
    assert!(tac.is_ok_and(|file| file.len() > 0), "{}", late.daemon.printed("late"));

    for (word, pid) in INNOCENT.iter().zip(&innocent) {
        let mut of = late.enforced()?;
        of.retain(|record| record["pid"] == *pid);
        assert!(alive(*pid) && of.is_empty(), "{word}: {}", serde_json::json!(of));
    }
    for (word, pid) in STRANGERS.iter().zip(&strangers) {
        wait_for(format!("the record of {word}"), SOON, || {
            let all = late.enforced()?;
            let mut of = all.iter().filter(|record| record["pid"] == *pid);
            Ok(of.any(|record| record["outcome"] == "killed").then_some(()))
        })?;
    }
    let all = late.enforced()?;
    let armed = |record: &&serde_json::Value| {
        ["exec-trace", "fanotify"].contains(&record["source"].as_str().unwrap_or_default())
    };
    let of_none: Vec<_> = all.iter().filter(|record| !armed(record)).collect();
    ensure!(of_none.is_empty(), "told by a source that is not armed: {of_none:#?}");
    assert!(all.iter().any(|record| record["outcome"] == "denied"), "{all:?}");
    for record in &all {
        let path = record["path"].as_str().unwrap_or_default();
        let foreign = path.starts_with("/tmp/own/")
            || strangers.iter().any(|stranger| record["pid"] == *stranger);
        if !foreign || record["outcome"] == "ran" {
            bail!("nobody is to answer for this: {record}");
        }
    }
    late.daemon.remove("late")?;
    late.daemon.forget_client_fifos()
}

#[test]
fn a_policy_for_enforce_that_comes_late_spares_the_images_own_under_2_1() -> Result<()> {
    tightens(Version::V2_1)
}

#[test]
fn a_policy_for_enforce_that_comes_late_spares_the_images_own_under_1_6() -> Result<()> {
    tightens(Version::V1_6)
}
