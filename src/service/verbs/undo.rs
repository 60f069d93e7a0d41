//! Undo: restores the values before a change, except for numbers that were changed
//! since.
//!
//! An undo is a change like any other, so it is in the log and can be undone.
//! It restores the earlier image exactly: account, routing, status and expiry. It
//! decides number by number: a number that was changed since stays as it is, with
//! the reason.
//!
//! The last step is undone first. A customer that was created with its first number
//! loses the number and is then archived; an archived customer is restored before
//! it gets its numbers again. An entity that would be archived and is in use by a
//! later change stays, with the reason.
//! Deliberately absent: undoing changes of partners and keys. A revoked key must
//! stay revoked.

use std::collections::{BTreeMap, HashMap};

use crate::domain::change::Edit;
use crate::domain::{
    Account, Actor, Application, Destinations, E164, EntityChange, FieldError, NumberRun, PartnerKey, RunChange, State,
    Time, Trunk, Verb,
};
use crate::service::verbs::desk::NumberWriter;
use crate::service::{Service, ServiceError, VerbOutcome, WriteOutcome};
use crate::store::{LogPiece, Ownership, RoutesInUse, Transaction, follow};

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
    pub rows: Vec<RefusedUndo>,
    /// Accounts, applications and trunks that stay as they are, and why: a
    /// sentence for each.
    pub stays: Vec<String>,
}

/// One number that an undo left as it is.
#[derive(Clone, PartialEq, Debug)]
pub struct RefusedUndo {
    pub number: E164,
    pub reason: String,
    /// Who changed it since, and when.
    pub by: Option<Actor>,
    pub at: Option<Time>,
}

/// Why one number is not put back.
#[derive(Clone)]
pub(in crate::service) enum Reason {
    /// Another version has changed it since.
    Changed,
    Other(String),
}

impl Service {
    /// Undoes one change of the log.
    pub fn undo(&self, key: PartnerKey, version: u64) -> Result<WriteOutcome, ServiceError> {
        let unknown = || ServiceError::Unknown { what: "change", id: version.to_string() };
        let before = version.checked_sub(1).ok_or_else(unknown)?;
        self.manage(key, Verb::Undo, |transaction| {
            let made = transaction.version();
            let mut putting = Putting { version, ..Putting::default() };
            let mut entities = None;
            // The log is read again while the transaction is open, so that no
            // more than a piece of it is in memory.
            follow(&**self.store(), key, (before, version), |piece| match piece {
                LogPiece::Entry { entry, entities: edits, .. } => {
                    if !undoable(entry.verb) {
                        return Err(ServiceError::Refused(format!(
                            "version {version} ({}) is of a kind that cannot be undone",
                            entry.verb
                        )));
                    }
                    let refused = |from: &_, to: &_| self.refused_destinations(from, to);
                    entities = Some(EntityEdits::begun(transaction, &edits, &refused)?);
                    Ok(())
                }
                LogPiece::Numbers(runs) => {
                    putting.runs(&mut NumberWriter::new(transaction, key, &self.quarantine), &runs)
                }
                LogPiece::End { .. } => Ok(()),
            })?;
            let EntityEdits { archived, mut stays, mut any, .. } = entities.ok_or_else(unknown)?;
            any |= archive(transaction, archived, &mut stays)?;
            let Putting { undone, refused, first, .. } = putting;
            let rows = self.explain_refused(key, first)?;
            if undone == 0 && !any {
                return Err(ServiceError::NotUndone { version, rows, stays });
            }
            Ok(VerbOutcome::Undone(Undone { of: version, version: made, undone, refused, rows, stays }))
        })
    }

    /// Why an undo may not put destinations back: what was allowed then may be refused
    /// today.
    fn refused_destinations(&self, from: &Destinations, to: &Destinations) -> Option<String> {
        let errors = match self.check_destinations(from, to) {
            Err(ServiceError::Invalid(errors)) if from != to => errors,
            _ => return None,
        };
        let why = |error: &FieldError| {
            format!("the destination {} {}", error.value.as_deref().unwrap_or_default(), error.message)
        };
        Some(errors.iter().map(why).collect::<Vec<_>>().join("; "))
    }

    /// Refused numbers with who changed them since.
    fn explain_refused(
        &self,
        key: PartnerKey,
        refused: BTreeMap<E164, Reason>,
    ) -> Result<Vec<RefusedUndo>, ServiceError> {
        let mut rows = Vec::new();
        for (number, reason) in refused {
            let last = match &reason {
                Reason::Changed => self.store().history(key, number)?.pop(),
                Reason::Other(_) => None,
            };
            let reason = match (reason, &last) {
                (Reason::Other(reason), _) => reason,
                (Reason::Changed, Some(last)) => {
                    format!("changed since, by {} ({}) at version {}", last.entry.actor, last.entry.verb, last.version)
                }
                (Reason::Changed, None) => "changed since".to_owned(),
            };
            let by = last.as_ref().map(|last| last.entry.actor.clone());
            rows.push(RefusedUndo { number, reason, by, at: last.map(|last| last.entry.at) });
        }
        Ok(rows)
    }
}

/// The numbers of a change while they are put back.
#[derive(Default)]
struct Putting {
    version: u64,
    undone: u64,
    refused: u64,
    /// The first refused ones.
    first: BTreeMap<E164, Reason>,
}

impl Putting {
    fn runs(&mut self, desk: &mut NumberWriter<'_>, edits: &[RunChange]) -> Result<(), ServiceError> {
        let wanted: Vec<NumberRun> = edits.iter().map(RunChange::run).collect();
        let owned = desk.transaction.owners(&wanted)?;
        let mut owned = owned.into_iter().peekable();
        for edit in edits {
            let mut next = edit.first.digits();
            while let Some(here) = owned.peek().filter(|_| next < edit.next()) {
                let end = here.run.last().digits().min(edit.next() - 1);
                if let Some(run) = NumberRun::between(next, end) {
                    self.run(desk, &edit.of(run), here.owner.clone())?;
                }
                next = end + 1;
                owned.next_if(|here| here.run.last().digits() < next);
            }
        }
        desk.flush()
    }

    /// Numbers of one owner that changed alike.
    fn run(&mut self, desk: &mut NumberWriter<'_>, edit: &RunChange, owner: Ownership) -> Result<(), ServiceError> {
        match put_back(desk, edit, owner, self.version)? {
            Ok(()) => self.undone += edit.count,
            Err(reason) => {
                self.refused += edit.count;
                let first = edit.run().numbers().take(REFUSED_MAX + 1);
                self.first.extend(first.map(|number| (number, reason.clone())));
                while self.first.len() > REFUSED_MAX {
                    self.first.pop_last();
                }
            }
        }
        Ok(())
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
        | Verb::Transfer
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

/// Puts numbers of one owner back as they were before `edit`, which `version` made.
pub(in crate::service) fn put_back(
    desk: &mut NumberWriter<'_>,
    edit: &RunChange,
    holding: Ownership,
    version: u64,
) -> Result<Result<(), Reason>, ServiceError> {
    let now = desk.transaction.at();
    let current = match (&edit.after, holding) {
        (Some(_), Ownership::Ours { record, version: at }) if at == version => Some(record),
        (None, Ownership::Free) => None,
        (None, Ownership::Foreign) => return Ok(Err(Reason::Other("the number is no longer free".to_owned()))),
        (_, _) => return Ok(Err(Reason::Changed)),
    };
    if let Some(record) = &current
        && record.state == State::Quarantined
        && record.as_of(now).state == State::Available
    {
        return Ok(Err(Reason::Other("its quarantine has ended".to_owned())));
    }
    if let Some(before) = &edit.before {
        let broken = desk.judge(current.as_ref(), before)?;
        if !broken.is_empty() {
            let reasons: Vec<String> = broken.iter().map(ToString::to_string).collect();
            return Ok(Err(Reason::Other(reasons.join("; "))));
        }
    }
    desk.put(RunChange { before: current, after: edit.before.clone(), ..edit.clone() });
    Ok(Ok(()))
}

/// Why destinations may not become others, if they may not.
type RefusedDestinations<'r> = &'r dyn Fn(&Destinations, &Destinations) -> Option<String>;

/// Whether an entity is archived, and why one may not become another, if it may not.
type UndoRules<'r, T> = (&'r dyn Fn(&T) -> bool, &'r dyn Fn(&T, &T) -> Option<String>);

/// What an undo does to accounts, applications and trunks.
struct EntityEdits {
    /// Done before the numbers: names, and what comes back from the archive.
    restored: Vec<EntityChange>,
    /// Whether any of these is done.
    any: bool,
    /// Done after them: what goes into the archive, the last created first.
    archived: Vec<EntityChange>,
    /// What stays, and why.
    stays: Vec<String>,
}

impl EntityEdits {
    /// Nothing is ever deleted, so what a change created goes into the archive. What is
    /// put back may be refused today, as destinations are: `refused` says why.
    fn of(
        transaction: &mut dyn Transaction,
        entities: &[EntityChange],
        refused: RefusedDestinations<'_>,
    ) -> Result<EntityEdits, ServiceError> {
        let at = transaction.at();
        let (restored, archived, stays) = Default::default();
        let mut edits = EntityEdits { restored, any: false, archived, stays };
        for entity in whole_edits(entities).iter().rev() {
            match entity {
                EntityChange::Account(edit) => {
                    let id = &edit.after.auth_id;
                    let current = transaction.account(id)?;
                    let undone = Account { archived_at: Some(at), ..edit.after.clone() };
                    let ends = |account: &Account| account.archived_at.is_some();
                    let fits = |_: &Account, _: &Account| None;
                    edits.add(("account", id.as_str()), edit, current, undone, (&ends, &fits), EntityChange::Account);
                }
                EntityChange::Application(edit) => {
                    let id = &edit.after.id;
                    let current = transaction.application(id)?;
                    let undone = Application { archived_at: Some(at), ..edit.after.clone() };
                    let ends = |application: &Application| application.archived_at.is_some();
                    let fits = |from: &Application, to: &Application| refused(&from.destinations, &to.destinations);
                    let judges: UndoRules<'_, Application> = (&ends, &fits);
                    edits.add(("application", id.as_str()), edit, current, undone, judges, EntityChange::Application);
                }
                EntityChange::Trunk(edit) => {
                    let id = &edit.after.id;
                    let current = transaction.trunk(id)?;
                    let undone = Trunk { archived_at: Some(at), ..edit.after.clone() };
                    let ends = |trunk: &Trunk| trunk.archived_at.is_some();
                    let fits = |from: &Trunk, to: &Trunk| refused(&from.destinations, &to.destinations);
                    edits.add(("trunk", id.as_str()), edit, current, undone, (&ends, &fits), EntityChange::Trunk);
                }
                EntityChange::Partner(_)
                | EntityChange::Key(_)
                | EntityChange::Acknowledgement(_)
                | EntityChange::Setting(_) => {}
            }
        }
        Ok(edits)
    }

    /// The same, once what comes before the numbers is done.
    fn begun(
        transaction: &mut dyn Transaction,
        entities: &[EntityChange],
        refused: RefusedDestinations<'_>,
    ) -> Result<EntityEdits, ServiceError> {
        let mut edits = EntityEdits::of(transaction, entities, refused)?;
        for edit in std::mem::take(&mut edits.restored) {
            transaction.put_entity(edit)?;
            edits.any = true;
        }
        Ok(edits)
    }

    /// `archived` is what an entity becomes that the change created.
    fn add<T: Clone + PartialEq>(
        &mut self,
        (kind, id): (&str, &str),
        edit: &Edit<T>,
        current: Option<T>,
        archived: T,
        (ends, refused): UndoRules<'_, T>,
        put: impl Fn(Edit<T>) -> EntityChange,
    ) {
        let Some(current) = current.filter(|current| *current == edit.after) else {
            self.stays.push(format!("{kind} {id} stays: it was changed since"));
            return;
        };
        let after = edit.before.clone().unwrap_or(archived);
        if let Some(why) = refused(&current, &after) {
            self.stays.push(format!("{kind} {id} stays: {why}"));
            return;
        }
        let into = if ends(&after) && !ends(&current) { &mut self.archived } else { &mut self.restored };
        into.push(put(Edit { before: Some(current), after }));
    }
}

/// What a change did to each account, application and trunk in all: one that it
/// created and then named is one edit.
fn whole_edits(entities: &[EntityChange]) -> Vec<EntityChange> {
    let mut whole: Vec<EntityChange> = Vec::new();
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    for entity in entities {
        let place = match entity {
            EntityChange::Account(edit) => ("account", edit.after.auth_id.as_str()),
            EntityChange::Application(edit) => ("application", edit.after.id.as_str()),
            EntityChange::Trunk(edit) => ("trunk", edit.after.id.as_str()),
            EntityChange::Partner(_)
            | EntityChange::Key(_)
            | EntityChange::Acknowledgement(_)
            | EntityChange::Setting(_) => continue,
        };
        let at = *places.entry(place).or_insert(whole.len());
        match (whole.get_mut(at), entity) {
            (Some(EntityChange::Account(first)), EntityChange::Account(edit)) => first.after = edit.after.clone(),
            (Some(EntityChange::Application(first)), EntityChange::Application(edit)) => {
                first.after = edit.after.clone();
            }
            (Some(EntityChange::Trunk(first)), EntityChange::Trunk(edit)) => first.after = edit.after.clone(),
            (_, entity) => whole.push(entity.clone()),
        }
    }
    whole
}

/// Archives what no number uses, and says of the rest why it stays. Returns
/// whether anything was archived.
fn archive(
    transaction: &mut dyn Transaction,
    edits: Vec<EntityChange>,
    stays: &mut Vec<String>,
) -> Result<bool, ServiceError> {
    let at = transaction.at();
    let mut used = None;
    let mut any = false;
    for edit in edits {
        let reason = match &edit {
            EntityChange::Account(Edit { after, .. }) => transaction
                .has_numbers(&after.auth_id, at)?
                .then(|| format!("account {} stays: it has numbers; release them first", after.auth_id)),
            EntityChange::Application(Edit { after, .. }) => routes(&mut used, transaction)?
                .applications
                .contains(&after.id)
                .then(|| format!("application {} stays: numbers route to it", after.id)),
            EntityChange::Trunk(Edit { after, .. }) => routes(&mut used, transaction)?
                .trunks
                .contains(&after.id)
                .then(|| format!("trunk {} stays: numbers are on it", after.id)),
            EntityChange::Partner(_)
            | EntityChange::Key(_)
            | EntityChange::Acknowledgement(_)
            | EntityChange::Setting(_) => None,
        };
        match reason {
            Some(reason) => stays.push(reason),
            None => {
                transaction.put_entity(edit)?;
                any = true;
            }
        }
    }
    Ok(any)
}

/// Read once, and only if it is asked for.
fn routes<'a>(
    used: &'a mut Option<RoutesInUse>,
    transaction: &mut dyn Transaction,
) -> Result<&'a RoutesInUse, ServiceError> {
    if used.is_none() {
        *used = Some(transaction.routes_in_use()?);
    }
    Ok(used.get_or_insert_default())
}
