//! The verbs on one number, and numbers coming into stock.

use std::sync::Arc;

use crate::domain::action;
use crate::domain::field::code;
use crate::domain::plan::{self, Judgement};
use crate::domain::{
    Action, Country, E164, FieldError, Money, NumberChange, NumberRun, NumberType, PartnerKey, Record, RunChange,
    State, Tags, Time, Verb, label,
};
use crate::service::verbs::desk::NumberWriter;
use crate::service::{Conflict, Service, ServiceError, ShownNumber, Stale, VerbOutcome, WriteOutcome};
use crate::store::{OwnedRun, Ownership, Past};

/// The most numbers that come into stock at once.
pub const BLOCK_MAX: u64 = 100_000;

/// What a client knows of a number, an entity or a setting before it changes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Expected {
    #[default]
    Anything,
    /// It is at one of these versions; those of entities are [`super::entities::state_tag`]s.
    Versions(Vec<u64>),
}

impl Expected {
    fn admits(&self, version: u64) -> bool {
        match self {
            Expected::Anything => true,
            Expected::Versions(versions) => versions.contains(&version),
        }
    }

    /// Refuses a write to an entity or a setting that the client knows in another state.
    /// Called inside the write's transaction, so that no other write can come between.
    pub(in crate::service) fn check(&self, what: &'static str, id: &str, current: u64) -> Result<(), ServiceError> {
        match self.admits(current) {
            true => Ok(()),
            false => Err(ServiceError::Outdated { what, id: id.to_owned() }),
        }
    }
}

/// Numbers to come into stock; what is `None` is what the numbering plan says.
#[derive(Clone, Debug)]
pub struct Stock {
    pub first: E164,
    pub last: E164,
    pub cost: Money,
    pub number_type: Option<NumberType>,
    pub country: Option<Country>,
    pub region: Option<Arc<str>>,
    pub tags: Tags,
}

/// A number that a partner has no more: what it was, and the version that retired it.
pub(in crate::service) struct RetiredNumber {
    version: u64,
    record: Record,
}

impl Service {
    /// Does one action to one number.
    pub fn act(
        &self,
        key: PartnerKey,
        number: E164,
        action: &Action,
        expected: &Expected,
    ) -> Result<WriteOutcome, ServiceError> {
        let done = self.manage(key, action.verb(), |transaction| {
            let mut desk = NumberWriter::new(transaction, key, &self.quarantine);
            let (before, version) = desk.find(number)?;
            if !expected.admits(version) {
                let now = Some(before.clone());
                let stale = Stale { number, version, then: None, now, by: None, at: None };
                return Err(ServiceError::Stale(Box::new(stale)));
            }
            let after = desk.act(number, &before, action)?;
            let changed = after != before.as_of(desk.transaction.at());
            let version = if changed { desk.transaction.version() } else { version };
            desk.flush()?;
            Ok(VerbOutcome::Number(Box::new(desk.show(number, version, &after)?)))
        });
        match done {
            Err(ServiceError::Conflict(conflict)) => Err(self.explain(key, *conflict)?),
            Err(ServiceError::Stale(stale)) => Err(self.explain_stale(key, *stale, expected)?),
            Err(ServiceError::Unknown { what: "number", .. }) => {
                let RetiredNumber { version, record } = self.act_on_missing(key, number, action)?;
                self.manage(key, action.verb(), |transaction| {
                    let mut desk = NumberWriter::new(transaction, key, &self.quarantine);
                    Ok(VerbOutcome::Number(Box::new(desk.show(number, version, &record)?)))
                })
            }
            done => done,
        }
    }

    /// Brings a block of numbers into stock: all of it, or nothing.
    pub fn stock(&self, key: PartnerKey, stock: &Stock) -> Result<WriteOutcome, ServiceError> {
        let errors = label::check_new(stock.region.as_deref(), &stock.tags);
        if !errors.is_empty() {
            return Err(ServiceError::Invalid(errors));
        }
        let wanted = NumberRun::between(stock.first.digits(), stock.last.digits());
        let numbers = wanted.map_or(0, |run| run.count);
        let done = self.manage(key, Verb::Stock, |transaction| {
            let mut desk = NumberWriter::new(transaction, key, &self.quarantine);
            let at = desk.transaction.at();
            for OwnedRun { run, owner } in desk.transaction.owners(wanted.as_slice())? {
                let number = run.first;
                match owner {
                    Ownership::Free => {}
                    Ownership::Foreign => return Err(ServiceError::Taken { number }),
                    Ownership::Ours { record, .. } => {
                        let record = record.as_of(at);
                        let (state, since, until) = (record.state, record.since, record.until);
                        let hint = "it is in the inventory already";
                        let conflict = Conflict { number, state, since, by: None, until, hint };
                        return Err(ServiceError::Conflict(Box::new(conflict)));
                    }
                }
                let alike = plan::alike(number.digits(), run.last().digits());
                for run in alike.filter_map(|(first, last)| NumberRun::between(first, last)) {
                    check_new(run.first)?;
                    let after = Some(stock.record(run.first, at));
                    desk.put(RunChange { first: run.first, count: run.count, before: None, after });
                }
            }
            let version = desk.transaction.version();
            desk.flush()?;
            if stock.first == stock.last {
                let record = stock.record(stock.first, at);
                let shown = desk.show(stock.first, version, &record)?;
                return Ok(VerbOutcome::Number(Box::new(ShownNumber { created: true, ..shown })));
            }
            Ok(VerbOutcome::Block { first: stock.first, last: stock.last, numbers, version })
        });
        match done {
            Err(ServiceError::Conflict(conflict)) => Err(self.explain(key, *conflict)?),
            done => done,
        }
    }

    /// Adds who brought the number into its state.
    pub(in crate::service) fn explain(
        &self,
        key: PartnerKey,
        conflict: Conflict,
    ) -> Result<ServiceError, ServiceError> {
        let past = self.store().history(key, conflict.number)?;
        // What time did, nobody did: the change that led there says another state.
        let by = past.iter().rev().find(|past| entered(past, conflict.state)).map(|past| past.entry.actor.clone());
        Ok(ServiceError::Conflict(Box::new(Conflict { by, ..conflict })))
    }

    /// What has changed since the newest version that the client named.
    fn explain_stale(&self, key: PartnerKey, stale: Stale, expected: &Expected) -> Result<ServiceError, ServiceError> {
        let Expected::Versions(versions) = expected else { return Ok(ServiceError::Stale(Box::new(stale))) };
        let past = self.store().history(key, stale.number)?;
        let seen = versions.iter().max().copied().unwrap_or_default();
        let then = past.iter().rfind(|past| past.version <= seen && versions.contains(&past.version));
        let last = past.iter().rfind(|past| past.version == stale.version);
        let then = then.and_then(|past| past.change.after.clone());
        let by = last.map(|past| past.entry.actor.clone());
        let at = last.map(|past| past.entry.at);
        Ok(ServiceError::Stale(Box::new(Stale { then, by, at, ..stale })))
    }

    /// Does an action to a number that the partner does not have now. If the partner
    /// retired it, only retiring it again is possible, and changes nothing; else the
    /// number is unknown, and nothing says who has it.
    pub(in crate::service) fn act_on_missing(
        &self,
        key: PartnerKey,
        number: E164,
        action: &Action,
    ) -> Result<RetiredNumber, ServiceError> {
        let unknown = || ServiceError::Unknown { what: "number", id: number.to_string() };
        let last = self.store().history(key, number)?.pop().ok_or_else(unknown)?;
        let NumberChange { before: Some(before), after: None, .. } = last.change else { return Err(unknown()) };
        let (state, since) = (State::Retired, last.entry.at);
        if *action != Action::Retire {
            let hint = action::hint(action.verb(), state);
            let conflict = Conflict { number, state, since, by: Some(last.entry.actor), until: None, hint };
            return Err(ServiceError::Conflict(Box::new(conflict)));
        }
        let record = Record { state, since, account: None, until: None, ..before };
        Ok(RetiredNumber { version: last.version, record })
    }
}

/// Refuses a number that the plan has only with other digits.
fn check_new(number: E164) -> Result<(), ServiceError> {
    match plan::judge(number) {
        Judgement::Valid | Judgement::Invalid => Ok(()),
        Judgement::Misspelt(misspelling) => {
            let (message, value) = (misspelling.to_string(), number.to_string());
            Err(ServiceError::Invalid(vec![FieldError::new("number", code::INVALID, message, &value)]))
        }
    }
}

/// Whether a change brought a number into a state.
fn entered(past: &Past, state: State) -> bool {
    let is = |record: &Option<Record>| record.as_ref().map(|record| record.state) == Some(state);
    is(&past.change.after) && !is(&past.change.before)
}

impl Stock {
    fn record(&self, number: E164, at: Time) -> Record {
        let said = plan::lookup(number.digits());
        Record {
            country: self.country.or_else(|| said.country.and_then(Country::new)),
            region: self.region.clone().or_else(|| said.region.map(Arc::from)),
            cost: Some(self.cost),
            tags: self.tags.clone(),
            ..Record::bare(State::Available, self.number_type.unwrap_or(said.number_type), at)
        }
    }
}
