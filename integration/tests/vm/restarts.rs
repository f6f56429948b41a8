//! What follows a container's list on the patched kernel dies, or loses whom it serves, and
//! what takes its place goes on where it was.

use anyhow::Result;
use lacre_integration::vm::{Guest, Kernel, shared};

use super::container_ima::{AUDIT, folder, remove, run};
use super::shim;

/// A container that runs `/tmp/ran1`, 2 and 3, each once it is told to, with the shell's `go N`.
fn runs_three(id: &str) -> String {
    let inside = "for i in 1 2 3; do while ! [ -e /tmp/go$i ]; do usleep 20000; done; \
                  cp /bin/busybox /tmp/ran$i; /tmp/ran$i true; done; exec sleep 1000";
    format!(
        "{}
        list={}/ascii_runtime_measurements
        pid=$(ctr tasks ls | awk '$1 == \"{id}\" {{print $2}}')
        go() {{ touch /proc/$pid/root/tmp/go$1; until grep -q /tmp/ran$1 $list; do usleep 20000; done; }}",
        run(id, "", "lacre.test/busybox:1", inside, "/bin/busybox"),
        folder(id),
    )
}

/// What is on record of a container, once its third program is.
fn recorded(guest: &mut Guest, id: &str) -> Result<Vec<String>> {
    let records = guest.violation(id, "/tmp/ran3")?;
    let paths = records.iter().filter_map(|record| record["path"].as_str());
    Ok(paths.map(str::to_owned).collect())
}

const THREE: [&str; 3] = ["/tmp/ran1", "/tmp/ran2", "/tmp/ran3"];

mod patched {
    use super::*;

    /// The shim is stopped, so that it judges nothing more, and killed: containerd has `delete`
    /// end the container, and judge the rest.
    #[test]
    #[ignore = "make test-vm"]
    fn what_a_shim_that_dies_has_not_judged_is_judged_once() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let first = format!("{}; go 1", runs_three("late"));
        guest.run_with(AUDIT, &first)?;
        guest.violation("late", "/tmp/ran1")?;
        let script = format!(
            "set -e; list={list}/ascii_runtime_measurements
            pid=$(ctr tasks ls | awk '$1 == \"late\" {{print $2}}'); shim={shim}
            kill -STOP $shim
            touch /proc/$pid/root/tmp/go2 /proc/$pid/root/tmp/go3
            until grep -q /tmp/ran3 $list; do usleep 20000; done
            grep -c /tmp/ran2 /var/log/lacre/violations.jsonl && exit 1
            kill -9 $shim
            while [ -e {list} ]; do usleep 20000; done",
            list = folder("late"),
            shim = shim("late"),
        );
        guest.run_with(AUDIT, &script)?;
        assert_eq!(recorded(&mut guest, "late")?, THREE);
        let records = guest.violation("late", "/tmp/ran3")?;
        guest.run_with(AUDIT, "until ctr containers rm late 2>/dev/null; do usleep 50000; done")?;
        // That the guard died is on record, too.
        let of_files = records.iter().filter(|record| record["notificate"] != "SOURCE_LOST");
        let of_files: Vec<_> = of_files.collect();
        assert!(records.len() - of_files.len() <= 1, "{records:?}");
        for record in &of_files {
            assert_eq!(record["imageName"], "lacre.test/busybox:1", "{record}");
            assert_eq!(record["notificate"], "ENTRY_NOT_FOUND", "{record}");
            assert_eq!(record["rule"], of_files[0]["rule"], "{record}");
        }
        Ok(())
    }

    /// What is left of a shim that died is the secret: the container goes, and its list, and
    /// the next one of that name has a new one.
    #[test]
    #[ignore = "make test-vm"]
    fn a_shim_that_dies_leaves_no_list() -> Result<()> {
        let mut guest = shared(Kernel::Patched)?;
        let image = "lacre.test/busybox:1";
        let inside = "exec sleep 1000";
        let list = folder("orphan");
        let script = format!(
            "{}
            kill -9 {}
            while [ -e {list} ]; do usleep 20000; done
            test -s /var/lib/lacre/secrets/lacre--orphan
            until ctr containers rm orphan 2>/dev/null; do usleep 50000; done
            {}",
            run("orphan", "", image, inside, "/bin/busybox"),
            shim("orphan"),
            run("orphan", "", image, inside, "/bin/busybox"),
        );
        guest.run_with(AUDIT, &script)?;
        guest.run_with(AUDIT, &remove("orphan")).map(drop)
    }

    /// containerd dies and comes back, in a guest of its own: the shim goes on where it was in
    /// the list, what runs meanwhile included.
    #[test]
    #[ignore = "make test-vm"]
    fn containerd_comes_back_and_each_line_was_judged_once() -> Result<()> {
        let mut guest = Guest::boot(Kernel::Patched)?;
        let script = format!(
            "{}
            go 1
            for p in /proc/[0-9]*; do
                [ \"$(readlink $p/exe)\" = /opt/1.6/containerd ] && daemon=${{p#/proc/}}
            done
            with=$(tr '\\0' ' ' </proc/$daemon/environ)
            command=$(tr '\\0' ' ' </proc/$daemon/cmdline)
            kill -9 $daemon
            go 2
            env -i $with $command </dev/null >/tmp/containerd.log 2>&1 &
            until ctr tasks ls | grep -q '^back .*RUNNING'; do usleep 50000; done
            go 3",
            runs_three("back"),
        );
        guest.run_with(AUDIT, &script)?;
        assert_eq!(recorded(&mut guest, "back")?, THREE);
        Ok(())
    }
}
