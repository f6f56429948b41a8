//! `lacre log` as a person and a script meet it.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lacre_attest::container::Secret;
use lacre_attest::testing::Node;
use lacre_types::Digest;

fn log(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lacre"));
    command.arg("log").args(args).current_dir(dir).output().unwrap()
}

fn rows(args: &[&str], dir: &Path) -> Vec<serde_json::Value> {
    let output = log(&[args, &["--json"]].concat(), dir);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn record(container: &str, digest: &Digest, path: &str) -> String {
    format!(
        "{{\"containerID\":\"{container}\",\"notificate\":\"INVALID_HASH\",\
         \"imageName\":\"docker.io/library/demo:2\",\"imageID\":\"sha256:aa\",\"line\":\"x\",\
         \"time\":\"2026-01-01T00:00:00Z\",\"namespace\":\"default\",\"node\":\"one\",\
         \"source\":\"fanotify\",\"digest\":\"{digest}\",\"path\":\"{path}\",\"layer\":\"2\",\
         \"outcome\":\"denied\"}}\n"
    )
}

/// A node whose kernel kept the list of one container, and records of another.
fn world() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let mut node = Node::boot();
    node.create("default--web", Secret::new([7; 32]));
    node.run("default--web", &Digest::sha256([1; 32]), "/usr/bin/wc");
    node.run("default--web", &Digest::sha256([3; 32]), "/usr/bin/ls");
    node.flush();
    let evidence = node.evidence(b"nonce");
    fs::write(temp.path().join("evidence.json"), evidence.to_json()).unwrap();
    let list = temp.path().join("lists/default--web");
    fs::create_dir_all(&list).unwrap();
    let kept = &evidence.anchors[0].containers[0].list;
    fs::write(list.join("binary_runtime_measurements_sha256"), &*kept.data).unwrap();
    fs::create_dir(temp.path().join("lists/aggregate")).unwrap();
    let older = record("db", &Digest::sha256([2; 32]), "/usr/bin/wc");
    fs::write(temp.path().join("records.1"), older).unwrap();
    let newest = record("db", &Digest::sha256([3; 32]), "/usr/bin/ls") + "{\"record\":\"ou";
    fs::write(temp.path().join("records"), newest).unwrap();
    temp
}

#[test]
fn files_of_one_name_are_told_apart() {
    let temp = world();
    let both = ["--records", "records", "--evidence", "evidence.json"];
    let found = rows(&[&both[..], &["--path", "/wc"]].concat(), temp.path());
    let told = |row: &serde_json::Value| {
        ["namespace", "containerID", "imageName", "layer", "by", "what"]
            .map(|key| row[key].as_str().unwrap().to_owned())
            .join(" ")
    };
    let found: Vec<_> = found.iter().map(told).collect();
    assert_eq!(
        found,
        [
            "default web docker.io/library/demo:1  kernel line 0",
            "default db docker.io/library/demo:2 2 fanotify INVALID_HASH denied",
        ]
    );
    let differing = rows(&[&both[..], &["--differing"]].concat(), temp.path());
    assert!(differing.iter().all(|row| row["path"] == "/usr/bin/wc"), "{differing:?}");
    assert_eq!(differing.len(), 2);
    let of_db = rows(&[&both[..], &["--container", "db"]].concat(), temp.path());
    assert_eq!(of_db.len(), 2);
}

#[test]
fn the_kernels_own_lists_are_read_from_their_folder() {
    let temp = world();
    let found = rows(&["--lists", "lists"], temp.path());
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["path"], "/usr/bin/ls");
    assert_eq!(found[0]["containerID"], "web");
}

#[test]
fn one_list_that_is_broken_hides_no_other() {
    let temp = world();
    let at = |id: &str| temp.path().join("lists").join(id);
    let list = fs::read(at("default--web").join("binary_runtime_measurements_sha256")).unwrap();
    for (id, bytes) in [("default--cut", &list[..list.len() - 3]), ("default--bad", &[0xff; 90])] {
        fs::create_dir(at(id)).unwrap();
        fs::write(at(id).join("binary_runtime_measurements_sha256"), bytes).unwrap();
    }
    fs::create_dir_all(at("default--dir").join("binary_runtime_measurements_sha256")).unwrap();
    fs::create_dir(at("default--gone")).unwrap();
    let output = log(&["--lists", "lists", "--records", "none", "--json"], temp.path());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 4, "{said}");
    for named in ["default--cut", "default--bad", "default--dir", "cannot read none"] {
        assert_eq!(said.matches(named).count(), 1, "{said}");
    }
}

#[test]
fn rows_of_several_nodes_are_told_apart() {
    let temp = world();
    // The same name on another node is another container, of another image.
    let web = record("web", &Digest::sha256([1; 32]), "/usr/bin/wc");
    fs::write(temp.path().join("web"), &web).unwrap();
    let args = ["--records", "web", "--evidence", "evidence.json"];
    let found = rows(&[&args[..], &["--path", "/wc"]].concat(), temp.path());
    let told = |row: &serde_json::Value| {
        ["node", "containerID", "imageName"].map(|key| row[key].as_str().unwrap().to_owned())
    };
    let mut found: Vec<_> = found.iter().map(told).collect();
    found.sort();
    let image = |n: u8| format!("docker.io/library/demo:{n}");
    assert_eq!(
        found,
        [
            ["node-1".to_owned(), "web".to_owned(), image(1)],
            ["one".to_owned(), "web".to_owned(), image(2)],
        ]
    );
    let head = |args: &[&str]| {
        let text = String::from_utf8(log(args, temp.path()).stdout).unwrap();
        text.lines().next().unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(head(&args), "NODE");
    assert_eq!(head(&["--records", "web"]), "CONTAINER");
    // A kernel's lists name no node: that of the records is theirs.
    let own = rows(&["--records", "web", "--lists", "lists"], temp.path());
    assert!(own.iter().all(|row| row["imageName"] == image(2)), "{own:?}");
    let as_shown =
        rows(&["--evidence", "evidence.json", "--container", "default/web"], temp.path());
    assert_eq!(as_shown.len(), 2);
}

#[test]
fn digests_of_two_algorithms_do_not_differ() {
    let temp = tempfile::tempdir().unwrap();
    let longer: Digest = format!("sha512:{}", "01".repeat(64)).parse().unwrap();
    let one = record("a", &Digest::sha256([1; 32]), "/x") + &record("b", &longer, "/x");
    fs::write(temp.path().join("records"), one).unwrap();
    assert!(rows(&["--records", "records", "--differing"], temp.path()).is_empty());
}

#[test]
fn a_table_and_what_is_missing_in_it() {
    let temp = world();
    let output = log(&["--records", "records"], temp.path());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.contains("default/db") && line.ends_with("/usr/bin/wc")));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "lacre: records: 1 line is no record (cut short?)\n");
    let none = log(&["--records", "none"], temp.path());
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}

#[test]
fn layers_are_told_by_the_image_of_a_container_that_nobody_named() {
    let temp = world();
    let lower = temp.path().join("lower");
    fs::create_dir_all(lower.join("usr/bin")).unwrap();
    fs::write(lower.join("usr/bin/wc"), "#!/bin/sh\n").unwrap();
    let options = lacre_baseline::Options::default();
    let made = lacre_baseline::from_lower(&[lower], &options, &lacre_baseline::NoProgress);
    made.unwrap().write(&temp.path().join("demo.baseline")).unwrap();
    let layers = |images: &str, from: &[&str]| {
        fs::write(temp.path().join("expect.yaml"), format!("images: {{{images}}}\n")).unwrap();
        let found = rows(&[from, &["--expect", "expect.yaml"]].concat(), temp.path());
        let kept = found.into_iter().filter(|row| row["by"] == "kernel");
        kept.map(|row| row["layer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let evidence = ["--evidence", "evidence.json"];
    let demo = layers("\"demo:*\": {baseline: demo.baseline}", &evidence);
    // The baseline has no ls.
    assert!(demo[0].is_empty() && !demo[1].is_empty(), "{demo:?}");
    assert_eq!(layers("other: {baseline: demo.baseline}", &evidence), ["", ""]);
    // A kernel's lists name no image: the container's records do.
    fs::write(temp.path().join("web"), record("web", &Digest::sha256([1; 32]), "/usr/bin/wc"))
        .unwrap();
    let from = ["--records", "web", "--lists", "lists"];
    assert_eq!(layers("\"demo:2\": {baseline: demo.baseline}", &from), demo);
}
