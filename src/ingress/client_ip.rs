//! Who the client is: the peer of the connection, or whom a trusted proxy names.
//!
//! Only a trusted peer's word counts, and only in the one header that the operator chose. A list
//! (`x-forwarded-for`, `forwarded`) is joined over all its lines and walked from the right, as each proxy appends:
//! the first address that is no trusted proxy is the client, and what stands left of it was said by a stranger. Where
//! an entry is no address, the last trusted one stands.

use std::fmt::Write;
use std::net::IpAddr;

use super::settings::{Peer, ServerOptions, TrustedProxies};
use crate::event::Proto;
use crate::headers::Headers;

/// The client as far as hooklatch can know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; `None` for a peer without one.
    pub ip: Option<IpAddr>,
    /// The value of `x-forwarded-for` toward the app: the client, then the trusted proxies that were named behind it.
    /// Empty for a peer without an address.
    pub forwarded_for: String,
    /// The scheme that the client used.
    pub proto: Proto,
    /// The host that the client used, where a trusted proxy says so.
    pub host: Option<String>,
}

impl Client {
    /// Finds the client of a request with `headers` that `peer` sent.
    #[must_use]
    pub fn find(peer: Peer, headers: &Headers, server: &ServerOptions) -> Self {
        let peer_ip = match peer {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix => None,
        };
        if !is_trusted_peer(peer_ip, &server.trusted_proxies) {
            return Self::direct(peer_ip);
        }
        let mut client = match server.client_ip_header.as_str() {
            "x-forwarded-for" => {
                let listed = joined(headers, "x-forwarded-for");
                let hops = listed.split(',').rev().map(str::trim).filter(|hop| !hop.is_empty());
                Self::walk(peer_ip, hops.map(parse_address), &server.trusted_proxies)
            }
            "forwarded" => {
                let listed = joined(headers, "forwarded");
                let elements: Vec<_> = forwarded_elements(&listed).collect();
                let hops = elements.iter().rev().map(|e| forwarded_param(e, "for").and_then(parse_address));
                Self::walk(peer_ip, hops, &server.trusted_proxies)
            }
            single => {
                let value = headers.get_unambiguous(single).ok().flatten();
                let named = value.and_then(|value| std::str::from_utf8(value).ok()).and_then(parse_address);
                Self::direct(named.or(peer_ip))
            }
        };
        client.believe_scheme_and_host(headers);
        client
    }

    /// The client's address as text; empty for a peer without one.
    #[must_use]
    pub fn address(&self) -> &str {
        self.forwarded_for.split(',').next().unwrap_or_default()
    }

    /// Without anybody's word.
    fn direct(ip: Option<IpAddr>) -> Self {
        Self {
            ip,
            forwarded_for: ip.map(|ip| ip.to_string()).unwrap_or_default(),
            proto: Proto::Http,
            host: None,
        }
    }

    /// `hops` from the right; `None` = an entry that is no address.
    fn walk(
        peer: Option<IpAddr>,
        hops: impl Iterator<Item = Option<IpAddr>>,
        trusted: &TrustedProxies,
    ) -> Self {
        let mut believed: Vec<IpAddr> = Vec::new();
        for hop in hops {
            let Some(hop) = hop else { break };
            believed.push(hop);
            if !trusted.addresses.contains(hop) {
                break;
            }
        }
        let Some(client) = believed.last().copied() else { return Self::direct(peer) };
        let mut forwarded_for = String::with_capacity(believed.len() * 16);
        for hop in believed.iter().rev() {
            let separator = if forwarded_for.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(forwarded_for, "{separator}{hop}");
        }
        Self { ip: Some(client), forwarded_for, proto: Proto::Http, host: None }
    }

    /// What the trusted peer says of the scheme and host. Of a list the rightmost counts: that one it said itself,
    /// the others may be the client's own.
    fn believe_scheme_and_host(&mut self, headers: &Headers) {
        let last = |name| {
            let value = headers.get_all(name).last().and_then(|value| std::str::from_utf8(value).ok())?;
            value.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
        };
        if last("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https")) {
            self.proto = Proto::Https;
        }
        self.host = last("x-forwarded-host").filter(|host| is_host(host)).map(str::to_owned);
    }
}

fn is_trusted_peer(ip: Option<IpAddr>, trusted: &TrustedProxies) -> bool {
    match ip {
        Some(ip) => trusted.addresses.contains(ip),
        None => trusted.unix,
    }
}

/// What a `Host` may hold (RFC 3986 §3.2.2, §3.2.3): nothing that could begin a path, a query or another header.
fn is_host(host: &str) -> bool {
    host.len() <= 255 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(&b))
}

/// All lines of a list header as one list (RFC 9110 §5.2). A line that is not UTF-8 becomes an entry that is no
/// address, so that nothing left of it is believed.
fn joined(headers: &Headers, name: &str) -> String {
    let mut list = String::new();
    for line in headers.get_all(name) {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(std::str::from_utf8(line).unwrap_or("?"));
    }
    list
}

/// An address as proxies write it: bare, with a port, v6 in brackets, quoted (RFC 7239 §6).
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address
            .parse::<std::net::Ipv6Addr>()
            .ok()
            .filter(|_| is_port)
            .map(|ip| IpAddr::V6(ip).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    address.parse::<std::net::Ipv4Addr>().ok().filter(|_| is_port(port)).map(IpAddr::V4)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The elements of a `Forwarded` list (RFC 7239 §4).
fn forwarded_elements(list: &str) -> impl Iterator<Item = &str> {
    split_unquoted(list, ',').filter(|element| !element.trim().is_empty())
}

/// The value of `name` in an element, where it stands exactly once. An element with a quote that is never closed
/// has none: a stranger may have opened it to swallow what the proxies append.
fn forwarded_param<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut quotes = Quotes::default();
    element.chars().for_each(|c| quotes.step(c));
    let mut values = split_unquoted(element, ';').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    });
    let first = values.next();
    if quotes.open || values.next().is_some() { None } else { first }
}

/// Splits where `separator` is not inside a quoted string.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quotes = Quotes::default();
    text.split(move |c: char| {
        let separates = c == separator && !quotes.open;
        quotes.step(c);
        separates
    })
}

/// Walks through quoted strings (RFC 9110 §5.6.4).
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn step(&mut self, c: char) {
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.open => self.escaped = true,
            '"' => self.open = !self.open,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::IpSet;
    use proptest::prelude::*;

    /// Trusts 10.0.0.0/8 and fd00::/8, and unix peers where `unix`.
    fn server(header: &str, unix: bool) -> ServerOptions {
        let addresses = IpSet::parse(["10.0.0.0/8", "fd00::/8"]).unwrap();
        ServerOptions {
            trusted_proxies: TrustedProxies { addresses, unix },
            client_ip_header: header.to_owned(),
            ..ServerOptions::default()
        }
    }

    fn tcp(ip: &str) -> Peer {
        Peer::Tcp((ip.parse::<IpAddr>().unwrap(), 40_000).into())
    }

    fn find(peer: Peer, header: &str, lines: &[(&str, &str)]) -> Client {
        Client::find(peer, &Headers::from_pairs(lines.iter().copied()), &server(header, true))
    }

    #[test]
    fn the_decision_table_of_x_forwarded_for() {
        // peer, lines, the client, the value sent on
        let table: &[(&str, &[&str], &str, &str)] = &[
            // A stranger's word counts for nothing.
            ("203.0.113.9", &[], "203.0.113.9", "203.0.113.9"),
            ("203.0.113.9", &["1.1.1.1"], "203.0.113.9", "203.0.113.9"),
            ("203.0.113.9", &["10.0.0.1"], "203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", &["1.1.1.1"], "203.0.113.9", "203.0.113.9"),
            // A trusted peer's does.
            ("10.0.0.1", &[], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1", "1.1.1.1"),
            ("::ffff:10.0.0.1", &["1.1.1.1"], "1.1.1.1", "1.1.1.1"),
            ("fd00::1", &["2001:db8::5"], "2001:db8::5", "2001:db8::5"),
            // What stands left of the first stranger was said by the stranger.
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", &["10.9.9.9, 1.1.1.1"], "1.1.1.1", "1.1.1.1"),
            // Trusted proxies behind the client are walked over, and named.
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1", "1.1.1.1, 10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1,10.0.0.3 ,\t10.0.0.2"], "1.1.1.1", "1.1.1.1, 10.0.0.3, 10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3", "10.0.0.3, 10.0.0.2"),
            // All lines are one list.
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1"], "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1", "10.0.0.2"], "1.1.1.1", "1.1.1.1, 10.0.0.2"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1", "", "10.0.0.2,"], "1.1.1.1", "1.1.1.1, 10.0.0.2"),
            // Junk: the last trusted address stands.
            ("10.0.0.1", &["1.1.1.1, junk"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, junk, 10.0.0.2"], "10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1", "\u{fffd}", "10.0.0.2"], "10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1 10.0.0.2"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["010.0.0.2"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1:http"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["[1.1.1.1]"], "10.0.0.1", "10.0.0.1"),
            // Ports and brackets, as some balancers write.
            ("10.0.0.1", &["1.1.1.1:5678"], "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", &["[2001:db8::5]:443"], "2001:db8::5", "2001:db8::5"),
            ("10.0.0.1", &["1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1", "1.1.1.1, 10.0.0.2"),
        ];
        for (peer, lines, ip, sent_on) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("X-Forwarded-For", *line)).collect();
            let client = find(tcp(peer), "x-forwarded-for", &lines);
            assert_eq!(client.ip, Some(ip.parse().unwrap()), "{peer} {lines:?}");
            assert_eq!(client.forwarded_for, *sent_on, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_text_hides_what_stands_left_of_it() {
        let headers =
            Headers::from_pairs([("x-forwarded-for", &b"1.1.1.1"[..]), ("x-forwarded-for", b"\xff\xfe")]);
        let client = Client::find(tcp("10.0.0.1"), &headers, &server("x-forwarded-for", false));
        assert_eq!(client.forwarded_for, "10.0.0.1");
    }

    #[test]
    fn the_decision_table_of_unix_peers() {
        let lines = [("x-forwarded-for", "1.1.1.1")];
        let headers = Headers::from_pairs(lines);
        for (trusted, headers, ip) in
            [(false, &headers, None), (true, &headers, Some("1.1.1.1")), (true, &Headers::default(), None)]
        {
            let client = Client::find(Peer::Unix, headers, &server("x-forwarded-for", trusted));
            assert_eq!(client.ip, ip.map(|ip| ip.parse().unwrap()));
            assert_eq!(client.forwarded_for, ip.unwrap_or_default());
        }
    }

    #[test]
    fn the_decision_table_of_forwarded() {
        let table: &[(&[&str], &str)] = &[
            (&["for=1.1.1.1"], "1.1.1.1"),
            (&["For=\"[2001:db8::5]:4711\""], "2001:db8::5"),
            (&["for=6.6.6.6, for=1.1.1.1;proto=https;by=10.0.0.2"], "1.1.1.1"),
            (&["for=1.1.1.1", "proto=https; for=10.0.0.2"], "1.1.1.1"),
            (&["for=1.1.1.1, for=unknown"], "10.0.0.1"),
            (&["for=1.1.1.1, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=1.1.1.1, proto=https"], "10.0.0.1"),
            (&["for=1.1.1.1;for=10.0.0.2"], "10.0.0.1"),
            (&["host=\"a,for=6.6.6.6\";for=1.1.1.1"], "1.1.1.1"),
            (&["for=6.6.6.6;host=\"a\\\",for=10.0.0.2"], "10.0.0.1"),
            (&["for=6.6.6.6;host=\"a", "for=1.1.1.1;host=\"b\""], "10.0.0.1"),
            (&["for=1.1.1.1;host=\"a;for=6.6.6.6;b\""], "1.1.1.1"),
            (&["1.1.1.1"], "10.0.0.1"),
            (&[""], "10.0.0.1"),
        ];
        for (lines, ip) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
            let client = find(tcp("10.0.0.1"), "forwarded", &lines);
            assert_eq!(client.ip, Some(ip.parse().unwrap()), "{lines:?}");
            let stranger = find(tcp("203.0.113.9"), "forwarded", &lines);
            assert_eq!(stranger.forwarded_for, "203.0.113.9", "{lines:?}");
        }
    }

    #[test]
    fn a_single_value_is_one_address_or_nothing() {
        for (lines, ip) in [
            (&["1.1.1.1"][..], "1.1.1.1"),
            (&["10.0.0.7"], "10.0.0.7"),
            (&["1.1.1.1", "1.1.1.1"], "1.1.1.1"),
            (&["1.1.1.1", "2.2.2.2"], "10.0.0.1"),
            (&["1.1.1.1, 2.2.2.2"], "10.0.0.1"),
            (&["junk"], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            for header in ["x-real-ip", "cf-connecting-ip"] {
                let lines: Vec<_> = lines.iter().map(|line| (header, *line)).collect();
                assert_eq!(find(tcp("10.0.0.1"), header, &lines).forwarded_for, ip, "{lines:?}");
                assert_eq!(find(tcp("203.0.113.9"), header, &lines).forwarded_for, "203.0.113.9");
            }
        }
    }

    #[test]
    fn only_the_chosen_header_is_read() {
        let lines = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2"), ("x-real-ip", "3.3.3.3")];
        for (header, ip) in [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "2.2.2.2"),
            ("x-real-ip", "3.3.3.3"),
            ("cf-connecting-ip", "10.0.0.1"),
        ] {
            assert_eq!(find(tcp("10.0.0.1"), header, &lines).forwarded_for, ip);
        }
    }

    #[test]
    fn scheme_and_host_are_believed_of_trusted_peers_only() {
        let lines = [("x-forwarded-proto", "https"), ("x-forwarded-host", "hooks.example:8443")];
        let trusted = find(tcp("10.0.0.1"), "x-forwarded-for", &lines);
        assert_eq!((trusted.proto, trusted.host.as_deref()), (Proto::Https, Some("hooks.example:8443")));
        let stranger = find(tcp("203.0.113.9"), "x-forwarded-for", &lines);
        assert_eq!((stranger.proto, stranger.host), (Proto::Http, None));
        let listed = [("x-forwarded-proto", "https, http"), ("x-forwarded-host", "evil.example, a.example")];
        let listed = find(tcp("10.0.0.1"), "x-forwarded-for", &listed);
        assert_eq!((listed.proto, listed.host.as_deref()), (Proto::Http, Some("a.example")));
        for junk in ["a/b", "a b", "a?b", "a@b", "a\\b", "é"] {
            assert_eq!(
                find(tcp("10.0.0.1"), "x-forwarded-for", &[("x-forwarded-host", junk)]).host,
                None,
                "{junk}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_name_a_client_and_never_a_strangers_word(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
            texts in prop::collection::vec("[0-9a-f.:, \\[\\]\"=;for\\\\]{0,40}", 0..4),
        ) {
            for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
                let all = lines.iter().cloned().chain(texts.iter().map(|t| t.clone().into_bytes()));
                let headers = Headers::from_pairs(all.map(|line| (header, line)));
                let trusted = Client::find(tcp("10.0.0.1"), &headers, &server(header, false));
                prop_assert!(trusted.ip.is_some());
                let stranger = Client::find(tcp("203.0.113.9"), &headers, &server(header, false));
                prop_assert_eq!(stranger, Client::direct(Some([203, 0, 113, 9].into())));
            }
        }
    }
}
