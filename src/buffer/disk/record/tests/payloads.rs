use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::event::EventHead;
use super::samples;
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::disk::record::*;
use crate::buffer::handoff::DeadReason;
use crate::buffer::view::MAX_ATTEMPTS_KEPT;
use crate::event::{Answer, Attempt, DedupeKey, Event, EventId, OrderKey, Priority, Proto, Region, Turn};
use crate::headers::Headers;

fn encoded(event: &Event, source: u32, key: Option<DedupeKey>, alias: bool) -> Bytes {
    let mut out = vec![0xee; 5];
    encode_event(&mut out, event, source, key, alias);
    Bytes::from(out).slice(5..)
}

/// An event of which every field is told.
fn plain() -> Event {
    Event {
        id: EventId::new(Millis(1_768_473_000_123), 77),
        route: "orders".into(),
        provider: Some("github".into()),
        event_id: Some("evt_1".into()),
        event_type: Some("push".into()),
        event_time: Some(Millis(1_768_473_000_000)),
        received_at: Millis(1_768_473_000_123),
        method: "POST".into(),
        target: "/in?a=b".into(),
        headers: Headers::from_pairs([("X-Event", "push")]),
        forwarded_for: "203.0.113.7".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from_static(b"{\"id\":\"evt_1\"}"),
        turn: Turn::default(),
    }
}

#[test]
fn payloads_stand_on_disks_as_they_always_stood() {
    let mut event = plain();
    let usual = encoded(&event, 300, Some(DedupeKey(0x0102)), false);
    let expected = concat!(
        "3f",
        "bb7834c19b01",
        "ac02",
        "02010000000000000000000000000000",
        "072f696e3f613d62",
        "00cb007107",
        "0b16",
        "0909",
        "f501",
        "0f582d4576656e743a20707573680d0a",
        "7b226964223a226576745f31227d",
    );
    assert_eq!(hex::encode(&usual), expected);
    event.method = "PUT".into();
    event.forwarded_proto = Proto::Http;
    event.forwarded_for = "fe80::1%eth0".into();
    (event.event_id, event.event_time) = (Some("elsewhere".into()), None);
    let rare = encoded(&event, 0, None, true);
    let expected = concat!(
        "58",
        "bb7834c19b01",
        "00",
        "bb7834c19b014d00000000000000",
        "03505554",
        "072f696e3f613d62",
        "0e666538303a3a312565746830",
        "12656c736577686572650909",
        "0f582d4576656e743a20707573680d0a",
        "7b226964223a226576745f31227d",
    );
    assert_eq!(hex::encode(&rare), expected);
    event.turn = Turn { priority: Priority::Critical, order_key: OrderKey::from_bits(0x0102_0304) };
    let turned = hex::encode(encoded(&event, 0, None, true));
    assert_eq!(
        turned,
        expected.replacen("58", "d8", 1).replacen("03505554", "05040302010000000003505554", 1)
    );
    assert_eq!(id_hash("123456789"), 0xe306_9283);
}

#[test]
fn headers_and_body_are_not_copied() {
    let payload = encoded(&plain(), 1, None, false);
    let (event, _) = decode_event(payload.clone(), 77, &samples::source()).unwrap();
    assert_eq!(event.body.as_ptr_range().end, payload.as_ptr_range().end);
    assert_eq!(event.headers.as_bytes().as_ptr_range().end, event.body.as_ptr());
    assert_eq!(format!("{event:?}"), format!("{:?}", plain()));
}

#[test]
fn a_time_beyond_48_bits_is_the_last_one() {
    let mut event = plain();
    event.received_at = Millis(u64::MAX);
    event.id = EventId::new(event.received_at, 77);
    let (read, _) = decode_event(encoded(&event, 1, None, false), 77, &samples::source()).unwrap();
    assert_eq!((read.received_at, read.id), (Millis((1 << 48) - 1), event.id));
    assert_eq!(read.event_time, event.event_time);
}

#[test]
fn bytes_that_say_more_than_there_is_are_refused() {
    let payload = encoded(&plain(), 1, Some(DedupeKey(7)), false);
    let head_ends = payload.len() - plain().headers.as_bytes().len() - plain().body.len();
    for len in 0..payload.len() - plain().body.len() {
        assert_eq!(decode_event_head(&payload[..len]), Err(Malformed), "cut to {len} of {head_ends}");
    }
    // A class that is none, and an order key that is none.
    let mut event = plain();
    event.turn = Turn { priority: Priority::Bulk, order_key: OrderKey::from_bits(7) };
    let mut turned = encoded(&event, 1, None, false).to_vec();
    assert_eq!(turned[8], 0x06);
    for class in [0x07, 0x0e, 0x86] {
        turned[8] = class;
        assert_eq!(decode_event_head(&turned), Err(Malformed), "{class:x}");
    }
    turned[8] = 0x06;
    turned[9] = 0;
    assert_eq!(decode_event_head(&turned), Err(Malformed));
    // A place that is nowhere: the id is said to stand at the end of all numbers.
    let place = head_ends - 5;
    assert_eq!(payload[place - 2..place], [0x0b, 0x16]);
    let nowhere = [&payload[..place - 1], &[0xff; 9], &[1], &payload[place..]].concat();
    assert_eq!(decode_event_head(&nowhere), Err(Malformed));
    // Header lines that are none.
    let mut lines = payload.to_vec();
    lines[head_ends + 7] = b' ';
    assert!(decode_event_head(&lines).is_ok());
    assert!(decode_event(lines.into(), 77, &samples::source()).is_err());
    // A count that its bytes do not pay for.
    assert_eq!(decode_replaces(b"\xff\xff\xff\xff\x0f\x01"), Err(Malformed));
    // Numbers larger than they may be, or without an end.
    assert_eq!(decode_replaces(b"\x01\x80\x80\x80\x80\x10"), Err(Malformed));
    assert_eq!(decode_replaces(b"\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"), Err(Malformed));
    assert_eq!(decode_replaces(&[0x80; 40]), Err(Malformed));
    // More behind the end.
    let mut more = Vec::new();
    encode_lane(&mut more, 1, "app");
    assert_eq!(decode_lane(&more), Ok((1, "app".to_owned())));
    more.push(0);
    assert_eq!(decode_lane(&more), Err(Malformed));
}

fn attempt(number: u16) -> Attempt {
    let took = Duration::from_micros(12_600);
    Attempt { number, at: Millis(1_768_473_000_123), took, answer: Answer::Status(204), region: None }
}

#[test]
fn progress_stands_on_disks_as_it_always_stood() {
    let step = |what, attempts| Progress { seq: 300, lane: 2, what, attempts, since: None };
    let due = Millis(1_768_473_000_223);
    let steps = [
        step(What::Delivered, vec![attempt(1)]),
        step(What::Deferred { due, dying: None }, vec![]),
        step(What::Requeued, vec![]),
        step(What::Lost, vec![]),
    ];
    let mut block = Vec::new();
    encode_progress(&mut block, &steps);
    let expected = "ac02bb7834c19b01".to_owned() + "08000201000d07" + "030002c801" + "060002" + "070002";
    assert_eq!(hex::encode(&block), expected);
    let mut read = decode_progress(&block).unwrap();
    assert_eq!(read[0].attempts[0].took, Duration::from_millis(13), "rounded");
    read[0].attempts[0].took = attempt(1).took;
    assert_eq!(read, steps);
}

#[test]
fn a_place_that_was_replayed_says_when_and_one_that_was_not_takes_no_byte_more() {
    let since = Some(Millis(1_768_473_000_023));
    let due = Millis(1_768_473_000_223);
    let step = |what, attempts| Progress { seq: 300, lane: 2, what, attempts, since };
    let dying = Some(DeadReason::Refused);
    let steps = [
        step(What::Requeued, vec![]),
        step(What::Deferred { due, dying: None }, vec![attempt(1)]),
        step(What::Deferred { due, dying }, vec![]),
    ];
    let mut block = Vec::new();
    encode_progress(&mut block, &steps);
    // 512 and the number of attempts, and 64 times the reason's.
    let expected = "ac02bb7834c19b01".to_owned()
        + "fe80040002c701"
        + "fb8104000201000d07c801c701"
        + "fcc0050002c801c701";
    assert_eq!(hex::encode(&block), expected);
    let mut read = decode_progress(&block).unwrap();
    read[1].attempts[0].took = attempt(1).took;
    assert_eq!(read, steps);
    // Beyond what is known: no step.
    assert_eq!(decode_progress(&hex::decode(expected.replace("fe8004", "fe8008")).unwrap()), Err(Malformed));
}

#[test]
fn an_attempt_with_a_region_says_so_behind_its_answer() {
    let region = Region::new("eu");
    let attempts = vec![Attempt { region, ..attempt(1) }, Attempt { answer: Answer::Connect, ..attempt(2) }];
    let step = Progress { seq: 300, lane: 2, what: What::Delivered, attempts, since: None };
    let mut block = Vec::new();
    encode_progress(&mut block, std::slice::from_ref(&step));
    // 2^17 + 3 + 4 for a 204, then the name.
    let expected = "ac02bb7834c19b01".to_owned() + "10000201000d878008" + "026575" + "02000d01";
    assert_eq!(hex::encode(&block), expected);
    let read = decode_progress(&block).unwrap();
    assert_eq!(read[0].attempts.iter().map(|read| read.region).collect::<Vec<_>>(), [region, None]);
    // A name of no length, one that is too long, and one that is none.
    for name in ["00".to_owned(), format!("18{}", "61".repeat(24)), "022061".to_owned()] {
        let block = hex::decode(expected.replace("026575", &name)).unwrap();
        assert_eq!(decode_progress(&block), Err(Malformed), "{name}");
    }
}

#[test]
fn of_too_many_attempts_the_newest_are_kept() {
    let attempts: Vec<_> = (1..=40).map(attempt).collect();
    let step = Progress { seq: 1, lane: 1, what: What::Delivered, attempts, since: None };
    let mut block = Vec::new();
    encode_progress(&mut block, std::slice::from_ref(&step));
    let read = decode_progress(&block).unwrap();
    let numbers: Vec<_> = read[0].attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (9..=40).collect::<Vec<u16>>());
    assert_eq!(numbers.len(), MAX_ATTEMPTS_KEPT);
    // A count that nothing of ours writes is not believed.
    let at = block.iter().position(|byte| *byte == MAX_ATTEMPTS_KEPT as u8).unwrap();
    block[at] += 1;
    block.extend_from_slice(&[41, 0, 13, 7]);
    assert_eq!(decode_progress(&block), Err(Malformed));
    block[at] -= 1;
    block.truncate(block.len() - 4);
    assert_eq!(decode_progress(&block), Ok(read));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_event_reads_back((event, (seq, source, key, alias)) in samples::event()) {
        let payload = encoded(&event, source, key, alias);
        let (read, head) = decode_event(payload.clone(), seq, &samples::source()).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{event:?}"));
        let expected = EventHead {
            received: event.received_at,
            source,
            key,
            alias: alias.then_some(event.id),
            event_id_hash: event.event_id.as_deref().map(id_hash),
            turn: event.turn,
        };
        prop_assert_eq!(head, expected);
        prop_assert_eq!(decode_event_head(&payload), Ok(expected));
    }

    #[test]
    fn every_progress_reads_back(steps in samples::steps()) {
        let mut block = Vec::new();
        encode_progress(&mut block, &steps);
        prop_assert_eq!(decode_progress(&block), Ok(steps));
    }

    #[test]
    fn every_name_and_id_reads_back(
        (number, route) in (any::<u32>(), ".{0,40}"),
        provider in proptest::option::of(".{0,20}"),
        numbers in proptest::collection::vec(any::<u32>(), 0..50),
        (key, at, seq, kept) in (any::<u128>(), 0u64..1 << 48, any::<u64>(), any::<u64>()),
    ) {
        let mut source = Vec::new();
        encode_source(&mut source, number, &route, provider.as_deref(), &numbers);
        let read = decode_source(&source);
        prop_assert_eq!(read, Ok((number, route.clone(), provider, numbers.clone())));
        let mut lane = Vec::new();
        encode_lane(&mut lane, number, &route);
        prop_assert_eq!(decode_lane(&lane), Ok((number, route)));
        let mut replaces = Vec::new();
        encode_replaces(&mut replaces, &numbers);
        prop_assert_eq!(decode_replaces(&replaces), Ok(numbers));
        let (mut id, event) = (Vec::new(), EventId::new(Millis(at), seq));
        encode_id(&mut id, DedupeKey(key), event, Millis(kept));
        prop_assert_eq!(decode_id(&id), Ok((DedupeKey(key), event, Millis(kept))));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_record(&bytes);
    }

    #[test]
    fn nearly_right_bytes_are_not_too_strange(
        (event, (_, source, key, alias)) in samples::event(),
        steps in samples::steps(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut block = Vec::new();
        encode_progress(&mut block, &steps);
        for mut payload in [encoded(&event, source, key, alias).to_vec(), block] {
            for (at, byte) in &changes {
                // Most of a payload is body; what is worth changing stands before it.
                let at = at.index(payload.len().min(80));
                payload[at] = *byte;
            }
            fuzz_record(&payload);
            payload.truncate(cut.index(payload.len()));
            fuzz_record(&payload);
        }
    }
}
