//! The payload of a progress record: a block of steps, each told from the one before it.
//!
//! ```text
//! block    seq varint | time u48 ms | steps
//! step     what: 3 bits, attempts: 5 bits (31: `more` follows) | more varint | seq | lane varint | attempts | due (deferred)
//!          | since (where `more` says so)
//! more     the number of attempts, and 64 times the number of the reason where `what` says "dead" without one of its own,
//!          and 512 if `since` follows
//! attempt  number varint | at | took varint ms | answer varint (from 2^17 on: 2^17 less, and a region follows)
//! region   length u8 | name
//! ```
//! A `seq` counts from the last one, a time from the last time, both signed; so a delivery at the first attempt takes
//! 7 to 10 bytes.

use std::time::Duration;

use super::Malformed;
use super::wire::{Reader, put_signed, put_u48, put_varint};
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::handoff::DeadReason;
use crate::buffer::view::MAX_ATTEMPTS_KEPT;
use crate::clock::Millis;
use crate::event::{Answer, Attempt, Region};

const MORE_FOLLOWS: u8 = 31;
/// In `more`, what comes before the reason …
const COUNTS: u64 = 64;
const _: () = assert!((MAX_ATTEMPTS_KEPT as u64) < COUNTS);
/// … and of what is behind that, what comes before "since follows".
const REASONS: u64 = 8;
const _: () = assert!((DeadReason::ALL.len() as u64) <= REASONS);

/// From where the next step tells its number and its times.
#[derive(Clone, Copy)]
struct Base {
    seq: u64,
    at: u64,
}

impl Base {
    fn put_seq(&mut self, out: &mut Vec<u8>, seq: u64) {
        put_signed(out, seq.wrapping_sub(self.seq).cast_signed());
        self.seq = seq;
    }

    fn read_seq(&mut self, from: &mut Reader<'_>) -> Result<u64, Malformed> {
        self.seq = self.seq.wrapping_add_signed(from.signed()?);
        Ok(self.seq)
    }

    fn put_time(&mut self, out: &mut Vec<u8>, at: Millis) {
        put_signed(out, at.0.wrapping_sub(self.at).cast_signed());
        self.at = at.0;
    }

    fn read_time(&mut self, from: &mut Reader<'_>) -> Result<Millis, Malformed> {
        self.at = self.at.wrapping_add_signed(from.signed()?);
        Ok(Millis(self.at))
    }
}

/// Appends a block of `steps`. Of an attempt's duration, whole milliseconds are kept.
pub(in crate::buffer) fn encode_progress(out: &mut Vec<u8>, steps: &[Progress]) {
    let seq = steps.first().map_or(0, |step| step.seq);
    let at = steps.iter().find_map(|step| step.attempts.first()).map_or(0, |attempt| attempt.at.0);
    put_varint(out, seq);
    put_u48(out, at);
    let mut base = Base { seq, at: at & ((1 << 48) - 1) };
    for step in steps {
        put_step(out, step, &mut base);
    }
}

/// Reads a block.
pub(in crate::buffer) fn decode_progress(payload: &[u8]) -> Result<Vec<Progress>, Malformed> {
    let mut from = Reader::new(payload);
    let mut base = Base { seq: from.varint()?, at: from.u48()? };
    let mut steps = Vec::new();
    while !from.rest().is_empty() {
        steps.push(read_step(&mut from, &mut base)?);
    }
    Ok(steps)
}

fn put_step(out: &mut Vec<u8>, step: &Progress, base: &mut Base) {
    let too_many = step.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
    let attempts = step.attempts.get(too_many..).unwrap_or_default();
    let detail = detail_of(step.what) + if step.since.is_some() { REASONS } else { 0 };
    let count = match u8::try_from(attempts.len()) {
        Ok(count) if count < MORE_FOLLOWS && detail == 0 => count,
        _ => MORE_FOLLOWS,
    };
    out.push(code_of(step.what) | count << 3);
    if count == MORE_FOLLOWS {
        put_varint(out, attempts.len() as u64 + COUNTS * detail);
    }
    base.put_seq(out, step.seq);
    put_varint(out, u64::from(step.lane));
    for attempt in attempts {
        put_varint(out, u64::from(attempt.number));
        base.put_time(out, attempt.at);
        put_varint(out, whole_millis(attempt.took));
        let answer = code_of_answer(attempt.answer);
        match &attempt.region {
            None => put_varint(out, answer),
            Some(region) => {
                put_varint(out, answer + REGION_FOLLOWS);
                put_region(out, region);
            }
        }
    }
    let due = if let What::Deferred { due, .. } = step.what { Some(due) } else { None };
    for time in due.into_iter().chain(step.since) {
        // The time it waits for, or waited from, says nothing of when the next step happened: it is no base.
        let mut base = *base;
        base.put_time(out, time);
    }
}

fn read_step(from: &mut Reader<'_>, base: &mut Base) -> Result<Progress, Malformed> {
    let first = from.u8()?;
    let (count, detail) = match first >> 3 {
        MORE_FOLLOWS => {
            let more = from.varint()?;
            (usize::try_from(more % COUNTS).map_err(|_| Malformed)?, more / COUNTS)
        }
        count => (usize::from(count), 0),
    };
    let (reason, has_since) = (detail % REASONS, detail / REASONS);
    if count > MAX_ATTEMPTS_KEPT || has_since > 1 {
        return Err(Malformed);
    }
    let (seq, lane) = (base.read_seq(from)?, from.number()?);
    let mut attempts = Vec::with_capacity(count);
    for _ in 0..count {
        let (number, at) = (from.number()?, base.read_time(from)?);
        let (took, answer) = (Duration::from_millis(from.varint()?), from.varint()?);
        let has_region = answer >= REGION_FOLLOWS;
        let answer = answer_of(if has_region { answer - REGION_FOLLOWS } else { answer })?;
        let region = if has_region { Some(read_region(from)?) } else { None };
        attempts.push(Attempt { number, at, took, answer, region });
    }
    let what = match first & 7 {
        0 => What::Delivered,
        1 => What::Dead(reason_of(reason)?),
        2 => What::Dead(DeadReason::Gone),
        3 => deferred(from, *base, None)?,
        4 => deferred(from, *base, Some(reason_of(reason)?))?,
        5 => deferred(from, *base, Some(DeadReason::Gone))?,
        6 => What::Requeued,
        _ => What::Lost,
    };
    let since = if has_since == 1 { Some(time_beside(from, *base)?) } else { None };
    Ok(Progress { seq, lane, what, attempts, since })
}

fn deferred(from: &mut Reader<'_>, base: Base, dying: Option<DeadReason>) -> Result<What, Malformed> {
    Ok(What::Deferred { due: time_beside(from, base)?, dying })
}

/// A time that is no base for the next one.
fn time_beside(from: &mut Reader<'_>, mut base: Base) -> Result<Millis, Malformed> {
    base.read_time(from)
}

fn code_of(what: What) -> u8 {
    match what {
        What::Delivered => 0,
        What::Dead(DeadReason::Gone) => 2,
        What::Dead(_) => 1,
        What::Deferred { dying: None, .. } => 3,
        What::Deferred { dying: Some(DeadReason::Gone), .. } => 5,
        What::Deferred { dying: Some(_), .. } => 4,
        What::Requeued => 6,
        What::Lost => 7,
    }
}

/// The number of the reason where the code of `what` does not tell it; 0 where it does, or there is none.
fn detail_of(what: What) -> u64 {
    match what {
        What::Dead(reason) | What::Deferred { dying: Some(reason), .. } if reason != DeadReason::Gone => {
            DeadReason::ALL.iter().position(|other| *other == reason).unwrap_or(0) as u64
        }
        _ => 0,
    }
}

fn reason_of(detail: u64) -> Result<DeadReason, Malformed> {
    let number = usize::try_from(detail).map_err(|_| Malformed)?;
    DeadReason::ALL.get(number).copied().ok_or(Malformed)
}

/// The ends without a status, then the statuses from 200 on, around to 199: so a 2xx takes one byte.
const FIRST_STATUS: u64 = 3;

fn code_of_answer(answer: Answer) -> u64 {
    match answer {
        Answer::Timeout => 0,
        Answer::Connect => 1,
        Answer::Internal => 2,
        Answer::Unsettled => UNSETTLED,
        Answer::Status(status) => FIRST_STATUS + u64::from(status.wrapping_sub(200)),
    }
}

fn answer_of(code: u64) -> Result<Answer, Malformed> {
    Ok(match code {
        0 => Answer::Timeout,
        1 => Answer::Connect,
        2 => Answer::Internal,
        UNSETTLED => Answer::Unsettled,
        code => {
            let from_200 = u16::try_from(code - FIRST_STATUS).map_err(|_| Malformed)?;
            Answer::Status(from_200.wrapping_add(200))
        }
    })
}

/// Far above the last status.
const REGION_FOLLOWS: u64 = 1 << 17;
/// Above the last status, too: an end without one that came later.
const UNSETTLED: u64 = REGION_FOLLOWS - 1;

fn put_region(out: &mut Vec<u8>, region: &Region) {
    let name = region.as_str().as_bytes();
    out.push(u8::try_from(name.len()).unwrap_or_default());
    out.extend_from_slice(name);
}

fn read_region(from: &mut Reader<'_>) -> Result<Region, Malformed> {
    let length = usize::from(from.u8()?);
    Region::new(from.text_of(length)?).ok_or(Malformed)
}

fn whole_millis(took: Duration) -> u64 {
    let rounded = took.saturating_add(Duration::from_micros(500));
    u64::try_from(rounded.as_millis()).unwrap_or(u64::MAX)
}
