use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use lacre_types::FileId;
use tempfile::TempDir;

use super::*;
use crate::testing::Nothing;

struct Silent;

impl Judge for Silent {
    fn judge(&self, _: &Measurement) -> Answer {
        Answer::Allow
    }

    fn seen(&self, _: Measurement, _: Outcome) {}

    fn lost(&self, _: Source, _: Loss) {}
}

/// An overlay, mounted.
struct Overlay(TempDir);

impl Overlay {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work", "root"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for (name, content) in [("kept", "below"), ("changed", "below"), ("gone", "below")] {
            fs::write(dir.path().join("lower").join(name), content).unwrap();
        }
        let at = |name: &str| dir.path().join(name).display().to_string();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let mount = Command::new("mount")
            .args(["-t", "overlay", "-o", &options, "overlay", &at("root")])
            .status();
        assert!(mount.unwrap().success());
        let root = Self(dir);
        fs::remove_file(root.file("changed")).unwrap();
        fs::write(root.file("changed"), "above").unwrap();
        fs::remove_file(root.file("gone")).unwrap();
        root
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("root").join(name)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.file("")).status();
    }
}

fn device(dev: u64) -> u32 {
    FileId::kernel_dev(rustix::fs::major(dev), rustix::fs::minor(dev))
}

#[test]
fn what_a_container_ran_last_is_read_when_none_of_it_is_left() {
    let overlay = Overlay::mount();
    let dir = |name: &str| overlay.0.path().join(name);
    let root = fs::metadata(overlay.file("")).unwrap();
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    let init = Held::open(child.id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let target = Target {
        container: "n/c".to_owned(),
        init_pid: child.id(),
        rootfs: overlay.file(""),
        upper: Some(dir("upper")),
        lower: vec![dir("lower")],
        mode: lacre_types::Mode::Audit,
        block: crate::Block::Exec,
        known: Arc::new(Nothing),
    };
    let watch = Watch {
        judge: Arc::new(Silent),
        known: Arc::new(Nothing),
        layers: target.layers(),
        images: ImageContent::default(),
        root: Some(device(root.dev())),
        nameless: nameless(),
        init,
        verifiers: Verifiers::new(),
        enforce: Arc::default(),
    };
    let read = |name: &str, dev: u32, ino: u64| {
        let name = format!("/{name}").into_bytes();
        let path = CanonicalPath::new(&name).unwrap();
        let (start, length, shared, writable) = (0, 4096, false, false);
        let mapping = Mapping { pid: child.id(), start, length, dev, ino, shared, writable, name };
        let found = watch.find(&mapping, None, None, Some(&path)).unwrap()?;
        match watch.content(&mapping, found, Some(&path), &AtomicBool::new(false)) {
            Content::Digest(digest) => Some(digest),
            other => panic!("{other:?}"),
        }
    };
    let of = |dir: &str, name: &str| {
        let file = overlay.0.path().join(dir).join(name);
        let found = fs::metadata(overlay.file(name)).map_or(0, |found| found.ino());
        (fs::read(file).unwrap(), found)
    };
    for (name, layer) in [("kept", "lower"), ("changed", "upper")] {
        let (content, ino) = of(layer, name);
        let digest = Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(&content).into());
        assert_eq!(read(name, device(root.dev()), ino), Some(digest), "{name}");
        assert_eq!(read(name, device(root.dev()), ino + 1), None, "another file");
        assert_eq!(read(name, device(root.dev()) + 1, ino), None, "another file system");
    }
    let below = fs::metadata(dir("lower").join("gone")).unwrap().ino();
    assert_eq!(read("gone", device(root.dev()), below), None, "it was removed");
}
