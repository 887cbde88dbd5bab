//! An app's answer without the secrets that it repeats: many an app tells in its error page what it was sent.
//!
//! Nobody knows where in an answer they stand, so their values are looked for: as they are, and as JSON, a URL or HTML
//! writes them.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::show::{is_secret_header, is_secret_parameter};
use crate::event::Event;
use crate::secret::Secret;
use crate::select::form;
use crate::verify::{REDACTED, Redaction};

/// A shorter value would be found where it is none.
const SHORTEST: usize = 6;
/// A request that hides more values than these is not looked for one by one.
const MOST_VALUES: usize = 512;
/// The bytes of the longest escape: `\ud83d\ude00`.
const LONGEST_ESCAPE: usize = 12;

/// What an answer may repeat, as bytes.
#[derive(Debug)]
pub(super) struct Echo {
    /// `None` where it is not known what the request hides.
    values: Option<Vec<Vec<u8>>>,
}

impl Echo {
    /// What `redaction` and names hide of `event`.
    pub(super) fn of(event: &Event, redaction: &Redaction) -> Self {
        let values = redaction.hidden_values(&event.headers, &event.body).map(|mut values| {
            for (_, value) in event.headers.iter().filter(|(name, _)| is_secret_header(name, redaction)) {
                add_credentials(value, &mut values);
            }
            let query = event.target.split_once('?').map_or("", |(_, query)| query);
            for pair in query.split('&') {
                let hidden =
                    form::pairs(pair.as_bytes()).find(|(name, _)| is_secret_parameter(name, redaction));
                values.extend(hidden.map(|(_, value)| value.into_owned()));
            }
            values
        });
        Self { values: values.filter(|values| values.len() <= MOST_VALUES) }
    }

    /// `answer` as it may be shown of a destination that has `secrets` of its own.
    pub(super) fn hidden_in(&self, answer: &[u8], secrets: &[Secret]) -> Vec<u8> {
        if answer.is_empty() {
            return Vec::new();
        }
        let Some(of_request) = &self.values else { return REDACTED.into() };
        let mut values = of_request.clone();
        for secret in secrets {
            add_credentials(secret.expose(), &mut values);
        }
        values.retain(|value| value.len() >= SHORTEST);
        // Of what is compressed, or no text for another reason, nobody can tell what it says.
        if !values.is_empty() && !is_text(answer) {
            return REDACTED.into();
        }
        let whole = Reading::of(answer);
        let mut found = whole.places_of(&values);
        for first in ESCAPES {
            let once = whole.unescaped(first);
            found.extend(once.places_of(&values));
            // JSON in JSON, a URL in an error page.
            for second in ESCAPES {
                found.extend(once.unescaped(second).places_of(&values));
            }
        }
        without(answer, found)
    }
}

/// `value`, what follows a scheme (`Bearer …`), the pair that `Basic …` stands for and its password, a cookie's values.
fn add_credentials(value: &[u8], values: &mut Vec<Vec<u8>>) {
    values.push(value.to_vec());
    if let Some(at) = memchr::memchr(b' ', value) {
        let (scheme, rest) = value.split_at(at);
        let rest = rest.trim_ascii();
        values.push(rest.to_vec());
        if scheme.eq_ignore_ascii_case(b"basic")
            && let Ok(pair) = STANDARD.decode(rest)
        {
            let password = memchr::memchr(b':', &pair).and_then(|at| pair.get(at + 1..));
            values.extend(password.map(<[u8]>::to_vec));
            values.push(pair);
        }
    }
    for cookie in value.split(|byte| *byte == b';') {
        let of_cookie = memchr::memchr(b'=', cookie).and_then(|at| cookie.get(at + 1..));
        values.extend(of_cookie.map(|value| value.trim_ascii().to_vec()));
    }
}

/// Whether no byte is one that text does not have (RFC 4180 and terminals aside: tab, line ends, form feed, escape).
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
}

/// `answer` with the pieces at `found` left out.
fn without(answer: &[u8], mut found: Vec<Range<usize>>) -> Vec<u8> {
    found.sort_unstable_by_key(|range| range.start);
    let (mut shown, mut upto) = (Vec::with_capacity(answer.len()), 0);
    for range in found {
        // Pieces that overlap are one.
        if range.start >= upto {
            shown.extend_from_slice(answer.get(upto..range.start).unwrap_or_default());
            shown.extend_from_slice(REDACTED.as_bytes());
        }
        upto = upto.max(range.end);
    }
    shown.extend_from_slice(answer.get(upto..).unwrap_or_default());
    shown
}

/// What an answer says when its escapes are undone, and where each byte of it came from.
struct Reading {
    bytes: Vec<u8>,
    from: Vec<Range<usize>>,
    /// The length of the answer.
    whole: usize,
}

/// An escape that a text begins with: how many bytes it takes, and what it stands for.
type Unescape = fn(&[u8]) -> Option<(usize, Meant)>;

enum Meant {
    Char(char),
    Byte(u8),
}

const ESCAPES: [Unescape; 4] = [of_json, of_url, of_form, of_html];

impl Reading {
    fn of(answer: &[u8]) -> Self {
        Self {
            bytes: answer.to_vec(),
            from: (0..answer.len()).map(|at| at..at + 1).collect(),
            whole: answer.len(),
        }
    }

    fn unescaped(&self, unescape: Unescape) -> Self {
        let mut read = Self { bytes: Vec::new(), from: Vec::new(), whole: self.whole };
        let mut at = 0;
        while let (Some(byte), Some(from)) = (self.bytes.get(at), self.from.get(at)) {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let (length, meant) = unescape(rest).unwrap_or((1, Meant::Byte(*byte)));
            let end = self.from.get(at + length - 1).map_or(self.whole, |last| last.end);
            match meant {
                Meant::Byte(byte) => read.bytes.push(byte),
                Meant::Char(c) => read.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            read.from.resize(read.bytes.len(), from.start..end);
            at += length;
        }
        read
    }

    /// Where in the answer one of `values` stands, or begins at its very end: an answer is kept up to a length.
    fn places_of(&self, values: &[Vec<u8>]) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        for value in values {
            let mut at = 0;
            while let Some(found) = self.bytes.get(at..).and_then(|rest| memmem::find(rest, value)) {
                let (start, end) = (at + found, at + found + value.len());
                places.extend(self.place(start, end));
                at = start + 1;
            }
            places.extend(self.cut_off(value));
        }
        places
    }

    fn place(&self, start: usize, end: usize) -> Option<Range<usize>> {
        Some(self.from.get(start)?.start..self.from.get(end.checked_sub(1)?)?.end)
    }

    /// Where the last bytes are the first of `value`, also before half an escape.
    fn cut_off(&self, value: &[u8]) -> Option<Range<usize>> {
        let last = self.bytes.len().saturating_sub(LONGEST_ESCAPE);
        let half = memchr::memrchr3(b'\\', b'%', b'&', self.bytes.get(last..)?).map(|at| last + at);
        let half = half.filter(|at| {
            self.bytes.iter().skip(at + 1).all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#')
        });
        [Some(self.bytes.len()), half].into_iter().flatten().find_map(|end| {
            let before = self.bytes.get(..end)?;
            let most = value.len().min(end);
            let cut = (SHORTEST..=most)
                .rev()
                .find(|length| before.ends_with(value.get(..*length).unwrap_or(value)))?;
            Some(self.from.get(end - cut)?.start..self.whole)
        })
    }
}

fn of_json(text: &[u8]) -> Option<(usize, Meant)> {
    let (b'\\', rest) = text.split_first()? else { return None };
    let simple = |c| Some((2, Meant::Char(c)));
    match rest.first()? {
        b'n' => simple('\n'),
        b't' => simple('\t'),
        b'r' => simple('\r'),
        b'b' => simple('\u{8}'),
        b'f' => simple('\u{c}'),
        b'u' => {
            let unit =
                |at: usize| u16::from_str_radix(std::str::from_utf8(text.get(at..at + 4)?).ok()?, 16).ok();
            let first = unit(2)?;
            let second = text.get(6..8).filter(|escape| *escape == b"\\u").and_then(|_| unit(8));
            let mut pair = char::decode_utf16([first].into_iter().chain(second));
            let c = pair.next()?.ok()?;
            Some((if c.len_utf16() == 2 { 12 } else { 6 }, Meant::Char(c)))
        }
        itself @ (b'"' | b'\\' | b'/') => simple(char::from(*itself)),
        _ => None,
    }
}

fn of_url(text: &[u8]) -> Option<(usize, Meant)> {
    let (b'%', digits) = (text.first()?, text.get(1..3)?) else { return None };
    let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((3, Meant::Byte(byte)))
}

fn of_form(text: &[u8]) -> Option<(usize, Meant)> {
    if text.first() == Some(&b'+') { Some((1, Meant::Byte(b' '))) } else { of_url(text) }
}

fn of_html(text: &[u8]) -> Option<(usize, Meant)> {
    let (b'&', rest) = text.split_first()? else { return None };
    let name = rest.get(..memchr::memchr(b';', rest.get(..LONGEST_ESCAPE.min(rest.len()))?)?)?;
    let c = match name {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        _ => {
            let number = std::str::from_utf8(name.strip_prefix(b"#")?).ok()?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    };
    Some((name.len() + 2, Meant::Char(c)))
}

#[cfg(test)]
mod tests;
