//! What the user can set about the admin listener.

use std::path::PathBuf;
use std::sync::Arc;

use crate::secret::Secret;
use crate::units::Invalid;

/// The longest path that fits into a unix socket's address (`sun_path` of unix(7) less its final NUL), bytes.
const MAX_SOCKET_PATH: usize = 107;

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// `host:port`, resolved when bound; `/api` asks for a token.
    Tcp(String),
    /// A unix socket; the file's mode (0600) is the guard.
    Unix(PathBuf),
    /// Nowhere.
    Off,
}

impl AdminListen {
    /// Reads `"127.0.0.1:4665"`, `"unix:PATH"` or `""`, which turns it off.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(PathBuf::from(path)),
            None if text.is_empty() => Self::Off,
            None => Self::Tcp(text.to_owned()),
        }
    }
}

/// `[admin]` and `[metrics]` as typed; its default is the documented one.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// `admin.listen`.
    pub listen: AdminListen,
    /// `admin.token`: may read and change; `None` = one is generated into `<buffer.path>/admin-token`.
    pub token: Option<Secret>,
    /// `admin.read_token`: may only read; `None` = there is none.
    pub read_token: Option<Secret>,
    /// `metrics.listen`: `host:port` of a listener with `/metrics`, `/healthz` and `/readyz` alone, without token.
    pub metrics_listen: Option<String>,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self {
            listen: AdminListen::Tcp("127.0.0.1:4665".to_owned()),
            token: None,
            read_token: None,
            metrics_listen: None,
        }
    }
}

/// Valid [`AdminOptions`].
#[derive(Clone, Debug)]
pub struct AdminSettings(Arc<AdminOptions>);

impl AdminSettings {
    /// Checks `options`.
    ///
    /// # Errors
    /// Every key that cannot be worked with: `listen`, `token`, `read_token` of `[admin]`, and `metrics.listen`.
    pub fn new(options: AdminOptions) -> Result<Self, Vec<Invalid>> {
        let mut invalid = Vec::new();
        match &options.listen {
            AdminListen::Tcp(address) => invalid.extend(wrong_address("listen", address)),
            AdminListen::Unix(path) => invalid.extend(wrong_socket_path(path)),
            AdminListen::Off => {}
        }
        if let Some(address) = &options.metrics_listen {
            invalid.extend(wrong_address("metrics.listen", address));
            if matches!(&options.listen, AdminListen::Tcp(admin) if same_fixed_address(admin, address)) {
                invalid.push(Invalid::new(
                    "metrics.listen",
                    "this is the address of `admin.listen`, which serves /metrics already",
                    "leave `metrics.listen` out or give it another port",
                ));
            }
        }
        for (key, token) in [("token", &options.token), ("read_token", &options.read_token)] {
            invalid.extend(token.as_ref().and_then(|token| wrong_token(key, token)));
        }
        if let (Some(token), Some(read)) = (&options.token, &options.read_token)
            && token.matches(read.expose())
        {
            invalid.push(Invalid::new(
                "read_token",
                "it is the same as `token`, so whoever may read could change things",
                "use another secret, or leave `read_token` out",
            ));
        }
        if invalid.is_empty() { Ok(Self(Arc::new(options))) } else { Err(invalid) }
    }
}

impl std::ops::Deref for AdminSettings {
    type Target = AdminOptions;

    fn deref(&self) -> &AdminOptions {
        &self.0
    }
}

fn wrong_address(key: &'static str, address: &str) -> Option<Invalid> {
    let right = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty()
            && (bracketed || !host.contains(':'))
            && !host.contains(['/', '@', ' '])
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    (!right).then(|| {
        Invalid::new(
            key,
            format!("{address:?} is not an address to listen on"),
            "write it like \"127.0.0.1:4665\" or \"[::1]:4665\"",
        )
    })
}

/// Port 0 lets the system choose, each time another one.
fn same_fixed_address(one: &str, other: &str) -> bool {
    one == other && !one.ends_with(":0")
}

fn wrong_socket_path(path: &std::path::Path) -> Option<Invalid> {
    let length = path.as_os_str().len();
    if length == 0 {
        Some(Invalid::new(
            "listen",
            "unix: without a path",
            "write it like \"unix:/run/hooklatch/admin.sock\"",
        ))
    } else if length > MAX_SOCKET_PATH {
        Some(Invalid::new(
            "listen",
            format!("a unix socket's path has at most {MAX_SOCKET_PATH} bytes, this one has {length}"),
            "choose a shorter path",
        ))
    } else {
        None
    }
}

/// A token travels in a header, so it must be what RFC 6750 §2.1 calls a `b64token`, roughly: visible ASCII.
fn wrong_token(key: &'static str, token: &Secret) -> Option<Invalid> {
    let bytes = token.expose();
    if bytes.len() < 16 {
        Some(Invalid::new(
            key,
            "a token of less than 16 bytes can be guessed",
            "make one with `openssl rand -hex 32`",
        ))
    } else if bytes.len() > 1024 || !bytes.iter().all(u8::is_ascii_graphic) {
        Some(Invalid::new(
            key,
            "a token is one line of at most 1024 visible ASCII characters",
            "make one with `openssl rand -hex 32`",
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(options: AdminOptions) -> Vec<&'static str> {
        AdminSettings::new(options).map_or_else(|all| all.iter().map(|i| i.key).collect(), |_| Vec::new())
    }

    #[test]
    fn the_default_is_valid_and_listens_on_loopback() {
        let settings = AdminSettings::new(AdminOptions::default()).unwrap();
        assert_eq!(settings.listen, AdminListen::parse("127.0.0.1:4665"));
    }

    #[test]
    fn the_words_of_listen_are_read() {
        assert_eq!(AdminListen::parse(""), AdminListen::Off);
        assert_eq!(AdminListen::parse("unix:/run/a.sock"), AdminListen::Unix("/run/a.sock".into()));
        assert_eq!(AdminListen::parse("[::1]:1"), AdminListen::Tcp("[::1]:1".to_owned()));
    }

    #[test]
    fn addresses_that_cannot_be_bound_are_refused() {
        for listen in ["localhost", ":80", "::1:80", "127.0.0.1:99999", "http://127.0.0.1:1", "a:+1", "unix:"]
        {
            let options = AdminOptions { listen: AdminListen::parse(listen), ..AdminOptions::default() };
            assert_eq!(keys(options), ["listen"], "{listen}");
        }
        let long = format!("unix:/{}", "a".repeat(107));
        assert_eq!(
            keys(AdminOptions { listen: AdminListen::parse(&long), ..AdminOptions::default() }),
            ["listen"]
        );
        for metrics in ["localhost", "127.0.0.1:4665"] {
            let options =
                AdminOptions { metrics_listen: Some(metrics.to_owned()), ..AdminOptions::default() };
            assert_eq!(keys(options), ["metrics.listen"], "{metrics}");
        }
    }

    #[test]
    fn tokens_that_are_weak_or_unsendable_or_equal_are_refused() {
        let long = Secret::new("0123456789abcdef");
        for token in ["short", "0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdé…"] {
            let options = AdminOptions { token: Some(Secret::new(token)), ..AdminOptions::default() };
            assert_eq!(keys(options), ["token"], "{token:?}");
        }
        let both =
            AdminOptions { token: Some(long.clone()), read_token: Some(long), ..AdminOptions::default() };
        assert_eq!(keys(both), ["read_token"]);
    }
}
