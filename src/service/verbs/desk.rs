//! Applies actions to numbers inside a write transaction: looks up the named
//! entities, applies the state table, and writes the result.
//!
//! A [`NumberWriter`] serves one transaction. It caches its lookups, so a job's
//! thousand rows look their account up once; [`NumberWriter::flush`] writes the
//! results in number order.
//!
//! Invariant: decisions are based on the data in the transaction, and on nothing
//! older.

use std::collections::{BTreeMap, HashMap};

use crate::domain::action::{Assignment, Refusal, Transfer};
use crate::domain::change::GENESIS;
use crate::domain::quarantine::Quarantine;
use crate::domain::{
    Account, AccountId, Action, Application, ApplicationId, E164, FieldError, PartnerKey, Record, RunChange, Setting,
    State, Status, Time, Trunk, TrunkId, number, setting,
};
use crate::inventory::{NumberAlone, Snapshot};
use crate::service::verbs::rules::{self, EntityCache, ReferenceFault, Subject, Violation};
use crate::service::{Conflict, ServiceError, ShownNumber, StoreError, Unusable};
use crate::store::{NumberPuts, Ownership, PartnerReads};

/// How many numbers are written at a time, about.
pub(in crate::service) const STEP: usize = 8_192;

pub(in crate::service) struct NumberWriter<'t> {
    pub transaction: &'t mut dyn NumberPuts,
    key: PartnerKey,
    quarantine: &'t Quarantine,
    /// What the partner has chosen instead, once it was looked for.
    own: Option<Option<Quarantine>>,
    entities: EntityCache,
    active: ActiveNumbers,
    pending: BTreeMap<E164, RunChange>,
}

impl<'t> NumberWriter<'t> {
    pub fn new(transaction: &'t mut dyn NumberPuts, key: PartnerKey, quarantine: &'t Quarantine) -> NumberWriter<'t> {
        let (entities, active, pending) = Default::default();
        NumberWriter { transaction, key, quarantine, own: None, entities, active, pending }
    }

    pub fn key(&self) -> PartnerKey {
        self.key
    }

    /// The partner's number and the version that last changed it.
    pub fn find(&mut self, number: E164) -> Result<(Record, u64), ServiceError> {
        match self.transaction.numbers(&[number])?.pop() {
            Some(Ownership::Ours { record, version }) => Ok((record, version)),
            Some(Ownership::Free | Ownership::Foreign) | None => {
                Err(ServiceError::Unknown { what: "number", id: number.to_string() })
            }
        }
    }

    /// Refuses an action that names what the partner does not have, whatever
    /// number it shall be done to.
    pub fn check(&mut self, action: &Action) -> Result<(), ServiceError> {
        let (account, application, trunk) = match action {
            Action::Assign(to) => (Some(&to.account), to.application.as_ref(), to.trunk.as_ref()),
            Action::Route { application, trunk } => {
                (None, application.as_ref().and_then(Option::as_ref), trunk.as_ref().and_then(Option::as_ref))
            }
            Action::Transfer(to) => (
                Some(&to.account),
                to.application.as_ref().and_then(Option::as_ref),
                to.trunk.as_ref().and_then(Option::as_ref),
            ),
            Action::Reserve { account, .. } => (Some(account), None, None),
            Action::Release { .. }
            | Action::Suspend
            | Action::Resume
            | Action::Renew { .. }
            | Action::Extend { .. }
            | Action::Unreserve
            | Action::Retire
            | Action::Tag { .. }
            | Action::Cost(_) => (None, None, None),
        };
        account.map_or(Ok(()), |id| self.check_account(id))?;
        application.map_or(Ok(()), |id| self.check_application(id, account))?;
        trunk.map_or(Ok(()), |id| self.check_trunk(id, account))
    }

    /// Does an action to a number that is `before`, and returns what it is then.
    /// Nothing is written until [`NumberWriter::flush`].
    pub fn act(&mut self, number: E164, before: &Record, action: &Action) -> Result<Record, ServiceError> {
        let now = self.transaction.at();
        let current = before.as_of(now);
        let filled;
        let action = match action {
            Action::Assign(to) => {
                filled = Action::Assign(self.check_assignment(to, &current)?);
                &filled
            }
            Action::Route { application, trunk } => {
                let holder = current.holder().cloned();
                // What it has already it keeps, also where that was archived since.
                if let Some(Some(id)) = application.as_ref().filter(|id| **id != current.application) {
                    self.check_application(id, holder.as_ref())?;
                }
                if let Some(Some(id)) = trunk.as_ref().filter(|id| **id != current.trunk) {
                    self.check_trunk(id, holder.as_ref())?;
                }
                action
            }
            Action::Transfer(to) => {
                self.check_account(&to.account)?;
                self.check_known(to)?;
                action
            }
            Action::Reserve { account, .. } => {
                self.check_account(account)?;
                action
            }
            Action::Release { .. }
            | Action::Suspend
            | Action::Resume
            | Action::Renew { .. }
            | Action::Extend { .. }
            | Action::Unreserve
            | Action::Retire
            | Action::Tag { .. }
            | Action::Cost(_) => action,
        };
        if self.own.is_none() && matches!(action, Action::Release { .. }) {
            let chosen = self.transaction.setting(setting::QUARANTINE)?;
            self.own = Some(chosen.as_ref().and_then(Setting::quarantine).cloned());
        }
        let quarantine = self.own.as_ref().and_then(Option::as_ref).unwrap_or(self.quarantine);
        let after = match action.apply(before, now, quarantine) {
            Ok(after) => after,
            Err(Refusal::Field(error)) => return Err(ServiceError::Invalid(vec![error])),
            Err(Refusal::State) => return Err(conflict(number, &current, action)),
        };
        if after == current {
            return Ok(current);
        }
        let broken = self.judge(Some(&current), &after)?;
        if !broken.is_empty() {
            let errors: Vec<FieldError> = broken.iter().map(Violation::field_error).collect();
            return Err(match action {
                Action::Transfer(to) => ServiceError::Unusable(Box::new(Unusable {
                    number,
                    account: to.account.clone(),
                    why: broken.iter().map(ToString::to_string).collect(),
                    errors,
                })),
                _ => ServiceError::Invalid(errors),
            });
        }
        let confirmed = match action {
            Action::Release { confirm_last } | Action::Transfer(Transfer { confirm_last, .. }) => *confirm_last,
            _ => true,
        };
        if let (false, Some(account)) = (confirmed, current.holder()) {
            let active = number::status(current.state, current.expires_at, now) == Status::Active;
            if active && !self.active.at_least(2, account, self.transaction)? {
                let (verb, account) = (action.verb(), account.clone());
                return Err(ServiceError::Last { number, account, since: current.since, verb });
            }
        }
        let stored = (after.state != State::Retired).then(|| after.clone());
        self.put(RunChange { first: number, count: 1, before: Some(before.clone()), after: stored });
        Ok(after)
    }

    /// Which rules a number would break by becoming `after`.
    pub fn judge(&mut self, before: Option<&Record>, after: &Record) -> Result<Vec<Violation>, ServiceError> {
        Ok(self.entities.judge(self.transaction, before, after)?)
    }

    /// Notes a change, each number's once.
    pub fn put(&mut self, change: RunChange) {
        self.active.put(&change, self.transaction.at());
        self.pending.insert(change.first, change);
    }

    /// Writes what was decided, in number order.
    pub fn flush(&mut self) -> Result<(), ServiceError> {
        let pending: Vec<RunChange> = std::mem::take(&mut self.pending).into_values().collect();
        self.active = ActiveNumbers::default();
        if !pending.is_empty() {
            self.transaction.put_runs(&pending)?;
        }
        Ok(())
    }

    /// A number as the transaction leaves it, ready to be shown.
    pub fn show(&mut self, number: E164, version: u64, record: &Record) -> Result<ShownNumber, ServiceError> {
        let account = match &record.account {
            Some(id) => self.account(id)?,
            None => None,
        };
        let application = match &record.application {
            Some(id) => self.application(id)?,
            None => None,
        };
        let trunk = match &record.trunk {
            Some(id) => self.trunk(id)?,
            None => None,
        };
        let partner =
            self.transaction.partner()?.ok_or_else(|| crate::service::corrupt("a write without its partner"))?;
        let names = Snapshot::empty(self.key, version, GENESIS, partner);
        let alone = NumberAlone::new(names, account, application, trunk, (number, version, record));
        let alone = alone.map_err(|misfit| crate::service::corrupt(misfit.to_string()))?;
        Ok(ShownNumber { number, version, created: false, at: self.transaction.at(), alone })
    }

    pub fn account(&mut self, id: &AccountId) -> Result<Option<Account>, ServiceError> {
        Ok(self.entities.account(self.transaction, id)?.cloned())
    }

    fn application(&mut self, id: &ApplicationId) -> Result<Option<Application>, ServiceError> {
        Ok(self.entities.application(self.transaction, id)?.cloned())
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, ServiceError> {
        Ok(self.entities.trunk(self.transaction, id)?.cloned())
    }

    /// An assignment with what it leaves to the number filled in.
    fn check_assignment(&mut self, to: &Assignment, current: &Record) -> Result<Assignment, ServiceError> {
        self.check_account(&to.account)?;
        let mut to = to.clone();
        // What the number came with goes with it, if the account may have it.
        match &to.application {
            Some(id) => self.check_application(&id.clone(), Some(&to.account))?,
            None => to.application = self.fitting_application(current.application.as_ref(), &to.account)?,
        }
        match &to.trunk {
            Some(id) => self.check_trunk(&id.clone(), Some(&to.account))?,
            None => to.trunk = self.fitting_trunk(current.trunk.as_ref(), &to.account)?,
        }
        Ok(to)
    }

    /// Refuses a transfer to a route that the partner does not have.
    fn check_known(&mut self, to: &Transfer) -> Result<(), ServiceError> {
        if let Some(Some(id)) = &to.application
            && self.entities.application(self.transaction, id)?.is_none()
        {
            return refused(Err(unknown(Subject::Application, id.as_str())));
        }
        if let Some(Some(id)) = &to.trunk
            && self.entities.trunk(self.transaction, id)?.is_none()
        {
            return refused(Err(unknown(Subject::Trunk, id.as_str())));
        }
        Ok(())
    }

    fn fitting_application(
        &mut self,
        id: Option<&ApplicationId>,
        account: &AccountId,
    ) -> Result<Option<ApplicationId>, ServiceError> {
        let Some(id) = id else { return Ok(None) };
        let fits = |it: &Application| rules::check_application(it, Some(account)).is_ok();
        Ok(self.entities.application(self.transaction, id)?.filter(|it| fits(it)).map(|it| it.id.clone()))
    }

    fn fitting_trunk(&mut self, id: Option<&TrunkId>, account: &AccountId) -> Result<Option<TrunkId>, ServiceError> {
        let Some(id) = id else { return Ok(None) };
        let fits = |it: &Trunk| rules::check_trunk(it, Some(account)).is_ok();
        Ok(self.entities.trunk(self.transaction, id)?.filter(|it| fits(it)).map(|it| it.id.clone()))
    }

    fn check_account(&mut self, id: &AccountId) -> Result<(), ServiceError> {
        let account = self.entities.account(self.transaction, id)?;
        refused(account.map_or_else(|| Err(unknown(Subject::Account, id.as_str())), rules::check_account))
    }

    /// The holder is `None` for a number that nobody holds; it is refused for
    /// its state.
    fn check_application(&mut self, id: &ApplicationId, holder: Option<&AccountId>) -> Result<(), ServiceError> {
        let application = self.entities.application(self.transaction, id)?;
        refused(match application {
            None => Err(unknown(Subject::Application, id.as_str())),
            Some(it) => rules::check_application(it, holder.or(it.account.as_ref())),
        })
    }

    fn check_trunk(&mut self, id: &TrunkId, holder: Option<&AccountId>) -> Result<(), ServiceError> {
        let trunk = self.entities.trunk(self.transaction, id)?;
        refused(match trunk {
            None => Err(unknown(Subject::Trunk, id.as_str())),
            Some(it) => rules::check_trunk(it, holder.or(it.account.as_ref())),
        })
    }
}

/// How many active numbers accounts have, with what is not written yet.
#[derive(Default)]
struct ActiveNumbers {
    /// As stored: the count, and how far it was counted.
    stored: HashMap<AccountId, (u64, u64)>,
    /// What the changes that are not written yet add or take.
    pending: HashMap<AccountId, i64>,
}

impl ActiveNumbers {
    fn put(&mut self, change: &RunChange, now: Time) {
        for (record, step) in [(&change.before, -1), (&change.after, 1)] {
            if let Some(record) = record
                && number::status(record.state, record.expires_at, now) == Status::Active
                && let Some(account) = record.holder()
            {
                *self.pending.entry(account.clone()).or_default() += step * change.count as i64;
            }
        }
    }

    /// Whether the account has so many. Counted as far as it takes, and each
    /// time twice as far, so that many questions cost what one count does.
    fn at_least(&mut self, wanted: u64, account: &AccountId, from: &mut dyn PartnerReads) -> Result<bool, StoreError> {
        let pending = self.pending.get(account).copied().unwrap_or_default();
        let needed = wanted.saturating_add_signed(-pending);
        let (mut counted, mut reach) = self.stored.get(account).copied().unwrap_or_default();
        // Less than how far it was counted: that is all there are.
        if counted < needed && counted >= reach {
            reach = needed.max(reach * 2);
            counted = from.active_numbers(account, from.at(), reach)?;
            self.stored.insert(account.clone(), (counted, reach));
        }
        Ok(counted >= needed)
    }
}

fn unknown(subject: Subject, id: &str) -> Violation {
    Violation { subject, id: id.to_owned(), fault: ReferenceFault::Unknown }
}

fn refused(verdict: Result<(), Violation>) -> Result<(), ServiceError> {
    verdict.map_err(|violation| ServiceError::Invalid(vec![violation.field_error()]))
}

fn conflict(number: E164, current: &Record, action: &Action) -> ServiceError {
    ServiceError::Conflict(Box::new(Conflict {
        number,
        state: current.state,
        since: current.since,
        by: None,
        until: current.until,
        hint: action.hint(current),
    }))
}
