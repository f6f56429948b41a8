//! The whole in one guest: policy server, node's agent, containerd, and containers whose lists
//! the kernel keeps; and what becomes of a node and of its containers when it is altered. That
//! can't be undone within a boot, so that the guest is its own.

use anyhow::{Context, Result};
use lacre_attest::expect::Hex;
use lacre_integration::vm::{Guest, Kernel};
use serde_json::Value;

use super::attested::PROGRAMS;
use super::becomes;
use super::container_ima::run;
use super::ima::IMA;

pub(crate) const CONFIG: &str =
    "mode: enforce\nsources: [container-ima]\nserver: unix:///run/lacre/policyd.sock\n";
const POLICY: &str =
    "Actions: {ENTRY_NOT_FOUND: {Default: SKIP}, LOG_TAMPERED: {Default: PAUSE}}\n";
pub(crate) const LIST: &str = "/sys/kernel/security/ima/binary_runtime_measurements";
pub(crate) const ATTEST: &str = "/root/attest.yaml";
const RUNC: &str = "/opt/runc/runc";
pub(crate) const BUSYBOX: &str = "lacre.test/busybox:1";
/// `TPM2_PCR_Extend` of PCR 12, by nobody's password, with one SHA-256 digest, which comes last
/// (TPM 2.0 Library, part 3, 22.2).
const EXTEND: [u8; 33] = [
    0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, 12, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0,
    0, 0, 1, 0, 11,
];
pub(crate) const REPORTS: &str = "/var/lib/lacre/policyd/reports-000001.jsonl";

/// A node that is attested by a server, and has containers.
pub(crate) struct Served(Guest);

impl Served {
    /// A server that attests nobody yet, and two containers of one image that it knows.
    pub(crate) fn start() -> Result<Self> {
        let mut served = Self(Guest::boot(Kernel::Patched)?);
        served.0.run(&format!("echo '{POLICY}' >/etc/lacre/policy.yaml"))?;
        served.policyd("")?;
        for id in ["web", "shop"] {
            served.container(id)?;
        }
        Ok(served)
    }

    pub(crate) fn container(&mut self, id: &str) -> Result<()> {
        let script = run(id, "", BUSYBOX, "exec tail -f /dev/null", "/bin/busybox");
        self.0.run_with(CONFIG, &script).map(drop)
    }

    /// One that has neither a server nor containers yet.
    pub(crate) const fn of(guest: Guest) -> Self {
        Self(guest)
    }

    pub(crate) fn guest(&mut self) -> &mut Guest {
        &mut self.0
    }

    /// Ends the server, if there is one, and starts it.
    pub(crate) fn policyd(&mut self, arguments: &str) -> Result<()> {
        let script = format!(
            "if [ -e /tmp/policyd ]; then
                kill $(cat /tmp/policyd)
                while kill -0 $(cat /tmp/policyd) 2>/dev/null; do usleep 20000; done
            fi
            /lacre/bin/lacre-policyd {arguments} </dev/null >/dev/null 2>/tmp/policyd.log &
            echo $! >/tmp/policyd
            until grep -q '\"serving\"' /tmp/policyd.log; do
                kill -0 $! || {{ cat /tmp/policyd.log; exit 1; }}
                usleep 20000
            done"
        );
        self.0.run(&script).map(drop)
    }

    /// Has the server attest this node by its TPM, what the host may run, and what the image of
    /// `web` may run; and starts the node's agent. What the node then is.
    pub(crate) fn attest(&mut self) -> Result<Value> {
        let programs = PROGRAMS.join(" ");
        let script = format!(
            "set -e
            for program in {programs}; do
                mkdir -p /root/host${{program%/*}}
                cp $program /root/host$program
            done
            lacre baseline generate --rootfs /root/host -o /root/host.baseline
            lacre baseline generate --image {BUSYBOX} --namespace $CONTAINERD_NAMESPACE \
                --address $CONTAINERD_ADDRESS -o /root/image.baseline
            aggregate=$(head -n 1 {IMA}/ascii_runtime_measurements | cut -d ' ' -f 4)
            cat >{ATTEST} <<END
            interval: 3600
            endorsementKeys: [$(lacre-attestd keys | sed -n 's/endorsementKey: //p')]
            expect:
              kernel: {{bootAggregate: [\"$aggregate\"], containerIma: true}}
              host: {{baseline: host.baseline, programs: [{}]}}
              containers:
                lacre--web: {{secret: /var/lib/lacre/secrets/lacre--web, keeper: kernel,
                              baseline: image.baseline}}
              waive: [container-baseline]
END
            sed -i 's/^            //' {ATTEST}",
            PROGRAMS.join(", ")
        );
        self.0.run_with(CONFIG, &script)?;
        self.policyd(&format!("--attest {ATTEST}"))?;
        let agent = "lacre-attestd serve </dev/null >/dev/null 2>/tmp/attestd.log &";
        self.shown(&format!("LACRE_NODE=guest /lacre/bin/{agent}"))
    }

    /// What the node is once it has shown itself, which that makes it do.
    pub(crate) fn shown(&mut self, asking: &str) -> Result<Value> {
        let script = format!(
            "shown() {{ grep -c '\"attested\"' /tmp/attestd.log 2>/dev/null || true; }}
            before=$(shown)
            {asking}
            tries=0
            until [ $(shown) -gt ${{before:-0}} ]; do
                usleep 20000; tries=$((tries + 1))
                [ $tries -lt 3000 ] || {{ cat /tmp/attestd.log /tmp/policyd.log {ATTEST}; exit 1; }}
            done
            /lacre/bin/lacre node list --json || [ $? -le 2 ]"
        );
        let said = self.0.run(&script)?;
        let nodes: Vec<Value> = serde_json::from_str(&said).with_context(|| said.clone())?;
        let [node] = &nodes[..] else { anyhow::bail!("one node is expected: {said}") };
        Ok(node.clone())
    }

    pub(crate) fn again(&mut self) -> Result<Value> {
        self.shown("/lacre/bin/lacre node attest guest")
    }

    /// A container runs a program that its image does not have.
    pub(crate) fn drops(&mut self, id: &str, folder: &str) -> Result<()> {
        let inside = format!("mkdir {folder}; cp /bin/busybox {folder}/true; {folder}/true");
        let exec = format!("ctr tasks exec --exec-id e {id} sh -c '{inside}'");
        self.0.run_with(CONFIG, &exec)?;
        self.0.violation(id, folder).map(drop)
    }

    /// Waits for a report with these words, and says what was thought of the node then.
    pub(crate) fn thought(&mut self, words: &[&str]) -> Result<String> {
        let filter: String = words.iter().map(|word| format!(" | grep -e '{word}'")).collect();
        let script = format!("until cat {REPORTS}{filter}; do usleep 20000; done");
        let line = self.0.run(&script)?;
        let line: Value = serde_json::from_str(line.lines().next().unwrap_or_default())?;
        Ok(line["nodeTrust"].as_str().unwrap_or("none").to_owned())
    }

    /// Lays a file over the host's list, in which the line of the runtime that was put in
    /// runc's place has the digest of runc.
    fn hide(&mut self, runc: &[u8]) -> Result<()> {
        let is = self.runc()?;
        let bytes = self.0.read(LIST)?;
        let at = bytes.windows(is.len()).position(|bytes| bytes == is);
        let at = at.context("the runtime is not in the list")?;
        let script = format!(
            "set -e; cat {LIST} >/tmp/list
            {} | dd of=/tmp/list bs=1 seek={at} conv=notrunc 2>/dev/null
            mount --bind /tmp/list {LIST}",
            printf(runc)
        );
        self.0.run(&script).map(drop)
    }

    /// The digest of what is at runc's place.
    fn runc(&mut self) -> Result<Vec<u8>> {
        let sum = self.0.run(&format!("sha256sum {RUNC} | cut -d ' ' -f 1"))?;
        let digest: Hex = sum.trim().parse().map_err(anyhow::Error::msg)?;
        Ok(digest.0)
    }
}

/// How many lines the host's list has, each of the containers that live, and `aggregate`.
pub(crate) fn counts(guest: &mut Guest) -> Result<Vec<u64>> {
    let counts = guest.run(&format!(
        "cat {IMA}/runtime_measurements_count {IMA}/containers/*/runtime_measurements_count
        wc -l <{IMA}/containers/aggregate"
    ))?;
    Ok(counts.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// What has the shell write these bytes.
fn printf(bytes: &[u8]) -> String {
    let bytes: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("printf '{bytes}'")
}

/// The names of what was found, state first.
pub(crate) fn names(node: &Value) -> Vec<&str> {
    let findings = node["findings"].as_array().into_iter().flatten();
    let named = findings.filter(|found| found["note"] == false);
    std::iter::once(&node["state"])
        .chain(named.map(|found| &found["finding"]))
        .filter_map(Value::as_str)
        .collect()
}

mod patched {
    use super::*;

    #[test]
    #[ignore = "make test-vm"]
    fn a_node_is_trusted_until_it_is_altered() -> Result<()> {
        let mut served = Served::start()?;
        let node = served.attest()?;
        assert_eq!(names(&node), ["trusted"], "{node}");
        assert_eq!(node["principal"], "uid:0", "{node}");
        assert_eq!(node["unchecked"], Value::Array(Vec::new()), "{node}");
        let counts = counts(&mut served.0)?;
        assert_eq!(counts.len(), 4, "the host, two containers, aggregate: {counts:?}");
        assert_eq!(node["lines"], counts.iter().sum::<u64>(), "{counts:?}");
        served.drops("shop", "/tmp/one")?;
        assert_eq!(served.thought(&["/tmp/one"])?, "trusted");
        let node = served.again()?;
        assert_eq!(names(&node), ["trusted"], "{node}");

        // Another runtime, and a container that it has made. Nothing is hidden, so that the
        // others are left alone.
        let runc = served.runc()?;
        served.0.run(&format!("cp {RUNC} /root/r && echo >>/root/r && mv /root/r {RUNC}"))?;
        served.container("late")?;
        let node = served.again()?;
        assert_eq!(names(&node), ["untrusted", "HOST_PROGRAM"], "{node}");
        assert!(node["findings"].to_string().contains(RUNC), "{node}");
        served.drops("shop", "/tmp/two")?;
        assert_eq!(served.thought(&["/tmp/two"])?, "untrusted");
        for id in ["web", "shop", "late"] {
            becomes(&mut served.0, id, "RUNNING")?;
        }

        // The list is made to say that it was runc.
        served.hide(&runc)?;
        let node = served.again()?;
        assert_eq!(names(&node), ["untrusted", "LOG_EDITED"], "{node}");
        for id in ["web", "shop", "late"] {
            becomes(&mut served.0, id, "PAUSED")?;
            let done = format!("\"containerID\":\"{id}\"");
            assert_eq!(served.thought(&["\"action\":\"PAUSE\"", &done])?, "untrusted");
        }

        // Shown as it is, and forgotten, it is a node whose runtime is not runc; and the server
        // now takes no reports of such.
        served.0.run(&format!("umount {LIST} && sed -i '1i reports: refuse' {ATTEST}"))?;
        served.policyd(&format!("--attest {ATTEST}"))?;
        let node = served.shown(
            "/lacre/bin/lacre node acknowledge guest --reason 'a test'
            /lacre/bin/lacre node forget guest",
        )?;
        assert_eq!(names(&node), ["untrusted", "HOST_PROGRAM"], "{node}");
        served.0.run_with(CONFIG, "ctr tasks resume web")?;
        served.drops("web", "/tmp/three")?;
        let refused = "grep 'untrusted are refused here' /node/1.6/log | grep -q id=web";
        served.0.run(&format!("until {refused}; do usleep 20000; done"))?;
        served.0.run(&format!("! grep /tmp/three {REPORTS}"))?;
        let node = served.again()?;
        assert_eq!(names(&node), ["untrusted", "CONTAINER_VIOLATION", "HOST_PROGRAM"], "{node}");
        assert!(node["findings"].to_string().contains("/tmp/three/true"), "{node}");

        // Something else than the kernel extends the PCR of the containers' lists.
        let extend = [&EXTEND[..], &[1; 32]].concat();
        served.0.run(&format!("{} >/dev/tpmrm0", printf(&extend)))?;
        let node = served.again()?;
        assert!(names(&node).contains(&"AGGREGATE_NOT_REPLAYED"), "{node}");
        assert!(node["findings"].to_string().contains("PCR 12 holds what"), "{node}");
        // That is nobody's fault as far as anybody can tell.
        becomes(&mut served.0, "web", "RUNNING")
    }
}
