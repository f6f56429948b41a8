//! The harness itself: an image is the same each time, and a leak is seen.

use std::fs;
use std::process::Stdio;

use lacre_integration::image::Layer;
use lacre_integration::images::{busybox_image, debian_image};
use lacre_integration::leaks::Leak;
use lacre_integration::{Containerd, Image, Node, Runtime, Version};

#[test]
fn the_same_layers_give_the_same_bytes() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    busybox_image()?.write(&one)?;
    busybox_image()?.write(&two)?;
    assert!(fs::read(one)? == fs::read(two)?);
    Ok(())
}

#[test]
fn containerd_reads_layers_as_written() -> anyhow::Result<()> {
    let daemon = Containerd::start(Version::V2_1)?;
    let upper = Layer::new()
        .whiteout("etc/group")
        .opaque("root")
        .file("root/new", 0o644, "new\n")
        .hardlink("root/link", "root/new")
        .symlink("root/name", "new");
    let image = busybox_image()?
        .named("lacre.test/layered:1")
        .layer(Layer::new().file("root/old", 0o644, "old\n"))
        .layer(upper)
        .plain();
    daemon.import(&image)?;
    let script = "ls /etc /root; cat /root/link /root/name";
    let said = daemon.run(Runtime::Runc, &image, "layered", &["sh", "-c", script])?.ok()?;
    assert_eq!(said, "/etc:\npasswd\n\n/root:\nlink\nname\nnew\nnew\nnew\n");
    Ok(())
}

#[test]
fn debian_runs_its_interpreters() -> anyhow::Result<()> {
    let daemon = Containerd::start(Version::V1_7)?;
    let image = debian_image()?;
    daemon.import(&image)?;
    let script = "perl -e 'print 1'; python3 -c 'print(2)'; awk 'BEGIN { print 3 }'; \
                  echo 4 | sed s/4/5/ | grep 5; test -L /bin";
    let said = daemon.run(Runtime::Runc, &image, "debian", &["bash", "-c", script])?.ok()?;
    assert_eq!(said, "12\n3\n5\n");
    Ok(())
}

#[test]
fn a_leak_of_every_kind_is_seen() -> anyhow::Result<()> {
    let mut daemon = Containerd::start(Version::V1_6)?;
    let tag = daemon.node().tag().to_owned();
    let script = format!(
        "mkdir -p /run/containerd/s /run/containerd/runc/x/y /run/containerd/fifo \
             /sys/fs/cgroup/pids/{tag}/leak /run/netns
         mkfifo /run/containerd/fifo/leak
         touch /run/netns/leak
         mount -t tmpfs tmpfs /run/containerd/runc/x/y
         busybox nc -l -s local:/run/containerd/s/leak >/dev/null 2>&1 &
         sleep 1000 >/dev/null 2>&1 &"
    );
    let mut command = daemon.command("sh");
    let status = command.args(["-c", &script]).stdin(Stdio::null()).status()?;
    assert!(status.success());
    let left = daemon.leftovers()?;
    let has = |wanted: fn(&Leak) -> bool| assert!(left.iter().any(wanted), "{left:?}");
    has(|leak| matches!(leak, Leak::Process(_, line) if line.contains("sleep")));
    has(|leak| matches!(leak, Leak::Mount(_)));
    has(|leak| matches!(leak, Leak::Fifo(_)));
    has(|leak| matches!(leak, Leak::State(_)));
    has(|leak| matches!(leak, Leak::Cgroup(_)));
    has(|leak| matches!(leak, Leak::NetNs(_)));

    // Ends as a test does that is killed: nobody tidies but the node's holder.
    let folder = daemon.node().folder().to_owned();
    daemon.abandon();
    assert!(!folder.exists());
    assert!(!fs::exists(format!("/sys/fs/cgroup/pids/{tag}"))?);
    Ok(())
}

#[test]
fn a_running_container_does_not_outlive_its_node() -> anyhow::Result<()> {
    let daemon = Containerd::start(Version::V2_1)?;
    let image: Image = busybox_image()?;
    daemon.import(&image)?;
    daemon.spawn(Runtime::Runc, &image, "orphan", &["sleep", "1000"])?;
    daemon.spawn(Runtime::Runc, &image, "frozen", &["sleep", "1000"])?;
    daemon.pause("frozen")?;
    let pids: Vec<_> = daemon.node().processes().iter().map(|process| process.pid).collect();
    assert!(pids.len() >= 4, "a daemon, shims and two containers: {pids:?}");
    daemon.abandon();
    for pid in pids {
        assert!(!lacre_integration::process::alive(pid), "{pid} lives on");
    }
    Ok(())
}

#[test]
fn nodes_do_not_see_each_other() -> anyhow::Result<()> {
    let (one, two) = (Node::start()?, Node::start()?);
    fs::write(one.folder().join("run/mark"), "")?;
    assert!(one.command("test").args(["-e", "/run/mark"]).status()?.success());
    assert!(!two.command("test").args(["-e", "/run/mark"]).status()?.success());
    assert!(one.command("mkdir").arg("/sys/fs/bpf/lacre").status()?.success());
    assert!(one.view("/sys/fs/bpf/lacre").exists());
    assert!(!two.view("/sys/fs/bpf/lacre").exists());
    Ok(())
}
