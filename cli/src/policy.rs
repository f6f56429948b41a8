//! `lacre policy`: check a policy file, explain what it decides, print its schema.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use lacre_policy::{
    CodeDirectories, Decision, Diagnostic, Policy, Subject, parse_digest, resolve, yaml,
};
use lacre_types::{CanonicalPath, Digest, Jit, Mode, PathError, ViolationKind};
use serde_json::json;

use crate::exit::Exit;

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell everything that is wrong with policy files, and what they come to
    Check(Check),
    /// Tell which action one violation of one container gets, and by which rule
    Explain(Box<Explain>),
    /// Print the JSON Schema of the file, for editors
    Schema,
}

#[derive(Debug, Args)]
struct Check {
    /// The policy files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON, an object for each file
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Explain {
    /// The policy file; `-` is standard input
    file: PathBuf,
    /// The kind of violation
    #[arg(long, value_parser = kinds())]
    kind: ViolationKind,
    /// The container's id
    #[arg(long, default_value = "")]
    id: String,
    /// A digest of its image, with or without `sha256:` (repeatable)
    #[arg(long = "digest", value_name = "DIGEST", value_parser = parse_digest)]
    digests: Vec<Digest>,
    /// Its image's name
    #[arg(long)]
    image: Option<String>,
    /// Its namespace in containerd or its pod's (repeatable)
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// One of its labels (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// One of its OCI annotations (repeatable)
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair)]
    annotations: Vec<(String, String)>,
    /// The file that would run, as the container names it
    #[arg(long, value_parser = clap::builder::OsStringValueParser::new().try_map(path))]
    path: Option<CanonicalPath>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn kinds() -> impl TypedValueParser<Value = ViolationKind> {
    PossibleValuesParser::new(ViolationKind::ALL.iter().map(|kind| kind.as_str()))
        .try_map(|word| word.parse::<ViolationKind>())
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[expect(clippy::needless_pass_by_value, reason = "clap hands it over")]
fn path(text: OsString) -> Result<CanonicalPath, PathError> {
    CanonicalPath::new(text.as_bytes())
}

pub(crate) fn run(args: &PolicyArgs) -> anyhow::Result<Exit> {
    let mut out = Vec::new();
    let mut err = Vec::new();
    let told = match &args.command {
        Command::Check(args) => check(args, &mut out, &mut err),
        Command::Explain(args) => explain(args, &mut out, &mut err),
        Command::Schema => {
            Ok(out.write_all(lacre_policy::schema().as_bytes()).map(|()| Exit::Good)?)
        }
    };
    // Whoever closed our standard error does not want it.
    let _ = io::stderr().write_all(&err);
    let written = io::stdout().write_all(&out);
    // Whoever asks by the exit status alone may have closed our standard output.
    match told {
        Ok(Exit::Good) => written.map(|()| Exit::Good).map_err(Into::into),
        told => told,
    }
}

type Parsed = Result<(Policy, Vec<Diagnostic>), lacre_policy::Errors>;

fn read(file: &Path) -> anyhow::Result<Parsed> {
    let whole = |from: &mut dyn Read| {
        let mut text = Vec::new();
        // One byte more than is taken, so that what is too large is told as such.
        from.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut text).map(|_| text)
    };
    let text = match is_input(file) {
        true => whole(&mut io::stdin().lock()),
        false => File::open(file).and_then(|mut open| whole(&mut open)),
    };
    let text = text.with_context(|| format!("cannot read the policy {}", shown(file)))?;
    Ok(Policy::parse(&shown(file), &text))
}

fn is_input(file: &Path) -> bool {
    file == Path::new("-")
}

/// A file's name in messages.
fn shown(file: &Path) -> String {
    match is_input(file) {
        true => "standard input".to_owned(),
        false => lacre_types::escape(file.as_os_str().as_bytes()),
    }
}

fn check(args: &Check, out: &mut Vec<u8>, err: &mut Vec<u8>) -> anyhow::Result<Exit> {
    let mut exit = Exit::Good;
    for (index, file) in args.files.iter().enumerate() {
        if index > 0 && !args.json {
            writeln!(out)?;
        }
        // The others are looked at too, whatever is wrong with one.
        let one =
            check_one(file, args.json, out, err).or_else(|unread| match args.files.len() {
                1 => Err(unread),
                _ => writeln!(err, "lacre: {unread:#}").map(|()| Exit::Failed).map_err(Into::into),
            })?;
        exit = exit.max(one);
    }
    Ok(exit)
}

fn check_one(
    file: &Path,
    as_json: bool,
    out: &mut Vec<u8>,
    err: &mut Vec<u8>,
) -> anyhow::Result<Exit> {
    let (policy, warnings) = match read(file)? {
        Ok(read) => read,
        Err(errors) if as_json => {
            let (diagnostics, more) = (&errors.diagnostics, errors.more);
            let told = json!({
                "file": shown(file), "ok": false, "diagnostics": diagnostics, "more": more,
            });
            writeln!(out, "{told:#}")?;
            return Ok(Exit::Differs);
        }
        Err(errors) => {
            write!(err, "{errors}")?;
            return Ok(Exit::Differs);
        }
    };
    let defaults = ViolationKind::ALL.iter().map(|kind| policy.default_of(*kind));
    if as_json {
        let defaults: serde_json::Map<_, _> =
            defaults.map(|decision| (decision.kind.to_string(), told(&decision))).collect();
        let told = json!({
            "file": shown(file), "ok": true, "rules": policy.rules(), "mode": policy.mode(),
            "jit": policy.jit(&Subject::default()),
            "report": policy.reports(),
            "codeDirectories": patterns(policy.code_directories(&Subject::default())),
            "defaults": defaults, "diagnostics": warnings,
        });
        writeln!(out, "{told:#}")?;
        return Ok(Exit::Good);
    }
    for warning in &warnings {
        writeln!(err, "{warning}")?;
    }
    let (rules, warned) = (policy.rules(), warnings.len());
    write!(out, "{}: good, {rules} rule{} and the defaults", shown(file), plural(rules))?;
    if warned > 0 {
        write!(out, ", {warned} warning{}", plural(warned))?;
    }
    writeln!(out, "\n\nwhere no rule matches:")?;
    for decision in defaults {
        let by = decision.rule.line().map_or("built in".into(), |line| format!("line {line}"));
        writeln!(out, "  {:<16} {:<22} {by}", decision.kind, enforced(&decision))?;
    }
    writeln!(out, "  {:<16} {}", "JIT", policy.jit(&Subject::default()))?;
    writeln!(out, "  {:<16} {}", "Report", policy.reports())?;
    let code = patterns(policy.code_directories(&Subject::default()));
    if !code.is_empty() {
        writeln!(out, "  {:<16} {}", "CodeDirectories", code.join(", "))?;
    }
    let mode = policy.mode().map_or("the node's own".to_owned(), |mode| format!("{mode} at least"));
    writeln!(out, "  {:<16} {mode}", "Mode")?;
    Ok(Exit::Good)
}

fn explain(args: &Explain, out: &mut Vec<u8>, err: &mut Vec<u8>) -> anyhow::Result<Exit> {
    let (policy, warnings) = match read(&args.file)? {
        Ok(read) => read,
        Err(errors) => {
            write!(err, "{errors}")?;
            return Ok(Exit::Differs);
        }
    };
    if !warnings.is_empty() {
        let (n, s) = (warnings.len(), plural(warnings.len()));
        let file = shown(&args.file);
        writeln!(err, "{file} has {n} warning{s}; `lacre policy check` tells them")?;
    }
    let namespaces: Vec<&str> = args.namespaces.iter().map(String::as_str).collect();
    let subject = Subject {
        container_id: args.id.strip_prefix("sha256:").unwrap_or(&args.id),
        image_digests: &args.digests,
        image_name: args.image.as_deref(),
        namespaces: &namespaces,
        labels: &pairs(&args.labels),
        annotations: &pairs(&args.annotations),
    };
    let decision = policy.decide(&subject, args.kind, args.path.as_ref());
    let jit = (args.kind == ViolationKind::Fileless).then(|| policy.jit(&subject));
    let directories = policy.code_directories(&subject);
    let is_code = args.path.as_ref().is_some_and(|path| directories.hold(path));
    let code = patterns(directories);
    if args.json {
        let mut told = told(&decision);
        if let Some(jit) = jit {
            told["jit"] = json!(jit);
        }
        (told["codeDirectories"], told["isDeclaredCode"]) = (json!(code), json!(is_code));
        writeln!(out, "{told:#}")?;
        return Ok(Exit::Good);
    }
    let place = match decision.rule.line() {
        Some(line) => format!("{}:{line}: {}", shown(&args.file), decision.rule),
        None => decision.rule.to_string(),
    };
    let audit = resolve(&decision, true, Mode::Audit).action;
    writeln!(out, "{}", decision.action)?;
    writeln!(out, "  rule     {place}")?;
    writeln!(out, "  enforce  {}", enforced(&decision))?;
    writeln!(out, "  audit    {audit}")?;
    if let Some(fallback) = decision.fallback {
        writeln!(out, "  fallback {fallback}")?;
    }
    match jit {
        Some(Jit::Allow) => writeln!(out, "  JIT      allow: of programs in memory alone")?,
        Some(Jit::Deny) => writeln!(out, "  JIT      deny: of executable memory too")?,
        None => {}
    }
    if !code.is_empty() {
        let path = args.path.as_ref().map(|path| match is_code {
            true => format!("; {path} is code to an interpreter"),
            false => format!("; {path} is in none of them"),
        });
        let code = code.join(", ");
        writeln!(out, "  code     {code}{}", path.unwrap_or_default())?;
    }
    Ok(Exit::Good)
}

/// Directories as the file has them, safe to print.
fn patterns(directories: &CodeDirectories) -> Vec<String> {
    directories.patterns().map(|pattern| lacre_types::escape(pattern.as_bytes())).collect()
}

const fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn pairs(owned: &[(String, String)]) -> Vec<(&str, &str)> {
    owned.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// What enforce does, by a source that can deny and by one that can't.
fn enforced(decision: &Decision) -> String {
    let by = |can_deny| resolve(decision, can_deny, Mode::Enforce).action;
    match (by(true), by(false)) {
        (can, cannot) if can == cannot => can.to_string(),
        (can, cannot) => format!("{can}, or else {cannot}"),
    }
}

fn told(decision: &Decision) -> serde_json::Value {
    let by = |can_deny, mode| resolve(decision, can_deny, mode).action;
    json!({
        "kind": decision.kind,
        "action": decision.action,
        "rule": decision.rule,
        "fallback": decision.fallback,
        "enforce": {
            "canDeny": by(true, Mode::Enforce),
            "cannotDeny": by(false, Mode::Enforce),
        },
        "audit": by(true, Mode::Audit),
    })
}

#[cfg(test)]
mod tests;
