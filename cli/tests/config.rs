//! `lacre config check` as a person and a script meet it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lacre"));
    command.args(["config", "check"]).args(args);
    command
}

fn check(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, text: &str) -> String {
        let path = self.path("config.yaml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn every_error_has_its_place() {
    let folder = Folder::new();
    let file = folder.file("mode: enforcee\nsorces: auto\nserver: http://x\nblock: all\n");
    let output = check(&[&file]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    for words in [
        ":1:7: error: ",
        "did you mean `enforce`",
        "1 | mode: enforcee",
        "^^^^^^^^",
        ":2:1: error: ",
        "did you mean `sources`",
        ":3:9: error: this is not a policy server",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    let json = check(&["--json", &file]);
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["ok"], false);
    let lines: Vec<_> =
        json["diagnostics"].as_array().unwrap().iter().map(|it| it["line"].clone()).collect();
    assert_eq!(lines, [1, 2, 3]);
}

#[test]
fn a_good_file_is_good_from_standard_input_too() {
    let folder = Folder::new();
    let good = folder.file("mode: enforce\nblock: all\n");
    let output = check(&[&good, &good]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(out.matches("good, mode enforce").count(), 2, "{out}");
    for (text, status) in [("mode: audit\n", 0), ("", 0), ("mode: audi\n", 1)] {
        let mut child = command(&["-"]);
        let pipes = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{text:?}: {output:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8(said).unwrap().starts_with("<stdin>:"), "{text:?}");
    }
    let absent = check(&["/nonexistent/config.yaml"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(told(&absent).starts_with("lacre: cannot read the configuration /nonexistent/"));
}

#[test]
fn an_answer_that_could_not_be_written_is_none() {
    let folder = Folder::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut good = command(&[&folder.file("mode: audit\n")]);
    assert_eq!(good.stdout(full).output().unwrap().status.code(), Some(2));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut bad = command(&[&folder.file("mode: audi\n")]);
    assert_eq!(bad.stdout(full).output().unwrap().status.code(), Some(1));
}

#[test]
fn what_is_named_and_not_to_be_had_is_a_warning() {
    let folder = Folder::new();
    let file = folder.file(
        "mode: enforce\n\
         policy: /nonexistent/policy.yaml\n\
         server: unix:///nonexistent/policyd.sock\n\
         programs: /nonexistent/programs.sha256\n\
         inner: {shim: /nonexistent/shim}\n",
    );
    let output = check(&[&file]);
    assert_eq!(output.status.code(), Some(0));
    let text = told(&output);
    for words in [
        ":2:9: warning: there is no /nonexistent/policy.yaml",
        "every Create is refused until it is there",
        ":3:9: warning: unix:///nonexistent/policyd.sock can't be reached",
        ":4:11: warning: /nonexistent/programs.sha256: ",
        ":5:15: warning: ",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.ends_with("good, mode enforce, 4 warnings\n"), "{out}");
    let alone = check(&["--alone", &file]);
    assert_eq!((alone.status.code(), told(&alone)), (Some(0), String::new()));
    let json = check(&["--json", &file]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["diagnostics"].as_array().unwrap().len(), 4);
    assert!(json["diagnostics"].as_array().unwrap().iter().all(|it| it["severity"] == "warning"));
}

#[test]
fn a_broken_policy_is_a_warning_where_it_is_named() {
    let folder = Folder::new();
    fs::write(folder.path("policy.yaml"), "Actions: {FILELESS: {Default: STOPP}}\n").unwrap();
    let file = folder.file(&format!("policy: {}\n", folder.path("policy.yaml").display()));
    let text = told(&check(&[&file]));
    assert!(text.contains(":1:9: warning: the policy can't be used: "), "{text}");
    assert!(text.contains("policy.yaml:1:"), "{text}");
}

/// A CA, and a certificate of a node that ends in so many days.
fn certificates(folder: &Folder, days: i64) -> (PathBuf, PathBuf, PathBuf) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(["node".to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    // Half a day of slack, so that a slow run counts the same.
    let day = |days: i64| {
        rcgen::date_time_ymd(1970, 1, 1)
            + Duration::from_secs(now.saturating_add_signed(days * 86_400 + 43_200))
    };
    (params.not_before, params.not_after) = (day(days.min(0) - 10), day(days));
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap().pem();
    let write = |name: &str, text: &str| {
        fs::write(folder.path(name), text).unwrap();
        folder.path(name)
    };
    (write("ca.pem", &ca), write("node.pem", &cert), write("node.key", &key.serialize_pem()))
}

#[test]
fn certificates_are_looked_at() {
    let folder = Folder::new();
    let named = |ca: &Path, cert: &Path, key: &Path| {
        folder.file(&format!(
            "server: tls://127.0.0.1:1\ntls:\n  ca: {}\n  cert: {}\n  key: {}\n",
            ca.display(),
            cert.display(),
            key.display()
        ))
    };
    for (days, words) in [
        (-3, Some(":4:9: warning: ")),
        (-3, Some("ended 2 days ago")),
        (3, Some("ends in 3 days")),
        (300, None),
    ] {
        let (ca, cert, key) = certificates(&folder, days);
        let text = told(&check(&[&named(&ca, &cert, &key)]));
        // Nobody serves there.
        assert!(text.contains(":1:9: warning: tls://127.0.0.1:1 can't be reached"), "{text}");
        match words {
            Some(words) => assert!(text.contains(words), "no {words:?} in {text}"),
            None => assert_eq!(text.matches("warning").count(), 1, "{text}"),
        }
    }
    let (ca, cert, _) = certificates(&folder, 300);
    let other = folder.path("other.key");
    fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let text = told(&check(&[&named(&ca, &cert, &other)]));
    assert!(text.contains(":4:9: warning: ") && text.contains("with the key"), "{text}");
    let text = told(&check(&[&named(&ca, &cert, Path::new("/nonexistent/key"))]));
    assert!(text.contains(":5:8: warning: /nonexistent/key: "), "{text}");
    let text = told(&check(&[&named(&cert.with_extension("key"), &cert, &other)]));
    assert!(text.contains(":3:7: warning: ") && text.contains("no certificate in it"), "{text}");
}
