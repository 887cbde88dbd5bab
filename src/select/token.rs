//! The claims of a JSON Web Token (RFC 7519), for whoever has checked its signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest token that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// The claims of the token in `value`, behind a word like `Bearer` if there is one; `None` where it is no token.
pub(super) fn claims(value: &[u8]) -> Option<Vec<u8>> {
    let token = value.trim_ascii().rsplit(u8::is_ascii_whitespace).next()?;
    if token.len() > MAX_BYTES {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.').skip(1);
    let claims = parts.next()?;
    // The signature, and nothing behind it.
    let (Some(_), None) = (parts.next(), parts.next()) else { return None };
    URL_SAFE_NO_PAD.decode(claims).ok()
}
