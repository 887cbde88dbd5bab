//! What a 2xx is worth: the real process is killed, its system calls fail, its disk fills up and its files are damaged,
//! while senders log what was acknowledged and the app logs what it got.
//!
//! `HOOKLATCH_SEED` repeats a run's chance, `HOOKLATCH_KILLS` sets how often the process is killed, `HOOKLATCH_SOAK=1`
//! asks for the long forms; `make soak` sets the last two.

mod corrupt;
mod faults;
mod kill;
mod ledger;
mod oracle;
mod order;
mod sender;
mod trace;

use std::time::Duration;

use crate::harness::{Gateway, Setup, now, wait_until};
use ledger::Ledger;
use oracle::Verdict;
use sender::Book;

/// The secret of every route here.
const SECRET: &str = "canary-secret-of-a-route";

/// How long a backlog may take to be delivered, once nothing stands in its way.
const DRAINED: Duration = Duration::from_secs(60);

/// Chance that can be repeated: splitmix64.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The one of this run. Its seed is printed, and shown where the test fails.
    pub fn of_this_run() -> (Self, u64) {
        let seed = std::env::var("HOOKLATCH_SEED").map_or_else(
            |_| now() ^ u64::from(std::process::id()) << 32,
            |text| text.parse().expect("HOOKLATCH_SEED is a number"),
        );
        println!("HOOKLATCH_SEED={seed}");
        (Self(seed), seed)
    }

    pub fn from(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}

/// Whether the long form was asked for.
pub fn soak() -> bool {
    std::env::var("HOOKLATCH_SOAK").is_ok_and(|text| text == "1")
}

/// The smallest buffer here: segments of 1 MiB, so that they roll, are sealed and go while a test looks on.
const SMALL: &str = "64MiB";

/// A gateway in front of `app`, route `/app` to it alone, whose buffer holds `max_bytes`.
fn in_front_of(app: &Ledger, max_bytes: &str) -> Setup {
    Setup::new(
        r#"
        [routes.app]
        path = "/app"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        max_body = "64KiB"
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        concurrency = 16
        retry = { delays = ["100ms", "200ms", "500ms", "1s", "1s", "1s", "1s", "1s", "1s"] }
        "#,
    )
    .server("max_body = \"64KiB\"")
    .buffer(&format!("max_bytes = \"{max_bytes}\""))
    .set("APP", app.url())
}

/// Who traces the process `pid`.
fn tracer(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap();
    Some(tracer.trim().parse().unwrap()).filter(|pid| *pid != 0)
}

/// Whether the process `pid` has ended, be it that nobody has asked how.
fn ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Waits until nothing is pending for `destination`, then compares what was acknowledged with what arrived.
#[track_caller]
fn judge_drained(gateway: &Gateway, destination: &str, book: &Book, app: &Ledger) -> Verdict {
    let series = format!("hooklatch_buffer_events{{destination=\"{destination}\"}}");
    wait_until("everything is delivered", DRAINED, || gateway.metric(&series) < 0.5);
    let dead = oracle::dead_letters(gateway, destination);
    Verdict::of(book, &app.seen(), &dead, |sent| oracle::goes_to(sent.target, destination))
}
