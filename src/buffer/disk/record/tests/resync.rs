use proptest::prelude::*;
use tokio::time::Instant;

use super::samples::{self, sealed};
use crate::buffer::disk::record::*;

/// The same, said plainly: a record is wherever one parses.
fn first_that_parses(bytes: &[u8], nonce: u32, from: usize) -> Option<usize> {
    (from..bytes.len()).find(|at| parse(&bytes[*at..], nonce).is_ok())
}

#[test]
fn the_next_record_is_found_wherever_damage_ends() {
    let first = sealed(Kind::Event, &[7; 3_000], 9, 0, 0);
    let log = [&first[..], &sealed(Kind::Lane, b"x", 9, 1, 1)].concat();
    assert_eq!(next_valid(&log, 9, 0), Some(0));
    assert_eq!(next_valid(&log, 9, 1), Some(first.len()));
    assert_eq!(next_valid(&log, 9, first.len() + 1), None);
    assert_eq!(next_valid(&log, 9, usize::MAX), None);
    assert_eq!(next_valid(&log, 8, 0), None);
    assert_eq!(next_valid(&[], 9, 0), None);
    for cut in 1..first.len() {
        assert_eq!(next_valid(&log[cut..], 9, 0), Some(first.len() - cut), "cut by {cut}");
    }
}

/// Long ones are checked by sums of which not every place has one.
#[test]
fn a_long_record_is_found_wherever_it_begins_and_ends() {
    for (before, len, after) in (0..140).map(|n| (n, 500 + n * 7, 139 - n)).chain([(3, 300_000, 1)]) {
        let payload: Vec<u8> = (0..len).map(|at| ((at * 31) >> 3) as u8).collect();
        let record = sealed(Kind::Event, &payload, 9, 0, 0);
        let mut log = [&vec![0xee; before], &record[..], &vec![0xee; after]].concat();
        assert_eq!(next_valid(&log, 9, 0), Some(before), "{before}, {len}, {after}");
        assert_eq!(next_valid(&log, 8, 0), None);
        for at in (before..before + record.len()).step_by(record.len() / 9) {
            log[at] ^= 4;
            assert_eq!(next_valid(&log, 9, 0), None, "{before}, {len}, {after}: damaged at {at}");
            log[at] ^= 4;
        }
    }
}

#[test]
fn bytes_made_to_cost_much_cost_little() {
    // Frames at every 16th byte, each with a payload of megabytes that is there: a CRC of each would be 250 GB.
    const BYTES: usize = 4 << 20;
    let mut bytes = Vec::with_capacity(BYTES);
    while bytes.len() < BYTES {
        bytes.extend_from_slice(&(BYTES as u32 / 2).to_le_bytes());
        bytes.extend_from_slice(&[1; 12]);
    }
    let record = sealed(Kind::Event, b"behind it all", 9, 1, 1);
    bytes.extend_from_slice(&record);
    // What a plain search would take, told from a small part of it, on this machine as it is now.
    let started = Instant::now();
    let frames = BYTES / 2 / 16;
    let sample = (0..frames).step_by(frames / 512);
    assert!(sample.clone().all(|frame| parse(&bytes[frame * 16..], 9) == Err(Broken::Crc)));
    let plain = started.elapsed() * (frames / sample.len()) as u32;
    let started = Instant::now();
    assert_eq!(next_valid(&bytes, 9, 0), Some(BYTES));
    let took = started.elapsed();
    assert!(took < plain / 8, "took {took:?}, and plainly {plain:?}");
}

/// Between records: noise, noise that looks like frames, and records of another life.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..60);
    let frame = (0u32..9_000, any::<u32>(), 0u8..8).prop_map(|(len, crc, kind)| {
        [&len.to_le_bytes()[..], &crc.to_le_bytes(), &[0; 4], &[kind; 4]].concat()
    });
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..100),
        (any::<u8>(), 1_900usize..2_200).prop_map(|(byte, len)| vec![byte; len]),
        (any::<u8>(), 4_000usize..9_000).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let nonce = prop_oneof![4 => Just(9), 1 => Just(8)];
    let record = (samples::kind(), payload, nonce, any::<u32>())
        .prop_map(|(kind, payload, nonce, seq)| sealed(kind, &payload, nonce, seq, 3));
    prop_oneof![noise, frame, record]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_finds_what_a_plain_search_finds(
        pieces in proptest::collection::vec(piece(), 0..12),
        cut in 0usize..40,
    ) {
        let mut bytes = pieces.concat();
        bytes.truncate(bytes.len().saturating_sub(cut));
        let mut resync = Resync::new(&bytes, 9);
        let mut from = 0;
        while from <= bytes.len() {
            let found = resync.next_valid(from);
            prop_assert_eq!(found, first_that_parses(&bytes, 9, from));
            let Some(at) = found else { break };
            from = at + 1;
        }
    }
}
