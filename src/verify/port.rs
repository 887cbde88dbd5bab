//! A URL's port, there or not: some providers sign the address without the port they were given, or with one that
//! nobody wrote.

/// `url` without its port; `None` if it has none.
pub(super) fn without(url: &str) -> Option<String> {
    let (scheme, host, port, rest) = split(url)?;
    port.map(|_| format!("{scheme}://{host}{rest}"))
}

/// `url` with its scheme's default port; `None` if it has one already, or the scheme has none.
pub(super) fn with_default(url: &str) -> Option<String> {
    let (scheme, host, port, rest) = split(url)?;
    if port.is_some() {
        return None;
    }
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    Some(format!("{scheme}://{host}:{default}{rest}"))
}

/// Scheme, host (with what stands before an `@`), port, and what follows the authority (RFC 3986 §3).
fn split(url: &str) -> Option<(&str, &str, Option<&str>, &str)> {
    let (scheme, after) = url.split_once("://")?;
    let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((scheme, host, Some(port), rest))
        }
        _ => Some((scheme, authority, None, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_off_and_put_on() {
        for (with, bare) in [
            ("https://example.com:443/a:1?b=:2", "https://example.com/a:1?b=:2"),
            ("http://user:1@example.com:80", "http://user:1@example.com"),
            ("https://[2001:db8::1]:443/", "https://[2001:db8::1]/"),
            ("https://example.com:443?x", "https://example.com?x"),
        ] {
            assert_eq!(without(with).as_deref(), Some(bare));
            assert_eq!(with_default(bare).as_deref(), Some(with));
            assert_eq!(without(bare), None);
            assert_eq!(with_default(with), None);
        }
        assert_eq!(without("http://example.com:1234/"), Some("http://example.com/".to_owned()));
        for odd in ["", "example.com", "ftp://example.com/"] {
            assert_eq!((without(odd), with_default(odd)), (None, None), "{odd}");
        }
    }
}
