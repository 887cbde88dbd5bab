//! hooklatch: a webhook gateway that stands in front of existing apps.
//!
//! # Layout
//!
//! Rooms by floor, lowest first. Imports go down only, and rooms of one floor do not import each other
//! (`tests/house.rs` holds them to it; ARCHITECTURE.md tells how they work together).
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | [`clock`]: wall time, injected. [`headers`]: header lines as they came. [`secret`]: bytes that cannot be printed. [`units`]: durations, sizes, rates |
//! | 1 | [`event`]: what came in and goes on to the app, with its claim and its outcome. [`net`]: sets of addresses, names resolved. [`select`]: where in a request a value stands |
//! | 2 | [`observe`]: metrics and the log |
//! | 3 | [`verify`]: is it real. [`dedupe`]: was it seen. [`limit`]: does it come too often. [`buffer`]: where it stands between its 2xx and the app's |
//! | 4 | [`ingress`]: the front door. [`delivery`]: the back door |
//! | 5 | [`admin`]: the view on what happens, and its API |
//! | 6 | [`config`]: TOML to each room's settings |
//! | 7 | [`gateway`]: builds every room, runs, reloads, drains |
//! | 8 | [`cli`]: one file a command |

pub mod admin;
pub mod buffer;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dedupe;
pub mod delivery;
pub mod event;
pub mod gateway;
pub mod headers;
pub mod ingress;
pub mod limit;
pub mod net;
pub mod observe;
pub mod secret;
pub mod select;
pub mod units;
pub mod verify;
