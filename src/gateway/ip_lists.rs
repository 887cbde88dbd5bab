//! Keeps the lists of providers' addresses fresh: those that routes use are read from where they are published, once in
//! a while. What cannot be read, or cannot be a list, changes nothing; what was read outlives the process in
//! `buffer.path/ip-lists/NAME`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::state_dir::write_private;
use crate::clock::Clock;
use crate::net::{IpList, ListChange};

/// A published list is no longer than this, bytes (GitHub's whole document is 300 KB).
pub(super) const MOST: usize = 4 << 20;
/// How long after a start, and after a failure, a list is asked for.
const FIRST_AFTER: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_secs(3600);
/// So many changes of a list are named in the log.
const NAMED: usize = 20;

/// The lists in use, and how often they are looked at; zero: never.
#[derive(Debug)]
pub(super) struct Refresher {
    folder: PathBuf,
    clock: Clock,
    wanted: Mutex<Wanted>,
    changed: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    lists: BTreeMap<Arc<str>, Arc<IpList>>,
    every: Duration,
}

impl Refresher {
    pub(super) fn new(state_dir: &Path, clock: Clock) -> Self {
        let wanted = Mutex::default();
        Self { folder: state_dir.join("ip-lists"), clock, wanted, changed: tokio::sync::Notify::new() }
    }

    /// Takes over which lists are in use. Those that are new take up what an earlier process read of them.
    pub(super) fn apply(&self, lists: impl IntoIterator<Item = Arc<IpList>>, every: Duration) {
        let lists: BTreeMap<_, _> = lists.into_iter().map(|list| (Arc::clone(&list.name), list)).collect();
        let mut wanted = self.wanted.lock();
        for (name, list) in &lists {
            if !wanted.lists.contains_key(name) {
                self.take_up(list);
            }
        }
        *wanted = Wanted { lists, every };
        drop(wanted);
        self.changed.notify_one();
    }

    /// What was read before counts where it is newer than the snapshot of this binary.
    fn take_up(&self, list: &IpList) {
        let Ok(text) = std::fs::read_to_string(self.folder.join(&*list.name)) else { return };
        let mut lines = text.lines().map(str::to_owned);
        let Some(as_of) = lines.next().filter(|as_of| *as_of > list.view().as_of) else { return };
        if let Err(why) = list.restore(lines.collect(), as_of) {
            tracing::warn!(list = &*list.name, "what was read of this list before cannot be used: {why}");
        }
    }

    /// Asks for the lists, again and again, for the life of the process. `ask` gets an address and gives a document.
    pub(super) async fn run<F>(&self, ask: impl Fn(String) -> F)
    where
        F: Future<Output = Result<Vec<u8>, String>>,
    {
        let mut wait = FIRST_AFTER;
        loop {
            let every = self.wanted.lock().every;
            let pause = async {
                if every.is_zero() { std::future::pending().await } else { tokio::time::sleep(wait).await }
            };
            tokio::select! {
                () = pause => {}
                () = self.changed.notified() => {
                    wait = FIRST_AFTER;
                    continue;
                }
            }
            wait = if self.refresh_all(&ask).await { every } else { every.min(AGAIN_AFTER) };
        }
    }

    /// Whether every list could be read.
    async fn refresh_all<F>(&self, ask: &impl Fn(String) -> F) -> bool
    where
        F: Future<Output = Result<Vec<u8>, String>>,
    {
        let lists: Vec<_> = self.wanted.lock().lists.values().map(Arc::clone).collect();
        let mut all = true;
        for list in lists {
            if let Err(why) = self.refresh(&list, ask).await {
                all = false;
                let as_of = list.view().as_of;
                tracing::warn!(
                    list = &*list.name,
                    "the published list could not be taken over, the one of {as_of} stays: {why}"
                );
            }
        }
        all
    }

    async fn refresh<F>(&self, list: &IpList, ask: &impl Fn(String) -> F) -> Result<(), String>
    where
        F: Future<Output = Result<Vec<u8>, String>>,
    {
        let Some(published) = &list.published else { return Ok(()) };
        let document = ask(published.url.clone()).await?;
        let addresses = published.read(&document)?;
        let as_of = self.clock.now().rfc3339();
        let change = list.replace(addresses, as_of.clone())?;
        tell(list, &change);
        let (path, text) = (self.folder.join(&*list.name), format!("{as_of}\n{}\n", list.lines()));
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(folder)?;
            write_private(&path, text.as_bytes())
        });
        if let Err(error) = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            tracing::warn!(list = &*list.name, "the list is in force, but a restart forgets it: {error}");
        }
        Ok(())
    }
}

fn tell(list: &IpList, change: &ListChange) {
    if change.added.is_empty() && change.removed.is_empty() {
        return;
    }
    let some = |texts: &[String]| texts.iter().take(NAMED).cloned().collect::<Vec<_>>().join(" ");
    tracing::warn!(
        list = &*list.name,
        added = change.added.len(),
        removed = change.removed.len(),
        "the provider's published addresses changed: new {}, gone {}",
        some(&change.added),
        some(&change.removed)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;
    use crate::net::Published;

    fn list() -> Arc<IpList> {
        let published = Published { url: "https://example.com/ips".to_owned(), at: "/hooks".to_owned() };
        let (docs, date) = (String::new(), "2026-01-01".to_owned());
        let addresses = vec!["192.0.2.0/24".to_owned(), "203.0.113.7".to_owned()];
        Arc::new(IpList::new("acme", docs.clone(), docs, Some(published), date, addresses).unwrap())
    }

    fn refresher(folder: &Path) -> Refresher {
        Refresher::new(folder, Clock::manual(Millis(1_768_473_000_000)))
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[tokio::test(start_paused = true)]
    async fn what_is_published_is_taken_over_and_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (list, refresher) = (list(), refresher(dir.path()));
        refresher.apply([Arc::clone(&list)], DAY);
        let asked = Mutex::new(Vec::new());
        let run = refresher.run(|address| {
            asked.lock().push(address);
            async { Ok(br#"{"hooks":["198.51.100.0/24","203.0.113.7"]}"#.to_vec()) }
        });
        let enough = async {
            while asked.lock().len() < 2 {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        };
        let started = tokio::time::Instant::now();
        tokio::select! { () = run => {}, () = enough => {} }
        assert!((DAY..DAY * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
        assert_eq!(asked.lock()[0], "https://example.com/ips");
        assert!(
            list.contains("198.51.100.7".parse().unwrap()) && !list.contains("192.0.2.7".parse().unwrap())
        );

        // The next process, with the binary's own snapshot.
        let list = self::list();
        self::refresher(dir.path()).apply([Arc::clone(&list)], DAY);
        assert!(list.contains("198.51.100.7".parse().unwrap()), "{list:?}");
        assert!(list.view().as_of.starts_with("2026-01-15T"));
        // Nor does it matter how far the list has gone from the snapshot since: each step was looked at.
        let (path, own) = (dir.path().join("ip-lists/acme"), self::list());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("203.0.113.7", "198.51.101.0/24")).unwrap();
        self::refresher(dir.path()).apply([Arc::clone(&own)], DAY);
        assert!(
            own.contains("198.51.101.7".parse().unwrap()) && !own.contains("203.0.113.7".parse().unwrap())
        );
        // A binary whose snapshot is newer does without.
        let text = std::fs::read_to_string(dir.path().join("ip-lists/acme")).unwrap();
        std::fs::write(dir.path().join("ip-lists/acme"), text.replace("2026-01-15T", "2025-01-15T")).unwrap();
        let list = self::list();
        self::refresher(dir.path()).apply([Arc::clone(&list)], DAY);
        assert!(list.contains("192.0.2.7".parse().unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_or_cannot_be_a_list_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (list, refresher) = (list(), refresher(dir.path()));
        refresher.apply([Arc::clone(&list)], DAY);
        for answer in [
            Err("no answer".to_owned()),
            Ok(b"<html>".to_vec()),
            Ok(br#"{"hooks":[]}"#.to_vec()),
            Ok(br#"{"hooks":["0.0.0.0/0"]}"#.to_vec()),
            Ok(br#"{"hooks":["198.51.100.0/24"]}"#.to_vec()),
        ] {
            let all = refresher.refresh_all(&|_| std::future::ready(answer.clone())).await;
            assert!(!all && list.contains("192.0.2.7".parse().unwrap()), "{answer:?}");
        }
        assert!(!dir.path().join("ip-lists").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_where_that_is_off() {
        let dir = tempfile::tempdir().unwrap();
        let refresher = refresher(dir.path());
        refresher.apply([list()], Duration::ZERO);
        let run = refresher.run(|address| async move { panic!("{address} was asked") });
        assert!(tokio::time::timeout(DAY * 30, run).await.is_err());
    }
}
