//! Which route a request takes.
//!
//! A route matches by path, host and method. Of several that match, the most specific wins, whatever their order in
//! the file: an exact path before a prefix, a longer prefix before a shorter one, then a named host before any host,
//! then named methods before all.
//!
//! The paths of routes that check what comes in are *reserved*, on every host and for every method: a request that
//! would otherwise be streamed through is refused if any app might read its path as a reserved one
//! ([`super::path`]). So nothing walks around a check.
//!
//! A match costs one look-up for the exact path and one for each of its prefixes that is no longer than the longest
//! configured one, whatever the number of routes.

mod index;

use std::borrow::Cow;
use std::collections::HashMap;

use index::{Lengths, PathMap, PathSet};

use super::path::{fold, may_be_read_as, normalise};
use super::settings::{Action, PathPattern, RouteSettings};

/// What the router needs to know of a route.
#[derive(Clone, Copy, Debug)]
pub struct RouteKey<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Which paths.
    pub path: &'a PathPattern,
    /// Which host, lower case without port; `None` = any.
    pub host: Option<&'a str>,
    /// Which methods; `None` = all.
    pub methods: Option<&'a [String]>,
    /// Whether what comes in is checked: no other kind of route may carry its paths.
    pub reserved: bool,
}

impl<'a> From<&'a RouteSettings> for RouteKey<'a> {
    fn from(route: &'a RouteSettings) -> Self {
        Self {
            name: &route.name,
            path: &route.path,
            host: route.host.as_deref(),
            methods: route.methods.as_deref(),
            reserved: matches!(route.action, Action::Deliver(_)),
        }
    }
}

/// A route that cannot stand beside the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConflict {
    /// The position of the route at fault.
    pub route: usize,
    /// The position of the one that it conflicts with.
    pub other: Option<usize>,
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do about it, one sentence.
    pub hint: &'static str,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// To the route at this position.
    Route(usize),
    /// There is a route here, but not for this method.
    MethodNotAllowed {
        /// The most specific one.
        route: usize,
        /// The value of `Allow`.
        allow: String,
    },
    /// Nowhere.
    Unknown,
}

/// One line of "what goes where".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// The path, normalised, `/*` at its end for everything below.
    pub path: String,
    /// The host; `None` = any.
    pub host: Option<String>,
    /// The methods; `None` = all.
    pub methods: Option<Vec<String>>,
    /// The route's position.
    pub route: usize,
    /// Whether no other kind of route carries this path, on any host.
    pub reserved: bool,
}

/// The routes, ready to be matched.
#[derive(Debug, Default)]
pub struct Router {
    exact: PathMap<Level>,
    /// Without the `/*`; that of `/*` itself is empty.
    prefixes: PathMap<Level>,
    prefix_lengths: Lengths,
    reserved: Reserved,
    entries: Vec<Entry>,
}

/// The routes of one path pattern, each list in order of preference.
#[derive(Debug, Default)]
struct Level {
    by_host: HashMap<Box<str>, Vec<usize>>,
    any_host: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    path: PathPattern,
    host: Option<Box<str>>,
    methods: Option<Box<[Box<str>]>>,
    reserved: bool,
}

/// Paths, folded, that only checked routes may carry.
#[derive(Debug, Default)]
struct Reserved {
    exact: PathSet,
    exact_lengths: Lengths,
    below: PathSet,
    below_lengths: Lengths,
}

impl Router {
    /// Builds the router; positions are those in `routes`.
    ///
    /// # Errors
    /// Every route that equals another, could never be reached, or has a path that cannot be reserved.
    pub fn new<'a>(routes: impl IntoIterator<Item = RouteKey<'a>>) -> Result<Self, Vec<RouteConflict>> {
        let mut router = Self::default();
        let mut conflicts = Vec::new();
        for (position, key) in routes.into_iter().enumerate() {
            let entry = Entry::new(&key);
            if let Some(other) = router.equal_to(&entry) {
                conflicts.push(equal_routes(position, other, key.name, router.name(other)));
            }
            if entry.reserved && !router.reserved.add(&entry.path) {
                conflicts.push(not_reservable(position, key.name, &entry.path));
            }
            router.insert(position, entry);
        }
        conflicts.extend(router.never_reached());
        if conflicts.is_empty() { Ok(router) } else { Err(conflicts) }
    }

    fn insert(&mut self, position: usize, entry: Entry) {
        let level = match &entry.path {
            PathPattern::Exact(path) => self.exact.entry(path.as_str().into()).or_default(),
            PathPattern::Prefix(path) => {
                self.prefix_lengths.add(path.len());
                self.prefixes.entry(path.as_str().into()).or_default()
            }
        };
        let list = match &entry.host {
            Some(host) => level.by_host.entry(host.clone()).or_default(),
            None => &mut level.any_host,
        };
        let at = if entry.methods.is_some() {
            list.iter()
                .take_while(|other| self.entries.get(**other).is_some_and(|e| e.methods.is_some()))
                .count()
        } else {
            list.len()
        };
        list.insert(at, position);
        self.entries.push(entry);
    }

    /// A route of the same pattern, host and kind of method list that shares a method with `entry`.
    fn equal_to(&self, entry: &Entry) -> Option<usize> {
        let level = match &entry.path {
            PathPattern::Exact(path) => self.exact.get(path.as_str())?,
            PathPattern::Prefix(path) => self.prefixes.get(path.as_str())?,
        };
        let same_host = match &entry.host {
            Some(host) => level.by_host.get(host)?,
            None => &level.any_host,
        };
        same_host.iter().copied().find(|other| {
            match (self.entries.get(*other).map(|other| &other.methods), &entry.methods) {
                (Some(Some(theirs)), Some(ours)) => ours.iter().any(|method| theirs.contains(method)),
                (Some(None), None) => true,
                _ => false,
            }
        })
    }

    /// Pass-through routes all of whose paths are reserved by others.
    fn never_reached(&self) -> Vec<RouteConflict> {
        let unreachable = |entry: &Entry| match &entry.path {
            _ if entry.reserved => false,
            PathPattern::Exact(path) => self.is_reserved(path),
            PathPattern::Prefix(path) => may_be_read_as(&as_path(path), |read| self.reserved.is_below(read)),
        };
        let dead = self.entries.iter().enumerate().filter(|(_, entry)| unreachable(entry));
        dead.map(|(position, entry)| RouteConflict {
            route: position,
            other: self.reserving(&entry.path),
            message: format!(
                "route `{}` is never reached: its path is reserved by a `deliver_to` route, on every host and in \
                 every spelling that an app might read as the same",
                entry.name
            ),
            hint: "leave one of the two out, or give them different paths",
        })
        .collect()
    }

    /// A checked route that a reader of the file would look at first.
    fn reserving(&self, path: &PathPattern) -> Option<usize> {
        let (PathPattern::Exact(path) | PathPattern::Prefix(path)) = path;
        let folded = fold(&as_path(path))?;
        self.entries.iter().position(|entry| match &entry.path {
            _ if !entry.reserved => false,
            PathPattern::Exact(reserved) => fold(reserved).as_ref() == Some(&folded),
            PathPattern::Prefix(reserved) => {
                let below = fold(&as_path(reserved)).unwrap_or_default();
                folded
                    .strip_prefix(below.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        })
    }

    /// Where a request goes. `path` is the target's path as sent; `host` as sent, with or without a port.
    #[must_use]
    pub fn route(&self, path: &str, host: Option<&str>, method: &str) -> Match {
        // `*` and a CONNECT's authority are no paths.
        if !path.starts_with('/') {
            return Match::Unknown;
        }
        let normal = normalise(path);
        let host = host.map(host_name);
        let mut other_methods: Vec<usize> = Vec::new();
        for position in self.candidates(&normal, host.as_deref()) {
            let Some(entry) = self.entries.get(position) else { continue };
            if !entry.takes(method) {
                other_methods.push(position);
            } else if entry.reserved || !self.is_reserved(path) {
                return Match::Route(position);
            } else {
                other_methods.retain(|other| self.entries.get(*other).is_some_and(|entry| entry.reserved));
                break;
            }
        }
        self.no_route(&other_methods)
    }

    /// Routes that match by path and host, the most specific first.
    fn candidates<'r>(&'r self, normal: &'r str, host: Option<&'r str>) -> impl Iterator<Item = usize> + 'r {
        let below = prefixes_of(normal, &self.prefix_lengths).filter_map(|prefix| self.prefixes.get(prefix));
        self.exact.get(normal).into_iter().chain(below).flat_map(move |level| {
            let named = host.filter(|_| !level.by_host.is_empty()).and_then(|host| level.by_host.get(host));
            named.into_iter().flatten().chain(&level.any_host).copied()
        })
    }

    fn no_route(&self, other_methods: &[usize]) -> Match {
        let Some(&route) = other_methods.first() else { return Match::Unknown };
        let entries = other_methods.iter().filter_map(|position| self.entries.get(*position));
        let mut allow: Vec<&str> =
            entries.filter_map(|entry| entry.methods.as_deref()).flatten().map(AsRef::as_ref).collect();
        allow.sort_unstable();
        allow.dedup();
        Match::MethodNotAllowed { route, allow: allow.join(", ") }
    }

    fn is_reserved(&self, path: &str) -> bool {
        let Reserved { exact, below, .. } = &self.reserved;
        !(exact.is_empty() && below.is_empty()) && may_be_read_as(path, |read| self.reserved.holds(read))
    }

    /// What goes where: exact paths, then prefixes from the longest to the shortest, each by name; of one path the
    /// most specific first.
    #[must_use]
    pub fn table(&self) -> Vec<TableRow> {
        let mut rows: Vec<_> = self.entries.iter().enumerate().collect();
        rows.sort_by_key(|(_, entry)| {
            let (length, path) = match &entry.path {
                PathPattern::Exact(path) => (0, path),
                PathPattern::Prefix(path) => (usize::MAX - path.len(), path),
            };
            (length, path.clone(), entry.host.is_none(), entry.host.clone(), entry.methods.is_none())
        });
        let row = |(route, entry): (usize, &Entry)| TableRow {
            path: match &entry.path {
                PathPattern::Exact(path) => path.clone(),
                PathPattern::Prefix(path) => format!("{path}/*"),
            },
            host: entry.host.as_deref().map(str::to_owned),
            methods: entry.methods.as_ref().map(|methods| methods.iter().map(|m| m.to_string()).collect()),
            route,
            reserved: entry.reserved,
        };
        rows.into_iter().map(row).collect()
    }

    fn name(&self, position: usize) -> &str {
        self.entries.get(position).map_or("", |entry| &entry.name)
    }
}

impl Entry {
    fn new(key: &RouteKey<'_>) -> Self {
        let path = match key.path {
            PathPattern::Exact(path) => PathPattern::Exact(normalise(path).into_owned()),
            PathPattern::Prefix(path) => {
                PathPattern::Prefix(normalise(path).trim_end_matches('/').to_owned())
            }
        };
        Self {
            name: key.name.into(),
            path,
            host: key.host.map(|host| host_name(host).into_owned().into()),
            methods: key.methods.map(|methods| methods.iter().map(|method| method.as_str().into()).collect()),
            reserved: key.reserved,
        }
    }

    fn takes(&self, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.iter().any(|taken| **taken == *method))
    }
}

impl Reserved {
    /// `false` for a path that cannot be told apart from others.
    fn add(&mut self, path: &PathPattern) -> bool {
        match path {
            PathPattern::Exact(path) => {
                let Some(folded) = fold(path) else { return false };
                self.exact_lengths.add(folded.len());
                self.exact.insert(folded.into());
            }
            PathPattern::Prefix(path) => {
                let Some(folded) = fold(&as_path(path)) else { return false };
                let folded = folded.trim_end_matches('/');
                self.below_lengths.add(folded.len());
                self.below.insert(folded.into());
            }
        }
        true
    }

    fn holds(&self, reading: &str) -> bool {
        (self.exact_lengths.has(reading.len()) && self.exact.contains(reading)) || self.is_below(reading)
    }

    fn is_below(&self, reading: &str) -> bool {
        !self.below.is_empty()
            && prefixes_of(reading, &self.below_lengths).any(|prefix| self.below.contains(prefix))
    }
}

/// A prefix pattern's own path.
fn as_path(prefix: &str) -> Cow<'_, str> {
    Cow::Borrowed(if prefix.is_empty() { "/" } else { prefix })
}

/// `path` itself and each of its parents, the longest first, down to the empty one; only those of one of `lengths`, so
/// that a path of thousands of segments costs no more look-ups than there are configured lengths.
fn prefixes_of<'p>(path: &'p str, lengths: &'p Lengths) -> impl Iterator<Item = &'p str> {
    let longest = lengths.longest();
    let first = if path.len() <= longest {
        Some(path.len())
    } else {
        path.as_bytes().get(..=longest).and_then(|start| start.iter().rposition(|byte| *byte == b'/'))
    };
    std::iter::successors(first, |end| path.as_bytes().get(..*end)?.iter().rposition(|byte| *byte == b'/'))
        .filter(|end| lengths.has(*end))
        .filter_map(|end| path.get(..end))
}

/// The name in a `Host` header: lower case, without port and trailing dot.
#[must_use]
pub fn host_name(host: &str) -> Cow<'_, str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn equal_routes(route: usize, other: usize, name: &str, other_name: &str) -> RouteConflict {
    RouteConflict {
        route,
        other: Some(other),
        message: format!("route `{name}` answers the same path, host and methods as route `{other_name}`"),
        hint: "leave one of them out, or tell them apart by `path`, `host` or `methods`",
    }
}

fn not_reservable(route: usize, name: &str, path: &PathPattern) -> RouteConflict {
    let (PathPattern::Exact(path) | PathPattern::Prefix(path)) = path;
    RouteConflict {
        route,
        other: None,
        message: format!("the path {path:?} of route `{name}` can be read in more than one way"),
        hint: "a `deliver_to` path holds no `\\`, `;`, `?`, `#`, blank, control character or escape of one of these \
               or of `/`",
    }
}

#[cfg(test)]
mod tests;
