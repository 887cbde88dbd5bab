//! The payloads that give numbers their meaning, and ids that outlive their events.

use super::Malformed;
use super::wire::{Reader, put_numbers, put_signed, put_text, put_u48, put_varint};
use crate::clock::Millis;
use crate::event::{DedupeKey, EventId};

/// An event's id alone: `key 16 | id 14 | kept at, from the id's time on`.
pub(in crate::buffer) fn encode_id(out: &mut Vec<u8>, key: DedupeKey, id: EventId, kept_at: Millis) {
    out.extend_from_slice(&key.0.to_le_bytes());
    put_event_id(out, id);
    put_signed(out, kept_at.0.wrapping_sub(id.at().0).cast_signed());
}

pub(in crate::buffer) fn decode_id(payload: &[u8]) -> Result<(DedupeKey, EventId, Millis), Malformed> {
    let mut from = Reader::new(payload);
    let key = DedupeKey(from.u128()?);
    let id = read_event_id(&mut from)?;
    let kept_at = Millis(id.at().0.wrapping_add_signed(from.signed()?));
    from.end()?;
    Ok((key, id, kept_at))
}

/// `number | route | providers (0 or 1) | provider | lanes`
pub(in crate::buffer) fn encode_source(
    out: &mut Vec<u8>,
    number: u32,
    route: &str,
    provider: Option<&str>,
    lanes: &[u32],
) {
    put_varint(out, u64::from(number));
    put_text(out, route);
    out.push(u8::from(provider.is_some()));
    if let Some(provider) = provider {
        put_text(out, provider);
    }
    put_numbers(out, lanes);
}

pub(in crate::buffer) fn decode_source(
    payload: &[u8],
) -> Result<(u32, String, Option<String>, Vec<u32>), Malformed> {
    let mut from = Reader::new(payload);
    let number = from.number()?;
    let route = from.text()?.to_owned();
    let provider = match from.u8()? {
        0 => None,
        1 => Some(from.text()?.to_owned()),
        _ => return Err(Malformed),
    };
    let lanes = from.numbers()?;
    from.end()?;
    Ok((number, route, provider, lanes))
}

/// `number | name`
pub(in crate::buffer) fn encode_lane(out: &mut Vec<u8>, number: u32, name: &str) {
    put_varint(out, u64::from(number));
    put_text(out, name);
}

pub(in crate::buffer) fn decode_lane(payload: &[u8]) -> Result<(u32, String), Malformed> {
    let mut from = Reader::new(payload);
    let lane = (from.number()?, from.text()?.to_owned());
    from.end()?;
    Ok(lane)
}

/// The numbers of segments, behind their count.
pub(in crate::buffer) fn encode_replaces(out: &mut Vec<u8>, segments: &[u32]) {
    put_numbers(out, segments);
}

pub(in crate::buffer) fn decode_replaces(payload: &[u8]) -> Result<Vec<u32>, Malformed> {
    let mut from = Reader::new(payload);
    let segments = from.numbers()?;
    from.end()?;
    Ok(segments)
}

/// hooklatch's own id: `time u48 | number u64`.
pub(super) fn put_event_id(out: &mut Vec<u8>, id: EventId) {
    put_u48(out, id.at().0);
    out.extend_from_slice(&id.seq().to_le_bytes());
}

pub(super) fn read_event_id(from: &mut Reader<'_>) -> Result<EventId, Malformed> {
    let at = Millis(from.u48()?);
    Ok(EventId::new(at, from.u64()?))
}
