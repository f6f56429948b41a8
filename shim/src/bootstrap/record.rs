//! What a container's record in containerd keeps of the runtime's options.

use lacre_containerd::{Client, Message};

use super::options::OptionsError;
use crate::arguments::Args;
use crate::messages::Any;

/// The options that the container was made with. Asked only where a client's have taken
/// their place on standard input: it costs a connection and a call.
pub(super) fn runtime_options(args: &Args) -> Result<Option<Any>, OptionsError> {
    let failed = |error: &dyn std::error::Error| OptionsError::Record {
        id: args.id.clone(),
        why: lacre_types::chain(error),
    };
    // No thread of its own: `start` forks afterwards.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    let client = Client::new(&args.address.display().to_string(), &args.namespace);
    let record = runtime.block_on(client.container(&args.id)).map_err(|error| failed(&error))?;
    Ok(record.runtime_options.map(|Message { type_url, value }| Any { type_url, value }))
}
