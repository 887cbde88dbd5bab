//! The disk fails under the process: a write, a sync, its last free block. The process lives, says 503, and goes on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ledger::{Ledger, Mood};
use super::sender::{Book, Load, Plan};
use super::{Chance, DRAINED, SMALL, in_front_of, judge_drained, soak, tracer};
use crate::harness::{Gateway, SOON, wait_until};

/// strace, which breaks a call of a running gateway. Lets go of it when it is dropped.
struct Fault {
    strace: Child,
    told: PathBuf,
}

impl Fault {
    /// The `nth` call of `name` (of each thread, from now on; `3+`: and all after it) ends as `how` says: `error=EIO`,
    /// `retval=0`.
    #[track_caller]
    fn inject(gateway: &Gateway, name: &str, how: &str, nth: impl std::fmt::Display) -> Self {
        let told = gateway.dir().join("strace");
        let strace = Command::new("strace")
            .args(["-f", "-y", "-s", "0", "-e", &format!("trace={name}")])
            .args(["-e", &format!("inject={name}:{how}:when={nth}"), "-p", &gateway.pid().to_string()])
            .arg("-o")
            .arg(&told)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("strace watches", SOON, || tracer(gateway.pid()).is_some());
        Self { strace, told }
    }

    fn hits(&self) -> usize {
        std::fs::read_to_string(&self.told).unwrap_or_default().matches("(INJECTED)").count()
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // Asked nicely, it lets the process go on.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::INT);
        let _ = self.strace.wait();
    }
}

fn gentle(seed: u64) -> Plan {
    Plan { rate: 400, ..Plan::new(seed) }
}

/// Breaks the nth call of `name` from now, until senders read of it: what it was to keep may be progress alone, which no
/// sender waits for.
#[track_caller]
fn fails_once(gateway: &Gateway, load: &Load, name: &str, how: &str, nth: u64) {
    let failed = || load.look(|book| book.answered(503, "storage_failed"));
    let before = failed();
    for attempt in 0..100 {
        // Writes for senders and writes of progress take turns, of which the latter may be six of seven, and the tracer
        // mostly comes at the same moment of a turn.
        let nth = nth + attempt % 5;
        let fault = Fault::inject(gateway, name, how, nth);
        wait_until(&format!("{name} {how} at {nth} hits"), SOON, || fault.hits() > 0);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            if failed() > before {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    panic!("{name} {how} at {nth} failed a hundred times and nobody got 503 storage_failed");
}

/// Breaks the nth call of `name`, for several n, in a gateway under load.
fn breaks(name: &str, hows: &[&str]) {
    let (_, seed) = Chance::of_this_run();
    let app = Ledger::start(Mood::Answers(5));
    let mut gateway = in_front_of(&app, SMALL).store("disk").start();
    let load = Load::start(gentle(seed), gateway.address());
    let soaked: Vec<u64> = (1..=20).collect();
    let places: &[u64] = if soak() { &soaked } else { &[1, 2, 7] };
    for how in hows {
        for nth in places {
            fails_once(&gateway, &load, name, how, *nth);
            let acked = load.look(Book::acked);
            wait_until("events are accepted again", SOON, || load.look(Book::acked) >= acked + 50);
            assert!(gateway.lives());
        }
    }
    assert!(gateway.metric("hooklatch_storage_failures_total") > 0.5);
    let book = load.stop();
    assert!(book.strange().is_empty(), "{:?}", book.answers);
    assert_eq!(book.broken, 0, "a sender was left without an answer");

    gateway.signal(Signal::TERM);
    assert!(gateway.wait_for_exit(DRAINED).success());
    gateway.start_again();
    let verdict = judge_drained(&gateway, "app", &book, &app);
    println!("{} acknowledged, {} duplicates, {:?}", verdict.acked, verdict.duplicates, book.answers);
    verdict.assert_kept();
    // An event whose 503 came too late to unwrite it may go out beside its second copy; of the progress that was to be
    // kept in the same place, nothing is forgotten.
    assert!(verdict.duplicates <= book.answered(503, "storage_failed"), "{} duplicates", verdict.duplicates);
}

#[test]
fn a_failed_fdatasync_costs_its_waiters_a_503_and_nothing_else() {
    breaks("fdatasync", &["error=EIO"]);
}

#[test]
fn a_failed_or_empty_write_costs_its_waiters_a_503_and_nothing_else() {
    // A call that strace ends by itself writes nothing, so of short writes this is the one it can show.
    breaks("pwrite64", &["error=EIO", "error=ENOSPC", "retval=0"]);
}

#[test]
fn a_stop_ends_although_the_disk_takes_nothing_any_more() {
    let (_, seed) = Chance::of_this_run();
    let app = Ledger::start(Mood::Answers(5));
    let mut gateway = in_front_of(&app, SMALL).store("disk").start();
    let load = Load::start(gentle(seed), gateway.address());
    wait_until("events are delivered", SOON, || load.look(Book::acked) > 200);
    let fault = Fault::inject(&gateway, "fdatasync", "error=EIO", "1+");
    wait_until("senders are refused", SOON, || load.look(|book| book.answered(503, "storage_failed")) > 0);
    let book = load.stop();
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_for_exit(DRAINED).success());
    drop(fault);
    let told = gateway.log_lines().iter().any(|line| line.contains("the disk takes nothing"));
    assert!(told, "nobody was told what goes out again");
    gateway.start_again();
    judge_drained(&gateway, "app", &book, &app).assert_kept();
}

#[test]
fn a_fault_hits_the_call_that_it_names_and_lets_go() {
    // The machinery alone, on answers instead of segments.
    let (_, seed) = Chance::of_this_run();
    let app = Ledger::start(Mood::Answers(0));
    let mut gateway = in_front_of(&app, SMALL).start();
    let load = Load::start(gentle(seed), gateway.address());
    let fault = Fault::inject(&gateway, "sendto", "error=EPIPE", 3);
    wait_until("an answer is not sent", SOON, || load.look(|book| book.broken) > 0);
    assert!(fault.hits() > 0);
    drop(fault);
    accepts_within(&load, SOON);
    assert!(gateway.lives());
    load.stop();
}

/// A file system of its own in memory. Unmounted when it is dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None`, and a line that says so, where that needs a privilege that is not here.
    fn of_size(size: &str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("hooklatch-mount-").tempdir().unwrap();
        let made = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], folder.path());
        if let Err(reason) = made {
            println!("SKIPPED: cannot mount a small file system: {reason}");
            return None;
        }
        Some(Self(folder))
    }

    #[track_caller]
    fn grow(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], self.0.path()).unwrap();
    }

    fn free(&self) -> u64 {
        let status = rustix::fs::statvfs(self.0.path()).unwrap();
        status.f_bavail * status.f_frsize
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn mount(options: &[&str], place: &Path) -> Result<(), String> {
    let made = Command::new("mount").args(options).arg(place).output().map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    if made.status.success() { Ok(()) } else { Err(told) }
}

/// A gateway on a disk of `size`, filled until it refuses: nothing is delivered meanwhile.
fn filled(mount: &Mount, app: &Ledger) -> (Gateway, Load) {
    let (_, seed) = Chance::of_this_run();
    // More than the disk has, so that it is the disk that says no.
    let setup = in_front_of(app, "256MiB").store("disk");
    let gateway = setup.data(&mount.0.path().join("data")).start();
    let plan = Plan { rate: 2000, body: 4096..=16_384, ..Plan::new(seed) };
    let load = Load::start(plan, gateway.address());
    wait_until("an event is refused", DRAINED, || {
        load.look(|book| book.answers.keys().any(|(status, _)| *status == 503))
    });
    assert!(mount.free() > 0, "the disk was full before the first 503");
    // Those who knock on, for a while, change nothing.
    std::thread::sleep(Duration::from_secs(2));
    assert!(mount.free() > 0, "the disk was filled up to its last block");
    (gateway, load)
}

#[track_caller]
fn accepts_within(load: &Load, bound: Duration) {
    let (acked, begun) = (load.look(Book::acked), Instant::now());
    wait_until("an event is accepted", bound, || load.look(Book::acked) > acked);
    println!("accepted again after {:?}", begun.elapsed());
}

#[test]
fn a_full_disk_is_refused_before_it_is_full_and_recovers_by_itself() {
    let Some(mount) = Mount::of_size("48m") else { return };
    let app = Ledger::start(Mood::Hangs);
    let (mut gateway, load) = filled(&mount, &app);
    assert!(gateway.lives());
    assert_eq!(gateway.admin_request("GET", "/healthz", "").status, 200);
    let disk = |gateway: &Gateway| gateway.admin_get("/api/v1/status")["disk"].clone();
    let told = disk(&gateway);
    let error = told["error"].as_str().unwrap_or_default();
    assert!(told["state"] == "failing" && error.contains("MiB of the disk are free"), "{told}");
    let said = gateway.log_lines().iter().filter(|line| line.contains("MiB of the disk are free")).count();
    assert!((1..20).contains(&said), "the log says it {said} times");
    assert!(gateway.metric("hooklatch_storage_failures_total") > 0.5);
    mount.grow("400m");
    accepts_within(&load, Duration::from_secs(5));
    wait_until("the disk is well", SOON, || disk(&gateway)["state"] == "ok");
    let book = load.stop();
    assert!(book.strange().is_empty() && book.broken == 0, "{} broken, {:?}", book.broken, book.answers);
    app.set_mood(Mood::Answers(0));
    judge_drained(&gateway, "app", &book, &app).assert_kept();
}

/// Ends a gateway whose disk is nearly full; somebody else fills what was left, and it starts again.
fn starts_on_a_full_disk(end: impl FnOnce(&mut Gateway)) {
    let Some(mount) = Mount::of_size("48m") else { return };
    let app = Ledger::start(Mood::Hangs);
    let (mut gateway, load) = filled(&mount, &app);
    end(&mut gateway);
    let mut file = std::fs::File::create(mount.0.path().join("others")).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    assert_eq!(mount.free(), 0);
    gateway.start_again();
    load.point_at(gateway.address());
    assert!(gateway.lives());
    // What is delivered makes room within the segments that are there.
    app.set_mood(Mood::Answers(0));
    accepts_within(&load, DRAINED);
    let book = load.stop();
    judge_drained(&gateway, "app", &book, &app).assert_kept();
}

#[test]
fn a_gateway_starts_on_a_full_disk_and_delivers_its_way_out() {
    starts_on_a_full_disk(Gateway::kill);
}

#[test]
fn it_starts_on_a_full_disk_after_a_stop_too() {
    starts_on_a_full_disk(|gateway| {
        gateway.signal(Signal::TERM);
        assert!(gateway.wait_for_exit(DRAINED).success());
    });
}

#[test]
fn what_dies_while_the_disk_is_full_goes_to_the_dead_letters_and_what_finds_no_room_there_waits() {
    let Some(mount) = Mount::of_size("48m") else { return };
    let app = Ledger::start(Mood::Hangs);
    let (mut gateway, load) = filled(&mount, &app);
    let book = load.stop();
    app.set_mood(Mood::Refuses);
    let dead = || gateway.metric("hooklatch_dead_events{destination=\"app\"}") as usize;
    wait_until("some are dead letters", SOON, || dead() > 50);
    wait_until("the dead letters cannot grow", DRAINED, || {
        gateway.log_lines().iter().any(|line| line.contains("the dead letters cannot be written"))
    });
    assert!(dead() < book.acked(), "the disk was not full");
    mount.grow("400m");
    judge_drained(&gateway, "app", &book, &Ledger::start(Mood::Hangs)).assert_kept();
    assert!(gateway.lives());
}
