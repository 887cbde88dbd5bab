//! Somebody damages the folder of a stopped gateway. The next start works, and what is missing is what was damaged.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ledger::{Ledger, Mood};
use super::oracle::Verdict;
use super::sender::{Book, Load, Plan, event};
use super::{Chance, DRAINED, SMALL, in_front_of, soak};
use crate::harness::{Gateway, SOON, spawn_hooklatch, wait_until};

const BACKLOG: &str = "hooklatch_buffer_events{destination=\"app\"}";
const DAMAGED: &str = "hooklatch_spool_corrupt_records_total";
/// Bytes of a segment's header and of its records' heads, as the format says.
const FIRST_RECORD: usize = 1024;
const RECORD_HEAD: usize = 16;

/// A stopped gateway's folder, and what its senders know.
struct Folder {
    gateway: Gateway,
    plan: Plan,
    /// The events that the app has, and those that it does not have.
    delivered: Book,
    pending: Book,
}

impl Folder {
    /// 100 events delivered and 100 pending, one after the other, with bodies of `body` bytes; then SIGKILL.
    fn fill(body: u64) -> Self {
        let (_, seed) = Chance::of_this_run();
        let app = Ledger::start(Mood::Answers(0));
        let mut gateway = in_front_of(&app, SMALL).store("disk").start();
        let plan = Plan { senders: 1, rate: 100_000, body: body..=body, events: 100, ..Plan::new(seed) };
        let delivered = Load::start(plan.clone(), gateway.address()).finish();
        wait_until("all are delivered", DRAINED, || gateway.metric(BACKLOG) < 0.5);
        // By then the progress is on the disk.
        std::thread::sleep(Duration::from_millis(200));
        app.set_mood(Mood::Hangs);
        let pending = Load::start(Plan { first: 100, ..plan.clone() }, gateway.address()).finish();
        std::thread::sleep(Duration::from_millis(200));
        gateway.kill();
        assert_eq!((delivered.acked(), pending.acked()), (100, 100));
        Self { gateway, plan, delivered, pending }
    }

    fn spool(&self) -> PathBuf {
        self.gateway.dir().join("data/spool")
    }

    /// The segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.spool()).unwrap().map(|file| file.unwrap().path());
        let mut segments: Vec<_> = files.filter(|path| is_segment(path)).collect();
        segments.sort();
        segments
    }

    /// Starts a gateway on a copy of the folder that `damage` was done to (it gets the copy's `spool`).
    fn start_damaged(&self, damage: impl FnOnce(&Path)) -> Restarted {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        copy(&self.gateway.dir().join("data"), &data);
        damage(&data.join("spool"));
        let app = Ledger::start(Mood::Answers(0));
        let gateway = in_front_of(&app, SMALL).store("disk").data(&data).start();
        wait_until("everything is delivered", DRAINED, || gateway.metric(BACKLOG) < 0.5);
        Restarted { gateway, app, folder }
    }
}

/// A gateway on a damaged copy, after it delivered what it found.
struct Restarted {
    gateway: Gateway,
    app: Ledger,
    folder: tempfile::TempDir,
}

impl Restarted {
    /// Asserts that of the pending events all but `lost` came, once each and unaltered. `again` are delivered ones that
    /// may come again.
    #[track_caller]
    fn assert_lost(&self, folder: &Folder, lost: &HashSet<String>, again: bool, what: &str) {
        let mut seen = self.app.seen();
        if again {
            seen.retain(|id, _| !folder.delivered.sent.contains_key(id));
        }
        let verdict = Verdict::of(&folder.pending, &seen, &HashSet::new(), |_| true);
        let missing: HashSet<_> = verdict.lost.iter().cloned().collect();
        assert_eq!(missing, *lost, "{what}: missing");
        assert!(verdict.invented.is_empty(), "{what}: came again: {:?}", verdict.invented);
        assert!(verdict.altered.is_empty() && verdict.duplicates == 0, "{what}: {verdict:?}");
    }
}

fn is_segment(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.strip_suffix(".log").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Where the records of a segment that was never recycled lie.
fn records(segment: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), FIRST_RECORD);
    while let Some(head) = segment.get(at..at + RECORD_HEAD) {
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        if head.iter().all(|byte| *byte == 0) {
            break;
        }
        found.push(at..at + RECORD_HEAD + length);
        at += RECORD_HEAD + length;
    }
    found
}

/// The providers' ids that are written in `bytes`.
fn ids_in(bytes: &[u8]) -> HashSet<String> {
    let name = b"event-";
    let found = bytes.windows(name.len() + 8).filter(|window| window.starts_with(name));
    found.map(|id| String::from_utf8_lossy(id).into_owned()).collect()
}

#[test]
fn a_tail_cut_at_any_byte_of_the_last_record_costs_that_record() {
    let folder = Folder::fill(100);
    let last = folder.segments().pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let record = records(&bytes).pop().unwrap();
    let id = "event-00000199".to_owned();
    assert!(ids_in(&bytes[record.clone()]).contains(&id), "the last record is not the last event");
    let lost = HashSet::from([id]);
    let step = if soak() { 1 } else { 61 };
    let within =
        (record.start..record.start + RECORD_HEAD).chain(record.clone().skip(RECORD_HEAD).step_by(step));
    for end in within.chain([record.end - 1, record.end]) {
        let restarted = folder.start_damaged(|spool| {
            let file = std::fs::File::options().write(true).open(spool.join(last.file_name().unwrap()));
            file.unwrap().set_len(end as u64).unwrap();
        });
        let lost = if end < record.end { &lost } else { &HashSet::new() };
        let what = format!("cut at {end} of {record:?}");
        restarted.assert_lost(&folder, lost, false, &what);
        assert!(restarted.gateway.metric(DAMAGED) < 0.5, "{what}: a torn tail is no damage");
    }
}

#[test]
fn a_deleted_segment_costs_its_events_and_they_are_welcome_again() {
    // 3 MiB and more, in segments of 1 MiB.
    let folder = Folder::fill(20_000);
    let segments = folder.segments();
    assert!(segments.len() >= 4, "{segments:?}");
    let middle = &segments[segments.len() - 2];
    let mut lost = ids_in(&std::fs::read(middle).unwrap());
    lost.retain(|id| folder.pending.sent.contains_key(id));
    assert!(lost.len() > 10 && lost.len() < 90, "{} pending ones in {middle:?}", lost.len());
    for index_too in [false, true] {
        let restarted = folder.start_damaged(|spool| {
            let segment = spool.join(middle.file_name().unwrap());
            std::fs::remove_file(&segment).unwrap();
            if index_too {
                let _ = std::fs::remove_file(segment.with_extension("idx"));
            }
        });
        // With the segment went the progress of events that lie before it.
        restarted.assert_lost(&folder, &lost, true, &format!("its index, too: {index_too}"));
        if !index_too {
            assert!(restarted.gateway.metric(DAMAGED) > 0.5, "the loss is not counted");
        }
        let number = lost.iter().next().unwrap().trim_start_matches("event-").parse().unwrap();
        let (_, _, signed) = event(&folder.plan, number);
        signed.send(&restarted.gateway).assert_accepted();
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let folder = Folder::fill(100);
    let names = ["notes.txt", "0000000001.log.bak", "x.log", ".hidden", "0000000001"];
    let restarted = folder.start_damaged(|spool| {
        for name in names {
            std::fs::write(spool.join(name), name).unwrap();
        }
        std::fs::create_dir(spool.join("folder.log")).unwrap();
    });
    restarted.assert_lost(&folder, &HashSet::new(), false, "foreign files");
    let spool = restarted.folder.path().join("data/spool");
    for name in names {
        assert_eq!(std::fs::read_to_string(spool.join(name)).unwrap(), name);
    }
    assert!(spool.join("folder.log").is_dir());
}

#[test]
fn a_folder_of_a_newer_format_is_refused_with_a_sentence_and_left_as_it_is() {
    let folder = Folder::fill(100);
    let last = folder.segments().pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    for at in [0, 512] {
        let header = &mut bytes[at..at + 40];
        assert_eq!(&header[..8], b"hlspool\0");
        let crc = |header: &[u8]| crc32c::crc32c(&header[..36]).to_le_bytes();
        assert_eq!(header[36..], crc(header), "the header's CRC is not where the format says");
        header[8] += 1;
        let crc = crc(header);
        header[36..].copy_from_slice(&crc);
    }
    std::fs::write(&last, &bytes).unwrap();

    let config = folder.gateway.config().display().to_string();
    let mut process = spawn_hooklatch(&["run", "-c", &config]);
    let mut ended = None;
    let begun = std::time::Instant::now();
    while ended.is_none() && begun.elapsed() < SOON {
        ended = process.try_wait().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = process.kill();
    let output = process.wait_with_output().unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(ended.is_some_and(|status| status.code().is_some_and(|code| code != 0)), "{ended:?}: {told}");
    assert!(told.contains("newer"), "{told}");
    assert_eq!(std::fs::read(&last).unwrap(), bytes, "it was written to");
}

#[test]
fn records_are_found_up_to_the_zeros() {
    let mut segment = vec![0; 4096];
    segment[FIRST_RECORD] = 3;
    segment[FIRST_RECORD + RECORD_HEAD + 3] = 5;
    assert_eq!(records(&segment), [1024..1043, 1043..1064]);
    segment.truncate(1043 + RECORD_HEAD - 1);
    assert_eq!(records(&segment).len(), 1, "a head that is not whole is no record");
    assert_eq!(
        ids_in(b"..event-00000007event-00000008event-0"),
        ids_of(&["event-00000007", "event-00000008"])
    );
}

fn ids_of(ids: &[&str]) -> HashSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}
