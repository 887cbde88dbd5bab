//! hooklatch: a webhook gateway that stands in front of existing apps.
//!
//! # Layout
//!
//! Rooms by floor, lowest first; imports go down only (`tests/house.rs` holds them to it).
//!
//! - [`clock`]: wall time, injected; [`headers`]: header lines as they came; [`secret`]: bytes that cannot be printed;
//!   [`units`]: durations, sizes, rates.
//! - [`event`]: what came in and goes on to the app, with its claim and its outcome.

pub mod clock;
pub mod event;
pub mod headers;
pub mod secret;
pub mod units;
