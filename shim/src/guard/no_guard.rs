//! The guard of what is exempt.

use async_trait::async_trait;

use super::{Created, Exempt, Guard, Handling, Operator, Permit, Refusal};
use crate::container::generation::Generation;
use crate::container::telling::{self, Released, Telling};
use crate::messages::{CreateTaskRequest, ExecProcessRequest, KillRequest, ProcessId, Status};

/// Guards nothing: forwards everything, for exempt containers.
#[derive(Debug)]
pub struct NoGuard(Exempt);

impl NoGuard {
    /// For what the configuration exempts.
    #[must_use]
    pub const fn new(exempt: Exempt) -> Self {
        Self(exempt)
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self(Exempt::for_a_test())
    }
}

#[async_trait]
impl Guard for NoGuard {
    async fn create(&self, _: CreateTaskRequest, _: Created) {}

    async fn start(&self, process: &ProcessId) -> Result<Permit, Refusal> {
        Ok(Permit::exempt(&self.0, process.clone()))
    }

    async fn started(&self, _: &ProcessId, _: u32) {}

    async fn exec(&self, _: &ExecProcessRequest) -> Result<(), Refusal> {
        Ok(())
    }

    async fn end(&self, _: &Generation) {}

    async fn pause(&self, _: &str) -> Handling {
        Handling::Forward
    }

    async fn resume(&self, _: &str) -> Handling {
        Handling::Forward
    }

    async fn kill(&self, _: &KillRequest) -> Handling {
        Handling::Forward
    }

    fn status(&self, _: &ProcessId, status: Status) -> Status {
        status
    }

    fn tell(&self, _: Option<&Generation>) -> Telling {
        Telling {
            version: telling::VERSION,
            lacre: env!("CARGO_PKG_VERSION").to_owned(),
            exempt: Some(self.0.because().to_owned()),
            ..Telling::default()
        }
    }

    async fn release(&self, _: &Generation, _: Operator) -> Result<Released, Refusal> {
        Err(Refusal::not_ready(format!("it is not guarded: {}", self.0.because())))
    }

    async fn inner_gone(&self) {}

    async fn shutdown(&self) {}
}
