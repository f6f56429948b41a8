//! Taking little while nothing happens, as a shim does nearly all of its life.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How long after a start the rest begins: longer than the containers of one pod are apart.
const QUIET: Duration = Duration::from_secs(1);

/// Knows when a container has started.
#[derive(Debug, Default)]
pub struct Rest(Notify);

impl Rest {
    /// A container has started.
    pub fn after_this(&self) {
        self.0.notify_one();
    }

    /// Calls `rest` whenever containers have started and no more do; for ever.
    pub(crate) async fn whenever_quiet(&self, rest: impl Fn()) {
        loop {
            self.0.notified().await;
            while timeout(QUIET, self.0.notified()).await.is_ok() {}
            rest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn one_rest_after_many_starts() {
        let (rest, rests) = (Rest::default(), Cell::new(0));
        let starts = async {
            for _ in 0..3 {
                rest.after_this();
                sleep(QUIET / 2).await;
            }
            assert_eq!(rests.get(), 0);
            sleep(QUIET).await;
            assert_eq!(rests.get(), 1);
            sleep(QUIET * 9).await;
            assert_eq!(rests.get(), 1, "nothing has started since");
            rest.after_this();
            sleep(QUIET * 2).await;
            assert_eq!(rests.get(), 2);
        };
        tokio::select! {
            () = rest.whenever_quiet(|| rests.set(rests.get() + 1)) => {}
            () = starts => {}
        }
    }
}
