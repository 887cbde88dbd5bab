//! Looking at the folder of a stopped gateway, or at a copy of one.

pub use super::disk::inspect::{Damage, Dumped, Stats, Verified, Waiting, dump, stats, verify};
