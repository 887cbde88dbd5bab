//! The whole gateway from outside: the real process, real sockets, real apps behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests of another process: a failure panics, and the time is the machine's"
)]

mod batches;
mod cli;
mod config_golden;
mod dead_letters;
mod destinations;
mod durability;
mod events;
mod forwarding;
mod handshakes;
mod harness;
mod lifecycle;
mod limits;
mod operator;
mod parity;
mod passthrough;
mod provider_vectors;
mod redaction;
mod refusals;
mod rejected;
mod senders;
mod spill;
mod spool_cli;
mod systemd;
mod transports;
mod turns;
