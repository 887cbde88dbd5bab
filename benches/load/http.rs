//! As much of HTTP/1.1 as measuring needs: where a message ends.

/// A message in a buffer: where its body ends, its first line's second word (an answer's status), and how many events it
/// carries.
pub struct Message {
    pub end: usize,
    pub second_word: [u8; 3],
    pub events: u64,
}

/// The message at the start of `bytes`, if all of it is there. Messages without `Content-Length` have no body, as
/// everything here is framed with one (a chunked answer is a finding: it panics).
pub fn message(bytes: &[u8]) -> Option<Message> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (mut length, mut events) = (0, 1);
    let number = |value: &[u8]| std::str::from_utf8(value).unwrap().trim().parse::<usize>().unwrap();
    for line in bytes[..head].split(|b| *b == b'\n').skip(1) {
        if let Some(value) = value_of(line, b"content-length:") {
            length = number(value);
        }
        if let Some(value) = value_of(line, b"hooklatch-batch:") {
            events = number(value) as u64;
        }
        assert!(value_of(line, b"transfer-encoding:").is_none(), "a chunked message");
    }
    let end = head + length;
    let second_word = bytes[9..12].try_into().unwrap();
    (bytes.len() >= end).then_some(Message { end, second_word, events })
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = line.get(..name.len())?;
    start.eq_ignore_ascii_case(name).then(|| &line[name.len()..])
}
