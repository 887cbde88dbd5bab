//! The time of a request: where it stands, how it is written, how far it may be off.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::Millis;
use crate::select::Pointer;

/// How far a time may be off where the scheme does not say: what the Standard Webhooks libraries allow.
pub(super) const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// The longest timestamp that is read, in bytes.
const MAX_BYTES: usize = 64;

/// Where the timestamp stands, how it is written, and how far it may be off.
#[derive(Clone, Debug)]
pub(super) struct Timestamp {
    pub(super) place: Place,
    pub(super) unit: Unit,
    pub(super) tolerance: Duration,
}

/// Where a timestamp stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Header(Box<str>),
    Body { pointer: Pointer, shown: Box<str> },
    Key(Box<str>),
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Seconds,
    Millis,
    Rfc3339,
}

impl Unit {
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "s" => Self::Seconds,
            "ms" => Self::Millis,
            "rfc3339" => Self::Rfc3339,
            _ => return None,
        })
    }

    /// What a reader of an error calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "a UNIX time in seconds",
            Self::Millis => "a UNIX time in milliseconds",
            Self::Rfc3339 => "an RFC 3339 time",
        }
    }

    /// The moment that `text` names; `None` if it is not written so, or lies before 1970.
    pub(super) fn read(self, text: &[u8]) -> Option<Millis> {
        match self {
            Self::Seconds => Some(Millis(digits(text)?.checked_mul(1000)?)),
            Self::Millis => digits(text).map(Millis),
            Self::Rfc3339 => rfc3339(text),
        }
    }

    pub(super) fn write(self, now: Millis) -> String {
        match self {
            Self::Seconds => now.seconds().to_string(),
            Self::Millis => now.0.to_string(),
            Self::Rfc3339 => now.rfc3339(),
        }
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn rfc3339(text: &[u8]) -> Option<Millis> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let time: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Millis)
}

/// An event's own time as a selector found it: UNIX seconds (a fraction is cut), milliseconds, or RFC 3339. A number
/// of 12 digits or more is milliseconds: as seconds it would lie beyond the year 5000, as milliseconds a shorter one
/// before 1973.
#[must_use]
pub fn event_time(text: &str) -> Option<Millis> {
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => whole,
        _ => text,
    };
    match digits(whole.as_bytes()) {
        Some(_) if whole.len() >= 12 => Unit::Millis.read(whole.as_bytes()),
        Some(_) => Unit::Seconds.read(whole.as_bytes()),
        None => Unit::Rfc3339.read(text.as_bytes()),
    }
}

/// A timestamp as it was sent.
pub(super) type Verbatim<'a> = Cow<'a, [u8]>;

impl Place {
    /// What to call it in an answer to the sender.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Header(name) | Self::Key(name) => name,
            Self::Body { shown, .. } => shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_unit() {
        assert_eq!(Unit::Seconds.read(b"1700000000"), Some(Millis(1_700_000_000_000)));
        assert_eq!(Unit::Seconds.read(b"0"), Some(Millis(0)));
        assert_eq!(Unit::Millis.read(b"1700000000123"), Some(Millis(1_700_000_000_123)));
        assert_eq!(Unit::Rfc3339.read(b"2026-01-15T10:30:00Z"), Some(Millis(1_768_473_000_000)));
        assert_eq!(Unit::Rfc3339.read(b"2026-01-15T11:30:00.123+01:00"), Some(Millis(1_768_473_000_123)));
        for text in
            ["", "-1", "+1", "1.5", " 1", "1e3", "0x1", "18446744073709551615", "99999999999999999999"]
        {
            assert_eq!(Unit::Seconds.read(text.as_bytes()), None, "{text}");
        }
        for text in ["", "2026-01-15", "1700000000", "1960-01-01T00:00:00Z", "\u{ff}"] {
            assert_eq!(Unit::Rfc3339.read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let now = Millis(1_768_473_000_000);
        for unit in [Unit::Seconds, Unit::Millis, Unit::Rfc3339] {
            assert_eq!(unit.read(unit.write(now).as_bytes()), Some(now));
        }
    }

    #[test]
    fn the_unit_of_an_events_own_time_is_told_by_its_size() {
        assert_eq!(event_time("1700000000"), Some(Millis(1_700_000_000_000)));
        assert_eq!(event_time("1700000000.000200"), Some(Millis(1_700_000_000_000)));
        assert_eq!(event_time("1700000000123"), Some(Millis(1_700_000_000_123)));
        assert_eq!(event_time("2026-01-15T10:30:00.5Z"), Some(Millis(1_768_473_000_500)));
        assert_eq!(event_time("yesterday"), None);
        assert_eq!(event_time("99999999999999999999999"), None);
    }
}
