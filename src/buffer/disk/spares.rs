//! Files that are segments to be: their blocks were written once, so that a commit into them allocates nothing.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::device::{Device, DeviceFile};

/// The spares that are ready.
#[derive(Debug)]
pub(super) struct Spares<F> {
    ready: Mutex<Vec<(String, F)>>,
    next_name: AtomicU64,
    /// Held while one is made, so that no two are made for one place.
    making: Mutex<()>,
}

/// The name of a spare.
pub(super) fn spare_name(number: u64) -> String {
    format!("spare-{number}.log")
}

impl<F: DeviceFile> Spares<F> {
    pub fn new(ready: Vec<(String, F)>, next_name: u64) -> Self {
        Self { ready: Mutex::new(ready), next_name: AtomicU64::new(next_name), making: Mutex::default() }
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
        if let Err(error) = file.fill(u64::from(bytes)) {
            drop(file);
            // What it took is given back; where even that fails, the next start finds a spare of a wrong length.
            let _ = device.remove(&name);
            return Err(error);
        }
        self.add(name, file);
        Ok(true)
    }
}
