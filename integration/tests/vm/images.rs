//! A fleet's expectations, by image, on the patched kernel: nobody has named the containers.

use anyhow::Result;
use serde_json::Value;

use super::container_ima::{remove, run};
use super::served::{ATTEST, BUSYBOX, CONFIG, Served, names};

mod patched {
    use super::*;

    #[test]
    #[ignore = "make test-vm"]
    fn what_a_container_ran_is_judged_by_its_image() -> Result<()> {
        let mut served = Served::start()?;
        let node = served.attest()?;
        assert_eq!(names(&node), ["trusted"], "{node}");
        // They began before the node's agent, and so nobody has told their image.
        for id in ["web", "shop"] {
            served.guest().run_with(CONFIG, &remove(id))?;
        }
        served.container("random-1")?;

        // The server follows the file, and asks for evidence when that changes.
        let node = served.shown(&format!(
            "sed -e '/containers:/,$ d' {ATTEST} >/root/new
            echo '  images: {{\"{BUSYBOX}\": {{baseline: image.baseline}}}}' >>/root/new
            mv /root/new {ATTEST}"
        ))?;
        assert_eq!(names(&node), ["trusted"], "{node}");
        assert_eq!(node["unchecked"], Value::Array(Vec::new()), "{node}");

        let other =
            run("random-2", "", "lacre.test/debian:12", "exec sleep 1000", "/usr/bin/sleep");
        served.guest().run_with(CONFIG, &other)?;
        let node = served.again()?;
        assert_eq!(names(&node), ["unproven"], "{node}");
        let unchecked = node["unchecked"].to_string();
        assert!(unchecked.contains("container-baseline:lacre--random-2"), "{node}");
        assert!(!unchecked.contains("random-1"), "{node}");

        served.drops("random-1", "/tmp/new")?;
        let node = served.again()?;
        assert_eq!(names(&node), ["untrusted", "CONTAINER_VIOLATION"], "{node}");
        assert!(node["findings"].to_string().contains("/tmp/new/true"), "{node}");
        Ok(())
    }
}
