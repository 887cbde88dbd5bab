//! The app behind the gateway, in this process: it answers as a test scripted it and remembers what came.

use std::collections::VecDeque;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::http::{Headers, header, read_body, read_head};
use super::{SOON, wait_until};

/// A request as the app saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// In order, names in the case they came in.
    pub headers: Headers,
    pub body: Vec<u8>,
    /// When its last byte had come.
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the app does with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers after a while.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8>, after: Duration },
    /// Reads the request and closes the connection without an answer.
    Reset,
    /// Reads the request and never answers.
    Hang,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new(), after: Duration::ZERO }
    }

    pub fn ok() -> Self {
        Self::status(200)
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn with_body(mut self, text: impl Into<Vec<u8>>) -> Self {
        if let Self::Answer { body, .. } = &mut self {
            *body = text.into();
        }
        self
    }

    pub fn after(mut self, delay: Duration) -> Self {
        if let Self::Answer { after, .. } = &mut self {
            *after = delay;
        }
        self
    }
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    script: Mutex<VecDeque<Reply>>,
    otherwise: Mutex<Reply>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// The app. Stops listening when it is dropped.
pub struct App {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl App {
    /// Starts an app that answers 200 to everything.
    pub fn start() -> Self {
        Self::bind("127.0.0.1:0".parse().unwrap())
    }

    /// An address where nobody listens (now), for an app that starts later with [`App::start_at`].
    pub fn reserve() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Starts at an address that [`App::reserve`] gave.
    pub fn start_at(address: SocketAddr) -> Self {
        Self::bind(address)
    }

    fn bind(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            script: Mutex::default(),
            otherwise: Mutex::new(Reply::ok()),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &of_thread));
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next requests are answered so, in order; after them as [`App::always`] says.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) -> &Self {
        self.shared.script.lock().unwrap().extend(replies);
        self
    }

    /// Every request that the script does not cover is answered so.
    pub fn always(&self, reply: Reply) -> &Self {
        *self.shared.otherwise.lock().unwrap() = reply;
        self
    }

    /// Everything that came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests have come; they, in order.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        wait_until(&format!("the app saw {count} requests"), SOON, || self.seen().len() >= count);
        self.seen()
    }

    /// Waits for `count` requests and then makes sure that no further one comes while `quiet` passes.
    #[track_caller]
    pub fn wait_for_exactly(&self, count: usize, quiet: Duration) -> Vec<Seen> {
        self.wait_for(count);
        std::thread::sleep(quiet);
        let seen = self.seen();
        assert_eq!(seen.len(), count, "{seen:#?}");
        seen
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the accepting thread, which then lets go of the port.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.open.lock().unwrap().extend(stream.try_clone());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some((line, headers)) = read_head(&mut reader)? {
        let body = read_body(&mut reader, &headers, false)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let reply = {
            // The script advances with the record, so that the n-th reply answers the n-th request.
            let mut seen = shared.seen.lock().unwrap();
            seen.push(Seen { method, target, headers, body, at: Instant::now() });
            shared.script.lock().unwrap().pop_front()
        };
        let reply = reply.unwrap_or_else(|| shared.otherwise.lock().unwrap().clone());
        match reply {
            Reply::Reset => return Ok(()),
            Reply::Hang => {
                while !shared.stopped.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
            Reply::Answer { status, headers, body, after } => {
                std::thread::sleep(after);
                stream.write_all(&render(status, &headers, &body))?;
            }
        }
    }
    Ok(())
}

fn render(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}
