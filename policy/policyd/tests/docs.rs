//! The commands of docs/policy-server.md, run as they stand there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::Command;

use lacre_proto::policy::StatusRequest;
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{Connector, TlsFiles};
use support::{Policyd, flags, free_port, over, policy_text, within};

#[test]
fn the_certificates_of_the_guide_connect_a_node() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy-server.md");
    let text = std::fs::read_to_string(guide).unwrap();
    let script = text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-euc", script]).current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let port = free_port();
    std::fs::write(
        dir.path().join("policy.yaml"),
        format!("{}PORT: \"{port}\"\n", policy_text("SKIP")),
    )
    .unwrap();
    let file = |name: &str| dir.path().join(name);
    let mut args = vec!["--listen".to_owned(), format!("unix://{}", file("s").display())];
    let server = TlsFiles { cert: file("server.pem"), key: file("server.key"), ca: file("ca.pem") };
    args.extend(flags(&server, "--client-ca"));
    // The policy's PORT is the TLS port.
    let _server = Policyd::start(dir.path(), &args);
    let files = TlsFiles { cert: file("node-1.pem"), key: file("node-1.key"), ca: file("ca.pem") };
    let address = format!("tls://localhost:{port}").parse().unwrap();
    let to = Connector::new(address, Some(files)).unwrap();
    over(&to, async |client| {
        let client = PolicyServiceClient::new(client);
        let status = client.status(within(), &StatusRequest::default()).await.unwrap();
        assert_eq!(status.nodes[0].principal, "tls:spiffe://example.org/node/node-1");
    });
}

#[test]
fn what_cannot_be_followed_ends_with_64_and_says_what_to_do() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_lacre-policyd")).args(args).output().unwrap()
    };
    let plain = run(&["--listen", "tcp://0.0.0.0:50051"]);
    assert_eq!(plain.status.code(), Some(64));
    let said = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(
        said.contains("TCP without certificates") && said.contains("tls://HOST:PORT"),
        "{said}"
    );
    let bare = run(&["--listen", "tls://0.0.0.0:50051"]);
    assert_eq!(bare.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&bare.stderr).contains("--client-ca"));
    let missing = run(&["--check", "--policy", "/nonexistent/policy.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/policy.yaml"));
}
