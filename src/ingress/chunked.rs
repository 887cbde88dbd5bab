//! Reads a chunked body (RFC 9112 §7.1) strictly and in pieces: size lines of hexadecimal digits, CR LF everywhere,
//! chunk extensions and trailers thrown away and bounded.

/// Bytes of chunk extensions in one body.
const MAX_EXTENSIONS: usize = 4 << 10;
/// Bytes of trailer lines of one body.
const MAX_TRAILERS: usize = 8 << 10;

/// A chunked body that breaks the rules, one sentence.
pub(super) type Broken = &'static str;

/// What [`Decoder::next`] found at the beginning of the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes of framing: skip them.
    Framing(usize),
    /// So many bytes of body.
    Data(usize),
    /// The body is over.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size, or after some.
    Size {
        digits: u8,
    },
    Extension,
    SizeLf,
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

/// The state between two reads.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    size: u64,
    extensions: usize,
    trailers: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, size: 0, extensions: 0, trailers: 0 }
    }

    /// Whether the body is over.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// Looks at `bytes`: what stands at their beginning. Empty bytes tell only whether the body is over.
    ///
    /// # Errors
    /// Bytes that no chunked body has there.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Broken> {
        match self.state {
            State::End => return Ok(Piece::End),
            State::Data { left } => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.took(here);
                return Ok(Piece::Data(here));
            }
            _ => {}
        }
        let mut read = 0;
        for byte in bytes {
            self.state = self.step(*byte)?;
            read += 1;
            if matches!(self.state, State::Data { .. } | State::End) {
                break;
            }
        }
        if read == 0 && self.state == State::End { Ok(Piece::End) } else { Ok(Piece::Framing(read)) }
    }

    fn took(&mut self, bytes: usize) {
        if let State::Data { left } = self.state {
            let left = left.saturating_sub(bytes as u64);
            self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, Broken> {
        Ok(match (self.state, byte) {
            (State::Size { digits }, _) => return self.size_byte(digits, byte),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err("The body's chunk extensions are too long.");
                }
                if byte < b' ' && byte != b'\t' || byte == 0x7f {
                    return Err("A chunk extension holds a control character.");
                }
                State::Extension
            }
            (State::SizeLf, b'\n') if self.size == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data { left: self.size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.size = 0;
                State::Size { digits: 0 }
            }
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::End,
            (State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf, _) => {
                return self.trailer_byte(byte);
            }
            _ => return Err("A chunk does not end where its size says."),
        })
    }

    fn size_byte(&mut self, digits: u8, byte: u8) -> Result<State, Broken> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b';' if digits > 0 => return Ok(State::Extension),
            b'\r' if digits > 0 => return Ok(State::SizeLf),
            _ => return Err("A chunk's size is not a hexadecimal number."),
        };
        if digits == 15 {
            return Err("A chunk's size is too large.");
        }
        self.size = self.size * 16 + u64::from(digit);
        Ok(State::Size { digits: digits + 1 })
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, Broken> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err("The body's trailers are too long.");
        }
        let control = byte < b' ' && byte != b'\t' || byte == 0x7f;
        match (self.state, byte) {
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if crate::headers::is_token(&[byte]) => {
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if !control => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err("A trailer line is not `name: value`."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `step`; gives the body and how many bytes stand behind it.
    fn decode(bytes: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Broken> {
        let mut decoder = Decoder::new();
        let mut body = Vec::new();
        let mut buffer: Vec<u8> = Vec::new();
        let mut fed = 0;
        loop {
            match decoder.next(&buffer)? {
                Piece::End => return Ok(Some((body, bytes.len() - fed + buffer.len()))),
                Piece::Data(n) => {
                    body.extend(buffer.drain(..n));
                }
                Piece::Framing(n) => {
                    buffer.drain(..n);
                }
            }
            if buffer.is_empty() {
                if decoder.state != State::End && fed == bytes.len() {
                    return Ok(None);
                }
                let next = (fed + step).min(bytes.len());
                buffer.extend(&bytes[fed..next]);
                fed = next;
            }
        }
    }

    #[test]
    fn reads_a_body_whatever_its_cut() {
        let wire =
            b"4\r\nWiki\r\n6;a=\"b\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        for step in 1..wire.len() {
            let (body, rest) = decode(wire, step).expect("sound").expect("whole");
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.", "step {step}");
            assert_eq!(rest, 5, "step {step}");
        }
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for wire in [
            &b"\r\n"[..],
            b"4\nWiki\n0\n\n",
            b"4 \r\nWiki\r\n0\r\n\r\n",
            b" 4\r\nWiki\r\n0\r\n\r\n",
            b"+4\r\nWiki\r\n0\r\n\r\n",
            b"0x4\r\nWiki\r\n0\r\n\r\n",
            b"-1\r\n\r\n",
            b"4\r\nWikipedia\r\n0\r\n\r\n",
            b"4\r\nWik\r\n0\r\n\r\n",
            b"4\r\nWiki0\r\n\r\n",
            b"4;a\nb\r\nWiki\r\n0\r\n\r\n",
            b";a\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\nX-A : 1\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nX-A: 1\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n\n",
        ] {
            for step in [1, 3, wire.len()] {
                assert!(decode(wire, step).is_err(), "{:?}", wire.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = |bytes| [&b"1;"[..], &vec![b'a'; bytes], b"\r\nx\r\n0\r\n\r\n"].concat();
        assert!(decode(&extension(MAX_EXTENSIONS), 100).is_ok());
        assert!(decode(&extension(MAX_EXTENSIONS + 1), 100).is_err());
        let many = b"1;abcdefgh\r\nx\r\n".repeat(MAX_EXTENSIONS / 8 + 1);
        assert!(decode(&many, 100).is_err());
        let trailer = |bytes| [&b"0\r\nA:"[..], &vec![b'a'; bytes], b"\r\n\r\n"].concat();
        assert!(decode(&trailer(MAX_TRAILERS - 4), 100).is_ok());
        assert!(decode(&trailer(MAX_TRAILERS), 100).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_in_a_body_or_a_sentence(bytes: Vec<u8>, step in 1usize..20) {
            let _ = decode(&bytes, step);
        }

        #[test]
        fn what_was_chunked_comes_back(chunks: Vec<Vec<u8>>, step in 1usize..50) {
            let mut wire = Vec::new();
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            let (body, rest) = decode(&wire, step).expect("sound").expect("whole");
            proptest::prop_assert_eq!(body, chunks.concat());
            proptest::prop_assert_eq!(rest, 0);
        }
    }
}
