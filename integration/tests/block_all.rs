//! `block: all` in real containers: what the policy lets pass runs wherever it lies, and what is
//! read is not run.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lacre_integration::images::{busybox_image, debian_image};
use lacre_integration::paths::cached;
use lacre_integration::{Containerd, Image, Runtime, Version};

const POLICY: &str = "Actions:\n  ENTRY_NOT_FOUND:\n    ByContainerID: [skips: SKIP]\n    \
                      Default: DENY\n  NO_WHITELIST: {Default: SKIP}\n";

struct Field {
    daemon: Containerd,
    /// What the host mounts into the containers.
    volume: tempfile::TempDir,
}

impl Field {
    fn new(image: &Image) -> Result<Self> {
        let volume = tempfile::tempdir()?;
        let policy = volume.path().join("policy.yaml");
        fs::write(&policy, POLICY)?;
        let settings = format!("mode: enforce\nblock: all\npolicy: {}\n", policy.display());
        let daemon = Containerd::builder(Version::V2_1).lacre(&settings).start()?;
        daemon.import(image)?;
        Ok(Self { daemon, volume })
    }

    fn start(&self, image: &Image, id: &str, mounts: &[String]) -> Result<()> {
        let options: Vec<_> = mounts.iter().flat_map(|mount| ["--mount", mount]).collect();
        let sleeps = ["sh", "-c", "while :; do sleep 1; done"];
        self.daemon.spawn_with(Runtime::Lacre, &options, image, id, &sleeps)
    }

    fn sh(&self, id: &str, script: &str) -> Result<i32> {
        Ok(self.daemon.exec(id, &["sh", "-c", script])?.code)
    }
}

fn program(at: &Path, mark: &str) -> Result<()> {
    let mut bytes = fs::read(cached("tools/bin/busybox")?)?;
    bytes.extend(mark.as_bytes());
    fs::write(at, bytes)?;
    Ok(fs::set_permissions(at, fs::Permissions::from_mode(0o755))?)
}

fn bind(from: &Path, to: &str) -> String {
    format!("type=bind,src={},dst={to},options=rbind:rw", from.display())
}

/// A responder that opened what it watches would wait for its own answer, and each program here
/// with it: on a volume, a ConfigMap's links, a single file as `--init` mounts it, a tmpfs, and
/// one that the container mounts itself. Several at a time, each many times.
#[test]
fn what_the_policy_lets_pass_runs_wherever_it_lies() -> Result<()> {
    let image = busybox_image()?;
    let field = Field::new(&image)?;
    let volume = field.volume.path().join("volume");
    let map = field.volume.path().join("map");
    fs::create_dir_all(&volume)?;
    fs::create_dir_all(map.join("..2026"))?;
    program(&volume.join("busybox"), "volume")?;
    program(&map.join("..2026/busybox"), "map")?;
    symlink("..2026", map.join("..data"))?;
    symlink("..data/busybox", map.join("busybox"))?;
    program(&field.volume.path().join("init"), "init")?;
    let mounts = [
        bind(&volume, "/volume"),
        bind(&map, "/map"),
        bind(&field.volume.path().join("init"), "/busybox-init"),
        "type=tmpfs,src=tmpfs,dst=/shm,options=rw:exec".to_owned(),
    ];
    field.start(&image, "skips", &mounts)?;
    for (to, mark) in [("/shm", "shm"), ("/tmp", "tmp")] {
        let copy = format!("cd {to}; cp /busybox-init busybox; echo {mark} >> busybox");
        assert_eq!(field.sh("skips", &copy)?, 0, "{to}");
    }
    // The status of a child that waits for an answer that never comes is 143. On a tmpfs, whose
    // files nobody can promise to be the same later, it may be killed, which is no waiting either.
    let many = "for p in /volume /map /tmp /shm / ; do \
                (i=0; while [ $i -lt 20 ]; do \
                timeout 30 $p/busybox* true; s=$?; i=$((i + 1)); [ $s = 0 ] || echo $p $s; \
                done) & done; wait; echo all";
    let output = field.daemon.exec("skips", &["sh", "-c", many])?;
    let records = field.daemon.records()?;
    let lines: Vec<_> = output.stdout.lines().collect();
    assert_eq!(lines.last(), Some(&"all"), "{output:?}");
    let odd = lines.iter().filter(|line| **line != "all" && **line != "/shm 137");
    assert_eq!(odd.count(), 0, "{output:?} {records:#?}");
    let told = |path: &str| {
        records.iter().any(|record| record["path"] == path && record["action"] == "SKIP")
    };
    for path in ["/volume/busybox", "/map/..2026/busybox", "/busybox-init", "/tmp/busybox"] {
        assert!(told(path), "{path}: {records:#?}");
    }
    field.daemon.remove("skips")?;
    // Whom no rule lets pass is refused there, and nobody waits either.
    field.start(&image, "denies", &mounts)?;
    for path in ["/volume/busybox", "/map/busybox", "/busybox-init"] {
        assert_ne!(field.sh("denies", &format!("timeout 30 {path} true"))?, 0, "{path}");
    }
    field.daemon.remove("denies")
}

/// The kernel denies what it can't open for who is asked: somebody has a write lease on it.
#[test]
fn what_the_kernel_could_not_open_is_denied_and_told() -> Result<()> {
    let image = debian_image()?;
    let field = Field::new(&image)?;
    field.start(&image, "leased", &[])?;
    // Whoever verifies what was opened to write has it open for a moment, too.
    let holds = r#"perl -e '$SIG{IO} = "IGNORE"; for my $name ("/tmp/data", "/usr/bin/wc") {
        open(my $file, "+>>", $name) or die $!; push @all, $file;
        until (fcntl($file, 1024, 1)) { $!{EAGAIN} or die "lease: $!"; select undef, undef, undef, 0.05 } }
        open(F, ">", "/tmp/held"); sleep 100' & perl=$!
        while [ ! -e /tmp/held ] && kill -0 $perl; do sleep 0.1; done
        timeout 30 cat /tmp/data; echo $?; timeout 30 /usr/bin/wc /dev/null; echo $?; kill $perl"#;
    let output = field.daemon.exec("leased", &["bash", "-c", holds])?;
    let said: Vec<_> = output.stdout.lines().collect();
    assert_eq!(said, ["1", "126"], "{output:?}");
    let told = |records: &[serde_json::Value]| {
        let is = |record: &&serde_json::Value| {
            record["outcome"] == "denied"
                && record["unread"].as_str().is_some_and(|why| why.contains("could not open"))
        };
        records.iter().filter(is).count()
    };
    lacre_integration::output::wait_for("both are told", Duration::from_secs(5), || {
        Ok((told(&field.daemon.records()?) >= 2).then_some(()))
    })?;
    field.daemon.remove("leased")
}

/// An interpreter that makes a file of its own language, and a loader whose list was made anew, are
/// nobody's violation.
#[test]
fn who_makes_an_empty_file_runs_nothing() -> Result<()> {
    let image = debian_image()?;
    let field = Field::new(&image)?;
    field.start(&image, "makes", &[])?;
    let make = "import os; fd = os.open('/tmp/new.py', os.O_RDWR | os.O_CREAT | os.O_EXCL); \
                os.write(fd, b'x = 1'); assert os.pread(fd, 9, 0) == b'x = 1'";
    assert_eq!(field.daemon.exec("makes", &["python3", "-c", make])?.code, 0);
    let list = "cp /etc/passwd /etc/ld.so.cache; cat /etc/passwd >/dev/null && touch /tmp/libx.so && \
                cat /tmp/libx.so && ls /tmp >/dev/null";
    assert_eq!(field.daemon.exec("makes", &["bash", "-c", list])?.code, 0);
    let records = field.daemon.records()?;
    assert!(records.is_empty(), "{records:#?}");
    field.daemon.remove("makes")
}

/// What was changed in its metadata alone is the image's own, also when its last name has gone:
/// whoever runs it may execute it again.
#[test]
fn a_program_that_lost_its_name_since_it_was_changed_runs_again() -> Result<()> {
    let image = debian_image()?;
    let field = Field::new(&image)?;
    field.start(&image, "again", &[])?;
    let again = "system('chmod 711 /usr/bin/perl; rm /usr/bin/perl; sleep 1'); \
                 exec('/proc/self/exe', '-e', 'exit 7')";
    let output = field.daemon.exec("again", &["perl", "-e", again])?;
    let records = field.daemon.records()?;
    assert_eq!(output.code, 7, "{output:?} {records:#?}");
    assert!(records.is_empty(), "{records:#?}");
    // Nobody who puts another there gains by it.
    let dropped = "cp /bin/cat /tmp/x; chmod 711 /tmp/x; \
                   exec 5</tmp/x; rm /tmp/x; /proc/self/fd/5 /etc/hostname";
    assert_ne!(field.sh("again", dropped)?, 0);
    field.daemon.remove("again")
}

/// Who was refused a script has often ended when another source looks for what it ran.
#[test]
fn a_script_that_was_refused_ends_nobody() -> Result<()> {
    let image = busybox_image()?;
    let field = Field::new(&image)?;
    field.start(&image, "refuses", &[])?;
    let script = "echo 'echo ran' > /tmp/s; i=0; while [ $i -lt 40 ]; do sh /tmp/s; \
                  i=$((i + 1)); done 2>&1; echo alive";
    let output = field.daemon.exec("refuses", &["sh", "-c", script])?;
    let records = field.daemon.records()?;
    assert!(output.stdout.ends_with("alive\n"), "{output:?} {records:#?}");
    assert!(!output.stdout.lines().any(|line| line == "ran"), "{output:?}");
    let of_it: Vec<_> = records.iter().filter(|record| record["path"] == "/tmp/s").collect();
    assert!(!of_it.is_empty(), "{records:#?}");
    // Killed where it was found before it asked.
    assert!(of_it.iter().all(|record| record["outcome"] != "ran"), "{of_it:#?}");
    assert_eq!(field.sh("refuses", "true")?, 0);
    field.daemon.remove("refuses")
}

/// A file that is read is not run, whatever it holds and whoever reads it.
#[test]
fn what_is_read_is_not_refused_and_no_violation() -> Result<()> {
    let image = debian_image()?;
    let field = Field::new(&image)?;
    let volume = field.volume.path().join("volume");
    fs::create_dir_all(&volume)?;
    program(&volume.join("elf"), "volume")?;
    fs::write(volume.join("s.sh"), "#!/bin/sh\nexit 0\n")?;
    fs::write(volume.join("m.py"), "print(1)\n")?;
    fs::write(volume.join("d.csv"), "a,b\n")?;
    field.start(&image, "reads", &[bind(&volume, "/v")])?;
    for (what, script) in [
        ("cat", "cat /v/* > /dev/null"),
        ("copies", "cp -r /v /tmp/v && mv /tmp/v /tmp/w"),
        ("sums", "sha256sum /v/* /tmp/w/* > /dev/null"),
        ("finds and sorts", "grep -r exit /v /tmp/w > /dev/null; sort /v/s.sh > /dev/null"),
        ("changes", "sed -i 's/0/1/' /tmp/w/s.sh && cat /tmp/w/s.sh > /tmp/w/t.sh"),
        ("compares", "comm /v/s.sh /tmp/w/s.sh > /dev/null; od /v/elf | head > /dev/null"),
        ("the shell itself", "while read -r line; do :; done < /v/d.csv"),
        // No bytecode: what one has written, the next would run.
        ("python", "python3 -B -c 'open(\"/v/d.csv\").read(); open(\"/v/elf\", \"rb\").read()'"),
        ("perl", "perl -ne '$n++' /v/d.csv"),
        ("awk", "awk '{n++} END {print n}' /v/s.sh > /dev/null"),
        // Who only writes, an interpreter too.
        ("the shell writes", "echo '#!/bin/sh' > /tmp/a; echo : >> /tmp/a; echo : >> /v/s.sh"),
        (
            "python writes",
            "python3 -B -c 'import os\nfor how in \"wb\", \"ab\", \"wb\":\n  open(\"/tmp/p.py\", how)\
             .write(b\"#!x\")\nos.close(os.open(\"/tmp/p.py\", os.O_WRONLY | os.O_TRUNC))'",
        ),
        (
            "perl writes",
            "perl -e 'for (\">\", \">>\", \">>\") {open(F, $_, \"/tmp/p.pl\") or die; print F \"#!\\n\"}'",
        ),
        // A file of the image's that was changed, and is read.
        ("a change", "sed -i '1a # changed' /usr/bin/bashbug && cat /usr/bin/bashbug > /dev/null"),
        ("a second", "echo : >> /usr/bin/bashbug && od /usr/bin/bashbug > /dev/null"),
        ("a copy", "cp /usr/bin/bashbug /tmp/bashbug && grep -c changed /usr/bin/bashbug"),
        ("a sum", "cp /bin/true /tmp/t; cat /tmp/t >> /bin/true; sha256sum /bin/true"),
    ] {
        let output = field.daemon.exec("reads", &["bash", "-c", script])?;
        assert_eq!(output.code, 0, "{what}: {output:?} {:#?}", field.daemon.records()?);
    }
    let records = field.daemon.records()?;
    let told = records.iter().filter(|record| record["notificate"].is_string());
    let (read, told): (Vec<_>, Vec<_>) = told.partition(|it| it["notificate"] == "REPORT");
    assert!(told.is_empty(), "{records:#?}");
    // Of data, that an interpreter read it, whatever it is; once, and nothing else of it.
    assert!(read.iter().all(|it| it["action"] == "SKIP" && it["outcome"] == "ran"), "{read:#?}");
    assert_eq!(read.iter().filter(|it| it["path"] == "/v/d.csv").count(), 1, "{read:#?}");
    assert!(read.iter().all(|it| it["path"] != "/v/s.sh" && it["path"] != "/v/elf"), "{read:#?}");
    // And the same files, run, are refused.
    for script in [
        "sh /v/s.sh",
        "/v/elf true",
        "python3 /v/m.py",
        "cd /v; python3 -c 'import m'",
        "echo x = 1 > /tmp/p.py; cd /tmp; python3 -c 'open(\"p.py\", \"a\").write(\"y=1\"); import p'",
        "sh /tmp/a",
        "sh /usr/bin/bashbug",
        ". /usr/bin/bashbug",
        "/usr/bin/bashbug /bin/sh",
        "/bin/true",
    ] {
        let output = field.daemon.exec("reads", &["bash", "-c", script])?;
        assert_ne!(output.code, 0, "{script}");
    }
    let log = field.daemon.log();
    field.daemon.remove("reads").context(log)
}
