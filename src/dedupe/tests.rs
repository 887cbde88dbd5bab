use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const START: Millis = Millis(1_768_473_000_000);

fn table(max_ids: u32) -> (Arc<Dedupe>, Clock) {
    let clock = Clock::manual(START);
    let settings = DedupeSettings::new(DedupeOptions { ttl: HOUR, max_ids }).unwrap();
    (Dedupe::new(&settings, clock.clone(), [7; 16]), clock)
}

fn id(seq: u64) -> EventId {
    EventId::new(START, seq)
}

fn new(claimed: Claimed) -> Claim {
    match claimed {
        Claimed::New(claim) => claim,
        other => panic!("not new: {other:?}"),
    }
}

fn waiter(claimed: Claimed) -> Waiter {
    match claimed {
        Claimed::InFlight(waiter) => waiter,
        other => panic!("not in flight: {other:?}"),
    }
}

fn is_new(claimed: Claimed) -> bool {
    matches!(claimed, Claimed::New(_))
}

fn duplicate_of(claimed: Claimed) -> Option<EventId> {
    match claimed {
        Claimed::Duplicate { id, .. } => Some(id),
        _ => None,
    }
}

/// Brings `n` in as its own id.
fn keep(dedupe: &Arc<Dedupe>, clock: &Clock, n: u64) {
    let key = dedupe.key("r", &n.to_be_bytes());
    new(dedupe.claim(key, HOUR)).confirm(id(n), clock.now());
}

fn known(dedupe: &Arc<Dedupe>, n: u64) -> bool {
    duplicate_of(dedupe.claim(dedupe.key("r", &n.to_be_bytes()), HOUR)) == Some(id(n))
}

#[test]
fn a_confirmed_id_is_a_duplicate_and_names_the_first() {
    let (dedupe, clock) = table(10);
    let key = dedupe.key("github", b"1");
    let claim = new(dedupe.claim(key, HOUR));
    assert_eq!(dedupe.size(), (0, 0), "a claim alone remembers nothing");
    clock.advance(Duration::from_secs(1));
    claim.confirm(id(5), clock.now());
    match dedupe.claim(key, HOUR) {
        Claimed::Duplicate { id: first, kept_at } => {
            assert_eq!((first, kept_at), (id(5), START.plus(Duration::from_secs(1))));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((dedupe.size(), dedupe.in_flight()), ((1, 0), 0));
}

#[test]
fn a_dropped_claim_leaves_the_id_free() {
    let (dedupe, _) = table(10);
    let key = dedupe.key("github", b"1");
    drop(new(dedupe.claim(key, HOUR)));
    assert_eq!((dedupe.size(), dedupe.in_flight()), ((0, 0), 0));
    assert!(is_new(dedupe.claim(key, HOUR)));
}

#[test]
fn keys_tell_routes_ids_and_tables_apart() {
    let (dedupe, clock) = table(10);
    assert_ne!(dedupe.key("a", b"1"), dedupe.key("b", b"1"));
    assert_ne!(dedupe.key("a", b"1"), dedupe.key("a", b"2"));
    assert_ne!(dedupe.key("a", b"b1"), dedupe.key("ab", b"1"));
    assert_eq!(dedupe.key("a", b"1"), dedupe.key("a", b"1"));
    let settings = DedupeSettings::new(DedupeOptions::default()).unwrap();
    assert_ne!(Dedupe::new(&settings, clock, [8; 16]).key("a", b"1"), dedupe.key("a", b"1"));
}

#[test]
fn the_key_is_siphash_2_4_128_as_its_authors_publish_it() {
    // github.com/veorq/SipHash, vectors.h, vectors_sip128[15]: key 00..0f, message 00..0e, here cut at its first
    // byte: an empty route, the NUL, then 01..0e.
    let clock = Clock::manual(START);
    let key = std::array::from_fn(|i| i as u8);
    let dedupe = Dedupe::new(&DedupeSettings::new(DedupeOptions::default()).unwrap(), clock, key);
    let id: Vec<u8> = (1..15).collect();
    let digest = dedupe.key("", &id).0.to_le_bytes();
    assert_eq!(hex::encode(digest), "5493e99933b0a8117e08ec0f97cfc3d9");
}

#[tokio::test]
async fn waiters_share_the_first_ones_success() {
    let (dedupe, clock) = table(10);
    let key = dedupe.key("github", b"1");
    let claim = new(dedupe.claim(key, HOUR));
    let waiting: Vec<Waiter> = (0..3).map(|_| waiter(dedupe.claim(key, HOUR))).collect();
    claim.confirm(id(9), clock.now());
    for waiter in waiting {
        assert_eq!(waiter.result().await, Some(id(9)));
    }
}

#[tokio::test]
async fn waiters_share_the_first_ones_failure_and_keep_nothing() {
    let (dedupe, _) = table(10);
    let key = dedupe.key("github", b"1");
    let claim = new(dedupe.claim(key, HOUR));
    let first = waiter(dedupe.claim(key, HOUR));
    let second = tokio::spawn(waiter(dedupe.claim(key, HOUR)).result());
    tokio::task::yield_now().await;
    drop(claim);
    assert_eq!(first.result().await, None);
    assert_eq!(second.await.unwrap(), None);
    assert_eq!((dedupe.size(), dedupe.in_flight()), ((0, 0), 0));
    assert!(is_new(dedupe.claim(key, HOUR)));
}

#[tokio::test]
async fn a_waiter_that_goes_away_changes_nothing_for_the_others() {
    let (dedupe, clock) = table(10);
    let key = dedupe.key("github", b"1");
    let claim = new(dedupe.claim(key, HOUR));
    let gone = tokio::spawn(waiter(dedupe.claim(key, HOUR)).result());
    let stays = waiter(dedupe.claim(key, HOUR));
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    claim.confirm(id(9), clock.now());
    assert_eq!(stays.result().await, Some(id(9)));
}

#[tokio::test]
async fn a_sender_that_hangs_up_anywhere_leaves_remembered_or_free() {
    // The claim travels through two awaits before it is confirmed; the request is cancelled at each of them.
    async fn request(claim: Claim, clock: Clock) {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        claim.confirm(id(1), clock.now());
        tokio::task::yield_now().await;
    }
    for polls in 0..5 {
        let (dedupe, clock) = table(10);
        let key = dedupe.key("r", b"1");
        let mut running = Box::pin(request(new(dedupe.claim(key, HOUR)), clock));
        for _ in 0..polls {
            let _ = futures_util::poll!(running.as_mut());
        }
        let waiter = match dedupe.claim(key, HOUR) {
            Claimed::InFlight(waiter) => Some(waiter),
            _ => None,
        };
        assert_eq!(waiter.is_some(), polls < 3, "the claim stands until the request is through ({polls})");
        drop(running);
        assert_eq!(dedupe.in_flight(), 0, "{polls}");
        match waiter {
            Some(waiter) => {
                assert_eq!(waiter.result().await, None, "{polls}");
                assert!(is_new(dedupe.claim(key, HOUR)), "{polls}");
            }
            None => assert_eq!(duplicate_of(dedupe.claim(key, HOUR)), Some(id(1)), "{polls}"),
        }
    }
}

#[test]
fn each_look_up_brings_its_own_time_to_live() {
    let (dedupe, clock) = table(10);
    let key = dedupe.key("github", b"1");
    new(dedupe.claim(key, HOUR)).confirm(id(1), clock.now());
    clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(duplicate_of(dedupe.claim(key, HOUR)), Some(id(1)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(duplicate_of(dedupe.claim(key, 2 * HOUR)), Some(id(1)), "another route's longer time");
    let again = new(dedupe.claim(key, HOUR));
    again.confirm(id(2), clock.now());
    assert_eq!(duplicate_of(dedupe.claim(key, HOUR)), Some(id(2)));
    assert_eq!(dedupe.size(), (1, 0), "an id kept anew is one id, and none was forgotten for room");
}

#[test]
fn an_id_is_not_free_because_the_clock_went_backwards() {
    let (dedupe, clock) = table(10);
    let key = dedupe.key("github", b"1");
    new(dedupe.claim(key, HOUR)).confirm(id(1), clock.now().plus(24 * HOUR));
    assert_eq!(duplicate_of(dedupe.claim(key, HOUR)), Some(id(1)));
    clock.advance(24 * HOUR);
    assert_eq!(duplicate_of(dedupe.claim(key, HOUR)), Some(id(1)));
    clock.advance(HOUR);
    assert!(is_new(dedupe.claim(key, HOUR)));
}

#[test]
fn a_full_table_remembers_the_newest_and_counts_what_it_forgot() {
    let (dedupe, clock) = table(100);
    for n in 0..250 {
        keep(&dedupe, &clock, n);
    }
    assert_eq!(dedupe.size(), (100, 150));
    assert!((150..250).all(|n| known(&dedupe, n)), "the newest hundred");
    assert!((0..150).all(|n| !known(&dedupe, n)), "and no other");
}

#[test]
fn the_sharded_table_forgets_the_oldest_within_a_few_percent() {
    let (dedupe, clock) = table(200_000);
    assert_eq!(dedupe.shards.len(), 16);
    for n in 0..400_000 {
        keep(&dedupe, &clock, n);
    }
    assert_eq!(dedupe.size(), (200_000, 200_000));
    assert!((215_000..400_000).all(|n| known(&dedupe, n)));
    assert!((0..185_000).all(|n| !known(&dedupe, n)));
}

#[test]
fn what_was_too_old_anyway_is_not_counted_as_forgotten() {
    let (dedupe, clock) = table(10);
    (0..10).for_each(|n| keep(&dedupe, &clock, n));
    clock.advance(HOUR);
    (10..15).for_each(|n| keep(&dedupe, &clock, n));
    assert_eq!(dedupe.size(), (10, 0));
    (15..25).for_each(|n| keep(&dedupe, &clock, n));
    assert_eq!(dedupe.size(), (10, 5));
}

#[test]
fn a_reload_changes_how_many_ids_are_remembered() {
    for before in [50, 100_000] {
        let (dedupe, clock) = table(before);
        (0..u64::from(before)).for_each(|n| keep(&dedupe, &clock, n));
        let shrunk = DedupeSettings::new(DedupeOptions { ttl: HOUR, max_ids: before / 5 }).unwrap();
        dedupe.apply(&shrunk);
        let newest = u64::from(before) - 1;
        assert!(dedupe.size().0 <= before as usize / 5);
        assert!(known(&dedupe, newest) && !known(&dedupe, 0), "{before}: the newest stay");
        let grown = DedupeSettings::new(DedupeOptions { ttl: HOUR, max_ids: before }).unwrap();
        dedupe.apply(&grown);
        assert!(known(&dedupe, newest), "growing forgets nothing");
        (200_000..200_000 + u64::from(before / 2)).for_each(|n| keep(&dedupe, &clock, n));
        assert!(known(&dedupe, newest) && known(&dedupe, 200_000));
    }
}

#[test]
fn a_table_shrunk_to_almost_nothing_still_remembers_the_newest() {
    let (dedupe, clock) = table(100_000);
    (0..100_000).for_each(|n| keep(&dedupe, &clock, n));
    dedupe.apply(&DedupeSettings::new(DedupeOptions { ttl: HOUR, max_ids: 2 }).unwrap());
    for n in 200_000..200_200 {
        keep(&dedupe, &clock, n);
        assert!(known(&dedupe, n), "{n}");
        assert!(dedupe.size().0 <= 2);
    }
}

#[test]
fn restored_ids_are_duplicates_and_an_older_one_never_replaces_a_newer() {
    let (dedupe, clock) = table(10);
    let key = dedupe.key("r", b"1");
    dedupe.restore(key, id(2), START);
    dedupe.restore(key, id(1), START.minus(HOUR));
    assert_eq!(duplicate_of(dedupe.claim(key, HOUR)), Some(id(2)));
    dedupe.restore(key, id(3), START.plus(HOUR));
    assert_eq!(duplicate_of(dedupe.claim(key, HOUR)), Some(id(3)));
    for n in 10..30_u64 {
        dedupe.restore(dedupe.key("r", &n.to_be_bytes()), id(n), clock.now());
    }
    assert_eq!(dedupe.size(), (10, 11), "recovery keeps to the bound too");
}

#[tokio::test]
async fn a_forgotten_id_is_welcome_again_but_a_claim_in_flight_stands() {
    let (dedupe, clock) = table(10);
    keep(&dedupe, &clock, 1);
    let key = dedupe.key("r", &1_u64.to_be_bytes());
    dedupe.forget(key);
    assert_eq!(dedupe.size().0, 0);
    let claim = new(dedupe.claim(key, HOUR));
    dedupe.forget(key);
    let waiter = waiter(dedupe.claim(key, HOUR));
    claim.confirm(id(4), clock.now());
    assert_eq!(waiter.result().await, Some(id(4)));
    dedupe.forget(key);
    dedupe.forget(key);
    assert_eq!(dedupe.size().0, 0, "forgetting twice takes one off");
}

#[test]
fn a_partial_delivery_is_handed_to_the_next_claim_for_ten_minutes() {
    let (dedupe, clock) = table(10);
    let key = dedupe.key("r", b"1");
    let app: Vec<Arc<str>> = vec!["app".into()];
    new(dedupe.claim(key, HOUR)).release_served(app.clone());
    clock.advance(Duration::from_secs(599));
    let second = new(dedupe.claim(key, HOUR));
    assert_eq!(second.already_served(), app);
    drop(second); // the sender hung up: what is known stays known
    clock.advance(Duration::from_secs(599));
    let third = new(dedupe.claim(key, HOUR));
    assert_eq!(third.already_served(), app);
    drop(third);
    clock.advance(Duration::from_secs(600));
    assert!(new(dedupe.claim(key, HOUR)).already_served().is_empty());
    assert_eq!(dedupe.size().0, 0);
}

#[test]
fn partial_deliveries_are_bounded_and_the_newest_stay() {
    let (dedupe, _) = table(10);
    for n in 0..1000_u64 {
        let key = dedupe.key("r", &n.to_be_bytes());
        new(dedupe.claim(key, HOUR)).release_served(vec!["app".into()]);
    }
    assert_eq!(dedupe.shards[0].lock().places().1, 160);
    let newest = dedupe.key("r", &999_u64.to_be_bytes());
    assert_eq!(new(dedupe.claim(newest, HOUR)).already_served().len(), 1);
    let oldest = dedupe.key("r", &0_u64.to_be_bytes());
    assert!(new(dedupe.claim(oldest, HOUR)).already_served().is_empty());
}

#[test]
fn ids_kept_anew_over_and_over_take_no_more_room() {
    let (dedupe, clock) = table(1000);
    for _ in 0..5000 {
        for n in 0..5 {
            keep(&dedupe, &clock, n);
        }
        clock.advance(HOUR);
    }
    assert_eq!(dedupe.size(), (5, 0));
    assert!(dedupe.shards[0].lock().places().0 < 300);
    keep(&dedupe, &clock, 3);
    clock.advance(HOUR / 2);
    assert!(known(&dedupe, 3), "packing lost nothing");
}

#[test]
fn a_million_ids_take_less_than_100_mb() {
    let (dedupe, _) = table(1_000_000);
    for n in 0..1_100_000_u64 {
        dedupe.restore(dedupe.key("r", &n.to_be_bytes()), id(n), START);
    }
    assert_eq!(dedupe.size().0, 1_000_000);
    let bytes: usize = dedupe.shards.iter().map(|shard| shard.lock().bytes_of_ids()).sum();
    assert!(bytes < 100_000_000, "{bytes} bytes");
}

#[test]
fn debug_output_does_not_hold_the_hash_key() {
    let (dedupe, _) = table(10);
    let text = format!("{dedupe:?} {:?}", dedupe.claim(dedupe.key("r", b"1"), HOUR));
    assert!(!text.contains("7, 7"), "{text}");
}

/// Threads fight over the same keys. Whoever gets the claim keeps the event or fails; between a claim and its end
/// nobody else may hold it, and all who waited hear the same.
#[test]
fn of_many_threads_exactly_one_holds_a_key() {
    const KEYS: usize = 40;
    const THREADS: usize = 8;
    let (dedupe, clock) = table(100_000);
    let holders: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
    let kept: Mutex<HashMap<usize, EventId>> = Mutex::default();
    let seqs = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (dedupe, clock, holders, kept, seqs) = (&dedupe, &clock, &holders, &kept, &seqs);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for turn in 0..4000 {
                    let n = (turn * 7 + thread) % KEYS;
                    let key = dedupe.key("hammer", &n.to_be_bytes());
                    match dedupe.claim(key, HOUR) {
                        Claimed::New(claim) => {
                            assert_eq!(holders[n].fetch_add(1, Ordering::SeqCst), 0, "two claims on {n}");
                            let fails = turn % 3 != 0 && turn < 3000;
                            let id = id(seqs.fetch_add(1, Ordering::SeqCst));
                            std::thread::yield_now();
                            holders[n].fetch_sub(1, Ordering::SeqCst);
                            if fails {
                                drop(claim);
                            } else {
                                assert_eq!(kept.lock().insert(n, id), None, "{n} was kept twice");
                                claim.confirm(id, clock.now());
                            }
                        }
                        Claimed::Duplicate { id, .. } => assert_eq!(kept.lock().get(&n), Some(&id)),
                        Claimed::InFlight(waiter) => {
                            if let Some(id) = runtime.block_on(waiter.result()) {
                                assert_eq!(kept.lock().get(&n), Some(&id));
                            }
                        }
                    }
                }
            });
        }
    });
    assert_eq!(kept.lock().len(), KEYS);
    assert_eq!((dedupe.size().0, dedupe.in_flight()), (KEYS, 0));
}
