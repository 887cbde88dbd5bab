//! Letters go in, are read byte for byte, and go out.

use super::*;

#[test]
fn what_goes_in_comes_back_byte_for_byte() {
    let (_dir, store) = store();
    let full = letter(7, "app");
    let mut bare = letter(8, "app");
    bare.reason = DeadReason::Gone;
    bare.attempts.clear();
    bare.excerpt = Bytes::new();
    let event = Arc::get_mut(&mut bare.event).unwrap();
    (event.provider, event.event_id, event.event_type, event.event_time) = (None, None, None, None);
    event.headers = Headers::default();
    event.body = Bytes::new();
    event.forwarded_proto = Proto::Http;
    let mut odd = letter(9, "ü/\0'\"%*");
    let event = Arc::get_mut(&mut odd.event).unwrap();
    event.id = EventId::new(Millis((1 << 48) - 1), u64::MAX);
    event.event_time = Some(Millis(u64::MAX));
    event.event_type = Some("a\0b".into());
    for letter in [full, bare, odd] {
        assert_eq!(store.insert(std::slice::from_ref(&letter)).unwrap(), [Inserted::Stands]);
        assert_eq!(all_said(&store.find(letter.event.id).unwrap()), [said(&letter)]);
        assert_eq!(
            all_said(&store.take(letter.event.id, Some(&letter.destination)).unwrap()),
            [said(&letter)]
        );
    }
}

#[test]
fn all_of_it_is_there_after_the_next_open() {
    let (dir, store) = store();
    let letters = [letter(1, "a"), letter(1, "b"), letter(2, "a")];
    store.insert(&letters).unwrap();
    let before = (store.usage(), counts(&store), places(&store));
    drop(store);
    let store = open_in(&dir, ROOMY);
    assert_eq!((store.usage(), counts(&store), places(&store)), before);
    assert_eq!((store.usage().events, counts(&store)["a"], counts(&store)["b"]), (2, 2, 1));
    assert_eq!(all_said(&store.find(letters[0].event.id).unwrap()), [said(&letters[0]), said(&letters[1])]);
}

#[test]
fn what_returned_stands_though_the_process_ends_at_once() {
    let (dir, store) = store();
    store.insert(&[letter(1, "a")]).unwrap();
    // What a crash leaves: the file and its log, never closed.
    let copy = tempfile::tempdir().unwrap();
    for name in ["dead.sqlite", "dead.sqlite-wal"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let again = open_in(&copy, ROOMY);
    assert_eq!(numbers(&again.list(&EventFilter::default(), None, 9).unwrap().0), [1]);
    // The spool had not heard of it: the same letter comes again, told a little differently.
    let mut same = letter(1, "a");
    same.died_at = same.died_at.plus(DAY);
    let news = [same, letter(1, "b")];
    assert_eq!(again.insert(&news).unwrap(), [Inserted::Stands, Inserted::Stands]);
    assert_eq!(all_said(&again.take(news[0].event.id, Some("a")).unwrap()), [said(&letter(1, "a"))]);
    assert_eq!((again.usage().events, counts(&again)["a"], counts(&again)["b"]), (1, 1, 1));
    drop(store);
}

#[test]
fn a_commit_is_synced_before_it_returns() {
    let (_dir, store) = store();
    let open = store.open.lock();
    let pragma = |name: &str| -> String {
        open.connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .unwrap()
    };
    assert_eq!(pragma("synchronous"), "Integer(2)");
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    assert_eq!(pragma("auto_vacuum"), "Integer(2)");
    assert_eq!(pragma("user_version"), "Integer(3)");
}

#[test]
fn a_letter_that_was_taken_stays_until_it_is_removed() {
    let (_dir, store) = store();
    store.insert(&[letter(1, "a"), letter(1, "b"), letter(2, "a")]).unwrap();
    let id = letter(1, "a").event.id;
    assert_eq!(store.take(id, Some("b")).unwrap().len(), 1);
    assert_eq!(store.take(id, None).unwrap().len(), 2);
    assert_eq!(store.take(id, Some("c")).unwrap().len(), 0);
    assert_eq!(store.remove(id, "c"), Ok(false));
    assert_eq!(store.remove(id, "b"), Ok(true));
    assert_eq!(store.remove(id, "b"), Ok(false));
    assert_eq!((store.usage().events, counts(&store)), (2, BTreeMap::from([("a".to_owned(), 2)])));
    assert_eq!(store.remove(id, "a"), Ok(true));
    assert_eq!(store.usage().events, 1);
    assert_eq!(store.find(id).unwrap().len(), 0);
    assert_eq!(places(&store), BTreeSet::from([(letter(2, "a").event.id, "a".to_owned())]));
}

#[test]
fn only_the_newest_attempts_and_the_start_of_an_answer_are_kept() {
    let (_dir, store) = store();
    let mut long = letter(1, "a");
    long.attempts = (1..=40).map(|number| attempt(number, Answer::Status(500))).collect();
    long.excerpt = Bytes::from(vec![b'x'; 5000]);
    store.insert(&[long]).unwrap();
    let found = store.find(letter(1, "a").event.id).unwrap();
    assert_eq!(found[0].attempts.iter().map(|a| a.number).collect::<Vec<_>>(), (9..=40).collect::<Vec<_>>());
    assert_eq!(found[0].excerpt.len(), 4096);
}

#[test]
fn letters_go_when_their_time_is_over_and_are_counted_a_day_ahead() {
    let (_dir, store) = store();
    // One dies each hour; the first at `died`.
    let letters: Vec<_> = (0..1200)
        .map(|n| {
            let mut letter = letter(n, "a");
            letter.died_at = Millis(T0).plus(Duration::from_secs(3600 * n));
            letter
        })
        .collect();
    store.insert(&letters).unwrap();
    let end = |n: u32| Millis(T0).plus(ROOMY.retention + Duration::from_secs(3600) * n);
    let before = store.expire(end(0).minus(Duration::from_millis(1))).unwrap();
    assert_eq!((before.gone.len(), before.soon), (0, 24));
    let first = store.expire(end(0)).unwrap();
    assert_eq!((first.gone, first.soon), (vec![(letters[0].event.id, Arc::from("a"))], 24));
    // More than one batch.
    let most = store.expire(end(1189)).unwrap();
    assert_eq!((most.gone.len(), most.soon), (1189, 10));
    assert_eq!(most.gone.first().map(|(id, _)| id.seq()), Some(1));
    assert_eq!((store.usage().events, counts(&store)["a"]), (10, 10));
    assert_eq!(store.expire(end(99_999)).unwrap().gone.len(), 10);
    assert_eq!((store.usage().events, counts(&store).len()), (0, 0));
}

#[test]
fn two_may_hold_the_file_at_once_and_count_each_others_letters() {
    let (dir, one) = store();
    let other = open_in(&dir, ROOMY);
    std::thread::scope(|scope| {
        for (store, name) in [(&one, "a"), (&other, "b")] {
            scope.spawn(move || {
                for n in 0..40 {
                    assert_eq!(store.insert(&[letter(n, name), letter(n, "both")]).unwrap().len(), 2);
                }
            });
        }
    });
    for store in [&one, &other] {
        store.find(letter(0, "a").event.id).unwrap();
        assert_eq!(store.usage().events, 40);
        let of = |name: &str| counts(store)[name];
        assert_eq!((of("a"), of("b"), of("both")), (40, 40, 40));
    }
}

#[test]
fn the_file_is_closed_to_others_and_readable_by_hand() {
    let (dir, store) = store();
    store.insert(&[letter(5, "app")]).unwrap();
    for name in ["dead.sqlite", "dead.sqlite-wal", "dead.sqlite-shm"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let by_hand = Connection::open(file_in(&dir)).unwrap();
    let (id, time, attempts): (String, i64, String) = by_hand
        .query_row("SELECT id, id_time, attempts FROM dead_letters WHERE event_id = 'evt_5'", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(id, letter(5, "app").event.id.to_string());
    assert_eq!(time, T0 as i64 + 5000);
    assert!(attempts.starts_with(&format!(r#"[{{"number":1,"at":{},"took_ms":12,"answer":503}}"#, T0 + 1)));
    assert!(attempts.contains(r#""answer":"timeout""#), "{attempts}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_event_comes_back_byte_for_byte(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        body in prop::collection::vec(any::<u8>(), 0..9000),
        words in prop::collection::vec("\\PC{0,20}", 6),
        event_time in any::<Option<u64>>(),
        seq in any::<u64>(),
    ) {
        let (_dir, store) = store();
        let mut letter = letter(1, &words[0]);
        let event = Arc::get_mut(&mut letter.event).unwrap();
        event.id = EventId::new(Millis(T0), seq);
        event.headers = Headers::from_pairs(values.iter().map(|value| ("x-any", value)));
        event.body = Bytes::from(body);
        event.event_time = event_time.map(Millis);
        event.route = words[1].as_str().into();
        event.target = words[2].as_str().into();
        event.event_id = Some(words[3].as_str().into());
        event.event_type = Some(words[4].as_str().into());
        event.forwarded_for = words[5].as_str().into();
        store.insert(std::slice::from_ref(&letter)).unwrap();
        prop_assert_eq!(all_said(&store.find(letter.event.id).unwrap()), [said(&letter)]);
    }
}
