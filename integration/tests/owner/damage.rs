//! What a guard has written down of itself and its containers is torn, gone, or another's, when it
//! dies, when it hangs, or while it lives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lacre_integration::Version;
use lacre_integration::fault::{Victim, find};
use lacre_integration::output::{Output, wait_for};
use lacre_integration::process::alive;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::field::{Field, SOON, Tries, Who};

const ENFORCE: &str = "mode: enforce\n";
/// Nothing is pinned: when the guard is dead, nothing in the kernel holds back.
const NOTHING_PINNED: &str = "mode: enforce\nsources: [fanotify]\nblock: all\n";

/// A container's guard notes, and its charter.
#[derive(Clone)]
struct Files {
    state: PathBuf,
    charter: PathBuf,
}

/// Those of each container, by id.
fn files(field: &Field) -> Result<BTreeMap<String, Files>> {
    let run = field.daemon.node().folder().join("run/lacre");
    let read = |folder: &str| -> Result<Vec<(PathBuf, Value)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(run.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                let value = serde_json::from_slice(&fs::read(&path)?)?;
                all.push((path, value));
            }
        }
        Ok(all)
    };
    let charters = read("containers")?;
    let mut found = BTreeMap::new();
    for (state, value) in read("s")? {
        for id in value["containers"].as_array().into_iter().flatten() {
            let id = id["id"].as_str().context("an id")?;
            let of_id = charters.iter().find(|(_, value)| value["head"]["id"] == id);
            let charter = of_id.context("a charter")?.0.clone();
            found.insert(id.to_owned(), Files { state: state.clone(), charter });
        }
    }
    Ok(found)
}

fn tear(path: &Path) -> Result<()> {
    Ok(fs::OpenOptions::new().write(true).open(path)?.set_len(20)?)
}

fn swap(one: &Path, other: &Path) -> Result<()> {
    let (first, second) = (fs::read(one)?, fs::read(other)?);
    fs::write(one, second)?;
    Ok(fs::write(other, first)?)
}

/// The guard dies over damaged files, with containerd there, whose `delete` comes first, and
/// without.
fn dies_over(kind: &str, damage: impl Fn(&Files) -> Result<()>) -> Result<()> {
    for lacre in [ENFORCE, NOTHING_PINNED] {
        let mut field = Field::with(Version::V2_1, lacre)?;
        for away in [true, false] {
            let id = format!("{kind}-{away}");
            let steps = |field: &mut Field| -> Result<()> {
                field.start(&id)?;
                damage(&files(field)?[&id])?;
                if away {
                    field.dies(Who::Containerd, &id)?;
                }
                field.dies(Who::Lacre, &id)?;
                field.has_ended()?;
                field.is_taken_out()?;
                field.is_told(&id, "died")?;
                if away {
                    ensure!(find(&field.daemon, Victim::Inner, &id).is_none(), "an inner shim");
                }
                field.ends(&id)
            };
            steps(&mut field).with_context(|| format!("{id}, {lacre}"))?;
        }
    }
    Ok(())
}

#[test]
fn both_are_torn() -> Result<()> {
    dies_over("torn", |files| tear(&files.state).and_then(|()| tear(&files.charter)))
}

#[test]
fn both_are_gone() -> Result<()> {
    dies_over("gone", |files| {
        fs::remove_file(&files.state)?;
        Ok(fs::remove_file(&files.charter)?)
    })
}

#[test]
fn the_charter_is_gone() -> Result<()> {
    dies_over("charter", |files| Ok(fs::remove_file(&files.charter)?))
}

#[test]
fn the_guards_notes_are_gone() -> Result<()> {
    dies_over("notes", |files| Ok(fs::remove_file(&files.state)?))
}

/// Nobody waits for a writer that never comes.
#[test]
fn the_guards_notes_are_a_fifo() -> Result<()> {
    dies_over("fifo", |files| {
        fs::remove_file(&files.state)?;
        Output::of(std::process::Command::new("mkfifo").arg(&files.state))?.ok().map(drop)
    })
}

/// Each of two containers has what was written down of the other: who dies is stood in for, and
/// who lives is let alone.
#[test]
fn what_is_written_down_is_another_containers() -> Result<()> {
    for (states, charters) in [(true, false), (false, true), (true, true)] {
        for away in [true, false] {
            let mut field = Field::with(Version::V2_1, NOTHING_PINNED)?;
            field.start("lives")?;
            let lives = field.init;
            field.start("dies")?;
            let all = files(&field)?;
            if states {
                swap(&all["lives"].state, &all["dies"].state)?;
            }
            if charters {
                swap(&all["lives"].charter, &all["dies"].charter)?;
            }
            if away {
                field.dies(Who::Containerd, "dies")?;
            }
            field.dies(Who::Lacre, "dies")?;
            let case = format!("states {states}, charters {charters}, away {away}");
            field.has_ended().with_context(|| case.clone())?;
            field.is_told("dies", "died").with_context(|| case.clone())?;
            wait_for("what the dead one left", SOON, || {
                let left = [&all["dies"].state, &all["dies"].charter].map(|file| file.exists());
                Ok((left == [false, false]).then_some(()))
            })
            .with_context(|| case.clone())?;
            field.ends("dies").with_context(|| case.clone())?;
            Tries(lives).more(10).with_context(|| case.clone())?;
            ensure!(alive(lives), "{case}: an innocent container was ended");
            field.daemon.remove("lives").with_context(|| case)?;
        }
    }
    Ok(())
}

/// The guard lives: it says anew what cannot be read, and ends its container itself.
#[test]
fn a_living_guards_notes_are_damaged() -> Result<()> {
    type Damage = fn(&Files) -> Result<()>;
    let damages: [(&str, Damage); 3] = [
        ("torn", |files| tear(&files.state)),
        ("gone", |files| Ok(fs::remove_file(&files.state)?)),
        ("both", |files| tear(&files.state).and_then(|()| tear(&files.charter))),
    ];
    for version in Version::ALL {
        let mut field = Field::with(version, ENFORCE)?;
        for (id, damage) in damages {
            field.start(id)?;
            damage(&files(&field)?[id])?;
            field.dies(Who::Inner, id)?;
            field.has_ended().with_context(|| id)?;
            field.is_taken_out().with_context(|| id)?;
            field.ends(id).with_context(|| id)?;
            ensure!(!field.daemon.log().contains("failed to delete"), "{id}: {version:?}");
        }
    }
    Ok(())
}

/// Guard and inner shim live, and somebody deletes the container all the same.
#[test]
fn a_delete_beside_a_living_guard_whose_notes_are_torn_does_its_work() -> Result<()> {
    let mut field = Field::with(Version::V2_1, ENFORCE)?;
    field.start("beside")?;
    tear(&files(&field)?["beside"].state)?;
    let daemon = &field.daemon;
    let bundle = format!("state/io.containerd.runtime.v2.task/{}/beside", daemon.namespace());
    let bundle = daemon.node().folder().join(bundle);
    let mut delete = daemon.command("containerd-shim-lacre-v1");
    delete.args(["-namespace", daemon.namespace(), "-id", "beside", "-address"]);
    delete.arg(daemon.socket()).args(["-publish-binary", "containerd", "-bundle"]).arg(&bundle);
    delete.arg("delete").current_dir(&bundle).stdin(std::process::Stdio::null());
    delete.env("LACRE_CONFIG", daemon.node().folder().join("lacre/config.yaml"));
    Output::of(&mut delete)?.ok()?;
    field.has_ended()?;
    field.is_taken_out()?;
    field.ends("beside")
}

/// It has its notes torn, and hangs: `delete` knows it by where it listens.
#[test]
fn a_hanging_guards_notes_are_torn() -> Result<()> {
    let mut field = Field::with(Version::V2_1, ENFORCE)?;
    field.start("hangs")?;
    tear(&files(&field)?["hangs"].state)?;
    let guard = find(&field.daemon, Victim::Lacre, "hangs").context("a guard")?;
    guard.signal(Signal::SIGSTOP);
    field.dies(Who::Inner, "hangs")?;
    field.dies(Who::Containerd, "hangs")?;
    field.ends("hangs")?;
    ensure!(!alive(guard.pid), "the guard lives");
    field.is_taken_out()?;
    field.is_told("hangs", "hung")
}

/// What stands where it would note down whom it has can't be replaced: it lives, says so, and ends
/// what it guards all the same.
#[test]
fn a_guard_that_cannot_note_anything_down_is_not_one_that_hangs() -> Result<()> {
    let group = ["--annotation", "io.containerd.runc.v2.group=together"];
    let mut field = Field::with(Version::V2_1, ENFORCE)?;
    let image = lacre_integration::images::busybox_image()?;
    let runtime = lacre_integration::Runtime::Lacre;
    let tries = ["sh", "-c", crate::field::TRIES];
    field.daemon.spawn_with(runtime, &group, &image, "first", &tries)?;
    field.init = field.daemon.task_pid("first")?.context("it runs")?;
    field.tries_more(3)?;
    let state = files(&field)?["first"].state.clone();
    fs::remove_file(&state)?;
    fs::create_dir_all(state.join("in the way"))?;

    let joins = field.daemon.run_command(runtime, &group, &image, "joins", &["true"]);
    let mut joins = joins;
    let said = Output::of(&mut joins)?;
    ensure!(said.code != 0 && said.stderr.contains("can't note down"), "{said:?}");
    field.daemon.ctr(&["containers", "rm", "joins"])?.ok()?;

    let guard = find(&field.daemon, Victim::Lacre, "first").context("a guard")?;
    field.dies(Who::Inner, "first")?;
    field.has_ended()?;
    wait_for("the guard's end", SOON, || Ok((!alive(guard.pid)).then_some(())))?;
    let records = field.daemon.records()?;
    let dead = |record: &&Value| record["notificate"] == "SOURCE_LOST";
    ensure!(!records.iter().any(|record| dead(&record)), "{records:#?}");
    fs::remove_dir_all(&state)?;
    field.is_taken_out()?;
    field.ends("first")
}

/// Somebody removes all that is kept for a run, and the guard dies then: at once, which only
/// `delete` comes to know; or once it has noted down anew what it has, for another watchdog.
#[test]
fn the_run_directory_is_removed_under_a_guard_that_dies_afterwards() -> Result<()> {
    for lacre in [ENFORCE, "mode: audit\n"] {
        for at_once in [true, false] {
            let case = format!("{lacre}, at once {at_once}");
            let mut field = Field::with(Version::V2_1, lacre)?;
            field.runs("removed", "while :; do usleep 20000; done")?;
            let guard = find(&field.daemon, Victim::Lacre, "removed").context("a guard")?;
            let watchdog = field.watchdog().context("a watchdog")?;
            fs::remove_dir_all(field.daemon.node().folder().join("run/lacre"))?;
            if !at_once {
                wait_for("another watchdog", SOON, || {
                    let another = field.watchdog().filter(|next| next.pid != watchdog.pid);
                    let is_kept = field.kept().iter().any(|name| name.ends_with(".json"));
                    Ok((another.is_some() && is_kept).then_some(()))
                })
                .with_context(|| case.clone())?;
                field.dies(Who::Containerd, "removed")?;
            }
            guard.signal(Signal::SIGKILL);
            wait_for("the container's end", SOON, || Ok((!alive(field.init)).then_some(())))
                .with_context(|| case.clone())?;
            field.is_told("removed", "died").with_context(|| case.clone())?;
            field.ends("removed").with_context(|| case)?;
        }
    }
    Ok(())
}

/// There is room for what is written down before a container is created, and for nothing more:
/// that it must not run unguarded could not be told to whoever comes after the guard.
#[test]
fn what_cannot_be_written_down_does_not_start_in_enforce() -> Result<()> {
    let field = Field::with(Version::V2_1, ENFORCE)?;
    let script = "mkdir -p -m 0711 /run/lacre/containers && \
                  mount -t tmpfs -o size=4096,mode=0711 none /run/lacre/containers";
    let node = field.daemon.node();
    Output::of(node.command("sh").args(["-c", script]))?.ok()?;
    let image = lacre_integration::images::busybox_image()?;
    let runtime = lacre_integration::Runtime::Lacre;
    let said = field.daemon.run(runtime, &image, "full", &["true"])?;
    Output::of(node.command("umount").arg("/run/lacre/containers"))?.ok()?;
    ensure!(said.code != 0 && said.stderr.contains("writing"), "{said:?}");
    let _ = field.daemon.ctr(&["containers", "rm", "full"])?;
    Ok(())
}
