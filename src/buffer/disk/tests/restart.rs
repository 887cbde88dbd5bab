//! What a crash leaves half done between the spool and the dead letters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::dead::{DeadLetter, DeadLetters, DeadOptions, Inserted};
use super::super::progress::What;
use super::super::{DiskBuffer, buffer::dead_file};
use crate::buffer::{BufferOptions, BufferSettings, DeadReason, EventFilter};
use crate::clock::{Clock, Millis};
use crate::event::{Ack, Claim, ClaimKeeper, DedupeKey, Event, EventId, Proto};
use crate::headers::Headers;
use crate::observe::Metrics;

const NOW: Millis = Millis(1_768_473_000_000);

/// Remembers nothing.
#[derive(Debug)]
struct Nobody;

impl ClaimKeeper for Nobody {
    fn confirm(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn release(&self, _: DedupeKey, _: Vec<Arc<str>>) {}
    fn restore(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn forget(&self, _: DedupeKey) {}
}

fn open(folder: &std::path::Path) -> Arc<DiskBuffer> {
    let options = BufferOptions {
        path: folder.to_owned(),
        max_bytes: 8 << 20,
        max_event: 64 << 10,
        ..BufferOptions::default()
    };
    let settings = BufferSettings::new(options).unwrap();
    let buffer = DiskBuffer::open(&settings, Clock::manual(NOW), Arc::new(Nobody), Metrics::new()).unwrap();
    buffer.set_destinations(&[("app".into(), Default::default())]);
    buffer
}

fn event() -> Event {
    Event {
        id: EventId::default(),
        route: "github".into(),
        provider: None,
        event_id: None,
        event_type: None,
        event_time: None,
        received_at: NOW,
        method: "POST".into(),
        target: "/".into(),
        headers: Headers::default(),
        forwarded_for: "192.0.2.1".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from_static(b"{}"),
    }
}

#[tokio::test]
async fn a_letter_that_a_crash_parted_from_the_spool_keeps_its_reason() {
    for reason in [DeadReason::Gone, DeadReason::AttemptsExhausted] {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let lane = buffer.lane("app");
        let none: Option<Claim> = None;
        let id = buffer.keep(event(), std::iter::once(&lane), none, Ack::Durable).await.unwrap();
        buffer.finish();
        drop((lane, buffer));
        // The process ended when the letter stood, and before the spool was told.
        let options = DeadOptions { max_bytes: 1 << 20, retention: Duration::from_secs(3600) };
        let dead = DeadLetters::open(&dead_file(folder.path()), options).unwrap();
        let letter = DeadLetter {
            event: Arc::new(Event { id, ..event() }),
            destination: "app".into(),
            reason,
            attempts: Vec::new(),
            excerpt: Bytes::new(),
            died_at: NOW,
        };
        assert_eq!(dead.insert(&[letter]).unwrap(), [Inserted::Stands]);
        drop(dead);

        let buffer = open(folder.path());
        assert!(buffer.shared.flush());
        let steps: Vec<What> =
            buffer.shared.spool.history_of(id.seq()).iter().map(|step| step.what).collect();
        assert_eq!(steps, [What::Dead(reason)]);
        let dead = EventFilter { status: Some("dead"), ..EventFilter::default() };
        assert_eq!(buffer.list(&dead, None, 10).0.len(), 1);
        assert!(buffer.lane("app").take(1).is_empty(), "it does not go out once more");
        buffer.finish();
    }
}
