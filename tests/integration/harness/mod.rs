//! What the tests stand on: the real `hooklatch` process, an app that does what a test tells it, senders that sign
//! as providers do, and raw sockets.
//!
//! Every wait is a bounded wait for a condition; every port is one the system chose.

mod app;
mod cli;
mod gateway;
mod http;
mod nginx;
mod sign;

pub use app::{App, Reply, Seen};
pub use cli::{Done, hooklatch, hooklatch_clean, hooklatch_with, spawn_hooklatch};
pub use gateway::{ADMIN_TOKEN, Gateway, Setup};
pub use http::{Connection, Response, get, header, read_body, read_head, request, send, send_to};
pub use nginx::{Authority, Nginx};
pub use sign::{Signed, now};

use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once. Generous, because a machine may be busy; it is
/// waited out only where the test fails.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits until `condition` holds, at most `bound`.
#[track_caller]
pub fn wait_until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + bound;
    while !condition() {
        assert!(Instant::now() < end, "waited {bound:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `look` finds something, at most `bound`.
#[track_caller]
pub fn wait_for<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    wait_until(what, bound, || {
        found = look();
        found.is_some()
    });
    found.unwrap()
}
