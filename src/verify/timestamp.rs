//! The time of a request: where it stands, how it is written, how far it may be off.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use super::faults::Faults;
use super::format::Format;
use super::place::{Place, PlaceWords, refuse};
use super::spec::TimestampSpec;
use super::{Refusal, RefusalKind};
use crate::clock::Millis;
use crate::units::{format_duration, parse_duration};

/// How far a time may be off where the scheme does not say: what the Standard Webhooks libraries allow.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// The longest timestamp that is read, in bytes.
const MAX_BYTES: usize = 64;

/// Where the timestamp stands, how it is written, and how far it may be off.
#[derive(Clone, Debug)]
pub(super) struct Timestamp {
    pub(super) place: TimePlace,
    pub(super) unit: Unit,
    /// `None` where the time is signed, but not held against the clock.
    pub(super) tolerance: Option<Duration>,
    /// The place of the list of which it is an item; empty where it has its own.
    list: Box<str>,
}

/// Where a timestamp stands.
#[derive(Clone, Debug)]
pub(super) enum TimePlace {
    Own(Place),
    /// An item of the signature's list.
    Key(Box<str>),
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    #[default]
    Seconds,
    Millis,
    /// Seconds or milliseconds, told apart by their size.
    Epoch,
    Rfc3339,
    /// RFC 3339 whose zone may be missing: UTC then.
    Iso8601,
    /// As in `Date` headers (RFC 9110 §5.6.7).
    HttpDate,
}

impl Unit {
    /// Those that a time can be told to be written in.
    const ALL: [Self; 5] = [Self::Seconds, Self::Millis, Self::Rfc3339, Self::Iso8601, Self::HttpDate];

    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "s" => Self::Seconds,
            "ms" => Self::Millis,
            "epoch" => Self::Epoch,
            "rfc3339" => Self::Rfc3339,
            "iso8601" => Self::Iso8601,
            "http-date" => Self::HttpDate,
            _ => return None,
        })
    }

    /// What a reader of an error calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "a UNIX time in seconds",
            Self::Millis => "a UNIX time in milliseconds",
            Self::Epoch => "a UNIX time",
            Self::Rfc3339 => "an RFC 3339 time",
            Self::Iso8601 => "an ISO 8601 time",
            Self::HttpDate => "an HTTP date",
        }
    }

    /// The moment that `text` names; `None` if it is not written so, or lies before 1970.
    pub(super) fn read(self, text: &[u8]) -> Option<Millis> {
        match self {
            Self::Seconds => Some(Millis(digits(text)?.checked_mul(1000)?)),
            Self::Millis => digits(text).map(Millis),
            Self::Epoch if text.len() >= MILLIS_DIGITS => Self::Millis.read(text),
            Self::Epoch => Self::Seconds.read(text),
            Self::Rfc3339 => rfc3339(text),
            Self::Iso8601 => rfc3339(text).or_else(|| zoneless(text)),
            Self::HttpDate => http_date(text),
        }
    }

    pub(super) fn write(self, now: Millis) -> String {
        match self {
            Self::Seconds | Self::Epoch => now.seconds().to_string(),
            Self::Millis => now.0.to_string(),
            Self::Rfc3339 => now.rfc3339(),
            Self::Iso8601 => now.rfc3339().trim_end_matches('Z').to_owned(),
            Self::HttpDate => httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now.seconds())),
        }
    }
}

/// A number of so many digits is milliseconds: as seconds it would lie beyond the year 5000, as milliseconds a shorter
/// one before 1973.
const MILLIS_DIGITS: usize = 12;

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

fn zoneless(text: &[u8]) -> Option<Millis> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let time: jiff::civil::DateTime = std::str::from_utf8(text).ok()?.parse().ok()?;
    let time = jiff::tz::Offset::UTC.to_timestamp(time).ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Millis)
}

fn http_date(text: &[u8]) -> Option<Millis> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let time = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok().map(Millis)
}

/// An event's own time as a selector found it: UNIX seconds (a fraction is cut) or milliseconds, told apart by their
/// size, or RFC 3339.
#[must_use]
pub fn event_time(text: &str) -> Option<Millis> {
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => whole,
        _ => text,
    };
    match digits(whole.as_bytes()) {
        Some(_) => Unit::Epoch.read(whole.as_bytes()),
        None => Unit::Rfc3339.read(text.as_bytes()),
    }
}

impl Timestamp {
    /// The timestamp of a scheme whose signatures are written as `format`.
    pub(super) fn compile(spec: &TimestampSpec, format: &Format, faults: &mut Faults) -> Option<Self> {
        let units = "\"s\", \"ms\", \"epoch\", \"rfc3339\", \"iso8601\" or \"http-date\"";
        let unit = faults.word("timestamp.unit", spec.unit.as_ref(), Unit::parse, units);
        let enforced = spec.enforce.unwrap_or(true);
        faults.unused("timestamp.tolerance", !enforced && spec.tolerance.is_some(), "enforce = false");
        let tolerance = match spec.tolerance.as_deref().map(parse_duration) {
            None => DEFAULT_TOLERANCE,
            Some(Ok(tolerance)) if !tolerance.is_zero() => tolerance,
            Some(Ok(_)) => {
                let hint = "write \"5m\"; for a time that is not to be checked write enforce = false";
                faults.none(
                    "timestamp.tolerance",
                    "with a tolerance of zero nothing would ever verify",
                    hint,
                )?
            }
            Some(Err(error)) => faults.none("timestamp.tolerance", error.to_string(), "")?,
        };
        let place = Self::place(spec, format, faults)?;
        Some(Self { place, unit, tolerance: enforced.then_some(tolerance), list: Box::default() })
    }

    /// The same, of a scheme whose signature stands at `signature`.
    pub(super) fn beside(mut self, signature: &Place) -> Self {
        if matches!(self.place, TimePlace::Key(_)) {
            self.list = signature.shown().into();
        }
        self
    }

    fn place(spec: &TimestampSpec, format: &Format, faults: &mut Faults) -> Option<TimePlace> {
        let words = PlaceWords {
            headers: ("timestamp.header", spec.header.as_slice()),
            query: ("timestamp.query", spec.query.as_deref()),
            form: ("timestamp.form", spec.form.as_deref()),
            body: ("timestamp.body", spec.body.as_deref()),
        };
        if words.count() + usize::from(spec.key.is_some()) != 1 {
            let hint = "write one of header = \"NAME\", query = \"NAME\", form = \"NAME\", body = \"/pointer\", key = \"t\"";
            return faults.none("timestamp", "where the timestamp stands must be said once", hint);
        }
        if let Some(key) = &spec.key {
            if format.has_items() {
                return Some(TimePlace::Key(key.as_str().into()));
            }
            let hint = "write signature.format = \"list\", or header = \"NAME\"";
            return faults.none("timestamp.key", "the signature is no list, so it has no keys", hint);
        }
        match words.compile(faults)? {
            Place::Whole | Place::Each { .. } | Place::Several(_) => faults.none(
                "timestamp.body",
                "a timestamp is one value of the body",
                "write body = \"/pointer\"",
            ),
            place => Some(TimePlace::Own(place)),
        }
    }

    /// What to call it in an answer to the sender.
    pub(super) fn shown(&self) -> Cow<'_, str> {
        match &self.place {
            TimePlace::Own(place) => place.shown(),
            TimePlace::Key(name) => Cow::Owned(format!("{name} in {}", self.list)),
        }
    }

    /// The header or field that holds it.
    fn field(&self) -> Cow<'_, str> {
        match &self.place {
            TimePlace::Own(place) => place.shown(),
            TimePlace::Key(_) => Cow::Borrowed(&self.list),
        }
    }

    /// It is not there, or `several` times with different values.
    pub(super) fn missing(&self, several: bool) -> Refusal {
        let shown = self.shown();
        let (kind, what) = match several {
            true => (RefusalKind::InvalidSignature, "is there more than once, with different values"),
            false => (RefusalKind::MissingSignature, "is missing"),
        };
        refuse(kind, &self.field(), format!("The timestamp {shown}, a part of the signature, {what}."))
    }

    /// The time that `text` names, which may not lie too far off `now`; without `now` it is not held against it. Only
    /// who signed right gets here: the answer may say how the clocks differ.
    ///
    /// # Errors
    /// A time that is not written as the scheme says, or lies too far off.
    pub(super) fn check(&self, text: &[u8], now: Option<Millis>) -> Result<Option<Millis>, Refusal> {
        let time = self.unit.read(text);
        match (time, self.tolerance, now) {
            (_, None, _) | (Some(_), _, None) => Ok(time),
            (Some(time), Some(tolerance), Some(now)) => within(time, now, tolerance, &self.shown())
                .map(Some)
                .map_err(|refusal| self.late(text, now, tolerance, refusal.message)),
            (None, Some(tolerance), now) => {
                let message =
                    format!("The signature is right, but {} is not {}.", self.shown(), self.unit.name());
                Err(match now {
                    Some(now) => self.late(text, now, tolerance, message),
                    None => refuse(RefusalKind::TimestampOutOfTolerance, &self.field(), message),
                })
            }
        }
    }

    /// `message`, unless the time is right when it is read in another unit.
    fn late(&self, text: &[u8], now: Millis, tolerance: Duration, message: String) -> Refusal {
        let fits = |unit: &&Unit| {
            unit.read(text).is_some_and(|time| time.since(now) <= tolerance && now.since(time) <= tolerance)
        };
        let message = match Unit::ALL.iter().find(fits) {
            Some(unit) => format!(
                "The signature is right, and so is the time in {}, but it is {}, where {} is wanted.",
                self.shown(),
                unit.name(),
                self.unit.name()
            ),
            None => message,
        };
        refuse(RefusalKind::TimestampOutOfTolerance, &self.field(), message)
    }
}

/// `time`, if it lies no further off `now` than `tolerance`, behind or ahead; `shown` is where it stands.
///
/// # Errors
/// One that does: how far, and on which side.
pub(super) fn within(time: Millis, now: Millis, tolerance: Duration, shown: &str) -> Result<Millis, Refusal> {
    let (off, way) = if time > now { (time.since(now), "ahead of") } else { (now.since(time), "behind") };
    if off <= tolerance {
        return Ok(time);
    }
    let (off, most) = (format_duration(readable(off)), format_duration(tolerance));
    let message = format!(
        "The signature is right, but the time in {shown} lies {off} {way} this server's clock; {most} are \
         allowed. One of the clocks is wrong, or the request is an old one."
    );
    Err(refuse(RefusalKind::TimestampOutOfTolerance, shown, message))
}

/// Rounded up to a unit in which a reader thinks: up, so that it never reads as if it were within the tolerance.
pub(super) fn readable(off: Duration) -> Duration {
    let unit: u64 = match off.as_secs() {
        0..600 => 1,
        600..172_800 => 60,
        172_800..2_592_000 => 3600,
        _ => 86_400,
    };
    let seconds = off.as_secs().saturating_add(u64::from(off.subsec_nanos() > 0));
    Duration::from_secs(seconds.div_ceil(unit).saturating_mul(unit))
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
        assert_eq!(Unit::Epoch.read(b"1700000000"), Some(Millis(1_700_000_000_000)));
        assert_eq!(Unit::Epoch.read(b"1700000000123"), Some(Millis(1_700_000_000_123)));
        for text in ["2026-01-15T10:30:00.5", "2026-01-15T10:30:00.5Z", "2026-01-15T11:30:00.5+01:00"] {
            assert_eq!(Unit::Iso8601.read(text.as_bytes()), Some(Millis(1_768_473_000_500)), "{text}");
        }
        let date = b"Thu, 15 Jan 2026 10:30:00 GMT";
        assert_eq!(Unit::HttpDate.read(date), Some(Millis(1_768_473_000_000)));
        for text in ["", "1700000000", "2026-01-15T10:30:00Z", "Thu, 01 Jan 1960 00:00:00 GMT"] {
            assert_eq!(Unit::HttpDate.read(text.as_bytes()), None, "{text}");
        }
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
        for unit in [Unit::Seconds, Unit::Millis, Unit::Epoch, Unit::Rfc3339, Unit::Iso8601, Unit::HttpDate] {
            assert_eq!(unit.read(unit.write(now).as_bytes()), Some(now));
        }
    }

    #[test]
    fn a_time_that_is_right_in_another_unit_is_told_to_be_written_in_it() {
        let spec = |unit: &str| TimestampSpec {
            header: Some("X-Time".to_owned()),
            unit: Some(unit.to_owned()),
            ..TimestampSpec::default()
        };
        let now = Millis(1_768_473_000_000);
        let said = |unit: &str, text: &str| {
            let mut faults = Faults::default();
            let timestamp = Timestamp::compile(&spec(unit), &Format::default(), &mut faults).unwrap();
            let refusal = timestamp.check(text.as_bytes(), Some(now)).unwrap_err();
            assert_eq!(
                (refusal.kind, refusal.field.unwrap().as_str()),
                (RefusalKind::TimestampOutOfTolerance, "X-Time")
            );
            refusal.message
        };
        for (unit, text, is, wanted) in [
            ("s", "1768473000123", "a UNIX time in milliseconds", "a UNIX time in seconds"),
            ("ms", "1768473000", "a UNIX time in seconds", "a UNIX time in milliseconds"),
            ("s", "2026-01-15T10:30:00Z", "an RFC 3339 time", "a UNIX time in seconds"),
        ] {
            let told = said(unit, text);
            assert!(told.ends_with(&format!("but it is {is}, where {wanted} is wanted.")), "{told}");
        }
        assert!(said("s", "1768470000").contains("behind"));
        assert!(said("s", "never").contains("is not a UNIX time in seconds"));
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
