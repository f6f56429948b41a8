//! Two hundred containers, twenty at a time.

use lacre_integration::fault::{Fault, Stage, Storm, Victim};
use lacre_integration::images::busybox_image;
use lacre_integration::{Containerd, Runtime, Version};

fn storm(
    version: Version,
    runtime: Runtime,
    total: usize,
    fault: fn(usize) -> Option<Fault>,
) -> anyhow::Result<()> {
    let daemon = Containerd::start(version)?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    let wreck =
        Storm { daemon: &daemon, runtime, image: &image, total, parallel: 20, fault }.blow()?;
    assert!(wreck.errors.is_empty(), "{:#?}", wreck.errors);
    assert!(wreck.leaks.is_empty(), "{:#?}", wreck.leaks);
    Ok(())
}

/// The control leaves nothing when a container's init dies; when its shim does, see below.
#[test]
fn runc_without_a_word() -> anyhow::Result<()> {
    storm(Version::V2_1, Runtime::Runc, 200, |number| {
        (number % 5 == 0).then_some(Fault { victim: Victim::Init, stage: Stage::Running })
    })
}

#[test]
#[ignore = "shows what plain runc leaves behind; it is a control, not a promise"]
fn runc_with_faults() -> anyhow::Result<()> {
    storm(Version::V2_1, Runtime::Runc, 48, |number| Fault::all().get(number % 12).copied())
}
