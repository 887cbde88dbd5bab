//! Opens a folder as a start does, and looks at what that took.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::fill::rooms;
use crate::process::{anonymous, cpu, own};

/// So many events are accepted beside the backlog.
const ACCEPTED: u64 = 300_000;

/// `LANES MAX_BYTES [settle] [accept] [last]`: figures, one a line.
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
    if args.contains(&"settle") {
        // What the feeder reads, the keeper does, and the allocator gives back.
        std::thread::sleep(Duration::from_secs(5));
        tell("memory_kib", anonymous());
        tell("peak_kib", own("status", "VmHWM"));
    }
    if args.contains(&"accept") {
        let body = Bytes::from(vec![b'x'; 100]);
        let (used, began) = (cpu(), Instant::now());
        let first = 1 << 40;
        rooms.keep_all(first, first + ACCEPTED, &body, &all[..1], false);
        rooms.keep(first + ACCEPTED, &body, &all[0], false, hooklatch::event::Ack::Durable);
        tell("accept_ns", (began.elapsed().as_nanos() / u128::from(ACCEPTED)) as u64);
        tell("accept_cpu_ns", (cpu() - used) * 1_000_000 / ACCEPTED);
        tell("accepted_memory_kib", anonymous());
    }
    // Ended here: what is asked of a stop is asked elsewhere, and the folder is to stay as it is.
    std::process::exit(0);
}
