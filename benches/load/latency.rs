//! How long an event takes through an idle gateway: from the sender's write to the last byte at the app, one event at a
//! time, so that no other is before it. Sent to the app itself, on the gateway's core, it takes one hop of the two: what the
//! sender needs to reach a process that was at rest.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::http;
use super::requests::Requests;

/// Between two events everything is at rest again.
const EVERY: Duration = Duration::from_millis(5);
/// The first ones find no connection and cold caches.
const WARMUP: usize = 100;
/// An event that is not there by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// http://HOST:PORT/PATH
    url: String,
    /// A name for the line that is printed
    #[arg(long, default_value = "")]
    name: String,
    /// Where the app is to listen
    #[arg(long)]
    app: SocketAddr,
    /// The app runs on this core, wherever this program does
    #[arg(long)]
    app_core: Option<usize>,
    /// Events that are measured
    #[arg(long, default_value_t = 1000)]
    events: usize,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024)]
    body: usize,
}

pub fn run(args: &Args) {
    let (address, path) = super::generate::split(&args.url);
    let (came, arrivals) = channel();
    let listener = TcpListener::bind(args.app).unwrap();
    let core = args.app_core;
    std::thread::spawn(move || {
        if let Some(core) = core {
            let mut cores = rustix::thread::CpuSet::new();
            cores.set(core);
            // What this thread starts runs there, too.
            rustix::thread::sched_setaffinity(None, &cores).unwrap();
        }
        serve(&listener, &came);
    });
    let requests = Requests::render(&address.to_string(), path, args.body);
    let mut gateway = TcpStream::connect(address).unwrap();
    gateway.set_nodelay(true).unwrap();
    let mut took: Vec<Sample> = Vec::with_capacity(args.events);
    for number in 0..WARMUP + args.events {
        std::thread::sleep(EVERY);
        let sample = one(&mut gateway, &requests, number as u64, &arrivals);
        if number >= WARMUP {
            took.push(sample);
        }
    }
    let ([ack_p50, ack_p99], [p50, p99]) =
        (percentiles(&took, |sample| sample.ack), percentiles(&took, |sample| sample.delivery));
    let line = json!({
        "name": args.name,
        "mode": "idle",
        "ack_us": { "p50": ack_p50, "p99": ack_p99 },
        "delivery_us": { "p50": p50, "p99": p99 },
    });
    println!("{line}");
}

struct Sample {
    /// Until the sender had its 2xx.
    ack: Duration,
    /// Until the app had the event.
    delivery: Duration,
}

fn one(gateway: &mut TcpStream, requests: &Requests, number: u64, arrivals: &Receiver<Instant>) -> Sample {
    let mut request = Vec::new();
    requests.write(number, std::process::id(), &mut request);
    let sent = Instant::now();
    gateway.write_all(&request).unwrap();
    let answer = read_message(gateway).expect("an answer");
    let ack = sent.elapsed();
    assert_eq!(answer[0], b'2', "refused: {}", String::from_utf8_lossy(&answer));
    let came = arrivals.recv_timeout(PATIENCE).expect("the event at the app");
    Sample { ack, delivery: came.saturating_duration_since(sent) }
}

/// The second word of the next message's first line.
fn read_message(stream: &mut TcpStream) -> Option<[u8; 3]> {
    let (mut read, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        match stream.read(&mut piece).ok()? {
            0 => return None,
            count => read.extend_from_slice(&piece[..count]),
        }
        if let Some(message) = http::message(&read) {
            assert_eq!(message.end, read.len(), "more than one message");
            return Some(message.second_word);
        }
    }
}

/// An app that tells when it had each request whole, and answers it.
fn serve(listener: &TcpListener, came: &Sender<Instant>) {
    for stream in listener.incoming() {
        let (mut stream, came) = (stream.unwrap(), came.clone());
        stream.set_nodelay(true).unwrap();
        std::thread::spawn(move || {
            while read_message(&mut stream).is_some() {
                let _ = came.send(Instant::now());
                if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                    return;
                }
            }
        });
    }
}

/// The 50th and the 99th, in microseconds.
fn percentiles(samples: &[Sample], figure: impl Fn(&Sample) -> Duration) -> [f64; 2] {
    let mut figures: Vec<f64> = samples.iter().map(|sample| figure(sample).as_secs_f64() * 1e6).collect();
    figures.sort_unstable_by(f64::total_cmp);
    [0.5, 0.99].map(|share| figures[((figures.len() as f64 * share) as usize).min(figures.len() - 1)])
}
