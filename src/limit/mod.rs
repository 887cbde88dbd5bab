//! How often: rates, exact, for both doors.
//!
//! A [`Pace`] is what the user typed (`rate`, `burst`), a [`Meter`] what was used of it so far; a reload may give an old
//! meter a new pace. [`PerClient`] keeps a meter for each client of a route, boundedly many.
//!
//! The algorithm is GCRA, the generic cell rate algorithm (ITU-T I.371, virtual scheduling), on whole nanoseconds: a
//! meter is one moment, the theoretical arrival time of the next one, and a decision is one comparison. There is no
//! window whose edge lets twice the rate through and no timer that fills a bucket.

mod clients;
mod gcra;

pub use clients::PerClient;
pub use gcra::{Meter, Pace};
