//! A rehearsal: the file is applied to a temporary database that has the same
//! partners, entities and users, so the real rules judge the whole file before
//! the real database changes.
//!
//! Deliberately absent: numbers. No line of the file changes one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cli::CliError;
use crate::domain::change::Edit;
use crate::domain::{EntityChange, PartnerId, PartnerKey, Time, Verb};
use crate::inventory::Snapshot;
use crate::service::Service;
use crate::service::replica;
use crate::store::people::StoredUser;
use crate::store::sqlite::SqliteStore;
use crate::store::{Decision, Done, Load, LogEntry, Open, Store, StoreError, WriteTarget};

/// A temporary database; it is deleted on drop.
pub struct Rehearsal {
    pub store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

impl Rehearsal {
    /// With everything that the real database has; without one, empty.
    pub fn of(real: Option<&Service>) -> Result<Rehearsal, CliError> {
        let failed = |source| CliError::Io { what: "cannot create a temporary folder".to_owned(), source };
        let folder = tempfile::tempdir().map_err(failed)?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("rehearsal.db"), Open::Create)?);
        let Some(real) = real else { return Ok(Rehearsal { store, _folder: folder }) };
        let mut snapshots: Vec<Snapshot> =
            replica::load(&**real.store(), Load { only: None, numbers: false })?.into_values().collect();
        snapshots.sort_by_key(|snapshot| snapshot.key);
        let mut keys = HashMap::new();
        for snapshot in &snapshots {
            keys.insert(snapshot.key, seed(&*store, real, snapshot)?);
        }
        users(&*store, real, &keys)?;
        Ok(Rehearsal { store, _folder: folder })
    }
}

/// Writes a partner with its entities.
fn seed(store: &dyn Store, real: &Service, snapshot: &Snapshot) -> Result<PartnerKey, CliError> {
    let id: &PartnerId = &snapshot.partner.auth_id;
    let entry = LogEntry {
        at: Time::now(),
        actor: real.actor().clone(),
        request_id: None,
        verb: Verb::PartnerCreate,
        from: None,
    };
    let seeded: Result<Done<()>, StoreError> = store.draft(WriteTarget::New(id.clone()), entry, |transaction| {
        transaction.put_entity(EntityChange::Partner(Edit::created((*snapshot.partner).clone())))?;
        for one in snapshot.accounts.sorted() {
            transaction.put_entity(EntityChange::Account(Edit::created(one.clone())))?;
        }
        for one in snapshot.applications.sorted() {
            transaction.put_entity(EntityChange::Application(Edit::created(one.clone())))?;
        }
        for one in snapshot.trunks.sorted() {
            transaction.put_entity(EntityChange::Trunk(Edit::created(one.clone())))?;
        }
        for one in snapshot.keys.sorted() {
            transaction.put_entity(EntityChange::Key(Edit::created(one.clone())))?;
        }
        for one in snapshot.settings.iter() {
            transaction.put_entity(EntityChange::Setting(Edit::created(one.clone())))?;
        }
        Ok(Decision::Commit(()))
    });
    seeded?;
    let missing = || StoreError::Corrupt { what: format!("the partner {id} of a rehearsal") };
    Ok(store.partner(id)?.ok_or_else(missing)?)
}

fn users(store: &dyn Store, real: &Service, keys: &HashMap<PartnerKey, PartnerKey>) -> Result<(), CliError> {
    let mut all = real.store().read_people(|people| people.users(None))?;
    for user in &mut all {
        user.partner = user.partner.and_then(|key| keys.get(&key).copied());
    }
    let seeded: Result<(), StoreError> = store.draft_people(|people| {
        for user in &all {
            // Rules ask whether a password is set, and not for the password.
            let password = user.password_set.then(|| "rehearsal".to_owned());
            people.put_user(&StoredUser { user: user.clone(), password, totp: None, totp_offer: None })?;
        }
        Ok(())
    });
    Ok(seeded?)
}
