//! A body that was written anew on its way, or lost or won a line end.

use super::layout::{self, Escapes, Layout};
use super::{Case, Cause, CauseKind, Trial};
use crate::select::{Message, form};

/// Tries what a body may have been before something on the way touched it.
pub(super) fn try_all(case: &Case<'_>, trial: &mut Trial, causes: &mut Vec<Cause>) {
    let is_form = form::is_form(case.message.headers);
    let plain = line_ends(case.message.body).into_iter().chain(encodings(case.message.body, is_form));
    let found = plain.into_iter().find(|(_, _, body)| verifies(case, trial, body));
    let found = found.or_else(|| rewritten(case, trial));
    if let Some((kind, what, _)) = found {
        causes.push(Cause { kind, message: format!("The signature fits {what}. {REMEDY}") });
    }
}

const REMEDY: &str = "Something between the provider and hooklatch changes bodies (a proxy, a framework, an editor, a tool that \
    captured it): let it pass them byte for byte.";

type Variant = (CauseKind, &'static str, Vec<u8>);

fn line_ends(body: &[u8]) -> Vec<Variant> {
    let mut all = Vec::new();
    let mut add = |what, body: Vec<u8>| all.push((CauseKind::TrailingNewline, what, body));
    if let Some(cut) = body.strip_suffix(b"\n") {
        add("the body without the line end at its end", cut.strip_suffix(b"\r").unwrap_or(cut).to_vec());
    }
    add("the body with a line end (LF) at its end", [body, b"\n"].concat());
    add("the body with a line end (CR LF) at its end", [body, b"\r\n"].concat());
    add("the body without the blanks and line ends around it", body.trim_ascii().to_vec());
    all
}

fn encodings(body: &[u8], is_form: bool) -> Vec<Variant> {
    let mut all = Vec::new();
    let mut add = |what, body: Vec<u8>| all.push((CauseKind::BodyRewritten, what, body));
    if body.contains(&b'\n') {
        let bare: Vec<u8> = replace(body, b"\r\n", b"\n");
        add("the body with its line ends written as CR LF", replace(&bare, b"\n", b"\r\n"));
        add("the body with its line ends written as LF", bare);
    }
    match body.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => add("the body without the byte order mark at its start", rest.to_vec()),
        None => add("the body with a byte order mark at its start", [b"\xef\xbb\xbf", body].concat()),
    }
    match std::str::from_utf8(body) {
        // A character beyond Latin-1 was never written in it.
        Ok(text) if !text.is_ascii() => {
            let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            latin1
                .into_iter()
                .for_each(|body| add("the body in ISO 8859-1 (it was turned into UTF-8)", body));
        }
        Ok(_) => {}
        Err(_) => {
            let utf8: String = body.iter().map(|byte| char::from(*byte)).collect();
            add("the body in UTF-8 (it was turned into ISO 8859-1)", utf8.into_bytes());
        }
    }
    if is_form {
        let upper = || escapes_in(body, u8::to_ascii_uppercase);
        let lower = || escapes_in(body, u8::to_ascii_lowercase);
        add("the body with blanks written as `+`", replace(body, b"%20", b"+"));
        add("the body with blanks written as `%20`", replace(body, b"+", b"%20"));
        add("the body with its percent escapes in upper case", upper());
        add("the body with its percent escapes in lower case", lower());
        add("the body with blanks as `+` and escapes in upper case", replace(&upper(), b"%20", b"+"));
        add("the body with blanks as `+` and escapes in lower case", replace(&lower(), b"%20", b"+"));
        add("the body with blanks as `%20` and escapes in upper case", replace(&upper(), b"+", b"%20"));
        add("the body with blanks as `%20` and escapes in lower case", replace(&lower(), b"+", b"%20"));
    }
    if !body.is_empty() {
        add("an empty body", Vec::new());
    }
    all
}

fn verifies(case: &Case<'_>, trial: &mut Trial, body: &[u8]) -> bool {
    let message = Message { body, ..case.message };
    case.secrets.iter().any(|secret| trial.fits(case.scheme, secret, &message))
}

/// JSON in the layouts in which the usual libraries write it.
fn rewritten(case: &Case<'_>, trial: &mut Trial) -> Option<Variant> {
    let json = layout::read(case.message.body)?;
    let whole_numbers = json.with_whole_numbers();
    let layouts = [
        (Layout::Kept, "the body with its characters escaped as they were signed (\\u…, \\/)"),
        (Layout::Compact, "the body written without blanks: it was parsed and written anew"),
        (
            Layout::Spaced,
            "the body written with a blank behind each `,` and `:`: it was parsed and written anew",
        ),
        (Layout::Indented("  "), "the body indented by two blanks: it was parsed and written anew"),
        (Layout::Indented("    "), "the body indented by four blanks: it was parsed and written anew"),
        (Layout::Indented("\t"), "the body indented by tabs: it was parsed and written anew"),
        (
            Layout::Sorted,
            "the body with its members sorted and without blanks: it was parsed and written anew",
        ),
    ];
    for json in [Some(json), whole_numbers].into_iter().flatten() {
        for (layout, what) in layouts {
            for escapes in Escapes::ALL {
                if trial.cut_short {
                    return None;
                }
                let Some(mut body) = json.write(layout, escapes) else { continue };
                for _ in 0..2 {
                    if verifies(case, trial, &body) {
                        return Some((CauseKind::BodyRewritten, what, body));
                    }
                    body.push(b'\n');
                }
            }
        }
    }
    None
}

fn replace(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memmem::find(rest, from) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(to);
        rest = after.get(from.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

fn escapes_in(body: &[u8], case: fn(&u8) -> u8) -> Vec<u8> {
    let mut left = 0usize;
    let change = |byte: &u8| {
        let inside = left > 0;
        left = if *byte == b'%' { 2 } else { left.saturating_sub(1) };
        if inside { case(byte) } else { *byte }
    };
    body.iter().map(change).collect()
}
