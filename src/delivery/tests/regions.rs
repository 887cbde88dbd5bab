//! A destination in several regions, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::double::{Act, Double, answer};
use super::request::event;
use super::rig::{NOW, buffer};
use crate::clock::Clock;
use crate::delivery::attempt::{Finished, Target, Work, attempt};
use crate::delivery::client::HttpClient;
use crate::delivery::connector::Connector;
use crate::delivery::departures::Departure;
use crate::delivery::flights::Cargo;
use crate::delivery::resign::RouteSigners;
use crate::delivery::settings::{DestinationOptions, DestinationSettings, Endpoint, Place};
use crate::event::{Ack, Answer, Region};
use crate::net::Failover;

/// One place: what answers there, and whether nobody listens.
struct Site {
    app: Double,
    shut: Arc<AtomicBool>,
}

struct House {
    work: Arc<Work>,
    sites: Vec<Site>,
}

fn ok() -> Double {
    Double::always(Act::Answer(answer(200, "", "")))
}

impl House {
    /// The near one, then the far one.
    fn new(near: Double, far: Double) -> Self {
        let endpoint = Endpoint::Http { host: "near".to_owned(), port: 80 };
        let mut options = DestinationOptions::new("app".into(), endpoint);
        options.timeout = Duration::from_secs(2);
        let place = |(name, path): (&str, &str)| Place {
            region: Region::new(name),
            endpoint: Endpoint::Http { host: format!("{name}.example"), port: 8080 },
            path: Some(path.to_owned()),
        };
        options.regions = [("near", "/n"), ("far", "/f")].map(place).to_vec();
        let settings = DestinationSettings::new(options).unwrap();
        let mut sites = Vec::new();
        let targets = settings.places().into_iter().zip([near, far]).map(|(place, app)| {
            let (pipes, ends) = mpsc::unbounded_channel();
            app.pipes(ends);
            let connector = Connector::memory(pipes);
            sites.push(Site { app, shut: connector.shut() });
            // Nothing is kept, so that each request meets the door.
            Target { place, client: HttpClient::new(connector, Duration::ZERO, 1) }
        });
        let targets = targets.collect();
        let work = Work {
            settings,
            targets,
            failover: Arc::new(Failover::new(2)),
            signers: RouteSigners::default(),
        };
        Self { work: Arc::new(work), sites }
    }

    async fn deliver(&self) -> Finished {
        let clock = Clock::manual(NOW);
        let buffer = buffer(&clock);
        buffer.set_destinations(&[("app".into(), Default::default())]);
        let lane = buffer.lane("app");
        buffer.keep(event("{}"), std::slice::from_ref(&lane), None, Ack::Memory).await.unwrap();
        let delivery = lane.take(1).pop().unwrap();
        attempt(Arc::clone(&self.work), Cargo::One(delivery), Departure::free(), clock).await
    }

    /// How an attempt ended, and where.
    async fn ended(&self) -> (Answer, &'static str) {
        let ended = self.deliver().await.done.ended;
        let region = if ended.region == Region::new("near") { "near" } else { "far" };
        assert!(ended.region == Region::new(region), "{ended:?}");
        (ended.answer, region)
    }

    fn counts(&self) -> [usize; 2] {
        [self.sites[0].app.count(), self.sites[1].app.count()]
    }
}

const DELIVERED: Answer = Answer::Status(200);

#[tokio::test(start_paused = true)]
async fn the_near_one_is_used_as_long_as_it_answers_whatever_it_says() {
    let house = House::new(Double::always(Act::Answer(answer(503, "", ""))), ok());
    for _ in 0..10 {
        assert_eq!(house.ended().await, (Answer::Status(503), "near"));
    }
    assert_eq!(house.counts(), [10, 0]);
    let seen = house.sites[0].app.request(0);
    assert_eq!(
        (seen.line.as_str(), seen.one("host")),
        ("POST /n?a=1&b=%20 HTTP/1.1", "hooks.example.com".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_place_that_refuses_connections_costs_no_attempt() {
    let house = House::new(ok(), ok());
    house.sites[0].shut.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(house.ended().await, (DELIVERED, "far"));
    }
    assert_eq!((house.counts(), house.work.failover.up()), ([0, 5], vec![false, true]));
    assert!(house.sites[1].app.request(0).line.starts_with("POST /f?"), "each place has its own path");
    // Both away: the attempt says so of the last one that was tried.
    house.sites[1].shut.store(true, Ordering::SeqCst);
    assert_eq!(house.ended().await.0, Answer::Connect);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_hangs_is_passed_over_after_three_and_used_again_once_it_answers() {
    // The near one hangs four times, the last one being the trial, then it is well.
    let house = House::new(
        Double::new(|nth, _| if nth < 4 { Act::Hang } else { Act::Answer(answer(200, "", "")) }),
        ok(),
    );
    for _ in 0..3 {
        assert_eq!(
            house.ended().await,
            (Answer::Timeout, "near"),
            "it may have been delivered: no second send"
        );
    }
    for _ in 0..5 {
        assert_eq!(house.ended().await, (DELIVERED, "far"));
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(house.ended().await, (Answer::Timeout, "near"), "the trial");
    assert_eq!(house.ended().await, (DELIVERED, "far"));
    tokio::time::advance(Duration::from_secs(10)).await;
    for _ in 0..3 {
        assert_eq!(house.ended().await, (DELIVERED, "near"));
    }
    assert_eq!((house.counts(), house.work.failover.up()), ([7, 6], vec![true, true]));
}
