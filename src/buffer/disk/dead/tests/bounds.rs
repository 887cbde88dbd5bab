//! How much goes in, and what is left of it on the disk.

use super::*;

fn length(dir: &TempDir) -> u64 {
    fs::metadata(file_in(dir)).unwrap().len()
}

fn at_most(max_bytes: u64) -> (TempDir, DeadLetters) {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir, DeadOptions { max_bytes, ..ROOMY });
    (dir, store)
}

#[test]
fn an_empty_file_takes_nothing() {
    let (_dir, store) = at_most(1 << 20);
    let usage = Usage { events: 0, bytes: 0, max_bytes: 1 << 20, over_80_percent: false };
    assert_eq!(store.usage(), usage);
    store.insert(&[letter(1, "a")]).unwrap();
    store.remove(letter(1, "a").event.id, "a").unwrap();
    assert_eq!(store.usage(), usage);
}

#[test]
fn at_the_bound_nothing_more_goes_in_and_the_file_stays_below_it() {
    for body in [0, 700, 2_100, 4_000, 30_000, 300_000] {
        let (dir, store) = at_most(1 << 20);
        let letters: Vec<_> = (0..2000).map(|n| sized(n, body)).collect();
        let mut stand = 0;
        let mut warned_at = None;
        for batch in letters.chunks(50) {
            let inserted = store.insert(batch).unwrap();
            stand += inserted.iter().filter(|i| **i == Inserted::Stands).count() as u64;
            if store.usage().over_80_percent && warned_at.is_none() {
                warned_at = Some(store.usage().bytes);
            }
            if inserted.last() == Some(&Inserted::NoRoom) {
                break;
            }
        }
        let usage = store.usage();
        assert!(stand < 2000 && stand == usage.events, "{body}: {stand}");
        assert!(usage.bytes <= 1 << 20 && usage.over_80_percent, "{body}: {usage:?}");
        assert!(warned_at.is_some_and(|bytes| bytes >= (1 << 20) / 5 * 4), "{body}: {warned_at:?}");
        // Most of it is letters, and with nothing but letters in it, the file is not longer than its bound.
        let weight =
            store.list(&EventFilter::default(), None, 1000).unwrap().0.iter().map(row::size).sum::<usize>();
        assert!(weight * 3 > 1 << 20 || stand > 500, "{body}: {weight}");
        drop(store);
        assert!(length(&dir) <= (1 << 20) + (64 << 10), "{body}: {}", length(&dir));
    }
}

#[test]
fn what_stands_already_needs_no_room() {
    let (dir, store) = at_most(1 << 20);
    store.insert(&[sized(1, 700_000)]).unwrap();
    drop(store);
    let store = open_in(&dir, DeadOptions { max_bytes: 1, ..ROOMY });
    assert_eq!(
        store.insert(&[sized(1, 700_000), sized(2, 0)]).unwrap(),
        [Inserted::Stands, Inserted::NoRoom]
    );
    assert_eq!(store.usage().events, 1);
}

#[test]
fn room_comes_back_when_letters_go_and_the_disk_gets_it() {
    let (dir, store) = at_most(8 << 20);
    let letters: Vec<_> = (0..60).map(|n| sized(n, 100_000)).collect();
    store.insert(&letters).unwrap();
    let full = store.usage().bytes;
    assert!(full > 6_000_000, "{full}");
    for letter in &letters[..55] {
        store.remove(letter.event.id, "app").unwrap();
    }
    assert!(store.usage().bytes < full / 8, "{:?}", store.usage());
    drop(store);
    assert!(length(&dir) < 2_000_000, "{}", length(&dir));
    let store = open_in(&dir, DeadOptions { max_bytes: 8 << 20, ..ROOMY });
    assert_eq!(store.list(&EventFilter::default(), None, 9).unwrap().0.len(), 5);
}

#[test]
fn the_log_beside_the_file_stays_short() {
    let (dir, store) = at_most(1 << 30);
    let letters: Vec<_> = (0..100).map(|n| sized(n, 1 << 20)).collect();
    store.insert(&letters).unwrap();
    let log = fs::metadata(dir.path().join("dead.sqlite-wal")).unwrap().len();
    assert!(log < 24 << 20, "{log}");
}
