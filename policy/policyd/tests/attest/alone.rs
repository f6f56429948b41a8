//! A node without a server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::attesting::{ANCHORS, WAIVED};
use crate::node::{Node, program};

#[test]
fn a_node_verifies_itself() {
    let mut node = Node::new();
    let expect = node.at("expect.yaml");
    let [root, _] = node.swtpm.authorities();
    fs::write(node.at("maker.der"), root).unwrap();
    let key = Command::new(program("lacre-attestd")).arg("keys").envs(node.environment()).output();
    let keys = String::from_utf8(key.unwrap().stdout).unwrap();
    let ak = keys.lines().find(|line| line.starts_with("attestationKey: ")).unwrap();
    fs::write(&expect, format!("{ak}\nmakers: [maker.der]\n{ANCHORS}\nwaive: [{WAIVED}]\n"))
        .unwrap();
    let environment = node.environment();
    let lacre = |expect: &Path| {
        let mut command = Command::new(program("lacre"));
        command.args(["attest", "--expect"]).arg(expect).envs(environment.clone());
        command.output().unwrap()
    };
    let good = lacre(&expect);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(good.stdout.starts_with(b"node node-1: TRUSTED\n"), "{good:?}");
    assert_eq!(String::from_utf8_lossy(&good.stderr), "", "nothing is wrong, and nothing is said");
    // A process leaves nothing behind in the TPM, which has room for three keys.
    for _ in 0..3 {
        assert_eq!(lacre(&expect).status.code(), Some(0));
    }
    // What runs now is checked by the secrets that the node has, which are kept nowhere.
    node.run("web", "/bin/app");
    let saved = node.at("saved.json");
    let mut command = Command::new(program("lacre"));
    command.args(["attest", "--expect"]).arg(&expect).arg("--save").arg(&saved);
    let running = command.envs(node.environment()).output().unwrap();
    assert_eq!(running.status.code(), Some(0), "{running:?}");
    assert!(String::from_utf8_lossy(&running.stdout).contains("container-list:web"));
    let saved = fs::read_to_string(saved).unwrap();
    assert!(!saved.contains(&"07".repeat(32)) && saved.ends_with('}'), "{saved}");
    let text = fs::read_to_string(&expect).unwrap();
    for (containers, status) in [("web: {}", 0), ("gone: {optional: true}", 0), ("gone: {}", 1)] {
        fs::write(&expect, format!("{text}containers: {{{containers}}}\n")).unwrap();
        let named = lacre(&expect);
        assert_eq!(named.status.code(), Some(status), "{containers}: {named:?}");
    }
    // The quote is over what the file asks for.
    fs::write(&expect, format!("{text}pcrs: [0, 10, 14]\n")).unwrap();
    let others = lacre(&expect);
    assert_eq!(others.status.code(), Some(0), "{others:?}");
    assert!(String::from_utf8_lossy(&others.stdout).contains("sha256:0,10,12,14,15"), "{others:?}");
    // This host's list is not in that bank.
    fs::write(&expect, format!("{text}bank: sha384\n")).unwrap();
    let bank = String::from_utf8(lacre(&expect).stdout).unwrap();
    assert!(bank.contains("sha384:0,1,2,3,4,5,6,7,8,9,10"), "{bank}");
    assert!(!bank.contains("SELECTION_OTHER"), "{bank}");
    fs::write(&expect, text).unwrap();
    fs::write(node.list(), "").unwrap();
    let bad = lacre(&expect);
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    assert!(String::from_utf8_lossy(&bad.stdout).contains("LOG_TRUNCATED"), "{bad:?}");
}

#[test]
fn why_there_is_no_tpm_is_said_in_words() {
    let node = Node::new();
    for (tcti, says) in [
        ("device:/nonexistent/tpm", "No such file or directory"),
        ("swtpm:host=127.0.0.1,port=1", "Connection refused"),
    ] {
        let mut command = Command::new(program("lacre-attestd"));
        command.args(["--tcti", tcti, "keys"]).envs(node.environment()).env_remove("LACRE_TCTI");
        let none = command.output().unwrap();
        let error = String::from_utf8(none.stderr).unwrap();
        assert_eq!((none.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.contains(says) && error.contains(tcti), "{error}");
    }
    // Who wants to know more of libtss2 is told.
    let mut command = Command::new(program("lacre-attestd"));
    command.args(["--tcti", "device:/nonexistent/tpm", "keys"]).envs(node.environment());
    let told = command.env("TSS2_LOG", "all+ERROR").output().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("ERROR:tcti"), "{told:?}");
}
