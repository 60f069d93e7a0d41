//! The reads and writes of numbers in a preview: it reads a snapshot and keeps
//! nothing.
//!
//! So a preview asks the very rules that a run asks, through the same desk,
//! and no writer waits for it.
//! Invariant: what was put is seen where one row of a job decides another's
//! fate, which is whether an account has an active number left.
//! Deliberately absent: who else has a number. A snapshot has one partner.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{
    Account, AccountId, Acknowledgement, Application, ApplicationId, E164, Key, KeyId, NumberRun, Partner, Record,
    RunChange, Setting, Status, Time, Trunk, TrunkId, number,
};
use crate::inventory::{Filter, Order, Snapshot, Window};
use crate::store::{NumberPuts, OwnedRun, Ownership, PartnerReads, StoreError};

pub struct Trial {
    snapshot: Arc<Snapshot>,
    now: Time,
    /// How many active numbers each account that was asked about has left.
    active: HashMap<AccountId, i64>,
}

impl Trial {
    pub fn new(snapshot: Arc<Snapshot>, now: Time) -> Trial {
        Trial { snapshot, now, active: HashMap::new() }
    }

    fn active(&mut self, account: &AccountId) -> &mut i64 {
        let (snapshot, now) = (&self.snapshot, self.now);
        self.active.entry(account.clone()).or_insert_with(|| {
            let filter =
                Filter { account: Some(account.as_str().into()), status: Some(Status::Active), ..Filter::default() };
            snapshot.select(&filter, Order::default(), Window::Page { skip: 0, rows: 0 }, now).total as i64
        })
    }

    fn note(&mut self, record: Option<&Record>, step: i64) {
        let now = self.now;
        let active = |record: &&Record| number::status(record.state, record.expires_at, now) == Status::Active;
        if let Some(account) = record.filter(active).and_then(Record::holder) {
            *self.active(account) += step;
        }
    }
}

impl PartnerReads for Trial {
    fn version(&self) -> u64 {
        self.snapshot.version + 1
    }

    fn at(&self) -> Time {
        self.now
    }

    fn partner(&mut self) -> Result<Option<Partner>, StoreError> {
        Ok(Some(Partner::clone(&self.snapshot.partner)))
    }

    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        Ok(self.snapshot.accounts.get(id.as_str()).cloned())
    }

    fn application(&mut self, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
        Ok(self.snapshot.applications.get(id.as_str()).cloned())
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, StoreError> {
        Ok(self.snapshot.trunks.get(id.as_str()).cloned())
    }

    fn acknowledgement(&mut self, finding: &str) -> Result<Option<Acknowledgement>, StoreError> {
        Ok(self.snapshot.acknowledgements.get(finding).cloned())
    }

    fn setting(&mut self, id: &str) -> Result<Option<Setting>, StoreError> {
        Ok(self.snapshot.settings.get(id).cloned())
    }

    fn key(&mut self, id: &KeyId) -> Result<Option<Key>, StoreError> {
        Ok(self.snapshot.keys.get(id.as_str()).cloned())
    }

    fn owners(&mut self, wanted: &[NumberRun]) -> Result<Vec<OwnedRun>, StoreError> {
        let numbers: Vec<E164> = wanted.iter().flat_map(|run| run.numbers()).collect();
        Ok(OwnedRun::all(&numbers, &self.numbers(&numbers)?))
    }

    fn numbers(&mut self, wanted: &[E164]) -> Result<Vec<Ownership>, StoreError> {
        let holding = |&number: &E164| match self.snapshot.get(number, self.now) {
            Some(row) => Ownership::Ours { record: row.record(), version: row.version() },
            None => Ownership::Free,
        };
        Ok(wanted.iter().map(holding).collect())
    }

    fn active_numbers(&mut self, account: &AccountId, _: Time, _: u64) -> Result<u64, StoreError> {
        Ok((*self.active(account)).max(0) as u64)
    }
}

impl NumberPuts for Trial {
    fn put_runs(&mut self, changes: &[RunChange]) -> Result<(), StoreError> {
        for change in changes {
            self.note(change.before.as_ref(), -(change.count as i64));
            self.note(change.after.as_ref(), change.count as i64);
        }
        Ok(())
    }
}
