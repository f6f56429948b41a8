//! The inner shim, as the executor sees it.

use lacre_executor::{Later, Runtime, RuntimeError, State};

use crate::inner::client::{Inner, InnerCallError};
use crate::messages::{KillRequest, ProcessId, Status};

/// One container of the inner shim.
#[derive(Debug)]
pub(super) struct OfInner {
    pub(super) inner: Inner,
    pub(super) id: String,
}

fn failed(doing: &str) -> impl FnOnce(InnerCallError) -> RuntimeError {
    move |error| RuntimeError { doing: doing.to_owned(), source: Some(Box::new(error)) }
}

impl Runtime for OfInner {
    fn kill(&self, signal: u32, all: bool) -> Later<'_, ()> {
        let request = KillRequest { id: self.id.clone(), signal, all, ..KillRequest::default() };
        Box::pin(async move {
            self.inner.kill(&request).await.map_err(failed("asking the inner shim to kill"))
        })
    }

    fn pids(&self) -> Later<'_, Vec<u32>> {
        Box::pin(async {
            self.inner.pids(&self.id).await.map_err(failed("asking the inner shim for the pids"))
        })
    }

    fn state(&self) -> Later<'_, State> {
        Box::pin(async {
            let state = self.inner.state(&ProcessId::init(&self.id)).await;
            match state.map_err(failed("asking the inner shim for the state"))?.status.enum_value()
            {
                Ok(Status::CREATED) => Ok(State::Created),
                Ok(Status::RUNNING) => Ok(State::Running),
                Ok(Status::PAUSED | Status::PAUSING) => Ok(State::Paused),
                Ok(Status::STOPPED) => Ok(State::Stopped),
                Ok(Status::UNKNOWN) | Err(_) => Err(RuntimeError {
                    doing: "reading a state that the inner shim does not name".to_owned(),
                    source: None,
                }),
            }
        })
    }

    fn resume(&self) -> Later<'_, ()> {
        Box::pin(async {
            self.inner.resume(&self.id).await.map_err(failed("asking the inner shim to resume"))
        })
    }

    fn wait_exit(&self) -> Later<'_, ()> {
        Box::pin(async {
            let init = ProcessId::init(&self.id);
            self.inner
                .wait(&init)
                .await
                .map(drop)
                .map_err(failed("waiting for the end of the init"))
        })
    }
}
