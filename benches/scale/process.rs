//! What /proc says of a process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A figure of `/proc/self/{file}`.
pub fn own(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Memory of this process that is no file's, in KiB.
pub fn anonymous() -> u64 {
    own("status", "RssAnon")
}

/// CPU time of this process so far: all threads.
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Lets nothing of what is on disk be in memory; whether that could be done.
pub fn drop_caches() -> bool {
    let _ = Command::new("sync").status();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Runs this program with `args`, behind what `SCALE_RUNNER` says (as `taskset -c 0`); what it printed.
pub fn again(mode: &str, folder: &Path, args: &[String]) -> String {
    let exe = std::env::current_exe().unwrap();
    let runner = std::env::var("SCALE_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().map(std::ffi::OsString::from).chain([exe.into()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command.arg(mode).arg(folder).args(args).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
