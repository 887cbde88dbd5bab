//! How busy a process was, and how much memory it holds, from /proc.

use std::time::Instant;

/// A process's processor time from a moment on.
pub struct Busy {
    pid: u32,
    at: Instant,
    ticks: u64,
}

impl Busy {
    pub fn of(pid: u32) -> Self {
        Self { pid, at: Instant::now(), ticks: ticks(pid) }
    }

    /// The share of one core that it used since.
    pub fn share(&self) -> f64 {
        // USER_HZ is 100 on every Linux that Rust runs on.
        let seconds = (ticks(self.pid) - self.ticks) as f64 / 100.0;
        seconds / self.at.elapsed().as_secs_f64()
    }
}

/// utime and stime: fields 14 and 15 of proc(5)'s stat, counted behind the name, which may hold anything.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the measured process is gone");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Resident memory, KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the measured process is gone");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
