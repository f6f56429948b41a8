//! `lacre doctor`: what this node gives lacre, what follows, and how to mend it.

mod show;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use lacre_doctor::probes::{Ask, LIMIT, probe};
use lacre_doctor::{ConfigFile, Facts, Seen, State, Wanted, findings, forecast, rungs, worst};
use serde_json::json;

use crate::exit::{Exit, Usage};
use crate::output;

/// Look at this node: what it gives lacre, what follows, how to mend it, and what would become of
/// an attack here; changes nothing
///
/// Exit status: 0 nothing to mend; 1 something to mend (a warning or a fault); 2 neither, and
/// something could not be looked at.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A configuration of lacre's, instead of those that containers may come to have here
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// dockerd's socket [default: what the configuration says]
    #[arg(long, value_name = "SOCK")]
    docker: Option<PathBuf>,
    /// How many seconds each look may take
    #[arg(long, value_name = "SECONDS", default_value_t = LIMIT.as_secs())]
    limit: u64,
    /// Print JSON: the facts, the findings, the forecast
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    if args.limit == 0 || args.limit > 3600 {
        return Err(Usage("--limit is between 1 and 3600 seconds".to_owned()).into());
    }
    let limit = Duration::from_secs(args.limit);
    let facts = probe(&Ask { config: args.config, docker: args.docker, limit });
    let found = findings(&facts);
    let forecasts: Vec<_> = wants(&facts)
        .into_iter()
        .map(|(file, wanted)| (file, forecast(rungs(&facts.offers, &wanted))))
        .collect();
    let exit = exit(worst(&found));
    if args.json {
        let forecasts: Vec<_> = forecasts
            .iter()
            .map(|(file, forecast)| json!({"config": file, "forecast": forecast}))
            .collect();
        output::json(&json!({
            "worst": worst(&found), "findings": found, "forecasts": forecasts, "facts": facts,
        }))?;
        return Ok(exit);
    }
    show::people(&found, &forecasts)?;
    Ok(exit)
}

/// What each configuration wants, and which: those that want the same have one forecast.
fn wants(facts: &Facts) -> Vec<(String, Wanted)> {
    let mut all: Vec<(String, Wanted)> = Vec::new();
    let good = |config: &&ConfigFile| config.read == Seen::Seen(Ok(()));
    for config in facts.configs.known().into_iter().flatten().filter(good) {
        let path = lacre_types::escape(config.path.as_os_str().as_encoded_bytes());
        match all.iter_mut().find(|(_, wanted)| *wanted == config.wanted) {
            Some((files, _)) => *files = format!("{files}, {path}"),
            None => all.push((path, config.wanted.clone())),
        }
    }
    if all.is_empty() {
        all.push(("the built-in configuration".to_owned(), Wanted::default()));
    }
    all
}

const fn exit(worst: State) -> Exit {
    match worst {
        State::Ok | State::Note => Exit::Good,
        State::Unseen => Exit::Failed,
        State::Warning | State::Fault => Exit::Differs,
    }
}
