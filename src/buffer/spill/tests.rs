use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;

use super::super::disk::record::{HEADER, RECORD_HEADER, VERSION};
use super::super::{
    Buffer, BufferOptions, BufferSettings, DeadReason, EventFilter, KeepError, Lane, Settled,
};
use super::*;
use crate::clock::{Clock, Millis};
use crate::event::{Ack, Answer, Claim, ClaimKeeper, EventId, Proto, Turn};
use crate::headers::Headers;
use crate::observe::Metrics;

const START: Millis = Millis(1_768_473_000_000);

/// Remembers what it is told of ids read back.
#[derive(Debug, Default)]
struct Ids(Mutex<Vec<(DedupeKey, EventId, Millis)>>);

impl ClaimKeeper for Ids {
    fn confirm(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn release(&self, _: DedupeKey, _: Vec<Arc<str>>) {}
    fn restore(&self, key: DedupeKey, id: EventId, kept_at: Millis) {
        self.0.lock().push((key, id, kept_at));
    }
    fn forget(&self, _: DedupeKey) {}
}

/// One process: a buffer, its clock, what it remembers.
struct Process {
    buffer: Buffer,
    clock: Clock,
    ids: Arc<Ids>,
}

impl Process {
    fn at(now: Millis) -> Self {
        Self::with_room(now, 1000)
    }

    fn with_room(now: Millis, max_events: u64) -> Self {
        let clock = Clock::manual(now);
        let options = BufferOptions { max_events, ..BufferOptions::memory() };
        let buffer = Buffer::memory(&BufferSettings::new(options).unwrap(), clock.clone(), Metrics::new());
        buffer.set_destinations(&[("app".into(), Default::default()), ("audit".into(), Default::default())]);
        Self { buffer, clock, ids: Arc::default() }
    }

    fn keep(&self, event: Event, to: &[&str], key: Option<u128>) -> Result<EventId, KeepError> {
        let lanes: Vec<_> = to.iter().map(|name| self.buffer.lane(name)).collect();
        let keeper: Arc<dyn ClaimKeeper> = Arc::<Ids>::clone(&self.ids);
        let claim = key.map(|key| Claim::new(keeper, DedupeKey(key), Vec::new()));
        self.buffer.keep(event, &lanes, claim, Ack::Memory).now_or_never().unwrap()
    }

    fn all(&self) -> Vec<super::super::EventView> {
        self.buffer.list(&EventFilter::default(), None, 1000).0
    }

    fn take_up(&self, state: &Path) -> TakenSpill {
        self.buffer.take_spill(state, &*self.ids).unwrap()
    }
}

fn event(body: &str) -> Event {
    Event {
        id: EventId::default(),
        route: "github".into(),
        provider: Some("github".into()),
        event_id: Some(format!("id of {body}").into()),
        event_type: Some("push".into()),
        event_time: Some(Millis(START.0 - 5000)),
        received_at: Millis(START.0 - 3),
        method: "PUT".into(),
        target: "/github?a=%20".into(),
        headers: Headers::from_pairs([("X-Event", "push"), ("X-Odd", "\u{fc}")]),
        forwarded_for: "192.0.2.1".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::copy_from_slice(body.as_bytes()),
        turn: Turn::default(),
    }
}

fn attempt(number: u16) -> Attempt {
    Attempt {
        number,
        at: Millis(START.0 + u64::from(number)),
        took: Duration::from_millis(7),
        answer: Answer::Status(500),
        region: None,
    }
}

/// Takes `count` events: they are in flight now.
fn start(lane: &Lane, count: usize) {
    assert_eq!(lane.take(count).len(), count);
}

/// What stands of a buffer's events but excerpts, which are not spilled.
fn told(process: &Process) -> Vec<String> {
    let mut all: Vec<String> = process
        .all()
        .iter()
        .map(|view| {
            let places: Vec<_> = view
                .destinations
                .iter()
                .map(|place| {
                    format!("{} {:?} {:?} {:?}", place.name, place.status, place.due, place.attempts)
                })
                .collect();
            format!("{:?} {places:?}", view.event)
        })
        .collect();
    all.sort();
    all
}

/// The spill's files with this ending.
fn files(state: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(state.join("spill")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|is| is == ending)).collect()
}

#[test]
fn every_state_of_an_event_is_the_same_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let old = Process::at(START);
    let [app, audit] = ["app", "audit"].map(|name| old.buffer.lane(name));
    let waits = old.keep(event("waits"), &["app", "audit"], Some(1)).unwrap();
    let dead = old.keep(event("dead"), &["app"], None).unwrap();
    let gone = old.keep(event("delivered"), &["app"], Some(3)).unwrap();
    start(&app, 3);
    app.defer(waits, attempt(1), START.plus(Duration::from_secs(9)), Bytes::from_static(b"no"));
    app.settle(dead, Settled::Dead(DeadReason::Gone), attempt(1), Bytes::new());
    app.settle(gone, Settled::Delivered, attempt(1), Bytes::new());
    start(&audit, 1);
    audit.settle(waits, Settled::Delivered, attempt(1), Bytes::new());
    let orphan = old.keep(event("orphan"), &["former"], Some(u128::MAX)).unwrap();
    let fresh = old.keep(event("fresh"), &["app", "audit"], None).unwrap();
    let before: Vec<_> = told(&old).into_iter().filter(|line| !line.contains(&gone.to_string())).collect();

    old.buffer.close();
    let report = old.buffer.spill(state.path()).unwrap();
    assert_eq!(
        (report.events, report.path.as_deref()),
        (4, files(state.path(), "log").first().map(|p| &**p))
    );
    let new = Process::at(START.plus(Duration::from_secs(1)));
    let expected = TakenSpill { events: 4, ..TakenSpill::default() };
    assert_eq!(new.take_up(state.path()), expected);
    assert_eq!(told(&new), before);
    assert_eq!(
        *new.ids.0.lock(),
        [(DedupeKey(1), waits, START), (DedupeKey(u128::MAX), orphan, START)],
        "oldest first"
    );
    let stats = new.buffer.stats();
    let lanes: Vec<_> =
        stats.destinations.iter().map(|lane| (&*lane.destination, lane.events, lane.dead)).collect();
    assert_eq!(lanes, [("app", 2, 1), ("audit", 1, 0), ("former", 1, 0)]);
    assert_eq!((stats.events, stats.dead_events), (4, 1));
    assert_eq!((stats.bytes, stats.dead_bytes), (old.buffer.stats().bytes, old.buffer.stats().dead_bytes));

    let app = new.buffer.lane("app");
    let next: Vec<_> = app.take(9).iter().map(|delivery| (delivery.event.id, delivery.attempt)).collect();
    assert_eq!(next, [(fresh, 1)]);
    new.clock.advance(Duration::from_secs(7));
    assert!(app.take(9).is_empty(), "it waits as long as before");
    new.clock.advance(Duration::from_secs(1));
    let due: Vec<_> = app.take(9).iter().map(|delivery| (delivery.event.id, delivery.attempt)).collect();
    assert_eq!(due, [(waits, 2)]);
    assert!(new.buffer.requeue_dead(dead));
    assert!(files(state.path(), "log").is_empty());
    assert_eq!(new.take_up(state.path()), TakenSpill::default(), "taken up once");
    let later = new.keep(event("later"), &["app"], None).unwrap();
    assert!(later.seq() > fresh.seq(), "numbers go on");
}

#[test]
fn attempts_of_what_was_on_its_way_count() {
    let state = tempfile::tempdir().unwrap();
    let old = Process::at(START);
    let app = old.buffer.lane("app");
    let [cut, back, again] = ["cut", "back", "again"].map(|b| old.keep(event(b), &["app"], None).unwrap());
    start(&app, 3);
    for id in [cut, back] {
        app.defer(id, attempt(4), START, Bytes::new());
        start(&app, 1);
    }
    app.put_back(back);
    app.settle(again, Settled::Dead(DeadReason::AttemptsExhausted), attempt(9), Bytes::new());
    assert!(old.buffer.requeue_dead(again));
    old.buffer.spill(state.path()).unwrap();
    let new = Process::at(START);
    new.take_up(state.path());
    let app = new.buffer.lane("app");
    let mut all: Vec<_> = app.take(9).iter().map(|d| (d.event.id, d.attempt)).collect();
    all.sort_unstable();
    assert_eq!(all, [(cut, 5), (back, 5), (again, 1)], "a replay's budget is a fresh one");
    assert_eq!(new.buffer.find(again).unwrap().destinations[0].attempts, [attempt(9)]);
}

#[test]
fn what_was_replayed_or_made_due_is_so_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let old = Process::at(START);
    let ids: Vec<_> = (0..3).map(|n| old.keep(event(&n.to_string()), &["app"], None).unwrap()).collect();
    let app = old.buffer.lane("app");
    start(&app, 3);
    let later = |now: Millis| now.plus(Duration::from_secs(3600));
    ids[..2].iter().for_each(|id| app.bury(*id, DeadReason::TooOld));
    app.defer(ids[2], attempt(1), START.plus(Duration::from_secs(7 * 86_400)), Bytes::new());
    old.clock.advance(Duration::from_secs(86_400));
    let replayed_at = old.clock.now();
    ids[..2].iter().for_each(|id| assert!(old.buffer.requeue_dead(*id)));
    assert_eq!(app.take(1)[0].event.id, ids[0]);
    app.defer(ids[0], attempt(1), later(replayed_at), Bytes::new());
    app.hasten(replayed_at);
    let due = |process: &Process, id| process.buffer.find(id).unwrap().destinations[0].due;
    assert_eq!((due(&old, ids[0]), due(&old, ids[2])), (Some(replayed_at), Some(replayed_at)));
    old.buffer.spill(state.path()).unwrap();

    let new = Process::at(replayed_at.plus(Duration::from_secs(60)));
    new.take_up(state.path());
    let mut taken = new.buffer.lane("app").take(9);
    taken.sort_by_key(|delivery| delivery.event.id);
    let told: Vec<_> =
        taken.iter().map(|delivery| (delivery.event.id, delivery.attempt, delivery.since)).collect();
    assert_eq!(told, [(ids[0], 2, replayed_at), (ids[1], 1, replayed_at), (ids[2], 2, Millis(START.0 - 3))]);
}

#[test]
fn a_stop_with_nothing_left_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let old = Process::at(START);
    assert_eq!(old.buffer.spill(state.path()).unwrap(), SpillReport::default());
    let id = old.keep(event("x"), &["app"], None).unwrap();
    start(&old.buffer.lane("app"), 1);
    old.buffer.lane("app").settle(id, Settled::Delivered, attempt(1), Bytes::new());
    assert_eq!(old.buffer.spill(state.path()).unwrap(), SpillReport::default());
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    assert_eq!(old.take_up(state.path()), TakenSpill::default());
}

#[test]
fn a_file_is_private_and_there_whole_or_not_at_all() {
    let state = tempfile::tempdir().unwrap();
    let old = Process::at(START);
    old.keep(event("x"), &["app"], None).unwrap();
    let mut unfinished = Writer::create(state.path(), START).unwrap();
    unfinished.push(&[]).unwrap();
    assert_eq!((files(state.path(), "new").len(), files(state.path(), "log").len()), (1, 0));
    drop(unfinished);
    assert!(files(state.path(), "new").is_empty(), "one that is given up is removed");
    let first = old.buffer.spill(state.path()).unwrap().path.unwrap();
    let second = old.buffer.spill(state.path()).unwrap().path.unwrap();
    assert_ne!(first, second, "none takes the place of one that was not taken up");
    assert_eq!((files(state.path(), "new").len(), files(state.path(), "log").len()), (0, 2));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&first), mode(&state.path().join("spill"))), (0o600, 0o700));

    let blocked = tempfile::tempdir().unwrap();
    std::fs::write(blocked.path().join("spill"), "").unwrap();
    let error = old.buffer.spill(blocked.path()).unwrap_err();
    assert!(error.contains("cannot write to") && error.contains("spill"), "{error}");
}

#[test]
fn what_was_accepted_is_taken_up_even_over_the_bound_and_then_nothing_until_there_is_room() {
    let state = tempfile::tempdir().unwrap();
    let old = Process::at(START);
    let ids: Vec<_> = (0..5).map(|n| old.keep(event(&n.to_string()), &["app"], None).unwrap()).collect();
    old.buffer.spill(state.path()).unwrap();
    let new = Process::with_room(START, 4);
    assert_eq!(new.take_up(state.path()).events, 5);
    assert_eq!(new.buffer.stats().events, 5);
    let app = new.buffer.lane("app");
    start(&app, 5);
    for id in ids {
        assert!(matches!(new.keep(event("new"), &["app"], None), Err(KeepError::Full { .. })));
        app.settle(id, Settled::Delivered, attempt(1), Bytes::new());
        if new.buffer.stats().events < 4 {
            break;
        }
    }
    assert!(new.buffer.stats().events > 0);
    new.keep(event("new"), &["audit"], None).unwrap();
}

#[test]
fn one_file_twice_is_one_event_and_two_with_one_number_are_two() {
    let state = tempfile::tempdir().unwrap();
    let one = Process::at(START);
    let first = one.keep(event("one"), &["app"], Some(1)).unwrap();
    let path = one.buffer.spill(state.path()).unwrap().path.unwrap();
    std::fs::copy(&path, path.with_file_name("9.log")).unwrap();
    let other = Process::at(START.plus(Duration::from_secs(5)));
    let second = other.keep(event("other"), &["app"], Some(2)).unwrap();
    assert_eq!(first.seq(), second.seq());
    other.buffer.spill(state.path()).unwrap();
    let new = Process::at(START);
    new.take_up(state.path());
    let found: Vec<_> = new.all().iter().map(|view| view.event.id).collect();
    assert_eq!((found.len(), new.buffer.stats().events), (2, 2), "{found:?}");
    let of_second = new.ids.0.lock().iter().find(|(key, ..)| key.0 == 2).unwrap().1;
    assert!(found.contains(&first) && found.contains(&of_second) && of_second != second);
}

/// A spill of three events, one of them deferred: its bytes.
fn spilled() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let state = tempfile::tempdir().unwrap();
    let old = Process::at(START);
    for body in ["first", "second", "third"] {
        old.keep(event(body), &["app", "audit"], None).unwrap();
    }
    let app = old.buffer.lane("app");
    let id = app.take(1)[0].event.id;
    app.defer(id, attempt(1), START, Bytes::new());
    let path = old.buffer.spill(state.path()).unwrap().path.unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (state, path, bytes)
}

#[test]
fn a_flipped_bit_costs_the_event_that_it_is_in_and_is_told() {
    let (state, path, bytes) = spilled();
    let whole = Process::at(START);
    whole.take_up(state.path());
    let whole: Vec<_> = whole.all().iter().map(|view| format!("{:?}", view.event)).collect();
    let mut lost_one = 0;
    for at in HEADER..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        let new = Process::at(START);
        let taken = new.take_up(state.path());
        let kept = path.with_extension("damaged");
        assert_eq!((taken.damaged, &taken.kept), (1, &vec![kept.clone()]), "at {at}");
        assert_eq!(std::fs::read(&kept).unwrap(), flipped);
        assert!(files(state.path(), "log").is_empty());
        let found = new.all();
        assert!(found.len() >= 2 && found.len() as u64 == taken.events, "at {at}: {taken:?}");
        assert!(found.iter().all(|view| whole.contains(&format!("{:?}", view.event))), "at {at}");
        lost_one += usize::from(found.len() == 2);
    }
    assert!(lost_one > 3 * RECORD_HEADER && lost_one < bytes.len() - HEADER, "{lost_one}");
}

#[test]
fn a_file_cut_anywhere_gives_what_is_left_of_it() {
    let (state, path, bytes) = spilled();
    let mut most = 0;
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let taken = Process::at(START).take_up(state.path());
        assert!(taken.damaged > 0 && taken.events >= most, "cut to {len}: {taken:?}");
        most = taken.events;
    }
    assert_eq!(most, 3, "the names at the end are there a second time");
}

#[test]
fn a_header_has_a_second_copy_and_without_both_nothing_is_believed() {
    let (state, path, mut bytes) = spilled();
    bytes[9] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Process::at(START).take_up(state.path()), TakenSpill { events: 3, ..TakenSpill::default() });
    bytes[512 + 9] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let taken = Process::at(START).take_up(state.path());
    assert_eq!((taken.events, taken.damaged), (0, 1));
    assert_eq!(std::fs::read(&taken.kept[0]).unwrap(), bytes);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (state, path, mut bytes) = spilled();
    for copy in [0, 512] {
        bytes[copy + 8] = VERSION as u8 + 1;
        let crc = crc32c::crc32c(&bytes[copy..copy + 36]);
        bytes[copy + 36..copy + 40].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(&path, &bytes).unwrap();
    let new = Process::at(START);
    let error = new.buffer.take_spill(state.path(), &*new.ids).unwrap_err();
    let newer = format!("newer hooklatch (format {})", VERSION + 1);
    assert!(error.contains(&newer) && error.contains("spill"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}
