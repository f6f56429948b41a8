//! `lacre-policyd`: the start-up sequence.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use lacre_policyd::args::{Args, ArgsError};
use lacre_policyd::attest::{config::Config, nodes::Book};
use lacre_policyd::connections::Connections;
use lacre_policyd::ledger::Ledger;
use lacre_policyd::logging::logger;
use lacre_policyd::orders::{self, Gate};
use lacre_policyd::policy::PolicyFile;
use lacre_policyd::reload;
use lacre_policyd::reloaded_file::Followed;
use lacre_policyd::server::Server;
use lacre_policyd::signals::signals;
use lacre_proto::{Address, Bound, Limits, ServerTls, serve};
use lacre_types::chain;
use slog::{Logger, crit, info, warn};
use tokio::sync::{mpsc, watch};

/// A command line that cannot be followed (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let (log, _guard) = logger();
    match run(&args, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Mostly to who has just started it: the log's form is for programs.
            let _ = writeln!(std::io::stderr(), "lacre-policyd: {}", chain(&*error));
            if error.is::<ArgsError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &Args, log: &Logger) -> Result<(), Error> {
    let tls = args.tls()?.map(ServerTls::load).transpose()?.map(Arc::new);
    let policy = Followed::<PolicyFile>::load(&args.policy)?;
    let loaded = policy.get();
    for warning in &loaded.warnings {
        warn!(log, "the policy"; "warning" => warning);
    }
    let attest = args.attest.as_deref().map(Followed::<Config>::load).transpose()?;
    if args.check {
        info!(log, "the configuration is good"; "version" => &loaded.version);
        return Ok(());
    }
    // Before anything is touched: a later release may have written a file of it.
    orders::check(&args.state)?;
    if attest.is_some() {
        lacre_policyd::attest::check(&args.state.join("nodes"))?;
    }
    let segment = args.segment.max(1).saturating_mul(1 << 20);
    let (ledger, writer, opened) = Ledger::open(&args.state, segment)?;
    let book = attest.map(|file| Book::open(file, &args.state.join("nodes"), log.clone()));
    let book = book.transpose()?.map(Arc::new);
    let gate = Gate::open(&args.state, args.limits(), log.clone())?;
    if opened.cut > 0 || !opened.broken.is_empty() {
        warn!(log, "the last run ended in the middle of a line, or lines are damaged";
            "file" => %opened.file.display(), "cut" => opened.cut,
            "damaged" => ?opened.broken.iter().take(10).collect::<Vec<_>>());
    }
    let addresses = args.addresses(tls.is_some(), loaded.policy.port());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (stopping, stop) = watch::channel(false);
    let ended = runtime.block_on(async {
        let bound = bind(&addresses, tls.as_ref(), args, log).await?;
        let server = Arc::new(Server::new(policy, ledger, book, gate, stop.clone(), log.clone())?);
        let (tell, changed) = mpsc::channel(1);
        let expectations = server.attest.as_ref().map(|book| book.file.file());
        for file in [server.policy.file()].into_iter().chain(expectations) {
            if let Err(error) = reload::watch(file, tell.clone()) {
                warn!(log, "a file's directory cannot be watched; it is read now and then";
                    "file" => %file.display(), "error" => %error, "every" => ?reload::ANYWAY);
            }
        }
        let signals = signals(log.clone(), tls, tell, stopping.clone())?;
        let following = Arc::clone(&server);
        let following = tokio::spawn(async move { following.follow(changed).await });
        let settling = Arc::clone(&server);
        let settling = tokio::spawn(async move { settling.settle().await });
        info!(log, "serving"; "version" => &loaded.version, "instance" => &server.instance,
            "streams" => opened.streams, "reports" => %opened.file.display());
        let mut writer = writer;
        let serving = serve(bound, Arc::new(Connections(server)), Limits::default(), stop);
        let result: Result<(), Error> = tokio::select! {
            () = serving => Ok(()),
            Ok(error) = &mut writer.failed => {
                crit!(log, "ending"; "error" => chain(&error));
                Err(error.into())
            }
        };
        signals.abort();
        following.abort();
        settling.abort();
        result.map(|()| writer)
    });
    // What was spawned holds the way to the ledger: it ends before the ledger does.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    ended?.join();
    info!(log, "ended");
    Ok(())
}

/// Binds everything before anything is served.
async fn bind(
    addresses: &[Address],
    tls: Option<&Arc<ServerTls>>,
    args: &Args,
    log: &Logger,
) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for address in addresses {
        bound.push(match (address, tls) {
            (Address::Unix(path), _) => Bound::unix(path, &args.allow_uid)?,
            (Address::Tls { host, port }, Some(tls)) => {
                Bound::tls(host, *port, Arc::clone(tls)).await?
            }
            // Args::tls has refused it.
            (Address::Tls { .. }, None) => continue,
        });
        info!(log, "listening"; "address" => %address);
    }
    Ok(bound)
}
