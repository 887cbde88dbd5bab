//! A web site behind `proxy_to` looks as it does without: every request is sent to the same Node server directly and
//! through the gateway, and the two answers are compared byte for byte.
//!
//! What may differ is what says nothing to either side: `Connection` and `Keep-Alive` belong to each connection, so
//! the client's may stay open where the app's is closed; lines of one name, whose order among themselves is kept, may
//! move up to the first of them (RFC 9110 §5.3); the time in a `Date` of now passes between two requests. Toward the
//! app, three `x-forwarded-*` are added.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Gateway, SOON, Setup, request};

/// `tests/servers/site.mjs`; ends when it is dropped.
struct Site {
    child: Child,
    address: SocketAddr,
    tls: Vec<u64>,
}

impl Site {
    fn start() -> Self {
        Self::start_with(&serde_json::json!({}))
    }

    fn start_with(options: &Value) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/site.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(options.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let json: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no start: {line:?}"));
        let address = format!("127.0.0.1:{}", json["port"]).parse().unwrap();
        let tls = json["tls"].as_array().unwrap().iter().map(|port| port.as_u64().unwrap()).collect();
        Self { child, address, tls }
    }

    /// A gateway that passes everything to it.
    fn gateway(&self) -> Gateway {
        Setup::new("[routes.site]\npath = \"/*\"\nproxy_to = \"http://$SITE\"\n")
            .set("SITE", self.address.to_string())
            .start()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A client's connection, to whatever kind of socket.
struct Client(BufReader<Box<dyn Stream>>);

/// An answer as it came: lines of heads (those of interim ones in front), and the body without its framing.
#[derive(Debug)]
struct Answer {
    head: Vec<String>,
    body: Vec<u8>,
    /// Whether the server said that it closes, or the body ended with the connection.
    closes: bool,
}

impl Client {
    fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(Box::new(stream)))
    }

    fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(BufReader::new(Box::new(stream)))
    }

    #[track_caller]
    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The lines of one head, each byte a character.
    #[track_caller]
    fn head(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).unwrap_or_else(|error| panic!("{error} after {lines:?}"));
            assert!(line.ends_with(b"\r\n"), "ended within the head, after {lines:?}");
            line.truncate(line.len() - 2);
            if line.is_empty() {
                return lines;
            }
            lines.push(line.iter().map(|byte| char::from(*byte)).collect());
        }
    }

    /// The answer to a request of this method.
    #[track_caller]
    fn answer(&mut self, method: &str) -> Answer {
        let mut head = self.head();
        let mut last = 0;
        while is_interim(&head[last]) {
            last = head.len();
            head.extend(self.head());
        }
        let status: u16 = head[last].split(' ').nth(1).unwrap().parse().unwrap();
        let lines = &head[last + 1..];
        let says = |name: &str, word: &str| field(lines, name).is_some_and(|value| value.contains(word));
        let mut closes = says("connection", "close") || head[last].starts_with("HTTP/1.0");
        let body = if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            Vec::new()
        } else if says("transfer-encoding", "chunked") {
            self.chunks()
        } else if let Some(length) = field(lines, "content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).unwrap();
            body
        } else {
            closes = true;
            let mut body = Vec::new();
            self.0.read_to_end(&mut body).unwrap();
            body
        };
        Answer { head, body, closes }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let start = body.len();
            body.resize(start + size, 0);
            self.0.read_exact(&mut body[start..]).unwrap();
            self.0.read_line(&mut line).unwrap();
            if size == 0 {
                return body;
            }
        }
    }

    #[track_caller]
    fn exchange(&mut self, bytes: &[u8]) -> Answer {
        self.write(bytes);
        let method = bytes.split(|byte| *byte == b' ').next().unwrap();
        self.answer(std::str::from_utf8(method).unwrap())
    }
}

fn is_interim(status_line: &str) -> bool {
    status_line.split(' ').nth(1).is_some_and(|code| code.starts_with('1') && code != "101")
}

fn field<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines
        .iter()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// `head` without what belongs to a connection and without the time of now, lines of one name together.
fn comparable(head: &[String]) -> Vec<String> {
    let known_date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let lines = head.iter().map(|line| match line.split_once(": ") {
        Some((name, value)) if name.eq_ignore_ascii_case("date") && value != known_date => {
            format!("{name}: (now)")
        }
        _ => line.clone(),
    });
    let own = |line: &String| !matches!(name_of(line).as_str(), "connection" | "keep-alive");
    together(lines.filter(own).collect(), |line| name_of(line))
}

fn name_of(line: &str) -> String {
    line.split(':').next().unwrap().to_ascii_lowercase()
}

/// The list with the items of one name moved up to the first of them, otherwise in order.
fn together<T>(mut items: Vec<T>, name: impl Fn(&T) -> String) -> Vec<T> {
    let names: Vec<String> = items.iter().map(&name).collect();
    items.sort_by_key(|item| names.iter().position(|other| *other == name(item)));
    items
}

/// What is different, in words; empty where nothing is.
fn differences(direct: &Answer, through: &Answer) -> String {
    let mut said = String::new();
    let (before, after) = (comparable(&direct.head), comparable(&through.head));
    if before != after {
        let missing: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
        let added: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        said += &format!("  head: missing {missing:?}, added {added:?}");
        if missing.is_empty() && added.is_empty() {
            said += &format!(", another order:\n    {before:?}\n    {after:?}");
        }
        said += "\n";
    }
    if direct.body != through.body {
        let at = direct.body.iter().zip(&through.body).take_while(|(a, b)| a == b).count();
        let around = |body: &[u8]| {
            let part = &body[at.saturating_sub(20).min(body.len())..(at + 40).min(body.len())];
            String::from_utf8_lossy(part).into_owned()
        };
        said += &format!(
            "  body: {} bytes directly, {} through, from byte {at} on: {:?} became {:?}\n",
            direct.body.len(),
            through.body.len(),
            around(&direct.body),
            around(&through.body)
        );
    }
    if through.closes && !direct.closes {
        said += "  the connection is closed\n";
    }
    said
}

/// Whether a request's header is of this connection alone (RFC 9110 §7.6.1, §10.1.4).
fn is_hop(name: &str) -> bool {
    ["connection", "te"].iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

/// What the site echoed, and of the headers it saw those `x-forwarded-*` apart.
fn echoed(answer: &Answer) -> (Value, Vec<(String, String)>) {
    let mut json: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| {
        panic!("{error}: {:?} {}", answer.head, String::from_utf8_lossy(&answer.body))
    });
    let flat: Vec<String> = serde_json::from_value(json["headers"].take()).unwrap();
    let pairs = flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    let (forwarded, rest): (Vec<_>, Vec<_>) =
        pairs.partition(|(name, _)| name.to_ascii_lowercase().starts_with("x-forwarded-"));
    let rest = rest.into_iter().filter(|(name, _)| !is_hop(name)).collect();
    json["headers"] =
        serde_json::json!(together(rest, |(name, _): &(String, String)| name.to_ascii_lowercase()));
    (json, forwarded)
}

const HOST: &str = "hooks.example.com";
const FORWARDED: [(&str, &str); 3] =
    [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Host", HOST), ("X-Forwarded-Proto", "http")];

/// Everything whose answer does not depend on what the site was told.
fn pages() -> Vec<Vec<u8>> {
    let get = |target: &str| request("GET", target, &[], b"");
    let mut pages: Vec<_> = [
        "/page",
        "/page?q=%20&x=[1]",
        "/cookies",
        "/moved",
        "/nothing",
        "/reason",
        "/zero",
        "/missing",
        "/broken",
        "/teapot",
        "/gzip",
        "/gzip/chunked",
        "/chunked",
        "/headers",
        "/hints",
        "/login",
        "/temporary",
    ]
    .iter()
    .map(|target| get(target))
    .collect();
    for target in ["/page", "/chunked", "/gzip", "/missing", "/nothing", "/headers"] {
        pages.push(request("HEAD", target, &[], b""));
    }
    pages.extend([
        request("GET", "/page", &[("If-None-Match", "\"page-1\"")], b""),
        request("HEAD", "/page", &[("If-None-Match", "\"page-1\"")], b""),
        request("GET", "/page", &[("Range", "bytes=9-40")], b""),
        request("GET", "/gzip", &[("Accept-Encoding", "gzip, br")], b""),
        request("GET", "/page", &[("Accept-Encoding", "identity")], b""),
        request("POST", "/login", &[("Content-Type", "application/x-www-form-urlencoded")], b"u=a&p=b"),
        request("POST", "/temporary", &[], b"again"),
        request("OPTIONS", "/page", &[("Origin", "http://a"), ("Access-Control-Request-Method", "PUT")], b""),
        get("/close"),
    ]);
    pages
}

/// Everything that the site echoes.
fn echoes() -> Vec<Vec<u8>> {
    let mut echoes = Vec::new();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        echoes.push(request(method, "/echo", &[("X-Method", method)], b""));
        echoes.push(request(method, "/echo", &[("Content-Type", "text/plain")], "Körper".as_bytes()));
    }
    for target in [
        "/a%20b/%7Eu/%2F/%c3%bc/%C3%BC/%00",
        "/a//b/./c/../d/",
        "/q?a=1&a=2&b=%20+&c=[x]&d={y}|z^`'\\",
        "/{a}|^\\",
        "/q?",
        "/q??a=?b",
        "/q?a=/../b&u=http://other/x?y#",
        "/;v=1/,/@:/!$&'()*+",
        "/a:b@c",
        "/%zz%",
        "/?",
    ] {
        let target = target.trim_end_matches('#');
        echoes.push(request("GET", target, &[], b""));
    }
    let form: &[u8] = b"name=M%C3%BCller+%26+S%C3%B6hne&empty=&name=two&x=%0D%0A";
    let multipart = [
        &b"--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\n\r\n"[..],
        &(0..=255).collect::<Vec<u8>>(),
        b"\r\n--XX--\r\n",
    ]
    .concat();
    let cookies = format!("big={}", "y".repeat(600));
    echoes.extend([
        request("POST", "/form", &[("Content-Type", "application/x-www-form-urlencoded")], form),
        request("POST", "/form", &[("Content-Type", "multipart/form-data; boundary=XX")], &multipart),
        request(
            "POST",
            "/chunks",
            &[("Transfer-Encoding", "chunked")],
            b"4\r\nab\r\n\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        request(
            "GET",
            "/headers-of-mine",
            &[
                ("aCCept", "text/html;q=0.9"),
                ("X-Twice", "one"),
                ("Cookie", "a=1; b=\"two\""),
                ("x-twice", "two"),
                ("COOKIE", cookies.as_str()),
                ("X-Empty", ""),
                ("X-Spaces", "a  b"),
                ("X-Latin", "Gr\u{fc}\u{df}e"),
                ("Authorization", "Basic dTpw"),
                ("Referer", "http://a/b?c"),
                ("User-Agent", "Mozilla/5.0 (X11; Linux)"),
                ("Sec-Fetch-Mode", "navigate"),
                ("Via", "1.0 outer"),
                ("TE", "trailers"),
                ("DNT", "1"),
            ],
            b"",
        ),
    ]);
    echoes
}

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap();
    String::from_utf8_lossy(line).into_owned()
}

#[test]
fn answers_are_those_of_the_site_byte_for_byte_on_connections_that_stay() {
    let site = Site::start();
    let gateway = site.gateway();
    let (mut direct, mut through) = (Client::tcp(site.address), Client::tcp(gateway.address()));
    let mut said = String::new();
    for bytes in pages() {
        let (before, after) = (direct.exchange(&bytes), through.exchange(&bytes));
        let different = differences(&before, &after);
        if !different.is_empty() {
            said += &format!("{}\n{different}", first_line(&bytes));
        }
        if before.closes {
            direct = Client::tcp(site.address);
        }
        if after.closes || before.closes {
            through = Client::tcp(gateway.address());
        }
    }
    assert!(said.is_empty(), "through the gateway:\n{said}");
}

/// Compares every echo of two ways to the same site.
#[track_caller]
fn same_echoes(mut direct: Client, mut through: Client, added: &[(&str, &str)]) {
    let mut said = String::new();
    for bytes in echoes() {
        let (before, after) = (direct.exchange(&bytes), through.exchange(&bytes));
        let line = first_line(&bytes);
        assert_eq!(comparable(&before.head), comparable(&after.head), "{line}");
        let ((saw, none), (sees, forwarded)) = (echoed(&before), echoed(&after));
        assert!(none.is_empty(), "{none:?}");
        let mut forwarded: Vec<_> = forwarded.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        forwarded.sort_unstable();
        if forwarded != added {
            said += &format!("{line}\n  added toward the app: {forwarded:?}\n");
        }
        for key in ["method", "url", "version", "headers", "body", "form"] {
            if saw[key] != sees[key] {
                said += &format!("{line}\n  {key}: {}\n  became {}\n", saw[key], sees[key]);
            }
        }
        if after.closes {
            said += &format!("{line}\n  the connection is closed\n");
            return assert!(said.is_empty(), "through the gateway:\n{said}");
        }
    }
    assert!(said.is_empty(), "through the gateway:\n{said}");
}

#[test]
fn the_site_sees_what_was_sent_and_three_headers_more() {
    let site = Site::start();
    let gateway = site.gateway();
    same_echoes(Client::tcp(site.address), Client::tcp(gateway.address()), &FORWARDED);
}

#[test]
fn a_destination_s_name_unix_sockets_on_either_side_and_http_10_make_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("site.sock");
    let site = Site::start_with(&serde_json::json!({ "unix": socket }));
    let gateway = Setup::new(
        r#"
        [routes.named]
        path = "/*"
        host = "named.example"
        proxy_to = "site"
        [routes.unix]
        path = "/*"
        proxy_to = "unix:$SOCKET"
        [destinations.site]
        url = "http://$SITE"
        "#,
    )
    .set("SITE", site.address.to_string())
    .set("SOCKET", socket.display().to_string())
    .server("listen = [\"127.0.0.1:0\", \"unix:$DIR/web.sock\"]")
    .start();
    same_echoes(Client::tcp(site.address), Client::tcp(gateway.address()), &FORWARDED);
    let by_socket = gateway.dir().join("web.sock");
    // Who stands behind a unix socket has no address.
    same_echoes(Client::unix(&socket), Client::unix(&by_socket), &FORWARDED[1..]);
    for (target, host) in [("/page", "named.example"), ("/headers", "named.example"), ("/page", HOST)] {
        let bytes = request("GET", target, &[("Host", host)], b"");
        let before = Client::tcp(site.address).exchange(&bytes);
        let different = differences(&before, &Client::tcp(gateway.address()).exchange(&bytes));
        assert!(different.is_empty(), "{target} of {host}:\n{different}");
    }
    for target in ["/page", "/chunked"] {
        let old = format!("GET {target} HTTP/1.0\r\nHost: {HOST}\r\n\r\n").into_bytes();
        let before = Client::tcp(site.address).exchange(&old);
        let after = Client::tcp(gateway.address()).exchange(&old);
        assert_eq!(String::from_utf8_lossy(&after.body), String::from_utf8_lossy(&before.body), "{target}");
        assert!(after.closes, "{target}: {after:?}");
    }
}

#[test]
fn a_body_waits_for_100_continue_and_a_refusal_comes_instead_of_it() {
    let site = Site::start();
    let gateway = site.gateway();
    for address in [site.address, gateway.address()] {
        let mut client = Client::tcp(address);
        for round in 0..2 {
            client.write(
                b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            );
            assert_eq!(client.head(), ["HTTP/1.1 100 Continue"], "round {round} at {address}");
            client.write(b"hello");
            let answer = client.answer("POST");
            assert_eq!(answer.head[0], "HTTP/1.1 200 OK");
            assert!(String::from_utf8_lossy(&answer.body).contains("aGVsbG8="), "{answer:?}");
            assert!(!answer.closes);
        }
        client.write(
            b"POST /expect/refused HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        let answer = client.answer("POST");
        assert_eq!(answer.head[0], "HTTP/1.1 417 Expectation Failed");
        assert_eq!(answer.body, b"not now");
    }
}

#[test]
fn an_answer_before_the_end_of_an_upload_is_read_by_who_still_writes() {
    let site = Site::start();
    let gateway = site.gateway();
    let body = vec![b'x'; 32 << 20];
    let bytes = request("POST", "/early", &[], &body);
    for address in [site.address, gateway.address()] {
        for _ in 0..3 {
            let answer = Client::tcp(address).exchange(&bytes);
            assert_eq!(
                (answer.head[0].as_str(), answer.body.as_slice()),
                ("HTTP/1.1 413 Payload Too Large", &b"too large"[..])
            );
        }
    }
}

#[test]
fn a_date_and_a_frame_are_added_to_an_answer_without() {
    let site = Site::start();
    let gateway = site.gateway();
    // RFC 9110 §6.6.1: who forwards an answer without a date adds one.
    let bytes = request("GET", "/dateless", &[], b"");
    let mut direct = Client::tcp(site.address).exchange(&bytes);
    let through = Client::tcp(gateway.address()).exchange(&bytes);
    direct.head.push("Date: (now)".to_owned());
    assert_eq!(differences(&direct, &through), "");
    // Node refuses a target beyond ASCII with an answer that only the end of the connection ends.
    let bytes = request("GET", "/caf\u{e9}", &[], b"");
    let mut direct = Client::tcp(site.address).exchange(&bytes);
    let through = Client::tcp(gateway.address()).exchange(&bytes);
    assert_eq!(direct.head[0], "HTTP/1.1 400 Bad Request");
    direct.head.extend(["Transfer-Encoding: chunked".to_owned(), "Date: (now)".to_owned()]);
    assert_eq!(differences(&direct, &through), "");
}

#[test]
fn an_event_stream_arrives_as_it_is_sent() {
    let site = Site::start();
    let gateway = site.gateway();
    let streamed = |address: SocketAddr, name: &str| {
        let (mut client, mut other) = (Client::tcp(address), Client::tcp(address));
        client.write(&request("GET", &format!("/events?{name}"), &[("Accept", "text/event-stream")], b""));
        let head = client.head();
        let mut chunks = Vec::new();
        for text in ["1", "2", "3"] {
            other.exchange(&request("GET", &format!("/events/next?{name}={text}"), &[], b""));
            let mut line = String::new();
            client.0.read_line(&mut line).unwrap();
            let mut chunk = vec![0; usize::from_str_radix(line.trim_end(), 16).unwrap() + 2];
            client.0.read_exact(&mut chunk).unwrap();
            chunks.push(String::from_utf8(chunk).unwrap());
        }
        other.exchange(&request("GET", &format!("/events/next?{name}=end"), &[], b""));
        assert!(client.chunks().is_empty());
        (comparable(&head), chunks)
    };
    let direct = streamed(site.address, "direct");
    assert_eq!(direct.1[2], "event: step\ndata: 3\n\n\r\n");
    assert_eq!(streamed(gateway.address(), "through"), direct);
}

#[test]
fn a_web_socket_is_opened_used_and_closed_with_the_same_bytes() {
    let site = Site::start();
    let gateway = site.gateway();
    let spoken = |address: SocketAddr| {
        let mut client = Client::tcp(address);
        // Key and answer: RFC 6455 §1.3.
        let headers = [
            ("Upgrade", "websocket"),
            ("Connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", "chat"),
        ];
        client.write(&request("GET", "/chat?room=1", &headers, b""));
        let head = client.head();
        // "Hello", masked: RFC 6455 §5.7.
        client.write(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let mut frame = [0; 7];
        client.0.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"\x81\x05Hello");
        // Another message and the close in one piece.
        client.write(&[0x81, 0x81, 0, 0, 0, 0, b'x', 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
        let mut rest = Vec::new();
        client.0.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"\x81\x01x\x88\x02\x03\xe8");
        head
    };
    let direct = spoken(site.address);
    assert!(direct.contains(&"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()), "{direct:?}");
    assert_eq!(spoken(gateway.address()), direct);
}

const BLOCK: usize = 1 << 20;
const BLOCKS: u32 = 100;

fn block(n: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..BLOCK).map(|at| (at % 251) as u8).collect();
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// The most memory that a process ever held, bytes (`VmHWM` of proc(5)).
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn upload(address: SocketAddr) -> Answer {
    let mut client = Client::tcp(address);
    let length = BLOCK * BLOCKS as usize;
    client.write(format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").as_bytes());
    let mut bytes = block(0);
    for n in 0..BLOCKS {
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        client.write(&bytes);
    }
    client.answer("POST")
}

/// Reads a large answer and holds each block against what it should be; gives the head.
fn download(address: SocketAddr, target: &str) -> Vec<String> {
    let mut client = Client::tcp(address);
    client.write(&request("GET", target, &[], b""));
    let head = client.head();
    let chunked = field(&head, "transfer-encoding").is_some();
    let (mut expected, mut got) = (block(0), Vec::with_capacity(2 * BLOCK));
    let mut n = 0_u32;
    let mut left = BLOCK * BLOCKS as usize;
    while left > 0 {
        let size = if chunked {
            let mut line = String::new();
            client.0.read_line(&mut line).unwrap();
            usize::from_str_radix(line.trim_end(), 16).unwrap()
        } else {
            left.min(BLOCK)
        };
        assert!(size > 0, "{target} ended {left} bytes early");
        let start = got.len();
        got.resize(start + size, 0);
        client.0.read_exact(&mut got[start..]).unwrap();
        left -= size;
        if chunked {
            client.0.read_exact(&mut [0; 2]).unwrap();
        }
        while got.len() >= BLOCK {
            expected[..4].copy_from_slice(&n.to_be_bytes());
            assert!(got[..BLOCK] == expected, "{target}: block {n} differs");
            got.drain(..BLOCK);
            n += 1;
        }
    }
    assert_eq!((n, got.len()), (BLOCKS, 0));
    if chunked {
        assert!(client.chunks().is_empty());
    }
    comparable(&head)
}

#[test]
fn a_hundred_megabytes_pass_each_way_and_memory_does_not_grow_with_them() {
    let site = Site::start();
    let gateway = site.gateway();
    gateway.send("GET", "/page", &[], b"");
    let before = peak_memory(gateway.pid());
    let uploaded = upload(gateway.address());
    for target in ["/download", "/download/chunked"] {
        assert_eq!(download(gateway.address(), target), download(site.address, target));
    }
    let grown = peak_memory(gateway.pid()).saturating_sub(before);
    let said: Value = serde_json::from_slice(&uploaded.body).unwrap();
    assert_eq!(said["bytes"], BLOCK as u64 * u64::from(BLOCKS));
    assert_eq!(differences(&upload(site.address), &uploaded), "");
    println!("peak memory grew by {} KiB over {} KiB", grown >> 10, before >> 10);
    assert!(grown <= 32 << 20, "memory grew by {} KiB", grown >> 10);
}

/// Certificates made by openssl: an authority, one of its for `localhost`, one of its for another name, and one for
/// `localhost` that nobody vouches for. Gives the authority's file and the pairs for the site.
fn certificates(dir: &Path) -> (PathBuf, Value) {
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(dir).args(line.split_whitespace());
        let output = command.output().unwrap_or_else(|error| panic!("openssl: {error}"));
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(&format!(
        "{new} -subj /CN=authority -keyout ca.key -out ca.pem -addext keyUsage=critical,keyCertSign"
    ));
    for (name, host, by) in [
        ("right", "localhost", "-CA ca.pem -CAkey ca.key"),
        ("other", "other.example", "-CA ca.pem -CAkey ca.key"),
        ("alone", "localhost", ""),
    ] {
        openssl(&format!(
            "{new} {by} -subj /CN={host} -keyout {name}.key -out {name}.pem \
             -addext subjectAltName=DNS:{host} -addext basicConstraints=critical,CA:FALSE"
        ));
    }
    let pair = |name: &str| serde_json::json!({ "key": dir.join(format!("{name}.key")), "cert": dir.join(format!("{name}.pem")) });
    (dir.join("ca.pem"), serde_json::json!([pair("right"), pair("other"), pair("alone")]))
}

#[test]
fn an_https_app_is_reached_by_its_name_and_no_other_certificate_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, pairs) = certificates(dir.path());
    let site = Site::start_with(&serde_json::json!({ "tls": pairs }));
    let mut toml = String::new();
    for (name, port) in ["right", "other", "alone"].iter().zip(&site.tls) {
        toml += &format!(
            "[routes.url_{name}]\npath = \"/url/{name}\"\nproxy_to = \"https://localhost:{port}\"\n\
             [routes.name_{name}]\npath = \"/name/{name}\"\nproxy_to = \"{name}\"\n\
             [routes.hook_{name}]\npath = \"/hook/{name}\"\nverify = \"none\"\ndedupe = false\n\
             ack = \"delivered\"\nanswer = \"app\"\ndeliver_to = [\"{name}\"]\n\
             [destinations.{name}]\nurl = \"https://localhost:{port}\"\n"
        );
    }
    let gateway = Setup::new(&toml).env("SSL_CERT_FILE", &authority.display().to_string()).start();
    let own_host = format!("localhost:{}", site.tls[0]);
    for way in ["url", "name", "hook"] {
        let response = gateway.send("POST", &format!("/{way}/right"), &[], b"a=b");
        assert_eq!(response.status, 200, "{way}: {}", response.text());
        let json = response.json();
        assert_eq!(json["server_name"], "localhost", "{way}: the name in the handshake");
        assert_eq!((&json["url"], &json["body"]), (&format!("/{way}/right").into(), &"YT1i".into()));
        let headers: Vec<String> = serde_json::from_value(json["headers"].clone()).unwrap();
        let host = headers.chunks(2).find(|pair| pair[0].eq_ignore_ascii_case("host")).unwrap();
        assert_eq!(host[1], own_host, "{way}");
        for wrong in ["other", "alone"] {
            let response = gateway.send("POST", &format!("/{way}/{wrong}"), &[], b"a=b");
            response.assert_refused(502, "upstream_error");
        }
    }
    // Without the authority among the machine's roots, nobody is trusted.
    let gateway =
        Setup::new(&toml).env("SSL_CERT_FILE", &dir.path().join("alone.pem").display().to_string()).start();
    for way in ["url", "name", "hook"] {
        let response = gateway.send("POST", &format!("/{way}/right"), &[], b"a=b");
        response.assert_refused(502, "upstream_error");
    }
}
