use std::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A stream that takes nothing until it is told to.
struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
    written: mpsc::Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (open, changed) = &*self.open;
        changed.wait_while(&mut open.lock(), |open| !*open);
        self.written.send(bytes.to_vec()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

type Door = Arc<(Mutex<bool>, Condvar)>;

fn gate(open: bool) -> (Box<Gate>, Door, mpsc::Receiver<Vec<u8>>) {
    let (written, read) = mpsc::channel();
    let door = Arc::new((Mutex::new(open), Condvar::new()));
    (Box::new(Gate { open: Arc::clone(&door), written }), door, read)
}

fn open(door: &Door) {
    *door.0.lock() = true;
    door.1.notify_all();
}

fn lost(metrics: &Metrics) -> u64 {
    let text = metrics.encode();
    let line = text.lines().find(|l| l.starts_with("hooklatch_log_lines_lost_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_single_line_of_an_idle_thread_is_written_by_itself() {
    let (out, _door, read) = gate(true);
    let log = LogWriter::start(out, Metrics::new()).unwrap();
    log.line(|out| out.extend_from_slice(b"one\n"));
    assert_eq!(read.recv_timeout(PATIENCE).unwrap(), b"one\n");
    log.line(|out| out.extend_from_slice(b"two\n"));
    assert_eq!(read.recv_timeout(PATIENCE).unwrap(), b"two\n");
}

/// A stream that logs a full buffer for each that it takes: the queue is never empty.
struct Echo {
    log: Arc<Mutex<Option<LogWriter>>>,
    written: mpsc::Sender<Vec<u8>>,
}

impl Write for Echo {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(log) = &*self.log.lock() {
            log.line(|out| out.resize(BUFFER_BYTES, b'x'));
        }
        let _ = self.written.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_quiet_thread_is_heard_while_others_keep_the_queue_full() {
    let (written, read) = mpsc::channel();
    let echo = Arc::new(Mutex::new(None));
    let log = LogWriter::start(Box::new(Echo { log: Arc::clone(&echo), written }), Metrics::new()).unwrap();
    *echo.lock() = Some(log.clone());
    log.line(|out| out.resize(BUFFER_BYTES, b'x'));
    log.line(|out| out.extend_from_slice(b"quiet\n"));
    let until = Instant::now() + PATIENCE;
    let heard = loop {
        match read.recv_timeout(PATIENCE) {
            Ok(bytes) if bytes == b"quiet\n" => break true,
            Ok(_) if Instant::now() < until => {}
            _ => break false,
        }
    };
    *echo.lock() = None;
    assert!(heard);
}

#[test]
fn a_flush_brings_every_line_of_every_thread_in_the_order_of_each() {
    let (out, _door, read) = gate(true);
    let metrics = Metrics::new();
    let log = LogWriter::start(out, Arc::clone(&metrics)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                for number in 0..5000 {
                    log.line(|out| writeln!(out, "{thread} {number:040}").unwrap());
                }
            });
        }
    });
    assert!(log.flush(PATIENCE));
    let text = String::from_utf8(read.try_iter().flatten().collect()).unwrap();
    let mut next = [0; 4];
    for line in text.lines() {
        let (thread, number) = line.split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!((next, lost(&metrics)), ([5000; 4], 0));
}

#[test]
fn a_stream_that_takes_nothing_stops_nobody_and_what_is_lost_is_counted() {
    let (out, door, read) = gate(false);
    let metrics = Metrics::new();
    let log = LogWriter::start(out, Arc::clone(&metrics)).unwrap();
    let line = [b'x'; 1023];
    let logged = (QUEUED_BUFFERS * BUFFER_BYTES / 1024 + 1000) as u64;
    for _ in 0..logged {
        log.line(|out| {
            out.extend_from_slice(&line);
            out.push(b'\n');
        });
    }
    let missing = lost(&metrics);
    assert!((500..=1000).contains(&missing), "{missing}");
    assert!(!log.flush(Duration::from_millis(10)), "nothing can have been written");
    open(&door);
    assert!(log.flush(PATIENCE));
    let written = read.try_iter().map(|bytes| bytes.len() as u64).sum::<u64>() / 1024;
    assert_eq!(written + missing, logged);
}

#[test]
fn a_reader_that_went_away_costs_lines_not_the_process() {
    let (out, _door, read) = gate(true);
    drop(read);
    let metrics = Metrics::new();
    let log = LogWriter::start(out, Arc::clone(&metrics)).unwrap();
    for _ in 0..3 {
        log.line(|out| out.extend_from_slice(b"gone\n"));
    }
    assert!(log.flush(PATIENCE));
    assert_eq!(lost(&metrics), 3);
}

#[test]
fn the_last_clone_writes_what_is_left() {
    let (out, _door, read) = gate(true);
    let log = LogWriter::start(out, Metrics::new()).unwrap();
    log.clone().line(|out| out.extend_from_slice(b"last\n"));
    drop(log);
    assert_eq!(read.recv_timeout(PATIENCE).unwrap(), b"last\n");
    assert_eq!(read.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}
