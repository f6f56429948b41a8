//! The image's own data in a code directory, its owner and mode changed as an entrypoint does.

use anyhow::Result;
use lacre_integration::image::Layer;
use lacre_integration::images::debian_image;

use crate::field::{BLOCKS, Field};

const POLICY: &str = "CodeDirectories: {Default: [/srv/app]}\nActions: {}\n";

const CHANGES: &[&str] = &[
    "chown -R 33:33 /srv/app",
    "chmod -R u+w /srv/app",
    "touch /srv/app/settings /srv/app/include",
    "find /srv/app -type f -exec setfattr -n user.x -v y {} + 2>/dev/null || true",
    "mv /srv/app/settings /srv/app/s && mv /srv/app/s /srv/app/settings",
];

#[test]
fn what_the_image_has_in_a_code_directory_works_after_a_chown() -> Result<()> {
    let mut layer = Layer::new();
    for folder in ["srv", "srv/app"] {
        layer = layer.dir(folder, 0o755);
    }
    let layer = layer.file("srv/app/settings", 0o644, "ran\n");
    let layer = layer.file("srv/app/include", 0o644, "echo ran\n");
    let image = debian_image()?.named("lacre.test/copy-up:1").layer(layer);
    let field = Field::new(image)?;
    let python = "python3 -c 'print(open(\"/srv/app/settings\").read().strip())'";
    let uses = [". /srv/app/include", "bash /srv/app/include", python];
    for block in BLOCKS {
        let id = format!("copy-{block}");
        field.start(&id, block, POLICY, &[])?;
        for change in CHANGES {
            field.sh(&id, change)?;
            for one in uses {
                assert_eq!(field.sh(&id, one)?, "ran\n", "{block}: {change}: {one}");
            }
        }
        field.is_innocent(&id)?;
        assert!(field.told(&id, "REPORT")?.is_empty(), "{:#?}", field.daemon.records()?);
        // And what it does not have is refused as ever.
        field.sh(&id, "echo 'echo run' >/srv/app/include; cp /etc/passwd /srv/app/new")?;
        for one in [". /srv/app/include", "python3 -c 'open(\"/srv/app/new\")'"] {
            assert_ne!(field.enter(&id, &["sh", "-c", one])?.code, 0, "{block}: {one}");
        }
        for path in ["/srv/app/include", "/srv/app/new"] {
            field.await_told(&id, "ENTRY_NOT_FOUND", path)?;
        }
        field.daemon.remove(&id)?;
    }
    field.daemon.forget_client_fifos()
}
