//! The disk's own time for an fdatasync, as a commit of the spool's asks for it: into blocks that were written before.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

const BYTES: usize = 32 << 20;
const WRITTEN: usize = 4096;
const TIMES: usize = 2000;

pub fn run(folder: &Path) {
    let path = folder.join("fdatasync");
    let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all_at(&vec![0; BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let mut took_us: Vec<f64> = (0..TIMES)
        .map(|time| {
            let begun = Instant::now();
            file.write_all_at(&[time as u8; WRITTEN], (time * WRITTEN % BYTES) as u64).unwrap();
            file.sync_data().unwrap();
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    took_us.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| took_us[(TIMES as f64 * share) as usize];
    println!("{}", json!({ "name": "fdatasync", "fdatasync_us": { "p50": at(0.5), "p99": at(0.99) } }));
}
