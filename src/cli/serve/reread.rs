//! SIGHUP: the settings and the certificate are read again.
//!
//! Invariants: a file that cannot be used changes nothing, and the log has the
//! reason; the settings of [`config::LIVE`] apply at once, all together; every
//! other setting that differs is named as one that needs a restart.
//! Deliberately absent: alert addresses, which are in the database and apply to
//! the next run of their schedule.

use std::sync::{Arc, OnceLock};

use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload::Handle;

use super::ReadSettings;
use crate::cli::output;
use crate::config::{self, Config, ConfigError};
use crate::http::live::LiveSettings;
use crate::http::server::Certificate;

type SetFilter = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

static FILTER: OnceLock<SetFilter> = OnceLock::new();

/// The filter of the log: the environment wins over the settings.
pub fn log_filter(config: &Config) -> Result<Targets, ConfigError> {
    match std::env::var_os("RUST_LOG").filter(|text| !text.is_empty()) {
        Some(text) => config::targets(&text.to_string_lossy()).map_err(|reason| ConfigError::Environment { reason }),
        None => Ok(config.log.filter.targets()),
    }
}

/// Keeps the way to change the filter of the log.
pub fn keep<S: 'static>(handle: Handle<Targets, S>) {
    let _ = FILTER.set(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
}

pub struct Reread {
    settings: ReadSettings,
    /// The settings that hold.
    current: Config,
    live: Arc<LiveSettings>,
    tls: Option<Arc<Certificate>>,
}

impl Reread {
    pub fn new(
        settings: ReadSettings,
        current: Config,
        live: Arc<LiveSettings>,
        tls: Option<Arc<Certificate>>,
    ) -> Reread {
        Reread { settings, current, live, tls }
    }

    pub fn now(&mut self) {
        match (self.settings)() {
            Ok(new) => self.change(&new),
            Err(error) => {
                let reason = output::reasons(&error);
                error!("SIGHUP: the settings cannot be used, so nothing was changed: {reason}");
            }
        }
        match self.tls.as_ref().map(|certificate| certificate.reload()) {
            Some(Ok(())) => info!("read the certificate again on SIGHUP"),
            Some(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                error!(error, "the certificate cannot be used; the one before stays");
            }
            None => {}
        }
    }

    fn change(&mut self, new: &Config) {
        let differences = self.current.differences(new);
        let (live, restart): (Vec<&str>, Vec<&str>) =
            differences.into_iter().partition(|name| config::LIVE.contains(name));
        if live.contains(&"log.filter")
            && let Some(set) = FILTER.get()
            && let Err(why) = log_filter(new).map_err(|error| error.to_string()).and_then(set)
        {
            error!("SIGHUP: cannot change log.filter: {why}");
        }
        self.live.change(&self.current, new);
        self.current.take_live(new);
        match live.is_empty() {
            true => info!("SIGHUP: read the settings again; none that applies at once has changed"),
            false => info!("SIGHUP: read the settings again; changed: {}", live.join(", ")),
        }
        if !restart.is_empty() {
            warn!("SIGHUP: these settings have changed and need a restart: {}", restart.join(", "));
        }
    }
}
