//! How much memory a backlog takes.

use super::*;

fn restored(events: u64, over: u32) -> usize {
    let mut all = lanes(Amount::new(u64::MAX, u64::MAX), over);
    for seq in 1..=events {
        all.restore(seq, 1000, Turn::default(), &[(seq % u64::from(over)) as u32]);
    }
    assert_eq!(all.pending_count(0, u64::MAX), events);
    assert_eq!(all.depth(0), (events / u64::from(over), 1000 * events / u64::from(over)));
    all.heap()
}

#[test]
fn a_million_events_are_a_bit_each_or_two_bytes_where_a_thousand_lanes_share_them() {
    let (one, many) = (restored(1_000_000, 1), restored(1_000_000, 1000));
    assert!(one < 1 << 20, "{one} bytes");
    assert!(many < 8 << 20, "{many} bytes");
}

#[test]
#[ignore = "half a minute; the resident size of a process that does nothing else"]
fn ten_million_events_in_resident_memory() {
    for (over, mib) in [(1, 8), (1000, 64)] {
        let before = resident();
        let mut all = lanes(Amount::new(u64::MAX, u64::MAX), over);
        for seq in 1..=10_000_000 {
            all.restore(seq, 1000, Turn::default(), &[(seq % u64::from(over)) as u32]);
        }
        let after = resident();
        println!(
            "{over} lanes: {} KiB resident, {} KiB by count",
            (after - before) / 1024,
            all.heap() / 1024
        );
        assert!(after - before <= mib << 20, "{over} lanes: {} bytes", after - before);
        assert_eq!(all.pending_count(0, u64::MAX), 10_000_000);
    }
}

#[test]
#[ignore = "half a minute; the resident size of a process that does nothing else"]
fn ten_million_admitted_events_in_resident_memory() {
    let before = resident();
    let mut all = lanes(Amount::new(10_000_000, u64::MAX), 1000);
    all.limits.windows_bytes = 0; // the windows have a bound of their own: one event each is enough here
    for seq in 1..=10_000_000 {
        let lane = [(seq % 1000) as u32];
        assert_eq!(all.check(1000, &lane), Ok(()));
        let reserved = all.reserve(1000, &lane);
        all.admit(reserved, ready(seq, 1000));
    }
    let after = resident();
    let shared: u64 = all.lanes.iter().map(|lane| lane.shared.len()).sum();
    assert_eq!(shared, 5_000_000, "half was first come");
    println!(
        "{} KiB resident, {} KiB by count, {} KiB of events in windows",
        (after - before) / 1024,
        all.heap() / 1024,
        all.window_bytes() / 1024
    );
    assert!(after - before <= 64 << 20, "{} bytes", after - before);
}

/// What is on the heap, that of the test's own pages left out.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
