//! What each route's requests hide from a listing, remembered for as long as the folder lasts.
//!
//! An event is shown long after it came: its route may have another scheme by then, or be gone, and `hooklatch spool dump`
//! reads a folder without any configuration. So the places at which a route ever had a secret stand in a file beside the
//! events. It holds names of headers, parameters and fields, no value.
//!
//! A start never fails for it: without the file nothing would be delivered, and a full disk would never empty. What cannot
//! be written is remembered in memory and written later; of what cannot be read nobody knows what it hid, so everything is.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::state_dir::write_private;
use crate::ingress::{Action, RouteSettings};
use crate::verify::Redaction;

const FILE: &str = "redactions.json";

/// The places by the route's name.
#[derive(Debug)]
pub struct Redactions {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    routes: BTreeMap<String, Redaction>,
    /// The file says less.
    unwritten: bool,
    /// The file cannot be read: it stays as it is, and nothing is shown.
    lost: bool,
}

impl Redactions {
    /// Reads what is remembered in the folder `dir`, nothing where there is no such file.
    ///
    /// # Errors
    /// A sentence that names the file: it cannot be read, or is not what it should be.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let path = dir.join(FILE);
        let routes = match std::fs::read(&path) {
            Ok(bytes) => read(&bytes).ok_or_else(|| {
                format!(
                    "{} is damaged; remove it, and events of routes that are no longer configured are listed without \
                     their bodies",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        Ok(Self { path, known: Mutex::new(Known { routes, ..Known::default() }) })
    }

    /// As [`Self::open`], for a gateway that starts: of a file that cannot be read it is said, and everything is hidden.
    pub(super) fn at_start(dir: &Path) -> Self {
        Self::open(dir).unwrap_or_else(|error| {
            tracing::error!(
                "{error}. Until hooklatch is started without it, no event's headers, body or answers are shown; events are \
                 taken and delivered as ever"
            );
            let known = Known { lost: true, ..Known::default() };
            Self { path: dir.join(FILE), known: Mutex::new(known) }
        })
    }

    /// As [`Self::open`], for the folder of a buffer or its `spool`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn beside(dir: &Path) -> Result<Self, String> {
        let above = dir.parent().filter(|above| !dir.join(FILE).exists() && above.join(FILE).exists());
        Self::open(above.unwrap_or(dir))
    }

    /// Remembers what the `routes` of a start hide. Where that cannot be written, it is said, and
    /// [`Self::write_what_is_not`] tries again.
    pub(super) fn learn_at_start(&self, routes: &[RouteSettings]) {
        let mut known = self.known.lock();
        let after = together(&known.routes, routes);
        known.unwritten = after != known.routes || !self.path.exists();
        known.routes = after;
        if let Err(error) = self.write(&mut known) {
            tracing::error!(
                "{error}: what the routes hide is known in memory alone, and it is tried again every second. Should the \
                 process end before it is written, do not start it with other routes: what these hid would be listed"
            );
        }
    }

    /// Remembers what `routes` hide, before the first of their requests is kept.
    ///
    /// # Errors
    /// A sentence: the file cannot be written. What was remembered before still is.
    pub(super) fn learn(&self, routes: &[RouteSettings]) -> Result<(), String> {
        let mut known = self.known.lock();
        let after = together(&known.routes, routes);
        if after == known.routes {
            known.unwritten |= !self.path.exists();
            // Nothing depends on it that did not before.
            let _ = self.write(&mut known);
            return Ok(());
        }
        let mut after = Known { routes: after, unwritten: true, lost: known.lost };
        self.write(&mut after)?;
        *known = after;
        Ok(())
    }

    /// Writes what could not be written before, if there is any. Blocks for a moment.
    pub(super) fn write_what_is_not(&self) {
        let mut known = self.known.lock();
        if known.unwritten && self.write(&mut known).is_ok() && !known.lost {
            tracing::info!("{} is written", self.path.display());
        }
    }

    fn write(&self, known: &mut Known) -> Result<(), String> {
        // A file that nobody could read may still be read by somebody else.
        if known.unwritten && !known.lost {
            write_private(&self.path, written(&known.routes).as_bytes())
                .map_err(|error| format!("cannot write {}: {error}", self.path.display()))?;
        }
        known.unwritten = false;
        Ok(())
    }

    /// What is not shown of a request that came by `route`; `of_provider` is what is known of the provider that it names.
    #[must_use]
    pub fn of(&self, route: &str, of_provider: Option<Redaction>) -> Redaction {
        let known = self.known.lock();
        if known.lost {
            return Redaction::anywhere();
        }
        match (known.routes.get(route), of_provider) {
            (Some(of_route), of_provider) => of_route.clone().and(of_provider.unwrap_or_default()),
            (None, Some(of_provider)) => of_provider,
            (None, None) => Redaction::anywhere(),
        }
    }
}

/// What was known, and what `routes` hide.
fn together(known: &BTreeMap<String, Redaction>, routes: &[RouteSettings]) -> BTreeMap<String, Redaction> {
    let mut after = known.clone();
    for route in routes {
        let Action::Deliver(corridor) = &route.action else { continue };
        let before = after.remove(&*route.name).unwrap_or_default();
        after.insert(route.name.to_string(), before.and(corridor.redaction.clone()));
    }
    after
}

fn read(bytes: &[u8]) -> Option<BTreeMap<String, Redaction>> {
    let words: BTreeMap<String, Vec<String>> = serde_json::from_slice(bytes).ok()?;
    let redaction = |words: Vec<String>| Redaction::of_words(words.iter().map(String::as_str));
    Some(words.into_iter().map(|(route, words)| (route, redaction(words))).collect())
}

fn written(known: &BTreeMap<String, Redaction>) -> String {
    let words: serde_json::Map<String, serde_json::Value> =
        known.iter().map(|(route, redaction)| (route.clone(), redaction.words().into())).collect();
    serde_json::Value::Object(words).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, SecretStore};

    fn routes(toml: &str) -> Vec<RouteSettings> {
        let text = format!("{toml}\n[destinations.app]\nurl = \"http://127.0.0.1:3000\"\n");
        let file = Path::new("hooklatch.toml");
        Config::parse(file, &text, &mut SecretStore::unread(), &Environment::of_process())
            .unwrap_or_else(|report| panic!("{report}"))
            .routes
    }

    fn route(name: &str, verify: &str) -> String {
        format!(
            "[routes.{name}]\npath = \"/{name}\"\ndeliver_to = [\"app\"]\nsecrets = [{{ value = \"s\" }}]\n{verify}\n"
        )
    }

    fn by_token(name: &str, place: &str) -> String {
        let verify = format!("verify = {{ algorithm = \"token\", signature = {{ {place} }} }}");
        route(name, &verify)
    }

    #[test]
    fn what_a_route_ever_hid_stays_hidden_over_reloads_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let known = Redactions::open(dir.path()).unwrap();
        known.learn(&routes(&by_token("erp", "query = \"code\""))).unwrap();
        known.learn(&routes(&by_token("erp", "form = \"key\""))).unwrap();
        known.learn(&routes(&route("github", "provider = \"github\""))).unwrap();
        drop(known);
        let known = Redactions::open(dir.path()).unwrap();
        assert_eq!(known.of("erp", None).words(), ["query:code", "form:key"]);
        assert_eq!(known.of("github", None), Redaction::default());
        assert_eq!(known.of("gone", None), Redaction::anywhere());
        let of_provider = Redaction::of_words(["header:x-token"]);
        assert_eq!(known.of("gone", Some(of_provider.clone())), of_provider);
        assert_eq!(known.of("erp", Some(of_provider)).words(), ["header:x-token", "query:code", "form:key"]);
        assert_eq!(
            Redactions::beside(&dir.path().join("spool")).unwrap().of("github", None),
            Redaction::default()
        );
    }

    #[test]
    fn a_damaged_file_is_told_and_a_place_that_is_not_understood_hides_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        std::fs::write(&file, "{\"erp\":[\"cookie:session\"]}").unwrap();
        assert_eq!(Redactions::open(dir.path()).unwrap().of("erp", None), Redaction::anywhere());
        std::fs::write(&file, "{").unwrap();
        assert!(Redactions::open(dir.path()).unwrap_err().contains("is damaged"));
    }

    #[test]
    fn a_start_with_a_damaged_file_hides_everything_and_leaves_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let known = Redactions::at_start(dir.path());
        let github = routes(&route("github", "provider = \"github\""));
        known.learn_at_start(&github);
        known.learn(&github).unwrap();
        known.learn(&routes(&by_token("erp", "query = \"code\""))).unwrap();
        known.write_what_is_not();
        assert_eq!(known.of("github", Some(Redaction::default())), Redaction::anywhere());
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "{");
    }

    #[test]
    fn a_start_goes_on_where_the_file_cannot_be_written_and_writes_it_later() {
        let dir = tempfile::tempdir().unwrap();
        // Whoever may write everywhere cannot replace a folder by a file either.
        let in_the_way = dir.path().join(FILE);
        std::fs::create_dir_all(in_the_way.join("x")).unwrap();
        let known = Redactions { path: in_the_way.clone(), known: Mutex::default() };
        let erp = routes(&by_token("erp", "query = \"code\""));
        known.learn_at_start(&erp);
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [FILE], "half a file is left behind");
        assert_eq!(known.of("erp", None).words(), ["query:code"]);
        // A reload that changes nothing of it goes on, one that does is refused.
        known.learn(&erp).unwrap();
        let more = routes(&by_token("erp", "form = \"key\""));
        assert!(known.learn(&more).unwrap_err().contains("cannot write"));
        assert_eq!(known.of("erp", None).words(), ["query:code"]);
        known.write_what_is_not();
        std::fs::remove_dir_all(&in_the_way).unwrap();
        known.write_what_is_not();
        assert_eq!(Redactions::open(dir.path()).unwrap().of("erp", None).words(), ["query:code"]);
        known.learn(&more).unwrap();
        assert_eq!(Redactions::open(dir.path()).unwrap().of("erp", None).words(), ["query:code", "form:key"]);
    }
}
