//! A captured HTTP/1.1 request, as it came over the wire or as a tool wrote it down.

use super::super::vector::path_and_query;
use crate::headers::Headers;
use crate::select::Message;

/// The most header lines that are read.
const MAX_HEADERS: usize = 256;

/// A captured request.
#[derive(Debug)]
pub(super) struct Capture {
    method: String,
    /// Path and query, or a whole URL.
    target: String,
    headers: Headers,
    body: Vec<u8>,
    /// What is odd about it, for the reader of a refusal.
    pub(super) notes: Vec<String>,
}

impl Capture {
    /// # Errors
    /// Bytes that are no request, one sentence.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut lines);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => {
                return Err("the head has no end: an empty line must stand before the body".to_owned());
            }
            Err(error) => {
                return Err(format!(
                    "this is no HTTP/1.1 request ({error}); it starts with a line like POST /path HTTP/1.1"
                ));
            }
        };
        let headers = Headers::from_pairs(head.headers.iter().map(|line| (line.name, line.value)));
        let mut notes = Vec::new();
        let body = body(&headers, bytes.get(length..).unwrap_or_default(), &mut notes);
        Ok(Self {
            method: head.method.unwrap_or("POST").to_owned(),
            target: head.path.unwrap_or("/").to_owned(),
            headers,
            body,
            notes,
        })
    }

    /// The public URL, as far as the request tells it: `https`, as every provider's is.
    pub(super) fn url(&self) -> String {
        if self.target.contains("://") {
            return self.target.clone();
        }
        let host = self.headers.get("host").map_or("localhost".into(), String::from_utf8_lossy);
        format!("https://{host}{}", self.target)
    }

    /// The request, sent to `url`.
    pub(super) fn message<'a>(&'a self, url: &'a str) -> Message<'a> {
        let (path, query) = path_and_query(&self.target);
        Message { method: &self.method, path, query, url, headers: &self.headers, body: &self.body }
    }
}

/// The body that stands behind the head. Tools write a body down without its chunks and keep the header, editors add a
/// line break: both are taken for what they are.
fn body(headers: &Headers, rest: &[u8], notes: &mut Vec<String>) -> Vec<u8> {
    let chunked =
        headers.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
    if chunked && let Some(body) = joined(rest) {
        return body;
    }
    let told = headers.get("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    match told {
        Some(length) if rest.len() > length => {
            notes.push(format!("what follows the {length} bytes that Content-Length tells was left out"));
            rest.get(..length).unwrap_or(rest).to_vec()
        }
        Some(length) if rest.len() < length => {
            notes.push(format!(
                "the file holds {} bytes of body, Content-Length tells {length}: something was lost or changed",
                rest.len()
            ));
            rest.to_vec()
        }
        _ => rest.to_vec(),
    }
}

/// The chunks of a chunked body, one after the other; `None` where it is not one to its end.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            return None;
        };
        if size == 0 {
            return Some(body);
        }
        let size = usize::try_from(size).ok()?;
        let (chunk, after) = rest.get(line..)?.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n")?;
    }
}
