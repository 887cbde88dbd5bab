//! The providers that hooklatch knows: `conf/providers/*.toml`, embedded when it is built, and the files of a folder of
//! the user's own (`providers_dir`), which come first where names are the same.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use super::provider_file::read_provider;
use super::report::{Diagnostic, Report};
use super::suggest::nearest;
use super::{name_mistake, read_file};
use crate::verify::Provider;

mod shipped {
    include!(concat!(env!("OUT_DIR"), "/providers.rs"));
}

/// The most files that are read from a folder of one's own.
const MAX_OWN: usize = 10_000;

/// The providers by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    providers: BTreeMap<Arc<str>, Entry>,
    /// Mistakes of the files. A test holds this empty for the embedded ones; were it not, every configuration would be
    /// refused.
    pub(super) broken: Vec<Diagnostic>,
}

#[derive(Clone, Debug)]
struct Entry {
    provider: Arc<Provider>,
    /// The file, where it is the user's own.
    own: Option<PathBuf>,
}

impl Catalog {
    /// The embedded files, read when first asked for.
    #[must_use]
    pub fn shipped() -> &'static Arc<Self> {
        static SHIPPED: LazyLock<Arc<Catalog>> = LazyLock::new(|| {
            let mut catalog = Catalog::default();
            for (name, text) in shipped::FILES {
                catalog.add(name, &format!("conf/providers/{name}.toml"), text, None);
            }
            Arc::new(catalog)
        });
        &SHIPPED
    }

    /// The embedded files, and the `*.toml` files of `folder` beside and before them.
    ///
    /// # Errors
    /// Every mistake of these files.
    pub fn with_own(folder: &Path) -> Result<Self, Report> {
        let mut catalog = Self::overlaid(folder).map_err(|message| {
            let file = Arc::from(folder.display().to_string());
            Report { mistakes: vec![Diagnostic::of_file(&file, message, String::new())], file }
        })?;
        if catalog.broken.is_empty() {
            return Ok(catalog);
        }
        Err(Report {
            file: Arc::from(folder.display().to_string()),
            mistakes: std::mem::take(&mut catalog.broken),
        })
    }

    /// As [`Self::with_own`]; mistakes of single files stand in `broken`.
    ///
    /// # Errors
    /// A folder that cannot be read, one sentence.
    pub(super) fn overlaid(folder: &Path) -> Result<Self, String> {
        let mut catalog = Self::clone(Self::shipped());
        for path in own_files(folder)? {
            let file: Arc<str> = Arc::from(path.display().to_string());
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if let Some(mistake) = name_mistake(name) {
                let help = "rename the file: its name is the word for `provider`".to_owned();
                catalog.broken.push(Diagnostic::of_file(&file, mistake.to_owned(), help));
                continue;
            }
            match read_file(&path) {
                Ok(text) => catalog.add(name, &file, &text, Some(path.clone())),
                Err((message, help)) => catalog.broken.push(Diagnostic::of_file(&file, message, help)),
            }
        }
        Ok(catalog)
    }

    fn add(&mut self, name: &str, file: &str, text: &str, own: Option<PathBuf>) {
        match read_provider(name, file, text) {
            Ok(provider) => {
                self.providers.insert(Arc::from(name), Entry { provider: Arc::new(provider), own });
            }
            Err(report) => self.broken.extend(report.mistakes),
        }
    }

    /// The provider for `provider = "NAME"`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name).map(|entry| &entry.provider)
    }

    /// The file of `name`, where it is the user's own.
    #[must_use]
    pub fn own_file(&self, name: &str) -> Option<&Path> {
        self.providers.get(name)?.own.as_deref()
    }

    /// Every provider, sorted by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values().map(|entry| &entry.provider)
    }

    /// Every provider's name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(|name| &**name)
    }

    /// The name that `name` is most likely a slip of.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names())
    }
}

/// The `*.toml` files of `folder`, sorted; what is hidden, of another kind or a folder is passed over.
fn own_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("there is no folder {}", folder.display()),
        _ => format!("cannot read the folder {}: {error}", folder.display()),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_OWN {
            return Err(format!("{} holds more than {MAX_OWN} provider files", folder.display()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: &str = "display_name = \"Acme\"\ndocs = \"https://example.com/\"\nalgorithm = \"hmac-sha256\"\n\
                        signature = { header = \"X-Acme\" }\n";

    fn said(broken: &[Diagnostic]) -> Vec<String> {
        broken.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_shipped_file_is_right() {
        assert_eq!(said(&Catalog::shipped().broken), [""; 0]);
    }

    #[test]
    fn a_broken_file_is_reported_and_not_taken() {
        let mut catalog = Catalog::default();
        catalog.add("acme", "acme.toml", "display_name = \"Acme\"\nalgoritm = \"token\"", None);
        assert!(catalog.get("acme").is_none());
        let said = said(&catalog.broken);
        assert!(said.iter().any(|text| text.contains("did you mean `algorithm`?")), "{said:?}");
        assert!(said.iter().any(|text| text.contains("needs `docs`")), "{said:?}");
    }

    #[test]
    fn a_folder_of_ones_own_adds_and_overrides() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("acme.toml"), ACME).unwrap();
        std::fs::write(dir.path().join("github.toml"), ACME).unwrap();
        std::fs::write(dir.path().join(".hidden.toml"), "[").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "[").unwrap();
        std::fs::create_dir(dir.path().join("more.toml")).unwrap();
        let catalog = Catalog::with_own(dir.path()).unwrap();
        assert_eq!(catalog.get("acme").unwrap().display_name, "Acme");
        assert_eq!(catalog.get("github").unwrap().display_name, "Acme");
        assert_eq!(catalog.own_file("github"), Some(&*dir.path().join("github.toml")));
        assert_eq!(catalog.own_file("gitlab"), None);
        assert_eq!(catalog.names().count(), Catalog::shipped().names().count() + 1);
        assert_eq!(Catalog::shipped().get("github").unwrap().display_name, "GitHub");
    }

    #[test]
    fn every_mistake_of_the_folder_is_told_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("one.toml"), "algorithm = \"tokn\"").unwrap();
        std::fs::write(dir.path().join("two.toml"), [0xff]).unwrap();
        std::fs::write(dir.path().join("th ree.toml"), ACME).unwrap();
        let said = Catalog::with_own(dir.path()).unwrap_err().to_string();
        for part in ["one.toml: a provider", "two.toml", "not UTF-8", "th ree.toml", "rename the file"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let missing = Catalog::with_own(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("there is no folder"), "{missing}");
    }
}
