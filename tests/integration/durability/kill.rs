//! The process is killed at random moments under load. What was acknowledged arrives all the same.

use std::time::{Duration, Instant};

use super::ledger::{Ledger, Mood};
use super::sender::{Load, Plan};
use super::{Chance, DRAINED, SMALL, in_front_of, judge_drained};
use crate::harness::{Gateway, Setup, wait_until};

const BACKLOG: &str = "hooklatch_buffer_events{destination=\"app\"}";

/// Requests at once to each destination, as the configurations here say.
const CONCURRENCY: u64 = 16;
/// Progress is durable at most 50 ms after it happened; at the rate at which the app answers at most, that is so much
/// that a kill may take back. Twice that, for a machine that is busy.
const NOT_YET_WRITTEN: u64 = 2 * 100;

fn kills() -> u64 {
    std::env::var("HOOKLATCH_KILLS").map_or(20, |text| text.parse().expect("HOOKLATCH_KILLS is a number"))
}

/// Kills `gateway` at a random moment of 3 s and starts it again, `kills` times; `check` looks at it after each start.
fn kill_often(gateway: &mut Gateway, load: &Load, kills: u64, chance: &mut Chance, check: impl Fn(&Gateway)) {
    for _ in 0..kills {
        load.set_rate(chance.between(500, 2000));
        std::thread::sleep(Duration::from_millis(chance.between(0, 3000)));
        gateway.kill();
        let begun = Instant::now();
        gateway.start_again();
        load.point_at(gateway.address());
        println!("started again in {:?}", begun.elapsed());
        check(gateway);
    }
    // The last process, too, works under load.
    std::thread::sleep(Duration::from_millis(500));
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let (mut chance, seed) = Chance::of_this_run();
    let app = Ledger::start(Mood::Answers(20));
    let mut gateway = in_front_of(&app, SMALL).store("disk").start();
    let load = Load::start(Plan::new(seed), gateway.address());
    kill_often(&mut gateway, &load, kills(), &mut chance, |_| {});
    let book = load.stop();
    let verdict = judge_drained(&gateway, "app", &book, &app);
    let told = format!(
        "{} acknowledged, {} broken off, {} duplicates, {:?}",
        verdict.acked, book.broken, verdict.duplicates, book.answers
    );
    println!("{told}");
    verdict.assert_kept();
    assert!(verdict.duplicates <= kills() * (CONCURRENCY + NOT_YET_WRITTEN), "{told}");
    assert!(book.strange().is_empty(), "{told}");
    // A run that saw too little proves nothing.
    assert!(verdict.acked as u64 > 100 * kills() && book.broken >= kills() / 2, "{told}");
    assert!(book.answered(200, "duplicate") > 0 || verdict.duplicates > 0, "no kill hit an event: {told}");
}

#[test]
fn what_a_memory_store_loses_by_sigkill_is_seen() {
    // The same senders, app and oracle, on the store that does not promise to survive: a proof that they can fail.
    let (mut chance, seed) = Chance::of_this_run();
    let app = Ledger::start(Mood::Answers(200));
    let mut gateway = in_front_of(&app, SMALL).start();
    let load = Load::start(Plan::new(seed), gateway.address());
    wait_until("there is a backlog", DRAINED, || gateway.metric(BACKLOG) > 50.0);
    kill_often(&mut gateway, &load, 1, &mut chance, |_| {});
    let book = load.stop();
    app.set_mood(Mood::Answers(0));
    let verdict = judge_drained(&gateway, "app", &book, &app);
    assert!(!verdict.lost.is_empty(), "{} acknowledged, none lost", verdict.acked);
    assert!(verdict.invented.is_empty() && verdict.altered.is_empty(), "{verdict:?}");
    assert!(book.broken > 0 && book.strange().is_empty(), "{:?}", book.answers);
}

const MIB: u64 = 1 << 20;

/// `app`, to which everything goes, and a second destination, to which some of it goes, too.
fn beside_a_stuck_one(app: &Ledger, stuck: &Ledger) -> Setup {
    Setup::new(
        r#"
        [routes.app]
        path = "/app"
        provider = "github"
        max_body = "64KiB"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]
        [routes.both]
        path = "/both"
        provider = "github"
        max_body = "64KiB"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app", "stuck"]
        [destinations.app]
        url = "$APP"
        concurrency = 16
        [destinations.stuck]
        url = "$STUCK"
        concurrency = 16
        timeout = "10m"
        "#,
    )
    .server("max_body = \"64KiB\"")
    .buffer("max_bytes = \"64MiB\"")
    .set("APP", app.url())
    .set("STUCK", stuck.url())
}

/// The bytes of the segments, spares and temporary ones too.
fn bytes_of_segments(gateway: &Gateway) -> u64 {
    let folder = gateway.dir().join("data/spool");
    let files = std::fs::read_dir(folder).unwrap().map_while(Result::ok);
    // A file may go while the folder is read.
    files
        .filter(|file| file.file_name().to_string_lossy().ends_with(".log"))
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

#[test]
fn a_stuck_destination_brings_nothing_of_another_one_back() {
    let (mut chance, seed) = Chance::of_this_run();
    let (app, stuck) = (Ledger::start(Mood::Answers(10)), Ledger::start(Mood::Hangs));
    let mut gateway = beside_a_stuck_one(&app, &stuck).store("disk").start();
    // However long the run, what is stuck stays within what the buffer keeps for one destination.
    let both_each = 16 * kills().div_ceil(20);
    let load = Load::start(Plan { body: 100..=16_384, both_each, ..Plan::new(seed) }, gateway.address());
    kill_often(&mut gateway, &load, kills(), &mut chance, |gateway| {
        let bytes = bytes_of_segments(gateway);
        assert!(bytes <= 64 * MIB + 8 * MIB, "the segments take {bytes} bytes");
    });
    let book = load.stop();
    let verdict = judge_drained(&gateway, "app", &book, &app);
    println!("{} acknowledged, {} duplicates, {:?}", verdict.acked, verdict.duplicates, book.answers);
    verdict.assert_kept();
    assert!(
        verdict.duplicates <= kills() * (CONCURRENCY + NOT_YET_WRITTEN),
        "{} duplicates",
        verdict.duplicates
    );
    // What a kill takes back comes again at once; what comes after that was settled, forgotten and resurrected.
    let seen = app.seen();
    let back: Vec<_> = seen.iter().filter(|(_, arrived)| arrived.span > Duration::from_secs(8)).collect();
    assert!(back.is_empty(), "came back: {back:?}");
    // The buffer was written over more than once, so segments were dropped or merged, and never full.
    let written: u64 = book.sent.values().filter(|sent| sent.acked).map(|sent| sent.bytes).sum();
    assert!(kills() < 20 || written > 2 * 64 * MIB, "only {written} bytes were acknowledged");

    stuck.set_mood(Mood::Answers(0));
    let verdict = judge_drained(&gateway, "stuck", &book, &stuck);
    for id in &verdict.lost {
        println!("lost: {}", gateway.admin_get(&format!("/api/v1/events?id={id}")));
    }
    verdict.assert_kept();
    assert!(
        verdict.acked > 0 && verdict.duplicates <= kills() * (CONCURRENCY + NOT_YET_WRITTEN),
        "{verdict:?}"
    );
    // What is stuck is far below the bound: while segments are merged, there is room.
    assert!(book.answers.keys().all(|(status, _)| *status == 200), "{:?}", book.answers);
}
