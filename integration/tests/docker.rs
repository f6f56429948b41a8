//! Containers by docker, which mounts the root file system itself and tells no image.

use lacre_integration::images::{busybox_image, debian_image};
use lacre_integration::{Dockerd, Runtime};

fn docker(runtime: Runtime) -> anyhow::Result<()> {
    let docker = Dockerd::start()?;
    let busybox = busybox_image()?;
    let debian = debian_image()?;
    docker.import(&busybox)?;
    docker.load(&debian)?;

    for network in ["none", "host", "bridge"] {
        let options = ["--rm", "--network", network];
        assert_eq!(
            docker.run(runtime, &options, &busybox, &["echo", network])?.ok()?.trim(),
            network
        );
    }
    let options = ["--rm", "--network", "none"];
    assert_eq!(docker.run(runtime, &options, &busybox, &["sh", "-c", "exit 7"])?.code, 7);
    let said = docker.run(runtime, &options, &debian, &["perl", "-e", "print 6 * 7"])?.ok()?;
    assert_eq!(said, "42");

    let options = ["--detach", "--name", "stays", "--network", "none"];
    docker.run(runtime, &options, &busybox, &["sleep", "1000"])?.ok()?;
    assert_eq!(docker.docker(&["exec", "stays", "echo", "within"])?.ok()?, "within\n");
    docker.docker(&["pause", "stays"])?.ok()?;
    assert_eq!(docker.status("stays")?, "paused");
    docker.docker(&["unpause", "stays"])?.ok()?;
    assert_eq!(docker.status("stays")?, "running");
    docker.docker(&["kill", "stays"])?.ok()?;
    assert_eq!(docker.status("stays")?, "exited");
    docker.docker(&["rm", "-f", "stays"])?.ok()?;
    Ok(())
}

#[test]
fn runc_by_docker() -> anyhow::Result<()> {
    docker(Runtime::Runc)
}

#[test]
fn lacre_by_docker() -> anyhow::Result<()> {
    docker(Runtime::Lacre)
}
