//! The ways in which the same container is run.

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    /// What the page calls it.
    pub(crate) name: &'static str,
    /// lacre's settings; none runs runc's own shim.
    pub(crate) lacre: Option<&'static str>,
    /// A word for file names.
    pub(crate) key: &'static str,
}

const fn lacre(key: &'static str, name: &'static str, settings: &'static str) -> Variant {
    Variant { name, lacre: Some(settings), key }
}

pub(crate) const RUNC: Variant = Variant { name: "runc", lacre: None, key: "runc" };
/// Measured as if it were another: what it differs by is what this run can't tell.
pub(crate) const CONTROL: Variant = Variant { name: "runc again", lacre: None, key: "runc" };
/// The wrapper alone: what is forwarded and not guarded.
pub(crate) const EXEMPT: Variant =
    lacre("exempt", "lacre, exempt", "exempt: {namespaces: [NAMESPACE]}\n");
pub(crate) const AUDIT: Variant = lacre("audit", "lacre, audit", "mode: audit\n");
pub(crate) const ENFORCE: Variant = lacre("enforce", "lacre, enforce", "mode: enforce\n");
pub(crate) const BLOCK_ALL: Variant =
    lacre("all", "lacre, enforce, `block: all`", "mode: enforce\nblock: all\n");
pub(crate) const AUDIT_ALL: Variant =
    lacre("auditall", "lacre, audit, `block: all`", "mode: audit\nblock: all\n");
/// Without the hook in every page fault by which `exec-trace` sees libraries.
pub(crate) const NO_FETCH: Variant =
    lacre("nofetch", "lacre, enforce, `fetch: false`", "mode: enforce\nfetch: false\n");
pub(crate) const FANOTIFY: Variant =
    lacre("fanotify", "lacre, `[fanotify]`", "mode: enforce\nsources: [fanotify]\n");
pub(crate) const EXEC_TRACE: Variant =
    lacre("exectrace", "lacre, `[exec-trace]`", "mode: enforce\nsources: [exec-trace]\n");
pub(crate) const EXEC_MAP: Variant =
    lacre("execmap", "lacre, `[exec-map]`", "mode: enforce\nsources: [exec-map]\n");

/// All of them, in the order of the page.
pub(crate) const ALL: [Variant; 11] = [
    RUNC, CONTROL, EXEMPT, AUDIT, ENFORCE, AUDIT_ALL, BLOCK_ALL, NO_FETCH, FANOTIFY, EXEC_TRACE,
    EXEC_MAP,
];
/// What most people run.
pub(crate) const MAIN: [Variant; 5] = [RUNC, CONTROL, EXEMPT, AUDIT, ENFORCE];

/// The order of one round: each way is first, and last, and after each other, as often.
pub(crate) fn of_round<T>(all: &[T], round: usize) -> Vec<&T> {
    let mut order: Vec<_> = all.iter().collect();
    if !order.is_empty() {
        order.rotate_left(round / 2 % all.len());
    }
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_comes_first_and_last() {
        let all = [0, 1, 2, 3];
        let rounds: Vec<_> = (0..8).map(|round| of_round(&all, round)).collect();
        for way in &all {
            assert_eq!(rounds.iter().filter(|order| order[0] == way).count(), 2);
            assert_eq!(rounds.iter().filter(|order| order[3] == way).count(), 2);
        }
    }
}
