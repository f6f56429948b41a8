//! The source `container-ima` on the patched kernel: the demonstration, each container's own
//! list, and what vouches for it.

use anyhow::{Context, Result, bail, ensure};
use lacre_attest::container::{Aggregate, Audited, Key, Secret, audit, parse_line};
use lacre_attest::ima::Entry;
use lacre_integration::Version;
use lacre_integration::vm::agent::LET_GO;
use lacre_integration::vm::follow_latency::Following;
use lacre_integration::vm::{Guest, Kernel, Request, shared};
use lacre_types::{Algorithm, Digest};

use super::ima::{IMA, each, settled};
use super::{case_with, shim};

const ENFORCE: &str = "mode: enforce\nsources: [container-ima]\n";
pub(crate) const AUDIT: &str = "mode: audit\nsources: [container-ima]\n";
const RUN: &str = "ctr run --detach --null-io --runtime io.containerd.lacre.v1";

const BESIDE: &str = "mode: enforce\nsources: [container-ima, fanotify, exec-trace]\n";

/// Prints what is wrong. kmemleak tells only of what is older than five seconds
/// (mm/kmemleak.c, `MSECS_MIN_AGE`). Debian's kernel is tainted (65536, `TAINT_AUX`) by
/// whoever uses fanotify's permission events.
const FAULTS: &str = "
    leaks=/sys/kernel/debug/kmemleak
    mount -t debugfs none /sys/kernel/debug 2>/dev/null
    if [ -e $leaks ]; then
        for _ in 1 2; do sleep 6; echo scan >$leaks || echo 'kmemleak is off'; done; cat $leaks
    fi
    if [ -e /proc/lockdep_stats ]; then
        grep -q 'debug_locks: *1$' /proc/lockdep_stats || echo 'lockdep is off'
    fi
    taint=$(($(cat /proc/sys/kernel/tainted) & ~65536)); [ $taint = 0 ] || echo tainted $taint
    dmesg | grep -E 'KASAN: |BUG: |WARNING: |INFO: (possible|rcu|task)|sleeping function' || true";

/// What a container has run, in its list's order.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    name: String,
    digest: Option<Digest>,
}

fn listed(entry: &Entry<'_>) -> Listed {
    let name = String::from_utf8_lossy(entry.name().unwrap_or_default()).into_owned();
    Listed { name, digest: entry.file_digest() }
}

pub(crate) fn folder(id: &str) -> String {
    format!("{IMA}/containers/lacre--{id}")
}

fn list(guest: &mut Guest, id: &str) -> Result<Vec<Listed>> {
    let bytes = guest.read(&format!("{}/binary_runtime_measurements", folder(id)))?;
    let mut all = Vec::new();
    each(&bytes, Algorithm::Sha1, |_, entry| all.push(listed(entry)))?;
    Ok(all)
}

/// A script that runs `inside` in a container of `image`, and waits until its list has `last`.
pub(crate) fn run(id: &str, options: &str, image: &str, inside: &str, last: &str) -> String {
    let list = format!("{}/ascii_runtime_measurements", folder(id));
    format!(
        "set -e; {RUN} {options} {image} {id} sh -c '{inside}'
        until grep -q ' {last}$' {list}; do usleep 20000; done"
    )
}

pub(crate) fn remove(id: &str) -> String {
    format!("ctr tasks rm --force {id} >/dev/null 2>&1 || true; ctr containers rm {id}")
}

/// What the container's secret says of its list.
fn vouched(guest: &mut Guest, id: &str, aggregate: &[u8]) -> Result<Audited> {
    let secret = guest.text(&format!("/var/lib/lacre/secrets/lacre--{id}"))?;
    let secret: Secret = serde_json::from_value(serde_json::Value::String(secret))?;
    let info = guest.text(&format!("{}/info", folder(id)))?;
    ensure!(info.lines().any(|line| line == "limit 4194304"), "the shim's bound: {info}");
    let seq = info.lines().find_map(|line| line.strip_prefix("seq ")).context("no seq")?;
    let key = Key::new(&secret, seq.parse()?, &format!("lacre--{id}"));
    let mut values = Vec::new();
    for event in aggregate.split_inclusive(|byte| *byte == b'\n').filter_map(parse_line) {
        if event.tag == key.tag(values.len() as u64) {
            values.push(event.value);
        }
    }
    let path = format!("{}/binary_runtime_measurements_sha256", folder(id));
    let mut lines = Vec::new();
    each(&guest.read(&path)?, Algorithm::Sha256, |_, entry| {
        lines.extend(entry.event(Algorithm::Sha256));
    })?;
    audit(&key, &Audited::new(), &lines, &values, None)
        .map_err(|(fault, _)| anyhow::anyhow!("the list of {id}: {fault:?}"))
}

mod patched {
    use super::*;

    #[test]
    #[ignore = "make test-vm"]
    fn demo() -> Result<()> {
        for id in ["clean", "dropped", "replaced", "unknown"] {
            case_with(Kernel::Patched, id, Version::V1_6, Some(ENFORCE))
                .with_context(|| format!("the container {id}"))?;
        }
        case_with(Kernel::Patched, "dropped", Version::V2_1, Some(ENFORCE)).context("under 2.1")
    }

    /// Beside sources that hold back, as docs/sources.md has it.
    #[test]
    #[ignore = "make test-vm"]
    fn demo_beside_others() -> Result<()> {
        for id in ["clean", "dropped", "replaced"] {
            case_with(Kernel::Patched, id, Version::V1_6, Some(BESIDE))
                .with_context(|| format!("the container {id}"))?;
        }
        // What fanotify holds back is in no list; what it lets through is, and whoever tells of
        // it, the use is one record.
        let mut guest = shared(Kernel::Patched)?;
        let audit = BESIDE.replace("enforce", "audit");
        let inside = "cp /bin/busybox /tmp/one; /tmp/one true; exec sleep 1000";
        guest.run_with(&audit, &run("beside", "", "lacre.test/busybox:1", inside, "/tmp/one"))?;
        let records = guest.violation("beside", "\"path\":\"/tmp/one\"")?;
        let of_it = records.iter().filter(|record| record["path"] == "/tmp/one");
        let told: Vec<_> = of_it.filter(|record| record["notificate"].is_string()).collect();
        let [record] = told[..] else { bail!("one use: {records:?}") };
        assert_eq!(record["notificate"].as_str(), Some("ENTRY_NOT_FOUND"), "{records:?}");
        let lines = list(&mut guest, "beside")?;
        assert!(lines.iter().any(|line| line.name == "/tmp/one"), "{lines:?}");
        guest.run_with(AUDIT, &remove("beside")).map(drop)
    }

    #[test]
    #[ignore = "make test-vm"]
    fn each_container_has_its_own_list_and_its_secret_vouches_for_it() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let ids = ["own-a", "own-b"];
        for id in ids {
            let inside = "ls / >/dev/null; exec sleep 1000";
            guest
                .run_with(AUDIT, &run(id, "", "lacre.test/debian:12", inside, "/usr/bin/sleep"))?;
        }
        let lists = ids.map(|id| list(&mut guest, id));
        let [a, b] = lists;
        let (a, b) = (a?, b?);
        assert_eq!(a, b, "the same programs, in the same order, in the list of each");
        let first = a.first().context("an empty list")?;
        assert!(first.name.ends_with("/dash"), "the entrypoint comes first: {a:?}");
        assert!(a.iter().any(|line| line.name == "/usr/bin/ls"), "{a:?}");

        let aggregate = format!("{IMA}/containers/aggregate");
        let (text, pcr) = settled(&mut guest, &aggregate, 12)?;
        let replayed = Aggregate::new([Algorithm::Sha256]).replay(&text, Some(&pcr))?;
        assert!(replayed.agrees, "PCR 12 is {pcr}");
        for id in ids {
            let audited = vouched(&mut guest, id, &text)?;
            assert_eq!((audited.lines, audited.closed), (a.len() as u64, false), "{id}");
        }
        for id in ids {
            guest.run_with(AUDIT, &remove(id))?;
            // The kernel closes it a moment after its last task.
            guest.run(&format!("while [ -e {} ]; do usleep 20000; done", folder(id)))?;
        }
        Ok(())
    }

    /// `unshare`, a mount of its own, and a double fork: still the container.
    #[test]
    #[ignore = "make test-vm"]
    fn unshare_does_not_escape() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let inside = "unshare -m -p -f setsid sh -c \"mkdir -p /mnt; mount -t tmpfs t /mnt; \
                      cp /bin/busybox /mnt/sleep; (/mnt/sleep 1000 &) ; sleep 1000\"";
        let image = "lacre.test/busybox:1";
        guest.run_with(AUDIT, &run("escape", "--privileged", image, inside, "/mnt/sleep"))?;
        let records = guest.violation("escape", "ENTRY_NOT_FOUND")?;
        assert!(
            records.iter().any(|record| record.to_string().contains("/mnt/sleep")),
            "{records:?}"
        );
        assert!(records.iter().all(|record| record["action"] == "SKIP"), "audit: {records:?}");
        guest.run_with(AUDIT, &remove("escape")).map(drop)
    }

    /// After all that ran before it in this guest, containers that are gone among it. With a
    /// kernel of `FLAVOUR=debug`, what KASAN, kmemleak and lockdep say, too.
    #[test]
    #[ignore = "make test-vm"]
    fn what_the_kernel_says_of_itself_is_good() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let inside = "cp /bin/busybox /tmp/one; /tmp/one true; exec sleep 1000";
        let script = run("last", "", "lacre.test/busybox:1", inside, "/tmp/one");
        guest.run_with(AUDIT, &format!("{script}; {}", remove("last")))?;
        assert_eq!(guest.run(FAULTS)?, "", "{}", guest.console());
        Ok(())
    }

    /// A second container of that name, at once: its list is new, and has its own lines only.
    #[test]
    #[ignore = "make test-vm"]
    fn a_name_that_comes_again_has_a_new_list() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let image = "lacre.test/busybox:1";
        let seq = format!("grep seq {}/info", folder("again"));
        let drop_one = "cp /bin/busybox /tmp/one; /tmp/one true; exec sleep 1000";
        let first = run("again", "", image, drop_one, "/tmp/one");
        let second = run("again", "", image, "exec sleep 1000", "/bin/busybox");
        let script = format!("{first}; {seq}; {}; {second}; {seq}", remove("again"));
        let said = guest.run_with(AUDIT, &script)?;
        let seqs: Vec<_> = said.lines().filter(|line| line.starts_with("seq ")).collect();
        ensure!(matches!(seqs[..], [one, two] if one != two), "{said}");
        let names: Vec<_> = list(&mut guest, "again")?.into_iter().map(|line| line.name).collect();
        assert_eq!(names, ["/bin/busybox"]);
        guest.run_with(AUDIT, &remove("again")).map(drop)
    }

    /// The kernel writes `_` for a space in the binary list, too: so does the record.
    #[test]
    #[ignore = "make test-vm"]
    fn a_space_in_a_name_is_an_underscore() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let inside = "cp /bin/busybox \"/tmp/a b\"; \"/tmp/a b\" true; exec sleep 1000";
        guest.run_with(AUDIT, &run("space", "", "lacre.test/busybox:1", inside, "/tmp/a_b"))?;
        let names: Vec<_> = list(&mut guest, "space")?.into_iter().map(|line| line.name).collect();
        assert_eq!(names, ["/bin/busybox", "/tmp/a_b"]);
        let records = guest.violation("space", "/tmp/a_b")?;
        assert_eq!(records[0]["notificate"].as_str(), Some("ENTRY_NOT_FOUND"), "{records:?}");
        guest.run_with(AUDIT, &remove("space")).map(drop)
    }

    /// Nobody knows what enters a container whose list somebody else has let go of.
    #[test]
    #[ignore = "make test-vm"]
    fn a_list_that_somebody_else_lets_go_of_is_told() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let script = format!(
            "{}
            /lacre/bin/lacre-vm-agent {LET_GO} lacre--let-go
            ctr tasks kill --signal KILL let-go",
            run("let-go", "", "lacre.test/busybox:1", "exec sleep 1000", "/bin/busybox"),
        );
        guest.run_with(AUDIT, &script)?;
        let records = guest.violation("let-go", "SOURCE_LOST")?;
        assert_eq!(records[0]["source"].as_str(), Some("container-ima"), "{records:?}");
        guest.run_with(AUDIT, &remove("let-go")).map(drop)
    }
}

/// In a guest of their own, whose clock counts instructions.
mod figures {
    use super::*;

    /// The figures of docs/sources.md; `--nocapture` shows them. The bound is the project's: the
    /// verdict comes within 2 ms of where a loop that does nothing but read has the line, on a
    /// machine that does one instruction a nanosecond, with nothing optimised.
    #[test]
    #[ignore = "make test-vm"]
    fn a_line_is_judged_when_it_comes() -> Result<()> {
        let mut guest = Guest::boot_counting(Kernel::Patched)?;
        let beside: Following = guest.ask(&Request::Following { programs: 2_000, beside: true })?;
        println!("beside a bare loop: {beside:?}");
        let alone: Following =
            guest.ask(&Request::Following { programs: 10_000, beside: false })?;
        println!("alone: {alone:?}");
        for found in [&beside, &alone] {
            assert_eq!(found.violations, 0, "{found:?}");
        }
        assert_eq!((beside.lines, alone.lines), (2_000, 10_000));
        let behind = beside.behind.context("the bare loop has read nothing")?;
        ensure!(behind.p99 < 2_000, "{behind:?} microseconds behind");
        Ok(())
    }

    /// lacre's own shim, and every line a violation: each is on record, in order, once.
    #[test]
    #[ignore = "make test-vm"]
    fn ten_thousand_violations_are_ten_thousand_records() -> Result<()> {
        let mut guest = Guest::boot_counting(Kernel::Patched)?;
        let root = "--mount type=bind,src=/,dst=/host,options=rbind:rw";
        let inside = "sleep 1; chroot /host /lacre/bin/lacre-vm-agent run-programs 10000; \
                      exec sleep 1000";
        let records = "/var/log/lacre/violations.jsonl";
        let script = format!(
            "set -e; /lacre/bin/lacre-vm-agent make-programs 10000
            {RUN} {root} lacre.test/busybox:1 flood sh -c '{inside}'
            shim={}
            used() {{ cut -d ' ' -f 14,15 /proc/$shim/stat; grep VmRSS /proc/$shim/status; }}
            used
            until [ $(grep -c following/bin/p {records}) -ge 10000 ]; do sleep 1; done
            used; grep VmHWM /proc/$shim/status; grep lines {}/info",
            shim("flood"),
            folder("flood")
        );
        println!("{}", guest.run_with(AUDIT, &script)?);
        let text = guest.run(&format!("grep -o 'bin/p[0-9]*\"' {records}"))?;
        let expected: String = (0..10_000).map(|number| format!("bin/p{number}\"\n")).collect();
        ensure!(text == expected, "{} lines, from {:.200}", text.lines().count(), text);
        Ok(())
    }
}
