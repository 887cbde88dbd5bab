//! Work that may read a disk, off the thread that answers `/healthz`: a folder that is slow or cold holds up who asked
//! for what is in it, and nobody else. Of each kind a few at once; further ones are refused rather than queued.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::Semaphore;

use super::reply::Refusal;

/// Threads that all kinds together take at most.
pub(super) const THREADS: usize = FIGURES + EVENTS + MANY;

const FIGURES: usize = 2;
const EVENTS: usize = 4;
const MANY: usize = 2;

/// Who works beside that thread.
#[derive(Debug)]
pub(super) struct Beside {
    /// Metrics, status.
    pub figures: Hands,
    /// One event, or a page of them.
    pub events: Hands,
    /// Replays and drops of very many.
    pub many: Hands,
}

impl Beside {
    pub(super) fn new() -> Self {
        Self { figures: Hands::new(FIGURES), events: Hands::new(EVENTS), many: Hands::new(MANY) }
    }
}

/// So many threads for one kind of work.
#[derive(Debug)]
pub(super) struct Hands {
    free: Arc<Semaphore>,
    all: usize,
}

impl Hands {
    fn new(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    /// Does `work` on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let Ok(hand) = Arc::clone(&self.free).try_acquire_owned() else {
            let message =
                format!("{} such requests are being answered already; ask again in a moment.", self.all);
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            // Whoever asked may have gone; the thread is free only now.
            drop(hand);
            result
        });
        done.await.map_err(|_| {
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "This failed half-way; the log says more.",
            )
        })
    }

    /// All of them, so that no more work is begun.
    #[cfg(test)]
    pub(super) fn busy(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(self.all).unwrap();
        Arc::clone(&self.free).try_acquire_many_owned(all).unwrap()
    }
}
