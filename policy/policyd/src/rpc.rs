//! What every call of every service needs.

use tokio::sync::{Semaphore, SemaphorePermit};
use ttrpc::Code;

/// The error that a call ends with.
pub(crate) fn status(code: Code, message: impl ToString) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, message.to_string()))
}

/// Leave to do one call more on a connection that may do so many at a time.
pub(crate) fn permit(calls: &Semaphore, most: usize) -> ttrpc::Result<SemaphorePermit<'_>> {
    calls
        .try_acquire()
        .map_err(|_| status(Code::RESOURCE_EXHAUSTED, format!("more than {most} calls at a time")))
}
