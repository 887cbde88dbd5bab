//! The sample app: answers 200 and remembers what came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::super::out::Failure;

/// Requests that nobody has looked at yet, at most; later ones are answered and not shown.
const UNSEEN: usize = 1024;

/// A request as the app saw it.
#[derive(Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Seen {
    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("–")
    }
}

/// The app.
pub struct App {
    address: SocketAddr,
    seen: Mutex<mpsc::Receiver<Seen>>,
}

impl App {
    /// Starts it on a port that the system chose.
    pub async fn start() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("cannot start the sample app: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (tell, seen) = mpsc::channel(UNSEEN);
        tokio::spawn(serve(listener, tell));
        Ok(Self { address, seen: Mutex::new(seen) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request.
    pub async fn next(&self) -> Seen {
        match self.seen.lock().await.recv().await {
            Some(seen) => seen,
            None => std::future::pending().await,
        }
    }
}

async fn serve(listener: TcpListener, tell: mpsc::Sender<Seen>) {
    let tell = Arc::new(tell);
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let tell = Arc::clone(&tell);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let tell = Arc::clone(&tell);
                async move { Ok::<_, Infallible>(answer(request, &tell).await) }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>, tell: &mpsc::Sender<Seen>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, 16 << 20).collect().await else {
        let mut refused = Response::new(Full::new(Bytes::new()));
        *refused.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
        return refused;
    };
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        body: body.to_bytes(),
        at: Instant::now(),
    };
    // A crowd that nobody looks at is answered all the same.
    let _ = tell.try_send(seen);
    Response::new(Full::new(Bytes::from_static(b"Hello from the sample app.\n")))
}
