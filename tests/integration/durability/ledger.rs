//! The app behind the gateway as a book-keeper: of each event it notes a fingerprint and how often it came.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Chance;
use crate::harness::{header, read_body, read_head};

/// SHA-256 of a body and its signature header: what must arrive as it was sent.
pub type Print = [u8; 32];

/// The fingerprint of an event.
pub fn print_of(body: &[u8], signature: &str) -> Print {
    let mut hash = Sha256::new();
    hash.update(body);
    hash.update(signature);
    hash.finalize().into()
}

/// What came of one event.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub print: Print,
    pub times: u64,
    /// One came unlike the first.
    pub changed: bool,
    /// When the first one came.
    pub first: Instant,
    /// Between the first and the last one.
    pub span: Duration,
}

impl Arrived {
    pub fn once(print: Print) -> Self {
        Self { print, times: 1, changed: false, first: Instant::now(), span: Duration::ZERO }
    }

    pub fn again(&mut self, print: Print) {
        self.times += 1;
        self.changed |= self.print != print;
        self.span = self.first.elapsed();
    }
}

/// How the app behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// 200 after a random while of at most this many milliseconds.
    Answers(u64),
    /// 410: the event is dead.
    Refuses,
    /// Reads the request, notes it, and is silent until its mood changes.
    Hangs,
}

struct Shared {
    seen: Mutex<HashMap<String, Arrived>>,
    mood: Mutex<Mood>,
    mood_changed: Condvar,
}

/// The app. It listens until the test ends.
pub struct Ledger {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Ledger {
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { seen: Mutex::default(), mood: Mutex::new(mood), mood_changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&of_thread);
                std::thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set_mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
        self.shared.mood_changed.notify_all();
    }

    /// Everything that came so far, by the provider's id.
    pub fn seen(&self) -> HashMap<String, Arrived> {
        self.shared.seen.lock().unwrap().clone()
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut chance = Chance::from(u64::from(stream.peer_addr()?.port()));
    while let Some((_, headers)) = read_head(&mut reader)? {
        let body = read_body(&mut reader, &headers, false)?;
        let id = header(&headers, "x-github-delivery").unwrap_or_default().to_owned();
        let print = print_of(&body, header(&headers, "x-hub-signature-256").unwrap_or_default());
        let mut seen = shared.seen.lock().unwrap();
        seen.entry(id).and_modify(|arrived| arrived.again(print)).or_insert_with(|| Arrived::once(print));
        drop(seen);
        let (pause, status) = {
            let mut mood = shared.mood.lock().unwrap();
            loop {
                match *mood {
                    Mood::Answers(at_most) => break (chance.between(0, at_most), "200 OK"),
                    Mood::Refuses => break (0, "410 Gone"),
                    Mood::Hangs => mood = shared.mood_changed.wait(mood).unwrap(),
                }
            }
        };
        std::thread::sleep(Duration::from_millis(pause));
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    }
    Ok(())
}
