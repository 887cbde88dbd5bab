//! A disk that forgets, tears, reorders and fails: what a power loss leaves of what was not synced is the test's
//! choice.

mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::panic::Location;
use std::sync::Arc;

use parking_lot::Mutex;

use self::stored::Stored;
use super::{Device, DeviceFile};

/// What can fail, is counted, and (the two syncs) can be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::buffer) enum Op {
    /// [`DeviceFile::read_at`].
    Read,
    /// [`DeviceFile::write_at`], and the writes of [`DeviceFile::fill`], which are one.
    Write,
    /// [`DeviceFile::sync`], and that of [`DeviceFile::fill`].
    Sync,
    /// [`Device::create`].
    Create,
    /// [`Device::rename`].
    Rename,
    /// [`Device::remove`].
    Remove,
    /// [`Device::sync_folder`].
    SyncFolder,
}

/// A handle on the disk; clones share it. Each part of it has two states: *written* (what reads see) and *durable*
/// (what a power loss leaves).
///
/// Where it has a choice, it asks a `choose`: a function from `n` to a number below `n`.
#[derive(Clone, Debug, Default)]
pub(in crate::buffer) struct FakeDevice(Arc<Mutex<State>>, Arc<Mutex<BeforeFill>>);

/// Called before a file is filled, where a test wants something to happen meanwhile.
#[derive(Default)]
struct BeforeFill(Option<Box<dyn FnMut() + Send>>);

impl std::fmt::Debug for BeforeFill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeFill")
    }
}

#[derive(Debug, Default)]
struct State {
    names: Folder,
    durable_names: Folder,
    /// What happened to `names` since they were last synced, in order.
    steps: Vec<Step>,
    files: BTreeMap<u64, Stored>,
    next_file: u64,
    /// Handles of a process that ended are of no use.
    life: u64,
    capacity: Option<u64>,
    faults: Vec<Fault>,
    forgotten: Vec<Op>,
    /// Where in the code a sync is asked for, and those of these places that are forgotten.
    sites: BTreeSet<Site>,
    forgotten_sites: Vec<Site>,
    calls: BTreeMap<Op, u64>,
    bytes_read: u64,
    seed: u64,
}

/// A call in the code.
pub(in crate::buffer) type Site = &'static Location<'static>;

/// Names, and which file each stands for.
type Folder = BTreeMap<String, u64>;

#[derive(Clone, Debug)]
enum Step {
    Create { name: String, file: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
}

impl Step {
    fn apply(&self, folder: &mut Folder) {
        match self {
            Self::Create { name, file } => {
                folder.insert(name.clone(), *file);
            }
            Self::Rename { from, to } => {
                if let Some(file) = folder.remove(from) {
                    folder.insert(to.clone(), file);
                }
            }
            Self::Remove { name } => {
                folder.remove(name);
            }
        }
    }
}

#[derive(Debug)]
struct Fault {
    op: Op,
    after: u32,
    kind: ErrorKind,
}

impl State {
    /// Counts a call; an error if it is to fail.
    fn call(&mut self, op: Op) -> io::Result<()> {
        *self.calls.entry(op).or_default() += 1;
        let mut failed = None;
        self.faults.retain_mut(|fault| {
            if fault.op != op {
                return true;
            }
            if fault.after == 0 && failed.is_none() {
                failed = Some(fault.kind);
                return false;
            }
            fault.after = fault.after.saturating_sub(1);
            true
        });
        failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// A number below `n`.
    fn any(&mut self, n: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % n.max(1)
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|file| self.files.get(file))
            .map(|file| file.written.len() as u64)
            .sum()
    }

    /// How much of `len` bytes at `at` of `file` there is room for.
    fn room(&self, file: u64, len: u64, at: u64) -> u64 {
        let Some(capacity) = self.capacity else { return len };
        let there = self.files.get(&file).map_or(0, |file| file.written.len() as u64);
        let end = there + capacity.saturating_sub(self.used());
        len.min(end.saturating_sub(at))
    }

    fn write(&mut self, file: u64, bytes: &[u8], at: u64) -> io::Result<()> {
        let (len, mut done) = (bytes.len() as u64, self.call(Op::Write));
        let mut written = self.room(file, len, at);
        if done.is_err() {
            written = written.min(self.any(len + 1));
        } else if written < len {
            done = Err(ErrorKind::StorageFull.into());
        }
        self.stored(file)?.write(&bytes[..written as usize], at);
        done
    }

    /// Whether the sync that is asked for at `site` is one that does nothing.
    fn forgets(&mut self, op: Op, site: Site) -> bool {
        self.sites.insert(site);
        self.forgotten.contains(&op) || self.forgotten_sites.contains(&site)
    }

    fn sync(&mut self, file: u64, site: Site) -> io::Result<()> {
        let done = self.call(Op::Sync);
        if self.forgets(Op::Sync, site) {
            return done;
        }
        let stored = self.stored(file)?;
        match done {
            Ok(()) => stored.sync(),
            // What a page cache does: the pages count as clean, are still read, and are never written again.
            Err(_) => stored.unsynced.clear(),
        }
        done
    }

    fn fill(&mut self, file: u64, len: u64) -> io::Result<()> {
        self.stored(file)?.truncate(len);
        self.write(file, &vec![0; len as usize], 0)?;
        self.call(Op::Sync)?;
        if !self.forgotten.contains(&Op::Sync) {
            self.stored(file)?.sync();
        }
        Ok(())
    }

    fn stored(&mut self, file: u64) -> io::Result<&mut Stored> {
        self.files.get_mut(&file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Files without a name are gone with the process that held them open.
    fn end_of_life(&mut self) {
        let (names, durable) = (&self.names, &self.durable_names);
        let steps = &self.steps;
        self.files.retain(|file, _| {
            names.values().chain(durable.values()).any(|named| named == file)
                || steps.iter().any(|step| matches!(step, Step::Create { file: made, .. } if made == file))
        });
        self.faults.clear();
        self.life += 1;
    }
}

impl FakeDevice {
    /// The power fails: of each sector that was not synced any number of its writes survives, and of the folder's steps
    /// any number of the first. Files that are open are of no use any more.
    pub fn crash(&self, choose: &mut impl FnMut(u32) -> u32) {
        let mut state = self.0.lock();
        let state = &mut *state;
        let survive = choose(state.steps.len() as u32 + 1) as usize;
        for step in std::mem::take(&mut state.steps).iter().take(survive) {
            step.apply(&mut state.durable_names);
        }
        state.names.clone_from(&state.durable_names);
        for file in state.files.values_mut() {
            file.crash(choose);
        }
        state.end_of_life();
    }

    /// The process ends, the machine does not: all that was written stays, and is as little synced as before.
    pub fn kill(&self) {
        self.0.lock().end_of_life();
    }

    /// Up to `n` times, the kernel writes something back by itself: of a sector the first write that was not, or the
    /// folder's first step.
    pub fn writeback(&self, n: u32, choose: &mut impl FnMut(u32) -> u32) {
        let mut state = self.0.lock();
        let state = &mut *state;
        for _ in 0..n {
            let mut dirty: Vec<&mut Stored> =
                state.files.values_mut().filter(|file| !file.unsynced.is_empty()).collect();
            let folder = u32::from(!state.steps.is_empty());
            let all = dirty.len() as u32 + folder;
            if all == 0 {
                return;
            }
            match dirty.get_mut(choose(all) as usize) {
                Some(file) => file.write_back(choose),
                None => state.steps.remove(0).apply(&mut state.durable_names),
            }
        }
    }

    /// Lets one call of `op` fail with `kind`, after `after` that do not. What fails has no effect, but that a failed
    /// write may leave any first part of its bytes, and that after a failed sync what was not synced is read as before
    /// and survives no power loss.
    pub fn fail_next(&self, op: Op, after: u32, kind: ErrorKind) {
        self.0.lock().faults.push(Fault { op, after, kind });
    }

    /// Takes back what [`FakeDevice::fail_next`] asked and did not come about yet.
    pub fn heal(&self) {
        self.0.lock().faults.clear();
    }

    /// Calls `run` before each file that is filled.
    pub fn before_fill(&self, run: impl FnMut() + Send + 'static) {
        self.1.lock().0 = Some(Box::new(run));
    }

    /// From which the lengths of what failed writes leave are derived.
    pub fn seed(&self, seed: u64) {
        self.0.lock().seed = seed;
    }

    /// How many bytes its files may have in all; a write that needs more leaves what there is room for, and fails.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// How many bytes its files have.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Lets [`Op::Sync`] or [`Op::SyncFolder`] do nothing and report success, from now on: what a program that lacks
    /// this call would have of it.
    pub fn forget_syncs(&self, what: Op) {
        assert!(matches!(what, Op::Sync | Op::SyncFolder), "{what:?} is no sync");
        self.0.lock().forgotten.push(what);
    }

    /// Where in the code syncs were asked for; without those of [`DeviceFile::fill`], which are there for speed.
    pub fn sync_sites(&self) -> BTreeSet<Site> {
        self.0.lock().sites.clone()
    }

    /// Lets the syncs that are asked for at one place in the code do nothing and report success, from now on.
    pub fn forget_syncs_at(&self, site: Site) {
        self.0.lock().forgotten_sites.push(site);
    }

    /// How often `op` was asked for, failed calls included.
    pub fn calls(&self, op: Op) -> u64 {
        self.0.lock().calls.get(&op).copied().unwrap_or(0)
    }

    /// How many bytes were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.0.lock().bytes_read
    }

    /// What stands in a file, as reads see it.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.files.get(state.names.get(name)?).map(|file| file.written.clone())
    }

    /// Changes a file behind everybody's back, durably: decay, or a user's editor. Makes it where it is not.
    pub fn set_contents(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.lock();
        let file = match state.names.get(name) {
            Some(file) => *file,
            None => {
                state.next_file += 1;
                state.next_file
            }
        };
        state.names.insert(name.to_owned(), file);
        state.durable_names.insert(name.to_owned(), file);
        let stored = Stored { written: bytes.to_vec(), durable: bytes.to_vec(), unsynced: BTreeMap::new() };
        state.files.insert(file, stored);
    }

    fn handle(&self, file: u64, life: u64) -> FakeFile {
        FakeFile { device: self.clone(), file, life }
    }
}

impl Device for FakeDevice {
    type File = FakeFile;

    fn create(&self, name: &str) -> io::Result<FakeFile> {
        let mut state = self.0.lock();
        state.call(Op::Create)?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.next_file += 1;
        let (file, life) = (state.next_file, state.life);
        state.files.insert(file, Stored::default());
        let step = Step::Create { name: name.to_owned(), file };
        step.apply(&mut state.names);
        state.steps.push(step);
        Ok(self.handle(file, life))
    }

    fn open(&self, name: &str) -> io::Result<FakeFile> {
        let state = self.0.lock();
        let file = state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(self.handle(*file, state.life))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call(Op::Rename)?;
        if !state.names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        let step = Step::Rename { from: from.to_owned(), to: to.to_owned() };
        step.apply(&mut state.names);
        state.steps.push(step);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call(Op::Remove)?;
        if !state.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        let step = Step::Remove { name: name.to_owned() };
        step.apply(&mut state.names);
        state.steps.push(step);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.0.lock();
        let own = state.names.iter().filter(|(name, _)| !name.contains('/'));
        Ok(own.map(|(name, file)| (name.clone(), state.files[file].written.len() as u64)).collect())
    }

    #[track_caller]
    fn sync_folder(&self) -> io::Result<()> {
        let site = Location::caller();
        let mut state = self.0.lock();
        state.call(Op::SyncFolder)?;
        if !state.forgets(Op::SyncFolder, site) {
            state.steps.clear();
            let names = state.names.clone();
            state.durable_names = names;
        }
        Ok(())
    }
}

/// An open file.
#[derive(Clone, Debug)]
pub(in crate::buffer) struct FakeFile {
    device: FakeDevice,
    file: u64,
    life: u64,
}

impl FakeFile {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.device.0.lock();
        if state.life != self.life {
            return Err(io::Error::other("the process that opened this file has ended"));
        }
        run(&mut state)
    }
}

impl DeviceFile for FakeFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(|state| {
            state.call(Op::Read)?;
            let written = &state.stored(self.file)?.written;
            let there = written.get(at as usize..).unwrap_or_default();
            let read = there.len().min(buffer.len());
            buffer[..read].copy_from_slice(&there[..read]);
            state.bytes_read += read as u64;
            Ok(read)
        })
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.with(|state| state.write(self.file, bytes, at))
    }

    #[track_caller]
    fn sync(&self) -> io::Result<()> {
        let site = Location::caller();
        self.with(|state| state.sync(self.file, site))
    }

    fn fill(&self, len: u64, _: &dyn Fn() -> bool) -> io::Result<()> {
        if let Some(run) = &mut self.device.1.lock().0 {
            run();
        }
        self.with(|state| state.fill(self.file, len))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.stored(self.file)?.written.len() as u64))
    }
}

#[cfg(test)]
mod tests;
