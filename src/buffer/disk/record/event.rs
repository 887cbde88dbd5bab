//! An event's payload.
//!
//! ```text
//! flags u8 | received u48 ms | source varint | key 16 | id 14 (an alias) | turn u8 | order key 8 | method (not POST)
//! | target | client | event id | event type | event time (signed, from received on) | length of the headers | headers | body
//! ```
//! What a flag denies is not there. The turn is the class (0 normal, 1 critical, 2 bulk), and 4 if an order key follows;
//! without it an event is a normal one without a key, as every event of format 1 is. Texts stand behind their length. The provider's id and type nearly always stand in
//! the headers or early in the body: then a place in these (headers and body, as one) is stored instead. All that is
//! there to keep what the format adds to an event small.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use super::Malformed;
use super::names::{put_event_id, read_event_id};
use super::wire::{Reader, put_signed, put_text, put_u48, put_varint};
use crate::buffer::disk::source::Source;
use crate::clock::Millis;
use crate::event::{DedupeKey, Event, EventId, OrderKey, Priority, Proto, Turn};
use crate::headers::Headers;

const HTTPS: u8 = 1;
const POST: u8 = 1 << 1;
const KEY: u8 = 1 << 2;
const EVENT_ID: u8 = 1 << 3;
const EVENT_TYPE: u8 = 1 << 4;
const EVENT_TIME: u8 = 1 << 5;
const ALIAS: u8 = 1 << 6;
const TURN: u8 = 1 << 7;
/// Of the turn: an order key follows.
const ORDERED: u8 = 1 << 2;

/// Ids and types are looked for so far into a body: where selectors find them, and no more than a search can cost.
const SEARCHED_BODY: usize = 4096;
/// 48 bits of milliseconds reach into the year 10889; later is then.
const LAST_MOMENT: u64 = (1 << 48) - 1;

/// What the log itself asks of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct EventHead {
    /// When it came.
    pub received: Millis,
    /// The number of its source, within its segment.
    pub source: u32,
    /// Under which its id is remembered.
    pub key: Option<DedupeKey>,
    /// hooklatch's id of it, where that is not its time and number.
    pub alias: Option<EventId>,
    /// The [`id_hash`] of the provider's id.
    pub event_id_hash: Option<u32>,
    /// Its class and its order key.
    pub turn: Turn,
}

/// The hash by which an index finds a provider's id. It stands on disks: it never changes.
pub(in crate::buffer) fn id_hash(event_id: &str) -> u32 {
    crc32c::crc32c(event_id.as_bytes())
}

/// Appends the payload of `event`. `alias`: its id is not its time and its own sequence number, so it is stored.
pub(in crate::buffer) fn encode_event(
    out: &mut Vec<u8>,
    event: &Event,
    source: u32,
    key: Option<DedupeKey>,
    alias: bool,
) {
    let received = event.received_at.0.min(LAST_MOMENT);
    let headers = event.headers.as_bytes();
    out.reserve(128 + event.target.len() + headers.len() + event.body.len());
    out.push(flags_of(event, key, alias));
    put_u48(out, received);
    put_varint(out, u64::from(source));
    if let Some(key) = key {
        out.extend_from_slice(&key.0.to_le_bytes());
    }
    if alias {
        put_event_id(out, event.id);
    }
    put_turn(out, event.turn);
    if &*event.method != "POST" {
        put_text(out, &event.method);
    }
    put_text(out, &event.target);
    put_client(out, &event.forwarded_for);
    for text in [&event.event_id, &event.event_type].into_iter().flatten() {
        put_found(out, text, headers, &event.body);
    }
    if let Some(time) = event.event_time {
        put_signed(out, time.0.wrapping_sub(received).cast_signed());
    }
    put_varint(out, headers.len() as u64);
    out.extend_from_slice(headers);
    out.extend_from_slice(&event.body);
}

fn flags_of(event: &Event, key: Option<DedupeKey>, alias: bool) -> u8 {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(event.forwarded_proto == Proto::Https, HTTPS)
        | flag(&*event.method == "POST", POST)
        | flag(key.is_some(), KEY)
        | flag(event.event_id.is_some(), EVENT_ID)
        | flag(event.event_type.is_some(), EVENT_TYPE)
        | flag(event.event_time.is_some(), EVENT_TIME)
        | flag(alias, ALIAS)
        | flag(event.turn != Turn::default(), TURN)
}

fn put_turn(out: &mut Vec<u8>, turn: Turn) {
    if turn == Turn::default() {
        return;
    }
    out.push(class_code(turn.priority) | if turn.order_key.is_some() { ORDERED } else { 0 });
    if let Some(key) = turn.order_key {
        out.extend_from_slice(&key.to_bits().to_le_bytes());
    }
}

fn read_turn(from: &mut Reader<'_>) -> Result<Turn, Malformed> {
    let turn = from.u8()?;
    let priority = class_of(turn & !ORDERED).ok_or(Malformed)?;
    let order_key = match turn & ORDERED {
        0 => None,
        _ => Some(OrderKey::from_bits(from.u64()?).ok_or(Malformed)?),
    };
    Ok(Turn { priority, order_key })
}

/// The number of a class in records and indexes.
pub(in crate::buffer) fn class_code(class: Priority) -> u8 {
    match class {
        Priority::Normal => 0,
        Priority::Critical => 1,
        Priority::Bulk => 2,
    }
}

/// What [`class_code`] made.
pub(in crate::buffer) fn class_of(code: u8) -> Option<Priority> {
    Priority::ALL.into_iter().find(|class| class_code(*class) == code)
}

/// The client's address: `0 | 4 bytes`, `1 | 16 bytes`, or a text's length and 2, and the text, where it is not written
/// as we write addresses.
fn put_client(out: &mut Vec<u8>, client: &str) {
    match client.parse::<IpAddr>() {
        // There is one way to write it: no blanks, no leading zeros, four numbers.
        Ok(IpAddr::V4(v4)) => {
            out.push(0);
            out.extend_from_slice(&v4.octets());
        }
        Ok(IpAddr::V6(v6)) if v6.to_string() == client => {
            out.push(1);
            out.extend_from_slice(&v6.octets());
        }
        _ => {
            put_varint(out, client.len() as u64 + 2);
            out.extend_from_slice(client.as_bytes());
        }
    }
}

fn read_client(from: &mut Reader<'_>) -> Result<Box<str>, Malformed> {
    Ok(match from.number::<usize>()? {
        0 => Ipv4Addr::from(from.array::<4>()?).to_string().into(),
        1 => Ipv6Addr::from(from.array::<16>()?).to_string().into(),
        len => from.text_of(len - 2)?.into(),
    })
}

/// A text's length, twice, and 1 if a place follows rather than the text.
fn put_found(out: &mut Vec<u8>, text: &str, headers: &[u8], body: &[u8]) {
    let searched = body.get(..SEARCHED_BODY).unwrap_or(body);
    // A short text costs no more than a place.
    let place = (text.len() > 2).then(|| {
        let in_body = || memmem::find(searched, text.as_bytes()).map(|at| headers.len() + at);
        memmem::find(headers, text.as_bytes()).or_else(in_body)
    });
    put_varint(out, (text.len() as u64) << 1 | u64::from(place.flatten().is_some()));
    match place.flatten() {
        Some(at) => put_varint(out, at as u64),
        None => out.extend_from_slice(text.as_bytes()),
    }
}

/// A text, or where it stands in headers and body.
#[derive(Clone, Copy)]
enum Found<'a> {
    Here(&'a str),
    At { at: usize, len: usize },
}

impl<'a> Found<'a> {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let tag: usize = from.number()?;
        let len = tag >> 1;
        Ok(if tag & 1 == 1 { Self::At { at: from.number()?, len } } else { Self::Here(from.text_of(len)?) })
    }

    fn text(self, headers_and_body: &'a [u8]) -> Result<&'a str, Malformed> {
        match self {
            Self::Here(text) => Ok(text),
            Self::At { at, len } => {
                let end = at.checked_add(len).ok_or(Malformed)?;
                let bytes = headers_and_body.get(at..end).ok_or(Malformed)?;
                std::str::from_utf8(bytes).map_err(|_| Malformed)
            }
        }
    }
}

/// A payload, taken apart where it lies.
struct Parts<'a> {
    flags: u8,
    received: Millis,
    source: u32,
    key: Option<DedupeKey>,
    alias: Option<EventId>,
    turn: Turn,
    method: &'a str,
    target: &'a str,
    client: Reader<'a>,
    event_id: Option<&'a str>,
    event_type: Option<&'a str>,
    event_time: Option<Millis>,
    /// The payload's last bytes: of these, so many are headers.
    headers: usize,
    headers_and_body: usize,
}

impl<'a> Parts<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(payload);
        let flags = from.u8()?;
        let has = |flag: u8| flags & flag != 0;
        let received = Millis(from.u48()?);
        let source = from.number()?;
        let key = if has(KEY) { Some(DedupeKey(from.u128()?)) } else { None };
        let alias = if has(ALIAS) { Some(read_event_id(&mut from)?) } else { None };
        let turn = if has(TURN) { read_turn(&mut from)? } else { Turn::default() };
        let method = if has(POST) { "POST" } else { from.text()? };
        let target = from.text()?;
        let client = from.clone();
        skip_client(&mut from)?;
        let event_id = if has(EVENT_ID) { Some(Found::read(&mut from)?) } else { None };
        let event_type = if has(EVENT_TYPE) { Some(Found::read(&mut from)?) } else { None };
        let event_time = if has(EVENT_TIME) { Some(from.signed()?) } else { None };
        let headers: usize = from.number()?;
        let tail = from.rest();
        if headers > tail.len() {
            return Err(Malformed);
        }
        Ok(Self {
            flags,
            received,
            source,
            key,
            alias,
            turn,
            method,
            target,
            client,
            event_id: event_id.map(|found| found.text(tail)).transpose()?,
            event_type: event_type.map(|found| found.text(tail)).transpose()?,
            event_time: event_time.map(|after| Millis(received.0.wrapping_add_signed(after))),
            headers,
            headers_and_body: tail.len(),
        })
    }

    fn head(&self) -> EventHead {
        EventHead {
            received: self.received,
            source: self.source,
            key: self.key,
            alias: self.alias,
            event_id_hash: self.event_id.map(id_hash),
            turn: self.turn,
        }
    }
}

fn skip_client(from: &mut Reader<'_>) -> Result<(), Malformed> {
    let len = match from.number::<usize>()? {
        0 => 4,
        1 => 16,
        len => len - 2,
    };
    from.take(len).map(|_| ())
}

/// What the log itself asks of an event, without building it.
pub(in crate::buffer) fn decode_event_head(payload: &[u8]) -> Result<EventHead, Malformed> {
    Parts::read(payload).map(|parts| parts.head())
}

/// The event with the sequence number `seq`, of which `source` says where it came from. Its headers and body are
/// slices of `payload`.
pub(in crate::buffer) fn decode_event(
    payload: Bytes,
    seq: u64,
    source: &Source,
) -> Result<(Event, EventHead), Malformed> {
    let mut parts = Parts::read(&payload)?;
    let head = parts.head();
    let tail_at = payload.len() - parts.headers_and_body;
    let body_at = tail_at + parts.headers;
    let headers = Headers::from_stored(payload.slice(tail_at..body_at)).map_err(|_| Malformed)?;
    let event = Event {
        id: parts.alias.unwrap_or_else(|| EventId::new(parts.received, seq)),
        route: Arc::clone(&source.route),
        provider: source.provider.clone(),
        event_id: parts.event_id.map(Into::into),
        event_type: parts.event_type.map(Into::into),
        event_time: parts.event_time,
        received_at: parts.received,
        method: parts.method.into(),
        target: parts.target.into(),
        headers,
        forwarded_for: read_client(&mut parts.client)?,
        forwarded_proto: if parts.flags & HTTPS != 0 { Proto::Https } else { Proto::Http },
        body: payload.slice(body_at..),
        turn: parts.turn,
    };
    Ok((event, head))
}
