//! `path` of a route.

use super::walk::Value;
use crate::ingress::PathPattern;

/// Reads the paths that a route answers.
pub(super) fn read_path(value: Value<'_>) -> Option<PathPattern> {
    let text = value.str("write it like \"/webhooks/github\" or \"/*\"")?;
    match path_pattern(text) {
        Ok(pattern) => Some(pattern),
        Err((message, help)) => {
            value.mistake(message, help);
            None
        }
    }
}

/// Reads `"/a/b"`, `"/a/*"` or `"/*"`, in normal form: a request's path is normalised before it is compared.
fn path_pattern(text: &str) -> Result<PathPattern, (&'static str, String)> {
    let plain = |message| Err((message, String::new()));
    if !text.starts_with('/') {
        return Err(("a path begins with `/`", format!("write \"/{}\"", text.escape_debug())));
    }
    let (base, prefix) = match text.strip_suffix("/*") {
        Some(base) => (base, true),
        None => (text, false),
    };
    if base.contains('*') {
        return plain("`*` stands only at the end, behind a `/`: \"/hooks/*\"");
    }
    if base.contains(['{', '}']) {
        return plain("path parameters are not yet supported");
    }
    if base.contains(['?', '#']) {
        return plain("routes are matched by path alone, without query and fragment");
    }
    if base.contains([';', '\\']) {
        return plain("apps read `;` and `\\` in a path in different ways, so no route can be built on them");
    }
    if !base.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>^`|".contains(&b)) {
        return plain("blanks and characters beyond ASCII are percent-encoded in a path");
    }
    let base = base.strip_suffix('/').filter(|_| !prefix).unwrap_or(base);
    if base.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) && !base.is_empty() {
        return plain("write the path in its normal form, without `//`, `/./` and `/../`");
    }
    escapes(base)?;
    Ok(match (prefix, base) {
        (true, base) => PathPattern::Prefix(base.to_owned()),
        (false, "") => PathPattern::Exact("/".to_owned()),
        (false, base) => PathPattern::Exact(base.to_owned()),
    })
}

/// Every `%` begins an escape, in upper case, of a character that cannot stand for itself.
fn escapes(path: &str) -> Result<(), (&'static str, String)> {
    for (at, _) in path.match_indices('%') {
        let digits = path.get(at + 1..at + 3).unwrap_or_default();
        let right =
            digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        let Some(byte) = u8::from_str_radix(digits, 16).ok().filter(|_| right) else {
            return Err((
                "`%` begins an escape of two digits, in upper case",
                "write \"%25\" for a `%`".to_owned(),
            ));
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            let help = format!("write `{}` for `%{digits}`", char::from(byte));
            return Err(("this escape stands for a character that needs none", help));
        }
        if byte < 0x21 || byte == 0x7f || b"/\\;%?#".contains(&byte) {
            return Err((
                "apps read this escape in different ways, so no route can be built on it",
                String::new(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_in_their_normal_form() {
        let exact = |text: &str| PathPattern::Exact(text.to_owned());
        let prefix = |text: &str| PathPattern::Prefix(text.to_owned());
        for (text, pattern) in [
            ("/", exact("/")),
            ("/a/b", exact("/a/b")),
            ("/a/b/", exact("/a/b")),
            ("/a%40b", exact("/a%40b")),
            ("/a%C3%A9", exact("/a%C3%A9")),
            ("/*", prefix("")),
            ("/a/*", prefix("/a")),
        ] {
            assert_eq!(path_pattern(text), Ok(pattern), "{text}");
        }
        for text in [
            "", "a", "*", "/a*", "/*/a", "/a/**", "//", "//*", "/a//b", "/a/../b", "/./a", "/a/..", "/a?b",
            "/a#b", "/a;b", "/a\\b", "/a b", "/\u{e4}", "/{id}", "/a%2fb", "/a%2Fb", "/a%61", "/a%", "/a%g0",
            "/a%5C", "/a%3B", "/a%00", "/a%20", "/a%25",
        ] {
            assert!(path_pattern(text).is_err(), "{text}: {:?}", path_pattern(text));
        }
    }
}
