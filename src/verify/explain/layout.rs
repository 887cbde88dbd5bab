//! JSON written anew without changing what it says: its blanks, its escapes, its order.

use std::borrow::Cow;
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
    /// A member a line, each level deeper by this.
    Indented(&'static str),
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
    /// As `Least`, and `<`, `>`, `&` and the two line ends of JavaScript as `\u003c`: Go, Rails.
    Html,
    /// As `Html`, with upper-case digits and much more: .NET's own.
    Dotnet,
    /// As `Ascii`, with upper-case digits.
    AsciiUpper,
}

impl Escapes {
    pub(super) const ALL: [Self; 8] = [
        Self::Kept,
        Self::Ascii,
        Self::Least,
        Self::AsciiAndSlash,
        Self::Slash,
        Self::Html,
        Self::Dotnet,
        Self::AsciiUpper,
    ];

    /// Whether a character that JSON lets stand is written as `\u….`.
    fn escapes(self, c: char) -> bool {
        match self {
            Self::Kept | Self::Least | Self::Slash => false,
            Self::Ascii | Self::AsciiAndSlash | Self::AsciiUpper => !c.is_ascii(),
            Self::Html => matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'),
            Self::Dotnet => !c.is_ascii() || matches!(c, '<' | '>' | '&' | '\'' | '+' | '`' | '\u{7f}'),
        }
    }
}

/// A body that is JSON.
pub(super) struct Json<'a>(Cow<'a, str>);

/// `body` as JSON; `None` where it is none.
pub(super) fn read(body: &[u8]) -> Option<Json<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(Json(Cow::Borrowed(text)))
}

impl Json<'_> {
    /// With whole numbers written without a fraction, `1.0` as `1`; `None` where none has one.
    pub(super) fn with_whole_numbers(&self) -> Option<Json<'static>> {
        let mut out = String::with_capacity(self.0.len());
        let mut rest = &*self.0;
        while let Some(next) = rest.chars().next() {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
            let length = match next {
                '"' => string_length(rest)?,
                _ if is_part(next) => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
                _ => next.len_utf8(),
            };
            let (token, after) = rest.split_at_checked(length)?;
            rest = after;
            let whole =
                token.split_once('.').filter(|(_, fraction)| fraction.bytes().all(|digit| digit == b'0'));
            out.push_str(match whole {
                Some((whole, _)) if next != '"' => whole,
                _ => token,
            });
        }
        (out.len() < self.0.len()).then_some(Json(Cow::Owned(out)))
    }

    /// The same value, written so.
    pub(super) fn write(&self, layout: Layout, escapes: Escapes) -> Option<Vec<u8>> {
        if layout == Layout::Sorted {
            // Objects of this crate's values are sorted.
            let sorted = serde_json::from_str::<Value>(&self.0).ok()?.to_string();
            return Json(Cow::Owned(sorted)).write(Layout::Compact, escapes);
        }
        let mut out = String::with_capacity(self.0.len() * 2);
        let (mut depth, mut rest) = (0usize, &*self.0);
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
                        line(&mut out, step, depth);
                    }
                }
                ('}' | ']', Layout::Indented(step)) => {
                    depth = depth.checked_sub(1)?;
                    line(&mut out, step, depth);
                    out.push(next);
                }
                (',', Layout::Indented(step)) => {
                    out.push(',');
                    line(&mut out, step, depth);
                }
                (':', Layout::Indented(_) | Layout::Spaced) => out.push_str(": "),
                (',', Layout::Spaced) => out.push_str(", "),
                _ => out.push(next),
            }
        }
        Some(out.into_bytes())
    }
}

fn line(out: &mut String, step: &str, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(step, depth));
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
    let (slash, upper) = (
        matches!(escapes, Escapes::Slash | Escapes::AsciiAndSlash),
        matches!(escapes, Escapes::Dotnet | Escapes::AsciiUpper),
    );
    let inside = least.strip_prefix('"')?.strip_suffix('"')?;
    let mut chars = inside.chars();
    out.push('"');
    while let Some(c) = chars.next() {
        match c {
            '/' if slash => out.push_str("\\/"),
            '\\' => match chars.next()? {
                '"' if escapes == Escapes::Dotnet => out.push_str("\\u0022"),
                escaped => out.extend(['\\', escaped]),
            },
            _ if escapes.escapes(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = if upper { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") };
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
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
        assert_eq!(written(text, Layout::Indented("  "), kept), indented);
        let pretty =
            serde_json::to_string_pretty(&serde_json::json!({"a": [1, {"b": null}], "c": {}})).unwrap();
        assert_eq!(written(&pretty.replace(char::is_whitespace, ""), Layout::Indented("  "), kept), pretty);
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

    #[test]
    fn the_escapes_of_other_languages_are_theirs() {
        let text = r#""<a href='x'>é&\u2028\"+😀</a>""#;
        // Go's encoding/json, and Rails'.
        assert_eq!(
            written(text, Layout::Compact, Escapes::Html),
            r#""\u003ca href='x'\u003eé\u0026\u2028\"+😀\u003c/a\u003e""#
        );
        // System.Text.Json.
        assert_eq!(
            written(text, Layout::Compact, Escapes::Dotnet),
            r#""\u003Ca href=\u0027x\u0027\u003E\u00E9\u0026\u2028\u0022\u002B\uD83D\uDE00\u003C/a\u003E""#
        );
        assert_eq!(written("\"é\\\\\"", Layout::Compact, Escapes::AsciiUpper), "\"\\u00E9\\\\\"");
        assert_eq!(written("[1]", Layout::Indented("\t"), Escapes::Kept), "[\n\t1\n]");
    }

    #[test]
    fn whole_numbers_lose_their_fraction_and_nothing_else_changes() {
        let whole = |text: &str| {
            let json = read(text.as_bytes()).unwrap().with_whole_numbers()?;
            Some(String::from_utf8(json.write(Layout::Kept, Escapes::Kept).unwrap()).unwrap())
        };
        assert_eq!(
            whole(r#"{"1.0": [1.0, -2.00 ,1.50,"3.0",1.0e5]}"#).unwrap(),
            r#"{"1.0": [1, -2 ,1.50,"3.0",1.0e5]}"#
        );
        assert_eq!(whole("[1,1.5,true,null]"), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>, text in "[\\[\\]{}\",:a1\\\\ \n/u]{0,40}") {
            for body in [&body[..], text.as_bytes()] {
                let Some(json) = read(body) else { continue };
                let _ = json.with_whole_numbers();
                for layout in [Layout::Kept, Layout::Compact, Layout::Spaced, Layout::Indented("  "), Layout::Sorted] {
                    for escapes in Escapes::ALL {
                        let _ = json.write(layout, escapes);
                    }
                }
            }
        }
    }
}
