//! Raw HTTP against the real server, on a port that the system chose.

mod api;
mod deadlines;
mod guard;
mod server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::*;
use crate::buffer::{Buffer, BufferOptions, BufferSettings, KeepError, MaxPending, Settled};
use crate::clock::{Clock, Millis};
use crate::dedupe::{Dedupe, DedupeOptions, DedupeSettings};
use crate::delivery::{BatchOptions, DestinationHealth, LaneState, Pause, PausedBy};
use crate::event::{Ack, Answer, Attempt, Event, EventId, Proto, Turn, TypePattern};
use crate::headers::Headers;
use crate::ingress::{DeliverTo, NotReleased, Proof};
use crate::observe::Metrics;
use crate::secret::Secret;
use crate::verify::Redaction;

const TOKEN: &str = "the-admin-token-of-these-tests";
const READ_TOKEN: &str = "the-read-token-of-these-tests";
const NOW: Millis = Millis(1_768_473_000_000);
const PATIENCE: Duration = Duration::from_secs(10);

/// A running admin room, and the rooms that it looks at.
struct House {
    server: AdminServer,
    rooms: Rooms,
}

impl std::ops::Deref for House {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.rooms
    }
}

/// What the admin room looks at.
struct Rooms {
    buffer: Buffer,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    clock: Clock,
    reload: Arc<Mutex<Result<String, String>>>,
    /// Set: a reload never ends.
    stuck: Arc<AtomicBool>,
    /// What was done with destinations.
    operations: Arc<Mutex<Vec<Operation>>>,
}

fn house() -> House {
    house_at(AdminOptions { listen: AdminListen::parse("127.0.0.1:0"), ..AdminOptions::default() })
}

fn house_at(options: AdminOptions) -> House {
    house_with(options, BufferOptions::memory())
}

fn house_with(options: AdminOptions, buffer: BufferOptions) -> House {
    let (view, rooms) = rooms(buffer);
    let tokens = Tokens { full: Secret::new(TOKEN), read: Some(Secret::new(READ_TOKEN)) };
    let server = serve(&AdminSettings::new(options).unwrap(), tokens, view).unwrap();
    House { server, rooms }
}

fn rooms(buffer: BufferOptions) -> (AdminView, Rooms) {
    let clock = Clock::manual(NOW);
    let settings = BufferSettings::new(buffer).unwrap();
    let buffer = Buffer::memory(&settings, clock.clone(), Metrics::new());
    let destinations: Vec<(Arc<str>, MaxPending)> =
        ["app", "billing"].map(|name| (name.into(), MaxPending::default())).to_vec();
    buffer.set_destinations(&destinations);
    let metrics = Metrics::new();
    let readiness = Readiness::new();
    let reload = Arc::new(Mutex::new(Ok("nothing changed".to_owned())));
    let reloads = Arc::clone(&reload);
    let stuck = Arc::new(AtomicBool::new(false));
    let hang = Arc::clone(&stuck);
    let operations = Arc::<Mutex<Vec<Operation>>>::default();
    let operated = Arc::clone(&operations);
    let view = AdminView {
        buffer: buffer.clone(),
        dedupe: Dedupe::new(&DedupeSettings::new(DedupeOptions::default()).unwrap(), clock.clone(), [0; 16]),
        metrics: Arc::clone(&metrics),
        clock: clock.clone(),
        started_at: NOW.minus(Duration::from_secs(90)),
        readiness: Arc::clone(&readiness),
        routes: Box::new(|| vec![github(), proxy()]),
        destinations: Box::new(|| vec![app()]),
        operate: Box::new(move |name, what| {
            (name == "app").then(|| {
                operated.lock().push(what);
                match what {
                    Operation::Pause(time) => {
                        let until = time.map(|time| NOW.plus(time));
                        Operated::Paused(Pause { by: PausedBy::Operator, since: NOW, until })
                    }
                    Operation::Resume => Operated::Resumed(true),
                    Operation::Retry => Operated::Retried(7),
                }
            })
        }),
        gateway: Box::new(|| GatewayView {
            listeners: vec!["127.0.0.1:8080".to_owned()],
            config_path: "conf/hooklatch.toml".to_owned(),
            last_reload: Some(ReloadView { at: NOW, result: Err("line 3".to_owned()) }),
        }),
        redaction: Box::new(|route, _| match route {
            "github" => {
                Redaction::of_words(["header:x-odd-name", "query:code", "body:/hook/key", "form:key"])
            }
            _ => Redaction::anywhere(),
        }),
        secrets: Box::new(|destination| vec![Secret::new(format!("Bearer hunter2-for-{destination}"))]),
        rejected: RejectedDesk {
            list: Box::new(Vec::new),
            find: Box::new(|_| None),
            explain: Box::new(|_| None),
            release: Box::new(|_, _| Box::pin(std::future::ready(Err(NotReleased::NoBody)))),
        },
        reload: Box::new(move || {
            if hang.load(Ordering::Relaxed) {
                return Box::pin(std::future::pending());
            }
            let result = reloads.lock().clone();
            Box::pin(std::future::ready(result))
        }),
    };
    (view, Rooms { buffer, metrics, readiness, clock, reload, stuck, operations })
}

fn github() -> RouteView {
    RouteView {
        name: "github".into(),
        path: "/webhooks/github".to_owned(),
        host: None,
        methods: Some(vec!["POST".to_owned()]),
        allow_ips: Some(crate::ingress::AllowIpsView {
            fixed: 2,
            lists: vec![crate::net::IpListView {
                name: "github".into(),
                ranges: 6,
                as_of: "2026-01-15".to_owned(),
            }],
            shadow: true,
        }),
        action: RouteAction::Deliver {
            provider: Some("github".into()),
            proof: Proof::Authenticated,
            ack: Ack::Memory,
            dedupe: true,
            deliver_to: vec![
                "app".into(),
                DeliverTo { types: vec![TypePattern::parse("invoice.*").unwrap()], .."billing".into() },
            ],
            secrets: vec![
                secret("new", Some(NOW), false),
                secret("old", Some(NOW.minus(Duration::from_secs(90_000))), false),
                secret("idle", Some(NOW.minus(Duration::from_secs(3600))), false),
                secret("next", None, true),
            ],
            awaits_secret_until: None,
        },
    }
}

fn secret(name: &str, last_match_at: Option<Millis>, shadow: bool) -> SecretView {
    SecretView {
        name: name.into(),
        loaded_at: NOW.minus(Duration::from_secs(1_000_000)),
        last_match_at,
        hits: u64::from(last_match_at.is_some()),
        longest_gap: Duration::ZERO,
        shadow,
    }
}

fn proxy() -> RouteView {
    RouteView {
        name: "rest".into(),
        path: "/*".to_owned(),
        host: Some("example.com".to_owned()),
        methods: None,
        allow_ips: None,
        action: RouteAction::Proxy("http://user:hunter2@127.0.0.1:3000".to_owned()),
    }
}

fn app() -> DestinationHealth {
    DestinationHealth {
        name: "app".into(),
        url: "http://user:hunter2@127.0.0.1:3000".to_owned(),
        regions: Vec::new(),
        configured: true,
        in_flight: 1,
        concurrency: 8,
        idle_connections: 2,
        last_success: Some(NOW),
        last_failure: None,
        failures_in_a_row: 3,
        state: LaneState::Tripped { probe_at: Some(NOW.plus(Duration::from_secs(9))) },
        paused: None,
        batch: Some((BatchOptions::default(), 7)),
        rate: Some(("100/s".parse().unwrap(), 5)),
        formerly: vec!["old".into()],
    }
}

fn event(number: u64) -> Event {
    Event {
        id: EventId::default(),
        route: "github".into(),
        provider: Some("github".into()),
        event_id: Some(format!("evt_{number}").into()),
        event_type: Some("push".into()),
        event_time: None,
        received_at: NOW,
        method: "POST".into(),
        target: "/webhooks/github?x=1&token=hunter2".into(),
        headers: Headers::from_pairs([
            ("Content-Type", "application/json"),
            ("Authorization", "Bearer hunter2"),
            ("COOKIE", "hunter2"),
            ("X-Odd-Name", "hunter2"),
            ("X-Gitlab-Token", "hunter2"),
        ]),
        forwarded_for: "192.0.2.7".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from_static(b"{\"a\":1}"),
        turn: Turn::default(),
    }
}

impl House {
    /// Keeps `event` for `destinations`.
    fn keep(&self, event: Event, destinations: &[&str]) -> EventId {
        self.try_keep(event, destinations).unwrap()
    }

    fn try_keep(&self, event: Event, destinations: &[&str]) -> Result<EventId, KeepError> {
        let lanes: Vec<_> = destinations.iter().map(|name| self.buffer.lane(name)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.buffer.keep(event, &lanes, None, Ack::Memory))
    }

    /// Ends the next delivery to `destination` so.
    fn settle(&self, destination: &str, settled: Settled, status: u16) -> EventId {
        let lane = self.buffer.lane(destination);
        let delivery = lane.take(1).pop().unwrap();
        let id = delivery.event.id;
        let attempt = Attempt {
            number: delivery.attempt,
            at: NOW,
            took: Duration::from_millis(12),
            answer: Answer::Status(status),
            region: None,
        };
        lane.settle(id, settled, attempt, Bytes::from_static(b"no \xff"));
        id
    }

    fn connect(&self) -> TcpStream {
        connect(self.server.address().unwrap())
    }

    /// Sends a request as the CLI would.
    fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        talk(self.connect(), &head)
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "")
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, body)
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    #[track_caller]
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    fn is_refused(&self, status: u16, error: &str) -> Value {
        let json = self.json();
        assert_eq!((self.status, json["error"].as_str()), (status, Some(error)), "{self:?}");
        assert!(json["message"].as_str().unwrap().ends_with('.'), "{json}");
        assert!(json["request_id"].as_str().unwrap().starts_with("hl_"), "{json}");
        assert_eq!(json["timestamp"], "2026-01-15T10:30:00.000Z");
        json
    }
}

/// Sends `request` and reads until the server closes.
fn talk(mut stream: impl Read + Write, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

fn over_unix(path: &std::path::Path, request: &str) -> Reply {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    talk(stream, request)
}
