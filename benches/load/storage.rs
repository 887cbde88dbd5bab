//! What a run cost the disk, from the measured process's own metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};

/// The figures at a moment.
pub struct Storage {
    at: SocketAddr,
    taken: Instant,
    syncs: f64,
    written: f64,
}

impl Storage {
    pub fn of(at: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name}: {text}")).trim().parse().unwrap()
        };
        let (syncs, written) =
            (of("hooklatch_fsync_seconds_count"), of("hooklatch_spool_written_bytes_total"));
        Self { at, taken: Instant::now(), syncs, written }
    }

    /// What `events` of so many bytes cost since then.
    pub fn since(&self, events: u64, bytes: usize) -> Value {
        let now = Self::of(self.at);
        let (syncs, written) = (now.syncs - self.syncs, (now.written - self.written) / events as f64);
        json!({
            "fsyncs_per_second": syncs / (now.taken - self.taken).as_secs_f64(),
            "events_per_fsync": events as f64 / syncs,
            "bytes_per_event": written,
            "bytes_sent": bytes,
        })
    }
}
