//! What the secrets were: a file that is being replaced does not take its secret away.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, Millis};
use crate::ingress::Capture;
use crate::secret::{Secret, Source};

/// What the secrets were when they were last read.
///
/// A configuration that is read again with the same store keeps working while a secret's file is being replaced: a
/// file that is missing or empty at that moment leaves the old value in force, with a warning.
#[derive(Clone, Debug)]
pub struct SecretStore {
    clock: Clock,
    read: bool,
    held: HashMap<Source, Held>,
    /// What the load under way has read; becomes `held` when it succeeds.
    next: HashMap<Source, Held>,
    /// Files of secrets that providers are to hand over, and until when they may.
    awaited: BTreeMap<PathBuf, Millis>,
    /// Those of the load under way.
    next_awaited: BTreeMap<PathBuf, Millis>,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) secret: Secret,
    pub(super) loaded_at: Millis,
    /// Of its file, taken before it was read: whatever changes from then on is seen as a change.
    stamp: Stamp,
}

/// What tells that a file is not the one it was: when it changed, its size and its number. `None` where there is no
/// file.
pub type Stamp = Option<(SystemTime, u64, u64)>;

/// Whether the file of a secret is there.
pub(super) fn is_there(source: &Source) -> bool {
    stamp(source).is_some()
}

fn stamp(source: &Source) -> Stamp {
    stamp_of(&source.path()?)
}

fn stamp_of(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len(), file.ino()))
}

impl SecretStore {
    /// An empty store; `clock` tells when a secret was read.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            read: true,
            held: HashMap::new(),
            next: HashMap::new(),
            awaited: BTreeMap::new(),
            next_awaited: BTreeMap::new(),
        }
    }

    /// A store that reads no source (`hooklatch check --no-secrets`). A configuration loaded with it is for looking
    /// at, not for running: its routes accept nothing and its destinations lack their secret headers.
    #[must_use]
    pub fn unread() -> Self {
        Self { read: false, ..Self::new(Clock::system()) }
    }

    /// The files behind the secrets as they were when they were read, in order of path.
    #[must_use]
    pub fn stamps_when_read(&self) -> Vec<(PathBuf, Stamp)> {
        self.stamps(|_, held| held.stamp, |_| None)
    }

    /// The same files as they are now: where this differs, load again.
    #[must_use]
    pub fn stamps_now(&self) -> Vec<(PathBuf, Stamp)> {
        self.stamps(|source, _| stamp(source), stamp_of)
    }

    fn stamps(
        &self,
        of: impl Fn(&Source, &Held) -> Stamp,
        of_awaited: impl Fn(&Path) -> Stamp,
    ) -> Vec<(PathBuf, Stamp)> {
        let stamped = |(source, held): (&Source, &Held)| Some((source.path()?, of(source, held)));
        let awaited = self.awaited.keys().map(|path| (path.clone(), of_awaited(path)));
        let mut stamps: Vec<_> = self.held.iter().filter_map(stamped).chain(awaited).collect();
        stamps.sort();
        stamps
    }

    /// Whether sources are read at all.
    pub(in crate::config) fn reads(&self) -> bool {
        self.read
    }

    /// Gives the providers that have not handed over their secrets the whole time anew.
    pub fn await_anew(&mut self) {
        self.awaited.clear();
    }

    pub(in crate::config) fn begin(&mut self) {
        self.next.clear();
        self.next_awaited.clear();
    }

    pub(in crate::config) fn commit(&mut self) {
        self.held = std::mem::take(&mut self.next);
        self.awaited = std::mem::take(&mut self.next_awaited);
    }

    /// Awaits a secret in `file`, for so long from the first time on.
    pub(super) fn wait_for(&mut self, file: PathBuf, window: Duration) -> Capture {
        let until = self.awaited.get(&file).copied().unwrap_or_else(|| self.clock.now().plus(window));
        self.next_awaited.insert(file.clone(), until);
        Capture { file, until }
    }

    pub(super) fn load(&mut self, source: &Source) -> Loaded {
        if let Some(held) = self.next.get(source) {
            return Loaded::Value(held.clone());
        }
        let now = self.clock.now();
        let old = self.held.get(source);
        let stamp = stamp(source);
        let (held, kept) = match source.load() {
            Ok(secret) => {
                let same = old.filter(|old| old.secret.matches(secret.expose()));
                let loaded_at = same.map_or(now, |old| old.loaded_at);
                (Held { secret, loaded_at, stamp }, None)
            }
            Err(error) => match old {
                Some(old) => (Held { stamp, ..old.clone() }, Some(error.to_string())),
                None => return Loaded::Missing(error.to_string()),
            },
        };
        self.next.insert(source.clone(), held.clone());
        match kept {
            Some(error) => Loaded::Kept(held, error),
            None => Loaded::Value(held),
        }
    }
}

pub(super) enum Loaded {
    Value(Held),
    /// The old value, and why there is no new one.
    Kept(Held, String),
    Missing(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(loaded: Loaded) -> (Vec<u8>, Millis, Option<String>) {
        match loaded {
            Loaded::Value(held) => (held.secret.expose().to_vec(), held.loaded_at, None),
            Loaded::Kept(held, error) => (held.secret.expose().to_vec(), held.loaded_at, Some(error)),
            Loaded::Missing(error) => (Vec::new(), Millis(0), Some(error)),
        }
    }

    #[test]
    fn a_file_that_vanishes_keeps_its_old_value_with_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let source = Source::File(path.clone());
        let clock = Clock::manual(Millis(1000));
        let mut store = SecretStore::new(clock.clone());
        let round = |store: &mut SecretStore| {
            store.begin();
            let result = value(store.load(&source));
            store.commit();
            result
        };
        assert!(round(&mut store).2.is_some(), "missing at start");
        assert!(store.stamps_now().is_empty());
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(round(&mut store), (b"one".to_vec(), Millis(1000), None));
        assert_eq!(store.stamps_now()[0].0, path);
        clock.advance(Duration::from_secs(1));
        assert_eq!(round(&mut store).1, Millis(1000), "the same value was loaded long ago");
        for vanish in [std::fs::write(&path, ""), std::fs::remove_file(&path)] {
            vanish.unwrap();
            let (secret, _, warning) = round(&mut store);
            assert_eq!(secret, b"one");
            assert!(warning.is_some());
        }
        std::fs::write(&path, "two").unwrap();
        assert_eq!(round(&mut store), (b"two".to_vec(), Millis(2000), None));
    }

    #[test]
    fn a_load_that_fails_half_way_changes_nothing() {
        let mut store = SecretStore::new(Clock::manual(Millis(0)));
        store.begin();
        let _ = store.load(&Source::Value("one".to_owned()));
        store.commit();
        store.begin();
        let _ = store.load(&Source::Value("two".to_owned()));
        store.begin();
        assert!(store.held.contains_key(&Source::Value("one".to_owned())));
        assert!(!format!("{store:?}").contains("one\""), "{store:?}");
    }
}
