//! Apps behind what is measured: one that answers 200 with as little work as possible, one that never answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::http;

/// How many events came: one a request, or as many as a batch says that it has.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// While it is set an app reads and does not answer.
#[derive(Clone, Default)]
pub struct Held(Arc<AtomicBool>);

impl Held {
    pub fn set(&self, held: bool) {
        self.0.store(held, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves until the process ends, on this thread alone.
pub fn serve(listen: SocketAddr, counter: &Counter, held: &Held) {
    let listener = TcpListener::bind(listen).unwrap();
    listener.set_nonblocking(true).unwrap();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN).unwrap();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut holding = false;
    loop {
        if std::mem::replace(&mut holding, held.get()) && !holding {
            for connection in connections.iter_mut().flatten() {
                // One that is over is told so by its next read.
                let _ = answer_all(connection, counter);
            }
        }
        let soon = holding.then_some(Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
        match epoll::wait(&epoll, spare_capacity(&mut events), soon.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        for event in events.drain(..) {
            let key = event.data.u64();
            if key == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let data = epoll::EventData::new_u64(connections.len() as u64);
                    epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).unwrap();
                    connections.push(Some(Connection { stream, buffer: Vec::with_capacity(16 << 10) }));
                }
            } else if let Some(slot) = connections.get_mut(key as usize)
                && let Some(connection) = slot
                && !(read(connection) && (holding || answer_all(connection, counter)))
            {
                *slot = None;
            }
        }
    }
}

/// Reads what is there; `false` when the connection is over.
fn read(connection: &mut Connection) -> bool {
    let mut piece = [0; 16 << 10];
    match connection.stream.read(&mut piece) {
        Ok(0) => return false,
        Ok(read) => connection.buffer.extend_from_slice(&piece[..read]),
        Err(error) => return error.kind() == ErrorKind::WouldBlock,
    }
    true
}

/// Answers every whole request; `false` when the connection is over.
fn answer_all(connection: &mut Connection, counter: &Counter) -> bool {
    while let Some(message) = http::message(&connection.buffer) {
        connection.buffer.drain(..message.end);
        counter.0.fetch_add(message.events, Ordering::Relaxed);
        if connection.stream.write_all(OK).is_err() {
            return false;
        }
    }
    true
}

/// Accepts connections and never reads from them.
pub fn sink(listen: SocketAddr) {
    let listener = TcpListener::bind(listen).unwrap();
    let mut held = Vec::new();
    for stream in listener.incoming() {
        held.push(stream);
    }
}
