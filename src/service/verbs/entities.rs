//! Accounts, applications and trunks: create, rename, archive, restore.
//!
//! They are never deleted, because numbers and history refer to them. An archived
//! account has no numbers; an archived application or trunk keeps the numbers that
//! route to it, because their calls would otherwise fail, and gets no new ones.

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::action::Assignment;
use crate::domain::change::Edit;
use crate::domain::field::code;
use crate::domain::{
    Account, AccountId, Action, Application, ApplicationId, Destination, Destinations, E164, EntityChange, FieldError,
    PartnerId, PartnerKey, RouteEntity, RouteKind, SipUri, State, Time, Trunk, TrunkId, Verb, id, nothing,
};
use crate::service::verbs::desk::NumberWriter;
use crate::service::verbs::rules::{self, ReferenceFault, Subject, Violation};
use crate::service::{Done, Service, ServiceError, VerbOutcome, WriteOutcome};
use crate::store::{Ownership, Transaction, WriteTarget};

/// What stands for the stored state of an entity or a setting in entity tags: a number
/// that changes with each of its fields.
pub fn state_tag(entity: &impl Serialize) -> u64 {
    let text = serde_json::to_vec(entity).expect("an entity serialises");
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest[..8].iter().fold(0, |tag, &byte| tag << 8 | u64::from(byte))
}

/// What shall be different about an account, an application or a trunk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EntityPatch {
    pub name: Option<Arc<str>>,
    pub archived: Option<bool>,
    /// The whole list. Accounts have none.
    pub destinations: Option<Destinations>,
    /// Of applications only; none inside takes it away.
    pub answer_url: Option<Option<Arc<str>>>,
}

/// Where the calls of a new application or trunk go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallTarget {
    pub destinations: Destinations,
    /// Of applications only.
    pub answer_url: Option<Arc<str>>,
}

impl EntityPatch {
    fn name(&self, before: &Arc<str>) -> Result<Arc<str>, ServiceError> {
        match self.name.as_ref().filter(|name| *name != before) {
            Some(name) => check_name(name).map(|()| name.clone()).map_err(|error| ServiceError::Invalid(vec![error])),
            None => Ok(before.clone()),
        }
    }

    /// Archiving what is archived keeps its time.
    fn archived_at(&self, before: Option<Time>, now: Time) -> Option<Time> {
        match self.archived {
            Some(true) => before.or(Some(now)),
            Some(false) => None,
            None => before,
        }
    }
}

impl Service {
    /// Creates an account, for a caller that has the partner's public id.
    pub fn account_create(
        &self,
        partner: &PartnerId,
        auth_id: AccountId,
        name: Arc<str>,
    ) -> Result<Done<Account>, ServiceError> {
        let key = self.partner_key(partner)?;
        self.write(WriteTarget::Partner(key), Verb::AccountCreate, |transaction| {
            create_account(transaction, &auth_id, &name)
        })
    }

    pub fn account_new(&self, key: PartnerKey, id: &AccountId, name: &Arc<str>) -> Result<WriteOutcome, ServiceError> {
        self.manage(key, Verb::AccountCreate, |transaction| {
            Ok(VerbOutcome::Account { account: create_account(transaction, id, name)?, created: true })
        })
    }

    /// Creates an account that has a number from the start: both, or neither.
    pub fn account_open(
        &self,
        key: PartnerKey,
        id: &AccountId,
        name: &Arc<str>,
        number: E164,
        to: &Assignment,
    ) -> Result<WriteOutcome, ServiceError> {
        let action = Action::Assign(Assignment { account: id.clone(), ..to.clone() });
        let done = self.manage(key, Verb::AccountCreate, |transaction| {
            let account = create_account(transaction, id, name)?;
            let mut desk = NumberWriter::new(transaction, key, &self.quarantine);
            let (before, _) = desk.find(number)?;
            desk.act(number, &before, &action)?;
            desk.flush()?;
            Ok(VerbOutcome::Account { account, created: true })
        });
        match done {
            Err(ServiceError::Conflict(conflict)) => Err(self.explain(key, *conflict)?),
            done => done,
        }
    }

    /// Renames an account, archives it, or brings it back. The numbers of an
    /// archived account are released: they go into quarantine, and what was
    /// reserved for it is available again.
    pub fn account_edit(
        &self,
        key: PartnerKey,
        id: &AccountId,
        changes: &EntityPatch,
    ) -> Result<WriteOutcome, ServiceError> {
        self.edit_account(key, id, changes, None)
    }

    /// Archives an account after the user confirmed how many numbers it releases;
    /// refused if that count has changed.
    pub fn account_archive(
        &self,
        key: PartnerKey,
        id: &AccountId,
        releases: u64,
    ) -> Result<WriteOutcome, ServiceError> {
        self.edit_account(key, id, &EntityPatch { archived: Some(true), ..EntityPatch::default() }, Some(releases))
    }

    fn edit_account(
        &self,
        key: PartnerKey,
        id: &AccountId,
        changes: &EntityPatch,
        releases: Option<u64>,
    ) -> Result<WriteOutcome, ServiceError> {
        self.manage(key, Verb::AccountEdit, |transaction| {
            let now = transaction.at();
            let unknown = || ServiceError::Unknown { what: "account", id: id.to_string() };
            let before = transaction.account(id)?.ok_or_else(unknown)?;
            self.expected.check("account", id.as_str(), state_tag(&before))?;
            let archived_at = changes.archived_at(before.archived_at, now);
            let after = Account { name: changes.name(&before.name)?, archived_at, ..before.clone() };
            if after == before {
                return Ok(VerbOutcome::Account { account: after, created: false });
            }
            transaction
                .put_entity(EntityChange::Account(Edit { before: Some(before.clone()), after: after.clone() }))?;
            let archives = before.archived_at.is_none() && after.archived_at.is_some();
            if archives {
                let has = transaction.has_numbers(id, now)?;
                let numbers = if has { transaction.numbers_of(id)? } else { Vec::new() };
                let holdings = transaction.numbers(&numbers)?;
                let mut desk = NumberWriter::new(transaction, key, &self.quarantine);
                let mut released = 0;
                for (number, holding) in numbers.into_iter().zip(holdings) {
                    let Ownership::Ours { record, .. } = holding else { continue };
                    let action = match record.as_of(now).state {
                        State::Active | State::Suspended => {
                            released += 1;
                            Action::Release { confirm_last: true }
                        }
                        State::Reserved => Action::Unreserve,
                        State::Available | State::Quarantined | State::Retired => continue,
                    };
                    desk.act(number, &record, &action)?;
                }
                if let Some(told) = releases.filter(|&told| told != released) {
                    let why =
                        format!("its numbers are no longer {told}, it has {released} now; nothing was done, so look again and archive it then");
                    return Err(ServiceError::Refused(why));
                }
                desk.flush()?;
            }
            Ok(VerbOutcome::Account { account: after, created: false })
        })
    }

    pub fn route_new(
        &self,
        key: PartnerKey,
        (kind, id): (RouteKind, &str),
        name: &Arc<str>,
        account: Option<&AccountId>,
        calls: &CallTarget,
    ) -> Result<WriteOutcome, ServiceError> {
        let verb = match kind {
            RouteKind::Application => Verb::ApplicationCreate,
            RouteKind::Trunk => Verb::TrunkCreate,
        };
        self.manage(key, verb, |transaction| {
            if find_route(transaction, kind, id)?.is_some() {
                return Err(ServiceError::Exists { what: kind.as_str(), id: id.to_owned() });
            }
            check_new(kind.id_field(), id, name)?;
            check_owner(transaction, account)?;
            let CallTarget { destinations, answer_url } = calls.clone();
            self.check_destinations(&Destinations::default(), &destinations)?;
            let (name, account) = (name.clone(), account.cloned());
            let (id, created_at, archived_at) = (id.into(), transaction.at(), None);
            let after = RouteEntity { kind, id, name, account, created_at, archived_at, destinations, answer_url };
            put_route(transaction, None, after, true)
        })
    }

    pub fn route_edit(
        &self,
        key: PartnerKey,
        route: (RouteKind, &str),
        changes: &EntityPatch,
    ) -> Result<WriteOutcome, ServiceError> {
        self.edit_route(key, route, |before, at| {
            let archived_at = changes.archived_at(before.archived_at, at);
            let destinations = self.edited(&before.destinations, changes)?;
            let answer_url = changes.answer_url.clone().unwrap_or_else(|| before.answer_url.clone());
            let name = changes.name(&before.name)?;
            Ok(RouteEntity { name, archived_at, destinations, answer_url, ..before.clone() })
        })
    }

    /// Changes the destinations of an application or a trunk as they are when it is
    /// done, so that two people who add one each lose none.
    pub fn route_destinations(
        &self,
        key: PartnerKey,
        route: (RouteKind, &str),
        edit: &DestinationEdit,
    ) -> Result<WriteOutcome, ServiceError> {
        self.edit_route(key, route, |before, _| {
            let destinations = edit.applied(&before.destinations)?;
            self.check_destinations(&before.destinations, &destinations)?;
            Ok(RouteEntity { destinations, ..before.clone() })
        })
    }

    fn edit_route(
        &self,
        key: PartnerKey,
        (kind, id): (RouteKind, &str),
        edit: impl Fn(&RouteEntity, Time) -> Result<RouteEntity, ServiceError> + Sync,
    ) -> Result<WriteOutcome, ServiceError> {
        let verb = match kind {
            RouteKind::Application => Verb::ApplicationEdit,
            RouteKind::Trunk => Verb::TrunkEdit,
        };
        self.manage(key, verb, |transaction| {
            let before = find_route(transaction, kind, id)?.ok_or_else(|| ServiceError::unknown(kind.as_str(), id))?;
            self.expected.check(kind.as_str(), id, route_tag(&before))?;
            let after = edit(&before, transaction.at())?;
            put_route(transaction, Some(before), after, false)
        })
    }

    /// The destinations after an edit.
    fn edited(&self, before: &Destinations, changes: &EntityPatch) -> Result<Destinations, ServiceError> {
        let Some(after) = &changes.destinations else { return Ok(before.clone()) };
        self.check_destinations(before, after)?;
        Ok(after.clone())
    }

    /// Gives many applications their destinations, in one change.
    pub fn applications_destinations(
        &self,
        key: PartnerKey,
        all: &[(ApplicationId, Destinations)],
    ) -> Result<(), ServiceError> {
        self.write(WriteTarget::Partner(key), Verb::ApplicationEdit, |transaction| {
            for (id, destinations) in all {
                let unknown = || ServiceError::Unknown { what: "application", id: id.to_string() };
                let before = transaction.application(id)?.ok_or_else(unknown)?;
                self.check_destinations(&before.destinations, destinations)?;
                let after = Application { destinations: destinations.clone(), ..before.clone() };
                transaction.put_entity(EntityChange::Application(Edit { before: Some(before), after }))?;
            }
            Ok(())
        })
        .map(drop)
    }
}

/// One change to a list of destinations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DestinationEdit {
    /// A URI that is there already gets the priority and the weight, where they
    /// are given.
    Add {
        uri: SipUri,
        priority: Option<u16>,
        weight: Option<u16>,
    },
    Remove(SipUri),
    Enable(SipUri, bool),
    /// A destination that is there gets another address, priority and weight.
    Replace {
        uri: SipUri,
        to: SipUri,
        priority: u16,
        weight: u16,
    },
}

impl DestinationEdit {
    fn applied(&self, before: &Destinations) -> Result<Destinations, ServiceError> {
        let mut all = before.as_slice().to_vec();
        let uri = match self {
            DestinationEdit::Add { uri, .. }
            | DestinationEdit::Remove(uri)
            | DestinationEdit::Enable(uri, _)
            | DestinationEdit::Replace { uri, .. } => uri,
        };
        let at = all.iter().position(|one| one.uri == *uri);
        match (self, at) {
            (DestinationEdit::Add { priority, weight, .. }, at) => {
                let at = at.unwrap_or_else(|| {
                    all.push(Destination::new(uri.clone()));
                    all.len() - 1
                });
                let one = &mut all[at];
                (one.priority, one.weight) = (priority.unwrap_or(one.priority), weight.unwrap_or(one.weight));
            }
            (DestinationEdit::Remove(_), Some(at)) => drop(all.remove(at)),
            (DestinationEdit::Enable(_, enabled), Some(at)) => all[at].enabled = *enabled,
            (DestinationEdit::Replace { to, priority, weight, .. }, Some(at)) => {
                all[at] =
                    Destination { uri: to.clone(), priority: *priority, weight: *weight, enabled: all[at].enabled };
            }
            (DestinationEdit::Remove(_) | DestinationEdit::Enable(..) | DestinationEdit::Replace { .. }, None) => {
                let list = if before.is_empty() { "it has none".to_owned() } else { format!("it has {before}") };
                return Err(ServiceError::Refused(format!("there is no destination {uri}; {list}")));
            }
        }
        Destinations::new(all).map_err(|error| {
            let error = FieldError::missing("destinations", code::OUT_OF_RANGE, error.to_string());
            ServiceError::Invalid(vec![error])
        })
    }
}

/// The [`state_tag`] of an application or a trunk.
fn route_tag(route: &RouteEntity) -> u64 {
    match route.kind {
        RouteKind::Application => state_tag(&Application::from(route.clone())),
        RouteKind::Trunk => state_tag(&Trunk::from(route.clone())),
    }
}

fn find_route(
    transaction: &mut dyn Transaction,
    kind: RouteKind,
    id: &str,
) -> Result<Option<RouteEntity>, ServiceError> {
    Ok(match kind {
        RouteKind::Application => transaction.application(&ApplicationId::stored(id))?.map(RouteEntity::from),
        RouteKind::Trunk => transaction.trunk(&TrunkId::stored(id))?.map(RouteEntity::from),
    })
}

/// Writes an application or a trunk, where anything is different about it.
fn put_route(
    transaction: &mut dyn Transaction,
    before: Option<RouteEntity>,
    after: RouteEntity,
    created: bool,
) -> Result<VerbOutcome, ServiceError> {
    let differs = before.as_ref() != Some(&after);
    let (change, shown) = match after.kind {
        RouteKind::Application => {
            let (before, application) = (before.map(Application::from), Application::from(after));
            let change = EntityChange::Application(Edit { before, after: application.clone() });
            (change, VerbOutcome::Application { application, created })
        }
        RouteKind::Trunk => {
            let (before, trunk) = (before.map(Trunk::from), Trunk::from(after));
            let change = EntityChange::Trunk(Edit { before, after: trunk.clone() });
            (change, VerbOutcome::Trunk { trunk, created })
        }
    };
    if differs {
        transaction.put_entity(change)?;
    }
    Ok(shown)
}

/// Refuses ids that nothing new can have, and names that say nothing.
pub(in crate::service) fn check_new(field: &str, id: &str, name: &str) -> Result<(), ServiceError> {
    let invalid = |field: &str, message: String, value: &str| FieldError::new(field, code::INVALID, message, value);
    let mut errors = Vec::new();
    if let Err(error) = id::check_new(id) {
        errors.push(invalid(field, error.to_string(), id));
    }
    errors.extend(check_name(name).err());
    if errors.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(errors)) }
}

/// Refuses a word for nothing as a name.
fn check_name(name: &str) -> Result<(), FieldError> {
    match nothing::certain(name) {
        true => Err(FieldError::new("name", code::INVALID, "is a word for nothing; give it a name", name)),
        false => Ok(()),
    }
}

fn create_account(transaction: &mut dyn Transaction, id: &AccountId, name: &Arc<str>) -> Result<Account, ServiceError> {
    if transaction.account(id)?.is_some() {
        return Err(ServiceError::Exists { what: "account", id: id.to_string() });
    }
    check_new("account_auth_id", id.as_str(), name)?;
    let created_at = transaction.at();
    let account = Account { auth_id: id.clone(), name: name.clone(), created_at, archived_at: None };
    transaction.put_entity(EntityChange::Account(Edit::created(account.clone())))?;
    Ok(account)
}

/// The account that a new application or trunk shall belong to.
fn check_owner(transaction: &mut dyn Transaction, account: Option<&AccountId>) -> Result<(), ServiceError> {
    let Some(id) = account else { return Ok(()) };
    let verdict = match transaction.account(id)? {
        None => Err(Violation { subject: Subject::Account, id: id.to_string(), fault: ReferenceFault::Unknown }),
        Some(account) => rules::check_account(&account),
    };
    verdict.map_err(|violation| ServiceError::Invalid(vec![violation.field_error()]))
}
