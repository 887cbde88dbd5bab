//! Every form in which a lenient app might read a path.
//!
//! Apps are not as strict as [`normalise`] is. Express ignores case, Tomcat cuts `;x` and decodes `%2f`, IIS reads `\`
//! as `/`, many decode twice, Rails cuts `.json`, WHATWG parsers take `//x` for a host. A pass-through sends the path as
//! it came, so a path that *any* of them might read as a reserved one must not pass. [`may_be_read_as`] therefore asks
//! about every reading, and where readings depend on the order in which an app does things (`..` together with anything
//! else of the above) it does not try to list them: such a path says yes to all. Browsers and HTTP libraries resolve
//! `..` before they send.
//!
//! Web servers rewrite, too: what stands behind a script (`/index.php/hooks`, RFC 3875 §4.1.5 `PATH_INFO`) is the path
//! that a PHP or CGI app routes on, and ASP.NET takes a cookieless session, `/(S(…))`, out of a path before anything
//! sees it.

use super::{hex_value, normalise};

/// The form of a reserved path that [`may_be_read_as`] offers to its caller; `None` for a path that cannot be told
/// apart from others once it is read leniently (it holds `\`, `;`, `?`, `#`, an encoded `/`, a blank or a control
/// character, or something that is not UTF-8), which therefore cannot be reserved.
#[must_use]
pub fn fold(path: &str) -> Option<String> {
    let normal = normalise(path);
    let loose = Loose::read(&normal);
    if loose.odd || loose.undecodable || loose.has_dot_dot() {
        None
    } else {
        Some(loose.reading(Cut::default()))
    }
}

/// Whether `is_reserved` says yes to any of the forms in which some app might read `path`; also yes where they cannot
/// be listed. The forms are as [`fold`] writes them.
pub fn may_be_read_as(path: &str, is_reserved: impl Fn(&str) -> bool) -> bool {
    let as_written =
        |reading: &str| is_reserved(trim_slash(reading)) || reserved_without_suffix(reading, &is_reserved);
    let check = |reading: &str| as_written(reading) || reserved_when_rewritten(reading, &as_written);
    if is_plain(path.as_bytes()) {
        return check(path);
    }
    let loose = Loose::read(path);
    if loose.undecodable {
        return true;
    }
    if loose.has_dot_dot() {
        let lower = path.to_ascii_lowercase();
        return loose.odd || path.contains('%') || check(&normalise(&lower)) || check(&unresolved(&lower));
    }
    loose.cuts().any(|cut| {
        let reading = loose.reading(cut);
        // `//x/hooks`: the WHATWG URL parser takes `x` for the host.
        check(&reading) || (loose.authority && without_first(&reading).is_some_and(check))
    })
}

/// Bytes that every app reads as they are.
#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would refuse an index out of bounds"
)]
const PLAIN: [bool; 128] = {
    let mut plain = [false; 128];
    let bytes = b"abcdefghijklmnopqrstuvwxyz0123456789/-_.~!$&'()*+,:=@|";
    let mut at = 0;
    while at < bytes.len() {
        plain[bytes[at] as usize] = true;
        at += 1;
    }
    plain
};

/// Lower case, nothing to decode, cut or resolve: the path has one reading (but for its suffix).
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        let plain = PLAIN.get(usize::from(byte)).is_some_and(|plain| *plain);
        if !plain || (before == b'/' && (byte == b'/' || byte == b'.')) {
            return false;
        }
        before = byte;
    }
    path.first() == Some(&b'/')
}

pub(super) fn trim_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(trimmed) => trimmed,
    }
}

/// Rails answers `/hooks/github.json` where `/hooks/github` was routed, Windows drops trailing dots.
fn reserved_without_suffix(reading: &str, is_reserved: &impl Fn(&str) -> bool) -> bool {
    let reading = trim_slash(reading);
    let undotted = reading.trim_end_matches('.');
    let stem = undotted.rsplit_once('.').filter(|(_, suffix)| !suffix.contains('/')).map(|(stem, _)| stem);
    // A name that is nothing but a suffix is a dotfile's.
    let named = |path: &str| !path.ends_with('/') && is_reserved(path);
    (undotted.len() < reading.len() && named(undotted)) || stem.is_some_and(named)
}

/// What ends the name of a script that hands the rest of the path to an app.
const SCRIPTS: [&str; 8] = [".php", ".phtml", ".cgi", ".fcgi", ".pl", ".py", ".rb", ".dll"];

/// Whether `reading`, all in lower case, is reserved behind a script or without its sessions.
fn reserved_when_rewritten(reading: &str, is_reserved: &impl Fn(&str) -> bool) -> bool {
    // Nearly every path has neither.
    if memchr::memchr2(b'.', b'(', reading.as_bytes()).is_none() {
        return false;
    }
    let behind_script = |path: &str| {
        path.match_indices('/').any(|(slash, _)| {
            path.split_at_checked(slash).is_some_and(|(before, rest)| {
                SCRIPTS.iter().any(|script| before.ends_with(script)) && is_reserved(rest)
            })
        })
    };
    behind_script(reading)
        || without_sessions(reading).is_some_and(|bare| is_reserved(&bare) || behind_script(&bare))
}

/// `path` without its `/(S(…))`, `/(A(…)F(…))` and the like; `None` where it has none.
fn without_sessions(path: &str) -> Option<String> {
    let (mut bare, mut rest, mut found) = (String::new(), path, false);
    while let Some((before, session)) = rest.split_once("/(") {
        bare.push_str(before);
        let is_session = matches!(session.as_bytes(), [b'a' | b'f' | b's', b'(', ..]);
        match session.split_once("))").filter(|(tickets, _)| is_session && !tickets.contains('/')) {
            Some((_, after)) => {
                found = true;
                rest = after;
            }
            None => {
                bare.push_str("/(");
                rest = session;
            }
        }
    }
    bare.push_str(rest);
    found.then_some(bare)
}

fn without_first(reading: &str) -> Option<&str> {
    reading.get(1..)?.find('/').and_then(|slash| reading.get(slash + 1..))
}

/// As an app sees the path that does not know dot segments.
fn unresolved(path: &str) -> String {
    let mut kept = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        kept.push('/');
        kept.push_str(segment);
    }
    kept
}

/// How a reading cuts a path. What is decoded before it is cut and what after differs from app to app.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    /// A `;` written as such cuts across encoded slashes.
    semicolon_first: bool,
    /// So does an encoded one.
    encoded_first: bool,
    /// A query begins inside what a `;` cuts; otherwise it is cut along.
    query_in_params: bool,
    /// A blank or control character ends the path; otherwise it is left out.
    at_controls: bool,
    /// So does a NUL.
    at_nul: bool,
}

/// In [`Loose::bytes`]: a slash that was written as one.
const SLASH: u8 = b'/';
/// A `\`, or a slash that was encoded.
const ODD_SLASH: u8 = b'\\';
/// A `;` that was written as such.
const PARAM: u8 = b';';
/// An encoded `;`.
const ODD_PARAM: u8 = 1;
/// An encoded `?`, a `#`: what follows is no path to an app that decodes first.
const QUERY: u8 = b'?';
/// A blank or a control character other than NUL.
const CONTROL: u8 = 2;
/// A NUL: the end of the path to an app that hands it to C.
const NUL: u8 = 0;

/// A path decoded until nothing is left to decode, in lower case, its separators in the classes above.
struct Loose {
    bytes: Vec<u8>,
    slashes: bool,
    params: bool,
    controls: bool,
    nul: bool,
    /// Empty segments, or any of the classes above but a plain slash.
    odd: bool,
    /// Begins with two slashes of some kind.
    authority: bool,
    /// Overlong UTF-8, or `%uXXXX`: what that means is anybody's guess.
    undecodable: bool,
}

impl Loose {
    fn read(path: &str) -> Self {
        let mut bytes = Vec::with_capacity(path.len());
        for byte in path.bytes() {
            bytes.push(match byte {
                b'/' | b';' => byte,
                _ => class_of_decoded(byte),
            });
            // A decoded byte may complete another escape: `%2` and `%35` are `%25`. Every escape ends at the byte
            // that was pushed last, so one look per push finds them all.
            while let Some([b'%', high, low]) = bytes.last_chunk::<3>().copied() {
                if !(high.is_ascii_hexdigit() && low.is_ascii_hexdigit()) {
                    break;
                }
                bytes.truncate(bytes.len().saturating_sub(3));
                bytes.push(class_of_decoded(hex_value(high) << 4 | hex_value(low)));
            }
        }
        fold_lookalikes(&mut bytes);
        let has = |classes: &[u8]| bytes.iter().any(|byte| classes.contains(byte));
        let (slashes, params) = (has(&[ODD_SLASH]), has(&[PARAM, ODD_PARAM]));
        let (controls, nul) = (has(&[CONTROL]), has(&[NUL]));
        let empties = bytes.windows(2).any(|pair| pair == [SLASH, SLASH]);
        let slash = |byte: Option<&u8>| matches!(byte, Some(&SLASH | &ODD_SLASH));
        Self {
            slashes,
            params,
            controls,
            nul,
            odd: slashes || params || controls || nul || empties || has(&[QUERY]),
            authority: slash(bytes.first()) && slash(bytes.get(1)),
            undecodable: is_undecodable(&bytes),
            bytes,
        }
    }

    /// Whether any reading has a `..` segment.
    fn has_dot_dot(&self) -> bool {
        let separator = |byte: &u8| matches!(*byte, SLASH | ODD_SLASH | PARAM | ODD_PARAM | QUERY);
        self.bytes.split(separator).any(|segment| {
            let left_out = |byte: &&u8| matches!(**byte, CONTROL | NUL);
            let until_nul = segment.iter().take_while(|byte| **byte != NUL);
            segment.iter().filter(|byte| !left_out(byte)).eq(b"..")
                || until_nul.filter(|byte| !left_out(byte)).eq(b"..")
                || segment.iter().take_while(|byte| !left_out(byte)).eq(b"..")
        })
    }

    /// The ways to cut that make a difference.
    fn cuts(&self) -> impl Iterator<Item = Cut> {
        let bit = |useful: bool, bit: u8| if useful { bit } else { 0 };
        let cutting = self.params && self.slashes;
        let useful = [
            bit(cutting, 0b00001),
            bit(cutting, 0b00010),
            bit(self.params, 0b00100),
            bit(self.controls, 0b01000),
            bit(self.nul, 0b10000),
        ];
        let useful = useful.into_iter().fold(0, |all, bit| all | bit);
        (0..32u8).filter(move |bits| bits & !useful == 0).map(|bits| Cut {
            semicolon_first: bits & 0b00001 != 0,
            encoded_first: bits & 0b00010 != 0,
            query_in_params: bits & 0b00100 != 0,
            at_controls: bits & 0b01000 != 0,
            at_nul: bits & 0b10000 != 0,
        })
    }

    /// The path as an app reads it that cuts like `cut`: no empty and no `.` segments.
    fn reading(&self, cut: Cut) -> String {
        /// What is being left out.
        #[derive(PartialEq)]
        enum Skip {
            Nothing,
            ToSlash,
            ToWrittenSlash,
        }
        let to = |written: bool| if written { Skip::ToWrittenSlash } else { Skip::ToSlash };
        let mut reading = Vec::with_capacity(self.bytes.len() + 1);
        let mut segment_at = 0;
        let mut skip = Skip::Nothing;
        for &byte in &self.bytes {
            match byte {
                ODD_SLASH if skip == Skip::ToWrittenSlash => {}
                SLASH | ODD_SLASH => {
                    skip = Skip::Nothing;
                    begin_segment(&mut reading, &mut segment_at);
                }
                QUERY if skip == Skip::Nothing || cut.query_in_params => break,
                CONTROL if cut.at_controls => break,
                NUL if cut.at_nul => break,
                CONTROL | NUL => {}
                _ if skip != Skip::Nothing => {}
                PARAM => skip = to(cut.semicolon_first),
                ODD_PARAM => skip = to(cut.encoded_first),
                _ => reading.push(byte),
            }
        }
        begin_segment(&mut reading, &mut segment_at);
        if reading.len() > 1 {
            reading.pop();
        }
        String::from_utf8_lossy(&reading).into_owned()
    }
}

/// Ends the segment that began at `at`, unless it is empty or a dot.
fn begin_segment(reading: &mut Vec<u8>, at: &mut usize) {
    match reading.get(*at..) {
        Some(b"" | b".") if !reading.is_empty() => reading.truncate(*at),
        _ => reading.push(SLASH),
    }
    *at = reading.len();
}

fn class_of_decoded(byte: u8) -> u8 {
    match byte {
        b'/' | b'\\' => ODD_SLASH,
        b';' => ODD_PARAM,
        b'?' | b'#' => QUERY,
        0 => NUL,
        1..=b' ' | 0x7f => CONTROL,
        _ => byte.to_ascii_lowercase(),
    }
}

/// The two letters outside ASCII that Unicode's case folding takes for ASCII ones: K (U+212A, Kelvin) and ſ (U+017F).
fn fold_lookalikes(bytes: &mut Vec<u8>) {
    if bytes.is_ascii() {
        return;
    }
    let mut folded = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let [first, others @ ..] = rest {
        let (byte, after) = match rest {
            [0xe2, 0x84, 0xaa, after @ ..] => (b'k', after),
            [0xc5, 0xbf, after @ ..] => (b's', after),
            _ => (*first, others),
        };
        folded.push(byte);
        rest = after;
    }
    *bytes = folded;
}

/// 0xC0 and 0xC1 begin nothing but overlong forms of ASCII (`%c0%af` is an old spelling of `/`), and so does 0xE0
/// followed by less than 0xA0; `%u002f` is an escape on IIS only.
fn is_undecodable(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, 0xc0 | 0xc1))
        || bytes.windows(2).any(|pair| matches!(pair, [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]))
        || bytes.windows(6).any(
            |escape| matches!(escape, [b'%', b'u', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit)),
        )
}
