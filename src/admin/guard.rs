//! Who may ask: the `Host` and `Origin` of a request against web pages that reach this listener through a browser,
//! and the token.

use std::net::IpAddr;

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::reply::Refusal;
use crate::secret::Secret;

/// The tokens of `/api`.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// May read and change.
    pub full: Secret,
    /// May only read.
    pub read: Option<Secret>,
}

/// How a request came in.
#[derive(Clone, Debug)]
pub(super) enum Entrance {
    /// Over TCP, at this address of ours.
    Tcp { local: IpAddr },
    /// Over the unix socket: its file's mode is the guard, and no browser opens one.
    Unix,
}

/// Who asks, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Token,
    ReadToken,
    Socket,
}

impl Caller {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ReadToken => "read_token",
            Self::Socket => "socket",
        }
    }
}

/// Refuses what a foreign web page may have sent: a name that was pointed at this address (DNS rebinding), and
/// requests that the browser itself marks as coming from elsewhere. `listen_host` is the configured one.
pub(super) fn check_site(
    entrance: &Entrance,
    listen_host: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let Entrance::Tcp { local } = entrance else { return Ok(()) };
    let forbidden = |field: &str, message: &str| {
        let refusal = Refusal::new(StatusCode::FORBIDDEN, "forbidden", message);
        Refusal { field: Some(field.to_owned()), ..refusal }
    };
    let foreign = || {
        forbidden(
            "Host",
            "This host name is not one of the admin listener's; use its address, localhost, or the name in \
             `admin.listen`.",
        )
    };
    let host = only(headers, HOST.as_str()).and_then(|h| h.parse::<Authority>().ok()).ok_or_else(foreign)?;
    // In the absolute form the target names a host of its own, which counts before the header (RFC 9112 §3.2.2).
    for authority in uri.authority().into_iter().chain([&host]) {
        if !is_ours(authority.host(), *local, listen_host) || authority.as_str().contains('@') {
            return Err(foreign());
        }
    }
    if headers.contains_key(ORIGIN) {
        let same = only(headers, ORIGIN.as_str())
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str()));
        if !same {
            return Err(forbidden("Origin", "Web pages of another origin may not use the admin API."));
        }
    }
    let site = headers.get("sec-fetch-site").map_or(&b"none"[..], |site| site.as_bytes());
    if !matches!(site, b"none" | b"same-origin") {
        return Err(forbidden("Sec-Fetch-Site", "Web pages of another site may not use the admin API."));
    }
    Ok(())
}

/// The value of a header that stands exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

/// An address that is not a name cannot be rebound; but one that is not ours was not meant for us either.
fn is_ours(host: &str, local: IpAddr, listen_host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address == local.to_canonical()
        }
        Err(_) => {
            let name = host.strip_suffix('.').unwrap_or(host);
            name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case(listen_host)
        }
    }
}

/// Checks the token of a request to `/api`.
pub(super) fn check_token(
    entrance: &Entrance,
    tokens: &ArcSwap<Tokens>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    if let Entrance::Unix = entrance {
        return Ok(Caller::Socket);
    }
    let unauthorized = |message: &str| Refusal {
        field: Some("Authorization".to_owned()),
        ..Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    };
    let given = only(headers, AUTHORIZATION.as_str())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_start_matches(' ').as_bytes())
        .ok_or_else(|| {
            unauthorized("The admin API asks for `Authorization: Bearer TOKEN` with the admin token.")
        })?;
    let tokens = tokens.load();
    // Both are compared in any case, so that the time tells nothing about which one was near.
    let full = tokens.full.matches(given);
    let read = tokens.read.as_ref().is_some_and(|read| read.matches(given));
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match (full, read) {
        (true, _) => Ok(Caller::Token),
        (false, true) if reads => Ok(Caller::ReadToken),
        (false, true) => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This token may only read; changes ask for the admin token.",
        )),
        (false, false) => Err(unauthorized("This is not the admin token.")),
    }
}
