//! Opens a folder as a start does, and looks at what that took.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use hooklatch::buffer::{Lane, Settled};
use hooklatch::clock::Millis;
use hooklatch::event::{Ack, Answer, Attempt};

use crate::fill::{Rooms, With, rooms};
use crate::process::{anonymous, cpu, own};

/// So many events are accepted beside the backlog …
const ACCEPTED: u64 = 300_000;
/// … and so many at a time, of which the median counts: a segment that is prepared beside them takes a part of a second
/// now in this round and now in that.
const SLICE: u64 = 5_000;

/// So many events are delivered one after the other.
pub const DELIVERED: u64 = 100_000;

/// `LANES MAX_BYTES [fail] [deliver] [settle] [accept] [last]`: figures, one a line.
pub fn run(folder: &Path, args: &[&str]) {
    let lanes = args[0].parse::<u64>().unwrap();
    let (before, read, began) = (anonymous(), own("io", "read_bytes"), Instant::now());
    let rooms = rooms(folder, args[1].parse().unwrap());
    let took = began.elapsed();
    let tell = |name: &str, figure: u64| println!("{name} {figure}");
    tell("start_ms", took.as_millis() as u64);
    tell("start_read_kib", (own("io", "read_bytes") - read) / 1024);
    tell("start_memory_kib", anonymous().saturating_sub(before));
    tell("pending", rooms.buffer.stats().events);
    tell("ids", rooms.dedupe.size().0 as u64);
    let all = rooms.lanes(lanes);
    if args.contains(&"last") {
        let (read, began) = (own("io", "rchar"), Instant::now());
        let from_disk = own("io", "read_bytes");
        let last = all.last().unwrap();
        let mut taken = last.take(1);
        while taken.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing came");
            std::thread::sleep(Duration::from_micros(200));
            taken = last.take(1);
        }
        tell("last_us", began.elapsed().as_micros() as u64);
        tell("last_read_kib", (own("io", "rchar") - read) / 1024);
        tell("last_from_disk_kib", (own("io", "read_bytes") - from_disk) / 1024);
    }
    if args.contains(&"fail") {
        tell("failed", fail_all(&rooms, &all[0]));
    }
    if args.contains(&"deliver") {
        let began = Instant::now();
        deliver(&rooms, &all[0]);
        tell("delivered_ns", (began.elapsed().as_nanos() / u128::from(DELIVERED)) as u64);
    }
    if args.contains(&"settle") {
        // What the feeder reads, the keeper does, and the allocator gives back.
        std::thread::sleep(Duration::from_secs(5));
        tell("memory_kib", anonymous());
        tell("peak_kib", own("status", "VmHWM"));
    }
    if args.contains(&"accept") {
        accept(&rooms, &all[..1], tell);
    }
    // Ended here: what is asked of a stop is asked elsewhere, and the folder is to stay as it is.
    std::process::exit(0);
}

/// Accepts beside what waits.
fn accept(rooms: &Rooms, lanes: &[Lane], tell: impl Fn(&str, u64)) {
    let body = Bytes::from(vec![b'x'; 100]);
    let first = 1 << 40;
    let (mut took, mut used) = (Vec::new(), Vec::new());
    for from in (first..first + ACCEPTED).step_by(SLICE as usize) {
        let (cpu_before, began) = (cpu(), Instant::now());
        rooms.keep_all(from, from + SLICE, &body, lanes, With::Nothing);
        took.push(began.elapsed() / SLICE as u32);
        used.push((cpu() - cpu_before) / SLICE as u32);
    }
    rooms.keep(first + ACCEPTED, &body, &lanes[0], With::Nothing, Ack::Durable);
    let median = |mut all: Vec<Duration>| {
        all.sort_unstable();
        all[all.len() / 2].as_nanos() as u64
    };
    tell("accept_ns", median(took));
    tell("accept_cpu_ns", median(used));
    tell("accepted_memory_kib", anonymous());
}

fn attempt(at: Millis, status: u16) -> Attempt {
    let (number, took, answer) = (1, Duration::from_millis(5), Answer::Status(status));
    Attempt { number, at, took, answer, region: None }
}

/// Each event that can be taken fails and waits an hour, until none can be: of order keys, all are busy then. How many.
fn fail_all(rooms: &Rooms, lane: &Lane) -> u64 {
    const QUIET: Duration = Duration::from_secs(5);
    let mut failed = 0;
    let due = rooms.clock.now().plus(Duration::from_secs(3600));
    loop {
        let taken = lane.take(256);
        // The timer is made inside: it needs the runtime.
        let changed = async { tokio::time::timeout(QUIET, lane.changed()).await };
        if taken.is_empty() && rooms.runtime.block_on(changed).is_err() {
            return failed;
        }
        for delivery in taken {
            lane.defer(delivery.event.id, attempt(rooms.clock.now(), 503), due, Bytes::new());
            failed += 1;
        }
    }
}

/// Delivers one event after the other.
fn deliver(rooms: &Rooms, lane: &Lane) {
    let mut delivered = 0;
    while delivered < DELIVERED {
        let Some(delivery) = lane.take(1).pop() else {
            rooms.runtime.block_on(lane.changed());
            continue;
        };
        lane.settle(delivery.event.id, Settled::Delivered, attempt(rooms.clock.now(), 200), Bytes::new());
        delivered += 1;
    }
}
