//! One node where all is well, and each way in which it may not be.

use std::path::PathBuf;

use lacre_types::{Mode, Source};

use super::*;
use crate::facts::*;

fn program(name: &str) -> Program {
    Program {
        name: name.into(),
        place: Ok(format!("/usr/bin/{name}").into()),
        listed: Some(Ok(())),
    }
}

fn config() -> ConfigFile {
    ConfigFile {
        path: "/etc/lacre/config.yaml".into(),
        named_by: "by default".into(),
        required: false,
        is_there: true,
        read: Seen::Seen(Ok(())),
        mode: Mode::Enforce,
        wanted: Wanted::default(),
        systemd_cgroup: false,
        policy: PolicyFile {
            path: "/etc/lacre/policy.yaml".into(),
            is_standard: true,
            rules: Seen::Seen(Ok(Some(3))),
            warnings: 0,
        },
        server: None,
        inner: Inner { shim: program("shim"), runtime: Some(program("runc")) },
        disks: vec![Disk {
            what: "records",
            path: "/var/log".into(),
            space: Seen::Seen((8 << 30, 4 << 30)),
            read_only: false,
        }],
        watchdog: Watchdog {
            socket: "/run/lacre/watchdog".into(),
            listens: Seen::Seen(true),
            unit: None,
        },
        docker: "/var/run/docker.sock".into(),
    }
}

fn handler(name: &str, runtime: &str, systemd_cgroup: bool) -> Handler {
    Handler {
        name: name.into(),
        runtime: runtime.into(),
        path: None,
        is_there: true,
        config: None,
        systemd_cgroup,
    }
}

fn daemon() -> Daemon {
    Daemon {
        pid: Some(7),
        program: "/usr/bin/containerd".into(),
        config: "/etc/containerd/config.toml".into(),
        socket: Some("/run/containerd/containerd.sock".into()),
        version: Seen::Seen("2.1.9".into()),
        settings: Seen::Seen(Settings {
            version: 3,
            imports: Vec::new(),
            replacing: Vec::new(),
            cri: true,
            handlers: vec![
                handler("runc", "io.containerd.runc.v2", false),
                handler("lacre", "io.containerd.lacre.v1", false),
            ],
        }),
        shim: Seen::Seen(Some("/usr/local/bin/containerd-shim-lacre-v1".into())),
        lacre_config: None,
        search_path: None,
    }
}

/// A node on which there is nothing to mend.
fn facts() -> Facts {
    let given = || Offer::Given;
    Facts {
        root: true,
        first_user_namespace: true,
        kernel: Seen::Seen(Kernel {
            release: "6.12.0".into(),
            machine: "x86_64".into(),
            modules: Seen::Seen(vec!["capability".into(), "bpf".into()]),
            btf: true,
            bpffs: true,
            overlay: true,
        }),
        offers: Offers {
            fanotify: given(),
            exec_trace: given(),
            fetch: given(),
            exec_map: given(),
            container_ima: given(),
            ima: given(),
            bpf_lsm: given(),
            trampolines: given(),
        },
        ima: Seen::Seen(Ima { is_there: true, lines: Some(9) }),
        tpm: Seen::Seen(Tpm { device: true, version: Some("2".into()) }),
        fanotify: Seen::Seen(FanotifyLimits { groups: Some(128), other_users: true }),
        cgroups: Seen::Seen(Cgroups::V2),
        daemons: Seen::Seen(vec![daemon()]),
        docker_socket: "/run/docker.sock".into(),
        docker: Seen::Seen(None),
        configs: Seen::Seen(vec![config()]),
    }
}

fn of_config(change: impl FnOnce(&mut ConfigFile)) -> Facts {
    let mut config = config();
    change(&mut config);
    Facts { configs: Seen::Seen(vec![config]), ..facts() }
}

fn of_daemon(change: impl FnOnce(&mut Daemon, &mut Settings)) -> Facts {
    let mut daemon = daemon();
    let Seen::Seen(mut settings) = daemon.settings.clone() else { unreachable!() };
    change(&mut daemon, &mut settings);
    if daemon.settings.known().is_some() {
        daemon.settings = Seen::Seen(settings);
    }
    Facts { daemons: Seen::Seen(vec![daemon]), ..facts() }
}

fn server(change: impl FnOnce(&mut Server, &mut Tls)) -> Facts {
    let certificate = |what, expiry| Certificate {
        file: "/etc/lacre/x.pem".into(),
        what,
        expiry: Seen::Seen(expiry),
    };
    let mut tls = Tls {
        usable: Seen::Seen(Ok(())),
        certificates: vec![certificate("the CA's", Expiry::Left(900))],
        exposed_key: None,
    };
    let mut server = Server {
        address: "tls://p:1".into(),
        answer: Seen::Seen(Ok("sha256:aa".into())),
        error: None,
        tls: None,
    };
    change(&mut server, &mut tls);
    server.tls = Some(tls);
    of_config(|config| config.server = Some(server))
}

/// The one finding that is no `ok` and no `note`, and what it says.
fn told(facts: &Facts) -> (State, String) {
    let all = findings(facts);
    let mut bad: Vec<_> = all.iter().filter(|it| it.state > State::Note).collect();
    let last = bad.pop().unwrap_or_else(|| panic!("nothing to mend: {all:#?}"));
    assert!(bad.is_empty(), "{bad:#?} beside {last:#?}");
    assert_eq!(worst(&all), last.state);
    (last.state, format!("{} {:?} {:?}", last.is, last.follows, last.mend))
}

#[test]
fn where_all_is_well_there_is_nothing_to_mend() {
    let all = findings(&facts());
    let not_ok: Vec<_> = all.iter().filter(|it| it.state != State::Ok).collect();
    assert!(not_ok.iter().all(|it| it.is.starts_with("no dockerd")), "{not_ok:#?}");
    assert!(worst(&all) <= State::Note);
    // Each of them tells what is.
    assert!(all.iter().all(|it| !it.is.is_empty()));
}

#[test]
fn each_thing_that_is_taken_away_is_told() {
    let missing = || Offer::Missing("it needs something".to_owned());
    let offers = |change: fn(&mut Offers, Offer)| {
        let mut facts = facts();
        change(&mut facts.offers, missing());
        facts
    };
    let kernel = |change: fn(&mut Kernel)| {
        let mut facts = facts();
        if let Seen::Seen(kernel) = &mut facts.kernel {
            change(kernel);
        }
        facts
    };
    let cases = [
        (offers(|all, it| all.fanotify = it), State::Warning, "exec-trace` kills instead"),
        (offers(|all, it| all.exec_trace = it), State::Warning, "programs in memory"),
        (offers(|all, it| all.fetch = it), State::Warning, "no libraries"),
        (kernel(|kernel| kernel.btf = false), State::Warning, "BTF"),
        (Facts { root: false, ..facts() }, State::Unseen, "root"),
        (Facts { first_user_namespace: false, ..facts() }, State::Fault, "user namespace"),
        (Facts { cgroups: Seen::Seen(Cgroups::None), ..facts() }, State::Fault, "no container"),
        (
            Facts {
                fanotify: Seen::Seen(FanotifyLimits { groups: Some(0), other_users: true }),
                ..facts()
            },
            State::Warning,
            "max_user_groups",
        ),
        (
            Facts {
                fanotify: Seen::Seen(FanotifyLimits { groups: Some(128), other_users: false }),
                ..facts()
            },
            State::Warning,
            "CAP_SETUID",
        ),
        (Facts { daemons: Seen::Seen(Vec::new()), ..facts() }, State::Warning, "no containerd"),
        (Facts { docker: Seen::Unseen("it hung".into()), ..facts() }, State::Unseen, "it hung"),
    ];
    for (facts, state, words) in cases {
        let (told, text) = told(&facts);
        assert_eq!(told, state, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn what_is_wrong_with_the_daemon() {
    let cases = [
        (
            of_daemon(|it, _| it.version = Seen::Unseen("no answer".into())),
            State::Fault,
            "no answer",
        ),
        (of_daemon(|it, _| it.shim = Seen::Seen(None)), State::Fault, "ln -s"),
        (
            of_daemon(|it, _| it.settings = Seen::Unseen("hung".into())),
            State::Unseen,
            "config dump",
        ),
        (of_daemon(|_, it| it.handlers[0].systemd_cgroup = true), State::Fault, "SystemdCgroup"),
        (
            of_daemon(|_, it| {
                it.version = 2;
                it.replacing = vec!["/etc/containerd/conf.d/x.toml".into()];
            }),
            State::Warning,
            "replaces the whole",
        ),
        (
            of_daemon(|_, it| {
                it.handlers[1].path = Some("/nonexistent/containerd-shim-lacre-v1".into());
                it.handlers[1].is_there = false;
            }),
            State::Fault,
            "runtime_path",
        ),
    ];
    for (facts, state, words) in cases {
        let (told, text) = told(&facts);
        assert_eq!(told, state, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
    // Said in lacre's own file, it is right.
    let mut facts = of_daemon(|_, it| it.handlers[0].systemd_cgroup = true);
    let own = ConfigFile { systemd_cgroup: true, ..config() };
    facts.configs = Seen::Seen(vec![own]);
    assert!(worst(&findings(&facts)) <= State::Note);
}

#[test]
fn what_is_wrong_with_lacres_own_files() {
    let absent =
        || PolicyFile { is_standard: false, rules: Seen::Seen(Ok(None)), ..config().policy };
    let broken = |it: &mut ConfigFile| it.policy.rules = Seen::Seen(Err("p:1:2: error".into()));
    let named = Wanted { only: Some(vec![Source::Fanotify, Source::Bpf]), fetch: true };
    let cases = [
        (
            of_config(|it| it.read = Seen::Seen(Err("c:1:2: error".into()))),
            State::Fault,
            "config check",
        ),
        (of_config(|it| it.policy = absent()), State::Fault, "every Create is refused"),
        (of_config(broken), State::Fault, "DENY"),
        (of_config(|it| it.policy.warnings = 2), State::Warning, "2 warnings"),
        (of_config(|it| it.wanted = named.clone()), State::Fault, "names bpf"),
        (of_config(|it| it.inner.shim.place = Err("gone".into())), State::Fault, "gone"),
        (
            of_config(|it| it.inner.shim.listed = Some(Err("another".into()))),
            State::Fault,
            "another",
        ),
        (of_config(|it| it.disks[0].space = Seen::Seen((1, 1))), State::Fault, "0 MiB"),
        (
            of_config(|it| it.disks[0].space = Seen::Seen((1 << 40, 1 << 29))),
            State::Warning,
            "512 MiB",
        ),
        (of_config(|it| it.disks[0].read_only = true), State::Fault, "read-only"),
        (
            of_config(|it| {
                it.watchdog.listens = Seen::Seen(false);
                it.watchdog.unit = Some(PathBuf::from("/etc/systemd/system/x"));
            }),
            State::Warning,
            "systemctl",
        ),
    ];
    for (facts, state, words) in cases {
        let (told, text) = told(&facts);
        assert_eq!(told, state, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
    // Audit goes on, and says so.
    let audit = of_config(|it| {
        it.policy = absent();
        it.mode = Mode::Audit;
    });
    assert_eq!(told(&audit).0, State::Warning);
}

#[test]
fn what_is_wrong_with_the_server() {
    let ends = |expiry| {
        move |_: &mut Server, tls: &mut Tls| {
            tls.certificates[0].expiry = Seen::Seen(expiry);
        }
    };
    let cases = [
        (server(|it, _| it.answer = Seen::Seen(Err("refused".into()))), State::Fault, "spooled"),
        (server(|it, _| it.error = Some("broken".into())), State::Warning, "broken"),
        (
            server(|_, tls| tls.usable = Seen::Seen(Err("they do not match".into()))),
            State::Fault,
            "do not match",
        ),
        (server(ends(Expiry::Ended(3))), State::Fault, "ended 3 days ago"),
        (server(ends(Expiry::Left(3))), State::Warning, "ends in 3 days"),
        (server(ends(Expiry::Begins(3))), State::Fault, "clock"),
        (server(|_, tls| tls.exposed_key = Some("/k".into())), State::Warning, "chmod 600 /k"),
    ];
    for (facts, state, words) in cases {
        let (told, text) = told(&facts);
        assert_eq!(told, state, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(worst(&findings(&server(|_, _| {}))) <= State::Note);
}
