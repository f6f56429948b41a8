//! `lacre status`: this node, in ten lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use clap::Args as ClapArgs;
use lacre_policy::Policy;
use lacre_shim::config::{Config, Server};
use lacre_shim::inspect::{self, Answer, Telling};
use lacre_types::{chain, rfc3339};
use serde::Serialize;

use crate::events::{Damage, once};
use crate::exit::Exit;
use crate::output;
use crate::records::Place;
use crate::view::{Everywhere, Others, Row, View, others, rows, shown};
use crate::when::Clock;

/// Tell in ten lines how this node is guarded, and what is wrong
///
/// Exit status 1 where something is wrong, 2 where something could not be found out.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    node: Everywhere,
    /// Times in UTC, and not in the machine's zone
    #[arg(long)]
    utc: bool,
    /// As JSON: one object
    #[arg(long)]
    json: bool,
}

/// Ten lines, each with its name; and what they come to.
#[derive(Debug, Default, Serialize)]
struct Report {
    lines: Vec<(&'static str, String)>,
    /// What is wrong.
    wrong: Vec<String>,
    /// What could not be found out.
    unknown: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let view = View::take(&args.node.at)?;
    let guarded = rows(&view);
    let others = others(&view, &args.node)?;
    let clock = Clock::new(args.utc);
    let mut report = Report::default();
    node(&mut report, &clock);
    mode(&mut report, &view, &guarded);
    policy(&mut report, &view, &guarded);
    server(&mut report, &view, &clock);
    containers(&mut report, &guarded, &others);
    held_up(&mut report, &guarded);
    baselines(&mut report, &guarded);
    violations(&mut report, &view, &clock);
    watchdog(&mut report, &view);
    let exit = match (report.wrong.is_empty(), report.unknown.is_empty()) {
        (_, false) => Exit::Failed,
        (false, true) => Exit::Differs,
        (true, true) => Exit::Good,
    };
    if args.json {
        let lines: BTreeMap<_, _> = report.lines.iter().map(|(name, text)| (*name, text)).collect();
        output::json(&serde_json::json!({
            "lines": lines,
            "wrong": report.wrong,
            "unknown": report.unknown,
            "guarded": guarded,
            "notGuarded": others.all,
        }))?;
        return Ok(exit);
    }
    let mut text = String::new();
    for (name, line) in &report.lines {
        let _ = writeln!(text, "{name:<11} {}", lacre_types::escape(line.as_bytes()));
    }
    let unknown = report.unknown.iter().map(|what| format!("not known: {what}"));
    let wrong: Vec<String> = report.wrong.iter().cloned().chain(unknown).collect();
    if wrong.is_empty() {
        text.push_str("wrong       nothing\n");
    }
    for what in wrong {
        let _ = writeln!(text, "wrong       {}", lacre_types::escape(what.as_bytes()));
    }
    output::line(text.trim_end())?;
    Ok(exit)
}

fn node(report: &mut Report, clock: &Clock) {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let up =
        booted().map_or_else(String::new, |at| format!(", up since {}", clock.show(&rfc3339(at))));
    let text = format!("{}, lacre {}{up}", name.trim(), env!("CARGO_PKG_VERSION"));
    report.lines.push(("node", text));
}

/// When the kernel came up (`btime` of proc(5)).
fn booted() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn mode(report: &mut Report, view: &View, rows: &[Row]) {
    let path = shown(&view.config_path);
    let mut text = match &view.config {
        Ok(config) if view.config_path.exists() => format!("{} ({path})", config.mode.as_str()),
        Ok(config) => format!("{} (no {path})", config.mode.as_str()),
        Err(error) => {
            report.wrong.push(format!("the configuration: {}", chain(error)));
            format!("the configuration {path} can't be used")
        }
    };
    let mut modes: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.mode.is_empty()) {
        *modes.entry(&row.mode).or_default() += 1;
    }
    let modes: Vec<String> = modes.iter().map(|(mode, count)| format!("{count} {mode}")).collect();
    if !modes.is_empty() {
        let _ = write!(text, "; running: {}", modes.join(", "));
    }
    report.lines.push(("mode", text));
}

fn policy(report: &mut Report, view: &View, rows: &[Row]) {
    let Ok(config) = &view.config else {
        report.lines.push(("policy", "-".to_owned()));
        return;
    };
    let mut text = file_policy(report, config);
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let shown = row.policy_shown();
        if !shown.is_empty() {
            *held.entry(shown).or_default() += 1;
        }
        if let Some(problem) = row.policy.as_ref().and_then(|policy| policy.problem.as_ref()) {
            report.wrong.push(format!(
                "{}/{} runs by the built-in policy: {problem}",
                row.namespace,
                crate::view::short(&row.id)
            ));
        }
    }
    let held: Vec<String> =
        held.iter().map(|(policy, count)| format!("{count} by {policy}")).collect();
    if !held.is_empty() {
        let _ = write!(text, "; containers: {}", held.join(", "));
    }
    report.lines.push(("policy", text));
}

fn file_policy(report: &mut Report, config: &Config) -> String {
    let path = shown(&config.policy);
    let bytes = match fs::read(&config.policy) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if config.policy != Config::default().policy {
                report
                    .wrong
                    .push(format!("the policy {path} is not there, and the built-in one holds"));
            }
            return format!("built in (no {path})");
        }
        Err(error) => {
            report.wrong.push(format!("the policy {path} can't be read: {error}"));
            return format!("{path} can't be read");
        }
    };
    match Policy::parse(&path, &bytes) {
        Ok((policy, _)) => {
            let version = crate::view::short_digest(&inspect::policy_version(&bytes));
            format!("{path} {version}, {} rules", policy.rules())
        }
        Err(errors) => {
            let first = errors.to_string();
            let first = first.lines().next().unwrap_or_default().to_owned();
            report
                .wrong
                .push(format!("the policy is refused: {first}; `lacre policy check` says all"));
            format!("{path} is refused")
        }
    }
}

fn tellings(view: &View) -> impl Iterator<Item = &Telling> {
    view.seen.guards.iter().filter_map(|guard| match &guard.answer {
        Answer::Told(told) => Some(told),
        Answer::Older | Answer::Silent(_) | Answer::Dead => None,
    })
}

fn server(report: &mut Report, view: &View, clock: &Clock) {
    let address = view.config.as_ref().ok().and_then(|config| config.server.as_ref());
    let address = address.map(|server| match server {
        Server::Unix(path) => format!("unix://{}", shown(path)),
        Server::Tls(host) => format!("tls://{host}"),
    });
    let links: Vec<_> = tellings(view).filter_map(|told| told.server.as_ref()).collect();
    let reached: Vec<_> = links.iter().filter(|link| link.reached).collect();
    let name = address.clone().unwrap_or_else(|| "named by containers' configurations".to_owned());
    let text = if links.is_empty() {
        match address {
            None => "none; the file decides".to_owned(),
            Some(address) => format!("{address}; no guard that would ask it"),
        }
    } else if reached.len() == links.len() {
        let since = reached.iter().map(|link| link.since.as_str()).max().unwrap_or_default();
        format!("{name}, reached since {}", clock.show(since))
    } else {
        let lost = links.iter().filter(|link| !link.reached);
        let since = lost.clone().map(|link| link.since.as_str()).min().unwrap_or_default();
        let why = lost.filter_map(|link| link.why.as_deref()).next().unwrap_or("no word yet");
        report.wrong.push(format!("the policy server is not reached: {why}"));
        let (some, all) = (links.len() - reached.len(), links.len());
        format!("{name}, not reached by {some} of {all} guards since {}", clock.show(since))
    };
    report.lines.push(("server", text));
}

fn containers(report: &mut Report, rows: &[Row], others: &Others) {
    let exempt = rows.iter().filter(|row| row.state.iter().any(|word| word == "exempt")).count();
    let (guarded, not) = (rows.len() - exempt, others.all.len());
    let text = match others.unknown.is_empty() {
        true => format!("{guarded} guarded, {exempt} exempt, {not} not guarded"),
        false => format!("{guarded} guarded, {exempt} exempt, at least {not} not guarded"),
    };
    report.lines.push(("containers", text));
    report.unknown.extend(others.unknown.iter().cloned());
    for other in others.all.iter().filter(|other| other.should_be) {
        let id = crate::view::short(&other.id);
        report.wrong.push(format!("{}/{id} has lacre's runtime, and no guard", other.namespace));
    }
    for row in rows {
        let name = format!("{}/{}", row.namespace, crate::view::short(&row.id));
        match row.guard {
            "dead" => report.wrong.push(format!("the guard of {name} has died")),
            "silent" => report.unknown.push(format!("what the guard of {name} does: no answer")),
            _ => {}
        }
        if row.state.iter().any(|word| word == "unseen") {
            report.wrong.push(format!("nothing sees what {name} runs"));
        }
    }
}

fn held_up(report: &mut Report, rows: &[Row]) {
    let count = |start: &str| {
        let has = |row: &&Row| row.state.iter().any(|word| word.starts_with(start));
        rows.iter().filter(has).count()
    };
    let text = format!(
        "{} paused, {} isolated, {} with an order that was held",
        count("paused"),
        count("isolated"),
        count("held order")
    );
    report.lines.push(("stopped", text));
}

fn baselines(report: &mut Report, rows: &[Row]) {
    let count = |start: &str| rows.iter().filter(|row| row.baseline.starts_with(start)).count();
    let none = count("none");
    if none > 0 {
        let are = if none == 1 { "container runs" } else { "containers run" };
        report.wrong.push(format!("{none} {are} without a baseline (NO_WHITELIST)"));
    }
    let text = format!(
        "{} from content, {} from directories, {none} none",
        count("content"),
        count("directories")
    );
    report.lines.push(("baselines", text));
}

fn violations(report: &mut Report, view: &View, clock: &Clock) {
    let records =
        view.config.as_ref().map_or_else(|_| Config::default().records, |it| it.records.clone());
    let (boot, mut damage) = (booted(), Damage::default());
    let since = boot.map(rfc3339).unwrap_or_default();
    let (mut violations, mut reports, mut gaps) = (0_u64, 0_u64, 0_u64);
    let mut last = String::new();
    let read = once(&Place::File(records.clone()), boot, &mut |next| {
        let Some(line) = damage.record(next) else { return Ok(()) };
        if *line.time < *since {
            return Ok(());
        }
        match line.record.as_deref() {
            None if line.notificate == "REPORT" => reports += 1,
            None => {
                violations += 1;
                last = line.time.into_owned();
            }
            Some("gap") => gaps += 1,
            Some(_) => {}
        }
        Ok(())
    });
    if let Err(error) = read {
        report.unknown.push(format!("what was recorded: {error:#}"));
    }
    let at_least = if gaps > 0 { "at least " } else { "" };
    let mut text = format!("{at_least}{violations} recorded since boot, {reports} reports");
    if !last.is_empty() {
        let _ = write!(text, "; the last {}", clock.show(&last));
    }
    let _ = write!(text, " ({})", shown(&records));
    report.lines.push(("violations", text));
}

fn watchdog(report: &mut Report, view: &View) {
    let told: Vec<_> = tellings(view).filter(|told| told.exempt.is_none()).collect();
    let watched = told.iter().filter(|told| told.watched).count();
    let text = match (watched, told.len()) {
        (_, 0) => "none needed: no guard runs".to_owned(),
        (some, all) if some == all => format!("has all guards ({all})"),
        (some, all) => {
            report.wrong.push(format!("the watchdog has {some} of {all} guards"));
            format!("has {some} of {all} guards")
        }
    };
    report.lines.push(("watchdog", text));
}
