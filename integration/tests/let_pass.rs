//! A rule that says SKIP saves what it names, and nothing beside it: programs and libraries, on
//! volumes, on a tmpfs, in files that were mounted into the container, in its own layer; in
//! every mode, and whatever the rule names them by. What it saved ran, on record too.

use std::path::Path;

use anyhow::{Context, Result};
use lacre_integration::guarded_script::GuardedScript;
use lacre_integration::image::{Image, Layer};
use lacre_integration::images::debian_image;
use lacre_integration::paths::cached;
use serde_json::Value;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libdl.so.2";

fn image() -> Result<Image> {
    let layer = Layer::new().dir("opt", 0o755).dir("vol", 0o755).dir("ram", 0o755).copy(
        "opt/busybox",
        0o755,
        cached("tools/bin/busybox")?,
    );
    Ok(debian_image()?.named("lacre.test/let-pass:1").layer(layer))
}

/// Makes copies that are nobody's, then uses each, and says how that ended.
fn script(programs: &[&str], libraries: &[&str]) -> String {
    let mut script = String::from("mkdir -p /tmp/jni /tmp/other\n");
    for (all, from) in [(programs, "/opt/busybox"), (libraries, LIBRARY)] {
        for to in all.iter().filter(|to| !to.contains("injected") && !to.starts_with("/sbin")) {
            script += &format!("cp {from} {to}\n");
        }
    }
    for program in programs {
        script += &format!("{program} true 2>/dev/null; echo {program} $?\n");
    }
    for library in libraries {
        let mapped = format!("open M, '/proc/self/maps'; exit !grep m{{{library}}}, <M>");
        script +=
            &format!("LD_PRELOAD={library} perl -e \"{mapped}\" 2>/dev/null; echo {library} $?\n");
    }
    script + "echo end\n"
}

/// Runs a script in a container with a volume, a tmpfs, and a program and a library that are
/// mounted into it.
fn run(lacre: &str, policy: &str, script: &str) -> Result<GuardedScript> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("volume"))?;
    std::fs::copy(cached("tools/bin/busybox")?, at("injected"))?;
    let bind = |from: &Path, to: &str, how: &str| {
        format!("type=bind,src={},dst={to},options=rbind:{how}", from.display())
    };
    let mounts = [
        bind(&at("volume"), "/vol", "rw"),
        bind(&at("injected"), "/sbin/busybox", "ro"),
        bind(Path::new(LIBRARY), "/usr/lib/injected.so", "ro"),
        "type=tmpfs,src=tmpfs,dst=/ram,options=mode=777".to_owned(),
    ];
    let options: Vec<_> = mounts.iter().flat_map(|mount| ["--mount", mount]).collect();
    GuardedScript::run(lacre, Some(policy), &image()?, &options, script)
}

const SKIP: &str = "
Actions:
  ENTRY_NOT_FOUND:
    ByPath:
      - /vol/**: SKIP
      - /ram/**: SKIP
      - /usr/sbin/busybox: SKIP
      - /usr/lib/injected.so: SKIP
      - /tmp/jni/*: SKIP
    Default: DENY
";

const PROGRAMS: [&str; 4] = ["/vol/busybox", "/ram/busybox", "/sbin/busybox", "/tmp/jni/busybox"];
const LIBRARIES: [&str; 4] = ["/vol/l.so", "/ram/l.so", "/usr/lib/injected.so", "/tmp/jni/l.so"];
const MODES: [&str; 3] = ["mode: enforce\n", "mode: enforce\nblock: all\n", "mode: audit\n"];

fn paths<'r>(records: &'r [Value], outcome: &str) -> Vec<&'r str> {
    let of = records.iter().filter(|record| record["outcome"] == outcome);
    of.filter_map(|record| record["path"].as_str()).collect()
}

#[test]
fn what_a_rule_names_lives_and_what_none_names_does_not() -> Result<()> {
    for mode in MODES {
        let programs = [&PROGRAMS[..], &["/tmp/other/busybox"]].concat();
        let libraries = [&LIBRARIES[..], &["/tmp/other/l.so"]].concat();
        let GuardedScript { said, records } = run(mode, SKIP, &script(&programs, &libraries))?;
        for name in PROGRAMS.iter().chain(&LIBRARIES) {
            assert!(said.contains(&format!("{name} 0")), "{mode}{name}: {said:?} {records:?}");
        }
        let audit = mode.contains("audit");
        for name in ["/tmp/other/busybox", "/tmp/other/l.so"] {
            assert_eq!(said.contains(&format!("{name} 0")), audit, "{mode}{name}: {said:?}");
        }
        assert_eq!(said.last().map(String::as_str), Some("end"), "the container goes on");
        // A shell reads what it could not execute, to say why.
        for record in records.iter().filter(|record| record["notificate"] != "REPORT") {
            let path = record["path"].as_str().unwrap_or_default();
            if !audit && path.starts_with("/tmp/other/") {
                assert_ne!(record["outcome"], "ran", "{record}");
            } else {
                assert_eq!(
                    (&record["action"], &record["outcome"]),
                    (&"SKIP".into(), &"ran".into())
                );
            }
        }
        let ran = paths(&records, "ran");
        for name in ["/vol/busybox", "/vol/l.so", "/ram/busybox", "/ram/l.so", "/usr/sbin/busybox"]
        {
            assert!(ran.contains(&name), "{mode}{name} is on record: {records:?}");
        }
    }
    Ok(())
}

/// What is refused by ending its process is over where that has ended by itself: it is on record,
/// and others of its container go on, unless the policy itself says what stands for DENY.
#[test]
fn a_script_that_has_ended_by_itself_ends_nothing_else() -> Result<()> {
    let script = "echo : >/tmp/x; for n in $(seq 300); do sh /tmp/x; done; echo end\n";
    let enforce = "mode: enforce\n";
    let GuardedScript { said, records } = run(enforce, "Actions: {}\n", script)?;
    assert_eq!(said, ["end"], "{records:?}");
    assert!(!records.is_empty());
    for record in &records {
        assert_eq!(record["action"], "DENY", "{record}");
        assert!(["ended", "killed"].iter().any(|it| record["outcome"] == *it), "{record}");
    }
    let killed = run(enforce, "Fallback: {DENY: KILL}\nActions: {}\n", script);
    assert!(killed.is_err(), "{killed:?}");
    Ok(())
}

#[test]
fn a_rule_for_all_of_an_image_saves_all_that_it_makes() -> Result<()> {
    let policy = "Actions: {ENTRY_NOT_FOUND: {ByContainerImageName: \
                  [{\"lacre.test/let-pass:*\": SKIP}], Default: DENY}}\n";
    let all = ["/tmp/other/busybox", "/ram/busybox"];
    for mode in &MODES[..2] {
        let GuardedScript { said, records } =
            run(mode, policy, &script(&all, &["/tmp/other/l.so"]))?;
        assert_eq!(
            said,
            ["/tmp/other/busybox 0", "/ram/busybox 0", "/tmp/other/l.so 0", "end"],
            "{records:?}"
        );
        assert!(paths(&records, "killed").is_empty() && paths(&records, "denied").is_empty());
    }
    Ok(())
}

#[test]
fn a_file_of_the_image_that_was_overwritten_has_the_rule_of_its_own_kind() -> Result<()> {
    // The image's own path is no ENTRY_NOT_FOUND.
    let policy = "Actions: {ENTRY_NOT_FOUND: {Default: SKIP}, INVALID_HASH: {Default: DENY}}\n";
    let script = "cat /opt/busybox >/tmp/b; echo x >>/tmp/b; cat /tmp/b >/usr/bin/tac; \
                  tac /etc/passwd >/tmp/ran 2>/dev/null; echo $?; \
                  cat /tmp/b >/usr/bin/nobodys; chmod +x /usr/bin/nobodys; \
                  /usr/bin/nobodys true; echo $?";
    let GuardedScript { said, records } = run("mode: enforce\n", policy, script)?;
    let [overwritten, foreign] = &said[..] else { anyhow::bail!("{said:?}") };
    assert!(overwritten != "0" && foreign != "0", "{said:?}");
    let of = records.iter().find(|record| record["path"] == "/usr/bin/tac").context("a record")?;
    assert_eq!(of["notificate"], "INVALID_HASH", "{of}");
    let of =
        records.iter().find(|record| record["path"] == "/usr/bin/nobodys").context("another")?;
    assert_eq!(of["outcome"], "ran", "{of}");
    Ok(())
}
