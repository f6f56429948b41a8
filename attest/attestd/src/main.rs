//! `lacre-attestd`: the start-up sequence.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use lacre_attest::enrol::Challenge;
use lacre_attest::expect::Hex;
use lacre_attest::tpm2::Selection;
use lacre_attest::verify::Given;
use lacre_attestd::agent::serve;
use lacre_attestd::anchor::follow;
use lacre_attestd::args::{Args, Command, Server};
use lacre_attestd::node::Node;
use lacre_proto::Connector;
use lacre_types::chain;
use slog::{Drain as _, Logger, info, o, warn};
use tokio::signal::unix::{SignalKind, signal};

/// A command line that cannot be followed (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;

type Error = Box<dyn std::error::Error>;

/// What libtss2 says of each step that a TPM refuses, also of one that is not needed: to stderr,
/// unless this says otherwise. What fails is told by this program.
const TSS_LOG: (&str, &str) = ("TSS2_LOG", "all+NONE");

fn main() -> ExitCode {
    // Where that can't be, libtss2 says more than it should, and nothing else is different.
    let _ = lacre_sys::environment::set_default(TSS_LOG.0, TSS_LOG.1);
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lacre-attestd: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Error> {
    let node = Node::new(args.node);
    let mut out = std::io::stdout().lock();
    match args.command {
        Command::Serve(server) => answer(node, &server)?,
        Command::Quote { nonce, pcrs, bank, with_secrets } => {
            let pcrs = if pcrs.is_empty() { node.usual_pcrs() } else { pcrs };
            let selection = Selection::of(bank, pcrs);
            let challenge = Challenge { nonce: nonce.0.into(), selection, known: None };
            let shown = node.show(&challenge, true)?;
            out.write_all(&shown.evidence.to_json())?;
            if with_secrets {
                let given = shown.secrets.into_iter();
                let given = given.map(|(id, seq, secret)| Given { id, seq: Some(seq), secret });
                writeln!(out, "\n{}", serde_json::to_string(&given.collect::<Vec<_>>())?)?;
            }
        }
        Command::Keys => {
            let [ek, ak] = node.keys()?.map(Hex);
            writeln!(out, "endorsementKey: {ek}\nattestationKey: {ak}")?;
        }
    }
    Ok(())
}

fn answer(node: Node, server: &Server) -> Result<(), Error> {
    let json = slog_json::Json::new(std::io::stderr()).add_default_keys().build().ignore_res();
    let (drain, _guard) = slog_async::Async::new(Mutex::new(json).ignore_res()).build_with_guard();
    let log = Logger::root(drain.ignore_res(), o!("program" => "lacre-attestd"));
    let connector = Connector::new(server.server.clone(), server.tls())?;
    let node = Arc::new(node);
    if let Some(shims) = node.hear_shims()? {
        if let Some(pcr) = node.stays_in() {
            warn!(log, "what shims keep stays in the PCR that it was begun in, until the next boot";
                "pcr" => pcr);
        }
        follow(shims, Arc::clone(&node), log.clone())?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        info!(log, "serving"; "node" => node.name(), "server" => %connector.address());
        tokio::select! {
            () = serve(Arc::clone(&node), &connector, &log) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok::<_, Error>(())
    })?;
    // What still waits for the TPM is left to its deadline, and waited for by nobody.
    runtime.shutdown_background();
    info!(log, "ended");
    Ok(())
}
