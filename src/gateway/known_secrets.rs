//! The secrets in force, for whoever has to keep them out of what is shown.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Config;
use crate::delivery::HeaderValueSetting;
use crate::ingress::{Action, RouteSettings};
use crate::secret::Secret;

/// Of all routes, and of each destination.
#[derive(Debug, Default)]
pub(super) struct KnownSecrets(Mutex<Arc<Known>>);

#[derive(Debug, Default)]
pub(super) struct Known {
    of_routes: Vec<Secret>,
    of_destinations: HashMap<Arc<str>, Vec<Secret>>,
}

impl Known {
    pub(super) fn of(config: &Config, routes: &[RouteSettings]) -> Self {
        let of_route = |route: &RouteSettings| match &route.action {
            Action::Deliver(corridor) => {
                let evidence = corridor.evidence.iter();
                let secrets = evidence.flat_map(|evidence| evidence.secrets.iter().chain(&evidence.shadow));
                secrets.map(|named| named.secret.clone()).collect()
            }
            Action::Proxy(_) => Vec::new(),
        };
        let of_destinations = config.destinations.iter().map(|destination| {
            let headers = destination.headers.iter().filter_map(|(_, value)| match value {
                HeaderValueSetting::Secret(secret) => Some(secret),
                HeaderValueSetting::Plain(_) => None,
            });
            (Arc::clone(&destination.name), headers.chain(&destination.sign).cloned().collect())
        });
        Self {
            of_routes: routes.iter().flat_map(of_route).collect(),
            of_destinations: of_destinations.collect(),
        }
    }
}

impl KnownSecrets {
    pub(super) fn take_over(&self, known: Known) {
        *self.0.lock() = Arc::new(known);
    }

    /// What the app behind `destination` may know of us. Of all routes: a batch brings it the events of several.
    pub(super) fn of(&self, destination: &str) -> Vec<Secret> {
        let known = Arc::clone(&*self.0.lock());
        let own = known.of_destinations.get(destination);
        known.of_routes.iter().chain(own.into_iter().flatten()).cloned().collect()
    }
}
