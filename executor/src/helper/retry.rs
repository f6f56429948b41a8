//! Asking a containerd that may be gone for a while.

use std::future::Future;
use std::time::{Duration, Instant};

use lacre_containerd::Error;

/// How long a containerd that restarts, hangs or is busy is asked again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again while containerd is gone or busy.
pub(crate) async fn persist<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut wait = Duration::from_millis(50);
    loop {
        match ask().await {
            Err(error) if error.is_passing() && Instant::now() < deadline => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(2));
            }
            answer => return answer,
        }
    }
}

/// `None` where containerd has no such thing: somebody else was quicker.
pub(crate) fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
