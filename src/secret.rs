//! Secrets: bytes that cannot be printed, and the places they come from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

/// The largest secret that is read, in bytes: a key or a token, never a whole file by mistake.
pub const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// The largest file of certificates that is read, in bytes: five times what a system trusts.
pub const MAX_CERTIFICATES_BYTES: u64 = 1 << 20;

/// Secret bytes. No `Display`, a `Debug` that tells nothing, wiped when the last copy goes.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes `bytes` as they are.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.into())))
    }

    /// The bytes, for the code that computes with them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is the same secret; the time this takes tells only whether the lengths agree.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.expose().ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where a secret is read from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// An environment variable.
    Env(String),
    /// A file; read again when it changes.
    File(PathBuf),
    /// A file of certificates, which are no secret; read again when it changes.
    Certificates(PathBuf),
    /// A systemd credential: a file of that name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The value itself, for tests and demonstrations.
    Value(String),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As the user wrote it, without the value.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env = {name:?}"),
            Self::File(path) | Self::Certificates(path) => {
                write!(f, "file = {:?}", path.display().to_string())
            }
            Self::Credential(name) => write!(f, "credential = {name:?}"),
            Self::Value(_) => f.write_str("value = \"[secret]\""),
        }
    }
}

/// Why a secret could not be read. Its text names the place, never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError(String);

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SecretError {}

impl Source {
    /// The file behind this source, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) | Self::Certificates(path) => Some(path.clone()),
            Self::Credential(name) => {
                std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| PathBuf::from(dir).join(name))
            }
            Self::Env(_) | Self::Value(_) => None,
        }
    }

    /// Reads the secret; one trailing newline is cut.
    ///
    /// # Errors
    /// A source that is missing, unreadable, empty or larger than [`MAX_SECRET_BYTES`] ([`MAX_CERTIFICATES_BYTES`]).
    pub fn load(&self) -> Result<Secret, SecretError> {
        let mut bytes = match self {
            Self::Env(name) => std::env::var_os(name)
                .map(std::os::unix::ffi::OsStringExt::into_vec)
                .ok_or_else(|| SecretError(format!("the environment variable {name} is not set")))?,
            Self::Value(value) => value.clone().into_bytes(),
            Self::File(_) | Self::Credential(_) => {
                self.load_file(MAX_SECRET_BYTES, "64KiB: that is no secret")?
            }
            Self::Certificates(_) => {
                self.load_file(MAX_CERTIFICATES_BYTES, "1MiB: these are too many certificates")?
            }
        };
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            let what = if matches!(self, Self::Certificates(_)) { "what is read" } else { "the secret" };
            return Err(SecretError(format!("{what} from {self} is empty")));
        }
        Ok(Secret::new(bytes))
    }

    /// `too_large` says what `most` is.
    fn load_file(&self, most: u64, too_large: &str) -> Result<Vec<u8>, SecretError> {
        use std::io::Read;
        let path = self.path().ok_or_else(|| {
            SecretError(
                "$CREDENTIALS_DIRECTORY is not set: credentials exist only under systemd (LoadCredential=)"
                    .to_owned(),
            )
        })?;
        let unreadable =
            |error: std::io::Error| SecretError(format!("cannot read {}: {error}", path.display()));
        let file = std::fs::File::open(&path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > most {
            return Err(SecretError(format!("{} is larger than {too_large}", path.display())));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_cannot_be_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[secret]");
        let source = Source::Value("hunter2".to_owned());
        assert!(!format!("{source:?} {source}").contains("hunter2"));
    }

    #[test]
    fn one_trailing_newline_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, secret) in [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc\n\n", "abc\n"), ("abc", "abc")] {
            std::fs::write(&path, text).unwrap();
            let loaded = Source::File(path.clone()).load().unwrap();
            assert!(loaded.matches(secret.as_bytes()), "{text:?}");
            assert!(!loaded.matches(b"abd"));
        }
    }

    #[test]
    fn a_missing_or_empty_secret_is_an_error_that_names_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        let error = Source::File(path.clone()).load().unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        std::fs::write(&path, "\n").unwrap();
        assert!(Source::File(path).load().unwrap_err().to_string().contains("is empty"));
        let unset = Source::Env("HOOKLATCH_TEST_NEVER_SET".to_owned()).load().unwrap_err();
        assert_eq!(unset.to_string(), "the environment variable HOOKLATCH_TEST_NEVER_SET is not set");
    }
}
