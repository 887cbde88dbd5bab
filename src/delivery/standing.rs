//! What a lane remembers over a restart: that it is paused, when it was open, when its destination went.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::open_time::OpenTime;
use crate::clock::{Clock, Millis};

/// Who paused a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedBy {
    /// Somebody did, through the admin API.
    Operator,
    /// The destination answered 410 (`on_gone = "pause"`).
    Gone,
}

/// A destination that is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// By whom.
    pub by: PausedBy,
    /// Since when.
    pub since: Millis,
    /// Until when; `None` = until somebody resumes it.
    pub until: Option<Millis>,
}

/// A [`Pause`] as it is written, and the rest of what one lane remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<WrittenPause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone_since: Option<u64>,
    open_time: OpenTime,
    /// The names it had, of which it knows what they knew.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    took_over: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WrittenPause {
    by: PausedBy,
    since: u64,
    until: Option<u64>,
}

impl From<WrittenPause> for Pause {
    fn from(written: WrittenPause) -> Self {
        Self { by: written.by, since: Millis(written.since), until: written.until.map(Millis) }
    }
}

impl From<Pause> for WrittenPause {
    fn from(Pause { by, since, until }: Pause) -> Self {
        Self { by, since: since.0, until: until.map(|until| until.0) }
    }
}

/// What one lane remembers. Shared by its task and by whoever pauses it.
#[derive(Debug)]
pub(super) struct Standing {
    facts: Mutex<Facts>,
    /// Tells the record that there is something to write.
    changed: Arc<Notify>,
}

impl Standing {
    fn new(facts: Facts, changed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { facts: Mutex::new(facts), changed })
    }

    /// One that nothing is written of.
    #[cfg(test)]
    pub(super) fn unwritten() -> Arc<Self> {
        Self::new(Facts::default(), Arc::default())
    }

    /// The pause that holds `now`.
    pub(super) fn paused(&self, now: Millis) -> Option<Pause> {
        let pause: Pause = self.facts.lock().paused?.into();
        pause.until.is_none_or(|until| now < until).then_some(pause)
    }

    /// Pauses the lane, in place of any other pause.
    pub(super) fn pause(&self, pause: Pause) {
        self.facts.lock().paused = Some(pause.into());
        self.changed.notify_one();
    }

    /// Ends the pause; whether there was one.
    pub(super) fn resume(&self) -> bool {
        let was = self.facts.lock().paused.take().is_some();
        self.changed.notify_one();
        was
    }

    /// Notes whether the lane is open from `now` on.
    pub(super) fn set_open(&self, open: bool, now: Millis) {
        let mut facts = self.facts.lock();
        if facts.open_time.is_shut() != open {
            return;
        }
        if open {
            facts.open_time.open(now)
        } else {
            facts.open_time.shut(now)
        }
        drop(facts);
        self.changed.notify_one();
    }

    /// The age of what came at `since`: how long the lane was open from then on.
    pub(super) fn age(&self, since: Millis, now: Millis) -> Duration {
        self.facts.lock().open_time.between(since, now)
    }

    /// Takes over what `other` knows, which is the same destination under the name that it had: when it was shut, and, where
    /// this one `is_new`, that it is paused. Once: what follows under that name is another matter. Whether that ends a pause.
    pub(super) fn take_over(&self, name: &str, other: &Self, is_new: bool, now: Millis) -> bool {
        let (paused, open_time) = (other.paused(now), other.facts.lock().open_time.clone());
        let mut facts = self.facts.lock();
        if !facts.took_over.insert(name.to_owned()) {
            return false;
        }
        facts.open_time.unite(&open_time, now);
        if is_new && facts.paused.is_none() {
            facts.paused = paused.map(WrittenPause::from);
        }
        let ends = paused.is_some() && facts.paused.is_none();
        drop(facts);
        self.changed.notify_one();
        ends
    }

    /// Notes whether the configuration names the destination; since when it does not.
    pub(super) fn set_configured(&self, configured: bool, now: Millis) -> Option<Millis> {
        let mut facts = self.facts.lock();
        let before = facts.gone_since;
        facts.gone_since = if configured { None } else { Some(before.unwrap_or(now.0)) };
        if !configured {
            // Its task, if there still is one, opens it when the name returns.
            facts.open_time.shut(now);
            facts.took_over.clear();
        }
        let after = facts.gone_since;
        drop(facts);
        if before != after {
            self.changed.notify_one();
        }
        after.map(Millis)
    }
}

/// How often the record is written though nothing changed: a process that is killed is missed from then on.
const ALIVE_EVERY: Duration = Duration::from_secs(60);
/// Changes that come together are written together.
const TOGETHER: Duration = Duration::from_millis(100);
const FILE: &str = "lanes.json";

/// The file `lanes.json`.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Written {
    /// When the process that wrote it was there.
    alive: u64,
    lanes: BTreeMap<String, Facts>,
}

/// What all lanes remember, and the file that it is in.
#[derive(Debug)]
pub(super) struct Record {
    path: Option<PathBuf>,
    clock: Clock,
    lanes: Mutex<BTreeMap<Arc<str>, Arc<Standing>>>,
    changed: Arc<Notify>,
}

impl Record {
    /// Reads what the last process left in `folder`; without a folder nothing is read or written. The time in which no
    /// process was there counts as one in which every lane was shut. Blocks.
    ///
    /// # Errors
    /// A sentence that names the file: it cannot be read, or makes no sense.
    pub(super) fn open(folder: Option<&Path>, clock: Clock) -> Result<Self, String> {
        let path = folder.map(|folder| folder.join(FILE));
        let written = match &path {
            Some(path) => read(path)?,
            None => Written::default(),
        };
        let (now, changed) = (clock.now(), Arc::<Notify>::default());
        let lanes = written.lanes.into_iter().map(|(name, mut facts)| {
            facts.open_time.missed(Millis(written.alive), now);
            (Arc::from(name), Standing::new(facts, Arc::clone(&changed)))
        });
        let lanes = Mutex::new(lanes.collect());
        Ok(Self { path, clock, lanes, changed })
    }

    /// Whether anything is remembered of the lane `name`.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.lanes.lock().contains_key(name)
    }

    /// What the lane `name` remembers.
    pub(super) fn lane(&self, name: &Arc<str>) -> Arc<Standing> {
        let mut lanes = self.lanes.lock();
        let new = || Standing::new(Facts::default(), Arc::clone(&self.changed));
        Arc::clone(lanes.entry(Arc::clone(name)).or_insert_with(new))
    }

    /// Remembers of the lane `name` from now on what `standing` says, which begins anew.
    pub(super) fn begin_anew(&self, name: &Arc<str>, standing: &Arc<Standing>) {
        *standing.facts.lock() = Facts::default();
        self.lanes.lock().insert(Arc::clone(name), Arc::clone(standing));
    }

    /// Forgets the lanes that `keep` does not want: nothing waits in them, and no configuration names them.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lanes.lock().retain(|name, _| keep(name));
    }

    /// Writes what changes, for ever.
    pub(super) async fn keep_written(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.changed.notified() => tokio::time::sleep(TOGETHER).await,
                () = tokio::time::sleep(ALIVE_EVERY) => {}
            }
            let this = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || this.write()).await;
        }
    }

    /// Writes it now. Blocks.
    pub(super) fn write(&self) {
        let Some(path) = &self.path else { return };
        let lanes = {
            let lanes = self.lanes.lock();
            lanes.iter().map(|(name, lane)| (name.to_string(), lane.facts.lock().clone())).collect()
        };
        let written = Written { alive: self.clock.now().0, lanes };
        let done =
            serde_json::to_vec(&written).map_err(io::Error::other).and_then(|text| replace(path, &text));
        if let Err(error) = done {
            tracing::error!(
                file = %path.display(),
                %error,
                "pauses cannot be written: after a restart destinations are as they were written last"
            );
        }
    }
}

fn read(path: &Path) -> Result<Written, String> {
    let failed = |error: &dyn std::fmt::Display| {
        format!(
            "{} cannot be read: {error}; remove it, and no destination is paused any more",
            path.display()
        )
    };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Written::default()),
        Err(error) => Err(failed(&error)),
    }
}

/// Whole or not at all: a crash leaves the one before.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let unfinished = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_768_473_000_000);

    fn later(seconds: u64) -> Millis {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_pause_ends_by_itself_or_by_hand() {
        let lane = Standing::unwritten();
        assert_eq!(lane.paused(NOW), None);
        let pause = Pause { by: PausedBy::Operator, since: NOW, until: Some(later(60)) };
        lane.pause(pause);
        assert_eq!(lane.paused(later(59)), Some(pause));
        assert_eq!(lane.paused(later(60)), None);
        lane.pause(Pause { until: None, ..pause });
        assert!(lane.paused(later(1_000_000)).is_some());
        assert!(lane.resume() && !lane.resume());
        assert_eq!(lane.paused(NOW), None);
    }

    #[test]
    fn a_restart_forgets_no_pause_and_ages_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let app: Arc<str> = "app".into();
        let record = Record::open(Some(dir.path()), clock.clone()).unwrap();
        let lane = record.lane(&app);
        let pause = Pause { by: PausedBy::Gone, since: NOW, until: None };
        lane.pause(pause);
        record.lane(&"old".into()).set_configured(false, NOW);
        clock.advance(Duration::from_secs(100));
        record.write();
        // Killed here; a day later another process comes.
        clock.advance(Duration::from_secs(86_400));
        let record = Record::open(Some(dir.path()), clock.clone()).unwrap();
        let lane = record.lane(&app);
        assert_eq!(lane.paused(clock.now()), Some(pause));
        assert_eq!(lane.age(NOW, clock.now()), Duration::from_secs(100));
        assert_eq!(record.lane(&"old".into()).set_configured(false, clock.now()), Some(NOW));
        record.retain(|name| name == "app");
        record.write();
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(text.contains("app") && !text.contains("old"), "{text}");
    }

    #[test]
    fn a_file_that_makes_no_sense_stops_the_start_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "nonsense").unwrap();
        let error = Record::open(Some(dir.path()), Clock::manual(NOW)).unwrap_err();
        assert!(error.contains("lanes.json cannot be read"), "{error}");
    }

    #[test]
    fn a_new_name_ages_nothing() {
        let (old, new) = (Standing::unwritten(), Standing::unwritten());
        old.set_open(false, NOW);
        old.set_open(true, later(3600));
        old.set_open(false, later(3650)); // since it went from the configuration
        assert!(!new.take_over("old", &old, true, later(3660)));
        assert_eq!(new.age(NOW, later(3670)), Duration::from_secs(60));
        assert!(!new.take_over("old", &old, true, later(5000)), "after the next start");
        assert_eq!(new.age(NOW, later(5000)), Duration::from_secs(1390), "once");
        // What is gone from the configuration is shut.
        new.set_configured(false, later(5000));
        assert_eq!(new.age(NOW, later(9999)), Duration::from_secs(1390));
        // It came back under that name, and got the other one again.
        assert!(!new.take_over("old", &old, true, later(9999)));
        assert_eq!(new.age(NOW, later(9999)), Duration::from_secs(50));
    }

    #[test]
    fn a_pause_goes_along_to_a_new_name_and_ends_where_the_other_one_is_at_work() {
        let old = Standing::unwritten();
        let pause = Pause { by: PausedBy::Operator, since: NOW, until: Some(later(60)) };
        old.pause(pause);
        let new = Standing::unwritten();
        assert!(!new.take_over("old", &old, true, later(10)));
        assert_eq!(new.paused(later(10)), Some(pause));
        assert!(new.resume());
        assert!(!new.take_over("old", &old, true, later(20)), "after the next start");
        assert_eq!(new.paused(later(20)), None, "it was resumed");
        let at_work = Standing::unwritten();
        assert!(at_work.take_over("old", &old, false, later(10)), "which is to be said");
        assert_eq!(at_work.paused(later(10)), None);
        assert!(!Standing::unwritten().take_over("old", &old, false, later(60)), "it was over");
    }

    #[test]
    fn a_breaker_s_hour_is_no_age() {
        let lane = Standing::unwritten();
        lane.set_open(true, NOW);
        assert_eq!(lane.age(NOW, later(50)), Duration::from_secs(50));
        lane.set_open(false, later(50));
        lane.set_open(false, later(60));
        lane.set_open(true, later(3650));
        assert_eq!(lane.age(NOW, later(3660)), Duration::from_secs(60));
    }
}
