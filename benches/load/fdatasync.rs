//! The disk's own time for an fdatasync, as a commit of the spool's asks for it: into blocks that were written before.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const BYTES: usize = 32 << 20;
const WRITTEN: usize = 4096;
const TIMES: usize = 8000;
/// Senders come so often, in µs.
const EVERY_US: f64 = 50.0;
/// With a rest before each: as many take long enough.
const TIMES_AT_REST: usize = 400;

/// One behind the other, or with `rest` before each: a processor that slept meanwhile takes longer to notice that the
/// disk is done.
pub fn run(folder: &Path, rest: Duration) {
    let (name, times) =
        if rest.is_zero() { ("fdatasync", TIMES) } else { ("fdatasync at rest", TIMES_AT_REST) };
    let path = folder.join("fdatasync");
    let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all_at(&vec![0; BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let took_us: Vec<f64> = (0..times)
        .map(|time| {
            std::thread::sleep(rest);
            let begun = Instant::now();
            file.write_all_at(&[time as u8; WRITTEN], (time * WRITTEN % BYTES) as u64).unwrap();
            file.sync_data().unwrap();
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    let mut line = json!({ "name": name });
    if rest.is_zero() {
        line["disk_alone_us"] = percentiles(waits(&took_us));
    }
    line["fdatasync_us"] = percentiles(took_us);
    println!("{line}");
}

/// How long senders wait who wait for the disk alone: for the rest of the sync that is under way, and the next one.
fn waits(took_us: &[f64]) -> Vec<f64> {
    let (mut waits, mut next, mut ended) = (Vec::new(), 0.0, 0.0);
    for pair in took_us.windows(2) {
        ended += pair[0];
        while next < ended {
            waits.push(ended - next + pair[1]);
            next += EVERY_US;
        }
    }
    waits
}

fn percentiles(mut all: Vec<f64>) -> Value {
    all.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| all[(all.len() as f64 * share) as usize];
    json!({ "p50": at(0.5), "p99": at(0.99) })
}
