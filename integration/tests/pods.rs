//! Pods, as a kubelet makes them.

use lacre_integration::cri::{self, Cri, State};
use lacre_integration::fault::shims;
use lacre_integration::images::{busybox_image, pause_image};
use lacre_integration::{Containerd, Runtime, Version};

fn pod(version: Version, runtime: Runtime) -> anyhow::Result<()> {
    Containerd::builder(version).cri().start()?.check(|daemon| steps(daemon, runtime))
}

fn steps(daemon: &mut Containerd, runtime: Runtime) -> anyhow::Result<()> {
    let image = busybox_image()?;
    daemon.import_in(cri::NAMESPACE, &pause_image()?)?;
    daemon.import_in(cri::NAMESPACE, &image)?;
    let mut cri = Cri::connect(&daemon.socket(), daemon.node().tag())?;

    let pod = cri.run_pod(runtime, "pair")?;
    let before = shims(daemon.node(), &pod.id);
    assert!(!before.is_empty(), "the pod has a shim");
    let mut ids = Vec::new();
    for name in ["first", "second"] {
        let id = cri.create(&pod, name, &image, &["sleep", "1000"])?;
        assert_eq!(cri.status(&id)?.state(), State::Created);
        cri.start(&id)?;
        assert_eq!(cri.status(&id)?.state(), State::Running);
        assert!(shims(daemon.node(), &id).is_empty(), "{name} shares the pod's shim");
        ids.push(id);
    }
    assert_eq!(shims(daemon.node(), &pod.id), before);

    for id in &ids {
        let said = cri.exec(id, &["sh", "-c", "hostname; exit 4"])?;
        assert_eq!((said.exit_code, said.stdout.as_slice()), (4, &b"pair\n"[..]));
    }
    // One network for both: what one serves, the other reads.
    let serve = "echo over the loopback | nc -l -p 7777 >/dev/null 2>&1 &";
    cri.exec(&ids[0], &["sh", "-c", serve])?;
    let read = "until nc 127.0.0.1 7777 </dev/null 2>/dev/null; do sleep 0.05; done";
    let said = cri.exec(&ids[1], &["sh", "-c", read])?;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "over the loopback\n");

    daemon.restart()?;
    let mut cri = Cri::connect(&daemon.socket(), daemon.node().tag())?;
    assert_eq!(cri.exec(&ids[1], &["true"])?.exit_code, 0);
    cri.stop(&ids[0])?;
    let status = cri.status(&ids[0])?;
    assert_eq!((status.state(), status.exit_code), (State::Exited, 137));
    cri.remove(&ids[0])?;
    assert_eq!(cri.exec(&ids[1], &["true"])?.exit_code, 0, "the other container lives");
    cri.remove_pod(&pod)?;

    let left = daemon.leftovers()?;
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn runc_under_1_6() -> anyhow::Result<()> {
    pod(Version::V1_6, Runtime::Runc)
}

#[test]
fn runc_under_1_7() -> anyhow::Result<()> {
    pod(Version::V1_7, Runtime::Runc)
}

#[test]
fn runc_under_2_1() -> anyhow::Result<()> {
    pod(Version::V2_1, Runtime::Runc)
}

#[test]
fn lacre_under_1_6() -> anyhow::Result<()> {
    pod(Version::V1_6, Runtime::Lacre)
}

#[test]
fn lacre_under_1_7() -> anyhow::Result<()> {
    pod(Version::V1_7, Runtime::Lacre)
}

#[test]
fn lacre_under_2_1() -> anyhow::Result<()> {
    pod(Version::V2_1, Runtime::Lacre)
}
