//! `proxy_to`: pingora streams a request to an app and its answer back, both ways at once, with no limit on a body
//! but the configured one and no deadline but idleness.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::apps::HttpServerApp as _;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, OkOrErr as _};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session as PingoraSession};
use tokio::time::Instant;

use super::conn::{Lent, Loan};
use super::forward;
use super::front::{At, Fault, Front, Passage, Passed};
use super::head::{Framing, Head};
use super::session::{Next, Session};
use super::settings::{Peer, Upstream};
use super::write::Form;
use crate::net::Resolver;

/// Idle connections to apps, over all routes.
const POOL: usize = 512;
/// Header lines that pingora takes are 256, ours among them; above, it would answer in its own words.
const MAX_HEADERS: usize = 250;
/// Attempts at one request, the first one included: other addresses of the app, or one re-send on a fresh connection.
const TRIES: usize = 6;

/// What pingora asks while it streams.
pub(super) struct Passthrough<F: Front> {
    front: Arc<F>,
    resolver: Resolver,
}

/// What is known of the request that pingora has in hand.
pub(super) struct Errand<T> {
    passage: Passage<T>,
    head: Head,
    peer: Peer,
    loan: Arc<Loan>,
    /// Which of the upstreams is gone to.
    position: usize,
    /// The upstreams that could not be reached.
    tried: Vec<usize>,
    /// The addresses of the present one not tried yet, the next one last; `None` before they are looked up.
    addresses: Option<Vec<SocketAddr>>,
    connect_by: Option<Instant>,
    resent: bool,
    received: u64,
    status: u16,
    refused: bool,
}

/// The proxy, with every option of pingora said aloud.
pub(super) fn proxy<F: Front>(front: Arc<F>, resolver: Resolver) -> Arc<HttpProxy<Passthrough<F>>> {
    let conf = ServerConf { upstream_keepalive_pool_size: POOL, max_retries: TRIES, ..ServerConf::default() };
    Arc::new(pingora_proxy::http_proxy(&Arc::new(conf), Passthrough { front, resolver }))
}

impl<F: Front> Session<F> {
    /// Lends the connection to pingora for one request.
    pub(super) async fn pass(&mut self, head: Head, passage: Passage<F::Ticket>) -> Next {
        let too_large = match (head.framing(), passage.settings.max_body) {
            (Framing::Length(length), Some(max)) if length > max => Some(Fault::BodyTooLarge(max)),
            _ if head.headers().iter().nth(MAX_HEADERS).is_some() => Some(Fault::TooManyHeaders(MAX_HEADERS)),
            _ => None,
        };
        if let Some(fault) = too_large {
            return self.refuse(fault, head.started(), Some(&head), Some(&passage.ticket)).await;
        }
        let Some(socket) = self.socket.take() else { return Next::Close };
        let here = match head.framing() {
            _ if head.upgrade() => self.buffer.len(),
            Framing::None => 0,
            Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len()),
            Framing::Chunked => self.buffer.len(),
        };
        let left = match head.framing() {
            _ if head.upgrade() => None,
            Framing::None => Some(0),
            Framing::Length(length) => Some(length - here as u64),
            Framing::Chunked => None,
        };
        let position = passage.failover.choose(Instant::now(), &[]).unwrap_or_default();
        let Some(upstream) = passage.settings.upstreams.get(position) else { return Next::Close };
        let mut prefix = forward::head_for_app(&head, &passage, upstream, here);
        let first = self.buffer.split_to(here);
        prefix.extend_from_slice(&first);
        let early = std::mem::take(&mut self.buffer);
        let form = Form::from(&head);
        let idle = passage.settings.idle_timeout;
        let (mut lent, loan) = Lent::new(socket, left, early, idle);
        if head.framing() == Framing::Chunked
            && let Err(broken) = lent.check_chunks(&first)
        {
            drop(lent);
            self.socket = loan.take_back().map(|returned| returned.socket);
            let fault = Fault::Malformed(broken);
            return self.refuse(fault, head.started(), Some(&head), Some(&passage.ticket)).await;
        }
        let mut session = ServerSession::new_http1(Box::new(lent));
        session.set_pipelined_prefix(prefix);
        // Idleness is watched by what was lent: reads of a long download, or writes of a long upload, may pause.
        session.set_read_timeout(None);
        session.set_write_timeout(Some(idle));
        let errand = Errand::new(passage, head, self.peer, Arc::clone(&loan), position);
        session.set_connection_user_context(Some(Box::new(errand)));
        let stop = self.shared.stop.subscribe();
        let reusable = self.shared.proxy.process_new_http(session, &stop).await.is_some();
        let Some(returned) = loan.take_back() else { return Next::Close };
        self.socket = Some(returned.socket);
        self.buffer = returned.early;
        if let Some(reply) = loan.refusal() {
            return self.reply(&reply, form, false, !returned.unread).await;
        }
        match (reusable, returned.unread || !self.buffer.is_empty()) {
            (true, _) => Next::Request,
            (false, true) => Next::Linger,
            (false, false) => Next::Close,
        }
    }
}

impl<T> Errand<T> {
    fn new(passage: Passage<T>, head: Head, peer: Peer, loan: Arc<Loan>, position: usize) -> Self {
        Self {
            passage,
            head,
            peer,
            loan,
            position,
            tried: Vec::new(),
            addresses: None,
            connect_by: None,
            resent: false,
            received: 0,
            status: 0,
            refused: false,
        }
    }

    /// Gives up the address that could not be connected to; whether there is another and time left to try it, or another
    /// upstream, which has a time of its own.
    fn next_address(&mut self) -> bool {
        let addresses = self.addresses.get_or_insert_default();
        addresses.pop();
        let another = !addresses.is_empty() && self.connect_by.is_some_and(|by| by > Instant::now());
        another || self.next_upstream()
    }

    /// Gives up the upstream that could not be reached; whether there is another.
    fn next_upstream(&mut self) -> bool {
        let now = Instant::now();
        let failover = &self.passage.failover;
        self.passage.settings.note(self.position, failover.failed(self.position, now));
        self.tried.push(self.position);
        let Some(next) = failover.choose(now, &self.tried) else { return false };
        (self.position, self.addresses, self.connect_by) = (next, None, None);
        true
    }
}

impl<F: Front> Passthrough<F> {
    /// Leaves our own answer with the loan, unless the app's has begun.
    fn refuse(&self, errand: &mut Errand<F::Ticket>, fault: Fault) -> u16 {
        match fault {
            Fault::BodyTooLarge(_) => self.front.limit_hit("max_body"),
            _ if errand.loan.was_idle() => self.front.limit_hit("idle_timeout"),
            _ => {}
        }
        let at = At {
            peer: errand.peer,
            started: errand.head.started(),
            head: Some(&errand.head),
            ticket: Some(&errand.passage.ticket),
        };
        let reply = self.front.refuse(fault, at);
        let status = reply.status;
        errand.refused = true;
        errand.loan.refuse(reply);
        status
    }

    async fn address(&self, errand: &mut Errand<F::Ticket>) -> pingora_core::Result<HttpPeer> {
        let settings = &errand.passage.settings;
        let upstream = settings.upstreams.get(errand.position);
        let (host, port, tls) = match upstream.or_err(ErrorType::ConnectError, "no upstream")? {
            Upstream::Unix(path) => {
                let path = path.to_str().or_err(ErrorType::ConnectError, "the path is not text")?;
                return HttpPeer::new_uds(path, false, String::new()).map_err(Error::into_up);
            }
            Upstream::Tcp { host, port, tls } => (host, *port, *tls),
        };
        let addresses = match &mut errand.addresses {
            Some(addresses) => addresses,
            empty => {
                let looking = self.resolver.resolve(host, port);
                let found = tokio::time::timeout(settings.connect_timeout, looking).await;
                let found = found
                    .map_err(|_| "no answer in time".to_owned())
                    .and_then(|found| found.map_err(|error| error.to_string()));
                let mut found =
                    found.map_err(|error| Error::explain(ErrorType::ConnectError, error).into_up())?;
                found.reverse();
                empty.insert(found)
            }
        };
        // The one in use stays at the end until a connection to it failed.
        let address = addresses.last().or_err(ErrorType::ConnectError, "no address")?;
        let mut peer = HttpPeer::new(*address, tls, settings.tls.server_name(host).to_owned());
        settings.tls.apply(&mut peer);
        Ok(peer)
    }
}

#[async_trait]
impl<F: Front> ProxyHttp for Passthrough<F> {
    type CTX = Option<Errand<F::Ticket>>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    /// pingora's own default adds compression, which would change answers and buffer event streams.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        _: &mut PingoraSession,
        ctx: &mut Self::CTX,
        errand: Box<dyn std::any::Any + Send + Sync>,
    ) {
        *ctx = errand.downcast().ok().map(|errand| *errand);
    }

    async fn upstream_peer(
        &self,
        _: &mut PingoraSession,
        ctx: &mut Self::CTX,
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let errand = ctx.as_mut().or_err(ErrorType::InternalError, "no errand")?;
        let mut peer = loop {
            match self.address(errand).await {
                Ok(peer) => break peer,
                // A name that cannot be resolved, of one of several places.
                Err(error) if !errand.next_upstream() => return Err(error),
                Err(_) => {}
            }
        };
        let settings = &errand.passage.settings;
        let by = *errand.connect_by.get_or_insert_with(|| Instant::now() + settings.connect_timeout);
        let left = by.saturating_duration_since(Instant::now());
        peer.options.connection_timeout = Some(left);
        peer.options.total_connection_timeout = Some(left);
        // Nothing from the app is not yet idleness: the sender may still be uploading.
        peer.options.read_timeout = None;
        peer.options.write_timeout = Some(settings.idle_timeout);
        peer.options.idle_timeout = Some(settings.keepalive);
        peer.options.verify_cert = true;
        peer.options.verify_hostname = true;
        peer.options.set_http_version(1, 1);
        Ok(Box::new(peer))
    }

    /// The head was put together for the upstream that was preferred.
    async fn upstream_request_filter(
        &self,
        _: &mut PingoraSession,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> pingora_core::Result<()> {
        let Some(errand) = ctx else { return Ok(()) };
        let settings = &errand.passage.settings;
        match settings.upstreams.get(errand.position) {
            Some(upstream) if !errand.tried.is_empty() && forward::has_own_host(&errand.head, settings) => {
                request.insert_header(http::header::HOST, forward::own_host(upstream))
            }
            _ => Ok(()),
        }
    }

    async fn request_body_filter(
        &self,
        _: &mut PingoraSession,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Self::CTX,
    ) -> pingora_core::Result<()> {
        let Some(errand) = ctx else { return Ok(()) };
        errand.received += body.as_ref().map_or(0, Bytes::len) as u64;
        match errand.passage.settings.max_body {
            // A retry sends the same bytes again; the first pass has counted them.
            Some(max) if errand.received > max && !errand.resent => {
                Err(Error::new_down(ErrorType::HTTPStatus(413)))
            }
            _ => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut PingoraSession,
        answer: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> pingora_core::Result<()> {
        let Some(errand) = ctx else { return Ok(()) };
        let interim = is_interim(answer);
        // A 100 before the body is no reason to give up the connection; an answer before it is.
        session.set_close_on_response_before_downstream_finish(!interim);
        if interim {
            return Ok(());
        }
        errand.status = answer.status.as_u16();
        let change = errand.passage.failover.answered(errand.position);
        errand.passage.settings.note(errand.position, change);
        if let Some(date) = answer.headers.get(http::header::DATE) {
            errand.loan.keep_date(date.as_bytes());
        }
        if errand.head.is_http_10() {
            // HTTP/1.0 knows no chunks: the answer ends with the connection.
            answer.remove_header(&http::header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _: &mut PingoraSession,
        _: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent yet: another address of the same name may answer.
        if let Some(errand) = ctx {
            error.set_retry(errand.next_address());
        }
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut PingoraSession,
        mut error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        // pingora marks what may be repeated: a reused connection that ended before the first byte of an answer.
        error.retry.decide_reuse(reused);
        let repeatable =
            session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        let Some(errand) = ctx else { return error };
        if !repeatable || errand.resent {
            error.set_retry(false);
        }
        errand.resent |= error.retry();
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut PingoraSession,
        error: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        // An interim answer is none yet; 101 is a last one, although its number is informational.
        let begun = session.response_written().is_some_and(|answer| !is_interim(answer));
        let done = session.is_body_done();
        let mut error_code = 0;
        if let (Some(errand), false) = (ctx, begun)
            && let Some(fault) = fault_of(error, errand, done)
        {
            error_code = self.refuse(errand, fault);
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut PingoraSession, error: Option<&Error>, ctx: &mut Self::CTX) {
        if let Some(errand) = ctx
            && !errand.refused
        {
            let passed = Passed {
                status: errand.status,
                received: session.body_bytes_read() as u64,
                sent: session.body_bytes_sent() as u64,
                broken: error.is_some(),
            };
            self.front.passed(&errand.passage.ticket, &errand.head, passed);
        }
    }

    /// The front logs; pingora's lines would hold bytes from outside.
    fn suppress_error_log(&self, _: &PingoraSession, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &PingoraSession,
        _: &Self::CTX,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

fn is_interim(answer: &ResponseHeader) -> bool {
    answer.status.is_informational() && answer.status != http::StatusCode::SWITCHING_PROTOCOLS
}

/// What the sender is told; `None` where it has gone.
fn fault_of<T>(error: &Error, errand: &Errand<T>, body_done: bool) -> Option<Fault> {
    use ErrorType::{
        ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, HTTPStatus, InvalidCert,
        ReadError, ReadTimedout, TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
    };
    if let Some(broken) = errand.loan.broken() {
        return Some(Fault::Malformed(broken));
    }
    if errand.loan.was_idle() {
        return Some(if body_done { Fault::UpstreamTimeout } else { Fault::SlowBody });
    }
    let max = errand.passage.settings.max_body.unwrap_or(u64::MAX);
    Some(match (error.esource(), error.etype()) {
        (_, HTTPStatus(413)) => Fault::BodyTooLarge(max),
        (ErrorSource::Downstream, ConnectionClosed | ReadError | WriteError | WriteTimedout) => return None,
        (ErrorSource::Downstream, _) => Fault::Malformed("The request cannot be passed on as it is framed."),
        (_, ConnectTimedout | TLSHandshakeTimedout) => {
            Fault::Upstream("The app did not accept a connection in time.")
        }
        (_, ReadTimedout | WriteTimedout) => Fault::UpstreamTimeout,
        (_, ConnectRefused) => Fault::Upstream("The app refused the connection."),
        (_, ConnectNoRoute) => Fault::Upstream("There is no way to the app's address."),
        (_, InvalidCert | TLSHandshakeFailure) => Fault::Upstream("TLS with the app failed."),
        (_, ConnectionClosed | ReadError | WriteError) => {
            Fault::Upstream("The app closed the connection without an answer.")
        }
        (_, ErrorType::InvalidHTTPHeader) => Fault::Upstream("The app's answer is not HTTP."),
        _ => Fault::Upstream("The app could not be reached."),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ingress::UpstreamTls;
    use crate::ingress::parse::{Limits, parse};
    use crate::ingress::settings::ProxySettings;
    use crate::net::Failover;

    #[tokio::test(start_paused = true)]
    async fn every_address_of_the_app_is_tried_while_there_is_time() {
        let limits = Limits { head: 100, headers: 10, uri: 50 };
        let head = parse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", limits, Instant::now());
        let passage = Passage {
            settings: Arc::new(ProxySettings {
                upstreams: vec![Upstream::Unix("/app.sock".into()), Upstream::Unix("/far.sock".into())],
                destination: None,
                tls: UpstreamTls::default(),
                keep_host: true,
                connect_timeout: Duration::from_secs(1),
                idle_timeout: Duration::from_secs(1),
                keepalive: Duration::from_secs(1),
                max_body: None,
            }),
            failover: Arc::new(Failover::new(2)),
            forwarded_for: None,
            forwarded_proto: "http",
            ticket: (),
        };
        let head = head.expect("sound").expect("whole");
        let mut errand = Errand::new(passage, head, Peer::Unix, Arc::default(), 0);
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        errand.addresses = Some(vec![address(4), address(3), address(2), address(1)]);
        errand.connect_by = Some(Instant::now() + Duration::from_secs(1));
        assert!(errand.next_address());
        assert_eq!(errand.addresses.as_ref().and_then(|left| left.last()), Some(&address(2)));
        assert!(errand.next_address());
        assert_eq!(errand.position, 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(errand.next_address(), "there is an address and no time, but the next upstream");
        assert_eq!((errand.position, &errand.addresses, errand.connect_by), (1, &None, None));
        errand.addresses = Some(vec![address(5)]);
        errand.connect_by = Some(Instant::now() + Duration::from_secs(1));
        assert!(!errand.next_address(), "there is time, but no address and no upstream");
    }
}
