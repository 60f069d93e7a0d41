//! A partner's inventory in memory: the read side of the program.
//!
//! A [`Snapshot`] is one partner at one version. It never changes after it is
//! shared; [`Snapshot::applied`] makes the next one from a log entry, which is the
//! only way, on the node that wrote the entry and on every follower.
//! [`Snapshot::reverted`] and [`Snapshot::rewound`] go backwards, for queries about the past.
//! A snapshot can always be rebuilt from the store.
//!
//! Structure: [`rows`] has the fields of each number, in leaves of neighbours;
//! [`set`] has sets of numbers, of the partner, of each account and of each
//! application; [`select`] answers a query from the cheapest of them; [`flat`] is
//! the plain scan that all of it is tested against.
//!
//! Invariants: a row's account, application and trunk exist; a number is in
//! the sets that its row says and in no other; page and total of an answer come from one snapshot; every
//! answer takes `now`, because expiry, quarantine and reservation end by time.
//! Deliberately absent: I/O, async, JSON, other partners.

mod beside;
pub mod called;
mod due;
mod edits;
mod filter;
pub mod flat;
pub mod names;
mod pattern;
mod persistent;
mod rewind;
mod rows;
mod select;
pub mod set;
mod sieve;
mod table;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::change::{Digest, GENESIS};
use crate::domain::entity::hex_digest;
use crate::domain::plan;
use crate::domain::row_digest::{RowDigest, Weights};
use crate::domain::{
    Account, AccountId, Acknowledgement, Application, Change, Country, Currency, Dates, Destinations, E164,
    EntityChange, Key, Logged, Money, NumberType, Partner, PartnerKey, Record, RunChange, Setting, State, Status, Tags,
    Time, Trunk, number,
};

pub use beside::RenderCache;
pub use called::{CalledDay, CalledNumbers};
pub use filter::{Among, Closed, Filter, Order, PARAMETERS, Parameter, QueryError, SortKey, parse_after, several};
pub use pattern::{Pattern, SEARCH_CHARS_MAX};
pub use table::Table;

use due::Due;
use edits::IndexEdits;
use persistent::{Array, PersistentMap};
use rows::{Leaf, LeafDates, Profile, RowStore, UnpackedRow, UnpackedRun};
use set::{Set, SetEdit};
use table::{Index, Interned};

/// One partner as of one version.
#[derive(Clone)]
pub struct Snapshot {
    pub key: PartnerKey,
    pub version: u64,
    /// The digest of the change that made this version.
    pub head: Digest,
    /// Whether it was made of rows that do not agree with the digest that is
    /// kept with them: then it is not served.
    pub damaged: bool,
    pub partner: Arc<Partner>,
    pub accounts: Arc<Table<Account>>,
    pub applications: Arc<Table<Application>>,
    pub trunks: Arc<Table<Trunk>>,
    pub keys: Arc<Table<Key>>,
    /// By the finding they are about.
    pub acknowledgements: Arc<Table<Acknowledgement>>,
    /// Removed ones as well.
    pub settings: Arc<Table<Setting>>,
    /// When accounts last lost an active number.
    lost: PersistentMap<AccountId, Time>,
    regions: Interned<Arc<str>>,
    tags: Interned<Tags>,
    profiles: Interned<Profile>,
    rows: RowStore,
    all: Set,
    /// By index of the account: the numbers it holds, if any.
    by_account: Array<Arc<Set>>,
    /// By index of the application: the numbers that route to it, if any.
    by_application: Array<Arc<Set>>,
    /// The numbers that have each tag.
    by_tag: PersistentMap<Arc<str>, Tagged>,
    due: Due,
    nothing: Arc<Set>,
    pub beside: RenderCache,
    /// When numbers were last called: no part of the inventory, and of now in
    /// every snapshot of the partner.
    pub called: Arc<CalledNumbers>,
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
    #[error("the net change of versions {first} to {last} is damaged")]
    NetChange { first: u64, last: u64 },
}

/// Which rows of the ordered result to return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Rows `skip..skip + rows`, counted from 0.
    Page { skip: u64, rows: usize },
    /// The first `rows` rows with a higher number. Only in number order.
    After { number: E164, rows: usize },
}

/// Neighbouring numbers that say the same, and who holds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldRun {
    /// The account's place in [`Snapshot::account_ranks`].
    pub account: Option<u32>,
    pub first: u64,
    pub count: u32,
}

/// Numbers that follow each other in the inventory and say the same. How many they are
/// is known before they are read.
pub struct HeldNumbers<'a> {
    snapshot: &'a Snapshot,
    leaf: &'a Leaf,
    rows: Range<usize>,
}

impl<'a> HeldNumbers<'a> {
    pub fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether they have an expiry that is over at `now`.
    pub fn has_expired(&self, now: Time) -> bool {
        let end = self.leaf.expires_at.value(self.leaf.stretch(self.rows.start));
        end != rows::NEVER && end <= now.seconds()
    }

    /// The place of the account that holds them, in [`Snapshot::account_ranks`].
    pub fn account(&self) -> Option<u32> {
        let stretch = self.leaf.stretch(self.rows.start);
        let profile = self.snapshot.profile(Index::at(self.leaf.profiles.value(stretch) as usize));
        profile.account.get().filter(|_| profile.state.held()).map(|at| at as u32)
    }

    /// The numbers, in order.
    pub fn runs(self) -> impl Iterator<Item = HeldRun> + 'a {
        let account = self.account();
        let runs = self.leaf.number_runs(self.rows);
        runs.map(move |(first, rows)| HeldRun { account, first, count: rows.len() as u32 })
    }
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

/// What rows of one snapshot have in common that differ in nothing but their
/// numbers and times, and in what times decide other than the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenderKind(usize);

impl RenderKind {
    /// Small, and no other kind's of the same snapshot.
    pub fn ordinal(self) -> usize {
        self.0
    }
}

/// One number as a reader sees it, borrowed from a snapshot.
#[derive(Clone, Copy)]
pub struct NumberRef<'a> {
    snapshot: &'a Snapshot,
    profile: &'a Profile,
    row: UnpackedRow,
    now: Time,
}

impl<'a> NumberRef<'a> {
    /// The snapshot that it is a row of.
    pub fn snapshot(self) -> &'a Snapshot {
        self.snapshot
    }

    pub fn number(self) -> E164 {
        self.row.number
    }

    /// The version of the partner that last changed this number.
    pub fn version(self) -> u64 {
        self.row.version
    }

    /// The account that holds the number, if one does.
    pub fn account(self) -> Option<&'a Account> {
        if self.profile.state.held() { self.snapshot.accounts.at(self.profile.account) } else { None }
    }

    /// The account a reserved number is promised to.
    pub fn reserved_for(self) -> Option<&'a Account> {
        match self.state() {
            State::Reserved => self.snapshot.accounts.at(self.profile.account),
            State::Available | State::Active | State::Suspended | State::Quarantined | State::Retired => None,
        }
    }

    pub fn application(self) -> Option<&'a Application> {
        self.snapshot.applications.at(self.profile.application)
    }

    pub fn trunk(self) -> Option<&'a Trunk> {
        self.snapshot.trunks.at(self.profile.trunk)
    }

    pub fn number_type(self) -> NumberType {
        self.profile.number_type
    }

    pub fn country(self) -> Option<Country> {
        self.profile.country
    }

    pub fn region(self) -> Option<&'a str> {
        self.snapshot.regions.at(self.profile.region).map(|region| &**region)
    }

    pub fn cost(self) -> Option<Money> {
        self.profile.cost
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
            State::Available | State::Active | State::Suspended | State::Retired => None,
        }
    }

    pub fn tags(self) -> Tags {
        self.snapshot.tags.at(self.profile.tags).cloned().unwrap_or_default()
    }

    pub fn is_of(self, snapshot: &Snapshot) -> bool {
        std::ptr::eq(self.snapshot, snapshot)
    }

    pub fn kind(self) -> RenderKind {
        let suspended = self.status() == Status::Suspended;
        RenderKind(self.row.profile.get().unwrap_or_default() * 2 + usize::from(suspended))
    }

    /// The state as of now: what ends by time has ended.
    pub fn state(self) -> State {
        self.profile.state.at(self.row.until, self.now)
    }

    pub fn status(self) -> Status {
        number::status(self.profile.state, self.row.expires_at, self.now)
    }

    /// All that is stored of the number, for the log and for comparison.
    pub fn record(self) -> Record {
        let (row, profile) = (self.row, self.profile);
        Record {
            state: profile.state,
            account: self.snapshot.accounts.at(profile.account).map(|account| account.auth_id.clone()),
            application: self.application().map(|application| application.id.clone()),
            trunk: self.trunk().map(|trunk| trunk.id.clone()),
            number_type: profile.number_type,
            country: profile.country,
            region: self.snapshot.regions.at(profile.region).cloned(),
            cost: profile.cost,
            assigned_at: row.assigned_at,
            expires_at: row.expires_at,
            since: row.since,
            until: row.until,
            tags: self.tags(),
        }
    }
}

fn row(number: E164, version: u64, profile: Index, dates: Dates) -> UnpackedRow {
    let Dates { assigned_at, expires_at, since, until } = dates;
    UnpackedRow { number, profile, version, assigned_at, expires_at, since, until }
}

/// One number with what it refers to, and no index of it.
pub struct NumberAlone {
    names: Snapshot,
    row: UnpackedRow,
}

impl NumberAlone {
    pub fn new(
        mut names: Snapshot,
        account: Option<Account>,
        application: Option<Application>,
        trunk: Option<Trunk>,
        (number, version, record): (E164, u64, &Record),
    ) -> Result<NumberAlone, Misfit> {
        account.into_iter().for_each(|account| Arc::make_mut(&mut names.accounts).put(account));
        application.into_iter().for_each(|application| Arc::make_mut(&mut names.applications).put(application));
        trunk.into_iter().for_each(|trunk| Arc::make_mut(&mut names.trunks).put(trunk));
        let row = names.row(number, version, record)?;
        Ok(NumberAlone { names, row })
    }

    pub fn row(&self, now: Time) -> NumberRef<'_> {
        NumberRef { snapshot: &self.names, profile: self.names.profile(self.row.profile), row: self.row, now }
    }
}

/// How many numbers an account holds, by status.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct StatusCounts {
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
            damaged: false,
            partner: Arc::new(partner),
            accounts: Arc::default(),
            applications: Arc::default(),
            trunks: Arc::default(),
            keys: Arc::default(),
            acknowledgements: Arc::default(),
            settings: Arc::default(),
            lost: PersistentMap::default(),
            regions: Interned::default(),
            tags: Interned::default(),
            profiles: Interned::default(),
            rows: RowStore::default(),
            all: Set::default(),
            by_account: Array::default(),
            by_application: Array::default(),
            by_tag: PersistentMap::default(),
            due: Due::default(),
            nothing: Arc::default(),
            beside: RenderCache::default(),
            called: Arc::default(),
        }
    }

    /// The snapshot that a partner's first change makes.
    pub fn created(logged: &Logged) -> Result<Snapshot, Misfit> {
        let change = &logged.change;
        Snapshot::uncreated(change.partner, &change.entities)?.applied(logged)
    }

    /// What a partner's first change, which has these entities, is applied to.
    pub fn uncreated(key: PartnerKey, entities: &[EntityChange]) -> Result<Snapshot, Misfit> {
        let partner = entities.iter().find_map(|entity| match entity {
            EntityChange::Partner(edit) if edit.before.is_none() => Some(edit.after.clone()),
            _ => None,
        });
        Ok(Snapshot::empty(key, 0, GENESIS, partner.ok_or(Misfit::NotCreated)?))
    }

    /// The snapshot after one more change. `self` stays as it is.
    pub fn applied(&self, logged: &Logged) -> Result<Snapshot, Misfit> {
        let Change { version, at, entities, numbers, .. } = &logged.change;
        let mut applying = self.clone().apply(*version, *at, entities, &logged.previous)?;
        applying.numbers(&RunChange::all(numbers.iter().cloned()))?;
        applying.end(logged.digest);
        applying.finish()
    }

    /// Begins one more change, whose numbers come in pieces.
    pub fn apply(
        mut self,
        version: u64,
        at: Time,
        entities: &[EntityChange],
        previous: &Digest,
    ) -> Result<Applying, Misfit> {
        self.begin(version, entities, previous)?;
        Ok(Applying { next: self, at, pending: BTreeMap::new() })
    }

    fn begin(&mut self, version: u64, entities: &[EntityChange], previous: &Digest) -> Result<(), Misfit> {
        if version != self.version + 1 {
            return Err(Misfit::Gap { expected: self.version + 1, found: version });
        }
        if *previous != self.head {
            return Err(Misfit::Chain { version });
        }
        self.version = version;
        for entity in entities {
            match entity {
                EntityChange::Partner(edit) => self.partner = Arc::new(edit.after.clone()),
                EntityChange::Account(edit) => Arc::make_mut(&mut self.accounts).put(edit.after.clone()),
                EntityChange::Application(edit) => Arc::make_mut(&mut self.applications).put(edit.after.clone()),
                EntityChange::Trunk(edit) => Arc::make_mut(&mut self.trunks).put(edit.after.clone()),
                EntityChange::Key(edit) => Arc::make_mut(&mut self.keys).put(edit.after.clone()),
                EntityChange::Acknowledgement(edit) => {
                    Arc::make_mut(&mut self.acknowledgements).put(edit.after.clone())
                }
                EntityChange::Setting(edit) => Arc::make_mut(&mut self.settings).put(edit.after.clone()),
            }
        }
        Ok(())
    }

    /// The snapshot before its last change. What the change created is unknown
    /// again. A number that it changed is as it was; which version had made it
    /// so the log does not say here, so it has version 0.
    pub fn reverted(self, logged: Logged) -> Result<Snapshot, Misfit> {
        let Logged { change: Change { version, at, entities, numbers, .. }, previous, digest } = logged;
        let mut reverting = self.revert(version, at, entities, previous)?;
        reverting.numbers(&mut RunChange::all(numbers))?;
        reverting.finish(digest)
    }

    /// Begins to take the last change back, whose numbers come in pieces.
    pub fn revert(
        self,
        version: u64,
        at: Time,
        entities: Vec<EntityChange>,
        previous: Digest,
    ) -> Result<Reverting, Misfit> {
        if version != self.version {
            return Err(Misfit::Gap { expected: self.version, found: version });
        }
        Ok(Reverting { past: self, at, entities, previous })
    }

    /// Makes entities what they were before some changes, which are in their order.
    fn restore_entities(&mut self, entities: Vec<EntityChange>) -> Result<(), Misfit> {
        for entity in entities.into_iter().rev() {
            match entity {
                EntityChange::Partner(edit) => self.partner = Arc::new(edit.before.ok_or(Misfit::NotCreated)?),
                EntityChange::Account(edit) => restore(&mut self.accounts, edit.before, edit.after.auth_id.as_str()),
                EntityChange::Application(edit) => restore(&mut self.applications, edit.before, edit.after.id.as_str()),
                EntityChange::Trunk(edit) => restore(&mut self.trunks, edit.before, edit.after.id.as_str()),
                EntityChange::Key(edit) => restore(&mut self.keys, edit.before, edit.after.id.as_str()),
                EntityChange::Acknowledgement(edit) => {
                    restore(&mut self.acknowledgements, edit.before, &edit.after.finding)
                }
                EntityChange::Setting(edit) => restore(&mut self.settings, edit.before, &edit.after.id),
            }
        }
        Ok(())
    }

    /// Makes numbers that are as their `before` as their `after`, each with the version
    /// that changed it last. Sorted, each number once.
    fn edit<'e>(&mut self, edits: impl Iterator<Item = (&'e RunChange, u64)>, at: Time) -> Result<(), Misfit> {
        let stored = self.rows.clone();
        let (mut seeker, mut index_edits) = (stored.seeker(), IndexEdits::default());
        let mut old: Vec<UnpackedRun> = Vec::new();
        for (edit, version) in edits {
            let (first, last) = (edit.first.digits(), edit.next() - 1);
            old.clear();
            seeker.runs(first, last, &mut old);
            self.check_before(edit, &old, at)?;
            let new = match &edit.after {
                Some(record) => Some(self.row(edit.first, version, record)?),
                None => None,
            };
            index_edits.add(self, (first, last), old.first().map(|run| run.row), new);
        }
        index_edits.make(self);
        Ok(())
    }

    /// Whether the numbers of a change, which `held` has, are as it says they were.
    fn check_before(&self, edit: &RunChange, held: &[UnpackedRun], at: Time) -> Result<(), Misfit> {
        let differs = |run: &&UnpackedRun| Some(self.show(run.row, at).record()) != edit.before;
        if let Some(run) = held.iter().find(differs) {
            return Err(Misfit::Before { number: run.row.number });
        }
        let whole = held
            .iter()
            .try_fold(edit.first.digits(), |next, run| (run.row.number.digits() == next).then_some(next + run.count));
        match edit.before.is_none() || whole == Some(edit.next()) {
            true => Ok(()),
            false => Err(Misfit::Before { number: edit.first }),
        }
    }

    /// Counts rows that have a profile in or out. A profile without rows is
    /// given back, and what it alone referred to with it.
    fn count_uses(&mut self, profile: Index, step: i64) {
        if let Some(gone) = self.profiles.count(profile, step) {
            self.regions.count(gone.region, -1);
            self.tags.count(gone.tags, -1);
        }
    }

    /// Notes that an account lost an active number.
    pub(crate) fn note_lost(&mut self, account: &AccountId, at: Time) {
        if self.lost.get(account).is_none_or(|last| *last < at) {
            self.lost.insert(account.clone(), at);
        }
    }

    /// Counts the moments at which the clock changes numbers like a row in or out.
    fn note_due(&mut self, row: UnpackedRow, step: i64) {
        let moments = due_moments(self.profile(row.profile), &row);
        moments.for_each(|time| self.due.note(time, step));
    }

    /// The regions of numbers that are names of one place.
    fn regions_of(&self, name: &str) -> Vec<Index> {
        plan::names_of(name).filter_map(|name| self.regions.find(&name.into())).collect()
    }

    fn profile(&self, at: Index) -> &Profile {
        self.profiles.at(at).expect("a row's profile exists")
    }

    fn account_set(&self, at: Index) -> &Set {
        at.get().and_then(|at| self.by_account.get(at)).unwrap_or(&self.nothing)
    }

    fn application_set(&self, at: Index) -> &Set {
        at.get().and_then(|at| self.by_application.get(at)).unwrap_or(&self.nothing)
    }

    /// A record in the index's own form.
    fn row(&mut self, number: E164, version: u64, record: &Record) -> Result<UnpackedRow, Misfit> {
        let profile = self.profile_of(number, record)?;
        Ok(row(number, version, profile, record.dates()))
    }

    /// All of a record but its dates, by its index.
    fn profile_of(&mut self, number: E164, record: &Record) -> Result<Index, Misfit> {
        fn key<T: table::Identified>(
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
        let profile = Profile {
            state: record.state,
            number_type: record.number_type,
            country: record.country,
            account: key(&self.accounts, account, number, "account")?,
            application: key(&self.applications, application, number, "application")?,
            trunk: key(&self.trunks, trunk, number, "trunk")?,
            region: record.region.as_ref().map_or(Index::NONE, |region| self.regions.intern(region).0),
            tags: match record.tags.is_empty() {
                true => Index::NONE,
                false => self.tags.intern(&record.tags).0,
            },
            cost: record.cost,
        };
        Ok(self.intern(&profile))
    }

    /// The index of a profile, whose region and tags have theirs.
    fn intern(&mut self, profile: &Profile) -> Index {
        let (index, new) = self.profiles.intern(profile);
        if new {
            self.regions.count(profile.region, 1);
            self.tags.count(profile.tags, 1);
        }
        index
    }

    /// How many numbers the partner has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// The groups of 10,000 that have numbers here and perhaps not in an earlier
    /// snapshot.
    pub fn groups_beyond<'a>(&'a self, before: Option<&'a Snapshot>) -> impl Iterator<Item = u64> + 'a {
        self.all.groups_beyond(before.map(|before| &before.all))
    }

    /// The last moment, up to `now`, at which the clock alone changed what
    /// readers see. Together with the version it names one state of the view.
    pub fn epoch(&self, now: Time) -> Option<Time> {
        self.due.last(now)
    }

    /// Whether a number is in this region.
    pub fn has_region(&self, name: &str) -> bool {
        self.regions.find(&name.into()).is_some()
    }

    /// Whether a filter of this region can find a number.
    pub fn finds_region(&self, name: &str) -> bool {
        !self.regions_of(name).is_empty()
    }

    /// The regions like a text, best first.
    pub fn regions_like(&self, text: &str) -> Vec<String> {
        names::like(self.regions.iter().map(|(_, name)| &**name), text)
    }

    /// The tags like a text, best first.
    pub fn tags_like(&self, text: &str) -> Vec<String> {
        let mut tags: Vec<&str> = self.tags.iter().flat_map(|(_, tags)| tags.iter()).collect();
        tags.sort_unstable();
        tags.dedup();
        names::like(tags.into_iter().filter(|tag| self.has_tag(tag)), text)
    }

    /// Whether a number has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.by_tag.get(tag).is_some()
    }

    pub fn get(&self, number: E164, now: Time) -> Option<NumberRef<'_>> {
        self.rows.get(number.digits()).map(|row| self.show(row, now))
    }

    fn show(&self, row: UnpackedRow, now: Time) -> NumberRef<'_> {
        NumberRef { snapshot: self, profile: self.profile(row.profile), row, now }
    }

    /// One page of what the filter lets through, and the exact total.
    pub fn select(&self, filter: &Filter, order: Order, window: Window, now: Time) -> Selection<'_> {
        select::select(self, filter, order, window, now)
    }

    /// A walk over everything that the filter lets through, in order, as of
    /// `now`, for answers too long to be made at once. It borrows nothing, so
    /// a stream may keep it beside its snapshot.
    pub fn walk(&self, filter: Filter, order: Order, after: Option<E164>, now: Time) -> NumberWalk {
        let left = match order.by_number() {
            true => None,
            false => Some(select::sorted(self, &filter, order, now).into()),
        };
        NumberWalk { filter, now, after, left, done: false }
    }

    /// All rows in number order.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = NumberRef<'_>> {
        self.rows.leaves().flat_map(move |leaf| (0..leaf.len()).map(move |row| self.show(leaf.row(row), now)))
    }

    /// All numbers in order, as the longest runs of neighbours with equal values and
    /// versions: the first of each, and how many there are.
    pub fn runs(&self, now: Time) -> impl Iterator<Item = (NumberRef<'_>, u64)> {
        self.rows.runs().map(move |run| (self.show(run.row, now), run.count))
    }

    /// The numbers that the filter lets through, in order.
    pub fn held_numbers<'a>(&'a self, filter: &Filter, now: Time, take: &mut dyn FnMut(HeldNumbers<'a>)) {
        select::stretches(self, filter, now, &mut |leaf, rows| take(self.held(leaf, rows)));
    }

    /// The numbers that are probably not what was meant (`plan::doubt`), in order. Each
    /// leaf is gone through once and remembers them.
    pub fn doubtful<'a>(&'a self, take: &mut dyn FnMut(HeldNumbers<'a>)) {
        for (leaf, rows) in self.rows.doubtful() {
            for rows in rows.chunk_by(|a, b| a + 1 == *b) {
                let (mut from, end) = (usize::from(rows[0]), usize::from(rows[0]) + rows.len());
                while from < end {
                    let to = leaf.rows_of(leaf.stretch(from)).end.min(end);
                    take(self.held(leaf, from..to));
                    from = to;
                }
            }
        }
    }

    /// The held numbers whose application or trunk is archived, in order.
    pub fn routed_to_archived<'a>(&'a self, take: &mut dyn FnMut(HeldNumbers<'a>)) {
        self.stretches_with(|profile| self.is_archived(profile), |_| true, &mut |leaf, stretch| {
            take(self.held(leaf, leaf.rows_of(stretch)));
        });
    }

    /// The active numbers that have an application and whose calls have no
    /// destination, in order; none while no application and no trunk has one, since
    /// calls are then routed elsewhere.
    pub fn without_destination<'a>(&'a self, now: Time, take: &mut dyn FnMut(HeldNumbers<'a>)) {
        let known = |destinations: &Destinations| !destinations.is_empty();
        let any = self.applications.iter().any(|one| known(&one.destinations))
            || self.trunks.iter().any(|one| known(&one.destinations));
        if !any {
            return;
        }
        let lacks = |profile: &Profile| {
            let application = self.applications.at(profile.application);
            let trunk = self.trunks.at(profile.trunk);
            profile.state == State::Active
                && application.is_some_and(|one| !known(&one.destinations))
                && !trunk.is_some_and(|one| known(&one.destinations))
        };
        self.stretches_with(lacks, |_| true, &mut |leaf, stretch| {
            let end = leaf.expires_at.value(stretch);
            if end == rows::NEVER || end > now.seconds() {
                take(self.held(leaf, leaf.rows_of(stretch)));
            }
        });
    }

    /// The numbers that are suspended at least since `latest`, in order.
    pub fn suspended_since<'a>(&'a self, latest: Time, take: &mut dyn FnMut(HeldNumbers<'a>)) {
        let suspended = |profile: &Profile| profile.state == State::Suspended;
        self.stretches_with(suspended, |dates| dates.since.0 <= latest.seconds(), &mut |leaf, stretch| {
            if leaf.since.value(stretch) <= latest.seconds() {
                take(self.held(leaf, leaf.rows_of(stretch)));
            }
        });
    }

    /// Some rows of a leaf, which say the same.
    fn held<'a>(&'a self, leaf: &'a Leaf, rows: Range<usize>) -> HeldNumbers<'a> {
        HeldNumbers { snapshot: self, leaf, rows }
    }

    /// The stretches whose profile is wanted, of the leaves that may have one by their
    /// dates.
    fn stretches_with<'a>(
        &'a self,
        wanted: impl Fn(&Profile) -> bool,
        may_have: impl Fn(&LeafDates) -> bool,
        take: &mut dyn FnMut(&'a Leaf, usize),
    ) {
        let mut fits = vec![false; self.profiles.places()];
        for (at, profile) in self.profiles.iter() {
            fits[at.get().unwrap_or_default()] = wanted(profile);
        }
        let wanted = fits;
        if !wanted.contains(&true) {
            return;
        }
        let mut scratch = Vec::new();
        for (leaf, _) in self.rows.dated_leaves().filter(|(_, dates)| may_have(dates)) {
            let profiles = leaf.profiles.values();
            let wanted = |code: usize| wanted[profiles[code] as usize];
            leaf.profiles.stretches_where(leaf.stretches(), wanted, &mut scratch, &mut |stretch| take(leaf, stretch));
        }
    }

    /// The place of an account, as [`HeldRun::account`] has it.
    pub fn account_place(&self, account: &AccountId) -> Option<u32> {
        self.accounts.find(account.as_str()).and_then(Index::get).map(|at| at as u32)
    }

    /// The rank of each account in the order of ids, by [`HeldRun::account`].
    pub fn account_ranks(&self) -> Vec<u32> {
        self.accounts.ranks_by_id()
    }

    fn is_archived(&self, profile: &Profile) -> bool {
        let application = self.applications.at(profile.application).and_then(|one| one.archived_at);
        let trunk = self.trunks.at(profile.trunk).and_then(|one| one.archived_at);
        profile.state.held() && application.or(trunk).is_some()
    }

    /// When an account last lost an active number; `None` if it never did.
    pub fn lost_at(&self, account: &AccountId) -> Option<Time> {
        self.lost.get(account).copied()
    }

    /// The calling codes of the numbers, ascending.
    pub fn calling_codes(&self) -> Vec<u16> {
        let mut codes: Vec<u16> = self.all.groups().map(|(group, _)| set::calling_code(group)).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    /// How many numbers each account holds, in the order of `accounts`.
    pub fn counts(&self, now: Time) -> Vec<StatusCounts> {
        let holder = |profile: &Profile| if profile.state.held() { profile.account } else { Index::NONE };
        self.counts_by(&self.accounts, holder, now)
    }

    /// How many numbers route to each application, in the order of
    /// `applications`. Numbers in stock may have one too and count as suspended,
    /// as in the lists.
    pub fn application_counts(&self, now: Time) -> Vec<StatusCounts> {
        self.counts_by(&self.applications, |profile| profile.application, now)
    }

    /// How many numbers are on each trunk, in the order of `trunks`.
    pub fn trunk_counts(&self, now: Time) -> Vec<StatusCounts> {
        self.counts_by(&self.trunks, |profile| profile.trunk, now)
    }

    /// Counts the numbers of each entity of `table`, in its order; `entity` says
    /// which one a number counts for.
    fn counts_by<T: table::Identified>(
        &self,
        table: &Table<T>,
        entity: impl Fn(&Profile) -> Index,
        now: Time,
    ) -> Vec<StatusCounts> {
        let mut counts = vec![StatusCounts::default(); table.places()];
        let mut count = |profile: &Profile, status: Status, rows: u64, add: fn(u64, u64) -> u64| {
            if let Some(at) = entity(profile).get() {
                let counts = match status {
                    Status::Active => &mut counts[at].active,
                    Status::Suspended => &mut counts[at].suspended,
                };
                *counts = add(*counts, rows);
            }
        };
        for (_, profile, uses) in self.profiles.uses() {
            count(profile, number::status(profile.state, None, now), uses, u64::wrapping_add);
        }
        // Rows that have expired count as something else.
        let passed = |end: i64| end != rows::NEVER && end <= now.seconds();
        for (leaf, _) in self.rows.dated_leaves().filter(|(_, dates)| dates.expires_at.0 <= now.seconds()) {
            for stretch in (0..leaf.stretches()).filter(|&stretch| passed(leaf.expires_at.value(stretch))) {
                let profile = self.profile(Index::at(leaf.profiles.value(stretch) as usize));
                let expires_at = Time::new(leaf.expires_at.value(stretch));
                let rows = leaf.rows_of(stretch).len() as u64;
                count(profile, number::status(profile.state, None, now), rows, u64::wrapping_sub);
                count(profile, number::status(profile.state, expires_at, now), rows, u64::wrapping_add);
            }
        }
        table.taken(counts)
    }

    /// What held numbers cost a month: per account, in the order of `accounts`,
    /// how many and how much in each currency.
    pub fn rental(&self) -> Vec<BTreeMap<Currency, (u64, i128)>> {
        let mut rental: Vec<BTreeMap<Currency, (u64, i128)>> = vec![BTreeMap::new(); self.accounts.places()];
        for (_, profile, rows) in self.profiles.uses() {
            if let (true, Some(at), Some(cost)) = (profile.state.held(), profile.account.get(), profile.cost) {
                let (numbers, minor) = rental[at].entry(cost.currency).or_default();
                *numbers += rows;
                *minor += i128::from(cost.minor) * i128::from(rows);
            }
        }
        self.accounts.taken(rental)
    }

    /// About how many bytes the numbers take, everything counted but names.
    pub fn bytes(&self) -> usize {
        let sets = self.by_account.iter().chain(self.by_application.iter()).map(|(_, set)| set.bytes());
        let tagged = self.by_tag.values().into_iter().map(Tagged::bytes);
        let profiles = self.profiles.len() * 3 * size_of::<Profile>();
        self.rows.bytes() + self.all.bytes() + sets.chain(tagged).sum::<usize>() + profiles
    }

    /// SHA-256 over everything in the snapshot, in an order that does not
    /// depend on how it came about. Two nodes that agree have the same.
    /// Acknowledgements that end and settings that were removed are left out:
    /// their rows are deleted some time after they are over.
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
        self.acknowledgements.sorted().filter(|one| one.until.is_none()).for_each(|one| put(&json(one)));
        self.settings.sorted().filter(|one| one.removed_at.is_none()).for_each(|one| put(&json(one)));
        for (row, count) in self.runs(self.partner.created_at) {
            put(&row.number().to_string());
            put(&count.to_string());
            put(&row.version().to_string());
            put(&json(&row.record()));
        }
        hash.finalize().into()
    }
}

impl Snapshot {
    /// The digest that is kept with the partner's version, made from what is
    /// held here.
    pub fn row_digest(&self) -> RowDigest {
        let mut digest = RowDigest::default();
        digest.entity(&*self.partner);
        self.accounts.iter().for_each(|one| digest.entity(one));
        self.applications.iter().for_each(|one| digest.entity(one));
        self.trunks.iter().for_each(|one| digest.entity(one));
        self.keys.iter().for_each(|one| digest.entity(one));
        self.acknowledgements.iter().for_each(|one| digest.entity(one));
        self.settings.iter().for_each(|one| digest.entity(one));
        let now = self.partner.created_at;
        let mut known: Vec<Option<Weights>> = vec![None; self.profiles.places()];
        for leaf in self.rows.leaves() {
            leaf.weigh(&mut digest, |profile, row| {
                *known[profile].get_or_insert_with(|| Weights::record(&self.show(row, now).record()))
            });
        }
        digest
    }
}

/// A snapshot that changes are being applied to.
pub struct Applying {
    next: Snapshot,
    at: Time,
    /// Single numbers that changed, each with the version that did so last. Those of
    /// many changes go into the index together, since it is copied leaf by leaf.
    pending: BTreeMap<E164, (RunChange, u64)>,
}

impl Applying {
    /// How many single numbers wait at the most.
    const PENDING_MAX: usize = 16_384;

    /// Begins one more change, as [`Snapshot::apply`] does, after the end of the last.
    pub fn apply(
        &mut self,
        version: u64,
        at: Time,
        entities: &[EntityChange],
        previous: &Digest,
    ) -> Result<(), Misfit> {
        self.at = at;
        self.next.begin(version, entities, previous)
    }

    /// Some numbers of the change, sorted, each in one piece.
    pub fn numbers(&mut self, numbers: &[RunChange]) -> Result<(), Misfit> {
        for (account, at) in numbers.iter().filter_map(|edit| edit.loss(self.at)) {
            self.next.note_lost(account, at);
        }
        let version = self.next.version;
        let fit = self.pending.len() + numbers.len() <= Applying::PENDING_MAX;
        if fit && numbers.iter().all(|change| change.count == 1) {
            return numbers.iter().try_for_each(|change| self.merge(change, version));
        }
        self.flush()?;
        self.next.edit(numbers.iter().map(|change| (change, version)), self.at)
    }

    /// Makes two changes of a number one.
    fn merge(&mut self, change: &RunChange, version: u64) -> Result<(), Misfit> {
        match self.pending.entry(change.first) {
            Entry::Vacant(new) => drop(new.insert((change.clone(), version))),
            Entry::Occupied(known) if known.get().0.after != change.before => {
                return Err(Misfit::Before { number: change.first });
            }
            Entry::Occupied(mut known) => {
                let (known, last) = known.get_mut();
                known.after.clone_from(&change.after);
                *last = version;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Misfit> {
        let pending = std::mem::take(&mut self.pending);
        self.next.edit(pending.values().map(|(change, version)| (change, *version)), self.at)
    }

    /// All numbers of the change came; `head` is its digest.
    pub fn end(&mut self, head: Digest) {
        self.next.head = head;
    }

    /// The snapshot after the changes.
    pub fn finish(mut self) -> Result<Snapshot, Misfit> {
        self.flush()?;
        Ok(self.next)
    }
}

/// A snapshot whose last change is being taken back.
pub struct Reverting {
    past: Snapshot,
    at: Time,
    entities: Vec<EntityChange>,
    previous: Digest,
}

impl Reverting {
    /// Some numbers of the change, sorted, each in one piece.
    pub fn numbers(&mut self, numbers: &mut [RunChange]) -> Result<(), Misfit> {
        for edit in numbers.iter_mut() {
            std::mem::swap(&mut edit.before, &mut edit.after);
        }
        self.past.edit(numbers.iter().map(|change| (change, 0)), self.at)
    }

    /// The snapshot, once all numbers came: what they are now may refer to what
    /// is forgotten here. `digest` is that of the last change.
    pub fn finish(self, digest: Digest) -> Result<Snapshot, Misfit> {
        let Reverting { mut past, entities, previous, .. } = self;
        if digest != past.head {
            return Err(Misfit::Chain { version: past.version });
        }
        past.restore_entities(entities)?;
        past.version = past.version.saturating_sub(1);
        past.head = previous;
        Ok(past)
    }
}

/// The numbers that have a tag. Tags that one number has, such as the order it
/// came with, take no more than that number.
#[derive(Clone)]
enum Tagged {
    One(u64),
    Many(Arc<Set>),
}

impl Tagged {
    fn of(numbers: Set) -> Option<Tagged> {
        match numbers.len() {
            0 => None,
            1 => numbers.slice(0, 1).first().copied().map(Tagged::One),
            _ => Some(Tagged::Many(Arc::new(numbers))),
        }
    }

    fn numbers(&self) -> Arc<Set> {
        match self {
            Tagged::One(number) => Arc::new(Set::of([*number])),
            Tagged::Many(numbers) => numbers.clone(),
        }
    }

    fn bytes(&self) -> usize {
        let own = size_of::<(u64, Arc<str>, Tagged)>();
        match self {
            Tagged::One(_) => own,
            Tagged::Many(numbers) => own + numbers.bytes(),
        }
    }
}

/// The account that holds a row with this profile, and the application it routes to.
fn memberships(profile: &Profile) -> (Option<usize>, Option<usize>) {
    let holder = if profile.state.held() { profile.account.get() } else { None };
    (holder, profile.application.get())
}

/// When the clock alone changes what a row with this profile says.
fn due_moments(profile: &Profile, row: &UnpackedRow) -> impl Iterator<Item = Time> + use<> {
    let expiry = row.expires_at.filter(|_| profile.state == State::Active);
    let end = row.until.filter(|_| matches!(profile.state, State::Reserved | State::Quarantined));
    expiry.into_iter().chain(end)
}

/// Edits of a tag's numbers, of which a change may make two with the same numbers:
/// the later one counts.
fn merged(edits: &[SetEdit]) -> Vec<SetEdit> {
    let mut merged: Vec<SetEdit> = Vec::with_capacity(edits.len());
    for edit in edits {
        match merged.last_mut() {
            Some(last) if last.first == edit.first => *last = *edit,
            _ => merged.push(*edit),
        }
    }
    merged
}

/// Puts back what an entity was, or nothing if it was not there.
fn restore<T: table::Identified + Clone>(table: &mut Arc<Table<T>>, before: Option<T>, id: &str) {
    let table = Arc::make_mut(table);
    match before {
        Some(before) => table.put(before),
        None => table.forget(id),
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("domain types serialise")
}

/// See [`Snapshot::walk`].
pub struct NumberWalk {
    filter: Filter,
    now: Time,
    after: Option<E164>,
    /// What is left, where the order is not the number's.
    left: Option<std::collections::VecDeque<E164>>,
    done: bool,
}

impl NumberWalk {
    /// The next rows, about `count` of them; none at the end. Always from the
    /// snapshot that the walk was made of.
    pub fn next<'a>(&mut self, snapshot: &'a Snapshot, count: usize) -> Vec<NumberRef<'a>> {
        let numbers: Vec<E164> = match &mut self.left {
            Some(left) => left.drain(..count.min(left.len())).collect(),
            None => select::next(snapshot, &self.filter, self.after, count, self.now),
        };
        self.done = numbers.len() < count;
        self.after = numbers.last().copied().or(self.after);
        if self.left.is_some() {
            return numbers.into_iter().filter_map(|number| snapshot.get(number, self.now)).collect();
        }
        let mut seeker = snapshot.rows.seeker();
        let row = |number: E164| seeker.row(number.digits()).map(|row| snapshot.show(row, self.now));
        numbers.into_iter().filter_map(row).collect()
    }

    /// Whether there are no more rows, as far as is known.
    pub fn done(&self) -> bool {
        self.done
    }
}

/// See [`Loader::image`].
#[derive(Clone, Copy)]
pub struct Image {
    profile: Index,
    holder: Option<usize>,
    application: Option<usize>,
}

/// Makes a snapshot out of stored rows: first the entities, then the numbers
/// in number order.
pub struct Loader {
    pub snapshot: Snapshot,
    rows: rows::RowStoreBuilder,
    all: set::Building,
    by_account: Vec<set::Building>,
    by_application: Vec<set::Building>,
    by_tag: HashMap<Arc<str>, TagBuilding>,
    /// By index of the profile: how many rows have it.
    uses: Vec<i64>,
    last: Option<E164>,
}

/// The numbers of a tag in the making.
enum TagBuilding {
    One(u64),
    Many(Box<set::Building>),
}

impl TagBuilding {
    fn of(first: u64, last: u64) -> TagBuilding {
        if first == last {
            return TagBuilding::One(first);
        }
        let mut building = Box::new(set::Building::default());
        building.push_run(first, last);
        TagBuilding::Many(building)
    }

    fn push_run(&mut self, first: u64, last: u64) {
        if let TagBuilding::One(number) = *self {
            let mut building = Box::new(set::Building::default());
            building.push_run(number, number);
            *self = TagBuilding::Many(building);
        }
        if let TagBuilding::Many(building) = self {
            building.push_run(first, last);
        }
    }

    fn finish(self) -> Tagged {
        match self {
            TagBuilding::One(number) => Tagged::One(number),
            TagBuilding::Many(building) => Tagged::Many(Arc::new(building.finish())),
        }
    }
}

impl Loader {
    pub fn new(empty: Snapshot) -> Loader {
        Loader {
            snapshot: empty,
            rows: rows::RowStoreBuilder::default(),
            all: set::Building::default(),
            by_account: Vec::new(),
            by_application: Vec::new(),
            by_tag: HashMap::new(),
            uses: Vec::new(),
            last: None,
        }
    }

    pub fn number(&mut self, number: E164, version: u64, record: &Record) -> Result<(), Misfit> {
        let image = self.image(number, record)?;
        self.place((number, number), version, image, record.dates())
    }

    /// What a record says but for its dates, looked up once for all numbers
    /// that [`Loader::place`] shall give it to; `number` is one of them.
    pub fn image(&mut self, number: E164, record: &Record) -> Result<Image, Misfit> {
        let profile = self.snapshot.profile_of(number, record)?;
        let (holder, application) = memberships(self.snapshot.profile(profile));
        Ok(Image { profile, holder, application })
    }

    /// Places the numbers from one to another, which say the same.
    pub fn place(
        &mut self,
        (first, last): (E164, E164),
        version: u64,
        image: Image,
        dates: Dates,
    ) -> Result<(), Misfit> {
        if self.last.is_some_and(|last| last >= first) || last < first {
            return Err(Misfit::Before { number: first });
        }
        self.last = Some(last);
        let Image { profile, holder, application } = image;
        let row = row(first, version, profile, dates);
        let (first, last) = (first.digits(), last.digits());
        let count = last - first + 1;
        self.snapshot.note_due(row, count as i64);
        self.rows.push(UnpackedRun { row, count });
        self.all.push_run(first, last);
        for (sets, at) in [(&mut self.by_account, holder), (&mut self.by_application, application)] {
            if let Some(at) = at {
                if sets.len() <= at {
                    sets.resize_with(at + 1, set::Building::default);
                }
                sets[at].push_run(first, last);
            }
        }
        if let Some(at) = profile.get() {
            if self.uses.len() <= at {
                self.uses.resize(at + 1, 0);
            }
            self.uses[at] += count as i64;
        }
        let tags = self.snapshot.tags.at(self.snapshot.profile(profile).tags);
        for tag in tags.into_iter().flat_map(Tags::shared) {
            match self.by_tag.get_mut(&**tag) {
                Some(building) => building.push_run(first, last),
                None => drop(self.by_tag.insert(tag.clone(), TagBuilding::of(first, last))),
            }
        }
        Ok(())
    }

    pub fn finish(self) -> Snapshot {
        fn sets(building: Vec<set::Building>) -> Array<Arc<Set>> {
            let mut sets = Array::default();
            let finished = building.into_iter().map(set::Building::finish).enumerate();
            finished.filter(|(_, set)| !set.is_empty()).for_each(|(at, set)| sets.put(at, Arc::new(set)));
            sets
        }
        let mut snapshot = self.snapshot;
        let places = snapshot.profiles.places();
        let uses = self.uses.into_iter().chain(std::iter::repeat(0)).take(places);
        uses.enumerate().for_each(|(at, uses)| snapshot.count_uses(Index::at(at), uses));
        for (tag, building) in self.by_tag {
            snapshot.by_tag.insert(tag, building.finish());
        }
        snapshot.rows = self.rows.finish();
        snapshot.all = self.all.finish();
        snapshot.by_account = sets(self.by_account);
        snapshot.by_application = sets(self.by_application);
        snapshot.beside = RenderCache::default();
        snapshot
    }
}
