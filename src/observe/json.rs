//! Text from outside, made safe for a line of the log: one line stays one line, a terminal stays as it is.

/// Appends `bytes` as a JSON string, quotes included.
///
/// Besides what RFC 8259 §7 asks for, everything is escaped that could act on a terminal or hide text from whoever
/// reads it: DEL, the C1 controls, the line and paragraph separators and the marks of writing direction. What is not
/// UTF-8 becomes U+FFFD. Above `max_bytes` the rest is cut and `…` says so.
pub(super) fn push_string(out: &mut Vec<u8>, bytes: &[u8], max_bytes: usize) {
    out.push(b'"');
    push_escaped(out, bytes, max_bytes);
    out.push(b'"');
}

/// [`push_string`] without its quotes.
pub(super) fn push_escaped(out: &mut Vec<u8>, bytes: &[u8], max_bytes: usize) {
    let (mut rest, cut) = match bytes.get(..max_bytes) {
        Some(start) if start.len() < bytes.len() => (whole_characters(start), true),
        _ => (bytes, false),
    };
    // Nearly all of what is logged is plain from end to end; without a way out early the compiler looks at 16 bytes
    // at once.
    if rest.iter().fold(true, |plain, b| plain & is_plain(*b)) {
        out.extend_from_slice(rest);
        rest = &[];
    }
    while let Some(at) = rest.iter().position(|b| !is_plain(*b)) {
        let (plain, odd) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        rest = push_odd(out, odd);
    }
    out.extend_from_slice(rest);
    if cut {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Whether a byte may stand for itself inside a JSON string.
pub(super) fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')
}

/// Escapes what `rest` begins with, up to the next plain ASCII byte; returns what follows.
fn push_odd<'a>(out: &mut Vec<u8>, rest: &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|b| is_plain(*b)).unwrap_or(rest.len());
    let (odd, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
    for chunk in odd.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_character(out, character);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    after
}

fn push_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => push_code(out, u32::from(character)),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// `\uXXXX`; every character above is of the basic plane, so four digits are enough.
fn push_code(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = (code >> shift & 15) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// `bytes` without the start of a character that its end cuts in two.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    let torn = (1..=bytes.len().min(3)).find(|back| {
        bytes.get(bytes.len() - back).is_some_and(|lead| match lead {
            0xc0..=0xdf => *back < 2,
            0xe0..=0xef => *back < 3,
            0xf0..=0xff => *back < 4,
            _ => false,
        })
    });
    bytes.get(..bytes.len() - torn.unwrap_or(0)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(bytes: &[u8], max: usize) -> String {
        let mut out = Vec::new();
        push_string(&mut out, bytes, max);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        assert_eq!(json(b"\x1b[31m\r\n\0\x7f\t\"\\", 99), r#""\u001b[31m\r\n\u0000\u007f\t\"\\""#);
        assert_eq!(json("\u{9b}\u{2028}\u{202e}\u{2066}a".as_bytes(), 99), r#""\u009b\u2028\u202e\u2066a""#);
        assert_eq!(json("Grüße €𝄞".as_bytes(), 99), "\"Grüße €𝄞\"");
        assert_eq!(json(b"a\xffb\xe2\x82", 99), r#""a\ufffdb\ufffd""#);
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(json(b"abcd", 4), "\"abcd\"");
        assert_eq!(json(b"abcde", 4), "\"abcd…\"");
        assert_eq!(json("ab€d".as_bytes(), 4), "\"ab…\"");
        assert_eq!(json("ab€d".as_bytes(), 5), "\"ab€…\"");
        assert_eq!(json("€".as_bytes(), 0), "\"…\"");
    }

    proptest! {
        #[test]
        fn any_bytes_read_back_from_a_json_parser(bytes: Vec<u8>) {
            let text = json(&bytes, usize::MAX);
            let back: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
            prop_assert!(!text.chars().any(char::is_control));
        }

        #[test]
        fn any_text_read_back_and_cut_stays_json(text: String, max in 0usize..40) {
            let back: String = serde_json::from_str(&json(text.as_bytes(), max)).unwrap();
            let whole = back.strip_suffix('…').unwrap_or(&back);
            prop_assert!(text.starts_with(whole) && whole.len() <= max.max(text.len().min(max)));
        }
    }
}
