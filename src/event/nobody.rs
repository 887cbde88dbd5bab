//! Nobody remembers an id.

use std::sync::Arc;

use super::{ClaimKeeper, DedupeKey, EventId};
use crate::clock::Millis;

/// A keeper of claims that forgets at once.
#[derive(Debug)]
pub(crate) struct Nobody;

impl ClaimKeeper for Nobody {
    fn confirm(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn release(&self, _: DedupeKey, _: Vec<Arc<str>>) {}
    fn restore(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn forget(&self, _: DedupeKey) {}
}
