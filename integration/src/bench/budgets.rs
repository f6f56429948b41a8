//! What was promised, what was measured, and why the two differ where they do.

use super::page::{Section, Unit};
use super::stats::Comparison;
use super::variant::CONTROL;

/// A promise.
#[derive(Debug, Clone, Copy)]
struct Budget {
    key: Key,
    what: &'static str,
    limit: Limit,
    /// Printed where it is missed, and only there.
    because: &'static str,
}

/// Its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Start,
    StartProcessor,
    Exec,
    Opens,
    ManyFiles,
    Build,
    Server,
    Pause,
    BaselineCold,
    BaselineCached,
    Memory,
    FlatStart,
    FlatExec,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    /// Of plain runc, or of what the section compares with.
    Times(f64),
    AtMost(f64, Unit),
}

const BUDGETS: [Budget; 13] = [
    Budget {
        key: Key::Start,
        what: "container start, baseline cached",
        limit: Limit::Times(1.05),
        because: "one more program is run, `start`, which leaves a copy of itself behind, and \
                  that relays each call: *exempt* is the price of that alone. The rest is what \
                  arms the sources; what the kernel takes its time for is done while runc \
                  creates the container.",
    },
    Budget {
        key: Key::StartProcessor,
        what: "processor time of a container's life, baseline cached",
        limit: Limit::Times(1.05),
        because: "being a program costs more than what it does: pages to be mapped, relocated \
                  and given back, in `start`, in the guard and in `delete`.",
    },
    Budget {
        key: Key::Exec,
        what: "exec of a known program, steady state",
        limit: Limit::Times(1.01),
        because: "`exec-trace` has programs at fork and exec, `fanotify` its marks, and `fetch`, \
                  the default, looks at every page fault that fetches instructions: the tables \
                  have each of them apart. `exec-map` has its perf events copied at every \
                  fork: `auto` leaves it out.",
    },
    Budget {
        key: Key::Opens,
        what: "opens of data files, steady state",
        // 1.00 × to two digits.
        limit: Limit::Times(1.005),
        because: "on a file system that anybody asks permission events of, the kernel goes the \
                  longer way through every open, whatever was asked. With \
                  `block: all` a file that was looked at has an ignore mark of its own to be \
                  found, and one that did not come with the image, or lies on a volume, never has \
                  one, since who opens it, and by which name, decides whether it is run: each \
                  of its opens waits for an answer. `[exec-trace]` \
                  alone costs opens nothing.",
    },
    Budget {
        key: Key::ManyFiles,
        what: "many files, the first time included",
        limit: Limit::Times(1.10),
        because: "with `block: all` what is not yet known is asked about: code of the image at \
                  its first open, a file that did not come with the image at each. The opens \
                  of what is known take the kernel's longer way, above.",
    },
    Budget {
        key: Key::Build,
        what: "exec-heavy build",
        limit: Limit::Times(1.01),
        because: "with `block: all` the first open of each file in the container waits for an \
                  answer, and a script opens many; the other ways differ by less than the \
                  machine's noise where *runc again* does too.",
    },
    Budget {
        key: Key::Server,
        what: "server",
        limit: Limit::Times(1.01),
        because: "of what opens cost, above; where *runc again* is as far from 1, the \
                  machine's noise is all that there is to see.",
    },
    Budget {
        key: Key::Pause,
        what: "from measurement to PAUSE done, p99",
        limit: Limit::AtMost(5e6, Unit::Nanoseconds),
        because: "a task stops when it is next scheduled: on a machine whose cores are all \
                  busy with something else that takes a time slice.",
    },
    Budget {
        key: Key::BaselineCold,
        what: "baseline, cold, against `sha256sum`",
        limit: Limit::Times(1.0),
        because: "",
    },
    Budget {
        key: Key::BaselineCached,
        what: "baseline, cached",
        limit: Limit::AtMost(5e6, Unit::Nanoseconds),
        because: "",
    },
    Budget {
        key: Key::Memory,
        what: "memory of a shim above the inner's",
        limit: Limit::AtMost(5.0 * 1024.0, Unit::Kibibytes),
        because: "the pages of the program itself are counted, of which all shims of the node \
                  share one copy: the proportional figure is what one shim more takes.",
    },
    Budget {
        key: Key::FlatStart,
        what: "container start beside idle ones, against none",
        limit: Limit::Times(1.05),
        because: "",
    },
    Budget {
        key: Key::FlatExec,
        what: "exec beside idle containers, against none",
        limit: Limit::Times(1.01),
        because: "",
    },
];

/// One budget, held against one figure.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    key: Key,
    way: String,
    measured: f64,
    noise: Option<f64>,
}

impl Verdict {
    /// `way` says of which of the section's figures.
    pub(crate) fn new(key: Key, way: &str, measured: f64) -> Self {
        Self { key, way: way.to_owned(), measured, noise: None }
    }

    /// A way of a table in which runc was also measured against itself.
    pub(crate) fn of(key: Key, title: &str, table: &Comparison, name: &str) -> Option<Self> {
        let ratio = |name| Some(table.ratio(name)?.median());
        let way = format!("{title}{name}");
        Some(Self { key, way, measured: ratio(name)?, noise: ratio(CONTROL.name) })
    }
}

impl Budget {
    fn shown(&self, measured: f64) -> [String; 3] {
        match self.limit {
            Limit::Times(limit) => {
                let by = (measured / limit - 1.0) * 100.0;
                // Rounded down: 1.005 is the end of 1.00 to two digits.
                let limit = format!("≤ {:.2} ×", (limit * 100.0).floor() / 100.0);
                [limit, format!("{measured:.3} ×"), format!("{by:.1} %")]
            }
            Limit::AtMost(limit, unit) => [
                format!("< {}", unit.show(limit)),
                unit.show(measured),
                unit.show(measured - limit),
            ],
        }
    }

    fn met(&self, measured: f64) -> bool {
        match self.limit {
            Limit::Times(limit) => measured <= limit,
            Limit::AtMost(limit, _) => measured < limit,
        }
    }
}

/// The table that everything else explains.
pub(crate) fn section(verdicts: &[Verdict]) -> Section {
    let mut section = Section::new(
        "Budgets",
        "Where a way is compared, the figure is the median of the ratios of each round; the \
         sections below have their spread. *runc again* is runc measured against itself in the \
         same rounds.",
    );
    let mut rows = Vec::new();
    let mut missed: Vec<&Budget> = Vec::new();
    for budget in &BUDGETS {
        for verdict in verdicts.iter().filter(|verdict| verdict.key == budget.key) {
            let [limit, measured, by] = budget.shown(verdict.measured);
            let verdict_text = if budget.met(verdict.measured) {
                "met".to_owned()
            } else {
                if missed.last().is_none_or(|last| last.key != budget.key) {
                    missed.push(budget);
                }
                format!("**missed by {by}**")
            };
            let noise = verdict.noise.map_or_else(String::new, |noise| format!("{noise:.3} ×"));
            let what = budget.what.to_owned();
            rows.push(vec![what, verdict.way.clone(), limit, measured, noise, verdict_text]);
        }
    }
    section.table(&["what", "way", "budget", "measured", "runc again", ""], &rows);
    for budget in missed.iter().filter(|budget| !budget.because.is_empty()) {
        section.paragraph(&format!("*{}* is missed because {}", budget.what, budget.because));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_budget_says_by_how_much() {
        let text = section(&[
            Verdict::new(Key::Start, "audit", 1.04),
            Verdict::new(Key::Start, "enforce", 1.155),
            Verdict::new(Key::Pause, "auto", 6.5e6),
            Verdict::new(Key::Opens, "audit", 1.004),
        ])
        .into_text();
        assert!(text.contains("| audit | ≤ 1.05 × | 1.040 × |  | met |"), "{text}");
        assert!(
            text.contains("| enforce | ≤ 1.05 × | 1.155 × |  | **missed by 10.0 %** |"),
            "{text}"
        );
        assert!(text.contains("| < 5.00 ms | 6.50 ms |  | **missed by 1.50 ms** |"), "{text}");
        assert!(text.contains("| audit | ≤ 1.00 × | 1.004 × |  | met |"), "{text}");
    }

    #[test]
    fn each_promise_stands_once_in_the_table() {
        for (at, budget) in BUDGETS.iter().enumerate() {
            assert!(BUDGETS[..at].iter().all(|other| other.key != budget.key));
        }
    }
}
