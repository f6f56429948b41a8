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
