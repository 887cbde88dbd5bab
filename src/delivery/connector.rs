//! Opens connections to a destination: TCP, TLS over TCP, or a unix socket.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::settings::Endpoint;
use super::tls::Tls;
use crate::net::{Resolver, address_rules};

/// Opens connections to one endpoint.
#[derive(Clone, Debug)]
pub struct Connector {
    target: Target,
    timeout: Duration,
    resolver: Resolver,
    tls: Tls,
}

#[derive(Clone, Debug)]
enum Target {
    Tcp {
        host: String,
        port: u16,
        tls: bool,
    },
    Unix(PathBuf),
    /// Both ends in this process, so that tests can pause time; whether they speak HTTP/2; whether nobody listens.
    #[cfg(test)]
    Memory(Pipes, bool, Arc<AtomicBool>),
    /// The first connection panics.
    #[cfg(test)]
    Panics(Pipes, Arc<AtomicU64>),
}

/// Takes the other end of each connection.
#[cfg(test)]
pub(super) type Pipes = tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>;

impl Connector {
    /// A connector to `endpoint`; `timeout` bounds resolving, connecting and the TLS handshake together.
    #[must_use]
    pub fn new(endpoint: &Endpoint, timeout: Duration, resolver: Resolver, tls: Tls) -> Self {
        let target = match endpoint {
            Endpoint::Http { host, port } => Target::Tcp { host: host.clone(), port: *port, tls: false },
            Endpoint::Https { host, port } => Target::Tcp { host: host.clone(), port: *port, tls: true },
            Endpoint::Unix { path } => Target::Unix(path.clone()),
        };
        Self { target, timeout, resolver, tls }
    }

    #[cfg(test)]
    pub(super) fn panics_once(server: Pipes) -> Self {
        Self { target: Target::Panics(server.clone(), Arc::default()), ..Self::memory(server) }
    }

    #[cfg(test)]
    pub(super) fn memory(server: Pipes) -> Self {
        Self::pipes(server, false)
    }

    #[cfg(test)]
    pub(super) fn memory_http2(server: Pipes) -> Self {
        Self::pipes(server, true)
    }

    /// While it is set, connections are refused.
    #[cfg(test)]
    pub(super) fn shut(&self) -> Arc<AtomicBool> {
        match &self.target {
            Target::Memory(_, _, shut) => Arc::clone(shut),
            _ => Arc::default(),
        }
    }

    #[cfg(test)]
    fn pipes(server: Pipes, http2: bool) -> Self {
        Self {
            target: Target::Memory(server, http2, Arc::default()),
            timeout: Duration::from_secs(5),
            resolver: Resolver::system(),
            tls: Tls::default(),
        }
    }

    /// Whether what it opens may speak HTTP/2: the server chooses, in the TLS handshake.
    pub(super) fn may_speak_http2(&self) -> bool {
        match self.target {
            Target::Tcp { tls, .. } => tls,
            Target::Unix(_) => false,
            #[cfg(test)]
            Target::Memory(_, http2, _) => http2,
            #[cfg(test)]
            Target::Panics(..) => false,
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// A sentence that names the address and what went wrong.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let deadline = Instant::now() + self.timeout;
        match timeout_at(deadline, self.open(deadline)).await {
            Ok(Ok(stream)) => {
                let http2 = match &stream {
                    Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(&b"h2"[..]),
                    #[cfg(test)]
                    Stream::Memory(_) => self.may_speak_http2(),
                    _ => false,
                };
                Ok(Connection { stream, read: Arc::default(), http2 })
            }
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(format!("no connection within {} ms", self.timeout.as_millis())),
        }
    }

    async fn open(&self, deadline: Instant) -> Result<Stream, String> {
        match &self.target {
            Target::Tcp { host, port, tls } => {
                let stream = self.open_tcp(host, *port, deadline).await?;
                if !*tls {
                    return Ok(Stream::Tcp(stream));
                }
                let stream = self.tls.connect(host, stream).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
            Target::Unix(path) => {
                let failed = |error: io::Error| format!("cannot connect to {}: {error}", path.display());
                UnixStream::connect(path).await.map(Stream::Unix).map_err(failed)
            }
            #[cfg(test)]
            Target::Panics(_, count) if count.fetch_add(1, Ordering::SeqCst) == 0 => {
                std::panic::panic_any("a panic that a test asked for")
            }
            #[cfg(test)]
            Target::Memory(_, _, shut) if shut.load(Ordering::SeqCst) => Err("connection refused".to_owned()),
            #[cfg(test)]
            Target::Memory(server, ..) | Target::Panics(server, _) => {
                let (ours, theirs) = tokio::io::duplex(64 << 10);
                server.send(theirs).map_err(|_| "connection refused".to_owned())?;
                Ok(Stream::Memory(ours))
            }
        }
    }

    /// Tries every address in order. Each gets an equal share of the time that is left, so that one that swallows
    /// packets does not keep the others from being tried.
    async fn open_tcp(&self, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, String> {
        let addresses = self.resolver.resolve(host, port).await.map_err(|error| error.to_string())?;
        let mut untried = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut failure = format!("{host} has no address");
        for address in addresses {
            let share = deadline.saturating_duration_since(Instant::now()) / untried;
            untried = untried.saturating_sub(1).max(1);
            match dial(address, share).await {
                Ok(stream) => return Ok(stream),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }
}

/// Connects to one address. The rules are asked here once more, on the address itself, whoever chose it.
pub(super) async fn dial(address: SocketAddr, within: Duration) -> Result<TcpStream, String> {
    address_rules::check(address.ip()).map_err(|forbidden| forbidden.to_string())?;
    match tokio::time::timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Requests are written whole: waiting for more to fill a segment only adds latency.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(format!("cannot connect to {address}: {error}")),
        Err(_) => Err(format!("cannot connect to {address}: no answer in {} ms", within.as_millis())),
    }
}

/// An open connection that counts the bytes it reads.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    read: Arc<AtomicU64>,
    http2: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Unix(UnixStream),
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

impl Connection {
    /// How many bytes the peer has sent so far.
    pub(super) fn bytes_read(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }

    /// Whether the server chose HTTP/2.
    pub(super) fn speaks_http2(&self) -> bool {
        self.http2
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.stream {
            Stream::Tcp($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Unix($stream) => $call,
            #[cfg(test)]
            Stream::Memory($stream) => $call,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = self.get_mut();
        let polled = each!(this, stream => Pin::new(stream).poll_read(cx, buf));
        let count = buf.filled().len().saturating_sub(before);
        if count > 0 {
            this.read.fetch_add(count as u64, Ordering::Release);
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        each!(this, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        each!(this, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            #[cfg(test)]
            Stream::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        each!(this, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        each!(this, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
