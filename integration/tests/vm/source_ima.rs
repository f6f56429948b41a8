//! The source `ima` on a stock kernel: the demonstration as far as one list for the node can
//! show it, and what it can't.

use anyhow::{Context, Result, ensure};
use lacre_integration::Version;
use lacre_integration::vm::{Guest, Kernel, shared};
use serde_json::Value;

use super::ima::IMA;
use super::{becomes, case_with, shim};

const ENFORCE: &str = "mode: enforce\nsources: [ima]\n";
const AUDIT: &str = "mode: audit\nsources: [ima]\n";
const BUSYBOX: &str = "lacre.test/busybox:1";
const DEBIAN: &str = "lacre.test/debian:12";

fn run(guest: &mut Guest, config: &str, image: &str, id: &str, inside: &str) -> Result<()> {
    let run = "ctr run --detach --null-io --runtime io.containerd.lacre.v1";
    guest.run_with(config, &format!("{run} {image} {id} sh -c '{inside}'")).map(drop)
}

fn remove(guest: &mut Guest, id: &str) -> Result<()> {
    let script =
        format!("ctr tasks rm --force {id} >/dev/null 2>&1 || true; ctr containers rm {id}");
    guest.run_with(AUDIT, &script).map(drop)
}

/// Waits until the container's shell has come to its last program.
fn sleeps(guest: &mut Guest, id: &str) -> Result<()> {
    let pid = format!("$(ctr tasks ls | sed -n \"s/^{id} *\\([0-9]*\\) .*/\\1/p\")");
    let until = format!("until grep -qx sleep /proc/{pid}/comm 2>/dev/null; do usleep 50000; done");
    guest.run_with(AUDIT, &until).map(drop)
}

/// Waits until the shim of a container has read all that the host's list has.
fn caught_up(guest: &mut Guest, id: &str) -> Result<()> {
    let list = format!("{IMA}/binary_runtime_measurements");
    let script = format!(
        "shim={}
        for fd in /proc/$shim/fd/*; do
            [ \"$(readlink $fd)\" = $(readlink -f {list}) ] && at=/proc/$shim/fdinfo/${{fd##*/}}
        done
        size=$(cat {list} | wc -c)
        until [ $(sed -n 's/^pos:[[:space:]]*//p' $at) -ge $size ]; do usleep 20000; done",
        shim(id)
    );
    guest.run_with(AUDIT, &script).map(drop)
}

/// The violations of a container that are on record.
fn records(guest: &mut Guest, id: &str) -> Result<Vec<Value>> {
    let text = guest.run("cat /var/log/lacre/violations.jsonl 2>/dev/null || true")?;
    let all: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|record| record["containerID"] == id).collect())
}

fn last<'a>(records: &'a [Value], key: &str) -> &'a str {
    records.last().and_then(|record| record[key].as_str()).unwrap_or_default()
}

/// How many lines of the host's list are of that name; a signature may follow it.
fn lines(guest: &mut Guest, name: &str) -> Result<usize> {
    let list = guest.text(&format!("{IMA}/ascii_runtime_measurements"))?;
    Ok(list.lines().filter(|line| line.split(' ').any(|word| word == name)).count())
}

mod stock_ima {
    use super::*;

    /// As of a container's own list, as far as a line can be attributed.
    #[test]
    fn what_a_shim_that_dies_has_not_judged_is_judged_once() -> Result<()> {
        let mut guest = shared(Kernel::StockIma)?;
        let name = |number: u32| format!("/tmp/late{number}/sleep");
        let inside = "for i in 1 2; do while ! [ -e /tmp/go$i ]; do usleep 20000; done; \
                      mkdir /tmp/late$i; cp /bin/busybox /tmp/late$i/sleep; \
                      echo $i >>/tmp/late$i/sleep; /tmp/late$i/sleep 0; done; exec sleep 1000";
        run(&mut guest, AUDIT, BUSYBOX, "ima-late", inside)?;
        let pid = "pid=$(ctr tasks ls | awk '$1 == \"ima-late\" {print $2}')";
        guest.run_with(AUDIT, &format!("{pid}; touch /proc/$pid/root/tmp/go1"))?;
        guest.violation("ima-late", &name(1))?;
        let script = format!(
            "{pid}; shim={}
            kill -STOP $shim
            touch /proc/$pid/root/tmp/go2
            until grep -q {} {IMA}/ascii_runtime_measurements; do usleep 20000; done
            kill -9 $shim
            while [ -e /node/1.6/state/io.containerd.runtime.v2.task/lacre/ima-late ]; do
                usleep 20000
            done
            ctr containers rm ima-late",
            shim("ima-late"),
            name(2)
        );
        guest.run_with(AUDIT, &script)?;
        let found = records(&mut guest, "ima-late")?;
        let paths: Vec<_> = found.iter().filter_map(|record| record["path"].as_str()).collect();
        assert_eq!(paths, [name(1), name(2)]);
        Ok(())
    }

    #[test]
    fn a_clean_container_is_left_alone() -> Result<()> {
        let mut guest = shared(Kernel::StockIma)?;
        let inside = "ls / >/dev/null; python3 -c 1; perl -e 1; exec sleep 1000";
        run(&mut guest, ENFORCE, DEBIAN, "ima-clean", inside)?;
        sleeps(&mut guest, "ima-clean")?;
        // Its end has the source read the list to the end.
        remove(&mut guest, "ima-clean")?;
        assert_eq!(records(&mut guest, "ima-clean")?, [Value::Null; 0]);
        Ok(())
    }

    #[test]
    fn a_program_that_was_dropped_is_told_and_a_second_of_the_same_bytes_is_not() -> Result<()> {
        let mut guest = shared(Kernel::StockIma)?;
        let folder = format!("/tmp/{}", std::process::id());
        let name = format!("{folder}/sleep");
        let inside =
            format!("mkdir -p {folder}; cp /bin/busybox {name}; echo x >>{name}; exec {name} 1000");
        run(&mut guest, ENFORCE, BUSYBOX, "ima-dropped", &inside)?;
        let found = guest.violation("ima-dropped", &name)?;
        assert_eq!(last(&found, "notificate"), "ENTRY_NOT_FOUND", "{found:?}");
        assert_eq!((last(&found, "source"), last(&found, "action")), ("ima", "KILL"), "{found:?}");
        becomes(&mut guest, "ima-dropped", "STOPPED")?;
        remove(&mut guest, "ima-dropped")?;

        // An equal line is written once a boot: whose second use it is, the list can't tell. The
        // line of the first use was read before the second has such a file.
        let later = format!("while ! [ -e /tmp/go ]; do usleep 20000; done; {inside}");
        run(&mut guest, AUDIT, BUSYBOX, "ima-second", &later)?;
        caught_up(&mut guest, "ima-second")?;
        let pid = "$(ctr tasks ls | awk '$1 == \"ima-second\" {print $2}')";
        guest.run_with(AUDIT, &format!("touch /proc/{pid}/root/tmp/go"))?;
        sleeps(&mut guest, "ima-second").context("the same again")?;
        remove(&mut guest, "ima-second")?;
        assert_eq!(lines(&mut guest, &name)?, 1);
        assert_eq!(records(&mut guest, "ima-second")?, [Value::Null; 0]);
        Ok(())
    }

    #[test]
    fn a_library_that_was_replaced_is_told() -> Result<()> {
        let mut guest = shared(Kernel::StockIma)?;
        let bytes = format!("other {}", std::process::id());
        let inside = format!(
            "cd /lib/x86_64-linux-gnu; cp libselinux.so.1 /tmp/l; echo {bytes} >>/tmp/l; \
             mv /tmp/l libselinux.so.1; ls / >/dev/null; sleep 1000"
        );
        run(&mut guest, ENFORCE, DEBIAN, "ima-replaced", &inside)?;
        let found = guest.violation("ima-replaced", "libselinux")?;
        assert_eq!(last(&found, "notificate"), "INVALID_HASH", "{found:?}");
        assert_eq!(last(&found, "action"), "PAUSE", "{found:?}");
        becomes(&mut guest, "ima-replaced", "PAUSED")?;
        remove(&mut guest, "ima-replaced")
    }

    #[test]
    fn a_container_without_a_baseline_does_not_start() -> Result<()> {
        case_with(Kernel::StockIma, "unknown", Version::V1_6, Some(ENFORCE))
    }

    #[test]
    fn what_it_can_not_tell_is_in_the_log() -> Result<()> {
        let mut guest = shared(Kernel::StockIma)?;
        run(&mut guest, AUDIT, BUSYBOX, "ima-remark", "exec sleep 1000")?;
        remove(&mut guest, "ima-remark")?;
        // At arming, and at the end.
        let told = "grep 'id=ima-remark' /node/1.6/log | grep -c 'once a boot'";
        guest.run(&format!("until [ $({told}) -ge 2 ]; do usleep 50000; done"))?;
        Ok(())
    }

    /// The figure of docs/sources.md, shown by `--nocapture`: what looking ten times a second
    /// costs while nothing runs, on a machine that does one instruction a nanosecond.
    #[test]
    #[ignore = "make test-vm"]
    fn an_idle_container_costs_next_to_nothing() -> Result<()> {
        let mut guest = Guest::boot_counting(Kernel::StockIma)?;
        run(&mut guest, AUDIT, BUSYBOX, "ima-idle", "exec sleep 1000")?;
        sleeps(&mut guest, "ima-idle")?;
        let script = format!(
            "shim={}
            task=$(grep -lx ima /proc/$shim/task/*/comm)
            used() {{ cut -d ' ' -f 1 ${{task%comm}}schedstat; }}
            wc -l </sys/kernel/security/ima/ascii_runtime_measurements
            used; sleep 1; used; sleep 10; used",
            shim("ima-idle")
        );
        let said = guest.run(&script)?;
        remove(&mut guest, "ima-idle")?;
        let numbers: Vec<u64> = said.lines().map(str::parse).collect::<Result<_, _>>()?;
        let [lines, begun, before, after] = numbers[..] else { anyhow::bail!("{said}") };
        let second = (after - before) / 10;
        println!("{lines} lines read in {begun} ns; then {second} ns a second");
        ensure!(second < 1_000_000, "{second} ns of each second");
        Ok(())
    }
}
