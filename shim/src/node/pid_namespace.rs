//! Whose process one is where two containers share a cgroup: their pid namespaces tell.

use lacre_types::proc_pid::status_field;
use serde::{Deserialize, Serialize};

use super::proc_files::{self, namespace};
use super::process;

/// More than the depth of any real tree of processes.
const HOPS: usize = 4096;

/// The pid namespace of a container's first process, by its inode number
/// (pid_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PidNamespace {
    /// It begins with that process: who is in it, or beneath it, is the container's, and ends
    /// with that process.
    Own(u64),
    /// The node's, or another container's: who is in a third one is another's.
    Shared(u64),
}

impl PidNamespace {
    /// That of a container's first process; `None` when it has ended.
    #[must_use]
    pub fn of(init: u32) -> Option<Self> {
        let status = proc_files::read(init, "status").ok()??;
        // Its numbers, from the namespace of this /proc to its own (proc(5)).
        let first = status_field(&status, "NSpid")?.next_back() == Some("1");
        let its = namespace(init, "pid")?;
        let nodes = namespace(std::process::id(), "pid") == Some(its);
        Some(if first && !nodes { Self::Own(its) } else { Self::Shared(its) })
    }

    /// Whether a process may be the container's. `began` says whether its first process still
    /// lives: who is in a namespace of its own has ended with it, and the number may be
    /// another's by now.
    #[must_use]
    pub fn has(self, pid: u32, began: bool) -> bool {
        match self {
            Self::Own(own) => began && is_within(pid, own),
            Self::Shared(shared) => namespace(pid, "pid").is_none_or(|its| its == shared),
        }
    }
}

/// Whether a process is in a namespace or in one beneath it: the first process of each is the
/// child of one above.
fn is_within(pid: u32, wanted: u64) -> bool {
    let mut at = pid;
    for _ in 0..HOPS {
        if namespace(at, "pid") == Some(wanted) {
            return true;
        }
        match process::parent(at) {
            Some(parent) if parent > 0 => at = parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read as _;
    use std::process::{Child, Command, Stdio};

    struct Unshared(Child);

    impl Drop for Unshared {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// `unshare` with a child, once that runs: and the child's number.
    fn unshared(options: &[&str], script: &str) -> (Unshared, u32) {
        let mut child = Command::new("unshare")
            .args(options)
            .args(["--kill-child", "sh", "-c", script])
            // Open for as long as the child is held: who reads from it waits.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
        let file = format!("/proc/{0}/task/{0}/children", child.id());
        let first = fs::read_to_string(file).unwrap();
        let first = first.split_whitespace().next().unwrap().parse().unwrap();
        (Unshared(child), first)
    }

    #[test]
    fn who_is_in_a_containers_namespace_or_beneath_is_its_own() {
        let (_one, one) = unshared(&["-pf"], "echo; read x; :");
        let nested = "unshare -pf --kill-child sh -c 'echo; sleep 1000'; :";
        let (_two, two) = unshared(&["-pf"], nested);
        let its = PidNamespace::of(two).unwrap();
        assert!(matches!(its, PidNamespace::Own(_)));
        let child = |pid: u32| -> u32 {
            let all = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            all.split_whitespace().next().unwrap().parse().unwrap()
        };
        let beneath = child(child(two));
        for (pid, own) in [(two, true), (beneath, true), (one, false), (std::process::id(), false)]
        {
            assert_eq!(its.has(pid, true), own, "{pid}");
        }
        assert!(!its.has(beneath, false), "nobody outlives the first");
    }

    /// The kernel takes any bytes for a name (prctl(2), `PR_SET_NAME`).
    #[test]
    fn a_first_process_has_one_whatever_it_calls_itself() {
        let (_one, one) = unshared(&["-pf"], r"printf '\377 x' > /proc/self/comm; echo; read x; :");
        assert!(matches!(PidNamespace::of(one), Some(PidNamespace::Own(_))));
    }

    #[test]
    fn in_the_nodes_namespace_who_has_another_is_anothers() {
        let (_other, other) = unshared(&["-pf"], "echo; read x; :");
        let its = PidNamespace::of(std::process::id()).unwrap();
        assert!(matches!(its, PidNamespace::Shared(_)));
        assert!(its.has(std::process::id(), false));
        assert!(!its.has(other, true));
    }
}
