//! `lacre policy check` and `explain`, with the figures' own policy and with damaged ones.

use std::io::Write as _;

use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: PolicyArgs,
}

/// What the command prints on stdout and stderr, and whether all is good.
fn lacre(args: &[&str]) -> (String, String, bool) {
    let line = Line::try_parse_from(std::iter::once(&"policy").chain(args)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let done = match &line.args.command {
        Command::Check(args) => check(args, &mut out, &mut err),
        Command::Explain(args) => explain(args, &mut out, &mut err),
        Command::Schema => unreachable!(),
    };
    let good = match done {
        Ok(exit) => exit == Exit::Good,
        Err(error) => {
            write!(err, "{error:#}").unwrap();
            false
        }
    };
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), good)
}

fn usage(args: &[&str]) -> String {
    let line = Line::try_parse_from(std::iter::once(&"policy").chain(args));
    line.unwrap_err().to_string()
}

const FIGURE_3: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/sarmento-figure3.yaml");
const STOPPED: &str = "152dc042452c496007f07ca9127571cb9c29697f42acbfad72324b2bb2e43c98";

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn figure_3_is_good_with_a_warning_and_its_defaults() {
    let (out, err, good) = lacre(&["check", FIGURE_3]);
    assert!(good);
    assert!(out.contains("good, 8 rules and the defaults, 1 warning"), "{out}");
    assert!(out.contains("  ENTRY_NOT_FOUND  DELETE                 line 11\n"), "{out}");
    assert!(out.contains("  FILELESS         DENY, or else KILL     built in\n"), "{out}");
    assert!(out.contains("  SOURCE_LOST      KILL                   built in\n"), "{out}");
    assert!(err.contains("sarmento-figure3.yaml:7:9: warning: "), "{err}");
    assert!(out.ends_with("  Mode             the node's own\n"), "{out}");
}

#[test]
fn ids_and_digests_are_taken_with_and_without_their_algorithm() {
    let id = format!("sha256:{STOPPED}");
    for id in [STOPPED, &id] {
        let (out, _, _) = lacre(&["explain", FIGURE_3, "--kind", "ENTRY_NOT_FOUND", "--id", id]);
        assert!(out.starts_with("STOP\n"), "{out}");
        assert!(
            out.contains("figure3.yaml:4: Actions.ENTRY_NOT_FOUND.ByContainerID[\"152dc042"),
            "{out}"
        );
    }
    let digest = "db8bf6f4fb351aa7a26e27ba2686cf35a6a409f65603e59d4c203e58387dc6b3";
    for digest in [digest, &format!("sha256:{digest}")] {
        let (out, _, _) =
            lacre(&["explain", FIGURE_3, "--kind", "ENTRY_NOT_FOUND", "--digest", digest]);
        assert!(out.starts_with("RESTART\n"), "{out}");
    }
}

#[test]
fn json_says_the_same() {
    let args = ["explain", FIGURE_3, "--kind", "INVALID_HASH", "--image", "ubuntu:16.04", "--json"];
    let (out, _, good) = lacre(&args);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert!(good);
    assert_eq!(told["action"], "SKIP");
    assert_eq!(told["rule"]["line"], 18);
    let (out, _, _) = lacre(&["check", FIGURE_3, "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["ok"], true);
    assert_eq!(told["diagnostics"][0]["line"], 7);
    assert_eq!(told["defaults"]["FILELESS"]["enforce"]["cannotDeny"], "KILL");
}

#[test]
fn every_selector_can_be_asked_for() {
    let policy = file(
        "Actions:\n  FILELESS:\n    ByLabel: [{a=b: PAUSE}]\n    ByAnnotation: [{c=d: STOP}]\n\
         \x20   ByNamespace: [{ns: KILL}]\n    ByPath: [{/x/*: SKIP}]\n",
    );
    let name = policy.path().to_str().unwrap();
    for (args, action) in [
        (&["--label", "a=b", "--namespace", "ns"][..], "PAUSE"),
        (&["--annotation", "c=d"], "STOP"),
        (&["--namespace", "k8s.io", "--namespace", "ns"], "KILL"),
        (&["--path", "//x/y"], "SKIP"),
        (&[], "DENY"),
    ] {
        let (out, _, _) = lacre(&[&["explain", name, "--kind", "FILELESS"], args].concat());
        assert_eq!(out.lines().next(), Some(action), "{args:?}");
    }
}

#[test]
fn code_directories_are_told_with_what_lies_in_them() {
    let policy = file(
        "CodeDirectories:\n  ByContainerImageName: [{web: [/srv/app/]}]\n  Default: [\"**/lib\"]\n\
         Actions: {}\n",
    );
    let name = policy.path().to_str().unwrap();
    let (out, err, good) = lacre(&["check", name]);
    assert!(good && err.is_empty(), "{err}");
    assert!(
        out.contains("good, 1 rule and the defaults\n")
            && out.contains("  CodeDirectories  **/lib\n"),
        "{out}"
    );
    assert!(out.contains("  REPORT           SKIP                   built in\n"), "{out}");
    assert!(out.contains("  Report           files\n"), "{out}");
    let explain = ["explain", name, "--kind", "ENTRY_NOT_FOUND", "--image", "web"];
    for (path, told) in [
        ("/srv/app/x", "  code     /srv/app; /srv/app/x is code to an interpreter\n"),
        ("/srv/app/../x", "  code     /srv/app; /srv/x is in none of them\n"),
    ] {
        let (out, _, _) = lacre(&[&explain[..], &["--path", path]].concat());
        assert!(out.ends_with(told), "{out}");
    }
    let (out, _, _) = lacre(&["check", name, "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["codeDirectories"][0], &told["report"]), (&"**/lib".into(), &"files".into()));
}

#[test]
fn a_bad_file_is_told_and_refused() {
    let bad = file("Actions:\n  FILELESS:\n    Default: STOPP\n");
    let name = bad.path().to_str().unwrap();
    let (out, err, good) = lacre(&["check", name]);
    assert!(!good && out.is_empty());
    assert!(err.contains(":3:14: error: `STOPP` is not an action"), "{err}");
    let (out, _, good) = lacre(&["check", name, "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert!(!good && told["ok"] == false && told["diagnostics"][0]["column"] == 14);
    let (_, err, good) = lacre(&["explain", name, "--kind", "FILELESS"]);
    assert!(!good && err.contains("STOPP"));
}

#[test]
fn a_file_that_is_not_there_and_one_without_end_are_told() {
    let (_, err, good) = lacre(&["check", "/nonexistent/p.yaml"]);
    assert!(!good && err.contains("cannot read the policy /nonexistent/p.yaml: No such"), "{err}");
    let (_, err, good) = lacre(&["check", "/dev/zero"]);
    assert!(!good && err.contains("more than 1048576"), "{err}");
}

#[test]
fn wrong_usage_names_what_was_meant() {
    let told = usage(&["explain", FIGURE_3, "--kind", "INVALID_HAHS"]);
    assert!(told.contains("INVALID_HASH"), "{told}");
    let told = usage(&["explain", FIGURE_3, "--kind", "FILELESS", "--digest", &"a".repeat(63)]);
    assert!(told.contains("sha256 has 64 hex digits, this has 63"), "{told}");
    let told = usage(&["explain", FIGURE_3, "--kind", "FILELESS", "--path", "x"]);
    assert!(told.contains("does not begin with /"), "{told}");
    let told = usage(&["explain", FIGURE_3, "--kind", "FILELESS", "--label", "x"]);
    assert!(told.contains("expected KEY=VALUE"), "{told}");
}
