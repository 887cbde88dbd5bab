//! JSON written anew without changing what it says: its blanks, its escapes, its order.

use std::fmt::Write;

use serde::de::IgnoredAny;
use serde_json::Value;

/// Where blanks stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Where they stood.
    Kept,
    Compact,
    /// `{"a": 1, "b": 2}`.
    Spaced,
    /// A member a line, so many blanks deeper each.
    Indented(usize),
    /// Compact, members sorted by name.
    Sorted,
}

/// How the characters of strings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// As they were.
    Kept,
    /// What is not ASCII as `\uXXXX`.
    Ascii,
    /// Nothing that need not be.
    Least,
    /// As `Ascii`, and `/` as `\/`.
    AsciiAndSlash,
    /// As `Least`, and `/` as `\/`.
    Slash,
}

impl Escapes {
    pub(super) const ALL: [Self; 5] =
        [Self::Kept, Self::Ascii, Self::Least, Self::AsciiAndSlash, Self::Slash];
}

/// A body that is JSON.
pub(super) struct Json<'a>(&'a str);

/// `body` as JSON; `None` where it is none.
pub(super) fn read(body: &[u8]) -> Option<Json<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(Json(text))
}

impl Json<'_> {
    /// The same value, written so.
    pub(super) fn write(&self, layout: Layout, escapes: Escapes) -> Option<Vec<u8>> {
        if layout == Layout::Sorted {
            // Objects of this crate's values are sorted.
            let sorted = serde_json::from_str::<Value>(self.0).ok()?.to_string();
            return Json(&sorted).write(Layout::Compact, escapes);
        }
        let mut out = String::with_capacity(self.0.len() * 2);
        let (mut depth, mut rest) = (0usize, self.0);
        while let Some(next) = rest.chars().next() {
            let length = if next == '"' { string_length(rest)? } else { next.len_utf8() };
            let (token, after) = rest.split_at_checked(length)?;
            rest = after;
            match (next, layout) {
                ('"', _) => string(&mut out, token, escapes)?,
                (blank, Layout::Kept) if blank.is_ascii_whitespace() => out.push(blank),
                (blank, _) if blank.is_ascii_whitespace() => {}
                ('{' | '[', Layout::Indented(step)) => {
                    out.push(next);
                    if rest.trim_start().starts_with(['}', ']']) {
                        rest = rest.trim_start();
                        out.extend(rest.chars().next());
                        rest = rest.get(1..)?;
                    } else {
                        depth += 1;
                        line(&mut out, depth * step);
                    }
                }
                ('}' | ']', Layout::Indented(step)) => {
                    depth = depth.checked_sub(1)?;
                    line(&mut out, depth * step);
                    out.push(next);
                }
                (',', Layout::Indented(step)) => {
                    out.push(',');
                    line(&mut out, depth * step);
                }
                (':', Layout::Indented(_) | Layout::Spaced) => out.push_str(": "),
                (',', Layout::Spaced) => out.push_str(", "),
                _ => out.push(next),
            }
        }
        Some(out.into_bytes())
    }
}

fn line(out: &mut String, blanks: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', blanks));
}

/// The bytes of the string that `text` begins with, quotes included.
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return Some(at + 1),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn string(out: &mut String, token: &str, escapes: Escapes) -> Option<()> {
    if escapes == Escapes::Kept {
        out.push_str(token);
        return Some(());
    }
    let text: String = serde_json::from_str(token).ok()?;
    let least = serde_json::to_string(&text).ok()?;
    let ascii = matches!(escapes, Escapes::Ascii | Escapes::AsciiAndSlash);
    let slash = matches!(escapes, Escapes::Slash | Escapes::AsciiAndSlash);
    for c in least.chars() {
        match c {
            '/' if slash => out.push_str("\\/"),
            _ if ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(c),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str, layout: Layout, escapes: Escapes) -> String {
        String::from_utf8(read(text.as_bytes()).unwrap().write(layout, escapes).unwrap()).unwrap()
    }

    #[test]
    fn each_layout_is_the_one_of_the_usual_libraries() {
        let text = "{\"b\" :[1,{}, [] ],\"a\":\"x: {\\\"\"}";
        let kept = Escapes::Kept;
        assert_eq!(written(text, Layout::Kept, kept), text);
        assert_eq!(written(text, Layout::Compact, kept), "{\"b\":[1,{},[]],\"a\":\"x: {\\\"\"}");
        assert_eq!(written(text, Layout::Spaced, kept), "{\"b\": [1, {}, []], \"a\": \"x: {\\\"\"}");
        assert_eq!(written(text, Layout::Sorted, kept), "{\"a\":\"x: {\\\"\",\"b\":[1,{},[]]}");
        let indented = "{\n  \"b\": [\n    1,\n    {},\n    []\n  ],\n  \"a\": \"x: {\\\"\"\n}";
        assert_eq!(written(text, Layout::Indented(2), kept), indented);
        let pretty =
            serde_json::to_string_pretty(&serde_json::json!({"a": [1, {"b": null}], "c": {}})).unwrap();
        assert_eq!(written(&pretty.replace(char::is_whitespace, ""), Layout::Indented(2), kept), pretty);
    }

    #[test]
    fn escapes_are_written_as_they_are_asked_for() {
        let text = "\"\\u00e9/\\ud83d\\ude00\\/\\n\"";
        assert_eq!(written(text, Layout::Compact, Escapes::Least), "\"é/😀/\\n\"");
        assert_eq!(written(text, Layout::Compact, Escapes::Slash), "\"é\\/😀\\/\\n\"");
        assert_eq!(written(text, Layout::Compact, Escapes::Ascii), "\"\\u00e9/\\ud83d\\ude00/\\n\"");
        assert_eq!(
            written(text, Layout::Compact, Escapes::AsciiAndSlash),
            "\"\\u00e9\\/\\ud83d\\ude00\\/\\n\""
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>, text in "[\\[\\]{}\",:a1\\\\ \n/u]{0,40}") {
            for body in [&body[..], text.as_bytes()] {
                let Some(json) = read(body) else { continue };
                for layout in [Layout::Kept, Layout::Compact, Layout::Spaced, Layout::Indented(2), Layout::Sorted] {
                    for escapes in Escapes::ALL {
                        let _ = json.write(layout, escapes);
                    }
                }
            }
        }
    }
}
