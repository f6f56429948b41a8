//! What a bundle's hooks run (OCI runtime specification, `hooks`): those of the node run on the
//! node, by runc, and lacre neither sees nor judges them; the one that runs within the container
//! is judged as whatever else runs there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use lacre_integration::images::busybox_image;
use lacre_integration::{Containerd, Runtime, Version};

/// Puts what did not come with the image where the hook within the container finds it.
const ON_THE_NODE: &str = "#!/bin/sh\ncat >/dev/null\necho $1 >>\"$0.ran\"\n\
    [ $1 != createRuntime ] || { cp /bin/true \"$2/rootfs/tmp/foreign\"; }\n";

#[test]
fn what_hooks_run_within_the_container_is_judged() -> Result<()> {
    let daemon = Containerd::builder(Version::V2_1).lacre("mode: enforce\n").start()?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    let folder = daemon.node().folder().to_owned();
    let hook = folder.join("hook");
    fs::write(&hook, ON_THE_NODE)?;
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
    let ran = || fs::read_to_string(folder.join("hook.ran")).unwrap_or_default();
    fs::create_dir_all(folder.join("run/cdi"))?;
    for (id, within, goes) in [("own", "/bin/true", true), ("foreign", "/tmp/foreign", false)] {
        let bundles = format!("state/io.containerd.runtime.v2.task/{}/{id}", daemon.namespace());
        let bundle = folder.join(bundles).display().to_string();
        let on_the_node = |name: &str| {
            let path = hook.display().to_string();
            serde_json::json!({"hookName": name, "path": path, "args": [path, name, bundle]})
        };
        let hooks = serde_json::json!([
            on_the_node("createRuntime"),
            on_the_node("poststart"),
            on_the_node("poststop"),
            {"hookName": "startContainer", "path": within, "args": [within]},
        ]);
        let device = serde_json::json!({"name": id, "containerEdits": {"hooks": hooks}});
        let cdi = serde_json::json!({"cdiVersion": "0.6.0", "kind": "lacre.test/hook", "devices": [device]});
        fs::write(folder.join("run/cdi/lacre.json"), cdi.to_string())?;
        let _ = fs::remove_file(folder.join("hook.ran"));
        let device = format!("lacre.test/hook={id}");
        let options = ["--rm", "--device", &device];
        let mut run = daemon.run_command(Runtime::Lacre, &options, &image, id, &["echo", "up"]);
        let said = lacre_integration::output::Output::of(&mut run)?;
        ensure!(ran().contains("createRuntime"), "{id}: no hook ran: {said:?}");
        ensure!((said.code == 0) == goes, "{id}: {said:?}");
        ensure!(said.stdout.contains("up") == goes, "{id}: {said:?}");
        // What ran on the node is on no record.
        let records = fs::read_to_string(daemon.record_file()).unwrap_or_default();
        ensure!(!records.contains(&hook.display().to_string()), "{records}");
        ensure!(records.contains("/tmp/foreign") != goes, "{id}: {records}");
        let _ = daemon.ctr(&["containers", "rm", id])?;
    }
    fs::remove_dir_all(folder.join("run/cdi"))?;
    Ok(())
}
