//! Reads a head out of bytes and refuses every one whose framing two readers could understand differently.
//!
//! `httparse` finds the pieces; what it lets pass and RFC 9112 forbids is checked here, on the bytes.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::Bytes;
use httparse::{Error, Header, Request, Status};
use tokio::time::Instant;

use super::front::Fault;
use super::head::{Framing, Head};
use crate::headers::Headers;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The whole head, bytes.
    pub(super) head: usize,
    /// Header lines.
    pub(super) headers: usize,
    /// The target, bytes.
    pub(super) uri: usize,
}

/// Parsed without an allocation up to this many header lines.
const ON_STACK: usize = 128;

/// How many bytes of `buffer` are empty lines in front of the request line: a CRLF that some clients send behind a
/// body (RFC 9112 §2.2).
pub(super) fn leading_blank(buffer: &[u8]) -> usize {
    if buffer.starts_with(b"\r\n") { 2 } else { 0 }
}

/// Whether the bytes from `seen` on could have completed a head; spares parsing a dribbled head once a byte.
pub(super) fn may_be_complete(buffer: &[u8], seen: usize) -> bool {
    let fresh = buffer.get(seen.saturating_sub(3)..).unwrap_or_default();
    fresh.windows(2).any(|pair| pair == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
}

/// The head at the beginning of `buffer`; `None` where more bytes are needed.
///
/// # Errors
/// A head that is broken or too large.
pub(super) fn parse(buffer: &[u8], limits: Limits, started: Instant) -> Result<Option<Head>, Fault> {
    if limits.headers <= ON_STACK {
        let mut lines = [const { MaybeUninit::uninit() }; ON_STACK];
        parse_into(buffer, lines.get_mut(..limits.headers).unwrap_or_default(), limits, started)
    } else {
        let mut lines = Vec::new();
        lines.resize_with(limits.headers, MaybeUninit::uninit);
        parse_into(buffer, &mut lines, limits, started)
    }
}

fn parse_into<'b>(
    buffer: &'b [u8],
    lines: &mut [MaybeUninit<Header<'b>>],
    limits: Limits,
    started: Instant,
) -> Result<Option<Head>, Fault> {
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(buffer, lines) {
        Ok(Status::Complete(length)) if length > limits.head => Err(Fault::HeadTooLarge(limits.head)),
        Ok(Status::Complete(length)) => check(buffer, length, &request, limits, started).map(Some),
        Ok(Status::Partial) => partial(buffer, limits),
        Err(error) => Err(broken(buffer, error, limits)),
    }
}

/// A head that is not all there yet: is it already too large?
fn partial(buffer: &[u8], limits: Limits) -> Result<Option<Head>, Fault> {
    let line = buffer.iter().take(limits.uri + 64).position(|byte| *byte == b'\n');
    if line.is_none() && buffer.len() >= limits.uri + 64 {
        return Err(Fault::UriTooLong(limits.uri));
    }
    if buffer.len() >= limits.head { Err(Fault::HeadTooLarge(limits.head)) } else { Ok(None) }
}

fn broken(buffer: &[u8], error: Error, limits: Limits) -> Fault {
    if buffer.starts_with(b"PRI * HTTP/2") {
        return Fault::Malformed("HTTP/2 is not spoken here without TLS.");
    }
    match error {
        Error::TooManyHeaders => Fault::TooManyHeaders(limits.headers),
        Error::HeaderName => Fault::Malformed(
            "A header line is not `name: value`: blanks before the colon, a continued line, or no name.",
        ),
        Error::HeaderValue => Fault::Malformed("A header's value holds a control character."),
        Error::NewLine => Fault::Malformed("A line does not end in CR LF."),
        Error::Version => Fault::Malformed("The request line does not end in HTTP/1.0 or HTTP/1.1."),
        Error::Token | Error::Status => Fault::Malformed("The request line is not `METHOD target HTTP/1.1`."),
    }
}

/// What the header lines say about the message as a whole.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    host: Option<Range<usize>>,
    close: bool,
    keep_alive: bool,
    upgrade_named: bool,
    upgrade: bool,
    expect_continue: bool,
    underscores: bool,
}

fn check(
    buffer: &[u8],
    length: usize,
    request: &Request<'_, '_>,
    limits: Limits,
    started: Instant,
) -> Result<Head, Fault> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Fault::Malformed("The request line is not `METHOD target HTTP/1.1`."));
    };
    let method_at = place(buffer, method.as_bytes());
    let target_at = place(buffer, target.as_bytes());
    if method_at.start != 0 {
        // `httparse` skips any empty lines in front, bare LFs too; one CRLF was taken off before.
        return Err(Fault::Malformed("Empty lines stand in front of the request line."));
    }
    if target.len() > limits.uri {
        return Err(Fault::UriTooLong(limits.uri));
    }
    // " HTTP/1.x" stands between the target and the first header line.
    let first_line = target_at.end + 9;
    let end = check_line_ends(buffer, first_line, request.headers, length)?;
    let mut said = Said::default();
    for line in request.headers.iter() {
        read_line(buffer, line, &mut said)?;
    }
    let http_10 = version == 0;
    let framing = frame(method, http_10, &said)?;
    let form = read_target(method, target, target_at.start)?;
    let host = match form.authority {
        Some(authority) => Some(authority),
        None if said.host.is_none() && !http_10 => {
            return Err(Fault::Malformed("An HTTP/1.1 request needs a Host header."));
        }
        None => said.host,
    };
    let raw = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
    Ok(Head {
        headers: Headers::from_checked(raw.slice((first_line + 2)..end)),
        method: method_at,
        target: target_at,
        origin: form.origin,
        host,
        framing,
        http_10,
        keep_alive: !said.close && (!http_10 || said.keep_alive),
        expect_continue: said.expect_continue && !http_10,
        upgrade: said.upgrade && said.upgrade_named && !http_10,
        underscores: said.underscores,
        started,
        raw,
    })
}

/// Where `piece`, a slice of `buffer`, stands in it.
fn place(buffer: &[u8], piece: &[u8]) -> Range<usize> {
    let start = (piece.as_ptr() as usize).saturating_sub(buffer.as_ptr() as usize);
    start..start + piece.len()
}

/// `httparse` takes a bare LF for a line's end; others do not, so such a head is refused. Looks only at the gaps
/// between the pieces. Gives the place of the blank line.
fn check_line_ends(
    buffer: &[u8],
    first_line: usize,
    lines: &[Header<'_>],
    length: usize,
) -> Result<usize, Fault> {
    const BARE: Fault = Fault::Malformed("A line does not end in CR LF.");
    let ends_in_crlf = |start: usize, next: usize| {
        buffer
            .get(start..next)
            .is_some_and(|gap| gap == b"\r\n" || (gap.ends_with(b"\r\n") && gap.trim_ascii().is_empty()))
    };
    let mut end = first_line;
    for line in lines {
        let name = place(buffer, line.name.as_bytes());
        if !ends_in_crlf(end, name.start) {
            return Err(BARE);
        }
        let value = place(buffer, line.value);
        // An empty value stands wherever the parser gave up trimming; its line's end is found from the name.
        end = if line.value.is_empty() { name.end + 1 } else { value.end };
    }
    let blank = length.saturating_sub(2);
    if buffer.get(blank..length) == Some(b"\r\n") && ends_in_crlf(end, blank) { Ok(blank) } else { Err(BARE) }
}

fn read_line(buffer: &[u8], line: &Header<'_>, said: &mut Said) -> Result<(), Fault> {
    let name = line.name.as_bytes();
    said.underscores |= name.iter().fold(false, |found, byte| found | (*byte == b'_'));
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") => {
            if said.host.replace(place(buffer, line.value)).is_some() {
                return Err(Fault::Malformed("The Host header stands more than once."));
            }
            check_host(line.value)
        }
        6 if name.eq_ignore_ascii_case(b"expect") => {
            said.expect_continue |= line.value.eq_ignore_ascii_case(b"100-continue");
            Ok(())
        }
        7 if name.eq_ignore_ascii_case(b"upgrade") => {
            said.upgrade = true;
            Ok(())
        }
        10 if name.eq_ignore_ascii_case(b"connection") => {
            for option in line.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                said.close |= option.eq_ignore_ascii_case(b"close");
                said.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                said.upgrade_named |= option.eq_ignore_ascii_case(b"upgrade");
            }
            Ok(())
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            if said.length.replace(content_length(line.value)?).is_some() {
                return Err(Fault::Malformed("Content-Length stands more than once."));
            }
            Ok(())
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            if said.chunked || !line.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Malformed("Transfer-Encoding is something else than one `chunked`."));
            }
            said.chunked = true;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Digits only (RFC 9112 §6.3): no sign, no blank, no list, nothing over `u64`.
fn content_length(value: &[u8]) -> Result<u64, Fault> {
    const WRONG: Fault = Fault::Malformed("Content-Length is not one decimal number.");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(WRONG)
}

/// A host and a port, nothing that could end them early for another reader.
fn check_host(value: &[u8]) -> Result<(), Fault> {
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !b"/\\?#@,;\"<>^`{|}".contains(byte);
    if value.iter().all(allowed) {
        Ok(())
    } else {
        Err(Fault::Malformed("The host holds a character that no host has."))
    }
}

fn frame(method: &str, http_10: bool, said: &Said) -> Result<Framing, Fault> {
    match (said.chunked, said.length) {
        (true, Some(_)) => {
            Err(Fault::Malformed("Transfer-Encoding and Content-Length must not stand together."))
        }
        (true, None) if http_10 => Err(Fault::Malformed("HTTP/1.0 knows no Transfer-Encoding.")),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) if http_10 && matches!(method, "POST" | "PUT" | "PATCH") => {
            Err(Fault::Malformed("An HTTP/1.0 request with a body needs a Content-Length."))
        }
        (false, None) => Ok(Framing::None),
    }
}

/// The pieces of a target, as places in the buffer.
struct Form {
    authority: Option<Range<usize>>,
    origin: Range<usize>,
}

/// Origin form, absolute form of http and https, or `*` (RFC 9112 §3.2).
fn read_target(method: &str, target: &str, at: usize) -> Result<Form, Fault> {
    const WRONG: Fault = Fault::Malformed("The target is neither a path nor an http URL.");
    if method == "CONNECT" {
        return Err(Fault::Malformed("CONNECT is not offered."));
    }
    if target.bytes().any(|byte| byte == b'#') {
        return Err(Fault::Malformed("A target has no fragment."));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Form { authority: None, origin: at..at + target.len() });
    }
    let scheme = ["http://", "https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .ok_or(WRONG)?
        .len();
    let rest = target.get(scheme..).unwrap_or_default();
    let authority = rest.find(['/', '?']).unwrap_or(rest.len());
    if authority == 0 {
        return Err(WRONG);
    }
    check_host(rest.get(..authority).unwrap_or_default().as_bytes())?;
    let start = at + scheme;
    Ok(Form { authority: Some(start..start + authority), origin: start + authority..at + target.len() })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
pub(super) mod tests;
