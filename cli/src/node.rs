//! `lacre node`: what the policy server thinks of its nodes.

mod show;

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use lacre_proto::attest::{
    AcknowledgeRequest, AttestationClient, ChallengeRequest, ForgetRequest, ListRequest,
};
use lacre_proto::{Address, CallError, Connector};
use lacre_types::escape;

use crate::exit::Exit;

/// How long the server may take.
const LIMIT: Duration = Duration::from_secs(10);

/// See which nodes the policy server trusts, and why not
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    /// The policy server's unix socket
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "LACRE_SERVER",
        global = true,
        default_value = "unix:///run/lacre/policyd.sock"
    )]
    server: Address,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the nodes and their states; exit status 0 all are trusted, 1 one is untrusted or has
    /// shown what somebody must look at, 2 neither, or there is none
    List {
        /// As JSON, with all that the server knows
        #[arg(long)]
        json: bool,
    },
    /// Want evidence of a node at once, whatever the interval
    Attest {
        /// Its principal, or its name
        node: String,
    },
    /// Say that you have looked at what a node showed, and what it was
    Acknowledge {
        /// Its principal, or its name
        node: String,
        /// What it was; it is kept, and in the server's log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Forget a node, so that it enrols again
    Forget {
        /// Its principal, or its name
        node: String,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = args.server.clone();
    let doing = || match &server {
        Address::Unix(path) if !path.exists() => format!(
            "cannot ask the policy server at {server}: is lacre-policyd running here? --server \
             names another socket"
        ),
        _ => format!("cannot ask the policy server at {server}"),
    };
    runtime.block_on(async { ask(args).await.with_context(doing) })
}

async fn ask(args: Args) -> anyhow::Result<Exit> {
    let client = Connector::new(args.server, None)?.connect(LIMIT).await?;
    let server = AttestationClient::new(client);
    let within = ttrpc::context::with_duration(LIMIT);
    match args.command {
        Command::List { json } => {
            let listed = server.list(within, &ListRequest::default()).await;
            let listed = listed.map_err(CallError::call("list its nodes"))?;
            let nodes = listed.nodes;
            if !listed.error.is_empty() {
                writeln!(
                    io::stderr(),
                    "lacre: the server's file of expectations is broken; what it said before stays \
                     in force: {}",
                    escape(listed.error.as_bytes())
                )?;
            }
            if json {
                show::json(&nodes)?;
            } else {
                show::people(&nodes)?;
            }
            Ok(show::exit(&nodes))
        }
        Command::Attest { node } => {
            let request = ChallengeRequest { node, ..ChallengeRequest::default() };
            let asked = server.challenge(within, &request).await;
            asked.map_err(CallError::call("ask a node for evidence"))?;
            Ok(Exit::Good)
        }
        Command::Acknowledge { node, reason } => {
            let request = AcknowledgeRequest { node, reason, ..AcknowledgeRequest::default() };
            let done = server.acknowledge(within, &request).await;
            done.map_err(CallError::call("acknowledge what a node showed"))?;
            Ok(Exit::Good)
        }
        Command::Forget { node } => {
            let request = ForgetRequest { node, ..ForgetRequest::default() };
            let forgot = server.forget(within, &request).await;
            forgot.map_err(CallError::call("forget a node"))?;
            Ok(Exit::Good)
        }
    }
}
