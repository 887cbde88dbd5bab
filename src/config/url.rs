//! The addresses of apps: `http(s)://host[:port][/path]` and `unix:PATH[:/path]`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Where an app listens, and the path of its URL where it has one other than `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// What is wrong with a URL, and what to write instead. Never repeats the URL: it may hold a password.
pub(super) type Wrong = (&'static str, &'static str);

/// Reads `text`.
pub(super) fn parse(text: &str) -> Result<Address, Wrong> {
    if text.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(("a URL has neither blanks nor characters beyond ASCII", "percent-encode them"));
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        return unix(rest);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err((
            "this is not a URL",
            "write it like \"http://127.0.0.1:3000\" or \"unix:/run/app.sock\"",
        ));
    };
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(("the scheme is neither http nor https", "write it like \"http://127.0.0.1:3000\"")),
    };
    let authority_end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.contains('@') {
        return Err((
            "a user name or password in a URL would end up in logs",
            "write it as a header of the destination: headers = { authorization = { env = \"APP_AUTH\" } }",
        ));
    }
    let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })?;
    Ok(Address { place: Place::Tcp { host, port, tls }, path: own_path(path)? })
}

fn unix(rest: &str) -> Result<Address, Wrong> {
    let (socket, path) = match rest.find(":/") {
        Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default()),
        None => (rest, ""),
    };
    if socket.is_empty() || socket.starts_with("//") || socket.ends_with('/') {
        return Err(("a unix socket needs its path", "write it like \"unix:/run/app.sock\""));
    }
    // sun_path of unix(7) less its final NUL.
    if socket.len() > 107 {
        return Err(("a unix socket's path has at most 107 bytes", "choose a shorter path"));
    }
    Ok(Address { place: Place::Unix(PathBuf::from(socket)), path: own_path(path)? })
}

/// Splits an authority; the host comes without brackets, in lower case.
pub(super) fn host_and_port(authority: &str, default_port: u16) -> Result<(String, u16), Wrong> {
    const PORT: Wrong = ("the port is a number from 1 to 65535", "write it like \"http://127.0.0.1:3000\"");
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once(']') else {
                return Err((
                    "the bracket around the address is not closed",
                    "write it like \"http://[::1]:3000\"",
                ));
            };
            if host.parse::<Ipv6Addr>().is_err() {
                return Err((
                    "there is no v6 address between the brackets",
                    "write it like \"http://[::1]:3000\"",
                ));
            }
            (host, port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            name(host)?;
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).ok_or(PORT)?
        }
        None if port.is_empty() => default_port,
        _ => return Err(PORT),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// A host's name or v4 address. Numbers in other spellings (`2130706433`, `0x7f.1`), which some resolvers take for
/// addresses, are refused.
pub(super) fn name(host: &str) -> Result<(), Wrong> {
    if host.is_empty() {
        return Err(("the host is missing", "write it like \"http://127.0.0.1:3000\""));
    }
    let right = host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && !host.split('.').any(|label| label.len() > 63)
        && !host.trim_end_matches('.').split('.').any(str::is_empty);
    if !right {
        return Err(("this is no host name", "write it like \"http://app.internal:3000\""));
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err((
            "this is no v4 address",
            "write four numbers from 0 to 255, like \"http://127.0.0.1:3000\"",
        ));
    }
    Ok(())
}

fn own_path(path: &str) -> Result<Option<String>, Wrong> {
    if path.contains('#') {
        return Err(("a fragment is never sent", "leave out the part from `#` on"));
    }
    if path.contains('?') {
        return Err((
            "the request's own query is kept, a URL cannot bring another",
            "leave out the part from `?` on",
        ));
    }
    if path.bytes().any(|b| b"\\\"<>^`{|}".contains(&b)) {
        return Err(("the path holds a character that must be percent-encoded", ""));
    }
    Ok(Some(path).filter(|path| !matches!(*path, "" | "/")).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Place {
        Place::Tcp { host: host.to_owned(), port, tls }
    }

    #[test]
    fn right_addresses() {
        for (text, place, path) in [
            ("http://127.0.0.1:3000", tcp("127.0.0.1", 3000, false), None),
            ("http://App.internal/", tcp("app.internal", 80, false), None),
            ("https://app.example.com/hooks", tcp("app.example.com", 443, true), Some("/hooks")),
            ("http://[::1]:8080/a/b", tcp("::1", 8080, false), Some("/a/b")),
            ("http://my_app", tcp("my_app", 80, false), None),
            ("unix:/run/app.sock", Place::Unix("/run/app.sock".into()), None),
            ("unix:app.sock:/hooks", Place::Unix("app.sock".into()), Some("/hooks")),
            ("unix:/run/app.sock:/", Place::Unix("/run/app.sock".into()), None),
        ] {
            assert_eq!(parse(text), Ok(Address { place, path: path.map(str::to_owned) }), "{text}");
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for (text, said) in [
            ("127.0.0.1:3000", "not a URL"),
            ("app", "not a URL"),
            ("ftp://app", "scheme"),
            ("HTTP://app", "scheme"),
            ("http://", "host is missing"),
            ("http://:80", "host is missing"),
            ("http://app:0", "port"),
            ("http://app:99999", "port"),
            ("http://app:", "port"),
            ("http://app:+1", "port"),
            ("http://[::1", "bracket"),
            ("http://[app]", "no v6 address"),
            ("http://[::1]3000", "port"),
            ("http://user:pass@app", "password"),
            ("http://user@app/x", "password"),
            ("http://app?x=1", "query"),
            ("http://app/a?x=1", "query"),
            ("http://app/#x", "fragment"),
            ("http://app/a b", "blanks"),
            ("http://app/{id}", "percent-encoded"),
            ("http://a..b", "no host name"),
            ("http://*.app", "no host name"),
            ("http://2130706433", "no v4 address"),
            ("http://0x7f.1", "no v4 address"),
            ("http://256.0.0.1", "no v4 address"),
            ("http://app\\evil", "percent-encoded"),
            ("unix:", "socket"),
            ("unix:///run/app.sock", "socket"),
            ("unix::/hooks", "socket"),
        ] {
            let (message, _) = parse(text).expect_err(text);
            assert!(message.contains(said), "{text}: {message}");
        }
    }
}
