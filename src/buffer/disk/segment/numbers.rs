//! The numbers of names: each segment has its own, the process has others.

use std::sync::Arc;

use super::super::source::{Names, Source};

/// From a segment's own numbers to the shared ones. Segments of this process use the shared ones themselves.
#[derive(Debug, Default)]
pub(in crate::buffer) enum Numbers {
    #[default]
    Shared,
    Own {
        /// Each ascending by the own number.
        lanes: Vec<(u32, u32)>,
        sources: Vec<(u32, u32)>,
    },
}

impl Numbers {
    /// Gives the names of a segment numbers among the shared ones.
    pub fn new(lanes: &[(u32, Arc<str>)], sources: &[(u32, Source)], names: &mut Names) -> Self {
        let mut own_lanes: Vec<_> = lanes.iter().map(|(own, name)| (*own, names.lane(name))).collect();
        own_lanes.sort_unstable();
        own_lanes.dedup_by_key(|(own, _)| *own);
        let mut own_sources = Vec::new();
        for (own, source) in sources {
            let lanes: Option<Vec<u32>> = source.lanes.iter().map(|lane| find(&own_lanes, *lane)).collect();
            // A source with a destination whose name is lost is as good as lost: nobody can say where it goes.
            if let Some(mut lanes) = lanes {
                lanes.sort_unstable();
                lanes.dedup();
                let source = Source { lanes: lanes.into(), ..source.clone() };
                own_sources.push((*own, names.source(source)));
            }
        }
        own_sources.sort_unstable();
        own_sources.dedup_by_key(|(own, _)| *own);
        Self::Own { lanes: own_lanes, sources: own_sources }
    }

    pub fn lane(&self, own: u32) -> Option<u32> {
        match self {
            Self::Shared => Some(own),
            Self::Own { lanes, .. } => find(lanes, own),
        }
    }

    pub fn source(&self, own: u32) -> Option<u32> {
        match self {
            Self::Shared => Some(own),
            Self::Own { sources, .. } => find(sources, own),
        }
    }
}

fn find(pairs: &[(u32, u32)], own: u32) -> Option<u32> {
    let at = pairs.binary_search_by_key(&own, |(own, _)| *own).ok()?;
    pairs.get(at).map(|(_, shared)| *shared)
}
