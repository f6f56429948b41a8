//! Lists that shims keep for the TPM, where the node's agent says that it is there.

use std::time::{Duration, Instant};

use lacre_integration::images::busybox_image;
use lacre_integration::{Containerd, Runtime, Version};

const FOLDER: &str = "/run/lacre/evidence";

/// What a shell on the node prints.
fn on_node(daemon: &Containerd, script: &str) -> anyhow::Result<String> {
    let output = daemon.command("sh").args(["-c", script]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_a_container_ran_is_in_its_own_list() -> anyhow::Result<()> {
    Containerd::builder(Version::V2_1).lacre("mode: audit\n").start()?.check(|daemon| {
        let image = busybox_image()?;
        daemon.import(&image)?;
        daemon.run(Runtime::Lacre, &image, "before", &["true"])?.ok()?;
        let nothing = on_node(daemon, &format!("ls {FOLDER} 2>/dev/null"))?;
        assert_eq!(nothing, "", "no agent, no list");
        on_node(daemon, &format!("mkdir -p -m 0700 {FOLDER}"))?;
        let script = "cp /bin/busybox /tmp/true; exec /tmp/true";
        daemon.run(Runtime::Lacre, &image, "web", &["sh", "-c", script])?.ok()?;
        daemon.run(Runtime::Lacre, &image, "shop", &["true"])?.ok()?;
        let list = format!(
            "cd {FOLDER}; n=$(basename $(grep -l -e --web *.json) .json); tr '\\0' '\\n' < $n.list"
        );
        let until = Instant::now() + Duration::from_secs(30);
        while !on_node(daemon, &list)?.contains("/tmp/true") {
            assert!(Instant::now() < until, "{}", on_node(daemon, &list)?);
            std::thread::sleep(Duration::from_millis(20));
        }
        let others = on_node(daemon, &format!("cd {FOLDER}; grep -l /tmp/true *.list | wc -l"))?;
        assert_eq!(others.trim(), "1", "it is in no other container's list");
        let names = on_node(daemon, &format!("cat {FOLDER}/*.json"))?;
        assert!(names.contains(&format!("\"{}--shop\"", daemon.namespace())), "{names}");
        on_node(daemon, &format!("rm -r {FOLDER}"))?;
        Ok(())
    })
}
