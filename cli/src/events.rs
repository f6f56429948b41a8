//! `lacre events`: what happened on this node, or on a server's, by time.

mod fold;
mod follow;
mod print;
mod row;
mod select;

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use lacre_shim::config::{Config, ENVIRONMENT, locate};

use crate::exit::Exit;
use crate::records::{Next, Place, STANDARD, Said};
use crate::when::{Moment, moment};

pub(crate) use fold::Fold;
use follow::Tail;
pub(crate) use follow::once;
pub(crate) use print::Form;
pub(crate) use row::Row;
use select::{Select, kinds};

/// What happened, by time: violations, what was done about them, and what is missing
///
/// Equal records are one row with a count, its first and its last time. Without --records, this
/// node's own record file is read; the older ones beside it (.1 to .5) are, too.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A node's record file, or the directory of a policy server's reports (repeatable)
    #[arg(long, value_name = "PATH")]
    records: Vec<PathBuf>,
    /// The shim's configuration, which says where this node's records are
    #[arg(long, value_name = "FILE", conflicts_with = "records")]
    config: Option<PathBuf>,
    /// Only what was seen then or later: 90s, 30m, 2h, 7d ago; or RFC 3339; or a local date
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Only what was seen then or before
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "follow")]
    until: Option<Moment>,
    /// Only images whose name has this in it, or whose digest begins with it
    #[arg(long, value_name = "TEXT")]
    image: Option<String>,
    /// Only containers whose id, or NAMESPACE/ID, begins with this, or whose name it is
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Only pods of this name, or NAMESPACE/NAME, or whose sandbox's id begins with it
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// Only these kinds: of violations, or OUTCOME, GAP, RELEASE (repeatable, or with commas)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Go on with what comes, until it is interrupted; without --since, with that alone
    #[arg(long, short)]
    follow: bool,
    /// Times in UTC, and not in the machine's zone
    #[arg(long)]
    utc: bool,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut select = Select {
        image: args.image.clone(),
        container: args.container.clone(),
        pod: args.pod.clone(),
        kinds: kinds(&args.kind)?,
        ..Select::default()
    };
    select.since(args.since.as_ref(), args.until.as_ref());
    let places: Vec<Place> = if args.records.is_empty() {
        vec![Place::of(&own(args.config.as_deref())?)]
    } else {
        args.records.iter().map(|path| Place::of(path)).collect()
    };
    let form = Form::of(args.json, args.utc);
    if args.follow {
        follow(places, args, &select, &form)
    } else {
        all(&places, args, &select, &form)
    }
}

/// This node's record file, as its configuration says.
pub(crate) fn own(config: Option<&Path>) -> anyhow::Result<PathBuf> {
    let environment = std::env::var_os(ENVIRONMENT);
    let (path, required) = locate(config.map(Path::to_owned), None, environment.as_deref());
    Ok(Config::load(&path, required)?.records)
}

/// A server's segments that were last written so long before `--since` are not read: what was seen
/// again within it was recorded later, but for few.
const OLDER: Duration = Duration::from_secs(86_400);

/// What is no record, counted.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    broken: u64,
    missing: u64,
}

impl Damage {
    /// What a line says, where it is a record.
    pub(crate) fn record<'a>(&mut self, next: Next<'a>) -> Option<Box<crate::records::Line<'a>>> {
        let Next::Whole(line) = next else {
            self.broken += 1;
            return None;
        };
        match Said::of(line) {
            Said::Record(line) => return Some(line),
            Said::Nothing => {}
            Said::Missing(count) => self.missing = self.missing.saturating_add(count),
            Said::Broken => self.broken += 1,
        }
        None
    }

    pub(crate) fn tell(&self) -> io::Result<()> {
        let mut err = io::stderr();
        if self.broken > 0 {
            let are = if self.broken == 1 { "line is no record" } else { "lines are no records" };
            writeln!(err, "lacre: {} {are} (cut short?)", self.broken)?;
        }
        if self.missing > 0 {
            writeln!(err, "lacre: {} records that the server never had", self.missing)?;
        }
        Ok(())
    }
}

fn all(places: &[Place], args: &Args, select: &Select, form: &Form) -> anyhow::Result<Exit> {
    let (mut fold, mut damage) = (Fold::default(), Damage::default());
    let mut out = BufWriter::new(io::stdout().lock());
    form.head(&mut out)?;
    let mut failed = false;
    for place in places {
        let since = match place {
            // All of a node's files are few; what is old in them may have been seen again since.
            Place::File(_) => None,
            Place::Reports(_) => args.since.as_ref().and_then(|it| it.time().checked_sub(OLDER)),
        };
        let read = once(place, since, &mut |next| {
            let Some(line) = damage.record(next) else { return Ok(()) };
            fold.take(&line);
            for row in fold.surplus().iter().filter(|row| select.wants(row)) {
                form.row(&mut out, row)?;
            }
            Ok(())
        });
        match read {
            // With --since, what there is may be older.
            Ok(0) if since.is_none() => {
                failed |= !args.records.is_empty();
                writeln!(io::stderr(), "lacre: {}", nothing(place, args))?;
            }
            Ok(_) => {}
            Err(error) if crate::exit::is_broken_pipe(&error) => return Err(error),
            Err(error) => {
                crate::exit::tell(&error);
                failed = true;
            }
        }
    }
    for row in fold.finish().iter().filter(|row| select.wants(row)) {
        form.row(&mut out, row)?;
    }
    out.flush()?;
    damage.tell()?;
    if fold.is_in_parts {
        writeln!(
            io::stderr(),
            "lacre: there are more different records than are folded at once: what is equal may \
             be in several rows; --since, --container and the like do not change that"
        )?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Good })
}

fn nothing(place: &Place, args: &Args) -> String {
    let at = match place {
        Place::File(path) | Place::Reports(path) => crate::view::shown(path),
    };
    if args.records.is_empty() {
        format!(
            "there is no {at}: nothing was recorded yet, or the shim's configuration names \
             another file than {STANDARD} (--config, --records)"
        )
    } else {
        format!("there are no records at {at}")
    }
}

fn follow(places: Vec<Place>, args: &Args, select: &Select, form: &Form) -> anyhow::Result<Exit> {
    let [place] = &places[..] else {
        anyhow::bail!("--follow goes with one place of records; run it once for each");
    };
    let (mut fold, mut damage) = (Fold::default(), Damage::default());
    let mut out = BufWriter::new(io::stdout().lock());
    form.head(&mut out)?;
    // What is there already is folded first: what comes may be about it.
    let mut tail = Tail::begin(place.clone(), &mut |next| {
        if let Some(line) = damage.record(next) {
            fold.take(&line);
            fold.surplus();
        }
        Ok(())
    })?;
    if args.since.is_some() {
        for row in fold.rows().into_iter().filter(|row| select.wants(row)) {
            form.row(&mut out, row)?;
        }
    }
    damage.tell()?;
    loop {
        out.flush()?;
        tail.wait()?;
        tail.read(&mut |next| {
            let Some(line) = damage.record(next) else { return Ok(()) };
            if let Some(row) = fold.take(&line).filter(|row| select.wants(row)) {
                form.row(&mut out, row)?;
            }
            fold.surplus();
            Ok(())
        })?;
    }
}
