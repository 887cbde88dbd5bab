//! The values a user types with a unit: durations, sizes, rates. And [`Invalid`], what a room says of a value
//! that it cannot work with.

use std::fmt;
use std::time::Duration;

/// A setting that a room refuses: which key of its table, why, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key inside the room's own table, `"retry.jitter"`.
    pub key: &'static str,
    /// What is wrong with the value, one sentence.
    pub message: String,
    /// What to do about it, one sentence; empty where the message says it all.
    pub hint: String,
}

impl Invalid {
    /// A complaint about `key` with a hint.
    pub fn new(key: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { key, message: message.into(), hint: hint.into() }
    }
}

/// A text that is not a value of the unit asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError(String);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

/// Splits `"250ms"` into the number and its unit; refuses signs, fractions, blanks and numbers over `u64`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// Reads `"250ms"`, `"5s"`, `"5m"`, `"2h"` or `"3d"`.
///
/// # Errors
/// Anything else, and a value over 100 years (which is always a slip of the hand).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || {
        UnitError(format!(
            "{text:?} is not a duration; write it like \"250ms\", \"5s\", \"5m\", \"2h\" or \"3d\""
        ))
    };
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit_ms)
        .filter(|ms| *ms <= 100 * 366 * 86_400_000)
        .map(Duration::from_millis)
        .ok_or_else(|| UnitError(format!("{text:?} is more than 100 years")))
}

/// The shortest text that [`parse_duration`] reads back as `duration`, whole milliseconds.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms != 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") }
}

/// Reads `"64KiB"`, `"1MiB"`, `"4GiB"`, `"100KB"`, `"10MB"`, `"1GB"` or `"512B"`, in bytes.
///
/// # Errors
/// Anything else, and a value over `i64::MAX` (what TOML can hold).
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || {
        UnitError(format!("{text:?} is not a size; write it like \"64KiB\", \"1MiB\", \"4GiB\" or \"10MB\""))
    };
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let unit_bytes: u64 = match unit {
        "B" => 1,
        "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit_bytes)
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or_else(|| UnitError(format!("{text:?} is more than this machine can address")))
}

/// The shortest text that [`parse_size`] reads back as `bytes`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// So many a second, minute or hour: `"100/s"`, `"6000/m"`, `"10/h"`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
}

impl Rate {
    /// `count` in every `per`.
    ///
    /// # Errors
    /// A count or a period of zero.
    pub fn new(count: u32, per: Duration) -> Result<Self, UnitError> {
        if count == 0 || per.is_zero() {
            return Err(UnitError(
                "a rate of zero would let nothing through; leave it out for no limit".to_owned(),
            ));
        }
        Ok(Self { count, per })
    }

    /// How many in one period: 100 of `"100/s"`.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Nanoseconds from one to the next when they are evenly spaced, at least 1; rounded up, so that a period never
    /// sees one more than it may.
    #[must_use]
    pub fn interval_nanos(self) -> u64 {
        let nanos = self.per.as_nanos().div_ceil(u128::from(self.count));
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }
}

impl std::str::FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong =
            || UnitError(format!("{text:?} is not a rate; write it like \"100/s\", \"6000/m\" or \"10/h\""));
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let per = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        Self::new(count.parse().map_err(|_| wrong())?, per)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("250ms", 250), ("5s", 5000), ("5m", 300_000), ("2h", 7_200_000), ("3d", 259_200_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(
                parse_duration(&format_duration(Duration::from_millis(ms))),
                Ok(Duration::from_millis(ms))
            );
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 s",
            "5S",
            "99999999999999999999s",
            "18446744073709551615d",
            "200000d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("1MiB", 1_048_576),
            ("4GiB", 4 << 30),
            ("10MB", 10_000_000),
            ("512B", 512),
            ("1KB", 1000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        for text in ["", "64", "64kib", "-1B", "1.5MiB", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        let rate: Rate = "6000/m".parse().unwrap();
        assert_eq!((rate.interval_nanos(), rate.count()), (10_000_000, 6000));
        assert_eq!(rate.to_string(), "6000/m");
        assert_eq!("3/s".parse::<Rate>().unwrap().interval_nanos(), 333_333_334);
        for text in ["", "10", "0/s", "10/d", "-1/s", "1.5/s", "/s", "+1/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
