//! `lacre node`: what the policy server thinks of its nodes.

mod orders;
mod show;

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use lacre_proto::attest::{
    AcknowledgeRequest, AttestationClient, ChallengeRequest, ForgetRequest, ListRequest,
};
use lacre_proto::policy::{DecideRequest, Order, OrdersRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{Address, CallError, Connector};
use lacre_types::escape;
use ttrpc::Code;

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
    /// List the nodes and their states, and what waits for an operator; exit status 0 all are
    /// trusted, 1 one is untrusted or has shown what somebody must look at, or an order waits,
    /// 2 neither, or there is none
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
    /// List the orders that would touch many containers, and wait for an operator; exit status 1
    /// when there is one
    Orders {
        /// As JSON, with all that the server knows
        #[arg(long)]
        json: bool,
    },
    /// Have an order done that waits
    Approve {
        /// Its number
        order: u64,
        /// Why; it is kept, and in the server's log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Have answers to reports not given that wait, or that were approved and not given yet
    Dismiss {
        /// The order's number
        order: u64,
        /// Why; it is in the server's log
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
    let (server, policy) =
        (AttestationClient::new(client.clone()), PolicyServiceClient::new(client));
    let within = ttrpc::context::with_duration(LIMIT);
    match args.command {
        Command::List { json } => list(&server, &policy, json).await,
        Command::Orders { json } => {
            let listed = orders_of(&policy).await;
            let (orders, more) = listed.map_err(CallError::call("list its orders"))?;
            orders::tell_of_more(more)?;
            if json {
                orders::json(&orders)?;
            } else {
                orders::people(&orders)?;
            }
            Ok(orders::exit(&orders))
        }
        Command::Approve { order, reason } => decide(&policy, order, reason, true).await,
        Command::Dismiss { order, reason } => decide(&policy, order, reason, false).await,
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

/// The orders, and how many more there are.
async fn orders_of(policy: &PolicyServiceClient) -> ttrpc::Result<(Vec<Order>, u64)> {
    let within = ttrpc::context::with_duration(LIMIT);
    let listed = policy.orders(within, &OrdersRequest::default()).await?;
    Ok((listed.orders, listed.more))
}

/// Others than who administers are told of none, and a server of an earlier release has none.
fn or_none(listed: ttrpc::Result<(Vec<Order>, u64)>) -> ttrpc::Result<(Vec<Order>, u64)> {
    match listed {
        Err(ttrpc::Error::RpcStatus(status))
            if [Code::PERMISSION_DENIED, Code::UNIMPLEMENTED].contains(&status.code()) =>
        {
            Ok((Vec::new(), 0))
        }
        other => other,
    }
}

async fn decide(
    policy: &PolicyServiceClient,
    order: u64,
    reason: String,
    approve: bool,
) -> anyhow::Result<Exit> {
    let within = ttrpc::context::with_duration(LIMIT);
    let request = DecideRequest { order, approve, reason, ..DecideRequest::default() };
    let decided = policy.decide(within, &request).await;
    decided.map_err(CallError::call("decide on an order"))?;
    Ok(Exit::Good)
}

async fn list(
    server: &AttestationClient,
    policy: &PolicyServiceClient,
    json: bool,
) -> anyhow::Result<Exit> {
    let within = ttrpc::context::with_duration(LIMIT);
    // Told first, and where no node is attested, too; others than who administers have none.
    let (orders, more) =
        or_none(orders_of(policy).await).map_err(CallError::call("list its orders"))?;
    orders::tell(&orders)?;
    orders::tell_of_more(more)?;
    let listed = server.list(within, &ListRequest::default()).await;
    let listed = match listed.map_err(CallError::call("list its nodes")) {
        Ok(listed) => listed,
        Err(_) if orders::exit(&orders) == Exit::Differs => return Ok(Exit::Differs),
        Err(error) => return Err(error.into()),
    };
    let nodes = listed.nodes;
    if !listed.error.is_empty() {
        writeln!(
            io::stderr(),
            "lacre: the server's file of expectations is broken; what it said before stays in \
             force: {}",
            escape(listed.error.as_bytes())
        )?;
    }
    if json {
        show::json(&nodes, &orders)?;
    } else {
        show::people(&nodes, &orders)?;
    }
    Ok(match orders::exit(&orders) {
        Exit::Good => show::exit(&nodes),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_could_not_ask_does_not_say_that_nothing_waits() {
        let refused = |code| Err(ttrpc::Error::RpcStatus(ttrpc::get_status(code, String::new())));
        for code in [Code::PERMISSION_DENIED, Code::UNIMPLEMENTED] {
            assert_eq!(or_none(refused(code)).unwrap(), (Vec::new(), 0));
        }
        for code in [Code::RESOURCE_EXHAUSTED, Code::UNAVAILABLE, Code::DEADLINE_EXCEEDED] {
            assert!(or_none(refused(code)).is_err(), "{code:?}");
        }
        assert!(or_none(Err(ttrpc::Error::Others(String::new()))).is_err());
        let listed = (vec![Order::default()], 1);
        assert_eq!(or_none(Ok(listed.clone())).unwrap(), listed);
    }
}
