//! What the kernel lacks for lacre, or bounds.

use super::finding::{Area, Book, Finding};
use crate::facts::{Cgroups, Facts, Offer, Seen};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut book = Book::of(Area::Kernel);
    rights(facts, &mut book);
    kernel(facts, &mut book);
    hooks(facts, &mut book);
    evidence(facts, &mut book);
    groups(facts, &mut book);
    cgroups(facts, &mut book);
    book.all
}

fn rights(facts: &Facts, book: &mut Book) {
    if !facts.root {
        book.unseen("not root: what only root may try or read was not looked at")
            .mend("run it again as root");
    }
    if !facts.first_user_namespace {
        book.fault("this is a user namespace of its own, not the node's")
            .follows(
                "the kernel gives neither fanotify's questions nor BPF here: in enforce no \
                      container starts, in audit each is told of as SOURCE_LOST",
            )
            .mend("run containerd as root of the node (deploy/README.md, Rootless)");
    }
}

fn kernel(facts: &Facts, book: &mut Book) {
    let kernel = match &facts.kernel {
        Seen::Seen(kernel) => kernel,
        Seen::Unseen(why) => {
            book.unseen(why.clone());
            return;
        }
    };
    book.ok(format!("Linux {}, {}", kernel.release, kernel.machine));
    match &kernel.modules {
        Seen::Seen(modules) => {
            book.ok(format!("security modules: {}", modules.join(", ")));
        }
        Seen::Unseen(why) => {
            book.note(format!("its security modules are not told ({why})"))
                .follows("whether BPF LSM is called can't be said; lacre needs none of them")
                .mend("mount -t securityfs securityfs /sys/kernel/security");
        }
    }
    if kernel.btf {
        book.ok("BTF: /sys/kernel/btf/vmlinux");
    } else {
        book.warning("no BTF (/sys/kernel/btf/vmlinux)")
            .follows(
                "exec-trace can't be loaded: programs in memory and on mounts of a \
                      container's own are not seen",
            )
            .mend("a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions have it");
    }
    if !kernel.bpffs {
        book.note("no bpffs at /sys/fs/bpf")
            .follows("the first guarded container mounts it")
            .mend("mount -t bpf bpf /sys/fs/bpf, to have it before");
    }
    if !kernel.overlay {
        book.note("the kernel does not know overlayfs yet").follows(
            "a container on another snapshotter is known by its own files; the programs \
                      are loaded anew once overlayfs is there",
        );
    }
}

/// No source of this release uses them.
fn hooks(facts: &Facts, book: &mut Book) {
    let hooks =
        [("BPF LSM", &facts.offers.bpf_lsm), ("BPF trampolines", &facts.offers.trampolines)];
    for (name, offer) in hooks {
        match offer {
            Offer::Given => book.ok(format!("{name}: a program was loaded")),
            Offer::Missing(why) | Offer::Failed(why) => book
                .note(format!("no {name}: {why}"))
                .follows("nothing: no source of this release needs it"),
            Offer::Unseen(why) => book.unseen(format!("{name}: {why}")),
        };
    }
}

fn evidence(facts: &Facts, book: &mut Book) {
    match &facts.ima {
        Seen::Seen(ima) if !ima.is_there => book
            .note("no IMA")
            .follows(
                "the sources `ima` and `container-ima` can't be named here, and what ran \
                      can't be proved by the kernel's own list",
            )
            .mend("a kernel with CONFIG_IMA, and securityfs mounted"),
        Seen::Seen(ima) => match ima.lines {
            Some(0 | 1) => book
                .note("IMA measures nothing: it has no policy")
                .follows("the source `ima` is refused at Create")
                .mend("write a policy once a boot (docs/sources.md, ima)"),
            Some(lines) => book.ok(format!("IMA: {lines} lines")),
            None => book.unseen("IMA: how long its list is only root may read"),
        },
        Seen::Unseen(why) => book.unseen(why.clone()),
    };
    match &facts.tpm {
        Seen::Seen(tpm) if !tpm.device => book
            .note("no TPM (/dev/tpmrm0)")
            .follows("this node can't prove what it ran; lacre-attestd is not for it"),
        Seen::Seen(tpm) => match tpm.version.as_deref() {
            Some("2") | None => book.ok("TPM 2.0: /dev/tpmrm0"),
            Some(other) => book
                .note(format!("a TPM of version {}", lacre_types::escape(other.as_bytes())))
                .follows("attestation needs one of version 2"),
        },
        Seen::Unseen(why) => book.unseen(why.clone()),
    };
}

/// Groups that one shim has at most (docs/sources.md, Limits).
const GROUPS: u64 = 3;

fn groups(facts: &Facts, book: &mut Book) {
    let limits = match &facts.fanotify {
        Seen::Seen(limits) => limits,
        Seen::Unseen(why) => {
            book.unseen(why.clone());
            return;
        }
    };
    match limits.groups {
        Some(groups) if groups < GROUPS => book
            .warning(format!("fs.fanotify.max_user_groups is {groups}"))
            .follows(
                "a shim needs up to three groups under one user: containers of pods may \
                      have no `fanotify`, which enforce refuses to start",
            )
            .mend("sysctl -w fs.fanotify.max_user_groups=128, and in /etc/sysctl.d"),
        Some(groups) if !limits.other_users && facts.root => book
            .warning(format!(
                "fs.fanotify.max_user_groups is {groups}, and groups can't be made under other \
                 users (no CAP_SETUID, or too small a user namespace)"
            ))
            .follows(format!("all shims share them: some {} pods at most", groups / 2))
            .mend("deploy/lacre-sysctl.conf, into /etc/sysctl.d"),
        Some(groups) => book.ok(format!("fs.fanotify.max_user_groups is {groups}, for each user")),
        None => book.note("fs.fanotify.max_user_groups is not told").follows(
            "a kernel before 5.13 has 128 for each user; lacre makes its groups under many",
        ),
    };
}

fn cgroups(facts: &Facts, book: &mut Book) {
    match &facts.cgroups {
        Seen::Seen(Cgroups::None) => book
            .fault("no cgroups are mounted")
            .follows("no container starts, guarded or not")
            .mend("mount cgroup2 at /sys/fs/cgroup"),
        Seen::Seen(kind) => book.ok(match kind {
            Cgroups::V2 => "cgroups: version 2",
            Cgroups::Hybrid => "cgroups: version 1 and 2 (hybrid)",
            Cgroups::V1 | Cgroups::None => "cgroups: version 1",
        }),
        Seen::Unseen(why) => book.unseen(why.clone()),
    };
}
