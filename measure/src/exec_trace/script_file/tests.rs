use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use lacre_types::FileId;

use super::super::told::ELSEWHERE;
use super::*;

#[test]
fn only_names_of_ones_own_descriptors_are_descriptors() {
    assert_eq!(own_descriptor(b"/dev/fd/63"), Some(63));
    assert_eq!(own_descriptor(b"/proc/self/fd/3"), Some(3));
    assert_eq!(own_descriptor(b"/dev/stdin"), Some(0));
    assert_eq!(own_descriptor(b"/dev/fd/../../tmp/x"), None);
    assert_eq!(own_descriptor(b"/tmp/dev/fd/3"), None);
}

/// What its mount namespace calls so is not what the container's does, and went with it.
#[test]
fn a_script_is_what_its_process_saw_though_that_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["own", "other"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let script = "mount --bind $0/other $0/own; echo; read never";
    let mut child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let process = Held::open(child.id()).unwrap();
    let own = ContainerRoot::of(&process).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let file = FileId { dev: 0, ino: 0, ctime_sec: 0, ctime_nsec: 0 };
    let mut told = Told::running((child.id(), 0, 0), file, true);
    told.flags = 0;
    let path = folder.path().join("own").into_os_string().into_encoded_bytes();
    let through = [&b"/proc/self/root"[..], &path].concat();
    for (own, path, expected) in
        [(Some(&own), &path, "other"), (Some(&own), &through, "other"), (None, &path, "own")]
    {
        let interpreters = &Interpreters::default();
        let family_of = &|_: &OwnedFd| Ok(None);
        let (process, root) = (Some(&process), Path::new("/"));
        let place = Place { interpreters, family_of, process, own, root };
        let found = place.find(&by_path(path), None, &told);
        let [Script::At(_, opened)] = &found[..] else { panic!("{}", path.escape_ascii()) };
        let mut text = String::new();
        files::reopen(opened.as_fd()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }
    told.flags = ELSEWHERE;
    let interpreters = &Interpreters::default();
    let (family_of, root) = (&|_: &OwnedFd| Ok(None), Path::new("/"));
    let place = Place { interpreters, family_of, process: None, own: None, root };
    assert!(matches!(place.find(&by_path(&path), None, &told)[..], [Script::Unread(..)]));
}

/// A text that was taken for a name, say: its interpreter finds nothing either.
#[test]
fn what_no_file_can_be_called_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = FileId { dev: 0, ino: 0, ctime_sec: 0, ctime_nsec: 0 };
    let mut told = Told::running((std::process::id(), 0, 0), file, true);
    told.flags = 0;
    // Something changed there since the process began.
    std::fs::write(folder.path().join("new"), "").unwrap();
    let process = Held::open(std::process::id()).unwrap();
    let own = ContainerRoot::of(&process).unwrap();
    let interpreters = &Interpreters::default();
    let (family_of, root) = (&|_: &OwnedFd| Ok(None), Path::new("/"));
    let (process, own) = (Some(&process), Some(&own));
    let place = Place { interpreters, family_of, process, own, root };
    let find = |name: &[u8]| {
        let path = [folder.path().as_os_str().as_encoded_bytes(), b"/", name].concat();
        place.find(&by_path(&path), None, &told)
    };
    assert!(find(&b"print(1);".repeat(40)).is_empty());
    assert!(find(&[&b"dir/"[..], &b"x".repeat(256)].concat()).is_empty());
    // One that was there may have been led in a circle since.
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    // It is told by the name by which a policy may allow it, unless that is by way of others.
    std::os::unix::fs::symlink(".", folder.path().join("link")).unwrap();
    for (name, is_told) in [
        ("gone", true),
        ("./gone", true),
        ("sub/gone", true),
        ("loop", true),
        ("sub/../gone", false),
        ("link/gone", false),
    ] {
        let found = find(name.as_bytes());
        let [Script::Unread(path, _)] = &found[..] else { panic!("{name}") };
        let due = CanonicalPath::new(folder.path().join(name).as_os_str().as_encoded_bytes());
        assert_eq!(*path, due.ok().filter(|_| is_told), "{name}");
    }
}

/// Nothing tells that it was there, and nothing that it was not.
#[test]
fn what_goes_without_a_trace_may_have_been_a_script() {
    let file = FileId { dev: 0, ino: 0, ctime_sec: 0, ctime_nsec: 0 };
    let mut told = Told::running((std::process::id(), 0, 0), file, true);
    told.flags = 0;
    // As though it were executed in some time: nothing has changed since.
    told.exec = u64::MAX;
    let process = Held::open(std::process::id()).unwrap();
    let own = ContainerRoot::of(&process).unwrap();
    let interpreters = &Interpreters::default();
    let (family_of, root) = (&|_: &OwnedFd| Ok(None), Path::new("/"));
    let (process, own) = (Some(&process), Some(&own));
    let place = Place { interpreters, family_of, process, own, root };
    for (name, may_have_been) in
        [("/dev/pts/4000000", true), ("/proc/4000000/fd/5", true), ("/usr/bin/4000000", false)]
    {
        let found = place.find(&by_path(name.as_bytes()), None, &told);
        let is_unread = matches!(found[..], [Script::Unread(..)]);
        assert_eq!(is_unread, may_have_been, "{name}");
    }
}
