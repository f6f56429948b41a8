//! Where a file lies, whatever it is called by.

use std::fs;

use anyhow::Result;
use lacre_integration::image::{Image, Layer};
use lacre_integration::images::debian_image;

use crate::field::{BLOCKS, Field, bind};

/// `/app` is a link to where the code is, as is usual where releases take turns.
fn image() -> Result<Image> {
    let mut layer = Layer::new();
    for folder in ["srv", "srv/releases", "srv/releases/7", "home", "home/joe"] {
        layer = layer.dir(folder, 0o755);
    }
    let layer = layer.symlink("app", "/srv/current").symlink("srv/current", "releases/7").file(
        "srv/releases/7/own",
        0o644,
        "echo own\n",
    );
    let layer = layer.file("home/joe/data", 0o644, "echo own\n");
    Ok(debian_image()?.named("lacre.test/code-directories:1").layer(layer))
}

const POLICY: &str = "CodeDirectories: {Default: [/app, /vol/code, \"/home/*/plugins\"]}\n\
                      Actions:\n  ENTRY_NOT_FOUND:\n    ByPath: [{/vol/code/good: SKIP}]\n";

/// Makes what did not come with the image.
const MAKE: &str = r#"
mkdir -p /app/sub /home/joe/plugins/deep /elsewhere /vol/code /vol/other
for d in /app /app/sub /home/joe /home/joe/plugins/deep /elsewhere /vol/code /vol/other; do
    echo echo ran >$d/x
done
ln -s /app/x /elsewhere/link; ln -s /app /elsewhere/folder; ln /app/x /app/hard
ln -s ../../../elsewhere/x /srv/releases/7/out
echo echo good >/vol/code/good
echo echo ran >$'/app/a\nb'; echo echo ran >$'/app/\xff\xfe'; echo echo ran >'/app/x (deleted)'
echo echo ran >'/app/*'; echo echo ran >$'/app/\u202ex'
"#;

/// By whatever way one goes there.
const INSIDE: &[&str] = &[
    "/app/x",
    "/srv/current/x",
    "/srv/releases/7/x",
    "/app/sub/x",
    "/app/sub/../x",
    "/elsewhere/../app/x",
    "/elsewhere/link",
    "/elsewhere/folder/x",
    "/app/hard",
    "/proc/self/root/app/x",
    "/home/joe/plugins/deep/x",
    "/vol/code/x",
    "/mnt/x",
    "$'/app/a\\nb'",
    "$'/app/\\xff\\xfe'",
    "'/app/x (deleted)'",
    "'/app/*'",
    "$'/app/\\u202ex'",
];

const OUTSIDE: &[&str] = &[
    "/elsewhere/x",
    "/app/out",
    "/app/../../../elsewhere/x",
    "/home/joe/x",
    "/home/joe/plugins/../x",
    "/vol/other/x",
    "/vol/code/../other/x",
];

#[test]
fn a_file_lies_where_its_inode_is_reached_and_not_where_somebody_goes_by() -> Result<()> {
    let field = Field::new(image()?)?;
    for block in BLOCKS {
        let volume = field.daemon.node().folder().join(format!("volume-{block}"));
        fs::create_dir_all(volume.join("code"))?;
        let (all, code) = (bind(&volume, "/vol"), bind(&volume.join("code"), "/mnt"));
        let id = format!("names-{block}");
        field.start(&id, block, POLICY, &["--mount", &all, "--mount", &code])?;
        let bash = |script: &str| field.enter(&id, &["bash", "-c", script]);
        let made = bash(MAKE)?;
        assert_eq!(made.code, 0, "{made:?}");
        for path in INSIDE {
            let said = bash(&format!(". {path}"))?;
            assert!(!said.stdout.contains("ran"), "{block} {path}: {said:?}");
            assert!(said.stderr.contains("not permitted"), "{block} {path}: {said:?}");
        }
        for path in OUTSIDE {
            let said = bash(&format!(". {path}"))?;
            assert_eq!(
                said.stdout,
                "ran\n",
                "{block} {path}: {said:?} {:#?}",
                field.daemon.records()?
            );
        }
        // What came with the image is its own there, and a rule lets run what it names.
        assert_eq!(bash(". /app/own")?.stdout, "own\n", "{:#?}", field.daemon.records()?);
        assert_eq!(bash(". /vol/code/good")?.stdout, "good\n");
        field.await_told(&id, "ENTRY_NOT_FOUND", "/vol/code/good")?;
        // A path that is longer than the kernel tells.
        let deep = bash(
            "cd /app; d=$(printf 'd%.0s' $(seq 250)); for i in $(seq 18); do mkdir $d; cd -P ./$d \
             2>/dev/null || cd ./$d; done; echo echo ran >x; . ./x",
        )?;
        assert!(!deep.stdout.contains("ran"), "{block}: {deep:?}");
        // One that was changed, by way of a mapping too, is not the image's own any more.
        let changed = bash(
            "perl -e 'open(F, q(+<), q(/app/own)) or die; print F qq{echo ran\\n}' ; . /app/own",
        )?;
        assert!(!changed.stdout.contains("ran"), "{block}: {changed:?}");
        // And one that comes from elsewhere is inside once it is there.
        let moved = bash("mv /elsewhere/x /app/moved; . /app/moved")?;
        assert!(!moved.stdout.contains("ran"), "{block}: {moved:?}");
        field.daemon.remove(&id)?;
    }
    field.daemon.forget_client_fifos()
}

/// Stores through a shared mapping, of which the kernel tells nobody, as many bytes as there were.
const STORE: &str = r#"
open F, "+<", $ARGV[0] or die $!;
my $at = syscall 9, 0, 4096, 3, 1, fileno F, 0;
pipe R, W; syswrite W, "echo ran\n";
syscall(0, fileno R, $at, 9) == 9 or die $!;
"#;

/// What was the image's data once, and is not asked about for that, may become code and move.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_was_data_is_code_once_it_lies_there() -> Result<()> {
    let field = Field::new(image()?)?;
    for block in BLOCKS {
        let id = format!("data-{block}");
        field.start(&id, block, POLICY, &[])?;
        let bash = |script: &str| field.enter(&id, &["bash", "-c", script]);
        assert_eq!(bash("cat /home/joe/data; cat /home/joe/data")?.stdout, "echo own\necho own\n");
        let stored = field.enter(&id, &["perl", "-e", STORE, "/home/joe/data"])?;
        assert_eq!(stored.code, 0, "{stored:?}");
        let moved = bash("cat /home/joe/data; mv /home/joe/data /app/data; . /app/data")?;
        assert_eq!(moved.stdout, "echo ran\n", "{block}: {moved:?}");
        field.await_told(&id, "ENTRY_NOT_FOUND", "/srv/releases/7/data")?;
        field.daemon.remove(&id)?;
    }
    field.daemon.forget_client_fifos()
}

/// Mounts the directory elsewhere, in a mount namespace of its own, and stays.
const MOUNT: &str = r#"
my ($none, $root, $from, $to) = ("none", "/", "/srv/releases/7", "/there");
syscall(272, 0x20000) == 0 or die "unshare: $!";
syscall(165, $none, $root, $none, 0x44000, 0) == 0 or die "private: $!";
syscall(165, $from, $to, $none, 0x1000, 0) == 0 or die "bind: $!";
open F, ">", "/elsewhere/ready"; print F $$; close F;
exec "sleep", "1000";
"#;

/// By a mount of a namespace that is neither the container's nor of who opens it, nobody can tell
/// which directory it is.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_mount_of_somebody_elses_hides_no_directory() -> Result<()> {
    let field = Field::new(image()?)?;
    for block in BLOCKS {
        let id = format!("nested-{block}");
        field.start(&id, block, POLICY, &["--privileged"])?;
        let bash = |script: &str| field.enter(&id, &["bash", "-c", script]);
        let made = bash(&format!(
            "mkdir /elsewhere /there; echo echo ran >/app/x; mkfifo /elsewhere/ready
             perl -e '{MOUNT}' </dev/null >/dev/null 2>/elsewhere/why &
             timeout 30 cat /elsewhere/ready || cat /elsewhere/why",
        ))?;
        assert_eq!(made.code, 0, "{made:?}");
        let said = bash(&format!(". /proc/{}/root/there/x", made.stdout.trim()))?;
        assert!(!said.stdout.contains("ran"), "{block}: {said:?}");
        assert!(said.stderr.contains("not permitted"), "{block}: {said:?}");
        field.daemon.remove(&id)?;
    }
    field.daemon.forget_client_fifos()
}
