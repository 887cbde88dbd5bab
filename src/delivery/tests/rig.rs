//! One lane in front of a double.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::double::{Act, Double, answer};
use super::request::event;
use crate::buffer::{Buffer, BufferOptions, BufferSettings, DestinationView, Lane};
use crate::clock::{Clock, Millis};
use crate::delivery::attempt::Work;
use crate::delivery::client::HttpClient;
use crate::delivery::connector::Connector;
use crate::delivery::health::Health;
use crate::delivery::lane::{Control, LaneTask, Tools};
use crate::delivery::settings::{DestinationOptions, DestinationSettings, Endpoint};
use crate::delivery::standing::Standing;
use crate::event::nobody::Nobody;
use crate::event::{Ack, Event, EventId, Outcome};
use crate::observe::{EventLog, Metrics};

pub const NOW: Millis = Millis(1_768_473_000_000);
pub const SECONDS: fn(u64) -> Duration = Duration::from_secs;
pub const MS: fn(u64) -> Duration = Duration::from_millis;

/// One lane in front of a double, over pipes, so that time can be paused.
pub struct Rig {
    pub buffer: Buffer,
    pub lane: Lane,
    pub clock: Clock,
    pub app: Double,
    pub control: watch::Sender<Control>,
    pub health: Arc<Health>,
    pub standing: Arc<Standing>,
    pub metrics: Arc<Metrics>,
    pub log: Arc<Mutex<Vec<u8>>>,
    pub events: EventLog,
    pub task: JoinHandle<()>,
}

#[derive(Clone)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn buffer(clock: &Clock) -> Buffer {
    Buffer::memory(&BufferSettings::new(BufferOptions::memory()).unwrap(), clock.clone(), Metrics::new())
}

/// One on disk, as long as its folder stands.
pub fn disk_buffer(clock: &Clock) -> (Buffer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let options = BufferOptions { path, max_bytes: 8 << 20, max_event: 64 << 10, ..BufferOptions::default() };
    let settings = BufferSettings::new(options).unwrap();
    let buffer = Buffer::disk(&settings, clock.clone(), Arc::new(Nobody), Metrics::new()).unwrap();
    (buffer, folder)
}

impl Rig {
    pub fn new(app: Double, change: impl FnOnce(&mut DestinationOptions)) -> Self {
        let (pipes, ends) = mpsc::unbounded_channel();
        app.pipes(ends);
        Self::over(Connector::memory(pipes), app, change)
    }

    pub fn over(connector: Connector, app: Double, change: impl FnOnce(&mut DestinationOptions)) -> Self {
        let endpoint = Endpoint::Http { host: "app".to_owned(), port: 80 };
        let mut options = DestinationOptions::new(Arc::from("app"), endpoint);
        options.retry_jitter = 0.0;
        change(&mut options);
        let settings = DestinationSettings::new(options).unwrap();
        let clock = Clock::manual(NOW);
        let buffer = buffer(&clock);
        buffer.set_destinations(&[(settings.name.clone(), settings.max_pending)]);
        let lane = buffer.lane("app");
        let client = HttpClient::new(connector, settings.keepalive, settings.concurrency as usize);
        let work = Arc::new(Work::over(settings, &client));
        let (control, listener) = watch::channel(Control {
            work,
            lanes: [lane.clone()].into(),
            taking: true,
            until: None,
            hastened: 0,
        });
        let standing = Standing::unwritten();
        let (metrics, log, health) = (Metrics::new(), Arc::default(), Arc::<Health>::default());
        let events = EventLog::to(Box::new(Kept(Arc::clone(&log))), true, metrics.clone());
        let tools = Tools {
            clock: clock.clone(),
            log: events.clone(),
            metrics: metrics.clone(),
            destination: metrics.destination("app"),
            health: health.clone(),
            standing: standing.clone(),
            exact: false,
        };
        let task = tokio::spawn(LaneTask::new("app".into(), listener, tools).run());
        Self { buffer, lane, clock, app, control, health, standing, metrics, log, events, task }
    }

    /// Lets wall time run along with (paused) tokio time, in steps of `step`.
    pub fn ticking(self, step: Duration) -> Self {
        let clock = self.clock.clone();
        tokio::spawn(async move {
            loop {
                sleep(step).await;
                clock.advance(step);
            }
        });
        self
    }

    pub async fn keep(&self, body: &str) -> EventId {
        self.keep_event(event(body.to_owned())).await
    }

    pub async fn keep_event(&self, event: Event) -> EventId {
        let event = Event { received_at: self.clock.now(), ..event };
        self.buffer.keep(event, std::slice::from_ref(&self.lane), None, Ack::Memory).await.unwrap()
    }

    /// Passes an event, as `ack = "delivered"` does.
    pub async fn express(&self, body: &str) -> oneshot::Receiver<Outcome> {
        let event = event(body.to_owned());
        self.buffer.pass(event, std::slice::from_ref(&self.lane)).unwrap().1.remove(0)
    }

    /// As a reload and the admin API do.
    pub fn change(&self, change: impl FnOnce(&mut Control)) {
        self.control.send_modify(change);
    }

    pub fn view(&self, id: EventId) -> DestinationView {
        self.buffer.find(id).unwrap().destinations.remove(0)
    }

    pub fn bodies(&self) -> Vec<String> {
        self.app.seen.lock().iter().map(|s| String::from_utf8(s.body.clone()).unwrap()).collect()
    }

    /// When each request came, in milliseconds after the first.
    pub fn moments(&self) -> Vec<u64> {
        let seen = self.app.seen.lock();
        seen.iter().map(|s| s.at.duration_since(seen[0].at).as_millis() as u64).collect()
    }
}

pub fn ok() -> Act {
    Act::Answer(answer(200, "", ""))
}
