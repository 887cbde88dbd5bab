//! Files that are segments to be: their blocks were written once, so that a commit into them allocates nothing.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::device::{Device, DeviceFile};

/// The spares that are ready.
#[derive(Debug)]
pub(super) struct Spares<F> {
    ready: Mutex<Vec<(String, F)>>,
    next_name: AtomicU64,
    /// Held while one is made, so that no two are made for one place.
    making: Mutex<()>,
    /// The first of them are made in a hurry: the start waits for them.
    started: AtomicBool,
    /// So are the last ones: the stop waits for them.
    ending: AtomicBool,
}

/// With fewer than these, the next commit may have to wait for one that is being made.
const FEW: usize = 2;

/// The name of a spare.
pub(super) fn spare_name(number: u64) -> String {
    format!("spare-{number}.log")
}

impl<F: DeviceFile> Spares<F> {
    pub fn new(ready: Vec<(String, F)>, next_name: u64) -> Self {
        Self {
            ready: Mutex::new(ready),
            next_name: AtomicU64::new(next_name),
            making: Mutex::default(),
            started: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    pub fn count(&self) -> usize {
        self.ready.lock().len()
    }

    /// Takes one, but leaves `reserve` of them.
    pub fn take(&self, reserve: usize) -> Option<(String, F)> {
        let mut ready = self.ready.lock();
        if ready.len() > reserve { ready.pop() } else { None }
    }

    pub fn add(&self, name: String, file: F) {
        self.ready.lock().push((name, file));
    }

    /// From now on those that are made at leisure leave the disk to the commits.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// From now on somebody waits for the one that is being made.
    pub fn ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    fn hurried(&self) -> bool {
        let waited_for = !self.started.load(Ordering::Relaxed) || self.ending.load(Ordering::Relaxed);
        waited_for || self.count() < FEW
    }

    /// A name that no spare has.
    pub fn name(&self) -> String {
        spare_name(self.next_name.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes one where `others()` and the spares are fewer than `max`; whether it did.
    pub fn make<D: Device<File = F>>(
        &self,
        device: &D,
        bytes: u32,
        max: u32,
        others: impl Fn() -> usize,
    ) -> io::Result<bool> {
        let _one = self.making.lock();
        if others() + self.count() >= max as usize {
            return Ok(false);
        }
        let name = self.name();
        let file = device.create(&name)?;
        // Its name lasts when it becomes a segment's: until then a power loss costs a spare.
        if let Err(error) = file.fill(u64::from(bytes), &|| self.hurried()) {
            drop(file);
            // What it took is given back; where even that fails, the next start finds a spare of a wrong length.
            let _ = device.remove(&name);
            return Err(error);
        }
        self.add(name, file);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::FakeDevice;
    use super::*;

    #[test]
    fn what_somebody_waits_for_is_made_in_a_hurry() {
        let disk = FakeDevice::default();
        let spares = Spares::new(Vec::new(), 1);
        let make = || spares.make(&disk, 4096, 9, || 0).unwrap();
        while spares.count() < FEW {
            make();
        }
        assert!(spares.hurried(), "the start waits");
        spares.started();
        assert!(!spares.hurried());
        spares.take(0).unwrap();
        assert!(spares.hurried(), "a commit may");
        make();
        assert!(!spares.hurried());
        spares.ending();
        assert!(spares.hurried(), "the stop waits");
        spares.started();
        assert!(spares.hurried());
    }
}
