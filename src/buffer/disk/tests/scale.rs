//! What a start and a refill read does not grow with the bodies that lie there.

use super::oracle::{self, Found};
use crate::buffer::disk::device::{Device, FakeDevice};
use crate::buffer::disk::ports::{Live, Read, SharedNames, SpoolOptions};
use crate::buffer::disk::source::Source;
use crate::buffer::disk::spool::Spool;
use crate::clock::Millis;
use crate::event::{DedupeKey, EventId};
use std::time::Duration;

const NOW: Millis = Millis(1_768_473_000_000);
const LANES: u64 = 100;

fn options() -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 1 << 20,
        max_segments: 40,
        max_events_per_segment: 1 << 17,
        spares: 2,
        retention: Duration::from_secs(1000),
        remembered_ids: 1_000_000,
        remembered_for: Duration::from_secs(1000),
    }
}

/// All events wait.
struct All;

impl Live for All {
    fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        (from..=to).collect()
    }

    fn pending_count(&self, from: u64, to: u64) -> u64 {
        to - from + 1
    }

    fn is_pending(&self, _: u64, _: u32) -> bool {
        true
    }

    fn waiting_in(&self, _: u32) -> Vec<(u64, u32, u32)> {
        Vec::new()
    }
}

/// A folder of 16 MiB: 5,000 events of 3 KiB for a hundred destinations in turn, and a tail without an index.
fn folder() -> FakeDevice {
    filled(5000, true)
}

/// So many events of 3 KiB; where there is upkeep, each segment that was left has an index.
fn filled(events: u64, upkeep: bool) -> FakeDevice {
    let device = FakeDevice::default();
    let names = SharedNames::default();
    let told = &mut Found::default();
    let spool = Spool::open(device.clone(), options(), names.clone(), NOW, told).unwrap();
    let sources: Vec<u32> = (0..LANES)
        .map(|lane| {
            let lanes = [names.write().lane(&format!("lane-{lane}"))].into();
            names.write().source(Source { route: "github".into(), provider: None, lanes })
        })
        .collect();
    for n in 0..events {
        let event = oracle::event(n, 3000, NOW, false);
        let source = sources[(n % LANES) as usize];
        spool.append(&event, source, Some(DedupeKey(u128::from(n) + 1)), false);
        if n % 50 == 49 {
            spool.commit(spool.take(), true).unwrap();
            if upkeep {
                spool.maintain(&All, NOW, &|| true);
            }
        }
    }
    drop(spool);
    device.kill();
    device
}

fn open(device: &FakeDevice) -> (Spool<FakeDevice>, Found) {
    let mut found = Found::default();
    let spool = Spool::open(device.clone(), options(), SharedNames::default(), NOW, &mut found).unwrap();
    (spool, found)
}

#[test]
fn a_start_reads_indexes_and_one_tail() {
    let device = folder();
    let files = device.list().unwrap();
    let len =
        |end: &str| files.iter().filter(|(name, _)| name.ends_with(end)).map(|(_, len)| len).sum::<u64>();
    let indexes = files.iter().filter(|(name, _)| name.ends_with(".idx")).count() as u64;
    let (logs, spares) = (files.iter().filter(|(name, _)| name.ends_with(".log")), "spare");
    let segments = logs.filter(|(name, _)| !name.starts_with(spares)).count() as u64;
    assert_eq!((indexes, segments), (15, 16), "all but the last are indexed");
    assert!(len(".idx") * 20 < 15 << 20, "indexes are small");
    let before = device.bytes_read();
    let (_, found) = open(&device);
    let read = device.bytes_read() - before;
    assert_eq!((found.events.len(), found.ids.len()), (5000, 5000));
    // An index is read for what it knows, and again for events, progress and ids: so nothing of it stays in memory.
    let asked = 4 * len(".idx") + (1 << 20) + segments * 4096;
    assert!(read <= asked, "{read} bytes read, {asked} asked");
}

#[test]
fn a_long_tail_without_an_index_is_read_to_its_end() {
    let device = filled(300, false);
    assert!(device.list().unwrap().iter().all(|(name, _)| !name.ends_with(".idx")));
    let (_, found) = open(&device);
    assert_eq!((found.events.len(), found.ids.len()), (300, 300), "900 KiB in one segment");
}

#[test]
fn a_refill_reads_what_it_brings() {
    let device = folder();
    let (spool, found) = open(&device);
    // One destination's events, a hundred places from each other.
    let wanted: Vec<u64> = found.events.iter().map(|event| event.seq).skip(7).step_by(100).collect();
    let before = device.bytes_read();
    let mut bytes = 0;
    for (_, read) in spool.read_many(&wanted, usize::MAX) {
        match read {
            Read::Event { weight, .. } => bytes += u64::from(weight),
            other => panic!("{other:?}"),
        }
    }
    let read = device.bytes_read() - before;
    assert!(bytes > 50 * 3000);
    // A page of an index for each event, that of its bytes besides.
    let asked = bytes + wanted.len() as u64 * 4096;
    assert!(read <= asked, "{read} bytes read for {bytes}, {asked} asked");
}

#[test]
fn however_little_is_asked_for_one_event_is_read() {
    let device = folder();
    let (spool, found) = open(&device);
    let wanted: Vec<u64> = found.events.iter().map(|event| event.seq).take(9).collect();
    // A destination whose window is empty while those of the others are full: it would never get its first.
    for most in [0, 1] {
        let reads = spool.read_many(&wanted, most);
        assert!(matches!(reads.as_slice(), [(_, Read::Event { .. })]), "{most}: {} read", reads.len());
    }
}

#[test]
fn what_an_operator_looks_for_is_found_without_reading_everything() {
    let device = folder();
    let (spool, found) = open(&device);
    let reading = |ask: &dyn Fn()| {
        let before = device.bytes_read();
        ask();
        device.bytes_read() - before
    };
    let files = device.list().unwrap();
    let indexes: Vec<u64> =
        files.iter().filter(|(name, _)| name.ends_with(".idx")).map(|(_, len)| *len).collect();
    let largest = *indexes.iter().max().unwrap();
    let (all, middle) = (indexes.iter().sum::<u64>(), found.events[2500].seq);
    // By the provider's id: of each index the fence and a page, and the event.
    let asked = reading(&|| assert_eq!(spool.seqs_of_id("evt_2501").len(), 1));
    assert!(asked <= indexes.len() as u64 * 2 * 4096 + 2 * 4096 && asked < all, "{asked} of {all}");
    // By ours: the index of its segment.
    let id = EventId::new(NOW, middle);
    let asked = reading(&|| assert_eq!(spool.seq_of(id), Some(middle)));
    assert!(asked <= 2 * largest, "{asked} read, {largest} is an index");
    // By time, and the page that ends there: the indexes of two segments.
    let asked = reading(&|| {
        spool.first_at(NOW);
        assert_eq!(spool.rows_before(middle, 50).len(), 50);
    });
    assert!(asked <= 4 * largest, "{asked} read, {largest} is an index");
}
