//! Attacks against configurations: the table of `docs/attacks.md`.

use std::fmt::Write as _;

use anyhow::Result;
use lacre_doctor::{Blocked, Fate, Offer, Offers, Setting, Wanted, fate, rungs};
use lacre_types::{Mode, Source};

use crate::classes::{OUTSIDE_TMP, class_of};
use crate::corpus::attacks;
use crate::field::{Field, Seen};

/// A configuration. What it promises is what is foretold of it.
#[derive(Debug)]
pub(crate) struct Column {
    name: &'static str,
    settings: &'static str,
    policy: &'static str,
    mode: Mode,
    block: Blocked,
    /// `None`: `auto`.
    only: Option<Source>,
    /// Whether the policy declares `/tmp` to hold code.
    tmp_is_code: bool,
}

const AUDIT: Column =
    Column { name: "audit, auto", settings: "mode: audit\n", mode: Mode::Audit, ..AUTO };

const AUTO: Column = Column {
    name: "enforce, auto",
    settings: "mode: enforce\n",
    policy: "Actions: {}\n",
    mode: Mode::Enforce,
    block: Blocked::Exec,
    only: None,
    tmp_is_code: false,
};

const ALL: Column = Column {
    name: "enforce, auto, block: all",
    settings: "mode: enforce\nblock: all\n",
    block: Blocked::All,
    ..AUTO
};

const CODE: Column = Column {
    name: "enforce, auto, code directories",
    policy: "CodeDirectories: {Default: [/tmp]}\nActions: {}\n",
    tmp_is_code: true,
    ..AUTO
};

impl Column {
    /// What `make test` holds lacre to.
    pub(crate) const PROMISED: &'static [Self] = &[AUDIT, AUTO, ALL, CODE];

    /// Every source by itself too.
    pub(crate) const ALL: &'static [Self] = &[
        AUDIT,
        AUTO,
        ALL,
        CODE,
        Self {
            name: "fanotify",
            settings: "mode: enforce\nsources: [fanotify]\n",
            only: Some(Source::Fanotify),
            ..AUTO
        },
        Self {
            name: "fanotify, block: all",
            settings: "mode: enforce\nsources: [fanotify]\nblock: all\n",
            only: Some(Source::Fanotify),
            ..ALL
        },
        Self {
            name: "exec-trace",
            settings: "mode: enforce\nsources: [exec-trace]\n",
            only: Some(Source::ExecTrace),
            ..AUTO
        },
        Self {
            name: "exec-map",
            settings: "mode: enforce\nsources: [exec-map]\n",
            only: Some(Source::ExecMap),
            ..AUTO
        },
    ];

    /// What is foretold of an attack in it, where the kernel gives that.
    fn foretold(&self, id: &str, offers: &Offers) -> Fate {
        let wanted = Wanted { only: self.only.map(|source| vec![source]), ..Wanted::default() };
        let in_code_directory = self.tmp_is_code && !OUTSIDE_TMP.contains(&id);
        let setting = Setting { mode: self.mode, block: self.block, in_code_directory };
        fate(class_of(id), rungs(offers, &wanted), setting)
    }
}

/// Where a table says something else than what is foretold of its columns.
fn contradictions<'t>(
    columns: &[Column],
    rows: impl IntoIterator<Item = (&'t str, Vec<&'t str>)>,
    offers: &Offers,
) -> Vec<String> {
    let mut all = Vec::new();
    for (id, words) in rows {
        for (column, word) in columns.iter().zip(words) {
            let foretold = column.foretold(id, offers);
            if !foretold.may_be_called(word) {
                let class = class_of(id);
                all.push(format!(
                    "{id} ({class:?}) under {}: {word}, and {foretold} is foretold",
                    column.name
                ));
            }
        }
    }
    all
}

/// Where the table of `docs/attacks.md` says something else than what is foretold of a kernel
/// that gives what that of the table gave.
pub(crate) fn contradictions_of_the_page(page: &str) -> (usize, Vec<String>) {
    let head: Vec<_> = Column::ALL.iter().map(|column| column.name).collect();
    let head = format!("| | attack | {} |", head.join(" | "));
    let table = page.lines().skip_while(|line| *line != head).skip(2);
    let rows: Vec<_> = table.map_while(row).collect();
    let given = || Offer::Given;
    let missing = || Offer::Missing("what the table's kernel lacks".to_owned());
    let offers = Offers {
        fanotify: given(),
        exec_trace: given(),
        fetch: given(),
        exec_map: given(),
        container_ima: missing(),
        ima: missing(),
        bpf_lsm: missing(),
        trampolines: missing(),
    };
    (rows.len(), contradictions(Column::ALL, rows, &offers))
}

/// An attack's number, and what became of it in each column.
fn row(line: &str) -> Option<(&str, Vec<&str>)> {
    // Before the columns, the attack's own words, which may hold anything.
    let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let outcomes = cells.len().checked_sub(Column::ALL.len()).filter(|words| *words > 1)?;
    Some((cells[0], cells[outcomes..].to_vec()))
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
             A14a to A14v, but for A14d, A14zb, A14zl to A14zp, A14zr to A14zt, A45d and A45e under \
             `auto` with `block: exec` are a race: the script is the argument of an interpreter that runs already, and is ended a \
             moment after it began. Some runs end in KILL, some in REPORT; never in MISS. So are \
             A14u, A14zp, A45d and A45e with `block: all`, whose scripts lie where fanotify does not \
             watch.\n\n\
             A11c, A11d, A14d and A14w to A14z are what only an open tells of, and `block: exec` \
             asks about none. In A14w, A14x and A14zf to A14zk the script's name led to a file of \
             the image, or to nothing, when it was looked at, and to another file when it was \
             opened: each by another way to bring that about. What nothing sees, and why, is in \
             [sources.md](sources.md#what-nothing-sees).\n\n\
             A14d, A14zc to A14ze and A14zu are files that an interpreter reads and runs, and nothing \
             says that they are code. Where opens are asked about (`block: all`), there is a record, \
             `REPORT`; where the policy declares their directory to hold code (the column *code \
             directories* declares `/tmp`, with `block: exec`), they are refused. A14zq is a pipe: no file holds what is \
             run.\n\n\
             `lacre doctor` foretells the same by classes of attacks, from what a node gives \
             ([doctor.md](doctor.md#the-forecast)); a test compares this table with that.\n",
            self.markdown()
        )
    }

    /// Where something else became of an attack than what is foretold of this very node.
    pub(crate) fn broken_promises(&self) -> Vec<String> {
        let offers = lacre_doctor::probes::offers(lacre_doctor::probes::LIMIT);
        let ids = attacks().into_iter().map(|attack| attack.id);
        let words = self.rows.iter().map(|row| row.iter().map(Seen::word).collect());
        contradictions(self.columns, ids.zip(words), &offers)
    }
}
