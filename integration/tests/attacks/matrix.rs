//! Attacks against configurations: the table of `docs/attacks.md`.

use std::fmt::Write as _;

use anyhow::Result;

use crate::corpus::attacks;
use crate::field::{Field, Seen};

/// A configuration, and what it promises.
#[derive(Debug)]
pub(crate) struct Column {
    name: &'static str,
    settings: &'static str,
    policy: &'static str,
    /// Whether an attack may succeed.
    enforces: bool,
    /// Attacks that the configuration is known not to see.
    known: &'static [(&'static str, &'static str)],
    /// Attacks that it sees a moment after they began, and ends then: the mark may be there.
    late: &'static [&'static str],
}

/// What nobody sees who is asked of no open.
const UNASKED: &[(&str, &str)] = &[
    ("A11c", "MISS"),
    ("A11d", "MISS"),
    ("A11e", "MISS"),
    ("A11f", "MISS"),
    ("A11g", "MISS"),
    ("A14d", "MISS"),
    ("A14w", "MISS"),
    ("A14x", "MISS"),
    ("A14y", "MISS"),
    ("A14z", "MISS"),
    ("A14za", "MISS"),
    ("A14zc", "MISS"),
    ("A14zd", "MISS"),
    ("A14ze", "MISS"),
    ("A14zf", "MISS"),
    ("A14zg", "MISS"),
    ("A14zh", "MISS"),
    ("A14zi", "MISS"),
    ("A14zj", "MISS"),
    ("A14zk", "MISS"),
];

const AUDIT: Column = Column {
    name: "audit, auto",
    settings: "mode: audit\n",
    policy: NOTHING,
    enforces: false,
    known: UNASKED,
    late: &[],
};

const AUTO: Column = Column {
    name: "enforce, auto",
    settings: "mode: enforce\n",
    policy: NOTHING,
    enforces: true,
    known: UNASKED,
    late: SCRIPTS,
};

const ALL: Column = Column {
    name: "enforce, auto, block: all",
    settings: "mode: enforce\nblock: all\n",
    policy: NOTHING,
    enforces: true,
    known: &[
        ("A11e", "MISS"),
        ("A11f", "MISS"),
        ("A11g", "MISS"),
        ("A14d", "REPORT"),
        ("A14za", "MISS"),
        ("A14zc", "REPORT"),
        ("A14zd", "REPORT"),
        ("A14ze", "REPORT"),
    ],
    late: UNWATCHED,
};

const CODE: Column = Column {
    name: "enforce, auto, code directories",
    settings: "mode: enforce\n",
    policy: "CodeDirectories: {Default: [/tmp]}\nActions: {}\n",
    enforces: true,
    // What A14zi writes to is not in /tmp.
    known: &[("A11f", "MISS"), ("A11g", "MISS"), ("A14za", "MISS"), ("A14zi", "MISS")],
    late: SCRIPTS,
};

const NOTHING: &str = "Actions: {}\n";

/// What lies where fanotify does not watch is seen there, too.
const UNWATCHED: &[&str] = &["A14u", "A45d", "A45e"];

/// With `block: exec`, a script is seen as the argument of an interpreter that runs already
/// (docs/sources.md).
const SCRIPTS: &[&str] = &[
    "A14a", "A14b", "A14c", "A14e", "A14f", "A14g", "A14h", "A14i", "A14j", "A14k", "A14l", "A14m",
    "A14n", "A14o", "A14p", "A14q", "A14r", "A14s", "A14t", "A14u", "A14v", "A14zb", "A45d",
    "A45e",
];

impl Column {
    /// What `make test` holds lacre to.
    pub(crate) const PROMISED: &'static [Self] = &[AUDIT, AUTO, ALL, CODE];

    /// Every source by itself too.
    pub(crate) const ALL: &'static [Self] = &[
        AUDIT,
        AUTO,
        ALL,
        CODE,
        Self::alone("fanotify", "mode: enforce\nsources: [fanotify]\n"),
        Self::alone("fanotify, block: all", "mode: enforce\nsources: [fanotify]\nblock: all\n"),
        Self::alone("exec-trace", "mode: enforce\nsources: [exec-trace]\n"),
        Self::alone("exec-map", "mode: enforce\nsources: [exec-map]\n"),
    ];

    const fn alone(name: &'static str, settings: &'static str) -> Self {
        Self { name, settings, policy: NOTHING, enforces: false, known: &[], late: &[] }
    }
}

/// The outcome of every attack in every column.
pub(crate) struct Matrix {
    columns: &'static [Column],
    rows: Vec<Vec<Seen>>,
}

impl Matrix {
    pub(crate) fn measure(columns: &'static [Column]) -> Result<Self> {
        let mut rows = vec![Vec::new(); attacks().len()];
        for column in columns {
            let field = Field::lacre(column.settings, column.policy)?;
            for (attack, row) in attacks().into_iter().zip(&mut rows) {
                row.push(field.run(attack)?);
            }
        }
        Ok(Self { columns, rows })
    }

    /// Every attack, and no outcome.
    pub(crate) fn unmeasured(columns: &'static [Column]) -> Self {
        let row = |_| columns.iter().map(|_| Seen::Nothing).collect();
        Self { columns, rows: attacks().into_iter().map(row).collect() }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("| | attack |");
        for column in self.columns {
            let _ = write!(text, " {} |", column.name);
        }
        text.push_str("\n|---|---|");
        text.push_str(&"---|".repeat(self.columns.len()));
        for (attack, row) in attacks().into_iter().zip(&self.rows) {
            let _ = write!(text, "\n| {} | {} |", attack.id, attack.what);
            for seen in row {
                let _ = write!(text, " {} |", seen.word());
            }
        }
        text.push('\n');
        text
    }

    pub(crate) fn document(&self) -> String {
        format!(
            "# Attacks, and what became of them\n\n\
             Written by `make attacks`; the numbers are those of the corpus in \
             `integration/tests/attacks/corpus.rs`. Each attack runs in a container of its own \
             under containerd 2.1 and leaves a mark on the host if its code ran at all; under \
             plain runc every one of them does (a test of its own says so).\n\n\
             - **DENY**: it did not run, the call failed.\n\
             - **KILL**: it did not run, its process was killed before the first instruction.\n\
             - **REPORT**: it ran, and there is a record of it: of a violation, or, where nothing \
             says that a file is code, that an interpreter opened it.\n\
             - **MISS**: it ran, and there is none.\n\n{}\n\
             A14a to A14v, but for A14d, A14zb, A45d and A45e under `auto` with `block: exec` are a \
             race: the script is the argument of an interpreter that runs already, and is ended a \
             moment after it began. Some runs end in KILL, some in REPORT; never in MISS. So are \
             A14u, A45d and A45e with `block: all`, whose scripts lie where fanotify does not \
             watch.\n\n\
             A11c, A11d, A14d and A14w to A14z are what only an open tells of, and `block: exec` \
             asks about none. In A14w, A14x and A14zf to A14zk the script's name led to a file of \
             the image, or to nothing, when it was looked at, and to another file when it was \
             opened: each by another way to bring that about. What nothing sees, and why, is in \
             [sources.md](sources.md#what-nothing-sees).\n\n\
             A14d and A14zc to A14ze are files that an interpreter reads and runs, and nothing \
             says that they are code. Where opens are asked about (`block: all`), there is a record, \
             `REPORT`; where the policy declares their directory to hold code (the column *code \
             directories* declares `/tmp`, with `block: exec`), they are refused.\n",
            self.markdown()
        )
    }

    /// Where `auto` did less than it says.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (attack, row) in attacks().into_iter().zip(&self.rows) {
            for (column, seen) in self.columns.iter().zip(row) {
                if column.name.starts_with("fanotify") || column.name.starts_with("exec-") {
                    continue;
                }
                let known = column.known.iter().find(|(id, _)| *id == attack.id);
                let kept = match (known, seen) {
                    (Some((_, word)), seen) => *word == seen.word(),
                    (None, Seen::Deny(_) | Seen::Kill(_)) => column.enforces,
                    (None, Seen::Report(_)) => !column.enforces || column.late.contains(&attack.id),
                    (None, Seen::Miss | Seen::Nothing) => false,
                };
                if !kept {
                    broken.push(format!("{} under {}: {seen:?}", attack.id, column.name));
                }
            }
        }
        broken
    }
}
