//! Whose turn it is: the class of an event, and the key by which it waits for others.

use std::num::NonZeroU64;

use sha2::{Digest, Sha256};

/// A class of events: within a destination a higher one goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    Critical,
    /// As usual.
    #[default]
    Normal,
    /// After all others, but for one slot in 20.
    Bulk,
}

impl Priority {
    /// Every class, the first one first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Bulk];

    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// What events have in common that are to be delivered one after the other: a hash of their route and of what the route's
/// `order_key` selects. Two keys of one hash are one key: their events wait for each other needlessly.
///
/// It stands on disks: how it is made never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(NonZeroU64);

impl OrderKey {
    /// The key `value` of `route`. Of SHA-256: nobody who chooses keys can make another's of them.
    #[must_use]
    pub fn new(route: &str, value: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((route.len() as u64).to_le_bytes());
        hash.update(route);
        hash.update(value);
        let bits = hash.finalize().iter().take(8).fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte));
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// As it is stored.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// As it was stored; 0 is none.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }
}

/// An event's place among others that go to the same destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Turn {
    /// Its class.
    pub priority: Priority,
    /// Others of this key go before it or after it, never at the same time; `None`: it waits for nobody.
    pub order_key: Option<OrderKey>,
}

/// Something for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClass<T> {
    critical: T,
    normal: T,
    bulk: T,
}

impl<T> ByClass<T> {
    /// Made by `make`, for each class.
    pub fn new(mut make: impl FnMut(Priority) -> T) -> Self {
        Self {
            critical: make(Priority::Critical),
            normal: make(Priority::Normal),
            bulk: make(Priority::Bulk),
        }
    }

    /// That of one class.
    pub fn get(&self, class: Priority) -> &T {
        match class {
            Priority::Critical => &self.critical,
            Priority::Normal => &self.normal,
            Priority::Bulk => &self.bulk,
        }
    }

    /// That of one class.
    pub fn get_mut(&mut self, class: Priority) -> &mut T {
        match class {
            Priority::Critical => &mut self.critical,
            Priority::Normal => &mut self.normal,
            Priority::Bulk => &mut self.bulk,
        }
    }

    /// All, the first class first.
    pub fn iter(&self) -> impl Iterator<Item = (Priority, &T)> {
        Priority::ALL.into_iter().zip([&self.critical, &self.normal, &self.bulk])
    }

    /// All, the first class first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Priority, &mut T)> {
        Priority::ALL.into_iter().zip([&mut self.critical, &mut self.normal, &mut self.bulk])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_its_route_and_never_made_otherwise() {
        let key = OrderKey::new("shop", "order-17");
        assert_eq!(key.to_bits(), 0x2315_d193_df59_5f1f, "it stands on disks");
        assert_eq!(OrderKey::from_bits(key.to_bits()), Some(key));
        assert_eq!(OrderKey::from_bits(0), None);
        for (route, value) in
            [("shop", "order-18"), ("shops", "order-17"), ("shopo", "rder-17"), ("", "shoporder-17")]
        {
            assert_ne!(OrderKey::new(route, value), key, "{route} {value}");
        }
    }
}
