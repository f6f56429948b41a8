//! A node of a fleet: the server knows it by its certificate and its TPM by who made that, and
//! goes on knowing it over a reboot. Server and node are one guest, of its own.

use anyhow::{Result, ensure};
use lacre_integration::vm::{Guest, Kernel, Maker};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use serde_json::Value;

use super::attested::PROGRAMS;
use super::container_ima::run;
use super::ima::IMA;
use super::served::{ATTEST, BUSYBOX, LIST, REPORTS, Served, names};
use super::{becomes, put};

const SERVER: &str = "tls://127.0.0.1:50051";
const PRINCIPAL: &str = "spiffe://example.org/node/guest";
const CONFIG: &str = "mode: enforce
sources: [container-ima]
server: tls://127.0.0.1:50051
tls: {ca: /root/ca.pem, cert: /root/node.pem, key: /root/node.key}
";
const POLICY: &str =
    "Actions: {ENTRY_NOT_FOUND: {Default: SKIP}, LOG_TAMPERED: {Default: PAUSE}}\n";

/// Gives the guest a CA's certificate, and of that CA one for the server and one for the node.
fn certificates(guest: &mut Guest) -> Result<()> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    put(guest, "/root/ca.pem", &params.self_signed(&key)?.pem())?;
    let ca = Issuer::new(params, key);
    let server = SanType::IpAddress([127, 0, 0, 1].into());
    let node = SanType::URI(PRINCIPAL.try_into()?);
    let purposes = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for (name, san, purpose) in [("server", server, &purposes[0]), ("node", node, &purposes[1])] {
        let mut params = CertificateParams::new([])?;
        params.subject_alt_names.push(san);
        params.extended_key_usages.push(purpose.clone());
        let key = KeyPair::generate()?;
        put(guest, &format!("/root/{name}.pem"), &params.signed_by(&key, &ca)?.pem())?;
        put(guest, &format!("/root/{name}.key"), &key.serialize_pem())?;
    }
    Ok(())
}

/// Writes how nodes are attested: by TPMs of one maker, and what this one is now.
fn expectations(served: &mut Served) -> Result<()> {
    let script = format!(
        "set -e
        for program in {}; do
            mkdir -p /root/host${{program%/*}}
            cp $program /root/host$program
        done
        /lacre/bin/lacre baseline generate --rootfs /root/host -o /root/host.baseline
        aggregate=$(head -n 1 {IMA}/ascii_runtime_measurements | cut -d ' ' -f 4)
        cat >{ATTEST} <<END
interval: 3600
makers: [maker.pem]
expect:
  kernel: {{bootAggregate: [\"$aggregate\"], containerIma: true}}
  host: {{baseline: host.baseline, programs: [{}]}}
  waive: [container-baseline]
END",
        PROGRAMS.join(" "),
        PROGRAMS.join(", ")
    );
    served.guest().run(&script).map(drop)
}

fn serve(served: &mut Served) -> Result<()> {
    served.policyd(&format!(
        "--attest {ATTEST} --listen unix:///run/lacre/policyd.sock --listen {SERVER} \
         --cert /root/server.pem --key /root/server.key --client-ca /root/ca.pem"
    ))
}

/// A container of lacre's, whose shim reports over TLS that it ran what is not its image's.
fn reports(served: &mut Served, id: &str, path: &str) -> Result<()> {
    let inside = format!("cp /bin/busybox {path}; {path} true; exec tail -f /dev/null");
    served.guest().run_with(CONFIG, &run(id, "", BUSYBOX, &inside, path)).map(drop)
}

/// Who reported that, and what was thought of the node then.
fn reported(served: &mut Served, path: &str) -> Result<(String, String)> {
    let trust = served.thought(&[path])?;
    let line = served.guest().run(&format!("cat {REPORTS} | grep -m 1 -e {path}"))?;
    let line: Value = serde_json::from_str(&line)?;
    Ok((line["owner"].as_str().unwrap_or_default().to_owned(), trust))
}

/// What starts the node's agent.
fn agent() -> String {
    format!(
        "LACRE_NODE=guest LACRE_EK_CHAIN=/root/issuer.pem /lacre/bin/lacre-attestd serve \
         --server {SERVER} --cert /root/node.pem --key /root/node.key --ca /root/ca.pem \
         </dev/null >/dev/null 2>/tmp/attestd.log & echo $! >/tmp/attestd"
    )
}

/// Reboots it, and starts the server. The containers' lives have ended, their names are free.
fn rebooted(served: &mut Served) -> Result<()> {
    served.guest().reboot()?;
    put(served.guest(), "/etc/lacre/policy.yaml", POLICY)?;
    serve(served)?;
    let forget = "for id in $(ctr containers ls -q); do ctr containers rm $id; done";
    served.guest().run_with(CONFIG, forget).map(drop)
}

fn listed(served: &mut Served) -> Result<Vec<Value>> {
    let said = served.guest().run("/lacre/bin/lacre node list --json || [ $? -le 2 ]")?;
    Ok(serde_json::from_str(&said)?)
}

fn trusted(node: &Value) {
    assert_eq!(names(node), ["trusted"], "{node}");
    assert_eq!(node["principal"], format!("tls:{PRINCIPAL}"), "{node}");
    assert_eq!(node["unchecked"], Value::Array(Vec::new()), "{node}");
}

mod patched {
    use super::*;

    #[test]
    #[ignore = "make test-vm"]
    fn a_node_is_its_certificate_and_a_makers_tpm_and_stays_so_over_a_reboot() -> Result<()> {
        let (maker, other) = (Maker::new()?, Maker::new()?);
        other.make(tempfile::tempdir()?.path())?;
        let mut served = Served::of(Guest::boot_made_by(Kernel::Patched, &maker)?);
        certificates(served.guest())?;
        put(served.guest(), "/root/issuer.pem", &maker.issuer()?)?;
        put(served.guest(), "/etc/lacre/policy.yaml", POLICY)?;
        // The maker that is trusted has not made this node's TPM.
        put(served.guest(), "/root/maker.pem", &other.root()?)?;
        expectations(&mut served)?;
        serve(&mut served)?;
        reports(&mut served, "web", "/tmp/one")?;
        let by = format!("tls:{PRINCIPAL}");
        assert_eq!(reported(&mut served, "/tmp/one")?, (by.clone(), "unenrolled".to_owned()));
        let refused = "grep 'not known to be of a real TPM' /tmp/attestd.log";
        served.guest().run(&format!("{}\nuntil {refused}; do usleep 20000; done", agent()))?;
        let nodes = listed(&mut served)?;
        ensure!(nodes.len() == 1 && names(&nodes[0]) == ["unenrolled"], "{nodes:?}");
        assert_eq!(nodes[0]["principal"], *by);
        served.guest().run("kill $(cat /tmp/attestd)")?;

        put(served.guest(), "/root/maker.pem", &maker.root()?)?;
        serve(&mut served)?;
        let before = served.shown(&agent())?;
        trusted(&before);
        reports(&mut served, "shop", "/tmp/two")?;
        assert_eq!(reported(&mut served, "/tmp/two")?, (by, "trusted".to_owned()));

        rebooted(&mut served)?;
        // Nobody has shown anything since: this is from the server's disk.
        let nodes = listed(&mut served)?;
        ensure!(nodes.len() == 1 && nodes[0] == before, "{before} before, {nodes:?} now");
        // What the host's programs are is seen once they have run.
        reports(&mut served, "web", "/tmp/three")?;
        assert_eq!(reported(&mut served, "/tmp/three")?.1, "trusted");
        let after = served.shown(&agent())?;
        trusted(&after);
        assert_eq!(after["findings"][0]["finding"], "REBOOTED", "{after}");
        assert_eq!(after["attestationKey"], before["attestationKey"], "{after}");
        assert_eq!(after["since"], before["since"], "{after}");

        // Lists that can't be read accuse nobody, and prove nothing.
        let unproven = "/lacre/bin/lacre node list --json | grep LISTS_UNREADABLE";
        served.guest().run(&format!(
            "umount -l /sys/kernel/security && /lacre/bin/lacre node attest guest
            until {unproven}; do usleep 20000; done"
        ))?;
        assert_eq!(names(&listed(&mut served)?[0]), ["unproven", "LISTS_UNREADABLE"]);
        served.guest().run("mount -t securityfs security /sys/kernel/security")?;
        trusted(&served.again()?);

        // Booted once more, it shows what it has run before.
        served.guest().run(&format!("cat {LIST} >/root/list"))?;
        rebooted(&mut served)?;
        reports(&mut served, "web", "/tmp/four")?;
        served.guest().run(&format!("mount --bind /root/list {LIST}"))?;
        let node = served.shown(&agent())?;
        assert_eq!(names(&node), ["untrusted", "LOG_OF_ANOTHER_BOOT"], "{node}");
        becomes(served.guest(), "web", "PAUSED")
    }
}
