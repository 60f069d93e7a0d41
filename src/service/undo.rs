//! Undo: what a change did is put back, where nobody has touched it since.
//!
//! An undo is a change like any other, so it is in the log and can be undone.
//! It restores the image from before, to the letter: account, routing, status
//! and expiry. It decides number by number: one that somebody changed since
//! stays as it is, with the reason.
//! Deliberately absent: undoing what happened to partners and keys. A revoked
//! key must stay dead.

use std::collections::BTreeMap;

use super::desk::Desk;
use super::{Outcome, Service, ServiceError, Shown};
use crate::domain::change::Edit;
use crate::domain::{Actor, Change, E164, EntityChange, NumberChange, PartnerKey, Record, State, Time, Verb};
use crate::store::{Holding, Transaction};

/// How many refused numbers an answer names.
pub const REFUSED_MAX: usize = 100;

/// What an undo did.
#[derive(Clone, PartialEq, Debug)]
pub struct Undone {
    /// The version that was undone.
    pub of: u64,
    /// The version that the undo made.
    pub version: u64,
    /// How many numbers are as they were before.
    pub undone: u64,
    pub refused: u64,
    /// The first refused ones.
    pub rows: Vec<Refused>,
}

/// One number that an undo left as it is.
#[derive(Clone, PartialEq, Debug)]
pub struct Refused {
    pub number: E164,
    pub reason: String,
    /// Who changed it since, and when.
    pub by: Option<Actor>,
    pub at: Option<Time>,
}

/// Why one number is not put back.
pub(super) enum Reason {
    /// Another version has changed it since.
    Changed,
    Other(&'static str),
}

impl Service {
    /// Undoes one change of the log.
    pub fn undo(&self, key: PartnerKey, version: u64) -> Result<Outcome, ServiceError> {
        let unknown = || ServiceError::Unknown { what: "change", id: version.to_string() };
        let before = version.checked_sub(1).ok_or_else(unknown)?;
        let mut log = self.store().log(key, before, 1)?;
        let change = log.pop().filter(|logged| logged.change.version == version).ok_or_else(unknown)?.change;
        if !undoable(change.verb) {
            return Err(ServiceError::Refused(format!("a {} cannot be undone", change.verb)));
        }
        self.manage(key, Verb::Undo, |transaction| {
            let mut refused: BTreeMap<E164, Reason> = BTreeMap::new();
            let made = transaction.version();
            let entities = undo_entities(transaction, &change)?;
            let mut desk = Desk::new(transaction, key, &self.quarantine);
            let mut undone = 0;
            for step in change.numbers.chunks(super::desk::STEP) {
                let numbers: Vec<E164> = step.iter().map(|change| change.number).collect();
                let holdings = desk.transaction.numbers(&numbers)?;
                for (edit, holding) in step.iter().zip(holdings) {
                    match put_back(&mut desk, edit, holding, version)? {
                        Ok(()) => undone += 1,
                        Err(reason) => {
                            refused.insert(edit.number, reason);
                        }
                    }
                }
                desk.flush()?;
            }
            let count = refused.len() as u64;
            let rows = self.explain_refused(key, refused)?;
            if undone == 0 && !entities {
                return Err(ServiceError::NotUndone { version, rows });
            }
            Ok(Shown::Undone(Undone { of: version, version: made, undone, refused: count, rows }))
        })
    }

    /// The first refused numbers, with who changed them since.
    fn explain_refused(&self, key: PartnerKey, refused: BTreeMap<E164, Reason>) -> Result<Vec<Refused>, ServiceError> {
        let mut rows = Vec::new();
        for (number, reason) in refused.into_iter().take(REFUSED_MAX) {
            let last = match reason {
                Reason::Changed => self.store().history(key, number)?.pop(),
                Reason::Other(_) => None,
            };
            let reason = match (reason, &last) {
                (Reason::Other(reason), _) => reason.to_owned(),
                (Reason::Changed, Some(last)) => {
                    format!("changed since, by {} ({}) at version {}", last.entry.actor, last.entry.verb, last.version)
                }
                (Reason::Changed, None) => "changed since".to_owned(),
            };
            let by = last.as_ref().map(|last| last.entry.actor.clone());
            rows.push(Refused { number, reason, by, at: last.map(|last| last.entry.at) });
        }
        Ok(rows)
    }
}

/// Whether a change of this kind can be undone at all.
pub fn undoable(verb: Verb) -> bool {
    match verb {
        Verb::PartnerCreate
        | Verb::PartnerSuspend
        | Verb::PartnerResume
        | Verb::KeyCreate
        | Verb::KeyRevoke
        | Verb::Acknowledge
        | Verb::WebhookCreate
        | Verb::WebhookEdit
        | Verb::WebhookRemove
        | Verb::ScheduleCreate
        | Verb::ScheduleEdit
        | Verb::ScheduleRemove
        | Verb::SettingsEdit
        | Verb::Sync => false,
        Verb::AccountCreate
        | Verb::Import
        | Verb::Stock
        | Verb::Assign
        | Verb::Release
        | Verb::Suspend
        | Verb::Resume
        | Verb::Route
        | Verb::Renew
        | Verb::Reserve
        | Verb::Unreserve
        | Verb::Retire
        | Verb::Tag
        | Verb::Cost
        | Verb::AccountEdit
        | Verb::ApplicationCreate
        | Verb::ApplicationEdit
        | Verb::TrunkCreate
        | Verb::TrunkEdit
        | Verb::Undo => true,
    }
}

/// Puts one number back as it was before `edit`, which `version` made.
pub(super) fn put_back(
    desk: &mut Desk<'_>,
    edit: &NumberChange,
    holding: Holding,
    version: u64,
) -> Result<Result<(), Reason>, ServiceError> {
    let now = desk.transaction.at();
    let current = match (&edit.after, holding) {
        (Some(_), Holding::Ours { record, version: at }) if at == version => Some(record),
        (None, Holding::Free) => None,
        (None, Holding::Foreign) => return Ok(Err(Reason::Other("the number is no longer free"))),
        (_, _) => return Ok(Err(Reason::Changed)),
    };
    if let Some(record) = &current
        && record.state == State::Quarantined
        && record.as_of(now).state == State::Available
    {
        return Ok(Err(Reason::Other("its quarantine has ended")));
    }
    if let Some(before) = &edit.before
        && let Some(reason) = dangling(desk, before)?
    {
        return Ok(Err(Reason::Other(reason)));
    }
    desk.put(NumberChange { number: edit.number, before: current, after: edit.before.clone() });
    Ok(Ok(()))
}

/// Why a record cannot be restored, if what it refers to has gone.
fn dangling(desk: &mut Desk<'_>, record: &Record) -> Result<Option<&'static str>, ServiceError> {
    let Some(id) = &record.account else { return Ok(None) };
    let archived = desk.account(id)?.is_none_or(|account| account.archived_at.is_some());
    Ok(archived.then_some("its account is archived"))
}

/// Puts accounts, applications and trunks back that are as the change left
/// them; one that it created stays, archived if that was all it did. Returns
/// whether any is different now.
fn undo_entities(transaction: &mut dyn Transaction, change: &Change) -> Result<bool, ServiceError> {
    let now = transaction.at();
    let created = matches!(change.verb, Verb::AccountCreate | Verb::ApplicationCreate | Verb::TrunkCreate);
    let mut any = false;
    for entity in change.entities.iter().rev() {
        let put = match entity {
            EntityChange::Account(edit) => transaction
                .account(&edit.after.auth_id)?
                .filter(|current| *current == edit.after)
                .zip(restored(edit, created, |mut account| {
                    account.archived_at = Some(now);
                    account
                }))
                .map(|(current, after)| EntityChange::Account(Edit { before: Some(current), after })),
            EntityChange::Application(edit) => transaction
                .application(&edit.after.id)?
                .filter(|current| *current == edit.after)
                .zip(restored(edit, created, |mut application| {
                    application.archived_at = Some(now);
                    application
                }))
                .map(|(current, after)| EntityChange::Application(Edit { before: Some(current), after })),
            EntityChange::Trunk(edit) => transaction
                .trunk(&edit.after.id)?
                .filter(|current| *current == edit.after)
                .zip(restored(edit, created, |mut trunk| {
                    trunk.archived_at = Some(now);
                    trunk
                }))
                .map(|(current, after)| EntityChange::Trunk(Edit { before: Some(current), after })),
            EntityChange::Partner(_)
            | EntityChange::Key(_)
            | EntityChange::Acknowledgement(_)
            | EntityChange::Setting(_) => None,
        };
        if let Some(put) = put {
            if let EntityChange::Account(edit) = &put
                && edit.before.as_ref().is_some_and(|before| before.archived_at.is_none())
                && edit.after.archived_at.is_some()
                && transaction.has_numbers(&edit.after.auth_id, now)?
            {
                let id = &edit.after.auth_id;
                return Err(ServiceError::Refused(format!("account {id} has numbers; release them first")));
            }
            transaction.put_entity(put)?;
            any = true;
        }
    }
    Ok(any)
}

/// What an undone edit leaves.
fn restored<T: Clone>(edit: &Edit<T>, created: bool, archive: impl FnOnce(T) -> T) -> Option<T> {
    match &edit.before {
        Some(before) => Some(before.clone()),
        None => created.then(|| archive(edit.after.clone())),
    }
}
