//! `lacre ps`: what this node guards, and what it does not.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread::sleep;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::json;

use crate::exit::Exit;
use crate::view::{Everywhere, Other, Others, Row, View, others, rows, short};
use crate::{output, terminal};

/// List the containers that this node guards, and those that it does not
///
/// Guarded ones are told by their guards, the others by this node's containerds. What can't be
/// found out is named on standard error, and the exit status is 2.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    node: Everywhere,
    /// Look again and again, until it is interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many seconds lie between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, requires = "follow",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// As JSON: one object, with --follow one a look
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    loop {
        let view = View::take(&args.node.at)?;
        view.tell_of_config()?;
        let others = others(&view, &args.node)?;
        let guarded = rows(&view);
        let exit = exit(&guarded, &others);
        if args.json {
            output::json(&json!({
                "guarded": guarded,
                "notGuarded": others.all,
                "unknown": others.unknown,
            }))?;
        } else {
            show(args, &guarded, &others)?;
        }
        if !args.follow {
            return Ok(exit);
        }
        sleep(Duration::from_secs(args.interval));
    }
}

/// Whether something could not be found out.
fn exit(rows: &[Row], others: &Others) -> Exit {
    let unsure = |row: &Row| row.guard == "silent" || row.guard == "dead";
    if others.unknown.is_empty() && !rows.iter().any(unsure) { Exit::Good } else { Exit::Failed }
}

fn show(args: &Args, rows: &[Row], others: &Others) -> anyhow::Result<()> {
    let text = text(rows, &others.all, args.no_trunc);
    let mut problems: Vec<String> = Vec::new();
    for row in rows {
        let name = format!("{}/{}", row.namespace, short(&row.id));
        problems.extend(row.problems.iter().map(|problem| format!("{name}: {problem}")));
    }
    problems.extend(others.unknown.iter().cloned());
    if let (true, Some((columns, lines))) = (args.follow, terminal::size()) {
        let mut all = text;
        for problem in &problems {
            let _ = writeln!(all, "{problem}");
        }
        return frame(&all, columns, lines);
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if args.follow {
        writeln!(out)?;
    }
    out.flush()?;
    for problem in problems {
        writeln!(io::stderr(), "lacre: {}", lacre_types::escape(problem.as_bytes()))?;
    }
    Ok(())
}

/// One look, as large as the terminal and no larger.
fn frame(text: &str, columns: usize, lines: usize) -> anyhow::Result<()> {
    // To the top; each line is cleared to its end, and then what is left of the last look.
    let mut frame = String::from("\x1b[H");
    for line in text.lines().take(lines.saturating_sub(1)) {
        let end = line.floor_char_boundary(columns.min(line.len()));
        let _ = write!(frame, "{}\x1b[K\r\n", &line[..end]);
    }
    frame.push_str("\x1b[J");
    let mut out = io::stdout().lock();
    out.write_all(frame.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn text(rows: &[Row], others: &[Other], whole: bool) -> String {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let plain = |text: &str| lacre_types::escape(text.as_bytes());
    let id = |id: &str| if whole { plain(id) } else { short(id) };
    let number = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    let head = [
        "NAMESPACE",
        "ID",
        "IMAGE",
        "POD",
        "MODE",
        "STATE",
        "POLICY",
        "BASELINE",
        "SOURCES",
        "VIOLATIONS",
        "REPORTS",
    ];
    let guarded = rows.iter().map(|row| {
        [
            plain(&row.namespace),
            id(&row.id),
            plain(if row.image_name.is_empty() { &row.image_id } else { &row.image_name }),
            row.pod_shown(),
            row.mode.clone(),
            row.state.join(", "),
            row.policy_shown(),
            row.baseline.clone(),
            row.sources.join(","),
            number(row.violations),
            number(row.reports),
        ]
        .map(or_dash)
    });
    let mut text = if rows.is_empty() {
        "no container is guarded\n".to_owned()
    } else {
        output::text(head, guarded)
    };
    if !others.is_empty() {
        let head = ["NOT GUARDED", "ID", "IMAGE", "STATE", "RUNTIME", "CONTAINERD"];
        let rows = others.iter().map(|other| {
            let runtime = match other.should_be {
                true => format!("{} (no guard!)", plain(&other.runtime)),
                false => plain(&other.runtime),
            };
            [
                plain(&other.namespace),
                id(&other.id),
                plain(&other.image_name),
                other.state.to_owned(),
                runtime,
                crate::view::shown(&other.containerd),
            ]
            .map(or_dash)
        });
        text.push('\n');
        text.push_str(&output::text(head, rows));
    }
    text
}
