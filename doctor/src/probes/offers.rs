//! What the kernel gives to see by, found out by trying.

use std::path::Path;
use std::time::Duration;

use lacre_measure::kernel_hooks::{Hook, offered};
use lacre_measure::{SourceError, container_ima, exec_map, exec_trace, fanotify, ima};
use lacre_types::chain;

use super::limit::Probe;
use crate::facts::{Offer, Offers, Seen};

/// All tries at once: each is some milliseconds of its own, and loading BPF some 50.
pub(super) struct Tries {
    fanotify: Probe<Offer>,
    exec_trace: Probe<Offer>,
    fetch: Probe<Offer>,
    exec_map: Probe<Offer>,
    container_ima: Probe<Offer>,
    ima: Probe<Offer>,
    bpf_lsm: Probe<Offer>,
    trampolines: Probe<Offer>,
}

impl Tries {
    pub(super) fn start() -> Self {
        let lists = Path::new("/sys/kernel/security/ima/containers");
        Self {
            fanotify: Probe::start("fanotify", || source(fanotify::offered())),
            exec_trace: Probe::start("exec-trace", || source(exec_trace::offered(false))),
            fetch: Probe::start("the hook for fetches", || source(exec_trace::offered(true))),
            exec_map: Probe::start("exec-map", || source(exec_map::probe())),
            container_ima: Probe::start("container-ima", || source(container_ima::offered(lists))),
            ima: Probe::start("ima", || source(ima::probe(&ima::Options::default()))),
            bpf_lsm: Probe::start("BPF LSM", || hook(Hook::Lsm)),
            trampolines: Probe::start("trampolines", || hook(Hook::Trampoline)),
        }
    }

    pub(super) fn wait(self, limit: Duration) -> Offers {
        let of = |probe: Probe<Offer>| match probe.wait(limit) {
            Seen::Seen(offer) => offer,
            Seen::Unseen(why) => Offer::Unseen(why),
        };
        Offers {
            fanotify: of(self.fanotify),
            exec_trace: of(self.exec_trace),
            fetch: of(self.fetch),
            exec_map: of(self.exec_map),
            container_ima: of(self.container_ima),
            ima: of(self.ima),
            bpf_lsm: of(self.bpf_lsm),
            trampolines: of(self.trampolines),
        }
    }
}

/// What a shim would be told, but that who is not root may lack what a shim has.
fn source(tried: Result<(), SourceError>) -> Offer {
    let Err(error) = tried else { return Offer::Given };
    let text = chain(&error).to_string();
    if !rustix::process::geteuid().is_root() {
        return Offer::Unseen(format!("only root can try: {text}"));
    }
    match error {
        SourceError::Unavailable { .. } => Offer::Missing(text),
        SourceError::Failed { .. } => Offer::Failed(text),
    }
}

fn hook(hook: Hook) -> Offer {
    let root = rustix::process::geteuid().is_root();
    match offered(hook) {
        // A kernel that has them, and calls none.
        Ok(()) if hook == Hook::Lsm && !calls_bpf() => {
            Offer::Missing("`bpf` is not among the security modules (`lsm=` at boot)".to_owned())
        }
        Ok(()) => Offer::Given,
        Err(error) if !root => Offer::Unseen(format!("only root can try: {error}")),
        Err(error) => Offer::Missing(format!("the kernel takes no such program: {error}")),
    }
}

fn calls_bpf() -> bool {
    std::fs::read_to_string("/sys/kernel/security/lsm")
        .is_ok_and(|list| list.trim().split(',').any(|module| module == "bpf"))
}
