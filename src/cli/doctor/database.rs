//! The database: whether it opens, its integrity, its clock, and the webhooks
//! that it has.

use std::path::Path;
use std::time::UNIX_EPOCH;

use super::Diagnosis;
use crate::cli::output;
use crate::config::Config;
use crate::domain::{PartnerId, Time};
use crate::service::replica;
use crate::store::{self, Load, Location, Open, Store, StoreError};

/// How far two clocks may be apart, in seconds.
const APART_MAX: i64 = 2;

/// A webhook that is switched on.
pub struct Hook {
    pub partner: PartnerId,
    pub id: String,
    pub url: String,
}

const CHECK: &str = "database";

/// What there is to say of the database, and its webhooks.
pub fn check(config: &Config) -> (Vec<Diagnosis>, Vec<Hook>) {
    let shown = config.database.to_string();
    let store = match store::open(&config.location(), Open::Read) {
        Ok(store) => store,
        Err(error) => return (vec![unopened(&shown, &error), machine_clock()], Vec::new()),
    };
    let mut findings = vec![Diagnosis::ok(CHECK, format!("{shown} opens, and its schema is this program's"))];
    // Reading takes less than a server needs.
    if let Err(error) = store::check_writable(&config.location()) {
        let text = format!("`rollcall serve` cannot use {shown}: {}", output::reasons(&error));
        findings.push(Diagnosis::error(CHECK, text, "run `rollcall doctor` and the server as the owner of the file"));
    }
    let mut hooks = Vec::new();
    match store.quick_check() {
        Ok(wrong) if wrong.is_empty() => findings.push(Diagnosis::ok(CHECK, "its structure is whole (quick check)")),
        Ok(wrong) => findings.push(Diagnosis::error(
            CHECK,
            format!("its structure is damaged: {}", wrong.join("; ")),
            "stop the server, keep the file, run `rollcall verify`, and restore a backup with `rollcall restore`",
        )),
        Err(error) => findings.push(failed("cannot check its structure", &error)),
    }
    match contents(&*store, &mut hooks) {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(failed("cannot read its contents", &error)),
    }
    findings.extend(earlier_tables(&*store));
    findings.push(clock(config, &*store));
    (findings, hooks)
}

/// Warns of tables that an operator has to switch.
fn earlier_tables(store: &dyn Store) -> Option<Diagnosis> {
    match store.has_earlier_tables() {
        Ok(false) => None,
        Ok(true) => Some(Diagnosis::warning(
            CHECK,
            "its numbers are in the tables of the earlier release, one row each",
            "once all nodes run this release, run `rollcall migrate-schema` as the owner of the tables",
        )),
        Err(error) => Some(failed("cannot tell which tables its numbers are in", &error)),
    }
}

fn unopened(shown: &str, error: &StoreError) -> Diagnosis {
    let text = format!("{shown}: {}", output::reasons(error));
    match error {
        StoreError::Older { .. } => Diagnosis::warning(
            CHECK,
            text,
            "keep a backup that the earlier release made; the next start of the server, or a command that may write, \
                 brings the database up to this schema",
        ),
        StoreError::Newer { .. } => {
            Diagnosis::error(CHECK, text, "install the newer release, or restore an older backup")
        }
        StoreError::Missing { .. } | StoreError::Empty { .. } => {
            Diagnosis::error(CHECK, text, "check --database and database in the settings")
        }
        StoreError::Unreachable { .. } => {
            Diagnosis::error(CHECK, text, "check that the database runs, its address, the network and the password")
        }
        _ => Diagnosis::error(CHECK, text, "correct what the message names, then run `rollcall doctor` again"),
    }
}

fn failed(what: &str, error: &StoreError) -> Diagnosis {
    Diagnosis::error(CHECK, format!("{what}: {}", output::reasons(error)), "run `rollcall verify`")
}

fn contents(store: &dyn Store, hooks: &mut Vec<Hook>) -> Result<Vec<Diagnosis>, StoreError> {
    let salvaged = replica::salvage(store, Load { only: None, numbers: false })?;
    let mut findings = Vec::new();
    let mut snapshots: Vec<_> = salvaged.snapshots.into_values().collect();
    snapshots.sort_by_key(|snapshot| snapshot.key);
    if snapshots.is_empty() && salvaged.poison.is_empty() {
        let advice = "create a partner with `rollcall partner create`; if there should be data, restore a backup";
        findings.push(Diagnosis::warning(CHECK, "it has no partners", advice));
    } else {
        findings.push(Diagnosis::ok(CHECK, format!("it has {} partners", snapshots.len())));
    }
    if !salvaged.poison.is_empty() {
        let advice = "run `rollcall verify`, which names the rows";
        findings.push(Diagnosis::error(CHECK, "it has rows that cannot be understood", advice));
    }
    for snapshot in &snapshots {
        let keys = snapshot.keys.iter().filter(|key| key.revoked_at.is_none()).count();
        if keys == 0 && snapshot.partner.suspended_at.is_none() {
            let id = &snapshot.partner.auth_id;
            let advice = format!("create one with `rollcall key create --partner {id}`, if programs use the API");
            findings.push(Diagnosis::warning(CHECK, format!("partner {id} has no API key"), advice));
        }
        let live = snapshot.settings.iter().filter(|setting| setting.removed_at.is_none());
        for (setting, webhook) in live.filter_map(|setting| Some((setting, setting.webhook()?))) {
            if webhook.off.is_none() && snapshot.partner.suspended_at.is_none() {
                let (partner, id) = (snapshot.partner.auth_id.clone(), setting.id.to_string());
                hooks.push(Hook { partner, id, url: webhook.url.to_string() });
            }
        }
    }
    Ok(findings)
}

/// This machine's clock, beside that of the database, the times of the log and
/// those of its file.
fn clock(config: &Config, store: &dyn Store) -> Diagnosis {
    const CHECK: &str = "clock";
    let advice = "set the clock and let it follow a time server (chrony, systemd-timesyncd): expiry is decided by it";
    let now = Time::now();
    let other = match store.clock() {
        Ok(other) => other,
        Err(error) => return failed("cannot ask for its clock", &error),
    };
    if let Some(other) = other {
        let apart = now.seconds() - other.seconds();
        let text = format!("this machine says {now}, the database {other}");
        return match apart.abs() > APART_MAX {
            true => Diagnosis::error(CHECK, format!("{text}: {} s apart", apart.abs()), advice),
            false => Diagnosis::ok(CHECK, text),
        };
    }
    let written = match &config.database {
        Location::Sqlite(path) => modified(path),
        Location::Postgres(_) => None,
    };
    let latest = [latest_change(store), written].into_iter().flatten().max();
    match latest {
        Some(latest) if latest.seconds() > now.seconds() + APART_MAX => Diagnosis::error(
            CHECK,
            format!("this machine says {now}, and the last change was at {latest}, later"),
            advice,
        ),
        Some(latest) => Diagnosis::ok(CHECK, format!("this machine says {now}, after the last change ({latest})")),
        None => machine_clock(),
    }
}

/// A clock that was never set shows a time before this program was made.
fn machine_clock() -> Diagnosis {
    const RELEASED: i64 = 1_767_225_600; // 2026-01-01
    let now = Time::now();
    match now.seconds() < RELEASED {
        true => Diagnosis::error("clock", format!("this machine says {now}"), "set the clock"),
        false => Diagnosis::ok("clock", format!("this machine says {now}; there is nothing to compare it with")),
    }
}

fn modified(path: &Path) -> Option<Time> {
    let since = std::fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Time::new(since.as_secs() as i64)
}

/// When the log's last entry was written.
fn latest_change(store: &dyn Store) -> Option<Time> {
    let heads = store.heads(true).ok().flatten()?;
    let last = |head: &store::LogHead| {
        let entries = store.entries(head.key, head.version.saturating_sub(1), 1).ok()?;
        entries.first().map(|(_, entry)| entry.at)
    };
    heads.iter().filter_map(last).max()
}
