//! What a call of the Task API costs more for going through lacre.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prost::Message;
use serde_json::Value;

use super::lab::{Base, Lab};
use super::page::{Section, Unit};
use super::plan::Plan;
use super::report::Report;
use super::stats::{Comparison, Series};
use super::variant::{AUDIT, of_round};

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    /// `google.rpc.Status`; absent when all is well.
    #[prost(bytes = "vec", optional, tag = "1")]
    status: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(string, tag = "1")]
    id: String,
}

/// A connection to a shim: ttrpc, one call at a time.
struct Shim {
    stream: UnixStream,
    /// Of the next call; odd, as a client's are.
    number: u32,
    request: Vec<u8>,
}

/// A ttrpc request, in its header.
const REQUEST: u8 = 1;

impl Shim {
    fn connect(socket: &Path, service: &str, id: &str) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = Request {
            service: service.into(),
            method: "State".into(),
            payload: State { id: id.into() }.encode_to_vec(),
        };
        Ok(Self { stream, number: 1, request: request.encode_to_vec() })
    }

    /// One State: how long it took, in ns.
    fn state(&mut self) -> Result<f64> {
        let begun = Instant::now();
        let mut frame = u32::try_from(self.request.len())?.to_be_bytes().to_vec();
        frame.extend(self.number.to_be_bytes());
        frame.extend([REQUEST, 0]);
        frame.extend(&self.request);
        self.stream.write_all(&frame)?;
        let mut header = [0; 10];
        self.stream.read_exact(&mut header)?;
        let [a, b, c, d, ..] = header;
        let mut answer = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        self.stream.read_exact(&mut answer)?;
        let took = begun.elapsed();
        self.number += 2;
        let answer = Response::decode(&answer[..])?;
        ensure!(answer.status.is_none_or(|status| status.is_empty()), "State was refused");
        Ok(took.as_nanos() as f64)
    }
}

pub(crate) fn measure(lab: &mut Lab, plan: &Plan) -> Result<Report> {
    let made = lab.make(AUDIT, Base::Busybox, &["sleep", "1000"], None)?;
    lab.run(&made)?;
    let folder = lab.daemon().node().folder().to_owned();
    let json = |path: &Path| -> Result<Value> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    let bundle = folder.join("state/io.containerd.runtime.v2.task").join(lab.daemon().namespace());
    let bootstrap = json(&bundle.join(&made.id).join("bootstrap.json"))?;
    let service = match bootstrap["version"].as_u64() {
        Some(3) => "containerd.task.v3.Task",
        _ => "containerd.task.v2.Task",
    };
    // The node's /run is a folder of the node's.
    let seen = |path: &str| -> PathBuf { folder.join(path.trim_start_matches('/')) };
    let own = bootstrap["address"].as_str().context("no address")?;
    let own = seen(own.trim_start_matches("unix://"));
    let known = json(&own.with_extension("json"))?;
    let inner = known["inner_sockets"][0].as_str().context("no inner socket")?;
    let mut ways = [
        (INNER, Shim::connect(&seen(inner), service, &made.id)?),
        (LACRE, Shim::connect(&own, service, &made.id)?),
    ];
    let mut calls = Comparison::default();
    for round in 0..=plan.rounds(20) {
        plan.progress("State", round, plan.rounds(20));
        for at in of_round(&[0, 1], round) {
            let (name, shim) = &mut ways[*at];
            let took = (0..plan.count(200)).map(|_| shim.state()).collect::<Result<Series>>()?;
            if round > 0 {
                calls.push(name, took.median());
            }
        }
    }
    drop(ways);
    lab.end(&made)?;
    let mut section = Section::new(
        "A call of the Task API",
        "State of a running container, 200 calls a round one after the other: to the inner \
         shim's own socket, and through lacre's. No budget; what lacre adds is two hops of a \
         local socket.",
    );
    section.comparison("State", Unit::Nanoseconds, &calls.ordered([INNER, LACRE].into_iter()));
    Ok(Report { sections: vec![section], verdicts: Vec::new() })
}

const INNER: &str = "the inner shim";
const LACRE: &str = "through lacre";
