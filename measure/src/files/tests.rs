use super::*;

#[test]
fn links_do_not_lead_out_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
    std::os::unix::fs::symlink("../../../../etc/passwd", dir.path().join("up")).unwrap();
    assert!(open_in(dir.path(), b"/out").is_err());
    assert!(open_in(dir.path(), b"/up").is_err());
    assert!(open_in(dir.path(), b"/../../etc/passwd").is_err());
}

#[test]
fn the_own_file_systems_are_steady_and_proc_is_not() {
    let pid = std::process::id();
    let dev = |path: &str| {
        let stat = rustix::fs::stat(path).unwrap();
        FileId::kernel_dev(rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev))
    };
    assert_eq!(unsteady(pid, dev("/dev/shm")), None);
    assert_eq!(unsteady(pid, dev("/proc")), Some("proc".to_owned()));
}
