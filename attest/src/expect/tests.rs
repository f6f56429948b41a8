//! Expectations from files: how images are named, and by what lines are judged.

use super::*;
use std::fs;

#[test]
fn what_lines_are_judged_by_tells_expectations_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("expect.yaml");
    fs::write(dir.path().join("secret"), "07".repeat(32)).unwrap();
    let judged_by = |text: &str| {
        fs::write(&file, text).unwrap();
        Expected::read(&file).unwrap().judged_by()
    };
    let one = judged_by("containers: {a: {secret: secret}}\n");
    assert_eq!(judged_by("containers: {a: {secret: secret}}\nwaive: [kernel]\n"), one);
    for other in [
        "waive: [kernel]\n",
        "bank: sha384\ncontainers: {a: {secret: secret}}\n",
        "containers: {b: {secret: secret}}\n",
        "containers: {a: {secret: secret, seq: 1}}\n",
        "containers: {a: {secret: secret, keeper: kernel}}\n",
    ] {
        assert_ne!(judged_by(other), one, "{other}");
    }
    let expected = Expected::read(&file).unwrap();
    assert_eq!(expected.expectations(None, &[]).judged_by, Some(expected.judged_by()));
}

/// A folder with two baselines of one layer each: of `/bin/a` and of `/bin/b`.
fn shelf() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let lower = dir.path().join(name);
        fs::create_dir_all(lower.join("bin")).unwrap();
        fs::write(lower.join("bin").join(name), "#!/bin/sh\n").unwrap();
        let options = lacre_baseline::Options::default();
        let made = lacre_baseline::from_lower(&[lower], &options, &lacre_baseline::NoProgress);
        made.unwrap().write(&dir.path().join(format!("{name}.baseline"))).unwrap();
    }
    fs::write(dir.path().join("secret"), "07".repeat(32)).unwrap();
    dir
}

fn expected(dir: &tempfile::TempDir, text: &str) -> Result<Expected, ExpectError> {
    let file = dir.path().join("expect.yaml");
    fs::write(&file, text).unwrap();
    Expected::read(&file)
}

#[test]
fn images_are_named_as_in_the_policy_and_the_first_glob_holds() {
    let dir = shelf();
    let text = "images:\n  \"team/*\": {baseline: a.baseline}\n  \"team/web*\": {baseline: b.baseline}\n  \
                nginx: {baseline: a.baseline}\n  nginx@sha256:ab: {baseline: b.baseline}\n";
    let expected = expected(&dir, text).unwrap();
    let expectations = expected.expectations(None, &[]);
    let has = |image: &str, path: &str| {
        let path = CanonicalPath::new(path).unwrap();
        let entry = |by: &dyn ImageBaselines| by.baseline(image).map(|b| b.entry(&path).is_some());
        expectations.images.and_then(entry)
    };
    for (image, a) in [
        ("docker.io/library/nginx:latest", Some(true)),
        ("nginx:1@sha256:ab", Some(false)),
        ("nginx:1", None),
        ("docker.io/team/web:2", Some(true)),
        ("example.org/team/web:2", None),
        ("", None),
        ("\u{1b}\n", None),
    ] {
        assert_eq!((has(image, "/bin/a"), has(image, "/bin/b")), (a, a.map(|a| !a)), "{image}");
    }
    assert!(Expected::default().expectations(None, &[]).images.is_none());
}

#[test]
fn what_is_wrong_with_images_is_told() {
    let dir = shelf();
    let error = |text: &str| match expected(&dir, text) {
        Ok(_) => panic!("{text}"),
        Err(error) => lacre_types::chain(&error),
    };
    for (text, says) in [
        (
            "images: {nginx: {baseline: a.baseline}, docker.io/nginx: {baseline: b.baseline}}",
            "twice",
        ),
        ("images: {team/Nginx: {baseline: a.baseline}}", "matches nothing"),
        ("images: {\"a[\": {baseline: a.baseline}}", "no image's name"),
        ("images: {nginx: {baseline: none}}", "none"),
        ("images: {nginx: {keeper: kernel}}", "keeper"),
        ("images: {nginx: {}}", "baseline"),
        ("images: [nginx]", "expected images"),
    ] {
        let error = error(text);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn what_images_may_run_is_what_lines_are_judged_by() {
    let dir = shelf();
    let judged_by = |text: &str| expected(&dir, text).unwrap().judged_by();
    let all = [
        "",
        "images: {\"x*\": {baseline: a.baseline}}",
        "images: {\"x*\": {baseline: b.baseline}}",
        "images: {\"y*\": {baseline: a.baseline}}",
        "images: {\"x*\": {baseline: a.baseline}, \"y*\": {baseline: b.baseline}}",
        "images: {\"y*\": {baseline: b.baseline}, \"x*\": {baseline: a.baseline}}",
    ];
    let different: BTreeSet<String> = all.iter().map(|text| judged_by(text).to_string()).collect();
    assert_eq!(different.len(), all.len());
    // Whether it must be there is asked anew each time.
    let one = judged_by("containers: {c: {secret: secret, baseline: a.baseline}}");
    let optional = "containers: {c: {baseline: a.baseline, optional: true}}";
    assert_eq!(judged_by(optional), one);
}

#[test]
fn a_layer_is_told_by_the_container_or_else_by_its_image() {
    let dir = shelf();
    let text = "containers: {own: {secret: secret, baseline: b.baseline}, c: {optional: true}}\n\
                images: {nginx: {baseline: a.baseline}}\n";
    let expected = expected(&dir, text).unwrap();
    assert_eq!(expected.without_secret(), Some("c"));
    let layer = |id: &str, image: &str, path: &str| {
        expected.layer(id, image, &CanonicalPath::new(path).unwrap())
    };
    for (id, image, path, told) in [
        ("own", "nginx", "/bin/b", true),
        ("own", "nginx", "/bin/a", false),
        ("c", "nginx", "/bin/a", true),
        ("other", "docker.io/library/nginx", "/bin/a", true),
        ("other", "busybox", "/bin/a", false),
        ("other", "", "/bin/a", false),
    ] {
        assert_eq!(layer(id, image, path).is_some(), told, "{id} {image} {path}");
    }
}

#[test]
fn shims_lists_are_in_no_pcr_that_is_another_s() {
    let dir = tempfile::tempdir().unwrap();
    for (pcr, says) in
        [(0, "firmware"), (9, "boot loader"), (10, "IMA"), (11, "systemd"), (16, "set back")]
    {
        let error = expected(&dir, &format!("anchors: {{shim: {pcr}}}")).unwrap_err();
        let error = lacre_types::chain(&error);
        assert!(error.contains(says), "{error}");
    }
    for pcr in 12..=15 {
        let text = format!("anchors: {{shim: {pcr}}}");
        assert_eq!(expected(&dir, &text).unwrap().anchors()[&Keeper::Shim].pcr.index(), pcr);
    }
}
