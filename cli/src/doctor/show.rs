//! For people: a line for each finding, and the forecast as a table.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use lacre_doctor::{Finding, Forecast, Rungs, State};

use crate::output;

pub(super) fn people(findings: &[Finding], forecasts: &[(String, Forecast)]) -> anyhow::Result<()> {
    let mut text = found(findings);
    for (file, forecast) in forecasts {
        text.push_str(&foretold(file, forecast));
    }
    text.push_str(&summary(findings));
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn found(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut area = None;
    for finding in findings {
        if area != Some(finding.area) {
            let before = if area.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{before}{}", finding.area);
            area = Some(finding.area);
        }
        let mut lines = finding.is.lines();
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(text, "  {:<8} {first}", finding.state.word());
        for line in lines {
            let _ = writeln!(text, "           {line}");
        }
        if let Some(follows) = &finding.follows {
            let _ = writeln!(text, "           so: {follows}");
        }
        if let Some(mend) = &finding.mend {
            let _ = writeln!(text, "           mend: {mend}");
        }
    }
    text
}

fn foretold(file: &str, forecast: &Forecast) -> String {
    let names = rungs(forecast.rungs);
    let mut text = format!("\nforecast for {file}\n  watched by: {names}\n");
    if forecast.rungs.unknown {
        text.push_str("  not all could be looked at, and what could not is not counted on\n");
    }
    text.push('\n');
    let head = ["attack", "audit", "audit, block: all", "enforce", "enforce, block: all"];
    let rows = forecast.classes.iter().map(|row| {
        let fates = [row.audit, row.audit_all, row.enforce, row.enforce_all];
        let [a, b, c, d] = fates.map(|fate| fate.to_string());
        [row.what.to_owned(), a, b, c, d]
    });
    text.push_str(&output::text(head, rows));
    text.push_str(
        "\n  DENY does not run, the call fails; KILL is killed before it runs (beside REPORT: soon\n  \
         after it began); REPORT runs, and is on record; MISS runs, and is not; no start: no\n  \
         container starts. By the built-in policy; docs/attacks.md has what was measured.\n",
    );
    text
}

fn rungs(rungs: Rungs) -> String {
    let fetch = if rungs.fetch { "exec-trace (libraries too)" } else { "exec-trace" };
    let all = [
        (rungs.fanotify, "fanotify"),
        (rungs.exec_trace, fetch),
        (rungs.exec_map, "exec-map"),
        (rungs.container_ima, "container-ima"),
        (rungs.ima, "ima"),
    ];
    let names: Vec<_> = all.iter().filter(|(stands, _)| *stands).map(|(_, name)| *name).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn summary(findings: &[Finding]) -> String {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (faults, warnings, unseen) =
        (count(State::Fault), count(State::Warning), count(State::Unseen));
    if faults + warnings + unseen == 0 {
        return "\nnothing to mend\n".to_owned();
    }
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let (faults, warnings) = (many(faults, "fault"), many(warnings, "warning"));
    let unseen = match unseen {
        0 => String::new(),
        count => format!(", {count} not looked at"),
    };
    format!("\n{faults}, {warnings}{unseen}\n")
}
