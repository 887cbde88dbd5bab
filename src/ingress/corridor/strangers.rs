//! Clients that are not on a route's list of addresses and sign right all the same: the list is behind, or a proxy stands in
//! between. In shadow mode they are let in and counted. Otherwise they are refused, as everybody else who is not on the
//! list; where the list is a provider's published one, one a second is looked at before, so that it shows.

use tokio::time::Instant;

use super::{Ingress, Ticket};
use crate::clock::Millis;
use crate::ingress::corridor::route::Corridor;
use crate::ingress::refusal::Refusal;
use crate::limit::{Meter, Pace};
use crate::select::Message;

/// How often a refused one is looked at, and how often the log speaks of one.
const LOOKS: &str = "1/s";
const WORDS: &str = "1/m";

/// Whether a client is on a route's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// It is, or there is none.
    Yes,
    /// It is not, and comes in.
    InShadow,
    /// It is not, and is refused once its signature was looked at.
    NoButLookedAt,
    /// It is not.
    No,
}

/// What a route remembers of them.
#[derive(Debug)]
pub(super) struct Strangers {
    looks: Meter,
    words: Meter,
}

impl Default for Strangers {
    fn default() -> Self {
        let now = Instant::now();
        Self { looks: Meter::new(now), words: Meter::new(now) }
    }
}

impl Strangers {
    /// Whether one more may be looked at.
    pub(super) fn one_more(&self) -> bool {
        take(&self.looks, LOOKS)
    }
}

fn take(meter: &Meter, rate: &str) -> bool {
    rate.parse().is_ok_and(|rate| meter.take(Pace::new(rate, 1), Instant::now()).is_ok())
}

impl Ingress {
    /// Counts a client that is not on the list and signs right; refuses it, unless it is let in by shadow mode.
    pub(super) fn look_at_stranger(
        &self,
        ticket: &Ticket,
        corridor: &Corridor,
        message: &Message<'_>,
        now: Millis,
    ) -> Result<(), Refusal> {
        if ticket.listed == Listed::Yes {
            return Ok(());
        }
        let verifier = corridor.settings.verifier.as_ref();
        if verifier.is_some_and(|verifier| verifier.verify(message, now).is_ok()) {
            ticket.route.metrics.off_list();
            if take(&ticket.route.strangers.words, WORDS) {
                tracing::warn!(
                    route = &*ticket.route.name,
                    client = ticket.client.address(),
                    refused = ticket.listed != Listed::InShadow,
                    "signed right, but not on the route's allow_ips"
                );
            }
        }
        if ticket.listed == Listed::InShadow { Ok(()) } else { Err(Refusal::ip_not_allowed()) }
    }
}
