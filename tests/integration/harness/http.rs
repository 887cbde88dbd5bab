//! HTTP/1.1 by hand: what is sent is exactly what a test wrote.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer takes longer than this in a test that passes.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Header lines in order, names in the sender's case.
pub type Headers = Vec<(String, String)>;

/// The first value of `name`, whatever its case.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The `hooklatch-outcome` header.
    pub fn outcome(&self) -> &str {
        self.header("hooklatch-outcome").unwrap_or("")
    }

    /// The `hooklatch-id` header.
    #[track_caller]
    pub fn id(&self) -> String {
        self.header("hooklatch-id").unwrap_or_else(|| panic!("no hooklatch-id in {self:?}")).to_owned()
    }

    /// Asserts an accepted event; gives its id.
    #[track_caller]
    pub fn assert_accepted(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.outcome(), "accepted");
        self.id()
    }

    /// Asserts a structured refusal with every field the contract promises.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, error: &str) -> &Self {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        let json = self.json();
        assert_eq!(json["error"], error, "{json}");
        for key in ["message", "timestamp", "request_id"] {
            assert!(json[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {json}");
        }
        assert!(json.get("field").is_some(), "field in {json}");
        let text = json["timestamp"].as_str().unwrap();
        assert!(text.ends_with('Z') && text.contains('T'), "{text} is not RFC 3339 in UTC");
        self
    }
}

/// Reads lines up to the empty one; `None` at a clean end of the connection.
pub fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<(String, Headers)>> {
    let mut first = String::new();
    if read_line(reader, &mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Headers::new();
    loop {
        let mut line = String::new();
        if read_line(reader, &mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if line.is_empty() {
            return Ok(Some((first, headers)));
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads one line without its end into `line`; the bytes read, 0 at the end. Bytes are taken as Latin-1, so that
/// nothing is lost of a header that is not UTF-8.
fn read_line(reader: &mut impl BufRead, line: &mut String) -> std::io::Result<usize> {
    let mut bytes = Vec::new();
    let read = reader.read_until(b'\n', &mut bytes)?;
    while bytes.last().is_some_and(|b| matches!(b, b'\r' | b'\n')) {
        bytes.pop();
    }
    line.extend(bytes.iter().map(|b| char::from(*b)));
    Ok(read)
}

/// Reads a body as `headers` frame it; `until_close` where an answer has no framing.
pub fn read_body(
    reader: &mut impl BufRead,
    headers: &Headers,
    until_close: bool,
) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let chunked =
        header(headers, "transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"));
    if chunked {
        loop {
            let mut line = String::new();
            read_line(reader, &mut line)?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
            if size == 0 {
                while read_line(reader, &mut String::new())? > 2 {}
                return Ok(body);
            }
            if reader.take(size).read_to_end(&mut body)? as u64 != size {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            read_line(reader, &mut String::new())?;
        }
    }
    if let Some(length) = header(headers, "content-length") {
        let length: u64 = length.parse().map_err(|_| ErrorKind::InvalidData)?;
        if reader.take(length).read_to_end(&mut body)? as u64 != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    } else if until_close {
        reader.read_to_end(&mut body)?;
    }
    Ok(body)
}

/// One connection of a sender, kept open between requests.
pub struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// A connection to a server that may be gone.
    pub fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader })
    }

    /// Writes `bytes` as they are. That the peer has closed already is for the answer to show.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next answer; `None` where the connection ended without one.
    pub fn try_read(&mut self) -> std::io::Result<Option<Response>> {
        let Some((line, headers)) = read_head(&mut self.reader)? else { return Ok(None) };
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| std::io::Error::other(format!("not a status line: {line:?}")))?;
        let bodiless = status < 200 || matches!(status, 204 | 304);
        let body = if bodiless { Vec::new() } else { read_body(&mut self.reader, &headers, true)? };
        Ok(Some(Response { status, headers, body }))
    }

    /// The next answer.
    #[track_caller]
    pub fn read(&mut self) -> Response {
        match self.try_read() {
            Ok(Some(response)) => response,
            Ok(None) => panic!("the connection was closed without an answer"),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// The status of the next answer, whose rest is not read: a `HEAD`'s has no body, whatever its headers say.
    #[track_caller]
    pub fn read_status(&mut self) -> u16 {
        let (line, _) = read_head(&mut self.reader).unwrap().expect("closed without an answer");
        line.split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status: {line}"))
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) -> Response {
        self.write(bytes);
        self.read()
    }

    /// Whether the server closes the connection within `bound`.
    pub fn closes_within(&mut self, bound: Duration) -> bool {
        self.stream.set_read_timeout(Some(bound)).unwrap();
        let mut byte = [0; 1];
        match self.reader.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Raw access, for what is no request and answer (WebSocket, event streams).
    pub fn stream(&mut self) -> (&mut TcpStream, &mut BufReader<TcpStream>) {
        (&mut self.stream, &mut self.reader)
    }
}

/// The bytes of a request with `Host` and `Content-Length` where `headers` has none.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !has("host") {
        bytes.extend(b"Host: hooks.example.com\r\n");
    }
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    if !has("content-length") && !has("transfer-encoding") && (!body.is_empty() || method == "POST") {
        bytes.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

/// Sends `bytes` over a connection of their own.
#[track_caller]
pub fn send_to(address: SocketAddr, bytes: &[u8]) -> Response {
    Connection::open(address).send(bytes)
}

/// Sends one request over a connection of its own.
#[track_caller]
pub fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    send_to(address, &request(method, target, headers, body))
}

/// A `GET` without headers of its own.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Response {
    send(address, "GET", target, &[], b"")
}
