//! Addresses of servers as a user types them: `http://HOST:PORT/PATH`, `https://…`, `unix:PATH`.

use crate::delivery::Endpoint;

/// A server and what of it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The `Host` header.
    pub host: String,
    /// Path and query; `/` where none was typed.
    pub path_and_query: String,
}

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that shows how to write one.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            // `unix:PATH:/path`, as in a destination's `url`.
            let (path, target) =
                rest.split_once(":/").map_or((rest, String::new()), |(p, t)| (p, format!("/{t}")));
            if path.is_empty() {
                return Err("unix: without a path; write it like unix:/run/hooklatch/admin.sock".to_owned());
            }
            let path_and_query = if target.is_empty() { "/".to_owned() } else { target };
            return Ok(Self {
                endpoint: Endpoint::Unix { path: path.into() },
                host: "localhost".to_owned(),
                path_and_query,
            });
        }
        let wrong = |why: &str| {
            format!("{text:?} is not an address ({why}); write it like http://127.0.0.1:8080/path")
        };
        let uri: http::Uri =
            text.parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a user's name has no place in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let endpoint = match uri.scheme_str() {
            Some("http") => Endpoint::Http { host, port: uri.port_u16().unwrap_or(80) },
            Some("https") => Endpoint::Https { host, port: uri.port_u16().unwrap_or(443) },
            _ => return Err(wrong("only http, https and unix are spoken")),
        };
        Ok(Self {
            endpoint,
            host: authority.as_str().to_owned(),
            path_and_query: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
        })
    }

    /// The path without the query, and the query without its `?`.
    #[must_use]
    pub fn path_and_query(&self) -> (&str, Option<&str>) {
        match self.path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&self.path_and_query, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let target = Target::parse("http://127.0.0.1:8080/a?b=c").unwrap();
        assert_eq!(target.endpoint, Endpoint::Http { host: "127.0.0.1".to_owned(), port: 8080 });
        assert_eq!((target.host.as_str(), target.path_and_query()), ("127.0.0.1:8080", ("/a", Some("b=c"))));
        let target = Target::parse("https://[::1]").unwrap();
        assert_eq!(target.endpoint, Endpoint::Https { host: "::1".to_owned(), port: 443 });
        assert_eq!((target.host.as_str(), target.path_and_query.as_str()), ("[::1]", "/"));
        let target = Target::parse("unix:/run/a.sock").unwrap();
        assert_eq!(target.endpoint, Endpoint::Unix { path: "/run/a.sock".into() });
        assert_eq!(Target::parse("unix:/run/a.sock:/x").unwrap().path_and_query, "/x");
    }

    #[test]
    fn what_is_no_address_is_told_how_to_become_one() {
        for text in
            ["", "localhost:8080", "/path", "ftp://a/", "http://", "http://u:p@h/", "unix:", "http://a b/"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
