//! What is to be mended in containerd's and Docker's settings.

use std::path::Path;

use lacre_types::escape;

use super::finding::{Area, Book, Finding};
use crate::facts::{ConfigFile, Daemon, Facts, Handler, Seen, Settings};

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

pub(super) fn containerd(facts: &Facts) -> Vec<Finding> {
    let mut book = Book::of(Area::Containerd);
    match &facts.daemons {
        Seen::Unseen(why) => {
            book.unseen(why.clone());
        }
        Seen::Seen(daemons) if daemons.is_empty() => {
            book.warning("no containerd runs here, and none is on PATH")
                .follows("there is nothing that lacre could guard")
                .mend("install containerd, or run this where it runs (its mount namespace)");
        }
        Seen::Seen(daemons) => {
            for daemon in daemons {
                let configs = facts.configs.known().map_or(&[][..], |all| &all[..]);
                one(daemon, configs, facts.root, &mut book);
            }
        }
    }
    book.all
}

fn one(daemon: &Daemon, configs: &[ConfigFile], root: bool, book: &mut Book) {
    let program = shown(&daemon.program);
    match (daemon.pid, &daemon.version) {
        (Some(pid), Seen::Seen(version)) => {
            let config = shown(&daemon.config);
            book.ok(format!("containerd {version}, process {pid}: {program}, by {config}"));
        }
        (None, Seen::Seen(version)) => {
            book.note(format!("{version} is installed ({program}), and does not run"));
        }
        (Some(pid), Seen::Unseen(why)) if root => {
            book.fault(format!("containerd, process {pid}, does not answer: {why}"))
                .follows("whose image a container has can't be asked: enforce starts none")
                .mend("look into containerd's own log, and restart it: containers go on guarded");
        }
        (_, Seen::Unseen(why)) => {
            book.unseen(format!("containerd ({program}): {why}"));
        }
    }
    match &daemon.shim {
        Seen::Seen(Some(shim)) => {
            book.ok(format!("it finds lacre's shim: {}", shown(shim)));
        }
        Seen::Seen(None) => {
            book.fault("it finds no containerd-shim-lacre-v1, on its PATH or beside itself")
                .follows("`--runtime io.containerd.lacre.v1` starts nothing")
                .mend(format!(
                    "`make install`, or a link: ln -s /usr/local/bin/containerd-shim-lacre-v1 {}",
                    shown(daemon.program.parent().unwrap_or(Path::new("/usr/bin")))
                ));
        }
        Seen::Unseen(why) => {
            book.unseen(format!("where it finds lacre's shim: {why}"));
        }
    }
    match &daemon.settings {
        Seen::Seen(settings) => pods(settings, configs, book),
        Seen::Unseen(why) => {
            book.unseen(format!("its configuration: {why}"))
                .follows("what pods run by can't be said")
                .mend(format!("{program} --config {} config dump", shown(&daemon.config)));
        }
    }
}

fn pods(settings: &Settings, configs: &[ConfigFile], book: &mut Book) {
    if settings.version < 3 {
        for import in &settings.replacing {
            book.warning(format!(
                "{} has a CRI section, and this is containerd 1.x",
                shown(import)
            ))
            .follows(
                "it replaces the whole of the main file's: sandbox image, registries and \
                          CNI paths with it",
            )
            .mend("write the handler into the main file (deploy/README.md)");
        }
    }
    if !settings.cri {
        book.note("CRI is off: no kubelet uses it").follows(
            "ctr, nerdctl and Docker name the runtime themselves: --runtime io.containerd.lacre.v1",
        );
        return;
    }
    let runc = settings.handlers.iter().find(|handler| handler.name == "runc");
    let mut lacre = settings.handlers.iter().filter(|handler| handler.is_lacre()).peekable();
    if lacre.peek().is_none() {
        book.note("no handler of pods is lacre")
            .follows("on a Kubernetes node, no pod is guarded")
            .mend("add one, and a RuntimeClass (deploy/README.md, Kubernetes)");
    }
    for handler in lacre {
        one_handler(handler, runc, configs, book);
    }
}

fn one_handler(handler: &Handler, runc: Option<&Handler>, configs: &[ConfigFile], book: &mut Book) {
    let name = escape(handler.name.as_bytes());
    if let Some(path) = handler.path.as_ref().filter(|_| !handler.is_there) {
        book.fault(format!("the handler {name} names {}, which is not there", shown(path)))
            .follows("no pod of its RuntimeClass starts")
            .mend("`make install`, or mend `runtime_path`");
        return;
    }
    let own = handler.systemd_cgroup || configs.iter().any(|config| config.systemd_cgroup);
    if runc.is_some_and(|runc| runc.systemd_cgroup) && !own {
        book.fault(format!("the handler runc has SystemdCgroup, and {name} has not"))
            .follows(
                "pods of its RuntimeClass are put into other cgroups than the kubelet's, and \
                      their limits do not hold",
            )
            .mend(
                "`inner: {options: {SystemdCgroup: true}}` in lacre's configuration, or \
                   SystemdCgroup = true in the handler's options",
            );
        return;
    }
    book.ok(format!("pods: the handler {name} is lacre"));
}

pub(super) fn docker(facts: &Facts) -> Vec<Finding> {
    let mut book = Book::of(Area::Docker);
    match &facts.docker {
        Seen::Seen(None) => {
            book.note(format!("no dockerd at {}", shown(&facts.docker_socket)));
        }
        Seen::Seen(Some(docker)) => {
            let (version, socket) = (&docker.version, shown(&docker.socket));
            book.ok(format!("Docker {version} at {socket}"));
            if docker.rootless {
                book.fault("it is root only in a user namespace of its own")
                    .follows("its containers can't be guarded: enforce starts none")
                    .mend("run dockerd as root of the node (deploy/README.md, Rootless)");
            }
            if docker.is_default {
                book.ok("lacre is its default runtime");
            } else {
                let known = if docker.has_lacre { ", which it knows" } else { "" };
                book.note(format!("lacre is not its default runtime{known}")).follows(
                    "a container is guarded where it is run with --runtime io.containerd.lacre.v1 \
                     (or by the name that dockerd has for it)",
                );
            }
        }
        Seen::Unseen(why) => {
            book.unseen(why.clone());
        }
    }
    book.all
}
