//! ISOLATE on real network namespaces: each test is run again by itself in one of its own,
//! which plays the node.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use lacre_executor::{
    Container, Executor, IsolateError, Manager, Settings, isolate, isolated, restore, undo,
};
use lacre_integration::output::wait_for;
use lacre_integration::paths::cached;
use lacre_types::Action;

/// Runs the calling test in a network namespace of its own, and says whether this is there.
fn on_own_node(test: &str) -> bool {
    if std::env::var_os("LACRE_TEST_NODE").is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("LACRE_TEST_NODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{complained}");
    false
}

fn ip(line: &str) -> Result<String> {
    run(Command::new("ip").args(line.split(' ')))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {complained}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A process in a network namespace of its own: the container.
struct Inside(Child);

impl Inside {
    fn start() -> Result<Self> {
        let script = "ip link set lo up; echo ready; exec sleep 1000";
        let mut child = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut ready)?;
        Ok(Self(child))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid().to_string(), "--"]).arg(program);
        command
    }

    fn ip(&self, line: &str) -> Result<String> {
        run(self.command("ip").args(line.split(' ')))
    }

    fn busybox(&self) -> Command {
        self.command(cached("tools/bin/busybox").unwrap())
    }

    fn reaches(&self, address: &str) -> bool {
        let mut ping = self.busybox();
        ping.args(["ping", "-c", "1", "-W", "1", address]);
        run(&mut ping).is_ok()
    }

    /// The kernel tells of a carrier that is up, or back, up to a second later (linkwatch).
    fn reaches_soon(&self, address: &str) -> bool {
        (0..10).any(|_| self.reaches(address))
    }

    /// A veth as CNI's bridge and ptp plugins make it.
    fn connect(&self) -> Result<()> {
        let pid = self.pid();
        ip("link set lo up")?;
        ip(&format!("link add host0 type veth peer name eth0 netns {pid}"))?;
        ip("addr add 10.9.0.1/24 dev host0")?;
        ip("link set host0 up")?;
        self.ip("addr add 10.9.0.2/24 dev eth0")?;
        self.ip("link set eth0 up")?;
        self.ip("route add default via 10.9.0.1")?;
        Ok(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_veth_is_cut_on_the_node_and_comes_back() -> Result<()> {
    if !on_own_node("a_veth_is_cut_on_the_node_and_comes_back") {
        return Ok(());
    }
    let inside = Inside::start()?;
    inside.connect()?;
    assert!(inside.reaches_soon("10.9.0.1"));
    assert!(!isolated(inside.pid())?);

    // An established connection, to a server that echoes.
    let listener = TcpListener::bind("10.9.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    let mut client = inside
        .busybox()
        .args(["nc", "10.9.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let (mut server, _) = listener.accept()?;
    let mut stdin = client.stdin.take().unwrap();
    let heard = |server: &mut TcpStream, limit| {
        server.set_read_timeout(Some(Duration::from_millis(limit)))?;
        anyhow::Ok(server.read(&mut [0; 64]).is_ok_and(|count| count > 0))
    };
    stdin.write_all(b"before\n")?;
    assert!(heard(&mut server, 5000)?);

    let cut = isolate(inside.pid())?;
    assert_eq!(cut.links.len(), 1);
    assert_eq!(cut.links[0].name, "eth0");
    assert!(cut.links[0].peer.is_some() && !cut.weak, "{cut:?}");
    assert!(isolated(inside.pid())?);
    stdin.write_all(b"after\n")?;
    assert!(!heard(&mut server, 1000)?, "an established connection is cut");
    assert!(!inside.reaches("10.9.0.1"));
    assert!(inside.reaches("127.0.0.1"), "loopback stays");

    // With every right in the namespace: off and on again, a new address, a link on top.
    inside.ip("link set eth0 down")?;
    inside.ip("link set eth0 up")?;
    inside.ip("route add default via 10.9.0.1")?;
    inside.ip("link add link eth0 name mv0 type macvlan mode bridge")?;
    inside.ip("addr add 10.9.0.3/24 dev mv0")?;
    inside.ip("link set mv0 up")?;
    assert!(!inside.reaches("10.9.0.1"));
    let again = isolate(inside.pid())?;
    assert_eq!(again.links.len(), 1, "{again:?}");
    assert_eq!(again.links[0].name, "mv0");
    inside.ip("link del mv0")?;

    restore(inside.pid(), &cut)?;
    assert!(inside.reaches_soon("10.9.0.1"));
    assert!(inside.ip("route")?.contains("default via 10.9.0.1"));
    assert!(heard(&mut server, 20_000)?, "TCP sends again what was not heard");
    client.kill()?;
    client.wait()?;
    Ok(())
}

#[test]
fn a_link_without_an_end_here_is_cut_inside_and_comes_back() -> Result<()> {
    if !on_own_node("a_link_without_an_end_here_is_cut_inside_and_comes_back") {
        return Ok(());
    }
    // The other end of the container's veth is in a third namespace.
    let (inside, router) = (Inside::start()?, Inside::start()?);
    let pid = router.pid();
    inside.ip(&format!("link add eth0 type veth peer name r0 netns {pid}"))?;
    router.ip("addr add 10.8.0.1/24 dev r0")?;
    router.ip("addr add fd00:8::1/64 dev r0 nodad")?;
    router.ip("link set r0 up")?;
    inside.ip("addr add 10.8.0.2/24 dev eth0")?;
    inside.ip("addr add fd00:8::2/64 dev eth0 nodad")?;
    inside.ip("link set eth0 up")?;
    inside.ip("route add default via 10.8.0.1")?;
    inside.ip("route add 10.77.0.0/16 via 10.8.0.1 table 100")?;
    inside.ip("-6 route add default via fd00:8::1")?;
    assert!(inside.reaches_soon("10.8.0.1"));
    let tables = || {
        let mut lines: Vec<String> = Vec::new();
        for what in ["route show table all", "-6 route show table all", "-6 addr show scope global"]
        {
            lines.extend(
                inside
                    .ip(what)?
                    .lines()
                    .filter(|line| !line.contains("local"))
                    .map(|line| line.trim().to_owned()),
            );
        }
        lines.sort();
        anyhow::Ok(lines)
    };
    let before = tables()?;

    let cut = isolate(inside.pid())?;
    assert_eq!((cut.links.len(), cut.links[0].peer), (1, None), "{cut:?}");
    assert!(cut.weak, "root here has CAP_NET_ADMIN");
    assert!(!inside.reaches("10.8.0.1") && isolated(inside.pid())?);
    let cut = serde_json::from_str(&serde_json::to_string(&cut)?)?;
    restore(inside.pid(), &cut)?;
    assert!(inside.reaches_soon("10.8.0.1"));
    let wanted = |lines: &[String], word: &str| lines.iter().filter(|l| l.contains(word)).count();
    let after = tables()?;
    for word in ["default via 10.8.0.1", "10.77.0.0/16", "default via fd00:8::1", "fd00:8::2"] {
        assert_eq!(wanted(&before, word), wanted(&after, word), "{word}: {before:#?} {after:#?}");
    }
    Ok(())
}

/// The executor keeps it cut: a link that is switched on or plugged in later goes off again.
#[test]
fn what_comes_later_is_cut_too_until_it_is_undone() -> Result<()> {
    if !on_own_node("what_comes_later_is_cut_too_until_it_is_undone") {
        return Ok(());
    }
    let (inside, router) = (Inside::start()?, Inside::start()?);
    let plug = |number: u32| {
        let pid = router.pid();
        inside.ip(&format!("link add eth{number} type veth peer name r{number} netns {pid}"))?;
        router.ip(&format!("addr add 10.8.{number}.1/24 dev r{number}"))?;
        router.ip(&format!("link set r{number} up"))?;
        inside.ip(&format!("addr add 10.8.{number}.2/24 dev eth{number}"))?;
        inside.ip(&format!("link set eth{number} up"))
    };
    plug(0)?;
    assert!(inside.reaches_soon("10.8.0.1"));
    let run = tempfile::tempdir()?;
    let settings = Settings { run: run.path().into(), ..Settings::default() };
    let mut container = Container {
        namespace: "test".into(),
        id: "one".into(),
        generation: "a1".into(),
        init_pid: inside.pid(),
        address: "/nonexistent".into(),
        manager: Manager::Containerd,
    };
    common::runtime().block_on(async {
        let executor =
            Executor::start(container.clone(), settings.clone(), Arc::new(common::Hangs))?;
        let outcome = executor.act(Action::Isolate, "").await;
        assert!(outcome.done && outcome.detail.contains("CAP_NET_ADMIN"), "{outcome:?}");
        assert!(!inside.reaches("10.8.0.1"));
        let again = executor.act(Action::Isolate, "").await;
        assert!(again.done && again.detail.contains("nothing to cut"), "{again:?}");

        inside.ip("link set eth0 up")?;
        plug(1)?;
        let soon = Duration::from_secs(5);
        wait_for("both being cut", soon, || Ok(isolated(inside.pid())?.then_some(())))?;
        assert!(!inside.reaches("10.8.0.1") && !inside.reaches("10.8.1.1"));

        // Another container of the pod: there is nothing left to cut, and one undo for both.
        let mut other = inside.command("sleep").arg("1000").spawn()?;
        // Of one namespace and one id, as under another containerd.
        container.generation = "a2".into();
        container.init_pid = other.id();
        wait_for("nsenter", soon, || {
            let same = |pid| std::fs::read_link(format!("/proc/{pid}/ns/net"));
            Ok((same(other.id())? == same(inside.pid())?).then_some(()))
        })?;
        let second = Executor::start(container, settings, Arc::new(common::Hangs))?;
        let outcome = second.act(Action::Isolate, "").await;
        assert!(outcome.done && outcome.detail.contains("nothing to cut"), "{outcome:?}");
        undo(run.path(), "a2", other.id())?;
        assert!(inside.reaches_soon("10.8.0.1") && inside.reaches_soon("10.8.1.1"));
        assert!(undo(run.path(), "a1", inside.pid()).is_err(), "nothing is left to undo");
        other.kill()?;
        other.wait()?;
        Ok(())
    })
}

#[test]
fn nothing_but_loopback_is_isolated() -> Result<()> {
    let inside = Inside::start()?;
    assert!(isolated(inside.pid())?);
    assert!(isolate(inside.pid())?.links.is_empty());
    Ok(())
}

#[test]
fn the_nodes_own_network_is_refused() -> Result<()> {
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    let refused = isolate(child.id());
    child.kill()?;
    child.wait()?;
    assert!(matches!(refused, Err(IsolateError::Host)), "{refused:?}");
    Ok(())
}

/// A link that is switched on while what there is is being looked at, a little later each time:
/// it is either seen, or told of.
#[test]
fn a_link_that_comes_in_between_is_not_missed() -> Result<()> {
    const ROUNDS: u32 = 40;
    if !on_own_node("a_link_that_comes_in_between_is_not_missed") {
        return Ok(());
    }
    let run = tempfile::tempdir()?;
    let settings = Settings { run: run.path().into(), ..Settings::default() };
    for round in 0..ROUNDS {
        let (inside, router) = (Inside::start()?, Inside::start()?);
        inside.ip(&format!("link add eth0 type veth peer name r0 netns {}", router.pid()))?;
        router.ip("link set r0 up")?;
        let container = Container {
            namespace: "test".into(),
            id: format!("round-{round}"),
            generation: format!("a{round}"),
            init_pid: inside.pid(),
            address: "/nonexistent".into(),
            manager: Manager::Containerd,
        };
        common::runtime().block_on(async {
            let executor = Executor::start(container, settings.clone(), Arc::new(common::Hangs))?;
            let mut on = inside.command("ip").args(["link", "set", "eth0", "up"]).spawn()?;
            std::thread::sleep(Duration::from_micros(100) * round);
            let outcome = executor.act(Action::Isolate, "").await;
            assert!(outcome.done, "{outcome:?}");
            assert!(on.wait()?.success());
            let soon = Duration::from_secs(5);
            wait_for(format!("it being cut, round {round}"), soon, || {
                Ok(isolated(inside.pid())?.then_some(()))
            })
        })?;
    }
    Ok(())
}
