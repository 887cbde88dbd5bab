//! Header lines as they came: one piece of shared bytes, in order, names in the sender's own case.
//!
//! The same bytes go to memory, to disk, to the admin API and to the app. A `HeaderMap` is built only where a
//! library asks for one (cloning one costs 15 allocations, cloning this a reference count).

use bytes::{BufMut, Bytes, BytesMut};

/// A block of `Name: value\r\n` lines, each already checked to be one (no obs-fold, no bare CR or LF, no NUL).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// Builds a block from names and values.
    ///
    /// Lines that could break the framing (a CR, LF or NUL in the value, a name that is not a token of RFC 9110
    /// §5.6.2) are left out: the Door refuses such heads long before this point.
    pub fn from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = HeadersBuilder::default();
        for (name, value) in pairs {
            builder.push(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Each line's name and value, in order; blanks around the value are not part of it.
    pub fn iter(&self) -> Iter<'_> {
        Iter(Lines { rest: &self.0 })
    }

    /// The value of the first line named `name`, whatever its case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The value of `name` where it stands exactly once or always the same: an ambiguous header is no header.
    ///
    /// # Errors
    /// Several lines of that name with different values.
    pub fn get_unambiguous(&self, name: &str) -> Result<Option<&[u8]>, Ambiguous> {
        let mut found = None;
        for value in self.get_all(name) {
            match found {
                Some(first) if first != value => return Err(Ambiguous),
                _ => found = Some(value),
            }
        }
        Ok(found)
    }

    /// The values of all lines named `name`, in order.
    pub fn get_all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        Lines { rest: &self.0 }.filter_map(move |line| {
            // Most other lines have no colon where this name ends: that is looked at first.
            let (own, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            // No line's name holds a colon, whatever name is asked for.
            let is_name = own.eq_ignore_ascii_case(name.as_bytes()) && !own.contains(&b':');
            is_name.then(|| value.trim_ascii())
        })
    }

    /// The lines themselves, each with its `\r\n`.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Takes over lines as they came in a head whose framing was checked: each ends in `\r\n`, starts with a token
    /// and a colon, and holds no other CR or LF and no NUL.
    pub(crate) fn from_checked(lines: Bytes) -> Self {
        Self(lines)
    }

    /// Takes over lines that [`Headers::as_bytes`] gave, read back from a disk.
    ///
    /// # Errors
    /// Bytes that are not such a block.
    pub fn from_stored(bytes: Bytes) -> Result<Self, Ambiguous> {
        let mut rebuilt = HeadersBuilder::default();
        for (name, value) in Iter(Lines { rest: &bytes }) {
            rebuilt.push(name, value);
        }
        let rebuilt = rebuilt.build();
        if rebuilt.0 == bytes { Ok(Self(bytes)) } else { Err(Ambiguous) }
    }
}

/// Several different values where one was wanted, or bytes that are not header lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Collects header lines into one allocation.
#[derive(Debug, Default)]
pub struct HeadersBuilder(BytesMut);

impl HeadersBuilder {
    /// With room for `bytes` of lines.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    /// Appends a line; see [`Headers::from_pairs`] for what is left out.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        if !is_token(name) || value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return;
        }
        let value = value.trim_ascii();
        self.0.reserve(name.len() + value.len() + 4);
        self.0.put_slice(name);
        self.0.put_slice(b": ");
        self.0.put_slice(value);
        self.0.put_slice(b"\r\n");
    }

    /// The finished block.
    #[must_use]
    pub fn build(self) -> Headers {
        Headers(self.0.freeze())
    }
}

/// Whether `name` is a token of RFC 9110 §5.6.2, as a header's name must be.
#[must_use]
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Walks the names and values of a [`Headers`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(Lines<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.0.next()?;
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        Some((name, value.get(1..)?.trim_ascii()))
    }
}

/// Walks the lines of a block, each without its end.
#[derive(Clone, Debug)]
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        // A line holds no CR but the one at its end.
        let (line, rest) = self.rest.split_at_checked(memchr::memchr(b'\r', self.rest)?)?;
        self.rest = rest.strip_prefix(b"\r\n")?;
        Some(line)
    }
}

/// Headers that belong to one connection, not to the message (RFC 9110 §7.6.1), besides those that a
/// `Connection` header names. They are never stored and never forwarded.
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_case_and_values() {
        let headers = Headers::from_pairs([("X-A", "1"), ("x-b", " two "), ("X-a", "3"), ("x-c", "4:5")]);
        let lines: Vec<_> = headers.iter().collect();
        assert_eq!(lines, [(&b"X-A"[..], &b"1"[..]), (b"x-b", b"two"), (b"X-a", b"3"), (b"x-c", b"4:5")]);
        assert_eq!(headers.get("x-A"), Some(&b"1"[..]));
        assert_eq!(headers.get_all("x-a").collect::<Vec<_>>(), [&b"1"[..], b"3"]);
        for no_name in ["x", "x-a:", "x-c: 4", ""] {
            assert_eq!(headers.get(no_name), None, "{no_name}");
        }
        assert_eq!(headers.get_unambiguous("x-a"), Err(Ambiguous));
        assert_eq!(headers.get_unambiguous("x-b"), Ok(Some(&b"two"[..])));
        assert_eq!(headers.get_unambiguous("x-d"), Ok(None));
    }

    #[test]
    fn nothing_can_smuggle_a_line() {
        let headers = Headers::from_pairs([("a", "1\r\nb: 2"), ("c d", "3"), ("", "4"), ("e", "5")]);
        assert_eq!(headers.as_bytes().as_ref(), b"e: 5\r\n");
    }

    #[test]
    fn what_was_stored_reads_back() {
        let headers = Headers::from_pairs([("X-A", "1"), ("X-Empty", "")]);
        assert_eq!(Headers::from_stored(headers.as_bytes().clone()), Ok(headers));
        assert!(Headers::from_stored(Bytes::from_static(b"no colon\r\n")).is_err());
        assert!(Headers::from_stored(Bytes::from_static(b"a: 1\r\ntorn")).is_err());
    }
}
