//! Reloads: everything is read and checked first, then it is taken over at once, or the old configuration stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::rooms::Rooms;
use crate::admin::ReloadView;
use crate::config::{Catalog, Config, Environment, Report, SecretStore, SecretUse, Stamp};

/// Reads the configuration at `path` and its text, which later reloads of secrets use again.
///
/// # Errors
/// Every mistake of the file.
pub(super) fn load(path: &Path, secrets: &mut SecretStore) -> Result<(String, Config), Report> {
    let text = Config::read_text(path)?;
    let config = Config::parse(path, &text, secrets, &Environment::of_process())?;
    Ok((text, config))
}

/// Holds the configuration in force and replaces it.
#[derive(Debug)]
pub(super) struct Reloader {
    path: PathBuf,
    rooms: Arc<Rooms>,
    /// One reload at a time; held over the whole of it, on a thread that may block.
    held: Mutex<Held>,
    /// Of the secrets in force, everything but their values: shown while a reload holds `held`.
    secrets: Mutex<Vec<SecretUse>>,
    /// The providers in force, as `secrets`.
    catalog: Mutex<Arc<Catalog>>,
    last: Mutex<Option<ReloadView>>,
}

#[derive(Debug)]
struct Held {
    text: String,
    config: Config,
    secrets: SecretStore,
    /// The files of the secrets as they were last read, or last found to be wrong.
    stamps: Vec<(PathBuf, Stamp)>,
}

impl Reloader {
    pub(super) fn new(
        path: &Path,
        text: String,
        secrets: SecretStore,
        config: Config,
        rooms: Arc<Rooms>,
    ) -> Self {
        let stamps = secrets.stamps_when_read();
        let uses = Mutex::new(config.secrets.clone());
        let catalog = Mutex::new(Arc::clone(&config.catalog));
        let held = Mutex::new(Held { text, config, secrets, stamps });
        Self { path: path.to_owned(), rooms, held, secrets: uses, catalog, last: Mutex::new(None) }
    }

    /// Takes up the configuration the process was started with.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn first(self: &Arc<Self>) -> Result<(), String> {
        let this = Arc::clone(self);
        let take_up = move || {
            let mut held = this.held.lock();
            let routes = std::mem::take(&mut held.config.routes);
            this.rooms.redactions.learn_at_start(&routes);
            this.rooms.apply(&held.config, routes).map(|()| String::new())
        };
        self.on_a_blocking_thread(take_up).await.map(drop)
    }

    /// The configuration in force; its routes have moved into the front door.
    pub(super) fn with_config<T>(&self, look: impl FnOnce(&Config) -> T) -> T {
        look(&self.held.lock().config)
    }

    /// The configuration's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The secrets in force, without their values.
    pub(super) fn secrets(&self) -> Vec<SecretUse> {
        self.secrets.lock().clone()
    }

    /// The providers in force.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.lock())
    }

    /// How the last reload ended.
    pub(super) fn last(&self) -> Option<ReloadView> {
        self.last.lock().clone()
    }

    /// Reads the file again: what was taken over, or why the old configuration stays.
    ///
    /// # Errors
    /// Every mistake of the file, or the keys that only a restart can change.
    pub(super) async fn reload(self: &Arc<Self>) -> Result<String, String> {
        let this = Arc::clone(self);
        let result = self.on_a_blocking_thread(move || this.reload_now()).await;
        self.rooms.metrics.reload(result.is_ok());
        match &result {
            Ok(summary) => tracing::info!(result = "reloaded", "{summary}"),
            Err(why) => tracing::error!(
                result = "refused",
                "the configuration was not reloaded, the old one stays: {why}"
            ),
        }
        *self.last.lock() = Some(ReloadView { at: self.rooms.clock.now(), result: result.clone() });
        result
    }

    fn reload_now(&self) -> Result<String, String> {
        let mut held = self.held.lock();
        // On a copy: a configuration that is refused must not leave its secrets behind.
        let mut secrets = held.secrets.clone();
        secrets.await_anew();
        let (text, config) = load(&self.path, &mut secrets).map_err(|report| report.to_string())?;
        let fixed = Config::needs_restart(&held.config, &config);
        if !fixed.is_empty() {
            return Err(format!(
                "a change of {} needs a restart (systemctl restart hooklatch)",
                fixed.join(", ")
            ));
        }
        self.take_over(&mut held, text, config, secrets)
    }

    fn take_over(
        &self,
        held: &mut Held,
        text: String,
        mut config: Config,
        secrets: SecretStore,
    ) -> Result<String, String> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let routes = std::mem::take(&mut config.routes);
        let summary =
            format!("{} routes and {} destinations are in force", routes.len(), config.destinations.len());
        self.rooms.apply(&config, routes)?;
        self.secrets.lock().clone_from(&config.secrets);
        *self.catalog.lock() = Arc::clone(&config.catalog);
        *held = Held { text, config, stamps: secrets.stamps_when_read(), secrets };
        Ok(summary)
    }

    /// Reads the secrets again if a file of theirs changed, with the configuration as it was last read: a secret that
    /// is rotated takes effect without a reload, and a half-edited configuration does not.
    pub(super) async fn look_at_secrets(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let result = self.on_a_blocking_thread(move || this.look_at_secrets_now()).await;
        match result {
            Ok(summary) if summary.is_empty() => {}
            Ok(summary) => tracing::info!("a secret's file changed and was read again: {summary}"),
            Err(why) => tracing::warn!("a secret's file changed, but the old secrets stay: {why}"),
        }
    }

    fn look_at_secrets_now(&self) -> Result<String, String> {
        self.rooms.redactions.write_what_is_not();
        let Some(mut held) = self.held.try_lock() else { return Ok(String::new()) };
        let seen = held.secrets.stamps_now();
        if seen == held.stamps {
            return Ok(String::new());
        }
        // Whatever comes of it, the same change is not looked at twice.
        held.stamps = seen;
        let mut secrets = held.secrets.clone();
        let config = Config::parse(&self.path, &held.text, &mut secrets, &Environment::of_process())
            .map_err(|report| report.to_string())?;
        let text = held.text.clone();
        self.take_over(&mut held, text, config, secrets)
    }

    async fn on_a_blocking_thread(
        &self,
        work: impl FnOnce() -> Result<String, String> + Send + 'static,
    ) -> Result<String, String> {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(format!("the reload itself failed: {error}")))
    }
}
