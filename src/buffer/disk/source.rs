//! Names of routes, providers and destinations, and the numbers that stand for them in memory.

use std::collections::HashMap;
use std::sync::Arc;

/// By which route an event came and to which destinations it goes. Few of them exist, so an event holds a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::buffer) struct Source {
    /// The route's name.
    pub route: Arc<str>,
    /// The name of the provider whose scheme verified it.
    pub provider: Option<Arc<str>>,
    /// The numbers of its destinations, each once, ascending.
    pub lanes: Box<[u32]>,
}

/// Every name that was met since the start, numbered from 0 without gaps. Numbers are never reused.
#[derive(Debug, Default)]
pub(in crate::buffer) struct Names {
    lanes: Vec<Arc<str>>,
    lane_numbers: HashMap<Arc<str>, u32>,
    sources: Vec<Arc<Source>>,
    source_numbers: HashMap<Arc<Source>, u32>,
}

impl Names {
    /// The number of the destination `name`, given to it where it has none.
    pub fn lane(&mut self, name: &str) -> u32 {
        if let Some(number) = self.lane_numbers.get(name) {
            return *number;
        }
        let (number, name) = (self.lanes.len() as u32, Arc::<str>::from(name));
        self.lanes.push(Arc::clone(&name));
        self.lane_numbers.insert(name, number);
        number
    }

    /// The number of `source`, given to it where it has none.
    pub fn source(&mut self, source: Source) -> u32 {
        if let Some(number) = self.source_numbers.get(&source) {
            return *number;
        }
        let (number, source) = (self.sources.len() as u32, Arc::new(source));
        self.sources.push(Arc::clone(&source));
        self.source_numbers.insert(source, number);
        number
    }

    /// A source that was met before.
    pub fn find_source(&self, source: &Source) -> Option<(u32, Arc<Source>)> {
        let (known, number) = self.source_numbers.get_key_value(source)?;
        Some((*number, Arc::clone(known)))
    }

    /// The name of a destination.
    pub fn lane_name(&self, number: u32) -> Option<&Arc<str>> {
        self.lanes.get(number as usize)
    }

    /// What a source's number stands for.
    pub fn source_of(&self, number: u32) -> Option<&Arc<Source>> {
        self.sources.get(number as usize)
    }

    /// How many destinations have a number.
    pub fn lane_count(&self) -> u32 {
        self.lanes.len() as u32
    }
}
