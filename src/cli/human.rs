//! Figures and tables for people.

use std::time::Duration;

use super::out::{Out, Outcome};

/// `850 µs`, `3.2 ms`, `1.25 s`, `12 min 5 s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let seconds = duration.as_secs_f64();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.2} ms", seconds * 1e3),
        10_000..1_000_000 => format!("{:.1} ms", seconds * 1e3),
        1_000_000..60_000_000 => format!("{seconds:.2} s"),
        _ => long(duration.as_secs()),
    }
}

/// Two units are enough to tell how long ago something was.
fn long(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::with_capacity(2);
    for (unit, size) in units {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{} {unit}", rest / size));
        } else if !parts.is_empty() {
            break;
        }
        rest %= size;
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// `512 B`, `1.5 KiB`, `12.0 MiB`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "two digits are shown of it")]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    for unit in ["KiB", "MiB", "GiB"] {
        value /= 1024.0;
        if value < 1024.0 || unit == "GiB" {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{bytes} B")
}

/// `1 event`, `2 events`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Text from outside as a terminal may show it: control characters (of which a terminal would obey some) escaped,
/// line breaks and tabs kept where `lines` allows them.
#[must_use]
pub fn printable(text: &str, lines: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' if lines => shown.push(letter),
            letter if letter.is_control() || is_invisible(letter) => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// Letters that change the direction or the look of what follows: they can make a line read as another one.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Prints `rows` below `head` in columns as wide as they need; numbers may be right-aligned by hand.
///
/// # Errors
/// Output that cannot be written.
pub fn table(out: &mut Out, head: &[&str], rows: &[Vec<String>]) -> Outcome {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        out.line(line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_or_two_units() {
        for (micros, text) in [
            (0, "0 µs"),
            (850, "850 µs"),
            (3_210, "3.21 ms"),
            (32_100, "32.1 ms"),
            (1_250_000, "1.25 s"),
            (725_000_000, "12 min 5 s"),
            (3_600_000_000, "1 h"),
            (90_061_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (12 << 20, "12.0 MiB"), (5 << 40, "5120.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_terminal_is_never_told_what_to_do_by_a_stranger() {
        assert_eq!(printable("a\x1b[2Jb\r\n\u{202e}c\tü", true), "a\\u{1b}[2Jb\\u{d}\n\\u{202e}c\tü");
        assert_eq!(printable("a\nb", false), "a\\u{a}b");
    }
}
