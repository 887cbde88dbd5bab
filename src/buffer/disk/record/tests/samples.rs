//! Records and events to try things with.

use std::net::IpAddr;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;

use super::super::*;
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::disk::source::Source;
use crate::buffer::handoff::DeadReason;
use crate::event::{Answer, Attempt, DedupeKey, Event, EventId, OrderKey, Priority, Proto, Region, Turn};
use crate::headers::Headers;

pub fn sealed(kind: Kind, payload: &[u8], nonce: u32, seq: u32, commit: u32) -> Vec<u8> {
    let mut record = vec![0xee; 3];
    let start = begin(&mut record);
    record.extend_from_slice(payload);
    finish(&mut record, start, kind);
    let mut record = record.split_off(start);
    seal(&mut record, nonce, seq, commit);
    record
}

pub fn kind() -> impl Strategy<Value = Kind> {
    (1u8..=6).prop_map(|kind| Kind::from_byte(kind).unwrap())
}

pub fn source() -> Source {
    Source { route: "orders".into(), provider: Some("github".into()), lanes: [0, 3].into() }
}

/// What [`decode_event`] gives besides the event.
pub type Extras = (u64, u32, Option<DedupeKey>, bool);

/// An event as it is after it was read: what no payload holds is as [`source`] and its number say.
pub fn event() -> impl Strategy<Value = (Event, Extras)> {
    let line = ("[a-zA-Z-]{1,12}", "[ -~]{0,40}");
    let headers = proptest::collection::vec(line, 0..8).prop_map(Headers::from_pairs);
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(any::<u8>(), 3_000..6_000),
        "[a-z\"{}:é ]{0,300}".prop_map(String::into_bytes),
    ];
    let client = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| IpAddr::from(ip).to_string()),
        any::<[u16; 8]>().prop_map(|ip| IpAddr::from(ip).to_string()),
        Just("::ffff:1.2.3.4".to_owned()),
        Just("2001:DB8:0::1".to_owned()),
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        ".{0,30}",
    ];
    let method = prop_oneof![Just("POST".to_owned()), "[A-Z]{0,9}"];
    let extras = (any::<u64>(), any::<u32>(), option::of(any::<u128>().prop_map(DedupeKey)), any::<bool>());
    let times = (0u64..1 << 48, option::of(any::<u64>()), any::<bool>(), any::<u128>());
    let texts = (found(), found());
    (headers, body, client, method, "/[ -~é]{0,60}", extras, times, texts).prop_map(
        |(headers, body, client, method, target, extras, times, texts)| {
            let (seq, .., alias) = extras;
            let (received, event_time, https, id) = times;
            let aliased = EventId::new(Millis((id >> 64) as u64), id as u64);
            let event = Event {
                id: if alias { aliased } else { EventId::new(Millis(received), seq) },
                route: "orders".into(),
                provider: Some("github".into()),
                event_id: texts.0.pick(&headers, &body),
                event_type: texts.1.pick(&headers, &body),
                event_time: event_time.map(Millis),
                received_at: Millis(received),
                method: method.into(),
                target: target.into(),
                headers,
                forwarded_for: client.into(),
                forwarded_proto: if https { Proto::Https } else { Proto::Http },
                body: body.into(),
                turn: turn_of(id),
            };
            (event, extras)
        },
    )
}

/// Of every third event there is one of each class; of two, one has a key.
fn turn_of(id: u128) -> Turn {
    let bits = if id & 1 == 1 { (id >> 8) as u64 } else { 0 };
    Turn { priority: Priority::ALL[(id % 3) as usize], order_key: OrderKey::from_bits(bits) }
}

/// An id or type: none, one of its own, or some piece of what the event holds.
#[derive(Clone, Debug)]
enum Text {
    None,
    Own(String),
    Piece { of_body: bool, at: prop::sample::Index, len: usize },
}

fn found() -> impl Strategy<Value = Text> {
    prop_oneof![
        Just(Text::None),
        ".{0,40}".prop_map(Text::Own),
        (any::<bool>(), any::<prop::sample::Index>(), 0usize..40)
            .prop_map(|(of_body, at, len)| Text::Piece { of_body, at, len }),
    ]
}

impl Text {
    fn pick(self, headers: &Headers, body: &[u8]) -> Option<Box<str>> {
        match self {
            Self::None => None,
            Self::Own(text) => Some(text.into()),
            Self::Piece { of_body, at, len } => {
                let whole = if of_body { body } else { headers.as_bytes() };
                let at = at.index(whole.len() + 1);
                let piece = &whole[at..(at + len).min(whole.len())];
                std::str::from_utf8(piece).ok().map(Into::into)
            }
        }
    }
}

pub fn steps() -> impl Strategy<Value = Vec<Progress>> {
    let near = 1_768_473_000_000u64..1_768_473_100_000;
    let time = prop_oneof![4 => near, 1 => any::<u64>()].prop_map(Millis).boxed();
    let dead = proptest::sample::select(DeadReason::ALL.to_vec());
    let deferred = (time.clone(), option::of(dead.clone()));
    let what = prop_oneof![
        Just(What::Delivered),
        dead.prop_map(What::Dead),
        deferred.prop_map(|(due, dying)| What::Deferred { due, dying }),
        Just(What::Requeued),
        Just(What::Lost),
    ];
    let answer = prop_oneof![
        Just(Answer::Timeout),
        Just(Answer::Connect),
        Just(Answer::Internal),
        Just(Answer::Unsettled),
        any::<u16>().prop_map(Answer::Status),
    ];
    let took = prop_oneof![0u64..60_000, any::<u64>()].prop_map(Duration::from_millis);
    let region = proptest::option::of("[a-zA-Z0-9_-]{1,23}").prop_map(|name| Region::new(&name?));
    let attempt = (any::<u16>(), time.clone(), took, answer, region)
        .prop_map(|(number, at, took, answer, region)| Attempt { number, at, took, answer, region });
    let attempts = proptest::collection::vec(attempt, 0..=32);
    let seq = prop_oneof![1_000_000u64..1_000_100, any::<u64>()];
    let since = option::of(time);
    let step = (seq, any::<u32>(), what, attempts, since);
    let step =
        step.prop_map(|(seq, lane, what, attempts, since)| Progress { seq, lane, what, attempts, since });
    proptest::collection::vec(step, 0..20)
}
