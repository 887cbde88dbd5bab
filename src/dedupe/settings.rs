//! What the user can set about deduplication as a whole; a route's own words stand in its route.

use std::time::Duration;

use crate::units::Invalid;

/// `[dedupe]` as typed; its default is the documented one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupeOptions {
    /// How long an id is remembered where neither the route nor the provider says otherwise.
    pub ttl: Duration,
    /// How many ids are remembered over all routes.
    pub max_ids: u32,
}

impl Default for DedupeOptions {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(72 * 3600), max_ids: 1_000_000 }
    }
}

/// Valid [`DedupeOptions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupeSettings(DedupeOptions);

impl DedupeSettings {
    /// Checks `options`.
    ///
    /// # Errors
    /// Every key that cannot be worked with.
    pub fn new(options: DedupeOptions) -> Result<Self, Vec<Invalid>> {
        let mut invalid = Vec::new();
        if options.ttl.is_zero() {
            invalid.push(Invalid::new(
                "ttl",
                "an id remembered for no time is not remembered",
                "write `dedupe = false` on the routes that want no deduplication",
            ));
        }
        if options.max_ids == 0 {
            invalid.push(Invalid::new(
                "max_ids",
                "at least one id must be remembered",
                "write `dedupe = false` on the routes that want no deduplication",
            ));
        }
        if invalid.is_empty() { Ok(Self(options)) } else { Err(invalid) }
    }
}

impl std::ops::Deref for DedupeSettings {
    type Target = DedupeOptions;

    fn deref(&self) -> &DedupeOptions {
        &self.0
    }
}
