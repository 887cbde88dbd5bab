//! The gateway: every room built from one [`Config`], run, reloaded, drained.
//!
//! Two runtimes: one with `server.workers` threads for both doors, and the admin room's own thread, which goes on
//! answering when the first is saturated. Whatever may take longer than a millisecond (reading a configuration, its
//! secrets) happens on a third kind of thread, the first runtime's blocking pool.

mod confirm;
mod ip_lists;
mod known_secrets;
mod notify;
mod outbound;
mod proofs;
mod redactions;
mod reload;
mod rooms;
mod state_dir;
mod stop;
#[cfg(test)]
mod tests;
mod views;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::config::{Config, SecretStore};
use crate::observe::{Logging, Metrics, count_panics};
pub use redactions::Redactions;
use reload::Reloader;
use rooms::Rooms;

/// How often the files of secrets are looked at.
const SECRETS_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Runs the gateway with the configuration at `path` until SIGTERM or SIGINT; SIGHUP reloads it. The process's exit
/// code: 0 after a stop, 1 where it could not start, 2 where the configuration has mistakes.
#[must_use]
pub fn run(path: &Path) -> ExitCode {
    refuse_huge_pages();
    let clock = Clock::system();
    let mut secrets = SecretStore::new(clock.clone());
    let (text, config) = match reload::load(path, &mut secrets) {
        Ok(loaded) => loaded,
        Err(report) => {
            say(&report);
            return ExitCode::from(2);
        }
    };
    let metrics = Metrics::new();
    let out = Box::new(std::io::stdout());
    let logging = match Logging::start(config.log, out, clock.clone(), Arc::clone(&metrics)) {
        Ok(logging) => logging,
        Err(error) => return failed(&error),
    };
    count_panics(Arc::clone(&metrics));
    let runtime = match runtime(config.server.workers) {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the worker threads: {error}")),
    };
    let log = logging.events().clone();
    let code = runtime.block_on(async {
        let started = start(config, path, text, secrets, rooms::Tools { clock, metrics, log });
        match started.await {
            Ok((rooms, reloader, signals)) => serve(rooms, reloader, signals).await,
            Err(error) => failed(&error),
        }
    });
    // A name being looked up or a secret being read must not hold the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if !logging.flush(LAST_LINES) {
        say(&"the last lines of the log could not be written");
    }
    code
}

/// A buffer that fills up touches new memory with every event. The allocator asks the kernel for huge pages, and a page
/// of 2 MiB cleared for the first kilobyte of it cost a quarter of all time: accepting took 15.6 µs an event with them
/// and 11.9 µs without (CPU time, `benches/run.sh`'s accept kind).
fn refuse_huge_pages() {
    // A kernel without them has none to refuse.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn runtime(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        chosen => chosen,
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("hooklatch")
        .enable_all()
        .build()
}

/// A gateway that cannot start says so where the person who started it looks, and in the log.
fn failed(error: &str) -> ExitCode {
    tracing::error!("{error}");
    say(&error);
    ExitCode::FAILURE
}

fn say(what: &dyn std::fmt::Display) {
    // Nobody to read it is no reason to do anything else.
    let _ = writeln!(std::io::stderr(), "hooklatch: {what}");
}

async fn start(
    config: Config,
    path: &Path,
    text: String,
    secrets: SecretStore,
    tools: rooms::Tools,
) -> Result<(Arc<Rooms>, Arc<Reloader>, Signals), String> {
    // Before anything that takes time: a signal that comes from here on is not lost, nor does it kill.
    let signals = Signals::new().map_err(|error| format!("cannot listen for signals: {error}"))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let rooms = Arc::new(Rooms::build(&config, tools)?);
    let reloader = Arc::new(Reloader::new(path, text, secrets, config, Arc::clone(&rooms)));
    rooms.open(&reloader).await?;
    Ok((rooms, reloader, signals))
}

async fn serve(rooms: Arc<Rooms>, reloader: Arc<Reloader>, mut signals: Signals) -> ExitCode {
    notify::ready();
    let mut look = tokio::time::interval(SECRETS_LOOKED_AT_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked_meanwhile = false;
    let code = loop {
        let whole = if std::mem::take(&mut asked_meanwhile) {
            true
        } else {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break ExitCode::SUCCESS,
                    Asked::Reload => true,
                },
                _ = look.tick() => false,
                // What was accepted is delivered all the same.
                error = rooms.door_closed() => break failed(&error),
            }
        };
        match while_reading(&reloader, whole, &mut signals).await {
            Some(Asked::Stop) => break ExitCode::SUCCESS,
            asked => asked_meanwhile = asked.is_some(),
        }
    };
    notify::stopping(stop::at_most(&rooms) + LAST_LINES);
    let code = tokio::select! {
        () = stop::stop(&rooms) => code,
        () = signals.stop() => {
            tracing::warn!("a second signal: stopping at once, without waiting for what is in flight");
            ExitCode::FAILURE
        }
    };
    stop::leave(&rooms).await;
    code
}

/// Reads again, and hears signals meanwhile: a file system that does not answer holds up a reload, and no stop; a
/// configuration that changed while the old one was read is read once more.
async fn while_reading(reloader: &Arc<Reloader>, whole: bool, signals: &mut Signals) -> Option<Asked> {
    let mut reading = std::pin::pin!(read_again(reloader, whole));
    let mut asked_meanwhile = None;
    loop {
        tokio::select! {
            () = &mut reading => return asked_meanwhile,
            asked = signals.next() => match asked {
                Asked::Stop => return Some(Asked::Stop),
                Asked::Reload => asked_meanwhile = Some(Asked::Reload),
            },
        }
    }
}

/// The whole configuration, or the secrets alone.
async fn read_again(reloader: &Arc<Reloader>, whole: bool) {
    if whole {
        notify::reloading();
        // The outcome is in the log, and in the admin API's status.
        let _ = reloader.reload().await;
        notify::ready();
    } else {
        reloader.look_at_secrets().await;
    }
}

enum Asked {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
        }
    }

    /// The next signal that asks for a stop. One that asks for a reload waits for [`Self::next`].
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
