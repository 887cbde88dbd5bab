//! Files that are not what they should be, and disks that refuse.

use super::*;

fn refusal(dir: &TempDir) -> String {
    DeadLetters::open(&file_in(dir), ROOMY).unwrap_err()
}

fn filled() -> TempDir {
    let (dir, store) = store();
    store.insert(&(0..200).map(|n| letter(n, "a")).collect::<Vec<_>>()).unwrap();
    drop(store);
    dir
}

#[test]
fn a_newer_or_a_foreign_file_is_refused_and_left_alone() {
    let dir = filled();
    sqlite(&dir, "PRAGMA user_version = 4");
    let before = fs::read(file_in(&dir)).unwrap();
    let sentence = refusal(&dir);
    assert!(
        sentence.contains("format 4, of a newer hooklatch") && sentence.contains("dead.sqlite"),
        "{sentence}"
    );
    assert!(fs::read(file_in(&dir)).unwrap() == before, "it was written to");

    let dir = tempfile::tempdir().unwrap();
    sqlite(&dir, "CREATE TABLE other (a)");
    assert!(refusal(&dir).contains("another program's database"));
}

#[test]
fn what_is_no_database_is_moved_aside_and_a_start_goes_on_without_it() {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..3 {
        let bytes = format!("{number}: not a database, but long enough to be taken for one\n").repeat(100);
        fs::write(file_in(&dir), &bytes).unwrap();
        let store = open_in(&dir, ROOMY);
        assert!(store.was_set_aside());
        store.insert(&[letter(number, "a")]).unwrap();
        drop(store);
        let store = open_in(&dir, ROOMY);
        assert_eq!((store.was_set_aside(), store.usage().events), (false, 1));
        let aside = dir.path().join(format!("dead.damaged-{number}.sqlite"));
        assert_eq!(fs::read_to_string(aside).unwrap(), bytes);
    }
}

#[test]
fn a_file_of_format_1_is_brought_up_and_its_letters_are_normal_ones() {
    let dir = filled();
    sqlite(
        &dir,
        "ALTER TABLE dead_letters DROP COLUMN priority; ALTER TABLE dead_letters DROP COLUMN order_key;
         DROP TABLE hastened; PRAGMA user_version = 1",
    );
    let store = open_in(&dir, ROOMY);
    let letters = store.find(letter(1, "a").event.id).unwrap();
    assert_eq!(all_said(&letters), [said(&letter(1, "a"))]);
    assert_eq!(store.find(letter(2, "a").event.id).unwrap()[0].event.turn, Turn::default());
    store.insert(&[letter(1000, "a")]).unwrap();
    drop(store);
    assert_eq!(open_in(&dir, ROOMY).usage().events, 201, "once");
}

#[test]
fn a_file_of_format_2_is_brought_up_and_remembers_what_was_made_due() {
    let dir = filled();
    sqlite(&dir, "DROP TABLE hastened; PRAGMA user_version = 2");
    let store = open_in(&dir, ROOMY);
    assert_eq!(store.hastened().unwrap(), []);
    for (destination, at) in [("a", 5), ("b", 6), ("a", 7)] {
        store.hasten(destination, Millis(at)).unwrap();
    }
    drop(store);
    let told = open_in(&dir, ROOMY).hastened().unwrap();
    assert_eq!(told, [("a".into(), Millis(7)), ("b".into(), Millis(6))]);
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    let sentence = DeadLetters::open(Path::new("/proc/dead.sqlite"), ROOMY).unwrap_err();
    assert!(sentence.contains("/proc/dead.sqlite"), "{sentence}");
}

#[test]
fn a_start_that_ended_before_the_tables_stood_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(file_in(&dir), "").unwrap();
    let store = open_in(&dir, ROOMY);
    store.insert(&[letter(1, "a")]).unwrap();
    assert_eq!(store.usage().events, 1);
}

/// Zeros over each page in turn: moved aside at the start, or nothing was lost; never a panic.
#[test]
fn a_file_with_a_damaged_page_is_moved_aside_at_the_start() {
    let dir = filled();
    let whole = fs::read(file_in(&dir)).unwrap();
    let mut told = 0;
    for page in 0..whole.len() / 4096 {
        let _ = fs::remove_file(dir.path().join("dead.sqlite-wal"));
        let mut broken = whole.clone();
        broken[page * 4096..(page + 1) * 4096].fill(0);
        fs::write(file_in(&dir), &broken).unwrap();
        match DeadLetters::open(&file_in(&dir), ROOMY) {
            Ok(store) if store.was_set_aside() => {
                told += 1;
                assert_eq!(store.usage().events, 0);
                let aside = dir.path().join(format!("dead.damaged-{told}.sqlite"));
                assert!(fs::read(aside).unwrap() == broken, "page {page}");
            }
            Ok(store) => assert_eq!(store.list(&EventFilter::default(), None, 1000).unwrap().0.len(), 200),
            // With its first page it lost its name: what tells that it is ours.
            Err(sentence) => assert!(page == 0 && sentence.contains("dead.sqlite"), "{sentence}"),
        }
    }
    assert!(told >= whole.len() / 4096 - 1, "{told} of {}", whole.len() / 4096);
}

#[test]
fn damage_that_is_met_later_is_told_and_nothing_panics() {
    let dir = filled();
    let store = open_in(&dir, ROOMY);
    let file = fs::OpenOptions::new().write(true).open(file_in(&dir)).unwrap();
    let length = file.metadata().unwrap().len();
    for page in 2..length / 4096 {
        file.write_all_at(&[0x5a; 4096], page * 4096).unwrap();
    }
    // What SQLite has in its cache it need not read; another connection's write makes it look again.
    store.open.lock().connection.execute_batch("PRAGMA cache_size = 0; PRAGMA shrink_memory").unwrap();
    let errors = [
        store.find(letter(3, "a").event.id).map(|_| ()),
        store.list(&EventFilter::default(), None, 1000).map(|_| ()),
        store.insert(&[letter(1000, "a")]).map(|_| ()),
        store.drop_matching(&EventFilter::default()).map(|_| ()),
        store.all_places(&mut |_, _, _| ()),
    ];
    for error in errors {
        let Err(DeadError::Damaged(sentence)) = error else { panic!("{error:?}") };
        assert!(sentence.contains("dead.sqlite are damaged") && sentence.contains("restart"), "{sentence}");
    }
}

#[test]
fn a_row_that_makes_no_sense_holds_nothing_else_up() {
    for nonsense in [
        "reason = 'x'",
        "proto = 'ftp'",
        "attempts = '[{]'",
        "attempts = '[{\"number\":1,\"at\":2,\"took_ms\":3,\"answer\":\"no\"}]'",
        "headers = x'00ff'",
        "headers = 5",
        "received_at = -1",
        "body = 'text'",
        "target = x'ff'",
        "id = 'hl_?'",
        "id = x'ff'",
        "destination = x'ff'",
        "priority = 'urgent'",
        "order_key = 'x'",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_in(&dir, ROOMY);
        store.insert(&(0..5).map(|n| letter(n, "a")).collect::<Vec<_>>()).unwrap();
        sqlite(&dir, &format!("UPDATE dead_letters SET {nonsense} WHERE event_id = 'evt_2'"));
        let mut found = Vec::new();
        loop {
            let before = found.last().map(|letter: &DeadLetter| letter.event.id);
            let (page, more) = store.list(&EventFilter::default(), before, 1).unwrap();
            found.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(numbers(&found), [4, 3, 1, 0], "{nonsense}");
        assert_eq!(store.find(letter(1, "a").event.id).unwrap().len(), 1);
        store.expire(Millis(T0).plus(ROOMY.retention * 2)).unwrap();
        assert_eq!(
            (store.usage().events, places(&store).len(), counts(&store).len()),
            (0, 0, 0),
            "{nonsense}"
        );
    }
}

#[test]
fn a_take_of_a_row_that_makes_no_sense_says_so() {
    let (dir, store) = store();
    store.insert(&[letter(2, "a")]).unwrap();
    sqlite(&dir, "UPDATE dead_letters SET proto = 'ftp'");
    let error = store.take(letter(2, "a").event.id, None).unwrap_err().to_string();
    assert!(error.contains(&letter(2, "a").event.id.to_string()) && error.contains("ftp"), "{error}");
}

#[test]
fn where_the_file_cannot_grow_nothing_of_the_batch_stands_and_nothing_else_is_lost() {
    let dir = filled();
    let store = open_in(&dir, ROOMY);
    let before = (store.usage(), counts(&store), places(&store));
    // What a full disk does: SQLite's own error for it, in the middle of the batch.
    store.open.lock().connection.execute_batch("PRAGMA max_page_count = 120").unwrap();
    let many: Vec<_> = (1000..1400).map(|n| sized(n, 5000)).collect();
    assert!(matches!(store.insert(&many), Err(DeadError::DiskFull(_))));
    assert_eq!((store.usage(), counts(&store), places(&store)), before);
    store.open.lock().connection.execute_batch("PRAGMA max_page_count = 1000000").unwrap();
    assert_eq!(store.insert(&many).unwrap(), [Inserted::Stands; 400]);
    assert_eq!(store.usage().events, 600);
}

#[test]
fn somebody_else_who_writes_is_waited_for_and_heard() {
    let (dir, store) = store();
    store.insert(&[letter(1, "a"), letter(2, "b")]).unwrap();
    sqlite(&dir, "DELETE FROM dead_letters WHERE destination = 'a'");
    store.remove(letter(9, "a").event.id, "a").unwrap();
    assert_eq!((store.usage().events, counts(&store)), (1, BTreeMap::from([("b".to_owned(), 1)])));
    let mut other = Connection::open(file_in(&dir)).unwrap();
    std::thread::scope(|scope| {
        let held = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        let waiting = scope.spawn(|| store.insert(&[letter(3, "c")]));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        held.commit().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), [Inserted::Stands]);
    });
}
