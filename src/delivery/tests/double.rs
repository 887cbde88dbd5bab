//! A double of an app: reads requests off the raw bytes, remembers them, and answers as its script says.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::super::settings::Endpoint;

/// What the double does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Writes these bytes and reads the next request.
    Answer(Vec<u8>),
    /// Writes these bytes and closes.
    AnswerAndClose(Vec<u8>),
    /// Answers after so long.
    Late(Duration, Vec<u8>),
    /// Never answers.
    Hang,
}

/// `HTTP/1.1 STATUS` with these header lines and this body, framed by `Content-Length`.
pub fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A request as it stood on the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `POST /path?query HTTP/1.1`
    pub line: String,
    /// Names in lower case, values byte for byte.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Which connection it came by, from 0.
    pub connection: usize,
    pub at: Instant,
}

impl Seen {
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.headers.iter().filter(|(n, _)| n == name);
        values.map(|(_, v)| String::from_utf8_lossy(v).into_owned()).collect()
    }

    /// The only value of `name`.
    pub fn one(&self, name: &str) -> String {
        let mut all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {all:?} in {:?}", self.headers);
        all.remove(0)
    }
}

type Script = Arc<dyn Fn(usize, &Seen) -> Act + Send + Sync>;

#[derive(Clone)]
pub struct Double {
    pub seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
    connections: Arc<AtomicUsize>,
    /// Requests without an answer so far.
    pub busy: Arc<AtomicUsize>,
    pub busiest: Arc<AtomicUsize>,
}

impl Double {
    /// `script` is asked what to do with the n-th request (from 0).
    pub fn new(script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        Self {
            seen: Arc::default(),
            script: Arc::new(script),
            connections: Arc::default(),
            busy: Arc::default(),
            busiest: Arc::default(),
        }
    }

    pub fn always(act: Act) -> Self {
        Self::new(move |_, _| act.clone())
    }

    pub async fn tcp(&self) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        self.serve(listener);
        Endpoint::Http { host: "127.0.0.1".to_owned(), port }
    }

    pub fn serve(&self, listener: TcpListener) {
        let double = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(double.clone().connection(stream));
            }
        });
    }

    pub fn unix(&self, path: PathBuf) -> Endpoint {
        let listener = UnixListener::bind(&path).unwrap();
        let double = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(double.clone().connection(stream));
            }
        });
        Endpoint::Unix { path }
    }

    pub fn pipes(&self, mut pipes: UnboundedReceiver<DuplexStream>) {
        let double = self.clone();
        tokio::spawn(async move {
            while let Some(stream) = pipes.recv().await {
                tokio::spawn(double.clone().connection(stream));
            }
        });
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn count(&self) -> usize {
        self.seen.lock().len()
    }

    pub fn request(&self, n: usize) -> Seen {
        self.seen.lock()[n].clone()
    }

    pub async fn connection(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut buffer = BytesMut::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer, number).await {
            let nth = {
                let mut all = self.seen.lock();
                all.push(seen.clone());
                all.len() - 1
            };
            let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
            self.busiest.fetch_max(busy, Ordering::SeqCst);
            let goes_on = act((self.script)(nth, &seen), &mut stream).await;
            self.busy.fetch_sub(1, Ordering::SeqCst);
            if !goes_on {
                break;
            }
        }
    }
}

async fn act(act: Act, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    match act {
        Act::Answer(bytes) => stream.write_all(&bytes).await.is_ok(),
        Act::AnswerAndClose(bytes) => {
            let _ = stream.write_all(&bytes).await;
            false
        }
        Act::Late(wait, bytes) => {
            // Whoever hangs up meanwhile is no longer being served.
            let mut byte = [0u8; 1];
            tokio::select! {
                () = tokio::time::sleep(wait) => stream.write_all(&bytes).await.is_ok(),
                _ = stream.read(&mut byte) => false,
            }
        }
        Act::Hang => {
            let mut byte = [0u8; 1];
            let _ = stream.read(&mut byte).await;
            false
        }
    }
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    connection: usize,
) -> Option<Seen> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = buffer.split_to(head_end + 4);
    let mut lines = head[..head_end].split(|b| *b == b'\n').map(|line| line.trim_ascii());
    let line = String::from_utf8_lossy(lines.next()?).into_owned();
    let headers: Vec<_> = lines
        .map(|line| {
            let colon = line.iter().position(|b| *b == b':').unwrap();
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            (name, line[colon + 1..].trim_ascii().to_vec())
        })
        .collect();
    assert!(!headers.iter().any(|(name, _)| name == "transfer-encoding"), "bodies are framed by length");
    let lengths: Vec<_> = headers.iter().filter(|(name, _)| name == "content-length").collect();
    assert!(lengths.len() <= 1, "{lengths:?}");
    let length = lengths.first().map_or(0, |(_, v)| String::from_utf8_lossy(v).parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer.split_to(length).to_vec();
    Some(Seen { line, headers, body, connection, at: Instant::now() })
}

/// Waits until `condition` holds, for at most 10 s.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The result of `future`, which must come within 10 s.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}
