//! A node without a server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::attesting::WAIVED;
use crate::node::{Node, program};

#[test]
fn a_node_verifies_itself() {
    let node = Node::new();
    let expect = node.at("expect.yaml");
    let [root, _] = node.swtpm.authorities();
    fs::write(node.at("maker.der"), root).unwrap();
    let key = Command::new(program("lacre-attestd")).arg("keys").envs(node.environment()).output();
    let keys = String::from_utf8(key.unwrap().stdout).unwrap();
    let ak = keys.lines().find(|line| line.starts_with("attestationKey: ")).unwrap();
    fs::write(&expect, format!("{ak}\nmakers: [maker.der]\nwaive: [{WAIVED}]\n")).unwrap();
    let lacre = |expect: &Path| {
        let mut command = Command::new(program("lacre"));
        command.args(["attest", "--expect"]).arg(expect).envs(node.environment());
        command.output().unwrap()
    };
    let good = lacre(&expect);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(good.stdout.starts_with(b"node node-1: TRUSTED\n"), "{good:?}");
    // A process leaves nothing behind in the TPM, which has room for three keys.
    for _ in 0..3 {
        assert_eq!(lacre(&expect).status.code(), Some(0));
    }
    fs::write(node.list(), "").unwrap();
    let bad = lacre(&expect);
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    assert!(String::from_utf8_lossy(&bad.stdout).contains("NOTHING_MEASURED"), "{bad:?}");
}
