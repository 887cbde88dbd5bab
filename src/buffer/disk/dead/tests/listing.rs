//! Finding letters again, and dropping what was found.

use super::*;
use crate::buffer::view::Status;

fn filter(set: impl FnOnce(&mut EventFilter)) -> EventFilter {
    let mut filter = EventFilter::default();
    set(&mut filter);
    filter
}

/// Filters of every kind, and some that must not be what they look like.
fn filters() -> Vec<EventFilter> {
    let of_type = |wanted: &str| filter(|f| f.event_type = Some(wanted.to_owned()));
    let moment = |n: u64| Some(Millis(T0 + n * 1000));
    vec![
        EventFilter::default(),
        filter(|f| f.route = Some("route-1".into())),
        filter(|f| f.destination = Some("b".into())),
        filter(|f| (f.destination, f.formerly) = (Some("new".into()), vec!["b".into()])),
        filter(|f| (f.destination, f.formerly) = (Some("a".into()), vec!["none".into(), "b".into()])),
        filter(|f| f.status = Some("dead")),
        filter(|f| f.status = Some("pending")),
        of_type("push"),
        of_type("pull.*"),
        of_type("pull*"),
        of_type("*"),
        of_type("pu%"),
        of_type("pull_*"),
        of_type("p*sh"),
        of_type(""),
        filter(|f| f.id = Some("evt_17".into())),
        filter(|f| f.id = Some(letter(18, "a").event.id.to_string())),
        filter(|f| f.id = Some("' OR 1=1 --".into())),
        filter(|f| f.since = moment(90)),
        filter(|f| f.until = moment(9)),
        filter(|f| (f.since, f.until) = (moment(40), moment(41))),
        filter(|f| f.since = Some(Millis(u64::MAX))),
        filter(|f| f.since = Some(Millis(1 << 48))),
        filter(|f| f.until = Some(Millis(u64::MAX))),
        filter(|f| f.until = Some(Millis(1 << 48))),
        filter(|f| f.until = Some(Millis(0))),
        filter(|f| f.until = moment(40_000)),
        filter(|f| (f.route, f.event_type) = (Some("route-2".into()), Some("nothing".into()))),
        filter(|f| (f.since, f.event_type) = (moment(60), Some("nothing".into()))),
        filter(|f| (f.destination, f.event_type) = (Some("a".into()), Some("pull*".into()))),
        filter(|f| {
            (f.destination, f.route, f.since) = (Some("b".into()), Some("route-2".into()), moment(30));
            f.event_type = Some("pull*".into());
        }),
    ]
}

fn hundred(store: &DeadLetters) -> Vec<DeadLetter> {
    let mut letters: Vec<_> = (0..100).map(|n| letter(n, "a")).collect();
    // Every fifth event is dead at a second destination, and one has neither type nor id of its provider.
    letters.extend((0..100).step_by(5).map(|n| letter(n, "b")));
    let event = Arc::get_mut(&mut letters[50].event).unwrap();
    (event.event_type, event.event_id) = (None, None);
    let again = letters.iter().position(|l| l.event.id.seq() == 50 && &*l.destination == "b").unwrap();
    letters[again].event = Arc::clone(&letters[50].event);
    store.insert(&letters).unwrap();
    letters
}

/// What the filter means, by the code that the memory form uses.
fn expected(letters: &[DeadLetter], filter: &EventFilter) -> Vec<String> {
    let mut passing: Vec<_> = letters
        .iter()
        .filter(|l| {
            filter.wants_event(&l.event) && filter.wants_place(&l.destination, Status::Dead(l.reason))
        })
        .collect();
    passing.sort_by_key(|l| (std::cmp::Reverse(l.event.id), l.destination.clone()));
    passing.into_iter().map(said).collect()
}

#[test]
fn every_filter_means_what_it_means_elsewhere_whatever_the_page() {
    let (_dir, store) = store();
    let letters = hundred(&store);
    for filter in filters() {
        let expected = expected(&letters, &filter);
        for limit in [1, 3, 7, 100, 1000] {
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let (page, more) = store.list(&filter, before, limit).unwrap();
                let events: BTreeSet<_> = page.iter().map(|l| l.event.id).collect();
                assert!(events.len() <= limit && (!more || !page.is_empty()), "{filter:?}");
                before = page.last().map(|l| l.event.id);
                found.extend(all_said(&page));
                if !more {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?}, {limit} a page");
        }
    }
}

#[test]
fn a_page_of_no_events_is_one_of_one() {
    let (_dir, store) = store();
    hundred(&store);
    assert_eq!(numbers(&store.list(&EventFilter::default(), None, 0).unwrap().0), [99]);
}

#[test]
fn dropping_takes_what_the_list_shows_and_nothing_else() {
    for filter in filters() {
        let (_dir, store) = store();
        let letters = hundred(&store);
        let shown = expected(&letters, &filter);
        let gone: BTreeSet<_> = store.drop_matching(&filter).unwrap().into_iter().collect();
        assert_eq!(gone.len(), shown.len(), "{filter:?}");
        for letter in &letters {
            let is_gone = gone.contains(&(letter.event.id, Arc::clone(&letter.destination)));
            assert_eq!(is_gone, shown.contains(&said(letter)), "{filter:?}");
            let stands = !store.take(letter.event.id, Some(&letter.destination)).unwrap().is_empty();
            assert_eq!(is_gone, !stands, "{filter:?}");
        }
        let (events, lanes) = (store.usage().events, counts(&store));
        *store.ledger.lock() = Ledger::count(&store.open.lock().connection).unwrap();
        assert_eq!((events, lanes), (store.usage().events, counts(&store)), "{filter:?}");
    }
}

#[test]
fn a_page_of_large_events_ends_early() {
    let (_dir, store) = store();
    store.insert(&(0..30).map(|n| sized(n, 1 << 20)).collect::<Vec<_>>()).unwrap();
    let (page, more) = store.list(&EventFilter::default(), None, 30).unwrap();
    assert!(more && (15..=17).contains(&page.len()), "{}", page.len());
    let (rest, more) = store.list(&EventFilter::default(), page.last().map(|l| l.event.id), 30).unwrap();
    assert_eq!((page.len() + rest.len(), more), (30, false));
}

/// The bounds are five times what is asked of a release build (20 ms): this one may run unoptimized and beside others.
#[test]
fn a_hundred_thousand_letters_are_searched_at_once() {
    let (dir, store) = store();
    let begun = Instant::now();
    for start in (0..100_000).step_by(500) {
        let letters: Vec<_> =
            (start..start + 500).map(|n| letter(n, ["a", "b", "c"][n as usize % 3])).collect();
        store.insert(&letters).unwrap();
    }
    let took = begun.elapsed();
    println!("insert: {:.0} letters/s in batches of 500", 100_000.0 / took.as_secs_f64());
    println!("the file: {} bytes a letter", fs::metadata(file_in(&dir)).unwrap().len() / 100_000);
    let mut slow = Vec::new();
    let middle = Some(letter(50_000, "a").event.id);
    for filter in filters() {
        for before in [None, middle] {
            let begun = Instant::now();
            let (page, _) = store.list(&filter, before, 100).unwrap();
            let took = begun.elapsed();
            println!("list: {took:?} for {} of {filter:?}", page.len());
            if took > Duration::from_millis(100) {
                slow.push((took, filter.clone()));
            }
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
    drop(store);
    let begun = Instant::now();
    let store = open_in(&dir, ROOMY);
    println!("open: {:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(places(&store).len(), 100_000);
    println!("all places: {:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(store.drop_matching(&filter(|f| f.route = Some("route-1".into()))).unwrap().len(), 33_333);
    println!("drop of 33,333: {:?}", begun.elapsed());
}
