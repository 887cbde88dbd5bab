//! Paths: the one normal form that routes are matched on, and ([`lenient`]) every other form in which a lenient app
//! might read the same bytes.
//!
//! The normal form is RFC 3986 §6.2.2: escapes of unreserved characters decoded, other escapes in upper case, dot
//! segments resolved; besides, `//` counts as `/` and one trailing `/` is ignored.

mod lenient;
#[cfg(test)]
mod tests;

pub use lenient::{fold, may_be_read_as};

use std::borrow::Cow;

/// The normal form of `path`, borrowed where it is in it already. Never empty; a path that does not begin with `/`
/// gets one.
#[must_use]
pub fn normalise(path: &str) -> Cow<'_, str> {
    if is_normal(path.as_bytes()) {
        return Cow::Borrowed(path);
    }
    let unescaped = decode_unreserved(path);
    let mut normal = String::with_capacity(unescaped.len() + 1);
    for segment in unescaped.split('/') {
        match segment {
            "" | "." => {}
            ".." => normal.truncate(normal.rfind('/').unwrap_or(0)),
            _ => {
                normal.push('/');
                normal.push_str(segment);
            }
        }
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Cow::Owned(normal)
}

/// Whether [`normalise`] has nothing to do. May say no to a few paths that are normal (dotfiles): they only take the
/// slower way.
fn is_normal(path: &[u8]) -> bool {
    let Some((b'/', rest)) = path.split_first() else { return false };
    let mut before = b'/';
    for &byte in rest {
        if byte == b'%' || (before == b'/' && (byte == b'/' || byte == b'.')) {
            return false;
        }
        before = byte;
    }
    rest.is_empty() || before != b'/'
}

/// Decodes the escapes of unreserved characters once and writes the others in upper case; what is no escape stays.
fn decode_unreserved(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        match after.as_bytes() {
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let byte = hex_value(*high) << 4 | hex_value(*low);
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    decoded.push(char::from(byte));
                } else {
                    decoded.push('%');
                    decoded.push(char::from(high.to_ascii_uppercase()));
                    decoded.push(char::from(low.to_ascii_uppercase()));
                }
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A') + 10,
    }
}
