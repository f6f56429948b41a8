//! `lacre events` as a person and a script meet it.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn command(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lacre"));
    command.arg("events").args(args).current_dir(dir).env("TZ", "UTC");
    command
}

fn events(args: &[&str], dir: &Path) -> Output {
    command(args, dir).output().unwrap()
}

fn rows(args: &[&str], dir: &Path) -> Vec<serde_json::Value> {
    let output = events(&[args, &["--json"]].concat(), dir);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn record(seq: u64, time: &str, container: &str, path: &str) -> String {
    format!(
        "{{\"containerID\":\"{container}\",\"notificate\":\"ENTRY_NOT_FOUND\",\
         \"imageName\":\"docker.io/library/demo:2\",\"imageID\":\"sha256:aa\",\"line\":\"x\",\
         \"time\":\"{time}\",\"stream\":\"00\",\"seq\":{seq},\"namespace\":\"default\",\
         \"node\":\"one\",\"podName\":\"shop\",\"podNamespace\":\"prod\",\"source\":\"fanotify\",\
         \"event\":\"exec\",\"path\":\"{path}\",\"mode\":\"enforce\",\"action\":\"DENY\",\
         \"outcome\":\"denied\"}}\n"
    )
}

fn at(minute: u64) -> String {
    format!("2026-01-01T00:{minute:02}:00.000000000Z")
}

fn paths(rows: &[serde_json::Value]) -> Vec<&str> {
    rows.iter().map(|row| row["path"].as_str().unwrap_or_default()).collect()
}

#[test]
fn rows_come_by_time_from_all_files_and_equal_ones_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let older = record(1, &at(1), "web", "/x") + &record(2, &at(5), "db", "/y");
    fs::write(dir.path().join("v.1"), older).unwrap();
    let update = "{\"containerID\":\"web\",\"record\":\"update\",\"of\":1,\"count\":40,\
        \"last\":\"2026-01-01T00:09:00Z\",\"outcome\":\"denied\",\"action\":\"DENY\",\
        \"time\":\"t\",\"stream\":\"00\",\"seq\":4,\"namespace\":\"default\",\"node\":\"one\"}\n";
    let newer = record(3, &at(7), "web", "/x") + update;
    fs::write(dir.path().join("v"), newer).unwrap();
    let of = |more: &[&str]| rows(&[&["--records", "v"], more].concat(), dir.path());
    let all = of(&[]);
    assert_eq!(paths(&all), ["/x", "/y"]);
    assert_eq!((&all[0]["count"], &all[0]["last"]), (&41.into(), &"2026-01-01T00:09:00Z".into()));
    assert_eq!(paths(&of(&["--since", "2026-01-01T00:08:00Z"])), ["/x"], "it was seen again then");
    assert_eq!(paths(&of(&["--until", "2026-01-01T00:02:00Z"])), ["/x"]);
    assert_eq!(paths(&of(&["--since", "2h"])), Vec::<&str>::new());
    assert_eq!(paths(&of(&["--container", "default/d"])), ["/y"]);
    assert_eq!(of(&["--pod", "prod/shop", "--image", "demo"]).len(), 2);
    assert_eq!(of(&["--kind", "gap,outcome"]).len(), 0);
    for wrong in [&["--kind", "NONE"][..], &["--since", "soon"], &["--follow", "--until", "1h"]] {
        let output = events(&[&["--records", "v"], wrong].concat(), dir.path());
        assert_eq!(output.status.code(), Some(64), "{output:?}");
    }
    let text = String::from_utf8(events(&["--records", "v", "--utc"], dir.path()).stdout).unwrap();
    let line = text.lines().nth(1).unwrap();
    assert!(line.starts_with("2026-01-01 00:01:00  2026-01-01 00:09:00      41"), "{text}");
}

#[test]
fn a_servers_reports_are_read_and_so_is_what_it_never_had() {
    let dir = tempfile::tempdir().unwrap();
    let reports = dir.path().join("state");
    fs::create_dir(&reports).unwrap();
    let line = |record: &str| {
        let record = record.trim_end();
        format!(
            "{{\"stream\":\"00\",\"seq\":1,\"owner\":\"tls:one\",\"node\":\"one\",\
             \"received\":\"2026-01-01T00:00:01Z\",\"record\":{record}}}\n"
        )
    };
    let first = "{\"log\":1,\"streams\":1,\"began\":\"t\"}\n\
        {\"known\":\"00\",\"owner\":\"tls:one\",\"last\":0,\"closed\":false}\n"
        .to_owned()
        + &line(&record(1, &at(1), "web", "/x"));
    fs::write(reports.join("reports-000001.jsonl"), first).unwrap();
    let second =
        "{\"stream\":\"00\",\"from\":2,\"to\":4,\"owner\":\"tls:one\",\"received\":\"t\"}\n"
            .to_owned()
            + &line(&record(5, &at(2), "web", "/y"))
            + "{\"stream\":\"00\",\"seq\":6,\"owner\":\"tls:one\",\"rec";
    fs::write(reports.join("reports-000002.jsonl"), second).unwrap();
    fs::write(reports.join("orders.json"), "{}").unwrap();
    let found = rows(&["--records", "state"], dir.path());
    assert_eq!(paths(&found), ["/x", "/y"]);
    let said = String::from_utf8(events(&["--records", "state"], dir.path()).stderr).unwrap();
    assert_eq!(
        said,
        "lacre: 1 line is no record (cut short?)\nlacre: 3 records that the server never had\n"
    );
    // The join of both sides reads the same.
    let log = Command::new(env!("CARGO_BIN_EXE_lacre"))
        .args(["log", "--json", "--records", "state"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(log.stdout).unwrap().lines().count(), 2);
}

#[test]
fn damaged_files_hide_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = record(1, &at(1), "web", "/x").into_bytes();
    bytes.extend([b"\xff\xfe\x00{\n".as_slice(), &vec![b'y'; 300 << 10], b"\n\n"].concat());
    bytes.extend(record(2, &at(2), "web\\u001b[2J", "/y").into_bytes());
    bytes.extend(
        b"{\"record\":\"gap\",\"reason\":\"flood\",\"lost\":3,\"time\":\"2026-01-01T00:03:00Z\"}\n",
    );
    bytes.extend(b"{\"containerID\":\"web\",\"notific");
    fs::write(dir.path().join("v"), bytes).unwrap();
    let output = events(&["--records", "v"], dir.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}') && text.lines().count() == 4, "{text}");
    assert!(text.contains("flood: 3 lost"), "{text}");
    assert_eq!(output.stderr, b"lacre: 4 lines are no records (cut short?)\n");
    let none = events(&["--records", "none"], dir.path());
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}

#[test]
fn a_full_device_is_told_and_a_closed_pipe_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let many: String = (0..5000).map(|n| record(n, &at(n % 60), "web", &format!("/{n}"))).collect();
    fs::write(dir.path().join("v"), many).unwrap();
    for json in [&[][..], &["--json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let args = [&["--records", "v"], json].concat();
        let output = command(&args, dir.path()).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space"), "{output:?}");
        let mut child = command(&args, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    }
}

/// A follower, whose lines come as they come.
struct Follower(Child, Receiver<serde_json::Value>);

impl Follower {
    fn start(args: &[&str], dir: &Path) -> Self {
        let mut child = command(&[args, &["--follow", "--json"]].concat(), dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tell.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self(child, told)
    }

    fn path(&self) -> String {
        let row = self.1.recv_timeout(SOON).unwrap();
        row["path"].as_str().unwrap().to_owned()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn what_comes_is_followed_through_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("log");
    let file = folder.join("v");
    let follower = Follower::start(&["--records", "log/v", "--since", "2020-01-01"], dir.path());
    // Neither the folder nor the file is there yet.
    fs::create_dir(&folder).unwrap();
    append(&file, &record(1, &at(1), "web", "/1"));
    assert_eq!(follower.path(), "/1");
    let two = record(2, &at(2), "web", "/2");
    append(&file, &two[..40]);
    append(&file, &two[40..]);
    assert_eq!(follower.path(), "/2", "a line that is written in two");
    let old = OpenOptions::new().append(true).open(&file).unwrap();
    fs::rename(&file, folder.join("v.1")).unwrap();
    (&old).write_all(record(3, &at(3), "web", "/3").as_bytes()).unwrap();
    append(&file, &record(4, &at(4), "web", "/4"));
    let mut both = [follower.path(), follower.path()];
    both.sort();
    assert_eq!(both, ["/3", "/4"], "who had the old one open wrote to it still");
    // Two at once, between two looks.
    fs::rename(folder.join("v.1"), folder.join("v.3")).unwrap();
    fs::rename(&file, folder.join("v.2")).unwrap();
    append(&folder.join("v.1"), &record(5, &at(5), "web", "/5"));
    append(&file, &record(6, &at(6), "web", "/6"));
    assert_eq!([follower.path(), follower.path()], ["/5", "/6"]);
}

#[test]
fn a_servers_next_segment_is_followed_and_a_reader_that_goes_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    append(&state.join("reports-000001.jsonl"), &record(1, &at(1), "web", "/1"));
    let mut follower =
        Follower::start(&["--records", "state", "--since", "2020-01-01"], dir.path());
    assert_eq!(follower.path(), "/1");
    append(&state.join("reports-000002.jsonl"), &record(2, &at(2), "web", "/2"));
    assert_eq!(follower.path(), "/2");
    let mut silent = command(&["--records", "state", "--follow"], dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(silent.stdout.take());
    let start = Instant::now();
    while silent.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < SOON, "nobody reads what it says");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(follower.0.try_wait().unwrap().is_none());
}

/// Records of 40 different files in 50 containers: how long, and how much memory. A million where the
/// program is optimised.
#[test]
fn many_records_take_no_more_memory_than_a_few() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = std::io::BufWriter::new(File::create(dir.path().join("v")).unwrap());
    let count: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    for number in 0..count {
        let (container, path) = (format!("c{}", number % 50), format!("/{}", number % 40));
        let line = record(number, &at(number * 50 / count), &container, &path);
        file.write_all(line.as_bytes()).unwrap();
    }
    file.flush().unwrap();
    let start = Instant::now();
    let mut child =
        command(&["--records", "v"], dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let mut out = String::new();
    let mut peak = String::new();
    let status = format!("/proc/{pid}/status");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // The head is buffered until the end: by then all is read, and it still lives.
    stdout.read_line(&mut out).unwrap();
    for line in fs::read_to_string(status).unwrap_or_default().lines() {
        if line.starts_with("VmHWM:") {
            let _ = write!(peak, "{}", line.trim_start_matches("VmHWM:").trim());
        }
    }
    stdout.read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(out.lines().count(), 201, "one for each pair: {}", out.lines().count());
    eprintln!("{count} records in {:?}, at most {peak} of memory", start.elapsed());
    let kib: u64 = peak.trim_end_matches(" kB").parse().unwrap_or(0);
    assert!(kib > 0 && kib < 128 << 10, "{peak}");
}
