//! A thread of the buffer, which ends the process rather than itself.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::shared::Shared;

/// Starts `run` on a thread of this name.
pub(super) fn start(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce(Arc<Shared>) + Send + 'static,
) -> Result<JoinHandle<()>, String> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // A thread of the spool that panics leaves promises behind that nobody keeps: a restart is safe, going on
            // is not.
            let guard = AbortOnPanic(name_of_thread());
            run(shared);
            std::mem::forget(guard);
        })
        .map_err(|error| format!("cannot start the thread {name}: {error}"))
}

fn name_of_thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

struct AbortOnPanic(String);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!(
            thread = self.0,
            "a thread of the buffer panicked: the process ends, so that a restart can recover"
        );
        std::process::abort();
    }
}
