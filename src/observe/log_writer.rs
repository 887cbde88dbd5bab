//! Lines of the log, from any thread to one stream, without making any of them wait.
//!
//! Each thread appends to a buffer of its own; a full buffer goes to a bounded queue, and one thread writes what
//! stands in the queue. A buffer that does not fill is fetched by that thread 100 ms after its first line. Where
//! the stream takes nothing for so long that the queue is full, lines are dropped and counted: the log is never the
//! reason why a sender waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use super::Metrics;

/// A buffer of that many bytes is full: about 160 lines, far more than a write costs.
const BUFFER_BYTES: usize = 64 << 10;
/// Full buffers that wait, 8 MiB: a stream may stall for a second at 20,000 lines a second.
const QUEUED_BUFFERS: usize = 128;
/// How old a line may become before its buffer is fetched.
const TICK: Duration = Duration::from_millis(100);
/// Empty buffers kept for reuse.
const SPARE_BUFFERS: usize = 16;

/// The way of all lines. Clones share it; when the last one goes, what is buffered is written and the thread ends.
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Tells the writers of one process apart in the list of a thread.
    number: u64,
    state: Mutex<State>,
    /// Something to write, or a wish of somebody who waits.
    wake: Condvar,
    /// A flush is done.
    flushed: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Chunk>,
    spare: Vec<Vec<u8>>,
    /// Every thread's buffer; one whose thread has ended is dropped once it is empty.
    threads: Vec<Arc<Mutex<Chunk>>>,
    /// Some thread has a line in its buffer.
    dirty: bool,
    flushes_wanted: u64,
    flushes_done: u64,
    stop: bool,
}

/// Some whole lines.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    lines: u64,
}

thread_local! {
    /// This thread's buffers: one, and some more in tests, where there are several logs.
    static BUFFERS: RefCell<Vec<(u64, Arc<Mutex<Chunk>>)>> = const { RefCell::new(Vec::new()) };
}

impl LogWriter {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(out: Box<dyn Write + Send>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let shared = Arc::new(Shared {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            wake: Condvar::new(),
            flushed: Condvar::new(),
            metrics,
        });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || of_thread.write_all_to(out))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Lets `format` append one line, its newline included, to the calling thread's buffer. Never waits for the
    /// stream.
    #[inline]
    pub fn line(&self, format: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.0.0;
        let appended = BUFFERS.try_with(|buffers| {
            // A line that is logged while a line is being formatted has no buffer to go to.
            let Ok(mut buffers) = buffers.try_borrow_mut() else { return false };
            match buffers.iter().find(|(number, _)| *number == shared.number) {
                Some((_, buffer)) => shared.append(buffer, format),
                None => {
                    let buffer = shared.new_buffer();
                    shared.append(&buffer, format);
                    buffers.retain(|(_, buffer)| Arc::strong_count(buffer) > 1);
                    buffers.push((shared.number, buffer));
                }
            }
            true
        });
        if appended != Ok(true) {
            shared.metrics.log_lines_lost(1);
        }
    }

    /// Waits until everything logged so far is written, `patience` at most; whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let shared = &*self.0.0;
        let mut state = shared.state.lock();
        state.flushes_wanted += 1;
        let mine = state.flushes_wanted;
        shared.wake.notify_one();
        // Woken for other reasons the wait starts anew: those are other flushes, of which there are few.
        while state.flushes_done < mine {
            if shared.flushed.wait_for(&mut state, patience).timed_out() {
                return state.flushes_done >= mine;
            }
        }
        true
    }
}

/// The thread writes what is left and ends by itself; whoever must see it written calls [`LogWriter::flush`].
impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().stop = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn new_buffer(&self) -> Arc<Mutex<Chunk>> {
        let buffer = Arc::<Mutex<Chunk>>::default();
        self.state.lock().threads.push(Arc::clone(&buffer));
        buffer
    }

    /// Locks are taken in the order buffer, state; [`Shared::sweep`] keeps to it too.
    #[inline]
    fn append(&self, buffer: &Mutex<Chunk>, format: impl FnOnce(&mut Vec<u8>)) {
        let mut chunk = buffer.lock();
        let first = chunk.bytes.is_empty();
        format(&mut chunk.bytes);
        chunk.lines += 1;
        if chunk.bytes.len() >= BUFFER_BYTES {
            self.hand_over(&mut chunk);
        } else if first {
            let mut state = self.state.lock();
            if !state.dirty {
                state.dirty = true;
                self.wake.notify_one();
            }
        }
    }

    /// Moves a full buffer into the queue, or drops its lines where the queue is full too.
    #[cold]
    fn hand_over(&self, chunk: &mut Chunk) {
        let mut state = self.state.lock();
        if state.queue.len() >= QUEUED_BUFFERS {
            drop(state);
            self.metrics.log_lines_lost(chunk.lines);
            chunk.bytes.clear();
            chunk.lines = 0;
            return;
        }
        let spare = state.spare.pop().unwrap_or_default();
        let full = std::mem::replace(chunk, Chunk { bytes: spare, lines: 0 });
        state.queue.push_back(full);
        self.wake.notify_one();
    }

    /// Moves what the threads have begun into the queue, behind what they handed over themselves, so that the lines
    /// of one thread stay in order.
    fn sweep(&self) {
        let threads = {
            let mut state = self.state.lock();
            state.dirty = false;
            state.threads.clone()
        };
        for buffer in &threads {
            let mut chunk = buffer.lock();
            if !chunk.bytes.is_empty() {
                let mut state = self.state.lock();
                let spare = state.spare.pop().unwrap_or_default();
                // This may be one more a thread than the queue's bound: the thread that empties it is this one.
                let begun = std::mem::replace(&mut *chunk, Chunk { bytes: spare, lines: 0 });
                state.queue.push_back(begun);
            }
        }
        drop(threads);
        // Held by this list alone: its thread has ended, so its lock is free and the order of locks is no matter.
        self.state
            .lock()
            .threads
            .retain(|buffer| Arc::strong_count(buffer) > 1 || !buffer.lock().bytes.is_empty());
    }

    /// The writing thread.
    fn write_all_to(&self, mut out: Box<dyn Write + Send>) {
        // When the lines that have begun to gather are fetched, also while others keep the queue full.
        let mut due: Option<Instant> = None;
        loop {
            let mut state = self.state.lock();
            self.wake.wait_while(&mut state, |s| s.queue.is_empty() && !s.dirty && !s.hurried());
            if state.dirty {
                let due = *due.get_or_insert_with(|| Instant::now() + TICK);
                let left = due.saturating_duration_since(Instant::now());
                self.wake.wait_while_for(&mut state, |s| s.queue.is_empty() && !s.hurried(), left);
            }
            let (wanted, stop) = (state.flushes_wanted, state.stop);
            let sweep = state.hurried() || due.is_some_and(|due| due <= Instant::now());
            drop(state);
            if sweep {
                due = None;
                self.sweep();
            }
            self.write_queue(&mut *out);
            if sweep {
                self.state.lock().flushes_done = wanted;
                self.flushed.notify_all();
            }
            if stop {
                return;
            }
        }
    }

    /// Writes what stands in the queue now, not what comes meanwhile: a stream that is just fast enough must not
    /// keep this thread from the lines that nobody hands over.
    fn write_queue(&self, out: &mut dyn Write) {
        let now = self.state.lock().queue.len();
        for _ in 0..now {
            let Some(mut chunk) = self.pop() else { return };
            if out.write_all(&chunk.bytes).and_then(|()| out.flush()).is_err() {
                // A reader that went away (EPIPE) stays away; there is nobody left to tell but the metric.
                self.metrics.log_lines_lost(chunk.lines);
            }
            chunk.bytes.clear();
            let mut state = self.state.lock();
            // One huge line must not stay allocated for good.
            if state.spare.len() < SPARE_BUFFERS && chunk.bytes.capacity() <= 4 * BUFFER_BYTES {
                state.spare.push(chunk.bytes);
            }
        }
    }

    fn pop(&self) -> Option<Chunk> {
        self.state.lock().queue.pop_front()
    }
}

impl State {
    fn hurried(&self) -> bool {
        self.stop || self.flushes_wanted != self.flushes_done
    }
}

#[cfg(test)]
mod tests;
