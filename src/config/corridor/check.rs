//! What a route's requests are checked with: a provider's scheme, one of its own, or nothing.

use std::sync::Arc;

use super::Corridor;
use crate::config::suggest::nearest;
use crate::config::walk::Value;
use crate::config::{schema, scheme};
use crate::verify::{Provider, Redaction, Scheme, SchemeSpec};

/// How requests of a route are checked.
pub(super) enum Check<'c> {
    /// `verify = "none"`.
    Nothing,
    Scheme {
        scheme: Arc<Scheme>,
        provider: Option<&'c Arc<Provider>>,
    },
}

impl Check<'_> {
    /// Where a secret stands in the route's requests.
    pub(super) fn redaction(&self) -> Redaction {
        match self {
            Self::Nothing => Redaction::default(),
            Self::Scheme { scheme, provider: None } => scheme.redaction(),
            Self::Scheme { scheme, provider: Some(provider) } => {
                scheme.redaction().and(provider.handshakes.redaction())
            }
        }
    }
}

impl Corridor<'_, '_, '_> {
    pub(super) fn check(&self) -> Option<Check<'_>> {
        let (provider, verify) = (self.table.get("provider"), self.table.get("verify"));
        let place = self.table.get("signature");
        match (provider, verify) {
            (Some(_), Some(verify)) => {
                verify.mistake(
                    "a route has a `provider` or its own `verify`, not both",
                    "leave one of them out",
                );
                None
            }
            (Some(provider), None) => self.provider(provider, place),
            (None, Some(verify)) => {
                if let Some(place) = place {
                    let message = "`signature` of a route is for the header that a provider's customer names";
                    place.mistake(message, "write it in [routes.NAME.verify]");
                }
                self.own_scheme(verify)
            }
            (None, None) if self.table.is_misspelled("provider") || self.table.is_misspelled("verify") => {
                None
            }
            (None, None) => {
                self.table.walk.mistake_of_whole(
                    self.table.span(),
                    format!("{} says nothing about signatures", self.table.name),
                    "write provider = \"NAME\" (`hooklatch providers` lists them), a [routes.NAME.verify] table, or \
                     verify = \"none\" to accept whatever comes",
                );
                None
            }
        }
    }

    fn provider(&self, value: Value<'_>, place: Option<Value<'_>>) -> Option<Check<'_>> {
        let catalog = self.context.catalog();
        let name = value.str("write a provider's name, like \"github\"")?;
        if let Some(provider) = catalog.get(name) {
            return Some(Check::Scheme { scheme: self.placed(provider, place)?, provider: Some(provider) });
        }
        let help = match nearest(name, catalog.names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => {
                "`hooklatch providers` lists them; for another, write a [routes.NAME.verify] table".to_owned()
            }
        };
        value.mistake(format!("there is no provider {name:?}"), help);
        None
    }

    /// The provider's scheme, with its secret where the route says that it stands.
    fn placed(&self, provider: &Provider, place: Option<Value<'_>>) -> Option<Arc<Scheme>> {
        let Some(value) = place else { return Some(Arc::clone(&provider.scheme)) };
        if !provider.free_signature {
            let message = format!("{} itself says where its signature stands", provider.display_name);
            value.mistake(message, "leave `signature` out");
            return None;
        }
        let spec =
            SchemeSpec { signature: scheme::place(value, &self.table.name)?, ..provider.written.clone() };
        Scheme::compile(&spec).map(Arc::new).map_err(|complaints| self.table.invalid(complaints)).ok()
    }

    fn own_scheme(&self, value: Value<'_>) -> Option<Check<'_>> {
        if let Some(text) = value.as_str() {
            if text == "none" {
                return Some(Check::Nothing);
            }
            value.mistake(
                format!("{text:?} is not one of the words for this key"),
                "write \"none\", or a [routes.NAME.verify] table",
            );
            return None;
        }
        let name = format!("[routes.{}.verify]", self.name);
        let table = value.table(name, &schema::VERIFY, "write \"none\", or a [routes.NAME.verify] table")?;
        let spec = scheme::read(&table);
        let compiled = Scheme::compile(&spec).map_err(|complaints| table.invalid(complaints)).ok();
        table.done();
        Some(Check::Scheme { scheme: Arc::new(compiled?), provider: None })
    }
}
