//! The generator: one thread, one epoll, N kept-alive connections.
//!
//! *Closed loop* (no `--rate`): each connection sends its next request when the last is answered: the most a server
//! can do. *Open loop*: requests are due at evenly spaced times whatever the answers do, and a latency counts from
//! when its request was due, so that a server that stalls is not asked less (no coordinated omission).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use serde_json::json;

use super::app::{self, Counter, Held};
use super::busy::{Busy, resident_kib};
use super::http;
use super::requests::Requests;
use super::storage::Storage;

#[derive(clap::Args)]
pub struct Args {
    /// http://HOST:PORT/PATH
    url: String,
    /// A name for the line that is printed
    #[arg(long, default_value = "")]
    name: String,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds before them that are not
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Requests a second, evenly spaced; without it as many as are answered
    #[arg(long)]
    rate: Option<f64>,
    /// Runs an app at this address; what is measured is how many events a second reach it
    #[arg(long)]
    app: Option<SocketAddr>,
    /// With `--app`: sends so many and waits until the app has them all
    #[arg(long)]
    events: Option<u64>,
    /// With `--app` and `--rate`: before what is measured, so many are sent while the app does not answer
    #[arg(long)]
    backlog: Option<u64>,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Where the measured process shows its metrics: what it asked of the disk
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// The measured process: how busy it was, and its memory
    #[arg(long)]
    pid: Option<u32>,
    /// Tells this run's ids from another's at the same server
    #[arg(long, default_value_t = std::process::id())]
    run: u32,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// When the request under way was due; `None` when none is.
    due: Option<Instant>,
}

#[derive(Default)]
struct Tally {
    answered: u64,
    non_2xx: u64,
    first_refusal: Option<String>,
    reconnects: u64,
    latencies_ns: Vec<u32>,
}

struct Generator {
    address: SocketAddr,
    requests: Requests,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    free: Vec<usize>,
    sent: u64,
    run: u32,
    tally: Tally,
    /// No more than so many are sent.
    most: u64,
    with_app: bool,
}

pub fn run(args: &Args) {
    let (address, path) = split(&args.url);
    let (delivered, held) = (Counter::default(), Held::default());
    if let Some(listen) = args.app {
        let (counter, held) = (delivered.clone(), held.clone());
        std::thread::spawn(move || app::serve(listen, &counter, &held));
    }
    let mut generator = Generator::connect(address, path, args);
    let line = match (args.events, args.backlog) {
        (Some(events), _) => generator.until_delivered(events, &delivered, args),
        (None, Some(backlog)) => generator.drain(backlog, &delivered, &held, args),
        (None, None) => generator.for_a_while(&delivered, args),
    };
    println!("{line}");
}

pub fn split(url: &str) -> (SocketAddr, &str) {
    let rest = url.strip_prefix("http://").expect("http://HOST:PORT/PATH");
    let slash = rest.find('/').expect("http://HOST:PORT/PATH");
    (rest[..slash].parse().unwrap(), &rest[slash..])
}

impl Generator {
    fn connect(address: SocketAddr, path: &str, args: &Args) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut generator = Self {
            address,
            requests: Requests::render(&address.to_string(), path, args.body),
            epoll,
            connections: Vec::new(),
            free: (0..args.connections).rev().collect(),
            sent: 0,
            run: args.run,
            tally: Tally::default(),
            most: args.events.unwrap_or(u64::MAX),
            with_app: args.app.is_some(),
        };
        for index in 0..args.connections {
            let stream = generator.open(index);
            let (request, answer) = (Vec::with_capacity(4096), Vec::with_capacity(4096));
            generator.connections.push(Connection { stream, request, answer, due: None });
        }
        generator
    }

    fn open(&self, index: usize) -> TcpStream {
        let stream =
            TcpStream::connect(self.address).unwrap_or_else(|error| panic!("{}: {error}", self.address));
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).unwrap();
        stream
    }

    fn for_a_while(&mut self, delivered: &Counter, args: &Args) -> serde_json::Value {
        self.drive(Duration::from_secs_f64(args.warmup), args.rate, |_| false);
        self.tally = Tally { latencies_ns: Vec::with_capacity(4 << 20), ..Tally::default() };
        let storage = args.metrics.map(Storage::of);
        let (busy, at_app) = (args.pid.map(Busy::of), delivered.get());
        let (own, begun) = (Busy::of(std::process::id()), Instant::now());
        self.drive(Duration::from_secs_f64(args.seconds), args.rate, |_| false);
        let seconds = begun.elapsed().as_secs_f64();
        let at_app = delivered.get() - at_app;
        let busy = (busy.map(|busy| busy.share()), own.share());
        let storage = storage.map(|before| before.since(self.tally.answered, self.requests.bytes));
        let mut line = self.line(args, seconds, busy, self.tally.answered as f64 / seconds, at_app);
        line["storage"] = storage.into();
        line
    }

    /// How fast a backlog goes, from the moment on at which the app answers again, while others come at the rate.
    fn drain(&mut self, backlog: u64, delivered: &Counter, held: &Held, args: &Args) -> serde_json::Value {
        held.set(true);
        self.most = backlog;
        self.drive(Duration::from_secs(50), None, |all| all.tally.answered >= backlog);
        assert_eq!((self.tally.answered, self.tally.non_2xx), (backlog, 0), "{:?}", self.tally.first_refusal);
        self.most = u64::MAX;
        self.tally = Tally { latencies_ns: Vec::with_capacity(4 << 20), ..Tally::default() };
        let (busy, own) = (args.pid.map(Busy::of), Busy::of(std::process::id()));
        let (begun, under_way) = (Instant::now(), args.connections as u64);
        held.set(false);
        let gone = |all: &Self| delivered.get() + under_way >= backlog + all.tally.answered;
        self.drive(Duration::from_secs(100), args.rate, gone);
        let seconds = begun.elapsed().as_secs_f64();
        let (at_app, arrived) = (delivered.get(), self.tally.answered as f64 / seconds);
        let busy = (busy.map(|busy| busy.share()), own.share());
        let mut line = self.line(args, seconds, busy, at_app as f64 / seconds, at_app);
        line["mode"] = "drain".into();
        line["backlog"] = backlog.into();
        line["arrived_per_second"] = arrived.into();
        line
    }

    /// The whole way of `events`: from the first request to the last delivery.
    fn until_delivered(&mut self, events: u64, delivered: &Counter, args: &Args) -> serde_json::Value {
        let (busy, own) = (args.pid.map(Busy::of), Busy::of(std::process::id()));
        let begun = Instant::now();
        let most = Duration::from_secs_f64(args.seconds.max(60.0));
        self.drive(most, None, |_| delivered.get() >= events);
        let seconds = begun.elapsed().as_secs_f64();
        let at_app = delivered.get();
        let busy = (busy.map(|busy| busy.share()), own.share());
        self.line(args, seconds, busy, at_app as f64 / seconds, at_app)
    }

    /// Sends and receives for `how_long`, or until `done`.
    fn drive(&mut self, how_long: Duration, rate: Option<f64>, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        let mut due_count = 0_u64;
        let mut events = Vec::with_capacity(256);
        while begun.elapsed() < how_long && !done(self) {
            match rate {
                None => {
                    while let Some(index) = self.take_free() {
                        self.send(index, Instant::now());
                    }
                }
                Some(rate) => {
                    let due = |count: u64| begun + Duration::from_secs_f64(count as f64 / rate);
                    while due(due_count) <= Instant::now() {
                        let Some(index) = self.take_free() else { break };
                        self.send(index, due(due_count));
                        due_count += 1;
                    }
                }
            }
            // An open loop spins: it has a core of its own, and a timer would wake it late. Not where the app runs there.
            let nanos = match rate {
                Some(_) if self.with_app => 100_000,
                Some(_) => 0,
                None => 10_000_000,
            };
            let wait = Timespec { tv_sec: 0, tv_nsec: nanos };
            self.poll(&mut events, &wait);
        }
        // What is under way is answered before the next phase begins, and belongs to this one.
        let end = Instant::now() + Duration::from_secs(5);
        while self.connections.iter().any(|connection| connection.due.is_some()) && Instant::now() < end {
            self.poll(&mut events, &Timespec { tv_sec: 0, tv_nsec: 10_000_000 });
        }
    }

    fn take_free(&mut self) -> Option<usize> {
        if self.sent >= self.most {
            return None;
        }
        self.free.pop()
    }

    fn poll(&mut self, events: &mut Vec<epoll::Event>, wait: &Timespec) {
        match epoll::wait(&self.epoll, spare_capacity(events), Some(wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        for event in events.drain(..) {
            self.receive(event.data.u64() as usize);
        }
    }

    fn send(&mut self, index: usize, due: Instant) {
        let connection = &mut self.connections[index];
        self.requests.write(self.sent, self.run, &mut connection.request);
        self.sent += 1;
        connection.due = Some(due);
        // A request is far smaller than a socket's buffer, which is empty: it is taken whole or the peer is gone.
        if !matches!(connection.stream.write(&connection.request), Ok(written) if written == connection.request.len())
        {
            self.reconnect(index);
        }
    }

    fn receive(&mut self, index: usize) {
        let mut piece = [0; 8 << 10];
        let connection = &mut self.connections[index];
        match connection.stream.read(&mut piece) {
            Ok(0) => return self.reconnect(index),
            Ok(read) => connection.answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.reconnect(index),
        }
        let Some(message) = http::message(&connection.answer) else { return };
        let due = connection.due.take().expect("an answer that was not asked for");
        self.tally.latencies_ns.push(u32::try_from(due.elapsed().as_nanos()).unwrap_or(u32::MAX));
        self.tally.answered += 1;
        if message.second_word[0] != b'2' {
            self.tally.non_2xx += 1;
            let text = || String::from_utf8_lossy(&connection.answer[..message.end]).into_owned();
            self.tally.first_refusal.get_or_insert_with(text);
        }
        assert_eq!(connection.answer.len(), message.end, "more than one answer");
        connection.answer.clear();
        self.free.push(index);
    }

    /// A connection that ended; a request on it counts as refused.
    fn reconnect(&mut self, index: usize) {
        let stream = self.open(index);
        let connection = &mut self.connections[index];
        connection.stream = stream;
        connection.answer.clear();
        self.tally.reconnects += 1;
        if connection.due.take().is_some() {
            self.tally.non_2xx += 1;
            self.tally.first_refusal.get_or_insert_with(|| "the connection was closed".to_owned());
            self.free.push(index);
        }
    }

    fn line(
        &mut self,
        args: &Args,
        seconds: f64,
        (server_busy, load_busy): (Option<f64>, f64),
        per_second: f64,
        at_app: u64,
    ) -> serde_json::Value {
        let latencies = &mut self.tally.latencies_ns;
        latencies.sort_unstable();
        let percentile = |share: f64| {
            let rank = (latencies.len() as f64 * share) as usize;
            latencies.get(rank.min(latencies.len().saturating_sub(1))).map(|ns| f64::from(*ns) / 1e3)
        };
        json!({
            "name": args.name,
            "mode": if args.events.is_some() { "delivered" } else if args.rate.is_some() { "open" } else { "closed" },
            "connections": args.connections,
            "rate": args.rate,
            "seconds": seconds,
            "per_second": per_second,
            "answered": self.tally.answered,
            "at_app": args.app.map(|_| at_app),
            "non_2xx": self.tally.non_2xx,
            "first_refusal": self.tally.first_refusal,
            "reconnects": self.tally.reconnects,
            "latency_us": {
                "p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99), "p999": percentile(0.999),
                "max": percentile(1.0),
            },
            "server_busy": server_busy,
            "load_busy": load_busy,
            "server_resident_kib": args.pid.map(resident_kib),
        })
    }
}
