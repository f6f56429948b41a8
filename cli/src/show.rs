//! `lacre show`: one container's whole story.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::Args as ClapArgs;
use lacre_policy::Effective;
use lacre_shim::inspect::{self, ContainerSeen, Told};
use lacre_types::{Action, ViolationKind, escape};
use serde_json::{Value, json};

use crate::events::{self, Damage, Fold, Form};
use crate::exit::Exit;
use crate::output;
use crate::records::Place;
use crate::view::{Row, View, Where, find, named, shown};

/// Tell all about one guarded container: who it is and who says so, by what it is guarded, what it
/// did, and what was done
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The container: its id, or how that begins, or NAMESPACE/ID, or its name
    id: String,
    /// containerd's namespace of it, where several have such an id
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    at: Where,
    /// Times in UTC, and not in the machine's zone
    #[arg(long)]
    utc: bool,
    /// As JSON: one object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let view = View::take(&args.at)?;
    view.tell_of_config()?;
    let one = match find(&view, &args.id, args.namespace.as_deref()) {
        Ok(one) => one,
        Err(error) if error.is::<crate::exit::Usage>() => return Err(error),
        // It may have ended: then there are its records.
        Err(error) => return ended(args, &view, error),
    };
    let told = inspect::whole(&view.seen, one).or_else(|| one.told.clone());
    let row = Row::of(&view, one);
    let (story, damage, failed) =
        records(&view, one.body().map(|body| &*body.config.records), |it| {
            it.container == one.id && (one.namespace.is_empty() || it.namespace == one.namespace)
        });
    if args.json {
        output::json(&json!({
            "container": row,
            "identity": one.body().and_then(|body| body.about.as_ref()).map(|it| &it.identity),
            "told": told,
            "charter": one.charter.as_ref().map(|(head, _)| head),
            "records": story,
        }))?;
    } else {
        let mut text = String::new();
        head(&mut text, &view, one, &row);
        identity(&mut text, one);
        guarding(&mut text, one, told.as_ref(), &row);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        tell(&mut out, &story, args)?;
        out.flush()?;
    }
    damage.tell()?;
    for problem in &row.problems {
        writeln!(io::stderr(), "lacre: {}", escape(problem.as_bytes()))?;
    }
    let unsure = failed || row.guard == "silent" || row.guard == "dead";
    Ok(if unsure { Exit::Failed } else { Exit::Good })
}

/// A container that no guard has any more.
fn ended(args: &Args, view: &View, error: anyhow::Error) -> anyhow::Result<Exit> {
    let (namespace, id) = match args.id.split_once('/') {
        Some((namespace, id)) if args.namespace.is_none() => (Some(namespace), id),
        _ => (args.namespace.as_deref(), args.id.as_str()),
    };
    let (story, damage, failed) = records(view, None, |it| {
        let here = namespace.is_none_or(|namespace| namespace == it.namespace);
        here && !id.is_empty() && (it.container.starts_with(id) || it.of.container_name == id)
    });
    let mut whose: Vec<(&str, &str)> =
        story.iter().map(|row| (&*row.namespace, &*row.container)).collect();
    whose.sort_unstable();
    whose.dedup();
    match whose[..] {
        [] => return Err(error),
        [_] => {}
        _ => {
            let all: Vec<String> = whose.iter().map(|(ns, id)| format!("{ns}/{id}")).collect();
            let all = all.join(", ");
            return Err(crate::exit::Usage(format!("ambiguous among records: {all}")).into());
        }
    }
    if args.json {
        output::json(&json!({"container": null, "records": story}))?;
    } else {
        let mut out = io::stdout().lock();
        let row = &story[0];
        writeln!(
            out,
            "{}/{}: no guard of this node has it any more",
            row.namespace, row.container
        )?;
        tell(&mut out, &story, args)?;
        out.flush()?;
    }
    damage.tell()?;
    Ok(if failed { Exit::Failed } else { Exit::Good })
}

/// The container's records, folded; and whether they could not all be read.
fn records(
    view: &View,
    file: Option<&std::path::Path>,
    wanted: impl Fn(&events::Row) -> bool,
) -> (Vec<events::Row>, Damage, bool) {
    let config = view.config.as_ref().ok().map(|config| config.records.clone());
    let file = file.map(Into::into).or(config).unwrap_or_else(|| crate::records::STANDARD.into());
    let (mut fold, mut damage, mut story) = (Fold::default(), Damage::default(), Vec::new());
    let read = events::once(&Place::of(&file), None, &mut |next| {
        if let Some(line) = damage.record(next) {
            fold.take(&line);
            story.extend(fold.surplus().into_iter().filter(|row| wanted(row)));
        }
        Ok(())
    });
    story.extend(fold.finish().into_iter().filter(|row| wanted(row)));
    let failed = read.is_err();
    if let Err(error) = read {
        crate::exit::tell(&error);
    }
    (story, damage, failed)
}

fn tell(out: &mut impl io::Write, story: &[events::Row], args: &Args) -> anyhow::Result<()> {
    if story.is_empty() {
        writeln!(out, "records     none")?;
        return Ok(());
    }
    writeln!(out, "\nrecords")?;
    let form = Form::of(false, args.utc);
    form.head(out)?;
    for row in story {
        form.row(out, row)?;
    }
    Ok(())
}

fn line(text: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(text, "{name:<11} {}", escape(value.as_bytes()));
    }
}

fn head(text: &mut String, view: &View, one: &ContainerSeen, row: &Row) {
    let _ = writeln!(text, "container   {}", named(one));
    line(text, "generation", &one.generation);
    line(text, "state", &row.state.join(", "));
    line(text, "name", &row.name);
    line(text, "pod", &row.pod_shown());
    line(text, "image", &format!("{} {}", row.image_name, row.image_id));
    if let Some((head, _)) = &one.charter {
        if let Some(init) = head.init {
            line(text, "init", &format!("process {}", init.pid));
        }
        line(text, "bundle", &shown(&head.bundle));
    }
    if let Some(guard) = view.seen.guards.get(one.guard) {
        let pid = guard.state.as_ref().map(|state| format!("process {}, ", state.guard.pid));
        let pid = pid.unwrap_or_default();
        line(text, "guard", &format!("{pid}{}", shown(guard.place.socket())));
    }
}

fn identity(text: &mut String, one: &ContainerSeen) {
    let about = one.body().and_then(|body| body.about.as_ref());
    let Some(facts) = about.and_then(|about| about.identity["facts"].as_object()) else { return };
    let _ = writeln!(text, "\nidentity (and who says so)");
    for (name, fact) in facts {
        match fact {
            Value::Array(all) => all.iter().for_each(|fact| one_fact(text, name, fact)),
            Value::Object(all) if !all.contains_key("said_by") => {
                for (key, fact) in all {
                    one_fact(text, &format!("{name} {key}"), fact);
                }
            }
            fact => one_fact(text, name, fact),
        }
    }
}

fn one_fact(text: &mut String, name: &str, fact: &Value) {
    if let (Some(value), Some(by)) = (fact["value"].as_str(), fact["said_by"].as_str()) {
        let name = escape(name.replace('_', " ").as_bytes());
        let _ =
            writeln!(text, "  {name}: {} ({})", escape(value.as_bytes()), escape(by.as_bytes()));
    }
}

fn guarding(text: &mut String, one: &ContainerSeen, told: Option<&Told>, row: &Row) {
    let _ = writeln!(text, "\nguarding");
    line(text, "mode", &row.mode);
    line(text, "sources", &row.sources.join(", "));
    let baseline = match told.and_then(|told| told.baseline.as_ref()) {
        Some(made) => {
            let of = match &made.manifest {
                Some(manifest) => format!("the content of {manifest}"),
                None => "the directories that it was unpacked to".to_owned(),
            };
            let digest = made.digest.as_deref().unwrap_or_default();
            format!("{} files, made from {of}; {digest}", made.files)
        }
        None => row.baseline.clone(),
    };
    line(text, "baseline", &baseline);
    line(text, "policy", &row.policy_shown());
    for (kind, uses) in told.iter().flat_map(|told| &told.seen) {
        line(text, "seen", &format!("{uses} {kind}"));
    }
    let rules = told.and_then(|told| told.rules.clone());
    // What a guard of an older build does not tell is what it noted down when it last tightened.
    let noted = || Some(one.body()?.about.as_ref()?.policy.clone());
    if let Some(rules) = rules.or_else(noted) {
        self::rules(text, &rules);
    }
    if row.policy.is_none() && row.guard != "told" {
        line(text, "note", "its guard does not tell: mode, sources and rules are those noted down");
    }
}

fn rules(text: &mut String, rules: &Value) {
    let bytes = serde_json::to_vec(rules).unwrap_or_default();
    let Ok(effective) = Effective::from_json(&bytes) else {
        line(text, "rules", "of another release; --json has them");
        return;
    };
    for kind in ViolationKind::ALL {
        let decision = effective.decide(*kind, None);
        if *kind == ViolationKind::Report && decision.action == Action::Skip {
            continue;
        }
        let _ = writeln!(text, "  {}: {} ({})", kind, decision.action, decision.rule);
    }
    for kind in rules["kinds"].as_array().into_iter().flatten() {
        for path in kind["paths"].as_array().into_iter().flatten() {
            let part = |at: usize| escape(path[at].as_str().unwrap_or_default().as_bytes());
            let name = escape(kind["kind"].as_str().unwrap_or_default().as_bytes());
            let _ = writeln!(text, "  {name} at {}: {} (line {})", part(0), part(1), path[2]);
        }
    }
}
