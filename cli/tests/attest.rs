//! `lacre attest` as a person and a script meet it.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lacre_attest::container::Secret;
use lacre_attest::testing::Node;
use lacre_types::Digest;

fn lacre(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lacre"));
    command.arg("attest").args(args).current_dir(dir).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A node with one container that ran what its image has, and all the files.
fn world() -> (tempfile::TempDir, Node) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let script = b"#!/bin/sh\n";
    for (root, name) in [("image", "app.sh"), ("host", "runc.sh")] {
        fs::create_dir_all(dir.join(root).join("bin")).unwrap();
        fs::write(dir.join(root).join("bin").join(name), script).unwrap();
        let made = Command::new(env!("CARGO_BIN_EXE_lacre"))
            .args(["baseline", "generate", "--rootfs", root, "-o", &format!("{root}.baseline")])
            .current_dir(dir)
            .status()
            .unwrap();
        assert!(made.success());
    }
    let digest = lacre_attest::pcr::hash(lacre_types::Algorithm::Sha256, &[script]);
    let mut node = Node::boot();
    node.measure(&digest, "/bin/runc.sh");
    node.create("web", Secret::new([7; 32]));
    node.run("web", &digest, "/bin/app.sh");
    node.flush();
    fs::write(dir.join("web.secret"), "07".repeat(32) + "\n").unwrap();
    let expect = format!(
        "attestationKey: {}\nnonce: {}\nwaive: [endorsement]\nkernel:\n  pcrs: {{0: [\"{}\"]}}\n  containerIma: true\n\
         host:\n  baseline: host.baseline\n  programs: [/bin/runc.sh]\n\
         containers:\n  web: {{secret: web.secret, keeper: kernel, baseline: image.baseline}}\n",
        hex(&node.ak_name()),
        hex(b"nonce"),
        node.pcrs[&0]
    );
    fs::write(dir.join("expect.yaml"), expect).unwrap();
    fs::write(dir.join("evidence.json"), node.evidence(b"nonce").to_json()).unwrap();
    (temp, node)
}

const VERIFY: &[&str] = &["verify", "--evidence", "evidence.json", "--expect", "expect.yaml"];

#[test]
fn trusted_untrusted_and_unproven_differ_in_status() {
    let (temp, mut node) = world();
    let dir = temp.path();
    let good = lacre(VERIFY, dir);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(out(&good).starts_with("node node-1: TRUSTED\n"), "{}", out(&good));

    let unproven = lacre(&["verify", "--evidence", "evidence.json"], dir);
    assert_eq!(unproven.status.code(), Some(2), "{unproven:?}");
    assert!(out(&unproven).contains("no nonce was given"));

    // That a key is the named one does not tell that a TPM has it.
    let file = fs::read_to_string(dir.join("expect.yaml")).unwrap();
    fs::write(dir.join("key.yaml"), file.replace("waive: [endorsement]\n", "")).unwrap();
    let key = ["verify", "--evidence", "evidence.json", "--expect", "key.yaml"];
    let unproven = lacre(&key, dir);
    assert_eq!(unproven.status.code(), Some(2), "{unproven:?}");
    assert!(out(&unproven).contains("no makers' root certificates were given"));
    let waived = lacre(&[&key[..], &["--waive", "endorsement"]].concat(), dir);
    assert_eq!(waived.status.code(), Some(0), "{waived:?}");

    let other = lacre(&[VERIFY, &["--nonce", "00ff"]].concat(), dir);
    assert_eq!(other.status.code(), Some(1));
    let weight_of = |output: &Output, finding: &str| {
        let printed = out(output);
        let mut words = printed.lines().map(str::split_whitespace);
        words.find_map(|mut line| (line.next()? == finding).then(|| line.next().map(str::to_owned)))
    };
    assert_eq!(weight_of(&other, "NONCE_MISMATCH"), Some(Some("tampering".to_owned())));

    node.run("web", &Digest::sha256([9; 32]), "/tmp/evil");
    node.flush();
    fs::write(dir.join("evidence.json"), node.evidence(b"nonce").to_json()).unwrap();
    let bad = lacre(&[VERIFY, &["--json"]].concat(), dir);
    assert_eq!(bad.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_str(&out(&bad)).unwrap();
    assert_eq!(json["verdict"]["conclusion"], "untrusted");
    let finding = &json["verdict"]["findings"][0];
    assert_eq!(finding["finding"], "CONTAINER_VIOLATION");
    assert_eq!((&finding["containerID"], &finding["path"]), (&"web".into(), &"/tmp/evil".into()));
    let printed = lacre(VERIFY, dir);
    assert_eq!(weight_of(&printed, "CONTAINER_VIOLATION"), Some(Some("fault".to_owned())));
}

#[test]
fn what_is_kept_serves_the_next_time() {
    let (temp, mut node) = world();
    let dir = temp.path();
    let kept = lacre(&[VERIFY, &["--keep", "seen.json"]].concat(), dir);
    assert_eq!(kept.status.code(), Some(0));
    node.reboot(&[1; 32]);
    fs::write(dir.join("evidence.json"), node.evidence(b"nonce").to_json()).unwrap();
    let after = lacre(&[VERIFY, &["--seen", "seen.json"]].concat(), dir);
    assert!(
        out(&after).lines().any(|line| line.trim_start().starts_with("REBOOTED")),
        "{}",
        out(&after)
    );
}

#[test]
fn what_cannot_be_read_is_2_and_wrong_usage_64() {
    let (temp, _) = world();
    let dir = temp.path();
    fs::write(dir.join("bad.json"), "{\"version\": 2}").unwrap();
    fs::write(dir.join("bad.yaml"), "nonse: 00\n").unwrap();
    fs::write(dir.join("given.yaml"), "containers: {web: {baseline: image.baseline}}\n").unwrap();
    let cases = [
        (&["verify", "--evidence", "none"][..], 2, "cannot read none"),
        (&["verify", "--evidence", "bad.json"], 2, "version 2"),
        (&["verify", "--evidence", "evidence.json", "--expect", "bad.yaml"], 2, "nonse"),
        (&["verify", "--evidence", "evidence.json", "--expect", "given.yaml"], 2, "`secret`"),
        (&["verify", "--evidence", "evidence.json", "--nonce", "0"], 64, "hex"),
        (&["verify"], 64, "--evidence"),
    ];
    for (args, status, says) in cases {
        let output = lacre(args, dir);
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
}

#[test]
fn a_container_is_judged_by_its_image_where_it_has_no_baseline_of_its_own() {
    let (temp, mut node) = world();
    let dir = temp.path();
    let file = fs::read_to_string(dir.join("expect.yaml")).unwrap();
    let file = file.replace("keeper: kernel, baseline: image.baseline", "keeper: kernel");
    let of = |image: &str| format!("{file}images:\n  {image}: {{baseline: image.baseline}}\n");
    fs::write(dir.join("expect.yaml"), of("\"demo:*\"")).unwrap();
    let good = lacre(VERIFY, dir);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let says = "1 measurements are in the baseline of docker.io/library/demo:1";
    assert!(out(&good).contains(says), "{}", out(&good));
    fs::write(dir.join("expect.yaml"), of("demo:2")).unwrap();
    let open = lacre(VERIFY, dir);
    assert_eq!(open.status.code(), Some(2), "{open:?}");
    assert!(out(&open).contains("nor for its image docker.io/library/demo:1"), "{}", out(&open));
    node.run("web", &Digest::sha256([9; 32]), "/tmp/evil");
    node.flush();
    fs::write(dir.join("evidence.json"), node.evidence(b"nonce").to_json()).unwrap();
    fs::write(dir.join("expect.yaml"), of("demo:1")).unwrap();
    assert_eq!(lacre(VERIFY, dir).status.code(), Some(1));
}
