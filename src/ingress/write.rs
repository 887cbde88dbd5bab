//! Answers of ours as bytes: one buffer, one write.

use std::cell::RefCell;

use bytes::{BufMut, BytesMut};

use super::front::Reply;
use super::head::Head;
use crate::clock::Clock;

/// Lets a sender that waits for it send its body (RFC 9110 §10.1.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a request's head says about the form of the answer; the default is right for a head that could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    /// HEAD: the answer's body is only described.
    bodiless: bool,
    http_10: bool,
}

impl From<&Head> for Form {
    fn from(head: &Head) -> Self {
        Self { bodiless: head.method() == "HEAD", http_10: head.is_http_10() }
    }
}

/// Renders `reply` into `out`; `keep_alive` says whether the connection goes on behind it.
pub(super) fn render(out: &mut BytesMut, reply: &Reply, form: Form, keep_alive: bool, clock: &Clock) {
    let bodiless = matches!(reply.status, 100..=199 | 204 | 304);
    out.reserve(160 + reply.headers.as_bytes().len() + reply.body.len());
    out.put_slice(b"HTTP/1.1 ");
    put_number(out, u64::from(reply.status));
    out.put_u8(b' ');
    out.put_slice(reason(reply.status).as_bytes());
    out.put_slice(b"\r\n");
    put_date(out, clock);
    out.put_slice(reply.headers.as_bytes());
    if !bodiless {
        out.put_slice(b"content-length: ");
        put_number(out, reply.body.len() as u64);
        out.put_slice(b"\r\n");
    }
    if !keep_alive {
        out.put_slice(b"connection: close\r\n");
    } else if form.http_10 {
        out.put_slice(b"connection: keep-alive\r\n");
    }
    out.put_slice(b"\r\n");
    if !bodiless && !form.bodiless {
        out.put_slice(&reply.body);
    }
}

fn put_number(out: &mut BytesMut, number: u64) {
    let mut digits = [0; 20];
    let mut rest = number;
    let mut length = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(20 - length..).unwrap_or_default());
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}

/// `date: …`, formatted once a second on each thread.
fn put_date(out: &mut BytesMut, clock: &Clock) {
    thread_local! {
        static LINE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let second = clock.now().seconds();
    LINE.with_borrow_mut(|(at, line)| {
        if *at != second {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
            *line = format!("date: {}\r\n", httpdate::fmt_http_date(time));
            *at = second;
        }
        out.put_slice(line.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;
    use crate::clock::Millis;
    use crate::headers::Headers;
    use crate::ingress::parse::{Limits, parse};

    fn rendered(reply: &Reply, head: &str, keep_alive: bool) -> String {
        let limits = Limits { head: 1024, headers: 10, uri: 100 };
        let head = parse(head.as_bytes(), limits, Instant::now()).ok().flatten();
        let mut out = BytesMut::new();
        let form = head.as_ref().map(Form::from).unwrap_or_default();
        render(&mut out, reply, form, keep_alive, &Clock::manual(Millis(784_111_777_000)));
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn an_answer_is_whole() {
        let reply = Reply {
            status: 200,
            headers: Headers::from_pairs([("content-type", "text/plain")]),
            body: Bytes::from_static(b"hello"),
            close: false,
        };
        let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let head = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let lines = format!("HTTP/1.1 200 OK\r\n{date}content-type: text/plain\r\ncontent-length: 5\r\n");
        assert_eq!(rendered(&reply, head, true), format!("{lines}\r\nhello"));
        assert_eq!(rendered(&reply, head, false), format!("{lines}connection: close\r\n\r\nhello"));
        assert_eq!(rendered(&reply, "", false), format!("{lines}connection: close\r\n\r\nhello"));
        let old = "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
        assert_eq!(rendered(&reply, old, true), format!("{lines}connection: keep-alive\r\n\r\nhello"));
        let only_head = "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(rendered(&reply, only_head, true), format!("{lines}\r\n"));
    }

    #[test]
    fn some_answers_have_no_body() {
        for status in [204, 304] {
            let reply = Reply { status, body: Bytes::from_static(b"x"), ..Reply::default() };
            let text = rendered(&reply, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", true);
            assert!(text.ends_with("\r\n\r\n") && !text.contains("content-length"), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 1234, u64::MAX] {
            let mut out = BytesMut::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}
