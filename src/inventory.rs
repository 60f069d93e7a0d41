//! What a partner has, held in memory: the read side of everything.
//!
//! A [`Snapshot`] is one partner as of one version. It never changes once it
//! is shared; [`Snapshot::applied`] makes the next one from a log entry, which
//! is the only way there is, on the node that wrote and on every follower.
//! Rebuilt from the store at start, so it can always be thrown away.
//!
//! Invariants: rows are sorted by number; a row's account, application and
//! trunk exist; page and total of an answer come from one snapshot; every
//! answer takes `now`, because expiry, quarantine and reservation end by time.
//! Deliberately absent: I/O, async, JSON, other partners.

mod filter;
mod flat;
mod pattern;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::change::{Digest, GENESIS};
use crate::domain::entity::hex_digest;
use crate::domain::{
    Account, Application, Country, E164, EntityChange, Key, Logged, Money, NumberType, Partner, PartnerKey, Record,
    State, Status, Tags, Time, Trunk, number,
};

pub use filter::{Filter, Order, PARAMETERS, Parameter, QueryError, SortKey, parse_after};
pub use pattern::{Pattern, SEARCH_CHARS_MAX};
pub use table::Table;

use flat::Row;
use table::Interned;

/// One partner as of one version.
#[derive(Clone)]
pub struct Snapshot {
    pub key: PartnerKey,
    pub version: u64,
    /// The digest of the change that made this version.
    pub head: Digest,
    pub partner: Arc<Partner>,
    pub accounts: Arc<Table<Account>>,
    pub applications: Arc<Table<Application>>,
    pub trunks: Arc<Table<Trunk>>,
    pub keys: Arc<Table<Key>>,
    regions: Arc<Interned<Arc<str>>>,
    tags: Arc<Interned<Tags>>,
    rows: Arc<Vec<Row>>,
    /// At which moments a number expires, leaves quarantine or stops being
    /// reserved, and how many do.
    due: Arc<BTreeMap<Time, u32>>,
}

/// Why a change does not fit a snapshot. Never the reader's fault: it means
/// that the snapshot must be thrown away and loaded again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the log has version {found} where {expected} was due")]
    Gap { expected: u64, found: u64 },
    #[error("number {number} is not in the state that the log says it was in")]
    Before { number: E164 },
    #[error("number {number} refers to {what} {id}, which does not exist")]
    Dangling { number: E164, what: &'static str, id: String },
    #[error("the chain of digests breaks at version {version}")]
    Chain { version: u64 },
    #[error("the first change of a partner does not create it")]
    NotCreated,
}

/// Which rows of the ordered result to return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Rows `skip..skip + rows`, counted from 0.
    Page { skip: u64, rows: usize },
    /// The first `rows` rows with a higher number. Only in number order.
    After { number: E164, rows: usize },
}

/// One answer to a list question.
pub struct Selection<'a> {
    /// How many rows match, exactly, on all pages together.
    pub total: u64,
    /// How many matching rows come before the first one returned.
    pub start: u64,
    pub rows: Vec<NumberRef<'a>>,
    /// The number to continue after for the page before this one, where the
    /// order is by number: `None` when that is the first page.
    pub before: Option<E164>,
}

/// One number as a reader sees it, borrowed from a snapshot.
#[derive(Clone, Copy)]
pub struct NumberRef<'a> {
    snapshot: &'a Snapshot,
    row: &'a Row,
    now: Time,
}

impl<'a> NumberRef<'a> {
    pub fn number(self) -> E164 {
        self.row.number
    }

    /// The version of the partner that last changed this number.
    pub fn version(self) -> u64 {
        self.row.version
    }

    /// The account that holds the number, if one does.
    pub fn account(self) -> Option<&'a Account> {
        if self.row.state.held() { self.snapshot.accounts.at(self.row.account) } else { None }
    }

    /// The account a reserved number is promised to.
    pub fn reserved_for(self) -> Option<&'a Account> {
        match self.state() {
            State::Reserved => self.snapshot.accounts.at(self.row.account),
            State::Available | State::Active | State::Suspended | State::Quarantined => None,
        }
    }

    pub fn application(self) -> Option<&'a Application> {
        self.snapshot.applications.at(self.row.application)
    }

    pub fn trunk(self) -> Option<&'a Trunk> {
        self.snapshot.trunks.at(self.row.trunk)
    }

    pub fn number_type(self) -> NumberType {
        self.row.number_type
    }

    pub fn country(self) -> Option<Country> {
        self.row.country
    }

    pub fn region(self) -> Option<&'a str> {
        self.snapshot.regions.at(self.row.region).map(|region| &**region)
    }

    pub fn cost(self) -> Option<Money> {
        self.row.cost
    }

    pub fn assigned_at(self) -> Option<Time> {
        self.row.assigned_at
    }

    pub fn expires_at(self) -> Option<Time> {
        self.row.expires_at
    }

    pub fn since(self) -> Time {
        self.row.since
    }

    /// When the reservation or quarantine it is in ends.
    pub fn until(self) -> Option<Time> {
        match self.state() {
            State::Reserved | State::Quarantined => self.row.until,
            State::Available | State::Active | State::Suspended => None,
        }
    }

    pub fn tags(self) -> Tags {
        self.snapshot.tags.at(self.row.tags).cloned().unwrap_or_default()
    }

    /// The state as of now: what ends by time has ended.
    pub fn state(self) -> State {
        self.row.state.at(self.row.until, self.now)
    }

    pub fn status(self) -> Status {
        number::status(self.row.state, self.row.expires_at, self.now)
    }

    /// All that is stored of the number, for the log and for comparison.
    pub fn record(self) -> Record {
        let row = self.row;
        Record {
            state: row.state,
            account: self.snapshot.accounts.at(row.account).map(|account| account.auth_id.clone()),
            application: self.application().map(|application| application.id.clone()),
            trunk: self.trunk().map(|trunk| trunk.id.clone()),
            number_type: row.number_type,
            country: row.country,
            region: self.snapshot.regions.at(row.region).cloned(),
            cost: row.cost,
            assigned_at: row.assigned_at,
            expires_at: row.expires_at,
            since: row.since,
            until: row.until,
            tags: self.tags(),
        }
    }
}

/// How many numbers an account holds, by status.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub active: u64,
    pub suspended: u64,
}

impl Snapshot {
    /// A partner that has nothing yet.
    pub fn empty(key: PartnerKey, version: u64, head: Digest, partner: Partner) -> Snapshot {
        Snapshot {
            key,
            version,
            head,
            partner: Arc::new(partner),
            accounts: Arc::default(),
            applications: Arc::default(),
            trunks: Arc::default(),
            keys: Arc::default(),
            regions: Arc::default(),
            tags: Arc::default(),
            rows: Arc::default(),
            due: Arc::default(),
        }
    }

    /// Loads a stored row. Rows come in number order, after the entities that
    /// they refer to.
    pub fn load(&mut self, number: E164, version: u64, record: &Record) -> Result<(), Misfit> {
        let row = self.row(number, version, record)?;
        let rows = Arc::make_mut(&mut self.rows);
        if rows.last().is_some_and(|last| last.number >= number) {
            return Err(Misfit::Before { number });
        }
        note_due(Arc::make_mut(&mut self.due), &row, 1);
        rows.push(row);
        Ok(())
    }

    /// The snapshot that a partner's first change makes.
    pub fn created(logged: &Logged) -> Result<Snapshot, Misfit> {
        let change = &logged.change;
        let partner = change.entities.iter().find_map(|entity| match entity {
            EntityChange::Partner(edit) if edit.before.is_none() => Some(edit.after.clone()),
            _ => None,
        });
        Snapshot::empty(change.partner, 0, GENESIS, partner.ok_or(Misfit::NotCreated)?).applied(logged)
    }

    /// The snapshot after one more change. `self` stays as it is.
    pub fn applied(&self, logged: &Logged) -> Result<Snapshot, Misfit> {
        let change = &logged.change;
        if change.version != self.version + 1 {
            return Err(Misfit::Gap { expected: self.version + 1, found: change.version });
        }
        if logged.previous != self.head {
            return Err(Misfit::Chain { version: change.version });
        }
        let mut next = self.clone();
        next.version = change.version;
        next.head = logged.digest;
        for entity in &change.entities {
            match entity {
                EntityChange::Partner(edit) => next.partner = Arc::new(edit.after.clone()),
                EntityChange::Account(edit) => Arc::make_mut(&mut next.accounts).put(edit.after.clone()),
                EntityChange::Application(edit) => Arc::make_mut(&mut next.applications).put(edit.after.clone()),
                EntityChange::Trunk(edit) => Arc::make_mut(&mut next.trunks).put(edit.after.clone()),
                EntityChange::Key(edit) => Arc::make_mut(&mut next.keys).put(edit.after.clone()),
            }
        }
        if !change.numbers.is_empty() {
            let mut edits = Vec::with_capacity(change.numbers.len());
            for edit in &change.numbers {
                let held = self.get(edit.number, change.at).map(NumberRef::record);
                if held != edit.before {
                    return Err(Misfit::Before { number: edit.number });
                }
                let row = match &edit.after {
                    Some(record) => Some(next.row(edit.number, change.version, record)?),
                    None => None,
                };
                edits.push((edit.number, row));
            }
            let due = Arc::make_mut(&mut next.due);
            next.rows = Arc::new(flat::merged(&self.rows, &edits, |row, step| note_due(due, row, step)));
        }
        Ok(next)
    }

    /// A record in the index's own form.
    fn row(&mut self, number: E164, version: u64, record: &Record) -> Result<Row, Misfit> {
        fn key<T: table::Entry>(
            table: &Table<T>,
            id: Option<&str>,
            number: E164,
            what: &'static str,
        ) -> Result<table::Index, Misfit> {
            let Some(id) = id else { return Ok(table::Index::NONE) };
            table.find(id).ok_or_else(|| Misfit::Dangling { number, what, id: id.to_owned() })
        }
        let account = record.account.as_ref().map(|id| id.as_str());
        let application = record.application.as_ref().map(|id| id.as_str());
        let trunk = record.trunk.as_ref().map(|id| id.as_str());
        Ok(Row {
            number,
            version,
            state: record.state,
            account: key(&self.accounts, account, number, "account")?,
            application: key(&self.applications, application, number, "application")?,
            trunk: key(&self.trunks, trunk, number, "trunk")?,
            number_type: record.number_type,
            country: record.country,
            region: table::intern(&mut self.regions, record.region.as_ref()),
            cost: record.cost,
            assigned_at: record.assigned_at,
            expires_at: record.expires_at,
            since: record.since,
            until: record.until,
            tags: table::intern(&mut self.tags, Some(&record.tags).filter(|tags| !tags.is_empty())),
        })
    }

    /// How many numbers the partner has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The last moment, up to `now`, at which the clock alone changed what
    /// readers see. Together with the version it names one state of the view.
    pub fn epoch(&self, now: Time) -> Option<Time> {
        self.due.range(..=now).next_back().map(|(&time, _)| time)
    }

    pub fn get(&self, number: E164, now: Time) -> Option<NumberRef<'_>> {
        let at = self.rows.binary_search_by_key(&number, |row| row.number).ok()?;
        Some(self.show(&self.rows[at], now))
    }

    fn show<'a>(&'a self, row: &'a Row, now: Time) -> NumberRef<'a> {
        NumberRef { snapshot: self, row, now }
    }

    /// One page of what the filter lets through, and the exact total.
    pub fn select(&self, filter: &Filter, order: Order, window: Window, now: Time) -> Selection<'_> {
        let Some(wanted) = flat::Wanted::resolve(self, filter, now) else {
            return Selection { total: 0, start: 0, rows: Vec::new(), before: None };
        };
        flat::select(self, &wanted, order, window, now)
    }

    /// Every row that the filter lets through, in order, as positions that
    /// [`Snapshot::nth`] turns into rows: 4 bytes a row, so that a stream may
    /// outlive the call. A snapshot has fewer than 2^32 rows.
    pub fn positions(&self, filter: &Filter, order: Order, after: Option<E164>, now: Time) -> Vec<u32> {
        match flat::Wanted::resolve(self, filter, now) {
            Some(wanted) => flat::positions(self, &wanted, order, after),
            None => Vec::new(),
        }
    }

    /// The row at a position that [`Snapshot::positions`] gave.
    pub fn nth(&self, position: u32, now: Time) -> NumberRef<'_> {
        self.show(&self.rows[position as usize], now)
    }

    /// All rows in number order.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = NumberRef<'_>> {
        self.rows.iter().map(move |row| self.show(row, now))
    }

    /// How many numbers each account holds, in the order of `accounts`.
    pub fn counts(&self, now: Time) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.accounts.len()];
        for row in self.rows.iter().filter(|row| row.state.held()) {
            if let Some(at) = row.account.get() {
                match number::status(row.state, row.expires_at, now) {
                    Status::Active => counts[at].active += 1,
                    Status::Suspended => counts[at].suspended += 1,
                }
            }
        }
        counts
    }

    /// SHA-256 over everything in the snapshot, in an order that does not
    /// depend on how it came about. Two nodes that agree have the same.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let mut put = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        put(&hex_digest::text(&self.head));
        put(&json(&*self.partner));
        self.accounts.sorted().for_each(|account| put(&json(account)));
        self.applications.sorted().for_each(|application| put(&json(application)));
        self.trunks.sorted().for_each(|trunk| put(&json(trunk)));
        self.keys.sorted().for_each(|key| put(&json(key)));
        for row in self.rows.iter() {
            put(&row.number.to_string());
            put(&row.version.to_string());
            put(&json(&self.show(row, row.since).record()));
        }
        hash.finalize().into()
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("domain types serialise")
}

/// Counts a row's moments in or out (`step` is 1 or -1).
fn note_due(due: &mut BTreeMap<Time, u32>, row: &Row, step: i32) {
    let expiry = row.expires_at.filter(|_| row.state == State::Active);
    let end = row.until.filter(|_| matches!(row.state, State::Reserved | State::Quarantined));
    for time in [expiry, end].into_iter().flatten() {
        let count = due.entry(time).or_default();
        *count = count.saturating_add_signed(step);
        if *count == 0 {
            due.remove(&time);
        }
    }
}
