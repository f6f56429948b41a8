//! The executor that stands beside a container.

use std::sync::Arc;

use lacre_executor::{Backoff, Executor, Helper, Settings};
use lacre_policy::Effective;
use lacre_types::ViolationKind;

use super::identity::Identity;
use super::inner_runtime::OfInner;
use super::{Context, helper_teller};
use crate::container::generation::Generation;

/// For a container of that identity and generation, by what the policy says of its actions.
pub(super) fn executor(
    context: &Context,
    (who, generation): (&Identity, &Generation),
    policy: &Effective,
    init_pid: u32,
) -> std::io::Result<Executor> {
    let container = lacre_executor::Container {
        namespace: who.namespace().to_owned(),
        id: who.id().to_owned(),
        generation: generation.to_string(),
        init_pid,
        address: context.containerd.display().to_string(),
        manager: who.manager(),
    };
    let backoff = policy.restart();
    let settings = Settings {
        grace: policy.decide(ViolationKind::SourceLost, None).grace,
        backoff: Backoff {
            first: backoff.delay,
            cap: backoff.max_delay,
            limit: backoff.attempts.unwrap_or(u32::MAX),
            forget: backoff.reset_after,
        },
        run: context.config.run.clone(),
        helper: Helper::default(),
        teller: helper_teller::teller(&context.config),
    };
    let runtime = OfInner { inner: context.inner.clone(), id: who.id().to_owned() };
    Executor::start(container, settings, Arc::new(runtime))
}
