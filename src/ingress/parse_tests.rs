use super::*;

const LIMITS: Limits = Limits { head: 1024, headers: 10, uri: 200 };

fn read(head: impl AsRef<[u8]>) -> Result<Option<Head>, Fault> {
    parse(head.as_ref(), LIMITS, Instant::now())
}

fn sound(head: impl AsRef<[u8]>) -> Head {
    read(head).expect("sound").expect("whole")
}

#[test]
fn a_head_is_read_into_its_pieces() {
    let head = sound(
        "POST /a%20b/?x=1?2 HTTP/1.1\r\nHost: app.example:8080\r\nX-A:1\r\nContent-Length: 12\r\n\
         Connection: keep-alive, X-Hop\r\nExpect: 100-Continue\r\nX-Hop:  v \t\r\nX-Empty:\r\n\r\nbody",
    );
    assert_eq!(head.method(), "POST");
    assert_eq!(head.target(), "/a%20b/?x=1?2");
    assert_eq!(head.path(), "/a%20b/");
    assert_eq!(head.query(), Some("x=1?2"));
    assert_eq!(head.host(), Some("app.example:8080"));
    assert_eq!(head.framing(), Framing::Length(12));
    assert!(head.keep_alive() && head.expect_continue() && !head.upgrade() && !head.has_underscored_names());
    assert!(head.raw().ends_with(b"X-Empty:\r\n\r\n"));
    let lines: Vec<_> = head.headers().iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[1], (b"X-A".to_vec(), b"1".to_vec()));
    assert_eq!(lines[5], (b"X-Hop".to_vec(), b"v".to_vec()));
    assert_eq!(lines[6], (b"X-Empty".to_vec(), vec![]));
    assert!(head.is_hop_by_hop(b"x-hop") && head.is_hop_by_hop(b"TE") && !head.is_hop_by_hop(b"X-A"));
}

#[test]
fn the_form_of_the_target_decides_about_path_and_host() {
    let absolute = sound("GET HTTP://Other.Example:81/p?q HTTP/1.1\r\nHost: ignored\r\n\r\n");
    assert_eq!(absolute.target(), "HTTP://Other.Example:81/p?q");
    assert_eq!(absolute.path_and_query(), "/p?q");
    assert_eq!(absolute.host(), Some("Other.Example:81"));
    let bare = sound("GET http://other HTTP/1.1\r\n\r\n");
    assert_eq!((bare.path(), bare.query(), bare.host()), ("/", None, Some("other")));
    let query = sound("GET http://other?x HTTP/1.1\r\n\r\n");
    assert_eq!((query.path(), query.query()), ("/", Some("x")));
    let star = sound("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(star.path(), "*");
}

#[test]
fn the_version_decides_about_the_connection() {
    let head = |line: &str, rest: &str| sound(format!("{line}\r\nHost: a\r\n{rest}\r\n"));
    assert!(head("GET / HTTP/1.1", "").keep_alive());
    assert!(!head("GET / HTTP/1.1", "Connection: foo, Close\r\n").keep_alive());
    assert!(!head("GET / HTTP/1.0", "").keep_alive());
    assert!(head("GET / HTTP/1.0", "Connection: Keep-Alive\r\n").keep_alive());
    assert!(head("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n").upgrade());
    assert!(!head("GET / HTTP/1.1", "Upgrade: websocket\r\n").upgrade());
    assert!(!head("GET / HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n").upgrade());
    assert_eq!(sound("GET / HTTP/1.0\r\n\r\n").host(), None);
    assert!(!head("POST / HTTP/1.0", "Content-Length: 1\r\nExpect: 100-continue\r\n").expect_continue());
    assert!(head("GET / HTTP/1.1", "a_b: 1\r\n").has_underscored_names());
}

/// Every way of breaking a head that hooklatch knows, each refused with 400. Where pingora or httparse alone would
/// take it, this table is what keeps the app safe.
pub(in crate::ingress) const MALFORMED: &[(&str, &str)] = &[
    (
        "length and chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "chunked and length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    ),
    ("two different lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"),
    ("the same length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n"),
    ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n"),
    ("a hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n"),
    ("an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("a length over u64", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    ("another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("a list of codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("chunked twice in a list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "chunked, then identity",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
    ("chunked in quotes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"),
    ("an x-chunked coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
    ("a vertical tab in the coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n"),
    ("an empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    ("chunked on HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("an undeclared body on HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\n\r\n"),
    ("a continued line", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n"),
    ("a continued line with a tab", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\t2\r\n\r\n"),
    ("a blank before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("bare LFs everywhere", "GET / HTTP/1.1\nHost: a\n\n"),
    ("a bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("a bare LF behind a header", "GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n"),
    ("a bare LF behind an empty header", "GET / HTTP/1.1\r\nX-A:\nHost: a\r\n\r\n"),
    ("a bare LF behind the last header", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    ("a bare LF as the blank line", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("a bare LF in front", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r2\r\n\r\n"),
    ("a bare CR as a line's end", "GET / HTTP/1.1\rHost: a\r\r"),
    ("a blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("a tab before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 3\r\n\r\n"),
    ("a line without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    ("an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n"),
    ("a name in brackets", "GET / HTTP/1.1\r\nHost: a\r\n(x): 1\r\n\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\x002\r\n\r\n"),
    ("a NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\x00A: 1\r\n\r\n"),
    ("a NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a control character in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: \x1b[31m\r\n\r\n"),
    ("a DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: \x7f\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\nX-A: 1\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("the same host twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
    ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("a list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("a host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    ("a target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a star that is no OPTIONS", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a URL of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a URL without a host", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a URL with a user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a URL with a backslash", "GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two blanks in the request line", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a blank behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("no version", "GET /\r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("a lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("a method in brackets", "(GET) / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\u{7f}\x03\x03"),
];

#[test]
fn broken_framing_is_refused() {
    for (what, head) in MALFORMED {
        match read(head) {
            Err(Fault::Malformed(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_part_of_a_head_wants_more() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    for end in 0..head.len() {
        assert!(matches!(read(&head[..end]), Ok(None)), "{end}");
        assert!(!may_be_complete(&head[..end], 0), "{end}");
    }
    assert!(may_be_complete(head, head.len() - 1));
    assert!(may_be_complete(b"GET / HTTP/1.1\n\n", 15));
}

#[test]
fn a_head_that_is_too_large_says_which_limit() {
    let long = "x".repeat(190);
    sound(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let head = format!("GET /{long}{long} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(read(&head).unwrap_err(), Fault::UriTooLong(200));
    assert_eq!(read(&head[..300]).unwrap_err(), Fault::UriTooLong(200));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "x".repeat(1000));
    assert_eq!(read(&head).unwrap_err(), Fault::HeadTooLarge(1024));
    assert_eq!(read(&head[..1024]).unwrap_err(), Fault::HeadTooLarge(1024));
    let lines = |n| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(n));
    sound(lines(9));
    assert_eq!(read(lines(10)).unwrap_err(), Fault::TooManyHeaders(10));
    let wide = Limits { head: 4096, headers: 200, uri: 200 };
    assert!(parse(lines(199).as_bytes(), wide, Instant::now()).unwrap().is_some());
    assert_eq!(parse(lines(200).as_bytes(), wide, Instant::now()).unwrap_err(), Fault::TooManyHeaders(200));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_head_or_a_fault(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }

    #[test]
    fn a_head_with_any_bytes_in_it_never_panics(
        target in "[ -~\\x00-\\x20\\x80-\\xff]{0,20}", name in ".{0,10}", value in ".{0,20}", rest: Vec<u8>,
    ) {
        let mut bytes = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n\r\n").into_bytes();
        bytes.extend(rest);
        if let Ok(Some(head)) = read(&bytes) {
            let _ = (head.path(), head.query(), head.host(), head.method(), head.is_hop_by_hop(b"x"));
            proptest::prop_assert!(head.raw().ends_with(b"\r\n\r\n"));
            proptest::prop_assert!(head.headers().iter().count() >= 1);
            // Nothing that could be read as one line more or less.
            let lines = head.raw().windows(2).filter(|pair| pair == b"\r\n").count();
            proptest::prop_assert_eq!(lines, head.headers().iter().count() + 2);
            proptest::prop_assert_eq!(head.raw().iter().filter(|byte| **byte == b'\n').count(), lines);
        }
    }

    #[test]
    fn flipping_bytes_of_a_sound_head_never_panics(at in 0usize..100, byte: u8) {
        let mut bytes = b"POST http://a.b/c?d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n".to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read(&bytes);
    }
}
