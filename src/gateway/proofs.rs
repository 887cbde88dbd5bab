//! What of a route's requests nobody vouches for, said whenever its configuration is taken over.

use std::sync::Arc;

use crate::ingress::{Action, Proof, RouteSettings};

/// What is known of the requests of each route that delivers.
pub(super) struct Proofs(Vec<(Arc<str>, Proof)>);

impl Proofs {
    pub(super) fn of(routes: &[RouteSettings]) -> Self {
        let proof = |route: &RouteSettings| match &route.action {
            Action::Deliver(corridor) => Some((Arc::clone(&route.name), corridor.proof())),
            Action::Proxy(_) => None,
        };
        Self(routes.iter().filter_map(proof).collect())
    }

    /// A line for each route of which less is known than who sent what.
    pub(super) fn tell(&self) {
        for (route, proof) in &self.0 {
            let (route, outcome) = (&**route, proof.as_str());
            match proof {
                Proof::Verified => {}
                Proof::Authenticated => tracing::info!(
                    route,
                    outcome,
                    "a signature of this route does not cover the body: it tells who sends, not whether somebody on the \
                     way changed what is sent"
                ),
                Proof::Unchecked => tracing::warn!(
                    route,
                    outcome,
                    "verify = \"none\": this route accepts whatever comes, from whoever reaches it"
                ),
            }
        }
    }
}
