//! How fast a lane is: its rate, and what a 429 asks for.

use tokio::time::{Instant, sleep};

use super::double::{Act, Double, answer};
use super::rig::{MS, Rig, SECONDS, ok};
use crate::delivery::LaneState;

/// Most requests in any second, wherever it begins.
fn most_in_a_second(moments: &[u64]) -> usize {
    (0..moments.len())
        .map(|first| moments[first..].iter().take_while(|at| **at < moments[first] + 1000).count())
        .max()
        .unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_never_exceeded_and_hardly_missed() {
    for (rate, burst, each_second) in [("20/s", 1, 20), ("20/s", 5, 20), ("600/m", 3, 10)] {
        let rig = Rig::new(Double::always(ok()), |options| {
            options.rate = Some(rate.parse().unwrap());
            options.burst = burst;
        })
        .ticking(MS(50));
        for n in 0..100 {
            rig.keep(&n.to_string()).await;
        }
        let began = Instant::now();
        while rig.app.count() < 100 {
            sleep(MS(50)).await;
        }
        let most = most_in_a_second(&rig.moments());
        assert!(most < each_second + burst as usize, "{rate}, {burst}: {most}");
        let ideal = (100.0 - f64::from(burst)) / each_second as f64;
        let took = began.elapsed().as_secs_f64();
        assert!(took < ideal * 1.05 + 0.1, "{rate}, {burst}: {took} s instead of {ideal} s");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_that_are_due_at_once_reach_the_app_at_the_lane_s_rate() {
    let app = Double::new(|nth, _| if nth < 5000 { Act::Answer(answer(404, "", "")) } else { ok() });
    let rig = Rig::new(app, |options| options.retry_delays = vec![SECONDS(3600)]);
    for n in 0..5000 {
        rig.keep(&n.to_string()).await;
    }
    while rig.app.count() < 5000 {
        sleep(MS(10)).await;
    }
    rig.change(|control| {
        let mut options = (*control.work.settings).clone();
        options.rate = Some("500/s".parse().unwrap());
        options.burst = 10;
        let settings = crate::delivery::DestinationSettings::new(options).unwrap();
        let client = control.work.targets[0].client.clone();
        control.work = std::sync::Arc::new(crate::delivery::attempt::Work::over(settings, &client));
    });
    rig.clock.advance(SECONDS(3601));
    let began = Instant::now();
    while rig.app.count() < 10_000 {
        sleep(MS(10)).await;
    }
    let took = began.elapsed().as_secs_f64();
    // The lane looks at the wall clock every half minute.
    assert!((9.9..41.0).contains(&took), "{took}");
    let moments = rig.moments()[5000..].to_vec();
    assert!(most_in_a_second(&moments) <= 509, "{}", most_in_a_second(&moments));
    let rest = (moments[4999] - moments[0]) as f64 / 1000.0;
    assert!((9.9..10.5).contains(&rest), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_429_slows_the_lane_and_not_only_its_event() {
    let app = Double::new(|nth, _| match nth {
        3 => Act::Answer(answer(429, "retry-after: 20\r\n", "")),
        _ => Act::Late(MS(100), answer(200, "", "")),
    });
    let rig = Rig::new(app, |_| {}).ticking(MS(50));
    for n in 0..40 {
        rig.keep(&n.to_string()).await;
    }
    sleep(SECONDS(15)).await;
    assert_eq!(rig.app.count(), 8, "those that were on their way, and no other for 20 s");
    sleep(MS(5100)).await;
    assert!(
        matches!(rig.health.state(), LaneState::Recovering { allows: 4..=6 }),
        "{:?}",
        rig.health.state()
    );
    assert!(rig.app.busy.load(std::sync::atomic::Ordering::SeqCst) <= 6);
    sleep(SECONDS(60)).await;
    assert_eq!(rig.lane.depth().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_429_without_a_time_slows_the_lane_for_a_second() {
    let app = Double::new(|nth, _| if nth == 0 { Act::Answer(answer(429, "", "")) } else { ok() });
    let rig = Rig::new(app, |options| options.concurrency = 1).ticking(MS(50));
    rig.keep("a").await;
    rig.keep("b").await;
    sleep(MS(900)).await;
    assert_eq!(rig.app.count(), 1);
    sleep(SECONDS(3)).await;
    assert_eq!(rig.app.count(), 3);
}
