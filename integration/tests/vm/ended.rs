//! Containers that have ended, on the patched kernel: the kernel has freed their lists, and
//! the node shows them all the same.

use anyhow::Result;
use lacre_integration::vm::Guest;
use serde_json::Value;

use super::container_ima::remove;
use super::ima::IMA;
use super::served::{BUSYBOX, CONFIG, Served, counts, names};
use super::shim;

const RUN: &str = "ctr run --rm --null-io --runtime io.containerd.lacre.v1";
const ENDED: &str = "/run/lacre/evidence/kernel";

/// Waits until so many lists are written down, and no other is told of.
fn written(guest: &mut Guest, count: usize) -> Result<()> {
    let of = |kind: &str| format!("$(ls {ENDED} | grep -c '{kind}$')");
    let (lists, told) = (of(".list"), of(".json"));
    let until = format!("until [ {lists}:{told} = {count}:{count} ]; do usleep 20000; done");
    guest.run(&until).map(drop)
}

mod patched {
    use super::*;

    #[test]
    #[ignore = "make test-vm"]
    fn a_container_that_has_ended_is_attested_still() -> Result<()> {
        let mut served = Served::start()?;
        let node = served.attest()?;
        assert_eq!(names(&node), ["trusted"], "{node}");

        // One that nobody has seen; one that was known, and went on; one whose shim dies; and
        // one that began when there was no agent.
        let job = "mkdir /tmp/job; cp /bin/busybox /tmp/job/true; /tmp/job/true";
        served.guest().run_with(CONFIG, &format!("{RUN} {BUSYBOX} job sh -c '{job}'"))?;
        served.container("known")?;
        served.container("orphan")?;
        served.guest().run(&format!("mv {ENDED} {ENDED}.away"))?;
        served.container("early")?;
        served.guest().run(&format!("mv {ENDED}.away {ENDED}"))?;
        let node = served.again()?;
        assert_eq!(names(&node), ["trusted"], "{node}");
        served.drops("known", "/tmp/more")?;
        served.guest().run_with(CONFIG, &remove("known"))?;
        served.guest().run_with(CONFIG, &remove("early"))?;
        let script = format!(
            "kill -9 {}
            while [ -e {IMA}/containers/lacre--orphan ]; do usleep 20000; done",
            shim("orphan")
        );
        served.guest().run_with(CONFIG, &script)?;
        written(served.guest(), 4)?;

        let node = served.again()?;
        assert_eq!(names(&node), ["trusted"], "{node}");
        assert_eq!(node["unchecked"], Value::Array(Vec::new()), "{node}");
        // `/bin/busybox` in each; and what two of them have made.
        let there: u64 = counts(served.guest())?.iter().sum();
        assert_eq!(node["lines"], there + 2 + 2 + 1 + 1, "{node}");

        // What is written down is held against what the TPM has.
        let script = format!("sed -i 's|/tmp/job/|/tmp/jab/|' {ENDED}/*.list");
        served.guest().run(&script)?;
        served.guest().run("/lacre/bin/lacre node forget guest")?;
        let node = served.shown("true")?;
        assert_eq!(names(&node), ["untrusted", "LOG_EDITED"], "{node}");
        assert!(node["findings"].to_string().contains("lacre--job"), "{node}");
        Ok(())
    }
}
