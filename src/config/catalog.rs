//! The providers that hooklatch knows: `conf/providers/*.toml`, embedded when it is built.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::provider_file::read_provider;
use super::report::Diagnostic;
use super::suggest::nearest;
use crate::verify::Provider;

mod shipped {
    include!(concat!(env!("OUT_DIR"), "/providers.rs"));
}

/// The providers by name.
#[derive(Debug, Default)]
pub struct Catalog {
    providers: BTreeMap<&'static str, Arc<Provider>>,
    /// Mistakes of the embedded files. A test holds this empty; were it not, every configuration would be refused.
    pub(super) broken: Vec<Diagnostic>,
}

impl Catalog {
    /// The embedded files, read when first asked for.
    #[must_use]
    pub fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<Catalog> = LazyLock::new(|| Catalog::read(shipped::FILES));
        &SHIPPED
    }

    fn read(files: &'static [(&'static str, &'static str)]) -> Self {
        let mut catalog = Self::default();
        for (name, text) in files {
            match read_provider(name, &format!("conf/providers/{name}.toml"), text) {
                Ok(provider) => {
                    catalog.providers.insert(name, Arc::new(provider));
                }
                Err(report) => catalog.broken.extend(report.mistakes),
            }
        }
        catalog
    }

    /// The provider for `provider = "NAME"`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// Every provider's name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().copied()
    }

    /// The name that `name` is most likely a slip of.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_right() {
        let broken: Vec<String> = Catalog::shipped().broken.iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn a_broken_file_is_reported_and_not_taken() {
        let catalog = Catalog::read(&[("acme", "display_name = \"Acme\"\nalgoritm = \"token\"")]);
        assert!(catalog.get("acme").is_none());
        let said: Vec<String> = catalog.broken.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|text| text.contains("did you mean `algorithm`?")), "{said:?}");
        assert!(said.iter().any(|text| text.contains("needs `docs`")), "{said:?}");
    }
}
