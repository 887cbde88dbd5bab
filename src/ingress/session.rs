//! One connection: head after head, each answered by the corridor or lent to pingora, until one side ends it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::body::{self, Bounds, NoBody};
use super::conn::Socket;
use super::door::Shared;
use super::front::{At, Fault, Front, Plan, Reply};
use super::head::{Framing, Head};
use super::parse::{self, Limits};
use super::registry::Seat;
use super::settings::{Peer, ServerSettings};
use super::write::{self, Form};

/// What one read of a head takes at most; small enough to keep, large enough for nearly every webhook with its body.
const READ: usize = 4 << 10;
/// A head that comes in pieces is parsed again after so many bytes, or when it may be complete.
const PARSE_AGAIN: usize = 1 << 10;
/// What is read of a refused sender's body, and for how long, before the connection is closed.
const DISCARD_BYTES: usize = 64 << 10;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Whether another request may follow on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Yes.
    Request,
    /// No; nothing the sender wrote is left unread.
    Close,
    /// No; the sender may still be writing, and should read our answer before it sees the connection end.
    Linger,
}

/// A head, or why there is none.
enum Read {
    Head(Box<Head>),
    Fault(Fault, Instant),
    Over,
}

/// One connection.
pub(super) struct Session<F: Front> {
    pub(super) shared: Arc<Shared<F>>,
    /// `None` only while pingora has it.
    pub(super) socket: Option<Socket>,
    pub(super) peer: Peer,
    pub(super) seat: Seat,
    /// What was read and not yet used.
    pub(super) buffer: BytesMut,
    pub(super) alarm: Alarm,
}

impl<F: Front> Session<F> {
    pub(super) fn new(shared: Arc<Shared<F>>, socket: Socket, peer: Peer, seat: Seat) -> Self {
        let (buffer, alarm) = (BytesMut::new(), Alarm::new());
        Self { shared, socket: Some(socket), peer, seat, buffer, alarm }
    }

    /// Serves requests until the connection ends.
    pub(super) async fn run(mut self) {
        loop {
            let settings = self.shared.settings.load_full();
            let next = match self.read_head(&settings).await {
                Read::Head(head) => self.serve(&settings, head).await,
                Read::Fault(fault, started) => self.refuse(fault, started, None, None).await,
                Read::Over => return,
            };
            match next {
                Next::Request => {}
                Next::Close => return,
                Next::Linger => return self.linger().await,
            }
        }
    }

    async fn serve(&mut self, settings: &ServerSettings, head: Box<Head>) -> Next {
        match self.shared.front.plan(&head, self.peer) {
            Plan::Webhook { max_body, ticket } => self.webhook(settings, head, max_body, ticket).await,
            Plan::Proxy(passage) => self.pass(*head, passage).await,
            Plan::Refuse(reply) => {
                let whole = match head.framing() {
                    Framing::None => true,
                    Framing::Length(length) => self.skip(length),
                    Framing::Chunked => false,
                };
                let keep_alive = whole && head.keep_alive() && !reply.close && !self.seat.is_stopping();
                self.reply(&reply, Form::from(&*head), keep_alive, whole).await
            }
        }
    }

    /// Takes a body that is wholly here out of the buffer.
    fn skip(&mut self, length: u64) -> bool {
        match usize::try_from(length) {
            Ok(length) if length <= self.buffer.len() => {
                self.buffer.advance(length);
                true
            }
            _ => false,
        }
    }

    async fn webhook(
        &mut self,
        settings: &ServerSettings,
        head: Box<Head>,
        max_body: u64,
        ticket: F::Ticket,
    ) -> Next {
        let bounds =
            Bounds { max: max_body, budget: &self.shared.budget, inflight: settings.max_inflight_bytes };
        let mut reserved = match body::reserve(head.framing(), bounds) {
            Ok(reserved) => reserved,
            Err(fault) => return self.refuse(fault, head.started(), Some(&head), Some(&ticket)).await,
        };
        let Some(socket) = &mut self.socket else { return Next::Close };
        let deadline = Instant::now() + settings.body_timeout;
        let waits = head.expect_continue() && head.framing() != Framing::None && self.buffer.is_empty();
        let read = async {
            if waits {
                socket.write_all(write::CONTINUE).await?;
            }
            body::read(socket, &mut self.buffer, head.framing(), bounds, &mut reserved).await
        };
        let body: Bytes = match self.alarm.limit(deadline, read).await {
            Some(Ok(body)) => body,
            Some(Err(NoBody::Gone)) => return Next::Close,
            Some(Err(NoBody::Fault(fault))) => {
                return self.refuse(fault, head.started(), Some(&head), Some(&ticket)).await;
            }
            None => {
                return self.refuse(Fault::SlowBody, head.started(), Some(&head), Some(&ticket)).await;
            }
        };
        let (form, keep_alive) = (Form::from(&*head), head.keep_alive());
        let reply = self.shared.front.answer(ticket, head, body).await;
        drop(reserved);
        let keep_alive = keep_alive && !reply.close && !self.seat.is_stopping();
        self.reply(&reply, form, keep_alive, true).await
    }

    /// Answers a request that cannot be gone on with; the connection ends with it.
    pub(super) async fn refuse(
        &mut self,
        fault: Fault,
        started: Instant,
        head: Option<&Head>,
        ticket: Option<&F::Ticket>,
    ) -> Next {
        if let Some(limit) = limit_of(fault) {
            self.shared.front.limit_hit(limit);
        }
        let reply = self.shared.front.refuse(fault, At { peer: self.peer, started, head, ticket });
        self.reply(&reply, head.map(Form::from).unwrap_or_default(), false, false).await
    }

    /// Writes `reply` in one piece. `read` says whether the request was read to its end.
    pub(super) async fn reply(&mut self, reply: &Reply, form: Form, keep_alive: bool, read: bool) -> Next {
        let mut out = BytesMut::new();
        write::render(&mut out, reply, form, keep_alive, &self.shared.clock);
        let Some(socket) = &mut self.socket else { return Next::Close };
        let deadline = Instant::now() + self.shared.settings.load().keepalive_timeout;
        match self.alarm.limit(deadline, socket.write_all(&out)).await {
            Some(Ok(())) if keep_alive => Next::Request,
            Some(Ok(())) if !read || !self.buffer.is_empty() => Next::Linger,
            _ => Next::Close,
        }
    }

    /// Ends our side first and then reads a little, so that the answer is not lost to a reset.
    async fn linger(mut self) {
        let Some(socket) = &mut self.socket else { return };
        let end = async {
            if socket.shutdown().await.is_ok() {
                body::discard(socket, DISCARD_BYTES).await;
            }
        };
        self.alarm.limit(Instant::now() + DISCARD_TIME, end).await;
    }

    async fn read_head(&mut self, settings: &ServerSettings) -> Read {
        if self.buffer.is_empty() {
            self.seat.idle();
            if !self.wait(Instant::now() + settings.keepalive_timeout).await || !self.seat.busy() {
                return Read::Over;
            }
        }
        let started = Instant::now();
        let limits = Limits { head: settings.max_head, headers: settings.max_headers, uri: settings.max_uri };
        let blank = parse::leading_blank(&self.buffer);
        self.buffer.advance(blank);
        let (mut seen, mut parsed) = (0, 0);
        loop {
            let length = self.buffer.len();
            let again = seen == 0 || length >= parsed + PARSE_AGAIN || length >= limits.head;
            if length > 0 && (again || parse::may_be_complete(&self.buffer, seen)) {
                match parse::parse(&self.buffer, limits, started) {
                    Ok(Some(head)) => {
                        self.buffer.advance(head.raw().len());
                        return Read::Head(Box::new(head));
                    }
                    Ok(None) => parsed = length,
                    Err(fault) => return Read::Fault(fault, started),
                }
            }
            seen = length;
            let Some(socket) = &mut self.socket else { return Read::Over };
            self.buffer.reserve(READ);
            match self.alarm.limit(started + settings.header_timeout, socket.read_buf(&mut self.buffer)).await
            {
                Some(Ok(0) | Err(_)) => return Read::Over,
                Some(Ok(_)) => {}
                None => return Read::Fault(Fault::SlowHead, started),
            }
        }
    }

    /// Waits for a first byte, without a buffer; `false` where the connection has to end instead.
    async fn wait(&mut self, deadline: Instant) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let (seat, alarm, buffer) = (&self.seat, &mut self.alarm, &mut self.buffer);
        *buffer = BytesMut::new();
        poll_fn(|cx| {
            let leave = seat.must_leave(cx);
            // What is there already is still answered, even where a stop has begun.
            if socket.poll_read_ready(cx).is_ready() {
                buffer.reserve(READ);
                let read = pin!(socket.read_buf(buffer)).poll_unpin(cx);
                if let Poll::Ready(read) = read {
                    return Poll::Ready(read.is_ok_and(|bytes| bytes > 0));
                }
            }
            if leave { Poll::Ready(false) } else { alarm.poll(deadline, cx).map(|()| false) }
        })
        .await
    }
}

/// The configuration's key of the limit behind a fault.
fn limit_of(fault: Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::SlowHead => "header_timeout",
        Fault::SlowBody => "body_timeout",
        Fault::BodyTooLarge(_) => "max_body",
        Fault::UriTooLong(_) => "max_uri",
        Fault::HeadTooLarge(_) => "max_head",
        Fault::TooManyHeaders(_) => "max_headers",
        Fault::NoMemory => "max_inflight_bytes",
        Fault::Malformed(_) | Fault::Upstream(_) | Fault::UpstreamTimeout => return None,
    })
}
