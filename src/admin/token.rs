//! The admin token that is made where the user sets none.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::secret::{Secret, Source};

/// The name of the file inside `buffer.path`.
pub const TOKEN_FILE: &str = "admin-token";

/// Reads the token in `dir`, or makes one of 32 random bytes (64 hex digits): mode 0600, there whole or not at all.
///
/// # Errors
/// A sentence that names the file: it cannot be read or written, or is no token.
pub fn load_or_create(dir: &Path) -> Result<Secret, String> {
    let path = dir.join(TOKEN_FILE);
    let failed = |error: io::Error| format!("cannot keep the admin token in {}: {error}", path.display());
    if !path.try_exists().map_err(failed)? {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        create(dir, &path).map_err(failed)?;
    }
    let token = Source::File(path.clone()).load().map_err(|error| error.to_string())?;
    let right = token.expose().len() >= 32 && token.expose().iter().all(u8::is_ascii_graphic);
    if !right {
        return Err(format!(
            "{} holds no admin token; delete it and a new one is made at the next start",
            path.display()
        ));
    }
    shut(&path).map_err(failed)?;
    Ok(token)
}

/// Writes a new token beside its place and links it there: whoever comes second finds the first one's.
fn create(dir: &Path, path: &Path) -> io::Result<()> {
    let mut random = [0u8; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    let beside = dir.join(format!(".{TOKEN_FILE}.{}", std::process::id()));
    // Left over from a process of this number that died on this spot.
    let _ = std::fs::remove_file(&beside);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
            file.write_all(hex::encode(random).as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
    let linked = written.and_then(|()| match std::fs::hard_link(&beside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without links.
        Err(_) => std::fs::rename(&beside, path),
        Ok(()) => Ok(()),
    });
    let _ = std::fs::remove_file(&beside);
    linked?;
    File::open(dir)?.sync_all()
}

/// A token that others may read is no secret: takes that right away, and says so.
fn shut(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "the admin token was readable by others; its mode is 0600 now");
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_token_is_made_once_and_then_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("data");
        let first = load_or_create(&dir).unwrap();
        assert_eq!(first.expose().len(), 64);
        assert!(first.expose().iter().all(u8::is_ascii_hexdigit));
        assert!(load_or_create(&dir).unwrap().matches(first.expose()));
        assert_eq!((mode(&dir), mode(&dir.join(TOKEN_FILE))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing else is left behind");
        let other = load_or_create(&root.path().join("other")).unwrap();
        assert!(!other.matches(first.expose()));
    }

    #[test]
    fn all_who_start_at_once_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN_FILE);
        create(dir.path(), &path).unwrap();
        assert_eq!(mode(&path), 0o600);
        let first = std::fs::read(&path).unwrap();
        create(dir.path(), &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }

    #[test]
    fn a_token_that_others_may_read_is_shut() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let path = dir.path().join(TOKEN_FILE);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        load_or_create(dir.path()).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_file_that_is_no_token_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN_FILE);
        for text in ["", "\n", "short\n", "0123456789 0123456789 0123456789 0123456789"] {
            std::fs::write(&path, text).unwrap();
            let error = load_or_create(dir.path()).unwrap_err();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}
