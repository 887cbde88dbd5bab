//! What the gateway itself asks for, off the path of requests and deliveries: confirmations that providers wait for,
//! lists that they publish. Over https only, redirects are not followed, and answers are bounded.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};

use crate::delivery::{BodyEnd, Connector, Endpoint, HttpClient, Tls};
use crate::net::Resolver;

/// From the look-up of the name to the end of the answer.
const WHOLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);

/// Asks other servers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outbound {
    resolver: Resolver,
    tls: Tls,
}

impl Outbound {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self { resolver, tls: Tls::system() }
    }

    /// The body of the answer to `GET address`, at most `most` bytes of it.
    ///
    /// # Errors
    /// A sentence without the address: no https, no answer in 20 s, none that is a success, or a longer one.
    pub(super) async fn get(&self, address: &str, most: usize) -> Result<Bytes, String> {
        let deadline = Instant::now() + WHOLE;
        let uri: Uri = address.parse().map_err(|_| "the address is no URL".to_owned())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or("only https is asked")?;
        let endpoint = Endpoint::Https { host: host.to_owned(), port: uri.port_u16().unwrap_or(443) };
        let connector = Connector::new(&endpoint, CONNECT, self.resolver.clone(), self.tls.clone());
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::builder()
            .method(Method::GET)
            .uri(target)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("hooklatch/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::new()))
            .map_err(|error| error.to_string())?;
        let client = HttpClient::new(connector, Duration::ZERO, 0);
        let late = || format!("no answer within {WHOLE:?}");
        let reply = timeout_at(deadline, client.request(request, || None)).await.map_err(|_| late())?;
        let reply = reply.map_err(|error| error.reason)?;
        let status = reply.status;
        let body = reply.body(most, most, deadline).await;
        match body.end {
            BodyEnd::Complete if status.is_success() => Ok(body.bytes),
            BodyEnd::Complete => Err(format!("the answer was {status}")),
            BodyEnd::TooLong => Err(format!("the answer is longer than {most} bytes")),
            BodyEnd::Broken => Err("the answer broke off".to_owned()),
            BodyEnd::TimedOut => Err(late()),
        }
    }
}
