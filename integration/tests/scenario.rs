//! What every daemon must do with every runtime.

use lacre_integration::images::busybox_image;
use lacre_integration::{Containerd, Runtime, Version, writes_to_files};

fn scenario(version: Version, runtime: Runtime) -> anyhow::Result<()> {
    Containerd::start(version)?.check(|daemon| steps(daemon, runtime))
}

fn steps(daemon: &mut Containerd, runtime: Runtime) -> anyhow::Result<()> {
    let image = busybox_image()?;
    daemon.import(&image)?;

    daemon.run(runtime, &image, "ends", &["true"])?.ok()?;
    let said = daemon.run(runtime, &image, "fails", &["sh", "-c", "exit 7"])?;
    assert_eq!(said.code, 7, "{said:?}");
    assert_eq!(daemon.run(runtime, &image, "prints", &["echo", "hello"])?.ok()?, "hello\n");

    let events = daemon.events()?;
    daemon.spawn(runtime, &image, "one", &["sh", "-c", "echo up; exec sleep 1000"])?;
    daemon.spawn(runtime, &image, "two", &["sleep", "1000"])?;
    for id in ["one", "two"] {
        events.expect(&["/tasks/start", &format!("\"{id}\"")])?;
    }
    assert_eq!(daemon.exec_prints("one", &["echo", "from within"])?, "from within\n");
    assert_eq!(daemon.exec("one", &["sh", "-c", "exit 3"])?.code, 3);
    if writes_to_files() {
        assert_eq!(daemon.printed("one"), "up\n");
    }

    daemon.pause("one")?;
    assert_eq!(daemon.status("one")?.as_deref(), Some("PAUSED"));
    assert_eq!(daemon.status("two")?.as_deref(), Some("RUNNING"));
    assert_ne!(daemon.exec("one", &["true"])?.code, 0, "exec in a paused container");
    daemon.resume("one")?;
    assert_eq!(daemon.exec("one", &["true"])?.code, 0);
    events.expect(&["/tasks/paused", "\"one\""])?;
    events.expect(&["/tasks/resumed", "\"one\""])?;

    let before = daemon.task_pid("one")?;
    daemon.restart()?;
    assert_eq!(daemon.task_pid("one")?, before);
    assert_eq!(daemon.exec_prints("one", &["echo", "still"])?, "still\n");
    daemon.signal("one", "SIGKILL")?;
    daemon.await_status("one", Some("STOPPED"))?;
    daemon.remove("one")?;
    assert_eq!(daemon.status("one")?, None);
    assert_eq!(daemon.exec_prints("two", &["echo", "alone"])?, "alone\n");

    let left = daemon.leftovers()?;
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn runc_under_1_6() -> anyhow::Result<()> {
    scenario(Version::V1_6, Runtime::Runc)
}

#[test]
fn runc_under_1_7() -> anyhow::Result<()> {
    scenario(Version::V1_7, Runtime::Runc)
}

#[test]
fn runc_under_2_1() -> anyhow::Result<()> {
    scenario(Version::V2_1, Runtime::Runc)
}

#[test]
fn lacre_under_1_6() -> anyhow::Result<()> {
    scenario(Version::V1_6, Runtime::Lacre)
}

#[test]
fn lacre_under_1_7() -> anyhow::Result<()> {
    scenario(Version::V1_7, Runtime::Lacre)
}

#[test]
fn lacre_under_2_1() -> anyhow::Result<()> {
    scenario(Version::V2_1, Runtime::Lacre)
}
