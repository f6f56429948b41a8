//! The daemons' configuration files.

use std::path::Path;

use crate::paths::cache;
use crate::runtime::other_shim;
use crate::snapshotter::Snapshotter;
use crate::version::Version;

/// containerd's configuration: everything in `folder`, lacre's handler for pods when `cri`.
pub(crate) fn containerd(
    version: Version,
    folder: &Path,
    cri: bool,
    level: &str,
    snapshotter: Option<Snapshotter>,
) -> String {
    let f = folder.display();
    let (generation, cri_plugins, settings) = match version {
        Version::V1_6 | Version::V1_7 => {
            (2, vec!["io.containerd.grpc.v1.cri"], if cri { cri_1(folder) } else { String::new() })
        }
        Version::V2_1 => (
            3,
            vec!["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"],
            if cri { cri_2(folder) } else { String::new() },
        ),
    };
    let mut disabled = vec![
        "io.containerd.snapshotter.v1.aufs",
        "io.containerd.snapshotter.v1.blockfile",
        "io.containerd.snapshotter.v1.btrfs",
        "io.containerd.snapshotter.v1.devmapper",
        "io.containerd.snapshotter.v1.zfs",
        "io.containerd.nri.v1.nri",
        "io.containerd.tracing.processor.v1.otlp",
        "io.containerd.internal.v1.tracing",
    ];
    let wanted = snapshotter.map(Snapshotter::plugin);
    disabled.retain(|plugin| wanted.as_deref() != Some(*plugin));
    let own = snapshotter.map(|one| one.settings(folder)).unwrap_or_default();
    if !cri {
        disabled.extend(cri_plugins);
        disabled.push("io.containerd.grpc.v1.cri");
    }
    format!(
        r#"version = {generation}
root = "{f}/root"
state = "{f}/state"
disabled_plugins = {disabled:?}
[grpc]
address = "{f}/containerd.sock"
[debug]
level = "{level}"
[plugins."io.containerd.internal.v1.opt"]
path = "{f}/opt"
[plugins."io.containerd.internal.v1.restart"]
interval = "1s"
[plugins."io.containerd.monitor.container.v1.restart"]
interval = "1s"
{own}{settings}"#
    )
}

fn cri_1(folder: &Path) -> String {
    let (f, bin, path) = (folder.display(), cni_plugins(), runtime_path());
    format!(
        r#"[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "lacre.test/pause:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{bin}"
conf_dir = "{f}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{path}[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.lacre]
runtime_type = "io.containerd.lacre.v1"
"#
    )
}

fn cri_2(folder: &Path) -> String {
    let (f, bin, path) = (folder.display(), cni_plugins(), runtime_path());
    format!(
        r#"[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "lacre.test/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dir = "{bin}"
conf_dir = "{f}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{path}[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.lacre]
runtime_type = "io.containerd.lacre.v1"
"#
    )
}

/// Where runc's handler finds its shim, if not by its type.
fn runtime_path() -> String {
    other_shim().map_or(String::new(), |path| format!("runtime_path = \"{path}\"\n"))
}

fn cni_plugins() -> String {
    cache().join("tools/usr/lib/cni").display().to_string()
}

/// A bridge in the node's own network namespace.
pub(crate) fn cni(folder: &Path) -> String {
    let data = folder.join("cni-data");
    let network = serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "lacre",
        "plugins": [{
            "type": "bridge", "bridge": "lacre0", "isGateway": true, "ipMasq": false,
            "ipam": {
                "type": "host-local", "dataDir": data,
                "ranges": [[{"subnet": "10.97.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    network.to_string()
}

/// lacre's: defaults, but every file in the node's folder.
pub(crate) fn lacre(folder: &Path, extra: &str) -> String {
    let f = folder.display();
    // A test that names one of its own is about that one.
    let inner = other_shim().filter(|_| !extra.contains("inner:"));
    let inner = inner.map_or(String::new(), |path| format!("inner: {{shim: {path}}}\n"));
    format!(
        "records: {f}/lacre/violations.jsonl\nstate: {f}/lacre/state\nrun: /run/lacre\n\
         {inner}{extra}"
    )
}
