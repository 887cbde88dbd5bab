//! A client's connection: a socket of ours, used as it is for webhooks and lent to pingora for what streams through.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::chunked::{Decoder, Piece};
use super::front::Reply;

/// A client's socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Ready once bytes can be read, or the end or an error of the stream. Needs no buffer to wait with.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What lender and borrower of a socket both see.
#[derive(Debug, Default)]
pub(super) struct Loan {
    home: Mutex<Option<Returned>>,
    date: Mutex<Option<Bytes>>,
    idle: AtomicBool,
    broken: OnceLock<&'static str>,
    reply: Mutex<Option<Reply>>,
}

/// A socket that came back.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) socket: Socket,
    /// Bytes of the next request.
    pub(super) early: BytesMut,
    /// Whether bytes of the request's body are, or may be, still to come.
    pub(super) unread: bool,
}

impl Loan {
    /// The socket, once pingora has let go of it.
    pub(super) fn take_back(&self) -> Option<Returned> {
        self.home.lock().take()
    }

    /// Whether the exchange ended because nothing moved for too long.
    pub(super) fn was_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// What is wrong with the framing of the body, if anything is.
    pub(super) fn broken(&self) -> Option<&'static str> {
        self.broken.get().copied()
    }

    /// Leaves the answer to be given in place of the app's.
    pub(super) fn refuse(&self, reply: Reply) {
        *self.reply.lock() = Some(reply);
    }

    /// The answer to be given in place of the app's.
    pub(super) fn refusal(&self) -> Option<Reply> {
        self.reply.lock().take()
    }

    /// The app's own `date`: pingora overwrites it with the time it sees itself.
    pub(super) fn keep_date(&self, date: &[u8]) {
        *self.date.lock() = Some(Bytes::copy_from_slice(date));
    }
}

/// A socket lent to pingora for one request. Wherever pingora drops it, it goes back to its [`Loan`], so how a
/// connection ends is always decided by us.
///
/// It never hands over bytes behind the request's body (they are the next request's), it fails a read when nothing
/// was read or written for the idle time, and it puts the app's `date` back into the answer's head.
pub(super) struct Lent {
    socket: Option<Socket>,
    loan: Arc<Loan>,
    /// Bytes of the body that are still on the wire; `None` = unknown (chunked, an upgrade).
    left: Option<u64>,
    /// Follows a chunked body: pingora reads chunks that other readers end elsewhere.
    chunks: Option<Decoder>,
    early: BytesMut,
    idle_timeout: Duration,
    last: Instant,
    alarm: Alarm,
    /// A head that is being written instead of the one that pingora made.
    head: Bytes,
}

impl Lent {
    pub(super) fn new(
        socket: Socket,
        left: Option<u64>,
        early: BytesMut,
        idle_timeout: Duration,
    ) -> (Self, Arc<Loan>) {
        let loan = Arc::new(Loan::default());
        let lent = Self {
            socket: Some(socket),
            loan: Arc::clone(&loan),
            left,
            chunks: None,
            early,
            idle_timeout,
            last: Instant::now(),
            alarm: Alarm::new(),
            head: Bytes::new(),
        };
        (lent, loan)
    }

    /// Refuses a chunked body whose framing is not what RFC 9112 §7.1 says; `first` is what of it was read before.
    ///
    /// # Errors
    /// `first` is broken already.
    pub(super) fn check_chunks(&mut self, first: &[u8]) -> Result<(), &'static str> {
        let mut decoder = Decoder::new();
        follow(&mut decoder, first)?;
        self.chunks = Some(decoder);
        Ok(())
    }

    fn socket(&mut self) -> io::Result<&mut Socket> {
        self.socket.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.alarm.poll(self.last + self.idle_timeout, cx));
        self.loan.idle.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Behind the body: only the end of the stream is of interest; bytes are kept for the next request.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            let mut early = [0; 1024];
            let mut buffer = ReadBuf::new(&mut early);
            match Pin::new(self.socket()?).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => self.early.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        self.poll_idle(cx)
    }

    /// The head `bytes` as the app dated it, where it has to change.
    fn with_date_of_app(&self, bytes: &[u8]) -> Option<Bytes> {
        if !bytes.starts_with(b"HTTP/1.") || bytes.get(9) == Some(&b'1') {
            return None;
        }
        let date = self.loan.date.lock().take()?;
        let name = bytes.windows(8).position(|eight| eight.eq_ignore_ascii_case(b"\r\ndate: "))?;
        let (before, value) = bytes.split_at_checked(name + 8)?;
        let after = value.get(value.iter().position(|byte| *byte == b'\r')?..)?;
        let mut head = BytesMut::with_capacity(bytes.len() + date.len());
        head.put_slice(before);
        head.put_slice(&date);
        head.put_slice(after);
        Some(head.freeze())
    }
}

/// Takes `bytes` of a chunked body into account; what stands behind its end is not looked at.
fn follow(chunks: &mut Decoder, mut bytes: &[u8]) -> Result<(), &'static str> {
    while !bytes.is_empty() {
        match chunks.next(bytes)? {
            Piece::End => break,
            Piece::Data(read) | Piece::Framing(read) => bytes = bytes.get(read..).unwrap_or_default(),
        }
    }
    Ok(())
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            let early = std::mem::take(&mut self.early);
            *self.loan.home.lock() = Some(Returned { socket, early, unread: self.left != Some(0) });
        }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("left", &self.left).finish_non_exhaustive()
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == Some(0) {
            return this.poll_end(cx);
        }
        let room = this.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let before = buffer.filled().len();
        let polled = if room >= buffer.remaining() {
            Pin::new(this.socket()?).poll_read(cx, buffer)
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
            let polled = Pin::new(this.socket()?).poll_read(cx, &mut part);
            let read = part.filled().len();
            buffer.advance(read);
            polled
        };
        match polled {
            Poll::Ready(Ok(())) => {
                let read = buffer.filled().len().saturating_sub(before) as u64;
                this.left = this.left.map(|left| left.saturating_sub(read));
                this.last = Instant::now();
                let fresh = buffer.filled().get(before..).unwrap_or_default();
                if let Some(Err(broken)) = this.chunks.as_mut().map(|chunks| follow(chunks, fresh)) {
                    let _ = this.loan.broken.set(broken);
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_idle(cx),
        }
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.head.is_empty()
            && let Some(head) = this.with_date_of_app(bytes)
        {
            this.head = head;
        }
        if this.head.is_empty() {
            let written = ready!(Pin::new(this.socket()?).poll_write(cx, bytes))?;
            this.last = Instant::now();
            return Poll::Ready(Ok(written));
        }
        // pingora writes a head in one piece and comes back with the same bytes until they are taken.
        while !this.head.is_empty() {
            let mut head = std::mem::take(&mut this.head);
            let polled = Pin::new(this.socket()?).poll_write(cx, &head);
            if let Poll::Ready(Ok(written)) = &polled {
                head.advance(*written);
            }
            this.head = head;
            ready!(polled)?;
        }
        this.last = Instant::now();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The socket goes back to its owner, who ends the connection.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait::async_trait]
impl Shutdown for Lent {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Lent {
    fn id(&self) -> UniqueIDType {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Ssl for Lent {}

impl GetTimingDigest for Lent {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Lent {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Lent {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Lent {}
