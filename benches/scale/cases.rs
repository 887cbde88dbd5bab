//! What is asked, and what comes of it.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::process::{again, drop_caches};

const GIB: u64 = 1 << 30;
/// An event with a body of 1 KiB, as it stands in a segment.
const RECORD: u64 = 1180;
const ROUNDS: usize = 3;
/// Accepts take a second in all, in which a shared machine does this or that. What they leave waits, too: beside the ten
/// million it is little.
const ACCEPT_ROUNDS: usize = 7;

type Figures = BTreeMap<String, u64>;
type Case = fn(&Path);

pub fn run(folder: &Path, cases: &[&str]) {
    let all: [(&str, Case); 7] = [
        ("start-1", |folder| start(folder, 1, 2_000)),
        ("start-10", |folder| start(folder, 10, 10_000)),
        ("pending", pending),
        ("ordered", ordered),
        ("retries", retries),
        ("refill", refill),
        ("tails", tails),
    ];
    if !drop_caches() {
        println!("not root: the page cache stays as it is, and starts are warm");
    }
    for (name, case) in all {
        if cases.is_empty() || cases.contains(&name) {
            let folder = folder.join(name);
            let _ = std::fs::remove_dir_all(&folder);
            case(&folder);
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}

fn tell(what: &str, measured: u64, unit: &str, asked: Option<u64>) {
    let verdict = match asked {
        Some(asked) if measured <= asked => format!("≤ {asked} {unit}: yes"),
        Some(asked) => format!("≤ {asked} {unit}: NO"),
        None => String::new(),
    };
    println!("{what:<76} {measured:>9} {unit:<4} {verdict}");
}

/// Events that wait, put there by several processes in turn; after a `kill` one more.
fn fill(folder: &Path, events: u64, body: u64, lanes: u64, max_bytes: u64, how: [&str; 2]) {
    const AT_ONCE: u64 = 2_000_000;
    for from in (0..events).step_by(AT_ONCE as usize) {
        let to = (from + AT_ONCE).min(events);
        let figures = [from, to, body, lanes, max_bytes].map(|figure| figure.to_string());
        let end = if to == events { how[1] } else { "more" };
        again("fill", folder, &[&figures[..], &[how[0].to_owned(), end.to_owned()]].concat());
    }
}

/// A cold start.
fn open(folder: &Path, lanes: u64, max_bytes: u64, what: &[&str]) -> Figures {
    drop_caches();
    let mut args = vec![lanes.to_string(), max_bytes.to_string()];
    args.extend(what.iter().map(|what| (*what).to_owned()));
    let told = again("open", folder, &args);
    told.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(a, b)| (a.into(), b.parse().unwrap()))
        .collect()
}

fn median(rounds: &[Figures], name: &str) -> u64 {
    let mut all: Vec<u64> = rounds.iter().map(|figures| figures[name]).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

fn start(folder: &Path, gib: u64, asked: u64) {
    let (events, max_bytes) = (gib * GIB / RECORD, (gib * 3 / 2).max(4) * GIB);
    fill(folder, events, 1024, 1, max_bytes, ["keyed", "kill"]);
    let killed = open(folder, 1, max_bytes, &[]);
    tell(&format!("start after a kill, {gib} GiB"), killed["start_ms"], "ms", Some(asked));
    let rounds: Vec<_> = (0..ROUNDS).map(|_| open(folder, 1, max_bytes, &["settle"])).collect();
    assert!(killed["pending"] == events + 1 && median(&rounds, "pending") == events + 1, "{killed:?}");
    tell(&format!("start, all indexed, {gib} GiB"), median(&rounds, "start_ms"), "ms", Some(asked));
    tell("  ids in the dedupe table then", median(&rounds, "ids"), "", None);
    tell("  read from the disk for it", median(&rounds, "start_read_kib"), "KiB", None);
    tell("  memory when it stands", median(&rounds, "memory_kib"), "KiB", None);
    tell("  the most that it took", median(&rounds, "peak_kib"), "KiB", None);
}

fn pending(folder: &Path) {
    for lanes in [1, 1000] {
        let max_bytes = 8 * GIB;
        let (empty, full) = (folder.join("empty"), folder.join("full"));
        fill(&full, 10_000_000, 100, lanes, max_bytes, ["plain", "stop"]);
        fill(&empty, 100 + lanes, 100, lanes, max_bytes, ["plain", "stop"]);
        // From here on both start as after a kill, with as many events that no index holds.
        for folder in [&empty, &full] {
            open(folder, lanes, max_bytes, &["accept"]);
        }
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ACCEPT_ROUNDS {
            without.push(open(&empty, lanes, max_bytes, &["settle", "accept"]));
            with.push(open(&full, lanes, max_bytes, &["settle", "accept"]));
        }
        let more = |name: &str| median(&with, name).saturating_sub(median(&without, name));
        println!("10,000,000 events that wait, {lanes} destinations");
        tell("  start", median(&with, "start_ms"), "ms", None);
        tell("  more memory than without them", more("memory_kib"), "KiB", Some(64 << 10));
        tell("  more memory, the most during the start", more("peak_kib"), "KiB", None);
        let percent = |name: &str| 100 * median(&with, name) / median(&without, name).max(1);
        tell("  an accept takes", percent("accept_ns"), "%", Some(110));
        tell("  an accept takes of CPU time", percent("accept_cpu_ns"), "%", Some(110));
        tell("  an accept without them", median(&without, "accept_cpu_ns"), "ns", None);
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Events behind busy order keys, all of which were looked at: they wait for the one before them.
fn ordered(folder: &Path) {
    const KEYS: u64 = 9_000;
    let max_bytes = 8 * GIB;
    let empty = folder.join("empty");
    fill(&empty, 101, 100, 1, max_bytes, ["plain", "stop"]);
    let without = open(&empty, 1, max_bytes, &["settle"]);
    let full = folder.join("full");
    fill(&full, 10_000_000, 100, 1, max_bytes, [format!("ordered-{KEYS}").as_str(), "stop"]);
    let with = open(&full, 1, max_bytes, &["fail", "settle"]);
    assert_eq!(with["failed"], KEYS, "each key once");
    println!("10,000,000 events behind {KEYS} keys that fail");
    tell("  start", with["start_ms"], "ms", None);
    let more = |name: &str| with[name].saturating_sub(without[name]);
    tell("  more memory than without them", more("memory_kib"), "KiB", Some(64 << 10));
    tell("  more memory, the most meanwhile", more("peak_kib"), "KiB", None);
    let _ = std::fs::remove_dir_all(&full);
    for (what, with) in [("of one key", "ordered-1"), ("without a key", "plain")] {
        let one = folder.join("one");
        // Each round delivers some for good.
        let events = (ROUNDS as u64 + 1) * crate::open::DELIVERED;
        fill(&one, events, 1024, 1, max_bytes, [with, "stop"]);
        let rounds: Vec<_> = (0..ROUNDS).map(|_| open(&one, 1, max_bytes, &["deliver"])).collect();
        tell(&format!("one event after the other, {what}"), median(&rounds, "delivered_ns"), "ns", None);
        let _ = std::fs::remove_dir_all(&one);
    }
}

/// Events that failed once and wait for their second attempt.
fn retries(folder: &Path) {
    const WAITING: u64 = 1_000_000;
    let max_bytes = 8 * GIB;
    let (empty, full) = (folder.join("empty"), folder.join("full"));
    fill(&empty, 101, 100, 1, max_bytes, ["plain", "stop"]);
    fill(&full, WAITING, 100, 1, max_bytes, ["plain", "stop"]);
    let without = open(&empty, 1, max_bytes, &["settle"]);
    // Once in the process in which they failed, once in the next one.
    let rounds =
        [("that failed now", &["fail", "settle"][..]), ("that failed before the start", &["settle"][..])];
    for (what, how) in rounds {
        let with = open(&full, 1, max_bytes, how);
        println!("1,000,000 retries {what}");
        let each = |name: &str| with[name].saturating_sub(without[name]) * 1024 / WAITING;
        tell("  memory for each", each("memory_kib"), "B", Some(100));
        tell("  memory for each, the most meanwhile", each("peak_kib"), "B", None);
    }
}

fn refill(folder: &Path) {
    let (events, max_bytes) = (4 * GIB / RECORD, 8 * GIB);
    fill(folder, events, 1024, 1000, max_bytes, ["plain", "stop"]);
    let rounds: Vec<_> = (0..ROUNDS).map(|_| open(folder, 1000, max_bytes, &["last"])).collect();
    println!("1,000 destinations, one of them behind 4 GiB of the others' events");
    tell("  start", median(&rounds, "start_ms"), "ms", None);
    tell("  until its first event is there", median(&rounds, "last_us"), "us", None);
    tell("  read meanwhile, by all", median(&rounds, "last_read_kib"), "KiB", None);
    tell("  of that from the disk", median(&rounds, "last_from_disk_kib"), "KiB", None);
}

/// The newest segment, of 64 MiB, has no index; behind what was written stands what is worst.
fn tails(folder: &Path) {
    let noise = |at: u64| {
        let mut mixed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^= mixed >> 29;
        (mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u8
    };
    // At every fourth byte one whose length, of up to 32 MiB, has nothing to do with the one before.
    let any_length = |at: u64| match at % 4 {
        0 => 1,
        3 => noise(at) & 1,
        _ => noise(at),
    };
    let tails: [(&str, &dyn Fn(u64) -> u8); 4] = [
        ("noise", &noise),
        ("bytes that look like frames of 16 MiB everywhere", &|_| 1),
        ("bytes that look like frames of 514 bytes and 32 MiB", &|at| [2, 2, 0, 0][at as usize % 4]),
        ("bytes that look like frames of any length", &any_length),
    ];
    for (what, byte) in tails {
        fill(folder, 10_000, 1024, 1, 4 * GIB, ["keyed", "kill"]);
        let log = newest_log(&folder.join("spool"));
        let file = std::fs::File::options().read(true).write(true).open(&log).unwrap();
        let mut bytes = std::fs::read(&log).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for (at, to) in bytes.iter_mut().enumerate().skip(end) {
            *to = byte(at as u64);
        }
        file.write_all_at(&bytes, 0).unwrap();
        let figures = open(folder, 1, 4 * GIB, &[]);
        assert_eq!(figures["pending"], 10_001, "{figures:?}");
        let mib = (bytes.len() - end) >> 20;
        tell(&format!("start with {mib} MiB of {what}"), figures["start_ms"], "ms", Some(2_000));
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn newest_log(spool: &Path) -> PathBuf {
    let names = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    let logs = names.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with("spare")).max().unwrap()
}
