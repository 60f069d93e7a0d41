//! Which numbers an account, an application and a trunk may get: one set of
//! rules for every writer, be it a verb, an import or a sync.
//!
//! - An archived account gets no numbers, nor does an archived application or
//!   trunk.
//! - An application or a trunk serves the account that it belongs to; without
//!   one it serves all accounts of the partner.
//!
//! [`judge`] compares a number before and after a write, and judges what is new: a
//! number keeps its account and route, even if they were archived since. With a new
//! holder, all of the number counts as new.
//!
//! Deliberately absent: states ([`crate::domain::action`]), and ids that the partner
//! does not have: the verbs refuse them; import and sync create them.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use crate::domain::field::code;
use crate::domain::{Account, AccountId, Application, ApplicationId, FieldError, Record, Time, Trunk, TrunkId};
use crate::store::{PartnerReads, StoreError};

/// What a number refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::service) enum Subject {
    Account,
    Application,
    Trunk,
}

/// Why a number may not refer to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::service) enum ReferenceFault {
    Unknown,
    Archived,
    /// It belongs to this account, which is not the number's.
    Owned(AccountId),
}

/// One rule that a write would break.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::service) struct Violation {
    pub subject: Subject,
    pub id: String,
    pub fault: ReferenceFault,
}

impl Subject {
    /// Our name of the field, in bodies and in files.
    pub fn field(self) -> &'static str {
        match self {
            Subject::Account => "account_auth_id",
            Subject::Application => "application_id",
            Subject::Trunk => "trunk_id",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Subject::Account => "account",
            Subject::Application => "application",
            Subject::Trunk => "trunk",
        }
    }
}

impl Violation {
    /// What is wrong, to be read after the field's name. The words are the same
    /// for a foreign id and for one that does not exist.
    pub fn message(&self) -> &'static str {
        match self.fault {
            ReferenceFault::Unknown => "is not one of yours",
            ReferenceFault::Archived => "is archived",
            ReferenceFault::Owned(_) => "belongs to another account",
        }
    }

    pub fn field_error(&self) -> FieldError {
        let code = if self.fault == ReferenceFault::Unknown { code::UNKNOWN } else { code::CONFLICT };
        FieldError::new(self.subject.field(), code, self.message(), &self.id)
    }
}

/// A sentence of its own, for an answer that names the field nowhere else.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { subject, id, fault } = self;
        let subject = subject.word();
        match fault {
            ReferenceFault::Unknown => write!(f, "{subject} {id} is not one of yours"),
            ReferenceFault::Archived => write!(f, "{subject} {id} is archived"),
            ReferenceFault::Owned(owner) => write!(f, "{subject} {id} belongs to account {owner}"),
        }
    }
}

/// The entities that a record refers to, as the transaction sees them; `None`
/// for what it does not refer to or what is yet to be created.
#[derive(Clone, Copy, Default)]
pub(in crate::service) struct Referents<'a> {
    pub account: Option<&'a Account>,
    pub application: Option<&'a Application>,
    pub trunk: Option<&'a Trunk>,
}

/// Which rules a number would break by becoming `after`. Empty: it may.
pub(in crate::service) fn judge(before: Option<&Record>, after: &Record, referents: &Referents<'_>) -> Vec<Violation> {
    let holder = after.holder();
    let moves = before.and_then(Record::holder) != holder;
    let account =
        referents.account.filter(|_| moves || before.and_then(|it| it.account.as_ref()) != after.account.as_ref());
    let application = referents
        .application
        .filter(|_| moves || before.and_then(|it| it.application.as_ref()) != after.application.as_ref());
    let trunk = referents.trunk.filter(|_| moves || before.and_then(|it| it.trunk.as_ref()) != after.trunk.as_ref());
    let verdicts = [
        account.map(check_account),
        application.map(|application| check_application(application, holder)),
        trunk.map(|trunk| check_trunk(trunk, holder)),
    ];
    verdicts.into_iter().flatten().filter_map(Result::err).collect()
}

pub(in crate::service) fn check_account(account: &Account) -> Result<(), Violation> {
    check(Subject::Account, account.auth_id.as_str(), account.archived_at, None, None)
}

/// Whether numbers of `holder` may route to it.
pub(in crate::service) fn check_application(
    application: &Application,
    holder: Option<&AccountId>,
) -> Result<(), Violation> {
    let Application { id, archived_at, account, .. } = application;
    check(Subject::Application, id.as_str(), *archived_at, account.as_ref(), holder)
}

/// Whether numbers of `holder` may be on it.
pub(in crate::service) fn check_trunk(trunk: &Trunk, holder: Option<&AccountId>) -> Result<(), Violation> {
    let Trunk { id, archived_at, account, .. } = trunk;
    check(Subject::Trunk, id.as_str(), *archived_at, account.as_ref(), holder)
}

fn check(
    subject: Subject,
    id: &str,
    archived_at: Option<Time>,
    owner: Option<&AccountId>,
    holder: Option<&AccountId>,
) -> Result<(), Violation> {
    let fault = match owner {
        _ if archived_at.is_some() => ReferenceFault::Archived,
        Some(owner) if holder != Some(owner) => ReferenceFault::Owned(owner.clone()),
        Some(_) | None => return Ok(()),
    };
    Err(Violation { subject, id: id.to_owned(), fault })
}

/// The entities that a transaction was asked for, each once.
#[derive(Default)]
pub(in crate::service) struct EntityCache {
    accounts: HashMap<AccountId, Option<Account>>,
    applications: HashMap<ApplicationId, Option<Application>>,
    trunks: HashMap<TrunkId, Option<Trunk>>,
}

impl EntityCache {
    pub fn account(&mut self, from: &mut dyn PartnerReads, id: &AccountId) -> Result<Option<&Account>, StoreError> {
        known(&mut self.accounts, id, || from.account(id))
    }

    pub fn application(
        &mut self,
        from: &mut dyn PartnerReads,
        id: &ApplicationId,
    ) -> Result<Option<&Application>, StoreError> {
        known(&mut self.applications, id, || from.application(id))
    }

    pub fn trunk(&mut self, from: &mut dyn PartnerReads, id: &TrunkId) -> Result<Option<&Trunk>, StoreError> {
        known(&mut self.trunks, id, || from.trunk(id))
    }

    /// [`judge`] with what the record refers to looked up.
    pub fn judge(
        &mut self,
        from: &mut dyn PartnerReads,
        before: Option<&Record>,
        after: &Record,
    ) -> Result<Vec<Violation>, StoreError> {
        let account =
            after.account.as_ref().map_or(Ok(None), |id| known(&mut self.accounts, id, || from.account(id)))?;
        let application = after
            .application
            .as_ref()
            .map_or(Ok(None), |id| known(&mut self.applications, id, || from.application(id)))?;
        let trunk = after.trunk.as_ref().map_or(Ok(None), |id| known(&mut self.trunks, id, || from.trunk(id)))?;
        Ok(judge(before, after, &Referents { account, application, trunk }))
    }
}

fn known<'a, I: Clone + Eq + Hash, T>(
    kept: &'a mut HashMap<I, Option<T>>,
    id: &I,
    ask: impl FnOnce() -> Result<Option<T>, StoreError>,
) -> Result<Option<&'a T>, StoreError> {
    if !kept.contains_key(id) {
        kept.insert(id.clone(), ask()?);
    }
    Ok(kept.get(id).and_then(Option::as_ref))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NumberType, State, Tags};

    fn time() -> Time {
        Time::new(1_770_000_000).expect("a time")
    }

    fn id<I: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> I {
        text.parse().expect("an id")
    }

    fn account(text: &str, archived: bool) -> Account {
        let archived_at = archived.then(time);
        Account { auth_id: id(text), name: text.into(), created_at: time(), archived_at }
    }

    fn application(owner: Option<&str>, archived: bool) -> Application {
        let archived_at = archived.then(time);
        let (account, created_at) = (owner.map(id), time());
        let (destinations, answer_url) = Default::default();
        Application { id: id("app"), name: "app".into(), account, created_at, archived_at, destinations, answer_url }
    }

    fn record(state: State, holder: Option<&str>, application: Option<&str>) -> Record {
        Record {
            state,
            account: holder.map(id),
            application: application.map(id),
            trunk: None,
            number_type: NumberType::Local,
            country: None,
            region: None,
            cost: None,
            assigned_at: None,
            expires_at: None,
            since: time(),
            until: None,
            tags: Tags::default(),
        }
    }

    #[test]
    fn what_is_new_is_judged_and_what_stays_is_not() {
        use State::{Active, Available, Reserved, Suspended};
        let free = || Some(record(Available, None, None));
        let held = |app| Some(record(Active, Some("MA_1"), app));
        // (before, after, whether MA_1 and app are archived, whose app is, what is wrong)
        let cases = [
            (None, record(Active, Some("MA_1"), None), (false, false), None, ""),
            (None, record(Active, Some("MA_1"), None), (true, false), None, "account MA_1 is archived"),
            (free(), record(Active, Some("MA_1"), None), (true, false), None, "account MA_1 is archived"),
            (free(), record(Reserved, Some("MA_1"), None), (true, false), None, "account MA_1 is archived"),
            (held(None), record(Suspended, Some("MA_1"), None), (true, false), None, ""),
            (None, record(Active, Some("MA_1"), Some("app")), (false, true), None, "application app is archived"),
            (held(None), record(Active, Some("MA_1"), Some("app")), (false, true), None, "application app is archived"),
            (held(Some("app")), record(Suspended, Some("MA_1"), Some("app")), (false, true), None, ""),
            (held(None), record(Active, Some("MA_1"), Some("app")), (false, false), Some("MA_1"), ""),
            (
                held(None),
                record(Active, Some("MA_1"), Some("app")),
                (false, false),
                Some("MA_2"),
                "application app belongs to account MA_2",
            ),
            (held(Some("app")), record(Suspended, Some("MA_1"), Some("app")), (false, false), Some("MA_2"), ""),
            // Stock that nobody holds routes to what serves all accounts.
            (None, record(Available, None, Some("app")), (false, false), None, ""),
            (
                None,
                record(Available, None, Some("app")),
                (false, false),
                Some("MA_1"),
                "application app belongs to account MA_1",
            ),
            // A new holder makes all of it new.
            (
                Some(record(Active, Some("MA_2"), Some("app"))),
                record(Active, Some("MA_1"), Some("app")),
                (false, true),
                None,
                "application app is archived",
            ),
            (
                Some(record(Active, Some("MA_2"), Some("app"))),
                record(Active, Some("MA_1"), Some("app")),
                (true, false),
                Some("MA_2"),
                "account MA_1 is archived; application app belongs to account MA_2",
            ),
        ];
        for (before, after, (account_archived, application_archived), owner, expected) in cases {
            let (one, app) = (account("MA_1", account_archived), application(owner, application_archived));
            let referents = Referents {
                account: after.account.as_ref().map(|_| &one),
                application: after.application.as_ref().map(|_| &app),
                trunk: None,
            };
            let found = judge(before.as_ref(), &after, &referents);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join("; "), expected, "{before:?} to {after:?}");
        }
    }
}
