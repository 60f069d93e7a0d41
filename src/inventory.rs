//! What a partner has, held in memory: the read side of everything.
//!
//! A [`Snapshot`] is one partner as of one version. It never changes once it
//! is shared; [`Snapshot::applied`] makes the next one from a log entry, which
//! is the only way there is, on the node that wrote and on every follower.
//! [`Snapshot::reverted`] goes the other way, to answer about the past.
//! Rebuilt from the store at start, so it can always be thrown away.
//!
//! How it is held: [`rows`] has what is known of each number, in leaves of
//! neighbours; [`set`] has sets of numbers, of the partner, of each account and
//! of each application; [`select`] answers questions from whichever knows
//! cheapest; [`flat`] is the plain scan that all of it is tested against.
//!
//! Invariants: a row's account, application and trunk exist; a number is in
//! the sets that its row says and in no other; page and total of an answer come from one snapshot; every
//! answer takes `now`, because expiry, quarantine and reservation end by time.
//! Deliberately absent: I/O, async, JSON, other partners.

mod beside;
mod due;
mod filter;
pub mod flat;
pub mod names;
mod pattern;
mod rows;
mod select;
pub mod set;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::change::{Digest, GENESIS};
use crate::domain::entity::hex_digest;
use crate::domain::plan::{self, Scan};
use crate::domain::{
    Account, AccountId, Acknowledgement, Application, Country, Currency, Dates, Destinations, E164, EntityChange, Key,
    Logged, Money, NumberChange, NumberType, Partner, PartnerKey, Record, Setting, State, Status, Tags, Time, Trunk,
    number,
};

pub use beside::Beside;
pub use filter::{Among, Closed, Filter, Order, PARAMETERS, Parameter, QueryError, SortKey, parse_after, several};
pub use pattern::{Pattern, SEARCH_CHARS_MAX};
pub use table::Table;

use due::Due;
use rows::{Profile, Row, Rows};
use set::Set;
use table::{Index, Interned};

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
    /// By the finding they are about.
    pub acknowledgements: Arc<Table<Acknowledgement>>,
    /// Removed ones as well.
    pub settings: Arc<Table<Setting>>,
    /// When accounts last lost an active number.
    pub(crate) lost: Arc<HashMap<AccountId, Time>>,
    regions: Arc<Interned<Arc<str>>>,
    tags: Arc<Interned<Tags>>,
    profiles: Arc<Interned<Profile>>,
    rows: Rows,
    all: Set,
    /// By index of the account: the numbers it holds. Shorter than `accounts`
    /// where the last ones hold none.
    by_account: Arc<Vec<Arc<Set>>>,
    /// By index of the application: the numbers that route to it.
    by_application: Arc<Vec<Arc<Set>>>,
    due: Due,
    nothing: Arc<Set>,
    pub beside: Beside,
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

/// What rows of one snapshot have in common that differ in nothing but their
/// numbers and times, and in what times decide other than the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(usize);

impl Kind {
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
    row: Row,
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

    pub fn kind(self) -> Kind {
        let suspended = self.status() == Status::Suspended;
        Kind(self.row.profile.get().unwrap_or_default() * 2 + usize::from(suspended))
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

fn row(number: E164, version: u64, profile: Index, dates: Dates) -> Row {
    let Dates { assigned_at, expires_at, since, until } = dates;
    Row { number, profile, version, assigned_at, expires_at, since, until }
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
            acknowledgements: Arc::default(),
            settings: Arc::default(),
            lost: Arc::default(),
            regions: Arc::default(),
            tags: Arc::default(),
            profiles: Arc::default(),
            rows: Rows::default(),
            all: Set::default(),
            by_account: Arc::default(),
            by_application: Arc::default(),
            due: Due::default(),
            nothing: Arc::default(),
            beside: Beside::default(),
        }
    }

    /// One number and what it refers to, to show it by itself.
    pub fn of_one(
        key: PartnerKey,
        partner: Partner,
        account: Option<Account>,
        application: Option<Application>,
        trunk: Option<Trunk>,
        (number, version, record): (E164, u64, &Record),
    ) -> Result<Snapshot, Misfit> {
        let mut loader = Loader::new(Snapshot::empty(key, version, GENESIS, partner));
        let snapshot = &mut loader.snapshot;
        account.into_iter().for_each(|account| Arc::make_mut(&mut snapshot.accounts).put(account));
        application.into_iter().for_each(|application| Arc::make_mut(&mut snapshot.applications).put(application));
        trunk.into_iter().for_each(|trunk| Arc::make_mut(&mut snapshot.trunks).put(trunk));
        loader.number(number, version, record)?;
        Ok(loader.finish())
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
                EntityChange::Acknowledgement(edit) => {
                    Arc::make_mut(&mut next.acknowledgements).put(edit.after.clone());
                }
                EntityChange::Setting(edit) => Arc::make_mut(&mut next.settings).put(edit.after.clone()),
            }
        }
        let mut losses = change.numbers.iter().filter_map(|edit| edit.loss(change.at)).peekable();
        if losses.peek().is_some() {
            let lost = Arc::make_mut(&mut next.lost);
            for (account, at) in losses {
                let last = lost.entry(account.clone()).or_insert(at);
                *last = at.max(*last);
            }
        }
        next.edit(self, &change.numbers, change.at, change.version)?;
        Ok(next)
    }

    /// The snapshot before its last change, of which `head` is the digest. What
    /// the change created is unknown again. A number that it changed is as it
    /// was; which version had made it so the log does not say here, so it has
    /// version 0.
    pub fn reverted(self, logged: Logged) -> Result<Snapshot, Misfit> {
        let Logged { mut change, previous, digest } = logged;
        if change.version != self.version {
            return Err(Misfit::Gap { expected: self.version, found: change.version });
        }
        if digest != self.head {
            return Err(Misfit::Chain { version: change.version });
        }
        for edit in &mut change.numbers {
            std::mem::swap(&mut edit.before, &mut edit.after);
        }
        let mut past = self.clone();
        past.version = change.version - 1;
        past.head = previous;
        // Numbers first: what they were may refer to nothing that is forgotten
        // below, what they are may.
        past.edit(&self, &change.numbers, change.at, 0)?;
        // With the last other owner gone, the tables are edited in place.
        drop(self);
        for entity in change.entities.into_iter().rev() {
            match entity {
                EntityChange::Partner(edit) => {
                    past.partner = Arc::new(edit.before.ok_or(Misfit::NotCreated)?);
                }
                EntityChange::Account(edit) => {
                    restore(&mut past.accounts, edit.before, edit.after.auth_id.as_str());
                }
                EntityChange::Application(edit) => {
                    restore(&mut past.applications, edit.before, edit.after.id.as_str());
                }
                EntityChange::Trunk(edit) => restore(&mut past.trunks, edit.before, edit.after.id.as_str()),
                EntityChange::Key(edit) => restore(&mut past.keys, edit.before, edit.after.id.as_str()),
                EntityChange::Acknowledgement(edit) => {
                    restore(&mut past.acknowledgements, edit.before, &edit.after.finding);
                }
                EntityChange::Setting(edit) => restore(&mut past.settings, edit.before, &edit.after.id),
            }
        }
        Ok(past)
    }

    /// Makes numbers that are as their `before` as their `after`, last changed
    /// by `version`.
    fn edit(&mut self, before: &Snapshot, edits: &[NumberChange], at: Time, version: u64) -> Result<(), Misfit> {
        if edits.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(edits.len());
        let mut all = Vec::new();
        let mut accounts: BTreeMap<usize, Vec<(u64, bool)>> = BTreeMap::new();
        let mut applications: BTreeMap<usize, Vec<(u64, bool)>> = BTreeMap::new();
        let mut seeker = before.rows.seeker();
        for edit in edits {
            let number = edit.number.digits();
            let old = seeker.find(number).map(|(leaf, row)| leaf.row(row));
            let held = old.map(|row| before.show(row, at).record());
            if held != edit.before {
                return Err(Misfit::Before { number: edit.number });
            }
            let new = match &edit.after {
                Some(record) => Some(self.row(edit.number, version, record)?),
                None => None,
            };
            if old.is_some() != new.is_some() {
                all.push((number, new.is_some()));
            }
            let (left, came) =
                (old.map(|row| self.memberships(row.profile)), new.map(|row| self.memberships(row.profile)));
            let [left, came] = [left, came].map(Option::unwrap_or_default);
            for (sets, left, came) in [(&mut accounts, left.0, came.0), (&mut applications, left.1, came.1)] {
                if left != came {
                    left.into_iter().for_each(|at| sets.entry(at).or_default().push((number, false)));
                    came.into_iter().for_each(|at| sets.entry(at).or_default().push((number, true)));
                }
            }
            old.into_iter().for_each(|row| self.note_due(row, -1));
            new.into_iter().for_each(|row| self.note_due(row, 1));
            rows.push((number, new));
        }
        self.rows = before.rows.edited(&rows);
        self.all = before.all.edited(&all);
        for (all, edits) in [(&mut self.by_account, accounts), (&mut self.by_application, applications)] {
            if edits.is_empty() {
                continue;
            }
            let all = Arc::make_mut(all);
            for (at, edits) in edits {
                if all.len() <= at {
                    all.resize_with(at + 1, Arc::default);
                }
                all[at] = Arc::new(all[at].edited(&edits));
            }
        }
        Ok(())
    }

    /// The account that holds a row with this profile, and the application it
    /// routes to.
    fn memberships(&self, profile: Index) -> (Option<usize>, Option<usize>) {
        let profile = self.profile(profile);
        let holder = if profile.state.held() { profile.account.get() } else { None };
        (holder, profile.application.get())
    }

    /// Counts the moments at which the clock changes a row in or out.
    fn note_due(&mut self, row: Row, step: i32) {
        let state = self.profile(row.profile).state;
        let expiry = row.expires_at.filter(|_| state == State::Active);
        let end = row.until.filter(|_| matches!(state, State::Reserved | State::Quarantined));
        expiry.into_iter().chain(end).for_each(|time| self.due.note(time, step));
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
    fn row(&mut self, number: E164, version: u64, record: &Record) -> Result<Row, Misfit> {
        let profile = self.profile_of(number, record)?;
        Ok(row(number, version, profile, record.dates()))
    }

    /// All of a record but its dates, by its index.
    fn profile_of(&mut self, number: E164, record: &Record) -> Result<Index, Misfit> {
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
        let profile = Profile {
            state: record.state,
            number_type: record.number_type,
            country: record.country,
            account: key(&self.accounts, account, number, "account")?,
            application: key(&self.applications, application, number, "application")?,
            trunk: key(&self.trunks, trunk, number, "trunk")?,
            region: table::intern(&mut self.regions, record.region.as_ref()),
            tags: table::intern(&mut self.tags, Some(&record.tags).filter(|tags| !tags.is_empty())),
            cost: record.cost,
        };
        Ok(table::intern(&mut self.profiles, Some(&profile)))
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

    /// Whether a number is or was in this region.
    pub fn has_region(&self, name: &str) -> bool {
        self.regions.find(&name.into()).is_some()
    }

    /// Whether a number has or had this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|(_, tags)| tags.contains(tag))
    }

    pub fn get(&self, number: E164, now: Time) -> Option<NumberRef<'_>> {
        self.rows.get(number.digits()).map(|row| self.show(row, now))
    }

    fn show(&self, row: Row, now: Time) -> NumberRef<'_> {
        NumberRef { snapshot: self, profile: self.profile(row.profile), row, now }
    }

    /// One page of what the filter lets through, and the exact total.
    pub fn select(&self, filter: &Filter, order: Order, window: Window, now: Time) -> Selection<'_> {
        select::select(self, filter, order, window, now)
    }

    /// A walk over everything that the filter lets through, in order, as of
    /// `now`, for answers too long to be made at once. It borrows nothing, so
    /// a stream may keep it beside its snapshot.
    pub fn walk(&self, filter: Filter, order: Order, after: Option<E164>, now: Time) -> Walk {
        let left = match order.by_number() {
            true => None,
            false => Some(select::sorted(self, &filter, order, now).into()),
        };
        Walk { filter, now, after, left, done: false }
    }

    /// All rows in number order.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = NumberRef<'_>> {
        self.rows.leaves().flat_map(move |leaf| (0..leaf.len()).map(move |row| self.show(leaf.row(row), now)))
    }

    /// The rows whose number is probably not what was meant (`plan::doubt`), in
    /// number order. Each leaf is gone through once and remembers them.
    pub fn doubtful(&self, now: Time) -> impl Iterator<Item = NumberRef<'_>> {
        let mut scan = Scan::default();
        self.rows.leaves().flat_map(move |leaf| {
            let rows = leaf.doubtful(&mut scan).iter();
            rows.map(move |&row| self.show(leaf.row(usize::from(row)), now))
        })
    }

    /// The held rows whose application or trunk is archived, in number order.
    pub fn routed_to_archived(&self, now: Time) -> Vec<NumberRef<'_>> {
        self.rows_with(|profile| self.is_archived(profile), now)
    }

    /// The active rows that have an application and whose calls have no
    /// destination, in number order; none while no application and no trunk has
    /// one, since calls are then routed elsewhere.
    pub fn without_destination(&self, now: Time) -> Vec<NumberRef<'_>> {
        let known = |destinations: &Destinations| !destinations.is_empty();
        let any = self.applications.iter().any(|one| known(&one.destinations))
            || self.trunks.iter().any(|one| known(&one.destinations));
        if !any {
            return Vec::new();
        }
        let lacks = |profile: &Profile| {
            let application = self.applications.at(profile.application);
            let trunk = self.trunks.at(profile.trunk);
            profile.state == State::Active
                && application.is_some_and(|one| !known(&one.destinations))
                && !trunk.is_some_and(|one| known(&one.destinations))
        };
        let mut found = self.rows_with(lacks, now);
        found.retain(|row| row.status() == Status::Active);
        found
    }

    /// The rows whose profile is wanted, in number order.
    fn rows_with(&self, wanted: impl Fn(&Profile) -> bool, now: Time) -> Vec<NumberRef<'_>> {
        let wanted: Vec<bool> = self.profiles.iter().map(|(_, profile)| wanted(profile)).collect();
        let mut found = Vec::new();
        for leaf in self.rows.leaves() {
            if leaf.profiles.values().iter().any(|&at| wanted[at as usize]) {
                let rows = (0..leaf.len()).filter(|&row| wanted[leaf.profiles.value(row) as usize]);
                found.extend(rows.map(|row| self.show(leaf.row(row), now)));
            }
        }
        found
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

    /// How many numbers each account holds, in the order of `accounts`.
    pub fn counts(&self, now: Time) -> Vec<Counts> {
        let holder = |profile: &Profile| if profile.state.held() { profile.account } else { Index::NONE };
        self.counts_by(&self.accounts, holder, now)
    }

    /// How many numbers route to each application, in the order of
    /// `applications`. Numbers in stock may have one too and count as suspended,
    /// as in the lists.
    pub fn application_counts(&self, now: Time) -> Vec<Counts> {
        self.counts_by(&self.applications, |profile| profile.application, now)
    }

    /// How many numbers are on each trunk, in the order of `trunks`.
    pub fn trunk_counts(&self, now: Time) -> Vec<Counts> {
        self.counts_by(&self.trunks, |profile| profile.trunk, now)
    }

    /// Counts the numbers of each entity of `table`, in its order; `entity` says
    /// which one a number counts for.
    fn counts_by<T: table::Entry>(
        &self,
        table: &Table<T>,
        entity: impl Fn(&Profile) -> Index,
        now: Time,
    ) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); table.places()];
        for leaf in self.rows.leaves() {
            // Only where an expiry has passed do single rows matter.
            let passed = |&end: &i64| end != rows::NEVER && end <= now.seconds();
            let by_row = leaf.expires_at.values().iter().any(passed);
            let mut count = |at: i64, expires_at: Option<Time>, rows: u64| {
                let profile = self.profile(Index::at(at as usize));
                if let Some(at) = entity(profile).get() {
                    match number::status(profile.state, expires_at, now) {
                        Status::Active => counts[at].active += rows,
                        Status::Suspended => counts[at].suspended += rows,
                    }
                }
            };
            if by_row {
                (0..leaf.len()).for_each(|row| count(leaf.profiles.value(row), leaf.row(row).expires_at, 1));
            } else {
                let profiles = leaf.profiles.values().iter().zip(&leaf.profile_counts);
                profiles.for_each(|(&at, &rows)| count(at, None, u64::from(rows)));
            }
        }
        table.taken(counts)
    }

    /// What held numbers cost a month: per account, in the order of `accounts`,
    /// how many and how much in each currency.
    pub fn rental(&self) -> Vec<BTreeMap<Currency, (u64, i64)>> {
        let mut rental: Vec<BTreeMap<Currency, (u64, i64)>> = vec![BTreeMap::new(); self.accounts.places()];
        for leaf in self.rows.leaves() {
            for (&at, &rows) in leaf.profiles.values().iter().zip(&leaf.profile_counts) {
                let profile = self.profile(Index::at(at as usize));
                if let (true, Some(at), Some(cost)) = (profile.state.held(), profile.account.get(), profile.cost) {
                    let (numbers, minor) = rental[at].entry(cost.currency).or_default();
                    *numbers += u64::from(rows);
                    *minor = minor.saturating_add(cost.minor.saturating_mul(rows.into()));
                }
            }
        }
        self.accounts.taken(rental)
    }

    /// About how many bytes the numbers take, everything counted but names.
    pub fn bytes(&self) -> usize {
        let sets = self.by_account.iter().chain(self.by_application.iter()).map(|set| set.bytes());
        let profiles = self.profiles.len() * 3 * size_of::<Profile>();
        self.rows.bytes() + self.all.bytes() + sets.sum::<usize>() + profiles
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
        self.acknowledgements.sorted().for_each(|one| put(&json(one)));
        self.settings.sorted().for_each(|one| put(&json(one)));
        for row in self.iter(self.partner.created_at) {
            put(&row.number().to_string());
            put(&row.version().to_string());
            put(&json(&row.record()));
        }
        hash.finalize().into()
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("domain types serialise")
}

/// Puts back what an entity was, or nothing if it was not there.
fn restore<T: table::Entry + Clone>(table: &mut Arc<Table<T>>, before: Option<T>, id: &str) {
    let table = Arc::make_mut(table);
    match before {
        Some(before) => table.put(before),
        None => table.forget(id),
    }
}

/// See [`Snapshot::walk`].
pub struct Walk {
    filter: Filter,
    now: Time,
    after: Option<E164>,
    /// What is left, where the order is not the number's.
    left: Option<std::collections::VecDeque<E164>>,
    done: bool,
}

impl Walk {
    /// The next rows, about `count` of them; none at the end. Always from the
    /// snapshot that the walk was made of.
    pub fn next<'a>(&mut self, snapshot: &'a Snapshot, count: usize) -> Vec<NumberRef<'a>> {
        let numbers: Vec<E164> = match &mut self.left {
            Some(left) => left.drain(..count.min(left.len())).collect(),
            None => select::next(snapshot, &self.filter, self.after, count, self.now),
        };
        self.done = numbers.len() < count;
        self.after = numbers.last().copied().or(self.after);
        numbers.into_iter().filter_map(|number| snapshot.get(number, self.now)).collect()
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
    rows: rows::Builder,
    all: set::Building,
    by_account: Vec<set::Building>,
    by_application: Vec<set::Building>,
    last: Option<E164>,
}

impl Loader {
    pub fn new(empty: Snapshot) -> Loader {
        Loader {
            snapshot: empty,
            rows: rows::Builder::default(),
            all: set::Building::default(),
            by_account: Vec::new(),
            by_application: Vec::new(),
            last: None,
        }
    }

    pub fn number(&mut self, number: E164, version: u64, record: &Record) -> Result<(), Misfit> {
        let image = self.image(number, record)?;
        self.place(number, version, image, record.dates())
    }

    /// What a record says but for its dates, looked up once for all numbers
    /// that [`Loader::place`] shall give it to; `number` is one of them.
    pub fn image(&mut self, number: E164, record: &Record) -> Result<Image, Misfit> {
        let profile = self.snapshot.profile_of(number, record)?;
        let (holder, application) = self.snapshot.memberships(profile);
        Ok(Image { profile, holder, application })
    }

    pub fn place(&mut self, number: E164, version: u64, image: Image, dates: Dates) -> Result<(), Misfit> {
        if self.last.is_some_and(|last| last >= number) {
            return Err(Misfit::Before { number });
        }
        self.last = Some(number);
        let Image { profile, holder, application } = image;
        let row = row(number, version, profile, dates);
        self.snapshot.note_due(row, 1);
        self.rows.push(row);
        self.all.push(number.digits());
        for (sets, at) in [(&mut self.by_account, holder), (&mut self.by_application, application)] {
            if let Some(at) = at {
                if sets.len() <= at {
                    sets.resize_with(at + 1, set::Building::default);
                }
                sets[at].push(number.digits());
            }
        }
        Ok(())
    }

    pub fn finish(self) -> Snapshot {
        let sets = |sets: Vec<set::Building>| Arc::new(sets.into_iter().map(|set| Arc::new(set.finish())).collect());
        Snapshot {
            rows: self.rows.finish(),
            all: self.all.finish(),
            by_account: sets(self.by_account),
            by_application: sets(self.by_application),
            beside: Beside::default(),
            ..self.snapshot
        }
    }
}
