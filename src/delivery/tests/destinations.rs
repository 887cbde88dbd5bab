use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::double::{Act, Double, answer, until};
use super::request::{event, http};
use crate::buffer::{Buffer, Status};
use crate::clock::Clock;
use crate::delivery::settings::{DestinationOptions, DestinationSettings, Endpoint};
use crate::delivery::{Destinations, LaneState, Undelivered};
use crate::event::{Ack, Answer, Event, EventId};
use crate::net::Resolver;
use crate::observe::{EventLog, Metrics};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// All rooms behind the front door, in real time.
struct House {
    buffer: Buffer,
    destinations: Arc<Destinations>,
}

fn house() -> House {
    let clock = Clock::system();
    let buffer = super::rig::buffer(&clock);
    let (metrics, log) = (Metrics::new(), EventLog::off());
    let destinations =
        Destinations::new(buffer.clone(), Resolver::system(), metrics, log, clock, None).unwrap();
    House { buffer, destinations: Arc::new(destinations) }
}

fn settings(
    name: &str,
    endpoint: Endpoint,
    change: impl FnOnce(&mut DestinationOptions),
) -> DestinationSettings {
    let mut options = DestinationOptions::new(Arc::from(name), endpoint);
    options.retry_delays = vec![MS(30); 50];
    change(&mut options);
    DestinationSettings::new(options).unwrap()
}

impl House {
    async fn keep(&self, name: &str, body: &str) -> EventId {
        let event = Event { received_at: Clock::system().now(), ..event(body.to_owned()) };
        self.buffer.keep(event, &[self.buffer.lane(name)], None, Ack::Memory).await.unwrap()
    }

    fn status(&self, id: EventId) -> Status {
        self.buffer.find(id).unwrap().destinations[0].status
    }
}

#[tokio::test]
async fn an_app_that_comes_back_gets_what_it_missed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let house = house();
    house.destinations.apply(&[settings("app", http("127.0.0.1", port), |_| {})]);
    let id = house.keep("app", "patience").await;
    let first = || house.buffer.find(id).unwrap().destinations[0].attempts.first().map(|a| a.answer);
    until("an attempt", || first().is_some()).await;
    assert_eq!(first(), Some(Answer::Connect));
    assert!(house.destinations.health()[0].failures_in_a_row > 0);

    let app = Double::always(Act::Answer(answer(200, "", "")));
    app.serve(TcpListener::bind(("127.0.0.1", port)).await.unwrap());
    until("the delivery", || house.status(id) == Status::Delivered).await;
    assert_eq!(app.request(0).body, b"patience");
    let health = &house.destinations.health()[0];
    assert_eq!((health.failures_in_a_row, health.configured), (0, true));
    assert_eq!(health.url, format!("http://127.0.0.1:{port}"));
    assert!(health.last_success.is_some() && health.last_failure.is_some());
}

#[tokio::test]
async fn a_unix_socket_is_a_destination_too() {
    let dir = tempfile::tempdir().unwrap();
    let app = Double::always(Act::Answer(answer(200, "", "")));
    let endpoint = app.unix(dir.path().join("app.sock"));
    let house = house();
    house.destinations.apply(&[settings("app", endpoint, |o| o.path = Some("/hook".to_owned()))]);
    for _ in 0..3 {
        house.keep("app", "x").await;
    }
    until("three requests", || app.count() == 3).await;
    assert_eq!(app.request(2).line, "POST /hook?a=1&b=%20 HTTP/1.1");
    let shown = format!("unix:{}:/hook", dir.path().join("app.sock").display());
    assert_eq!(house.destinations.health()[0].url, shown);
}

#[tokio::test]
async fn one_destination_that_hangs_does_not_hold_up_another() {
    let (hangs, works) = (Double::always(Act::Hang), Double::always(Act::Answer(answer(200, "", ""))));
    let house = house();
    house
        .destinations
        .apply(&[settings("hangs", hangs.tcp().await, |_| {}), settings("works", works.tcp().await, |_| {})]);
    for n in 0..50 {
        house.keep("hangs", &n.to_string()).await;
        house.keep("works", &n.to_string()).await;
    }
    until("the other's deliveries", || works.count() == 50).await;
    assert_eq!(hangs.count(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_destinations_eighty_notice_nothing_of_twenty_that_hang_or_refuse() {
    const EACH: usize = 10;
    let works: Vec<Double> = (0..80).map(|_| Double::always(Act::Answer(answer(200, "", "")))).collect();
    let hangs = Double::always(Act::Hang);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refuses = http("127.0.0.1", nobody.local_addr().unwrap().port());
    drop(nobody);
    let house = house();
    let mut all = Vec::new();
    for n in 0..100 {
        let endpoint = match n {
            0..10 => hangs.tcp().await,
            10..20 => refuses.clone(),
            _ => works[n - 20].tcp().await,
        };
        all.push(settings(&format!("d{n}"), endpoint, |options| options.retry_delays = vec![MS(60_000); 3]));
    }
    house.destinations.apply(&all);
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for n in 0..EACH {
        for destination in 0..100 {
            let kept = Instant::now();
            house.keep(&format!("d{destination}"), &n.to_string()).await;
            slowest = slowest.max(kept.elapsed());
        }
    }
    assert!(slowest < MS(500), "a keep took {slowest:?}");
    until("the deliveries of those that are well", || works.iter().all(|app| app.count() == EACH)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(hangs.count(), 10 * 8, "as many as may be in flight");
    let pending = |n: usize| house.buffer.lane(&format!("d{n}")).depth().0;
    until("what they were told of it", || (20..100).all(|n| pending(n) == 0)).await;
    assert!((0..20).all(|n| pending(n) == EACH as u64));
}

#[tokio::test]
async fn a_changed_url_takes_the_backlog_along() {
    let (old, new) =
        (Double::always(Act::Answer(answer(500, "", ""))), Double::always(Act::Answer(answer(200, "", ""))));
    let house = house();
    house.destinations.apply(&[settings("app", old.tcp().await, |_| {})]);
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(house.keep("app", &n.to_string()).await);
    }
    until("a failure", || old.count() > 0).await;
    house.destinations.apply(&[settings("app", new.tcp().await, |_| {})]);
    until("all delivered", || ids.iter().all(|id| house.status(*id) == Status::Delivered)).await;
    assert_eq!(new.count(), 20);
}

#[tokio::test]
async fn a_reload_cuts_nothing_and_keeps_the_connections_that_still_fit() {
    let app = Double::always(Act::Late(MS(150), answer(200, "", "")));
    let endpoint = app.tcp().await;
    let house = house();
    house.destinations.apply(&[settings("app", endpoint.clone(), |o| o.concurrency = 2)]);
    for n in 0..8 {
        house.keep("app", &n.to_string()).await;
    }
    until("two in flight", || app.count() == 2).await;
    house.destinations.apply(&[settings("app", endpoint.clone(), |options| {
        options.concurrency = 2;
        options.retry_delays = vec![MS(1)];
    })]);
    until("four more", || app.count() == 6).await;
    assert_eq!(app.connections(), 2);
    // A new limit holds from the next attempt on.
    house.destinations.apply(&[settings("app", endpoint, |o| o.concurrency = 1)]);
    until("the rest", || app.count() == 8 && house.buffer.lane("app").depth().0 == 0).await;
    assert_eq!(app.busiest.load(std::sync::atomic::Ordering::SeqCst), 2);
    let bodies: std::collections::BTreeSet<_> = app.seen.lock().iter().map(|s| s.body.clone()).collect();
    assert_eq!(bodies.len(), 8, "none twice");
}

#[tokio::test]
async fn what_probes_failed_with_goes_along_when_a_destination_that_is_down_gets_another_name() {
    let down = Double::always(Act::Answer(answer(503, "", "")));
    let works = Double::always(Act::Answer(answer(200, "", "")));
    let house = house();
    let breaks = |options: &mut DestinationOptions| {
        options.breaker_failures = 2;
        options.probe_after = MS(20);
    };
    house.destinations.apply(&[settings("old", down.tcp().await, breaks)]);
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(house.keep("old", &n.to_string()).await);
    }
    until("it is down", || matches!(house.destinations.health()[0].state, LaneState::Tripped { .. })).await;
    let sent = down.count();
    until("probes with several of them", || down.count() > sent + 4).await;
    let renamed = |options: &mut DestinationOptions| options.formerly = vec!["old".into()];
    house.destinations.apply(&[settings("new", works.tcp().await, renamed)]);
    until("all of them are delivered", || ids.iter().all(|id| house.status(*id) == Status::Delivered)).await;
}

#[tokio::test]
async fn a_removed_destination_keeps_its_backlog_until_it_returns() {
    let app = Double::always(Act::Late(MS(50), answer(200, "", "")));
    let endpoint = app.tcp().await;
    let house = house();
    let one = |options: &mut DestinationOptions| options.concurrency = 1;
    house.destinations.apply(&[settings("app", endpoint.clone(), one)]);
    for n in 0..5 {
        house.keep("app", &n.to_string()).await;
    }
    until("one in flight", || app.count() == 1).await;
    house.destinations.apply(&[]);
    until("it finished", || house.buffer.lane("app").depth().0 == 4).await;
    assert!(!house.destinations.health()[0].configured);
    tokio::time::sleep(MS(150)).await;
    assert_eq!((app.count(), house.buffer.lane("app").depth().0), (1, 4));
    house.destinations.apply(&[settings("app", endpoint, one)]);
    until("the rest", || house.buffer.lane("app").depth().0 == 0).await;
    assert_eq!(app.count(), 5);
}

#[tokio::test]
async fn draining_says_what_it_leaves_behind() {
    let (hangs, works) = (Double::always(Act::Hang), Double::always(Act::Answer(answer(200, "", ""))));
    let house = house();
    house
        .destinations
        .apply(&[settings("hangs", hangs.tcp().await, |_| {}), settings("works", works.tcp().await, |_| {})]);
    for n in 0..20 {
        house.keep("works", &n.to_string()).await;
        if n < 3 {
            house.keep("hangs", &n.to_string()).await;
        }
    }
    house.buffer.close();
    let began = Instant::now();
    let left = house.destinations.drain(began + MS(400)).await;
    assert!(began.elapsed() >= MS(400) && began.elapsed() < MS(1300), "{:?}", began.elapsed());
    let bytes = left.bytes;
    assert_eq!(left, Undelivered { events: 3, bytes, destinations: vec![(Arc::from("hangs"), 3)] });
    assert!(bytes > 0);
    assert_eq!(works.count(), 20);
}

#[tokio::test]
async fn draining_ends_at_once_when_nothing_is_left() {
    let app = Double::always(Act::Answer(answer(200, "", "")));
    let house = house();
    house.destinations.apply(&[settings("app", app.tcp().await, |_| {})]);
    house.keep("app", "x").await;
    let began = Instant::now();
    let left = house.destinations.drain(began + Duration::from_secs(20)).await;
    assert_eq!((left, app.count()), (Undelivered::default(), 1));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_shown_url_tells_no_query() {
    let shown = |endpoint, path| super::super::destinations::shown_url(&endpoint, path);
    assert_eq!(shown(http("app", 80), Some("/hook?token=secret")), "http://app/hook");
    assert_eq!(shown(Endpoint::Https { host: "::1".to_owned(), port: 8443 }, None), "https://[::1]:8443");
}
