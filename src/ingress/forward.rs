//! The head that the app of a `proxy_to` route gets: the sender's own, line by line in its order and case, but for
//! what would be forged or misread, and three `x-forwarded-*` lines.

use bytes::{BufMut, BytesMut};

use super::front::Passage;
use super::head::Head;
use super::settings::{ProxySettings, Upstream};

const FORWARDED: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"];

/// The head of `head` for the app at `upstream`, with `room` left for bytes behind it.
pub(super) fn head_for_app<T>(
    head: &Head,
    passage: &Passage<T>,
    upstream: &Upstream,
    room: usize,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(head.raw().len() + 256 + room);
    out.put_slice(head.method().as_bytes());
    out.put_u8(b' ');
    put_target(&mut out, head.path_and_query());
    out.put_slice(if head.is_http_10() { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    let own = has_own_host(head, &passage.settings).then(|| own_host(upstream));
    let host = own.as_deref().or(head.host()).unwrap_or_default();
    let mut has_host = false;
    for (name, value) in head.headers().iter() {
        if name.eq_ignore_ascii_case(b"host") {
            has_host = true;
            put_line(&mut out, name, host.as_bytes());
        } else if is_forwarded(name) {
            put_line(&mut out, name, value);
        }
    }
    if !has_host {
        put_line(&mut out, b"Host", host.as_bytes());
    }
    if let Some(forwarded_for) = &passage.forwarded_for {
        put_line(&mut out, b"X-Forwarded-For", forwarded_for.as_bytes());
    }
    put_line(&mut out, b"X-Forwarded-Proto", passage.forwarded_proto.as_bytes());
    if let Some(host) = head.host() {
        put_line(&mut out, b"X-Forwarded-Host", host.as_bytes());
    }
    out.put_slice(b"\r\n");
    out
}

/// The target as it was sent, but for the few bytes that no URI may hold and that pingora refuses (`http` 1.5,
/// `uri/path.rs`): those are escaped, as a browser would have done, and nothing else.
fn put_target(out: &mut BytesMut, path_and_query: &str) {
    // An absolute target is for proxies; an app gets origin form (RFC 9112 §3.2.1).
    if path_and_query.starts_with('?') {
        out.put_u8(b'/');
    }
    if !path_and_query.bytes().any(|byte| matches!(byte, b'<' | b'>' | b'`' | b'"')) {
        out.put_slice(path_and_query.as_bytes());
        return;
    }
    let mut in_query = false;
    for byte in path_and_query.bytes() {
        in_query |= byte == b'?';
        match byte {
            b'<' | b'>' => put_escaped(out, byte),
            b'`' if !in_query => put_escaped(out, byte),
            b'"' if in_query => put_escaped(out, byte),
            _ => out.put_u8(byte),
        }
    }
}

fn put_escaped(out: &mut BytesMut, byte: u8) {
    out.put_slice(format!("%{byte:02X}").as_bytes());
}

/// Names with `_` are read as `-` by CGI, WSGI and PHP: with them a sender could speak for a trusted proxy.
fn is_forwarded(name: &[u8]) -> bool {
    !name.contains(&b'_')
        && !name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"hooklatch-"))
        && !FORWARDED.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

fn put_line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    // A forged line cannot arise: names and values come from a checked head, or are put together by us.
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return;
    }
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Whether the app gets its own `Host` instead of the sender's.
pub(super) fn has_own_host(head: &Head, settings: &ProxySettings) -> bool {
    !settings.keep_host || head.host().is_none()
}

/// The `Host` of the app itself.
pub(super) fn own_host(upstream: &Upstream) -> String {
    match upstream {
        Upstream::Unix(_) => "localhost".to_owned(),
        Upstream::Tcp { host, port, tls } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let usual = if *tls { 443 } else { 80 };
            if *port == usual { host } else { format!("{host}:{port}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::ingress::UpstreamTls;
    use crate::ingress::parse::{Limits, parse};
    use crate::net::Failover;

    fn forwarded(head: &str, keep_host: bool, forwarded_for: Option<&str>) -> String {
        let limits = Limits { head: 4096, headers: 50, uri: 1000 };
        let head = parse(head.as_bytes(), limits, Instant::now()).expect("sound").expect("whole");
        let upstream = Upstream::Tcp { host: "::1".to_owned(), port: 3000, tls: false };
        let passage = Passage {
            settings: Arc::new(ProxySettings {
                upstreams: vec![upstream.clone()],
                destination: None,
                tls: UpstreamTls::default(),
                keep_host,
                connect_timeout: Duration::from_secs(1),
                idle_timeout: Duration::from_secs(1),
                keepalive: Duration::from_secs(1),
                max_body: None,
            }),
            failover: Arc::new(Failover::new(1)),
            forwarded_for: forwarded_for.map(str::to_owned),
            forwarded_proto: "http",
            ticket: (),
        };
        String::from_utf8(head_for_app(&head, &passage, &upstream, 0).to_vec()).expect("text")
    }

    #[test]
    fn only_three_lines_are_added_and_order_and_case_stay() {
        let sent = "GET /a?b HTTP/1.1\r\nX-Zebra: 1\r\nhOst: shop.example\r\nAccept: a\r\naccept: b\r\n\
                    Connection: keep-alive\r\n";
        let got = forwarded(&format!("{sent}\r\n"), true, Some("192.0.2.1"));
        let added =
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\n";
        assert_eq!(got, format!("{sent}{added}\r\n"));
    }

    #[test]
    fn of_a_target_only_what_pingora_would_refuse_is_escaped() {
        for (sent, expected) in [
            ("/a<b>`c|d\u{e9}?e=<%3C>[1]", "/a%3Cb%3E%60c|d\u{e9}?e=%3C%3C%3E[1]"),
            ("/{a}^\\|?b=\"{y}|z^`\\'", "/{a}^\\|?b=%22{y}|z^`\\'"),
            ("/a?b?c=`", "/a?b?c=`"),
        ] {
            let got = forwarded(&format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n"), true, None);
            assert!(got.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{got}");
            assert!(http::uri::PathAndQuery::try_from(expected).is_ok(), "{expected}");
        }
    }

    #[test]
    fn whatever_ascii_a_target_holds_pingora_can_carry() {
        for byte in (0x21..0x7f_u8).filter(|byte| *byte != b'#') {
            for place in ["/a@b", "/?a=@"] {
                let mut out = BytesMut::new();
                put_target(&mut out, &place.replace('@', &char::from(byte).to_string()));
                assert!(http::uri::PathAndQuery::try_from(&out[..]).is_ok(), "{out:?}");
            }
        }
    }

    #[test]
    fn nothing_forged_comes_through() {
        let got = forwarded(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\n\
             X_Forwarded_For: 3.3.3.3\r\nX-FORWARDED-PROTO: https\r\nX-Forwarded-Host: evil\r\nHookLatch-Id: 1\r\n\
             hooklatch-route: x\r\nX-Real_IP: 4.4.4.4\r\nX-Kept: 1\r\n\r\n",
            true,
            None,
        );
        let expected = "GET / HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nX-Forwarded-Proto: http\r\n\
                        X-Forwarded-Host: a\r\n\r\n";
        assert_eq!(got, expected);
    }

    #[test]
    fn the_host_is_the_targets_the_senders_or_the_apps() {
        let absolute = forwarded("GET http://real?x HTTP/1.1\r\nHost: fake\r\n\r\n", true, None);
        assert!(absolute.starts_with("GET /?x HTTP/1.1\r\nHost: real\r\n"), "{absolute}");
        let own = forwarded("GET / HTTP/1.1\r\nHost: shop\r\n\r\n", false, None);
        assert!(
            own.contains("\r\nHost: [::1]:3000\r\n") && own.contains("X-Forwarded-Host: shop\r\n"),
            "{own}"
        );
        let old = forwarded("GET / HTTP/1.0\r\n\r\n", true, None);
        assert!(old.contains("\r\nHost: [::1]:3000\r\n") && !old.contains("X-Forwarded-Host"), "{old}");
    }
}
